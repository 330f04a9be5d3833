"""Worse images and ECGs: sizes, types, severities, and some of them against slow ones."""

import numpy as np
import pytest
from scipy import ndimage

from osler.learn.corruptions import CORRUPTIONS, SIGNAL_CORRUPTIONS, corrupt, corrupt_signal


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


@pytest.mark.parametrize("severity", [1, 5])
def test_motion_is_the_mean_of_the_image_along_a_path(severity, picture):
    image = np.stack([picture, 255 - picture]).astype(np.float64)
    length = {1: 0.04, 5: 0.25}[severity] * 40
    angle = np.random.default_rng((3, severity)).uniform(0, np.pi)
    places = np.linspace(-0.5, 0.5, 2 * int(np.ceil(length)) + 1) * length
    slow = np.mean([
        ndimage.shift(image, (0, at * np.sin(angle), at * np.cos(angle)), order=1, mode="nearest")
        for at in places
    ], axis=0)  # fmt: skip
    fast = corrupt(image, "motion", severity, modality="ct", seed=3)
    np.testing.assert_allclose(fast, slow, atol=1e-9)
    np.testing.assert_allclose(
        corrupt(np.stack([image] * 2, 1), "motion", severity, modality="ct", seed=3)[:, 1], slow,
        atol=1e-9,
    )  # fmt: skip


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


RATE = 500.0


@pytest.fixture(scope="module")
def leads():
    """Twelve leads of beats, narrow waves of unequal heights, over 20 s."""
    times = np.arange(int(20 * RATE)) / RATE
    beats = sum(np.exp(-(((times - at) / 0.02) ** 2)) for at in np.arange(0.4, 20, 0.8))
    return np.outer(np.linspace(0.4, 2, 12), beats)


NOISES = [name for name in SIGNAL_CORRUPTIONS["ecg"] if name != "lead loss"]


@pytest.mark.parametrize(("severity", "decibels"), [(1, 24), (5, 0)])
@pytest.mark.parametrize("name", NOISES)
def test_noise_of_an_ecg_has_the_ratio_of_the_stress_test(name, severity, decibels, leads):
    noise = corrupt_signal(leads, name, severity, rate=RATE, seed=1) - leads
    for lead, of in zip(leads, noise, strict=True):  # one lead at a time, by the definition
        power = (lead.max() - lead.min()) ** 2 / 8
        said = 10 * np.log10(power / (sum(one * one for one in of.tolist()) / len(of)))
        assert said == pytest.approx(decibels, abs=0.1)
    again = corrupt_signal(leads, name, severity, rate=RATE, seed=1) - leads
    np.testing.assert_array_equal(again, noise)
    assert np.corrcoef(noise)[0, 1] < 0.9  # each lead has its own


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("baseline wander", 0, 0.6), ("power line", 49.9, 150.1), ("muscle noise", 19.9, 150.1)],
)
def test_noise_of_an_ecg_lies_where_the_body_and_the_mains_put_it(name, low, high, leads):
    noise = corrupt_signal(leads, name, 4, rate=RATE, seed=2) - leads
    power = np.square(np.abs(np.fft.rfft(noise, axis=1)))
    frequencies = np.fft.rfftfreq(noise.shape[1], 1 / RATE)
    inside = (frequencies >= low) & (frequencies <= high)
    assert power[:, inside].sum() > 0.999 * power.sum()
    if name == "power line":
        assert frequencies[power[0].argmax()] == 50


def test_an_electrode_that_moves_shifts_the_baseline_which_comes_back():
    pulse = np.zeros((12, int(20 * RATE)))
    pulse[:, :20] = 20  # flat but for what the size of the noise is taken from
    noise = corrupt_signal(pulse, "electrode motion", 5, rate=RATE, seed=3) - pulse
    steps = np.diff(noise, axis=1)
    jumps = np.abs(steps) > 0.05 * noise.std()
    assert 5 < jumps.sum(axis=1).mean() < 40  # about one a second for 20 s
    away = noise - np.median(noise, axis=1, keepdims=True)
    assert np.abs(steps[~jumps]).mean() < 0.01 * np.abs(away).mean()


def test_lost_leads_are_flat_and_the_others_as_they_were(leads):
    for severity, lost in enumerate([1, 2, 4, 5, 6], 1):
        worse = corrupt_signal(leads, "lead loss", severity, rate=RATE, seed=4)
        flat = ~worse.any(axis=1)
        assert flat.sum() == lost
        np.testing.assert_array_equal(worse[~flat], leads[~flat])


def test_a_signal_keeps_its_type_and_its_gaps(leads):
    whole = (leads * 1000).astype(np.int16)
    worse = corrupt_signal(whole, "muscle noise", 5, rate=RATE, seed=1)
    assert worse.dtype == np.int16
    gap = leads.astype(np.float32)
    gap[3, 100:200] = np.nan
    worse = corrupt_signal(gap, "power line", 2, rate=RATE, seed=1)
    assert worse.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(worse), np.isnan(gap))
    slow = leads[:, ::5]  # at 100 Hz the mains cannot be seen
    np.testing.assert_array_equal(corrupt_signal(slow, "power line", 5, rate=100, seed=1), slow)


@pytest.mark.parametrize(
    "change", [{"name": "rain"}, {"severity": 0}, {"modality": "eeg"}, {"axes": 1}]
)
def test_a_signal_corruption_that_does_not_exist_is_refused(change, leads):
    said = {"name": "lead loss", "severity": 1, "modality": "ecg", **change}
    with pytest.raises(ValueError, match=r"no modality|no corruption|severity|shape"):
        corrupt_signal(
            leads[0] if "axes" in change else leads,
            said["name"],
            said["severity"],
            rate=RATE,
            modality=said["modality"],
            seed=1,
        )
