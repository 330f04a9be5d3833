"""A missing value is absent, whether it is nan, negative or said to be missing."""

import pytest
import torch

from osler import models
from osler.errors import RecipeError

OPTIONS = {"numbers": 3, "categories": [2, 4], "embed_dim": 16, "depth": 2, "num_heads": 2}
NUMBERS = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -0.5]])
CATEGORIES = torch.tensor([[1, 3], [0, 2]])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return models.create("tabular-transformer", weights="random", num_classes=2, **OPTIONS)


def test_three_ways_of_missing_are_one(net):
    present = torch.tensor([[True, False, True, True, False]] * 2)
    numbers, categories = NUMBERS.clone(), CATEGORIES.clone()
    numbers[:, 1], categories[:, 1] = torch.nan, -1
    with torch.inference_mode():
        said = net(NUMBERS, CATEGORIES, present)
        torch.testing.assert_close(net(numbers, categories), said)
        numbers[:, 1] = 1e6
        torch.testing.assert_close(net(numbers, categories, present), said)


def test_a_missing_value_is_a_token_less(net):
    """What the encoder says of the tokens that are there is what it says of them alone."""
    numbers = NUMBERS.clone()
    numbers[:, 0] = torch.nan
    with torch.inference_mode():
        tokens, there = net.tokens(numbers, CATEGORIES)
        alone = net.encoder(tokens[:, 1:], torch.ones(2, 4, dtype=torch.bool))[:, 0]
        torch.testing.assert_close(net.features(numbers, CATEGORIES), alone)
        assert there.tolist() == [[False, True, True, True, True]] * 2
        # zero is a value
        zeros = torch.where(numbers.isnan(), 0.0, numbers)
        assert not torch.allclose(net(zeros, CATEGORIES), net(numbers, CATEGORIES), atol=1e-4)


def test_tokens_are_the_paper_s(net):
    with torch.inference_mode():
        tokens, _ = net.tokens(NUMBERS, CATEGORIES)
        want = NUMBERS[1, 2] * net.weight[2] + net.bias[2]
        torch.testing.assert_close(tokens[1, 2], want)
        # the second column's categories come after the first one's two
        torch.testing.assert_close(tokens[0, 4], net.values.weight[2 + 3] + net.bias[4])


def test_a_table_without_any_value_is_taken(net):
    nothing = torch.full((1, 3), torch.nan)
    with torch.inference_mode():
        assert torch.isfinite(net(nothing, torch.tensor([[-1, -1]]))).all()


def test_gradients_pass_missing_values(net):
    numbers = NUMBERS.clone()
    numbers[0] = torch.nan
    net.train()(numbers, CATEGORIES).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_table_has_columns():
    with pytest.raises(RecipeError, match="at least one column"):
        models.create("tabular-transformer", weights="random", numbers=0, categories=[])


def perceptron(**options):
    torch.manual_seed(0)
    return models.create("tabular-perceptron", weights="random", **{"numbers": 3, **options}).eval()


def test_a_perceptron_without_layers_is_linear():
    net = perceptron(num_classes=2, widths=[])
    with torch.inference_mode():
        net.head.weight.normal_()
        weight, bias = net.head.weight, net.head.bias
        torch.testing.assert_close(net(NUMBERS), NUMBERS @ weight[:, :3].T + bias)
        missing = net(NUMBERS, torch.tensor([[True, False, True]] * 2))
        there = NUMBERS[:, [0, 2]] @ weight[:, [0, 2]].T
        torch.testing.assert_close(missing, there + weight[:, 4] + bias)


def test_a_perceptron_does_not_look_at_what_is_missing():
    net = perceptron(num_classes=2, widths=[8])
    holed = NUMBERS.clone()
    holed[:, 1] = torch.nan
    with torch.inference_mode():
        said = net(holed)
        torch.testing.assert_close(net(NUMBERS, torch.tensor([[True, False, True]] * 2)), said)
        assert not torch.allclose(net(torch.nan_to_num(holed)), said)
    with pytest.raises(RecipeError, match="at least one column"):
        perceptron(numbers=0)
