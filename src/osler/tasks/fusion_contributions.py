"""What each input of a case contributed to an answer, and what would have been said without it.

The contribution of an input is its Shapley value [1]_ over the inputs that the case has: the change
of a probability when the input is shown, averaged over all orders in which the inputs may be shown
one after the other. They sum to the probability with all inputs less the one without any, which is
the share among the teaching cases where a task knows it (a network that is always shown something
has not learnt what to say of nobody). Up to eight inputs this is exact: a network is asked about
every subset. Beyond that orders are drawn at random, each with its reverse [2]_, and the findings
say so.

References:
    .. [1] Shapley, "A value for n-person games", Contributions to the Theory of Games II, 1953.
    .. [2] Mitchell, Cooper, Frank and Holmes, "Sampling permutations for Shapley value
       estimation", Journal of Machine Learning Research 23, 2022.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.record import Finding, Label, Risk
from osler.tasks.fusion_input import PRESENT, Inputs, run_fusion
from osler.tasks.task import Arrays, Predict

EXACT: Final = 8
"""Inputs up to which every subset is asked about."""

SAMPLED: Final = "contributions-sampled"
"""Flag of a finding whose contributions stand on some orders of its inputs, not on all."""

_ORDERS = 64
_SEED = 1

Floats = NDArray[np.float64]
Value = Callable[[NDArray[np.bool_]], Floats]
"""Subsets ``(S, n)``, True for what is shown, to values ``(S, P)``."""


@dataclass(frozen=True, slots=True)
class Contributions:
    """Of P probabilities.

    Attributes:
        names: of the inputs that the case has.
        values: ``(n, P)``, the contribution of each.
        without: ``(n, P)``, the probabilities without each.
        exact: whether every subset was asked about.
    """

    names: tuple[str, ...]
    values: Floats
    without: Floats
    exact: bool

    def give(self, finding: Label | Risk, place: int) -> None:
        """Write what concerns one probability into its finding."""
        finding.contributions = dict(zip(self.names, self.values[:, place].tolist(), strict=True))
        finding.without = dict(zip(self.names, self.without[:, place].tolist(), strict=True))
        self.note(finding, place)

    def note(self, finding: Finding, place: int) -> None:
        """Say in a finding's note what each input contributed to one of the values."""
        said = zip(self.names, self.values[:, place], self.without[:, place], strict=True)
        parts = ", ".join(
            f"{name} {by:+.2f} (without it {less:.2f})"
            for name, by, less in sorted(said, key=lambda one: -abs(one[1]))
        )
        finding.note = " ".join(filter(None, (finding.note, f"Contributions: {parts}.")))
        if not self.exact:
            finding.flags = (*finding.flags, SAMPLED)


def contributions(
    predict: Predict, inputs: Arrays, wanted: Inputs, chances: Callable[[Arrays], Sequence[float]],
    *, nothing: Sequence[float] | None = None,
) -> Contributions:  # fmt: skip
    """Ask a network about a case with its inputs taken away in turn.

    Args:
        predict: the network.
        inputs: of `encode_fusion`.
        wanted: the settings.
        chances: outputs of one case, without a batch axis, to its P probabilities.
        nothing: the P probabilities where nothing is shown; None asks the network.
    """
    there = np.flatnonzero(inputs[PRESENT] > 0)

    def value(shown: NDArray[np.bool_]) -> Floats:
        present = np.zeros((len(shown), len(wanted)), np.float32)
        present[:, there] = shown
        said = run_fusion(predict, inputs, wanted, present=present)
        rows = [chances({key: one[k] for key, one in said.items()}) for k in range(len(shown))]
        worth = np.array(rows, np.float64)
        if nothing is not None:
            worth[~shown.any(axis=1)] = nothing
        return worth

    names = list(wanted)
    return attributed(value, tuple(names[k] for k in there))


def attributed(value: Value, names: Sequence[str], *, seed: int = _SEED) -> Contributions:
    """Shapley values of named players, and the value without each of them.

    Args:
        value: of subsets.
        names: of the players.
        seed: of the orders, where there are too many players for all subsets.
    """
    count = len(names)
    exact = count <= EXACT
    values = _exact(value, count) if exact else _sampled(value, count, np.random.default_rng(seed))
    return Contributions(tuple(names), values, value(~np.eye(count, dtype=bool)), exact)


def _exact(value: Value, count: int) -> Floats:
    numbers = np.arange(2**count)
    shown = (numbers[:, None] >> np.arange(count)) & 1 == 1
    worth = value(shown)
    sizes = shown.sum(axis=1)
    weight = np.array(
        [factorial(s) * factorial(count - s - 1) / factorial(count) for s in range(count)]
    )
    out = np.zeros((count, worth.shape[1]))
    for player in range(count):
        before = numbers[~shown[:, player]]
        gain = worth[before | 1 << player] - worth[before]
        out[player] = weight[sizes[before]] @ gain
    return out


def _sampled(value: Value, count: int, rng: np.random.Generator) -> Floats:
    orders = [rng.permutation(count) for _ in range(_ORDERS // 2)]
    orders += [order[::-1] for order in orders]
    out: Any = 0.0
    for order in orders:
        shown = np.zeros((count + 1, count), bool)
        for step, player in enumerate(order):
            shown[step + 1 :, player] = True
        gain = np.diff(value(shown), axis=0)
        room = np.zeros_like(gain)
        room[order] = gain
        out = out + room
    return np.asarray(out / len(orders), np.float64)
