"""Pictures of a map: over the photograph, or over the hottest slices of a volume."""

import base64
import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from osler.io.masks import as_rgb
from osler.record import Heatmap, Image

_WIDEST: Final = 1200
_STRONGEST: Final = 0.72  # opacity of the hottest place, so that the picture is seen through it
_CLEAR: Final = 0.06  # heat below which nothing is drawn


def overlay(image: Image, heatmap: Heatmap, *, depth: int | None = None) -> Picture.Image:
    """The map over the picture, in native size.

    Args:
        image: the item that the map lies on.
        heatmap: in its native grid.
        depth: the slice of a volume; None takes the hottest.
    """
    base, heat = _plane(image, heatmap, depth)
    veil = Picture.fromarray(_coloured(heat), "RGBA")
    return Picture.alpha_composite(base.convert("RGBA"), veil).convert("RGB")


def hottest(heatmap: Heatmap) -> int:
    """The slice of a volume with the most heat."""
    return int(heatmap.values.astype(np.float32).sum(axis=(1, 2)).argmax())


def address(picture: Picture.Image, *, kind: str = "JPEG", widest: int = _WIDEST) -> str:
    """A data address of a picture, reduced to a width; a veil as PNG keeps its clear parts."""
    if picture.width > widest:
        height = max(1, round(picture.height * widest / picture.width))
        picture = picture.resize((widest, height), Picture.Resampling.BOX)
    buffer = io.BytesIO()
    if kind == "JPEG":
        picture.save(buffer, "JPEG", quality=85)
    else:
        picture.save(buffer, "PNG", optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def layers(
    image: Image, heatmap: Heatmap, *, depth: int | None = None
) -> tuple[Picture.Image, Picture.Image]:
    """The bare picture and the veil of heat, in native size."""
    base, heat = _plane(image, heatmap, depth)
    return base, Picture.fromarray(_coloured(heat), "RGBA")


def _plane(
    image: Image, heatmap: Heatmap, depth: int | None
) -> tuple[Picture.Image, NDArray[np.float32]]:
    if len(image.shape) == 2:
        return Picture.fromarray(as_rgb(image)), heatmap.values.astype(np.float32)
    at = hottest(heatmap) if depth is None else depth
    plane = Image("slice", np.asarray(_windowed(image, at)), "OT")
    return Picture.fromarray(as_rgb(plane)), heatmap.values[at].astype(np.float32)


def _windowed(image: Image, depth: int) -> NDArray[np.uint8]:
    """One slice ``(1, H, W)`` in 8 bit: by the file's window, else by the volume's own range."""
    part = np.asarray(image.region(slice(depth, depth + 1), slice(None), slice(None)))[:1, 0]
    if image.window is not None:
        low = image.window[0] - image.window[1] / 2
        high = image.window[0] + image.window[1] / 2
    else:
        low, high = (float(v) for v in np.percentile(part, [0.5, 99.5]))
    scaled = (part.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)


def _coloured(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """``(H, W)`` in 0 to 1 to ``(H, W, 4)``: clear, then violet over red to yellow, rising light.

    Lightness rises with heat, so that the order is seen without colours too.
    """
    stops = np.array([0.0, 0.35, 0.7, 1.0])
    colours = np.array([[70, 20, 120], [200, 40, 90], [250, 130, 40], [255, 240, 110]], float)
    value = np.clip(heat, 0, 1)
    out = np.empty((*heat.shape, 4), np.uint8)
    for channel in range(3):
        out[..., channel] = np.interp(value, stops, colours[:, channel]).astype(np.uint8)
    shown = np.clip((value - _CLEAR) / (1 - _CLEAR), 0, 1)
    out[..., 3] = (255 * _STRONGEST * np.sqrt(shown)).astype(np.uint8)
    return out
