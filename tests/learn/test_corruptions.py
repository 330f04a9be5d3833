"""Worse images: sizes, types, severities, and some of them against slow ones."""

import numpy as np
import pytest

from osler.learn.corruptions import CORRUPTIONS, corrupt


@pytest.fixture(scope="module")
def picture():
    hh, ww = np.mgrid[:48, :40]
    disc = np.hypot(hh - 20, ww - 22) < 12
    rng = np.random.default_rng(0)
    return (40 + 150 * disc + rng.normal(0, 4, disc.shape)).clip(0, 255).astype(np.uint8)


EVERY = [(modality, name) for modality, known in CORRUPTIONS.items() for name in known]


@pytest.mark.parametrize(("modality", "name"), EVERY)
def test_each_grows_worse_and_keeps_its_form(modality, name, picture):
    image = np.stack([picture] * 3) if modality == "photograph" else picture[None]
    if modality in ("mr", "ct"):
        image = np.stack([picture] * 4)[None].astype(np.float32)
    away = []
    for severity in range(1, 6):
        seeds = [corrupt(image, name, severity, modality=modality, seed=n) for n in range(3)]
        assert all(one.shape == image.shape and one.dtype == image.dtype for one in seeds)
        gaps = [np.abs(one.astype(float) - image).mean() for one in seeds]
        away.append(np.mean(gaps))
    assert away[0] > 0
    assert away[4] > 1.3 * away[0]
    again = corrupt(image, name, 3, modality=modality, seed=1)
    np.testing.assert_array_equal(again, corrupt(image, name, 3, modality=modality, seed=1))


def test_noise_has_the_size_that_the_table_says(picture):
    image = np.tile(picture.astype(np.float64), (1, 4, 4))
    low, high = np.percentile(image, [1, 99])
    noise = corrupt(image, "noise", 2, modality="ct", seed=1) - image
    assert noise.std() == pytest.approx(0.08 * (high - low), rel=0.03)
    zero = np.zeros((1, 64, 64))
    zero[0, 0, 0] = 1
    said = corrupt(np.tile(zero, (1, 1, 1)) * 100, "noise", 1, modality="mr", seed=1)
    assert said.min() >= 0  # a magnitude


def test_a_bias_field_is_a_smooth_gain(picture):
    image = np.full((1, 32, 32), 100.0)
    image[0, 0, 0] = 0
    gain = corrupt(image, "bias field", 4, modality="mr", seed=2)[0, 1:, 1:] / 100
    assert np.abs(np.log(gain)).max() == pytest.approx(0.5, abs=0.05)
    assert np.abs(np.diff(gain, axis=0)).max() < 0.15


def test_a_patient_at_rest_gives_no_ghosts(picture, monkeypatch):
    monkeypatch.setattr("osler.learn.corruptions._LINES", (0.0,) * 5)
    image = picture[None].astype(np.float64)
    np.testing.assert_allclose(corrupt(image, "motion", 5, modality="mr", seed=1), image, atol=1e-9)


@pytest.mark.parametrize(
    "change", [{"name": "rain"}, {"severity": 6}, {"modality": "smell"}, {"axes": 2}]
)
def test_what_does_not_exist_is_refused(change, picture):
    image = picture if "axes" in change else picture[None]
    said = {"name": "blur", "severity": 1, "modality": "ct", **change}
    with pytest.raises(ValueError, match=r"no modality|no corruption|severity|shape"):
        corrupt(image, said["name"], said["severity"], modality=said["modality"], seed=1)
