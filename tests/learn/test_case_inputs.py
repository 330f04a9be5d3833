"""Signals, tables, and images with a table beside them: from a recipe to a bundle's answer."""

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow

from osler import bundles
from osler.bundles.answering import answer
from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.errors import InputError, RecipeError
from osler.learn.fitting import fit
from osler.record import Case, Label, Signal, Table

CASES = 18


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Signals and a table that say the class, pictures that do not, and an age that is lacking."""
    folder = tmp_path_factory.mktemp("cases")
    lines = ["case_id,patient_id,fold,signal,picture,age,sex,label:class"]
    for n in range(CASES):
        rng = np.random.default_rng(n)
        fast = n % 2 == 0
        time = np.arange(300) / 100
        wave = np.sin(2 * np.pi * (6 if fast else 2) * time + rng.uniform(0, 6))
        wave += rng.normal(0, 0.1, wave.shape)
        (folder / f"{n}.dat").write_bytes((wave * 1000).astype("<i2").tobytes())
        (folder / f"{n}.hea").write_text(f"{n} 1 100 300\n{n}.dat 16 1000(0)/mV 16 0 0 0 0 II\n")
        Pillow.fromarray(rng.integers(0, 255, (16, 16)).astype(np.uint8)).save(folder / f"{n}.png")
        age = "" if n in (3, 4) else f"{(70 if fast else 40) + rng.normal(0, 3):.1f}"
        sex = "fm"[n // 2 % 2]
        word = "fast" if fast else "slow"
        lines.append(f"c{n},p{n},{(n // 2) % 3},{n}.hea,{n}.png,{age},{sex},{word}")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder


LEARNER = {"steps": 40, "batch": 6, "rate": 0.01, "warmup": 2, "ema": 0.8, "validate_every": 20,
           "precision": "float32"}  # fmt: skip
SIGNAL = {"item": "signal", "channels": ["II"], "rate": 50, "seconds": 1.5}
TABLE = {"columns": ["age", "sex"]}
NETWORKS = {
    "signal": {"name": "signal-resnet",
               "options": {"widths": [4, 8], "blocks": [1, 1], "kernel": 3}},
    "waves": {"name": "signal-transformer",
              "options": {"patch": 15, "embed_dim": 8, "depth": 1, "num_heads": 2}},
    "table": {"name": "tabular-transformer",
              "options": {"embed_dim": 8, "depth": 1, "num_heads": 2}},
    "linear": {"name": "tabular-perceptron", "options": {"widths": []}},
    "both": {"name": "resnet-18", "options": {"widths": [4, 4, 4, 4], "stem": 4},
             "table": {"options": {"widths": [8]}}},
}  # fmt: skip
INPUTS = {
    "signal": {"signal": SIGNAL},
    "waves": {"signal": SIGNAL},
    "table": {"table": TABLE},
    "linear": {"table": TABLE},
    "both": {"image": {"items": ["picture"], "size": [16, 16], "colour": True}, "table": TABLE},
}


def written(place, name, **settings):
    recipe = {
        "name": name, "task": "classification", "cohort": "cohort.csv",
        "settings": {**INPUTS[name], "target": "class", **settings},
        "network": NETWORKS[name], "learner": LEARNER,
    }  # fmt: skip
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="module")
def runs(place, tmp_path_factory):
    """Runs by name, each made once."""
    made = {}

    def run(name):
        if name not in made:
            made[name] = fit(written(place, name), out=tmp_path_factory.mktemp(name))
        return made[name]

    return run


@pytest.mark.parametrize("name", ["signal", "waves", "table", "linear", "both"])
def test_a_class_is_learnt_from_what_is_no_picture(place, runs, name):
    run = runs(name)
    figures = {one["name"]: one["value"] for one in run.metrics}
    if name in ("signal", "table", "linear"):
        assert figures["macro AUROC"] > 0.9
    bundle = bundles.load(run.bundle)
    cohort = read_cohort(place / "cohort.csv")
    row = next(row for row in cohort.rows if row.case_id == "c3")  # whose age is not known
    case = open_row(row, cohort, labels=False)
    (found,) = answer(bundle, case)
    assert isinstance(found, Label)
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.item in case.items


def test_a_missing_value_is_not_the_mean(place, runs):
    bundle = bundles.load(runs("linear").bundle)
    mean = bundle.card.settings["table"]["numbers"]["age"]["mean"]
    teach = [r for r in read_cohort(place / "cohort.csv").rows if r.fold == 2]
    assert mean == pytest.approx(
        np.mean([r.variables["age"] for r in teach if "age" in r.variables])
    )
    says = []
    for values in ({"age": mean, "sex": "f"}, {"sex": "f"}):
        (found,) = answer(bundle, Case("x", "x", {"variables": Table("variables", values)}))
        says.append(found.probabilities["fast"])
    assert says[0] != says[1]


def test_a_signal_in_other_units_or_at_another_rate_says_the_same(runs):
    bundle = bundles.load(runs("signal").bundle)
    time = np.arange(1200) / 200
    wave = np.sin(2 * np.pi * 6 * time)
    says = []
    for array, rate, unit in ((wave, 200.0, "mV"), (wave * 1000, 200.0, "uV"),
                              (wave[::2], 100.0, "mV")):  # fmt: skip
        case = Case("x", "x", {"ecg": Signal("ecg", array[None], rate, ("II",), (unit,))})
        says.append(answer(bundle, case)[0].probabilities["fast"])
    assert says[1] == pytest.approx(says[0], abs=1e-4)
    assert says[2] == pytest.approx(says[0], abs=0.02)
    with pytest.raises(InputError, match="lacks the channel 'II'"):
        answer(bundle, Case("x", "x", {"e": Signal("e", wave[None], 200.0, ("V1",), ("mV",))}))


def test_a_column_that_is_not_there_is_named_before_training(place, tmp_path):
    path = written(place, "table", table={"columns": ["age", "weight"]})
    with pytest.raises(RecipeError, match="no teaching case has a value of 'weight'"):
        fit(path, out=tmp_path / "run")
