"""What a bundle stands: its test cases made worse in five severities, and changed on purpose.

    python benchmarks/corruptions.py benchmarks/learning/corruptions-NAME.yaml [--work FOLDER]
    python benchmarks/corruptions.py RUN RECIPE --modality radiograph [--out FILE]

RUN is the folder of an ``osler fit`` of RECIPE. An experiment is a YAML file instead, whose runs
are made first and kept in ``--work``, with ``base``, ``change`` and ``over`` as ``learning.py``
beside this has them, and ``modality``, ``figure``, ``cases`` and ``attacks`` as the options here;
its record lies beside it as ``NAME.json``.

Every case of the part that tests is made worse as `osler.learn.corruptions` has it for the
modality, and the bundle is asked anew. Then the network of the run is attacked by its gradient
(FGSM, and PGD of ten steps), and the graph by differences. All of it is judged as the task judges.
Intervals are 95 %, by the percentile bootstrap over patients; differences are from the same cases
as they are, in the same resamples. ``mean`` is that over severities, ``share`` the mean as a share
of the figure of the cases as they are.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from learning import changes_of, run_variant, slug
from torch import nn
from torch.nn import functional

from osler import bundles
from osler.bundles.answering import task_of
from osler.data.opening import open_row
from osler.learn.attacks import fgsm, pgd, slope_by_differences
from osler.learn.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    SIGNAL_CORRUPTIONS,
    corrupt,
    corrupt_signal,
)
from osler.learn.networks import build
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.teaching import cohort_of, divide
from osler.learn.tuning_plan import with_values
from osler.record import Case, Image, Signal
from osler.tasks.task import Sample, Task

SIZES = (0.005, 0.01, 0.02)  # of the range of the inputs
PAIRS = 100
BLACK_BOX = 20  # cases that are attacked by differences
REPLICATES = 500
TABLE: Mapping[str, Mapping[str, Any]] = {**CORRUPTIONS, **SIGNAL_CORRUPTIONS}
Rows = list[dict[str, Any]]


@dataclass
class Part:
    """A run, and the cases that it was not taught."""

    bundle: bundles.Bundle
    task: Task
    net: nn.Module
    cases: list[Case]


def worse(case: Case, name: str, severity: int, modality: str, seed: int) -> Case:
    """The case with every image, or every signal, made worse."""
    items = dict(case.items)
    for key, one in items.items():
        if isinstance(one, Image) and modality in CORRUPTIONS:
            pixels = np.asarray(one.array)
            made = corrupt(pixels, name, severity, modality=modality, seed=seed)
            items[key] = replace(one, array=made)
        elif isinstance(one, Signal) and modality in SIGNAL_CORRUPTIONS:
            made = corrupt_signal(
                np.asarray(one.array), name, severity, rate=one.rate, modality=modality, seed=seed
            )
            items[key] = replace(one, array=made)
    return replace(case, items=items)


def network_of(run: Path, recipe_path: Path, task: Task) -> nn.Module:
    """The network of a run, with its chosen weights."""
    recipe, _ = check_recipe(read_yaml(recipe_path), recipe_path)
    net = build(recipe, task, recipe_path)
    net.load_state_dict(torch.load(run / "checkpoint.pt", weights_only=True)["best"])
    return net.eval()


def part_of(run: Path, recipe_path: Path) -> Part:
    """A run with its cases that test."""
    recipe, _ = check_recipe(read_yaml(recipe_path), recipe_path)
    bundle = bundles.load(run / "bundle")
    task = task_of(bundle.card)
    cohort = cohort_of(recipe, recipe_path, folder=run / "cohort")
    _, _, rows = divide(cohort, recipe)
    cases = [open_row(row, cohort, pixels=True) for row in rows]
    return Part(bundle, task, network_of(run, recipe_path, task), cases)


def chosen(parts: list[Part], most: int) -> list[Part]:
    """Some of all cases, drawn with one seed, in the order in which they were."""
    count = sum(len(part.cases) for part in parts)
    kept = set(np.random.default_rng(1).permutation(count)[:most].tolist())
    out, first = [], 0
    for part in parts:
        those = [one for place, one in enumerate(part.cases, first) if place in kept]
        first += len(part.cases)
        out.append(replace(part, cases=those))
    return out


def judged(parts: list[Part], change: Callable[[Case, int], Case]) -> Rows:
    """What the bundles say of changed cases, against the truth."""
    said, number = [], 0
    for part in parts:
        for case in part.cases:
            sample = part.task.encode(change(case, number), truth=True)
            answer = part.task.calibrated(part.task.run(part.bundle.run, sample))
            said.append(part.task.judge(answer, sample))
            number += 1
    return said


def in_patches(task: Task) -> bool:
    """Whether the task's network sees a case in parts."""
    return getattr(task.settings, "patch", None) is not None


def loss_of(part: Part, sample: Sample) -> Callable[[torch.Tensor], torch.Tensor]:
    """The loss of a case by its input; a network of patches sees the whole, with a margin."""
    targets = {key: torch.as_tensor(one)[None] for key, one in sample.targets.items()}
    margin: list[int] = []
    if in_patches(part.task):
        (name,) = sample.inputs
        for side in reversed(sample.inputs[name].shape[1:]):
            margin += [0, -side % 32]

    def loss(x: torch.Tensor) -> torch.Tensor:
        truth = targets
        if any(margin):
            x = functional.pad(x, margin, mode="replicate")
            truth = {key: functional.pad(one, margin) for key, one in targets.items()}
        said: torch.Tensor = part.task.criterion(part.task.named(part.net(x)), truth)
        return said

    return loss


def attacked(parts: list[Part], how: str, size: float, most: int | None) -> Rows:
    """What the bundles say of the first cases, changed to fool them; ``how`` as in the table."""
    out: Rows = []
    for part in parts:
        for case in part.cases:
            if most is not None and len(out) == most:
                return out
            sample = part.task.encode(case, truth=True)
            (name,) = sample.inputs
            x = torch.from_numpy(sample.inputs[name])[None]
            low, high = float(x.min()), float(x.max())
            loss, width = loss_of(part, sample), size * (high - low)
            if how == "FGSM":
                changed = fgsm(loss, x, size=width, low=low, high=high)
            elif how == "PGD":
                changed = pgd(loss, x, size=width, steps=10, step=width / 4, low=low, high=high)
            else:
                changed = by_differences(part, sample, x, width, low, high)
            other = replace(sample, inputs={name: changed[0].numpy()})
            answer = part.task.calibrated(part.task.run(part.bundle.run, other))
            out.append(part.task.judge(answer, other))
    return out


def by_differences(
    part: Part, sample: Sample, x: torch.Tensor, width: float, low: float, high: float
) -> torch.Tensor:
    """A step along the signs of a slope that answers of the graph tell."""
    (name,) = sample.inputs
    targets = {key: torch.as_tensor(one)[None] for key, one in sample.targets.items()}

    def told(x: np.ndarray) -> np.ndarray:
        said = {k: torch.from_numpy(v) for k, v in part.bundle.run({name: x}).items()}
        return np.array([float(part.task.criterion(said, targets))])

    slope = slope_by_differences(told, x.numpy(), pairs=PAIRS, width=width, seed=1)
    return (x + width * torch.from_numpy(slope).sign()).clamp(low, high)


class Figures:
    """One figure of judged cases, with its spread over resampled patients."""

    def __init__(self, task: Task, patients: list[str], name: str) -> None:
        self.task, self.name = task, name
        everyone = sorted(set(patients))
        place = {one: number for number, one in enumerate(everyone)}
        self.of = [place[one] for one in patients]
        rng = np.random.default_rng(1)
        drawn = rng.integers(0, len(everyone), (REPLICATES, len(everyone)))
        self.times = [np.bincount(one, minlength=len(everyone)) for one in drawn]

    def value(self, rows: Rows) -> float:
        """The figure; one group, so that no interval is made of it."""
        if not rows:
            return float("nan")
        said = self.task.figures(rows, ["one"] * len(rows), seed=1, replicates=1)
        found = {one.name: one.interval.value for one in said}
        if self.name not in found:
            raise SystemExit(f"no figure '{self.name}'; there are: {', '.join(found)}")
        value = found[self.name]
        return float("nan") if value is None else float(value)

    def spread(self, rows: Rows) -> np.ndarray:
        """The figure, then that of each resample ``(1 + R,)``, of the first cases."""
        out = [self.value(rows)]
        for times in self.times:
            some = [row for row, who in zip(rows, self.of, strict=False) for _ in range(times[who])]
            out.append(self.value(some))
        return np.array(out)


def told(spread: np.ndarray, plain: np.ndarray | None = None) -> dict[str, float]:
    """A figure with its interval, and its difference from the cases as they are."""

    def ends(values: np.ndarray, name: str) -> dict[str, float]:
        low, high = np.nanpercentile(values[1:], [2.5, 97.5])
        before = "" if name == "value" else f"{name}_"
        return {name: round(float(values[0]), 4), f"{before}low": round(float(low), 4),
                f"{before}high": round(float(high), 4)}  # fmt: skip

    if plain is None:
        return ends(spread, "value")
    return {**ends(spread, "value"), **ends(spread - plain, "difference")}


def measure(
    parts: list[Part], said: Mapping[str, Any], keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The record, which is handed to ``keep`` after each row of the tables."""
    patients = [case.patient_id or case.id for part in parts for case in part.cases]
    figures = Figures(parts[0].task, patients, said["figure"])
    kinds = TABLE[said["modality"]]
    plain_rows = judged(parts, lambda case, _: case)
    plain = figures.spread(plain_rows)
    record: dict[str, Any] = {
        **said, "cases": len(patients), "patients": len(set(patients)),
        "interval": f"95 %, percentile bootstrap over patients, {REPLICATES} resamples",
        "as they are": told(plain), "corruptions": {}, "attacks": {},
    }  # fmt: skip
    for name in kinds:
        spreads = np.stack([
            figures.spread(
                judged(parts, lambda case, n, s=s, k=name: worse(case, k, s, said["modality"], n))
            )
            for s in SEVERITIES
        ])  # fmt: skip
        mean = spreads.mean(0)
        record["corruptions"][name] = {
            "severities": [told(one, plain) for one in spreads],
            "mean": {**told(mean, plain), "share": round(float(mean[0] / plain[0]), 4)},
        }
        print(name, record["corruptions"][name]["mean"], flush=True)
        keep(record)
    for how in said["attacks"]:
        most = BLACK_BOX if how == "differences" else None
        before = figures.spread(plain_rows[:most])
        table = {str(size): told(figures.spread(attacked(parts, how, size, most)), before)
                 for size in SIZES}  # fmt: skip
        count = len(plain_rows[:most])
        record["attacks"][how] = {"cases": count, "as they are": told(before), **table}
        print(how, record["attacks"][how], flush=True)
        keep(record)
    return record


def runs_of(path: Path, said: Mapping[str, Any], work: Path) -> list[tuple[Path, Path]]:
    """The runs of an experiment and their recipes; those that are done are not made again."""
    base = (path.parent / said["base"]).resolve()
    content = with_values(read_yaml(base), said.get("change", {}))
    ((key, values),) = said.get("over", {"learner.seed": [1]}).items()
    out = []
    for value in values:
        there = work / path.stem / slug(str(value))
        changed = with_values(content, changes_of(key, value, values))
        _, _, minutes, _ = run_variant(changed, there, beside=base)
        print(f"{key}={value}: {minutes:.2f} min", flush=True)
        out.append((there, there / "recipe.yaml"))
    return out


def main() -> None:
    """Print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="EXPERIMENT | RUN RECIPE")
    parser.add_argument("--modality", choices=sorted(TABLE))
    parser.add_argument("--figure", default="macro AUROC")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--attacks", nargs="*", default=["FGSM", "PGD", "differences"],
                        choices=["FGSM", "PGD", "differences"])  # fmt: skip
    parser.add_argument("--work", type=Path, default=Path("runs") / "learning")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if len(asked.paths) > 2 or (len(asked.paths) == 2) != (asked.modality is not None):
        parser.error("give an experiment, or RUN RECIPE with --modality")
    options = {key: getattr(asked, key) for key in ("modality", "figure", "cases", "attacks")}
    out = asked.out
    if len(asked.paths) == 1:
        (path,) = asked.paths
        options |= yaml.safe_load(path.read_text())
        runs = runs_of(path, options, asked.work)
        out = out or path.with_suffix(".json")
    else:
        runs = [tuple(asked.paths)]
    parts = chosen([part_of(*one) for one in runs], options.pop("cases"))
    if any(len(part.task.inputs()) > 1 for part in parts):
        options["attacks"] = []  # of several inputs none is attacked

    def keep(record: dict[str, Any]) -> None:
        if out is not None:
            out.write_text(json.dumps(record, indent=1) + "\n")

    record = measure(parts, options, keep)
    keep(record)
    if out is None:
        print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
