"""How like real pictures drawn ones are, from the features that rows hold."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.metrics import Interval
from osler.metrics.bootstrap import bootstrap_interval
from osler.tasks.task import Figure, Row

NEIGHBOURS = 3
_SPACE = "features of the bundle's own reader, taught beside it"
_MOST = 500  # resamples of a distance, each of which takes a decomposition
_FEWEST = 8


def distance_figures(
    rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int
) -> list[Figure]:
    """Fréchet distances from the real pictures of the cases.

    To the drawn ones, and where the rows hold them to real ones that taught (what two real sets
    are apart by chance) and to those of a Gaussian of each pixel. A resample holds cases twice, so
    its distance is too great; the interval is the resamples' spread around the figure.
    """
    sets = [("made", "drawn")]
    if all("taught" in row for row in rows):
        sets += [("taught", "real pictures that taught"), ("gaussian", "a Gaussian of each pixel")]
    real = _array(rows, "real")
    out = []
    how = f"Fréchet distance to the real pictures of the cases, {_SPACE}; resamples recentred"
    for key, words in sets:
        other = _array(rows, key)
        done = bootstrap_interval(
            _distance, real, other, seed=seed, groups=np.array(patients),
            replicates=min(replicates, _MOST),
        )  # fmt: skip
        moved = _recentred(done, _distance, real, other, patients, seed=seed)
        out.append(
            Figure(f"Fréchet distance, {words}", moved, len(rows), how, greater_is_better=False)
        )
    return out


def likeness_figures(
    rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int
) -> list[Figure]:
    """Precision and recall of the drawn pictures; the manifolds are those of all cases."""
    real, made = _array(rows, "real"), _array(rows, "made")
    out = []
    for name, points, members in (("precision", made, real), ("recall", real, made)):
        inside = covered(points, members, NEIGHBOURS)
        done = metrics.summarise(
            [float(one) for one in inside], seed=seed, groups=list(patients), replicates=replicates
        )
        how = f"share within the manifold of the others ({NEIGHBOURS} neighbours), {_SPACE}"
        out.append(Figure(f"{name} of drawn pictures", done.mean, done.cases, how))
    return out


def memory_figures(
    rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int
) -> list[Figure]:
    """Whether drawn pictures lie nearer to those that taught than unseen real ones do."""
    if not all("nearest" in row for row in rows):
        return []
    nearest = np.array([row["nearest"] for row in rows], np.float64)
    usual = np.array([row["usual"] for row in rows], np.float64)
    told: list[tuple[str, Callable[..., float], str]] = [
        ("copies among drawn pictures", copies,
         "share nearer to a picture that taught than 99 of 100 unseen real ones; 0.01 by chance"),
        ("nearer to the taught than real ones", nearer,
         "share of pairs in which the drawn picture lies nearer than the real one; 0.5 by chance"),
    ]  # fmt: skip
    out = []
    for name, statistic, how in told:
        done = bootstrap_interval(
            statistic, nearest, usual, seed=seed, groups=np.array(patients), replicates=replicates
        )
        words = f"{how}, {_SPACE}"
        out.append(Figure(name, done, len(rows), words, greater_is_better=False))
    return out


def told_figures(
    rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int
) -> list[Figure]:
    """How often the reader tells the label, of real and of drawn pictures."""
    out = []
    for key, words in (("told_made", "drawn"), ("told_real", "real")):
        known = [row.get(key) for row in rows]
        if any(one is None for one in known):
            continue
        values = [float(bool(one)) for one in known]
        done = metrics.summarise(values, seed=seed, groups=list(patients), replicates=replicates)
        how = "share of cases; the reader learnt from the real pictures that taught"
        out.append(Figure(f"label told of {words} pictures", done.mean, done.cases, how))
    return out


def covered(
    points: NDArray[np.float64], members: NDArray[np.float64], neighbours: int
) -> NDArray[np.bool_]:
    """Which points lie within the reach of any member, ``(N,)``.

    The mean over points is a side of `osler.metrics.manifold_precision_recall`.
    """
    from scipy.spatial.distance import cdist

    count = min(neighbours, len(members) - 1)
    reach = np.partition(cdist(members, members), count, axis=1)[:, count]
    return np.asarray((cdist(points, members) <= reach).any(axis=1))


def copies(nearest: NDArray[np.float64], usual: NDArray[np.float64]) -> float:
    """As `osler.metrics.memorisation_test` has it."""
    return float((nearest < np.quantile(usual, 0.01)).mean())


def nearer(nearest: NDArray[np.float64], usual: NDArray[np.float64]) -> float:
    """Probability that a drawn picture lies nearer than a real one, ties half (Mann-Whitney)."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([usual, nearest]))[: len(usual)]
    above = ranks.sum() - len(usual) * (len(usual) + 1) / 2
    return float(above / (len(usual) * len(nearest)))


def _distance(real: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    return None if len(real) < _FEWEST else metrics.frechet_distance(real, other)


def _recentred(
    done: Interval, statistic: Callable[..., float | None], real: NDArray[np.float64],
    other: NDArray[np.float64], patients: Sequence[str], *, seed: int,
) -> Interval:  # fmt: skip
    """The interval moved by how far the resamples' mean lies from the figure."""
    if done.value is None or done.low is None or done.high is None:
        return done
    rng = np.random.default_rng(seed)
    names, index = np.unique(np.array(patients), return_inverse=True)
    members = [np.flatnonzero(index == k) for k in range(len(names))]
    drawn = []
    for _ in range(50):
        taken = np.concatenate([members[k] for k in rng.integers(0, len(names), len(names))])
        drawn.append(statistic(real[taken], other[taken]))
    known = [one for one in drawn if one is not None]
    shift = float(np.mean(known)) - done.value
    low, high = max(done.low - shift, 0.0), max(done.high - shift, 0.0)
    return replace(done, low=min(low, done.value), high=max(high, done.value))


def _array(rows: Sequence[Row], key: str) -> NDArray[Any]:
    return np.array([row[key] for row in rows], np.float64)
