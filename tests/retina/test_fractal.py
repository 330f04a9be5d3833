"""Dimensions of sets whose dimension is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from osler.retina.fractal import dimensions


def carpet(levels: int) -> np.ndarray:
    out = np.ones((1, 1), dtype=bool)
    rule = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
    for _ in range(levels):
        out = np.kron(out, rule)
    return out


def gasket(levels: int) -> np.ndarray:
    h, w = np.mgrid[: 2**levels, : 2**levels]
    return (h & w) == 0


def plain_count(mask: np.ndarray, size: int) -> int:
    """The slow and obvious count: fewest boxes over four grids half a box apart."""
    counts = []
    for up in (0, size // 2):
        for left in (0, size // 2):
            h, w = np.nonzero(mask)
            counts.append(len(set(zip((h + up) // size, (w + left) // size, strict=True))))
    return min(counts)


@pytest.mark.parametrize("angle", ["row", "column", "diagonal"])
def test_a_line_has_dimension_one(angle):
    mask = np.eye(512, dtype=bool)
    if angle != "diagonal":
        mask = np.zeros((512, 512), dtype=bool)
        mask[(200, slice(None)) if angle == "row" else (slice(None), 200)] = True
    found = dimensions(mask)
    assert found.d0 == pytest.approx(1, abs=0.005)
    assert found.d1 == pytest.approx(1, abs=0.005)
    assert found.d2 == pytest.approx(1, abs=0.005)


def test_a_filled_square_has_dimension_two():
    found = dimensions(np.pad(np.ones((512, 512), dtype=bool), 37))
    assert (found.d0, found.d1, found.d2) == pytest.approx((2, 2, 2), abs=0.001)


def test_sierpinskis_gasket_is_exact():
    assert dimensions(gasket(9)).d0 == pytest.approx(np.log(3) / np.log(2), abs=0.001)


def test_sierpinskis_carpet_is_near():
    # boxes that are powers of two never fit a set that is made of powers of three
    assert dimensions(carpet(6)).d0 == pytest.approx(np.log(8) / np.log(3), abs=0.03)


def test_a_square_of_any_side_is_near_two():
    # the last row of boxes is only partly filled
    assert dimensions(np.ones((700, 700), dtype=bool)).d0 == pytest.approx(2, abs=0.06)


def test_counts_agree_with_the_slow_way():
    mask = np.random.default_rng(0).random((130, 90)) < 0.01
    box = np.ix_(mask.any(1).nonzero()[0], mask.any(0).nonzero()[0])
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert cut.sum() == mask[box].sum()
    sizes = [2, 4, 8, 16, 32]
    slow = np.polyfit(-np.log(sizes), np.log([plain_count(cut, s) for s in sizes]), 1)[0]
    assert dimensions(mask).d0 == pytest.approx(slow)


def test_it_does_not_matter_where_the_set_lies():
    mask = np.pad(gasket(7), 40)
    moved = np.roll(mask, (5, -11), axis=(0, 1))
    assert dimensions(moved) == dimensions(mask)


def test_nothing_and_almost_nothing_have_none():
    assert dimensions(np.zeros((50, 50), dtype=bool)) is None
    assert dimensions(np.ones((31, 31), dtype=bool)) is None


@settings(max_examples=50, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70)))
def test_any_mask_has_a_finite_dimension_or_none(mask):
    found = dimensions(mask)
    if found is not None:
        assert np.isfinite([found.d0, found.d1, found.d2]).all()
        assert -0.01 <= found.d0 <= 2.3
