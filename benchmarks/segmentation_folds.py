"""A segmentation recipe of the fundus on several folds: each photograph is judged by the network
that its patient did not teach, and the figures are of all photographs together.

    python benchmarks/segmentation_folds.py RECIPE --out FOLDER [--folds 0 1 2 3 4] [--resume]

Each fold is trained by the recipe as it stands, only with another fold left out and without the
last steps on all folds, into ``FOLDER/fold-N``; with ``--resume`` it goes on from its last
checkpoint, and one that is done is only judged. The threshold of a label is chosen on the fold that
is left out, so Dice is kinder than it should be; average precision and AUROC know no threshold.
What comes out is ``FOLDER/figures.json`` and a table, and for each label what one photograph does
that has most of its pixels. Needs the data folder (``$OSLER_DATA``).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import yaml

from osler.learn.fundus.evaluate import Judged, calibrate_pixels, judge, rules, summarise
from osler.learn.fundus.recipe import read_recipe
from osler.learn.fundus.segment import figures, learn_segmentation, split
from osler.metrics import average_precision, interleave_tally


def left_out(recipe: Path, fold: int, folder: Path, *, resume: bool) -> list[Judged]:
    """Train without a fold, and judge the fold."""
    content = yaml.safe_load(recipe.read_text())
    content["cohort"] = str((recipe.parent / content["cohort"]).resolve())
    content["learner"] |= {"hold": fold, "finish": 0}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    read = read_recipe(path)
    trained = learn_segmentation(read, path, folder=folder, resume=resume)
    net = trained.net
    _, held = split(trained.drawn, fold)
    cut = rules(read, figures(net, held, read))
    calibration = calibrate_pixels(net, held, read)
    return [one for case in held for one in judge(net, case, read, cut, calibration)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    of_fold = {
        fold: left_out(args.recipe, fold, args.out / f"fold-{fold}", resume=args.resume)
        for fold in args.folds
    }
    every = [one for judged in of_fold.values() for one in judged]
    said = {
        name: summarise(judged, seed=1, data=name)
        for name, judged in [
            *((f"fold {fold}", judged) for fold, judged in of_fold.items()),
            ("together", every),
        ]
    }
    (args.out / "figures.json").write_text(json.dumps(said, indent=1) + "\n")
    labels = [one["name"] for one in said["together"]]
    print(f"| figure | {' | '.join(said)} |\n|---|" + "---|" * len(said))
    for label in labels:
        cells = []
        for entries in said.values():
            [one] = [e for e in entries if e["name"] == label] or [None]
            cells.append("" if one is None else f"{one['value']:.3f} ({_range(one)})")
        print(f"| {label} | {' | '.join(cells)} |")
    for label in dict.fromkeys(one.label for one in every):
        print(without_greatest([one for one in every if one.label == label]))


def _range(one: dict[str, float | None]) -> str:
    low, high = one["low"], one["high"]
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}, {one['images']}"


def without_greatest(judged: list[Judged]) -> str:
    """The average precision of all pixels without the photograph that has most of the label."""
    pixels = [int(one.tally[1].sum()) for one in judged]
    most = int(np.argmax(pixels))
    rest = np.sum([one.tally for place, one in enumerate(judged) if place != most], axis=0)
    return (
        f"{judged[most].label}: {pixels[most] / sum(pixels):.0%} of the pixels lie in "
        f"{judged[most].case_id}; average precision of all others "
        f"{average_precision(interleave_tally(rest)):.3f}"
    )


if __name__ == "__main__":
    main()
