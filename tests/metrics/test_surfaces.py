"""The oracle measures every pair of surface voxels; MONAI is the second opinion."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from osler.errors import InputError
from osler.metrics import dice, label_scores, structure_scores, surface
from osler.metrics.surfaces import surface_distances

SPACING = (2.0, 0.7, 1.1)
LABELS = arrays(np.uint8, (3, 5, 4), elements=st.integers(0, 2))


def slow_surface(mask: np.ndarray) -> list[tuple[int, ...]]:
    found = []
    for place in zip(*np.nonzero(mask), strict=True):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                near = list(place)
                near[axis] += step
                outside = not 0 <= near[axis] < mask.shape[axis]
                if outside or not mask[tuple(near)]:
                    found.append(tuple(int(n) for n in place))
    return sorted(set(found))


def slow_directed(one: list, other: list, spacing: tuple[float, ...]) -> list[float]:
    return [
        min(math.dist([a * s for a, s in zip(p, spacing, strict=True)],
                      [b * s for b, s in zip(q, spacing, strict=True)]) for q in other)
        for p in one
    ]  # fmt: skip


def slow_percentile(values: list[float], percentile: float) -> float:
    ordered = sorted(values)
    place = (len(ordered) - 1) * percentile / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@settings(max_examples=60, deadline=None)
@given(truth=LABELS, prediction=LABELS, tolerance=st.sampled_from([0.0, 0.7, 1.1, 2.0]))
def test_every_figure_is_that_of_all_pairs(
    truth: np.ndarray, prediction: np.ndarray, tolerance: float
) -> None:
    found = label_scores(
        truth, prediction, spacing=SPACING, labels=(1, 2), tolerance=tolerance, percentile=90
    )
    for label, ours in found.items():
        one, other = truth == label, prediction == label
        assert ours.dice == dice(one, other)
        assert ours.volume_error == pytest.approx((int(other.sum()) - int(one.sum())) * 1.54)
        if not one.any() or not other.any():
            continue
        edge, other_edge = slow_surface(one), slow_surface(other)
        there = slow_directed(edge, other_edge, SPACING)
        back = slow_directed(other_edge, edge, SPACING)
        both = there + back
        assert ours.jaccard == int((one & other).sum()) / int((one | other).sum())
        assert ours.nsd == sum(d <= tolerance + 1e-9 for d in both) / len(both)
        assert ours.hd == pytest.approx(max(both))
        assert ours.hd95 == pytest.approx(
            max(slow_percentile(there, 90), slow_percentile(back, 90))
        )
        assert ours.assd == pytest.approx(sum(both) / len(both))


def balls(seed: int, shape: tuple[int, ...] = (24, 40, 32)) -> np.ndarray:
    out = np.zeros(shape, np.uint8)
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    generator = np.random.default_rng(seed)
    for label in (1, 2, 3):
        centre = [n * (0.3 + 0.1 * label) + generator.normal() for n in shape]
        out[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) < 40 + 9 * label] = label
    return out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", [(24, 40, 32), (60, 50)])
@pytest.mark.parametrize("apart", [0, 17])
def test_monai_agrees(shape: tuple[int, ...], apart: int) -> None:
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_average_surface_distance as asd
    from monai.metrics import compute_hausdorff_distance as hausdorff
    from monai.metrics import compute_surface_dice as surface_dice

    spacing = SPACING[-len(shape) :]
    truth, prediction = balls(0, shape), np.roll(balls(1, shape), apart, axis=1)
    ours = label_scores(truth, prediction, spacing=spacing, labels=(1, 2, 3), tolerance=1.3)
    one, other = (
        torch.from_numpy(np.stack([a == n for n in range(4)])[None]).float()
        for a in (truth, prediction)
    )
    theirs = hausdorff(other, one, percentile=95, spacing=spacing)[0]
    nsd = surface_dice(other, one, class_thresholds=[1.3] * 3, spacing=spacing)[0]
    mean = asd(other, one, symmetric=True, spacing=spacing)[0]
    for n, found in enumerate(ours.values()):
        assert found.hd95 == pytest.approx(float(theirs[n]), rel=1e-5)
        assert found.nsd == pytest.approx(float(nsd[n]), rel=1e-6)
        assert found.assd == pytest.approx(float(mean[n]), rel=1e-5)


def test_a_miss_costs_the_diagonal_and_is_never_better_than_a_bad_find() -> None:
    truth = np.zeros((10, 20, 30), np.uint8)
    truth[0, 0, 0] = 1
    far = np.zeros_like(truth)
    far[-1, -1, -1] = 1
    nothing = np.zeros_like(truth)
    diagonal = math.hypot(20, 14, 33)
    for pair in ((truth, nothing), (nothing, truth)):
        found = label_scores(*pair, spacing=SPACING, labels=(1,))[1]
        assert found.missed
        assert (found.dice, found.jaccard, found.nsd) == (0, 0, 0)
        assert found.hd == found.hd95 == found.assd == pytest.approx(diagonal)
    bad = label_scores(truth, far, spacing=SPACING)[1]
    assert bad.hd is not None
    assert bad.hd < diagonal
    assert label_scores(truth, nothing, spacing=SPACING, missed=7)[1].hd95 == 7
    assert label_scores(truth, nothing, spacing=SPACING)[1].relative_volume_error == -1
    assert label_scores(nothing, truth, spacing=SPACING)[1].relative_volume_error is None


def test_neither_is_none_and_not_perfect() -> None:
    nothing = np.zeros((4, 4), bool)
    found = structure_scores(nothing, nothing, spacing=(1, 1))
    assert (found.dice, found.nsd, found.hd95, found.assd) == (None, None, None, None)
    assert (found.volume_error, found.missed) == (0, False)
    assert label_scores(nothing, nothing, spacing=(1, 1)) == {}


def test_a_distance_that_equals_the_tolerance_is_within() -> None:
    one, other = np.zeros((1, 9), bool), np.zeros((1, 9), bool)
    one[0, 1], other[0, 4] = True, True
    assert 3 * 0.1 > 0.3  # what rounding would make of it
    assert structure_scores(one, other, spacing=(1, 0.1), tolerance=0.3).nsd == 1
    assert structure_scores(one, other, spacing=(1, 0.1), tolerance=0.299).nsd == 0


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.4, 0.4)])
def test_near_and_far_distances_are_exact(spacing: tuple[float, ...]) -> None:
    """Against scipy's distance transform, on surfaces of thousands of voxels."""
    from scipy.ndimage import distance_transform_edt

    for shift in (0, 3, 15):
        one, other = surface(balls(0) > 0), surface(np.roll(balls(5) > 0, shift, axis=1))
        wanted = np.sort(distance_transform_edt(~other, sampling=spacing)[one])
        ours = np.sort(surface_distances(one, other, spacing=spacing))
        np.testing.assert_allclose(ours, wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": (1,)}, "'spacing' 1 values"),
        ({"spacing": (1, 0)}, "'spacing' is"),
        ({"spacing": (1, 1), "percentile": 0}, "'percentile' is 0"),
        ({"spacing": (1, 1), "tolerance": -1}, "'tolerance' is -1"),
        ({"spacing": (1, 1), "missed": math.nan}, "'missed' is nan"),
        ({"spacing": (1, 1), "labels": (0,)}, "0 is background"),
    ],
)
def test_wrong_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        label_scores(np.ones((2, 2), int), np.ones((2, 2), int), **options)


def test_wrong_maps_are_named() -> None:
    with pytest.raises(InputError, match="shapes differ"):
        label_scores(np.ones((2, 2), int), np.ones((2, 3), int), spacing=(1, 1))
    with pytest.raises(InputError, match="integer labels"):
        label_scores(np.ones((2, 2)), np.ones((2, 2), int), spacing=(1, 1))
    with pytest.raises(InputError, match="below 0"):
        label_scores(np.full((2, 2), -1), np.ones((2, 2), int), spacing=(1, 1))
    with pytest.raises(InputError, match="'to' is empty"):
        surface_distances(np.ones((1, 1), bool), np.zeros((1, 1), bool), spacing=(1, 1))
