"""What findings are called in reports, in English and Chinese, and their codes.

The words are data, ``vocabulary/findings.yaml``, checked when they are loaded.
"""

from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from osler.errors import RecipeError
from osler.language.terms import Phrases
from osler.record import Code

FILE: Final = Path(__file__).parent / "vocabulary" / "findings.yaml"
ICD10_URL: Final = "http://hl7.org/fhir/sid/icd-10"

_Name = Annotated[str, Field(min_length=1, max_length=120)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Concept(_Part):
    """A finding.

    Attributes:
        id: such as ``"pleural-effusion"``.
        en: its name in English.
        zh: its name in Chinese.
        of: the place it belongs to, or ``"any"``.
        icd10: code of the WHO's ICD-10, where it is certain.
        sct: SNOMED CT concept, where it is certain.
        parent: the wider finding that it says along with itself.
        kind: a symptom and a device are no disease; neither is hypothetical in an indication.
        chronic: it does not pass, so a history of it is a presence.
        words: English phrases.
        han: Chinese phrases.
        absent: phrases, of either language, that deny it as they stand.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    en: _Name
    zh: _Name
    of: str
    icd10: Annotated[str, Field(pattern=r"^[A-Z][0-9]{2}(\.[0-9])?$")] | None = None
    sct: Annotated[str, Field(pattern=r"^[0-9]{6,18}$")] | None = None
    parent: str | None = None
    kind: Literal["finding", "symptom", "device"] = "finding"
    chronic: bool = False
    words: tuple[str, ...] = ()
    han: tuple[str, ...] = Field(default=(), alias="词")
    absent: tuple[str, ...] = ()

    @property
    def codes(self) -> tuple[Code, ...]:
        """SNOMED CT first, then ICD-10."""
        sct = (Code(self.sct, "SCT", self.en),) if self.sct else ()
        return sct + ((Code(self.icd10, "I10", self.en),) if self.icd10 else ())

    def name(self, language: str) -> str:
        """Its name in ``"en"`` or ``"zh"``."""
        return self.zh if language == "zh" else self.en


class Shared(_Part):
    """Words whose meaning the place decides: place to concept."""

    words: tuple[str, ...] = ()
    han: tuple[str, ...] = Field(default=(), alias="词")
    by: Mapping[str, str]


class Place(_Part):
    """Words for a place in the body; ``within`` names the place that it is a part of."""

    within: str | None = None
    words: tuple[str, ...] = ()
    han: tuple[str, ...] = Field(default=(), alias="词")


class Vocabulary(_Part):
    """The file as a whole."""

    concepts: tuple[Concept, ...]
    shared: tuple[Shared, ...] = ()
    places: Mapping[str, Place]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        ids = [concept.id for concept in self.concepts]
        if len(ids) != len(set(ids)):
            raise ValueError(f"a concept stands twice: {max(ids, key=ids.count)}")
        named = {c.parent for c in self.concepts} | {v for s in self.shared for v in s.by.values()}
        if missing := named - {None, *ids}:
            raise ValueError(f"no such concept: {', '.join(sorted(map(str, missing)))}")
        known = {*self.places, "any"}
        of = {c.of for c in self.concepts} | {k for s in self.shared for k in s.by}
        of |= {place.within for place in self.places.values() if place.within}
        if unknown := of - known:
            raise ValueError(f"no such place: {', '.join(sorted(map(str, unknown)))}")
        return self

    @cached_property
    def _by_id(self) -> dict[str, Concept]:
        return {concept.id: concept for concept in self.concepts}

    def concept(self, id: str) -> Concept:
        """The concept of this id."""
        return self._by_id[id]

    def ancestors(self, id: str) -> tuple[str, ...]:
        """The wider findings that one says along with itself, the nearest first."""
        parent = self.concept(id).parent
        return (parent, *self.ancestors(parent)) if parent else ()

    def around(self, place: str) -> tuple[str, ...]:
        """A place and those that it is a part of, the nearest first."""
        within = self.places[place].within
        return (place, *self.around(within)) if within else (place,)

    @cached_property
    def phrases(self) -> "Phrases[Meaning]":
        """Every phrase of a finding, and what it stands for."""
        return Phrases(
            [
                *((p, (c.id, True)) for c in self.concepts for p in c.absent),
                *((p, (c.id, False)) for c in self.concepts for p in (*c.words, *c.han)),
                *((p, s) for s in self.shared for p in (*s.words, *s.han)),
            ]
        )

    @cached_property
    def place_phrases(self) -> "Phrases[str]":
        """Every phrase of a place."""
        return Phrases(
            (phrase, name)
            for name, place in self.places.items()
            for phrase in (*place.words, *place.han)
        )


Meaning = tuple[str, bool] | Shared
"""A concept and whether the phrase denies it, or words whose meaning the place decides."""


@cache
def vocabulary() -> Vocabulary:
    """What Osler knows the names of."""
    return load(FILE)


def load(path: Path) -> Vocabulary:
    """A vocabulary from a file.

    Raises:
        RecipeError: the file is no vocabulary.
    """
    import yaml

    try:
        return Vocabulary.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise RecipeError(f"{path.name} is no vocabulary of findings: {error}") from error
