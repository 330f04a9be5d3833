"""The canvases of published image-and-language networks, with their official code as the judge."""

import numpy as np
import pytest
import torch
from golden import Golden
from pydantic import ValidationError

from osler.models.preprocessing import Preprocessing

CANVAS = [{"divide": 255}, {"resize_long": 512}, {"pad": 512}]
SAMPLED = [CANVAS[0], {"resize_long": 512, "antialias": False}, CANVAS[2]]
MEANS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
GREY = {"mean": [0.5862785803043838], "std": [0.27950088968644304]}
CHEST = [{"pad_square": 0}, {"grey": 1}, {"resize": [56, 56], "interpolation": "bicubic"}]
CASES = [
    ("flair", CANVAS, "image0_uint8_hwc", "preprocessed0"),
    ("flair", CANVAS, "image1_uint8_hwc", "preprocessed1"),
    ("keepfit", CANVAS, "image0_uint8_hwc", "preprocessed0_torchvision_ge_0.17_antialias"),
    ("keepfit", SAMPLED, "image0_uint8_hwc", "preprocessed0_old_torchvision_no_antialias"),
    ("retizero", [{"resize": [224, 224]}, CANVAS[0], MEANS], "image_uint8_hwc", "preprocessed"),
    ("medclip", [*CHEST, CANVAS[0], GREY], "grey_uint8_hw", "preprocessed"),
]


@pytest.mark.parametrize(("system", "steps", "picture", "output"), CASES)
def test_pictures_become_what_the_official_code_makes_of_them(system, steps, picture, output):
    golden = Golden(system)
    taken = golden.inputs[picture].numpy()
    taken = taken[None] if taken.ndim == 2 else taken.transpose(2, 0, 1)
    channels = golden.outputs[output].shape[1]
    made = Preprocessing(steps=steps, channels=channels)(taken)
    golden.agrees(torch.from_numpy(made)[None], output, atol=1e-5)


def test_sampling_without_antialiasing_is_torchs():
    picture = np.random.default_rng(0).integers(0, 256, (3, 90, 35), dtype=np.uint8)
    steps = Preprocessing(steps=[{"divide": 1}, {"resize": [20, 50], "antialias": False}])
    due = torch.nn.functional.interpolate(
        torch.from_numpy(picture[None]).float(), size=(20, 50), mode="bilinear"
    )
    np.testing.assert_allclose(steps(picture), due[0].numpy(), atol=1e-3)


def test_without_antialiasing_only_bilinear_is_known():
    with pytest.raises(ValidationError, match="the interpolation is bilinear"):
        Preprocessing(steps=[{"resize": [8, 8], "interpolation": "bicubic", "antialias": False}])


def test_the_steps_follow_a_network_of_another_size():
    cropped = Preprocessing(steps=[{"resize_short": 256}, {"centre_crop": 224}, {"divide": 255}])
    assert cropped.for_size(224) is cropped
    half = cropped.for_size(112)
    assert [one.side for one in half.steps] == [128, 112, None]
    picture = np.zeros((3, 60, 200), np.uint8)
    assert half(picture).shape == (3, 112, 112)
    assert Preprocessing(steps=CANVAS).for_size(64)(picture).shape == (3, 64, 64)


def test_a_line_of_pixels_still_has_one_after_resizing():
    canvas = Preprocessing(steps=[{"divide": 255}, {"resize_long": 32}, {"pad": 32}])
    assert canvas(np.full((3, 1, 400), 255, np.uint8))[0].sum() == pytest.approx(32)
