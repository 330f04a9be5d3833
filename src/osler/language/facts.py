"""The findings of a case as plain facts: what a language engine is told and is checked against.

Words from a patient's record are no facts: passages and texts stay out, and what a file or a
person called a finding is bounded and stripped of control characters.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from osler.io.wording import (
    chance,
    chance_of,
    flag_words,
    known_language,
    name_of,
    quantity,
    reason_words,
)
from osler.language.engine import clean
from osler.record import (
    Box,
    Case,
    Finding,
    Image,
    Label,
    Mask,
    Measurement,
    Passage,
    Point,
    Risk,
)

MOST_FACTS: Final = 400
"""Most facts in the JSON."""

MOST_WORDS: Final = 300
"""Most characters of a name, a value or a sentence."""

_SURE_OF_SIDE: Final = 0.8  # as the narrative, which calls a side below it uncertain


@dataclass(frozen=True, slots=True)
class Fact:
    """One finding, in values that can be compared.

    Attributes:
        id: the finding's.
        kind: ``"mask"``, ``"label"``, ``"measurement"``, ``"risk"``, ``"point"``, ``"box"`` or
            another kind of finding in lower case; ``"image"`` for an image that was looked at.
        name: what a reader calls it.
        value: the number of a measurement or risk, the value of a label, else None.
        unit: UCUM unit of the number; empty where there is none.
        side: the eye or side that it is about, where that is known and not uncertain.
        negated: the finding says that something is not there, such as an empty mask.
        probability: calibrated probability of the value, where it is known.
        words: one sentence.
        flags: named doubts; ``"not-computed"`` where a measurement has no value.
        meaning: words for a label's value, such as ``"moderate"``; empty for others.
        possible: the values of a label that cannot be excluded, at ``coverage``.
        coverage: the level of ``possible``, such as 0.9.
        choices: each value that a label could have, and the words for it.
    """

    id: str
    kind: str
    name: str
    value: str | float | None
    unit: str = ""
    side: Literal["R", "L"] | None = None
    negated: bool = False
    probability: float | None = None
    words: str = ""
    flags: tuple[str, ...] = ()
    meaning: str = ""
    possible: tuple[str, ...] = ()
    coverage: float | None = None
    choices: tuple[tuple[str, str], ...] = ()


def facts(case: Case, *, language: str = "en") -> list[Fact]:
    """What a case's findings say, in their order, and then the images that they are about.

    Passages are words already and stay out.

    Args:
        case: a case with findings.
        language: of names and sentences, ``"en"`` or ``"zh"``.
    """
    side = _side_of(case)
    found = [f for f in case.findings.values() if not isinstance(f, Passage)]
    about = {f.item for f in found}
    images = [i for i in case.items.values() if isinstance(i, Image) and i.name in about]
    return [
        *(_fact(finding, side, language) for finding in found),
        *(_seen(image, language) for image in images),
    ]


def as_json(facts: Iterable[Fact], *, most: int = MOST_FACTS) -> str:
    """Facts as JSON: the same for the same facts, one fact a line, at most ``most`` of them."""
    kept = list(facts)
    lines = [json.dumps(_plain(fact), ensure_ascii=False, sort_keys=True) for fact in kept[:most]]
    return "[\n" + ",\n".join(lines) + "\n]"


def bounded(text: str, *, most: int = MOST_WORDS) -> str:
    """One line of text without control characters, at most so long."""
    line = " ".join(clean(text[: 4 * most], keep="").split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _side_of(case: Case) -> Literal["R", "L"] | None:
    label = case.get("laterality", Label)
    if label is None or "uncertain" in label.flags or "laterality-conflict" in label.flags:
        return None
    if label.probability is not None and label.probability < _SURE_OF_SIDE:
        return None
    return {"R": "R", "L": "L"}.get(label.value)  # type: ignore[return-value]


def _seen(image: Image, language: str) -> Fact:
    """An image that was looked at, and whether its file states a scale."""
    name, size = bounded(image.name), " x ".join(str(n) for n in image.shape)
    words = (f"{name}: {size} pixels", f"{name}：{size} 像素")
    if image.spacing is None:
        words = (f"{words[0]}; the file states no scale", f"{words[1]}；文件未注明比例尺")
    return Fact(
        id=name,
        kind="image",
        name=name,
        value=None,
        side=image.laterality,
        words=f"{words[0]}." if known_language(language) == "en" else f"{words[1]}。",
        flags=() if image.spacing is not None else ("no-scale",),
    )


def _fact(finding: Finding, side: Literal["R", "L"] | None, language: str) -> Fact:
    name = bounded(name_of(finding, language=language))
    value: str | float | None = None
    unit, meaning, negated, probability = "", "", False, finding.probability
    flags, coverage = list(finding.flags), None
    possible: tuple[str, ...] = ()
    choices: tuple[tuple[str, str], ...] = ()
    if isinstance(finding, Measurement):
        value, unit = finding.value, finding.unit
        said = quantity(finding, language=language)
        if value is None:
            flags.append("not-computed")
            said = f"not computed ({reason_words(finding.reason, language=language)})"
    elif isinstance(finding, Label):
        value, meaning = bounded(finding.value), bounded(finding.meaning)
        negated = finding.value == "no"
        probability = chance_of(finding, finding.value)
        said = f"{value} ({meaning})" if meaning != value else value
        possible, coverage = tuple(bounded(v) for v in finding.prediction_set), finding.coverage
        choices = tuple((bounded(v), bounded(m)) for v, m in [*finding.meanings.items()][:40])
    elif isinstance(finding, Risk):
        value, unit = finding.value, "1"
        said = chance(finding.value)
        if finding.horizon_days is not None:
            said += f" within {finding.horizon_days:g} days"
    elif isinstance(finding, Mask):
        negated = not finding.mask.any()
        said = "none found" if negated else "found"
    elif isinstance(finding, Point | Box):
        said = "located"
    else:
        said = type(finding).__name__.lower()
    return Fact(
        id=bounded(finding.id),
        kind=type(finding).__name__.lower(),
        name=name,
        value=value,
        unit=bounded(unit, most=40),
        side=finding.laterality or side,
        negated=negated,
        probability=probability,
        words=bounded(_sentence(name, said, probability, possible, coverage, flags, language)),
        flags=tuple(bounded(flag, most=80) for flag in flags[:8]),
        meaning=meaning if meaning != value else "",
        possible=possible[:20],
        coverage=coverage,
        choices=choices,
    )


def _sentence(
    name: str,
    said: str,
    probability: float | None,
    possible: tuple[str, ...],
    coverage: float | None,
    flags: list[str],
    language: str,
) -> str:
    words = f"{name}: {said}"
    if probability is not None:
        words += f", probability {chance(probability)}"
    if coverage is not None and possible:
        words += f"; cannot be excluded at {round(100 * coverage)} %: {', '.join(possible)}"
    doubts = [flag for flag in flags if flag != "not-computed"]
    if doubts:
        words += f" ({', '.join(flag_words(doubts, language=language))})"
    return words + "."


def _plain(fact: Fact) -> dict[str, Any]:
    """A fact without what is empty; numbers to five figures."""
    plain: dict[str, Any] = {"id": fact.id, "kind": fact.kind, "name": fact.name}
    if fact.value is not None:
        plain["value"] = _figures(fact.value)
    if fact.kind in ("mask", "point", "box"):
        plain["present"] = not fact.negated
    for key in ("unit", "side", "meaning"):
        if held := getattr(fact, key):
            plain[key] = held
    if fact.probability is not None:
        plain["probability"] = _figures(fact.probability)
    if fact.coverage is not None:
        plain["not_excluded"], plain["coverage"] = list(fact.possible), fact.coverage
    if fact.flags:
        plain["flags"] = list(fact.flags)
    plain["words"] = fact.words
    return plain


def _figures(value: str | float) -> str | float:
    return value if isinstance(value, str) else float(f"{value:.5g}")
