"""The training loop: killed and resumed it is the same to the bit, and it stops when it should."""

import json
import math

import pytest
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.learner import Learner
from osler.learn.loop import inference, train

LEARNER = Learner(
    steps=12, batch=4, rate=0.05, warmup=3, ema=0.9, validate_every=3, seed=3,
    checkpoint_minutes=0, precision="float32",
)  # fmt: skip


def net_of(seed=0) -> nn.Module:
    """Convolution, normalisation with statistics, and dropout: all that has a state."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3),
        nn.Conv2d(6, 1, 3, padding=1),
    )  # fmt: skip


def loss(net, step, device):
    rng = torch.Generator().manual_seed(step)
    x = torch.rand(4, 2, 8, 8, generator=rng).to(device)
    return (net(x) - x.mean(dim=1, keepdim=True)).square().mean()


def validate(net):
    x = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(999))
    with torch.inference_mode():
        error = (net(x) - x.mean(dim=1, keepdim=True)).square().mean()
    return {"score": -float(error)}


def run(folder, *, net=None, loss=loss, validate=validate, resume=False, **changes):
    net = net or net_of()
    learner = LEARNER.model_copy(update=changes)
    state = train(net, loss=loss, validate=validate, learner=learner, folder=folder, resume=resume)
    return net, state


def assert_same(one, other):
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def killed_at(step):
    def dying(net, now, device):
        if now == step:
            raise KeyboardInterrupt
        return loss(net, now, device)

    return dying


@pytest.mark.parametrize("step", [1, 6, 11])
def test_a_run_that_is_killed_and_resumed_is_the_same_to_the_bit(tmp_path, step):
    straight, whole = run(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", loss=killed_at(step))
    resumed, state = run(tmp_path / "killed", net=net_of(seed=77), resume=True)
    assert_same(straight, resumed)
    assert (state.step, state.best, state.stale) == (whole.step, whole.best, whole.stale)


def test_resuming_what_is_done_changes_nothing(tmp_path):
    first, _ = run(tmp_path)
    again, state = run(tmp_path, net=net_of(5), resume=True)
    assert state.step == LEARNER.steps
    assert_same(first, again)


def test_without_resume_it_starts_anew(tmp_path):
    first, _ = run(tmp_path)
    calls = []

    def counted(net, step, device):
        calls.append(step)
        return loss(net, step, device)

    again, _ = run(tmp_path, loss=counted)
    assert calls == list(range(12))
    assert_same(first, again)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(RecipeError, match=r"checkpoint\.pt' belongs to another network"):
        run(tmp_path, net=nn.Conv2d(2, 1, 1), resume=True)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path):
    one, _ = run(tmp_path / "one")
    torch.manual_seed(12345)  # what came before does not matter
    two, _ = run(tmp_path / "two", net=net_of())
    assert_same(one, two)
    three, _ = run(tmp_path / "three", seed=4)  # dropout draws otherwise
    assert not torch.equal(one[0].weight, three[0].weight)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_advice(tmp_path, bad):
    def broken(net, step, device):
        return loss(net, step, device) * (bad if step == 4 else 1)

    with pytest.raises(RecipeError, match=r"at step 4; lower learner\.rate \(now 0\.05\)"):
        run(tmp_path, loss=broken)
    run(tmp_path, resume=True)  # the steps before it were kept


def scripted(*scores):
    """Validation that says these scores in turn, and remembers the weights it saw."""
    seen = []

    def validate(net):
        seen.append({key: value.clone() for key, value in net.state_dict().items()})
        return {"score": scores[len(seen) - 1]}

    return validate, seen


def test_the_best_weights_are_kept(tmp_path):
    validate, seen = scripted(0.1, 0.9, 0.3, 0.2)
    net, state = run(tmp_path, validate=validate)
    assert state.best == 0.9
    assert state.stale == 2
    for key, value in net.state_dict().items():
        assert torch.equal(value, seen[1][key])
    assert not net.training


@pytest.mark.parametrize(("patience", "steps"), [(1, 6), (2, 12), (None, 12)])
def test_patience_stops_early(tmp_path, patience, steps):
    validate, seen = scripted(0.5, 0.4, 0.6, 0.1)
    _, state = run(tmp_path, validate=validate, patience=patience)
    assert state.step == steps
    assert len(seen) == steps // 3


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    validate, _ = scripted(0.5, 0.4)
    first, _ = run(tmp_path, validate=validate, patience=1)
    again, state = run(tmp_path, net=net_of(5), validate=validate, patience=1, resume=True)
    assert state.step == 6
    assert_same(first, again)


def test_the_running_average_follows_as_the_formula_says(tmp_path):
    seen = []

    def watched(net, step, device):
        seen.append(net[0].weight.detach().clone())
        return loss(net, step, device)

    kept = net_of()[0].weight.detach().double()
    net, _ = run(tmp_path, loss=watched, validate=None)
    last = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["net"]["0.weight"]
    for step, new in enumerate([*seen[1:], last], start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        kept = decay * kept + (1 - decay) * new.double()
    assert torch.allclose(net[0].weight.double(), kept, atol=1e-6)
    assert not torch.allclose(net[0].weight, last)


def test_without_validation_the_checkpoint_holds_what_was_learnt(tmp_path):
    net, _ = run(tmp_path, validate=None)
    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["best"]
    for key, value in net.state_dict().items():
        assert torch.equal(value, stored[key])


def test_scores_that_are_no_numbers_do_not_bring_the_first_weights_back(tmp_path):
    net, state = run(tmp_path, validate=lambda net: {"score": math.nan})
    assert state.best == -math.inf
    assert not torch.equal(net[0].weight, net_of()[0].weight)


def test_frozen_weights_stay(tmp_path):
    net = net_of()
    net[0].requires_grad_(False)
    before = net[0].weight.clone()
    run(tmp_path, net=net)
    assert torch.equal(net[0].weight, before)


def test_the_log_says_what_was_validated(tmp_path):
    run(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "score" in line] == [3, 6, 9, 12]
    assert not list(tmp_path.glob("*.part"))


def test_inference_goes_back_to_training():
    net = net_of().train()
    with inference(net) as quiet:
        assert not quiet.training
        assert not torch.is_grad_enabled()
    assert net.training
    assert torch.is_grad_enabled()
