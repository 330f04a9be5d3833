"""The path of evidence: from marked lesions, by the rules of the guidelines, to a grade, in words.

It takes what models marked for what it is and goes no further. What no model here looks for is
*not assessed*, never "not there": so a photograph can reach severe retinopathy by its haemorrhages,
and proliferative retinopathy by nothing that is measured. Where the rules and the grade that a
network gave do not agree, it says so.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from osler.explain.knowledge import Knowledge, Node, retina
from osler.explain.ruling import NUMBERS, Ruling, listed, ruling
from osler.explain.signs import Frame, Seen, frame_of, seen
from osler.record import Case, Heatmap, Label, Mask

StepKind = Literal["seen", "not seen", "not assessed", "rule", "measure", "heat", "grade"]
Verdict = Literal["agrees", "disagrees", "cannot be confirmed", "not graded"]

LABELS: Final = {"diabetic-retinopathy": "dr-grade", "macular-oedema": "dme-risk"}
"""Disease to the label that a bundle gives it."""

_NEAR: Final = 0.25  # disc diameters round a lesion that count as on it
_SIDE: Final = 800  # of the grid on which heat is measured, pixels
_SEVERE: Final = 3  # grades from here on rest on signs that no model marks


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the path.

    Attributes:
        kind: what sort of step.
        text: the words.
        nodes: ids of the nodes of the graph that it stands on.
        findings: ids of the findings whose pixels or values it stands on.
        boxes: ``(top, left, bottom, right)`` of each lesion, ends exclusive, pixels of the item.
        codes: ``SCHEME|VALUE|MEANING`` of the nodes.
        sources: citations.
        outcome: of a rule.
    """

    kind: StepKind
    text: str
    nodes: tuple[str, ...]
    findings: tuple[str, ...] = ()
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    codes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the rules say about one disease, beside what a network said.

    Attributes:
        disease: its node.
        name: its name.
        reached: value of the highest grade that a rule reaches; None where none does.
        reached_name: its name.
        said: value of the label that a bundle gave; None where there is none.
        verdict: whether the two agree.
        sentence: all of it in a sentence or two.
        steps: how it came to that.
    """

    disease: str
    name: str
    reached: str | None
    reached_name: str
    said: str | None
    verdict: Verdict
    sentence: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class EvidencePath:
    """The evidence of a case.

    Attributes:
        opinions: one a disease.
        heat: how much of a heatmap lies on the lesions; None without one.
        title: of the graph that it was found by.
        sources: every citation that it stands on.
    """

    opinions: tuple[Opinion, ...]
    heat: Step | None
    title: str
    sources: tuple[str, ...]

    def of(self, disease: str) -> Opinion:
        """What is said of a disease, by the id of its node.

        Raises:
            KeyError: nothing is.
        """
        for opinion in self.opinions:
            if opinion.disease == disease:
                return opinion
        raise KeyError(disease)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def has_been_read(case: Case) -> bool:
    """Whether models have looked for the signs of diabetic retinopathy in a case."""
    known = retina()
    return any(
        node.measured is not None and case.get(node.measured, Mask) is not None
        for node in known.onto("diabetic-retinopathy", "sign-of")
    )


def evidence_path(case: Case, *, heatmap: Heatmap | None = None) -> EvidencePath:
    """Lead from what was measured in a photograph of the fundus to grades.

    Args:
        case: one that `osler.read` has interpreted; nothing is added to it.
        heatmap: where a network looked; None takes the case's ``dr-heatmap``.

    Returns:
        What the rules reach for each disease, step by step, and whether the network agrees.
    """
    known, frame = retina(), frame_of(case)
    signs: dict[str, Seen] = {}
    for node in known.nodes:
        found = seen(case, node, frame) if node.kind == "sign" else None
        if found is not None:
            signs[node.id] = found
    diseases = [node for node in known.nodes if node.kind == "disease"]
    opinions = tuple(_opinion(case, known, one, signs, frame) for one in diseases)
    heat = _heat(case, heatmap or case.get("dr-heatmap", Heatmap), signs, frame)
    cited = [s for one in opinions for step in one.steps for s in step.sources]
    return EvidencePath(opinions, heat, known.title, tuple(dict.fromkeys(cited)))


def _opinion(
    case: Case, known: Knowledge, disease: Node, signs: dict[str, Seen], frame: Frame | str
) -> Opinion:
    steps = [
        _sign(case, node, signs.get(node.id), known, disease, frame)
        for node in known.onto(disease.id, "sign-of")
    ]
    reached: Node | None = None
    rulings: dict[str, list[Ruling]] = {}
    for grade in known.onto(disease.id, "grade-of"):
        for rule in known.to(grade.id, "reached-by"):
            said = ruling(rule, known, signs, case, frame)
            rulings.setdefault(grade.id, []).append(said)
            steps.append(_rule(said, grade, known))
            if said.outcome == "met":
                reached = grade
    label = case.get(LABELS.get(disease.id, ""), Label)
    verdict = _verdict(disease, reached, label)
    sentence = _sentence(case, known, disease, reached, label, verdict, signs, rulings)
    steps.append(_grade(disease, reached, label, verdict))
    return Opinion(
        disease.id,
        disease.name,
        None if reached is None else reached.value,
        "" if reached is None else reached.name,
        None if label is None else label.value,
        verdict,
        sentence,
        tuple(steps),
    )


def _sign(
    case: Case,
    node: Node,
    found: Seen | None,
    known: Knowledge,
    disease: Node,
    frame: Frame | str,
) -> Step:
    cited, codes = known.sources_of(node.id, disease.id), (_coded(node),)
    if node.kind == "measure":
        return _measured(case, node, cited, codes)
    if found is None:
        why = node.note or (
            "no model here looks for it"
            if node.measured is None
            else f"the case holds no finding '{node.measured}'"
        )
        text = f"{_start(node.plural)}: not assessed; {why}."
        return Step("not assessed", text, (node.id,), codes=codes, sources=cited)
    if not found.count:
        text = f"No {node.name} was marked."
        return Step("not seen", text, (node.id,), (found.finding,), (), codes, cited)
    where = ""
    if found.quadrants:
        there = {q: n for q, n in found.quadrants.items() if n}
        counts = listed([f"{q} {n}" for q, n in there.items()])
        where = f", in {_quadrants(len(there))} ({counts})"
    elif isinstance(frame, str):
        where = f" ({frame}, so that quadrants cannot be told)"
    near = (
        f"; the nearest {found.distance:.2f} disc diameters from the fovea"
        if found.distance is not None
        else ""
    )
    text = f"{_start(node.plural if found.count > 1 else node.name)}: {found.count}{where}{near}."
    return Step("seen", text, (node.id,), (found.finding,), found.boxes, codes, cited)


def _measured(case: Case, node: Node, cited: tuple[str, ...], codes: tuple[str, ...]) -> Step:
    found = case.measurements.get(node.measured or "")
    if found is None or found.value is None:
        why = found.reason if found is not None else "it was not measured"
        return Step("not assessed", f"{_start(node.name)}: not assessed; {why}.", (node.id,),
                    codes=codes, sources=cited)  # fmt: skip
    text = f"{_start(node.name)}: {found.value:.2f}."
    return Step("measure", text, (node.id,), (found.id,), (), codes, cited)


def _rule(said: Ruling, grade: Node, known: Knowledge) -> Step:
    name = f"{grade.name} (grade {grade.value})" if (grade.value or "").isdecimal() else grade.name
    note = f" ({said.rule.note})" if said.rule.note else ""
    text = f"Rule for {name}: {said.rule.name}{note}: {said.outcome}; {said.why}."
    return Step(
        "rule",
        text,
        (said.rule.id, grade.id),
        said.findings,
        codes=(_coded(grade),),
        sources=known.sources_of(grade.id, said.rule.id),
        outcome=said.outcome,
    )


def _grade(disease: Node, reached: Node | None, label: Label | None, verdict: Verdict) -> Step:
    text = f"{_start(disease.name)}: the rules reach " + (
        f"'{reached.name}'" if reached is not None else "no grade"
    )
    if label is not None:
        text += f"; {label.source.name} says '{label.meaning}' ({label.value}): {verdict}."
    else:
        text += "; no model here grades it."
    nodes = (disease.id,) if reached is None else (disease.id, reached.id)
    codes = (_coded(disease),) if reached is None else (_coded(disease), _coded(reached))
    return Step("grade", text, nodes, () if label is None else (label.id,), codes=codes)


def _verdict(disease: Node, reached: Node | None, label: Label | None) -> Verdict:
    if label is None or reached is None:
        return "not graded" if label is None else "cannot be confirmed"
    if label.value == reached.value:
        return "agrees"
    said, by_rule = label.value, reached.value or ""
    if (
        disease.id == "diabetic-retinopathy"
        and said.isdecimal()
        and by_rule.isdecimal()
        and int(said) >= _SEVERE > int(by_rule) > 1
    ):
        return "cannot be confirmed"
    return "disagrees"


def _sentence(
    case: Case,
    known: Knowledge,
    disease: Node,
    reached: Node | None,
    label: Label | None,
    verdict: Verdict,
    signs: dict[str, Seen],
    rulings: dict[str, list[Ruling]],
) -> str:
    if disease.id not in LABELS:
        return _suspicion(disease, reached, rulings)
    marked = [
        signs[node.id]
        for node in known.onto(disease.id, "sign-of")
        if node.id in signs and signs[node.id].count
    ]
    present = [_present(one) for one in marked]
    unseen = [
        node.plural
        for node in known.onto(disease.id, "sign-of")
        if node.kind == "sign" and node.id not in signs
    ]
    if reached is None:
        out = f"{_start(disease.name)}: no grade is reached by what was measured"
    else:
        out = f"{_start(reached.name)} by what was measured"
    out += f": {listed(present)}{_size(case, marked)}" if present else ": no lesion was marked"
    close = [
        f"{one.rule.name}: {one.outcome}"
        for grade in known.onto(disease.id, "grade-of")
        for one in rulings[grade.id]
        if one.rule.test is not None
        and one.rule.test.kind == "quadrants"
        and one.outcome != "not assessed"
    ]
    out += "".join(f"; {one}" for one in close)
    if unseen:
        out += f". Not assessed, since no model here looks for it: {listed(unseen)}"
    return f"{out}. {_beside(reached, label, verdict)}"


def _suspicion(disease: Node, reached: Node | None, rulings: dict[str, list[Ruling]]) -> str:
    """Of a disease that nothing here grades: what there is of its signs, and no more."""
    every = [one for some in rulings.values() for one in some]
    said = "; ".join(f"{one.rule.name}: {one.outcome} ({one.why})" for one in every)
    if reached is not None:
        return (
            f"{_start(disease.name)}: {reached.name}: {said}. That is no diagnosis: other causes "
            "leave the same signs, and the others that would tell them apart were not assessed."
        )
    return f"{_start(disease.name)}: nothing that was measured points to it: {said}."


def _present(sign: Seen) -> str:
    name = sign.node.plural if sign.count > 1 else sign.node.name
    if not sign.quadrants:
        return f"{sign.count} {name}"
    return f"{name} in {_quadrants(sum(n > 0 for n in sign.quadrants.values()))}"


def _size(case: Case, marked: list[Seen]) -> str:
    """How much was marked, by which a reader weighs it against specks marked by mistake."""
    parts = sum(one.count for one in marked)
    said = f"{parts} part{'' if parts == 1 else 's'}" + (" in all" if len(marked) > 1 else "")
    field = case.get("field", Mask)
    if field is None or not field.mask.any():
        return f" ({said})"
    share = sum(one.pixels for one in marked) / float(field.mask.sum())
    return f" ({said} on {100 * share:.2g} % of the field of view)"


def _beside(reached: Node | None, label: Label | None, verdict: Verdict) -> str:
    if label is None:
        return "No grade was given by a network, so there is nothing to compare it with."
    who = f"{label.source.name} says grade {label.value} ({label.meaning})"
    if verdict == "agrees":
        return f"{who}: the two agree."
    if reached is None:
        return f"{who}, which cannot be confirmed."
    if verdict == "cannot be confirmed":
        return (
            f"{who}, which what was measured cannot confirm: from grade {_SEVERE} on the rules "
            "rest on signs that no model here looks for."
        )
    kept = ""
    if label.coverage is not None and reached.value in label.prediction_set:
        kept = f", though it does not exclude {reached.value} at {label.coverage:.0%}"
    return f"{who}{kept}: the two disagree, and a person should look at both."


def _heat(
    case: Case, heatmap: Heatmap | None, signs: dict[str, Seen], frame: Frame | str
) -> Step | None:
    """How much of a heatmap lies on or near the marked lesions, beside what chance would give."""
    from scipy import ndimage

    if heatmap is None or heatmap.values.ndim != 2 or not signs:
        return None
    step = max(1, max(heatmap.values.shape) // _SIDE)
    heat = heatmap.values[::step, ::step].astype(np.float64)
    lesions = np.zeros(heat.shape, bool)
    for one in signs.values():
        mask = case.get(one.finding, Mask)
        if mask is not None and mask.mask.shape == heatmap.values.shape:
            h, w = np.nonzero(mask.mask)
            lesions[np.minimum(h // step, heat.shape[0] - 1),
                    np.minimum(w // step, heat.shape[1] - 1)] = True  # fmt: skip
    field = case.get("field", Mask)
    inside = np.ones(heat.shape, bool)
    if field is not None and field.mask.shape == heatmap.values.shape:
        inside = field.mask[::step, ::step]
    total = float(heat[inside].sum())
    findings = (heatmap.id, *(one.finding for one in signs.values()))
    if not lesions.any() or total <= 0:
        why = "no lesion was marked" if total > 0 else "the heatmap is empty"
        return Step("heat", f"Heat on lesions: not assessed; {why}.", (), findings)
    diameter = frame.diameter if not isinstance(frame, str) else max(heatmap.values.shape) / 10
    near = ndimage.distance_transform_edt(~lesions) <= max(1.0, _NEAR * diameter / step)
    share = float(heat[inside & near].sum()) / total
    area = float((inside & near).sum()) / float(inside.sum())
    text = (
        f"{share:.0%} of the heat of '{heatmap.id}' lies within a quarter of a disc diameter of a "
        f"marked lesion, on {area:.0%} of the field of view: {share / area:.1f} times what heat "
        "spread evenly would have there."
    )
    return Step("heat", text, (), findings)


def _quadrants(count: int) -> str:
    return f"{NUMBERS[count]} quadrant{'' if count == 1 else 's'}"


def _coded(node: Node) -> str:
    code = node.coded
    return f"{code.scheme}|{code.value}|{code.meaning}"


def _start(text: str) -> str:
    return text[:1].upper() + text[1:]
