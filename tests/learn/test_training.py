"""From a recipe to a bundle that answers, for the general tasks, on drawn pictures."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow
from typer.testing import CliRunner

import osler
from osler import bundles, io
from osler.bundles.answering import answer, task_of
from osler.cli import app
from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.errors import BundleError, OutputError, RecipeError
from osler.learn.fitting import fit
from osler.record import Label, Mask
from osler.tasks.catalogue import create
from osler.tasks.classification import Classification

CASES = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures with a bright square or a bright disc, their masks, and a table."""
    folder = tmp_path_factory.mktemp("shapes")
    lines = ["case_id,patient_id,fold,image,label:shape,label:class"]
    hh, ww = np.mgrid[:48, :40]
    for n in range(CASES):
        rng = np.random.default_rng(n)
        h, w = rng.integers(14, 30, 2)
        square = n % 2 == 0
        away = np.maximum(abs(hh - h), abs(ww - w)) if square else np.hypot(hh - h, ww - w)
        mask = away < 9
        picture = np.clip(60 + 120 * mask + rng.normal(0, 8, mask.shape), 0, 255)
        Pillow.fromarray(picture.astype(np.uint8)).save(folder / f"{n}.png")
        Pillow.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{n}.mask.png")
        word = "square" if square else "disc"
        lines.append(f"c{n},p{n},{(n // 2) % 3},{n}.png,{n}.mask.png,{word}")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder


SEGMENT = {
    "name": "shapes",
    "task": "segmentation",
    "cohort": "cohort.csv",
    "settings": {"labels": ["shape"], "multiple": 8, "tolerance": 1.0},
    "network": {"name": "dynunet-2d", "options": {"widths": [8, 12, 16]}},
    "learner": {"steps": 30, "batch": 3, "rate": 0.01, "warmup": 2, "ema": 0.8,
                "validate_every": 15, "precision": "float32"},
}  # fmt: skip

CLASSIFY = {
    "name": "squares",
    "task": "classification",
    "cohort": "cohort.csv",
    "settings": {"image": {"size": [32, 32], "colour": True}, "target": "class"},
    "network": {"name": "resnet-18", "options": {"widths": [4, 4, 8, 8], "stem": 4}},
    "learner": {"steps": 3, "batch": 4, "warmup": 1, "validate_every": 2, "precision": "float32"},
}


def written(place, recipe, **changes):
    path = place / f"{recipe['name']}.yaml"
    path.write_text(yaml.safe_dump({**recipe, **changes}))
    return path


def test_a_segmentation_is_learnt_and_answers_in_the_native_grid(place, tmp_path):
    run = fit(written(place, SEGMENT), out=tmp_path / "run")
    figures = {one["name"]: one for one in run.metrics}
    assert figures["Dice, shape"]["value"] > 0.8
    assert figures["Dice, shape"]["images"] == 4
    bundle = bundles.load(run.bundle)
    assert bundle.card.settings["labels"] == ["shape"]
    case = io.load_file(place / "0.png")
    (found,) = answer(bundle, case)
    assert isinstance(found, Mask)
    assert found.mask.shape == (48, 40)
    truth = np.asarray(Pillow.open(place / "0.mask.png")) > 0
    assert 2 * (found.mask & truth).sum() / (found.mask.sum() + truth.sum()) > 0.8
    assert found.source.name == "shapes"


def test_a_classification_answers_with_probabilities(place, tmp_path):
    said = {**CLASSIFY["settings"], "labels": ["disc", "square", "star"]}
    run = fit(written(place, CLASSIFY, settings=said), out=tmp_path / "run")
    assert "'star'" in run.notes[0]
    assert bundles.load(run.bundle).card.limits == run.notes
    # of a class without a case there is no area, so none of their mean
    assert {"accuracy", "kappa"} <= {one["name"] for one in run.metrics} - {"macro AUROC"}
    bundle = bundles.load(run.bundle)
    assert task_of(bundle.card).settings.labels == ["disc", "square", "star"]
    (found,) = answer(bundle, io.load_file(place / "1.png"))
    assert isinstance(found, Label)
    assert sum(found.probabilities.values()) == pytest.approx(1)
    # a card whose labels were exchanged since
    path = run.bundle / "card.json"
    card = json.loads(path.read_text())
    card["settings"]["labels"].reverse()
    path.write_text(json.dumps(card))
    with pytest.raises(BundleError, match="star, square, disc under 'settings'"):
        answer(bundles.load(run.bundle), io.load_file(place / "1.png"))
    card["outputs"][0]["labels"].reverse()
    path.write_text(json.dumps(card))
    with pytest.raises(
        BundleError, match=r"names .* star, square, disc, its graph was taught disc, sq"
    ):
        osler.evaluate(run.bundle, place / "cohort.csv", fold=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "segmentaton"}, "the nearest is 'segmentation'"),
        ({"settings": {"labels": ["shape"], "pach": 1}}, "settings.pach: no such key; the nearest"),
        ({"learner": {"steps": 1, "rat": 1}}, "learner.rat: no such key; the nearest is 'rate'"),
        ({"network": {"name": "dynunt"}}, "nearest is 'dynunet'"),
        ({"augment": "standart"}, "the nearest is 'standard'"),
        ({"hold": {"test": 9}}, "hold names '9'"),
        (
            {"settings": {"labels": ["shape"], "absent": "unknown"}},
            "settings.overlapping: true, or",
        ),
        ({"network": {"checkpoint": "gone.pt"}}, "network.checkpoint: there is nothing at"),
        ({"kind": "nnunett"}, "kind: no importer 'nnunett'; the nearest is 'nnunet'"),
        ({"settings": {"labels": ["ship"]}}, "no teaching case has a mask of 'ship'"),
        ({"cohort": "nowhere.csv"}, "nowhere.csv"),
        ({"leave_out": ["c0", "c99"]}, "leave_out names cases that the cohort lacks: c99"),
        ({"name": "has space"}, "name: must look like 'hippocampus-2'"),
        ({"version": "1"}, "version: must look like '1.0.0'"),
        ({"patient": "("}, "patient: is no regular expression"),
        ({"settings": [1]}, "settings: takes keys with values (got [1])"),
        ({"settings": {}}, "settings.labels: is missing"),
        ({"settings": {"labels": ["shape", "shape"]}}, "names 'shape' more than once"),
        ({"settings": {"labels": ["shape"], "patch": [0, 8]}}, "settings.patch.0: Input should be"),
        ({"settings": {"labels": ["shape"], "image": {"size": [-1, 3]}}}, "settings.image.size.0"),
        ({"settings": {"labels": ["shape"], "image": {"field": True}}}, "image.field crops the"),
        ({"learner": {"steps": 1, "clip": -1}}, "learner.clip: Input should be greater than 0"),
        ({"learner": {"steps": 1, "rate": float("inf")}}, "learner.rate: Input should be a finite"),
        ({"learner": {"steps": 1, "patch": 64}}, "learner.patch: is read by the tasks of the"),
        ({"hold": {"test": 1, "tune": 1}}, "test and tune are the same part"),
        ({"network": {"name": "dynunet-2d", "options": {"width": [8]}}}, "nearest is 'widths'"),
        ({"network": {"name": "dynunet", "options": {"widths": [4, 4, 8]}}}, "as many axes"),
        ({"network": {"name": "dynunet-2d", "options": {"widths": [-4, 8]}}}, "cannot be built"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused_with_the_key(place, tmp_path, change, message):
    with pytest.raises(RecipeError) as caught:
        fit(written(place, SEGMENT, **change), out=tmp_path / "run")
    assert message in str(caught.value)


def test_unreadable_and_unlabelled_cases_are_listed(place, tmp_path):
    lines = (place / "cohort.csv").read_text().splitlines()
    (place / "broken.png").write_bytes(b"no picture")
    lines += ["x1,x1,2,broken.png,,disc", "x2,x2,2,4.png,,"]
    (place / "bad.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(RecipeError) as caught:
        fit(written(place, CLASSIFY, cohort="bad.csv"), out=tmp_path / "run")
    assert "2 of 14 cases cannot be used" in str(caught.value)
    assert "broken.png" in str(caught.value)
    assert "'x2' has no label 'class'" in str(caught.value)


def test_what_cannot_be_judged_is_told_before_the_training(place, tmp_path):
    """Of a part that tests too, and beside what is wrong with the other parts."""
    (place / "empty.png").write_bytes(b"no picture")
    deep = Pillow.fromarray((np.arange(48 * 40, dtype=np.uint16) * 30).reshape(48, 40))
    deep.save(place / "deep.png")
    Pillow.new("L", (40, 48), 7).save(place / "other.png")
    lines = [line + "," for line in (place / "cohort.csv").read_text().splitlines()]
    lines[0] = lines[0][:-1] + ",item:other"
    lines += ["t,t,0,empty.png,,disc,", "u,u,1,deep.png,,disc,", "v,v,2,,,disc,other.png"]
    (place / "late.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(RecipeError) as caught:
        fit(written(place, CLASSIFY, cohort="late.csv"), out=tmp_path / "run")
    said = str(caught.value)
    assert "3 of 15 cases cannot be used" in said
    assert "line 14" in said
    assert "empty.png" in said
    assert "holds values from 0 to 57570, far beyond the range of 0 to 255" in said
    assert "case 'v' lacks the image 'image'; its images: 'other'" in said
    assert not list((tmp_path / "run").glob("**/checkpoint.pt"))


def test_an_item_that_no_column_holds_is_named_with_the_nearest(place, tmp_path):
    text = (place / "cohort.csv").read_text().replace(",image,", ",photo,", 1)
    lines = [f"{line}," for line in text.splitlines()]
    lines[0] += "item:other"
    lines[1] += "1.png"
    (place / "names.csv").write_text("\n".join(lines) + "\n")
    said = {**CLASSIFY["settings"], "image": {"items": ["foto"], "size": [32, 32], "colour": True}}
    with pytest.raises(RecipeError, match=r"image\.items names 'foto'.*'photo', 'other'; the near"):
        fit(written(place, CLASSIFY, cohort="names.csv", settings=said), out=tmp_path / "run")


def test_a_target_that_no_case_has_is_named_with_the_nearest(place, tmp_path):
    said = {**CLASSIFY["settings"], "target": "Class"}
    with pytest.raises(
        RecipeError, match=r"no teaching case has a label 'Class'.*nearest.*'class'"
    ):
        fit(written(place, CLASSIFY, settings=said), out=tmp_path / "run")


def test_a_word_where_a_mask_is_wanted_does_not_teach_an_empty_picture(place, tmp_path):
    text = (place / "cohort.csv").read_text().replace("5.mask.png", "hello")
    (place / "word.csv").write_text(text)
    with pytest.raises(RecipeError, match="'shape' is a word, not a mask"):
        fit(written(place, SEGMENT, cohort="word.csv"), out=tmp_path / "run")


def test_an_empty_cell_teaches_nothing_unless_it_is_said(place, tmp_path):
    lines = (place / "cohort.csv").read_text().splitlines()
    gap = [line.replace("5.mask.png", "") for line in lines]
    (place / "gap.csv").write_text("\n".join(gap) + "\n")
    with pytest.raises(RecipeError, match="has no mask 'shape'; write 'none' in its cell"):
        fit(written(place, SEGMENT, cohort="gap.csv"), out=tmp_path / "run")
    cohort = read_cohort(place / "gap.csv")
    row = next(row for row in cohort.rows if "shape" not in row.labels)
    for absent, known in (("none", True), ("unknown", False)):
        task = create(
            "segmentation", {**SEGMENT["settings"], "absent": absent, "overlapping": True}
        )
        labels = task.encode(open_row(row, cohort), truth=True).targets["labels"]
        assert (labels == (0 if known else 2)).all()
    (place / "said.csv").write_text(
        (place / "cohort.csv").read_text().replace("5.mask.png", "None")
    )
    cohort = read_cohort(place / "said.csv")
    task = create("segmentation", SEGMENT["settings"])
    case = open_row(next(row for row in cohort.rows if row.labels["shape"] == "None"), cohort)
    assert (task.encode(case, truth=True).targets["labels"] == 0).all()


def test_a_grey_picture_is_no_mask(place, tmp_path):
    text = (place / "cohort.csv").read_text()
    (place / "grey.csv").write_text(text.replace("5.mask.png", "5.png"))
    with pytest.raises(RecipeError, match=r"5\.png' is named as a mask and holds \d+ values up to"):
        fit(written(place, SEGMENT, cohort="grey.csv"), out=tmp_path / "run")
    mask = np.asarray(Pillow.open(place / "5.mask.png"))
    soft = np.where(mask > 0, 255, 0).astype(np.uint8)
    soft[0, 0] = 9  # as JPEG leaves it
    Pillow.fromarray(soft).save(place / "soft.png")
    (place / "soft.csv").write_text(text.replace("5.mask.png", "soft.png"))
    with pytest.raises(RecipeError, match="holds 3 values up to 255"):
        fit(written(place, SEGMENT, cohort="soft.csv"), out=tmp_path / "run")
    Pillow.fromarray((mask > 0).astype(np.uint8) + (mask == mask.max())).save(place / "map.png")
    for name in ("map.png", "soft.png#255"):  # a label map; voxels that are named
        (place / "map.csv").write_text(text.replace("5.mask.png", name))
        cohort = read_cohort(place / "map.csv")
        case = open_row(next(r for r in cohort.rows if r.labels["shape"] == name), cohort)
        assert (case["shape"].mask == (mask > 0)).all()


def test_a_part_that_is_held_out_is_named_with_the_nearest(place, tmp_path):
    head, *lines = (place / "cohort.csv").read_text().splitlines()
    parts = [f"{line},{'train' if n % 3 else 'check'}" for n, line in enumerate(lines)]
    parts.insert(0, f"{head},split")
    (place / "parts.csv").write_text("\n".join(parts) + "\n")
    with pytest.raises(RecipeError, match=r"hold names 'chek'.* the nearest is 'check'"):
        fit(
            written(place, SEGMENT, cohort="parts.csv", hold={"test": "chek", "tune": None}),
            out=tmp_path / "run",
        )


def test_a_patch_of_other_axes_is_refused(place, tmp_path):
    settings = {"labels": ["shape"], "patch": [8, 8, 8]}
    with pytest.raises(RecipeError, match="has 2 axes and settings"):
        fit(written(place, SEGMENT, settings=settings), out=tmp_path / "run")


def test_a_memory_that_is_full_before_the_first_step_ends_in_advice(place, tmp_path):
    class Greedy(Classification):
        name = "greedy"

        def encode(self, case, *, truth=False):
            raise MemoryError

    recipe = written(place, {**CLASSIFY, "task": "greedy"})
    with pytest.raises(RecipeError, match=r"machine is full; lower learner\.batch \(now 4\)"):
        fit(recipe, out=tmp_path / "run", tasks=[Greedy])


def test_a_folder_that_cannot_be_written_is_named(place, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder"):
        fit(written(place, SEGMENT), out=tmp_path / "file" / "run")


def test_a_network_that_answers_another_question_is_refused(place, tmp_path):
    network = {"name": "dynunet-2d", "options": {"widths": [4, 4, 4]}}
    with pytest.raises(RecipeError, match="cannot be compared with the truth of the task"):
        fit(written(place, CLASSIFY, network=network), out=tmp_path / "run")


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nlearner: {steps: 1}\nname: b\n")
    with pytest.raises(RecipeError, match="the key 'name' stands twice"):
        fit(path, out=tmp_path / "run")


@pytest.mark.usefixtures("graphless")
def test_resuming_where_nothing_began_says_so(place, tmp_path):
    path = written(place, {**CLASSIFY, "name": "resumed"})
    words = ["fit", str(path), "--resume", "-o", str(tmp_path / "new")]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    assert "no checkpoint in" in first.stderr
    second = CliRunner().invoke(app, words)
    assert second.exit_code == 0
    assert "no checkpoint" not in second.stderr
