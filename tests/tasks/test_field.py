"""The field of view: drawn circles whose truth is known, and real photographs with drawn masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from osler.tasks.field import Field, find_field


def photograph(shape, centre, radius, *, dim=0.0, level=170, seed=0):
    """A lit circle on black with texture; ``dim`` darkens it towards its border."""
    hh, ww = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    distance = np.hypot(hh - centre[0], ww - centre[1])
    noise = np.random.default_rng(seed).normal(0, 6, shape)
    light = (level + noise) * (1 - dim * np.clip(distance / radius, 0, 1) ** 2)
    red = np.where(distance <= radius, light, 3)
    return np.clip(np.stack([red, red * 0.55, red * 0.25]), 0, 255).astype(np.uint8)


def assert_close(field: Field, centre, radius):
    assert field.circular
    assert abs(field.radius - radius) < 0.01 * radius
    assert np.hypot(field.centre[0] - centre[0], field.centre[1] - centre[1]) < 0.01 * radius


@pytest.mark.parametrize(
    ("shape", "centre", "radius"),
    [
        pytest.param((300, 300), (150, 150), 130, id="whole"),
        pytest.param((400, 600), (200, 300), 260, id="clipped at top and bottom"),
        pytest.param((400, 600), (180, 300), 210, id="clipped at the top"),
        pytest.param((400, 600), (230, 300), 210, id="clipped at the bottom"),
        pytest.param((500, 700), (240, 250), 200, id="off centre"),
        pytest.param((1000, 1500), (500, 760), 440, id="reduced"),
    ],
)
def test_drawn_circles_are_found(shape, centre, radius):
    assert_close(find_field(photograph(shape, centre, radius)), centre, radius)


def test_a_dim_edge_does_not_shrink_the_circle():
    image = photograph((500, 640), (250, 320), 230, dim=0.75)
    assert_close(find_field(image), (250, 320), 230)


def test_text_burnt_into_a_corner_is_not_the_field():
    image = photograph((500, 700), (250, 350), 220)
    image[:, 8:30, 8:120:3] = 255
    image[:, 8:30:4, 8:120] = 255
    assert_close(find_field(image), (250, 350), 220)


def test_one_channel_is_enough():
    image = photograph((300, 320), (150, 160), 130)[:1]
    assert_close(find_field(image), (150, 160), 130)


def test_a_square_crop_without_a_border_is_taken_whole():
    image = photograph((300, 300), (150, 150), 400)
    field = find_field(image)
    assert not field.circular
    assert field.box == (0, 0, 300, 300)
    assert field.mask().all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (7, 3), (40, 40), (300, 200), (1100, 700)])
@pytest.mark.parametrize("kind", ["black", "white", "noise", "half"])
def test_frames_that_are_no_photograph_never_raise(shape, kind):
    rng = np.random.default_rng(3)
    image = {
        "black": np.zeros((3, *shape), np.uint8),
        "white": np.full((3, *shape), 255, np.uint8),
        "noise": rng.integers(0, 256, (3, *shape), dtype=np.uint8),
        "half": np.broadcast_to(
            np.where(np.arange(shape[1]) > shape[1] // 2, 200, 0).astype(np.uint8), (3, *shape)
        ),
    }[kind]
    field = find_field(image)
    h0, w0, h1, w1 = field.box
    assert 0 <= h0 < h1 <= shape[0]
    assert 0 <= w0 < w1 <= shape[1]
    assert field.radius > 0
    assert field.mask().shape == shape
    assert field.mask().any()


def test_the_mask_of_a_box_is_that_part_of_the_whole_mask():
    field = find_field(photograph((300, 400), (140, 210), 150))
    h0, w0, h1, w1 = field.box
    whole = field.mask()
    assert (field.mask(field.box) == whole[h0:h1, w0:w1]).all()
    assert whole.sum() == whole[h0:h1, w0:w1].sum()


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(160, 420),
    width=st.integers(160, 420),
    share=st.floats(0.3, 0.6),
    shift=st.tuples(st.floats(-0.08, 0.08), st.floats(-0.08, 0.08)),
    dim=st.floats(0, 0.6),
    seed=st.integers(0, 99),
)
def test_random_circles_are_found(height, width, share, shift, dim, seed):
    side = min(height, width)
    radius = share * side
    centre = (height / 2 + shift[0] * side, width / 2 + shift[1] * side)
    field = find_field(photograph((height, width), centre, radius, dim=dim, seed=seed))
    assert field.circular
    # small pictures: within a pixel counts as right
    assert abs(field.radius - radius) < max(1.0, 0.01 * radius)
    offset = np.hypot(field.centre[0] - centre[0], field.centre[1] - centre[1])
    assert offset < max(1.0, 0.01 * radius)


@pytest.mark.parametrize("name", ["chase-db1", "hrf", "drive"])
def test_real_fields_agree_with_drawn_ones(data_dir, name):
    worst = {}
    for path in sorted((data_dir / name / "images").iterdir()):
        photo = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
        drawn = next((data_dir / name / "fov").glob(f"{path.stem}*"))
        truth = np.asarray(Image.open(drawn).convert("L")) > 0
        found = find_field(photo).mask()
        worst[path.name] = (found & truth).sum() / (found | truth).sum()
    assert len(worst) >= 15
    assert min(worst.values()) >= 0.97, worst
