"""Parameters and work of a published network, counted without giving it any memory.

python -m osler.models.measuring NAME ...     what the card must say
"""

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from osler.models.creating import create
from osler.models.trying import example


@dataclass(frozen=True, slots=True)
class Measured:
    """What was counted.

    Attributes:
        parameters: numbers learnt.
        gflops: thousands of millions of multiply-adds of one forward of one sample; None where the
            network looks at its numbers on the way, so that it cannot be run without them.
    """

    parameters: int
    gflops: float | None


def measured(name: str) -> Measured:
    """Count the published network's parameters and the work of one forward."""
    with torch.device("meta"):
        net = create(name, weights="random")
    parameters = sum(p.numel() for p in net.parameters())
    net.requires_grad_(False)  # the counter cannot follow learnt embeddings that modules are given
    inputs = {k: _to_meta(v) for k, v in example(name, batch=1, published=True).items()}
    counter = FlopCounterMode(display=False)
    try:
        with torch.inference_mode(), counter, _Taken():
            net(**inputs)
    except (RuntimeError, NotImplementedError) as error:
        if "meta" not in str(error):
            raise
        return Measured(parameters, None)
    return Measured(parameters, round(counter.get_total_flops() / 2e9, 3))


class _Taken(TorchFunctionMode):
    """Takes what a network checks of its numbers on the way, such as a mask's, for right."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        asked = getattr(func, "__name__", "") in ("item", "__bool__")
        if asked and isinstance(args[0], Tensor) and args[0].is_meta:
            return True
        return func(*args, **(kwargs or {}))


def _to_meta(value: object) -> object:
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, dict):
        return {k: _to_meta(v) for k, v in value.items()}
    return value


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        counted = measured(wanted)
        print(f"{wanted}\nparameters: {counted.parameters}\ngflops: {counted.gflops}")
