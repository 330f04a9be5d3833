"""Copies of a network whose weights are drawn anew, from the answer backwards (cascade).

Source: Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, section 3.1.
"""

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def cascade(
    net: "nn.Module", *, stages: int = 4, seed: int = 0
) -> "Iterator[tuple[str, nn.Module]]":
    """Yield a network that forgets more and more of what it learnt.

    The modules that hold weights are cut into ``stages`` groups in the order in which the network
    names them. The first copy has new weights in the last group, the next in the two last, and the
    last one in all. A module draws its weights as it does when it is made; what has no way of its
    own (a class token) is drawn from a Gaussian of its own spread. The given network is not
    touched.

    Args:
        net: in eval mode.
        stages: copies.
        seed: of the weights.

    Yields:
        What is random, such as ``"from blocks.9"``, and the copy, which the next one continues.
    """
    import torch

    changed = copy.deepcopy(net)
    holders = [
        (name, module)
        for name, module in changed.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    groups = [part for part in _cut(holders, min(stages, len(holders))) if part]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number, group in enumerate(reversed(groups), start=1):
            for _, module in group:
                _draw(module)
            yield ("all" if number == len(groups) else f"from {group[0][0]}"), changed.eval()


def _cut(holders: list[Any], stages: int) -> list[list[Any]]:
    count = len(holders)
    ends = [round(count * part / stages) for part in range(stages + 1)] if stages else [0]
    return [holders[a:b] for a, b in pairwise(ends)]


def _draw(module: Any) -> None:
    import torch

    own = getattr(module, "reset_parameters", None)
    if callable(own):
        own()
        return
    with torch.no_grad():
        for values in module.parameters(recurse=False):
            spread = float(values.std()) if values.numel() > 1 else 0.0
            values.normal_(0.0, spread or 0.02)
