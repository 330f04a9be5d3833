"""Own and common features of inputs: the parting loss, what it does, a whole run."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from tuning_runs import goes_on_to_the_bit

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.strategies.adversarial import domain_classifier
from osler.learn.strategies.separate_features import overlap
from osler.learn.strategies.separate_inputs import (
    SeparateInputs,
    SeparateInputsSettings,
    parting_loss,
)

FUSED = {
    "name": "parts",
    "task": "classification",
    "cohort": "cohort.csv",
    "settings": {
        "inputs": {
            "picture": {"kind": "image", "item": "image", "size": [16, 16], "colour": False},
            "site": "category",
        },
        "target": "class",
    },
    "network": {"name": "fusion", "options": {"width": 8, "strategy": "gated"}},
    "learner": {"steps": 4, "batch": 6, "warmup": 1, "validate_every": 2, "precision": "float32"},
}


def test_the_loss_is_the_sum_of_its_parts_over_what_is_present():
    torch.manual_seed(0)
    features, present = torch.randn(7, 3, 8), torch.rand(7, 3) > 0.3
    present[:, 2] = False
    present[:2, 2] = True  # too few for a correlation
    said = SeparateInputsSettings(private=0.25, show=0.5, apart=2.0)
    beside = nn.ModuleDict(
        {"common": domain_classifier(6, 4, 3), "own": domain_classifier(2, 4, 3)}
    )
    wanted, entropy = 0.0, {"common": [], "own": []}
    for name, part in (("common", slice(0, 6)), ("own", slice(6, 8))):
        for row in range(7):
            for one in range(3):
                if present[row, one]:
                    scores = beside[name](features[row, one, part][None])[0]
                    entropy[name].append(-scores.log_softmax(0)[one].item())
    wanted = np.mean(entropy["common"]) + 0.5 * np.mean(entropy["own"])
    apart = [
        overlap(features[present[:, one], one, :6], features[present[:, one], one, 6:]).item()
        for one in (0, 1)
    ]
    wanted += 2.0 * np.mean(apart)
    for reversal in (0.0, 1.0):  # the reversal changes gradients alone
        out = parting_loss(features, present, beside, said, reversal=reversal)
        assert out.item() == pytest.approx(wanted, rel=1e-5)
    features[~present] = torch.nan
    assert parting_loss(features, present, beside, said, reversal=1.0).isfinite()


@pytest.mark.parametrize("reversal", [0.0, 0.7])
def test_common_features_are_pushed_from_what_tells_the_input_and_own_ones_towards_it(reversal):
    torch.manual_seed(1)
    features = torch.randn(6, 2, 8, requires_grad=True)
    everyone = torch.ones(6, 2, dtype=torch.bool)
    said = SeparateInputsSettings(private=0.5, show=0.3, apart=0.0)
    beside = nn.ModuleDict(
        {"common": domain_classifier(4, 16, 2), "own": domain_classifier(4, 16, 2)}
    )
    loss = parting_loss(features, everyone, beside, said, reversal=reversal)
    (moved,) = torch.autograd.grad(loss, features)
    which = torch.tensor([0, 1]).repeat(6)
    for name, part, sign in (("common", slice(0, 4), -reversal), ("own", slice(4, 8), 0.3)):
        scores = beside[name](features[..., part].reshape(-1, 4))
        entropy = functional.cross_entropy(scores, which)
        (plain,) = torch.autograd.grad(entropy, features)
        assert plain[..., part].abs().sum() > 0
        assert torch.allclose(moved[..., part], sign * plain[..., part], atol=1e-6)


def test_a_run_goes_on_to_the_bit_and_ends_as_a_plain_network(recipe, tmp_path):
    changes = {"separate-inputs": {"private": 0.25}}
    goes_on_to_the_bit(recipe, FUSED, SeparateInputs, tmp_path, strategies=changes)
    ended = []

    class Watched(SeparateInputs):
        def finished(self, net, context):
            ended.append((super().finished(net, context), context.record))
            raise KeyboardInterrupt

    path = recipe(copy.deepcopy(FUSED), strategies={"separate-inputs": {"private": 0.25}})
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "plain", strategies=[Watched])
    net, record = ended[0]
    assert type(net).__name__ == "Fusion"
    assert json.loads(json.dumps(record)) == {"own": 2, "common": 6}


def test_a_network_of_one_input_is_refused(recipe, classify, tmp_path):
    path = recipe(classify, strategies={"separate-inputs": {}})
    with pytest.raises(RecipeError, match=r"set settings\.inputs, two at least"):
        fit(path, out=tmp_path, strategies=[SeparateInputs])
