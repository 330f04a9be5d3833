"""Sites one after another: what is forgotten, what replay shows, what the penalty holds."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.ewc import Ewc, fisher, penalty
from osler.learn.strategies.fourier_style import FourierStyle
from osler.learn.strategies.replay import Replay
from osler.learn.strategies.sequence import Sequential, forgetting
from osler.learn.strategies.strategy import Context

pytestmark = pytest.mark.usefixtures("graphless")

WAYS = [FourierStyle, Sequential, Replay, Ewc]


def test_what_is_forgotten_by_hand():
    said = forgetting([[0.8, 0.1, 0.2], [0.9, 0.7, 0.3], [0.5, 0.6, 0.75]])
    assert math.isclose(said["final"], (0.5 + 0.6 + 0.75) / 3)
    assert math.isclose(said["forgetting"], ((0.9 - 0.5) + (0.7 - 0.6)) / 2)
    assert math.isclose(said["backward"], ((0.5 - 0.8) + (0.6 - 0.7)) / 2)
    assert forgetting([[0.4]]) == {"final": 0.4, "forgetting": 0.0, "backward": 0.0}


def test_the_information_of_a_logistic_regression():
    torch.manual_seed(0)
    net = nn.Linear(3, 1).double()
    rng = np.random.default_rng(1)
    inputs, truth = rng.normal(size=(5, 3)), rng.integers(0, 2, 5)

    def loss(net, number, device):
        score = net(torch.tensor(inputs[number]))
        return nn.functional.binary_cross_entropy_with_logits(
            score, torch.tensor([float(truth[number])]).double()
        )

    found = fisher(net, loss, 5, torch.device("cpu"))
    weight, bias = net.weight.detach().numpy()[0], net.bias.item()
    wanted, offset = np.zeros(3), 0.0
    for x, y in zip(inputs, truth, strict=True):
        gap = 1 / (1 + math.exp(-(float(weight @ x) + bias))) - y
        wanted += (gap * x) ** 2 / 5
        offset += gap**2 / 5
    np.testing.assert_allclose(found["weight"][0], wanted, rtol=1e-10)
    assert math.isclose(found["bias"].item(), offset)


def test_the_penalty_against_a_loop():
    torch.manual_seed(0)
    net = nn.Linear(2, 2)
    held = [
        ({name: torch.rand_like(one) for name, one in net.named_parameters()},
         {name: torch.rand_like(one) for name, one in net.named_parameters()})
        for _ in range(2)
    ]  # fmt: skip
    total = 0.0
    for information, anchor in held:
        for name, one in net.named_parameters():
            rows = zip(one.flatten().tolist(), anchor[name].flatten().tolist(),
                       information[name].flatten().tolist(), strict=True)  # fmt: skip
            total += sum(f * (now - then) ** 2 / 2 for now, then, f in rows)
    assert math.isclose(float(penalty(net, held).detach()), total, rel_tol=1e-5)


def test_sites_one_after_another_to_the_bit(recipe, classify, tmp_path):
    way, keys = Ewc, {"by": "site", "order": ["dark", "bright"], "cases": 3}
    path = recipe(
        {**classify, "hold": {"test": None, "tune": 1}}, strategies={way.name: keys},
        learner={**classify["learner"], "checkpoint_minutes": 0},
    )  # fmt: skip
    fit(path, out=tmp_path / "whole", strategies=[way])
    kept = json.loads((tmp_path / "whole" / "run.json").read_text())["strategies"][way.name]
    assert kept["order"] == ["dark", "bright"]
    assert np.shape(kept["scores"]) == (2, 2)

    class Tired(way):
        def stepped(self, net, step):
            Tired.steps = getattr(Tired, "steps", 0) + 1
            if Tired.steps == 3:
                raise KeyboardInterrupt  # within the second stage

    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[Tired])
    fit(path, out=tmp_path / "parts", resume=True, strategies=[way])
    first, second = (
        torch.load(tmp_path / one / "stage-2" / "checkpoint.pt", weights_only=True)["net"]
        for one in ("whole", "parts")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    again = json.loads((tmp_path / "parts" / "run.json").read_text())["strategies"][way.name]
    assert again == kept


def test_replay_shows_kept_cases_of_earlier_sites(recipe, classify, tmp_path):
    shown = []
    patch = pytest.MonkeyPatch()
    plain = Context.batches_on

    def kept(self, samples, choose=None):
        if choose is not None:
            shown.extend([[samples[place].id for place in choose(n)] for n in range(3)])
        return plain(self, samples, choose)

    patch.setattr(Context, "batches_on", kept)
    keys = {"by": "site", "memory": 2, "share": 0.5}
    fit(recipe(classify, strategies={"replay": keys}), out=tmp_path, strategies=[Replay])
    patch.undo()
    sites = [["dark" if int(one[1:]) % 4 < 2 else "bright" for one in batch] for batch in shown]
    assert sites == [["dark", "dark", "bright", "bright"]] * 3  # bright came first
    assert len({one for batch in shown for one in batch if int(one[1:]) % 4 >= 2}) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategies": {"replay": {}}}, "strategies.replay.by"),
        ({"strategies": {"ewc": {"by": "site", "order": ["a", "a"]}}}, "a value twice"),
        ({"strategies": {"ewc": {"by": "site"}, "replay": {"by": "site"}}}, "keep one of them"),
        ({"strategies": {"ewc": {"by": "site"}, "fourier-style": {"by": "site"}}},
         "the task's own loss"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(recipe, classify, change, said):
    path = recipe({**classify, "cohort": "nowhere.csv"}, **change)
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path, strategies=WAYS)


def test_sites_that_are_not_there_are_refused(recipe, classify, tmp_path):
    path = recipe(classify, strategies={"sequence": {"by": "site", "order": ["dark", "dim"]}})
    with pytest.raises(RecipeError, match="order names dark, dim, and the cases"):
        fit(path, out=tmp_path, strategies=WAYS)
