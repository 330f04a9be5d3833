"""The ordered list of tasks."""

import difflib
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from osler.errors import RecipeError

if TYPE_CHECKING:
    from osler.tasks.task import Task

TASKS: Final[tuple[tuple[str, str], ...]] = (
    ("classification", "osler.tasks.classification:Classification"),
    ("segmentation", "osler.tasks.segmentation:Segmentation"),
    ("report", "osler.tasks.reporting:Report"),
    ("image-text", "osler.tasks.image_text:ImageTextTask"),
    ("question-answering", "osler.tasks.question_answering:QuestionAnswering"),
    ("writing", "osler.tasks.writing:Writing"),
    ("instruction", "osler.tasks.instruction:Instruction"),
    ("detection", "osler.tasks.detection:Detection"),
    ("survival", "osler.tasks.survival:Survival"),
    ("forecasting", "osler.tasks.forecasting:Forecasting"),
    ("enhancement", "osler.tasks.enhancement:Enhancement"),
    ("generation", "osler.tasks.generation:Generation"),
    ("registration", "osler.tasks.registration_learnt:LearntRegistration"),
)
"""Name to the class, imported when it is asked for."""


def names(extra: "Sequence[type[Task]]" = ()) -> list[str]:
    """The names of all tasks."""
    return [*(name for name, _ in TASKS), *(one.name for one in extra)]


def find(name: str, extra: "Sequence[type[Task]]" = ()) -> "type[Task]":
    """The class of a task.

    Args:
        name: as a recipe or a card says it.
        extra: tasks of one's own, looked through first.

    Raises:
        RecipeError: there is no such task; the message names the nearest.
    """
    for one in extra:
        if one.name == name:
            return one
    for known, place in TASKS:
        if known == name:
            module, _, attribute = place.partition(":")
            found: type[Task] = getattr(import_module(module), attribute)
            return found
    near = difflib.get_close_matches(name, names(extra), n=1, cutoff=0.0)
    raise RecipeError(
        f"there is no task '{name}'; the nearest is '{near[0]}' (there are: "
        f"{', '.join(names(extra))})"
    )


def create(name: str, settings: Mapping[str, Any], extra: "Sequence[type[Task]]" = ()) -> "Task":
    """A task with its settings.

    Raises:
        RecipeError: there is no such task, or a setting is unknown or wrong; the message names
            the key and, for an unknown one, the nearest.
    """
    kind = find(name, extra)
    try:
        return kind(kind.Settings.model_validate(dict(settings)))
    except ValidationError as error:
        lines = "\n  ".join(explain(one, kind.Settings, "settings") for one in error.errors())
        raise RecipeError(f"the settings of the task '{name}' are wrong:\n  {lines}") from error


def explain(problem: Any, model: Any, prefix: str = "") -> str:
    """A pydantic error in a line that names the key and, if it is unknown, the nearest one.

    Args:
        problem: one of ``ValidationError.errors()``.
        model: the pydantic model that was checked.
        prefix: what stands before the key.
    """
    place = [str(part) for part in problem["loc"]]
    where = ".".join([prefix, *place] if prefix else place) or "the whole"
    if problem["type"] == "missing":
        return f"{where}: is missing"
    if problem["type"] in ("model_type", "dict_type"):
        return f"{where}: takes keys with values (got {problem.get('input')!r})"
    if problem["type"] != "extra_forbidden":
        message = problem["msg"].removeprefix("Value error, ")
        return f"{where}: {message} (got {problem.get('input')!r})"
    fields = _fields(model, problem["loc"][:-1])
    near = difflib.get_close_matches(place[-1], fields, n=1, cutoff=0.0)
    return f"{where}: no such key" + (f"; the nearest is '{near[0]}'" if near else "")


def _fields(model: Any, path: Sequence[Any]) -> list[str]:
    """The keys at a place of a nested model; those of unions together."""
    rooms = [model]
    for part in path:
        if isinstance(part, int):
            continue
        found = []
        for room in rooms:
            if part in getattr(room, "model_fields", {}):
                found += _models(room.model_fields[part].annotation)
        rooms = found or rooms
    return list(dict.fromkeys(name for room in rooms for name in room.model_fields))


def _models(annotation: Any) -> list[Any]:
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [one for part in getattr(annotation, "__args__", ()) for one in _models(part)]
