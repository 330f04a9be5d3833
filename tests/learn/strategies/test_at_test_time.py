"""Networks that are fitted to the cases that test: statistics of batches, and entropy."""

import copy
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.learner import Learner
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.adaptive_statistics import AdaptiveStatistics
from osler.learn.strategies.strategy import Context
from osler.learn.strategies.tent import Tent, entropy
from osler.tasks.classification import Classification
from osler.tasks.task import Sample

WAYS = [AdaptiveStatistics, Tent]


@pytest.fixture
def context():
    """A run about pictures of 4 pixels, two of which make a batch."""
    settings = Classification.Settings.model_validate({
        "image": {"items": ["image"], "size": [4, 4]}, "target": "class", "labels": ["a", "b"],
    })  # fmt: skip
    recipe = SimpleNamespace(learner=Learner(steps=1, batch=2), network=SimpleNamespace(name=None))
    nothing = dict.fromkeys(
        ("folder", "resume", "teach", "unlabelled", "tune", "variables", "build", "judge",
         "task_loss", "another", "path", "task_batches")
    )  # fmt: skip
    return Context(recipe=recipe, task=Classification(settings), **nothing)


def _net():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(3, 2),
    ).eval()  # fmt: skip


def _samples(count=6):
    rng = np.random.default_rng(5)
    return [
        Sample(f"c{n}", f"p{n}", {"image": rng.normal(n, 2, (1, 4, 4)).astype(np.float32)})
        for n in range(count)
    ]


@pytest.mark.parametrize("prior", [0.0, 12.0])
def test_statistics_against_numpy(context, prior):
    net, samples = _net(), _samples()
    net[1].running_mean.fill_(7.0)
    way = AdaptiveStatistics(AdaptiveStatistics.Settings(prior=prior))
    way.adapted(net, samples, context)
    share = prior / (prior + 6)
    with torch.no_grad():
        batches = context.batches(samples, batch=2, seed=23)
        values = [net[0](torch.from_numpy(batches(n)[0]["image"])).numpy() for n in range(16)]
    mean = np.mean([one.mean((0, 2, 3)) for one in values], 0)
    variance = np.mean([one.var((0, 2, 3), ddof=1) for one in values], 0)
    np.testing.assert_allclose(net[1].running_mean, share * 7 + (1 - share) * mean, rtol=1e-4)
    np.testing.assert_allclose(net[1].running_var, share + (1 - share) * variance, rtol=1e-4)


def test_entropy_against_sums():
    scores = torch.tensor([[1.0, -0.5, 2.0], [0.0, 0.0, 0.0]])
    wanted = []
    for row in scores.tolist():
        total = sum(math.exp(s) for s in row)
        wanted.append(-sum(math.exp(s) / total * math.log(math.exp(s) / total) for s in row))
    assert math.isclose(float(entropy(scores, "softmax")), sum(wanted) / 2, rel_tol=1e-6)
    each = [1 / (1 + math.exp(-s)) for row in scores.tolist() for s in row]
    sure = [-(p * math.log(p) + (1 - p) * math.log(1 - p)) for p in each]
    assert math.isclose(float(entropy(scores, "sigmoid")), sum(sure) / 6, rel_tol=1e-6)
    assert float(entropy(torch.tensor([[200.0, -200.0]]), "sigmoid")) == 0


def test_tent_moves_scale_and_shift_only_and_makes_answers_surer(context):
    net, samples = _net(), _samples()
    before = {name: one.clone() for name, one in net.state_dict().items()}
    Tent(Tent.Settings(rate=0.05, rounds=3)).adapted(net, samples, context)
    changed = {name for name, one in net.state_dict().items() if not torch.equal(one, before[name])}
    assert changed == {"1.weight", "1.bias", "1.running_mean", "1.running_var",
                       "1.num_batches_tracked"}  # fmt: skip
    first, last = context.record["entropy"]
    assert last < first
    assert net[1].momentum == 0.1
    assert all(one.requires_grad for one in net.parameters())


def test_tent_against_slopes_by_difference_and_adam_by_hand(context):
    net, samples = _net(), _samples(4)
    exact = copy.deepcopy(net).double()
    batches = context.batches(samples, batch=2, seed=23)
    shown = [torch.from_numpy(batches(n)[0]["image"]).double() for n in range(16)]

    def surprise(images, values):
        with torch.no_grad():
            first = exact[0](images)
            mean = first.mean((0, 2, 3), keepdim=True)
            flat = (first - mean) / (first.var((0, 2, 3), unbiased=False, keepdim=True)
                                     + 1e-5).sqrt()  # fmt: skip
            weight, bias = torch.tensor(values, dtype=torch.float64).reshape(2, 3, 1, 1)
            rows = exact[4]((flat * weight + bias).mean((2, 3))).tolist()
        shares = [[math.exp(s) / sum(math.exp(t) for t in row) for s in row] for row in rows]
        return -sum(p * math.log(p) for row in shares for p in row) / len(rows)

    values = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    middle, square = [0.0] * 6, [0.0] * 6
    for step, images in enumerate(shown, start=1):
        slopes = []
        for n in range(6):
            ends = [[v + sign * 1e-5 * (k == n) for k, v in enumerate(values)] for sign in (1, -1)]
            slopes.append((surprise(images, ends[0]) - surprise(images, ends[1])) / 2e-5)
        for n, slope in enumerate(slopes):
            middle[n] = 0.9 * middle[n] + 0.1 * slope
            square[n] = 0.999 * square[n] + 0.001 * slope**2
            gone = middle[n] / (1 - 0.9**step)
            values[n] -= 0.01 * gone / (math.sqrt(square[n] / (1 - 0.999**step)) + 1e-8)
    Tent(Tent.Settings(rate=0.01)).adapted(net, samples, context)
    found = [*net[1].weight.tolist(), *net[1].bias.tolist()]
    np.testing.assert_allclose(found, values, atol=2e-4)


@pytest.mark.parametrize("way", WAYS)
def test_end_to_end(recipe, classify, tmp_path, way):
    run = fit(recipe(classify, strategies={way.name: {}}), out=tmp_path / "run", strategies=[way])
    assert run.bundle.exists()
    kept = json.loads((tmp_path / "run" / "run.json").read_text())["strategies"][way.name]
    assert kept["cases"] == 8


def test_networks_without_batch_normalisation_are_refused(recipe, segment, tmp_path):
    for way in WAYS:
        path = recipe(segment, strategies={way.name: {}})
        with pytest.raises(RecipeError, match="has none"):
            fit(path, out=tmp_path / way.name, strategies=WAYS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategies": {"tent": {}}, "hold": {"test": None}}, "hold.test names none"),
        ({"strategies": {"tent": {}, "test-time-statistics": {}}}, "counts the statistics itself"),
        ({"strategies": {"tent": {"rate": 0}}}, "greater than 0"),
    ],
)
def test_what_cannot_be_is_refused(recipe, classify, change, said):
    path = recipe({**classify, "cohort": "nowhere.csv"}, **change)
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path, strategies=WAYS)
