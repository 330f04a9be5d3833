"""``osler fit``: a recipe in, a run and its bundle out."""

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from osler import bundles
from osler.errors import BundleError, MissingExtraError
from osler.learn.recipe import Recipe, read_recipe

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
    """

    name: str
    folder: Path
    bundle: Path
    metrics: list[dict[str, Any]]


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
        RecipeError: the recipe or its cohort is wrong; nothing was trained.
        BundleError: the exported graph does not give what the network gives.
    """
    path = Path(recipe)
    read = read_recipe(path)
    make = _maker(read)
    folder = Path(out) if out is not None else Path("runs") / read.name
    folder.mkdir(parents=True, exist_ok=True)
    product = make(read, path, folder, resume)
    if product.difference > MOST_DIFFERENT:
        raise BundleError(
            f"the exported graph of '{read.name}' differs from its network by "
            f"{product.difference:.3f} of probability on real photographs (at most "
            f"{MOST_DIFFERENT} is let through), so no bundle was written: its weights do not "
            "survive half precision; train it with a greater learner.weight_decay"
        )
    card = _card(read, product)
    bundle = bundles.save(card, {"model.onnx": product.graph}, folder / "bundle", overwrite=True)
    record = {
        "recipe": read.model_dump(mode="json"),
        "metrics": card["metrics"],
        "training": card["training"],
        "difference_between_onnx_and_torch": product.difference,
    }
    (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return Run(read.name, folder, bundle, list(card["metrics"]))


def _maker(recipe: Recipe) -> Callable[[Recipe, Path, Path, bool], Product]:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("torch", extra="train", purpose="train a network") from error
    from osler.learn import products

    return {
        "segmentation": products.segmentation,
        "grading": products.grading,
        "quality": products.quality,
    }[recipe.task]


def _card(recipe: Recipe, product: Product) -> dict[str, Any]:
    texts = dict(recipe.card)
    card: dict[str, Any] = {
        "schema_version": 1,
        "name": recipe.name,
        "version": recipe.version,
        "task": "segmentation" if recipe.task == "segmentation" else "classification",
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
        },
        **texts,
        **product.card,
        "files": {},
    }  # fmt: skip
    return card
