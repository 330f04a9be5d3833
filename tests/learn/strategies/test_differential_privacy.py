"""Differential privacy: gradients of cases, noise, accountants, and whole runs."""

import json
import math
import os
import stat
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.differential_privacy import DifferentialPrivacy
from osler.learn.strategies.federated import Federated
from osler.learn.strategies.private_gradients import (
    blurred,
    case_gradients,
    clipped,
    noise_for,
    spent,
    untreatable,
    with_group_normalisation,
)
from osler.learn.strategies.strategy import Strategy, Wrapped
from osler.tasks.task import Settings

sys.path.insert(0, str(Path(__file__).parents[2] / "models"))
from golden import golden_folder

pytest.importorskip("opacus")


@pytest.fixture(scope="module")
def golden():
    """The vectors: inputs, outputs, card."""
    folder = golden_folder() / "federated"
    if not folder.is_dir():
        pytest.skip(f"no golden vectors at {folder}")
    arrays = [dict(np.load(folder / f"{one}.npz")) for one in ("inputs", "outputs")]
    return *arrays, json.loads((folder / "card.json").read_text())


def test_shortened_gradients_agree_with_the_vectors(golden):
    inputs, outputs, card = golden
    gradients = torch.from_numpy(inputs["dp_per_sample_grads"])
    parts = [gradients[:, :3].reshape(5, 1, 3), gradients[:, 3:]]  # as two parameters
    short, lengths = clipped(parts, card["config"]["dp_clip"])
    whole = torch.cat([one.flatten(1) for one in short], dim=1).numpy()
    limits = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(lengths.numpy(), outputs["dp_norms"], **limits)
    np.testing.assert_allclose(whole, outputs["dp_clipped"], **limits)
    np.testing.assert_allclose(whole.mean(axis=0), outputs["dp_mean_clipped"], **limits)
    zero, _ = clipped([torch.zeros(2, 3)], 1.0)
    assert torch.equal(zero[0], torch.zeros(2, 3))


def test_noise_has_the_spread_that_is_asked_for():
    generator = torch.Generator().manual_seed(0)
    (said,) = blurred([torch.full((100_000,), 6.0)], most=2.0, noise=1.5, expected=4.0,
                      generator=generator)  # fmt: skip
    assert said.mean() == pytest.approx(6 / 4, abs=0.01)
    assert said.std() == pytest.approx(2.0 * 1.5 / 4, rel=0.01)


def little():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, 3, bias=False),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 2),
    )  # fmt: skip


def test_gradients_of_cases_are_those_of_batches_of_one():
    net = little()
    net[3].weight.requires_grad_(False)
    images, truth = torch.rand(5, 1, 9, 9), torch.tensor([0, 1, 1, 0, 1])

    def losses(net):
        said = net(images)
        return [
            nn.functional.cross_entropy(said[n : n + 1], truth[n : n + 1])
            for n in range(len(truth))
        ]

    kept = torch.ones_like(net[7].bias)
    net[7].bias.grad = kept.clone()
    hooked, mean = case_gradients(net, losses, one_by_one=False)
    single, other = case_gradients(net, losses, one_by_one=True)
    assert torch.equal(net[7].bias.grad, kept)
    assert mean == pytest.approx(other)
    learning = [p for p in net.parameters() if p.requires_grad]
    for n in range(5):  # slow: a batch of one case
        net.zero_grad()
        nn.functional.cross_entropy(net(images[n : n + 1]), truth[n : n + 1]).backward()
        for p, one, two in zip(learning, hooked, single, strict=True):
            assert torch.allclose(one[n], p.grad, atol=1e-6)
            assert torch.allclose(two[n], p.grad, atol=1e-6)
    assert not hasattr(learning[0], "grad_sample")
    assert not any("activations" in vars(module) for module in net.modules())


def test_a_layer_that_runs_twice_and_one_that_never_runs():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.unused = nn.Linear(3, 3), nn.Linear(3, 1)

        def forward(self, x):
            return self.shared(torch.tanh(self.shared(x))).sum(dim=1)

    torch.manual_seed(1)
    net, x = Twice(), torch.rand(4, 3)
    said = [
        case_gradients(net, lambda net: list(net(x)), one_by_one=way)[0] for way in (False, True)
    ]
    for hooked, single in zip(*said, strict=True):
        assert torch.allclose(hooked, single, atol=1e-6)
    assert torch.equal(said[0][2], torch.zeros(4, 1, 3))


def gaussian(noise, steps, delta):
    """The exact epsilon of Gaussian noise on all patients: Balle and Wang 2018, theorem 8."""
    mu = math.sqrt(steps) / noise

    def cdf(x):
        return 0.5 * math.erfc(-x / math.sqrt(2))

    low, high = 0.0, 200.0
    for _ in range(200):
        middle = (low + high) / 2
        said = cdf(mu / 2 - middle / mu) - math.exp(middle) * cdf(-mu / 2 - middle / mu)
        low, high = (middle, high) if said > delta else (low, middle)
    return high


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_accountants_bound_what_is_known_exactly(accountant):
    exact = gaussian(4.0, 10, 1e-5)
    said = spent(noise=4.0, rate=1.0, steps=10, delta=1e-5, accountant=accountant)
    assert exact <= said <= exact * (1.02 if accountant == "prv" else 1.25)


def test_the_accountants_agree_and_noise_is_found_for_an_epsilon():
    what = {"rate": 0.05, "steps": 100, "delta": 1e-5}
    rdp = spent(noise=1.0, accountant="rdp", **what)
    prv = spent(noise=1.0, accountant="prv", **what)
    assert prv < rdp < 1.5 * prv
    for epsilon in (1.0, 8.0):
        noise = noise_for(epsilon, accountant="rdp", **what)
        assert spent(noise=noise, accountant="rdp", **what) <= epsilon
        assert spent(noise=noise / 1.03, accountant="rdp", **what) > epsilon
    with pytest.raises(RecipeError, match=r"lower learner\.steps or learner\.batch"):
        noise_for(1e-4, accountant="rdp", rate=1.0, steps=10**7, delta=1e-5)


def test_layers_that_mix_cases_are_named_and_replaced():
    net = nn.Sequential(nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.Conv2d(32, 6, 3),
                        nn.BatchNorm2d(6))  # fmt: skip
    assert untreatable(net) == ["1 (BatchNorm2d)", "3 (BatchNorm2d)"]
    assert untreatable(Wrapped(net, still=[net])) == []  # what rests mixes nothing
    assert with_group_normalisation(net) == 2
    assert [net[1].num_groups, net[3].num_groups] == [2, 1]
    assert untreatable(net) == []
    assert untreatable(nn.Sequential(nn.LSTM(2, 3))) == ["0 (LSTM)"]


PRIVATE = {"noise": 1.0, "delta": 0.05, "normalisation": "group", "seed": 5, "accountant": "rdp"}
CALM = {"clip": None, "batch": 3}


class Enough(Exception):
    """The training is over."""


class Peek(Strategy):
    """Ends a run once it is trained."""

    name = "peek"
    title = "Peek"
    role = "tuning"
    source = "a test"
    Settings = Settings
    seen: ClassVar[dict] = {}

    def finished(self, net, context):
        for way, its in context.everyone:
            self.seen[way.name] = its.record
        raise Enough


class Killed(Peek):
    """Falls over in the fourth step."""

    def stepped(self, net, step):
        if step == 4:
            raise KeyboardInterrupt


def trained(path, out, *, resume=False):
    """The record of a run."""
    with pytest.raises(Enough):
        fit(path, out=out, resume=resume, strategies=[DifferentialPrivacy, Federated, Peek])
    return Peek.seen["differential-privacy"]


def weights(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["net"]


def test_a_private_run_ends_in_a_bundle_with_its_epsilon(recipe, classify, tmp_path):
    path = recipe(classify, strategies={"differential-privacy": PRIVATE}, learner=CALM)
    run = fit(path, out=tmp_path, strategies=[DifferentialPrivacy])
    record = json.loads((tmp_path / "run.json").read_text())["strategies"]["differential-privacy"]
    said = record["all"]
    assert said["patients"] == 8
    assert said["rate"] == pytest.approx(3 / 8)
    assert said["batches"] == 4
    assert said["epsilon"] == pytest.approx(
        spent(noise=1.0, rate=3 / 8, steps=4, delta=0.05, accountant="rdp"), abs=1e-4
    )
    assert record["batch_normalisation_replaced"] > 0
    assert run.metrics
    assert not any("running" in name for name in weights(tmp_path))


def test_a_private_run_goes_on_to_the_bit_with_its_own_key(recipe, classify, tmp_path):
    said = {**PRIVATE, "seed": None}
    path = recipe(
        classify, strategies={"differential-privacy": said, "peek": {}}, augment="light",
        learner={**CALM, "steps": 5, "checkpoint_minutes": 0, "accumulate": 2},
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[DifferentialPrivacy, Killed])
    key = (tmp_path / "parts" / "privacy.key").read_bytes()
    assert len(key) == 32
    if os.name == "posix":
        mode = stat.S_IMODE((tmp_path / "parts" / "privacy.key").stat().st_mode)
        assert mode == 0o600
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "privacy.key").write_bytes(key)
    record = trained(path, tmp_path / "whole", resume=True)  # anew, with the other run's key
    assert record["all"]["batches"] == 10
    trained(path, tmp_path / "parts", resume=True)
    trained(path, tmp_path / "other")
    whole, parts, other = (weights(tmp_path / one) for one in ("whole", "parts", "other"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not all(torch.equal(whole[name], other[name]) for name in whole)  # another key


def test_each_site_of_a_federation_keeps_its_own_account(recipe, classify, tmp_path):
    fed = {"sites": {"variable": "site"}, "rounds": 2}
    path = recipe(
        classify, learner={**CALM, "batch": 2},
        strategies={
            "federated": fed, "differential-privacy": PRIVATE, "peek": {},
        },
    )  # fmt: skip
    record = trained(path, tmp_path)
    assert set(record["sites"]) == {"bright", "dark"}
    assert "all" not in record
    for one in record["sites"].values():
        assert one["patients"] == 4
        assert one["rate"] == 0.5


def test_how_little_a_patient_moves_the_weights(recipe, classify, tmp_path):
    """A step is at most C / batch longer for one patient more, and noise hides just that."""
    far = {**PRIVATE, "noise": 0.25, "most": 0.001}
    learner = {**CALM, "steps": 1, "optimiser": "sgd", "momentum": 0, "rate": 1.0, "warmup": 0,
               "weight_decay": 0, "schedule": "constant", "validate_every": 1}  # fmt: skip
    path = recipe(classify, learner=learner, strategies={"differential-privacy": far, "peek": {}})
    trained(path, tmp_path / "run")
    still = {**learner, "rate": 1e-30}
    path = recipe(classify, learner=still, strategies={"differential-privacy": far, "peek": {}})
    trained(path, tmp_path / "start")
    after, before = weights(tmp_path / "run"), weights(tmp_path / "start")
    moved = torch.cat([(after[name] - before[name]).reshape(-1).double() for name in after])
    noise = 0.25 * 0.001 / 3
    assert float(moved.std()) == pytest.approx(noise, rel=0.3)
    assert float(moved.norm()) < noise * math.sqrt(len(moved)) * 1.1 + 8 * 0.001 / 3


@pytest.mark.parametrize(
    ("said", "learner", "more", "message"),
    [
        ({"noise": None}, {}, {}, "either the epsilon that may be spent, or the noise"),
        ({}, {"clip": 1.0}, {}, "write learner.clip: null"),
        ({}, {"sampler": "balanced"}, {}, "drawn by the same chance"),
        ({}, {"checkpointing": True}, {}, "give each case's gradient twice"),
        ({}, {}, {"mean-teacher": {}}, "only a loss that each case has by itself"),
        ({"epsilon": -1}, {}, {}, "epsilon"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    recipe, classify, said, learner, more, message
):
    path = recipe(
        classify, learner={**CALM, **learner},
        strategies={"differential-privacy": {**PRIVATE, **said}, **more},
    )  # fmt: skip
    with pytest.raises(RecipeError, match=message):
        check_recipe(read_yaml(path), path, strategies=[DifferentialPrivacy])


def test_what_only_the_data_tell_is_refused_too(recipe, classify, tmp_path):
    for said, learner, message in (
        ({"normalisation": "refuse"}, {}, r"bn1 \(BatchNorm2d\).*normalisation: group"),
        ({}, {"batch": 9}, r"lower learner\.batch \(now 9\)"),
        ({"delta": 0.099, "noise": 1.0}, {"batch": 2}, None),
    ):
        path = recipe(
            classify, learner={**CALM, **learner},
            strategies={"differential-privacy": {**PRIVATE, **said}, "peek": {}},
        )  # fmt: skip
        with pytest.raises(Enough if message is None else RecipeError, match=message):
            fit(path, out=tmp_path, strategies=[DifferentialPrivacy, Peek])
