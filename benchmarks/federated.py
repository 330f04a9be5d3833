"""What federation, compressed updates and privacy cost: ``python benchmarks/federated.py``.

Runs the variants of ``benchmarks/learning/federated.yaml`` as `osler.fit` would train them, but
opens the cases once for all of them and leaves out calibration and graph, which none of them
changes. Writes ``federated.json`` beside the experiment: for every variant AUROC on the cases that
test with its interval by patient, its difference from the first variant by the paired bootstrap,
minutes of the processor, and the bytes and epsilon that its strategies recorded.
"""

import argparse
import json
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from osler.learn import training
from osler.learn.asking import outputs_of
from osler.learn.loop import train
from osler.learn.networks import build
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.catalogue import strategies_of
from osler.learn.strategies.strategy import Context, Training
from osler.learn.teaching import cohort_of, divide, encode_rows, opened
from osler.learn.tuning_plan import with_values
from osler.metrics.classification import auroc

REPLICATES = 1000


def cases_of(recipe: Any, task: Any, path: Path, folder: Path) -> tuple[Any, ...]:
    """The task as planned, its cases that teach, tune and test, and their variables."""
    cohort = cohort_of(recipe, path, folder=folder)
    teach, tune, test = divide(cohort, recipe)
    task = task.planned(opened(teach, cohort))
    variables = training._variables([*teach, *tune])
    parts = [encode_rows(rows, cohort, task, keep_case=False) for rows in (teach, tune, test)]
    return task, *parts, variables


def run(recipe: Any, cases: tuple[Any, ...], path: Path, folder: Path) -> tuple[Any, ...]:
    """What a variant says of the cases that test, and what its strategies kept."""
    task, teach, tune, test, variables = cases
    ways, faults = strategies_of(recipe, task)
    assert not faults, faults

    def fresh(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return build(recipe, task, path)

    def judged(net: torch.nn.Module, samples: Any) -> list[Any]:
        return [task.judge(outputs_of(net, task, one), one) for one in samples]

    net = fresh(recipe.learner.seed)
    base = training._loss(net, recipe, task, teach)
    contexts = [
        Context(
            recipe, task, folder, False, teach, [], tune, variables=variables, build=fresh,
            judge=lambda net: judged(net, tune), path=path,
            another=lambda network, seed: fresh(seed),
            task_loss=lambda samples: training._loss(None, recipe, task, samples),
            task_batches=lambda samples, choose: training._batches(recipe, task, samples, choose),
        )
        for _ in ways
    ]  # fmt: skip
    each = list(zip(ways, contexts, strict=True))
    loss = base
    for way, context in each:
        context.everyone = each
        net = way.prepared(net, context)
    for way, context in each:
        loss = way.loss(loss, context)

    def validate(net: torch.nn.Module) -> dict[str, float]:
        training._settle(net, base)
        return {"score": task.score(judged(net, tune))}

    own = [one for one in each if isinstance(one[0], Training)]
    if own:
        own[0][0].train(net, loss, validate, own[0][1])
    else:
        train(net, loss=loss, validate=validate, learner=recipe.learner, folder=folder,
              resume=False, stepped=[way.stepped for way in ways])  # fmt: skip
    rows = judged(net.eval(), test)
    return rows, {way.name: context.record for way, context in each}


def main() -> None:
    """Run each variant and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--experiment", type=Path,
                        default=Path(__file__).parent / "learning" / "federated.yaml")  # fmt: skip
    parser.add_argument("--only", nargs="*", default=[])
    asked = parser.parse_args()
    said = yaml.safe_load(asked.experiment.read_text())
    base = (asked.experiment.parent / said["base"]).resolve()
    content = with_values(read_yaml(base), said["change"])
    ((key, seeds),) = said["over"].items()
    cases: tuple[Any, ...] | None = None
    scores: dict[str, list[np.ndarray]] = {}
    table: dict[str, Any] = {}
    groups = {name: group for group, names in said.get("together", {}).items() for name in names}
    for name, change in said["variants"].items():
        if asked.only and name not in asked.only:
            continue
        for seed in seeds:
            recipe, task = check_recipe(with_values(content, {**(change or {}), key: seed}), base)
            with tempfile.TemporaryDirectory() as place:
                cases = cases or cases_of(recipe, task, base, Path(place))
                before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
                rows, record = run(recipe, cases, base, Path(place))
            spent = (resource.getrusage(resource.RUSAGE_SELF).ru_utime - before) / 60
            p = np.array([one["probability"][1] for one in rows])
            truth = np.array([one["truth"] for one in rows])
            group = groups.get(name, name)
            scores.setdefault(group, []).append(p)
            told = table.setdefault(group, {"minutes": 0.0, "records": {}})
            told["minutes"] += spent
            told["records"][f"{name}, seed {seed}"] = record
            print(f"{name} seed {seed}: {auroc(truth, p):.4f}, {spent:.2f} min", flush=True)
    assert cases is not None
    people = sorted({one.patient for one in cases[3]})
    place_of = {one: number for number, one in enumerate(people)}
    of_person: list[list[int]] = [[] for _ in people]
    for number, one in enumerate(cases[3]):
        of_person[place_of[one.patient]].append(number)
    rng = np.random.default_rng(1)
    draws = [
        np.concatenate([of_person[one] for one in rng.integers(0, len(people), len(people))])
        for _ in range(REPLICATES)
    ]

    def mean(group: str, chosen: Any) -> float:
        return float(np.mean([auroc(truth[chosen], p[chosen]) for p in scores[group]]))

    first = next(iter(scores))
    spread = {group: np.array([mean(group, one) for one in draws]) for group in scores}
    for group, told in table.items():
        gap = spread[group] - spread[first]
        value = mean(group, slice(None))
        told.update(
            auroc=round(value, 4),
            interval=np.percentile(spread[group], [2.5, 97.5]).round(4).tolist(),
            difference=round(value - mean(first, slice(None)), 4),
            difference_interval=np.percentile(gap, [2.5, 97.5]).round(4).tolist(),
            minutes=round(told["minutes"] / len(told["records"]), 2),
        )  # fmt: skip
        print(group, told["auroc"], told["interval"], told["difference"],
              told["difference_interval"])  # fmt: skip
    out = {"patients": len(people), "seeds": seeds, "figure": "AUROC",
           "interval": "95 %, percentile bootstrap over patients", "variants": table}  # fmt: skip
    asked.experiment.with_suffix(".json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
