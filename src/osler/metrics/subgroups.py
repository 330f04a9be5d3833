"""The same figure for every subgroup of a cohort, and how far apart they are.

A small subgroup's figure is mostly chance: it is shown, flagged, and left out of the gap. Looking
at many subgroups finds gaps by chance; name those that matter beforehand.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import binary, finite, same_length
from osler.metrics.bootstrap import Interval, bootstrap_interval

AGE_EDGES = (0, 18, 40, 60, 75)


@dataclass(frozen=True, slots=True)
class Subgroup:
    """One subgroup's figure.

    Attributes:
        name: such as ``"F"`` or ``"60-74"``; ``"unknown"`` where the value is missing.
        rows: how many rows (images) it has.
        interval: the figure, its interval and how many patients it stands on.
        small: whether it has fewer patients than asked for.
    """

    name: str
    rows: int
    interval: Interval
    small: bool


@dataclass(frozen=True, slots=True)
class SubgroupTable:
    """Every subgroup by one attribute.

    Attributes:
        attribute: such as ``"sex"``.
        subgroups: by name, unknown last.
        gap: the greatest figure less the smallest, of known subgroups that are not small and have
            a figure; its interval resamples patients of the whole cohort. None with fewer than
            two of those.
        best: the subgroup with the greatest figure; None where ``gap`` is.
        worst: that with the smallest.
    """

    attribute: str
    subgroups: tuple[Subgroup, ...]
    gap: Interval | None
    best: str | None
    worst: str | None


def age_bands(ages: ArrayLike, *, edges: Sequence[float] = AGE_EDGES) -> NDArray[np.str_]:
    """The band of each age in years: ``"18-39"``, the last ``"75+"``, ``"unknown"`` for NaN.

    Args:
        ages: ``(N,)`` years, NaN where unknown.
        edges: the first year of each band, ascending.

    Raises:
        InputError: ``edges`` do not ascend, or an age is below the first.
    """
    years, starts = np.asarray(ages, np.float64), np.asarray(edges, np.float64)
    if not starts.size or (np.diff(starts) <= 0).any():
        raise InputError(f"'edges' are {tuple(edges)}; expected ascending years")
    known = ~np.isnan(years)
    if (years[known] < starts[0]).any():
        raise InputError(f"an age is below {edges[0]}, the first of 'edges'")
    names = [f"{a:g}-{b - 1:g}" for a, b in itertools.pairwise(starts)]
    names.append(f"{starts[-1]:g}+")
    place = np.searchsorted(starts, np.where(known, years, starts[0]), side="right") - 1
    return np.where(known, np.array(names)[place], "unknown")


def subgroup_table(
    statistic: Callable[..., float | None],
    *arrays: ArrayLike,
    by: ArrayLike,
    attribute: str,
    seed: int,
    groups: ArrayLike | None = None,
    least: int = 20,
    level: float = 0.95,
    replicates: int = 1000,
) -> SubgroupTable:
    """A figure for each subgroup, and the gap between the best and the worst [1]_.

    The gap is never below 0 and biased upwards by chance [2]_, the more so the more and the
    smaller the subgroups. Resamples keep the pair that is best and worst on all rows, so its
    interval may reach below 0 but does not undo that bias: read it beside the subgroups' own.

    Args:
        statistic: takes the arrays, returns the figure, or None where undefined.
        arrays: share their first axis, N rows.
        by: ``(N,)``, the value of the attribute; None, NaN and ``""`` are unknown.
        attribute: its name.
        seed: seed of the resampling.
        groups: ``(N,)``, which patient each row is of; None where each is another.
        least: patients below which a subgroup is small.
        level: of the intervals.
        replicates: how many resamples are drawn.

    Raises:
        InputError: lengths differ, or an option is out of its range.

    References:
        .. [1] Seyyed-Kalantari et al., "Underdiagnosis bias of artificial intelligence algorithms
           applied to chest radiographs", Nature Medicine 27:2176-2182, 2021.
        .. [2] Lum, Zhang & Bower, "De-biasing 'bias' measurement", FAccT 2022.
    """
    if least < 1:
        raise InputError(f"'least' is {least}; expected 1 or more patients")
    rows = [np.asarray(array) for array in arrays]
    names = _names(by)
    count = same_length(by=names, **{f"array {n}": row for n, row in enumerate(rows, 1)})
    patients = np.arange(count) if groups is None else np.asarray(groups)
    same_length(by=names, groups=patients)
    found = []
    for name in sorted(set(names.tolist()), key=lambda n: (n == "unknown", n)):
        kept = names == name
        interval = bootstrap_interval(
            statistic, *(row[kept] for row in rows),
            groups=patients[kept], seed=seed, level=level, replicates=replicates,
        )  # fmt: skip
        found.append(Subgroup(name, int(kept.sum()), interval, interval.groups < least))
    sure = [
        (one.interval.value, one.name)
        for one in found
        if not one.small and one.name != "unknown" and one.interval.value is not None
    ]
    if len(sure) < 2:
        return SubgroupTable(attribute, tuple(found), None, None, None)
    best, worst = max(sure)[1], min(sure)[1]

    def difference(name: NDArray[np.str_], *row: NDArray[np.generic]) -> float | None:
        figures = [statistic(*(one[name == which] for one in row)) for which in (best, worst)]
        if figures[0] is None or figures[1] is None:
            return None
        return figures[0] - figures[1]

    gap = bootstrap_interval(
        difference, names, *rows, groups=patients, seed=seed, level=level, replicates=replicates
    )
    return SubgroupTable(attribute, tuple(found), gap, best, worst)


def rate_gaps(truth: ArrayLike, decision: ArrayLike, *, by: ArrayLike) -> dict[str, float | None]:
    """How unevenly a yes or no falls: the greatest gaps between known subgroups [1]_.

    ``"selected"``: share called positive (demographic parity); ``"sensitivity"``: of positives
    called so (equal opportunity); ``"false-alarms"``: of negatives called positive (with the
    former, equalised odds). None where fewer than two subgroups have such cases.

    Args:
        truth: 0 or 1, ``(N,)``.
        decision: 0 or 1, ``(N,)``.
        by: ``(N,)``, as for `subgroup_table`.

    Raises:
        InputError: lengths differ, or a value is neither 0 nor 1.

    References:
        .. [1] Hardt, Price & Srebro, "Equality of opportunity in supervised learning", NeurIPS
           2016.
    """
    event, called = binary(truth, name="truth"), binary(decision, name="decision")
    names = _names(by)
    same_length(truth=event, decision=called, by=names)
    every = np.ones(event.size, np.bool_)
    out: dict[str, float | None] = {}
    for key, among in (("selected", every), ("sensitivity", event), ("false-alarms", ~event)):
        shares = [
            float(called[kept].mean())
            for name in set(names.tolist()) - {"unknown"}
            if (kept := among & (names == name)).any()
        ]
        out[key] = max(shares) - min(shares) if len(shares) > 1 else None
    return out


def _names(by: ArrayLike) -> NDArray[np.str_]:
    values = np.asarray(by)
    if values.dtype.kind in "iub":
        finite(values, name="by")
    if values.ndim != 1:
        raise InputError(f"'by' has shape {values.shape}; expected (N,)")
    return np.array(
        ["unknown" if value is None or value != value or value == "" else str(value)  # noqa: PLR0124
         for value in values.tolist()], dtype=np.str_,
    )  # fmt: skip
