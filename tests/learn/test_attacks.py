"""Attacks on a network of one layer, whose best change is known."""

import numpy as np
import pytest
import torch

from osler.learn.attacks import fgsm, pgd, slope_by_differences


@pytest.fixture
def linear():
    torch.manual_seed(0)
    weight = torch.randn(6)
    return weight, lambda x: (x * weight).sum()


def test_both_find_the_best_change_of_a_linear_loss(linear):
    weight, loss = linear
    x = torch.full((1, 6), 0.5)
    best = x + 0.1 * weight.sign()
    torch.testing.assert_close(fgsm(loss, x, size=0.1, low=0, high=1), best)
    found = pgd(loss, x, size=0.1, steps=10, step=0.05, low=0, high=1)
    torch.testing.assert_close(found, best)
    assert float(fgsm(loss, x, size=0.9, low=0, high=1).max()) == 1.0


def test_steps_reach_where_one_does_not():
    def loss(x):  # greatest at 0.3, past which the gradient turns
        return -(x - 0.3).square().sum()

    x = torch.zeros(1, 1)
    one = fgsm(loss, x, size=1.0, low=-1, high=1)
    many = pgd(loss, x, size=1.0, steps=40, step=0.02, low=-1, high=1, start=None)
    assert float(loss(many)) > float(loss(one))
    assert (many - x).abs().max() <= 1.0


def test_differences_tell_the_slope_without_a_network(linear):
    weight, _ = linear
    x = np.full((1, 6), 0.2, np.float32)
    slope = slope_by_differences(
        lambda x: x.astype(float) @ weight.double().numpy(), x, pairs=4000, width=0.1, seed=1
    )
    np.testing.assert_allclose(slope[0], weight, atol=0.2)
