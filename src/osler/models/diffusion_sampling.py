"""Draw pictures with a denoiser: DDPM and DDIM, by MONAI's schedulers.

Sources: (1) Ho et al. 2020, "Denoising diffusion probabilistic models", NeurIPS; (2) Song et al.
2021, "Denoising diffusion implicit models", ICLR.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from osler.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Noise:
    """How noise was added in training; a checkpoint does not say it, its paper or bundle does.

    Attributes:
        steps: of training.
        schedule: how its variance rises, by MONAI's name.
        start, end: its variance at the first and at the last step.
        predicts: what the network was taught to say.
        clip: keep what the network takes for the clean code within -1 and 1, as networks of
            pictures want; codes have no such limits.
    """

    steps: int = 1000
    schedule: str = "scaled_linear_beta"
    start: float = 0.0015
    end: float = 0.0195
    predicts: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    clip: bool = False

    def scheduler(self, kind: Literal["ddim", "ddpm"]) -> Any:
        """MONAI's scheduler."""
        from monai.networks.schedulers import DDIMScheduler, DDPMScheduler

        made = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler}[kind]
        return made(
            num_train_timesteps=self.steps,
            schedule=self.schedule,
            beta_start=self.start,
            beta_end=self.end,
            prediction_type=self.predicts,
            clip_sample=self.clip,
        )

    def add(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The noisy code at ``time`` ``(B,)``, for training (equation 4 of source 1)."""
        noisy: Tensor = self.scheduler("ddpm").add_noise(clean, noise, time)
        return noisy


@torch.inference_mode()
def sample(
    net: Callable[..., Tensor],
    shape: Sequence[int],
    *,
    noise: Noise | None = None,
    method: Literal["ddim", "ddpm"] = "ddim",
    steps: int = 50,
    eta: float = 0.0,
    seed: int = 0,
    device: torch.device | str = "cpu",
    decode: Callable[[Tensor], Tensor] | None = None,
    scale: float = 1.0,
    **conditions: Tensor,
) -> Tensor:
    """Draw codes, or pictures.

    Args:
        net: a denoiser, called with the noisy code, ``time`` and the conditions.
        shape: of what is drawn, ``(B, C, [D,] H, W)``.
        noise: how noise was added in training.
        method: DDIM (few steps; the same noise gives the same picture) or DDPM (all steps).
        steps: of DDIM; DDPM takes every step of training.
        eta: noise that DDIM adds again, 0 none, 1 as much as DDPM.
        seed: of the noise.
        device: where it is drawn.
        decode: from codes to pictures, such as ``Autoencoder.decode``.
        scale: codes were multiplied by this in training.
        conditions: handed to the network, such as ``context``.

    Raises:
        RecipeError: more steps than the training had, or none.
    """
    noise = noise or Noise()
    if not 1 <= steps <= noise.steps:
        raise RecipeError(f"steps are 1 to {noise.steps}, those of the training, not {steps}")
    scheduler = noise.scheduler(method)
    scheduler.set_timesteps(steps if method == "ddim" else noise.steps)
    # drawn on the CPU, so that a seed means one picture on every device
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator).to(device)
    own = torch.Generator(device=x.device).manual_seed(seed + 1)
    more = {"eta": eta} if method == "ddim" else {}
    for step in scheduler.timesteps:
        time = torch.full((len(x),), int(step), device=x.device)
        said = net(x, time, **conditions)
        x, _ = scheduler.step(said, int(step), x, generator=own, **more)
    return x if decode is None else decode(x / scale)
