"""The claims of a sentence compared with findings, one kind of claim after the other."""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from osler.io.html_words import WORDS
from osler.language.checking_beside import alone, borne_out, certainty, counts, severities, sides
from osler.language.checking_claims import Claims, Mention, Number
from osler.language.checking_numbers import agrees, candidates, chances, of_a_reason
from osler.language.checking_outcome import Outcome
from osler.language.checking_sayings import GRADABLE, excluded, risks_in
from osler.language.checking_words import (
    LESIONS,
    PLACES,
    QUALIFIERS,
    SPECIAL,
    named,
    same_unit,
    tags_of,
)
from osler.language.facts import Fact

_EVERY_OTHER: Final = re.compile(
    r"(?:every|all|any) other (?:grade|risk|stage)s? (?:is|are|was|were|can be|has been) "
    r"(?:excluded|ruled out)|可?排除其他", re.IGNORECASE
)  # fmt: skip
_NONE_TYPICAL: Final = re.compile(r"no (?:grade|risk) is typical|没有足够典型", re.IGNORECASE)
_NOT_COMPUTED: Final = re.compile(
    r"(?:not|nor [\w ,]{1,40} could|neither [\w ,]{1,60} could) (?:be )?"
    r"(?:computed|measured|calculated|determined|available)|未计算|未能计算|未能测量|无法测量|无法计算",
    re.IGNORECASE,
)
_NOT_NEEDED: Final = re.compile(
    r"(?:not|no longer|never) (?:be )?(?:needed|necessary|required|indicated|warranted)"
    r"|unnecessary|needs? no|need not|无需|不需|不必|毋需|无须|毋须|不用|不属于[需可]"
    r"|不建议|不宜|暂不",
    re.IGNORECASE,
)
_NOT_FOUND: Final = re.compile(
    r"not (?:be )?(?:found|visible|seen|identified|detected|located)|未找到|未见|看不到",
    re.IGNORECASE,
)
_NOT_STATED: Final = re.compile(r"\bno\b|\bnot\b|\bwithout\b|未|没有|无", re.IGNORECASE)
_PRE: Final = re.compile(r"\bpre[- ]?$|前$", re.IGNORECASE)
_ALL: Final = re.compile(
    r"\b(?:all|any|every) (?:five )?(?:grade|stage|level)s? (?:remains? possible"
    r"|(?:is|are) possible|can ?not be (?:excluded|ruled out))"
    r"|(?:所有|任何)(?:分级|级别|分期)均?(?:不能排除|有可能)",
    re.IGNORECASE,
)
_NO: Final = ("no", "absent", "negative", "0", "normal", "none", "否")
_IGNORED: Final = frozenset(
    ("far", "size", "count", "diameter", "quadrants", "dr-grade", "photograph", *QUALIFIERS)
)
_HEDGED: Final = ("possible", "hypothetical")
_ELSEWHEN: Final = ("history", "family")


class Meant(NamedTuple):
    """Words for a value of a label, and where they stand."""

    fact: Fact
    value: str
    said: str
    at: int


class Bench:
    """The findings of a case, ready to be compared with.

    Args:
        facts: of the case.
    """

    def __init__(self, facts: Sequence[Fact]) -> None:
        self.facts = list(facts)
        self.by_id = {fact.id: fact for fact in self.facts}
        self.ids = frozenset(self.by_id)
        self.tags = {fact.id: tags_of(fact) for fact in self.facts}
        self.names = named(tuple(self.facts))

    def tagged(self, pool: Iterable[Fact], *tags: str) -> list[Fact]:
        """Those of some findings that are about one of some tags."""
        return [fact for fact in pool if self.tags[fact.id] & {*tags}]

    def meanings(self, text: str, pool: Sequence[Fact]) -> tuple[str, list[Meant]]:
        """The words for values of labels, and the text with blanks in their place.

        A label is looked for where the sentence speaks of what it is about.
        """
        found: list[Meant] = []
        plain = text.casefold()
        if len(plain) != len(text):  # letters that change their number with their case
            plain = text
        words = [
            (fact, value, said)
            for fact in pool
            if fact.kind == "label"
            for value, meaning in fact.choices
            for said in (meaning, WORDS["zh"].get(f"meaning_{fact.id}_{value}", ""))
            if len(said) >= 4 or (len(said) >= 3 and not said.isascii())
        ]
        about = {
            "dme-risk": re.search(r"o?edema|dme\b|dmo\b|水肿", plain),
            "dr-grade": True,
        }
        for fact, value, said in sorted(words, key=lambda w: -len(w[2])):
            if not about.get(fact.id, True):
                continue
            # the proliferative grade is not named by "nonproliferative"
            whole = re.search(
                rf"(?<![^\W_\u3000-\u9fff])(?<![-非]){re.escape(said.casefold())}", plain
            )
            if whole is not None:
                at = whole.start()
                found.append(Meant(fact, value, said, at))
                blank = " " * len(said)
                plain = plain[:at] + blank + plain[at + len(said) :]
                text = text[:at] + blank + text[at + len(said) :]
        return text, found

    def compared(
        self,
        text: str,
        claims: Claims,
        meant: Sequence[Meant],
        pool: Sequence[Fact],
    ) -> Outcome:
        """Every claim of a sentence against the findings it stands on."""
        out = Outcome()
        for fact, value, said, at in meant:
            if borne_out(text, at, [value], fact):
                out.confirm(fact)
            else:
                kind = {"laterality": "side", "quality": "quality"}.get(fact.id, "grade")
                out.deny(kind, said, fact.words)
        self._numbers(text, claims, pool, out)
        valued = bool(meant) or any(n.role == "grade" for n in claims.numbers)
        for mention in claims.mentions:
            self._mention(
                mention, text, claims, pool, out, valued=valued or bool(claims.severities)
            )
        sides(claims, pool, out)
        severities(self, text, claims, pool, out)
        self._quality(claims, pool, out)
        certainty(text, pool, out)
        counts(self, text, pool, out)
        alone(self, text, claims, out)
        return out

    def _numbers(self, text: str, claims: Claims, pool: Sequence[Fact], out: Outcome) -> None:
        kept = [n for n in claims.numbers if n.role == "kept"]
        if everything := _ALL.search(text):
            labels = [f for f in pool if f.choices and f.coverage is not None]
            if any(len(f.possible) < len(f.choices) for f in labels):
                out.deny("grade", everything[0], labels[0].words)
        elif kept or _EVERY_OTHER.search(text) or _NONE_TYPICAL.search(text):
            self._kept(text, claims, kept, pool, out)
        reasons = [f for f in pool if "not-computed" in f.flags]
        reasons = reasons if _NOT_COMPUTED.search(text) else []
        given = of_a_reason(claims.numbers, reasons)
        for number in claims.numbers:
            if number.role == "kept":
                continue
            if number in given:
                out.confirm(given[number])
                continue
            if number.role == "coverage":
                levels = [f for f in pool if f.coverage is not None]
                right = [f for f in levels if round(100 * (f.coverage or 0)) == number.value]
            elif number.role == "grade":
                levels = self._graded(number, claims, pool)
                right = [f for f in levels if str(f.value) == f"{number.value:g}"]
            elif number.role == "chance":
                levels = chances(self, number, claims, pool)
                right = [f for f in levels if agrees(number, f, chance=True) == ""]
            else:
                levels = candidates(self, number, claims, pool)
                right = [f for f in levels if agrees(number, f) == ""]
            if right:
                out.confirm(right[0])
                continue
            self._wrong_number(number, claims, levels, pool, out)

    def _wrong_number(
        self,
        number: Number,
        claims: Claims,
        levels: Sequence[Fact],
        pool: Sequence[Fact],
        out: Outcome,
    ) -> None:
        said = f"{number.said} {number.unit}".strip()
        if any(agrees(number, f) == "unit" for f in levels):
            out.deny("unit", said, levels[0].words)
        elif levels:
            # of every number there is, one in another unit has nothing to do with what is said
            apart = len(levels) > 1 and not any(same_unit(number.unit, f.unit) for f in levels)
            found = "" if apart and number.unit else levels[0].words
            out.deny("grade" if number.role == "grade" else "number", said, found)
        else:
            elsewhere = len(pool) < len(self.facts) and any(
                agrees(number, f) == "" for f in candidates(self, number, claims, self.facts)
            )
            out.deny("citation" if elsewhere else "unsupported", said)

    def _graded(self, number: Number, claims: Claims, pool: Sequence[Fact]) -> list[Fact]:
        labels = [f for f in pool if f.kind == "label" and str(f.value).isdecimal()]
        for tags in (claims.tags(number.clause), claims.tags()):
            close = [f for f in labels if self.tags[f.id] & tags]
            # "risk of macular oedema" is no grade of retinopathy
            if {"dme-risk", "oedema"} & tags and not {"retinopathy", "dr-grade"} & tags:
                close = [f for f in close if "oedema" in self.tags[f.id]]
            if close:
                return close
        return labels

    def _kept(
        self,
        text: str,
        claims: Claims,
        numbers: Sequence[Number],
        pool: Sequence[Fact],
        out: Outcome,
    ) -> None:
        """The values that are said not to be excluded."""
        labels = [f for f in pool if f.coverage is not None]
        labels = self.tagged(labels, *claims.tags()) or labels
        if not labels:
            out.deny("unsupported", "what cannot be excluded")
            return
        said: set[str] = {f"{n.value:g}" for n in numbers}
        for one, two in itertools.pairwise(numbers):
            if re.fullmatch(r"\s*(?:to|through|至|到|–|-)\s*", text[one.stop : two.start]):
                said |= {str(v) for v in range(int(one.value), int(two.value) + 1)}
        if numbers and excluded(text) and not _EVERY_OTHER.search(text):
            wrong = [f for f in labels if said & {*f.possible}]
            if wrong:
                out.deny("grade", " ".join(sorted(said)), wrong[0].words)
            else:
                out.confirm(labels[0])
            return
        for fact in labels:
            expected = {*fact.possible}
            if _EVERY_OTHER.search(text):
                said = {str(fact.value)}
            # "grade 1 cannot be excluded", beside the grade that is said to be there
            once = 0 < len(said) == len(numbers)  # not "1, 1"
            if said == expected or (once and {*said, str(fact.value)} == expected):
                out.confirm(fact)
                return
        out.deny("grade", " ".join(sorted(said)) or "none", labels[0].words)

    def _mention(
        self,
        mention: Mention,
        text: str,
        claims: Claims,
        pool: Sequence[Fact],
        out: Outcome,
        *,
        valued: bool,
    ) -> None:
        tag, absent = mention.tag, mention.status == "absent"
        said = text[mention.start : mention.stop]
        if tag in _IGNORED or tag == "quality":
            return
        if tag in PLACES:
            self._place(tag, said, text, claims, pool, out)
            return
        if tag.startswith("beyond:"):
            out.deny("unsupported", said)
            return
        if re.fullmatch(r"concept:dr-grade-[1-4]", tag):
            before = _PRE.search(text[: mention.start])
            value = "3" if tag[-1] == "4" and before else tag[-1]
            grades = [f for f in pool if f.id == "dr-grade"]
            right = bool(grades) and borne_out(text, mention.start, [value], grades[0])
            if grades and excluded(text):
                out.confirm(grades[0]) if right else out.deny("grade", said, grades[0].words)
            elif not absent and grades and not right:
                out.deny("severity", said, grades[0].words)
            elif absent and grades and value == grades[0].value:
                out.deny("negation", said, grades[0].words)
            elif not absent and grades:
                out.confirm(grades[0])
            return
        if tag == "normal":
            self._normal(said, out, denied=absent)
            return
        backing, known = self.tagged(pool, tag), self.tagged(self.facts, tag)
        special = SPECIAL.search(said) if tag in LESIONS else None
        if not known or (special is not None and not any(special[0] in f.name for f in known)):
            out.deny("unsupported", said)
        elif not backing:
            out.deny("citation", said, known[0].words)
        elif mention.status in _ELSEWHEN:
            out.deny("unsupported", f"{said} ({mention.status})", backing[0].words)
        elif tag in ("retinopathy", "dr-referable", "oedema", "dme-risk"):
            self._disease(mention, said, text, claims, pool, out, valued=valued)
        else:
            self._presence(mention, said, text, claims, backing, out)

    def _place(
        self,
        tag: str,
        said: str,
        text: str,
        claims: Claims,
        pool: Sequence[Fact],
        out: Outcome,
    ) -> None:
        """A part of the eye: only that it was not found is a claim."""
        if not _NOT_FOUND.search(text) or claims.tags() & {*LESIONS, "lesions"}:
            return
        fact = self.by_id.get(tag)
        missing = [f for f in pool if "not-computed" in f.flags and tag in self.tags[f.id]]
        if fact is not None and not fact.negated:
            out.deny("negation", said, fact.words)
        elif fact in pool or missing:
            out.confirm(*([fact] if fact is not None else missing[:1]))
        else:
            out.deny("citation" if fact is not None else "unsupported", said)

    def _presence(
        self,
        mention: Mention,
        said: str,
        text: str,
        claims: Claims,
        backing: Sequence[Fact],
        out: Outcome,
    ) -> None:
        """That something is there, or is not."""
        absent = mention.status == "absent"
        if any(
            n.role == "count" and n.value == 0 and n.near == mention.tag for n in claims.numbers
        ):
            absent = True
        if mention.tag == "scale":
            if absent or _NOT_STATED.search(text):
                out.confirm(backing[0])
            else:
                out.deny("negation", said, backing[0].words)
            return
        judged = [(fact, there) for fact in self._about(mention.tag) for there in _there(fact)]
        if not judged:
            if _NOT_COMPUTED.search(text):
                empty = [f for f in backing if "not-computed" in f.flags]
                if empty:
                    out.confirm(empty[0])
                else:
                    out.deny("negation", said, backing[0].words)
            return
        present = any(there for _, there in judged)
        if absent == (not present):
            out.confirm(*(f for f, there in judged if there == present))
        else:
            out.deny("negation", said, judged[0][0].words)

    def _about(self, tag: str) -> list[Fact]:
        """The findings that say whether something is there."""
        facts = self.tagged(self.facts, tag)
        masks = [f for f in facts if f.kind in ("mask", "label", "box")]
        return masks or [f for f in facts if f.id.startswith("lesion-count.")]

    def _disease(
        self,
        mention: Mention,
        said: str,
        text: str,
        claims: Claims,
        pool: Sequence[Fact],
        out: Outcome,
        *,
        valued: bool,
    ) -> None:
        absent, tags = mention.status == "absent", claims.tags()
        risks = risks_in(text) if mention.tag in ("oedema", "dme-risk") else []
        if risks and (risk := next((f for f in pool if f.id == "dme-risk"), None)) is not None:
            for word, values in risks:
                if str(risk.value) in values:
                    out.confirm(risk)
                else:
                    out.deny("severity", word, risk.words)
            return
        if mention.tag == "dr-referable":
            labels = [f for f in pool if f.id == "dr-referable"]
            absent = absent or bool(_NOT_NEEDED.search(text))
            if not labels:
                out.deny("citation", said)
            elif absent == (labels[0].value in _NO):
                out.confirm(labels[0])
            else:
                out.deny("negation", said, labels[0].words)
            return
        id = "dr-grade" if mention.tag == "retinopathy" else "dme-risk"
        if (id == "dr-grade" and "dr-referable" in tags) or (
            valued and (not absent or excluded(text))  # compared as the value
        ):
            return
        label = next((f for f in pool if f.id == id), None)
        if label is None:
            if absent or mention.tag == "retinopathy":
                out.deny("citation", said)
            return
        zero = label.value == "0" and not (excluded(text) and len(label.possible) > 1)
        if absent != zero and not (valued and zero):
            if absent or mention.tag == "retinopathy":
                out.deny("negation", said, label.words)
        elif mention.tag == "oedema" and not absent and mention.status not in _HEDGED:
            if "dme-risk" not in tags:
                out.deny("unsupported", said, label.words)  # a risk is no disease
        else:
            out.confirm(label)

    def _normal(self, said: str, out: Outcome, *, denied: bool) -> None:
        lesions = [self.by_id[id] for id in LESIONS if id in self.by_id]
        grade = self.by_id.get("dr-grade")
        ill = [f for f in lesions if not f.negated]
        if grade is not None and grade.value != "0":
            ill.append(grade)
        if not lesions and grade is None:
            out.deny("unsupported", said)
        elif bool(ill) == denied:
            out.confirm(*(ill or lesions))
        else:
            out.deny("negation", said, ill[0].words if ill else "")

    def _quality(self, claims: Claims, pool: Sequence[Fact], out: Outcome) -> None:
        if not claims.quality:
            return
        fact = self.by_id.get("quality")
        if fact is None:
            out.deny("unsupported", claims.quality)
        elif fact not in pool:
            out.deny("citation", claims.quality, fact.words)
        elif fact.value == claims.quality or (
            claims.quality == GRADABLE and fact.value in ("good", "usable")
        ):
            out.confirm(fact)
        else:
            out.deny("quality", claims.quality, fact.words)


def _there(fact: Fact) -> list[bool]:
    """Whether a finding says that what it is about is there; empty where it says neither."""
    if fact.kind in ("mask", "box"):
        return [not fact.negated]
    if fact.id.startswith("lesion-count.") and isinstance(fact.value, float | int):
        return [fact.value > 0]
    if fact.kind == "label" and str(fact.value).casefold() in ("yes", "present", "positive", "是"):
        return [True]
    if fact.kind == "label" and str(fact.value).casefold() in _NO:
        return [False]
    return []
