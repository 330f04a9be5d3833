"""What sentences say of a finding, against answers written by hand before the rules."""

from pathlib import Path

import pytest

from osler.language.extraction import extract

FILE = Path(__file__).parent / "files" / "assertions.txt"


def cases() -> list[tuple[str, str, set[tuple[str, str, str]]]]:
    """Language, sentence, and what it says: concept, status, side."""
    found = []
    for line in FILE.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        language, sentence, said = (part.strip() for part in line.split("|"))
        expected = {tuple(one.split()) for one in said.split(",")} if said != "-" else set()
        found.append((language, sentence, expected))
    return found


def test_there_are_enough_sentences_of_both_languages_and_of_every_status() -> None:
    languages = [language for language, *_ in cases()]
    assert languages.count("en") >= 60
    assert languages.count("zh") >= 50
    said = [status for *_, expected in cases() for _, status, _ in expected]
    for status in ("present", "absent", "possible", "history", "hypothetical", "family"):
        assert said.count(status) >= 5, status


@pytest.mark.parametrize(("language", "sentence", "expected"), cases())
def test_sentence(language: str, sentence: str, expected: set[tuple[str, str, str]]) -> None:
    said = {(s.concept, s.status, s.side or "-") for s in extract(sentence).statements}
    assert said == expected


@pytest.mark.parametrize(
    ("sentence", "spoilt", "status"),
    [
        # each rule is needed: without the word that it looks for, the answer is another
        ("No pneumothorax.", "A pneumothorax.", "absent"),
        ("No change in the pneumothorax.", "No pneumothorax.", "present"),
        ("No cough but pneumothorax.", "No cough or pneumothorax.", "present"),
        ("Pneumothorax cannot be excluded.", "Pneumothorax is excluded.", "possible"),
        ("否认发热，气胸。", "可见发热，气胸。", "absent"),
        ("未见实变，气胸。", "未见实变、气胸。", "present"),
    ],
)
def test_each_rule_decides_something(sentence: str, spoilt: str, status: str) -> None:
    def of(text: str) -> str:
        return next(s.status for s in extract(text).statements if s.concept == "pneumothorax")

    assert of(sentence) == status
    assert of(spoilt) != status


def test_headings_of_an_eye_hold_for_what_follows() -> None:
    text = "OD: microaneurysms. No exudates.\nOS: normal fundus. Drusen."
    said = {(s.concept, s.status, s.side) for s in extract(text).statements}
    assert said == {
        ("microaneurysm", "present", "R"),
        ("hard-exudate", "absent", "R"),
        ("normal-fundus", "present", "L"),
        ("drusen", "present", "L"),
    }


def test_the_place_decides_what_a_word_means() -> None:
    def first(text: str, place: str = "eye") -> str:
        return extract(text, place=place).statements[-1].concept

    assert first("Haemorrhages in the retina.") == "retinal-haemorrhage"
    assert first("CT of the head. Haemorrhage.") == "intracranial-haemorrhage"
    assert first("Haemorrhages.") == "retinal-haemorrhage"
    assert first("Haemorrhage.", "head") == "intracranial-haemorrhage"
    assert first("The macula shows oedema.") == "macular-oedema"
    assert first("Lungs: oedema.") == "pulmonary-oedema"
    assert first("腹腔可见积液。") == "ascites"
    assert first("右侧胸腔可见积液。") == "pleural-effusion"
