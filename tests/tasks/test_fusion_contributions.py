"""Contributions of inputs, against their definition by orders."""

from itertools import permutations
from math import factorial

import numpy as np
import pytest

from osler.record import Case, Risk, Source, Table
from osler.tasks.case_input import PRESENT
from osler.tasks.fusion_contributions import EXACT, SAMPLED, attributed
from osler.tasks.survival import Survival, SurvivalSettings


def by_orders(value, count):
    """The mean gain of each player over all orders, one after the other: the definition."""
    out = np.zeros((count, value(np.zeros((1, count), bool)).shape[1]))
    for order in permutations(range(count)):
        shown = np.zeros(count, bool)
        before = value(shown[None])[0]
        for player in order:
            shown[player] = True
            after = value(shown[None])[0]
            out[player] += after - before
            before = after
    return out / factorial(count)


def game(count, seed):
    """A worth of every subset, drawn at random, of two answers."""
    table = np.random.default_rng(seed).random((2**count, 2))
    return lambda shown: table[(shown * 2 ** np.arange(count)).sum(axis=1)]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_they_are_the_mean_gain_over_all_orders(count):
    value = game(count, count)
    made = attributed(value, [str(k) for k in range(count)])
    assert made.exact
    np.testing.assert_allclose(made.values, by_orders(value, count), atol=1e-12)
    for k in range(count):
        less = np.ones((1, count), bool)
        less[0, k] = False
        np.testing.assert_array_equal(made.without[k], value(less)[0])


def test_eight_are_exact_and_nine_are_drawn():
    for count in (EXACT, EXACT + 1):
        value = game(count, 3)
        made = attributed(value, [str(k) for k in range(count)])
        assert made.exact == (count == EXACT)
        everything = value(np.ones((1, count), bool))[0] - value(np.zeros((1, count), bool))[0]
        np.testing.assert_allclose(made.values.sum(axis=0), everything, atol=1e-12)


def test_drawn_orders_come_near_and_are_the_same_each_time():
    count = EXACT + 2
    weight = np.random.default_rng(0).random(count)

    def value(shown):
        total = shown @ weight
        return (total**2)[:, None]  # each with each: the gain is weight times the whole

    names = [str(k) for k in range(count)]
    made = attributed(value, names)
    np.testing.assert_allclose(made.values[:, 0], weight * weight.sum(), rtol=0.02)
    np.testing.assert_array_equal(made.values, attributed(value, names).values)


@pytest.mark.parametrize("count", [2, 9])
def test_risks_hold_what_each_input_moved_them_by(count):
    names = [f"v{k}" for k in range(count)]
    settings = SurvivalSettings.model_validate({
        "inputs": dict.fromkeys(names, "number"), "model": "hazards", "edges": [0, 10, 20],
        "horizons": [10, 20], "grid": [5, 15],
    })  # fmt: skip
    task = Survival(settings)

    def predict(arrays):
        values = np.stack([arrays[name][:, 0] for name in names], axis=1)
        total = (values * arrays[PRESENT]).sum(axis=1, keepdims=True)
        return {"scores": np.concatenate([total - 1, total - 2], axis=1)}

    values = {name: 0.1 * k for k, name in enumerate(names)}
    del values["v1"]
    case = Case("x", "x", {"labs": Table("labs", values)})
    sample = task.encode(case)
    source = Source("bundle", "test")
    found = task.attributed(
        predict, sample, task.decode(task.run(predict, sample), sample, source=source)
    )
    assert [one.horizon_days for one in found] == [10, 20]
    bare = task.incidence(np.array([-1.0, -2.0]), [10, 20])[0]
    for one, nothing in zip(found, bare, strict=True):
        assert isinstance(one, Risk)
        assert set(one.contributions) == set(one.without) == set(values)
        assert sum(one.contributions.values()) == pytest.approx(one.value - nothing)
        assert SAMPLED not in one.flags  # eight are there
