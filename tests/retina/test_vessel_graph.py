"""The vessel graph on vessels of known length and width, and on any mask at all."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from phantoms import bar, disc_mask, drawn, line

from osler.errors import InputError
from osler.retina.graph import vessel_graph, way_out
from osler.retina.paths import median_each, smooth_paths, smooth_values
from osler.retina.skeleton import thin, trace


@pytest.mark.parametrize("degrees", [0.0, 10.0, 22.5, 30.0, 60.0, 77.0, 90.0])
@pytest.mark.parametrize("width", [3.0, 5.0, 7.0, 9.0, 12.0, 15.0])
def test_a_straight_vessel_has_its_width_and_length(width, degrees):
    graph = vessel_graph(bar(width, degrees))
    assert len(graph) == 1
    assert graph.calibres[0] == pytest.approx(width, abs=0.1)
    # the centreline ends up to a width short of either end
    assert 300 - 2 * width - 4 <= graph.arcs[0] <= 301
    assert graph.arcs[0] / graph.chords[0] - 1 < 0.002


@pytest.mark.parametrize("width", [3.0, 4.0, 6.5, 9.0, 12.0, 15.0])
def test_at_45_degrees_the_width_is_that_of_the_pixels(width):
    # the rows of pixels lie 0.71 apart there, so the drawn width itself is off by up to 0.5
    mask = bar(width, 45.0)
    drawn_width = mask.sum() / 300
    assert vessel_graph(mask).calibres[0] == pytest.approx(drawn_width, abs=0.3)


def test_a_ring_has_its_circumference_and_no_chord():
    angle = np.linspace(0, 2 * np.pi, 20_000)
    circle = np.stack([100 + 60 * np.sin(angle), 100 + 60 * np.cos(angle)], axis=1)
    graph = vessel_graph(drawn((200, 200), circle, 6))
    assert len(graph) == 1
    assert graph.chords[0] == 0
    assert graph.arcs[0] == pytest.approx(2 * np.pi * 60, rel=0.01)
    assert graph.calibres[0] == pytest.approx(6, abs=0.2)


def test_a_fork_is_one_branching_of_three_segments():
    mask = drawn((200, 200), line((20, 100), (100, 100)), 9)
    mask |= drawn((200, 200), line((100, 100), (170, 40)), 6)
    mask |= drawn((200, 200), line((100, 100), (170, 160)), 6)
    graph = vessel_graph(mask)
    assert len(graph) == 3
    where = graph.branchings()
    assert where.shape == (1, 2)
    assert np.hypot(*(where[0] - (100, 100))) < 6
    assert np.sort(graph.calibres) == pytest.approx([6, 6, 9], abs=0.4)


def test_two_forks_along_a_vessel_are_two():
    mask = drawn((200, 300), line((100, 20), (100, 280)), 8)
    for w in (100, 200):
        mask |= drawn((200, 300), line((100, w), (40, w + 30)), 5)
    assert len(vessel_graph(mask).branchings()) == 2


def test_bumps_of_the_border_are_not_vessels():
    rng = np.random.default_rng(0)
    mask = bar(10.0, 20.0)
    noise = rng.random(mask.shape) < 0.3
    edge = np.zeros_like(mask)
    edge[1:-1, 1:-1] = mask[:-2, 1:-1] ^ mask[2:, 1:-1]
    graph = vessel_graph(mask | (edge & noise))
    assert len(graph) == 1
    assert graph.calibres[0] == pytest.approx(10.3, abs=0.4)


def test_the_graph_follows_the_mask_when_it_moves():
    mask = np.zeros((300, 300), dtype=bool)
    mask[40:240, 100:106] = True
    still = vessel_graph(mask)
    moved = vessel_graph(np.roll(mask, (13, 27), axis=(0, 1)))
    assert moved.points == pytest.approx(still.points + np.array([13, 27]))
    assert moved.diameters == pytest.approx(still.diameters, nan_ok=True)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_turn_changes_nothing_that_is_measured(turns):
    mask = drawn((200, 200), line((20, 30), (150, 170)), 7)
    mask |= drawn((200, 200), line((85, 100), (30, 170)), 5)
    here, there = vessel_graph(mask), vessel_graph(np.rot90(mask, turns))
    assert len(here) == len(there) == 3
    assert np.sort(there.arcs) == pytest.approx(np.sort(here.arcs), abs=2.5)
    assert np.sort(there.calibres) == pytest.approx(np.sort(here.calibres), abs=0.15)


def test_a_region_cuts_segments_at_its_border():
    mask = drawn((200, 200), line((100, 5), (100, 195)), 5)
    region = disc_mask((200, 200), (100, 100), 60)
    region &= ~disc_mask((200, 200), (100, 100), 20)
    part = vessel_graph(mask).within(region)
    assert len(part) == 2
    assert part.arcs == pytest.approx([40, 40], abs=2)
    assert (part.ends == -1).all()
    assert len(vessel_graph(mask).within(np.zeros((200, 200), dtype=bool))) == 0


def test_chains_hold_every_pixel_of_a_tree_once_but_nodes():
    mask = np.zeros((60, 60), dtype=bool)
    mask[30, 5:55] = True
    mask[10:30, 30] = True
    pixels = thin(mask)
    chains = trace(pixels, width=60, size=3600)
    assert len(chains.starts) - 1 == 3
    assert set(chains.pixels) == set(pixels)


def test_the_way_out_of_a_square():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:21, 10:21] = 1
    origins = np.array([[15.0, 15.0], [15.0, 15.0], [2.0, 2.0]])
    rays = np.array([[1.0, 0.0], [np.sqrt(0.5)] * 2, [1.0, 0.0]])
    out = way_out(mask, origins, rays)
    assert out[0] == pytest.approx(5.5)
    assert 5.5 < out[1] < 5.5 * np.sqrt(2)
    assert out[2] == 0


def test_median_each_agrees_with_numpy():
    rng = np.random.default_rng(1)
    values = rng.random(100)
    values[rng.random(100) < 0.3] = np.nan
    values[:4] = np.nan
    starts = np.array([0, 4, 5, 20, 21, 60, 100])
    found = median_each(values, starts)
    assert np.isnan(found[0])
    for i in range(1, 6):
        part = values[starts[i] : starts[i + 1]]
        part = part[~np.isnan(part)]
        assert found[i] == pytest.approx(np.median(part) if part.size else np.nan, nan_ok=True)


def test_smoothing_agrees_with_one_path_at_a_time():
    rng = np.random.default_rng(2)
    points = np.cumsum(rng.normal(size=(60, 2)), axis=0)
    starts = np.array([0, 2, 9, 60])
    together = smooth_paths(points, starts, sigma=2.0, ring=np.zeros(3, dtype=bool))
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
    kernel /= kernel.sum()
    for a, b in pairwise(starts):
        wide = np.pad(points[a:b], ((6, 6), (0, 0)), "reflect", reflect_type="odd")
        alone = np.stack([np.convolve(wide[:, i], kernel, "valid") for i in (0, 1)], axis=1)
        assert together[a:b] == pytest.approx(alone)
        assert together[a] == pytest.approx(points[a])


def test_smoothing_values_neither_leaks_nor_fills():
    values = np.array([1.0, 1.0, 1.0, 5.0, np.nan, 5.0])
    found = smooth_values(values, np.array([0, 3, 6]), sigma=2.0)
    assert found == pytest.approx(values, nan_ok=True)


def test_a_wrong_smoothing_or_shape_is_named():
    with pytest.raises(InputError, match="smoothing is 0"):
        vessel_graph(np.zeros((5, 5), dtype=bool), smoothing=0)
    with pytest.raises(InputError, match=r"\(5,\)"):
        vessel_graph(np.zeros(5, dtype=bool))


@pytest.mark.parametrize("mask", [np.zeros((9, 9), bool), np.ones((40, 50), bool), np.eye(9) > 0])
def test_odd_masks_have_a_graph(mask):
    graph = vessel_graph(mask)
    assert np.isfinite(graph.points).all()
    assert np.isfinite(graph.arcs).all()


@settings(max_examples=60, deadline=None)
@given(
    arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)),
    st.floats(0.5, 6.0),
)
def test_any_mask_has_a_sound_graph(mask, smoothing):
    graph = vessel_graph(mask, smoothing=smoothing)
    assert graph.starts[-1] == len(graph.points) == len(graph.diameters)
    assert np.isfinite(graph.points).all()
    assert np.isfinite(graph.nodes).all()
    assert (np.diff(graph.starts) >= 2).all()
    known = graph.diameters[~np.isnan(graph.diameters)]
    assert (known > 0).all()
    assert (graph.arcs >= graph.chords - 1e-6).all()
    assert np.isfinite(graph.branchings()).all()
    inner = graph.within(mask)
    assert len(inner.points) <= len(graph.points)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.02, 0.9))
def test_noise_has_a_sound_graph(seed, density):
    mask = np.random.default_rng(seed).random((80, 90)) < density
    graph = vessel_graph(mask)
    assert np.isfinite(graph.points).all()
    assert np.isfinite(graph.branchings()).all()
    assert ((graph.points >= -1) & (graph.points <= np.array(mask.shape))).all()
