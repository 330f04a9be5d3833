"""Disc, zones, axis and quadrants on drawn discs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from phantoms import disc_mask

from osler.errors import InputError
from osler.retina.zones import (
    QUADRANTS,
    annulus,
    axis_of,
    box_of,
    centring,
    disc_geometry,
    quadrant_of,
    share_cut_off,
    zone,
)


def test_a_round_disc():
    disc = disc_geometry(disc_mask((200, 300), (90.0, 140.0), 30))
    assert disc.centre == pytest.approx((90, 140))
    assert disc.radius == pytest.approx(30, abs=0.1)
    assert disc.diameter == pytest.approx(60, abs=0.2)
    assert disc.axes == pytest.approx((60, 60), abs=0.3)
    assert (disc.height, disc.width) == (61, 61)


@pytest.mark.parametrize("tilt", [0.0, 30.0, 90.0, 150.0])
def test_an_oval_disc(tilt):
    h, w = np.mgrid[:200, :200] - 100
    turn = np.radians(tilt)
    major = h * np.cos(turn) + w * np.sin(turn)
    minor = -h * np.sin(turn) + w * np.cos(turn)
    disc = disc_geometry((major / 45) ** 2 + (minor / 30) ** 2 <= 1)
    assert disc.axes == pytest.approx((90, 60), abs=0.4)
    assert abs((disc.tilt - tilt + 90) % 180 - 90) < 1
    assert disc.radius == pytest.approx(np.sqrt(45 * 30), abs=0.1)


def test_specks_beside_the_disc_do_not_count():
    mask = disc_mask((200, 300), (90.0, 140.0), 30)
    speckled = mask.copy()
    speckled[5:8, 5:8] = True
    assert disc_geometry(speckled) == disc_geometry(mask)


def test_no_disc_is_none():
    assert disc_geometry(np.zeros((9, 9), dtype=bool)) is None
    assert box_of(np.zeros((9, 9), dtype=bool)) is None
    with pytest.raises(InputError, match=r"\(9,\)"):
        box_of(np.zeros(9, dtype=bool))


def test_zones_are_rings_of_disc_radii():
    disc = disc_geometry(disc_mask((400, 400), (200.0, 190.0), 30))
    h, w = np.mgrid[:400, :400]
    away = np.hypot(h - disc.centre[0], w - disc.centre[1]) / disc.radius
    assert (zone((400, 400), disc, "zone-b") == ((away >= 2) & (away < 3))).mean() > 0.9999
    assert (zone((400, 400), disc, "zone-c") == ((away >= 2) & (away < 5))).mean() > 0.9999


def test_a_zone_at_the_border_is_cut_off():
    disc = disc_geometry(disc_mask((400, 400), (200.0, 30.0), 30))
    half = int(zone((400, 400), disc, "zone-b").sum())
    assert share_cut_off(disc, "zone-b", pixels=half) == pytest.approx(0.37, abs=0.03)
    whole = disc_geometry(disc_mask((400, 400), (200.0, 200.0), 30))
    seen = int(zone((400, 400), whole, "zone-b").sum())
    assert share_cut_off(whole, "zone-b", pixels=seen) == pytest.approx(0, abs=0.005)


def test_a_ring_beyond_the_image_is_empty():
    assert not annulus((50, 50), centre=(-500.0, 20.0), inner=5, outer=10).any()


@pytest.mark.parametrize("side", [1, -1])
def test_quadrants_of_either_eye(side):
    disc = disc_geometry(disc_mask((400, 400), (200.0, 200.0), 20))
    axis = axis_of(disc, (200.0, 200.0 + side * 100))
    points = np.array([[150.0, 200 + side * 50], [250.0, 200 + side * 50]])
    points = np.concatenate([points, [[150.0, 200 - side * 50], [250.0, 200 - side * 50]]])
    assert [QUADRANTS[i] for i in quadrant_of(points, axis)] == list(QUADRANTS)


def test_the_axis_tilts_with_the_fovea():
    disc = disc_geometry(disc_mask((400, 400), (200.0, 200.0), 20))
    axis = axis_of(disc, (230.0, 300.0))
    assert axis.length == pytest.approx(np.hypot(30, 100))
    assert axis.along(np.array([[230.0, 300.0]]))[0] == pytest.approx([axis.length, 0], abs=1e-9)
    # right of the fovea and a little lower, but still above the tilted line
    assert QUADRANTS[quadrant_of(np.array([[235.0, 350.0]]), axis)[0]] == "superior-temporal"
    assert axis_of(disc, disc.centre) is None
    assert axis_of(disc, (300.0, disc.centre[1])) is None


def test_what_a_photograph_is_centred_on():
    field = disc_mask((400, 400), (200.0, 200.0), 190)
    assert centring(disc_geometry(disc_mask((400, 400), (205.0, 190.0), 20)), field) == "disc"
    assert centring(disc_geometry(disc_mask((400, 400), (205.0, 90.0), 20)), field) == "macula"
    assert centring(disc_geometry(field), np.zeros((400, 400), dtype=bool)) is None


@settings(max_examples=50, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=30)))
def test_any_mask_has_a_sound_geometry(mask):
    disc = disc_geometry(mask)
    if disc is None:
        assert not mask.any()
        return
    assert np.isfinite([*disc.centre, disc.radius, *disc.axes, disc.tilt]).all()
    assert disc.radius > 0
    assert disc.axes[0] >= disc.axes[1] > 0
