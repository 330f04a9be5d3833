"""Federated learning: its arithmetic against vectors and slow oracles, and whole runs."""

import json
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.federated import Federated
from osler.learn.strategies.federated_messages import Coordinator, Order, Plan, Reply, nbytes
from osler.learn.strategies.federated_sites import Sites, deal, split_sites
from osler.learn.strategies.federated_updates import (
    Quantised,
    TopK,
    difference,
    fixed_point,
    from_fixed_point,
    masked,
    moved,
    new_control,
    pair_masks,
    proximal_gradient,
    unmasked_sum,
    weighted_mean,
    with_feedback,
)
from osler.learn.strategies.strategy import Strategy, Wrapped
from osler.tasks.task import Sample, Settings

sys.path.insert(0, str(Path(__file__).parents[2] / "models"))
from golden import golden_folder

NAMES = ("layer.weight", "layer.bias", "bn.running_mean", "bn.num_batches_tracked")


@pytest.fixture(scope="module")
def golden():
    """The vectors: inputs, outputs, card."""
    folder = golden_folder() / "federated"
    if not folder.is_dir():
        pytest.skip(f"no golden vectors at {folder}")
    arrays = [dict(np.load(folder / f"{one}.npz")) for one in ("inputs", "outputs")]
    return *arrays, json.loads((folder / "card.json").read_text())


def close(said, want):
    np.testing.assert_allclose(said, want, rtol=1e-10, atol=1e-12)


def clients(inputs):
    return [{name: inputs[f"client{k}__{name}"] for name in NAMES} for k in range(3)]


def test_the_mean_of_sites_agrees_with_the_vectors(golden):
    inputs, outputs, _ = golden
    states, sizes = clients(inputs), inputs["client_sizes"]
    mean, even = weighted_mean(states, sizes), weighted_mean(states, [1, 1, 1])
    for name in NAMES[:3]:
        close(mean[name], outputs[f"fedavg__{name}"])
        close(even[name], outputs[f"uniform_avg__{name}"])
    real = outputs["fedavg__bn.num_batches_tracked_real"]
    assert mean["bn.num_batches_tracked"] == round(float(real))
    assert mean["bn.num_batches_tracked"].dtype == np.int64
    without = weighted_mean([states[0], states[2]], sizes[[0, 2]])
    close(without["layer.weight"], outputs["fedavg_without_client1__layer.weight"])


def test_the_mean_of_updates_agrees_with_the_vectors(golden):
    inputs, outputs, card = golden
    start = {"layer.weight": inputs["global__layer.weight"], "kept": np.ones(2)}
    states = [{"layer.weight": one["layer.weight"]} for one in clients(inputs)]
    updates = [difference(one, start) for one in states]
    after = moved(start, updates, inputs["client_sizes"])
    close(after["layer.weight"], outputs["delta_aggregation__layer.weight"])
    close(after["kept"], np.ones(2))
    half = moved(start, updates, inputs["client_sizes"], rate=0.5)["layer.weight"]
    close(half, (start["layer.weight"] + after["layer.weight"]) / 2)
    extra = proximal_gradient(
        states[0]["layer.weight"], start["layer.weight"], card["config"]["fedprox_mu"]
    )
    close(extra, outputs["fedprox_grad_extra_client0__layer.weight"])


def test_top_k_with_feedback_agrees_with_the_vectors(golden):
    inputs, outputs, card = golden
    codec = TopK(card["config"]["topk_fraction"])
    residual, total = np.zeros(card["config"]["dim"]), 0
    for number in range(card["config"]["rounds"]):
        update = inputs[f"topk_update_round{number}"]
        close(update + residual, outputs[f"topk_corrected_round{number}"])
        message, sent, residual = with_feedback(update, residual, codec)
        assert message["places"].tolist() == outputs[f"topk_indices_sorted_round{number}"].tolist()
        close(sent, outputs[f"topk_sent_round{number}"])
        close(residual, outputs[f"topk_residual_round{number}"])
        total = total + sent
    close(total, outputs["topk_ef_total_sent"])
    alone = sum(codec.decode(codec.encode(inputs[f"topk_update_round{n}"]), 20) for n in range(4))
    close(alone, outputs["topk_no_ef_total_sent"])


def test_masks_agree_with_the_vectors_and_cancel(golden):
    inputs, outputs, _ = golden
    masks = {
        (a, b): inputs[f"secagg_mask_{a}_{b}"] for a, b in ((0, 1), (0, 2), (1, 2))
    }  # fmt: skip
    sent = [masked(inputs["secagg_values"][place], place, masks) for place in range(3)]
    assert np.array_equal(np.stack(sent), outputs["secagg_masked"])
    assert np.array_equal(unmasked_sum(sent), outputs["secagg_sum"])


def test_masks_of_any_sites_cancel_and_negative_numbers_come_back():
    rng = np.random.default_rng(0)
    values = [rng.normal(0, 3, 50) for _ in range(4)]
    places = (1, 4, 5, 9)
    sent = [
        masked(fixed_point(one), place, pair_masks(places, place, 50, seed=(1, 2)))
        for one, place in zip(values, places, strict=True)
    ]
    np.testing.assert_allclose(from_fixed_point(unmasked_sum(sent)), sum(values), atol=4 * 2**-21)
    share = np.mean([abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(sent, values, strict=True)])
    assert share < 0.3  # what is sent tells nothing of what is masked
    for wrong in (2000.0, np.nan):
        with pytest.raises(ValueError, match="greater than 1024"):
            fixed_point(np.array([wrong]))


@pytest.mark.parametrize("bits", [2, 4, 5, 8])
def test_quantised_updates_lose_half_a_step_at_most_and_nothing_for_ever(bits):
    rng = np.random.default_rng(bits)
    codec, residual, given, said = Quantised(bits), np.zeros(2500, np.float32), 0, 0
    for _ in range(3):
        update = (rng.normal(0, 1, 2500) * np.repeat([1, 100, 0.01], [1024, 1024, 452])).astype(
            np.float32
        )
        whole = update + residual
        message, sent, residual = with_feedback(update, residual, codec)
        assert message["packed"].nbytes == -(-2500 * bits // 8)
        assert message["steps"].shape == (3,)
        for block in range(3):  # slow: one number after another
            part = whole[block * 1024 : (block + 1) * 1024].astype(float)
            step = np.float32(max(abs(part)) / (2 ** (bits - 1) - 1))
            want = [round(one / float(step)) * step for one in part]
            got = sent[block * 1024 : (block + 1) * 1024]
            np.testing.assert_allclose(got, want, atol=1e-4 * float(step))
        given, said = given + update.astype(float), said + sent.astype(float)
    np.testing.assert_allclose(given, said + residual, atol=1e-4)
    assert np.array_equal(codec.decode(codec.encode(np.zeros(7)), 7), np.zeros(7))


def test_control_variates_are_the_mean_gradient():
    """With plain steps, option II of SCAFFOLD is the mean gradient, by the rates."""
    rng = np.random.default_rng(3)
    start, own, common = rng.normal(size=(3, 5))
    gradients, rates = rng.normal(size=(4, 5)), [0.1, 0.2, 0.1, 0.4]
    w = start.copy()
    for gradient, rate in zip(gradients, rates, strict=True):
        w -= rate * (gradient - own + common)
    mean = sum(r * g for r, g in zip(rates, gradients, strict=True)) / sum(rates)
    close(new_control(own, common, start, w, sum(rates)), mean)


def people(count, groups="ab"):
    return [
        Sample(f"c{n}", f"p{n // 2}", {}, {}, group=groups[n // 2 % len(groups)])
        for n in range(2 * count)
    ]


def test_made_up_sites_keep_patients_together_and_differ_in_their_classes():
    samples = people(400)
    said = Sites(count=5, classes=0.2)
    parts = split_sites(samples, {}, said)
    assert list(parts) == [f"site-{n}" for n in range(1, 6)]
    homes = {}
    for name, here in parts.items():
        assert len({one.patient for one in here}) >= 2
        for one in here:
            assert homes.setdefault(one.patient, name) == name
    assert sorted(one.id for here in parts.values() for one in here) == sorted(
        one.id for one in samples
    )
    assert parts.keys() == split_sites(samples, {}, said).keys()
    again = split_sites(list(reversed(samples)), {}, said)
    assert {k: {s.id for s in v} for k, v in again.items()} == {
        k: {s.id for s in v} for k, v in parts.items()
    }

    def spread(alpha):
        """How far the sites' shares of class a lie from one another."""
        shares = [
            np.mean([one.group == "a" for one in here])
            for here in split_sites(samples, {}, Sites(count=5, classes=alpha)).values()
        ]
        return np.std(shares)

    assert spread(0.2) > 0.25
    assert spread(10_000) < 0.05


def test_sizes_differ_by_quantity_and_no_site_is_left_without_patients():
    rng = np.random.default_rng(0)
    place = deal(["a"] * 300, Sites(count=6, quantity=0.3, least=3), rng)
    sizes = np.bincount(place, minlength=6)
    assert sizes.sum() == 300
    assert sizes.min() >= 3
    assert sizes.max() > 5 * sizes.min()
    even = np.bincount(deal(["a"] * 300, Sites(count=6), rng), minlength=6)
    assert even.max() - even.min() <= 1
    tight = deal(["a", "b"] * 10, Sites(count=10, classes=0.01, least=2), rng)
    assert np.bincount(tight, minlength=10).tolist() == [2] * 10
    with pytest.raises(RecipeError, match="cannot be made of 3"):
        split_sites(people(3), {}, Sites(count=2))
    with pytest.raises(RecipeError, match="knows no classes"):
        split_sites([Sample(f"{n}", f"{n}", {}) for n in range(9)], {}, Sites(count=2, classes=1))


def test_a_patient_at_two_sites_is_refused():
    samples = people(2)
    where = {"c0": {"site": "x"}, "c1": {"site": "y"}, "c2": {"site": "y"}, "c3": {"site": "y"}}
    with pytest.raises(RecipeError, match="is at two sites"):
        split_sites(samples, where, Sites(variable="site"))
    where["c1"]["site"] = "x"
    parts = split_sites(samples, where, Sites(variable="site"))
    assert {k: [one.id for one in v] for k, v in parts.items()} == {
        "x": ["c0", "c1"], "y": ["c2", "c3"]
    }  # fmt: skip
    with pytest.raises(RecipeError, match="variables are: site"):
        split_sites(samples, where, Sites(variable="centre"))
    with pytest.raises(RecipeError, match="two sites at least"):
        split_sites(samples[:2], where, Sites(variable="site"))


class Far:
    """A site that is elsewhere: it speaks in arrays alone and draws towards a point of its own."""

    def __init__(self, goal, cases):
        self.goal, self.cases, self.name = np.asarray(goal, np.float32), cases, "far"

    def work(self, order: Order) -> Reply:
        return Reply({"w": 0.5 * (self.goal - order.state["w"])}, {}, 0.0)


def test_the_coordinator_needs_nothing_but_arrays():
    sites = [Far([4, 0], 3), Far([0, 4], 1)]
    plan = Plan("fedavg", {"w": (2,)})
    coordinator = Coordinator(plan, {"w": np.zeros(2, np.float32)}, [3, 1])
    for number in range(30):
        asked = coordinator.asked(number)
        replies = [sites[one].work(coordinator.order(number, one, asked, steps=2)) for one in asked]
        coordinator.gather(asked, replies)
    np.testing.assert_allclose(coordinator.state["w"], [3, 1], atol=1e-5)
    assert nbytes(replies[0].arrays) == 8
    half = Coordinator(plan, {"w": np.zeros(2, np.float32)}, [1] * 10, participation=0.3)
    asked = [half.asked(number) for number in range(40)]
    assert {len(one) for one in asked} == {3}
    assert {site for one in asked for site in one} == set(range(10))


FED = {"sites": {"count": 2, "classes": 0.5, "least": 2}, "rounds": 2}


class Enough(Exception):
    """The rounds are over."""


class Peek(Strategy):
    """Ends a run once it is trained: the graph is not what is tested here."""

    name = "peek"
    title = "Peek"
    role = "objective"
    source = "a test"
    Settings = Settings
    seen: ClassVar[dict] = {}

    def finished(self, net, context):
        for way, its in context.everyone:
            self.seen[way.name] = its.record
        raise Enough


class Killed(Peek):
    """Falls over in the last round, in the middle of a site's steps."""

    def stepped(self, net, step):
        if step == 6:
            raise KeyboardInterrupt


def trained(path, out, *, resume=False, peek=Peek, federated=Federated):
    """The record of a run's rounds."""
    with pytest.raises(Enough):
        fit(path, out=out, resume=resume, strategies=[federated, peek])
    return Peek.seen.get("federated")


def weights(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["net"]


@pytest.mark.parametrize(
    ("said", "learner"),
    [
        ({}, {}),
        ({"method": "fedprox", "mu": 0.1, "secure": True}, {"accumulate": 2}),
        ({"method": "fedbn", "compress": {"kind": "quantised", "bits": 4}}, {}),
        ({"method": "scaffold"}, {"optimiser": "sgd", "momentum": 0, "precision": "bfloat16"}),
        ({"compress": {"kind": "top-k"}, "sites": {"variable": "site"}}, {}),
        ({"alone": "site-2"}, {}),
    ],
    ids=["fedavg", "fedprox-secure", "fedbn-quantised", "scaffold", "top-k", "alone"],
)
def test_bytes_are_those_of_what_is_sent(recipe, classify, tmp_path, said, learner):
    path = recipe(classify, strategies={"federated": {**FED, **said}, "peek": {}}, learner=learner)
    record = trained(path, tmp_path)
    assert len(record["rounds"]) == 2
    size = record["numbers_that_learn"]
    counted = sum(v.nbytes for k, v in weights(tmp_path).items() if "running" in k or "num_" in k)
    up, down = record["bytes_from_sites"], record["bytes_to_sites"]
    if "alone" in said:
        assert (up, down, list(record["sites"])) == (0, 0, ["site-2"])
        return
    times = 2 if said.get("method") == "scaffold" else 1
    assert down == 2 * 2 * (4 * size * times + counted)
    if "compress" not in said and not said.get("secure"):
        assert up == down
    elif said.get("secure"):
        assert up < down  # counters, too, travel in four bytes
    elif said["compress"]["kind"] == "top-k":
        assert up == 2 * 2 * (8 * int(0.05 * size) + counted)
        assert set(record["sites"]) == {"bright", "dark"}
    else:
        assert up < 0.14 * down
        assert (tmp_path / "sites" / "2.pt").exists()
        assert all("score_of_its_own_network" in one for one in record["sites"].values())


def test_masked_sums_give_the_network_that_plain_sums_give(recipe, classify, tmp_path):
    for name, secure in (("plain", False), ("secure", True)):
        fed = {**FED, "secure": secure, "rounds": 1}
        path = recipe(classify, strategies={"federated": fed, "peek": {}}, learner={"steps": 2})
        trained(path, tmp_path / name)
    plain, secure = weights(tmp_path / "plain"), weights(tmp_path / "secure")
    for name, value in plain.items():
        assert torch.allclose(value.double(), secure[name].double(), atol=2e-6), name


class Whole(Federated):
    """All cases at one site."""

    def _parts(self, context):
        return {"all": list(context.teach)}, {"all": []}


def test_one_site_in_one_round_takes_the_steps_of_the_loop(recipe, classify, tmp_path):
    learner = {"steps": 2, "validate_every": 2}
    path = recipe(classify, learner=learner, strategies={"peek": {}})
    trained(path, tmp_path / "loop")
    path = recipe(
        classify, learner=learner, strategies={"federated": {**FED, "rounds": 1}, "peek": {}}
    )
    trained(path, tmp_path / "one", federated=Whole)
    loop, one = weights(tmp_path / "loop"), weights(tmp_path / "one")
    for name, value in loop.items():
        assert torch.allclose(value.double(), one[name].double(), atol=1e-6), name


@pytest.mark.parametrize("method", ["fedbn", "scaffold"])
def test_a_federation_goes_on_to_the_bit(recipe, classify, tmp_path, method):
    plain = {"optimiser": "sgd", "momentum": 0} if method == "scaffold" else {}
    more = {"compress": {"kind": "top-k"}} if method == "fedbn" else {}
    fed = {**FED, "rounds": 3, "method": method, **more}
    path = recipe(
        classify, learner={"steps": 6, "checkpoint_minutes": 0, **plain}, augment="light",
        strategies={"federated": fed, "peek": {}},
    )  # fmt: skip
    told = trained(path, tmp_path / "whole")["rounds"]
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[Federated, Killed])
    kept = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
    assert kept["state"][0] == 4
    assert trained(path, tmp_path / "parts", resume=True)["rounds"] == told
    whole, parts = (
        torch.load(tmp_path / one / "checkpoint.pt", weights_only=True)
        for one in ("whole", "parts")
    )
    for room in ("net", "control", "best"):
        assert whole[room].keys() == parts[room].keys()
        assert all(torch.equal(whole[room][name], parts[room][name]) for name in whole[room])
    for first, second in zip(whole["sites"], parts["sites"], strict=True):
        assert torch.equal(first["residual"], second["residual"])
        assert all(torch.equal(first["own"][name], second["own"][name]) for name in first["own"])
    other = recipe(
        classify, learner={"steps": 6, **plain},
        strategies={"federated": {**FED, "rounds": 2, "method": method}, "peek": {}},
    )  # fmt: skip
    with pytest.raises(RecipeError, match="number of steps a round"):
        fit(other, out=tmp_path / "parts", resume=True, strategies=[Federated, Peek])


class Follows(Strategy):
    """A teacher that follows the network beside it, and is heard in the loss."""

    name = "follows"
    title = "Follows"
    role = "objective"
    source = "a test"
    Settings = Settings

    def prepared(self, net, context):
        teacher = context.build(7).requires_grad_(False)
        return Wrapped(net, {"teacher": teacher}, still=[teacher])

    def loss(self, loss, context):
        images = context.batches_on(context.unlabelled)

        def both(net, number, device):
            seen = images(number, device)[0]["image"]
            gap = (net(seen) - net.beside["teacher"](seen)).square().mean()
            return loss(net, number, device) + gap

        return both

    def stepped(self, net, step):
        with torch.no_grad():
            pairs = zip(net.beside["teacher"].parameters(), net.net.parameters(), strict=True)
            for kept, new in pairs:
                kept.lerp_(new, 0.1)


def test_a_teacher_goes_from_site_to_site_and_on_after_a_kill(recipe, classify, tmp_path):
    path = recipe(
        classify, learner={"steps": 6, "checkpoint_minutes": 0}, labels={"share": 0.5},
        strategies={
            "federated": {**FED, "rounds": 3}, "follows": {},
            "peek": {},
        },
    )  # fmt: skip
    more = [Federated, Follows]
    with pytest.raises(Enough):
        fit(path, out=tmp_path / "whole", strategies=[*more, Peek])
    record = Peek.seen["federated"]
    assert [one["cases"] for one in record["sites"].values()] == [2, 2]
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[*more, Killed])
    with pytest.raises(Enough):
        fit(path, out=tmp_path / "parts", resume=True, strategies=[*more, Peek])
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert any("beside" in name for name in whole)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_structures_are_segmented_by_sites_and_answer_without_torch(recipe, segment, tmp_path):
    fed = {"sites": {"variable": "site"}, "rounds": 2, "method": "fedprox"}
    run = fit(recipe(segment, strategies={"federated": fed}), out=tmp_path, strategies=[Federated])
    record = json.loads((tmp_path / "run.json").read_text())["strategies"]["federated"]
    assert set(record["sites"]) == {"bright", "dark"}
    assert (run.bundle / "model.onnx").exists()
    fed["method"] = "fedbn"  # the network has instance normalisation
    with pytest.raises(RecipeError, match="no batch normalisation that could stay"):
        fit(recipe(segment, strategies={"federated": fed}), out=tmp_path / "no",
            strategies=[Federated])  # fmt: skip
    fed.update(method="fedavg", alone="site-9")
    with pytest.raises(RecipeError, match="there is no site 'site-9'; there are: bright, dark"):
        fit(recipe(segment, strategies={"federated": fed}), out=tmp_path / "none",
            strategies=[Federated])  # fmt: skip


@pytest.mark.parametrize(
    ("said", "learner", "message"),
    [
        ({"rounds": 3}, {}, "which does not divide learner.steps.*write 2"),
        ({"sites": {}}, {}, "name either a variable of the cohort, or a count"),
        ({"sites": {"variable": "site", "classes": 1}}, {}, "deal out made-up sites"),
        ({"method": "scaffold"}, {}, "write learner.optimiser: sgd"),
        ({"secure": True, "compress": {"kind": "top-k"}}, {}, "leave one of compress and secure"),
        ({"alone": "site-1", "secure": True}, {}, "alone sends nothing"),
        ({"sites": {"count": 1}}, {}, "sites.count"),
        ({"compress": {"kind": "quantised", "bits": 9}}, {}, "bits"),
        ({}, {"precision": "float16"}, "its scale would differ from site to site"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(recipe, classify, said, learner, message):
    path = recipe(classify, strategies={"federated": {**FED, **said}}, learner=learner)
    with pytest.raises(RecipeError, match=message):
        check_recipe(read_yaml(path), path, strategies=[Federated])
