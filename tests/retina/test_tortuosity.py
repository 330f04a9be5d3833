"""Tortuosity of curves whose integrals are known."""

import numpy as np
import pytest
from phantoms import bar, drawn
from scipy import integrate, special

from osler.retina.graph import vessel_graph
from osler.retina.tortuosity import distance_factors, measurable, windings


def wave(amplitude: float, period: float, *, periods: int = 3, width: float = 6.0):
    w = np.linspace(0, periods * period, 40_000)
    h = amplitude * np.sin(2 * np.pi * w / period)
    shape = (int(2 * amplitude) + 60, int(periods * period) + 60)
    return drawn(shape, np.stack([h + shape[0] / 2, w + 30], axis=1), width)


def wave_factor(amplitude: float, period: float) -> float:
    """Arc over chord less one: a complete elliptic integral."""
    slope = 2 * np.pi * amplitude / period
    return float(2 / np.pi * np.sqrt(1 + slope**2) * special.ellipe(slope**2 / (1 + slope**2)) - 1)


def arc_of(radius: float, degrees: float, width: float = 6.0):
    angle = np.radians(np.linspace(0, degrees, 40_000))
    side = int(2 * radius) + 60
    curve = np.stack([side / 2 + radius * np.sin(angle), side / 2 + radius * np.cos(angle)], axis=1)
    return drawn((side, side), curve, width)


@pytest.mark.parametrize(
    ("amplitude", "period"), [(8.0, 120.0), (15.0, 120.0), (25.0, 160.0), (40.0, 200.0)]
)
def test_a_wave_has_its_arc_over_chord(amplitude, period):
    graph = vessel_graph(wave(amplitude, period))
    (found,) = distance_factors(graph)
    # the centreline ends short of the drawn vessel: integrate between its own ends
    start, stop = sorted((graph.points[0, 1] - 30, graph.points[-1, 1] - 30))
    k = 2 * np.pi / period
    length = integrate.quad(
        lambda w: np.hypot(1, amplitude * k * np.cos(k * w)), start, stop, limit=200
    )[0]
    assert found == pytest.approx(length / graph.chords[0] - 1, rel=0.05)
    assert found == pytest.approx(wave_factor(amplitude, period), rel=0.06)


@pytest.mark.parametrize("degrees", [0.0, 13.0, 37.0, 45.0, 90.0])
def test_a_straight_vessel_has_none(degrees):
    graph = vessel_graph(bar(7.0, degrees))
    assert distance_factors(graph) == pytest.approx([0.0], abs=0.002)
    found = windings(graph, scale=8.0, flat=0.002)
    assert found.tau2[0] < 0.1
    assert found.density[0] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(("radius", "degrees"), [(60.0, 180.0), (100.0, 120.0), (150.0, 90.0)])
def test_an_arc_has_its_turn_and_curvature(radius, degrees):
    graph = vessel_graph(arc_of(radius, degrees))
    found = windings(graph, scale=8.0, flat=0.001)
    turn = np.radians(degrees)
    # the centreline is a few pixels shorter than the vessel at either end
    assert found.tau2[0] == pytest.approx(turn, rel=0.08)
    assert found.taus[4][0] == pytest.approx(1 / radius, rel=0.05)
    assert found.taus[5][0] == pytest.approx(1 / radius**2, rel=0.06)
    seen = graph.arcs[0] / radius
    factor = seen / (2 * np.sin(seen / 2)) - 1
    assert distance_factors(graph)[0] == pytest.approx(factor, rel=0.06)


def test_a_ring_turns_once_round():
    graph = vessel_graph(arc_of(70.0, 360.0))
    found = windings(graph, scale=8.0, flat=0.001)
    assert found.tau2[0] == pytest.approx(2 * np.pi, rel=0.03)
    assert found.taus[5][0] == pytest.approx(1 / 70.0**2, rel=0.05)
    assert not measurable(graph).any()


def test_a_wave_turns_as_its_integral_says():
    amplitude, period = 25.0, 160.0
    k = 2 * np.pi / period

    def turning(x: float) -> float:
        return abs(amplitude * k * k * np.sin(k * x)) / (1 + (amplitude * k * np.cos(k * x)) ** 2)

    exact = 3 * integrate.quad(turning, 0, period, points=[period / 2])[0]
    found = windings(vessel_graph(wave(amplitude, period)), scale=5.0, flat=0.001)
    assert found.tau2[0] == pytest.approx(exact, rel=0.08)


def test_the_density_of_a_wave_is_that_of_its_half_waves():
    amplitude, period = 25.0, 160.0
    found = windings(vessel_graph(wave(amplitude, period)), scale=5.0, flat=0.001)
    factor = wave_factor(amplitude, period)
    length = 3 * period * (1 + factor)
    assert found.density[0] == pytest.approx(5 / 6 / length * 6 * factor, rel=0.15)


def test_more_winding_is_more_on_every_scale():
    calm, wild = (vessel_graph(wave(a, 160.0)) for a in (10.0, 30.0))
    one, other = (windings(g, scale=5.0, flat=0.001) for g in (calm, wild))
    for number in range(2, 8):
        assert other.taus[number][0] > one.taus[number][0]
    assert other.density[0] > one.density[0]


def test_short_segments_are_left_out():
    mask = np.zeros((60, 60), dtype=bool)
    mask[20:24, 10:18] = True
    assert distance_factors(vessel_graph(mask)).size == 0
