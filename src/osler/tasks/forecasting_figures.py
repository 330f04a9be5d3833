"""The figures of forecasts, beside those of simple rules on the same cases."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.tasks.task import Figure, Row

RULES = {
    "last": "last value carried forward",
    "line": "line through the case's own visits",
    "drift": "last value and the teaching cases' mean change",
}
"""Rules by their names in a row."""


def forecast_figures(
    rows: Sequence[Row], patients: Sequence[str], targets: Sequence[str], *, level: float,
    seed: int, replicates: int,
) -> list[Figure]:  # fmt: skip
    """Errors, what is gained on each rule, and how the intervals hold, by target.

    A rule that says nothing of some cases is held against the forecast on the others only.

    Args:
        rows: of ``Forecasting.judge``.
        patients: of each row.
        targets: what was forecast.
        level: of the intervals.
        seed: of the bootstrap.
        replicates: of the bootstrap.
    """
    out: list[Figure] = []

    def add(name: str, function: Callable[..., float], keys: Sequence[str], target: str, how: str,
            *, better: bool = False) -> None:  # fmt: skip
        kept = [
            n for n, row in enumerate(rows) if all(row[target][key] is not None for key in keys)
        ]
        if not kept:
            return
        columns = [np.array([rows[n][target][key] for n in kept], np.float64) for key in keys]
        interval = metrics.bootstrap_interval(
            function, *columns, seed=seed, groups=np.array([patients[n] for n in kept]),
            replicates=replicates,
        )  # fmt: skip
        out.append(
            Figure(f"{name}, {target}", interval, len(kept), how, len(rows) - len(kept), better)
        )

    for target in targets:
        add("MAE", _mae, ("truth", "said"), target, "mean absolute error")
        add("RMSE", _rmse, ("truth", "said"), target, "root of the mean squared error")
        add("bias", _bias, ("truth", "said"), target, "mean of forecast less truth; 0 is best")
        for key, words in RULES.items():
            add(f"MAE of {key}", _mae, ("truth", key), target, words)
            add(f"RMSE of {key}", _rmse, ("truth", key), target, words)
            less = f"MAE of {words} less that of the forecast, on the same cases"
            add(f"MAE gained on {key}", _gained, ("truth", "said", key), target, less, better=True)
        within = "share of truths within; the level is best"
        ends = ("truth", "low", "high")
        add(f"coverage of {level:.0%} intervals", _covered, ends, target, within, better=True)
        add("interval width", _width, ("low", "high"), target, "mean")
    return out


Floats = NDArray[Any]


def _mae(truth: Floats, said: Floats) -> float:
    return float(np.abs(said - truth).mean())


def _rmse(truth: Floats, said: Floats) -> float:
    return float(np.sqrt(np.square(said - truth).mean()))


def _bias(truth: Floats, said: Floats) -> float:
    return float((said - truth).mean())


def _gained(truth: Floats, said: Floats, rule: Floats) -> float:
    return _mae(truth, rule) - _mae(truth, said)


def _covered(truth: Floats, low: Floats, high: Floats) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


def _width(low: Floats, high: Floats) -> float:
    return float((high - low).mean())
