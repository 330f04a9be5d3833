"""From a recipe of the fundus to its bundle."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.data.cohort import read_cohort
from osler.data.provenance import cohort_used
from osler.learn.fitting import Run, finish, keep_data, refuse_difference, training_of
from osler.learn.fundus.recipe import Recipe, read_recipe


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


def fit_fundus(path: Path, folder: Path | None, *, resume: bool) -> Run:
    """What `osler.learn.fitting.fit` does, for the tasks of the fundus.

    Raises:
        RecipeError: the recipe or its cohort is wrong, or the cohort has changed since the run
            that is resumed began; nothing was trained.
        BundleError: the exported graph does not give what the network gives.
    """
    read = read_recipe(path)
    make = _maker(read)
    folder = folder if folder is not None else Path("runs") / read.name
    data = _data(read, path, folder, resume=resume)
    product = make(read, path, folder, resume)
    refuse_difference(read.name, product.difference)
    card = _card(read, product, data)
    return finish(
        card, product.graph, folder, recipe=read.model_dump(mode="json"), data=data,
        difference=product.difference,
    )  # fmt: skip


def _data(recipe: Recipe, path: Path, folder: Path, *, resume: bool) -> dict[str, Any]:
    """What the run is taught with: kept in its folder, and compared where it goes on."""
    cohort = read_cohort(path.parent / recipe.cohort)
    each = recipe.task == "fundus-grading"  # graders leave each fold out in turn
    used = cohort_used(cohort, hold=None if each else recipe.learner.hold)
    return keep_data(used, folder, resume=resume)


def _maker(recipe: Recipe) -> Callable[[Recipe, Path, Path, bool], Product]:
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
        "training": training_of(
            recipe.name, recipe.learner, data, minutes=product.minutes,
            parameters=product.parameters,
        ),
        **texts,
        **product.card,
        "files": {},
    }  # fmt: skip
    return card
