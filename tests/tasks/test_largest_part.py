"""Only the largest part of each class stays; labelling the whole volume is the oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from osler.errors import InputError
from osler.tasks.largest_part import keep_largest


def by_whole(labels: np.ndarray, classes: tuple[int, ...], connectivity: int) -> np.ndarray:
    out = labels.copy()
    structure = ndimage.generate_binary_structure(3, connectivity)
    for one in classes:
        found, count = ndimage.label(labels == one, structure)
        if count:
            sizes = np.bincount(found.ravel())[1:]
            largest = [n for n in range(1, count + 1) if sizes[n - 1] == sizes.max()]
            first = min(largest, key=lambda n: np.flatnonzero(found == n)[0])
            out[(found > 0) & (found != first)] = 0
    return out


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    seed=st.integers(0, 999),
    connectivity=st.sampled_from([1, 2, 3]),
    slab=st.sampled_from([1, 2, 3, 50]),
    background=st.floats(0.0, 0.9),
)
def test_as_by_labelling_the_whole(
    shape: tuple[int, int, int], seed: int, connectivity: int, slab: int, background: float
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(1, 4, shape).astype(np.uint8)
    labels[rng.random(shape) < background] = 0
    expected = by_whole(labels, (1, 3), connectivity)
    ours = labels.copy()
    removed = keep_largest(ours, (1, 3), connectivity=connectivity, slab=slab)
    np.testing.assert_array_equal(ours, expected)
    for one in (1, 3):
        assert removed[one] == (labels == one).sum() - (expected == one).sum()


def test_a_part_that_only_joins_in_a_later_slab() -> None:
    labels = np.zeros((6, 3, 9), np.uint8)
    labels[:, 1, 0] = labels[:, 1, 4] = 2  # two pillars of one arch
    labels[5, 1, 0:5] = 2
    labels[:2, 0:3, 7:9] = 2  # 12 voxels alone: more than a pillar, fewer than the arch
    removed = keep_largest(labels, [2, 9], slab=1)
    assert removed == {2: 12, 9: 0}
    assert (labels == 2).sum() == 15


def test_what_does_not_fit_is_refused() -> None:
    labels = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(InputError, match="counted from 1"):
        keep_largest(labels, [0])
    with pytest.raises(InputError, match="counted from 1"):
        keep_largest(labels, [1], connectivity=4)
    with pytest.raises(InputError, match="integers"):
        keep_largest(labels.astype(float), [1])
