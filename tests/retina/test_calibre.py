"""Calibres and the central equivalents, by hand where the formula allows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import ARTERIES, DISC, VEINS, bar, spokes

from osler.errors import InputError
from osler.retina.calibre import (
    Crossings,
    crossings,
    cvme,
    diameter_std,
    equivalent,
    hubbard,
    knudtson,
    segment_medians,
)
from osler.retina.graph import vessel_graph


def test_knudtson_by_hand():
    # 10-5, 9-6, 8-7 pair; of the three results the middle one waits
    first = [0.88 * math.sqrt(a * a + b * b) for a, b in ((10, 5), (9, 6), (8, 7))]
    low, middle, high = sorted(first)
    second = 0.88 * math.sqrt(low**2 + high**2)
    expected = 0.88 * math.sqrt(second**2 + middle**2)
    assert knudtson([5, 6, 7, 8, 9, 10], kind="artery") == pytest.approx(expected)
    assert knudtson([9, 5, 10, 7, 6, 8], kind="artery") == pytest.approx(expected)


def test_knudtson_of_six_equal_veins():
    one = 0.95 * math.sqrt(2) * 100
    two = 0.95 * math.sqrt(2) * one
    assert knudtson([100] * 6, kind="vein") == pytest.approx(0.95 * math.hypot(two, one))


def test_only_the_six_widest_count():
    assert knudtson([1, 2, 3, 50, 60, 70, 80, 90, 100], kind="vein") == knudtson(
        [50, 60, 70, 80, 90, 100], kind="vein"
    )


def test_hubbard_by_hand():
    def artery(a, b):
        return math.sqrt(0.87 * a**2 + 1.01 * b**2 - 0.22 * a * b - 10.76)

    def vein(a, b):
        return math.sqrt(0.72 * a**2 + 0.91 * b**2 + 450.05)

    assert hubbard([60.0, 80.0], kind="artery") == pytest.approx(artery(60, 80))
    assert hubbard([80.0, 60.0], kind="vein") == pytest.approx(vein(60, 80))
    pair = vein(60, 100)
    assert hubbard([60.0, 80.0, 100.0], kind="vein") == pytest.approx(
        vein(min(pair, 80), max(pair, 80))
    )


def test_hubbard_has_no_value_for_arteries_thinner_than_its_constant():
    assert hubbard([1.0, 1.0], kind="artery") is None


def test_wrong_arguments_are_named():
    with pytest.raises(InputError, match="kind is 'capillary'"):
        knudtson([1.0], kind="capillary")
    with pytest.raises(InputError, match="kind is 'capillary'"):
        hubbard([1.0], kind="capillary")
    with pytest.raises(InputError, match="widths is empty"):
        knudtson([], kind="vein")


@given(st.lists(st.floats(1, 500), min_size=1, max_size=12), st.floats(0.1, 20))
def test_knudtson_scales_with_its_unit(widths, factor):
    assert knudtson([factor * w for w in widths], kind="artery") == pytest.approx(
        factor * knudtson(widths, kind="artery")
    )


@given(st.lists(st.floats(20, 500), min_size=6, max_size=6))
def test_equivalents_lie_above_the_widest_vessel_times_its_factor(widths):
    assert knudtson(widths, kind="vein") >= 0.95**3 * max(widths) * 0.99
    assert np.isfinite(hubbard(widths, kind="artery"))


@pytest.mark.parametrize(("angles", "widths"), [ARTERIES, VEINS])
def test_a_circle_meets_every_spoke_at_its_width(angles, widths):
    graph = vessel_graph(spokes(angles, widths))
    found = crossings(graph, centre=DISC[0], radius=2.5 * DISC[1], reach=2.0)
    assert np.sort(found.widths) == pytest.approx(np.sort(widths), abs=0.3)
    away = np.hypot(*(found.points - DISC[0]).T)
    assert away == pytest.approx(np.full(6, 2.5 * DISC[1]), abs=0.05)


def test_an_equivalent_needs_six_vessels_on_half_of_the_circles():
    def circle(count):
        return Crossings(np.zeros((count, 2)), np.full(count, 10.0))

    formula = lambda widths: knudtson(widths, kind="vein")  # noqa: E731
    expected = knudtson([10.0] * 6, kind="vein")
    assert equivalent([circle(6), circle(5)], formula) == pytest.approx(expected)
    found = equivalent([circle(6), circle(5), circle(4)], formula)
    assert isinstance(found, int)
    assert found == 5


def test_an_even_vessel_does_not_vary():
    graph = vessel_graph(bar(8.0, 0.0))
    assert segment_medians(graph) == pytest.approx([8.0], abs=0.1)
    assert diameter_std(graph) == pytest.approx(0.0, abs=0.1)
    assert cvme(graph) == pytest.approx(0.0, abs=0.02)


def test_a_tapering_vessel_varies_as_it_tapers():
    h, w = np.mgrid[:300, :500] - np.array([150.0, 250.0])[:, None, None]
    turn = np.radians(20)
    along, across = h * np.sin(turn) + w * np.cos(turn), h * np.cos(turn) - w * np.sin(turn)
    mask = (np.abs(across) <= (10 + 8 * along / 460) / 2) & (np.abs(along) <= 230)
    graph = vessel_graph(mask)
    # widths spread evenly from 6 to 14
    assert segment_medians(graph) == pytest.approx([10.0], abs=0.3)
    assert diameter_std(graph) == pytest.approx(8 / math.sqrt(12), rel=0.06)
    assert cvme(graph) == pytest.approx(2.0 / 10.0, rel=0.08)


def test_no_vessel_has_no_calibre():
    graph = vessel_graph(np.zeros((20, 20), dtype=bool))
    assert segment_medians(graph).size == 0
    assert diameter_std(graph) is None
    assert cvme(graph) is None
