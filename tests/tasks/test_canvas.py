"""The canvas and the way back: positions, masks, shapes, and nothing outside the field."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from osler.tasks.canvas import draw, draw_mask, plan, undraw, undraw_thin
from osler.tasks.field import Field


def circle(shape, centre=None, radius=None) -> Field:
    centre = centre or ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    radius = radius or 0.45 * min(shape)
    box = (
        max(0, int(np.floor(centre[0] - radius))),
        max(0, int(np.floor(centre[1] - radius))),
        min(shape[0], int(np.ceil(centre[0] + radius)) + 1),
        min(shape[1], int(np.ceil(centre[1] + radius)) + 1),
    )
    return Field(centre, radius, box, shape, circular=True)


def whole(side) -> Field:
    """A square that is all field."""
    return Field(((side - 1) / 2,) * 2, side / 2, (0, 0, side, side), (side, side), circular=False)


def blobs(shape, seed, sigma):
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, sigma) > 0


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


sizes = st.tuples(st.integers(40, 300), st.integers(40, 300))


@settings(max_examples=40, deadline=None)
@given(
    shape=sizes,
    diameter=st.integers(32, 512),
    position=st.tuples(st.floats(-50, 400), st.floats(-50, 400)),
)
def test_positions_go_there_and_back(shape, diameter, position):
    canvas = plan(circle(shape), diameter=diameter)
    assert canvas.to_photo(canvas.to_canvas(position)) == pytest.approx(position, abs=1e-6)
    assert canvas.to_canvas(canvas.to_photo(position)) == pytest.approx(position, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(shape=sizes, diameter=st.integers(32, 512))
def test_canvases_are_multiples_of_32_and_hold_the_content(shape, diameter):
    canvas = plan(circle(shape), diameter=diameter)
    for side, content in zip(canvas.size, canvas.content, strict=True):
        assert side % 32 == 0
        assert content <= side < content + 32
    field = canvas.field
    assert canvas.scale == pytest.approx(diameter / (2 * field.radius))


def test_corners_of_the_box_fall_on_corners_of_the_content():
    canvas = plan(circle((200, 300), (90, 150), 120), diameter=100)
    h0, w0, h1, w1 = canvas.field.box
    assert canvas.to_canvas((h0 - 0.5, w0 - 0.5)) == pytest.approx((-0.5, -0.5))
    end = (canvas.content[0] - 0.5, canvas.content[1] - 0.5)
    assert canvas.to_canvas((h1 - 0.5, w1 - 0.5)) == pytest.approx(end)


@pytest.mark.parametrize("shift", [(0, 0), (17, -23)])
@pytest.mark.parametrize("diameter", [150, 320, 800])
def test_a_dot_is_drawn_where_positions_say(diameter, shift):
    shape = (400, 500)
    field = circle(shape, (200, 250), 190)
    canvas = plan(field, diameter=diameter)
    dot = (230 + shift[0], 260 + shift[1])
    hh, ww = np.mgrid[: shape[0], : shape[1]]
    mask = (hh - dot[0]) ** 2 + (ww - dot[1]) ** 2 <= 8**2
    drawn = draw_mask(mask, canvas).astype(float)
    where = ndimage.center_of_mass(drawn)
    assert where == pytest.approx(canvas.to_canvas(dot), abs=0.3)
    home = undraw(drawn[None].astype(np.float32) / 255, canvas)[0]
    assert ndimage.center_of_mass(home) == pytest.approx(dot, abs=0.5)


@settings(max_examples=15, deadline=None)
@given(shape=st.tuples(st.integers(150, 300), st.integers(150, 300)), seed=st.integers(0, 99))
def test_masks_come_home(shape, seed):
    field = circle(shape)
    mask = blobs(shape, seed, 12) & field.mask()
    canvas = plan(field, diameter=200)
    home = undraw(draw_mask(mask, canvas)[None].astype(np.float32) / 255, canvas)[0]
    assert home.shape == shape
    assert home.dtype == np.float32
    assert dice(home >= 0.5, mask) > 0.97


@settings(max_examples=20, deadline=None)
@given(shape=sizes, diameter=st.integers(32, 300), labels=st.integers(1, 3))
def test_maps_keep_the_native_shape_and_nothing_is_outside(shape, diameter, labels):
    canvas = plan(circle(shape), diameter=diameter)
    home = undraw(np.ones((labels, *canvas.size), np.float32), canvas)
    assert home.shape == (labels, *shape)
    inside = canvas.field.mask()
    assert not home[:, ~inside].any()
    assert home[:, inside] == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(shape=sizes, diameter=st.integers(32, 300), channels=st.sampled_from([1, 3]))
def test_a_drawn_photograph_is_zero_outside_the_field(shape, diameter, channels):
    canvas = plan(circle(shape), diameter=diameter)
    image = np.full((channels, *shape), 200, np.uint8)
    drawn = draw(image, canvas)
    assert drawn.shape == (4, *canvas.size)
    assert drawn.dtype == np.uint8
    assert set(np.unique(drawn[3])) <= {0, 255}
    outside = drawn[3] == 0
    assert not drawn[:3, outside].any()
    assert (drawn[:3, ~outside] == 200).all()


def test_the_drawn_field_has_the_planned_diameter():
    drawn = draw(np.full((3, 700, 900), 99, np.uint8), plan(circle((700, 900)), diameter=256))
    rows = np.flatnonzero(drawn[3].any(axis=1))
    assert rows[-1] - rows[0] + 1 == pytest.approx(256, abs=2)


def test_fine_stripes_are_averaged_not_aliased():
    image = np.zeros((3, 800, 800), np.uint8)
    image[:, :, ::2] = 200
    drawn = draw(image, plan(circle((800, 800)), diameter=90))
    middle = drawn[0, 20:70, 20:70].astype(float)
    assert middle.mean() == pytest.approx(100, abs=3)
    assert middle.std() < 8


@pytest.mark.parametrize(("side", "fine"), [(100, 200), (100, 190), (97, 268)])
def test_a_line_thinner_than_a_pixel_keeps_every_pixel_it_passes_through(side, fine):
    canvas = plan(whole(side), diameter=fine)
    h, w = canvas.content
    lines = np.zeros((2, *canvas.size), np.float32)
    for centre in range(h):  # one row and one column of the canvas at a time
        lines[:] = 0
        lines[0, centre, :w] = 1
        lines[1, :h, centre] = 1
        home = undraw_thin(lines, canvas)
        pixel = int((centre + 0.5) * side / h)
        truth = np.zeros((side, side), bool)
        truth[pixel] = True
        assert np.array_equal(home[0] > 0.5, truth)
        assert np.array_equal(home[1] > 0.5, truth.T)


def test_maps_of_thin_structures_on_a_coarser_canvas_come_home_as_others():
    canvas = plan(whole(300), diameter=256)
    values = np.random.default_rng(1).random((1, *canvas.size), np.float32)
    assert np.array_equal(undraw_thin(values, canvas), undraw(values, canvas))
