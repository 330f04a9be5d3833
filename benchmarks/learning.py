"""Ways to learn beside the plain training, on the same cases: ``python benchmarks/learning.py
benchmarks/learning/NAME.yaml``.

An experiment is a YAML file:

- ``base``: a recipe, relative to the experiment's file;
- ``change``: keys of the recipe that all variants change, as ``{learner.steps: 200}``;
- ``over``: a key and its values, each variant being fitted with each of them: folds (a number K
  tests on fold K and tunes on the next one, with ``hold``), seeds (``learner.seed``) or draws of
  labels (``labels.seed``). Cases that are judged several times count as one patient each;
- ``figure``: the name of the figure, as the card has it;
- ``by``: a variable of the cohort, of whose values the figure is given by itself too;
- ``also``: names of more figures, whose values and intervals are recorded beside it;
- ``variants``: a name to the keys that it changes; the first is the baseline.

What comes of it lies beside it as ``NAME.json``: for every variant the figure with its interval by
patient, its difference from the baseline with the interval of the paired bootstrap, and minutes of
the processor. Runs that are done are kept in ``--work`` and not made again.
"""

import argparse
import json
import re
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from osler.bundles import load
from osler.bundles.answering import task_of
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.teaching import cohort_of
from osler.learn.tuning_plan import with_values, write_recipe
from osler.tasks.task import Task

REPLICATES = 500


def changes_of(key: str, value: Any, folds: list[int]) -> dict[str, Any]:
    """The keys of a recipe that a value of ``over`` sets."""
    if key != "hold":
        return {key: value}
    return {"hold.test": value, "hold.tune": folds[(folds.index(value) + 1) % len(folds)]}


def run_variant(
    content: Mapping[str, Any], there: Path, *, beside: Path
) -> tuple[dict[str, Any], Task, float, dict[str, Any]]:
    """The judged cases, the task, minutes of the processor, and what strategies kept."""
    done = there / "minutes.json"
    if not done.exists():
        there.mkdir(parents=True, exist_ok=True)
        write_recipe(content, there / "recipe.yaml", beside=beside)
        before = resource.getrusage(resource.RUSAGE_SELF)
        fit(there / "recipe.yaml", out=there, resume=True)
        after = resource.getrusage(resource.RUSAGE_SELF)
        spent = sum(getattr(after, one) - getattr(before, one) for one in ("ru_utime", "ru_stime"))
        done.write_text(json.dumps(spent / 60))
    rows = json.loads((there / "cases.json").read_text())
    record = json.loads((there / "run.json").read_text()).get("strategies", {})
    return rows, task_of(load(there / "bundle").card), json.loads(done.read_text()), record


def figures_of(task: Task, rows: list[Any], patients: list[str], names: list[str]) -> list[float]:
    """Some figures without their intervals."""
    found = {one.name: one.interval.value
             for one in task.figures(rows, patients, seed=1, replicates=2)}  # fmt: skip
    for name in names:
        if name not in found:
            raise SystemExit(f"no figure '{name}'; there are: {', '.join(found)}")
    values = [found[name] for name in names]
    return [float("nan") if one is None else float(one) for one in values]


def slug(name: str) -> str:
    """A variant's folder."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def compare(path: Path, work: Path) -> dict[str, Any]:
    """Run an experiment and return its record."""
    said = yaml.safe_load(path.read_text())
    base = (path.parent / said["base"]).resolve()
    content = with_values(read_yaml(base), said.get("change", {}))
    ((key, values),) = said.get("over", {"learner.seed": [1]}).items()
    recipe, _ = check_recipe(content, base)
    cohort = cohort_of(recipe, base, folder=work / path.stem)
    folds = sorted(one for one in cohort.folds if one is not None)
    patients = {row.case_id: row.patient_id for row in cohort.rows}
    judged: dict[str, list[tuple[dict[str, Any], Task]]] = {}
    minutes: dict[str, float] = {}
    records: dict[str, Any] = {}
    for name, change in said["variants"].items():
        for value in values:
            changed = with_values(content, {**(change or {}), **changes_of(key, value, folds)})
            there = work / path.stem / slug(name) / slug(str(value))
            began = time.monotonic()
            rows, task, spent, record = run_variant(changed, there, beside=base)
            judged.setdefault(name, []).append((rows, task))
            minutes[name] = minutes.get(name, 0.0) + spent
            records[name] = record
            print(f"{name} {key}={value}: {spent:.2f} min ({time.monotonic() - began:.0f} s)")
    asked = [said["figure"], *said.get("also", [])]
    first = next(iter(judged))
    everyone = sorted({patients[case] for rows, _ in judged[first] for case in rows})
    rng = np.random.default_rng(1)
    draws = [rng.integers(0, len(everyone), len(everyone)) for _ in range(REPLICATES)]

    def values_of(name: str, weights: np.ndarray | None) -> np.ndarray:
        """The figures of some patients: the mean over runs of one make, or all folds together."""
        groups = [judged[name]] if key == "hold" else [[one] for one in judged[name]]
        out = []
        for group in groups:
            rows, who = [], []
            for cases, _ in group:
                for case, row in cases.items():
                    times = 1 if weights is None else int(weights[place[patients[case]]])
                    rows += [row] * times
                    who += [patients[case]] * times
            if rows:
                out.append(figures_of(group[0][1], rows, who, asked))
        return np.nanmean(out, axis=0) if out else np.full(len(asked), np.nan)

    place = {patient: number for number, patient in enumerate(everyone)}
    counts = [np.bincount(one, minlength=len(everyone)) for one in draws]
    spread = {name: np.stack([values_of(name, one) for one in counts]) for name in judged}
    table = {}
    for name in judged:
        values_here, gap = values_of(name, None), spread[name] - spread[first]
        gap_here = values_here - values_of(first, None)
        low, high = np.nanpercentile(spread[name], [2.5, 97.5], axis=0)
        less, more = np.nanpercentile(gap, [2.5, 97.5], axis=0)
        numbers = [
            {
                "value": round(values_here[n], 4), "low": round(low[n], 4),
                "high": round(high[n], 4), "difference": round(gap_here[n], 4),
                "difference_low": round(less[n], 4), "difference_high": round(more[n], 4),
            }
            for n in range(len(asked))
        ]  # fmt: skip
        more_of_them = dict(zip(asked[1:], numbers[1:], strict=True))
        table[name] = {
            **numbers[0], **({"also": more_of_them} if more_of_them else {}),
            "minutes_a_run": round(minutes[name] / len(values), 2), "record": records[name],
        }  # fmt: skip
    if by := said.get("by"):
        of = {row.patient_id: str(row.variables.get(by, "")) for row in cohort.rows}
        for value in sorted({of[one] for one in everyone}):
            those = np.array([of[one] == value for one in everyone], int)
            for name in judged:
                part = round(float(values_of(name, those)[0]), 4)
                table[name].setdefault("by", {})[value] = part
    return {
        "base": said["base"],
        "figure": asked[0],
        "over": {key: values},
        "patients": len(everyone),
        "interval": "95 %, percentile bootstrap over patients",
        "variants": table,
    }


def main() -> None:
    """Run each experiment and write its record beside it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("experiments", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs") / "learning")
    asked = parser.parse_args()
    for path in asked.experiments:
        record = compare(path, asked.work)
        path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        for name, one in record["variants"].items():
            print(f"{name}: {one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f}), "
                  f"difference {one['difference']:+.3f} ({one['difference_low']:+.3f} to "
                  f"{one['difference_high']:+.3f}), {one['minutes_a_run']} min")  # fmt: skip


if __name__ == "__main__":
    main()
