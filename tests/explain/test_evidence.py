"""The path of evidence, on made-up cases whose grade is known.

That of the examples is in tests/retina/test_pipeline.py, which reads them.
"""

import numpy as np
import pytest

from osler.explain.evidence import evidence_path, has_been_read
from osler.explain.signs import QUADRANTS, frame_of
from osler.record import Case, Heatmap, Image, Label, Mask, Measurement, Point, Source
from osler.retina import zones

SIDE = 400
DISC, FOVEA = (200.0, 120.0), (205.0, 220.0)
BY = Source("bundle", "stand-in", "1.0.0")
LESIONS = ("microaneurysms", "haemorrhages", "hard-exudates", "soft-exudates")


def made_up(lesions=None, *, grade=None, oedema=None, disc=True, fovea=FOVEA, cup=0.4, kept=()):
    """A case; ``lesions`` are kind to places, each drawn as 2 x 2 pixels."""
    case = Case("made-up", items={"photo": Image("photo", np.zeros((3, SIDE, SIDE), np.uint8))})
    hh, ww = np.indices((SIDE, SIDE))

    def add(id, mask):
        case.add(Mask(id=id, name=id, source=BY, item="photo", mask=mask))

    add("field", np.hypot(hh - 199.5, ww - 199.5) < 195)
    if disc:
        add("disc", np.hypot(hh - DISC[0], ww - DISC[1]) < 20)
    if fovea is not None:
        case.add(Point(id="fovea", name="fovea", source=BY, position=fovea))
    for id in LESIONS:
        mask = np.zeros((SIDE, SIDE), bool)
        for h, w in (lesions or {}).get(id, ()):
            mask[h : h + 2, w : w + 2] = True
        add(id, mask)
    case.add(Measurement(id="cdr.vertical", name="ratio", source=BY, value=cup, unit="1"))
    for id, value in (("dr-grade", grade), ("dme-risk", oedema)):
        if value is not None:
            case.add(
                Label(id=id, name=id, source=BY, value=value, coverage=0.9, prediction_set=kept)
            )
    return case


def scattered(each, *, quadrants=QUADRANTS):
    """So many places in each quadrant round the disc."""
    where = {
        "superior-temporal": (40, 150), "inferior-temporal": (240, 150),
        "superior-nasal": (60, 30), "inferior-nasal": (240, 30),
    }  # fmt: skip
    out = []
    for name in quadrants:
        top, left = where[name]
        out += [(top + 5 * (k // 6), left + 10 * (k % 6)) for k in range(each)]
    return out


def outcome(opinion, rule):
    return next(step for step in opinion.steps if step.kind == "rule" and rule in step.nodes)


@pytest.mark.parametrize(
    ("lesions", "grade"),
    [
        ({}, "0"),
        ({"microaneurysms": [(100, 200)]}, "1"),
        ({"microaneurysms": [(100, 200)], "haemorrhages": [(100, 250)]}, "2"),
        ({"soft-exudates": [(100, 200)]}, "2"),
        ({"haemorrhages": scattered(20)}, "2"),
        ({"haemorrhages": scattered(21)}, "3"),
        ({"haemorrhages": scattered(40, quadrants=QUADRANTS[:3])}, "2"),
    ],
)
def test_the_rules_reach_the_grade_of_the_scale(lesions, grade):
    said = evidence_path(made_up(lesions, grade=grade)).of("diabetic-retinopathy")
    assert said.reached == grade
    assert said.verdict == "agrees"
    assert "the two agree" in said.sentence


def test_the_4_2_1_rule_counts_each_quadrant():
    case = made_up({"haemorrhages": scattered(21)[:-1]})
    said = evidence_path(case).of("diabetic-retinopathy")
    rule = outcome(said, "4-haemorrhages")
    assert rule.outcome == "not met"
    assert "superior-temporal 21" in rule.text
    assert "inferior-nasal 20" in rule.text
    assert said.reached == "2"


def test_signs_that_no_model_looks_for_are_never_called_absent():
    for lesions in ({}, {"haemorrhages": scattered(30)}):
        said = evidence_path(made_up(lesions, grade="4")).of("diabetic-retinopathy")
        unseen = {"venous-beading", "irma", "neovascularisation", "vitreous-haemorrhage"}
        steps = {step.nodes[0]: step for step in said.steps if step.nodes[0] in unseen}
        assert set(steps) == unseen
        for step in steps.values():
            assert step.kind == "not assessed"
            assert "no model here looks for it" in step.text
            assert step.findings == ()
        for rule in ("2-beading", "1-irma", "new-vessels", "bleeding-before-retina"):
            assert outcome(said, rule).outcome == "not assessed"
        assert said.reached != "4"
        assert "venous beading" in said.sentence.partition("Not assessed")[2]


def test_disagreement_is_said_plainly():
    too_much = evidence_path(made_up({}, grade="2")).of("diabetic-retinopathy")
    assert too_much.verdict == "disagrees"
    assert "the two disagree" in too_much.sentence
    too_little = evidence_path(made_up({"haemorrhages": [(90, 200)]}, grade="0", kept=("0", "2")))
    said = too_little.of("diabetic-retinopathy")
    assert said.verdict == "disagrees"
    assert "does not exclude 2 at 90%" in said.sentence
    beyond = evidence_path(made_up({"haemorrhages": [(90, 200)]}, grade="4"))
    assert beyond.of("diabetic-retinopathy").verdict == "cannot be confirmed"
    # a grave grade over an eye without lesions is no matter of unseen signs alone
    assert evidence_path(made_up({}, grade="4")).of("diabetic-retinopathy").verdict == "disagrees"
    nobody = evidence_path(made_up({})).of("diabetic-retinopathy")
    assert nobody.verdict == "not graded"
    assert "nothing to compare it with" in nobody.sentence


def test_oedema_is_told_by_the_distance_from_the_fovea():
    near, far = {"hard-exudates": [(205, 258)]}, {"hard-exudates": [(205, 262)]}
    for lesions, value in (({}, "0"), (near, "2"), (far, "1")):
        said = evidence_path(made_up(lesions, oedema=value)).of("macular-oedema")
        assert (said.reached, said.verdict) == (value, "agrees")
    assert "thickness" in " ".join(step.text for step in said.steps)


def test_cup_and_pressure_are_hints_and_no_diagnosis():
    path = evidence_path(made_up({"soft-exudates": [(90, 200)]}, cup=0.75))
    glaucoma = path.of("glaucoma")
    assert glaucoma.reached == "suspect"
    assert "no diagnosis" in glaucoma.sentence
    assert evidence_path(made_up({}, cup=0.69)).of("glaucoma").reached is None
    assert path.of("hypertensive-retinopathy").verdict == "not graded"


def test_without_disc_or_fovea_quadrants_are_not_told():
    for case in (
        made_up({"haemorrhages": scattered(30)}, disc=False),
        made_up({"haemorrhages": scattered(30)}, fovea=None),
    ):
        said = evidence_path(case).of("diabetic-retinopathy")
        rule = outcome(said, "4-haemorrhages")
        assert rule.outcome == "not assessed"
        assert "was not found" in rule.text
        assert said.reached == "2"


def test_a_quadrant_that_is_hardly_shown_is_not_judged():
    case = made_up({"haemorrhages": scattered(30, quadrants=QUADRANTS[:2])})
    case.findings.pop("field")
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:, 118:] = True
    case.add(Mask(id="field", name="field", source=BY, mask=mask))
    rule = outcome(evidence_path(case).of("diabetic-retinopathy"), "4-haemorrhages")
    assert rule.outcome == "not assessed"
    assert "hardly shows" in rule.text


@pytest.mark.parametrize("fovea", [(205.0, 220.0), (180.0, 20.0), (260.0, 210.0), (120.0, 60.0)])
def test_quadrants_are_those_of_the_measurements(fovea):
    frame = frame_of(made_up(fovea=fovea))
    disc = zones.disc_geometry(made_up(fovea=fovea)["disc"].mask)
    points = np.random.default_rng(0).uniform(0, SIDE, (300, 2))
    want = zones.quadrant_of(points, zones.axis_of(disc, fovea))
    np.testing.assert_array_equal(frame.quadrants(points), want)
    assert frame.diameter == pytest.approx(disc.diameter)
    assert QUADRANTS == zones.QUADRANTS


def test_heat_is_weighed_against_chance():
    case = made_up({"haemorrhages": [(100, 250)]})
    values = np.zeros((SIDE, SIDE), np.float16)
    values[95:107, 245:257] = 1
    heat = Heatmap(id="explanation", name="heat", source=BY, values=values)
    on = evidence_path(case, heatmap=heat).heat
    assert on is not None
    assert on.text.startswith("99%") or on.text.startswith("100%")
    assert "'explanation'" in on.text
    even = Heatmap(id="even", name="heat", source=BY, values=np.ones((SIDE, SIDE), np.float16))
    assert "1.0 times" in evidence_path(case, heatmap=even).heat.text
    assert "no lesion was marked" in evidence_path(made_up(), heatmap=even).heat.text


def test_a_case_that_was_not_read_has_no_lesions_to_speak_of():
    case = Case("plain", items={"photo": Image("photo", np.zeros((3, 9, 9), np.uint8))})
    assert not has_been_read(case)
    assert has_been_read(made_up())
    said = evidence_path(case).of("diabetic-retinopathy")
    assert said.reached is None
    assert all(step.outcome == "not assessed" for step in said.steps if step.kind == "rule")


def test_the_picture_shows_lesions_and_quadrants():
    from osler.explain.evidence_picture import evidence_picture

    bare = np.asarray(evidence_picture(made_up(disc=False)))
    lined = np.asarray(evidence_picture(made_up()))
    assert not bare.any()  # a black photograph without lesions or places
    drawn = np.asarray(evidence_picture(made_up({"haemorrhages": [(100, 250)]})))
    changed = np.argwhere((drawn != lined).any(axis=2))
    assert changed.size
    assert abs(changed.mean(axis=0) - (100.5, 250.5)).max() < 2
    # the line between the quadrants runs through the disc and the fovea
    for h, w in (DISC, FOVEA):
        assert lined[int(h) - 6 : int(h) + 7, int(w) - 6 : int(w) + 7].any()
