"""Which findings a number may be the number of, and whether it is."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from osler.language.checking_claims import Claims, Number
from osler.language.checking_words import (
    LESIONS,
    PLACES,
    QUALIFIERS,
    STRUCTURES,
    is_known_unit,
    same_unit,
)
from osler.language.facts import Fact

if TYPE_CHECKING:
    from osler.language.checking_against import Bench

_MEASURES: Final = (
    "cdr", "avr", "crae", "crve", "tortuosity", "tortuosity-density", "density",
    "fractal-dimension", "information-dimension", "correlation-dimension", "bifurcations",
    "temporal-angle", "diameter", "far", "size", "count", "quadrants",
)  # fmt: skip
_THOUSAND: Final = {("mm", "um"): 1000.0, ("um", "mm"): 0.001}
_SPELT: Final = {"mm": ("mm", "millimetres", "毫米"), "um": ("µm", "um", "micrometres", "微米")}
_ABOUT: Final = 0.05
"""How far "about" may be from the number."""


_BOUND: Final = 0.1
"""How far "more than" and "less than" may be from the number."""

_TWICE: Final = 2
"""How many times a count may be its bound, or the bound the count."""


def candidates(bench: "Bench", number: Number, claims: Claims, pool: Sequence[Fact]) -> list[Fact]:
    """The findings whose number a sentence's number claims to be."""
    left = [f for f in pool if isinstance(f.value, float | int) and f.kind != "label"]
    before = [m for m in claims.mentions if m.start < number.start]
    here = claims.tags(number.clause)
    if number.role in ("count", "quadrants"):
        left = [f for f in left if number.role in bench.tags[f.id]]
    lesion = number.near if number.near in LESIONS else ""
    if not lesion:
        inside = [t for t in here if t in LESIONS]
        lesion = inside[0] if len(inside) == 1 else next(
            (m.tag for m in reversed(before) if m.tag in LESIONS), ""
        )  # fmt: skip
    if lesion:
        left = [f for f in left if lesion in bench.tags[f.id]]
    else:
        left = _narrowed(bench, left, [t for t in here if t.startswith("fact:")])
    if number.near and number.near in PLACES and not lesion:
        left = _narrowed(bench, left, [number.near])
    measures = [t for t in here if t in _MEASURES] or [
        m.tag for m in reversed(before) if m.tag in _MEASURES
    ][:1]
    if number.role == "measure" and measures:
        left = _only(bench, left, measures)
    if number.turn and number.turn not in LESIONS:
        return _only(bench, left, [number.turn])
    for qualifier in QUALIFIERS:
        if qualifier in claims.tags():
            left = _narrowed(bench, left, [qualifier])
    return left


def chances(bench: "Bench", number: Number, claims: Claims, pool: Sequence[Fact]) -> list[Fact]:
    """The findings whose probability a sentence's number claims to be."""
    left = [f for f in pool if f.probability is not None or f.kind == "risk"]
    for tags in (claims.tags(number.clause), claims.tags()):
        close = [f for f in left if bench.tags[f.id] & tags - {*STRUCTURES}]
        if "dr-referable" in tags:
            close = [f for f in close if f.id == "dr-referable"] or close
        if close:
            return close
    if claims.sides:
        return [f for f in left if f.id == "laterality"] or left
    return left


def agrees(number: Number, fact: Fact, *, chance: bool = False) -> str:
    """Empty where a number is a finding's; else ``"number"`` or ``"unit"``."""
    if chance or fact.kind == "risk":
        held = fact.probability if fact.kind != "risk" else fact.value
        scale = 0.01 if number.unit.casefold() in ("%", "percent", "per cent") else 1.0
        right = isinstance(held, float | int) and _same(number, float(held), scale)
        return "" if right else "number"
    if not isinstance(fact.value, float | int):
        return "number"
    for (said, unit), factor in _THOUSAND.items():
        if fact.unit == unit and number.unit.casefold() in _SPELT[said]:
            return "" if _same(number, float(fact.value), factor) else "number"
    if fact.unit == "1" and 0 < fact.value < 1 and number.unit.casefold() in ("%", "percent"):
        return "" if _same(number, float(fact.value), 0.01) else "number"
    if not _same(number, float(fact.value), 1.0):
        return "number"
    if not is_known_unit(fact.unit):
        # of a unit whose words are not known: another, known one is not it
        return "unit" if number.unit and number.unit.casefold() != fact.unit.casefold() else ""
    return "" if same_unit(number.unit, fact.unit) else "unit"


def _same(number: Number, held: float, scale: float) -> bool:
    value, step = number.value * scale, number.step * scale
    slack = step + 1e-9 * max(1.0, abs(held))
    # a bound far from the number is true and misleads
    if number.role in ("count", "quadrants") and number.bound[:1] in ("<", ">"):
        # a count is whole: it is not more than itself, and a bound twice as far says something
        if held == value:
            return number.bound.endswith("=")
        right = (held > value) is (number.bound[0] == ">")
        return right and max(held, value) <= _TWICE * min(held, value)
    if number.bound[:1] == ">":
        return value - 1e-9 <= held <= value + max(step, _BOUND * abs(held))
    if number.bound[:1] == "<":
        return value - max(2 * step, _BOUND * abs(value)) <= held <= value + 1e-9
    if number.bound == "~":
        slack = max(slack, _ABOUT * abs(held))
    return abs(held - value) <= slack


def _narrowed(bench: "Bench", facts: list[Fact], tags: Sequence[str]) -> list[Fact]:
    """Those about one of some tags, or all where none is."""
    return [f for f in facts if bench.tags[f.id] & {*tags}] or facts


def _only(bench: "Bench", facts: list[Fact], tags: Sequence[str]) -> list[Fact]:
    return [f for f in facts if bench.tags[f.id] & {*tags}]


def of_a_reason(numbers: Sequence[Number], reasons: Sequence[Fact]) -> dict[Number, Fact]:
    """The numbers that tell why a measure has no value, in the order in which the reason does."""
    out: dict[Number, Fact] = {}
    for fact in reasons:
        held = [float(n) for n in re.findall(r"\d+(?:\.\d+)?", fact.words)]
        for first in range(len(numbers)):
            run = [n for n, value in zip(numbers[first:], held, strict=False) if n.value == value]
            rest = [n for n in numbers[first:] if n not in out]
            if run and run == rest[: len(run)] and (len(run) == len(rest) or len(run) == len(held)):
                out.update(dict.fromkeys(run, fact))
                break
    return out
