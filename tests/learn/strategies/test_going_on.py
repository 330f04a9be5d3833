"""Runs that are killed in each of their stages, and end with the same network to the bit."""

import pytest
import torch

from osler.learn.fitting import fit
from osler.learn.strategies.strategy import Settings, Strategy

SWAG = {"steps": 2, "every": 1, "members": 2}


class Enough(Exception):
    """The network is ready, and nobody asks for a bundle."""


class Watched(Strategy):
    """Kills a run at a step of any stage, or when the cases that test are at hand."""

    name, title, role, source = "watched", "Watched", "objective", "a test"
    Settings = Settings
    at: int | None = None

    def prepared(self, net, context):
        self.steps = 0
        return net

    def stepped(self, net, step):
        self.steps += 1
        if self.steps == self.at:
            raise KeyboardInterrupt

    def adapted(self, net, samples, context):
        if self.at == 0:
            raise KeyboardInterrupt
        raise Enough(net.state_dict())


def ended(path, folder, *, at=None, resume=False):
    """The weights that a run ends with, all strategies done; None where it was killed."""
    way = type("Watched", (Watched,), {"at": at})
    try:
        fit(path, out=folder, resume=resume, strategies=[way])
    except KeyboardInterrupt:
        return None
    except Enough as said:
        return said.args[0]
    raise AssertionError("nobody watched")


@pytest.mark.parametrize(
    ("ways", "kills"),
    [
        ({"swag": SWAG, "mc-dropout": {"passes": 2}, "test-time-statistics": {}}, (3, 5, 0)),
        ({"evidential": {}, "tent": {"rounds": 2}}, (3, 0)),
        # its first stage is done, and no step of the training is kept yet
        ({"contrastive": {"steps": 2}, "adversarial": {"by": "site"}}, (1,)),
    ],
)
def test_a_run_goes_on_to_the_bit_from_every_stage(ways, kills, recipe, classify, tmp_path):
    learner = {"steps": 4, "checkpoint_minutes": 0, "validate_every": 4}
    path = recipe(classify, strategies={**ways, "watched": {}}, learner=learner)
    whole = ended(path, tmp_path / "whole")
    for at in kills:
        there = tmp_path / str(at)
        assert ended(path, there, at=at) is None
        again = ended(path, there, resume=True)
        assert again.keys() == whole.keys()
        for name, value in whole.items():
            assert torch.equal(value, again[name]), (at, name)
