"""From probabilities to the labels that cannot be excluded."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.tasks.prediction_set import prediction_set


def test_without_a_quantile_there_is_no_set():
    assert prediction_set({"0": 0.7, "1": 0.3}, None) == ()


@pytest.mark.parametrize(
    ("quantile", "expected"),
    [
        (0.1, ("b",)),
        (0.65, ("b",)),
        (0.75, ("b", "c")),
        (0.95, ("a", "b", "c")),
        (1.0, tuple("abcd")),
    ],
)
def test_labels_are_kept_from_one_minus_the_quantile_on(quantile, expected):
    said = {"a": 0.1, "b": 0.6, "c": 0.29, "d": 0.01}
    assert prediction_set(said, quantile) == expected


def test_rounded_probabilities_are_scaled_to_one():
    assert prediction_set({"yes": 0.51, "no": 0.51}, 0.5) == ("yes", "no")


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.floats(0.01, 1), min_size=2, max_size=6),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
)
def test_sets_hold_the_likeliest_keep_the_order_and_grow(weights, low, high):
    low, high = min(low, high), max(low, high)
    said = {str(k): w / sum(weights) for k, w in enumerate(weights)}
    small, large = prediction_set(said, low), prediction_set(said, high)
    assert max(said, key=lambda label: said[label]) in small
    assert set(small) <= set(large)
    assert list(large) == [label for label in said if label in large]
