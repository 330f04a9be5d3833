"""From a recipe to a bundle that reads photographs: the whole way, on four drawn photographs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import osler.learn
from osler import bundles
from osler.data.cohort import read_cohort
from osler.data.digest import cohort_digest
from osler.data.splitting import split_cohort
from osler.errors import BundleError, RecipeError
from osler.learn.export import export_onnx
from osler.learn.fundus.canvases import draw_cohort
from osler.learn.fundus.recipe import read_recipe
from osler.record import Case, Image
from osler.retina.predict import predict

pytestmark = pytest.mark.long

SHAPE = (96, 120)  # of a photograph, larger than its canvas

RECIPE = """
name: tiny-spots
task: fundus-segmentation
cohort: cohort.csv
diameter: 64
targets: [{name: spot, columns: [spot], min_area: 2}]
network: {name: unet, options: {widths: [8, 8, 8], context: false}}
learner:
  {steps: 4, batch: 2, patch: 32, warmup: 1, validate_every: 2, hold: 0, precision: float32}
augment: {scale: [1.0, 1.0]}
card: {title: Tiny spots}
"""

COHORT = """case_id,patient_id,fold,photo,label:spot
a,p1,0,deep/er/photos/a.png,masks/a.png
b,p2,1,deep/er/photos/b.png,masks/b.png
c,p3,1,deep/er/photos/c.png,masks/c.png
d,p4,1,deep/er/photos/d.png,
"""


def paint(seed):
    """A fundus-like disc with bright spots, and where they are."""
    rng = np.random.default_rng(seed)
    hh, ww = np.mgrid[: SHAPE[0], : SHAPE[1]]
    field = (hh - 48) ** 2 + (ww - 60) ** 2 < 45**2
    spots = np.zeros(SHAPE, bool)
    for h, w in rng.integers(30, 66, (3, 2)):
        spots |= (hh - h) ** 2 + (ww - w - 10) ** 2 < 25
    light = np.where(spots, 235, 110 + rng.normal(0, 5, SHAPE)) * field
    pixels = np.stack([light, 0.6 * light, 0.3 * light], axis=2)
    return pixels.astype(np.uint8), spots & field


def furnish(folder):
    """A data folder with four photographs, and a folder to work in with a recipe and its cohort."""
    data, work = folder / "data", folder / "work"
    (data / "deep/er/photos").mkdir(parents=True)
    (data / "masks").mkdir()
    work.mkdir()
    for seed, name in enumerate("abcd"):
        pixels, spots = paint(seed)
        Pillow.fromarray(pixels).save(data / f"deep/er/photos/{name}.png")
        if name != "d":
            Pillow.fromarray(spots).save(data / f"masks/{name}.png")
    (work / "tiny-spots.yaml").write_text(RECIPE, encoding="utf-8")
    (work / "cohort.csv").write_text(COHORT, encoding="utf-8")
    return data, work


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder to work in, which is the current one."""
    data, work = furnish(tmp_path)
    monkeypatch.setenv("OSLER_DATA", str(data))
    monkeypatch.chdir(work)
    return work


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The recipe as it stands, fitted once to its bundle; nobody writes into its folders."""
    data, work = furnish(tmp_path_factory.mktemp("plain"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSLER_DATA", str(data))
        patch.chdir(work)
        return osler.learn.fit("tiny-spots.yaml", out=work / "run")


def refused(work, match):
    with pytest.raises(RecipeError, match=match):
        osler.learn.fit(work / "tiny-spots.yaml")


@pytest.fixture
def killed(monkeypatch):
    """Fits until the export begins, which takes most of a small run; gives what would leave."""

    def fit(*arguments, **options):
        exported = []

        def kill(net, *_, **__):
            exported.append(net)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("osler.learn.fundus.products.export_onnx", kill)
            with pytest.raises(KeyboardInterrupt):
                osler.learn.fit(*arguments, **options)
        return exported[0]

    return fit


def test_a_recipe_becomes_a_bundle_that_reads_photographs(plain, monkeypatch):
    place = plain.folder.parent
    monkeypatch.setenv("OSLER_DATA", str(place.parent / "data"))
    assert plain.bundle == place / "run" / "bundle"
    for file in ("checkpoint.pt", "log.jsonl", "run.json", "bundle/card.json", "bundle/model.onnx"):
        assert (place / "run" / file).is_file()

    bundle = bundles.load(plain.bundle)
    card = bundle.card
    assert (card.name, card.title) == ("tiny-spots", "Tiny spots")
    assert card.preprocessing.diameter == 64
    assert card.training is not None
    assert card.training.seed == 1
    assert card.training.parameters > 1000
    names = {metric.name for metric in card.metrics}
    assert names >= {"Dice, spot", "pooled average precision of pixels, spot"}
    record = json.loads((place / "run" / "run.json").read_text())
    assert record["difference_between_onnx_and_torch"] < 2e-3
    assert record["data"] == plain.data == json.loads((place / "run/cohort.json").read_text())
    cohort = read_cohort(place / "cohort.csv")
    assert plain.data["cohort"] == {
        "table": "cohort.csv", "sha256": cohort_digest(cohort), "cases": 4, "patients": 4,
    }  # fmt: skip
    assert card.training.cohort_sha256 == plain.data["cohort"]["sha256"]
    assert card.training.split_sha256 == plain.data["split"]["sha256"]
    assert plain.data["split"]["hold"] == 0
    assert plain.data["split"]["folds"] == {
        "0": {"cases": 1, "patients": 1}, "1": {"cases": 3, "patients": 3},
    }  # fmt: skip
    assert str(place) not in card.to_json().decode()

    pixels, _ = paint(9)
    photo = Image("photo", np.ascontiguousarray(pixels.transpose(2, 0, 1)), "OP")
    case = Case("new", items={"photo": photo})
    said = predict(bundle, case)
    assert said.labels == ("spot",)
    assert said.masks["spot"].shape == SHAPE
    assert said.probability is not None
    assert said.probability.shape == (1, *SHAPE)
    assert not said.probability[0][:, :10].any()  # outside the field


def test_a_finished_run_that_goes_on_takes_no_step_and_says_the_same(place, plain):
    shutil.copytree(plain.folder, place / "run")
    again = osler.learn.fit("tiny-spots.yaml", out=place / "run", resume=True)
    assert again.metrics == plain.metrics
    assert again.data == plain.data
    assert bundles.load(again.bundle).card.files == bundles.load(plain.bundle).card.files


def test_the_last_steps_on_all_folds_change_what_is_exported_and_not_what_is_measured(
    place, plain, killed, monkeypatch
):
    text = RECIPE.replace("hold: 0,", "hold: 0, finish: 3,")
    (place / "tiny-spots.yaml").write_text(text, encoding="utf-8")
    net = killed("tiny-spots.yaml", out=place / "finished")
    exported = []

    def noted(*arguments, **options):
        exported.append(arguments[0])
        return export_onnx(*arguments, **options)

    monkeypatch.setattr("osler.learn.fundus.products.export_onnx", noted)
    finished = osler.learn.fit("tiny-spots.yaml", out=place / "finished", resume=True)
    weights, again = net.state_dict(), exported[0].state_dict()
    assert weights.keys() == again.keys()
    for name, value in weights.items():
        assert torch.equal(value, again[name]), name
    figures = [[(m["name"], m["value"]) for m in run.metrics] for run in (plain, finished)]
    assert figures[0] == figures[1]
    assert all("never trained on" in m["data"] for m in plain.metrics)
    assert all("before the last steps" in m["data"] for m in finished.metrics)
    graphs = [(run.bundle / "model.onnx").read_bytes() for run in (plain, finished)]
    assert graphs[0] != graphs[1]


def change_a_mask(work):
    Pillow.fromarray(paint(8)[1]).save(Path(os.environ["OSLER_DATA"]) / "masks" / "c.png")


def change_a_fold(work):
    (work / "cohort.csv").write_text(COHORT.replace("c,p3,1", "c,p3,0"), encoding="utf-8")


def change_the_held_fold(work):
    text = RECIPE.replace("hold: 0", "hold: 1").replace("steps: 4", "steps: 5")
    (work / "tiny-spots.yaml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_a_mask, r"its files, values or labels \(was [0-9a-f]{12}, is [0-9a-f]{12}\);"),
        (change_a_fold, r"its folds \(was [0-9a-f]{12}, is [0-9a-f]{12}\);"),
        (change_the_held_fold, r"the fold held out \(was 0, is 1\);"),
    ],
)
def test_a_run_does_not_go_on_with_another_cohort(place, killed, change, words):
    killed("tiny-spots.yaml", out=place / "run")
    kept = (place / "run" / "cohort.json").read_text()
    change(place)
    with pytest.raises(RecipeError, match=f"'cohort.csv' has changed in {words}"):
        osler.learn.fit("tiny-spots.yaml", out=place / "run", resume=True)
    assert (place / "run" / "cohort.json").read_text() == kept
    killed("tiny-spots.yaml", out=place / "run")
    assert json.loads((place / "run" / "cohort.json").read_text()) != json.loads(kept)


def test_a_run_of_before_there_was_a_record_goes_on_and_keeps_one(place, killed):
    killed("tiny-spots.yaml", out=place / "run")
    record = place / "run" / "cohort.json"
    first = json.loads(record.read_text())
    record.unlink()
    killed("tiny-spots.yaml", out=place / "run", resume=True)
    assert json.loads(record.read_text()) == first


def test_a_run_says_how_its_folds_were_dealt(place, killed):
    # more patients than folds, each in one
    split = split_cohort(read_cohort(place / "cohort.csv"), folds=2, seed=7)
    split.write(place / "dealt.csv")
    text = RECIPE.replace("cohort.csv", "dealt.csv")
    (place / "tiny-spots.yaml").write_text(text, encoding="utf-8")
    killed("tiny-spots.yaml", out=place / "run")
    data = json.loads((place / "run" / "cohort.json").read_text())
    assert data["split"]["dealt"] == {
        "method": "iterative-stratification/1", "seed": 7,
        "cohort_sha256": data["cohort"]["sha256"],
    }  # fmt: skip


def test_a_graph_that_is_not_its_network_is_not_written(place, plain, monkeypatch):
    other = (plain.bundle / "model.onnx").read_bytes()
    monkeypatch.setattr("osler.learn.fundus.products.export_onnx", lambda *_, **__: other)
    text = RECIPE.replace("steps: 4", "seed: 2, steps: 4")
    (place / "tiny-spots.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match="differs from its network"):
        osler.learn.fit("tiny-spots.yaml", out=place / "run")
    assert not (place / "run" / "bundle").exists()


def test_a_threshold_for_other_cameras_is_calibrated_on_photographs_taken_badly(
    place, plain, monkeypatch
):
    graph = (plain.bundle / "model.onnx").read_bytes()  # of the same network
    monkeypatch.setattr("osler.learn.fundus.products.export_onnx", lambda *_, **__: graph)
    text = RECIPE.replace("min_area: 2", "min_area: 2, adaptive: true")
    (place / "tiny-spots.yaml").write_text(text, encoding="utf-8")
    run = osler.learn.fit("tiny-spots.yaml", out=place / "run")
    output = bundles.load(run.bundle).card.outputs[0]
    assert output.labels[0].threshold is None
    assert bundles.load(plain.bundle).card.outputs[0].labels[0].threshold is not None
    assert output.calibration is not None
    assert output.calibration.method == "platt"
    assert "worse camera" in output.calibration.fitted_on


def test_drawn_cases_are_kept_and_told_apart_by_what_made_them(place):
    recipe, cohort = read_recipe(place / "tiny-spots.yaml"), read_cohort(place / "cohort.csv")
    cache = place / "kept"
    first = draw_cohort(cohort, recipe, cache=cache)
    files = {path.name: path.stat().st_ino for path in cache.iterdir()}
    assert len(files) == 4
    for one, other in zip(first, draw_cohort(cohort, recipe, cache=cache), strict=True):
        assert (one.image == other.image).all()
        assert (one.targets == other.targets).all()
        assert (one.valid == other.valid).all()
    assert {path.name: path.stat().st_ino for path in cache.iterdir()} == files
    assert first[0].targets.any()
    assert not first[3].targets.any()  # no mask: nothing is there
    assert first[3].valid.all()
    _, spots = paint(5)
    Pillow.fromarray(spots).save(cohort.root / "masks" / "a.png")
    assert (draw_cohort(cohort, recipe, cache=cache)[0].targets != first[0].targets).any()
    assert len(list(cache.iterdir())) == 5


def test_a_mask_of_another_size_is_refused(place):
    Pillow.new("1", (7, 5)).save(Path(os.environ["OSLER_DATA"]) / "masks" / "b.png")
    refused(place, r"masks/b\.png' has shape \(5, 7\), its photograph \(96, 120\)")


def test_a_mask_that_is_not_there_is_named(place):
    (Path(os.environ["OSLER_DATA"]) / "masks" / "b.png").unlink()
    refused(place, r"case 'b': the mask '.*b\.png' cannot be read: No such file")


def test_a_fold_that_does_not_exist_is_refused(place):
    text = RECIPE.replace("hold: 0", "hold: 7")
    (place / "tiny-spots.yaml").write_text(text, encoding="utf-8")
    refused(place, r"learner\.hold is 7 and the cohort's folds are 0, 1")


def test_a_held_fold_without_any_target_is_refused(place):
    (place / "cohort.csv").write_text(COHORT.replace(",masks/a.png", ","), encoding="utf-8")
    refused(place, "no case of fold 0 shows any target")


def test_labels_that_exclude_each_other_have_no_entropies_of_their_own(place):
    text = RECIPE.replace("hold: 0", "hold: 0, normalised_entropy: true")
    (place / "tiny-spots.yaml").write_text(text + "exclusive: true\n", encoding="utf-8")
    refused(place, "normalised_entropy is for labels that may overlap")


def test_a_network_that_does_not_exist_is_refused(place):
    text = RECIPE.replace("name: unet", "name: u-net")
    (place / "tiny-spots.yaml").write_text(text, encoding="utf-8")
    refused(place, "no network is called 'u-net'")


def test_a_wrong_recipe_trains_nothing(place):
    (place / "tiny-spots.yaml").write_text(RECIPE + "spare: 1\n", encoding="utf-8")
    refused(place, "spare: no such key")
    assert not (place / "runs").exists()


def test_without_torch_the_extra_is_named(place):
    code = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Wall())
from osler import learn
from osler.errors import MissingExtraError
try:
    learn.fit("tiny-spots.yaml")
except MissingExtraError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=place
    )
    assert result.stdout.strip() == (
        "'torch' is not installed; to train a network, run: pip install 'osler[train]'"
    )
    assert not (place / "runs").exists()
