"""Parameters and work of a published network, counted without giving it any memory.

python -m osler.models.measuring NAME ...     what the card must say
"""

import sys
from dataclasses import dataclass

import torch
from torch import Tensor
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
        with torch.inference_mode(), counter:
            net(**inputs)
    except (RuntimeError, NotImplementedError) as error:
        if "meta" not in str(error):
            raise
        return Measured(parameters, None)
    return Measured(parameters, round(counter.get_total_flops() / 2e9, 3))


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
