"""Losses and rates that no strategy owns, against vectors of published code and formulas."""

import pytest
import torch

from osler.learn.learner import Learner
from osler.learn.schedules import rate_at
from osler.tasks.survival_losses import cox_loss


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_coxs_likelihood_with_ties_and_its_gradient(golden_vectors, ties):
    golden = golden_vectors("losses")
    risk = golden.inputs["cox_risk"].requires_grad_()
    events = golden.inputs["cox_event"].long()
    said = cox_loss(risk[:, None], golden.inputs["cox_time"], events, ties=ties)
    golden.agrees(said.detach()[None], f"cox_neg_loglik_mean_over_events_{ties}")
    said.backward()  # the vectors hold the gradient of the sum, and of the likelihood itself
    golden.agrees(-risk.grad * events.sum(), f"cox_loglik_grad_risk_{ties}")


def test_coxs_likelihood_without_ties(golden_vectors):
    golden = golden_vectors("losses")
    events = golden.inputs["cox_event"].long()
    said = cox_loss(golden.inputs["cox_risk"][:, None], golden.inputs["cox_time_no_ties"], events)
    golden.agrees(-said[None] * events.sum(), "cox_loglik_no_ties")


def test_the_power_of_transunet(golden_vectors):
    golden = golden_vectors("training")
    said = golden.card["config"]["transunet"]
    learner = Learner(
        steps=said["max_iter"], warmup=0, rate=said["base_lr"], schedule="poly", floor=0,
        power=said["power"],
    )  # fmt: skip
    rates = [rate_at(int(step), learner) for step in golden.inputs["transunet_iter"]]
    golden.agrees(torch.tensor(rates, dtype=torch.float64), "transunet_poly_lr")


def test_the_cosine_of_retfound(golden_vectors):
    """Theirs begins its warm-up at a rate of 0, which moves nothing; ours a step further on."""
    golden = golden_vectors("training")
    said = golden.card["config"]["retfound"]
    epochs = golden.inputs["retfound_epochs"].double()
    ticks = round(1 / float(epochs[1] - epochs[0]))  # steps of an epoch
    learner = Learner(
        steps=said["epochs"] * ticks, warmup=said["warmup_epochs"] * ticks, rate=said["lr"],
        floor=said["min_lr"] / said["lr"],
    )  # fmt: skip
    theirs = golden.outputs["retfound_lr"].double()
    for step, rate in enumerate(theirs.tolist()):
        early = step <= learner.warmup
        ours = rate_at(step - early, learner) if step else 0.0
        assert ours == pytest.approx(rate, rel=1e-5, abs=1e-9), step
