"""The grade, its set, its evidence, and where its heatmap lies."""

import numpy as np
import pytest
from stand_ins import case_of, grade_outputs, painted, unrun

from osler.record import Heatmap, Label, Mask, Source
from osler.retina.grade import GRADES, OEDEMA, grade
from osler.retina.lesions import LESIONS
from osler.retina.predict import Prediction
from osler.tasks.canvas import plan
from osler.tasks.field import find_field

GRADER = Source("person", "grader")
PHOTO = painted((300, 400))
WIDE = np.full((3, 250, 430), 120, np.uint8)  # no circle: the whole frame is the field


def said(
    array=PHOTO, *, grades=(0.1, 0.2, 0.5, 0.15, 0.05), referable=0.7, cell=None, diameter=512
):
    where = plan(find_field(array), diameter=diameter)
    attention = np.zeros((1, 1, where.size[0] // 32, where.size[1] // 32), np.float32)
    if cell is None:
        attention += 1 / attention.size
    else:
        attention[0, 0][cell] = 0.6
        attention[0, 0][tuple(-1 - i for i in cell)] += 0.001
    return Prediction(
        tuple("01234"), where, {"attention": attention}, label="2",
        probabilities={
            "grade": dict(zip("01234", grades, strict=True)),
            "oedema": {"0": 0.2, "1": 0.1, "2": 0.7},
            "referable": {"yes": referable},
        },
    )  # fmt: skip


def graded(array=PHOTO, *, lesions=(), quantile=0.8, threshold=0.5, **what):
    case = case_of(array)
    for name, pixels in (("quality", None), *lesions):
        if pixels is None:
            case.add(Label(id=name, name=name, source=GRADER, value="good"))
        else:
            mask = np.zeros(array.shape[1:], bool)
            mask.flat[:pixels] = True
            case.add(Mask(id=name, name=name, source=GRADER, item="photo", mask=mask))
    bundle = unrun("retina-dr", grade_outputs(quantile=quantile, threshold=threshold))
    grade(case, bundle, said(array, **what))
    return case


def test_all_that_is_added():
    case = graded()
    added = [id for id in case.findings if id not in ("field", "quality")]
    assert added == ["dr-heatmap", "dr-grade", "dme-risk", "dr-referable"]
    label = case["dr-grade"]
    assert (label.value, label.probability) == ("2", 0.5)
    assert label.meaning == "moderate non-proliferative retinopathy"
    assert label.coverage == 0.9
    assert set(label.probabilities) == set(label.meanings) == set(GRADES)
    oedema = case["dme-risk"]
    assert (oedema.value, oedema.probability) == ("2", 0.7)
    assert set(oedema.meanings) == set(OEDEMA)


def test_the_set_has_the_order_of_the_labels():
    # a label belongs to the set from a probability of 1 - quantile on
    case = graded(grades=(0.3, 0.1, 0.35, 0.05, 0.2), quantile=0.8)
    assert case["dr-grade"].prediction_set == ("0", "2", "4")
    assert graded(quantile=1.0)["dr-grade"].prediction_set == tuple("01234")


@pytest.mark.parametrize("quantile", [0.0, 0.01, 0.3])
def test_the_set_is_never_empty(quantile):
    assert graded(quantile=quantile)["dr-grade"].prediction_set == ("2",)


def test_without_calibration_there_is_no_set_and_no_promise():
    label = graded(quantile=None)["dr-grade"]
    assert (label.prediction_set, label.coverage) == ((), None)


@pytest.mark.parametrize(
    ("threshold", "chance", "value"),
    [
        (0.5, 0.5, "yes"),
        (0.5, 0.49, "no"),
        (0.3, 0.3, "yes"),
        (0.8, 0.79, "no"),
        (None, 0.6, "yes"),
    ],
)
def test_referable_from_the_threshold_of_the_card_on(threshold, chance, value):
    label = graded(threshold=threshold, referable=chance)["dr-referable"]
    assert label.value == value
    assert label.probability == pytest.approx(chance if value == "yes" else 1 - chance)
    assert label.probabilities == pytest.approx({"yes": chance, "no": 1 - chance})


def test_the_evidence_is_what_was_seen_and_nothing_empty():
    lesions = (("microaneurysms", 0), ("haemorrhages", 7), ("hard-exudates", 3))
    case = graded(lesions=lesions)
    seen = ("haemorrhages", "hard-exudates")
    assert case["dr-grade"].evidence == (*seen, "dr-heatmap", "quality")
    assert case["dme-risk"].evidence == (*seen, "dr-heatmap", "quality")
    assert case["dr-referable"].evidence[:3] == ("dr-grade", *seen)
    assert graded()["dr-grade"].evidence == ("dr-heatmap", "quality")
    assert {id for id, _, _ in LESIONS.values()} >= {id for id, _ in lesions}


@pytest.mark.parametrize("array", [PHOTO, WIDE, painted((900, 1200))], ids=lambda a: str(a.shape))
@pytest.mark.parametrize("cell", [(7, 4), (8, 9), (3, 6)])
def test_a_cell_that_is_looked_at_lights_its_own_pixels(array, cell):
    heat = graded(array, cell=cell)["dr-heatmap"]
    assert isinstance(heat, Heatmap)
    assert heat.values.shape == array.shape[1:]
    assert heat.values.dtype == np.float16
    where = said(array).canvas
    centre = where.to_photo((cell[0] * 32 + 15.5, cell[1] * 32 + 15.5))
    values = heat.values.astype(np.float64)
    assert 0.9 < values.max() <= 1
    hh, ww = np.nonzero(values > 0.5)
    assert (hh.mean(), ww.mean()) == pytest.approx(centre, abs=1.5)
    # half of the peak is reached half a cell away, and nothing lies beyond a whole one
    step = 32 / where.scale
    assert np.ptp(hh) == pytest.approx(step, rel=0.15)
    assert np.ptp(ww) == pytest.approx(step, rel=0.15)
    hh, ww = np.nonzero(values > 0.05)
    assert max(abs(hh - centre[0]).max(), abs(ww - centre[1]).max()) <= step * 1.1


def test_the_heatmap_ends_with_the_field():
    heat = graded()["dr-heatmap"].values
    inside = find_field(PHOTO).mask()
    assert not heat[~inside].any()
    assert (heat[inside] > 0.99).all()  # it looked at every cell alike


def test_a_grader_that_looks_nowhere_has_a_dark_heatmap():
    prediction = said()
    prediction.scores["attention"][...] = 0
    case = case_of(PHOTO)
    case.add(Label(id="quality", name="quality", source=GRADER, value="good"))
    grade(case, unrun("retina-dr", grade_outputs()), prediction)
    assert not case["dr-heatmap"].values.any()
