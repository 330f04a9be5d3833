"""Random patches of drawn cases: turned, scaled, mirrored, and photographed badly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from osler.errors import RecipeError
from osler.learn.fundus.canvases import Drawn
from osler.learn.fundus.recipe import Augment
from osler.learn.learner import Learner

_REMEMBERED = 20_000  # labelled pixels kept a label and case to centre patches on


@dataclass(frozen=True, slots=True)
class Batch:
    """Patches.

    Attributes:
        image: ``(B, 4, P, P)`` float32, 0 to 1.
        targets: ``(B, L, P, P)`` float32, 0 to 1.
        valid: ``(B, L, P, P)`` float32, 1 where a target counts.
    """

    image: Tensor
    targets: Tensor
    valid: Tensor


class Sampler:
    """Gives the batch of a step: the same for the same seed and step, whatever came before.

    So a run that is resumed sees exactly what it would have seen.

    Raises:
        RecipeError: the learner asks for a share of negatives, and all cases are of one kind.
    """

    def __init__(self, cases: Sequence[Drawn], learner: Learner, augment: Augment) -> None:
        self.cases = cases
        self.learner = learner
        self.augment = augment
        rng = np.random.default_rng(learner.seed)
        # where every target is known everywhere there is nothing to carry along
        self._all_known = all(case.valid.min() == 255 for case in cases)
        self._inside = [_some(case.image[3] > 0, rng) for case in cases]
        self._labelled = [
            [_some((t > 127) & (v > 0), rng) for t, v in zip(case.targets, case.valid, strict=True)]
            for case in cases
        ]
        labelled = [any(len(places) for places in one) for one in self._labelled]
        self._positives = [i for i, any_pixel in enumerate(labelled) if any_pixel]
        self._negatives = [i for i, any_pixel in enumerate(labelled) if not any_pixel]
        share = learner.negatives
        if share is not None and (
            (share > 0 and not self._negatives) or (share < 1 and not self._positives)
        ):
            lacking = "without" if self._positives else "with"
            raise RecipeError(
                f"learner.negatives is {share:g}, and no case that teaches is {lacking} any "
                "labelled pixel; write null to draw every case alike"
            )

    @torch.autocast("cpu", enabled=False)
    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        rng = np.random.default_rng([self.learner.seed, step])
        order = self._order(rng)
        patches = torch.cat([self._patch(i, rng) for i in order])
        labels = self.cases[0].targets.shape[0]
        field = (patches[:, 3:4] > 0.5).float()
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        colour = photograph_badly(patches[:, :3], self.augment, noise) * field
        if self._all_known:
            valid = field.expand(-1, labels, -1, -1)
        else:
            valid = (patches[:, 4 + labels :] > 0.99).float() * field
        return Batch(torch.cat([colour, field], 1), patches[:, 4 : 4 + labels], valid)

    def _order(self, rng: np.random.Generator) -> Sequence[int]:
        """Which case each patch of a batch is of."""
        count, share = self.learner.batch, self.learner.negatives
        if share is None:
            return [int(i) for i in rng.integers(len(self.cases), size=count)]
        negative = rng.random(count) < share
        groups = [self._negatives if one else self._positives for one in negative]
        return [group[rng.integers(len(group))] for group in groups]

    def _centre(self, index: int, rng: np.random.Generator) -> tuple[int, int]:
        places = self._inside[index]
        if rng.random() < self.learner.foreground:
            filled = [p for p in self._labelled[index] if len(p)]
            if filled:
                places = filled[rng.integers(len(filled))]
        h, w = places[rng.integers(len(places))]
        return int(h), int(w)

    def _patch(self, index: int, rng: np.random.Generator) -> Tensor:
        """``(1, 4 + 2 L, P, P)``: image, targets, and valid unless all is known."""
        case, side, augment = self.cases[index], self.learner.patch, self.augment
        low, high = np.log(augment.scale[0]), np.log(augment.scale[1])
        scale = float(np.exp(rng.uniform(low, high)))
        stretch = float(np.exp(rng.uniform(-0.1, 0.1)))
        angle = math.radians(float(rng.uniform(-augment.rotate, augment.rotate)))
        mirror = -1.0 if augment.flip and rng.random() < 0.5 else 1.0
        centre = np.array(self._centre(index, rng), float)
        centre += rng.uniform(-side / 4, side / 4, size=2) / scale
        reach = math.ceil(side * 0.72 * 1.11 / scale) + 2
        h0, w0 = int(centre[0]) - reach, int(centre[1]) - reach
        parts = [case.image, case.targets] + ([] if self._all_known else [case.valid])
        source = np.concatenate([_window(part, h0, w0, 2 * reach) for part in parts])
        cos, sin = math.cos(angle), math.sin(angle)
        zoom = side / (2 * reach * scale)
        matrix = torch.tensor([[
            [zoom * cos * mirror * stretch, -zoom * sin / stretch, 0.0],
            [zoom * sin * mirror * stretch, zoom * cos / stretch, 0.0],
        ]])  # fmt: skip
        shape = [1, source.shape[0], side, side]
        grid = functional.affine_grid(matrix, shape, align_corners=False)
        pixels = torch.from_numpy(source)[None].float().div_(255)
        return functional.grid_sample(pixels, grid, mode="bilinear", align_corners=False)


def _some(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    places = np.argwhere(mask)
    if len(places) > _REMEMBERED:
        places = places[rng.choice(len(places), _REMEMBERED, replace=False)]
    return places


def _window(array: NDArray[np.uint8], h0: int, w0: int, side: int) -> NDArray[np.uint8]:
    """A square window ``(C, side, side)``; zero beyond the array."""
    out = np.zeros((array.shape[0], side, side), np.uint8)
    a, b = max(0, h0), min(array.shape[1], h0 + side)
    c, d = max(0, w0), min(array.shape[2], w0 + side)
    if a < b and c < d:
        out[:, a - h0 : b - h0, c - w0 : d - w0] = array[:, a:b, c:d]
    return out


def photograph_badly(colour: Tensor, augment: Augment, noise: torch.Generator) -> Tensor:
    """Another camera, another day: colour, exposure, focus, uneven light, sensor noise.

    Args:
        colour: ``(B, 3, H, W)``, 0 to 1.
        augment: the strengths.
        noise: the source of randomness.
    """
    count = len(colour)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=noise)

    strength = augment.colour
    gamma = torch.exp(
        uniform(-0.7, 0.7, 1, 1, 1) * strength + uniform(-0.2, 0.2, 3, 1, 1) * strength
    )
    out = colour.clamp(min=1e-4) ** gamma
    gain = torch.exp(
        uniform(-0.5, 0.5, 1, 1, 1) * strength + uniform(-0.4, 0.4, 3, 1, 1) * strength
    )
    grey = out.mean(dim=1, keepdim=True)
    saturation = 1 + uniform(-0.8, 0.5, 1, 1, 1) * strength
    out = (grey + (out - grey) * saturation) * gain
    if augment.shading:
        coarse = uniform(-1, 1, 1, 3, 3) * augment.shading
        out = out * torch.exp(
            functional.interpolate(coarse, out.shape[2:], mode="bicubic", align_corners=False)
        )
    if augment.blur:
        out = _blur_each(
            out, augment.blur * uniform(0, 1, 1)[:, 0] ** 2 * (uniform(0, 1, 1)[:, 0] < 0.6)
        )
    if augment.coarse > 1:
        out = torch.cat([
            _coarsen(one[None], 1 + (augment.coarse - 1) * float(share))
            for one, share in zip(out, uniform(-0.5, 1, 1)[:, 0].clamp(min=0), strict=True)
        ])  # fmt: skip
    if augment.noise:
        sigma = augment.noise * uniform(0, 1, 1, 1, 1) ** 2
        fine = torch.randn(out.shape, generator=noise)
        out = out + sigma * fine
    return out.clamp(0, 1)


def _coarsen(x: Tensor, factor: float) -> Tensor:
    """What is left of ``(1, 3, H, W)`` after a photograph ``factor`` times as small."""
    if factor < 1.05:
        return x
    side = max(8, round(x.shape[-1] / factor))
    small = functional.interpolate(x, size=(side, side), mode="bicubic", antialias=True)
    return functional.interpolate(small, size=x.shape[-2:], mode="bicubic")


def _blur_each(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with a standard deviation a sample, separable, in one grouped convolution."""
    reach = 4
    place = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (place[None] / sigma.clamp(min=0.05)[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    b, c, h, w = x.shape
    weight = kernel.repeat_interleave(c, dim=0)[:, None]
    flat = x.reshape(1, b * c, h, w)
    flat = functional.conv2d(
        functional.pad(flat, (0, 0, reach, reach), mode="reflect"), weight[..., None], groups=b * c
    )
    flat = functional.conv2d(
        functional.pad(flat, (reach, reach, 0, 0), mode="reflect"), weight[:, :, None], groups=b * c
    )
    return flat.reshape(b, c, h, w)
