"""A report held against the findings: each sentence, its numbers, sides, grades and negations.

What a sentence claims is read from its words by rule (``checking_claims``) and compared with the
findings that it cites. A sentence stands only where something in it was confirmed and nothing in
it was found wrong. Nothing here is learnt, and no engine has a say in it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from osler.language.checking_against import Bench
from osler.language.checking_claims import claims_of
from osler.language.checking_outcome import Problem
from osler.language.checking_unread import unread
from osler.language.checking_words import LESIONS
from osler.language.engine import clean
from osler.language.facts import Fact
from osler.language.sentences import sentences
from osler.language.traditional import simplified

MOST_TEXT: Final = 60_000
"""Most characters of a report that are read; what lies beyond counts as unchecked."""

_CITED: Final = re.compile(r"[\[［【]([^\[\]［］【】\n]{1,400})[\]］】]")
_AFTER_END: Final = re.compile(
    r"([.。!！?？])[ \t]*((?:[\[［【][^\[\]［］【】\n]{1,400}[\]］】][ \t]*)+)"
)
_ID: Final = re.compile(r"[^\s,;，；、]{1,200}")
_HEADING: Final = re.compile(
    r"\s*(?:#{1,6}\s*|\*\*)?(?P<name>[A-Za-z \u4e00-\u9fff]{2,30}?)\s*(?:\*\*)?\s*"
    r"(?:[:：]\s*(?:\*\*)?\s*|\Z)"
)
_SECTIONS: Final = {
    "quality": "quality", "image quality": "quality", "about this photograph": "quality",
    "findings": "findings", "impression": "impression", "conclusion": "impression",
    "质量": "quality", "图像质量": "quality", "所见": "findings", "检查所见": "findings",
    "印象": "impression", "结论": "impression", "诊断意见": "impression",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checked:
    """One sentence of a report, and what became of it.

    Attributes:
        text: its words, without its citations.
        section: ``"quality"``, ``"findings"`` or ``"impression"``.
        cited: the finding ids that it cites and that exist.
        problems: what was found wrong; empty where it stands.
        supports: ids of the findings that confirm a claim of it.
        claims: how many claims were understood.
        unread: words that no rule reads; they may say anything.
    """

    text: str
    section: str
    cited: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    supports: tuple[str, ...] = ()
    claims: int = 0
    unread: tuple[str, ...] = ()

    @property
    def stands(self) -> bool:
        """Whether something in it was confirmed and nothing was found wrong."""
        return not self.problems


@dataclass(slots=True)
class Report:
    """A report after the check.

    Attributes:
        sentences: in order.
        missed: ids of the findings that matter and that no sentence confirms.
        stated: ids of those that one does.
        cut: the text was longer than is read.
    """

    sentences: list[Checked] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    stated: list[str] = field(default_factory=list)
    cut: bool = False

    @property
    def passed(self) -> bool:
        """Whether every sentence stands."""
        return bool(self.sentences) and not self.cut and all(s.stands for s in self.sentences)

    @property
    def unread(self) -> bool:
        """Whether a sentence that stands holds words that no rule reads."""
        return any(s.stands and s.unread for s in self.sentences)

    @property
    def precision(self) -> float | None:
        """The part of the claims that the findings confirm; None where nothing is claimed."""
        total = sum(s.claims for s in self.sentences)
        wrong = sum(min(s.claims, len(s.problems)) for s in self.sentences)
        return (total - wrong) / total if total else None

    @property
    def recall(self) -> float | None:
        """The part of the findings that matter which the report states rightly."""
        total = len(self.missed) + len(self.stated)
        return len(self.stated) / total if total else None

    def as_document(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "passed": self.passed,
            "precision": None if self.precision is None else round(self.precision, 4),
            "recall": None if self.recall is None else round(self.recall, 4),
            "stated": self.stated,
            "missed": self.missed,
            "cut": self.cut,
            "contradictions": [
                {"sentence": s.text, "kind": p.kind, "said": p.said, "found": p.found}
                for s in self.sentences
                for p in s.problems
            ],
            "sentences": [
                {
                    "text": s.text,
                    "section": s.section,
                    "cited": list(s.cited),
                    "supports": list(s.supports),
                    "problems": [p.kind for p in s.problems],
                    "unread": list(s.unread),
                }
                for s in self.sentences
            ],
        }


def check(
    text: str, facts: Sequence[Fact], *, cited: bool = True, section: str = "findings"
) -> Report:
    """Hold a report against the findings.

    Args:
        text: the report, with headings of sections or without.
        facts: of the case, from ``osler.language.facts.facts``.
        cited: every sentence must cite what it says, as ``[id]`` or ``[id, id]``, and is held
            against that; False for a report without citations, held against all findings.
        section: of sentences before the first heading.
    """
    bench = Bench(facts)
    out = Report(cut=len(text) > MOST_TEXT)
    for part, sentence in split(text[:MOST_TEXT], section=section):
        out.sentences.append(_checked(sentence, part, bench, cited=cited))
    named = {id for s in out.sentences if s.stands for id in s.supports}
    for fact in bench.facts:
        if matters(fact):
            (out.stated if fact.id in named else out.missed).append(fact.id)
    return out


def check_sentence(
    text: str, facts: Sequence[Fact], *, cites: Iterable[str], section: str = "findings"
) -> Checked:
    """Hold one sentence against the findings that it stands on.

    Args:
        text: without citations.
        facts: of the case.
        cites: ids of what it stands on, such as the evidence of a passage.
        section: where it stands.
    """
    marks = ", ".join(cites)
    said = f"{text} [{marks}]" if marks else text
    return _checked(said, section, Bench(facts), cited=True)


def matters(fact: Fact) -> bool:
    """Whether a report that leaves a finding out has left something out."""
    if fact.kind == "label":
        return fact.id not in ("photograph", "quality", "laterality")
    return fact.kind == "risk" or (fact.kind == "mask" and fact.id in LESIONS)


def split(text: str, *, section: str = "findings") -> Iterator[tuple[str, str]]:
    """Section and words of each sentence; headings are no sentences."""
    plain = _AFTER_END.sub(r" \2\1 ", clean(text))
    for start, stop in sentences(plain):
        for line in plain[start:stop].split("\n"):
            heading = _HEADING.match(line)
            if heading and (name := _SECTIONS.get(heading["name"].casefold())):
                section, line = name, line[heading.end() :]  # noqa: PLW2901 - what follows it
            if re.search(r"[^\W\d_]", line):
                yield section, line.strip()


def citations(sentence: str, known: Iterable[str]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """A sentence without its citations, the ids among them that are known, and the others."""
    ids = frozenset(known)
    good: dict[str, None] = {}
    bad: dict[str, None] = {}
    for match in _CITED.finditer(sentence):
        whole = match[1].strip()
        for one in [whole] if whole in ids else _ID.findall(whole):
            (good if one in ids else bad)[one] = None
    words = re.sub(r"\s+([.。,，;；])", r"\1", _CITED.sub(" ", sentence))
    return " ".join(words.split()), tuple(good), tuple(bad)


def _checked(sentence: str, section: str, bench: Bench, *, cited: bool) -> Checked:
    text, known, unknown = citations(sentence, bench.ids)
    problems = [Problem("unknown-id", one[:80], "") for one in unknown[:5]] if cited else []
    if cited and not known:
        problems.append(Problem("uncited", "", ""))
        return Checked(text, section, (), tuple(problems))
    pool = [bench.by_id[id] for id in known] if cited else bench.facts
    plain = simplified(text)
    masked, meant = bench.meanings(plain, pool)
    claims = claims_of(masked, bench.names)
    found = bench.compared(masked, claims, meant, pool)
    problems += found.problems
    if not problems and not found.supports:
        problems.append(Problem("unchecked", "", ""))
    return Checked(
        text, section, known, tuple(problems), tuple(found.supports), found.claims,
        unread(plain, pool),
    )  # fmt: skip
