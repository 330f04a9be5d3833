"""The guideline table: documents, intervals and rules, checked when they are loaded."""

import datetime
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from osler.errors import RecipeError

FILE: Final = Path(__file__).parent / "diabetic-eye.yaml"

Urgency = Literal["emergency", "urgent", "soon", "routine", "none", "unknown"]
URGENCIES: Final[tuple[Urgency, ...]] = (
    "emergency",
    "urgent",
    "soon",
    "unknown",
    "routine",
    "none",
)  # fmt: skip
"""From the most to the least."""

_Words = Annotated[str, Field(min_length=1, max_length=600)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Document(_Part):
    """A published guideline.

    Attributes:
        short: what a citation calls it.
        title: its title.
        publisher: who stands behind it.
        year: of publication.
        cite: where it is found.
    """

    short: _Words
    title: _Words
    publisher: _Words
    year: Annotated[int, Field(ge=1990, le=2100)]
    cite: _Words


class Cited(_Part):
    """A place in a document."""

    document: str
    section: _Words


class Differs(Cited):
    """What another document says instead."""

    en: _Words
    zh: _Words


class Within(_Part):
    """A time, in one unit."""

    months: Annotated[int, Field(gt=0, le=24)] | None = None
    weeks: Annotated[int, Field(gt=0, le=104)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.months is None) == (self.weeks is None):
            raise ValueError("a time is in months or in weeks")
        return self


class Interval(Cited):
    """What a document asks for where a finding is there.

    Attributes:
        finding: ``"grade-0"`` to ``"grade-4"`` of the ICDR scale, ``"oedema-2"``.
        refer: to an ophthalmologist: no, routine, soon, urgent, or not said.
        within: in which time to be seen there.
        again: least and most months to the next examination.
    """

    finding: Annotated[str, Field(pattern=r"^(grade-[0-4]|oedema-[12])$")]
    refer: Literal["no", "routine", "soon", "urgent", "unsaid"]
    within: Within | None = None
    again: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.again and not 0 < self.again[0] <= self.again[1] <= 36:
            raise ValueError(f"{self.document} {self.finding}: again is {self.again}")
        if self.refer in ("no", "unsaid") and self.again is None:
            raise ValueError(f"{self.document} {self.finding}: neither refers nor examines again")
        return self


class Range(BaseModel):
    """A number at or above ``from_``, at or below ``to``, and below ``below``."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    from_: float | None = Field(default=None, alias="from")
    to: float | None = None
    below: float | None = None
    or_: Literal["missing"] | None = Field(default=None, alias="or")

    def holds(self, value: float) -> bool:
        """Whether a number is within it."""
        return (
            (self.from_ is None or value >= self.from_)
            and (self.to is None or value <= self.to)
            and (self.below is None or value < self.below)
        )


Condition = Range | tuple[str, ...] | Literal["missing"]
Known = Mapping[str, str | float]
"""What is known of a patient: name to word or number; what is missing is absent."""


def holds(when: Mapping[str, Condition], known: Known) -> bool:
    """Whether every condition holds; a value that is missing fulfils only ``missing``."""
    for name, condition in when.items():
        value = known.get(name)
        if condition == "missing":
            fits = value is None
        elif isinstance(condition, Range):
            fits = (
                condition.or_ == "missing"
                if value is None
                else isinstance(value, int | float) and condition.holds(value)
            )
        else:
            fits = ("missing" if value is None else str(value)) in condition
        if not fits:
            return False
    return True


class Rule(_Part):
    """Something that holds in a case.

    Attributes:
        id: of the rule.
        topic: what it is about.
        urgency: of what it asks for.
        when: value to the condition on it; all of them must hold.
        en: the advice in English; ``{name}`` is the patient's number.
        zh: in Chinese.
        sources: where that stands.
        differs: what other documents say instead.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    topic: str
    urgency: Urgency
    when: Mapping[str, Condition]
    en: _Words
    zh: _Words
    sources: Annotated[tuple[Cited, ...], Field(min_length=1)]
    differs: tuple[Differs, ...] = ()


class Asked(_Part):
    """A value that advice needs."""

    value: str
    en: _Words
    zh: _Words
    when: Mapping[str, Condition] = Field(default_factory=dict)


class Table(_Part):
    """A guideline table.

    Attributes:
        schema_: version of this format.
        name: of the table.
        version: raised with every change of a rule.
        date: of this version.
        review_by: the day from which it counts as out of date.
        documents: key to document.
        intervals: what documents ask for by finding.
        rules: what else holds.
        ask: what to ask for where it is missing.
    """

    schema_: Literal[1] = Field(alias="schema")
    name: str
    version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    date: datetime.date
    review_by: datetime.date
    documents: Mapping[str, Document]
    intervals: tuple[Interval, ...]
    rules: tuple[Rule, ...]
    ask: tuple[Asked, ...]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        cited: list[Cited] = [*self.intervals]
        for rule in self.rules:
            cited += [*rule.sources, *rule.differs]
        for one in cited:
            if one.document not in self.documents:
                raise ValueError(f"no document is called '{one.document}'")
        ids = [rule.id for rule in self.rules]
        if len(ids) != len(set(ids)):
            raise ValueError("a rule stands twice")
        keys = [(row.document, row.finding) for row in self.intervals]
        if len(keys) != len(set(keys)):
            raise ValueError("a document says two things of a finding")
        if self.review_by <= self.date:
            raise ValueError("the review must come after the date")
        return self

    def followable(self) -> tuple[str, ...]:
        """The documents that say what to do at every grade, and so can be followed."""
        grades = {f"grade-{g}" for g in range(5)}
        said: dict[str, set[str]] = {}
        for row in self.intervals:
            said.setdefault(row.document, set()).add(row.finding)
        return tuple(key for key, found in said.items() if grades <= found)

    def cite(self, one: Cited) -> str:
        """A citation: the document's short name and the section."""
        return f"{self.documents[one.document].short}, {one.section}"


@cache
def diabetic_eye() -> Table:
    """The table that comes with Osler."""
    return load(FILE)


def load(path: Path) -> Table:
    """A guideline table from a file.

    Raises:
        RecipeError: the file is no sound table.
    """
    import yaml

    try:
        return Table.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise RecipeError(f"{path.name} is no guideline table: {error}") from error
