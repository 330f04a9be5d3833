"""Ensembles, dropout, SWAG and evidence: against slow oracles, end to end, resumed, exported."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.special import digamma, gammaln
from torch import nn

from osler.bundles import load
from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.ensemble import DeepEnsemble
from osler.learn.strategies.evidential import LogAlpha, divergence_from_ignorance, risk
from osler.learn.strategies.mc_dropout import Dropped, Passes, Turn
from osler.learn.strategies.swag import Moments


@pytest.mark.parametrize("epoch", [1, 7, 20])
def test_evidence_against_the_published_code(epoch, golden_vectors):
    golden = golden_vectors("losses")
    inputs, outputs = golden.inputs, golden.outputs
    for said, scores in (
        ("text", inputs["evidential_logits_per_text"]),
        ("vision", inputs["evidential_logits_per_text"].T),
    ):
        alpha = nn.functional.softplus(scores) + 1
        truth = torch.eye(6, dtype=torch.float64)
        ramp = min(1, epoch / 15)
        mine = risk(alpha, truth, "cross-entropy")
        mine = mine + ramp * divergence_from_ignorance(alpha, truth)
        wanted = float(outputs[f"evidential_{said}_epoch{epoch}"])
        assert float(mine.mean()) == pytest.approx(wanted, rel=1e-6)


def test_evidence_against_a_slow_oracle():
    rng = np.random.default_rng(0)
    alpha, truth = 1 + rng.exponential(3, (4, 3)), np.eye(3)[[0, 2, 1, 1]]
    cross, squares, kl = [], [], []
    for a, y in zip(alpha, truth, strict=True):
        s = sum(a)
        cross.append(digamma(s) - digamma(a[y.argmax()]))
        draws = rng.dirichlet(a, 200_000)
        squares.append(((y - draws) ** 2).sum(1).mean())
        b = [1 if yes else one for one, yes in zip(a, y, strict=True)]
        t = sum(b)
        kl.append(gammaln(t) - sum(map(gammaln, b)) - gammaln(3)
                  + sum((one - 1) * (digamma(one) - digamma(t)) for one in b))  # fmt: skip
    pair = torch.tensor(alpha), torch.tensor(truth)
    np.testing.assert_allclose(risk(*pair, "cross-entropy"), cross, rtol=1e-6)
    np.testing.assert_allclose(risk(*pair, "squares"), squares, rtol=0.02)
    np.testing.assert_allclose(divergence_from_ignorance(*pair), kl, rtol=1e-5, atol=1e-6)
    scores = torch.randn(2, 3)
    log = LogAlpha(nn.Identity())(scores)
    alpha = nn.functional.softplus(scores) + 1
    torch.testing.assert_close(log.softmax(1), alpha / alpha.sum(1, keepdim=True))


def test_moments_of_weights_and_draws_from_them():
    net = nn.Linear(2, 1)
    moments, seen = Moments(net), []
    for n in range(6):
        with torch.no_grad():
            net.weight.fill_(n)
            net.bias.fill_(-2.0 * n)
        moments.gather(net)
        seen.append(n)
    assert float(moments.get_buffer("mean0")[0, 0]) == pytest.approx(np.mean(seen))
    generator = torch.Generator().manual_seed(1)
    drawn = []
    for _ in range(3000):
        moments.draw(net, generator, 0.5)
        drawn.append(float(net.bias.detach()))
    assert np.mean(drawn) == pytest.approx(-5, abs=0.1)
    assert np.std(drawn) == pytest.approx(0.5 * 2 * np.std(seen), rel=0.05)
    moments.draw(net, generator, 0.0)
    assert float(net.bias.detach()) == pytest.approx(-5)


def test_masks_are_the_mean_over_deterministic_passes():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 6, 3), Dropped(nn.Conv2d(6, 3, 1), 0.5)).eval()
    x = torch.randn(2, 2, 5, 5)
    plain = net[1].layer(net[0](x))
    torch.testing.assert_close(net(x), plain)
    turn = Turn()
    net[1].drawn(4, torch.Generator().manual_seed(3), turn)
    whole = Passes(net, 4, turn, {0: "softmax"}).eval()
    slow = 0
    for mask in net[1].masks:
        slow = slow + net[1].layer(net[0](x) * mask[None, :, None, None]).softmax(1) / 4
    torch.testing.assert_close(whole(x).softmax(1), slow)
    assert set(net[1].masks.unique().tolist()) == {0.0, 2.0}
    learning = Dropped(nn.Linear(1000, 1, bias=False), 0.3).train()
    nn.init.ones_(learning.layer.weight)
    torch.manual_seed(1)
    said = learning(torch.ones(50, 1000)).detach()
    assert float(said.mean()) == pytest.approx(1000, rel=0.02)
    assert float(said.std()) == pytest.approx(math.sqrt(1000 * 0.3 / 0.7), rel=0.3)


KEYS = {
    "deep-ensemble": {"members": 2},
    "swag": {"steps": 2, "every": 1, "members": 2},
    "mc-dropout": {"passes": 2, "where": "every"},
    "evidential": {},
}


@pytest.mark.parametrize("names", [["deep-ensemble", "evidential"], ["swag", "mc-dropout"]])
def test_each_learns_with_another_and_answers_without_torch(names, recipe, classify, tmp_path):
    learner = {"steps": 2, "validate_every": 2}
    classify["network"]["options"] = {"layers": [1, 1], "widths": [4, 8], "stem": 4}
    path = recipe(classify, strategies={one: KEYS[one] for one in names}, learner=learner)
    run = fit(path, out=tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["difference_between_onnx_and_torch"] < 1e-2
    scores = load(run.bundle).run({"image": np.zeros((1, 3, 32, 32), np.float32)})["scores"]
    assert np.isfinite(scores).all()
    if "evidential" not in names:  # a mean of probabilities, as scores, sums to 1
        assert np.exp(scores).sum() == pytest.approx(1, abs=1e-2)


def test_an_ensemble_of_structures_goes_on_to_the_bit(recipe, segment, tmp_path, request):
    base = {**segment, "settings": {**segment["settings"], "patch": [32, 32]}}
    learner = {"steps": 2, "validate_every": 2, "checkpoint_minutes": 0}
    path = recipe(
        base, strategies={"deep-ensemble": {"members": 2}, "mc-dropout": {"passes": 2}},
        learner=learner,
    )  # fmt: skip
    fit(path, out=tmp_path / "whole")
    request.getfixturevalue("graphless")

    class Tired(DeepEnsemble):
        def train(self, net, loss, validate, context):
            def tired(net, number, device):
                if number == 3:  # of the second member
                    raise KeyboardInterrupt
                return loss(net, number, device)

            return super().train(net, tired, validate, context)

    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[Tired])
    fit(path, out=tmp_path / "parts", resume=True)
    for member in ("member-0", "member-1"):
        first, second = (
            torch.load(tmp_path / one / member / "checkpoint.pt", weights_only=True)["net"]
            for one in ("whole", "parts")
        )
        assert all(torch.equal(value, second[name]) for name, value in first.items())
    one, other = (
        torch.load(tmp_path / "whole" / name / "checkpoint.pt", weights_only=True)["net"]
        for name in ("member-0", "member-1")
    )
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategies": {"evidential": {}}, "settings": {"smoothing": 0.1}}, "settings.smoothing"),
        ({"strategies": {"deep-ensemble": {"members": 1}}}, "members"),
        ({"strategies": {"deep-ensemble": {}, "swag": {}}}, "how the steps are taken"),
        ({"strategies": {"deep-ensemble": {}, "contrastive": {}}}, "fit a recipe for each seed"),
        ({"strategies": {"mc-dropout": {"share": 1.0}}}, "share"),
    ],
)
def test_what_cannot_be_unsure_is_refused(recipe, classify, change, said):
    path = recipe({**classify, "cohort": "nowhere.csv"}, **change)
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path)
