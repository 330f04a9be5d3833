"""What no retina can look like, told by rule beside what the network says.

The network learnt from made-up pictures what is no fundus photograph. Two simple facts guard it:
a retina in colour is red before green before blue; one without a round field is taken for a retina
only where the network is nearly certain or a disc of a disc's size is seen; and one without colour
(red-free) only where there is all of this.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from osler.retina.predict import Prediction
from osler.tasks.field import Field

_GREY = 0.10  # mean saturation below which a picture has no colour
_PALE = 0.18  # mean saturation below which a picture in colour is no retina
_ORDER = 0.35  # least share of pixels that are red before green before blue
_SURE = 0.9  # least probability of a fundus for a picture without colour
_CERTAIN = 0.97  # and for a picture in colour with neither a round field nor a disc
_DISC = (0.008, 0.05)  # share of the field that a disc covers, least and most


def saturation(pixels: NDArray[np.uint8], field: Field) -> float:
    """Mean of ``(max - min) / max`` over the colours of the pixels inside the field, 0 to 1."""
    inside = _inside(pixels, field)
    most = inside.max(axis=0)
    return float(np.mean((most - inside.min(axis=0)) / (most + 1)))


def is_grey(pixels: NDArray[np.uint8], field: Field) -> bool:
    """Whether a picture ``(3, H, W)`` has no colour inside its field."""
    return saturation(pixels, field) < _GREY


def doubts(
    pixels: NDArray[np.uint8],
    field: Field,
    *,
    likely: float,
    anatomy: Prediction | None = None,
) -> tuple[str, ...]:
    """Why a picture cannot be a fundus photograph; empty where nothing speaks against it.

    Args:
        pixels: ``(3, H, W)``.
        field: its field of view.
        likely: the network's probability that it is one.
        anatomy: what the anatomy bundle said, where ``needs_anatomy``.

    Returns:
        Flags: ``colour-implausible``, ``no-circle``, ``disc-not-found``, ``uncertain``.
    """
    if not is_grey(pixels, field):
        inside = _inside(pixels, field)
        ordered = float(np.mean((inside[0] >= inside[1]) & (inside[1] >= inside[2] - 8)))
        if saturation(pixels, field) < _PALE or ordered < _ORDER:
            return ("colour-implausible",)
        if field.circular or likely >= _CERTAIN or _shows_disc(field, anatomy):
            return ()
        return ("no-circle", "disc-not-found")
    found: list[str] = []
    if likely < _SURE:
        found.append("uncertain")
    if not field.circular:
        found.append("no-circle")
    if not _shows_disc(field, anatomy):
        found.append("disc-not-found")
    return tuple(found)


def needs_anatomy(pixels: NDArray[np.uint8], field: Field) -> bool:
    """Whether a disc must be looked for before a picture is taken for a retina."""
    return not field.circular or is_grey(pixels, field)


def _shows_disc(field: Field, anatomy: Prediction | None) -> bool:
    if anatomy is None:
        return False
    share = anatomy.masks["optic disc"].sum() / max(int(field.mask().sum()), 1)
    return bool(_DISC[0] <= share <= _DISC[1])


def _inside(pixels: NDArray[np.uint8], field: Field) -> NDArray[np.float32]:
    """Every third pixel inside the field, ``(3, N)``."""
    steps: Sequence[slice] = (slice(None, None, 3), slice(None, None, 3))
    return pixels[:, *steps][:, field.mask()[*steps]].astype(np.float32)
