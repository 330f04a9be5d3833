"""A piece of an image as 8-bit colour, never larger than asked."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.language.tools_measuring import mask_of
from osler.record import Box, Case, Heatmap, Image, Mask, Point

_ROUND_A_POINT = 64  # pixels each way


def crop(
    case: Case, of: str | None, box: Sequence[int] | None, margin: float, most: int
) -> tuple[NDArray[np.uint8], Mapping[str, Any], tuple[str, ...]]:
    """A piece of a flat image.

    Args:
        case: that holds it.
        of: id of a finding to cut out, or None.
        box: ``[h0, w0, h1, w1]`` in pixels, where ``of`` is None.
        margin: share of the finding's size to show round it.
        most: longest side of what is given, pixels; a larger piece is thinned out.

    Returns:
        ``(3, H, W)`` sRGB, what it shows, and the evidence.

    Raises:
        InputError: the case has no flat image at hand, no such finding, or the box is empty.
    """
    finding = None
    if of is not None:
        finding = case.findings.get(of)
        if finding is None:
            raise InputError("the case has no finding of that id; list the findings to see which")
    image = _image(case, finding.item if finding else None)
    if finding is not None:
        start, stop = _extent(finding)
        grow = np.maximum((stop - start) * margin, 4)
        start, stop = np.floor(start - grow), np.ceil(stop + grow)
    else:
        assert box is not None
        start, stop = np.array(box[:2], float), np.array(box[2:], float)
    size = np.array(image.shape)
    low, high = (np.clip(x, 0, size).astype(int) for x in (start, stop))
    if (high <= low).any():
        raise InputError(f"the box lies outside the image of {size[0]} x {size[1]} pixels")
    pixels = image.region(slice(low[0], high[0]), slice(low[1], high[1]))
    step = int(np.ceil(max(high - low) / most))
    piece = _as_colour(pixels[:, ::step, ::step])
    values = {
        "box": [int(x) for x in (*low, *high)],
        "shape": list(piece.shape[1:]),
        "thinned": step,
        "image": image.name,
    }
    return piece, values, (*([of] if of else []), image.name)


def _image(case: Case, name: str | None) -> Image:
    images = [i for i in case.items.values() if isinstance(i, Image) and len(i.shape) == 2]
    named = [i for i in images if i.name == name] or (images if name is None else [])
    if len(named) != 1:
        raise InputError("the case has no such flat image at hand to cut a piece from")
    return named[0]


def _extent(finding: object) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if isinstance(finding, Mask) and len(finding.shape) == 2:
        mask = mask_of(finding)
        if not mask.any():
            raise InputError(f"nothing was found of '{finding.id}', so there is no piece of it")
        spans = [np.flatnonzero(mask.any(axis=1 - axis)) for axis in (0, 1)]
        return (
            np.array([s[0] for s in spans], float),
            np.array([s[-1] + 1 for s in spans], float),
        )
    if isinstance(finding, Box) and len(finding.start) == 2:
        return np.array(finding.start, float), np.array(finding.stop, float)
    if isinstance(finding, Point) and len(finding.position) == 2:
        at = np.array(finding.position, float)
        return at - _ROUND_A_POINT, at + _ROUND_A_POINT
    if isinstance(finding, Heatmap):
        raise InputError("a heat map covers the whole image; give a box")
    raise InputError("that finding has no place in a flat image")


def _as_colour(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """``(3, H, W)`` of 8 bits; other values are stretched from their least to their largest."""
    shown = pixels if pixels.shape[0] == 3 else np.repeat(pixels[:1], 3, axis=0)
    if shown.dtype == np.uint8:
        return np.ascontiguousarray(shown)
    values = np.nan_to_num(shown.astype(np.float32))
    low, high = float(values.min()), float(values.max())
    return ((values - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
