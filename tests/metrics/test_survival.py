"""Oracles walk over cases, pairs and times one by one, after the formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import InputError
from osler.metrics import (
    censoring_curve,
    harrell_c,
    integrated_brier,
    kaplan_meier,
    survival_brier,
    survival_calibration,
    uno_c,
)

CASES = st.lists(
    st.tuples(st.integers(1, 8), st.booleans(), st.integers(0, 4)), min_size=1, max_size=14
)


def slow_km(cases: list, at: float, *, censored: bool = False, before: bool = False) -> float:
    out = 1.0
    for moment in sorted({t for t, _, _ in cases}):
        if moment > at or (before and moment == at):
            break
        at_risk = sum(t >= moment for t, _, _ in cases)
        events = sum(t == moment and e for t, e, _ in cases)
        if censored:
            left = sum(t == moment and not e for t, e, _ in cases)
            if at_risk - events:
                out *= 1 - left / (at_risk - events)
        else:
            out *= 1 - events / at_risk
    return out


def slow_c(cases: list, *, uno: bool, until: float = 99) -> float | None:
    right = whole = 0.0
    for t, e, r in cases:
        for other_t, other_e, other_r in cases:
            if e and t < until and (t < other_t or (t == other_t and not other_e)):
                weight = slow_km(cases, t, censored=True, before=True) ** -2 if uno else 1
                whole += weight
                right += weight * (1 if r > other_r else 0.5 if r == other_r else 0)
    return right / whole if whole else None


@settings(max_examples=80, deadline=None)
@given(CASES)
def test_curves_and_concordance_are_those_of_a_slow_walk(cases: list) -> None:
    times, events, risk = (list(column) for column in zip(*cases, strict=True))
    for at in (0, 0.5, 1, 3, 8, 9):
        assert kaplan_meier(times, events).at(at) == pytest.approx(slow_km(cases, at))
        for before in (False, True):
            ours = censoring_curve(times, events).at(at, before=before)
            assert ours == pytest.approx(slow_km(cases, at, censored=True, before=before))
    assert harrell_c(times, events, risk) == pytest.approx(slow_c(cases, uno=False))
    assert uno_c(times, events, risk) == pytest.approx(slow_c(cases, uno=True))
    assert uno_c(times, events, risk, until=5) == pytest.approx(slow_c(cases, uno=True, until=5))


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_brier_is_that_of_a_slow_walk(cases: list) -> None:
    cases = [*cases, (9, False, 0)]  # someone stays to the end
    times, events, risk = (list(column) for column in zip(*cases, strict=True))
    marks = [1.0, 2.5, 5.0, 8.0]
    survival = np.array([[0.95 - 0.02 * r * n for n in range(4)] for r in risk])
    wanted = []
    for n, mark in enumerate(marks):
        total = 0.0
        for (t, e, _), row in zip(cases, survival, strict=True):
            if t <= mark and e:
                total += row[n] ** 2 / slow_km(cases, t, censored=True, before=True)
            elif t > mark:
                total += (1 - row[n]) ** 2 / slow_km(cases, mark, censored=True)
        wanted.append(total / len(cases))
    ours = survival_brier(times, events, survival, at=marks)
    np.testing.assert_allclose(ours, wanted)
    area = sum((marks[i + 1] - marks[i]) * (wanted[i] + wanted[i + 1]) / 2 for i in range(3)) / 7
    assert integrated_brier(times, events, survival, at=marks) == pytest.approx(area)


def test_weights_undo_the_censoring() -> None:
    """The same cohort, half censored at random: Uno's C and the Brier score stay."""
    generator = np.random.default_rng(0)
    risk = generator.normal(size=1500)
    times = generator.exponential(np.exp(-risk))
    leaves = generator.exponential(1.5, size=1500)
    seen, when = times <= leaves, np.minimum(times, leaves)
    survival = np.exp(-np.exp(risk)[:, None] * np.array([0.2, 0.5, 1.0]))
    marks = [0.2, 0.5, 1.0]
    full = survival_brier(times, np.ones(1500, bool), survival, at=marks)
    np.testing.assert_allclose(survival_brier(when, seen, survival, at=marks), full, atol=0.02)
    whole = uno_c(times, np.ones(1500, bool), risk, until=1.5)
    assert whole is not None
    assert uno_c(when, seen, risk, until=1.5) == pytest.approx(whole, abs=0.02)
    table = survival_calibration(when, seen, survival[:, 1], at=0.5, groups=5)
    assert table.counts.tolist() == [300] * 5
    np.testing.assert_allclose(table.observed, table.predicted, atol=0.07)


def test_edge_cases_are_as_defined() -> None:
    assert harrell_c([], [], []) is None
    assert harrell_c([1, 2], [False, False], [1, 2]) is None
    assert harrell_c([1, 1], [True, True], [1, 2]) is None
    assert harrell_c([1, 1], [True, False], [2, 1]) == 1
    assert harrell_c([1, 2], [True, True], [1, 1]) == 0.5
    assert uno_c([1, 2, 3], [True, True, True], [3, 2, 1], until=1) is None
    # all of the riskier group left before the time: what happened to them then is not known
    table = survival_calibration(
        [1, 2, 6, 7], [True, False, False, True], [0.2, 0.2, 0.8, 0.8], at=5, groups=2
    )
    assert np.isnan(table.observed).tolist() == [False, True]
    assert table.observed[0] == 0


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match="choose earlier times"):
        survival_brier(
            [3, 4], [True, True], [[0.5], [0.5]], at=[2], censoring=([1, 1], [False, False])
        )
    with pytest.raises(InputError, match="'until' earlier"):
        uno_c([3, 4], [True, True], [1, 0], censoring=([1, 1], [False, False]))
    with pytest.raises(InputError, match="'survival' has shape"):
        survival_brier([1], [True], [[0.5]], at=[1, 2])
    with pytest.raises(InputError, match="ascending"):
        survival_brier([1], [True], [[0.5, 0.5]], at=[2, 1])
    with pytest.raises(InputError, match="two or more"):
        integrated_brier([1, 2], [True, True], [[0.5], [0.5]], at=[1])
    with pytest.raises(InputError, match="'times'"):
        kaplan_meier([-1], [True])
    with pytest.raises(InputError, match="'groups'"):
        survival_calibration([1], [True], [0.5], at=1, groups=0)
