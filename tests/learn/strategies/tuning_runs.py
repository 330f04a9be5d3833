"""What the tests of strategies share: runs that end before their export, killed ones too."""

import pytest
import torch

from osler.learn.fitting import fit


class Enough(Exception):
    """The training is over, and nobody asks for a bundle."""


def checkpoint_of(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def trained(path, folder, way, *others, resume=False):
    """The weights that a run ends with, without the time of an export."""

    class Ended(way):
        def finished(self, net, context):
            raise Enough

    with pytest.raises(Enough):
        fit(path, out=folder, resume=resume, strategies=[Ended, *others])
    return checkpoint_of(folder)["net"]


def goes_on_to_the_bit(recipe, base, way, folder, *, at=3, **changes):
    """Train once whole and once killed after a step; gives the weights, which must be the same."""

    class Tired(way):
        def stepped(self, net, step):
            if step == at:
                raise KeyboardInterrupt
            super().stepped(net, step)

    learner = {**base["learner"], "steps": 4, "checkpoint_minutes": 0}
    path = recipe(base, **{**changes, "learner": {**learner, **changes.get("learner", {})}})
    first = trained(path, folder / "whole", way)
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=folder / "parts", strategies=[Tired])
    assert 0 < checkpoint_of(folder / "parts")["state"][0] < 4
    second = trained(path, folder / "parts", way, resume=True)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    return first
