"""Cases drawn on their canvases with their targets, kept on disk between runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osler.data.cache import Arrays, Cache
from osler.data.cohort import Cohort, Row
from osler.errors import InputError, RecipeError
from osler.learn.fundus.recipe import Recipe, Target
from osler.tasks.canvas import Canvas, draw, draw_mask, plan
from osler.tasks.field import find_field

CANVASES = Path(".cache") / "canvases"  # in the folder one stands in
_NOT_DRAWN = {"adaptive", "single", "thin", "min_area"}  # of a target: these change no drawing
_VERSION = 3  # raised when drawing changes, so that old files are not used


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
        cache: folder for drawn cases, shared with other runs.
    """
    kept = Cache(cache)
    return [_draw_row(row, recipe, cohort.root, kept) for row in cohort.rows]


def _draw_row(row: Row, recipe: Recipe, root: Path, cache: Cache) -> Drawn:
    if recipe.item not in row.items:
        raise RecipeError(f"case '{row.case_id}' has no '{recipe.item}' in its cohort")
    photo = row.items[recipe.item]
    pairs = [(_label(row, target), target) for target in recipe.targets]
    masks = [root / value for value, target in pairs if value is not None and not target.point]
    try:
        made = cache.arrays(
            lambda: _drawn(photo, pairs, recipe, root),
            name="canvas",
            version=_VERSION,
            inputs=[photo, *masks],
            options={
                "diameter": recipe.diameter,
                "targets": [t.model_dump(mode="json", exclude=_NOT_DRAWN) for t in recipe.targets],
                # a point is its text; of a mask the content counts, wherever it lies
                "labels": [v if v is None or target.point else "mask" for v, target in pairs],
            },
        )
    except InputError as error:
        raise RecipeError(f"case '{row.case_id}': {error}") from error
    return Drawn(row, root, made["image"], made["targets"], made["valid"])


def _drawn(
    photo: Path, pairs: Sequence[tuple[str | None, Target]], recipe: Recipe, root: Path
) -> Arrays:
    image = read_rgb(photo)
    canvas = plan(find_field(image), diameter=recipe.diameter)
    drawn = [_draw_target(value, target, canvas, root) for value, target in pairs]
    none = np.zeros((0, *canvas.size), np.uint8)
    return {
        "image": draw(image, canvas),
        "targets": np.stack([one for one, _ in drawn]) if drawn else none,
        "valid": np.stack([known for _, known in drawn]) if drawn else none,
    }


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A photograph as ``(3, H, W)`` sRGB, through the readers of ``osler.io``."""
    from osler.io import load_file

    array = load_file(path).image("photo").array
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
