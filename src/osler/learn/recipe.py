"""A recipe: a training run as data, checked before anything is loaded."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from osler.errors import RecipeError
from osler.learn.learner import Learner
from osler.tasks.catalogue import explain, find

if TYPE_CHECKING:
    from osler.learn.strategies.strategy import Strategy
    from osler.tasks.task import Task

FUNDUS = ("fundus-segmentation", "fundus-grading", "fundus-quality")
"""The tasks of the models of the fundus that come with Osler; see ``osler.learn.fundus``."""

_OF_FUNDUS: Final = {
    "patch": "settings.patch (or settings.image.size)", "foreground": "settings.foreground",
    "negatives": "", "dice": "", "positive": "", "normalised_entropy": "",
    "hold": "hold: {test: ..., tune: ...} beside it", "finish": "",
}  # fmt: skip
_TEXTS: Final = ("title", "description", "licence", "intended_use", "limits", "data")
"""What a recipe may say in its bundle's card; the rest comes of the training."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TableNetwork(_Strict):
    """The network of a table that stands beside an image or a signal.

    Attributes:
        name: in ``osler.models``.
        options: what it is built with, besides the sizes that the task knows.
    """

    name: str = "tabular-perceptron"
    options: dict[str, Any] = {}


class Network(_Strict):
    """The network.

    Attributes:
        name: in ``osler.models``; None takes the task's own.
        options: what it is built with, besides the sizes that the task knows.
        checkpoint: published weights to start from, relative to the recipe.
        partial: take a checkpoint that brings the encoder only.
        table: the network of the table beside what this one reads, where the task has both.
    """

    name: str | None = None
    options: dict[str, Any] = {}
    checkpoint: str | None = None
    partial: bool = False
    table: TableNetwork = TableNetwork()


class Hold(_Strict):
    """Which cases do not teach: folds by number, or parts by name.

    Attributes:
        test: judged once, at the end; the figures in the card are theirs. None judges nobody.
        tune: chooses the weights and fits the calibration. None keeps the last weights.
    """

    test: int | str | None = 0
    tune: int | str | None = 1

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.test is not None and self.test == self.tune:
            raise ValueError("test and tune are the same part; cases that choose cannot judge")
        return self


class Folds(_Strict):
    """How a cohort without folds or parts is dealt out, by patient.

    Attributes:
        count: number of folds.
        seed: another seed deals another way.
        stratify: labels or variables that each fold shall have in proportion.
    """

    count: int = Field(default=5, ge=2)
    seed: int = 1
    stratify: list[str] = []


class Labels(_Strict):
    """How many of the labels are used, to learn what few of them do.

    Attributes:
        share: of the patients that teach, those whose labels are used; in proportion of the groups
            that balanced sampling knows, at least one a group.
        count: cases of each group whose labels are used, instead of a share.
        cases: the ids of the cases whose labels are used, instead of a share.
        seed: another seed takes others.
        blank: cases whose label is empty teach without it; they are refused else.
        noise: share of the cases that teach whose label is made wrong, to learn what that does:
            each takes that of a case of another group.
    """

    share: float = Field(default=1.0, gt=0, le=1)
    count: int | None = Field(default=None, ge=1)
    cases: list[str] | None = Field(default=None, min_length=1)
    seed: int = 1
    blank: bool = False
    noise: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        said = {"share": self.share < 1, "count": self.count, "cases": self.cases}
        both = [key for key, value in said.items() if value]
        if len(both) > 1:
            raise ValueError(f"says both {' and '.join(both)}; keep one of them")
        return self


class Unlabelled(_Strict):
    """Cases that teach without their labels, such as those of another camera.

    Attributes:
        cohort, kind, patient, where, leave_out: as in `Recipe`.
    """

    cohort: str = Field(min_length=1)
    kind: str | None = None
    patient: str | None = None
    where: dict[str, list[str]] = {}
    leave_out: list[str] = []


class Recipe(_Strict):
    """A training run.

    Attributes:
        name: the bundle's name.
        version: the bundle's version.
        task: what is learnt, as ``osler.tasks.catalogue.TASKS`` names it.
        cohort: a table, or a data set that ``osler data import`` takes; relative to the recipe, or
            to the data folder.
        kind: of the importer; None takes the first that accepts it.
        patient: rule for patients of the importer (a regular expression).
        where: rows of the cohort that are used: column to the values that it may have.
        leave_out: cases of the cohort that are not used, such as copies of others.
        folds: how the cohort is dealt out where it says nothing itself.
        hold: which folds or parts do not teach.
        near_duplicates: also refuse pictures in two parts that show the same in another file
            (resized, recompressed, turned); equal files are always refused.
        settings: the task's own keys.
        network, learner: see there.
        labels: how many of the labels are used.
        unlabelled: cases that teach without a label, beside those of the cohort.
        strategies: ways to learn, as ``osler.learn.strategies.catalogue.STRATEGIES`` names them,
            each with its keys.
        augment: a preset's name, or the keys of ``osler.learn.augmenting_settings``.
        card: the texts of the bundle's card.
    """

    name: str
    version: str = "1.0.0"
    task: str
    cohort: str = Field(min_length=1)
    kind: str | None = None
    patient: str | None = None
    where: dict[str, list[str]] = {}
    leave_out: list[str] = []
    folds: Folds = Folds()
    hold: Hold = Hold()
    near_duplicates: bool = False
    settings: dict[str, Any] = {}
    network: Network = Network()
    learner: Learner
    labels: Labels = Labels()
    unlabelled: Unlabelled | None = None
    strategies: dict[str, dict[str, Any]] = {}
    augment: str | dict[str, Any] = "none"
    card: dict[str, Any] = {}

    @field_validator("name", "version")
    @classmethod
    def _suits_a_card(cls, value: str, info: ValidationInfo) -> str:
        from osler.bundles.card import Name, Version

        kind, such = (
            (Name, "'hippocampus-2'") if info.field_name == "name" else (Version, "'1.0.0'")
        )
        adapter: TypeAdapter[str] = TypeAdapter(kind)
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            raise ValueError(f"must look like {such}, since the bundle is called so") from error

    @field_validator("strategies", mode="before")
    @classmethod
    def _keys_or_none(cls, value: Any) -> Any:
        """``linear-probe:`` alone is a strategy whose keys keep their defaults."""
        if not isinstance(value, dict):
            return value
        return {name: {} if keys is None else keys for name, keys in value.items()}

    @field_validator("patient")
    @classmethod
    def _is_a_rule(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return value

    @property
    def some_unlabelled(self) -> bool:
        """Whether any case teaches without its label."""
        said = self.labels
        few = said.share < 1 or said.count is not None or said.cases is not None
        return self.unlabelled is not None or said.blank or few

    def with_batch(self, planned: int | None) -> "Recipe":
        """The recipe with the batch that its task planned, unless it sets one itself."""
        if planned is None or "batch" in self.learner.model_fields_set:
            return self
        return self.model_copy(
            update={"learner": self.learner.model_copy(update={"batch": planned})}
        )


class _Loader(yaml.SafeLoader):
    """YAML as data only, in which no key stands twice: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    problem=f"the key '{key.value}' stands twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping of a recipe's file.

    Raises:
        RecipeError: the file cannot be read, or is no YAML mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise RecipeError(f"the recipe '{path}' cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe '{path}' is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"the recipe '{path}' is not a mapping of keys to values")
    return content


def check_recipe(
    content: dict[str, Any], path: Path, *, tasks: "Sequence[type[Task]]" = (),
    strategies: "Sequence[type[Strategy]]" = (),
) -> "tuple[Recipe, Task]":  # fmt: skip
    """A recipe and its task, both checked whole; no data is touched.

    Args:
        content: of `read_yaml`.
        path: for messages.
        tasks: tasks of one's own, beside those of Osler.
        strategies: strategies of one's own, likewise.

    Raises:
        RecipeError: every wrong key and value is named; an unknown one with the nearest known.
    """
    lines: list[str] = []
    recipe: Recipe | None = None
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        lines += [explain(problem, Recipe) for problem in error.errors()]
    task: Task | None = None
    name = content.get("task")
    if isinstance(name, str):
        try:
            kind = find(name, tasks)
        except RecipeError as error:
            lines.append(f"task: {error}")
        else:
            settings = content.get("settings", {})
            try:
                if isinstance(settings, dict):  # else said above
                    lines += _repeated(settings)
                    task = kind(kind.Settings.model_validate(settings))
            except ValidationError as error:
                lines += [explain(one, kind.Settings, "settings") for one in error.errors()]
    lines += _network_faults(content.get("network"))
    if recipe is not None:
        lines += _learner_faults(recipe) + _augment_faults(recipe) + _card_faults(recipe)
        lines += _checkpoint_faults(recipe, path) + _kind_faults(recipe)
    if recipe is not None and task is not None:
        lines += _strategy_faults(recipe, task, strategies) + _absent_faults(recipe, task)
    if lines or recipe is None or task is None:
        listed = "\n  ".join(lines)
        raise RecipeError(f"the recipe '{path}' is wrong:\n  {listed}")
    return recipe, task


def _repeated(settings: dict[str, Any]) -> list[str]:
    """A label that is named twice, which a card cannot have."""
    labels = settings.get("labels")
    if not isinstance(labels, list):
        return []
    twice = [one for n, one in enumerate(labels) if one in labels[:n]]
    return [f"settings.labels: names {one!r} more than once" for one in twice]


def _learner_faults(recipe: Recipe) -> list[str]:
    """Keys of the learner that would be taken and change nothing."""
    out = []
    for key, instead in _OF_FUNDUS.items():
        if key in recipe.learner.model_fields_set:
            way = f"; a task like this takes {instead}" if instead else ""
            out.append(f"learner.{key}: is read by the tasks of the fundus alone{way}")
    return out


def _network_faults(said: Any) -> list[str]:
    """A network that does not exist is named with the nearest one, before any data is read."""
    name = said.get("name") if isinstance(said, dict) else None
    if not isinstance(name, str):
        return []
    from osler.models.catalogue import SYSTEMS
    from osler.models.catalogue import find as find_network

    try:
        find_network(name)
    except RecipeError as error:
        near = difflib.get_close_matches(name, [one.name for one in SYSTEMS], n=1, cutoff=0.0)
        return [f"network.name: {error}" if not near else
                f"network.name: no network '{name}'; the nearest is '{near[0]}'"]  # fmt: skip
    return []


def _checkpoint_faults(recipe: Recipe, path: Path) -> list[str]:
    """Weights to start from that are not there."""
    named = recipe.network.checkpoint
    if named is None or (path.parent / named).exists():
        return []
    return [f"network.checkpoint: there is nothing at '{path.parent / named}'"]


def _kind_faults(recipe: Recipe) -> list[str]:
    """An importer that does not exist is named with the nearest one."""
    from osler.data.importing import importers

    names = [one.name for one in importers()]
    if recipe.kind is None or recipe.kind in names:
        return []
    near = difflib.get_close_matches(recipe.kind, names, n=1, cutoff=0.0)[0]
    return [f"kind: no importer '{recipe.kind}'; the nearest is '{near}'"]


def _absent_faults(recipe: Recipe, task: "Task") -> list[str]:
    """Masks that nobody drew, where labels exclude each other: the loss takes them for empty."""
    said = task.settings
    exclusive = getattr(said, "overlapping", None) is False
    unknown = getattr(said, "absent", None) == "unknown"
    if not (exclusive and unknown) or "partial-labels" in recipe.strategies:
        return []
    return [
        "settings.absent: labels that exclude each other would be taught as not there where nobody "
        "drew them; set settings.overlapping: true, or strategies: {partial-labels: {}}"
    ]


def _strategy_faults(recipe: Recipe, task: "Task", extra: "Sequence[type[Strategy]]") -> list[str]:
    """Strategies that do not exist, have wrong keys, or do not go together."""
    if not recipe.strategies:
        return []
    try:
        from osler.learn.strategies.catalogue import strategies_of

        return strategies_of(recipe, task, extra)[1]
    except ImportError:  # without torch they cannot be looked at; the next step asks for it
        return []


def _card_faults(recipe: Recipe) -> list[str]:
    """Texts that the card does not take, which would else be told after the training."""
    from osler.bundles.card import Card

    fields = Card.model_fields
    out = []
    for key, value in recipe.card.items():
        if key not in _TEXTS:
            near = difflib.get_close_matches(key, _TEXTS, n=1, cutoff=0.0)[0]
            out.append(f"card.{key}: no such key; the nearest is '{near}'")
            continue
        kind: Any = Annotated[fields[key].annotation, fields[key]]
        try:
            TypeAdapter(kind).validate_python(value, strict=True)
        except ValidationError as error:
            out += [explain(one, Card, f"card.{key}") for one in error.errors()]
    return out


def _augment_faults(recipe: Recipe) -> list[str]:
    from osler.learn.augmenting_settings import PRESETS, Augmentation

    if isinstance(recipe.augment, str):
        if recipe.augment in PRESETS:
            return []
        near = difflib.get_close_matches(recipe.augment, list(PRESETS), n=1, cutoff=0.0)
        return [f"augment: no preset '{recipe.augment}'; the nearest is '{near[0]}'"]
    try:
        Augmentation.model_validate(recipe.augment)
    except ValidationError as error:
        return [explain(one, Augmentation, "augment") for one in error.errors()]
    return []
