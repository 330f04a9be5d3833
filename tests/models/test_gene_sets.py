"""Sets see their genes only, and genes that were not measured are left out."""

import pytest
import torch

from osler import models
from osler.errors import RecipeError

GENES = ["A", "B", "C", "D", "E"]
SETS = {"first": ["A", "B", "nowhere"], "second": ["B", "C", "D"], "third": ["E"]}
X = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return models.create(
        "gene-set-encoder", weights="random", genes=GENES, sets=SETS, embed_dim=8, num_heads=2,
        num_classes=2,
    )  # fmt: skip


def test_activities_are_the_sums_over_members(net):
    said, there = net.activities(X)
    weight = net.weight.detach()
    assert weight.shape == (2 + 3 + 1, 8)  # one row a membership and no more
    rows = {"first": [(0, 0), (1, 1)], "second": [(1, 2), (2, 3), (3, 4)], "third": [(4, 5)]}
    for number, name in enumerate(SETS):
        want = sum(X[:, gene, None] * weight[row] for gene, row in rows[name]) + net.bias[number]
        torch.testing.assert_close(said[:, number], want)
    assert there.all()


def test_a_gene_moves_its_own_sets_only(net):
    x = X.clone().requires_grad_()
    net.activities(x)[0][:, 0].sum().backward()
    assert x.grad[:, :2].abs().min() > 0
    assert not x.grad[:, 2:].any()


def test_what_was_not_measured_is_left_out(net):
    present = torch.tensor([[True, False, True, True, False]] * 2)
    x = X.clone()
    x[:, 1], x[:, 4] = torch.nan, torch.nan
    said, there = net.activities(x)
    assert there.tolist() == [[True, True, False]] * 2
    weight = net.weight.detach()
    torch.testing.assert_close(said[:, 0], 2 * X[:, 0, None] * weight[0] + net.bias[0])
    with torch.inference_mode():
        torch.testing.assert_close(net(x), net(X, present))
        odd = X.clone()
        odd[:, 1] = 1e6
        torch.testing.assert_close(net(odd, present), net(X, present))
        # a set without any gene is no zero
        assert not torch.allclose(net(torch.where(x.isnan(), 0.0, x)), net(x), atol=1e-4)


@pytest.mark.parametrize(
    ("sets", "says"),
    [({"x": ["A"], "y": ["nowhere"]}, "no gene of these sets is a column: y"), ({}, "none are")],
)
def test_sets_without_genes_are_refused(sets, says):
    with pytest.raises(RecipeError, match=says):
        models.create("gene-set-encoder", weights="random", genes=GENES, sets=sets)


def test_two_columns_of_one_gene_are_refused():
    with pytest.raises(RecipeError, match="two columns"):
        models.create("gene-set-encoder", weights="random", genes=["A", "A"], sets=SETS)
