"""A forecast from visits, the interval and further items, any missing: from a recipe to answers."""

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow

from osler import bundles
from osler.bundles.answering import answer
from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.record import Case, Image, Label, Source, Table, Text
from osler.tasks.forecasting import Forecasting, ForecastingSettings

CASES = 48
RECIPE = {
    "name": "forecast", "version": "1.0.0", "task": "forecasting", "cohort": "cohort.csv",
    "hold": {"test": 0, "tune": 1},
    "settings": {
        "values": ["md"], "interval": "interval", "unit": "dB",
        "inputs": {
            "photo": {"kind": "image", "size": [8, 8]}, "note": {"kind": "text", "least": 2}
        },
    },
    "network": {"name": "fusion", "options": {"strategy": "early", "width": 16, "depth": 1}},
    "learner": {"steps": 80, "batch": 16, "rate": 0.01, "warmup": 4, "ema": 0.8,
                "validate_every": 80, "precision": "float32", "seed": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Bright eyes lose 10 dB a visit, dark ones nothing; nothing else tells them apart."""
    folder = tmp_path_factory.mktemp("forecast")
    lines = ["case_id,patient_id,fold,photo,note,md@1,interval,label:md"]
    for n in range(CASES):
        rng = np.random.default_rng(n)
        bright = n % 2 == 0
        grey = rng.integers(0, 60, (8, 8, 3)) + (190 if bright else 0)
        Pillow.fromarray(grey.astype(np.uint8)).save(folder / f"{n}.png")
        md = rng.normal(-8, 2)
        photo, note = (f"{n}.png" if n % 8 != 5 else ""), ("seen today" if n % 3 else "")
        after = md - (10 if bright else 0)
        lines.append(f"c{n},p{n},{n // 2 % 4},{photo},{note},{md:.2f},365,{after:.2f}")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    fit(folder / "recipe.yaml", out=folder / "run")
    return bundles.load(folder / "run" / "bundle")


def eye(level, **items):
    case = Case("e", "e", {"variables": Table("variables", {"md@1": -8.0, "interval": 365})})
    if level is not None:
        array = np.full((3, 8, 8), level, np.uint8)
        case.items["photo"] = Image("photo", array, modality="OP")
    case.items.update(items)
    return case


def forecast(bundle, case, **options):
    return answer(bundle, case, **options)[0]


def test_what_an_item_tells_is_learnt_and_a_case_without_it_is_answered(run):
    bright, dark, without = (forecast(run, eye(level)) for level in (220, 30, None))
    assert bright.value == pytest.approx(-18, abs=3)
    assert dark.value == pytest.approx(-8, abs=3)
    assert dark.value > without.value > bright.value


def test_each_forecast_says_what_its_inputs_contributed(run):
    said = forecast(run, eye(220, note=Text("note", "seen today")))
    assert "Contributions: photo" in said.note
    assert "visits" in said.note
    assert "note" in said.note
    assert forecast(run, eye(220), contributions=False).note == ""


def test_what_is_in_the_place_of_an_absent_item_changes_nothing(run):
    task = Forecasting(ForecastingSettings.model_validate(run.card.settings))
    sample = task.encode(eye(None))
    assert sample.inputs["present"].tolist() == [1, 0, 0]
    feed = {name: array[None] for name, array in sample.inputs.items()}
    noisy = {**feed, "photo": np.full_like(feed["photo"], 7.0)}
    for one, other in zip(run.run(feed).values(), run.run(noisy).values(), strict=True):
        assert np.allclose(one, other)


def test_a_name_that_the_visits_have_is_refused():
    with pytest.raises(ValueError, match="'present' or 'visits'"):
        ForecastingSettings(values=["md"], inputs={"visits": "number"})


def test_an_input_that_no_case_has_is_named():
    task = Forecasting(ForecastingSettings(values=["md"], inputs={"weight": "number"}))
    case = eye(220)
    case.add(Label(id="md", name="md", value="-10", source=Source("person", "reader")))
    with pytest.raises(RecipeError, match=r"settings\.inputs\.weight"):
        task.planned(lambda: [case])
