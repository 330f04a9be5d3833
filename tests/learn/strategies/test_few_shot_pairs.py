"""Few-shot ways on a pair of towers that Osler trained and kept, through whole runs."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from osler import models
from osler.learn.fitting import fit
from osler.models.image_text import keep_pair

RECIPE = """
name: few
task: classification
cohort: cohort.csv
hold: {{test: test, tune: tune}}
settings:
  image: {{items: [photo], size: [32, 32], colour: true}}
  target: kind
network: {{name: image-text, checkpoint: pair}}
strategies:
  {way}
learner: {{steps: 2, batch: 4, rate: 0.01, warmup: 1, validate_every: 2, graph: false}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("few")
    rng = np.random.default_rng(0)
    with (place / "cohort.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case_id", "patient_id", "split", "photo", "label:kind"])
        for n in range(14):
            pixels = rng.integers(0, 60, (16, 16, 3)).astype(np.uint8)
            pixels[..., n % 2] += 150
            Pillow.fromarray(pixels).save(place / f"{n}.png")
            part = "train" if n < 8 else "tune" if n < 11 else "test"
            writer.writerow([f"c{n}", f"p{n}", part, f"{n}.png", ("red", "green")[n % 2]])
    torch.manual_seed(0)
    pair = models.create(
        "image-text", weights="random", image_size=32, proj_dim=8, text_dim=16, longest=12,
        vision_options={"layers": [1, 1], "widths": [8, 8], "stem": 8},
        vocabulary=["fundus", "green", "of", "photograph", "red"],
    )  # fmt: skip
    keep_pair(pair, place / "pair", caption="a picture of {}")
    return place


def test_a_kept_pair_is_the_pair(folder):
    net = models.create("image-text", checkpoint=folder / "pair")
    assert net.caption == "a picture of {}"
    assert net.vocabulary == ("fundus", "green", "of", "photograph", "red")
    texts = net.encode_text(["a red photograph", "green"])
    assert torch.allclose(texts.norm(dim=1), torch.ones(2))
    pixels = np.random.default_rng(0).integers(0, 255, (3, 20, 24)).astype(np.uint8)
    said = net.zero_shot([pixels], ["red", "green"])
    assert said.probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    "way",
    [
        "linear-probe:",
        "clip-adapter: {ratio: 0.5}",
        "tip-adapter: {fine_tune: true}",
        "learned-prompts: {length: 2}",
    ],
)
def test_few_cases_teach_a_pair(folder, way, tmp_path, request):
    if not way.startswith("clip-adapter"):  # the graphs of the others are looked at elsewhere
        request.getfixturevalue("graphless")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(way=way))
    run = fit(path, out=tmp_path / "run")
    assert {one["name"] for one in run.metrics} >= {"macro AUROC", "accuracy"}
