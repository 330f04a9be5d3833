import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from osler.errors import InputError
from osler.metrics import brier_parts, decision_curve

CASES = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20).map(lambda n: n / 20)), min_size=1, max_size=30
)


@given(CASES)
def test_net_benefit_is_that_of_counting(cases: list) -> None:
    truth, chance = (list(column) for column in zip(*cases, strict=True))
    marks = [0.0, 0.05, 0.3, 0.5, 0.95]
    curve = decision_curve(truth, chance, thresholds=marks)
    assert curve is not None
    for n, mark in enumerate(marks):
        hits = sum(t and p >= mark for t, p in cases)
        alarms = sum(not t and p >= mark for t, p in cases)
        assert curve.model[n] == pytest.approx(
            hits / len(cases) - alarms / len(cases) * mark / (1 - mark)
        )
        rate = sum(truth) / len(cases)
        assert curve.everyone[n] == pytest.approx(rate - (1 - rate) * mark / (1 - mark))


@given(CASES, st.sampled_from([None, 1, 4, 15]))
def test_parts_are_those_of_a_loop_and_add_up(cases: list, bins: int | None) -> None:
    truth, chance = (list(column) for column in zip(*cases, strict=True))
    parts = brier_parts(truth, chance, bins=bins)
    assert parts is not None
    assert parts.brier == pytest.approx(brier_score_loss(np.array(truth, int), chance))
    groups: dict[float, list] = {}
    for case in cases:
        place = case[1] if bins is None else max(0, int(np.ceil(case[1] * bins - 1e-12)) - 1)
        groups.setdefault(place, []).append(case)
    rate, count = sum(truth) / len(cases), len(cases)
    gap = spread = 0.0
    for group in groups.values():
        observed = sum(t for t, _ in group) / len(group)
        predicted = sum(p for _, p in group) / len(group)
        gap += len(group) / count * (predicted - observed) ** 2
        spread += len(group) / count * (observed - rate) ** 2
    assert (parts.reliability, parts.resolution) == pytest.approx((gap, spread))
    assert parts.reliability - parts.resolution + parts.uncertainty + parts.within == pytest.approx(
        parts.brier
    )
    if bins is None:
        assert parts.within == pytest.approx(0, abs=1e-12)


def test_edges() -> None:
    assert decision_curve([], []) is None
    assert brier_parts([], []) is None
    with pytest.raises(InputError, match="'thresholds'"):
        decision_curve([1], [0.5], thresholds=[1.0])
    perfect = decision_curve([0, 1], [0.0, 1.0])
    assert perfect is not None
    assert np.allclose(perfect.model, 0.5)
