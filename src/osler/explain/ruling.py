"""Rules of the graph on the signs of a case: met, not met or not assessed, each with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from osler.explain.knowledge import Knowledge, Node
from osler.explain.signs import QUADRANTS, Frame, Seen
from osler.record import Case

Outcome = Literal["met", "not met", "not assessed"]

NUMBERS = ("no", "one", "two", "three", "four")


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of a rule.

    Attributes:
        rule: its node.
        outcome: whether it is met.
        why: the reason, in words.
        findings: ids of the findings that it was decided by.
    """

    rule: Node
    outcome: Outcome
    why: str
    findings: tuple[str, ...]


def ruling(
    rule: Node, known: Knowledge, signs: Mapping[str, Seen], case: Case, frame: Frame | str
) -> Ruling:
    """Ask a rule of a case.

    Args:
        rule: a node of kind ``rule``.
        known: the graph that it is of.
        signs: id of a sign to what was seen of it; one that nothing looked for is absent.
        case: for measures.
        frame: the disc and the fovea, or why they are not known.
    """
    assert rule.test is not None
    asked = known.to(rule.id, "asks-for")
    if rule.test.kind == "at-least":
        return _measure(rule, asked[0], case)
    unseen = [node for node in asked if node.id not in signs]
    there = [signs[node.id] for node in asked if node.id in signs]
    found = tuple(one.finding for one in there)
    present = [one for one in there if one.count]
    kind = rule.test.kind
    if kind == "any" and present:
        names = _listed([one.node.plural for one in present])
        return Ruling(rule, "met", f"{names} were marked", tuple(one.finding for one in present))
    if unseen:
        names = _listed([node.plural for node in unseen])
        return Ruling(rule, "not assessed", f"no model here looks for {names}", found)
    if kind == "any":
        return Ruling(rule, "not met", f"no {_listed([o.node.name for o in there], 'or')}", found)
    if kind == "none":
        return _none(rule, present, found)
    if kind == "only":
        return _only(rule, known, signs, present, found)
    if kind == "quadrants":
        return _quadrants(rule, there[0], frame)
    return _distance(rule, there[0], frame)


def _none(rule: Node, present: list[Seen], found: tuple[str, ...]) -> Ruling:
    if present:
        names = _listed([one.node.plural for one in present])
        return Ruling(rule, "not met", f"{names} were marked", found)
    return Ruling(rule, "met", "none was marked", found)


def _only(
    rule: Node,
    known: Knowledge,
    signs: Mapping[str, Seen],
    present: list[Seen],
    found: tuple[str, ...],
) -> Ruling:
    others = [signs[n.id] for n in known.to(rule.id, "excludes") if n.id in signs]
    more = [one for one in others if one.count]
    found = (*found, *(one.finding for one in others))
    if not present:
        return Ruling(rule, "not met", "there is none", found)
    if more:
        names = _listed([one.node.plural for one in more])
        return Ruling(rule, "not met", f"there are {names} too", found)
    return Ruling(rule, "met", "nothing else was marked", found)


def _quadrants(rule: Node, sign: Seen, frame: Frame | str) -> Ruling:
    assert rule.test is not None
    more, wanted = rule.test.more_than or 0, rule.test.quadrants or 1
    if sign.count <= more:
        why = f"there are {sign.count} in the whole photograph"
        return Ruling(rule, "not met", why, (sign.finding,))
    if isinstance(frame, str):
        return Ruling(rule, "not assessed", f"{frame}, so that quadrants cannot be told",
                      (sign.finding,))  # fmt: skip
    reached = [q for q in QUADRANTS if sign.quadrants[q] > more]
    counts = _listed([f"{q} {sign.quadrants[q]}" for q in QUADRANTS])
    outcome: Outcome = "met" if len(reached) >= wanted else "not met"
    if outcome == "not met" and set(frame.hardly) - set(reached):
        hidden = _listed(sorted(set(frame.hardly) - set(reached)))
        why = f"{counts}; the photograph hardly shows the quadrant {hidden}"
        return Ruling(rule, "not assessed", why, (sign.finding, "disc", "fovea"))
    return Ruling(rule, outcome, counts, (sign.finding, "disc", "fovea"))


def _distance(rule: Node, sign: Seen, frame: Frame | str) -> Ruling:
    assert rule.test is not None
    limit = rule.test.diameters or 0.0
    if not sign.count:
        return Ruling(rule, "not met", f"there is no {sign.node.name}", (sign.finding,))
    if sign.distance is None:
        return Ruling(rule, "not assessed", f"{frame}, so that no distance can be told",
                      (sign.finding,))  # fmt: skip
    near = sign.distance <= limit
    outcome: Outcome = "met" if near == (rule.test.kind == "within") else "not met"
    why = f"the nearest lies {sign.distance:.2f} disc diameters from the fovea"
    return Ruling(rule, outcome, why, (sign.finding, "disc", "fovea"))


def _measure(rule: Node, node: Node, case: Case) -> Ruling:
    assert rule.test is not None
    measured = case.measurements.get(node.measured or "")
    if measured is None or measured.value is None:
        reason = measured.reason if measured is not None else "it was not measured"
        return Ruling(rule, "not assessed", reason, ())
    reached = measured.value >= (rule.test.value or 0.0)
    outcome: Outcome = "met" if reached else "not met"
    return Ruling(rule, outcome, f"it is {measured.value:.2f}", (measured.id,))


def _listed(words: list[str], last: str = "and") -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def listed(words: list[str]) -> str:
    """``a, b and c``."""
    return _listed(words)
