"""In what numbers a network computes while it learns."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from osler.errors import RecipeError
from osler.learn.learner import Learner

_SMALLEST_SCALE = 2.0**-14  # below it, gradients that overflow do so for another reason


def uses_bfloat16(learner: Learner, device: torch.device) -> bool:
    """Whether the forward pass runs in bfloat16."""
    if learner.precision == "auto":
        return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())
    return learner.precision == "bfloat16"


class Precision:
    """Mixed precision (Micikevicius et al. 2018, ICLR): weights in float32, layers in less.

    bfloat16 has the range of float32 and needs nothing else. float16 has not: the loss is scaled
    up before the backward pass so that small gradients do not vanish, and a step whose gradients
    overflow is left out while the scale is halved.

    Args:
        dtype: what layers compute in; float32 switches autocasting off.
        device: where.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.scaler = torch.amp.GradScaler(device.type) if dtype == torch.float16 else None

    @classmethod
    def of(cls, learner: Learner, device: torch.device) -> "Precision":
        """The precision that a recipe asks for.

        Raises:
            RecipeError: float16 without CUDA.
        """
        if learner.precision == "float16":
            if device.type != "cuda":
                raise RecipeError(
                    "learner.precision is float16, which takes a CUDA device: processors compute "
                    "it slowly and few layers have it; write bfloat16, float32 or auto"
                )
            return cls(torch.float16, device)
        return cls(torch.bfloat16 if uses_bfloat16(learner, device) else torch.float32, device)

    def forward(self) -> AbstractContextManager[object]:
        """In which the loss is computed."""
        if self.dtype == torch.float32:
            return torch.autocast(self.device.type, torch.bfloat16, enabled=False)
        return torch.autocast(self.device.type, self.dtype)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, scaled where float16 needs it."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimiser: torch.optim.Optimizer) -> None:
        """Bring gradients back to their true size, so that they can be clipped."""
        if self.scaler is not None:
            self.scaler.unscale_(optimiser)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Step, unless float16 gradients overflowed."""
        if self.scaler is None:
            optimiser.step()
            return
        self.scaler.step(optimiser)
        self.scaler.update()

    def sound(self, norm: Tensor) -> bool:
        """Whether gradients of this norm may be stepped with, or are an overflow that passes."""
        if self.scaler is None:
            return bool(torch.isfinite(norm))
        return self.scaler.get_scale() >= _SMALLEST_SCALE

    def state(self) -> dict[str, float]:
        """What has to be kept to go on from here."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def restore(self, state: dict[str, float]) -> None:
        """Go on from a kept state; one kept in another precision says nothing."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)
