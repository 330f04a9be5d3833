"""Pictures become what the official code makes of them, to the last of their 8 bits."""

import numpy as np
import pytest
from golden import Golden

from osler import models
from osler.errors import RecipeError
from osler.models.preprocessing import Preprocessing, Step

RETFOUND = "retfound-vit-large"
VISIONFM = "visionfm-vit-base"


@pytest.fixture(scope="module")
def golden():
    return Golden("preprocess")


def picture(golden, number):
    return golden.inputs[f"image{number}_uint8_hwc"].numpy().transpose(2, 0, 1)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("name", "options", "array"),
    [
        (RETFOUND, {}, "retfound_eval224"),
        (RETFOUND, {"image_size": 384}, "retfound_eval384"),
        (RETFOUND, {"preprocessing": "notebook"}, "retfound_notebook224"),
        ("retfound-dinov2-vit-large", {}, "retfound_eval224"),
        ("retfound-dinov2-vit-large", {"preprocessing": "notebook"}, "retfound_notebook224"),
        (VISIONFM, {"modality": "fundus"}, "visionfm_cls_Fundus"),
        (VISIONFM, {"modality": "oct"}, "visionfm_cls_OCT"),
        (VISIONFM, {"modality": "slitlamp", "head": "classification"}, "visionfm_cls_SlitLamp"),
        ("deepdr-vit-base", {}, "deepdr_cls448"),
        ("eyefm-vit-large", {}, "eyefm_eval224"),
        ("eyefm-vit-large-pretraining", {}, "eyefm_eval224"),
    ],
)
def test_what_a_network_is_given(golden, name, options, array, number):
    card = models.find(name).card
    said = card.chosen({**card.options, **options}).preprocessing(picture(golden, number))
    assert said.dtype == np.float32
    want = golden.outputs[f"{array}_image{number}_every4"].numpy()
    np.testing.assert_allclose(said[:, ::4, ::4], want, rtol=0, atol=1e-5)
    mean, std = golden.outputs[f"{array}_image{number}_mean_std_per_channel"].numpy()
    # the stored means were summed in single precision
    np.testing.assert_allclose(said.astype(np.float64).mean((1, 2)), mean, rtol=0, atol=1e-3)
    np.testing.assert_allclose(said.astype(np.float64).std((1, 2)), std, rtol=0, atol=1e-3)


@pytest.mark.parametrize("number", [0, 1])
def test_the_picture_before_it_is_normalised(golden, number):
    steps = models.find(RETFOUND).card.preprocessing.steps[:2]
    said = Preprocessing(steps=steps)(picture(golden, number))
    want = golden.outputs[f"retfound_eval224_image{number}_uint8_before_norm"].numpy()
    assert np.array_equal(said, want)


def test_a_network_carries_the_preprocessing_of_its_options():
    small = {"image_size": 32, "patch_size": 16, "embed_dim": 8, "depth": 1, "num_heads": 1}
    net = models.create(RETFOUND, weights="random", **small, preprocessing="notebook")
    assert net.card.preprocessing.steps[-1].standardise
    assert models.find(RETFOUND).card.preprocessing.steps[-1].mean
    with pytest.raises(
        RecipeError, match="no preprocessing 'paper'; beside its own it has 384, no"
    ):
        models.create(RETFOUND, weights="random", **small, preprocessing="paper")


def test_every_alternative_can_be_done():
    for system in models.SYSTEMS:
        card = system.card
        for preprocessing in card.alternatives.values():
            assert preprocessing(np.zeros((3, 30, 40), np.uint8)).shape[0] == preprocessing.channels


def test_the_mean_of_a_large_picture_is_exact():
    wide = np.random.default_rng(0).normal(180, 2, (900, 1200, 3)).clip(0, 255)
    said = Step(standardise=True).apply(wide.astype(np.uint8)).astype(np.float64)
    np.testing.assert_allclose(said.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(said.std((0, 1)), 1, atol=1e-5)
