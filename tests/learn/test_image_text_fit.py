"""A pair of towers trained on coloured pictures answers by words, with and without torch."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Pillow

from osler import bundles
from osler.batch.evaluation_rows import Judge
from osler.bundles.answering import answer
from osler.bundles.image_text import asked as other
from osler.bundles.image_text import embedded
from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.errors import BundleError, InputError, RecipeError
from osler.learn.fitting import fit
from osler.record import Case, Image

COLOURS = {"red spots": (220, 30, 30), "green haze": (30, 200, 40), "blue ring": (30, 40, 220)}
RECIPE = """
name: colours
task: image-text
cohort: cohort.csv
hold: {{test: test, tune: tune}}
settings:
  image: {{items: [photo], size: [32, 32], colour: true}}
  target: keywords
  caption: a picture of {{}}
  text: {{encoder: {encoder}, longest: 12}}
  knowledge: {{training: 0.3, answering: true, looks: {{green haze: [grass colour, a lawn]}}}}
  least: 4
  {more}
network:
  options:
    {options}
    vision_options: {{layers: [1, 1], widths: [8, 16], stem: 8}}
    proj_dim: 16
learner:
  {{steps: {steps}, batch: 12, rate: 0.01, warmup: 2, ema: 0.8, validate_every: 20, graph: false}}
"""


def picture(colour, rng):
    pixels = rng.integers(0, 60, (24, 24, 3)).astype(np.uint8)
    pixels[6:18, 6:18] = np.clip(np.array(colour) + rng.integers(-25, 25, (12, 12, 3)), 0, 255)
    return pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty pictures of one colour each, and their keywords with a full-width comma."""
    place = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    with (place / "cohort.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case_id", "patient_id", "split", "photo", "label:keywords"])
        for n in range(60):
            name = list(COLOURS)[n % 3]
            Pillow.fromarray(picture(COLOURS[name], rng)).save(place / f"{n}.png")
            part = "train" if n < 36 else "tune" if n < 48 else "test"
            more = "\uff0cold scar" if n % 12 == 0 else ""
            writer.writerow([f"c{n}", f"p{n}", part, f"{n}.png", name + more])
    return place


def recipe(folder, *, name="recipe", encoder="words", options="text_dim: 16", more="", steps=40):
    path = folder / f"{name}.yaml"
    path.write_text(RECIPE.format(encoder=encoder, options=options, more=more, steps=steps))
    return path


@pytest.fixture(scope="module")
def run(folder):
    return fit(recipe(folder), out=folder / "run")


def asked(bundle, colour):
    pixels = np.ascontiguousarray(picture(colour, np.random.default_rng(5)).transpose(2, 0, 1))
    case = Case(id="new", items={"photo": Image(name="photo", array=pixels)})
    return answer(bundle, case)[0]


def test_classes_are_told_apart_by_their_names(run):
    figures = {one["name"]: one["value"] for one in run.metrics}
    assert figures["zero-shot accuracy"] == 1
    assert figures["precision at 1, picture to text"] > 0.9
    assert figures["precision at 5, text to picture"] > 0.75  # a text is right for 4 of 12
    assert figures["chance: precision, text to picture"] < 0.5
    bundle = bundles.load(run.bundle)
    for name, colour in COLOURS.items():
        said = asked(bundle, colour)
        assert said.value == name
        assert said.probability == max(said.probabilities.values())
        assert set(said.prediction_set) >= {name}


def test_a_bundle_is_asked_for_other_words(run):
    """Phrases of the training in place of its names, in any ensemble."""
    bundle = bundles.load(run.bundle)
    labels = {"lawn": ["a lawn", "grass colour"], "sea": ["blue ring"]}
    for ensemble in ("mean", "max", "direction"):
        told = other(bundle, labels, ensemble=ensemble)
        assert asked(told, COLOURS["green haze"]).value == "lawn"
        assert asked(told, COLOURS["blue ring"]).value == "sea"
    same = other(bundle, list(COLOURS), knowledge=True)
    for colour in COLOURS.values():  # the graph's own classes, by its encoder of texts
        one, two = asked(bundle, colour), asked(same, colour)
        for name, p in one.probabilities.items():
            assert two.probabilities[name] == pytest.approx(p, abs=2e-2)
    rows = embedded(bundle, ["a picture of red spots", "a picture of blue ring"])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-3)


def test_the_command_line_answers_without_torch(run, folder, tmp_path):
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'tokenizers'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from osler.cli import main\n"
        "sys.argv = ['osler', 'predict', *sys.argv[1:]]\n"
        "main()\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(run.bundle), str(folder / "48.png"),
         str(folder / "49.png"), "--labels", "grass colour, red spots", "-o", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    with (tmp_path / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == ["red spots", "grass colour"]
    assert set(rows[0]) == {"input", "case", "label", "p_label_grass colour", "p_label_red spots"}


def test_an_index_finds_pictures_by_keywords_and_keywords_by_pictures(run, folder, tmp_path):
    from osler.batch import indexing, retrieving

    ask = indexing.Ask(str(run.bundle), texts=("keywords",))
    batch, index = indexing.index([str(folder / "cohort.csv")], tmp_path / "index", ask=ask)
    assert {one.status for one in batch.outcomes} == {"read"}
    rows = list(csv.DictReader((folder / "cohort.csv").read_text("utf-8").splitlines()))
    shown = {row["photo"].rpartition("/")[2]: row["label:keywords"] for row in rows}
    # keywords lie where the caption around them was taught, whether it is said or not
    for query in ("red spots", "a picture of red spots"):
        found = retrieving.search(query, tmp_path / "index", k=5, kind="image", index=index)
        names = [shown[hit.entry.file.rpartition("/")[2]] for hit in found.hits]
        assert sum("red spots" in one for one in names) >= 4
    photo = next(folder / row["photo"] for row in rows if "green haze" in row["label:keywords"])
    found = retrieving.search(photo, tmp_path / "index", k=3, kind="text", index=index)
    lines = [int(hit.entry.place.removeprefix("line ")) - 2 for hit in found.hits]
    assert sum("green haze" in rows[line]["label:keywords"] for line in lines) >= 2


def test_an_evaluation_of_the_bundle_gives_what_the_run_gave(run, folder):
    """Where texts lie comes of the bundle's own encoder."""
    cohort = read_cohort(folder / "cohort.csv")
    judge = Judge.of(bundles.load(run.bundle), cohort)
    kept = json.loads((run.folder / "cases.json").read_text())
    for row in [one for one in cohort.rows if one.split == "test"][:3]:
        said, due = judge.row(open_row(row, cohort)), kept[row.case_id]
        assert said["keywords"] == due["keywords"]
        for key in ("text", "image", "probability"):
            np.testing.assert_allclose(said[key], due[key], atol=5e-3)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("red spots", "a list of names"),
        (["red spots"], "name 2 to"),
        (["a", "b", "a"], "named twice"),
        (["a", " "], "is empty"),
        (["a", "b" * 400], "more than 300 letters"),
        (["a", "b\u202ec"], "cannot be printed"),
        ({"a": ["x"], "b": []}, "is empty"),
    ],
)
def test_labels_that_cannot_be_asked_are_refused(run, labels, says):
    with pytest.raises(RecipeError, match=says):
        other(bundles.load(run.bundle), labels)


def test_what_a_bundle_does_not_hold_is_said(run, tmp_path):
    bundle = bundles.load(run.bundle)
    with pytest.raises(BundleError, match="not listed"):
        bundle.beside("other.onnx", {})
    with pytest.raises(InputError, match="one sentence or more"):
        embedded(bundle, [])
    card = bundle.card.model_copy(update={"task": "classification", "settings": {}})
    with pytest.raises(BundleError, match="reads no texts"):
        embedded(bundles.Bundle(card, bundle.folder), ["a"])
    with pytest.raises(RecipeError, match=r"has no \{\} for"):
        other(bundle, ["a", "b"], caption="a picture")
