"""The report that a clinician reads first: one HTML file that needs nothing else.

Styles and script stand in the file, pictures are data addresses, and a content security policy
with their digests keeps everything else out [1]: no request ever leaves the reader's machine.

[1] W3C Content Security Policy Level 3, https://www.w3.org/TR/CSP3/
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from osler.io.definition_words import definition_words
from osler.io.html_advice import advice_of
from osler.io.html_contributions import WORDS as MOVED_WORDS
from osler.io.html_contributions import answers_of
from osler.io.html_draft import by_rule, draft_of
from osler.io.html_pictures import Drawn, layers_drawn, sheet_of
from osler.io.html_tables import tables_of
from osler.io.html_words import WORDS
from osler.io.masks import photo_of
from osler.io.wording import (
    chance,
    chance_of,
    flag_words,
    known_language,
    measure_name,
    name_of,
    plain,
)
from osler.record import Case, Image, Label, Measurement, Passage, Source

if TYPE_CHECKING:
    from jinja2 import Template

FILE: Final = "report.html"
_TEMPLATES: Final = Path(__file__).parent / "templates"
_NOT_FUNDUS: Final = "not a fundus photograph"
_SECTIONS: Final = ("impression", "history", "findings", "quality")
_GROUPS: Final = ("lesions", "vessels", "anatomy", "grade", "other")


@dataclass(frozen=True, slots=True)
class Statement:
    """A passage with what it lights up.

    Attributes:
        text: the words.
        layers: numbers of the layers it stands on.
        evidence: their names and those of the other findings it stands on.
        box: ``left top width height`` to zoom to, in pixels of the page's photograph, or empty.
    """

    text: str
    layers: tuple[int, ...]
    evidence: tuple[str, ...]
    box: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One value of a label: its words, its probability, whether it is said and in the set."""

    value: str
    words: str
    probability: float
    said: bool
    kept: bool

    @property
    def percent(self) -> str:
        """Length of the bar."""
        return f"{100 * self.probability:.1f}%"

    @property
    def chance(self) -> str:
        """The probability as printed."""
        return chance(self.probability)


def write_report(case: Case, folder: Path) -> None:
    """Write ``report.html`` into a case's folder."""
    (folder / FILE).write_text(report(case), encoding="utf-8", newline="\n")


def report(case: Case) -> str:
    """A case as one HTML page; its language is that of the case's passages, else English."""
    passage = next(case.of(Passage), None)
    language = known_language(passage.language) if passage else "en"
    words = WORDS[language]
    moved = answers_of(case, language=language)
    # of several inputs no one picture is the case
    fused = bool(moved) and not any(id in case for id in ("photograph", "quality", "dr-grade"))
    photo = None if fused else photo_of(case)
    kind = case.get("photograph", Label)
    fundus = kind is None or kind.value != _NOT_FUNDUS
    drawn = list(layers_drawn(case, photo, language=language)) if photo else []
    draft = draft_of(case, language=language)
    style, script = _text("report.css") + _layer_rules(drawn), _text("report.js")
    return _template().render(
        case=case,
        words=words,
        language="zh-Hans" if language == "zh" else "en",
        policy=_policy(style, script),
        style=style,
        script=script,
        facts=_facts(case, photo, words),
        # what is no fundus photograph is not called one, and shows no eye
        title=case.id if fused else words["title" if fundus else "photograph"],
        eye=_eye(case, photo, words) if fundus and not fused else "",
        badge=_badge(case, words, language),
        sheet=sheet_of(photo) if photo else None,
        layers=drawn,
        switches=_switches(drawn, words),
        sections=_sections(case, drawn, words, language),
        advice=advice_of(case, language=language),
        draft=draft,
        drafted=[_statement(case, p, drawn, language) for p in draft.passages] if draft else [],
        grade=None if fused else _grade(case, words, language),
        answers=moved,
        moved_words=MOVED_WORDS[language],
        tables=tables_of(case, language=language),
        definitions=_definitions(case, language),
        doubts=_doubts(case, language),
        sources=_sources(case, words, language),
        seconds=f"{sum(e.seconds for e in case.history):.1f}" if case.history else "",
        digest=photo.origin.sha256 if photo and photo.origin else "",
        version=_version(),
    )


@cache
def _template() -> "Template":
    import jinja2

    room = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return room.get_template("report.html.j2")


@cache
def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")

    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src 'sha256-{digest(style)}'; script-src 'sha256-{digest(script)}'"
    )


def _layer_rules(drawn: Iterable[Drawn]) -> str:
    """A colour and a switch for each layer. They hold numbers and colours of ours only."""
    return "".join(
        f".ink-{d.number}{{--ink:{d.colour}}}"
        f"#viewer:has(#show-{d.number}:not(:checked)) .layer-{d.number}:not(.lit){{display:none}}\n"
        for d in drawn
    )


def _version() -> str:
    from osler import __version__

    return __version__


def _facts(case: Case, photo: Image | None, words: Mapping[str, str]) -> list[tuple[str, str]]:
    facts = [(words["case"], case.id)]
    if photo and photo.origin:
        facts.append((words["file"], Path(photo.origin.path).name))
    if photo and photo.acquired:
        facts.append((words["taken"], f"{photo.acquired:%Y-%m-%d %H:%M}"))
    if photo:
        facts.append((words["size"], f"{photo.shape[1]} × {photo.shape[0]} px"))
    if case.history:
        facts.append((words["read_on"], f"{case.history[-1].at:%Y-%m-%d %H:%M} UTC"))
    return facts


def _eye(case: Case, photo: Image | None, words: Mapping[str, str]) -> str:
    label = case.get("laterality", Label)
    side = label.value if label else (photo.laterality if photo else None)
    if side not in ("R", "L"):
        return words["eye_unknown"]
    said = words[f"eye_{side}"]
    unsure = label is not None and (
        {"uncertain", "laterality-conflict"} & {*label.flags}
        or (label.probability is not None and label.probability < 0.8)
    )
    return f"{said} ({words['maybe']})" if unsure else said


def _badge(case: Case, words: Mapping[str, str], language: str) -> tuple[str, str, str] | None:
    """Class, words and reasons of the quality badge."""
    kind, quality = case.get("photograph", Label), case.get("quality", Label)
    if kind and kind.value == _NOT_FUNDUS:
        return "reject", words["not_fundus"], ""
    if quality is None:
        return None
    value = quality.value if quality.value in ("good", "usable", "reject") else "usable"
    reasons = ", ".join(flag_words(quality.flags, language=language))
    return value, words[f"quality_{value}"], reasons


def _switches(drawn: list[Drawn], words: Mapping[str, str]) -> list[tuple[str, list[Drawn]]]:
    grouped = ((g, [d for d in reversed(drawn) if d.group == g]) for g in _GROUPS)
    return [(words[f"group_{group}"], layers) for group, layers in grouped if layers]


def _sections(
    case: Case, drawn: list[Drawn], words: Mapping[str, str], language: str
) -> list[tuple[str, list[Statement]]]:
    titles = {"quality": words["about"]}
    sections = []
    for section in _SECTIONS:
        said = [
            _statement(case, p, drawn, language)
            for p in case.of(Passage)
            if p.section == section and by_rule(p)
        ]
        if said:
            sections.append((titles.get(section) or words[section], said))
    return sections


def _statement(case: Case, passage: Passage, drawn: list[Drawn], language: str) -> Statement:
    by_id = {d.id: d for d in drawn if not d.empty}
    lit = [by_id[id] for id in _visible_evidence(case, passage, set(by_id))]
    # A zone says where a measure was taken; without one everything lit is shown.
    zones = [d.box for d in lit if d.id.startswith("zone-") and d.box]
    boxes = zones or [d.box for d in lit if d.box]
    names = dict.fromkeys(
        _short_name(case, id, language) for id in passage.evidence if id in case.findings
    )
    return Statement(passage.text, tuple(d.number for d in lit), tuple(names), _around(boxes))


def _visible_evidence(case: Case, passage: Passage, visible: set[str]) -> list[str]:
    """Ids that can be seen among what a passage stands on, directly or through other findings."""
    found: dict[str, None] = {}
    waiting, seen = list(passage.evidence), set()
    while waiting:
        id = waiting.pop(0)
        if id in seen:
            continue
        seen.add(id)
        if id in visible:
            found[id] = None
        elif id in case.findings and not isinstance(case.findings[id], Measurement):
            waiting += case.findings[id].evidence
    if found or passage.section == "quality":
        return list(found)
    # only numbers: what they were measured on
    deeper = [
        e for id in passage.evidence if id in case.findings for e in case.findings[id].evidence
    ]
    return [id for id in dict.fromkeys(deeper) if id in visible]


def _around(boxes: list[tuple[int, int, int, int]]) -> str:
    if not boxes:
        return ""
    left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
    right, bottom = max(b[0] + b[2] for b in boxes), max(b[1] + b[3] for b in boxes)
    return f"{left} {top} {right - left} {bottom - top}"


def _short_name(case: Case, id: str, language: str) -> str:
    finding = case.findings[id]
    if isinstance(finding, Measurement):
        return measure_name(id.partition(".")[0], language=language, otherwise=finding.name)
    return name_of(finding, language=language)


def _bars(label: Label, words: Mapping[str, str]) -> list[Bar]:
    return [
        Bar(
            value,
            words.get(f"meaning_{label.id}_{value}", label.meanings.get(value, "")),
            float(p),
            said=value == label.value,
            kept=value in label.prediction_set,
        )
        for value, p in label.probabilities.items()
    ]


def _grade(case: Case, words: Mapping[str, str], language: str) -> dict[str, Any]:
    """What the grade card shows."""
    grade, kind = case.get("dr-grade", Label), case.get("photograph", Label)
    quality = case.get("quality", Label)
    out: dict[str, Any] = {"label": grade, "why": "", "referable": None, "oedema": None}
    if grade is None:
        rejected = quality is not None and quality.value == "reject"
        why = (
            "not_fundus"
            if kind and kind.value == _NOT_FUNDUS
            else "reject"
            if rejected
            else "other"
        )
        return out | {"why": words[f"no_grade_{why}"]}
    level = f"{round(100 * grade.coverage)} %" if grade.coverage else ""
    count = round(100 * grade.coverage) if grade.coverage else ""
    out |= {
        "bars": _bars(grade, words),
        "meaning": _meaning(grade, words),
        "set": words["set"].format(level=level) if level else "",
        "set_means": words["set_means"].format(count=count) if level else "",
        "flags": flag_words(grade.flags, language=language),
    }
    for key, id in (("referable", "dr-referable"), ("oedema", "dme-risk")):
        label = case.get(id, Label)
        if label:
            p = chance_of(label, label.value)
            out[key] = {
                "value": words.get(label.value, label.value),
                "meaning": _meaning(label, words),
                "chance": "" if p is None else chance(p),
                "percent": "" if p is None else f"{100 * p:.1f}%",
                "flags": flag_words(label.flags, language=language),
            }
    return out


def _meaning(label: Label, words: Mapping[str, str]) -> str:
    if label.meaning == label.value:
        return ""
    return words.get(f"meaning_{label.id}_{label.value}", label.meaning)


def _definitions(case: Case, language: str) -> list[tuple[str, str]]:
    """Each definition once, under the name of what it defines."""
    found: dict[str, str] = {}
    for m in case.of(Measurement):
        if m.method:
            found.setdefault(m.method, measure_name(m.id.partition(".")[0], language=language))
    return [(name, definition_words(m, language=language)) for m, name in found.items()]


def _doubts(case: Case, language: str) -> list[tuple[str, str]]:
    """Every flag on a finding or item, with the names of what it is about."""
    rows: list[tuple[str, str]] = []
    for item in case.items.values():
        rows += [(item.name, plain(flag)) for flag in item.flags]
    for finding in case.findings.values():
        about = name_of(finding, language=language)
        rows += [(about, said) for said in flag_words(finding.flags, language=language)]
    grouped: dict[str, list[str]] = {}
    for about, said in dict.fromkeys(rows):
        grouped.setdefault(said, []).append(about)
    joint = "、" if language == "zh" else ", "
    return [(joint.join(about), said) for said, about in grouped.items()]


def _sources(case: Case, words: Mapping[str, str], language: str) -> list[dict[str, str]]:
    said: dict[Source, dict[str, None]] = {}
    counts: dict[Source, int] = {}
    for finding in case.findings.values():
        names = said.setdefault(finding.source, {})
        if isinstance(finding, Measurement):
            counts[finding.source] = counts.get(finding.source, 0) + 1
        elif isinstance(finding, Passage):
            names[words["statements_of"]] = None
        else:
            names[name_of(finding, language=language)] = None
    joint = "、" if language == "zh" else ", "
    rows = []
    for source, names in said.items():
        listed = list(names)
        if source in counts:
            listed.append(words["measurements_of"].format(count=counts[source]))
        rows.append(
            {
                "name": source.name,
                "version": source.version,
                "kind": words[f"kind_{source.kind}"],
                "said": joint.join(listed),
            }
        )
    return rows
