"""Cases drawn on their canvases with their targets, kept on disk between runs."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osler.data.cohort import Cohort, Row
from osler.errors import RecipeError
from osler.learn.recipe import Recipe, Target
from osler.tasks.canvas import Canvas, draw, draw_mask, plan
from osler.tasks.field import find_field

_NOT_DRAWN = {"adaptive", "single", "min_area"}  # of a target: these change no drawing
_VERSION = 2  # raised when drawing changes, so that old files are not used


@dataclass(frozen=True, slots=True)
class Drawn:
    """One case on its canvas.

    Attributes:
        row: the case.
        root: the folder that the paths of its labels are relative to.
        image: ``(4, h, w)`` uint8: red, green, blue, field.
        targets: ``(L, h, w)`` uint8, 0 to 255 for the share of the pixel that is the label.
        valid: ``(L, h, w)`` uint8, 255 where the target is known, 0 where it is not.
    """

    row: Row
    root: Path
    image: NDArray[np.uint8]
    targets: NDArray[np.uint8]
    valid: NDArray[np.uint8]


def draw_cohort(cohort: Cohort, recipe: Recipe, *, cache: Path) -> list[Drawn]:
    """Draw every case of a cohort, or take it from the cache.

    Args:
        cohort: the cases.
        recipe: names the item, the canvas and the targets.
        cache: folder for drawn cases; a file is named by the digest of all that made it.
    """
    cache.mkdir(parents=True, exist_ok=True)
    return [_draw_row(row, recipe, cohort.root, cache) for row in cohort.rows]


def _draw_row(row: Row, recipe: Recipe, root: Path, cache: Path) -> Drawn:
    if recipe.item not in row.items:
        raise RecipeError(f"case '{row.case_id}' has no '{recipe.item}' in its cohort")
    found = [_label(row, target) for target in recipe.targets]
    digest = hashlib.sha256(
        json.dumps(
            [_VERSION, recipe.diameter, [t.model_dump(exclude=_NOT_DRAWN) for t in recipe.targets]]
        ).encode()
    )
    digest.update(row.items[recipe.item].read_bytes())
    for value, target in zip(found, recipe.targets, strict=True):
        if value is not None:
            digest.update(value.encode() if target.point else _bytes(root / value, row))
    file = cache / f"{digest.hexdigest()[:32]}.npz"
    if file.exists():
        with np.load(file, allow_pickle=False) as stored:
            return Drawn(row, root, stored["image"], stored["targets"], stored["valid"])
    image = read_rgb(row.items[recipe.item])
    canvas = plan(find_field(image), diameter=recipe.diameter)
    pairs = [
        _draw_target(value, target, canvas, root)
        for value, target in zip(found, recipe.targets, strict=True)
    ]
    none = np.zeros((0, *canvas.size), np.uint8)
    targets = np.stack([pair[0] for pair in pairs]) if pairs else none
    valid = np.stack([pair[1] for pair in pairs]) if pairs else none
    drawn = Drawn(row, root, draw(image, canvas), targets, valid)
    part = file.with_suffix(".part.npz")
    np.savez(part, image=drawn.image, targets=targets, valid=valid)
    part.replace(file)
    return drawn


def _bytes(path: Path, row: Row) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecipeError(
            f"case '{row.case_id}': the mask '{path}' cannot be read: {error.strerror}"
        ) from error


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A photograph as ``(3, H, W)`` sRGB, through the readers of ``osler.io``."""
    from osler.io import load

    array = load(path).image("photo").array
    if array.dtype != np.uint8:
        raise RecipeError(f"'{path}' has {array.dtype} pixels; photographs for training are 8 bit")
    return np.repeat(array, 3, axis=0) if array.shape[0] == 1 else array


def _label(row: Row, target: Target) -> str | None:
    for column in target.columns:
        if row.labels.get(column):
            return row.labels[column]
    return None


def _draw_target(
    value: str | None, target: Target, canvas: Canvas, root: Path
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if value is None:
        known = 0 if target.absent == "unknown" else 255
        return np.zeros(canvas.size, np.uint8), np.full(canvas.size, known, np.uint8)
    if target.point:
        h, w = canvas.to_canvas(_position(value))
        hh, ww = np.ogrid[: canvas.size[0], : canvas.size[1]]
        near = (hh - h) ** 2 + (ww - w) ** 2 <= target.point**2
        return near.astype(np.uint8) * 255, np.full(canvas.size, 255, np.uint8)
    path = root / value
    mask, ignored = read_mask(path, target)
    if mask.shape != canvas.field.shape:
        raise RecipeError(
            f"the mask '{path}' has shape {mask.shape}, its photograph {canvas.field.shape}"
        )
    valid = np.full(canvas.size, 255, np.uint8)
    if ignored.any():
        valid[draw_mask(ignored, canvas) > 64] = 0
    return draw_mask(mask, canvas), valid


def _position(value: str) -> tuple[float, float]:
    try:
        h, w = value.split(";")
        return float(h), float(w)
    except ValueError:
        raise RecipeError(
            f"the position '{value}' in the cohort is not 'h;w' in photograph pixels, such as "
            "'512.5;730'"
        ) from None


def read_mask(path: Path, target: Target) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The pixels of a target and those to ignore, both ``(H, W)``."""
    from PIL import Image as Pillow

    with Pillow.open(path) as image:
        if target.colours is None:
            mask = np.asarray(image.convert("L")) > 0
            return mask, np.zeros_like(mask)
        rgb = np.asarray(image.convert("RGB"))
    return _is_colour(rgb, target.colours), _is_colour(rgb, target.ignore)


def _is_colour(
    rgb: NDArray[np.uint8], colours: Sequence[tuple[int, int, int]]
) -> NDArray[np.bool_]:
    found = np.zeros(rgb.shape[:2], bool)
    for colour in colours:
        found |= (rgb == np.array(colour, np.uint8)).all(axis=2)
    return found
