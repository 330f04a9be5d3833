"""A recipe on every fold of its cohort: each case is judged by a network that its patient did not
teach, and the figures are of all cases together.

    python benchmarks/recipe_folds.py RECIPE --out FOLDER [--folds 0 1 2 3 4] [--tune next|none]

With ``--tune next`` the fold after the one that tests tunes. A fold whose ``cases.json`` lies in
the folder is not run again. What comes out is ``FOLDER/figures.json`` and ``FOLDER/rows.json``.
"""

import argparse
import json
import time
from pathlib import Path

import yaml

from osler import bundles
from osler.bundles.answering import task_of
from osler.data.cohort import read_cohort
from osler.learn.fitting import fit


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--tune", choices=["next", "none"], default="next")
    args = parser.parse_args()
    content = yaml.safe_load(args.recipe.read_text())
    table = (args.recipe.parent / content["cohort"]).resolve()
    content["cohort"] = str(table)
    patient = {row.case_id: row.patient_id for row in read_cohort(table).rows}
    rows, begun = {}, time.monotonic()
    for place, fold in enumerate(args.folds):
        after = args.folds[(place + 1) % len(args.folds)]
        content["hold"] = {"test": fold, "tune": after if args.tune == "next" else None}
        folder = args.out / f"fold-{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        if not (folder / "cases.json").exists():
            fit(path, out=folder)
        rows |= json.loads((folder / "cases.json").read_text())
        print(f"fold {fold}: {time.monotonic() - begun:.0f} s", flush=True)
    task = task_of(bundles.load(args.out / f"fold-{args.folds[0]}" / "bundle").card)
    figures = task.figures(list(rows.values()), [patient[one] for one in rows], seed=1)
    said = [
        {"name": one.name, "value": one.interval.value, "low": one.interval.low,
         "high": one.interval.high, "cases": one.cases, "left_out": one.left_out, "how": one.how}
        for one in figures
    ]  # fmt: skip
    (args.out / "figures.json").write_text(json.dumps(said, indent=1) + "\n")
    (args.out / "rows.json").write_text(json.dumps(rows) + "\n")
    for one in said:
        shown = [
            f"{one[key]:.3f}" if one[key] is not None else "-" for key in ("value", "low", "high")
        ]
        print(f"{one['name']}: {shown[0]} ({shown[1]} to {shown[2]}), {one['cases']} cases")


if __name__ == "__main__":
    main()
