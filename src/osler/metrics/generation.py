"""Whether generated images look like real ones, cover them, and are not copies of them.

All compare feature vectors, so a figure means something only with the feature network, its weights
and its preprocessing stated. Few cases bias every one of them: compare like numbers only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import finite

_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class Memorisation:
    """Whether generated images lie nearer to the training images than unseen real ones do.

    Attributes:
        nearest: ``(N,)`` distance of each generated image to its nearest training image.
        index: ``(N,)`` which training image that is: look at the pairs.
        usual: ``(M,)`` distance of each held-out real image to its nearest training image.
        p: one-sided Mann-Whitney p-value that generated ones lie nearer; small is suspicious.
        threshold: the distance below which one in a hundred held-out images lies.
        copies: share of generated images nearer than that; about 0.01 without copying.
    """

    nearest: NDArray[np.float64]
    index: NDArray[np.intp]
    usual: NDArray[np.float64]
    p: float
    threshold: float
    copies: float


def frechet_distance(real: ArrayLike, generated: ArrayLike) -> float:
    r"""Fréchet distance of two Gaussians fitted to features [1]_ (FID, with Inception's features).

    :math:`|\mu_1 - \mu_2|^2 + \operatorname{tr}(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1
    \Sigma_2)^{1/2})`, sample covariances. The trace of the root is the sum of singular values of
    the product of the two centred matrices, which is exact for any number of cases and needs no
    root of a near-singular matrix. Biased upwards with few cases [2]_.

    Args:
        real: ``(N, F)``, N from 2.
        generated: ``(M, F)``, M from 2.

    Returns:
        0 or more; 0 for equal means and covariances.

    Raises:
        InputError: shapes do not fit, or a value is not finite.

    References:
        .. [1] Heusel et al., "GANs trained by a two time-scale update rule converge to a local
           Nash equilibrium", NeurIPS 2017.
        .. [2] Bińkowski et al., "Demystifying MMD GANs", ICLR 2018.
    """
    one, other = _features(real, generated, least=2)
    means = one.mean(axis=0), other.mean(axis=0)
    a = (one - means[0]) / np.sqrt(len(one) - 1)
    b = (other - means[1]) / np.sqrt(len(other) - 1)
    # eigenvalues of A'A B'B are the squared singular values of A B'
    if max(len(a), len(b)) > a.shape[1]:
        a, b = (np.linalg.qr(part, mode="r") for part in (a, b))
    root = float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    gap = float(((means[0] - means[1]) ** 2).sum())
    return max(gap + float((a**2).sum() + (b**2).sum()) - 2 * root, 0.0)


def manifold_precision_recall(
    real: ArrayLike, generated: ArrayLike, *, neighbours: int = 3
) -> tuple[float, float]:
    """Precision (do they look real?) and recall (is all that is real covered?) [1]_.

    A vector belongs to the other set's manifold where it lies within the distance of any of its
    members to that member's k-th nearest neighbour (itself not counted); a distance equal to it is
    within. A single outlier widens a manifold.

    Args:
        real: ``(N, F)``, N above k.
        generated: ``(M, F)``, M above k.
        neighbours: k.

    Returns:
        Precision and recall, 0 to 1.

    Raises:
        InputError: shapes do not fit, a value is not finite, or ``neighbours`` is below 1.

    References:
        .. [1] Kynkäänniemi et al., "Improved precision and recall metric for assessing generative
           models", NeurIPS 2019.
    """
    if neighbours < 1:
        raise InputError(f"'neighbours' is {neighbours}; expected 1 or more")
    one, other = _features(real, generated, least=neighbours + 1)
    return _covered(other, one, neighbours), _covered(one, other, neighbours)


def memorisation_test(
    training: ArrayLike, held_out: ArrayLike, generated: ArrayLike
) -> Memorisation:
    """Whether a generator repeats its training images [1]_.

    Unseen real images say how near to a training image one is by chance. The held-out images must
    be of other patients, from the same source.

    Args:
        training: ``(T, F)``.
        held_out: ``(M, F)``.
        generated: ``(N, F)``.

    Raises:
        InputError: shapes do not fit, a set is empty, or a value is not finite.

    References:
        .. [1] Meehan, Chaudhuri & Dasgupta, "A non-parametric test to detect data-copying in
           generative models", AISTATS 2020 (here over the whole space, without cells).
    """
    from scipy.stats import mannwhitneyu

    known, unseen = _features(training, held_out, least=1)
    _, made = _features(training, generated, least=1)
    nearest, index = _nearest(made, known)
    usual, _ = _nearest(unseen, known)
    threshold = float(np.quantile(usual, 0.01))
    p = float(mannwhitneyu(nearest, usual, alternative="less").pvalue)
    return Memorisation(nearest, index, usual, p, threshold, float((nearest < threshold).mean()))


def _covered(points: NDArray[np.float64], members: NDArray[np.float64], neighbours: int) -> float:
    """The share of points within the reach of any member."""
    reach = np.empty(len(members))
    rows = max(1, _BLOCK // max(len(members), 1))
    for start in range(0, len(members), rows):
        # itself is at 0 and comes first
        apart = _distances(members[start : start + rows], members)
        reach[start : start + rows] = np.partition(apart, neighbours, axis=1)[:, neighbours]
    inside = [
        (_distances(points[start : start + rows], members) <= reach).any(axis=1)
        for start in range(0, len(points), rows)
    ]
    return float(np.concatenate(inside).mean())


def _nearest(
    points: NDArray[np.float64], members: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    rows = max(1, _BLOCK // len(members))
    found = []
    for start in range(0, len(points), rows):
        apart = _distances(points[start : start + rows], members)
        index = apart.argmin(axis=1)
        found.append((apart[np.arange(len(index)), index], index))
    return np.concatenate([part[0] for part in found]), np.concatenate([p[1] for p in found])


def _distances(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(one, other), dtype=np.float64)


def _features(
    one: ArrayLike, other: ArrayLike, *, least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sets = [finite(values, name="features").astype(np.float64) for values in (one, other)]
    if any(s.ndim != 2 or len(s) < least for s in sets) or sets[0].shape[1] != sets[1].shape[1]:
        raise InputError(
            f"features have shapes {sets[0].shape} and {sets[1].shape}; expected (N, F) and "
            f"(M, F), {least} rows or more"
        )
    return sets[0], sets[1]
