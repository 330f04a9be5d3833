"""A segmentation of several images, any of which may be missing, judged on every subset of them.

    python benchmarks/missing_sequences.py recipes/brain-tumour-missing.yaml --work FOLDER \
        [--folds 0 1 2 3 4] [--out FILE]

Each fold is a run of the recipe; the run and what was judged of it are kept in ``--work`` and not
done again, and ``--out`` is written after each fold. Each case of a fold is read by the bundle that
its patient did not teach, once with each subset of its images. Intervals are
95 %, of 2000 bootstrap samples of patients; differences are to all images of the same patients.
"""

import argparse
import json
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import yaml

from osler import bundles
from osler.bundles.answering import task_of
from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.learn.fitting import fit
from osler.tasks.task import Arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path)
    said = parser.parse_args()
    content = yaml.safe_load(said.recipe.read_text())
    table = (said.recipe.parent / content["cohort"]).resolve()
    content["cohort"] = str(table)
    rows: dict[str, dict[str, dict[str, float | None]]] = {}
    done: list[int] = []
    found: dict[str, dict[str, list[float]]] = {}
    for fold in said.folds:
        folder = said.work / f"fold-{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        content["hold"] = {"test": fold, "tune": None}
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        begun = time.process_time()
        if not (folder / "cases.json").exists():
            fit(path, out=folder)
        kept = folder / "subsets.json"
        if not kept.exists():
            judged = every_subset(folder / "bundle", table, fold)
            kept.write_text(json.dumps(judged, indent=1) + "\n")
        rows.update(json.loads(kept.read_text()))
        done.append(fold)
        print(f"fold {fold}: {time.process_time() - begun:.0f} s", flush=True)
        found = figures(rows)
        if said.out:
            said.out.write_text(
                json.dumps({"folds": done, "heads": len(rows), "figures": found}, indent=1) + "\n"
            )
    for name, one in found.items():
        print(f"{name:24s} " + "  ".join(f"{key} {value}" for key, value in one.items()))


def every_subset(
    bundle: Path, table: Path, fold: int
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Of each case of a fold, of each subset of its images, the row that the task judges."""
    loaded = bundles.load(bundle)
    task = task_of(loaded.card)
    cohort = read_cohort(table)
    out = {}
    for row in cohort.rows:
        if row.fold != fold:
            continue
        whole = open_row(row, cohort)
        sample = task.encode(whole, truth=True)
        names = [
            name
            for name, there in zip(task.inputs()[1].channels, sample.inputs["present"], strict=True)
            if there
        ]
        judged = {}
        for count in range(1, len(names) + 1):
            for some in combinations(names, count):
                mask = np.array(
                    [float(name in some) for name in task.inputs()[1].channels], np.float32
                )
                sample.inputs["present"] = mask

                def ask(inputs: Arrays) -> Arrays:
                    return dict(zip(["scores"], loaded.run(inputs).values(), strict=True))

                judged["+".join(some)] = dict(task.judge(task.run(ask, sample), sample))
        out[row.case_id] = judged
    return out


def figures(
    rows: dict[str, dict[str, dict[str, float | None]]],
) -> dict[str, dict[str, list[float]]]:
    """The mean Dice of each label and subset, with what is lost to all images."""
    first = next(iter(rows.values()))
    labels = [key for key in next(iter(first.values())) if key.startswith("dice/")]
    rng = np.random.default_rng(1)
    draws = rng.integers(0, len(rows), (2000, len(rows)))
    out: dict[str, dict[str, list[float]]] = {}
    whole = list(first)[-1]
    for subset in first:
        out[subset] = {}
        for label in labels:
            value, all_ = (
                np.array([judged[name][label] for judged in rows.values()], float)
                for name in (subset, whole)
            )
            out[subset][label] = _three(value, draws)
            if subset != whole:
                out[subset][f"{label} minus all"] = _three(value - all_, draws)
    return out


def _three(values: np.ndarray, draws: np.ndarray) -> list[float]:
    means = np.nanmean(values[draws], axis=1)
    return [
        round(float(one), 4) for one in (np.nanmean(values), *np.percentile(means, [2.5, 97.5]))
    ]


if __name__ == "__main__":
    main()
