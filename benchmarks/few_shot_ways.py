"""Ways to learn from a few labels a class, each run by run: ``python benchmarks/few_shot_ways.py
benchmarks/learning/few-shot-ways-NAME.yaml``.

An experiment is a YAML file: ``base``, a recipe of classification (relative to the file);
``change``, keys of it that all variants change; ``variants``, a name to the keys that it changes;
``against``, names of those that the others are compared with; ``shots``, cases a class; ``draws``.

A draw takes so many cases a class (or all there are) from those that teach, as ``labels.count`` and
``labels.seed`` do, and its number is the seed of the weights and batches too. No other labels are
seen: nothing tunes, and the weights of the last step are judged, on all cases that test. Of a pair
of pictures and words that rests, features are computed once. Each run's figures are written to
``--work`` as it ends, draw after draw, and not made again. What comes of it lies beside the file as
JSON: the mean over draws, the interval that holds 95 % of them, and the same of the differences
on the same draw.
"""

import argparse
import copy
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from few_shot import figures, over_draws
from numpy.typing import NDArray
from torch import nn

from osler.errors import RecipeError
from osler.learn.cases import Cases
from osler.learn.labelling import keep_labels, planned_from_labels
from osler.learn.loop import inference
from osler.learn.networks import build
from osler.learn.recipe import Labels, Recipe, check_recipe, read_yaml
from osler.learn.strategies.catalogue import strategies_of
from osler.learn.teaching import cohort_of, divide, encode_rows, opened
from osler.learn.training import taught
from osler.learn.tuning_plan import with_values
from osler.models.image_text import ImageTextPair
from osler.tasks.task import Sample, Task


class Setting:
    """A variant's recipe, its cases as samples, and its network where that rests.

    Args:
        content: of the recipe.
        path: the recipe's file.
        folder: for what reading the cohort leaves.
    """

    def __init__(self, content: Mapping[str, Any], path: Path, folder: Path) -> None:
        self.path = path
        self.recipe, self.task = check_recipe(content, path)
        self.cohort = cohort_of(self.recipe, path, folder=folder)
        self.rows, _, test_rows = divide(self.cohort, self.recipe)
        self.planned = self.task.planned(opened(self.rows, self.cohort))
        self.teach = encode_rows(self.rows, self.cohort, self.planned, keep_case=False)
        self.test = encode_rows(test_rows, self.cohort, self.planned, keep_case=False)
        self.truth = np.array([int(one.targets["class"]) for one in self.test])
        self.seen: dict[str, ImageTextPair] = {}
        self.known: dict[str, ImageTextPair] = {}

    def make(self, recipe: Recipe, task: Task, path: Path) -> nn.Module:
        """The recipe's network; of a pair, a copy of one that knows every picture and prompt.

        What rests and is remembered has nothing more to say, and is left out of the copy: to
        average and to keep it takes longer than the steps. Learned prompts need the texts' encoder.
        """
        if recipe.network.name != "image-text":
            return build(recipe, task, path)
        network = recipe.network.model_dump_json()
        key = json.dumps([network, recipe.strategies], sort_keys=True)
        if key not in self.known:
            with torch.random.fork_rng(devices=[]):  # later draws begin with the same numbers
                net = self.seen.get(network) or build(recipe, task, path)
            if not isinstance(net, ImageTextPair) or not (net.looks_rest and net.rests):
                raise RecipeError("of a pair that learns nothing could be computed once")
            if network not in self.seen:
                said(net.features, [*self.teach, *self.test])
                self.seen[network] = net
            net = copy.deepcopy(net)
            for way in strategies_of(recipe, task, ())[0]:
                way.built(net, task)  # reads the prompts
            net.vision = nn.Identity()
            if "learned-prompts" not in recipe.strategies:
                net.text = nn.Identity()
            self.known[key] = net
        return copy.deepcopy(self.known[key]).train()

    def run(self, content: Mapping[str, Any], shots: int, draw: int) -> dict[str, Any]:
        """The figures of one way on one draw, and its seconds of the processor."""
        seeds = {"labels.count": shots, "labels.seed": draw, "learner.seed": draw}
        kept, _ = keep_labels(self.teach, Labels(count=shots, seed=draw))
        task, _ = planned_from_labels(self.planned, self.task, kept, self.rows, self.cohort)
        began = time.process_time()
        try:
            recipe, _ = check_recipe(with_values(content, seeds), self.path)
            ways, _ = strategies_of(recipe, task, ())
            with TemporaryDirectory() as folder:
                done = taught(recipe.with_batch(task.batch()), task, Cases(kept), ways,
                              path=self.path, folder=Path(folder), make=self.make)  # fmt: skip
        except RecipeError as error:
            return {"refused": str(error).splitlines()[-1].strip()}
        assert done is not None  # one process
        scores = said(done.net, self.test).astype(np.float64)
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        p = raised / raised.sum(axis=1, keepdims=True)
        counts = np.bincount([int(one.targets["class"]) for one in kept])
        return {**figures(self.truth, p), "taught": counts.tolist(),
                "seconds": round(time.process_time() - began, 2)}  # fmt: skip


def said(net: Any, samples: Sequence[Sample], batch: int = 64) -> NDArray[np.float32]:
    """What a network, or one of its methods, says of samples, ``(N, ...)``."""
    out = []
    holder = net if isinstance(net, nn.Module) else net.__self__
    with inference(holder):
        for start in range(0, len(samples), batch):
            images = np.stack([one.inputs["image"] for one in samples[start : start + batch]])
            out.append(net(torch.from_numpy(images)).float().numpy())
    return np.concatenate(out)


def compare(path: Path, work: Path) -> dict[str, Any]:
    """Run what an experiment's file says and return its record."""
    asked = yaml.safe_load(path.read_text())
    base = (path.parent / asked["base"]).resolve()
    content = with_values(read_yaml(base), asked.get("change", {}))
    variants = {name: with_values(content, one or {}) for name, one in asked["variants"].items()}
    record = curves(
        variants, base, asked["shots"], asked["draws"], work / path.stem, against=asked["against"]
    )
    return {"base": asked["base"], **record}


def curves(
    variants: Mapping[str, Mapping[str, Any]], path: Path, shots: Sequence[int], draws: int,
    work: Path, *, against: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Run every way at every number of shots, draw after draw, and return what came of it.

    Args:
        variants: the content of a recipe by name.
        path: the recipe's file, beside which the files lie that it names.
        shots: cases a class.
        draws: how many.
        work: where each run's figures are kept.
        against: names of the ways that the others are compared with.
    """
    work.mkdir(parents=True, exist_ok=True)
    kept = work / "runs.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    known = {(one["way"], one["shots"], one["draw"]): one for one in map(json.loads, lines)}
    settings: dict[str, Setting] = {}

    def setting(content: Mapping[str, Any]) -> Setting:
        key = json.dumps([content.get("cohort"), content.get("settings")], sort_keys=True)
        if key not in settings:
            settings[key] = Setting(content, path, work)
        return settings[key]

    for draw in range(1, draws + 1):
        for count in shots:
            for name, content in variants.items():
                if (name, count, draw) in known:
                    continue
                row = {"way": name, "shots": count, "draw": draw,
                       **setting(content).run(content, count, draw)}  # fmt: skip
                known[name, count, draw] = row
                with kept.open("a") as stream:
                    stream.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    one = setting(next(iter(variants.values())))
    groups = [sample.group for sample in one.teach]
    return {
        "draws": draws, "cases that test": len(one.test),
        "cases that teach": {group: groups.count(group) for group in sorted(set(groups), key=str)},
        "interval": "of 95 % of the draws",
        "variants": {
            name: {str(count): _row(known, name, against, count, draws)
                   for count in shots}
            for name in variants
        },
    }  # fmt: skip


def _row(
    known: Mapping[tuple[str, int, int], Mapping[str, Any]], name: str, against: Sequence[str],
    count: int, draws: int,
) -> dict[str, Any]:  # fmt: skip
    """The figures of a way at a number of shots, and what it is better by than others."""
    ours = [known[name, count, draw] for draw in range(1, draws + 1)]
    if refused := [one["refused"] for one in ours if "refused" in one]:
        return {"refused": refused[0], "draws refused": len(refused)}
    out: dict[str, Any] = {}
    for figure in ("macro AUROC", "balanced accuracy"):
        values = np.array([one[figure] for one in ours])
        out[figure] = over_draws(values)
        for other in against:
            theirs = [known[other, count, draw].get(figure) for draw in range(1, draws + 1)]
            if other != name and None not in theirs:
                gap = values - np.array(theirs)
                out[figure][f"less {other}"] = {
                    **over_draws(gap), "draws better": int((gap > 0).sum())
                }  # fmt: skip
    out["taught"] = max((one["taught"] for one in ours), key=sum)
    out["seconds"] = round(float(np.mean([one["seconds"] for one in ours])), 1)
    return out


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
