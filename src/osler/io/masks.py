"""Masks as PNG (pictures) and NIfTI files (volumes) in native size, and the photograph drawn on."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from osler.errors import InputError, OutputError, UnreadableError
from osler.io.layers import Layer, layers_of, rgb
from osler.record import Case, Finding, Heatmap, Image, Mask, Point

FOLDER = "masks"
OVERLAY = "overlay.png"
VOLUME = ".nii.gz"

# Opacity of what is filled, and of the pixels inside an outline.
_FILL, _INSIDE = 0.75, 0.25


def photo_of(case: Case) -> Image | None:
    """The image that the report is about: ``"photo"``, else the first flat one."""
    flat = [i for i in case.items.values() if isinstance(i, Image) and len(i.shape) == 2]
    return next((i for i in flat if i.name == "photo"), flat[0] if flat else None)


def as_rgb(image: Image) -> NDArray[np.uint8]:
    """An image as ``(H, W, 3)`` in 8 bits; grey of more bits is stretched between its extremes."""
    array = image.array
    if array.dtype != np.uint8:
        low, high = float(array.min()), float(array.max())
        array = np.rint((array - low) * (255.0 / max(high - low, 1e-9))).astype(np.uint8)
    if array.shape[0] < 3:
        array = np.repeat(array[:1], 3, axis=0)
    return np.ascontiguousarray(np.moveaxis(array[:3], 0, -1))


def file_names(case: Case) -> dict[str, str]:
    """Id of each finding with pixels to the name of its file in the case's folder."""
    found = list(_with_pixels(case))
    names = names_in(FOLDER, (finding.id for finding in found), "")
    return {one.id: names[one.id] + (VOLUME if is_volume(one) else ".png") for one in found}


def is_volume(finding: Mask | Heatmap) -> bool:
    """Whether it has ``(D, H, W)``; decodes nothing."""
    return len(finding.shape if isinstance(finding, Mask) else finding.values.shape) == 3


def names_in(folder: str, ids: Iterable[str], ending: str) -> dict[str, str]:
    """Id to the name of a file below a folder, which every system takes and no other id has."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for id in ids:
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in id)
        name = safe.lstrip(".") or "_"
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        names[id] = f"{folder}/{name}{ending}"
    return names


def _with_pixels(case: Case) -> Iterator[Mask | Heatmap]:
    return (f for f in case.findings.values() if isinstance(f, Mask | Heatmap))


def write_masks(case: Case, folder: Path) -> None:
    """Write each mask and heatmap in its native size.

    Of a picture a mask is a 1-bit and a heatmap an 8-bit PNG; of a volume both are NIfTI in the
    place of their image, a mask as 0 and 1, a heatmap as 0 to 255.

    Raises:
        OutputError: a mask of a volume has another shape than its image.
    """
    names = file_names(case)
    if names:
        (folder / FOLDER).mkdir(exist_ok=True)
    for finding in _with_pixels(case):
        pixels: NDArray[Any] = finding.mask if isinstance(finding, Mask) else finding.values
        if isinstance(finding, Heatmap):
            pixels = np.clip(np.rint(pixels.astype(np.float32) * 255), 0, 255).astype(np.uint8)
        if pixels.ndim == 3:
            _write_volume(case, finding, pixels.astype(np.uint8), folder / names[finding.id])
        else:
            Picture.fromarray(pixels).save(folder / names[finding.id], compress_level=4)


def _write_volume(case: Case, finding: Finding, pixels: NDArray[np.uint8], path: Path) -> None:
    from osler.io.nifti_out import write_nifti

    image = case.items.get(finding.item) if finding.item else None
    if not isinstance(image, Image) or image.shape != pixels.shape:
        there = image.shape if isinstance(image, Image) else "no image"
        raise OutputError(
            f"mask '{finding.id}' of case '{case.id}' has shape {pixels.shape} and its image "
            f"'{finding.item}' {there}; a mask lies in the grid of its image"
        )
    placed = Image(finding.id, pixels[None], "SEG", spacing=image.spacing, affine=image.affine)
    write_nifti(placed, path)


def read_pixels(path: Path) -> NDArray[Any]:
    """The pixels of a file written by ``write_masks``: ``([D,] H, W)``, boolean or ``uint8``.

    Raises:
        UnreadableError: the file is missing or damaged.
    """
    if path.name.endswith(VOLUME):
        return _read_volume(path)
    try:
        with Picture.open(path, formats=("PNG",)) as picture:
            return np.asarray(picture if picture.mode == "1" else picture.convert("L"))
    except (OSError, ValueError, SyntaxError, Picture.DecompressionBombError) as error:
        raise UnreadableError(
            f"{path}: no readable mask ({error}); write the case again"
        ) from error


def _read_volume(path: Path) -> NDArray[Any]:
    from osler.io.input_file import MAX_PIXELS, opened
    from osler.io.nifti import read_nifti

    try:
        with opened(path) as file:
            image = read_nifti(file, "nifti", max_pixels=MAX_PIXELS)
            return np.asarray(image.array[0], np.uint8)
    except (InputError, OSError) as error:
        raise UnreadableError(
            f"{path}: no readable mask ({error}); write the case again"
        ) from error


def write_overlay(case: Case, folder: Path) -> None:
    """Write the photograph with vessels, disc, cup, fovea and lesions drawn on it, and a legend."""
    photo = photo_of(case)
    if photo is not None:
        picture = Picture.fromarray(draw_overlay(case, photo))
        # A photograph packs no better with more effort; level 1 takes a third of the time.
        picture.save(folder / OVERLAY, compress_level=1)


def draw_overlay(case: Case, photo: Image) -> NDArray[np.uint8]:
    """The photograph with its findings drawn on it, ``(H, W, 3)`` in native size."""
    canvas = as_rgb(photo).copy()
    height, width = canvas.shape[:2]
    line = max(1, round(min(height, width) / 500))
    drawn: list[tuple[Layer, str]] = []
    for layer, finding in layers_of(case, item=photo.name):
        if layer.style in ("heat", "dashed") or layer.group == "other":
            continue
        if isinstance(finding, Mask) and finding.mask.shape == (height, width):
            mask = finding.mask
            if layer.id == "vessels":
                mask = mask & ~_told_apart(case, mask)
            if mask.any():
                _draw_mask(canvas, mask, layer, line)
                drawn.append((layer, finding.name))
        elif isinstance(finding, Point) and len(finding.position) == 2:
            _draw_cross(canvas, finding, rgb(layer.colour), line)
            drawn.append((layer, finding.name))
    return _with_legend(canvas, list(reversed(drawn))) if min(height, width) >= 400 else canvas


def _told_apart(case: Case, vessels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels that are known to be artery or vein, whose colours show through no other."""
    known = np.zeros_like(vessels)
    for id in ("artery", "vein"):
        mask = case.get(id, Mask)
        if mask is not None and mask.mask.shape == vessels.shape:
            known |= mask.mask
    return known


def _draw_mask(canvas: NDArray[np.uint8], mask: NDArray[np.bool_], layer: Layer, line: int) -> None:
    window = _window(mask, margin=line + 1)
    inside, part = mask[window], canvas[window]
    if layer.style != "line":
        _blend(part, inside, layer, _FILL if layer.style == "fill" else _INSIDE)
    if layer.style != "fill":
        _blend(part, _grown(inside, line) & ~inside, layer, 1.0)


def _blend(part: NDArray[np.uint8], where: NDArray[np.bool_], layer: Layer, alpha: float) -> None:
    colour = np.array(rgb(layer.colour), np.float32)
    part[where] = (part[where] * np.float32(1 - alpha) + colour * np.float32(alpha)).astype(
        np.uint8
    )


def _window(mask: NDArray[np.bool_], *, margin: int) -> tuple[slice, slice]:
    """The box round what is true, widened by a margin in pixels."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(rows[0] - margin, 0), rows[-1] + margin + 1),
        slice(max(cols[0] - margin, 0), cols[-1] + margin + 1),
    )


def _grown(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Dilation by alternating square and cross, near enough to round for a thin line."""
    grown = mask.copy()
    for step in range(steps):
        before = grown.copy()
        grown[1:] |= before[:-1]
        grown[:-1] |= before[1:]
        if step % 2:
            before = grown.copy()
        grown[:, 1:] |= before[:, :-1]
        grown[:, :-1] |= before[:, 1:]
    return grown


def _draw_cross(
    canvas: NDArray[np.uint8], point: Finding, colour: tuple[int, int, int], line: int
) -> None:
    assert isinstance(point, Point)
    row, col = (round(v) for v in point.position)
    arm = 8 * line
    low = max(row - line // 2, 0), max(col - line // 2, 0)
    canvas[low[0] : max(low[0] + line, 0), max(col - arm, 0) : max(col + arm + 1, 0)] = colour
    canvas[max(row - arm, 0) : max(row + arm + 1, 0), low[1] : max(low[1] + line, 0)] = colour


def _with_legend(canvas: NDArray[np.uint8], drawn: list[tuple[Layer, str]]) -> NDArray[np.uint8]:
    """Names the colours in the lower left corner, which a round photograph leaves black."""
    if not drawn:
        return canvas
    size = max(11, canvas.shape[0] // 75)
    font = ImageFont.load_default(size=size)
    step, edge = round(size * 1.5), size
    widest = max(font.getlength(name) for _, name in drawn)
    box_height, box_width = step * len(drawn) + edge, round(widest + 3 * edge)
    top = canvas.shape[0] - box_height
    corner = canvas[top:, :box_width]
    corner[:] = corner // 4  # legible where the retina reaches into the corner
    picture = Picture.fromarray(corner)
    pen = ImageDraw.Draw(picture)
    for number, (layer, name) in enumerate(drawn):
        y = edge // 2 + number * step
        pen.rectangle((edge // 2, y + 2, edge // 2 + size, y + size), fill=rgb(layer.colour))
        pen.text((2 * edge, y), name, font=font, fill=(240, 240, 240))
    corner[:] = np.asarray(picture)
    return canvas
