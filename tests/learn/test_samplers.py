"""Samplers: the same draw for the same number, and the shares that they promise."""

from collections import Counter

import numpy as np
import pytest

from osler.errors import RecipeError
from osler.learn.learner import Learner
from osler.learn.samplers import CaseSampler

LABELS = ["none"] * 70 + ["mild"] * 25 + ["severe"] * 5
GROUPS = [f"patient {i // 3}" for i in range(100)]
KINDS = ("even", "balanced", "grouped", "balanced-grouped")


def sampler(kind, *, batch=8, seed=1, labels=LABELS, groups=GROUPS, balance=0.0):
    return CaseSampler(
        kind, batch=batch, seed=seed, count=len(LABELS), labels=labels, groups=groups,
        balance=balance,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_depends_on_seed_and_number_alone(kind):
    one, other = sampler(kind), sampler(kind)
    forwards = [one(number) for number in range(40)]
    backwards = [other(number) for number in reversed(range(40))]
    assert forwards == backwards[::-1]
    assert all(len(batch) == 8 and 0 <= min(batch) <= max(batch) < 100 for batch in forwards)
    assert forwards != [sampler(kind, seed=2)(number) for number in range(40)]
    assert len({tuple(batch) for batch in forwards}) == 40


@pytest.mark.parametrize("batch", [1, 8, 33, 250])
def test_even_draws_each_case_once_before_any_twice(batch):
    draw = sampler("even", batch=batch)
    flat = [case for number in range(1000 // batch + 1) for case in draw(number)]
    passes = [flat[i : i + 100] for i in range(0, len(flat) - 99, 100)]
    assert all(sorted(one) == list(range(100)) for one in passes)
    assert passes[0] != passes[1]


@pytest.mark.parametrize(
    ("balance", "shares"),
    [
        (0.0, (1 / 3, 1 / 3, 1 / 3)),
        (1.0, (0.7, 0.25, 0.05)),
        (0.5, tuple(np.sqrt([70, 25, 5]) / np.sqrt([70, 25, 5]).sum())),
    ],
)
def test_balanced_draws_classes_in_their_shares(balance, shares):
    draw = sampler("balanced", batch=16, balance=balance)
    cases = [case for number in range(500) for case in draw(number)]
    found = Counter(LABELS[case] for case in cases)
    for name, share in zip(("none", "mild", "severe"), shares, strict=True):
        spread = (share * (1 - share) / len(cases)) ** 0.5
        assert abs(found[name] / len(cases) - share) < 4 * spread
    assert set(cases) == set(range(100))


@pytest.mark.parametrize("kind", ["grouped", "balanced-grouped"])
@pytest.mark.parametrize("batch", [1, 8, 34])
def test_grouped_has_no_patient_twice_in_a_batch(kind, batch):
    draw = sampler(kind, batch=batch)
    for number in range(60):
        patients = [GROUPS[case] for case in draw(number)]
        assert len(set(patients)) == len(patients) == batch


def test_grouped_counts_patients_alike():
    groups = ["often"] * 80 + [f"once {i}" for i in range(20)]
    draw = sampler("grouped", batch=4, groups=groups)
    found = Counter(groups[case] for number in range(2000) for case in draw(number))
    expected = 8000 / 21
    assert all(abs(n - expected) < 0.05 * expected for n in found.values())
    assert {case for number in range(2000) for case in draw(number)} == set(range(100))


def test_balanced_grouped_balances_as_far_as_patients_reach():
    draw = sampler("balanced-grouped", batch=6)
    found = Counter(LABELS[case] for number in range(1000) for case in draw(number))
    # three patients hold all severe cases, so a batch has at most three of its six from them
    assert found["severe"] / 6000 == pytest.approx(1 / 3, abs=0.05)
    assert found["mild"] / 6000 == pytest.approx(1 / 3, abs=0.05)


def test_a_class_without_patients_left_gives_its_place_away():
    labels = ["rare", *["common"] * 9]
    groups = ["a", *["b"] * 3, *["c"] * 3, *["d"] * 3]
    draw = CaseSampler("balanced-grouped", batch=4, seed=1, count=10, labels=labels, groups=groups)
    for number in range(50):
        assert sorted(groups[case] for case in draw(number)) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("balanced", {"labels": None}, "not every case has a single class to balance; write even"),
        ("balanced", {"labels": [None] * 100}, "not every case has a single class"),
        ("grouped", {"groups": None}, "not every case has a patient; write even"),
        ("grouped", {"batch": 35}, r"learner\.batch is 35 .* there are 34 patients"),
    ],
)
def test_what_it_needs_and_has_not_is_said(kind, changes, message):
    with pytest.raises(RecipeError, match=message):
        sampler(kind, **changes)


def test_no_cases_is_an_error():
    with pytest.raises(RecipeError, match="no cases"):
        CaseSampler("even", batch=1, seed=1, count=0)


def test_a_recipe_names_its_sampler():
    learner = Learner(steps=1, batch=4, sampler="balanced", balance=0.5, seed=9)
    draw = CaseSampler.of(learner, 100, labels=LABELS)
    same = CaseSampler("balanced", batch=4, seed=9, count=100, labels=LABELS, balance=0.5)
    assert draw(3) == same(3)
