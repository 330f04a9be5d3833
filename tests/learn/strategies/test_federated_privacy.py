"""Central differential privacy of a federation: against slow oracles, and whole runs."""

import json
import math
import stat

import numpy as np
import pytest
import torch

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.federated import Federated
from osler.learn.strategies.federated_messages import Coordinator, Plan, Reply
from osler.learn.strategies.federated_privacy import Guard, Private, guard_of, shortened
from osler.learn.strategies.federated_updates import TopK
from osler.learn.strategies.strategy import Strategy
from osler.tasks.task import Settings

pytest.importorskip("opacus")

FED = {"sites": {"count": 4, "least": 2}, "rounds": 3, "participation": 0.5}
HIDDEN = {"noise": 1.0, "delta": 0.1, "normalisation": "group", "seed": 7,
          "accountant": "rdp"}  # fmt: skip


def test_the_mean_is_that_of_one_number_after_another():
    rng = np.random.default_rng(0)
    updates = [rng.normal(0, size, 6).astype(np.float32) for size in (0.01, 1.0, 50.0)]
    guard = Guard(most=0.5, noise=0.0, rate=0.25, sites=8, secret=b"")
    said = guard.mean(3, updates, 6)
    total = [0.0] * 6
    for one in updates:  # slow
        length = math.sqrt(sum(float(x) ** 2 for x in one))
        for place, x in enumerate(one):
            total[place] += float(x) * min(1.0, 0.5 / length)
    np.testing.assert_allclose(said, [x / (0.25 * 8) for x in total], rtol=1e-6)
    assert np.linalg.norm(shortened(updates[2], 0.5)) == pytest.approx(0.5)
    assert np.array_equal(shortened(updates[0], 0.5), updates[0])
    assert not np.any(guard.mean(3, [], 6))
    with pytest.raises(RecipeError, match="not a finite number"):
        guard.mean(0, [np.array([np.nan, 1.0])], 2)


def test_noise_and_draws_are_those_that_are_counted():
    guard = Guard(most=2.0, noise=1.5, rate=0.25, sites=100, secret=b"x")
    blur = guard.mean(0, [], 200_000)
    assert float(blur.std()) == pytest.approx(1.5 * 2.0 / 25, rel=0.01)
    assert float(blur.mean()) == pytest.approx(0, abs=1e-3)
    assert abs(np.corrcoef(blur, guard.mean(1, [], 200_000))[0, 1]) < 0.01
    drawn = [guard.drawn(number) for number in range(400)]
    sizes = np.array([len(one) for one in drawn])
    assert sizes.mean() == pytest.approx(25, abs=0.8)
    assert sizes.std() == pytest.approx(math.sqrt(100 * 0.25 * 0.75), rel=0.15)  # each by itself
    assert Guard(2.0, 1.5, 1.0, 5, b"").drawn(0) == [0, 1, 2, 3, 4]
    assert Guard(2.0, 1.5, 0.25, 100, b"y").drawn(0) != drawn[0]


def test_a_site_more_moves_the_network_by_no_more_than_its_share():
    rng = np.random.default_rng(1)
    plan = Plan("fedavg", {"w": (3, 2), "b": (2,)})
    start = {"w": np.zeros((3, 2), np.float32), "b": np.zeros(2, np.float32)}
    guard = Guard(most=1.0, noise=0.5, rate=0.5, sites=10, secret=b"k")

    def after(sites, codec=None):
        made = Plan(plan.method, plan.learning, codec=codec)
        coordinator = Coordinator(made, start, [1000, *[1] * 9], guard=guard)
        replies = [
            Reply({"w": one[:6].reshape(3, 2), "b": one[6:]} if codec is None else
                  codec.encode(one))
            for one in sites
        ]  # fmt: skip
        coordinator.gather(list(range(len(sites))), replies, 4)
        return plan.vector(coordinator.state)

    sites = [rng.normal(0, 3, 8).astype(np.float32) for _ in range(4)]
    for codec in (None, TopK(0.5)):
        moved = np.linalg.norm(after(sites, codec) - after(sites[1:], codec))
        assert moved == pytest.approx(1.0 / (0.5 * 10), rel=1e-5)  # the longest that it may be


def test_epsilon_is_that_of_the_gaussian_mechanism():
    """With all sites in every round T rounds are one Gaussian mechanism: mu = sqrt(T) / noise."""
    guard, promise = guard_of(
        Private(noise=8.0, delta=1e-3), rate=1.0, sites=100, rounds=20, secret=b""
    )
    mu = math.sqrt(20) / 8.0

    def delta(epsilon):
        def below(x):
            return 0.5 * math.erfc(-x / math.sqrt(2))

        return below(-epsilon / mu + mu / 2) - math.exp(epsilon) * below(-epsilon / mu - mu / 2)

    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if delta(middle) > 1e-3 else (low, middle)
    assert high <= promise["epsilon"] <= high + 0.03
    assert promise["unit"] == "site"
    assert guard.noise == 8.0
    _, told = guard_of(Private(epsilon=2.0, delta=1e-3), rate=0.1, sites=100, rounds=20, secret=b"")
    assert 1.9 < told["epsilon"] <= 2.0
    with pytest.raises(RecipeError, match=r"not below one over the number of sites \(5\)"):
        guard_of(Private(noise=1.0, delta=0.2), rate=1.0, sites=5, rounds=1, secret=b"")
    with pytest.raises(RecipeError, match=r"private\.epsilon.*lower strategies\.federated\.rounds"):
        guard_of(
            Private(epsilon=1e-4, accountant="rdp"), rate=1.0, sites=5, rounds=10**7, secret=b""
        )


class Enough(Exception):
    """The rounds are over."""


class Peek(Strategy):
    """Ends a run once it is trained."""

    name, title, role, source = "peek", "Peek", "objective", "a test"
    Settings = Settings

    def finished(self, net, context):
        raise Enough({way.name: its.record for way, its in context.everyone})


class Killed(Peek):
    """Falls over in the last round."""

    def stepped(self, net, step):
        if step == 6:
            raise KeyboardInterrupt


def trained(path, out, **how):
    with pytest.raises(Enough) as ended:
        fit(path, out=out, strategies=[Federated, Peek], **how)
    return ended.value.args[0]["federated"]


def test_a_private_federation_goes_on_to_the_bit_with_its_key(recipe, classify, tmp_path):
    private = {name: value for name, value in HIDDEN.items() if name != "seed"}
    fed = {**FED, "participation": 1.0, "private": private}
    path = recipe(
        classify, learner={"steps": 6, "checkpoint_minutes": 0},
        strategies={"federated": fed, "peek": {}},
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[Federated, Killed])
    key = tmp_path / "parts" / "federation.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "federation.key").write_bytes(key.read_bytes())
    record = trained(path, tmp_path / "whole", resume=True)  # from the first step with that key
    assert record["private"]["sites"] == 4
    assert record["private"]["rounds"] == 3
    json.dumps(record)
    trained(path, tmp_path / "parts", resume=True)
    trained(path, tmp_path / "other")
    whole, parts, other = (
        torch.load(tmp_path / one / "checkpoint.pt", weights_only=True)["net"]
        for one in ("whole", "parts", "other")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not all(torch.equal(whole[name], other[name]) for name in whole)
    assert not any("running" in name for name in whole)


def test_a_round_without_sites_moves_the_network_by_noise_alone(recipe, classify, tmp_path):
    fed = {**FED, "rounds": 2, "participation": 0.01, "private": {**HIDDEN, "most": 0.001}}
    path = recipe(
        classify, learner={"steps": 2, "validate_every": 2},
        strategies={"federated": fed, "peek": {}},
    )  # fmt: skip
    record = trained(path, tmp_path)
    assert [one["sites"] for one in record["rounds"]] == [[], []]
    assert record["bytes_from_sites"] == 0


@pytest.mark.parametrize(
    ("fed", "private", "more", "message"),
    [
        ({}, {"epsilon": 3.0}, {}, "either the epsilon that may be spent, or the noise"),
        ({"method": "fedbn"}, {}, {}, "mean of the sites' normalisation"),
        ({"secure": True}, {}, {}, "no longer hold to the digit"),
        ({"alone": "site-1", "participation": 1.0}, {}, {}, "hides a site among others"),
        ({}, {}, {"swag": {}}, "'swag' looks at cases or their statistics"),
        ({}, {}, {"mean-teacher": {}}, "what goes with it: differential-privacy, linear-probe"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    recipe, classify, fed, private, more, message
):
    path = recipe(
        classify, strategies={"federated": {**FED, **fed, "private": {**HIDDEN, **private}}, **more}
    )
    with pytest.raises(RecipeError, match=message):
        check_recipe(read_yaml(path), path, strategies=[Federated])


def test_batch_normalisation_is_refused_with_the_way_out(recipe, classify, tmp_path):
    private = {**HIDDEN, "normalisation": "refuse"}
    path = recipe(classify, strategies={"federated": {**FED, "private": private}, "peek": {}},
                  learner={"steps": 3})  # fmt: skip
    with pytest.raises(RecipeError, match=r"\(bn1, .*more\).*normalisation: group"):
        fit(path, out=tmp_path, strategies=[Federated, Peek])
