"""A recipe: a training run as data, checked before anything is loaded."""

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from osler.errors import RecipeError
from osler.learn.learner import Learner


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(_Strict):
    """One label that the network learns.

    Attributes:
        name: the label's name in the bundle.
        columns: cohort columns without ``label:``; the first that a case has is used.
        colours: for a mask drawn in colours, the RGB values that mean this label; any non-zero
            pixel otherwise.
        ignore: RGB values whose pixels say nothing about this label.
        absent: what a missing mask means: the structure is ``none``, or it is ``unknown`` and the
            case does not teach this label.
        min_area: parts smaller than this are left out of masks, canvas pixels.
        single: there is one such structure in a photograph; one connected part is kept.
        thin: the structure can be thinner than a pixel of the photograph; a pixel that it passes
            through belongs to it.
        adaptive: the threshold of a mask is chosen for each photograph.
        point: the column holds a position ``h;w`` in photograph pixels, drawn as a disc of this
            radius on the canvas, pixels.
    """

    name: str
    columns: list[str]
    colours: list[tuple[int, int, int]] | None = None
    ignore: list[tuple[int, int, int]] = []
    absent: Literal["none", "unknown"] = "none"
    min_area: int = 0
    single: bool = False
    thin: bool = False
    adaptive: bool = False
    point: float | None = None


class Network(_Strict):
    """The network: its name in ``osler.models`` and its options."""

    name: str
    options: dict[str, Any] = {}
    start: str | None = None


class Augment(_Strict):
    """How far training patches are changed; ranges are sampled evenly (scale: on a log axis).

    Attributes:
        scale: smallest and largest magnification.
        rotate: largest turn either way, degrees.
        flip: whether to mirror.
        colour: strength of colour, brightness, contrast and gamma changes, 0 to 1.
        blur: largest standard deviation of a Gaussian blur, canvas pixels.
        coarse: largest factor by which a patch loses resolution, as of a smaller photograph.
        noise: largest standard deviation of pixel noise, of a range of 0 to 1.
        shading: strength of an uneven illumination, 0 to 1.
    """

    scale: tuple[float, float] = (0.75, 1.33)
    rotate: float = 180.0
    flip: bool = True
    colour: float = 0.5
    blur: float = 1.5
    coarse: float = Field(1.0, ge=1.0)
    noise: float = 0.04
    shading: float = 0.3


class Recipe(_Strict):
    """A training run.

    Attributes:
        name: the bundle's name.
        version: the bundle's version.
        task: what is learnt.
        cohort: the table, relative to the recipe.
        item: the item that is read.
        diameter: the field's diameter on the canvas, pixels.
        targets: what the network learns, in the order of its outputs.
        exclusive: the labels exclude each other (softmax with a background) or not (sigmoid).
        network, learner, augment: see there.
        card: the texts of the bundle's card.
    """

    name: str
    version: str = "1.0.0"
    task: Literal["fundus-segmentation", "fundus-grading", "fundus-quality"]
    cohort: str
    item: str = "photo"
    diameter: int = Field(gt=31)
    targets: list[Target]
    exclusive: bool = False
    network: Network
    learner: Learner
    augment: Augment = Augment()
    card: dict[str, Any] = {}
    options: dict[str, Any] = {}


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        RecipeError: the file cannot be read, is no YAML mapping, or has a wrong key or value; an
            unknown key is answered with the nearest known one.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"the recipe '{path}' cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe '{path}' is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"the recipe '{path}' is not a mapping of keys to values")
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        lines = "\n  ".join(_explain(problem) for problem in error.errors())
        raise RecipeError(f"the recipe '{path}' is wrong:\n  {lines}") from error


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg']} (got {problem.get('input')!r})"
    room: Any = Recipe
    for part in problem["loc"][:-1]:
        if isinstance(part, str):
            room = {"network": Network, "learner": Learner, "augment": Augment,
                    "targets": Target}.get(part, room)  # fmt: skip
    near = difflib.get_close_matches(str(problem["loc"][-1]), room.model_fields, n=1, cutoff=0.0)
    return f"{where}: no such key; the nearest is '{near[0]}'"
