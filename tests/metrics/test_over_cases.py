import math
import statistics

import numpy as np
import pytest

from osler.errors import InputError
from osler.metrics import bootstrap_mean, label_scores, summarise, summarise_table


def test_figures_are_those_of_the_standard_library() -> None:
    values = [0.1, 0.9, None, 0.4, 0.4, 0.7, None]
    known = [one for one in values if one is not None]
    found = summarise(values, seed=3, groups=list("aabbccd"), replicates=200)
    assert found.mean.value == pytest.approx(statistics.mean(known))
    assert found.median == statistics.median(known)
    first, _, third = statistics.quantiles(known, n=4, method="inclusive")
    assert found.quartiles == pytest.approx((first, third))
    assert (found.worst, found.cases, found.left_out) == ((0.1, 0.9), 5, 2)
    assert found.mean == bootstrap_mean(known, groups=list("aabcc"), seed=3, replicates=200)
    assert found.mean.groups == 3


def test_missing_more_never_looks_better() -> None:
    """A model that finds a structure badly, and one that misses it more and more often."""
    truth = np.zeros((8, 30), np.uint8)
    truth[2:6, 2:8] = 1
    bad, nothing = np.roll(truth, 12, axis=1), np.zeros_like(truth)
    means = []
    for missed in range(6):
        scores = [
            label_scores(truth, nothing if n < missed else bad, spacing=(1, 1), labels=(1,))[1].hd95
            for n in range(5)
        ]
        found = summarise(scores, seed=0, replicates=10)
        assert (found.cases, found.left_out) == (5, 0)
        means.append(found.mean.value)
    assert means == sorted(means)
    assert len(set(means)) == 6


def test_nothing_and_not_a_number() -> None:
    empty = summarise([None, None], seed=0)
    assert (empty.mean.value, empty.median, empty.cases, empty.left_out) == (None, None, 0, 2)
    for bad in (math.nan, math.inf):
        with pytest.raises(InputError, match="what a miss costs"):
            summarise([0.5, bad], seed=0)
    with pytest.raises(InputError, match="'groups'"):
        summarise([0.5], seed=0, groups=["a", "b"])


def test_a_table_is_its_columns() -> None:
    rows = [{"dice": 0.5, "hd95": 3.0}, {"dice": None, "hd95": 4.0}]
    found = summarise_table(rows, seed=0, replicates=10)
    assert found["dice"] == summarise([0.5, None], seed=0, replicates=10)
    assert summarise_table([], seed=0) == {}
    with pytest.raises(InputError, match="differ in their keys"):
        summarise_table([{"dice": 1.0}, {}], seed=0)
