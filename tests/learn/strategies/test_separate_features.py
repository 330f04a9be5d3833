"""Features of sites kept apart: the parting loss, the head that leaves them out, a whole run."""

import json
import math

import numpy as np
import pytest
import torch
from tuning_runs import goes_on_to_the_bit

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.adversarial import Adversarial
from osler.learn.strategies.separate_features import SeparateFeatures, overlap

WAYS = [Adversarial, SeparateFeatures]


def test_the_overlap_is_a_mean_of_squared_correlations():
    rng = np.random.default_rng(1)
    shared, private = rng.normal(3, 2, (9, 4)), rng.normal(-1, 5, (9, 2))
    wanted = np.mean([
        np.corrcoef(shared[:, i], private[:, j])[0, 1] ** 2 for i in range(4) for j in range(2)
    ])  # fmt: skip
    assert math.isclose(overlap(torch.tensor(shared), torch.tensor(private)).item(), wanted,
                        rel_tol=1e-5)  # fmt: skip
    same = torch.tensor(shared[:, :1])
    assert math.isclose(overlap(same, -2 * same + 1).item(), 1, rel_tol=1e-5)


@pytest.mark.usefixtures("graphless")
def test_the_head_leaves_out_the_features_of_a_site(recipe, classify, tmp_path):
    path = recipe(classify, strategies={"separate-features": {"by": "site"}})
    heads = []

    class Watched(SeparateFeatures):
        def finished(self, net, context):
            plain = super().finished(net, context)
            heads.append(plain.get_submodule(self._layer).weight.detach().clone())
            return plain

    fit(path, out=tmp_path, strategies=[Watched])
    kept = json.loads((tmp_path / "run.json").read_text())["strategies"]
    told = {"domains": ["bright", "dark"], "features": 8, "shared": 6, "private": 2}
    assert kept == {"separate-features": told}
    assert (heads[0][:, 6:] == 0).all()
    assert (heads[0][:, :6] != 0).all()


def test_a_run_goes_on_to_the_bit(recipe, classify, tmp_path):
    changes = {"separate-features": {"by": "site"}}
    goes_on_to_the_bit(recipe, classify, SeparateFeatures, tmp_path, strategies=changes)


def test_with_adversarial_it_is_refused(recipe, classify):
    both = {"adversarial": {"by": "site"}, "separate-features": {"by": "site"}}
    path = recipe({**classify, "cohort": "nowhere.csv"}, strategies=both)
    with pytest.raises(RecipeError, match="hides the domains from all features"):
        check_recipe(read_yaml(path), path, strategies=WAYS)
