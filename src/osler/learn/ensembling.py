"""Several networks that answer as one: the mean of their probabilities."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS = ("softmax", "sigmoid", "none")


class Ensemble(nn.Module):
    """The networks' mean, given as scores, so that it serves wherever one network does.

    Probabilities are averaged, not scores (Lakshminarayanan et al. 2017, "Simple and Scalable
    Predictive Uncertainty Estimation using Deep Ensembles", NeurIPS, section 2.4). What comes out
    are scores whose softmax or sigmoid is that mean, so a graph, a card and a calibration need to
    know of nothing:

    - ``softmax`` over axis 1: ``log(mean p)``;
    - ``sigmoid``: ``log(mean p) - log(mean (1 - p))``;
    - ``none``: the mean of the values.

    Both are computed from log-probabilities, so certain networks do not give infinite scores.

    Args:
        nets: of one make.
        activations: of the output; or of several outputs, by their place or name.
    """

    def __init__(
        self, nets: Sequence[nn.Module], activations: str | Sequence[str] | Mapping[str, str]
    ) -> None:
        super().__init__()
        if not nets:
            raise ValueError("an ensemble needs at least one network")
        named = activations.values() if isinstance(activations, Mapping) else activations
        for one in [activations] if isinstance(activations, str) else named:
            if one not in ACTIVATIONS:
                raise ValueError(f"the activation '{one}' is none of {', '.join(ACTIVATIONS)}")
        self.nets = nn.ModuleList(nets)
        self.activations = activations

    def forward(self, *inputs: Tensor) -> Any:
        """What the networks take; what they give, whether a tensor, a tuple or a mapping."""
        said = [net(*inputs) for net in self.nets]
        first = said[0]
        if isinstance(first, Tensor):
            return mean_scores(said, self._of(0))
        if isinstance(first, Mapping):
            return {
                name: mean_scores([one[name] for one in said], self._of(name)) for name in first
            }
        return tuple(
            mean_scores(list(parts), self._of(place))
            for place, parts in enumerate(zip(*said, strict=True))
        )

    def _of(self, which: int | str) -> str:
        if isinstance(self.activations, str):
            return self.activations
        return self.activations[which]  # type: ignore[index]


def mean_scores(scores: Sequence[Tensor], activation: str) -> Tensor:
    """Scores whose probabilities are the mean of the probabilities of ``scores``.

    Args:
        scores: each ``(B, L, ...)``, of one network.
        activation: ``softmax`` (over axis 1), ``sigmoid`` or ``none``.
    """
    stack = torch.stack([one.float() for one in scores])
    if activation == "none":
        return stack.mean(dim=0)
    if activation == "softmax":
        return torch.logsumexp(functional.log_softmax(stack, dim=2), dim=0) - math.log(len(scores))
    yes = torch.logsumexp(functional.logsigmoid(stack), dim=0)
    return yes - torch.logsumexp(functional.logsigmoid(-stack), dim=0)
