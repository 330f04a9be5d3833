"""Which score tells cases from elsewhere: ``python benchmarks/novelty.py RUN RECIPE FOLDER``.

RUN is the folder of an ``osler fit`` of RECIPE; FOLDER holds pictures of something else, in any
sub-folders. Scores are asked of the bundle; features are those before the head of the run's
network, and the distance from the classes is fitted on the cases that taught. The AUROC of pictures
from elsewhere against the cases that test stands with DeLong's interval.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corruptions import network_of
from PIL import Image as Pillow

from osler import bundles, metrics
from osler.bundles.answering import task_of
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.features import features_of, output_layer
from osler.learn.teaching import cohort_of, divide, encode_rows
from osler.metrics import novelty
from osler.record import Case, Image
from osler.tasks.task import Sample


def pictures(folder: Path, item: str, most: int) -> list[Case]:
    """Pictures of a folder, each as a case with one image."""
    found = [one for one in sorted(folder.rglob("*"))
             if one.suffix.lower() in (".png", ".jpg") and "mask" not in one.name]  # fmt: skip
    order = np.random.default_rng(1).permutation(len(found))[:most]
    out = []
    for number in sorted(order):
        pixels = np.asarray(Pillow.open(found[number]).convert("RGB")).transpose(2, 0, 1)
        image = Image(name=item, array=np.ascontiguousarray(pixels))
        out.append(Case(id=f"elsewhere-{number}", items={item: image}))
    return out


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("elsewhere", type=Path)
    parser.add_argument("--item", default="photo")
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--taught", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    recipe, _ = check_recipe(read_yaml(asked.recipe), asked.recipe)
    bundle = bundles.load(asked.run / "bundle")
    task = task_of(bundle.card)
    cohort = cohort_of(recipe, asked.recipe, folder=asked.run / "cohort")
    teach, _, test = divide(cohort, recipe)
    draw = np.random.default_rng(1)

    def some(rows: Any, most: int) -> list[Sample]:
        chosen = [rows[n] for n in sorted(draw.permutation(len(rows))[:most])]
        return encode_rows(chosen, cohort, task, keep_case=True)

    taught, known = some(teach, asked.taught), some(test, asked.cases)
    unknown = [task.encode(one) for one in pictures(asked.elsewhere, asked.item, asked.cases)]
    net = network_of(asked.run, asked.recipe, task)
    (name,) = taught[0].inputs
    layer = output_layer(net, [torch.from_numpy(taught[0].inputs[name])[None]])

    def scores(samples: list[Sample]) -> np.ndarray:
        out = next(iter(task.outputs())).name
        return np.stack([task.run(bundle.run, one)[out] for one in samples])

    def features(samples: list[Sample]) -> np.ndarray:
        with torch.inference_mode():
            return np.concatenate([
                features_of(net, [torch.from_numpy(one.inputs[name])[None]], layer)[0].numpy()
                for one in samples
            ])  # fmt: skip

    classes = np.array([int(one.targets["class"]) for one in taught])
    distance = novelty.Mahalanobis.fit(features(taught), classes)
    inside, outside = scores(known), scores(unknown)
    said = {
        "1 - greatest probability": (novelty.unlikeliness(inside), novelty.unlikeliness(outside)),
        "energy": (novelty.energy(inside), novelty.energy(outside)),
        "Mahalanobis": (distance.distance(features(known)), distance.distance(features(unknown))),
    }
    if "evidential" in recipe.strategies:
        said["ignorance"] = novelty.ignorance(inside), novelty.ignorance(outside)
    truth = np.concatenate([np.zeros(len(known), int), np.ones(len(unknown), int)])
    table = {}
    for key, (a, b) in said.items():
        one = metrics.delong_interval(truth, np.concatenate([a, b]))
        table[key] = {"AUROC": round(float(one.value or np.nan), 4),
                      "low": None if one.low is None else round(one.low, 4),
                      "high": None if one.high is None else round(one.high, 4)}  # fmt: skip
        print(key, table[key])
    if asked.out is not None:
        record = {"known": len(known), "elsewhere": len(unknown), "scores": table}
        asked.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
