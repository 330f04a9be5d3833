"""What a bundle stands: its test cases made worse in five severities, and changed on purpose.

    python benchmarks/corruptions.py RUN RECIPE --modality radiograph [--cases 200] [--out FILE]

RUN is the folder of an ``osler fit`` of RECIPE. Every case of the part that tests is made worse as
`osler.learn.corruptions` has it for the modality, and the bundle is asked anew. Then the network of
the run is attacked by its gradient (FGSM, and PGD of ten steps), and the graph by differences. All
of it is judged as the task judges; ``relative`` is the mean over severities as a share of the
figure of the cases as they are.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from osler import bundles
from osler.bundles.answering import task_of
from osler.data.opening import open_row
from osler.learn.attacks import fgsm, pgd, slope_by_differences
from osler.learn.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from osler.learn.networks import build
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.teaching import cohort_of, divide
from osler.record import Case, Image
from osler.tasks.task import Arrays, Sample, Task

SIZES = (0.005, 0.01, 0.02)  # of the range of the inputs
PAIRS = 100
BLACK_BOX = 20  # cases that are attacked by differences


def worse(case: Case, name: str, severity: int, modality: str, seed: int) -> Case:
    """The case with every image made worse."""
    items = {
        key: replace(one, array=corrupt(np.asarray(one.array), name, severity, modality=modality,
                                        seed=seed))
        if isinstance(one, Image) else one
        for key, one in case.items.items()
    }  # fmt: skip
    return replace(case, items=items)


def figure(task: Task, rows: list[Any], patients: list[str], name: str) -> float:
    """One figure of judged cases."""
    said = task.figures(rows, patients, seed=1, replicates=2)
    return next(float(one.interval.value or np.nan) for one in said if one.name == name)


def network_of(run: Path, recipe_path: Path, task: Task) -> nn.Module:
    """The network of a run, with its chosen weights."""
    recipe, _ = check_recipe(read_yaml(recipe_path), recipe_path)
    net = build(recipe, task, recipe_path)
    net.load_state_dict(torch.load(run / "checkpoint.pt", weights_only=True)["best"])
    return net.eval()


def attacked(
    task: Task, net: nn.Module, bundle: bundles.Bundle, samples: list[Sample], how: str,
    size: float,
) -> list[Arrays]:  # fmt: skip
    """What the bundle says of cases that were changed to fool the network."""
    out = []
    for sample in samples:
        (name,) = sample.inputs
        x = torch.from_numpy(sample.inputs[name])[None]
        low, high = float(x.min()), float(x.max())
        targets = {key: torch.as_tensor(one)[None] for key, one in sample.targets.items()}
        width = size * (high - low)

        def loss(x: torch.Tensor, targets: Any = targets) -> torch.Tensor:
            said: torch.Tensor = task.criterion(task.named(net(x)), targets)
            return said

        if how == "FGSM":
            changed = fgsm(loss, x, size=width, low=low, high=high)
        elif how == "PGD":
            changed = pgd(loss, x, size=width, steps=10, step=width / 4, low=low, high=high)
        else:

            def told(x: np.ndarray, name: str = name, targets: Any = targets) -> np.ndarray:
                said = {k: torch.from_numpy(v) for k, v in bundle.run({name: x}).items()}
                return np.array([float(task.criterion(said, targets))])

            slope = slope_by_differences(told, x.numpy(), pairs=PAIRS, width=width, seed=1)
            changed = (x + width * torch.from_numpy(slope).sign()).clamp(low, high)
        out.append({k: v[0] for k, v in bundle.run({name: changed.numpy()}).items()})
    return out


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--modality", choices=sorted(CORRUPTIONS), required=True)
    parser.add_argument("--figure", default="macro AUROC")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    recipe, _ = check_recipe(read_yaml(asked.recipe), asked.recipe)
    bundle = bundles.load(asked.run / "bundle")
    task = task_of(bundle.card)
    cohort = cohort_of(recipe, asked.recipe, folder=asked.run / "cohort")
    _, _, rows = divide(cohort, recipe)
    order = np.random.default_rng(1).permutation(len(rows))[: asked.cases]
    cases = [open_row(rows[n], cohort, pixels=True) for n in sorted(order)]
    patients = [str(case.patient_id) for case in cases]

    def judged(change: Callable[[Case, int], Case]) -> float:
        said = []
        for number, case in enumerate(cases):
            sample = task.encode(change(case, number), truth=True)
            said.append(task.judge(task.calibrated(task.run(bundle.run, sample)), sample))
        return figure(task, said, patients, asked.figure)

    plain = judged(lambda case, _: case)
    table: dict[str, Any] = {"as they are": round(plain, 4)}
    for name in CORRUPTIONS[asked.modality]:
        values = [
            judged(lambda case, n, s=s, k=name: worse(case, k, s, asked.modality, n))
            for s in SEVERITIES
        ]
        table[name] = {
            "severities": [round(one, 4) for one in values],
            "relative": round(float(np.mean(values)) / plain, 4),
        }
        print(name, table[name], flush=True)
    if len(task.inputs()) == 1:
        net = network_of(asked.run, asked.recipe, task)
        samples = [task.encode(case, truth=True) for case in cases]
        for how in ("FGSM", "PGD", "differences"):
            some = samples[:BLACK_BOX] if how == "differences" else samples
            values = []
            for size in SIZES:
                said = attacked(task, net, bundle, some, how, size)
                judgements = [
                    task.judge(task.calibrated(one), sample)
                    for one, sample in zip(said, some, strict=True)
                ]
                values.append(
                    round(figure(task, judgements, patients[: len(some)], asked.figure), 4)
                )
            table[how] = dict(zip([str(one) for one in SIZES], values, strict=True))
            print(how, table[how], flush=True)
    record = {"figure": asked.figure, "cases": len(cases), "modality": asked.modality, **table}
    print(json.dumps(record, indent=1))
    if asked.out is not None:
        asked.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
