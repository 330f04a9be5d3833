"""Figures, subgroups and curves from the rows of an evaluation, as plain JSON.

Each function takes what ``evaluation.json`` holds and nothing else, so that whoever has the file
gets the same numbers again.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.errors import InputError
from osler.metrics import Interval
from osler.tasks.task import Figure, Row, Task

LEVEL: Final = 0.95
_CURVE_POINTS: Final = 200
_BANDS_FROM: Final = 10  # values of a number from which quarters are formed
Statistic = Callable[..., float | None]


def as_json(figure: Figure) -> dict[str, Any]:
    """A figure as it stands in ``evaluation.json``."""
    return {
        "name": figure.name,
        **interval_json(figure.interval),
        "cases": figure.cases,
        "left_out": figure.left_out,
        "how": figure.how,
        "greater_is_better": figure.greater_is_better,
    }


def interval_json(interval: Interval) -> dict[str, Any]:
    """An interval as it stands in ``evaluation.json``."""
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "level": interval.level,
        "patients": interval.groups,
        "replicates": interval.replicates,
        "undefined": interval.undefined,
    }


# What the rows of a task hold ---------------------------------------------------------------------


def per_case(rows: Sequence[Row]) -> dict[str, list[float | None]]:
    """The columns of numbers: one a case, None where a case has none."""
    out: dict[str, list[float | None]] = {}
    for key in rows[0] if rows else ():
        values = [row.get(key) for row in rows]
        numbers = [isinstance(v, int | float) and not isinstance(v, bool) for v in values]
        known = [n or v is None for n, v in zip(numbers, values, strict=True)]
        if all(known) and any(numbers):
            out[key] = [None if v is None else float(v) for v in values]
    return out


def families(columns: Mapping[str, list[float | None]]) -> dict[str, list[float | None]]:
    """Columns ``NAME/LABEL`` as one column ``NAME``: the mean of the labels that a case has."""
    grouped: dict[str, list[list[float | None]]] = {}
    for key, values in columns.items():
        grouped.setdefault(key.split("/")[0], []).append(values)
    out: dict[str, list[float | None]] = {}
    for name, members in grouped.items():
        cases = [[v for v in case if v is not None] for case in zip(*members, strict=True)]
        out[name] = [float(np.mean(case)) if case else None for case in cases]
    return out


def figured(
    columns: Mapping[str, list[float | None]], figures: Sequence[Mapping[str, Any]]
) -> dict[str, list[float | None]]:
    """The columns whose mean is a figure, under the figure's name.

    A row may hold more than what is averaged, such as a truth or a time; what no figure is the mean
    of is not compared. Where several figures have the same value, such as 0 of a bundle that finds
    nothing, the column's own name decides.
    """
    out: dict[str, list[float | None]] = {}
    kinds = {_plain(key.split("/")[0]) for key in columns}
    for key, values in columns.items():
        known = [v for v in values if v is not None]
        if not known:
            continue
        mean = float(np.mean(known))
        alike = [
            str(one["name"])
            for one in figures
            if one["value"] is not None
            and abs(one["value"] - mean) <= 1e-9 * max(1.0, abs(mean))
            and one["cases"] == len(known)
            and one["name"] not in out
        ]
        near = [_nearness(key, name, kinds) for name in alike]
        best = max(near, default=0)
        if best:
            out[alike[near.index(best)]] = values
    return out


def _nearness(key: str, name: str, kinds: set[str]) -> int:
    """How surely a figure's name is that of a column ``KIND/LABEL``: 0 where it is another's."""
    kind, _, label = key.partition("/")
    said, _, of = name.partition(", ")
    if _plain(said) == _plain(kind):
        return 3 if of in ({label} if label else {"", "mean of labels"}) else 2
    return 0 if _plain(said) in kinds else 1


def _plain(name: str) -> str:
    """A name without units and signs: ``"volume error (ml)"`` as ``"volumeerror"``."""
    return "".join(c for c in name.split("(", maxsplit=1)[0].lower() if c.isalnum())


@dataclass(frozen=True, slots=True)
class Answers:
    """The rows of a classification.

    Attributes:
        labels: names of the classes, or of the labels that are yes or no.
        truth: ``(N,)`` classes, or ``(N, L)`` 1, 0 and NaN (not known) of each label.
        probability: ``(N, L)``.
    """

    labels: tuple[str, ...]
    truth: NDArray[np.float64]
    probability: NDArray[np.float64]

    @property
    def exclusive(self) -> bool:
        """Whether a case has one class."""
        return self.truth.ndim == 1

    def one(self, k: int) -> tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.float64]]:
        """Of a label: which cases are known, their truth and their probability."""
        column = (self.truth == k) * 1.0 if self.exclusive else self.truth[:, k]
        known = np.isfinite(column)
        return known, column[known].astype(np.intp), self.probability[known, k]

    def shown(self) -> list[int]:
        """The labels whose curves tell something: of two classes the second alone."""
        return [1] if self.exclusive and len(self.labels) == 2 else list(range(len(self.labels)))


def answers(rows: Sequence[Row], task: Task) -> Answers | None:
    """The rows as those of a classification, where they are."""
    if not rows or any(
        not isinstance(row.get("probability"), list) or "truth" not in row for row in rows
    ):
        return None
    if len({len(row["probability"]) for row in rows}) > 1:
        return None
    count = len(rows[0]["probability"])
    lists = {isinstance(row["truth"], list) for row in rows}
    if len(lists) > 1 or (lists == {True} and any(len(row["truth"]) != count for row in rows)):
        return None
    names = tuple(getattr(task.settings, "labels", ()) or ())
    names = names if len(names) == count else tuple(str(k) for k in range(count))
    truth = np.array([row["truth"] for row in rows], np.float64)  # None becomes NaN
    return Answers(names, truth, np.array([row["probability"] for row in rows], np.float64))


# Subgroups ----------------------------------------------------------------------------------------


def bands(values: Sequence[Any], name: str) -> list[str]:
    """The subgroup of each case: words as they are, ages in bands, other numbers in quarters."""
    known = [v for v in values if v is not None and v != ""]
    numbers = [v for v in known if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(known) or len(set(numbers)) <= _BANDS_FROM:
        return ["" if v is None else str(v) for v in values]
    array = np.array([np.nan if v is None or v == "" else float(v) for v in values])
    if "age" in name.lower().replace("image", "").replace("stage", "") and np.nanmin(array) >= 0:
        return [str(band) for band in metrics.age_bands(array)]
    cuts = np.unique(np.nanquantile(array, [0, 0.25, 0.5, 0.75, 1]))
    names = [f"{a:.4g} to {b:.4g}" for a, b in itertools.pairwise(cuts)]
    place = np.clip(np.searchsorted(cuts, array, side="left") - 1, 0, len(names) - 1)
    return ["" if np.isnan(v) else names[k] for v, k in zip(array, place, strict=True)]


def subgroups(
    task: Task, rows: Sequence[Row], patients: Sequence[str], values: Mapping[str, Sequence[Any]],
    figures: Sequence[Mapping[str, Any]], *, seed: int, replicates: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """A table for each column and figure: every subgroup, and the gap between best and worst."""
    out = []
    statistics = _statistics(task, rows, figures)
    said = answers(rows, task)
    lower = {str(one["name"]) for one in figures if not one.get("greater_is_better", True)}
    for column, cells in values.items():
        by = np.array(bands(cells, column))
        for name, statistic in statistics:
            table = metrics.subgroup_table(
                statistic, np.arange(len(rows)), by=by, attribute=column, seed=seed,
                groups=np.array(patients), replicates=replicates,
            )  # fmt: skip
            entry: dict[str, Any] = {
                "attribute": column,
                "figure": name,
                "subgroups": [
                    {"name": one.name, "cases": one.rows, "small": one.small,
                     **interval_json(one.interval)}
                    for one in table.subgroups
                ],
                "gap": None if table.gap is None else interval_json(table.gap),
                "greatest": table.best,
                "smallest": table.worst,
                "best": table.worst if name in lower else table.best,
                "worst": table.best if name in lower else table.worst,
            }  # fmt: skip
            out.append(entry)
        if said is not None and said.exclusive and len(said.labels) == 2:
            truth, called = said.truth.astype(int), said.probability.argmax(1)
            small = [one["name"] for one in out[-1]["subgroups"] if one["small"]]
            large = np.where(np.isin(by, small), "", by)  # a rate of a few is mostly chance
            out[-1]["rate_gaps"] = metrics.rate_gaps(truth, called, by=large)
    return out


def share_right(truth: NDArray[Any], said: NDArray[Any]) -> float | None:
    """The share of cases that are called what they are; None without cases."""
    return float((truth == said).mean()) if len(truth) else None


def _statistics(
    task: Task, rows: Sequence[Row], figures: Sequence[Mapping[str, Any]]
) -> list[tuple[str, Statistic]]:
    """The figures that subgroups are compared by; each takes the numbers of the cases."""
    said = answers(rows, task)
    if said is not None and said.exclusive:
        truth, p = said.truth.astype(int), said.probability

        def right(chosen: NDArray[np.intp]) -> float | None:
            return share_right(truth[chosen], p[chosen].argmax(1))

        def area(chosen: NDArray[np.intp]) -> float | None:
            return metrics.macro_auroc(truth[chosen], p[chosen])

        return [("macro AUROC", area), ("accuracy", right)]
    if said is not None:
        return [(f"AUROC, {label}", _area_of(said, k)) for k, label in enumerate(said.labels)]
    columns = per_case(rows)
    named = figured(families(columns), figures) or figured(columns, figures)
    if named:
        return [(name, _mean_of(values)) for name, values in named.items()]
    return [("score", lambda chosen: task.score([rows[int(n)] for n in chosen]))]


def _area_of(said: Answers, k: int) -> Statistic:
    def statistic(chosen: NDArray[np.intp]) -> float | None:
        truth = said.truth[chosen, k]
        known = np.isfinite(truth)
        return metrics.auroc(truth[known].astype(int), said.probability[chosen, k][known])

    return statistic


def _mean_of(values: Sequence[float | None]) -> Statistic:
    array = np.array([np.nan if v is None else v for v in values], float)

    def statistic(chosen: NDArray[np.intp]) -> float | None:
        known = array[chosen]
        known = known[np.isfinite(known)]
        return float(known.mean()) if known.size else None

    return statistic


# Curves and the worst cases -----------------------------------------------------------------------


def curves(task: Task, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Of each label of a classification: ROC, reliability and decision curve."""
    said = answers(rows, task)
    if said is None:
        return []
    out = []
    for k in said.shown():
        _, truth, p = said.one(k)
        if not len(truth):
            continue
        table = metrics.reliability(truth, p, bins=10)
        filled = table.counts > 0
        entry: dict[str, Any] = {
            "label": said.labels[k],
            "positives": int(truth.sum()),
            "cases": len(truth),
            "roc": roc(truth, p),
            "reliability": {
                "predicted": table.predicted[filled].tolist(),
                "observed": table.observed[filled].tolist(),
                "counts": table.counts[filled].tolist(),
            },
        }
        net = metrics.decision_curve(truth, p)
        if net is not None:
            entry["decision"] = {
                "thresholds": net.thresholds.tolist(), "model": net.model.tolist(),
                "everyone": net.everyone.tolist(),
            }  # fmt: skip
        out.append(entry)
    return out


def roc(truth: NDArray[Any], p: NDArray[np.float64]) -> dict[str, list[float]] | None:
    """The corners of the ROC curve [1]_, thinned to some two hundred; None with one class.

    References:
        .. [1] Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27:861-874,
           2006, algorithm 1.
    """
    event = np.asarray(truth) == 1
    if event.all() or not event.any():
        return None
    order = np.argsort(-p, kind="stable")
    last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)  # ties make one corner
    hits = np.append(0, np.cumsum(event[order])[last]) / event.sum()
    alarms = np.append(0, np.cumsum(~event[order])[last]) / (~event).sum()
    if len(hits) > _CURVE_POINTS:
        kept = np.unique(np.linspace(0, len(hits) - 1, _CURVE_POINTS).round().astype(int))
        hits, alarms = hits[kept], alarms[kept]
    return {"false_alarms": alarms.tolist(), "sensitivity": hits.tolist()}


def worths(task: Task, rows: Sequence[Row]) -> list[float | None]:
    """How good each case is by itself, greater is better; None where that cannot be said.

    Of a classification the probability that was given to the truth, of labels the least of them;
    else the task's own score of the case alone.
    """
    said = answers(rows, task)
    out: list[float | None] = []
    for n, row in enumerate(rows):
        if said is not None and said.exclusive:
            out.append(float(said.probability[n, int(said.truth[n])]))
        elif said is not None:
            t, p = said.truth[n], said.probability[n]
            given = np.where(t == 1, p, 1 - p)[np.isfinite(t)]
            out.append(float(given.min()) if given.size else None)
        else:
            try:
                out.append(float(task.score([row])))
            except (InputError, ValueError, ZeroDivisionError, IndexError):
                out.append(None)
    return out
