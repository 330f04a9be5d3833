"""Lesion numbers on drawn lesions, against a slow flood fill."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from phantoms import disc_mask

from osler.retina.lesion_measures import lesions_of
from osler.retina.zones import axis_of, disc_geometry


def flood(mask: np.ndarray) -> list[int]:
    """Sizes of the pieces, one pixel at a time."""
    left = set(zip(*np.nonzero(mask), strict=True))
    sizes = []
    while left:
        todo, size = [left.pop()], 0
        while todo:
            h, w = todo.pop()
            size += 1
            for near in [(h + i, w + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    todo.append(near)
        sizes.append(size)
    return sorted(sizes)


def test_drawn_lesions():
    mask = np.zeros((300, 400), dtype=bool)
    mask[50:55, 60:64] = True
    mask[55, 64] = True  # touches by a corner
    mask[200:203, 300:310] = True
    found = lesions_of(mask)
    assert len(found) == 2
    assert sorted(found.sizes) == [21, 30]
    assert found.area == 51
    assert found.nearest((201.0, 290.0)) == pytest.approx(10)
    assert found.nearest((201.0, 305.0)) == 0


def test_quadrants_are_those_of_the_centres():
    disc = disc_geometry(disc_mask((400, 400), (200.0, 200.0), 20))
    axis = axis_of(disc, (200.0, 300.0))
    mask = np.zeros((400, 400), dtype=bool)
    mask[100:105, 300:305] = True
    assert lesions_of(mask).quadrants(axis) == ("superior-temporal",)
    mask[300:305, 100:105] = True
    assert lesions_of(mask).quadrants(axis) == ("superior-temporal", "inferior-nasal")


def test_no_lesion():
    found = lesions_of(np.zeros((20, 20), dtype=bool))
    assert len(found) == 0
    assert found.area == 0
    assert found.nearest((1.0, 1.0)) is None


@settings(max_examples=50, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=25)))
def test_pieces_agree_with_a_flood_fill(mask):
    found = lesions_of(mask)
    assert sorted(found.sizes) == flood(mask)
    assert found.area == mask.sum()
    assert np.isfinite(found.centroids).all()
