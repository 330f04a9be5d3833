"""The order of the steps and what each leaves behind, on painted photographs."""

import numpy as np
import pytest
from stand_ins import COLOURS, case_of, painted

from osler.errors import BundleError, InputError
from osler.record import Case, Label, Mask, Measurement, Passage
from osler.retina import interpret

SHAPE = (520, 692)  # just enough pixels to be graded
GRADING = ("dr-heatmap", "dr-grade", "dme-risk", "dr-referable")
STEPS = [
    "retina.field", "retina.quality", "retina.anatomy", "retina.vessels", "retina.vessels",
    "retina.lesions", "retina.grade", "retina.biomarkers", "retina.narrative",
]  # fmt: skip


def read(array=None, **how):
    case = case_of(painted(SHAPE) if array is None else array, field=False)
    return interpret(case, **how)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_every_structure_is_found_where_it_was_painted(shipped):
    shipped()
    array = painted(SHAPE)
    case = read(array)
    red, green, blue = array
    assert dice(case["disc"].mask, blue > 115) > 0.95
    assert dice(case["cup"].mask, blue == 240) > 0.9
    assert dice(case["hard-exudates"].mask, (green == 220) & (blue == 40)) > 0.9
    assert dice(case["artery"].mask, (red == 210) & (green == 20)) > 0.9
    assert dice(case["vein"].mask, red == 140) > 0.9
    assert dice(case["vessels"].mask, (green == 20)) > 0.9
    assert case["fovea"].position == pytest.approx((272.2, 248.2), abs=1)
    assert not case["microaneurysms"].mask.any()
    assert [event.step for event in case.history] == STEPS
    assert all(event.seconds >= 0 for event in case.history)
    assert case.history[1].by == "retina-quality 0.0.1"


def test_every_finding_names_its_source_and_evidence_that_exists(shipped):
    shipped()
    case = read()
    for finding in case.findings.values():
        assert finding.source.name
        assert finding.item == "photo"
        assert all(id in case for id in finding.evidence), finding.id
        if isinstance(finding, Mask):
            assert finding.mask.shape == case.image("photo").shape
        if isinstance(finding, Measurement):
            assert (finding.value is None) == bool(finding.reason)


def test_what_is_no_fundus_is_said_and_nothing_else(shipped):
    shipped(fundus=-9.0)
    case = read()
    assert case["photograph"].value == "not a fundus photograph"
    assert [e.step for e in case.history] == ["retina.field", "retina.quality", "retina.narrative"]
    kinds = {id for id in case.findings if not id.startswith("statement")}
    assert kinds == {"field", "field-diameter", "photograph", "quality"}
    (statement,) = case.of(Passage)
    assert statement.evidence == ("photograph",)


def test_a_rejected_photograph_is_described_but_never_graded(shipped):
    shipped(worth="reject", defects={"blur": 4.0})
    case = read()
    assert (case["quality"].value, case["quality"].flags) == ("reject", ("blur",))
    assert not set(GRADING) & set(case.findings)
    assert {"disc", "vessels", "artery", "hard-exudates"} <= set(case.findings)
    assert "retina.grade" not in [event.step for event in case.history]
    assert not any("grade" in id for p in case.of(Passage) for id in p.evidence)


@pytest.mark.parametrize("worth", ["good", "usable"])
def test_a_photograph_that_can_be_used_is_graded(shipped, worth):
    shipped(worth=worth)
    case = read()
    assert set(GRADING) <= set(case.findings)
    assert case["dr-grade"].value == "2"
    assert "hard-exudates" in case["dr-grade"].evidence


def test_a_tiny_photograph_is_not_graded(shipped):
    shipped()
    case = read(painted((60, 80)))
    assert case["quality"].flags == ("resolution",)
    assert not set(GRADING) & set(case.findings)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 3)])
def test_frames_that_hold_nothing_are_read_to_the_end(shipped, shape):
    shipped()
    case = read(np.broadcast_to(np.array(COLOURS["retina"], np.uint8)[:, None, None], (3, *shape)))
    assert case["quality"].value == "reject"
    assert case["disc"].flags == ("disc-not-found",)
    assert "dr-grade" not in case


def test_the_mirror_image_is_the_other_eye(shipped):
    shipped()
    right, left = read(painted(SHAPE)), read(painted(SHAPE, left=True))
    assert (right["laterality"].value, left["laterality"].value) == ("R", "L")


def test_deep_grey_photographs_are_read(shipped):
    shipped()
    grey = painted(SHAPE)[1:2].astype(np.uint16) * 16
    case = read(grey)
    assert case["vessels"].mask.shape == SHAPE


def test_statements_in_chinese(shipped):
    shipped()
    case = read(language="zh")
    passages = list(case.of(Passage))
    assert {p.language for p in passages} == {"zh"}
    assert all(any("\u4e00" <= c <= "\u9fff" for c in p.text) for p in passages)


def test_a_language_without_words_is_refused_before_anything_is_read(shipped):
    shipped()
    case = case_of(painted(SHAPE), field=False)
    with pytest.raises(InputError, match="language"):
        interpret(case, language="xx")
    assert not case.findings


def test_a_case_is_read_once(shipped):
    shipped()
    case = read()
    count = len(case.findings)
    with pytest.raises(InputError, match="already"):
        interpret(case)
    assert len(case.findings) == count


def test_a_case_without_a_photograph():
    with pytest.raises(InputError, match="photo"):
        interpret(Case("empty"))


def test_a_volume_is_refused(shipped):
    shipped()
    with pytest.raises(InputError, match="shape"):
        interpret(case_of(np.zeros((1, 4, 30, 30), np.uint8), field=False))


def test_a_missing_bundle_is_named(shipped):
    import shutil

    shutil.rmtree(shipped() / "retina-vessels")
    with pytest.raises(BundleError, match="retina-vessels"):
        read()


def test_what_the_file_states_of_the_eye_is_kept(shipped):
    shipped()
    case = case_of(painted(SHAPE), laterality="L", field=False)
    label = interpret(case)["laterality"]
    assert isinstance(label, Label)
    assert (label.value, label.flags) == ("L", ("laterality-conflict",))


def test_a_photograph_of_few_pixels_is_measured_and_not_graded(shipped):
    shipped()
    case = read(painted((400, 532)))
    assert (case["quality"].value, case["quality"].flags) == ("usable", ("coarse",))
    assert "vessels" in case
    assert not set(GRADING) & set(case.findings)
    said = [one.text for one in case.of(Passage) if one.section == "quality"]
    assert said[0] == ("The photograph is usable but not good: too few pixels to be graded.")
