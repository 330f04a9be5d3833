"""Named inputs of every kind, any missing: from a recipe to a bundle's answer without torch."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow
from typer.testing import CliRunner

import osler
from osler import bundles
from osler.bundles.answering import answer, task_of
from osler.cli import app
from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.errors import InputError, RecipeError
from osler.learn.fitting import fit
from osler.record import Case, Image, Signal, Table, Text
from osler.tasks.fusion_input import PRESENT

CASES = 24
LEARNER = {"steps": 48, "batch": 8, "rate": 0.01, "warmup": 2, "ema": 0.8, "validate_every": 48,
           "precision": "float32"}  # fmt: skip
INPUTS = {
    "left": {"kind": "fundus", "size": [16, 16]},
    "right": {"kind": "fundus", "size": [16, 16]},
    "age": "number",
    "sex": "category",
    "note": {"kind": "text", "least": 2},
    "wave": {"kind": "signal", "seconds": 2},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Cases whose parts each say something of the answer, and of which parts are missing."""
    folder = tmp_path_factory.mktemp("fused")
    lines = ["case_id,patient_id,fold,left,right,age,sex,note,wave,label:ill,label:old,label:time"]
    for n in range(CASES):
        rng = np.random.default_rng(n)
        ill, old = n % 2 == 0, n // 2 % 2 == 0
        for side in ("left", "right"):
            grey = rng.integers(0, 120, (20, 20, 3)) + (120 if ill and side == "left" else 0)
            Pillow.fromarray(grey.astype(np.uint8)).save(folder / f"{n}-{side}.png")
        wave = np.sin(np.arange(300) / (4 if ill else 12)) * 1000
        (folder / f"{n}.dat").write_bytes(wave.astype("<i2").tobytes())
        (folder / f"{n}.hea").write_text(f"{n} 1 100 300\n{n}.dat 16 1000(0)/mV 16 0 0 0 0 II\n")
        cells = [
            f"{n}-left.png" if n % 5 else "", f"{n}-right.png" if n % 7 else "",
            f"{(70 if old else 40) + rng.normal(0, 3):.1f}" if n % 4 != 3 else "",
            "fm"[n % 3 == 0], ("重度渗出 seen" if ill else "nothing found") if n % 6 else "",
            f"{n}.hea" if n % 9 else "",
        ]  # fmt: skip
        time = (100 if ill else 900) + n
        lines.append(f"c{n},p{n},{n // 4 % 3},{','.join(cells)},{int(ill)},{int(old)},{time}")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def written(place, name, inputs=INPUTS, task="classification", **settings):
    recipe = {
        "name": name, "task": task, "cohort": "cohort.csv",
        "settings": {"inputs": inputs, **settings},
        "network": {"options": {"width": 16}}, "learner": LEARNER, "augment": "light",
    }  # fmt: skip
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def run(place, tmp_path_factory):
    path = written(place, "many", target=["ill", "old"], kind="multi-label")
    return fit(path, out=tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="module")
def bundle(run):
    return bundles.load(run.bundle)


def row(place, name):
    cohort = read_cohort(place / "cohort.csv")
    return open_row(next(one for one in cohort.rows if one.case_id == name), cohort, labels=False)


def test_what_every_part_says_is_learnt(run):
    figures = {one["name"]: one["value"] for one in run.metrics}
    assert figures["AUROC, ill"] > 0.9
    assert figures["AUROC, old"] > 0.7


def test_planning_stands_in_the_card(bundle):
    planned = bundle.card.settings["inputs"]
    assert list(planned) == list(INPUTS)
    assert planned["sex"]["categories"] == ["f", "m"]
    assert {"渗出", "nothing", "found", "seen"} <= set(planned["note"]["vocabulary"])
    assert 40 < planned["age"]["taken"]["mean"] < 70
    assert (planned["wave"]["channels"], planned["wave"]["rate"]) == (["II"], 100)
    assert [one.name for one in bundle.card.inputs] == [*INPUTS, PRESENT]


@pytest.mark.parametrize("kept", list(INPUTS))
def test_a_case_with_every_input_missing_but_one_still_reads(place, bundle, kept):
    whole = row(place, "c1")
    alone = Case("x", "x")
    if kept in ("age", "sex"):
        alone.items["variables"] = Table("variables", {kept: whole["variables"].values[kept]})
    elif kept == "note":
        alone.items["note"] = Text("note", "重度渗出")
    else:
        alone.items[kept] = whole.items[kept]
    ill, old = answer(bundle, alone)
    assert 0 < ill.probability < 1
    assert list(ill.contributions) == list(old.without) == [kept]


def test_a_case_with_nothing_says_so(bundle):
    with pytest.raises(InputError, match=r"has none of what is looked at \('left', 'right'"):
        answer(bundle, Case("x", "x", {"other": Table("other", {"weight": 3})}))


def test_what_stands_in_the_place_of_an_absent_input_changes_nothing(place, bundle):
    task = task_of(bundle.card)
    sample = task.encode(row(place, "c0"))  # of which several are missing
    before = task.run(bundle.run, sample)["scores"]
    absent = [k for k, there in zip(INPUTS, sample.inputs[PRESENT], strict=True) if not there]
    assert absent
    rng = np.random.default_rng(0)
    for name in absent:
        noise = rng.normal(0, 9, sample.inputs[name].shape)
        sample.inputs[name] = noise.astype(np.float32)
    np.testing.assert_allclose(task.run(bundle.run, sample)["scores"], before, atol=1e-5)


def test_contributions_sum_to_the_answer_less_the_share_of_the_teaching_cases(place, bundle):
    case = row(place, "c1")
    found = answer(bundle, case)
    taught = [one for one in read_cohort(place / "cohort.csv").rows if one.fold == 2]
    shares = [np.mean([int(one.labels[name]) for one in taught]) for name in ("ill", "old")]
    for one, bare in zip(found, shares, strict=True):
        assert sum(one.contributions.values()) == pytest.approx(one.probability - bare, abs=1e-5)


def test_contributions_can_be_left_out(place, bundle, tmp_path):
    whole, bare = row(place, "c1"), row(place, "c1")
    (said, *_) = answer(bundle, whole)
    (same, *_) = answer(bundle, bare, contributions=False)
    assert same.probability == said.probability
    assert said.contributions
    assert not same.contributions
    source = f"{place / 'cohort.csv'}#c1"
    done = CliRunner().invoke(
        app,
        ["predict", str(bundle.folder), source, "-o", str(tmp_path), "--no-contributions", "-q"],
    )
    assert done.exit_code == 0, done.output
    assert "Contributions" not in (tmp_path / "c1" / "findings.json").read_text("utf-8")


def test_without_is_the_answer_to_the_case_without_it(place, bundle):
    (ill, _) = answer(bundle, row(place, "c1"))
    less = row(place, "c1")
    del less.items["wave"]
    (again, _) = answer(bundle, less)
    assert ill.without["wave"] == pytest.approx(again.probability, abs=1e-5)
    assert abs(ill.without["wave"] - ill.probability) > 1e-6


def test_the_only_eye_does_not_stand_for_the_other(place, bundle):
    case = row(place, "c1")
    left = case.items["left"]
    task = task_of(bundle.card)
    present = task.encode(Case("x", "x", {"left": left})).inputs[PRESENT]
    assert present.tolist() == [1, 0, 0, 0, 0, 0]
    named = Image("photo", left.array, laterality="R")
    present = task.encode(Case("x", "x", {"photo": named})).inputs[PRESENT]
    assert present.tolist() == [0, 1, 0, 0, 0, 0]


def test_an_explanation_says_what_each_contributed_and_draws_a_map(place, bundle, tmp_path):
    case = row(place, "c1")
    said = osler.explain(bundle, case)
    assert [one.name for one in said.findings] == ["ill", "old"]
    assert said.map is None
    assert not case.findings
    said = osler.explain(bundle, case, method="occlusion", label="ill")
    assert said.map.heatmap.item in ("left", "right")
    assert said.map.heatmap.values.shape == case.image("left").shape
    folder = said.write(tmp_path)
    kept = json.loads((folder / "explanation.json").read_text("utf-8"))
    assert kept["answers"][0]["contributions"] == said.findings[0].contributions
    assert "What each input contributed" in (folder / "explanation.html").read_text("utf-8")
    assert (folder / "map" / case.id / "overlay.png").is_file()
    with pytest.raises(RecipeError, match="there is no answer 'tall'; there are: 'ill', 'old'"):
        osler.explain(bundle, case, label="tall")
    with pytest.raises(RecipeError, match="several inputs"):
        osler.explain(bundle, case, method="grad-cam")


def test_a_row_of_a_table_through_the_command_line(place, bundle, tmp_path):
    source = f"{place / 'cohort.csv'}#c1"
    done = CliRunner().invoke(
        app, ["explain", str(bundle.folder), source, "--out", str(tmp_path / "why")]
    )
    assert done.exit_code == 0, done.output
    assert re.search(r"ill: (yes|no) \(0\.\d{3}\)\n(  \w+ +[+-]0\.\d{3}  without it 0\.\d{3}\n){6}",
                     done.output)  # fmt: skip
    done = CliRunner().invoke(
        app, ["predict", str(bundle.folder), source, "--out", str(tmp_path / "said")]
    )
    assert done.exit_code == 0, done.output
    folder = tmp_path / "said" / "c1"
    assert "What each input contributed" in (folder / "report.html").read_text("utf-8")
    assert json.loads((folder / "findings.json").read_text("utf-8"))["schema_version"] == 4


def test_an_answer_needs_no_torch(place, bundle):
    code = (
        "import sys, json, osler\n"
        "from osler.record import Case\n"
        f"left = osler.load({str(place / '1-left.png')!r})['photo']\n"
        "left.name = 'left'\n"
        f"case = osler.predict({str(bundle.folder)!r}, Case('x', 'x', {{'left': left}}))\n"
        "assert 'torch' not in sys.modules\n"
        "print(json.dumps(dict(case['ill'].contributions)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert list(json.loads(done.stdout)) == ["left"]


def test_a_label_is_no_input(place, tmp_path):
    path = written(place, "leak", {"old": "number", "left": "fundus"}, target="ill")
    with pytest.raises(RecipeError, match="'old' is a label"):
        fit(path, out=tmp_path)


def test_a_network_of_one_item_is_refused(place, tmp_path):
    path = written(place, "wrong", target="ill")
    recipe = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**recipe, "network": {"name": "resnet-18"}}))
    with pytest.raises(RecipeError, match="is 'fusion'"):
        fit(path, out=tmp_path)


def test_signal_is_a_signal(bundle):
    case = Case("x", "x", {"left": Signal("left", np.zeros((1, 9)), 1.0, ("a",), ("mV",))})
    with pytest.raises(InputError, match="is a signal, and the input 'left' takes another kind"):
        answer(bundle, case)
