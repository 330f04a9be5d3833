"""Domain-adversarial training: the reversed gradient, the domains, and runs through recipes."""

import math

import pytest
import torch
from torch import nn
from tuning_runs import goes_on_to_the_bit, trained

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.adversarial import (
    Adversarial,
    _WithDomains,
    domain_classifier,
    reversed_gradient,
    rising,
)
from osler.learn.strategies.fourier_style import FourierStyle

WAYS = [FourierStyle, Adversarial]


def test_the_gradient_is_reversed_and_the_value_is_not():
    torch.manual_seed(1)
    features = torch.randn(6, 5, requires_grad=True)
    net, domains = domain_classifier(5, 3, 2), torch.tensor([0, 0, 0, 1, 1, 1])
    plain = nn.functional.cross_entropy(net(features), domains)
    (forth,) = torch.autograd.grad(plain, features)
    turned = nn.functional.cross_entropy(net(reversed_gradient(features, 0.3)), domains)
    (back,) = torch.autograd.grad(turned, features)
    assert float(plain.detach()) == float(turned.detach())
    assert torch.allclose(back, -0.3 * forth)


def test_the_weight_rises_from_nought_to_one():
    assert rising(0.0, 10) == 0
    assert math.isclose(rising(0.3, 10), (1 - math.exp(-3)) / (1 + math.exp(-3)))
    assert rising(1.0, 10) > 0.9999


def test_the_whole_loss_against_a_slow_oracle(recipe, classify, tmp_path):
    kept = {}

    class Watched(Adversarial):
        def loss(self, loss, context):
            both = super().loss(loss, context)

            def watched(net, number, device):
                if number != 3 or kept:
                    return both(net, number, device)
                net.eval()  # so that a batch may be asked twice
                kept["both"], kept["own"] = both(net, number, device), loss(net, number, device)
                rows, truth = [], []
                layer = net.net.get_submodule(self._layer)
                seen = []
                handle = layer.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
                loss(net, number, device)
                more = context.batches(context.unlabelled, seed=11)
                net.net(torch.from_numpy(more(number)[0]["image"]))
                handle.remove()
                for domain, features in enumerate(seen):
                    for one in features:
                        rows.append(net.beside["domains"](one))
                        truth.append(domain)
                terms = [
                    math.log(sum(math.exp(s) for s in row.tolist())) - row[domain].item()
                    for row, domain in zip(rows, truth, strict=True)
                ]
                kept["domains"] = sum(terms) / len(terms)
                net.train()
                return kept["both"]

            return watched

    path = recipe(classify, strategies={"adversarial": {}}, labels={"share": 0.5})
    trained(path, tmp_path, Watched)
    assert math.isclose(
        float(kept["both"].detach() - kept["own"].detach()), kept["domains"], rel_tol=1e-4
    )


def test_sites_of_cases_to_mark(recipe, segment, tmp_path):
    changes = {"adversarial": {"by": "site"}, "fourier-style": {"by": "site"}}
    path = recipe(segment, strategies=changes, learner={"steps": 2, "validate_every": 2})
    assert any("beside.domains" in name for name in trained(path, tmp_path, *WAYS[::-1]))


@pytest.mark.usefixtures("graphless")
def test_sites_of_cases_to_classify(recipe, classify, tmp_path):
    changes = {"adversarial": {"by": "site"}, "fourier-style": {"by": "site"}}
    run = fit(recipe(classify, strategies=changes), out=tmp_path, strategies=WAYS)
    assert {one["images"] for one in run.metrics} == {8}
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["net"]
    assert any("beside.domains" in name for name in kept)


def test_a_run_goes_on_to_the_bit(recipe, classify, tmp_path):
    changes = {"adversarial": {}, "fourier-style": {}}
    weights = goes_on_to_the_bit(
        recipe, classify, Adversarial, tmp_path, strategies=changes, labels={"share": 0.5}
    )
    assert any("beside.domains" in name for name in weights)


def test_the_classifier_is_not_exported():
    net = nn.Linear(2, 2)
    assert Adversarial(Adversarial.Settings()).finished(_WithDomains(net), None) is net


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategies": {"adversarial": {}}}, "tells cases with a label from those without one"),
        ({"strategies": {"adversarial": {"weight": 0}}}, "greater than 0"),
        ({"strategies": {"adversarial": {"bye": "site"}}}, "the nearest is 'by'"),
    ],
)
def test_what_cannot_be_is_refused(recipe, classify, change, said):
    path = recipe({**classify, "cohort": "nowhere.csv"}, **change)
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path, strategies=WAYS)


def test_a_layer_that_is_not_there_is_refused(recipe, classify, tmp_path):
    path = recipe(classify, strategies={"adversarial": {"by": "site", "layer": "deep"}})
    with pytest.raises(RecipeError, match=r"adversarial\.layer"):
        fit(path, out=tmp_path, strategies=WAYS)
