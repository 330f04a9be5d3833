"""Prompts of a segmentation: boxes and points that say what is to be marked.

A prompt becomes two channels behind those of the image. Of a ``box``: 1 inside any box, and 1
outside all of them. Of a ``point``: balls around points on the structure, and around points that
are off it (`Point` findings named ``"background"``). Without any prompt the first is empty, and the
network is taught to mark nothing.

Training draws prompts from the truth anew in each step: some of its connected parts, boxes whose
sides are off by up to a tenth, points anywhere on the parts and, every other time, one beside
them; what is marked is the chosen parts. Where truth is judged and the case brings no prompt of its
own, each part gives its exact box, or its innermost voxel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.record import Box, Case, Point

CHANNELS: Final = ("wanted", "unwanted")
OFF: Final = "background"
_RADIUS: Final = 2.5  # voxels of the ball around a point
_JITTER: Final = 0.1  # of a box's side

Place = NDArray[np.float64]


@dataclass(slots=True)
class Prompt:
    """Boxes or points, in voxels of one grid.

    Attributes:
        boxes: first corner and the one opposite, outer faces, indices of voxel centres.
        on: points on the structure.
        off: points beside it.
    """

    boxes: list[tuple[Place, Place]]
    on: list[Place]
    off: list[Place]

    def drawn(self, kind: str, shape: Sequence[int]) -> NDArray[np.float32]:
        """The channels ``(2, ...)``."""
        out = np.zeros((2, *shape), np.float32)
        if kind == "box":
            for low, high in self.boxes:
                start = np.clip(np.ceil(np.minimum(low, high)), 0, np.array(shape) - 1).astype(int)
                stop = np.maximum(np.floor(np.maximum(low, high)).astype(int) + 1, start + 1)
                inside: tuple[Any, ...] = (0, *map(slice, start.tolist(), stop.tolist()))
                out[inside] = 1
            out[1] = 1 - out[0]
            return out
        for plane, places in zip(out, (self.on, self.off), strict=True):
            for place in places:
                _ball(plane, place)
        return out


def _ball(plane: NDArray[np.float32], place: Place) -> None:
    low = np.maximum(np.ceil(place - _RADIUS), 0).astype(int)
    high = np.minimum(np.floor(place + _RADIUS).astype(int) + 1, plane.shape)
    if (high <= low).any():
        return
    axes = np.ix_(*(np.arange(a, b) - c for a, b, c in zip(low, high, place, strict=True)))
    away = sum(one**2 for one in axes)
    cut = tuple(map(slice, low.tolist(), high.tolist()))
    plane[cut] = np.maximum(plane[cut], away <= _RADIUS**2)


def of_case(case: Case, kind: str, item: str, moved: Callable[[Place], Place]) -> Prompt | None:
    """The prompts that stand in a case as findings about an item; None without any.

    Args:
        case: with `Box` or `Point` findings.
        kind: ``"box"`` or ``"point"``.
        item: the image's name; findings that name no item count as well.
        moved: native indices to those of the wanted grid.
    """
    if kind == "box":
        found = [one for one in case.of(Box) if one.item in (item, None)]
        corners = [
            (moved(np.array(one.start) - 0.5), moved(np.array(one.stop) - 0.5)) for one in found
        ]
        return Prompt(corners, [], []) if corners else None
    points = [one for one in case.of(Point) if one.item in (item, None)]
    if not any(one.name != OFF for one in points):
        return None
    return Prompt(
        [],
        [moved(np.array(one.position, float)) for one in points if one.name != OFF],
        [moved(np.array(one.position, float)) for one in points if one.name == OFF],
    )


def missing(case: Case, kind: str) -> InputError:
    """What to say of a case without a prompt."""
    finding, cell = ("Box", "h0;w0;h1;w1") if kind == "box" else ("Point", "h;w")
    return InputError(
        f"case '{case.id}' has no {kind} that says what to mark; give --{kind}, a column "
        f"label:NAME of the cohort with {cell}, or a finding osler.record.{finding}"
    )


def parts_of(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Numbers of the connected parts, 0 outside."""
    from scipy import ndimage

    numbered, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return np.asarray(numbered, np.int32)


def exact(parts: NDArray[np.int32], kind: str) -> Prompt:
    """The box of each part, or its innermost voxel."""
    from scipy import ndimage

    prompt = Prompt([], [], [])
    for number, cut in enumerate(ndimage.find_objects(parts), 1):
        low = np.array([one.start for one in cut], float)
        if kind == "box":
            high = np.array([one.stop for one in cut], float)
            prompt.boxes.append((low - 0.5, high - 0.5))
            continue
        inside = np.pad(parts[cut] == number, 1)
        deep = ndimage.distance_transform_edt(inside)
        deepest = np.array(np.unravel_index(int(deep.argmax()), deep.shape), np.float64)
        prompt.on.append(low + deepest - 1.0)
    return prompt


def simulated(
    parts: NDArray[np.int32], kind: str, rng: np.random.Generator
) -> tuple[Prompt, NDArray[Any]]:
    """A prompt as a hurried person gives it, and the parts that it means."""
    from scipy import ndimage

    found = ndimage.find_objects(parts)
    prompt = Prompt([], [], [])
    if not found:
        return prompt, np.zeros(parts.shape, bool)
    numbers = 1 + rng.choice(len(found), int(rng.integers(1, len(found) + 1)), replace=False)
    meant = np.isin(parts, numbers)
    for number in numbers:
        cut = found[number - 1]
        low = np.array([one.start for one in cut], float) - 0.5
        high = np.array([one.stop for one in cut], float) - 0.5
        if kind == "box":
            slack = _JITTER * (high - low)
            prompt.boxes.append(
                (low + rng.uniform(-slack, slack), high + rng.uniform(-slack, slack))
            )
            continue
        places = np.argwhere(parts[cut] == number)
        prompt.on.append(low + 0.5 + places[rng.integers(len(places))])
        if rng.random() < 0.5:  # one that is off it, near by
            reach = np.maximum(2.0, 0.5 * (high - low))
            place = np.rint(rng.uniform(low - reach, high + reach))
            place = np.clip(place, 0, np.array(parts.shape) - 1)
            if not parts[tuple(place.astype(int))]:
                prompt.off.append(place)
    return prompt, meant
