"""The way back through the steps by which a picture became a network's input."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.tasks.image_input import resized

Heat = NDArray[np.float32]


def way_home(steps: Sequence[Any], size: tuple[int, int]) -> Callable[[Heat], Heat]:
    """What brings a map on a network's input back to the picture.

    Resizing is undone by resizing (linear), padding by cutting, cropping by zeros round it: the
    network saw nothing there.

    Args:
        steps: of ``osler.models.preprocessing``, in order.
        size: ``(H, W)`` of the picture.

    Returns:
        A function of ``(h, w)`` to ``(H, W)``.
    """
    undo: list[Callable[[Heat], Heat]] = []
    for step in steps:
        before = size
        changed = step.resized(size)
        if changed is not None:
            size = (int(changed[0]), int(changed[1]))
            undo.append(partial(_resized, size=before))
        elif step.centre_crop is not None:
            side = step.centre_crop
            corner = round((size[0] - side) / 2), round((size[1] - side) / 2)
            size = (side, side)
            undo.append(partial(_within, size=before, at=corner))
        elif step.pad_square is not None:
            side = max(size)
            corner = (side - size[0]) // 2, (side - size[1]) // 2
            size = (side, side)
            undo.append(partial(_cut, size=before, at=corner))
        elif step.pad is not None:
            size = (step.pad, step.pad)
            undo.append(partial(_cut, size=before, at=(0, 0)))

    def home(heat: Heat) -> Heat:
        for one in reversed(undo):
            heat = one(heat)
        return heat

    return home


def _resized(heat: Heat, size: tuple[int, int]) -> Heat:
    return np.asarray(resized(heat[None], size)[0], np.float32)


def _within(heat: Heat, size: tuple[int, int], at: tuple[int, int]) -> Heat:
    out = np.zeros(size, np.float32)
    out[at[0] : at[0] + heat.shape[0], at[1] : at[1] + heat.shape[1]] = heat
    return out


def _cut(heat: Heat, size: tuple[int, int], at: tuple[int, int]) -> Heat:
    return np.asarray(heat[at[0] : at[0] + size[0], at[1] : at[1] + size[1]], np.float32)
