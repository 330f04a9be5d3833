r"""Which cases to label next: how unsure a network is of each, and which are unlike the others.

With :math:`p_t` the probabilities that :math:`T` networks drawn by dropout give and
:math:`\mathrm{H}` the entropy in nats:

- entropy: :math:`\mathrm{H}(p)` (Shannon 1948; Settles 2009, "Active Learning Literature Survey",
  section 3.1);
- BALD: :math:`\mathrm{H}\bigl(\frac{1}{T} \sum_t p_t\bigr) - \frac{1}{T} \sum_t \mathrm{H}(p_t)`,
  what the networks disagree on and not what all of them find hard (Houlsby et al. 2011,
  arXiv:1112.5745; Gal et al. 2017, "Deep Bayesian active learning with image data", ICML);
- core-set: the greedy k-centre of features, the case farthest from all that are labelled or
  chosen, time and again (Sener and Savarese 2018, "Active learning for convolutional neural
  networks: a core-set approach", ICLR, algorithm 1).

Of answers a voxel the mean over voxels counts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from osler.tasks.task import sigmoid, softmax


def probabilities(scores: NDArray[np.floating], activation: str) -> NDArray[np.float64]:
    """Of classes that exclude each other along axis 0, or of each label by itself."""
    return softmax(scores, axis=0) if activation == "softmax" else sigmoid(scores)


def entropy(p: NDArray[np.float64], activation: str) -> float:
    """The mean entropy over positions (and labels, where they are answered by themselves), nats.

    Args:
        p: ``(L, ...)``.
        activation: ``softmax`` or ``sigmoid``.
    """
    surprise = _plogp(p)
    if activation == "softmax":
        return float(surprise.sum(axis=0).mean())
    return float((surprise + _plogp(1 - p)).mean())


def bald(p: NDArray[np.float64], activation: str) -> float:
    """The mutual information between answer and weights, mean over positions, nats.

    Args:
        p: ``(T, L, ...)`` of as many draws.
        activation: ``softmax`` or ``sigmoid``.
    """
    own = float(np.mean([entropy(one, activation) for one in p]))
    return entropy(p.mean(axis=0), activation) - own


def _plogp(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-p * np.log(np.where(p > 0, p, 1)))


def k_centre(
    features: NDArray[np.floating], labelled: NDArray[np.floating], take: int
) -> list[int]:
    """Places of cases, each the farthest from those that are labelled and chosen before it.

    Args:
        features: ``(N, C)`` of the cases to choose from.
        labelled: ``(M, C)`` of those that have a label.
        take: how many, at most all.
    """
    points = np.asarray(features, np.float64)
    nearest = np.full(len(points), np.inf)
    for one in np.asarray(labelled, np.float64):
        nearest = np.minimum(nearest, np.linalg.norm(points - one, axis=1))
    chosen: list[int] = []
    for _ in range(min(take, len(points))):
        place = int(nearest.argmax())
        chosen.append(place)
        nearest = np.minimum(nearest, np.linalg.norm(points - points[place], axis=1))
        nearest[chosen] = -np.inf
    return chosen


def labels_needed(curve: Sequence[tuple[int, float]], level: float) -> float | None:
    """How many labels a curve needs to reach a level for the first time; None if it never does.

    Args:
        curve: labels and the figure reached with them (greater is better), by labels; between two
            of them it is taken as straight.
        level: of the figure.
    """
    before: tuple[int, float] | None = None
    for labels, value in curve:
        if value >= level:
            if before is None or value == before[1]:
                return float(labels)
            share = (level - before[1]) / (value - before[1])
            return before[0] + share * (labels - before[0])
        before = (labels, value)
    return None
