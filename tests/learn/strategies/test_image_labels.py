"""Image labels: seeds and their loss against loops, and runs that they teach."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import nn

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.image_labels import (
    UNKNOWN,
    UNSURE,
    ImageLabels,
    Seer,
    activations,
    seed_loss,
    seeds_of,
)
from osler.learn.strategies.mean_teacher import MeanTeacher
from osler.tasks.task import Sample

KEYS = {"column": "shows", "present": {"shape": ["something"]}, "steps": 40, "widths": [8, 16]}


class EnoughError(Exception):
    """Ends a run once what is looked at is there."""


def test_maps_become_seeds():
    maps = np.array([[0.1, 0.3, 0.6, 1.0], [1.0, 0.1, 0.7, 0.0]], np.float32)
    both = np.array([True, True])
    (found,) = seeds_of(maps, both, low=0.2, high=0.5, overlapping=False)
    assert found.tolist() == [2, UNKNOWN, 2, 1]
    found = seeds_of(maps, both, low=0.2, high=0.5, overlapping=True)
    assert found.tolist() == [[0, UNSURE, 1, 1], [1, 0, 1, 0]]
    first = np.array([True, False])  # the second is nowhere, whatever its map says
    (found,) = seeds_of(maps, first, low=0.2, high=0.5, overlapping=False)
    assert found.tolist() == [0, UNKNOWN, 1, 1]
    found = seeds_of(maps, first, low=0.2, high=0.5, overlapping=True)
    assert found.tolist() == [[0, UNSURE, 1, 1], [0, 0, 0, 0]]
    maps[0] = 0  # shown, and its map is silent
    (found,) = seeds_of(maps, both, low=0.2, high=0.5, overlapping=False)
    assert found.tolist() == [2, UNKNOWN, 2, UNKNOWN]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_unknown_voxels_do_not_teach(activation):
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (3, 3, 4, 5))
    codes = [0, 1, 2, UNKNOWN] if activation == "softmax" else [0, 1, UNSURE]
    seeds = rng.choice(codes, (3, 1 if activation == "softmax" else 3, 4, 5))
    total, count = 0.0, 0
    for b, k, h, w in np.ndindex(*seeds.shape):
        seed = seeds[b, k, h, w]
        if activation == "softmax" and seed != UNKNOWN:
            s = scores[b, :, h, w]
            total += math.log(sum(math.exp(one) for one in s)) - s[seed]
            count += 1
        if activation == "sigmoid" and seed != UNSURE:
            s = scores[b, k, h, w]
            total += math.log(1 + math.exp(-s if seed == 1 else s))
            count += 1
    found = seed_loss(torch.from_numpy(scores), torch.from_numpy(seeds), activation)
    assert found.item() == pytest.approx(total / count, rel=1e-9)
    nothing = torch.full_like(torch.from_numpy(seeds), codes[-1])
    assert seed_loss(torch.from_numpy(scores), nothing, activation).item() == 0


@pytest.mark.parametrize("size", [(16, 24), (8, 16, 8)])
def test_the_map_is_that_of_class_activation_mapping(size):
    """The weighted sum of the last features, of which the mean is the score (Zhou et al. 2016)."""
    torch.manual_seed(0)
    seer = Seer(1, 2, [4, 6], dims=len(size)).eval()
    sample = Sample("c", "p", {"image": np.random.default_rng(0).random((1, *size), np.float32)})
    x = torch.from_numpy(sample.inputs["image"])[None]
    with torch.no_grad():
        features = seer.maps[:-1](x)[0].numpy()
        score = seer(x).flatten(2).mean(dim=2)[0].numpy()
    head = seer.maps[-1]
    weight, bias = head.weight.detach().numpy().reshape(2, -1), head.bias.detach().numpy()
    by_hand = np.einsum("kc,c...->k...", weight, features) + bias.reshape(-1, *[1] * len(size))
    pooled = features.reshape(len(features), -1).mean(axis=1)
    np.testing.assert_allclose(score, weight @ pooled + bias, rtol=1e-4, atol=1e-5)
    mode = "trilinear" if len(size) == 3 else "bilinear"
    large = nn.functional.interpolate(torch.from_numpy(by_hand)[None].float(), size, mode=mode)
    expected = np.maximum(large[0].numpy(), 0)
    most = expected.reshape(2, -1).max(axis=1).reshape(-1, *[1] * len(size))
    np.testing.assert_allclose(activations(seer, sample), expected / np.maximum(most, 1e-8),
                               atol=1e-4)  # fmt: skip


@pytest.fixture(scope="module")
def shown(shapes):
    """The shapes, and beside each a picture of noise that shows nothing."""
    lines = ["case_id,patient_id,fold,image,label:shape,variable:shows"]
    for n in range(24):
        noise = np.random.default_rng(100 + n).normal(80, 8, (40, 40))
        Pillow.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(shapes / f"{n}.none.png")
        fold = (n // 2) % 3
        lines.append(f"c{n},p{n},{fold},{n}.png,{n}.mask.png,something")
        lines.append(f"n{n},p{n},{fold},{n}.none.png,,nothing")
    (shapes / "shown.csv").write_text("\n".join(lines) + "\n")
    return "shown.csv"


@pytest.fixture
def marked(segment, shown):
    """A recipe with the masks of a quarter of the cases."""
    segment["settings"] |= {"image": {"size": [40, 40]}, "absent": "none"}
    return {**segment, "cohort": shown, "labels": {"share": 0.25}}


@pytest.mark.usefixtures("graphless")
def test_what_an_image_shows_teaches_where_it_is(recipe, marked, tmp_path):
    path = recipe(marked, strategies={"image-labels": KEYS}, learner={"steps": 6})
    fit(path, out=tmp_path, strategies=[ImageLabels])
    kept = json.loads((tmp_path / "run.json").read_text())["strategies"]["image-labels"]
    assert kept["image_labels"] == 16
    assert kept["seeds"] == 12
    assert kept["dice_of_maps_on_cases_that_tune"]["shape"] > 0.3


def test_the_whole_goes_on_to_the_bit_beside_another(recipe, marked, tmp_path):
    ways = {"image-labels": {**KEYS, "steps": 3}, "mean-teacher": {}}
    path = recipe(marked, strategies=ways, augment="light", learner={"checkpoint_minutes": 0})

    class Taught(MeanTeacher):
        def finished(self, net, context):
            raise EnoughError

    class Tired(MeanTeacher):
        def stepped(self, net, step):
            if step == 3:
                raise KeyboardInterrupt
            super().stepped(net, step)

    with pytest.raises(EnoughError):
        fit(path, out=tmp_path / "whole", strategies=[ImageLabels, Taught])
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[ImageLabels, Tired])
    with pytest.raises(EnoughError):
        fit(path, out=tmp_path / "parts", resume=True, strategies=[ImageLabels, Taught])
    first, second = (
        torch.load(tmp_path / one / "checkpoint.pt", weights_only=True)["net"]
        for one in ("whole", "parts")
    )
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize(
    ("keys", "settings", "said"),
    [
        ({"present": {"ship": ["something"]}}, {}, "needs the values by which shape is there"),
        ({}, {"image": {}}, r"set settings\.image\.size"),
        ({"low": 0.6}, {}, "low is above high"),
    ],
)
def test_what_does_not_go_is_refused(recipe, marked, keys, settings, said):
    marked["settings"] |= settings
    path = recipe(marked, strategies={"image-labels": {**KEYS, **keys}})
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path, strategies=[ImageLabels])


def test_a_column_that_tells_nothing_is_refused(recipe, marked, tmp_path):
    path = recipe(marked, strategies={"image-labels": {**KEYS, "column": "colour"}})
    with pytest.raises(RecipeError, match="no case without a mask has a value of 'colour'"):
        fit(path, out=tmp_path, strategies=[ImageLabels])
    path = recipe(marked, strategies={"image-labels": {**KEYS, "present": {"shape": ["other"]}}})
    with pytest.raises(RecipeError, match="'shows' tells no image with shape from one without"):
        fit(path, out=tmp_path, strategies=[ImageLabels])
