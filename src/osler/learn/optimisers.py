"""What turns gradients into steps: the optimiser, its groups, and how fast each group learns."""

from typing import Any

import torch
from torch import nn

from osler.learn.blocks import blocks_of
from osler.learn.learner import Learner


def make_optimiser(
    net: nn.Module, learner: Learner
) -> tuple[torch.optim.Optimizer, tuple[float, ...]]:
    """The optimiser, and for each of its groups the factor of the learning rate.

    ``adamw`` is Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", ICLR; ``sgd``
    is stochastic gradient descent with Nesterov's momentum (Sutskever et al. 2013, ICML), as
    nnU-Net has it. Weights decay; biases, normalisation and other vectors do not.
    """
    groups, factors = parameter_groups(net, learner)
    if learner.optimiser == "sgd":
        nesterov = learner.momentum > 0
        return torch.optim.SGD(
            groups, lr=learner.rate, momentum=learner.momentum, nesterov=nesterov
        ), factors
    return torch.optim.AdamW(groups, lr=learner.rate), factors


def parameter_groups(
    net: nn.Module, learner: Learner
) -> tuple[list[dict[str, Any]], tuple[float, ...]]:
    """Groups of an optimiser's parameters, and the factor of the rate of each.

    With ``layer_decay`` d below 1, parameters at depth k of n learn at ``d ** (n - 1 - k)`` of the
    rate (Clark et al. 2020, "ELECTRA", ICLR, appendix; Bao et al. 2022, "BEiT", ICLR). Frozen
    parameters are left out.
    """
    named = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    even = learner.layer_decay == 1
    depths = dict.fromkeys((name for name, _ in named), 0) if even else depths_of(net)
    last = max(depths.values(), default=0)
    groups: list[dict[str, Any]] = []
    factors: list[float] = []
    for depth in sorted({depths[name] for name, _ in named}) or [0]:
        here = [p for name, p in named if depths[name] == depth]
        groups += [
            {"params": [p for p in here if p.ndim > 1], "weight_decay": learner.weight_decay},
            {"params": [p for p in here if p.ndim <= 1], "weight_decay": 0.0},
        ]
        factors += [learner.layer_decay ** (last - depth)] * 2
    return groups, tuple(factors)


def depths_of(net: nn.Module) -> dict[str, int]:
    """The depth of each parameter, by name.

    Parameters made before the first block (a stem, an embedding) and the network's own (a class
    token) have depth 0, those of the i-th block depth i counted from 1, those between two blocks
    (a downsampling) the depth of the earlier one, and those after the last block (a
    normalisation, a head) are the deepest. So the twelve blocks of a ViT-B make fourteen depths,
    as in BEiT, and the stages of a convolutional network count block by block.
    """
    blocks = list(blocks_of(net))
    out: dict[str, int] = {}
    depth = 0
    for name, _ in net.named_parameters():
        inside = next((i for i, block in enumerate(blocks, 1) if name.startswith(f"{block}.")), 0)
        after = blocks and depth == len(blocks) and not inside
        depth = max(depth, inside)
        out[name] = inside or (len(blocks) + 1 if after else depth)
    return out
