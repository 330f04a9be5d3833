"""A linear Cox regression in the folds of ``recipes/survival.yaml``, beside what the recipe gave.

    python benchmarks/recipe_folds.py recipes/survival.yaml --out FOLDER
    python benchmarks/survival.py FOLDER

The regression learns from all four folds that do not test (a network keeps one of them to tune by);
its baseline hazard is of the same cases. Both are judged by the same functions on the same cases.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import yaml

from osler import metrics
from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.tasks.catalogue import create
from osler.tasks.survival_figures import brier_of_cause
from osler.tasks.survival_models import breslow, cox_incidence, cox_regression

RECIPE = Path(__file__).parents[1] / "recipes/survival.yaml"


def arrays(rows: dict[str, dict], ids: list[str]) -> list[np.ndarray]:
    picked = [rows[one] for one in ids]
    return [
        np.array([row["time"] for row in picked]), np.array([row["event"] for row in picked]),
        np.array([row["score"][0] for row in picked]),
        np.array([row["curve"][0] for row in picked]),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    content = yaml.safe_load(RECIPE.read_text())
    cohort = read_cohort(RECIPE.parent / content["cohort"])
    linear: dict[str, dict] = {}
    for fold in cohort.folds:
        taught = [open_row(row, cohort) for row in cohort.rows if row.fold != fold]
        task = create("survival", content["settings"]).planned(lambda cases=taught: cases)
        table = [task.encode(case, truth=True) for case in taught]
        x = np.stack([sample.inputs["table"] for sample in table]).astype(float)
        kept = drop_first(task.settings.table)
        times = np.array([sample.home["time"] for sample in table])
        events = np.array([int(sample.targets["cause"]) == 1 for sample in table])
        weights = cox_regression(times, events, x[:, kept]).weights
        baseline = breslow(times, events, x[:, kept] @ weights)
        for row in cohort.rows:
            if row.fold != fold:
                continue
            sample = task.encode(open_row(row, cohort), truth=True)
            score = np.array([sample.inputs["table"][kept].astype(float) @ weights])

            def risk(at: list[float], score: np.ndarray = score, baseline=baseline) -> list:
                return np.clip(cox_incidence([baseline], score, np.array(at)), 0, 1).tolist()

            said = task.settings
            risks = risk(said.horizons)
            linear[sample.id] = {
                "time": sample.home["time"], "event": int(sample.targets["cause"]),
                "risk": risks, "curve": risk(said.grid), "score": [risks[0][-1]],
            }  # fmt: skip
    ids = list(linear)
    network = json.loads((folder / "rows.json").read_text())
    for one in task.figures([linear[name] for name in ids], ids, seed=1):
        low, high = one.interval.low, one.interval.high
        print(f"linear: {one.name}: {one.interval.value:.3f} ({low:.3f} to {high:.3f})")
    grid, until = np.array(task.settings.grid), task.settings.horizons[-1]

    def c_gained(times, events, score, curve, other, curve2):
        return metrics.uno_c(times, events == 1, score, until=until) - metrics.uno_c(
            times, events == 1, other, until=until
        )

    def brier_gained(times, events, score, curve, other, curve2):
        both = [
            float(np.trapezoid(brier_of_cause(times, events, one, 0, grid), grid))
            for one in (curve, curve2)
        ]
        return (both[1] - both[0]) / (grid[-1] - grid[0])

    times, events, score, curve = arrays(network, ids)
    _, _, other, curve2 = arrays(linear, ids)
    for name, statistic in (("C-index (Uno)", c_gained), ("integrated Brier", brier_gained)):
        made = metrics.bootstrap_interval(
            statistic, times, events, score, curve, other, curve2, seed=1
        )
        print(
            f"gained by the network, {name}: {made.value:.4f} ({made.low:.4f} to {made.high:.4f})"
        )


def drop_first(table) -> list[int]:
    """Channels without the first category of each column, which the others tell."""
    kept, place = [], 0
    for column in table.columns:
        width = len(table.categories.get(column, [])) or 1
        kept += list(range(place + (width > 1), place + width))
        place += width
    return kept


if __name__ == "__main__":
    main()
