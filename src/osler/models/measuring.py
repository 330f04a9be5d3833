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
        gflops: thousands of millions of multiply-adds of one forward of one sample.
    """

    parameters: int
    gflops: float


def measured(name: str) -> Measured:
    """Count the published network's parameters and the work of one forward."""
    with torch.device("meta"):
        net = create(name, weights="random")
    inputs = {k: _to_meta(v) for k, v in example(name, batch=1, published=True).items()}
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        net(**inputs)
    parameters = sum(p.numel() for p in net.parameters())
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
