"""What the quality step makes of what its bundle said."""

import numpy as np
import pytest
from stand_ins import DEFECTS, case_of, quality_outputs, unrun

from osler.record import Mask
from osler.retina.predict import Prediction
from osler.retina.quality import FUNDUS, NOT_FUNDUS, judge
from osler.tasks.canvas import plan
from osler.tasks.field import find_field

PLAIN = np.full((3, 200, 300), 120, np.uint8)


def said(*, fundus=0.99, worth="good", sure=0.8, defects=None):
    rest = (1 - sure) / 2
    grades = {label: sure if label == worth else rest for label in ("good", "usable", "reject")}
    chances = dict.fromkeys(DEFECTS, 0.02) | (defects or {})
    return Prediction(
        (FUNDUS,), plan(find_field(PLAIN), diameter=256), {}, label=FUNDUS,
        probabilities={"photograph": {FUNDUS: fundus}, "quality": grades, "defects": chances},
    )  # fmt: skip


def judged(array=PLAIN, *, thresholds=None, **what):
    case = case_of(array)
    bundle = unrun("retina-quality", quality_outputs(**(thresholds or {})))
    returned = judge(case, bundle, said(**what))
    assert returned == (case["photograph"].value, case["quality"].value)
    return case


def test_a_good_photograph():
    case = judged()
    photograph, quality = case["photograph"], case["quality"]
    assert (photograph.value, photograph.probability) == (FUNDUS, 0.99)
    assert photograph.probabilities == pytest.approx({FUNDUS: 0.99, NOT_FUNDUS: 0.01})
    assert (quality.value, quality.probability, quality.flags) == ("good", 0.8, ())
    assert quality.evidence == ("photograph", "field")


def test_a_good_photograph_has_no_defects_to_tell():
    assert judged(defects={"blur": 0.7})["quality"].flags == ()


def test_the_reasons_are_the_defects_that_reach_their_threshold():
    defects = {"blur": 0.7, "field": 0.5, "underexposed": 0.49}
    assert judged(worth="usable", defects=defects)["quality"].flags == ("blur", "field")
    card = {"blur": 0.8, "underexposed": 0.3}
    found = judged(worth="usable", defects=defects, thresholds=card)["quality"].flags
    assert found == ("underexposed", "field")


def test_a_usable_photograph_may_have_no_defect_of_a_name():
    assert judged(worth="usable")["quality"].flags == ()


def test_a_rejected_photograph_always_has_a_reason():
    case = judged(worth="reject", defects={"overexposed": 0.3})
    assert case["quality"].flags == ("overexposed",)
    assert case["quality"].probability == 0.8


@pytest.mark.parametrize("worth", ["good", "usable", "reject"])
def test_what_is_no_fundus_is_rejected_for_that_alone(worth):
    case = judged(fundus=0.2, worth=worth, defects={"blur": 0.9})
    assert (case["photograph"].value, case["photograph"].probability) == (NOT_FUNDUS, 0.8)
    assert (case["quality"].value, case["quality"].flags) == ("reject", ("not-fundus",))
    assert case["quality"].probability is None


@pytest.mark.parametrize(
    ("threshold", "chance", "kind"),
    [
        (None, 0.5, FUNDUS),
        (None, 0.49, NOT_FUNDUS),
        (0.9, 0.89, NOT_FUNDUS),
        (0.9, 0.9, FUNDUS),
        (0.1, 0.2, FUNDUS),
        (0.0, 0.0, FUNDUS),
    ],
)
def test_the_threshold_of_the_card_decides_what_a_fundus_is(threshold, chance, kind):
    case = judged(fundus=chance, thresholds={FUNDUS: threshold})
    assert case["photograph"].value == kind


@pytest.mark.parametrize("shape", [(1, 1), (1, 95), (95, 95)])
def test_a_tiny_photograph_is_rejected_for_its_resolution(shape):
    case = judged(np.full((3, *shape), 120, np.uint8), defects={"blur": 0.9})
    assert case["photograph"].value == FUNDUS
    assert (case["quality"].value, case["quality"].flags) == ("reject", ("resolution", "blur"))
    assert case["quality"].probability is None


def test_the_smallest_photograph_that_is_judged():
    assert judged(np.full((3, 96, 60), 120, np.uint8))["quality"].value == "good"


def test_a_tiny_field_in_a_large_frame_is_rejected_too():
    case = case_of(PLAIN, field=False)
    mask = np.zeros((200, 300), bool)
    mask[50:140, 60:150] = True
    case.add(Mask(id="field", name="Field", source=case_of(PLAIN)["field"].source, mask=mask))
    judge(case, unrun("retina-quality", quality_outputs()), said())
    assert case["quality"].flags == ("resolution",)
