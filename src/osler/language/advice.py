"""Management advice for primary care from image findings and patient data, by a guideline table.

Nothing here is decided by a model: rules of the table (`osler.language.guidelines`), each with
its source, hold or do not hold. A language engine may put the table's words otherwise, and is
checked (`osler.language.phrasing`). After the pattern of DeepDR-LLM [1], in which a language model
writes the advice.

[1] Li J, et al. Integrated image-based deep learning and language models for primary diabetes
    care. Nat Med 2024;30:2886-2896.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from osler.errors import InputError, RecipeError
from osler.language.engine import Engine
from osler.language.guidelines.table import (
    URGENCIES,
    Cited,
    Interval,
    Rule,
    Table,
    Urgency,
    diabetic_eye,
    holds,
)
from osler.language.patient_data import Patient, patient_of
from osler.language.phrasing import FAILED, phrase
from osler.record import Case, Finding, Image, Label, Mask, Passage, Source, vocab

SECTION: Final = "advice"
_LANGUAGES: Final = ("en", "zh")
_LESIONS: Final = ("microaneurysms", "haemorrhages", "hard-exudates", "soft-exudates")
_GRADES: Final = {
    "en": ("No retinopathy (grade 0)", "Mild non-proliferative retinopathy (grade 1)",
           "Moderate non-proliferative retinopathy (grade 2)",
           "Severe non-proliferative retinopathy (grade 3)",
           "Proliferative retinopathy (grade 4)"),
    "zh": ("无视网膜病变（0 级）", "轻度非增殖期视网膜病变（1 级）",
           "中度非增殖期视网膜病变（2 级）", "重度非增殖期视网膜病变（3 级）",
           "增殖期视网膜病变（4 级）"),
}  # fmt: skip
_OF_REFERRAL: Final[Mapping[str, Urgency]] = {
    "no": "none",
    "unsaid": "none",
    "routine": "routine",
    "soon": "soon",
    "urgent": "urgent",
}
_OEDEMA: Final = {
    "en": "Hard exudates within 1 disc diameter of the fovea, so macular oedema is suspected",
    "zh": "中心凹 1 个视盘直径以内有硬性渗出，怀疑黄斑水肿",
}
_URGENCY_WORDS: Final = {
    "en": {"emergency": "the same day, as an emergency", "urgent": "urgently",
           "soon": "soon", "routine": "as a routine", "none": "none beyond the usual intervals",
           "unknown": "not known: there is no reading to go by"},
    "zh": {"emergency": "当日急诊", "urgent": "尽快（紧急）", "soon": "近期", "routine": "常规",
           "none": "按常规间隔即可", "unknown": "未知：没有可依据的判读结果"},
}  # fmt: skip
_VALUES: Final = {
    "en": {"age": "age", "diabetes_years": "duration of diabetes", "hba1c": "HbA1c",
           "systolic": "blood pressure", "diastolic": "diastolic blood pressure",
           "ldl": "LDL cholesterol", "bmi": "BMI", "egfr": "eGFR",
           "uacr": "albumin-to-creatinine ratio", "visual_acuity": "visual acuity", "sex": "sex",
           "diabetes": "type of diabetes", "pregnant": "pregnancy", "smoking": "smoking",
           "sudden_vision_loss": "sudden loss of vision"},
    "zh": {"age": "年龄", "diabetes_years": "糖尿病病程", "hba1c": "糖化血红蛋白",
           "systolic": "血压", "diastolic": "舒张压", "ldl": "低密度脂蛋白胆固醇",
           "bmi": "体质指数", "egfr": "eGFR", "uacr": "尿白蛋白/肌酐比值",
           "visual_acuity": "视力", "sex": "性别", "diabetes": "糖尿病类型", "pregnant": "妊娠",
           "smoking": "吸烟", "sudden_vision_loss": "突发视力丧失"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Advice:
    """One piece of advice.

    Attributes:
        id: of the rule, or of the finding whose interval it is.
        topic: what it is about.
        urgency: of what it asks for.
        text: the words.
        citations: where they come from.
        evidence: ids of the findings and names of the items that it stands on.
    """

    id: str
    topic: str
    urgency: Urgency
    text: str
    citations: tuple[str, ...]
    evidence: tuple[str, ...]


def advise(
    case: Case,
    *,
    language: str = "en",
    follow: str = "ico",
    engine: Engine | None = None,
    table: Table | None = None,
    today: date | None = None,
) -> list[Passage]:
    """Add advice to a case: passages of the section ``advice``, and the label ``advice-urgency``.

    Args:
        case: what was read of an eye, or of both, and tables with the patient's values.
        language: ``"en"`` or ``"zh"``.
        follow: key of the document whose intervals hold; the others are told where they differ.
        engine: puts the table's words otherwise; what it changes in substance is not taken.
        table: the guidelines; by default those that come with Osler.
        today: for the table's review date.

    Returns:
        The passages, the most urgent advice first. Each has its citations as its note.

    Raises:
        InputError: there are no words in this language, or the case has advice already.
        RecipeError: no such document can be followed.
    """
    known_language = language.lower().partition("-")[0]
    if known_language not in _LANGUAGES:
        raise InputError(f"language '{language}' has no words; use {' or '.join(_LANGUAGES)}")
    if any(p.section == SECTION for p in case.of(Passage)):
        raise InputError(f"case '{case.id}' has advice already")
    table = table or diabetic_eye()
    if follow not in table.followable():
        raise RecipeError(
            f"'{follow[:40]}' cannot be followed; say one of {', '.join(table.followable())}"
        )
    patient = patient_of(case)
    eye = _Eye(case)
    given = list(_all(table, eye, patient, known_language, follow))
    given.sort(key=_order)
    source = Source("algorithm", f"osler.language.guidelines.{table.name}", table.version)
    case.add(_urgency(given, source, known_language))
    stale = (today or date.today()) > table.review_by
    passages = []
    down = False
    remarks = [*_closing(table, eye, patient, known_language, stale=stale)]
    for number, one in enumerate([*given, *remarks], 1):
        text = one.text
        flags: tuple[str, ...] = ("guidelines-out-of-date",) if stale else ()
        if engine is not None and one.citations:
            # one that was down or slow once is not waited for at each piece of advice
            text, more = (
                (text, (FAILED,)) if down else phrase(text, engine, language=known_language)
            )
            down = FAILED in more
            flags += more
        passages.append(
            case.add(
                Passage(
                    id=f"advice-{number}",
                    name=f"Advice: {one.topic}",
                    source=source,
                    code=vocab.local(f"advice-{one.id}", f"Advice: {one.topic}"),
                    evidence=one.evidence,
                    flags=flags,
                    note="; ".join(one.citations),
                    text=text,
                    language=known_language,
                    section=SECTION,
                )
            )
        )
    return passages


def _order(one: Advice) -> tuple[int, int]:
    """What cannot wait first, then what the eye asks for, then the rest as the table has it."""
    place = URGENCIES.index(one.urgency)
    return min(place, URGENCIES.index("unknown")), one.topic not in ("referral", "picture")


class _Eye:
    """What a case says of the eyes, as the table's rules ask it, and the findings that say it."""

    def __init__(self, case: Case) -> None:
        self.known: dict[str, str | float] = {}
        self.evidence: dict[str, tuple[str, ...]] = {}
        self._case = case
        labels = list(case.of(Label))
        kinds = [f for f in labels if _named(f, "photograph")]
        if kinds or any(isinstance(i, Image) for i in case.items.values()):
            fundus = not kinds or any(f.value != "not a fundus photograph" for f in kinds)
            self._set("fundus", "yes" if fundus else "no", kinds)
        quality = [f for f in labels if _named(f, "quality")]
        if quality:
            order = {"good": 0, "usable": 1, "reject": 2}
            worst = max(quality, key=lambda f: order.get(f.value, 1))
            self._set("quality", worst.value, [worst])
        grades = [f for f in labels if _named(f, "dr-grade") and f.value in tuple("01234")]
        if grades:
            self._set("fundus", "yes", kinds or grades)
            worst = max(grades, key=lambda f: f.value)
            self._set("grade", worst.value, [worst])
            if len(grades) == 1 and grades[0].span is None:
                self._set("eyes", "one", grades)
            self._doubts(grades, worst.value)
        risks = [f for f in labels if _named(f, "dme-risk") and f.value in ("0", "1", "2")]
        stated = [
            f for f in labels if _of_text(f, "diabetic-macular-oedema") and f.value == "present"
        ]
        if risks or stated:
            worst = max([*stated, *risks], key=lambda f: "2" if f in stated else f.value)
            self._set("oedema", "2" if worst in stated else worst.value, [worst])
        self._lesions(labels)

    def _set(self, name: str, value: str, findings: Sequence[Finding]) -> None:
        self.known[name] = value
        self.evidence[name] = tuple(f.id for f in findings)

    def _doubts(self, grades: Sequence[Label], worst: str) -> None:
        possible = [f for f in grades if {*f.prediction_set} & {"2", "3", "4"}]
        possible += [
            f for f in self._case.of(Label) if _named(f, "dr-referable") and f.value == "yes"
        ]
        if worst in ("0", "1") and possible:
            self._set("referable_possible", "yes", possible)

    def _lesions(self, labels: Sequence[Label]) -> None:
        drawn = [m for m in self._case.of(Mask) if _last(m.id) in _LESIONS and m.mask.any()]
        if self.known.get("grade") == "0" and drawn:
            self._set("lesions_without_grade", "yes", drawn)
        bleeding: list[Finding] = [m for m in drawn if _last(m.id) == "haemorrhages"]
        bleeding += [
            f for f in labels if _of_text(f, "retinal-haemorrhage") and f.value == "present"
        ]
        if bleeding:
            self._set("bleeding", "yes", bleeding)
        emergencies = [
            f
            for f in labels
            if f.value == "present"
            and (_of_text(f, "vitreous-haemorrhage") or _of_text(f, "retinal-detachment"))
        ]
        if emergencies:
            self._set("emergency_finding", "yes", emergencies)


def _last(id: str) -> str:
    return id.rpartition("/")[2]


def _named(finding: Label, name: str) -> bool:
    """Whether a label answers a question: its own, of one of several cases, or from a text."""
    return name in _last(finding.id).split(".")[:2]


def _of_text(finding: Label, concept: str) -> bool:
    return finding.span is not None and concept in _last(finding.id).split(".")


def _all(table: Table, eye: _Eye, patient: Patient, language: str, follow: str) -> Iterator[Advice]:
    known = {**eye.known, **_of_patient(patient)}
    if known.get("diabetes") != "none" and known.get("quality") != "reject":
        yield from _intervals(table, eye, language, follow)
    for rule in table.rules:
        if holds(rule.when, known):
            yield _from_rule(table, rule, eye, patient, known, language)


def _of_patient(patient: Patient) -> dict[str, str | float]:
    """The patient's values as the rules ask for them."""
    known: dict[str, str | float] = {name: given.value for name, given in patient.given.items()}
    if "diabetes" not in known and "diabetes_years" in known:
        known["diabetes"] = "yes"
    high, low = patient.number("systolic"), patient.number("diastolic")
    if high is not None and low is not None:
        known["pressure_high"] = "yes" if high >= 130 or low >= 80 else "no"
        known["pressure_severe"] = "yes" if high >= 180 or low >= 120 else "no"
        known["pressure_severe_pregnant"] = "yes" if high >= 160 or low >= 110 else "no"
        known["pressure_high_pregnant"] = "yes" if high > 135 or low > 85 else "no"
    return known


def _intervals(table: Table, eye: _Eye, language: str, follow: str) -> Iterator[Advice]:
    findings = []
    if "grade" in eye.known:
        findings.append((f"grade-{eye.known['grade']}", "grade"))
    if eye.known.get("oedema") == "2":
        findings.append(("oedema-2", "oedema"))
    for finding, name in findings:
        rows = [row for row in table.intervals if row.finding == finding]
        own = next((row for row in rows if row.document == follow), None)
        if own is None:
            continue
        head = _OEDEMA[language] if name == "oedema" else _GRADES[language][int(finding[-1])]
        colon, stop = ("：", "。") if language == "zh" else (": ", ".")
        urgency = _OF_REFERRAL[own.refer]
        evidence = eye.evidence[name]
        yield Advice(
            f"interval-{finding}",
            "referral",
            urgency,
            f"{head}{colon}{_asked(own, language)}{stop}",
            (table.cite(own),),
            evidence,
        )
        others = [r for r in rows if r is not own and _asked(r, language) != _asked(own, language)]
        if others:
            joined = ("；" if language == "zh" else "; ").join(
                f"{table.documents[r.document].short}{colon}{_asked(r, language)}" for r in others
            )
            lead = "各指南不尽相同：" if language == "zh" else "Guidelines differ. "
            cited = tuple(table.cite(r) for r in others)
            yield Advice(
                f"differs-{finding}", "referral", urgency, f"{lead}{joined}{stop}", cited, evidence
            )


def _asked(row: Interval, language: str) -> str:
    """What a document asks for, in words."""
    zh = language == "zh"
    time = ""
    if row.within is not None:
        count, unit = (
            (row.within.months, "month") if row.within.months else (row.within.weeks, "week")
        )
        time = (
            f"，{count} {'个月' if unit == 'month' else '周'}内就诊"
            if zh
            else f", to be seen within {count} {unit}{'' if count == 1 else 's'}"
        )
    again = ""
    if row.again is not None:
        least, most = row.again
        span = f"{least}" if least == most else f"{least} {'至' if zh else 'to'} {most}"
        again = f"{span} 个月后复查双眼" if zh else f"examine both eyes again in {span} months"
    if row.refer == "no":
        return f"无需因视网膜病变转诊，{again}" if zh else f"no referral for retinopathy; {again}"
    if row.refer == "unsaid":
        return again
    words = {
        "routine": ("refer to an ophthalmologist as a routine", "常规转诊眼科"),
        "soon": ("refer to an ophthalmologist", "转诊眼科"),
        "urgent": ("refer urgently to an ophthalmologist", "紧急转诊眼科"),
    }[row.refer][zh]
    after = (f"，{again}" if zh else f"; {again}") if again else ""
    return f"{words}{time}{after}"


def _from_rule(
    table: Table,
    rule: Rule,
    eye: _Eye,
    patient: Patient,
    known: Mapping[str, str | float],
    language: str,
) -> Advice:
    text = (rule.zh if language == "zh" else rule.en).format_map(_numbers(patient))
    cited: list[Cited] = list(rule.sources)
    for other in rule.differs:
        text += ("" if language == "zh" else " ") + (other.zh if language == "zh" else other.en)
        cited.append(other)
    evidence = [id for name in rule.when for id in eye.evidence.get(name, ())]
    for name in (*rule.when, *(("systolic",) if "pressure" in " ".join(rule.when) else ())):
        if name in patient.given:
            evidence.append(patient.given[name].item)
    return Advice(
        rule.id,
        rule.topic,
        rule.urgency,
        text,
        tuple(table.cite(one) for one in cited),
        tuple(dict.fromkeys(evidence)),
    )


def _numbers(patient: Patient) -> dict[str, str]:
    """The patient's numbers as they are printed, in both units where there are two."""
    out: dict[str, str] = {}
    for name, digits in (("hba1c", 1), ("ldl", 1), ("systolic", 0), ("diastolic", 0), ("egfr", 0),
                         ("uacr", 0), ("bmi", 1), ("visual_acuity", 2)):  # fmt: skip
        value = patient.number(name)
        if value is not None:
            out[name] = f"{value:.{digits}f}"
            if name == "hba1c":
                out["hba1c_mmol"] = f"{(value - 2.152) / 0.09148:.0f}"
            elif name == "ldl":
                out["ldl_mg"] = f"{value * 38.67:.0f}"
            elif name == "uacr":
                out["uacr_mmol"] = f"{value / 8.84:.1f}"
    return out


def _urgency(given: Sequence[Advice], source: Source, language: str) -> Label:
    """How soon the eye asks to be seen; an emergency of any kind goes before."""
    of_eye = [a for a in given if a.topic in ("referral", "picture") or a.urgency == "emergency"]
    urgency = min((a.urgency for a in of_eye), key=URGENCIES.index, default="unknown")
    behind = [id for one in of_eye if one.urgency == urgency for id in one.evidence]
    return Label(
        id="advice-urgency",
        name="Urgency of the advice" if language == "en" else "建议的紧急程度",
        source=source,
        code=vocab.local("advice-urgency", "Urgency of the advice"),
        evidence=tuple(dict.fromkeys(behind)),
        value=urgency,
        meanings=dict(_URGENCY_WORDS[language]),
    )


def _closing(
    table: Table, eye: _Eye, patient: Patient, language: str, *, stale: bool
) -> Iterator[Advice]:
    """What was not used, what is missing, and what this is."""
    zh, names = language == "zh", _VALUES[language]
    if patient.not_used:
        joint = "；" if zh else "; "
        said = joint.join(
            f"{names.get(one.name, one.name)}{'：' if zh else ': '}{one.why_zh if zh else one.why}"
            for one in dict.fromkeys(patient.not_used)
        )
        lead = "未采用的数值（" if zh else "Not used ("
        items = tuple(dict.fromkeys(one.item for one in patient.not_used))
        yield Advice("not-used", "data", "none", f"{lead}{said}{'）。' if zh else ').'}", (), items)
    known = {**eye.known, **_of_patient(patient)}
    if "low_vision" in known:
        known["visual_acuity"] = known["low_vision"]
    missing = [a for a in table.ask if a.value not in known and holds(a.when, known)]
    if missing:
        listed = ("、" if zh else ", ").join(a.zh if zh else a.en for a in missing)
        lead = "建议补充：" if zh else "Still to ask for: "
        yield Advice("ask", "data", "none", f"{lead}{listed}{'。' if zh else '.'}", (), ())
    if stale:
        text = (
            f"本指南表应于 {table.review_by} 前复审，可能已过时。"
            if zh
            else f"The guidelines were due for review by {table.review_by} and may be out of date."
        )
        yield Advice("out-of-date", "data", "none", text, (), ())


def together(cases: Sequence[Case]) -> Case:
    """Several read cases of one patient as one: findings keep their ids after their case's.

    Args:
        cases: such as the right and the left eye.

    Raises:
        InputError: they are of different patients.
    """
    patients = {case.patient_id for case in cases} - {None}
    if len(patients) > 1:
        raise InputError(f"the cases are of {len(patients)} patients; advise one at a time")
    if len(cases) == 1:
        return cases[0]
    out = Case("+".join(case.id for case in cases)[:120], next(iter(patients), None))
    for case in cases:
        names = {
            name: name if name not in out.items else f"{case.id}/{name}" for name in case.items
        }
        for name, item in case.items.items():
            out.items[names[name]] = item
        ids = {id: f"{case.id}/{id}" for id in case.findings}
        for id, finding in case.findings.items():
            evidence = tuple(ids.get(e) or names.get(e, e) for e in finding.evidence)
            out.findings[ids[id]] = replace(
                finding, id=ids[id], evidence=evidence, item=names.get(finding.item or "")
            )
    return out
