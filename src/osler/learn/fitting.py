"""``osler fit``: a recipe in, a run and its bundle out."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from osler import bundles
from osler.data.provenance import cohort_used, refuse_change
from osler.data.taught import FILE as TAUGHT
from osler.errors import BundleError, MissingExtraError, OutputError, RecipeError
from osler.learn.learner import Learner
from osler.learn.recipe import FUNDUS, Recipe, check_recipe, read_yaml

if TYPE_CHECKING:
    from osler.learn.strategies.strategy import Strategy
    from osler.learn.training import Trained
    from osler.tasks.task import Task

_COHORT = "cohort.json"  # what the run is taught with, written before its first step

MOST_DIFFERENT = 0.02
"""Difference in probability between a graph and its network above which no bundle is written."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a recipe.

    Attributes:
        name: the recipe's name.
        folder: checkpoints, log and ``run.json``.
        bundle: the bundle's folder.
        metrics: as they stand in the card.
        data: digests of the cohort and of its split, with the fold held out (``cohort_used``).
        notes: what has to be known of it; they stand among the limits of its card too.
    """

    name: str
    folder: Path
    bundle: Path
    metrics: list[dict[str, Any]]
    data: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def fit(
    recipe: Path | str | Mapping[str, Any],
    *,
    out: Path | str | None = None,
    resume: bool = False,
    tasks: "Sequence[type[Task]]" = (),
    strategies: "Sequence[type[Strategy]]" = (),
) -> Run:
    """Train what a recipe describes, judge it on cases that did not teach, and write its bundle.

    Args:
        recipe: the recipe's file, or its keys; paths in those are relative to the current folder.
        out: folder of the run; ``runs/NAME`` by default. The bundle is its sub-folder ``bundle``.
        resume: go on from the folder's checkpoint; the same steps as if never interrupted.
        tasks: tasks of one's own, beside those of Osler.
        strategies: strategies of one's own, likewise.

    Raises:
        MissingExtraError: torch is not installed.
        RecipeError: the recipe or its cohort is wrong, or the cohort has changed since the run
            that is resumed began; nothing was trained.
        OutputError: the folder of the run cannot be written.
        BundleError: the exported graph does not give what the network gives.
    """
    path = Path("recipe.yaml") if isinstance(recipe, Mapping) else Path(recipe)
    content = dict(recipe) if isinstance(recipe, Mapping) else read_yaml(path)
    folder = Path(out) if out is not None else None
    if content.get("task") in FUNDUS:
        if isinstance(recipe, Mapping):
            raise RecipeError(f"the task '{content['task']}' takes a recipe's file, not its keys")
        _need_torch()
        from osler.learn.fundus.fitting import fit_fundus

        return fit_fundus(path, folder, resume=resume)
    read, task = check_recipe(content, path, tasks=tasks, strategies=strategies)
    _need_torch()
    if read.task == "instruction":
        from osler.learn.instruction import fit_instruction

        return fit_instruction(read, task, path, folder, resume=resume)
    import torch

    from osler.learn.advice import advising
    from osler.learn.distributed import is_first
    from osler.learn.teaching import cohort_of
    from osler.learn.training import learn

    folder = folder if folder is not None else Path("runs") / read.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"'{folder}' cannot be written: {error.strerror}; choose another folder with --out"
        ) from error
    if not is_first():  # of several processes one writes; the others only help to teach
        with TemporaryDirectory() as place:
            cohort = cohort_of(read, path, folder=Path(place))
            learn(
                read, task, cohort, path=path, folder=folder, resume=resume, strategies=strategies
            )
        return Run(read.name, folder, folder / "bundle", [])
    cohort = cohort_of(read, path, folder=folder)
    test = read.hold.test
    used = cohort_used(cohort, hold=test if isinstance(test, int) else None)
    used["split"]["hold"] = read.hold.model_dump(mode="json")
    used = keep_data(used, folder, resume=resume)
    with advising(read.learner, torch.device("cpu")):  # where cases are opened, tried and judged
        trained = learn(
            read, task, cohort, path=path, folder=folder, resume=resume, strategies=strategies
        )
    assert trained is not None  # this is the first process
    refuse_difference(read.name, trained.difference, most=trained.let_differ)
    run = finish(
        _card(read, trained, used), trained.graph, folder, recipe=read.model_dump(mode="json"),
        data=used, difference=trained.difference, beside={TAUGHT: trained.taught, **trained.beside},
        strategies=trained.strategies,
    )  # fmt: skip
    (folder / "cases.json").write_text(
        json.dumps(trained.rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    run.notes.extend(_notes(trained))
    return run


def _notes(trained: "Trained") -> list[str]:
    """What has to be known of a training, for its run and for the limits of its card."""
    undefined = [one.name for one in trained.figures if one.cases and one.interval.value is None]
    notes = _untaught(trained.task)
    if undefined:
        notes.append(
            f"Not defined on the cases that test, too few or of too few classes: "
            f"{'; '.join(undefined)}."
        )
    return notes


def _untaught(task: "Task") -> list[str]:
    """Labels of a classification that a recipe names and that no case taught."""
    labels, counts = (list(getattr(task.settings, key, None) or []) for key in ("labels", "counts"))
    if len(labels) != len(counts) or 0 not in counts:
        return []
    named = ", ".join(f"'{one}'" for one, count in zip(labels, counts, strict=True) if not count)
    return [f"No case that taught has {named}: its probability means nothing."]


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("torch", extra="train", purpose="train a network") from error


def refuse_difference(name: str, difference: float, *, most: float = 0.0) -> None:
    """Let no graph through that does not say what its network says.

    Args:
        name: the recipe's.
        difference: the largest found, of probability.
        most: what a strategy lets it differ by, where that is more than `MOST_DIFFERENT`.

    Raises:
        BundleError: it differs by more.
    """
    most = max(most, MOST_DIFFERENT)
    if difference > most:
        raise BundleError(
            f"the exported graph of '{name}' differs from its network by {difference:.3f} of "
            f"probability on real cases (at most {most} is let through), so no bundle "
            "was written: its weights do not survive half precision; train it with a greater "
            "learner.weight_decay"
        )


def keep_data(used: dict[str, Any], folder: Path, *, resume: bool) -> dict[str, Any]:
    """Keep what a run is taught with in its folder, and compare it where a run goes on.

    Raises:
        RecipeError: the cohort has changed since, or the record is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / _COHORT
    if resume and any(folder.glob("**/checkpoint.pt")) and kept.exists():
        try:
            before = json.loads(kept.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RecipeError(f"'{kept}' is damaged; start anew without --resume") from error
        refuse_change(before, used, where=folder)
    kept.write_text(json.dumps(used, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return used


def finish(
    card: Mapping[str, Any], graph: bytes, folder: Path, *, recipe: Mapping[str, Any],
    data: dict[str, Any], difference: float, beside: Mapping[str, bytes] = MappingProxyType({}),
    strategies: Mapping[str, Any] = MappingProxyType({}),
) -> Run:  # fmt: skip
    """Write the bundle, with the files that lie beside its graph, and the record of the run."""
    files = {"model.onnx": graph, **beside}
    bundle = bundles.save(card, files, folder / "bundle", overwrite=True)
    record = {
        "recipe": recipe,
        "data": data,
        "metrics": card["metrics"],
        "training": card["training"],
        "difference_between_onnx_and_torch": difference,
        **({"strategies": dict(strategies)} if strategies else {}),
    }
    (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return Run(str(card["name"]), folder, bundle, list(card["metrics"]), data)


def training_of(
    name: str, learner: Learner, data: Mapping[str, Any], *, minutes: float, parameters: int
) -> dict[str, Any]:
    """How a bundle was made, as its card holds it."""
    return {
        "recipe": f"recipes/{name}.yaml",
        "seed": learner.seed,
        "minutes": round(minutes, 1),
        "parameters": parameters,
        "software": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "numpy", "onnx")},
        },
        "date": datetime.now(UTC).date().isoformat(),
        "cohort_sha256": data["cohort"]["sha256"],
        "split_sha256": data["split"]["sha256"],
    }


def _card(recipe: Recipe, trained: "Trained", data: Mapping[str, Any]) -> dict[str, Any]:
    from osler.learn.card_parts import card_inputs, card_metrics, card_outputs

    texts = dict(recipe.card)
    if notes := _notes(trained):
        texts["limits"] = [*texts.get("limits", []), *notes]
    counts = trained.counts
    judged = (
        f"{data['cohort']['table']}: {counts['test']} cases of part {recipe.hold.test}, whose "
        f"patients neither taught ({counts['teach']} cases) nor tuned ({counts['tune']})"
    )
    return {
        "schema_version": 1,
        "name": recipe.name,
        "version": recipe.version,
        "task": recipe.task,
        "title": texts.pop("title", recipe.name),
        "licence": texts.pop("licence", "Apache-2.0"),
        "intended_use": texts.pop("intended_use", "Research. Not for diagnosis."),
        "settings": trained.task.settings.model_dump(mode="json"),
        "inputs": card_inputs(trained.task),
        "outputs": card_outputs(trained.task.outputs(), trained.task.calibration),
        "metrics": card_metrics(trained.figures, data=judged),
        "training": training_of(
            recipe.name, recipe.learner, data, minutes=trained.seconds / 60,
            parameters=sum(p.numel() for p in trained.net.parameters()),
        ),
        **texts,
        "files": {},
    }  # fmt: skip
