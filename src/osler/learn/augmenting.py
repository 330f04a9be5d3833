"""Training images changed at random, with their masks, points and boxes.

    settings = Augmentation.model_validate("standard")
    images, masks = augment(images, masks, settings, torch.Generator().manual_seed(1))

Pictures and volumes, in batches, on a processor and on a graphics card. What happens to an image
depends on the generator, the settings and the image's place in the batch, and each kind of change
has random numbers of its own: to leave one out does not alter the others. The numbers are drawn
on the processor and nothing waits for the card. Noise is drawn where the image is, so a card's
differs from a processor's; all else is equal but for rounding.

On a processor each image takes one thread, and as many images are changed at a time as torch has
threads: threads that share the work of one image wait for each other after every small step.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from osler.learn.augmenting_resampling import resample
from osler.learn.augmenting_settings import Augmentation
from osler.learn.augmenting_space import Warp, draw_warp
from osler.learn.augmenting_values import CHANGES, change_values

__all__ = ("Augmentation", "Changes", "augment", "augment_places", "changed_apart", "draw_changes")

_T = TypeVar("_T")
_IN_SPACE: Final = 6  # changes in space, each with random numbers of its own


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What happens to a batch: drawn once, and then done to all that belongs to it.

    Attributes:
        settings: what it was drawn from.
        spacing: of the axes; None for equal.
        warps: where each image goes.
        seed: of the changes of values.
    """

    settings: Augmentation
    spacing: tuple[float, ...] | None
    warps: tuple[Warp, ...]
    seed: int

    def apply(self, images: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """New images and masks; see :func:`augment`."""
        _check(images, masks, self.warps)
        if images.device.type != "cpu":
            return self._apply(images, masks, range(len(images)))

        def one(b: int) -> tuple[Tensor, Tensor | None]:
            own = slice(b, b + 1)
            return self._apply(images[own], None if masks is None else masks[own], [b])

        parts = _at_once(one, len(images))
        if len(parts) == 1:
            return parts[0]
        new_masks = [mask for _, mask in parts if mask is not None]
        return torch.cat([new for new, _ in parts]), torch.cat(new_masks) if new_masks else None

    @torch.no_grad()
    def _apply(
        self, images: Tensor, masks: Tensor | None, which: Sequence[int]
    ) -> tuple[Tensor, Tensor | None]:
        """Of the images of some places in the batch."""
        with torch.autocast(images.device.type, enabled=False):
            moved, masks = resample(
                images,
                masks,
                [self.warps[b] for b in which],
                outside=self.settings.outside,
                labels=self.settings.labels,
            )
            values = moved.float().contiguous()
            rngs = [[_rng(self.seed, b, _IN_SPACE + k) for k in range(CHANGES)] for b in which]
            return change_values(values, self.settings, self.spacing, rngs).to(images.dtype), masks

    def points(self, points: Sequence[Tensor]) -> list[Tensor]:
        """Where points ``(P, n)`` of each image went; see :func:`augment_places`."""
        return [
            torch.from_numpy(warp.new(own.cpu().numpy())).to(own)
            for warp, own in zip(self.warps, points, strict=True)
        ]

    def boxes(self, boxes: Sequence[Tensor]) -> list[Tensor]:
        """The boxes ``(K, 2 n)`` of each image after it moved; see :func:`augment_places`."""
        return [
            torch.from_numpy(warp.new_boxes(own.cpu().numpy())).to(own)
            for warp, own in zip(self.warps, boxes, strict=True)
        ]


def changed_apart(
    images: Mapping[str, Tensor],
    names: Iterable[str],
    settings: Augmentation,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Images of several things, each changed by itself, whatever its size.

    Args:
        images: name to ``(B, C, [D,] H, W)``; more than those that are named may be there.
        names: of those that are changed, which are given back.
        settings: what may happen.
        generator: of the processor.
    """
    out = {}
    for name in names:
        drawn = draw_changes(len(images[name]), images[name].shape[2:], settings, generator)
        out[name], _ = drawn.apply(images[name])
    return out


def draw_changes(
    batch: int,
    shape: Sequence[int],
    settings: Augmentation,
    generator: torch.Generator,
    *,
    spacing: Sequence[float] | None = None,
) -> Changes:
    """Draw what happens to a batch.

    Args:
        batch: images in it.
        shape: ``(H, W)`` or ``(D, H, W)``.
        settings: what may happen.
        generator: of the processor; one number is drawn from it.
        spacing: of the axes, in any one unit; None for pixels that are squares or cubes.
    """
    sides = tuple(int(n) for n in shape)
    if spacing is not None and (len(spacing) != len(sides) or min(spacing) <= 0):
        raise ValueError(f"spacing {tuple(spacing)} does not fit an image of {sides}")
    size = None if spacing is None else tuple(float(s) for s in spacing)
    seed = int(torch.randint(2**62, (), generator=generator))
    warps = tuple(
        draw_warp(settings, sides, size, [_rng(seed, b, k) for k in range(_IN_SPACE)])
        for b in range(batch)
    )
    return Changes(settings, size, warps, seed)


def augment(
    images: Tensor,
    masks: Tensor | None,
    settings: Augmentation,
    generator: torch.Generator,
    *,
    spacing: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Change images at random, and their masks with them.

    Args:
        images: ``(B, C, [D,] H, W)``, floating point.
        masks: ``(B, L, [D,] H, W)``: label maps or channels of whole numbers or truth values, of
            which no new value comes; or floating point, which is interpolated.
        settings: what may happen.
        generator: of the processor, on whatever device the images are; one number is drawn from
            it.
        spacing: of the axes, in any one unit; None for pixels that are squares or cubes.

    Returns:
        new tensors of the same shapes and types; the same values where nothing happens.

    Raises:
        ValueError: a shape, type or spacing does not fit.
    """
    changes = draw_changes(len(images), images.shape[2:], settings, generator, spacing=spacing)
    return changes.apply(images, masks)


def augment_places(
    images: Tensor,
    masks: Tensor | None,
    settings: Augmentation,
    generator: torch.Generator,
    *,
    points: Sequence[Tensor] | None = None,
    boxes: Sequence[Tensor] | None = None,
    spacing: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor | None, list[Tensor] | None, list[Tensor] | None]:
    """As :func:`augment`, with what is to be found in the images.

    Args:
        images: as there.
        masks: as there.
        settings: as there.
        generator: as there.
        spacing: as there.
        points: of each image ``(P, n)`` indices of pixels, 0 at the first one's centre.
        boxes: of each image ``(K, 2 n)``: the first index inside on every axis, then the first
            beyond.

    Returns:
        images, masks, points and boxes. Places may lie beyond the image; boxes enclose the
        ellipse that filled the old one (:meth:`osler.learn.augmenting_space.Warp.new_boxes`).
    """
    changes = draw_changes(len(images), images.shape[2:], settings, generator, spacing=spacing)
    new_images, new_masks = changes.apply(images, masks)
    return (
        new_images,
        new_masks,
        None if points is None else changes.points(points),
        None if boxes is None else changes.boxes(boxes),
    )


def _at_once(one: Callable[[int], _T], count: int) -> list[_T]:
    """Call for each number below ``count``: a thread each, as many at a time as torch has."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        if min(threads, count) <= 1:
            return [one(b) for b in range(count)]
        with ThreadPoolExecutor(
            min(threads, count), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            return list(pool.map(one, range(count)))
    finally:
        torch.set_num_threads(threads)


def _rng(seed: int, image: int, change: int) -> np.random.Generator:
    return np.random.default_rng([seed, image, change])


def _check(images: Tensor, masks: Tensor | None, warps: Sequence[Warp]) -> None:
    if images.ndim not in (4, 5) or not len(images) or not images.is_floating_point():
        raise ValueError(
            f"images are {tuple(images.shape)} of {images.dtype}; they must be (B, C, H, W) or "
            "(B, C, D, H, W), floating point"
        )
    if masks is not None and (masks.shape[:1], masks.shape[2:]) != (
        images.shape[:1], images.shape[2:],
    ):  # fmt: skip
        raise ValueError(f"masks {tuple(masks.shape)} do not lie on images {tuple(images.shape)}")
    if [w.shape for w in warps] != [tuple(images.shape[2:])] * len(images):
        raise ValueError(f"the changes were not drawn for images {tuple(images.shape)}")
