import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from osler.errors import InputError
from osler.io.wording import LANGUAGES
from osler.record import Case, Image, Label, Mask, Measurement, Passage, Point, Source
from osler.retina.narrative import narrate
from photo_case import photo_case

ME = Source("bundle", "some-bundle", "1.0.0")
LESIONS = ("microaneurysms", "haemorrhages", "hard-exudates", "soft-exudates")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
CHINESE = re.compile(r"[\u3400-\u9fff]")


def blank(**spacing: tuple[float, float] | None) -> Case:
    image = Image("photo", np.zeros((3, 20, 30), np.uint8), "OP", **spacing)  # type: ignore[arg-type]
    return Case(id="x", items={"photo": image})


def label(id: str, value: str, **more: object) -> Label:
    return Label(id=id, name=id, source=ME, item="photo", value=value, **more)  # type: ignore[arg-type]


def mask(id: str, *, pixels: int = 0, flags: tuple[str, ...] = ()) -> Mask:
    array = np.zeros((20, 30), bool)
    array.flat[:pixels] = True
    return Mask(id=id, name=id, source=ME, item="photo", mask=array, flags=flags)


def measured(id: str, value: float | None, unit: str = "1", reason: str = "") -> Measurement:
    return Measurement(
        id=id, name=id, source=ME, item="photo", value=value, unit=unit, reason=reason
    )


def said(case: Case, language: str = "en") -> list[str]:
    return [p.text for p in narrate(case, language=language)]


def numbers_of(case: Case, id: str) -> Iterator[float]:
    """Every number that a finding holds."""
    finding = case.findings.get(id)
    if finding is None:  # an item: what it is called, not what it measures
        return
    if finding.probability is not None:
        yield finding.probability
    if isinstance(finding, Measurement):
        if finding.value is not None:
            yield finding.value
        yield from map(float, NUMBER.findall(finding.reason))
    if isinstance(finding, Label):
        yield from finding.probabilities.values()
        yield from map(float, NUMBER.findall(" ".join((finding.value, *finding.prediction_set))))
        yield from map(float, NUMBER.findall(finding.meaning))
        if finding.coverage is not None:
            yield 100 * finding.coverage


def check(case: Case, passages: list[Passage]) -> None:
    """Each number stems from the evidence; evidence exists; the words are of the language."""
    for passage in passages:
        assert passage.evidence
        assert all(id in case for id in passage.evidence)
        known = [n for id in passage.evidence for n in numbers_of(case, id)]
        text = passage.text.replace("> 0.99", "").replace("< 0.01", "")
        for number in NUMBER.findall(text):
            places = len(number.partition(".")[2])
            assert any(f"{n:.{places}f}" == number for n in known), (number, passage.text, known)
        assert bool(CHINESE.search(passage.text)) == (passage.language == "zh")
        assert passage.text.endswith(".。"[passage.language == "zh"])
        assert "None" not in passage.text
        assert "  " not in passage.text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["IDRiD_35", "IDRiD_01"])
def test_every_number_of_a_real_case_stems_from_its_evidence(
    data_dir: Path, language: str, name: str
) -> None:
    case = photo_case(data_dir, name=name)
    passages = narrate(case, language=language)
    check(case, passages)
    assert [p.id for p in passages] == [f"statement-{n}" for n in range(1, len(passages) + 1)]
    sections = [p.section for p in passages]
    assert sections == sorted(sections, key=("quality", "findings", "impression").index)
    assert set(sections) == {"quality", "findings", "impression"}
    if name == "IDRiD_01" and language == "en":
        assert any(p.text == "No soft exudates were found." for p in passages)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_said_of_nothing(language: str) -> None:
    assert narrate(blank(), language=language) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_no_fundus_photograph_is_told_and_nothing_else(language: str) -> None:
    case = blank()
    case.add(label("photograph", "not a fundus photograph", probability=0.97))
    case.add(label("quality", "reject", flags=("not-fundus",)))
    case.add(mask("field", pixels=3))
    passages = narrate(case, language=language)
    assert len(passages) == 1
    assert "0.97" in passages[0].text
    assert passages[0].evidence == ("photograph",)
    check(case, passages)


def test_a_rejected_photograph_gets_the_reason_and_no_grade() -> None:
    case = blank()
    case.add(label("photograph", "fundus photograph", probability=0.99))
    case.add(label("quality", "reject", flags=("blur", "underexposed")))
    assert said(case) == [
        "The photograph is too poor to be judged: blurred, too dark; no grade is given. "
        "Take it again if possible."
    ]


def test_absence_is_told_only_of_what_was_looked_for() -> None:
    case = blank()
    assert said(case) == []
    for id in LESIONS[:3]:
        case.add(mask(id))
    assert said(case) == ["No microaneurysms, haemorrhages or hard exudates were found."]
    one = blank()
    one.add(mask("haemorrhages"))
    assert said(one) == ["No haemorrhages were found."]


def test_lesions_are_counted_in_words_that_agree() -> None:
    case = blank()
    case.add(mask("haemorrhages", pixels=1))
    case.add(measured("lesion-count.haemorrhages", 1.0))
    case.add(measured("lesion-quadrants.haemorrhages", 1.0))
    case.add(measured("lesion-fovea-distance.haemorrhages", 1.236, "{DD}"))
    case.add(mask("soft-exudates", pixels=2))
    (_, one, several) = narrate(case)
    assert one.text.replace("\u00a0", " ") == (
        "1 haemorrhage was found, in 1 quadrant; it lies 1.24 disc diameters from the fovea."
    )
    assert several.text == "Soft exudates were found."
    check(case, [one, several])


GRADED = {
    ("1", "2", "3"): "; grades 1 to 3 cannot be excluded at 90 %.",
    ("1", "2"): "; grades 1 and 2 cannot be excluded at 90 %.",
    ("0", "2", "4"): "; grades 0, 2 and 4 cannot be excluded at 90 %.",
    ("2",): "; every other grade is excluded at 90 %.",
    ("3",): "; grade 3 cannot be excluded at 90 %.",
    (): "; no grade is typical enough to be kept at 90 %: take it as unsure.",
}


@pytest.mark.parametrize("kept", GRADED)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_grade_is_told_with_what_cannot_be_excluded(
    kept: tuple[str, ...], language: str
) -> None:
    case = blank()
    case.add(
        label(
            "dr-grade", "2", probabilities={"2": 0.54}, prediction_set=kept, coverage=0.9,
            meanings={"2": "moderate NPDR"},
        )
    )  # fmt: skip
    (passage,) = narrate(case, language=language)
    check(case, [passage])
    if language == "en":
        start = "Diabetic retinopathy grade 2 (moderate NPDR), probability 0.54"
        assert passage.text.replace("\u00a0", " ") == start + GRADED[kept]


@pytest.mark.parametrize(("p", "words"), [(0.997, "> 0.99"), (0.004, "< 0.01"), (0.99, "0.99")])
def test_no_probability_is_rounded_to_certainty(p: float, words: str) -> None:
    case = blank()
    case.add(label("dr-referable", "yes", probability=p))
    assert said(case) == [f"Referable diabetic retinopathy (probability {words})."]


def test_the_cup_is_told_with_its_doubt() -> None:
    case = blank()
    case.add(mask("disc", pixels=9))
    case.add(mask("cup", pixels=3, flags=("pseudo-label",)))
    case.add(measured("cdr.vertical", 0.512))
    (text,) = said(case)
    assert text == (
        "The vertical cup-to-disc ratio is 0.51; the cup was learnt from another program's "
        "output: check it by eye."
    )


def test_what_could_not_be_computed_is_told_with_the_reason() -> None:
    case = blank()
    case.add(mask("disc", flags=("disc-not-found",)))
    case.add(measured("cdr.vertical", None, reason="no optic disc was found"))
    case.add(measured("disc-fovea-distance", None, "{DD}", reason="no fovea was found"))
    assert said(case) == [
        "The optic disc was not found.",
        "The fovea was not found.",
        "The vertical cup-to-disc ratio was not computed: no optic disc was found.",
    ]


SIDES = {
    (0.98, (), "some-bundle"): "It shows the right eye (probability 0.98).",
    (0.62, (), "some-bundle"): "It is uncertain which eye this is; it may be the right "
    "(probability 0.62).",
    (0.9, ("uncertain",), "some-bundle"): "It is uncertain which eye this is; it may be the right "
    "(probability 0.90).",
    (1.0, (), "stated in the file"): "It is the right eye, as the file states.",
    (1.0, ("laterality-conflict",), "stated in the file"): "The file states the right eye, but "
    "the photograph looks like a left eye.",
}


@pytest.mark.parametrize("how", SIDES)
def test_the_side_is_told_as_sure_as_it_is(how: tuple[float, tuple[str, ...], str]) -> None:
    p, flags, source = how
    case = blank()
    side = label("laterality", "R", probability=p, flags=flags)
    side.source = Source("algorithm", source)
    case.add(side)
    assert said(case) == [SIDES[how]]


def test_the_missing_scale_is_told_where_there_are_lengths() -> None:
    case = blank()
    case.add(measured("median-diameter.all", 0.03, "{DD}"))
    assert said(case) == ["The file states no scale, so lengths are in disc diameters."]
    known = blank(spacing=(0.01, 0.01))
    known.add(measured("median-diameter.all", 0.03, "{DD}"))
    assert said(known) == []


def test_a_grade_that_the_lesions_contradict_is_told() -> None:
    case = blank()
    case.add(mask("haemorrhages", pixels=4))
    case.add(label("dr-grade", "0"))
    assert "do not agree" in said(case)[-1]
    oedema = blank()
    oedema.add(label("dme-risk", "0"))
    oedema.add(measured("lesion-fovea-distance.hard-exudates", 0.4, "{DD}"))
    assert "do not agree" in said(oedema)[-1]


def test_the_fovea_in_an_odd_place_is_told() -> None:
    case = blank()
    flags = ("fovea-implausible",)
    case.add(Point(id="fovea", name="F", source=ME, position=(1.0, 1.0), flags=flags))
    assert said(case) == ["The fovea was found where none is expected: check it by eye."]


def test_a_language_without_words_is_refused() -> None:
    with pytest.raises(InputError, match="'fr' has no words; use en or zh"):
        narrate(blank(), language="fr")


def test_a_region_does_not_change_the_language() -> None:
    case = blank()
    case.add(label("quality", "good"))
    (passage,) = narrate(case, language="zh-CN")
    assert (passage.language, passage.text) == ("zh", "照片质量良好。")
