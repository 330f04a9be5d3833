"""Series over time: a phantom of a beating disc (which says it is one) and a real cine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from osler.errors import InputError
from osler.io import load
from osler.record import Image
from osler.tasks.time_alignment import (
    aligned_in_time,
    curve_of,
    frames_of_series,
    retimed,
    steadied,
)

pytest.importorskip("dtaidistance")


def phantom(phases: NDArray[np.float64], shifts: NDArray[np.float64] | None = None) -> Image:
    """A PHANTOM, no patient: a disc whose radius beats once as the phase goes from 0 to 1."""
    h, w = np.indices((64, 56))
    ground = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(64, 56)), 3) * 200 + 60
    frames = []
    for number, phase in enumerate(phases):
        radius = 10 - 4 * np.sin(np.pi * phase) ** 2
        disc = 1 / (1 + np.exp((np.hypot(h - 30, w - 27) - radius) / 0.6))
        frame = ground + 100 * disc
        if shifts is not None:
            frame = ndimage.shift(frame, shifts[number], order=1, mode="nearest")
        frames.append(frame)
    times = tuple(float(t) for t in np.arange(len(phases)) * 0.04)
    return Image(
        "phantom", np.stack(frames)[None].astype(np.float32), spacing=(1.0, 1.2, 1.2), times=times
    )


def test_a_shaken_phantom_is_steadied() -> None:
    phases = np.linspace(0, 1, 6)
    shifts = np.random.default_rng(1).uniform(-3, 3, (6, 2))
    shifts[0] = 0
    shaken = phantom(phases, shifts)
    found = steadied(shaken)
    assert found.left == 0.0
    assert found.registrations[0] is None
    for one, shift in zip(found.registrations[1:], shifts[1:], strict=True):
        assert one is not None
        assert one.transform is not None
        middle = one.transform.matrix @ (32, 28, 1)
        assert np.abs(middle[:2] - (32, 28) - shift).max() < 0.35
    inner = (slice(None), slice(None), slice(6, -6), slice(6, -6))
    still = phantom(phases).array[inner]
    before, after = (np.abs(s.array[inner] - still).mean() for s in (shaken, found.series))
    assert after < 0.35 * before
    assert "frames-registered" in found.series.flags
    assert found.series.times == shaken.times


def test_an_even_frame_stays_and_says_why() -> None:
    series = phantom(np.linspace(0, 1, 4))
    array = series.array.copy()
    array[:, 2] = 7.0
    found = steadied(replace(series, array=array))
    assert found.registrations[2] is not None
    assert "same everywhere" in found.registrations[2].reason
    assert found.left == pytest.approx(1 / 3)
    assert (found.series.array[:, 2] == 7.0).all()


def test_volumes_over_time_are_steadied_too() -> None:
    ground = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(12, 24, 20)), 2) * 100
    moved = ndimage.shift(ground, (0.0, 1.5, -1.0), order=1, mode="nearest")
    series = Image(
        "perfusion", np.stack([ground, moved]).astype(np.float32), spacing=(2.0, 1.0, 1.0),
        times=(0.0, 2.0),
    )  # fmt: skip
    found = steadied(series)
    assert found.series.array.shape == series.array.shape
    inner = (slice(3, -3),) * 3
    error = np.abs(found.series.array[1][inner] - ground[inner]).mean()
    assert error < 0.4 * np.abs(moved[inner] - ground[inner]).mean()


def slow_cost(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Dynamic time warping as its definition says, without a band."""
    total = np.full((len(one) + 1, len(other) + 1), np.inf)
    total[0, 0] = 0
    for i in range(len(one)):
        for j in range(len(other)):
            least = min(total[i, j], total[i, j + 1], total[i + 1, j])
            total[i + 1, j + 1] = ((one[i] - other[j]) ** 2).sum() + least
    return float(np.sqrt(total[-1, -1]))


def test_the_path_is_the_cheapest_one() -> None:
    rng = np.random.default_rng(0)
    for first, second in ((9, 9), (12, 7), (5, 15)):
        one, other = rng.normal(size=first), rng.normal(size=second)
        found = aligned_in_time(one, other, window=None, standardise="none")
        assert found.cost == pytest.approx(slow_cost(one, other))
        assert tuple(found.path[0]) == (0, 0)
        assert tuple(found.path[-1]) == (first - 1, second - 1)
        steps = np.diff(found.path, axis=0)
        assert ((steps >= 0) & (steps <= 1)).all()
        assert (steps.sum(axis=1) >= 1).all()


def test_several_curves_are_aligned_together() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(6, 3)), rng.normal(size=(8, 3))
    found = aligned_in_time(one, other, window=None, standardise="none")
    assert found.cost == pytest.approx(slow_cost(one, other))
    with pytest.raises(InputError, match="3 curves and 'other' 2"):
        aligned_in_time(one, other[:, :2])


def test_blocks_are_means_of_parts() -> None:
    series = phantom(np.linspace(0, 1, 4))
    blocks = curve_of(series, kind="blocks")
    assert blocks.shape == (4, 64)
    assert blocks[2, 9] == pytest.approx(series.array[0, 2, 8:16, 7:14].mean(), rel=1e-5)


def test_two_beats_of_other_rates_come_together() -> None:
    even = np.linspace(0, 1, 24)
    late = np.linspace(0, 1, 32) ** 1.6  # the second contracts later
    one, other = phantom(even), phantom(late)
    found = aligned_in_time(curve_of(one), curve_of(other))
    assert found.cost < 0.35 * found.cost_in_step
    wrong = np.abs(late[np.rint(found.partners()).astype(int)] - even)
    assert wrong.mean() < 0.03
    back = retimed(other, found, times=one.times)
    assert back.array.shape == one.array.shape
    assert back.times == one.times
    in_step = other.array[:, np.rint(np.linspace(0, 31, 24)).astype(int)]
    apart = np.abs(in_step - one.array).mean()
    assert np.abs(back.array - one.array).mean() < 0.5 * apart


def test_a_real_cine_against_itself_played_unevenly() -> None:
    from pydicom import examples

    case = load(Path(examples.get_path("ybr_color")))
    cine = next(item for item in case.items.values() if isinstance(item, Image))
    assert len(frames_of_series(cine)) == 30
    uneven = np.rint(29 * np.linspace(0, 1, 40) ** 1.4).astype(int)
    played = replace(cine, array=cine.array[:, uneven], times=tuple(float(t) for t in range(40)))
    found = aligned_in_time(curve_of(cine, kind="blocks"), curve_of(played, kind="blocks"))
    wrong = np.abs(uneven[np.rint(found.partners()).astype(int)] - np.arange(30))
    in_step = np.abs(uneven[np.rint(np.linspace(0, 39, 30)).astype(int)] - np.arange(30))
    assert wrong.mean() < 0.4 * in_step.mean()
    assert found.cost < 0.5 * found.cost_in_step


def test_what_is_no_series_or_no_curve_is_refused() -> None:
    flat = Image("photo", np.zeros((1, 20, 20)))
    with pytest.raises(InputError, match="states 0 times"):
        steadied(flat)
    series = phantom(np.linspace(0, 1, 5))
    with pytest.raises(InputError, match="frames 0 to 4"):
        steadied(series, reference=9)
    with pytest.raises(InputError, match="at least one"):
        curve_of(series, within=np.zeros((64, 56), bool))
    with pytest.raises(InputError, match="at least 4"):
        aligned_in_time([1, 2, 3], [1, 2, 3, 4])
    with pytest.raises(InputError, match="window"):
        aligned_in_time([1, 2, 3, 4], [1, 2, 3, 4], window=0)
    found = aligned_in_time(np.arange(6.0), np.arange(5.0))
    with pytest.raises(InputError, match="6 moments"):
        retimed(series, found, times=(0.0, 1.0))
