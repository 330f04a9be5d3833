"""What tuning tries: the ``tune:`` section of a recipe, checked before anything is run."""

import copy
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from osler.errors import RecipeError
from osler.learn.learner import Learner

Value = bool | int | float | str | None

_PATHS = (  # beside their recipe
    ("cohort",), ("unlabelled", "cohort"), ("network", "start"), ("network", "checkpoint"),
)  # fmt: skip


class Range(BaseModel):
    """The values that a key may take.

    Attributes:
        choices: these and no others; or
        low: from here, whole numbers where both ends are;
        high: to here, itself included;
        step: in steps of this;
        log: drawn evenly on a logarithmic axis.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    choices: list[Value] | None = Field(None, min_length=2)
    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = Field(None, gt=0)
    log: bool = False

    @model_validator(mode="after")
    def _either(self) -> "Range":
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("write choices: [...], or low: and high:")
        if self.low is None or self.high is None:
            return self
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) is not below high ({self.high})")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log: true takes a low above 0 and no step")
        if self.whole and self.step is not None and not isinstance(self.step, int):
            raise ValueError("whole numbers take a whole step")
        return self

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def ends(self) -> list[Value]:
        """The outermost values, or the choices."""
        return list(self.choices) if self.choices is not None else [self.low, self.high]

    def holds(self, value: Any) -> bool:
        """Whether a value may be taken."""
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None
        assert self.high is not None
        if self.whole and not isinstance(value, int):
            return False
        on = self.step is None or abs((value - self.low) / self.step % 1) < 1e-9
        return bool(self.low <= value <= self.high and on)


class Plan(BaseModel):
    """What is tried.

    Attributes:
        ranges: a key of the recipe, its parts joined by points (``learner.rate``), to its range.
        trials: how many sets of values are tried, the recipe's own first where they lie in the
            ranges.
        minutes: after which no further trial begins; None sets no limit.
        seed: of what is tried.
        sampler: ``tpe``, a tree of Parzen estimators (Bergstra et al. 2011, NeurIPS) that learns
            from ten random trials on, or ``random`` (Bergstra and Bengio 2012, JMLR 13).
        prune: end a trial whose best score so far lies below the median of the trials before it at
            the same step.
        spare: steps before which, and finished trials before which, none is ended.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ranges: dict[str, Range] = Field(min_length=1)
    trials: int = Field(20, gt=0)
    minutes: float | None = Field(None, gt=0)
    seed: int = 1
    sampler: Literal["tpe", "random"] = "tpe"
    prune: bool = True
    spare: tuple[int, int] = (0, 5)


def read_plan(path: Path) -> tuple[Plan, dict[str, Any], Path]:
    """The plan of tuning, the recipe that it varies, and the file whose folder its paths mean.

    The file is a recipe with a section ``tune:``, or ``tune:`` beside ``recipe:``, the path of
    one.

    Raises:
        RecipeError: the file or the recipe cannot be read, or the plan is wrong.
    """
    content = _mapping(path)
    if "tune" not in content:
        raise RecipeError(
            f"'{path}' has no section 'tune:', so there is nothing to tune; such as tune: "
            "{trials: 20, ranges: {learner.rate: {low: 0.0003, high: 0.01, log: true}}}"
        )
    section = content.pop("tune")
    base, beside = content, path
    if set(content) == {"recipe"}:
        beside = path.parent / str(content["recipe"])
        base = _mapping(beside)
    if not isinstance(base.get("learner"), Mapping):
        raise RecipeError(f"the recipe that '{path}' tunes has no section 'learner:'")
    try:
        plan = Plan.model_validate(section)
    except ValidationError as error:
        lines = "\n  ".join(_explained(problem) for problem in error.errors())
        raise RecipeError(f"the section 'tune:' of '{path}' is wrong:\n  {lines}") from error
    _check(plan, base, path)
    return plan, base, beside


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"the file '{path}' cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"the file '{path}' is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"the file '{path}' is not a mapping of keys to values")
    return content


def _explained(problem: Any) -> str:
    where = ".".join(str(part) for part in ("tune", *problem["loc"]))
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg']}"
    room = Range if problem["loc"][0] == "ranges" else Plan
    near = difflib.get_close_matches(str(problem["loc"][-1]), room.model_fields, n=1, cutoff=0.0)
    return f"{where}: no such key; the nearest is '{near[0]}'"


def _check(plan: Plan, base: Mapping[str, Any], path: Path) -> None:
    """Keys of the learner, which are known here, are tried at the ends of their ranges."""
    for key, one in plan.ranges.items():
        parts = key.split(".")
        if parts[0] != "learner":
            if parts[0] not in base:
                near = difflib.get_close_matches(parts[0], [*base, "learner"], n=1, cutoff=0.0)
                raise RecipeError(
                    f"'{path}' tunes '{key}', and the recipe has no key '{parts[0]}'; "
                    f"the nearest is '{near[0]}'"
                )
            continue
        name = parts[1] if len(parts) == 2 else ""
        if name not in Learner.model_fields:
            near = difflib.get_close_matches(name, list(Learner.model_fields), n=1, cutoff=0.0)
            raise RecipeError(
                f"'{path}' tunes '{key}', which is no key; the nearest is 'learner.{near[0]}'"
            )
        for value in one.ends():
            try:
                Learner.model_validate({**base["learner"], name: value})
            except ValidationError as error:
                if any(problem["loc"] == (name,) for problem in error.errors()):
                    why = error.errors()[0]["msg"]
                    raise RecipeError(f"'{path}' lets '{key}' be {value!r}: {why}") from error


def own_values(plan: Plan, base: Mapping[str, Any]) -> dict[str, Value] | None:
    """The recipe's own values of the keys that vary; None where one lies outside its range."""
    out: dict[str, Value] = {}
    for key, one in plan.ranges.items():
        at: Any = base
        for part in key.split("."):
            at = at.get(part) if isinstance(at, Mapping) else None
        if at is None and key.startswith("learner."):
            at = Learner.model_fields[key.split(".")[1]].default
        if not one.holds(at):
            return None
        out[key] = at
    return out


def with_values(base: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """The recipe with other values; sections that are not there are made."""
    out = copy.deepcopy(dict(base))
    for key, value in values.items():
        *rooms, name = key.split(".")
        at = out
        for room in rooms:
            at = at.setdefault(room, {})
            if not isinstance(at, dict):
                raise RecipeError(f"'tune:' varies '{key}', and '{room}' has no keys of its own")
        at[name] = value
    return out


def write_recipe(content: Mapping[str, Any], path: Path, *, beside: Path) -> None:
    """Write a recipe whose paths, meant relative to ``beside``, still lead where they led."""
    moved = copy.deepcopy(dict(content))
    for rooms in _PATHS:
        at: Any = moved
        for room in rooms[:-1]:
            at = at.get(room) if isinstance(at, dict) else None
        if not isinstance(at, dict) or not isinstance(at.get(rooms[-1]), str):
            continue
        target = beside.parent / at[rooms[-1]]
        if target.exists():
            at[rooms[-1]] = os.path.relpath(target.resolve(), path.parent.resolve())
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(yaml.safe_dump(moved, sort_keys=False, allow_unicode=True), encoding="utf-8")
    os.replace(part, path)
