"""Values of images changed at random: fields, blur, coarse pixels, noise, contrast, gamma.

Blur and loss of resolution are linear and act on each axis alone, so the two of an image are one
matrix an axis. It holds the treatment of the edges too, and is multiplied in blocks, without the
zeros far from its diagonal.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from osler.learn.augmenting_settings import Augmentation
from osler.learn.augmenting_space import Floats, axes_of, spline_basis

_BLOCK: Final = 32  # rows of a filter's matrix multiplied at a time
_FIELD_CELLS: Final = 3  # of a bias field along an axis
_TRUNCATED: Final = 4.0  # standard deviations after which a Gaussian ends, as in scipy.ndimage
CHANGES: Final = 8  # kinds of random numbers below


def change_values(
    images: Tensor,
    settings: Augmentation,
    spacing: tuple[float, ...] | None,
    rngs: Sequence[Sequence[np.random.Generator]],
) -> Tensor:
    """Change the values of images in place.

    Args:
        images: ``(B, C, [D,] H, W)`` float32.
        settings: what may happen.
        spacing: of the axes; None for equal.
        rngs: of each image, ``CHANGES`` generators.
    """
    for image, own in zip(images, rngs, strict=True):
        together = settings.channels == "together"
        for part in [image] if together else image.split(1):
            _change(part, settings, spacing, own)
    return images


def _change(
    image: Tensor,
    settings: Augmentation,
    spacing: tuple[float, ...] | None,
    rngs: Sequence[np.random.Generator],
) -> None:
    """Change the values of one image ``(C, *shape)``, all channels alike."""
    shape = tuple(image.shape[1:])
    if (bias := settings.bias_field) and _happens(rngs[0], bias.probability):
        image.mul_(bias_field(shape, bias.strength, rngs[0]).to(image.device))
    filters: list[Floats | None] = [None] * len(shape)
    if (blur := settings.blur) and _happens(rngs[1], blur.probability):
        sigma = rngs[1].uniform(*blur.sigma)
        size = np.ones(len(shape)) if spacing is None else np.array(spacing) / min(spacing)
        filters = [gaussian(n, sigma / s) for n, s in zip(shape, size, strict=True)]
    if (low := settings.low_resolution) and _happens(rngs[2], low.probability):
        factor = _factor(rngs[2], low.factor)
        for a in axes_of(low.axes, len(shape)):
            coarse, fine = coarser(shape[a], factor), filters[a]
            filters[a] = coarse if fine is None else _product(coarse, fine)
    apply_filters(image, filters)
    if (noise := settings.noise) and _happens(rngs[3], noise.probability):
        deviation = rngs[3].uniform(*noise.deviation)
        seed = int(rngs[3].integers(2**62))
        generator = torch.Generator(image.device).manual_seed(seed)
        spread = _moments(image)[1]
        drawn = torch.randn(image.shape, generator=generator, device=image.device)
        image.add_(drawn.mul_(spread * deviation))
    if (bright := settings.brightness) and _happens(rngs[4], bright.probability):
        shift = rngs[4].uniform(*bright.shift)
        added = _moments(image)[1] * shift if shift else None
        image.mul_(_factor(rngs[4], bright.factor))
        if added is not None:
            image.add_(added)
    if (contrast := settings.contrast) and _happens(rngs[5], contrast.probability):
        change_contrast(image, _factor(rngs[5], contrast.factor))
    if (gamma := settings.gamma) and _happens(rngs[6], gamma.probability):
        inverted = bool(rngs[6].random() < gamma.inverted)
        change_gamma(image, _factor(rngs[6], gamma.gamma), inverted=inverted)


def change_contrast(image: Tensor, factor: float) -> None:
    """Magnify the distance of ``(C, *shape)`` from each channel's mean, within its range."""
    mean = _moments(image, spread=False)[0]
    low, high = _range(image)
    image.sub_(mean).mul_(factor).add_(mean)
    torch.clamp(image, low, high, out=image)


def change_gamma(image: Tensor, gamma: float, *, inverted: bool) -> None:
    """Raise ``(C, *shape)`` to a power within each channel's range; keep mean and deviation.

    Channels of one value stay as they are.
    """
    mean, spread = _moments(image)
    low, high = _range(image)
    width = high - low
    flat = width == 0
    width = torch.where(flat, torch.ones_like(width), width)
    if inverted:
        image.neg_().add_(high)
    else:
        image.sub_(low)
    image.div_(width)
    # x ** gamma; log and exp are vectorised where pow is not
    image.clamp_(min=0).log_().mul_(gamma).exp_()
    if inverted:
        image.neg_()
    now, now_spread = _moments(image)
    now_spread = torch.where(now_spread > 0, now_spread, torch.ones_like(now_spread))
    image.sub_(now).mul_(spread / now_spread).add_(mean)
    torch.where(flat, low, image, out=image)


def bias_field(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> Tensor:
    """A smooth positive field of cubic B-splines, its logarithm within ``strength`` of zero."""
    counts = [_FIELD_CELLS + 3] * len(shape)
    out = torch.from_numpy(rng.uniform(-strength, strength, counts)).float()
    for axis, n in enumerate(shape):
        place = np.arange(n, dtype=float) * (_FIELD_CELLS / max(n - 1, 1)) + 1
        weights = torch.from_numpy(spline_basis(place, counts[axis])).float()
        out = torch.tensordot(out, weights, dims=([axis], [1])).movedim(-1, axis)
    return out.contiguous().exp_()


def gaussian(n: int, sigma: float) -> Floats | None:
    """``(n, n)``: a Gaussian filter, the image mirrored at its edges; None for no blur."""
    radius = int(_TRUNCATED * sigma + 0.5)
    if radius == 0:
        return None
    away = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (away / sigma) ** 2)
    weights /= weights.sum()
    out = np.zeros((n, n))
    rows = np.arange(n)
    for step, weight in zip(away, weights, strict=True):
        from_ = (rows + step) % (2 * n)
        np.add.at(out, (rows, np.where(from_ < n, from_, 2 * n - 1 - from_)), weight)
    return out


def coarser(n: int, factor: float) -> Floats:
    """``(n, n)``: the nearest of n / factor samples, interpolated linearly back to n."""
    few = max(1, round(n / factor))
    kept = np.floor((np.arange(few) + 0.5) * (n / few)).astype(int)
    place = np.clip((np.arange(n) + 0.5) * (few / n) - 0.5, 0, few - 1)
    low = np.minimum(np.floor(place).astype(int), max(few - 2, 0))
    far = place - low
    out = np.zeros((n, n))
    rows = np.arange(n)
    np.add.at(out, (rows, kept[low]), 1 - far)
    np.add.at(out, (rows, kept[np.minimum(low + 1, few - 1)]), far)
    return out


def _product(one: Floats, other: Floats) -> Floats:
    """Of matrices, by torch: numpy's BLAS would start threads of its own."""
    out: Floats = (torch.from_numpy(one) @ torch.from_numpy(other)).numpy()
    return out


def apply_filters(image: Tensor, filters: Sequence[Floats | None]) -> None:
    """Multiply the axes of ``(C, *shape)`` by matrices ``(n, n)``, in place."""
    for axis, matrix in enumerate(filters):
        if matrix is None:
            continue
        n = matrix.shape[0]
        old = image.clone()
        weights = torch.from_numpy(matrix).float().to(image.device)
        after = math.prod(image.shape[axis + 2 :])
        for first in range(0, n, _BLOCK):
            last = min(n, first + _BLOCK)
            used = np.flatnonzero(matrix[first:last].any(axis=0))
            low, high = int(used[0]), int(used[-1]) + 1
            part = weights[first:last, low:high]
            if after == 1:
                new = image.view(-1, n)[:, first:last]
                torch.mm(old.view(-1, n)[:, low:high], part.T, out=new)
            else:
                lines = old.view(-1, n, after)[:, low:high]
                image.view(-1, n, after)[:, first:last] = torch.matmul(part, lines)


def _moments(image: Tensor, *, spread: bool = True) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, ``(C, 1, ...)``."""
    flat = image.flatten(1)
    mean = flat.mean(dim=1, keepdim=True)
    deviation = mean
    if spread:
        deviation = torch.linalg.vector_norm(flat - mean, dim=1, keepdim=True)
        deviation = deviation / math.sqrt(flat.shape[1])
    wide = (-1,) + (1,) * (image.ndim - 1)
    return mean.view(wide), deviation.view(wide)


def _range(image: Tensor) -> tuple[Tensor, Tensor]:
    low, high = image.flatten(1).aminmax(dim=1)
    wide = (-1,) + (1,) * (image.ndim - 1)
    return low.view(wide), high.view(wide)


def _factor(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


def _happens(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)
