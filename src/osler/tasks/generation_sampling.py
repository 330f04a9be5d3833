"""Drawing with a denoiser, in numpy: what a bundle needs to make pictures without torch.

Sources: Ho et al. 2020, "Denoising diffusion probabilistic models", NeurIPS; Song et al. 2021,
"Denoising diffusion implicit models", ICLR; Salimans & Ho 2022, "Progressive distillation for fast
sampling of diffusion models", ICLR (the velocity).
"""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from osler.tasks.task import Settings

Denoise = Callable[[NDArray[np.float32], int], NDArray[Any]]


class Diffusion(Settings):
    """How noise is added in training and taken away in drawing.

    Attributes:
        steps: of training.
        start, end: variance of the noise at the first and the last of them; between them its root
            rises linearly.
        predicts: what the network says of a noisy picture: the noise (``epsilon``), or
            ``velocity``, the mix of noise and picture that is sure at every step.
        draws: steps of drawing (DDIM), evenly among those of training.
        eta: noise that is added again in drawing: 0 none (the same start gives the same picture),
            1 as much as in training.
    """

    steps: Annotated[int, Field(gt=1)] = 1000
    start: Annotated[float, Field(gt=0, lt=1)] = 0.0015
    end: Annotated[float, Field(gt=0, lt=1)] = 0.0195
    predicts: Literal["epsilon", "velocity"] = "velocity"
    draws: Annotated[int, Field(gt=0)] = 25
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0

    def kept(self) -> NDArray[np.float64]:
        """How much of the picture's variance is left after each step of training, ``(steps,)``."""
        added = np.linspace(self.start**0.5, self.end**0.5, self.steps) ** 2
        return np.asarray(np.cumprod(1 - added))


def noisy(
    clean: NDArray[np.float32], noise: NDArray[np.float32], time: int, said: Diffusion
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A picture at a step of training, and what a network shall say of it."""
    kept = said.kept()[time]
    a, b = np.float32(kept**0.5), np.float32((1 - kept) ** 0.5)
    wanted = noise if said.predicts == "epsilon" else a * noise - b * clean
    return a * clean + b * noise, wanted


def drawn(
    denoise: Denoise,
    start: NDArray[np.float32],
    said: Diffusion,
    *,
    rng: np.random.Generator,
    bounded: bool,
) -> NDArray[np.float32]:
    """A picture, or its code, from noise.

    Args:
        denoise: what the network says of a noisy picture at a step.
        start: the noise.
        said: how.
        rng: of the noise that ``eta`` adds again.
        bounded: what is taken for the clean picture is kept within -1 and 1 at each step.
    """
    kept = said.kept()
    gap = said.steps // min(said.draws, said.steps)
    x = np.asarray(start, np.float64)
    for time in range((min(said.draws, said.steps) - 1) * gap, -1, -gap):
        now = kept[time]
        before = kept[time - gap] if time >= gap else 1.0
        told = np.asarray(denoise(x.astype(np.float32), time), np.float64)
        if said.predicts == "epsilon":
            noise, clean = told, (x - (1 - now) ** 0.5 * told) / now**0.5
        else:
            clean = now**0.5 * x - (1 - now) ** 0.5 * told
            noise = now**0.5 * told + (1 - now) ** 0.5 * x
        if bounded:
            clean = np.clip(clean, -1, 1)
        again = said.eta * ((1 - before) / (1 - now) * (1 - now / before)) ** 0.5
        x = before**0.5 * clean + max(1 - before - again**2, 0.0) ** 0.5 * noise
        if again:
            x = x + again * rng.standard_normal(x.shape)
    return x.astype(np.float32)


def seeded(*said: object) -> np.random.Generator:
    """A generator that depends on what is said alone."""
    digest = hashlib.sha256("/".join(map(str, said)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
