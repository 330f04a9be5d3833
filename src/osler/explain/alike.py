r"""Whether a map depends on what the model has learnt: the model randomisation test.

A map that looks the same when the weights of the model are drawn anew shows the edges of the
picture, not the reasons of the model [1]_. So the map is made again with random weights and the
two are compared by their order (Spearman's rank correlation, of the values and of their sizes)
and by their looks (structural similarity of the maps, each scaled to 0 to 1).

References:
    .. [1] Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, section 3.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics import ssim

ALIKE = 0.5
"""A rank correlation from which on maps are called alike: a convention, since [1] has none."""

_WINDOW = 11  # pixels that the window of SSIM needs


@dataclass(frozen=True, slots=True)
class Likeness:
    """How like two maps are.

    Attributes:
        stage: which weights were random, such as ``"all"``.
        rank: Spearman's correlation of the values, -1 to 1; None where a map is constant.
        rank_of_size: the same of the values' sizes.
        ssim: mean structural similarity; None where a side is below 11 pixels.
    """

    stage: str
    rank: float | None
    rank_of_size: float | None
    ssim: float | None

    @property
    def alike(self) -> bool:
        """Whether the maps are so like that the weights hardly matter."""
        return self.rank is not None and self.rank >= ALIKE


def likeness(
    one: ArrayLike, other: ArrayLike, *, stage: str = "all", within: ArrayLike | None = None
) -> Likeness:
    """Compare the map of a model with that of the same model with random weights.

    Args:
        one: ``([D,] H, W)``.
        other: the same shape.
        stage: what was random.
        within: ``([D,] H, W)``, the pixels that count for the ranks; None for all. The black frame
            of a photograph, 0 in both, would make any two maps alike.

    Raises:
        InputError: the shapes differ.
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if a.shape != b.shape:
        raise InputError(f"the maps have shapes {a.shape} and {b.shape}; give them on one grid")
    inside = np.ones(a.shape, bool) if within is None else np.asarray(within, bool)
    looks = None
    if min(a.shape) >= _WINDOW:
        looks = ssim(_scaled(a), _scaled(b), value_range=1.0)
    return Likeness(
        stage,
        _spearman(a[inside], b[inside]),
        _spearman(np.abs(a[inside]), np.abs(b[inside])),
        looks,
    )


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Pearson's correlation of ranks, ties at their mean rank."""
    from scipy.stats import rankdata

    if a.size < 2 or a.min() == a.max() or b.min() == b.max():
        return None
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _scaled(map_: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = map_.min(), map_.max()
    return np.zeros_like(map_) if low == high else (map_ - low) / (high - low)
