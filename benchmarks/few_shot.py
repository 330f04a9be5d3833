"""Accuracy from a few labels a class on features that rest: ``python benchmarks/few_shot.py
benchmarks/learning/few-shot-NAME.yaml``.

An experiment is a YAML file: ``base``, a recipe of classification (relative to the file);
``change``, keys of it that all variants change; ``variants``, a name to the keys that it changes
(its network, its checkpoint), or to ``pixels`` for the values themselves; ``shots``, cases a class;
``draws``.

Features of all cases are computed once for each variant. For every number of shots, so many cases a
class (or all there are) are drawn from those that teach, as ``labels.count`` draws them, again and
again; class means (prototypes) and logistic regression are fitted to them and judged on all cases
of the part that tests. What comes of it lies beside the file as JSON: the mean over draws and the
interval that holds 95 % of them.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression

from osler import metrics
from osler.learn.labelling import keep_labels
from osler.learn.networks import build
from osler.learn.recipe import Labels, check_recipe, read_yaml
from osler.learn.strategies.freezing import heads_of
from osler.learn.strategies.prototypes import features_of_samples
from osler.learn.teaching import cohort_of, divide, encode_rows, opened
from osler.learn.tuning_plan import with_values
from osler.tasks.task import Sample


def prototypes(x: NDArray[Any], y: NDArray[Any], asked: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities by squared distances to class means, in units of the mean one."""
    means = np.stack([x[y == k].mean(axis=0) for k in np.unique(y)])
    away = ((asked[:, None] - means[None]) ** 2).sum(axis=2)
    raised = np.exp(
        -(away - away.min(axis=1, keepdims=True)) / max(away.mean(), np.finfo(np.float64).tiny)
    )
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def probe(x: NDArray[Any], y: NDArray[Any], asked: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities by logistic regression on features scaled as those drawn."""
    mean, spread = x.mean(axis=0), x.std(axis=0)
    scale = np.where(spread > 1e-6 * spread.max(), spread, np.inf)
    fitted = LogisticRegression(C=0.1, max_iter=500).fit((x - mean) / scale, y)
    return np.asarray(fitted.predict_proba((asked - mean) / scale))


def figures(truth: NDArray[Any], p: NDArray[Any]) -> dict[str, float]:
    """Balanced accuracy and macro AUROC."""
    count = p.shape[1]
    said = metrics.balanced_accuracy(truth, p.argmax(axis=1), count=count)
    area = metrics.macro_auroc(truth, p)
    return {"balanced accuracy": float(said or 0.0), "macro AUROC": float(area or 0.0)}


def compare(path: Path, work: Path) -> dict[str, Any]:
    """Run an experiment and return its record."""
    import torch

    said = yaml.safe_load(path.read_text())
    base = (path.parent / said["base"]).resolve()
    content = with_values(read_yaml(base), said.get("change", {}))
    recipe, task = check_recipe(content, base)
    cohort = cohort_of(recipe, base, folder=work / path.stem)
    teach_rows, _, test_rows = divide(cohort, recipe)
    task = task.planned(opened(teach_rows, cohort))
    teach = encode_rows(teach_rows, cohort, task, keep_case=False)
    test = encode_rows(test_rows, cohort, task, keep_case=False)
    truth = np.array([int(one.targets["class"]) for one in test])
    table: dict[str, Any] = {}
    for name, change in said["variants"].items():
        began = time.process_time()
        if change == "pixels":
            known = {one.id: _pixels(one) for one in [*teach, *test]}
        else:
            varied, _ = check_recipe(with_values(content, change or {}), base)
            torch.manual_seed(1)
            net = build(varied, task, base).eval()
            inputs = [torch.from_numpy(np.stack([one.inputs["image"] for one in teach[:2]]))]
            head = heads_of(net, task, inputs)[0]
            every = [*teach, *test]
            features, _ = features_of_samples(net, head, every, task)
            known = {one.id: row for one, row in zip(every, features.numpy(), strict=True)}
        asked = np.stack([known[one.id] for one in test]).astype(np.float64)
        spent = time.process_time() - began
        for shots in said["shots"]:
            found: dict[str, dict[str, list[float]]] = {}
            for draw in range(said["draws"]):
                drawn, _ = keep_labels(teach, Labels(count=shots, seed=draw + 1))
                x = np.stack([known[one.id] for one in drawn]).astype(np.float64)
                y = np.array([int(one.targets["class"]) for one in drawn])
                for way in (prototypes, probe):
                    for figure, value in figures(truth, way(x, y, asked)).items():
                        found.setdefault(way.__name__, {}).setdefault(figure, []).append(value)
            row = table.setdefault(name, {"seconds of features": round(spent, 1)})
            row[str(shots)] = {
                way: {figure: over_draws(values) for figure, values in of.items()}
                for way, of in found.items()
            }
            print(name, shots, {way: of["balanced accuracy"]["mean"]
                                for way, of in row[str(shots)].items()})  # fmt: skip
    groups = [one.group for one in teach]
    return {
        "base": said["base"], "draws": said["draws"], "cases that test": len(test),
        "cases that teach": {one: groups.count(one) for one in sorted(set(groups), key=str)},
        "interval": "of 95 % of the draws", "variants": table,
    }  # fmt: skip


def _pixels(sample: Sample) -> NDArray[np.float32]:
    return sample.inputs["image"].reshape(-1)


def over_draws(values: ArrayLike) -> dict[str, Any]:
    """The mean over draws, and the interval that holds 95 % of them."""
    low, high = np.percentile(values, [2.5, 97.5])
    return {"mean": round(float(np.mean(values)), 4), "low": round(float(low), 4),
            "high": round(float(high), 4)}  # fmt: skip


def main() -> None:
    """Run each experiment and write its record beside it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("experiments", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs") / "learning")
    asked = parser.parse_args()
    for path in asked.experiments:
        record = compare(path, asked.work)
        path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
