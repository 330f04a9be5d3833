"""``osler fit``: a recipe in, a run and its bundle out."""

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from osler import bundles
from osler.data.cohort import read_cohort
from osler.data.provenance import cohort_used, refuse_change
from osler.errors import BundleError, MissingExtraError, RecipeError
from osler.learn.fundus.recipe import Recipe, read_recipe

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
    """

    name: str
    folder: Path
    bundle: Path
    metrics: list[dict[str, Any]]
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Product:
    """What a task's training hands over to be made a bundle.

    Attributes:
        graph: the ONNX graph.
        card: the parts of the card that come from training: inputs, outputs, metrics, requires.
        parameters: how many numbers were learnt.
        minutes: of training.
        difference: the largest difference between the graph and the network on real photographs.
    """

    graph: bytes
    card: Mapping[str, Any]
    parameters: int
    minutes: float
    difference: float


def fit(recipe: Path | str, *, out: Path | str | None = None, resume: bool = False) -> Run:
    """Train what a recipe describes, validate it, and write its bundle.

    Args:
        recipe: the recipe's file.
        out: folder of the run; ``runs/NAME`` by default. The bundle is its sub-folder ``bundle``.
        resume: go on from the folder's checkpoint; the same steps as if never interrupted.

    Raises:
        MissingExtraError: torch is not installed.
        RecipeError: the recipe or its cohort is wrong, or the cohort has changed since the run
            that is resumed began; nothing was trained.
        BundleError: the exported graph does not give what the network gives.
    """
    path = Path(recipe)
    read = read_recipe(path)
    make = _maker(read)
    folder = Path(out) if out is not None else Path("runs") / read.name
    data = _data(read, path, folder, resume=resume)
    product = make(read, path, folder, resume)
    if product.difference > MOST_DIFFERENT:
        raise BundleError(
            f"the exported graph of '{read.name}' differs from its network by "
            f"{product.difference:.3f} of probability on real photographs (at most "
            f"{MOST_DIFFERENT} is let through), so no bundle was written: its weights do not "
            "survive half precision; train it with a greater learner.weight_decay"
        )
    card = _card(read, product, data)
    bundle = bundles.save(card, {"model.onnx": product.graph}, folder / "bundle", overwrite=True)
    record = {
        "recipe": read.model_dump(mode="json"),
        "data": data,
        "metrics": card["metrics"],
        "training": card["training"],
        "difference_between_onnx_and_torch": product.difference,
    }
    (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return Run(read.name, folder, bundle, list(card["metrics"]), data)


def _data(recipe: Recipe, path: Path, folder: Path, *, resume: bool) -> dict[str, Any]:
    """What the run is taught with: kept in its folder, and compared where it goes on."""
    cohort = read_cohort(path.parent / recipe.cohort)
    # graders leave each fold out in turn
    used = cohort_used(
        cohort, hold=None if recipe.task == "fundus-grading" else recipe.learner.hold
    )
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


def _maker(recipe: Recipe) -> Callable[[Recipe, Path, Path, bool], Product]:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("torch", extra="train", purpose="train a network") from error
    from osler.learn.fundus import products

    return {
        "fundus-segmentation": products.segmentation,
        "fundus-grading": products.grading,
        "fundus-quality": products.quality,
    }[recipe.task]


def _card(recipe: Recipe, product: Product, data: Mapping[str, Any]) -> dict[str, Any]:
    texts = dict(recipe.card)
    card: dict[str, Any] = {
        "schema_version": 1,
        "name": recipe.name,
        "version": recipe.version,
        "task": "segmentation" if recipe.task == "fundus-segmentation" else "classification",
        "title": texts.pop("title", recipe.name),
        "licence": texts.pop("licence", "Apache-2.0"),
        "intended_use": texts.pop("intended_use", "Research. Not for diagnosis."),
        "preprocessing": {
            "frame": "field-of-view", "diameter": recipe.diameter, "range": [0.0, 1.0],
            "field_channel": True,
        },
        "training": {
            "recipe": f"recipes/{recipe.name}.yaml",
            "seed": recipe.learner.seed,
            "minutes": round(product.minutes, 1),
            "parameters": product.parameters,
            "software": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "numpy", "onnx")},
            },
            "date": datetime.now(UTC).date().isoformat(),
            "cohort_sha256": data["cohort"]["sha256"],
            "split_sha256": data["split"]["sha256"],
        },
        **texts,
        **product.card,
        "files": {},
    }  # fmt: skip
    return card
