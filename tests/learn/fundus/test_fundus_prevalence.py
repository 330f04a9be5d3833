"""How frequent labels are: what a guess that knows no more would lose."""

from pathlib import Path

import numpy as np
import pytest

from osler.data.cohort import Row
from osler.learn.fundus.canvases import Drawn
from osler.learn.fundus.segment import entropies_of_prevalence

SHAPE = (10, 20)


def drawn(*shares, known=1.0):
    """A case whose field is its left half, and in whose first rows every label lies."""
    image = np.zeros((4, *SHAPE), np.uint8)
    image[3, :, :10] = 255
    targets = np.zeros((len(shares), *SHAPE), np.uint8)
    for target, share in zip(targets, shares, strict=True):
        target[: round(10 * share)] = 255
    valid = np.zeros_like(targets)
    valid[:, :, : round(20 * known)] = 255
    return Drawn(Row("one", "one", 0, {}, {}), Path(), image, targets, valid)


def entropy(p):
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


def test_cases_that_do_not_show_a_label_do_not_make_it_rarer():
    found = entropies_of_prevalence([drawn(0.1, 0.5), drawn(0.3, 0), drawn(0, 0)])
    assert found.tolist() == pytest.approx([entropy(0.2), entropy(0.5)])


def test_pixels_that_say_nothing_are_left_out():
    some = drawn(0.2)
    some.targets[0, :, 5:] = 255
    assert float(entropies_of_prevalence([some])) == pytest.approx(entropy(0.6))
    some.valid[0, :, 5:] = 0
    assert float(entropies_of_prevalence([some])) == pytest.approx(entropy(0.2))


@pytest.mark.parametrize(("share", "p"), [(0, 1e-6), (1, 1 - 1e-6)])
def test_a_label_that_is_nowhere_or_everywhere_divides_by_something(share, p):
    assert float(entropies_of_prevalence([drawn(share)])) == pytest.approx(entropy(p), rel=1e-3)
