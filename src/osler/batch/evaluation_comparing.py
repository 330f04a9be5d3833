"""Two bundles on the same cases: every figure of both, the difference, and how surprising it is."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.batch.evaluation_figures import (
    Answers,
    Statistic,
    answers,
    figured,
    per_case,
    share_right,
)
from osler.tasks.task import Row, Task

_SCORE_REPLICATES: Final = 500  # a score of all cases takes longer than a mean


def comparisons(
    task: Task, first: Sequence[Row], second: Sequence[Row], patients: Sequence[str],
    figures: Sequence[Mapping[str, Any]], *, seed: int, replicates: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Every figure of two bundles on the same cases: difference, interval, p by itself and Holm's.

    AUROCs are tested by DeLong and accuracies by McNemar where each case is another patient;
    otherwise, and for figures per case, predictions are exchanged patient by patient. A task that
    has neither is compared by the score by which weights are chosen.

    Args:
        task: of the bundles.
        first: rows of the first.
        second: rows of the second, of the same cases.
        patients: of the cases.
        figures: of the first, as `as_json` gives them.
        seed: of the resamples and exchanges.
        replicates: how many there are.
    """
    out = []
    one, other = answers(first, task), answers(second, task)
    drawn = {"seed": seed, "groups": np.array(patients)}
    if one is not None and other is not None:
        out += _areas(one, other, drawn, replicates=replicates)
        out += _accuracies(one, other, drawn, replicates=replicates)
    else:
        keys, others = per_case(first), per_case(second)
        named = figured({key: keys[key] for key in keys if key in others}, figures)
        key_of = {id(values): key for key, values in keys.items()}
        for name, values in named.items():
            out.append(_means(name, values, others[key_of[id(values)]], drawn, replicates))
        if not named:
            out.append(_scores(task, first, second, drawn, min(replicates, _SCORE_REPLICATES)))
    return _holm([row for row in out if row])


def _areas(
    one: Answers, other: Answers, drawn: Mapping[str, Any], *, replicates: int
) -> list[dict[str, Any]]:
    out = []
    for k in one.shown():
        known, truth, p = one.one(k)
        q = other.one(k)[2]
        name = f"AUROC, {one.labels[k]}"
        if min(np.bincount(truth, minlength=2)) < 2:
            out.append({"figure": name, "why": "fewer than two cases with or without it"})
            continue
        out.append(
            _tested(
                name, metrics.auroc, truth, p, q, groups=drawn["groups"][known], seed=drawn["seed"],
                replicates=replicates, independent=metrics.delong_test, test="DeLong",
            )
        )  # fmt: skip
    return out


def _accuracies(
    one: Answers, other: Answers, drawn: Mapping[str, Any], *, replicates: int
) -> list[dict[str, Any]]:
    pairs: list[tuple[str, Any, Any, Any, NDArray[np.bool_]]] = []
    if one.exclusive:
        said = one.probability.argmax(1), other.probability.argmax(1)
        pairs.append(("accuracy", one.truth, *said, np.ones(len(one.truth), bool)))
    else:
        for k, label in enumerate(one.labels):
            known, truth, p = one.one(k)
            if known.any():
                called = (p >= 0.5) * 1, (other.one(k)[2] >= 0.5) * 1
                pairs.append((f"accuracy, {label}", truth, *called, known))
    return [
        _tested(
            name, share_right, truth, p, q, groups=drawn["groups"][known], seed=drawn["seed"],
            replicates=replicates, independent=metrics.mcnemar, test="McNemar, exact",
        )
        for name, truth, p, q, known in pairs
    ]  # fmt: skip


def _means(
    key: str, first: Sequence[float | None], second: Sequence[float | None],
    drawn: Mapping[str, Any], replicates: int,
) -> dict[str, Any]:  # fmt: skip
    both = [a is not None and b is not None for a, b in zip(first, second, strict=True)]
    known = np.array(both, bool)
    if not known.any():
        return {"figure": key, "why": "no case has it from both bundles"}
    p, q = (np.array([v for v, k in zip(f, both, strict=True) if k], float)
            for f in (first, second))  # fmt: skip
    row = _tested(
        key, lambda _, values: float(values.mean()) if len(values) else None,
        np.zeros(len(p)), p, q, groups=drawn["groups"][known], seed=drawn["seed"],
        replicates=replicates,
    )  # fmt: skip
    return {**row, "left_out": int((~known).sum())}


def _scores(
    task: Task, first: Sequence[Row], second: Sequence[Row], drawn: Mapping[str, Any],
    replicates: int,
) -> dict[str, Any]:  # fmt: skip
    rows = [np.empty(len(first), object) for _ in range(2)]
    rows[0][:], rows[1][:] = list(first), list(second)
    return _tested(
        "score", lambda _, chosen: task.score(list(chosen)), np.zeros(len(first)), *rows,
        groups=drawn["groups"], seed=drawn["seed"], replicates=replicates,
    )  # fmt: skip


def _tested(
    name: str, statistic: Statistic, truth: NDArray[Any], p: NDArray[Any], q: NDArray[Any],
    *, groups: NDArray[Any], seed: int, replicates: int, independent: Any = None, test: str = "",
) -> dict[str, Any]:  # fmt: skip
    """A figure of two bundles: the interval by patient, and a test."""
    interval = metrics.paired_bootstrap(
        statistic, truth, p, q, seed=seed, groups=groups, replicates=replicates
    )
    alone = len(set(groups.tolist())) == len(groups)
    if independent is not None and alone:
        done = independent(truth, p, q)
    else:
        test = "permutation by patient"
        done = metrics.permutation_test(
            statistic, truth, p, q, seed=seed, groups=groups, permutations=replicates
        )
    return {
        "figure": name, "first": done.first, "second": done.second, "difference": done.difference,
        "low": interval.low, "high": interval.high, "level": interval.level, "p": done.p,
        "test": test, "cases": len(p), "patients": interval.groups, "left_out": 0,
        "replicates": replicates, "how": "interval: paired bootstrap by patient",
    }  # fmt: skip


def _holm(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each p-value as Holm corrects it for how many there are [1]_.

    References:
        .. [1] Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
           Journal of Statistics 6:65-70, 1979.
    """
    tested = sorted((row for row in rows if "p" in row), key=lambda row: float(row["p"]))
    least = 0.0
    for place, row in enumerate(tested):
        least = max(least, min(1.0, float(row["p"]) * (len(tested) - place)))
        row["p_holm"] = least
    return rows
