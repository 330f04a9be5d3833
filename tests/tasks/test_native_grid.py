"""The return to the native grid, with torch's interpolation of all scores as the oracle."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, special

from osler.errors import InputError
from osler.tasks.grid import Grid
from osler.tasks.native_grid import (
    native_labels,
    native_masks,
    native_probabilities,
    resample,
)
from osler.tasks.sampling import Gathered, between, same_extent

Shape = tuple[int, int, int]


def full(scores: np.ndarray, target: Shape) -> np.ndarray:
    """All scores, interpolated by torch."""
    torch = pytest.importorskip("torch")
    given = torch.from_numpy(np.ascontiguousarray(scores, np.float32))[None]
    size = tuple(target)
    found = torch.nn.functional.interpolate(given, size=size, mode="trilinear", align_corners=False)
    return np.asarray(found[0].numpy())


def assert_labels_of(whole: np.ndarray, labels: np.ndarray) -> None:
    """Equal in every voxel; where torch fuses no arithmetic, in those that no rounding moves."""
    torch = pytest.importorskip("torch")
    expected = whole.argmax(axis=0)
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        top = np.sort(whole, axis=0)
        clear = top[-1] - top[-2] > 1e-4
        assert clear.mean() > 0.9
        labels, expected = labels[clear], expected[clear]
    np.testing.assert_array_equal(labels, expected)


def noise(labels: int, shape: Shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(labels, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((32, 32, 32), (40, 40, 40)),
        ((20, 31, 40), (27, 40, 53)),
        ((40, 30, 20), (21, 17, 60)),
        ((7, 80, 90), (9, 100, 71)),
        ((1, 5, 7), (3, 1, 9)),
        ((3, 4, 5), (1, 1, 1)),
        ((1, 1, 1), (3, 4, 5)),
        ((12, 12, 12), (12, 12, 12)),
    ],
)
def test_every_voxel_as_by_interpolating_all_scores(source: Shape, target: Shape) -> None:
    scores = noise(6, source)
    whole = full(scores, target)
    np.testing.assert_allclose(resample(scores, same_extent(source, target)), whole, atol=2e-5)
    labels = native_labels(scores, same_extent(source, target))
    assert labels.dtype == np.uint8
    assert_labels_of(whole, labels)


@settings(max_examples=40, deadline=None)
@given(
    source=st.tuples(*[st.integers(1, 24)] * 3),
    target=st.tuples(*[st.integers(1, 40)] * 3),
    seed=st.integers(0, 99),
)
def test_any_pair_of_grids(source: Shape, target: Shape, seed: int) -> None:
    scores = noise(4, source, seed)
    labels = native_labels(scores, same_extent(source, target), memory=seed * 10_000)
    assert_labels_of(full(scores, target), labels)


@pytest.mark.parametrize("target", [(66, 3, 10), (31, 37, 41), (30, 32, 48)])
def test_scores_that_differ_by_a_rounding(target: Shape) -> None:
    torch = pytest.importorskip("torch")
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("torch rounds otherwise on this processor")
    source = (24, 26, 38)
    scores = np.repeat(noise(1, source), 4, axis=0)
    scores *= 1 + noise(4, source, 1) * 2e-7
    whole = full(scores, target)
    np.testing.assert_array_equal(
        native_labels(scores, same_extent(source, target)), whole.argmax(axis=0)
    )


def test_of_equal_scores_the_lowest_class_wins() -> None:
    # halves of small whole numbers are exact, so that equal scores stay equal
    scores = np.random.default_rng(0).integers(0, 3, size=(5, 8, 9, 10)).astype(np.float32)
    whole = full(scores, (16, 18, 20))
    ties = (whole == whole.max(axis=0)).sum(axis=0) > 1
    assert ties.mean() > 0.05
    labels = native_labels(scores, same_extent((8, 9, 10), (16, 18, 20)))
    np.testing.assert_array_equal(labels, whole.argmax(axis=0))
    assert (native_labels(np.zeros_like(scores), same_extent((8, 9, 10), (9, 9, 9))) == 0).all()


def test_memory_and_threads_change_nothing() -> None:
    scores = noise(3, (30, 31, 32))
    way = same_extent((30, 31, 32), (41, 42, 43))
    tilted = Gathered(tilt(), (30, 31, 32), (41, 42, 43))
    for one in (way, tilted):
        first = resample(scores, one, threads=1)
        for memory in (1, 300_000, 1_000_000, 100_000_000):
            for threads in (1, 3):
                again = resample(scores, one, memory=memory, threads=threads)
                np.testing.assert_array_equal(first, again)
    wanted = native_labels(scores, way, threads=1)
    np.testing.assert_array_equal(wanted, native_labels(scores, way, memory=1, threads=4))


def tilt() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.7, 0.05, 0.0], [-0.04, 0.72, 0.03], [0.0, 0.02, 0.75]]
    matrix[:3, 3] = (0.6, 1.1, -2.0)
    return matrix


def test_tilted_grids_agree_with_scipy() -> None:
    source, target = (14, 16, 18), (20, 22, 24)
    scores = noise(4, source)
    whole = np.stack(
        [
            ndimage.affine_transform(
                volume.astype(np.float64), tilt(), output_shape=target, order=1, mode="nearest"
            )
            for volume in scores
        ]
    )
    place = (
        np.einsum("ij,jdhw->idhw", tilt()[:3, :3], np.indices(target))
        + tilt()[:3, 3, None, None, None]
    )
    inside = ((place >= -0.5) & (place <= np.array(source)[:, None, None, None] - 0.5)).all(axis=0)
    assert 0.2 < inside.mean() < 0.98
    way = Gathered(tilt(), source, target)
    ours = resample(scores, way, outside=-9)
    np.testing.assert_allclose(ours[:, inside], whole[:, inside], atol=1e-5)
    assert (ours[:, ~inside] == -9).all()
    labels = native_labels(scores, way, outside=3)
    top = np.sort(whole, axis=0)
    clear = inside & (top[-1] - top[-2] > 1e-5)
    assert clear.sum() > 0.999 * inside.sum()
    np.testing.assert_array_equal(labels[clear], whole.argmax(axis=0)[clear])
    assert (labels[~inside] == 3).all()


def test_a_native_grid_that_reaches_further_is_background_there() -> None:
    source = Grid((6, 6, 6), np.diag([2.0, 2.0, 2.0, 1.0]))
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -3.0
    target = Grid((20, 20, 20), affine)
    scores = np.stack([np.zeros((6, 6, 6)), np.ones((6, 6, 6))])
    labels = native_labels(scores, between(source, target))
    # the source's faces are at -1 and 11 mm: centres from -1 to 11 are within them
    assert labels[2:15, 2:15, 2:15].all()
    assert labels.sum() == 13**3
    both = native_probabilities(scores, between(source, target), [1])
    assert ((both[0] > 0) == (labels == 1)).all()
    (mask, _) = native_masks(scores + 1, between(source, target), [0.5, 0.5])
    np.testing.assert_array_equal(mask, labels == 1)


def test_probabilities_of_single_classes() -> None:
    scores = noise(5, (10, 11, 12)) * 30
    target = (14, 9, 17)
    way = same_extent((10, 11, 12), target)
    whole = special.softmax(full(scores, target).astype(np.float64), axis=0)
    some = native_probabilities(scores, way, [3, 0], memory=1)
    np.testing.assert_allclose(some, whole[[3, 0]], atol=2e-5)
    alone = native_probabilities(scores, way, [2], activation="sigmoid")
    np.testing.assert_allclose(alone[0], special.expit(full(scores, target)[2]), atol=1e-5)
    plain = native_probabilities(scores, way, [4], activation="none")
    np.testing.assert_allclose(plain[0], full(scores, target)[4], atol=1e-5)


def test_masks_of_labels_that_overlap() -> None:
    scores = noise(3, (10, 11, 12))
    target = (14, 9, 17)
    thresholds = (0.5, 0.2, 0.9)
    whole = special.expit(full(scores, target).astype(np.float64))
    masks = list(native_masks(scores, same_extent((10, 11, 12), target), thresholds))
    assert len(masks) == 3
    for mask, probability, threshold in zip(masks, whole, thresholds, strict=True):
        assert mask.dtype == bool
        clear = np.abs(probability - threshold) > 1e-6
        np.testing.assert_array_equal(mask[clear], (probability >= threshold)[clear])
    at = np.full((1, 2, 2, 2), 0.25, np.float32)
    (mask,) = native_masks(at, same_extent((2, 2, 2), (3, 3, 3)), [0.25], activation="none")
    assert mask.all()


def test_half_precision_more_classes_and_a_given_array() -> None:
    scores = noise(300, (3, 4, 5)).astype(np.float16)
    way = same_extent((3, 4, 5), (5, 6, 7))
    labels = native_labels(scores, way)
    assert labels.dtype == np.uint16
    assert_labels_of(full(scores, (5, 6, 7)), labels)
    held = np.empty((5, 6, 7), np.uint16)
    assert native_labels(scores, way, out=held) is held
    np.testing.assert_array_equal(held, labels)


def test_memory_stays_bounded() -> None:
    scores = noise(6, (64, 64, 64))
    way = same_extent((64, 64, 64), (96, 96, 96))
    tracemalloc.start()
    native_labels(scores, way, memory=4_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 96**3 + 5_000_000  # all scores would take 21 MB, those of one class 3.5 MB


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_without_a_greatest_are_refused(bad: float) -> None:
    scores = noise(3, (5, 6, 7))
    scores[1, 2, 3, 4] = bad
    way = same_extent((5, 6, 7), (9, 9, 9))
    with pytest.raises(InputError, match="NaN or infinite"):
        native_labels(scores, way)
    with pytest.raises(InputError, match="NaN or infinite"):
        native_probabilities(scores, way, [0])
    with pytest.raises(InputError, match="NaN or infinite"):
        list(native_masks(scores, way, [0.5, 0.5, 0.5]))


def test_what_does_not_fit_is_refused() -> None:
    scores, way = noise(3, (5, 6, 7)), same_extent((5, 6, 7), (9, 9, 9))
    with pytest.raises(InputError, match="with that grid"):
        native_labels(scores[:, 1:], way)
    with pytest.raises(InputError, match="native_masks"):
        native_labels(scores[:1], way)
    with pytest.raises(InputError, match="expected \\(9, 9, 9\\)"):
        native_labels(scores, way, out=np.empty((9, 9, 8), np.uint8))
    with pytest.raises(InputError, match="asked for"):
        native_probabilities(scores, way, [3])
    with pytest.raises(InputError, match="2 thresholds for 3"):
        native_masks(scores, way, [0.5, 0.5])
    with pytest.raises(InputError, match="between 0 and 1"):
        native_masks(scores, way, [0.5, 0.5, 1.0])
    with pytest.raises(InputError, match="real numbers"):
        native_labels(scores.astype(np.complex64), way)
