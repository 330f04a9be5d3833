"""Prototypes and MAML: episodes, updates against plain oracles, and what a fit leaves."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from tuning_runs import Enough, goes_on_to_the_bit, trained

from osler.bundles import load
from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.strategies import prototypes as prototypes_file
from osler.learn.strategies.episodes import Episodes
from osler.learn.strategies.linear_probe import LinearProbe
from osler.learn.strategies.lora import Lora
from osler.learn.strategies.maml import Maml, episode_loss
from osler.learn.strategies.prototypes import Prototypes, class_means, distances
from osler.tasks.task import Sample

WAYS = [Prototypes, Maml, LinearProbe, Lora]


def cases(counts, home="h"):
    out = []
    for name, count in counts.items():
        out += [Sample(f"{home}{name}{n}", "p", {}, {}, group=name) for n in range(count)]
    return out


def test_an_episode_asks_other_cases_than_it_teaches_with():
    samples = cases({"a": 9, "b": 4, "c": 2, "d": 1})
    draw = Episodes(samples, shots=3, queries=4, seed=1)
    for number in range(20):
        support, queries = draw(number)
        assert not set(support) & set(queries)
        of = [samples[n].group for n in support]
        assert [of.count(name) for name in "abcd"] == [3, 3, 1, 0]  # one at least is asked
        asked = [samples[n].group for n in queries]
        assert [asked.count(name) for name in "abcd"] == [4, 1, 1, 0]
        assert draw(number) == (support, queries)
    assert draw(0) != draw(1)
    two = Episodes(samples, shots=1, queries=1, ways=2, seed=1)
    assert all(len({samples[n].group for n in two(k)[0]}) == 2 for k in range(9))


def test_an_episode_stays_in_one_home():
    samples = cases({"a": 3, "b": 3}, "x") + cases({"a": 3, "b": 3}, "y") + cases({"a": 5}, "z")
    homes = [one.id[0] for one in samples]
    draw = Episodes(samples, shots=1, queries=2, homes=homes)
    assert draw.homes == ["x", "y"]
    seen = {frozenset(homes[n] for part in draw(k) for n in part) for k in range(20)}
    assert seen == {frozenset("x"), frozenset("y")}
    with pytest.raises(RecipeError, match="two cases of each of two classes"):
        Episodes(cases({"a": 5, "b": 1}), shots=1, queries=1)


def test_scores_are_squared_distances_to_means_and_a_linear_layer():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 4)).astype(np.float32), np.arange(12) % 3
    means = class_means(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    asked = rng.normal(size=(5, 4)).astype(np.float32)
    due = np.zeros((5, 3))
    for n in range(5):
        for k in range(3):
            mean = [sum(x[i, c] for i in range(12) if y[i] == k) / 4 for c in range(4)]
            due[n, k] = -sum((asked[n, c] - mean[c]) ** 2 for c in range(4))
    said = distances(torch.from_numpy(asked), torch.from_numpy(means)).numpy()
    np.testing.assert_allclose(said, due, rtol=1e-4, atol=1e-5)
    linear = asked @ (2 * means).T - (means**2).sum(1)
    shift = said - linear  # the same for all classes of a case
    np.testing.assert_allclose(shift, np.repeat(shift[:, :1], 3, axis=1), rtol=1e-4, atol=1e-4)


class _Squares:
    """A task whose loss is half the square of what is missing."""

    @staticmethod
    def loss(net, inputs, targets, *, step):
        return 0.5 * (net(inputs["x"]) - targets["y"]).square().mean()


def _line(w, b):
    net = nn.Linear(1, 1)
    with torch.no_grad():
        net.weight.fill_(w)
        net.bias.fill_(b)
    return net


@pytest.mark.parametrize("first_order", [False, True])
def test_gradients_through_adaptation_are_those_of_finite_differences(first_order):
    rng = np.random.default_rng(1)
    xs, ys, xq, yq = rng.normal(size=(4, 6))
    rate, steps = 0.3, 2

    def adapted(w, b):
        for _ in range(steps):
            miss = w * xs + b - ys
            w, b = w - rate * (miss * xs).mean(), b - rate * miss.mean()
        return w, b

    def asked(w, b):
        return 0.5 * ((w * xq + b - yq) ** 2).mean()

    def batch(x, y):
        made = [torch.tensor(one, dtype=torch.float64)[:, None] for one in (x, y)]
        return {"x": made[0]}, {"y": made[1]}

    net = _line(0.7, -0.2).double()
    loss = episode_loss(
        net, _Squares(), batch(xs, ys), batch(xq, yq), ["weight", "bias"], rate=rate, steps=steps,
        first_order=first_order,
    )  # fmt: skip
    assert float(loss.detach()) == pytest.approx(asked(*adapted(0.7, -0.2)))
    loss.backward()
    eps = 1e-6
    if first_order:  # the gradient where the adaptation ends
        w, b = adapted(0.7, -0.2)
        miss = w * xq + b - yq
        due = [(miss * xq).mean(), miss.mean()]
    else:
        due = [
            (asked(*adapted(0.7 + eps, -0.2)) - asked(*adapted(0.7 - eps, -0.2))) / (2 * eps),
            (asked(*adapted(0.7, -0.2 + eps)) - asked(*adapted(0.7, -0.2 - eps))) / (2 * eps),
        ]
    assert net.weight.grad.item() == pytest.approx(due[0], rel=1e-5)
    assert net.bias.grad.item() == pytest.approx(due[1], rel=1e-5)


def test_anil_adapts_the_named_part_alone():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 1))
    x, y = torch.randn(4, 1), torch.randn(4, 1)
    loss = episode_loss(
        net, _Squares(), ({"x": x}, {"y": y}), ({"x": x}, {"y": y}),
        ["1.weight", "1.bias"], rate=0.1, steps=1, first_order=False,
    )  # fmt: skip
    inner = torch.autograd.grad(_Squares.loss(net, {"x": x}, {"y": y}, step=0), net[1].weight)[0]
    bias = torch.autograd.grad(_Squares.loss(net, {"x": x}, {"y": y}, step=0), net[1].bias)[0]
    head = net[0](x) @ (net[1].weight - 0.1 * inner).T + net[1].bias - 0.1 * bias
    torch.testing.assert_close(loss, 0.5 * (head - y).square().mean())
    loss.backward()
    assert net[0].weight.grad is not None  # without, everything learns


def test_a_head_of_class_means_is_exported(recipe, classify, tmp_path):
    path = recipe(classify, strategies={"prototypes": {"learn": False}})
    kept = {}

    class Told(Prototypes):
        def finished(self, net, context):
            features, classes = prototypes_file.taught_features(net, "fc", context)
            kept["means"] = class_means(features, classes)
            kept["head"] = net.get_submodule("fc")
            return net

    run = fit(path, out=tmp_path, strategies=[Told])
    torch.testing.assert_close(kept["head"].weight.detach(), 2 * kept["means"])
    torch.testing.assert_close(kept["head"].bias.detach(), -kept["means"].square().sum(1))
    assert not (tmp_path / "checkpoint.pt").exists()  # nothing was stepped
    assert load(run.bundle).card.task == "classification"


@pytest.mark.parametrize(
    ("way", "keys"),
    [
        (Prototypes, {"shots": 2, "queries": 2}),
        (Maml, {"shots": 2, "queries": 2, "final": 2}),
        (Maml, {"by": "site", "target": "dark", "anil": True, "first_order": True}),
    ],
)
def test_it_goes_on_to_the_bit(recipe, classify, tmp_path, way, keys):
    changes = {"strategies": {way.name: keys}, "learner": {"validate_every": 4, "accumulate": 2}}
    goes_on_to_the_bit(recipe, classify, way, tmp_path, **changes)


def test_it_goes_with_a_part_that_learns_and_with_masks(recipe, classify, segment, tmp_path):
    few = {"learner": {"steps": 2}}
    path = recipe(classify, strategies={"prototypes": {}, "lora": {"rank": 2}}, **few)
    trained(path, tmp_path / "a", Prototypes, Lora)
    network = {"name": "dynunet-2d", "options": {"widths": [8, 12, 16]}}
    path = recipe(segment, network=network, strategies={"maml": {"shots": 2, "queries": 2}}, **few)
    trained(path, tmp_path / "b", Maml)


def test_a_target_adapts_on_its_own_cases(recipe, classify, tmp_path):
    record = {}

    class Told(Maml):
        def finished(self, net, context):
            record.update(context.record)
            raise Enough

    keys = {"by": "site", "target": "dark", "final": 3}
    with pytest.raises(Enough):
        fit(recipe(classify, strategies={"maml": keys}), out=tmp_path, strategies=[Told])
    assert json.dumps(record) == json.dumps({"homes": ["bright"], "adapts on": 4})


@pytest.mark.parametrize(
    ("base", "strategies", "said"),
    [
        ("classify", {"prototypes": {}, "linear-probe": {}}, "nothing would be left to learn"),
        ("segment", {"prototypes": {}}, "goes with the tasks classification"),
        ("classify", {"maml": {"target": "dark"}}, "by names no variable"),
        ("classify", {"maml": {"by": "sight"}}, "no variable 'sight'; it has: site"),
        ("classify", {"maml": {"by": "site", "target": "dim"}}, "0 of 8 cases that teach have"),
        ("classify", {"maml": {}, "prototypes": {}}, "both say how the steps are taken"),
    ],
)
def test_what_cannot_be_is_refused(recipe, request, tmp_path, base, strategies, said):
    base = request.getfixturevalue(base)
    with pytest.raises(RecipeError, match=said):
        fit(recipe(base, strategies=strategies), out=tmp_path, strategies=WAYS)


@pytest.mark.parametrize(
    ("way", "instead"), [("maml", "train plainly"), ("prototypes", "learn: false")]
)
def test_one_case_a_class_makes_no_episode(recipe, classify, tmp_path, way, instead):
    with pytest.raises(RecipeError, match=f"labels.count is 1; say 2 or more, or {instead}"):
        fit(recipe(classify, strategies={way: {}}, labels={"count": 1}), out=tmp_path)
