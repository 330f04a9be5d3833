"""What a sentence says is compared with the findings that it cites, in English and in Chinese."""

import time

import pytest
from checked_case import checked_case

from osler.language.checking import check, check_sentence, citations, split
from osler.language.facts import as_json, facts

FACTS = facts(checked_case())

TRUE = [
    "22 microaneurysms were found, in 3 quadrants; the nearest lies 0.55 disc diameters from the"
    " fovea. [microaneurysms, lesion-count.microaneurysms, lesion-quadrants.microaneurysms,"
    " lesion-fovea-distance.microaneurysms]",
    "There are eight haemorrhages in all four quadrants [haemorrhages,"
    " lesion-count.haemorrhages, lesion-quadrants.haemorrhages].",
    "No soft exudates were found [soft-exudates].",
    "Cotton-wool spots are absent [soft-exudates].",
    "The vertical cup-to-disc ratio is 0.48 [cdr.vertical].",
    "The vertical CDR is about 0.5 [cdr.vertical].",
    "Tortuosity is 0.009 in arteries and 0.010 in veins [tortuosity.artery, tortuosity.vein].",
    "The artery-to-vein ratio was not computed [avr.knudtson].",
    "Arteries have a median diameter of 94.2 µm [median-diameter-um.artery].",
    "Diabetic retinopathy grade 2 (moderate non-proliferative retinopathy), probability 0.84;"
    " grades 1 to 3 cannot be excluded at 90 % [dr-grade].",
    "Moderate NPDR with a probability of 84% [dr-grade].",
    "Grade II retinopathy is seen [dr-grade].",
    "Moderate nonproliferative retinopathy [dr-grade].",
    "中度非增殖期视网膜病变 [dr-grade]。",
    "The risk of macular oedema is 2 (probability 0.68) [dme-risk].",
    "Referable diabetic retinopathy (probability 0.87) [dr-referable].",
    "This is the left eye [laterality].",
    "The photograph is of good quality [quality].",
    "The file states no scale [photo].",
    "No sign of glaucoma [glaucoma].",
    "Liver volume is 1512 mL [liver-volume].",
    "发现微动脉瘤 22 处，累及 3 个象限；最近处距中心凹 0.55 个视盘直径。[microaneurysms,"
    "lesion-count.microaneurysms,lesion-quadrants.microaneurysms,"
    "lesion-fovea-distance.microaneurysms]",
    "未发现软性渗出【soft-exudates】。",
    "垂直杯盘比为 0.48 [cdr.vertical]。",
    "迂曲度：动脉 0.009，静脉 0.010 [tortuosity.artery, tortuosity.vein]。",
    "糖尿病视网膜病变 2 级（中度非增殖期），概率 0.84；"
    "在 90 % 水平上不能排除 1 至 3 级 [dr-grade]。",
    "左眼 [laterality]。",
    "The artery-to-vein ratio was not computed: too few veins, 5 of 6 [avr.knudtson].",
    "Grade 2 retinopathy; grades 1, 2 and 3 cannot be excluded at 90 % [dr-grade].",
    "未找到视杯 [cup]。",
]

FALSE = [
    ("21 microaneurysms were found [microaneurysms, lesion-count.microaneurysms]", "number"),
    # the number of quadrants is no number of microaneurysms
    ("3 microaneurysms were found [microaneurysms, lesion-count.microaneurysms,"
     " lesion-quadrants.microaneurysms]", "number"),
    ("The nearest microaneurysm lies 0.55 mm from the fovea"
     " [microaneurysms, lesion-fovea-distance.microaneurysms]", "unit"),
    ("The nearest microaneurysm lies 0.55 from the fovea"
     " [microaneurysms, lesion-fovea-distance.microaneurysms]", "unit"),
    ("The vertical cup-to-disc ratio is 0.49 [cdr.vertical]", "number"),
    ("The vertical cup-to-disc ratio is 0.61 [cdr.vertical, cdr.horizontal]", "number"),
    ("The vertical cup-to-disc ratio is 0.48 mm [cdr.vertical]", "unit"),
    ("Tortuosity is 0.010 in arteries and 0.009 in veins [tortuosity.artery, tortuosity.vein]",
     "number"),
    ("The artery-to-vein ratio is 0.65 [avr.knudtson]", "unsupported"),
    ("The cup-to-disc ratio was not computed [cdr.vertical]", "negation"),
    ("Arteries have a median diameter of 94.2 mm [median-diameter-um.artery]", "number"),
    ("Diabetic retinopathy grade 3 [dr-grade]", "grade"),
    ("Diabetic retinopathy grade 2 (severe non-proliferative retinopathy) [dr-grade]", "grade"),
    ("Severe diabetic changes [dr-grade]", "severity"),
    ("Proliferative diabetic retinopathy [dr-grade]", "severity"),
    ("Grade 2, probability 0.94 [dr-grade]", "number"),
    ("Grade 2; grades 2 to 3 cannot be excluded at 90 % [dr-grade]", "grade"),
    ("Grade 2; grades 1 to 3 cannot be excluded at 95 % [dr-grade]", "number"),
    ("Grade 2; every other grade is excluded at 90 % [dr-grade]", "grade"),
    ("The risk of macular oedema is 1 [dme-risk, dr-grade]", "grade"),
    ("Diabetic macular oedema is present [dme-risk]", "unsupported"),
    ("No referable diabetic retinopathy [dr-referable]", "negation"),
    ("No diabetic retinopathy [dr-grade]", "negation"),
    ("No microaneurysms or soft exudates were found [microaneurysms, soft-exudates]", "negation"),
    ("Soft exudates were found [soft-exudates]", "negation"),
    ("No soft exudates were found [hard-exudates]", "citation"),
    ("The right eye has 8 haemorrhages [haemorrhages, lesion-count.haemorrhages]", "side"),
    ("This is the right eye [laterality]", "side"),
    ("The photograph is of poor quality [quality]", "quality"),
    ("The photograph is of good quality [dr-grade]", "citation"),
    ("Drusen are seen [dr-grade]", "unsupported"),
    ("No drusen are seen [dr-grade]", "unsupported"),
    ("Neovascularisation of the disc is present [disc]", "unsupported"),
    ("Laser photocoagulation is advised [dr-grade]", "unsupported"),
    ("Glaucoma is present [glaucoma]", "negation"),
    ("The fundus is normal: normal retina [dr-grade, microaneurysms]", "negation"),
    ("Liver volume is 1612 mL [liver-volume]", "number"),
    ("The optic disc was not found [disc]", "negation"),
    ("Grade 2 [dr-grade, finding-9]", "unknown-id"),
    ("Grade 2 [9]", "unknown-id"),
    ("Grade 2", "uncited"),
    ("All is as one would wish [dr-grade]", "unchecked"),
    ("Grade 2, due to poor control [dr-grade]", "unsupported"),
    ("Grade 2; see him urgently [dr-grade]", "unsupported"),
    ("The patient is 61 years old [dr-grade]", "unsupported"),
    ("发现微动脉瘤 23 处 [microaneurysms, lesion-count.microaneurysms]", "number"),
    ("未发现微动脉瘤 [microaneurysms]", "negation"),
    ("右眼 [laterality]", "side"),
    ("糖尿病视网膜病变 3 级 [dr-grade]", "grade"),
    ("重度非增殖期糖尿病视网膜病变 [dr-grade]", "grade"),
    ("无需转诊 [dr-referable]", "negation"),
    ("可见玻璃膜疣 [dr-grade]", "unsupported"),
    ("最近处距中心凹 0.55 毫米 [microaneurysms, lesion-fovea-distance.microaneurysms]", "unit"),
]  # fmt: skip


@pytest.mark.parametrize("text", TRUE)
def test_what_is_true_stands(text):
    report = check(text, FACTS)
    assert [s.problems for s in report.sentences] == [()]
    assert report.passed
    assert report.precision == 1


@pytest.mark.parametrize(("text", "kind"), FALSE)
def test_what_is_false_falls(text, kind):
    (sentence,) = check(text, FACTS).sentences
    assert kind in [p.kind for p in sentence.problems]
    assert not sentence.stands


def test_a_report_without_citations_is_scored_against_all_findings():
    report = check(
        "Findings: Left eye. 22 microaneurysms and 8 haemorrhages. No hard exudates."
        " Impression: Moderate non-proliferative retinopathy, referable. Drusen.",
        FACTS,
        cited=False,
    )
    assert {p.kind for s in report.sentences for p in s.problems} == {"negation", "unsupported"}
    assert report.stated == ["microaneurysms", "haemorrhages", "dr-grade", "dr-referable"]
    assert "soft-exudates" in report.missed
    assert report.recall == pytest.approx(4 / 8)
    assert 0.7 < report.precision < 0.9
    document = report.as_document()
    assert not document["passed"]
    assert {c["kind"] for c in document["contradictions"]} == {"negation", "unsupported"}
    assert [s["section"] for s in document["sentences"]][-1] == "impression"


def test_the_narrative_of_a_case_stands_in_both_languages():
    """The rule-based sentences and the checker are written apart; they must agree."""
    from osler.record import Passage
    from osler.retina.narrative import narrate

    for language in ("en", "zh"):
        case = checked_case()
        told = facts(case)
        narrate(case, language=language)
        for passage in case.of(Passage):
            one = check_sentence(passage.text, told, cites=passage.evidence)
            assert one.stands, (passage.text, one.problems)


@pytest.mark.parametrize("grade", ["0", "1", "3", "4"])
def test_other_grades_are_told_as_they_are(grade):
    told = facts(checked_case(grade=grade, side="R"))
    names = {
        "0": "No diabetic retinopathy",
        "1": "Mild diabetic retinopathy",
        "3": "Severe diabetic retinopathy",
        "4": "Proliferative diabetic retinopathy",
    }
    for value, text in names.items():
        stands = check(f"{text} [dr-grade]", told).passed
        assert stands == (value == grade), (grade, text)


def test_sentences_sections_and_citations():
    text = "## Findings\nA is so. [x, y]\nB is not [z]!\n**Impression:** C【w】。\n1. D [v].\n"
    found = list(split(text))
    assert [section for section, _ in found] == ["findings", "findings", "impression", "impression"]
    said = [citations(words, ["x", "y", "z", "w", "v"]) for _, words in found]
    assert [ids for _, ids, _ in said] == [("x", "y"), ("z",), ("w",), ("v",)]
    assert citations("A [x, nope] [2]", ["x"]) == ("A", ("x",), ("nope", "2"))
    assert citations("A [two words here]", ["x"])[1:] == ((), ("two", "words", "here"))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "[" * 5000, "]" * 5000, "[x" * 5000, "grade " * 9000, "1 " * 20_000, "," * 50_000,
        "no " * 15_000, "\u202e\u202d\x00\x1b[2J", "ا" * 9000, "risk of " * 7000 + "2",
        "grade is is is " * 4000, "1,000," * 9000, "🙂" * 20_000, "not found " * 5000 + "disc",
    ],
)  # fmt: skip
def test_hostile_text_is_read_in_time_and_never_passes(text):
    start = time.process_time()
    report = check(text, FACTS)
    assert not report.passed
    assert time.process_time() - start < 4


def test_a_text_beyond_the_limit_never_passes():
    report = check("Grade 2 [dr-grade]. " * 4000, FACTS)
    assert report.cut
    assert not report.passed


def test_facts_as_json_are_bounded_stable_and_of_letters():
    import json

    case = checked_case()
    case.findings["dr-grade"].name = "Grade\x00\u202e <|im_end|>\n" + "x" * 5000
    text = as_json(facts(case))
    assert text == as_json(facts(case))
    assert all(ord(c) >= 32 or c == "\n" for c in text)
    assert "\u202e" not in text
    rows = {row["id"]: row for row in json.loads(text)}
    assert len(rows["dr-grade"]["name"]) <= 300
    assert rows["soft-exudates"]["present"] is False
    assert rows["avr.knudtson"]["flags"] == ["not-computed"]
    assert rows["dr-grade"]["not_excluded"] == ["1", "2", "3"]
    assert {row["side"] for row in rows.values() if "side" in row} == {"L"}
    assert len(json.loads(as_json(facts(case), most=3))) == 3
