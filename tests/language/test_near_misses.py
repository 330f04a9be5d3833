"""Other words for a finding, by an encoder: marked, doubted, and denied where they are denied."""

from importlib.util import find_spec

import pytest

from osler.language.extraction import extract
from osler.language.near_misses import near_misses
from osler.language.stating import state
from osler.models.text_encoder import PACKAGE, TextEncoder, open_text_encoder
from osler.record import Case, Label, Text

pytestmark = pytest.mark.skipif(find_spec(PACKAGE) is None, reason="the extra 'text' is missing")


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return open_text_encoder("minilm")


def test_misspelt_and_other_words_are_found_and_doubted(encoder: TextEncoder) -> None:
    text = "Diabetik retinopathy. Swelling of the central retina in the left eye."
    said = near_misses(text, extract(text), encoder)
    assert [(s.concept, s.status, s.flags) for s in said] == [
        ("diabetic-retinopathy", "possible", ("near-miss",)),
        ("macular-oedema", "possible", ("near-miss",)),
    ]
    assert text[said[0].start : said[0].stop] == "Diabetik retinopathy"


def test_what_is_denied_stays_denied(encoder: TextEncoder) -> None:
    text = "No diabetik retinopathy."
    assert [s.status for s in near_misses(text, extract(text), encoder)] == ["absent"]


@pytest.mark.parametrize(
    "text",
    [
        "The patient was seen in the clinic. Antibiotics were started.",
        "Optic disc of normal colour.",
        "Pneumothorax.",  # the rules have it
        "",
        "。" * 500,
    ],
)
def test_nothing_is_made_of_nothing(text: str, encoder: TextEncoder) -> None:
    assert near_misses(text, extract(text), encoder) == []


def test_findings_carry_the_flag(encoder: TextEncoder) -> None:
    case = Case("c")
    case.items["report"] = Text("report", "Diabetik retinopathy. Cataract.")
    state(case, encoder=encoder)
    assert {f.id: (f.value, f.flags) for f in case.of(Label)} == {
        "report.cataract": ("present", ()),
        "report.diabetic-retinopathy": ("possible", ("near-miss",)),
    }
