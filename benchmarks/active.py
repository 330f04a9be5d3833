"""Criteria of active learning beside random choice: ``python benchmarks/active.py
benchmarks/learning/NAME.yaml``.

An experiment is a YAML file:

- ``base``: a recipe, relative to the experiment's file;
- ``change``: keys of the recipe, among them how many labels the first round has;
- ``take``: labels that each round adds, and ``rounds``: trainings of each curve;
- ``seeds``: of the first labels (``labels.seed``) and of the training (``learner.seed``);
- ``criteria``: the first is what the others are compared with;
- ``figure``: the name of the figure, as the card has it.

``NAME.json`` beside it holds the curve of each criterion (labels, and the figure's mean over
seeds), the labels that each needs to reach what the first criterion reaches at the end, and the
difference at the last round with the interval of the paired bootstrap over patients. Rounds that
are done are kept in ``--work``.
"""

import argparse
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from osler.bundles import load
from osler.bundles.answering import task_of
from osler.learn.choosing import labels_needed
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.rounds import learn_in_rounds
from osler.learn.teaching import cohort_of
from osler.learn.tuning_plan import with_values, write_recipe
from osler.tasks.task import Task

REPLICATES = 500


def compare(path: Path, work: Path) -> dict[str, Any]:
    """Run an experiment and return its record."""
    said = yaml.safe_load(path.read_text())
    base = (path.parent / said["base"]).resolve()
    content = with_values(read_yaml(base), said.get("change", {}))
    figure = said["figure"]
    curves: dict[str, list[list[tuple[int, float]]]] = {}
    last: dict[str, list[Path]] = {}
    for seed in said["seeds"]:
        for criterion in said["criteria"]:
            way = {"criterion": criterion, "take": said["take"]}
            keys = {"labels.seed": seed, "learner.seed": seed, "strategies": {"active": way}}
            there = work / path.stem / f"{criterion}-{seed}"
            write_recipe(with_values(content, keys), there / "recipe.yaml", beside=base)
            done = learn_in_rounds(
                there / "recipe.yaml", rounds=said["rounds"], out=there, resume=True
            )
            curve = [(len(one.labelled), one.value(figure)) for one in done]
            curves.setdefault(criterion, []).append(curve)
            last.setdefault(criterion, []).append(done[-1].folder)
            print(criterion, seed, curve, flush=True)
    recipe, _ = check_recipe(content, base)
    cohort = cohort_of(recipe, base, folder=work / path.stem)
    patients = {row.case_id: row.patient_id for row in cohort.rows}
    first = said["criteria"][0]
    mean = {
        name: [
            (round(float(np.mean([run[k][0] for run in runs]))),
             round(float(np.mean([run[k][1] for run in runs])), 4))
            for k in range(min(map(len, runs)))
        ]
        for name, runs in curves.items()
    }  # fmt: skip
    level = mean[first][-1][1]
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "base": said["base"], "figure": figure, "seeds": said["seeds"], "level": level,
        "interval": "95 %, paired percentile bootstrap over patients, at the last round",
        "minutes": round((spent.ru_utime + spent.ru_stime) / 60, 2),
        "criteria": {
            name: {
                "curve": mean[name], "runs": curves[name],
                "labels_needed": labels_needed(mean[name], level),
                "difference": difference(last[first], last[name], patients, figure),
            }
            for name in curves
        },
    }  # fmt: skip


def difference(
    first: list[Path], second: list[Path], patients: dict[str, str], figure: str
) -> list[float]:
    """The mean difference of the last rounds with its interval: value, low, high."""
    rows = [
        [json.loads((there / "cases.json").read_text()) for there in runs]
        for runs in (first, second)
    ]
    task = task_of(load(first[0] / "bundle").card)
    everyone = sorted({patients[case] for case in rows[0][0]})
    cases = {one: [case for case in rows[0][0] if patients[case] == one] for one in everyone}
    rng = np.random.default_rng(1)

    def gap(chosen: list[str]) -> float:
        drawn = [case for one in chosen for case in cases[one]]
        who = [patients[case] for case in drawn]
        a, b = (
            float(np.mean([figure_of(task, [run[case] for case in drawn], who, figure)
                           for run in runs]))
            for runs in rows
        )  # fmt: skip
        return b - a

    spread = [
        gap([everyone[k] for k in rng.integers(0, len(everyone), len(everyone))])
        for _ in range(REPLICATES)
    ]
    low, high = np.nanpercentile(spread, [2.5, 97.5])
    return [round(gap(everyone), 4), round(float(low), 4), round(float(high), 4)]


def figure_of(task: Task, rows: list[Any], patients: list[str], name: str) -> float:
    """One figure without its interval."""
    for one in task.figures(rows, patients, seed=1, replicates=2):
        if one.name == name and one.interval.value is not None:
            return float(one.interval.value)
    return float("nan")


def main() -> None:
    """Run each experiment and write its record beside it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("experiments", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs") / "learning")
    asked = parser.parse_args()
    for path in asked.experiments:
        record = compare(path, asked.work)
        path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        for name, one in record["criteria"].items():
            print(name, one["curve"], one["labels_needed"], one["difference"])


if __name__ == "__main__":
    main()
