"""Losses of contrast against golden vectors and plain loops, and pretraining with them."""

import json
import math

import numpy as np
import pytest
import torch

from osler import models
from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies import contrastive as module
from osler.learn.strategies.contrastive import Contrastive, grouped, partners
from osler.learn.strategies.contrastive_losses import (
    clip,
    multi_positive,
    nt_xent,
    soft_clip,
    soft_targets,
    supcon,
)
from osler.learn.strategies.pretraining import represent, representation
from osler.tasks.task import Sample

pytestmark = pytest.mark.usefixtures("graphless")


@pytest.fixture(scope="module")
def golden(golden_vectors):
    return golden_vectors("losses")


def slow(features, positives, temperature):
    """The mean of -log of the shares of positives, by plain loops."""
    unit = [row / math.sqrt(sum(one * one for one in row)) for row in np.asarray(features)]
    losses = []
    for i, z in enumerate(unit):
        below = sum(
            math.exp(float(z @ other) / temperature) for a, other in enumerate(unit) if a != i
        )
        right = [p for p in range(len(unit)) if p != i and positives[i][p]]
        if right:
            each = [-math.log(math.exp(float(z @ unit[p]) / temperature) / below) for p in right]
            losses.append(sum(each) / len(each))
    return sum(losses) / len(losses)


def printed(z, temperature):
    """A loss that is printed as contrastive, whose numerator is a vector's likeness to itself."""
    scores = (z @ z.T / temperature).exp()
    rest = scores.sum(dim=1) - scores.diagonal()
    return -(scores.diagonal() / rest).log().mean()


def test_nt_xent_is_the_golden_one(golden):
    first, second = (golden.inputs[f"ntxent_z{k}"].requires_grad_() for k in (1, 2))
    said = nt_xent(first, second, temperature=0.2)
    said.backward()
    golden.agrees(said[None], "ntxent")
    golden.agrees(first.grad, "ntxent_grad_z1")
    golden.agrees(second.grad, "ntxent_grad_z2")
    with torch.no_grad():
        both = torch.cat([first, second])
        pairs = [[abs(i - j) == len(first) for j in range(len(both))] for i in range(len(both))]
        assert float(said.detach()) == pytest.approx(slow(both, pairs, 0.2), rel=1e-9)


def test_nt_xent_of_equal_pairs_and_of_a_collapse(golden):
    eye = torch.eye(4, dtype=torch.float64)
    said = nt_xent(eye, eye, temperature=0.5)
    golden.agrees(said[None], "ntxent_identical_orthogonal_pairs_N4_tau0.5")
    assert float(said) == pytest.approx(math.log(math.exp(2) + 6) - 2)
    alike = torch.ones(4, 3, dtype=torch.float64)
    assert float(nt_xent(alike, alike, temperature=0.1)) == pytest.approx(math.log(7))


def test_supcon_is_the_golden_one(golden):
    features = golden.inputs["supcon_features"].requires_grad_()
    labels = golden.inputs["supcon_labels"]
    said = supcon(features, labels, temperature=0.2)
    said.backward()
    golden.agrees(said[None], "supcon")
    golden.agrees(features.grad, "supcon_grad")
    positives = labels[:, None] == labels[None]
    assert float(said.detach()) == pytest.approx(slow(features.detach(), positives, 0.2), rel=1e-9)


def test_several_positives_are_pairs_where_each_has_one():
    z = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pairs = torch.eye(6, dtype=torch.bool).roll(3, dims=0)
    said = multi_positive(z, pairs, temperature=0.3)
    assert float(said) == pytest.approx(float(nt_xent(z[:3], z[3:], temperature=0.3)), rel=1e-12)
    assert float(multi_positive(z, torch.zeros(6, 6), temperature=0.3)) == 0


def test_soft_clip_is_flairs_and_medclips(golden):
    images, texts = (golden.inputs[f"flair_{one}"].requires_grad_() for one in ("img", "txt"))
    scale = golden.inputs["flair_logit_scale"].requires_grad_()
    category = golden.inputs["flair_category_id"]
    said = soft_clip(images, texts, scale, category[:, None] == category[None])
    said.backward()
    golden.agrees(said[None], "flair_softclip", atol=1e-7)  # its targets are float32
    for name, value in (("img", images), ("txt", texts), ("logit_scale", scale)):
        golden.agrees(value.grad, f"flair_grad_{name}", atol=1e-6)
    plain = clip(images, texts, scale)
    golden.agrees(plain.detach()[None], "clip_identity_target")
    alike = golden.inputs["medclip_img_labels"] @ golden.inputs["medclip_text_labels"].T
    said = soft_targets(
        golden.inputs["medclip_logits_per_image"], alike.softmax(1), alike.T.softmax(1)
    )
    golden.agrees(said[None], "medclip_loss")


def test_clip_by_plain_loops():
    draw = torch.Generator().manual_seed(3)
    images, texts = (torch.randn(4, 5, dtype=torch.float64, generator=draw) for _ in range(2))
    unit = [one / one.norm(dim=1, keepdim=True) for one in (images, texts)]
    total = 0.0
    for rows, columns in (unit, unit[::-1]):
        for i in range(4):
            scores = [3.0 * float(rows[i] @ columns[j]) for j in range(4)]
            total -= scores[i] - math.log(sum(math.exp(one) for one in scores))
    log_scale = torch.tensor(math.log(3.0), dtype=torch.float64)
    assert float(clip(images, texts, log_scale)) == pytest.approx(total / 8, rel=1e-12)


def test_likeness_to_itself_is_no_positive_pair():
    """The figures of docs/learning/contrastive.md."""
    draw = torch.Generator().manual_seed(0)
    aligned = torch.eye(4, 16).repeat(2, 1)
    random = torch.nn.functional.normalize(torch.randn(8, 16, generator=draw), dim=1)
    values = {
        name: (float(printed(z, 0.5)), float(nt_xent(z[:4], z[4:], temperature=0.5)))
        for name, z in (("aligned", aligned), ("random", random))
    }
    assert values["aligned"] == pytest.approx((0.595, 0.595), abs=1e-3)
    assert values["random"] == pytest.approx((-0.064, 2.282), abs=1e-3)


def test_the_representation_of_a_u_net_lies_at_its_bottom():
    torch.manual_seed(0)
    net = models.create("dynunet-2d", weights="random", widths=[8, 12, 16], channels=1, labels=2)
    images = torch.rand(3, 1, 32, 32)
    features = represent(net, [images], representation(net, [images]))
    assert features.shape == (3, 16)
    volumes = models.create("dynunet", weights="random", widths=[4, 6, 8], channels=1, labels=2)
    boxes = torch.rand(2, 1, 16, 16, 16)
    assert represent(volumes, [boxes], representation(volumes, [boxes])).shape == (2, 8)
    grader = models.create("resnet-18", weights="random", widths=[4, 4, 8, 8], num_classes=2)
    photos = torch.rand(3, 3, 32, 32)
    layer = representation(grader, [photos])
    said = represent(grader.eval(), [photos], layer)
    torch.testing.assert_close(grader.get_submodule(layer)(said), grader(photos))


def test_cases_of_one_patient_or_variable_belong_together(recipe, classify):
    samples = [Sample(f"c{n}", f"p{n // 2}", {}) for n in range(5)]
    assert partners(grouped(samples, None, "patient")) == [[1], [0], [3], [2], [4]]

    class _Context:
        variables = {"c0": {"site": "a"}, "c1": {"site": "b"}, "c2": {"site": "a"}}  # noqa: RUF012

    assert partners(grouped(samples, _Context, "site")) == [[2], [1], [0], [3], [4]]
    with pytest.raises(RecipeError, match="no variable 'organ'"):
        grouped(samples, _Context, "organ")


SHORT = {"steps": 3, "batch": 4, "hidden": 8, "projection": 4}


def test_a_segmentation_starts_from_it_too(recipe, segment, tmp_path):
    said = {"contrastive": {**SHORT, "same": "site", "augment": "light"}}
    fit(recipe(segment, strategies=said), out=tmp_path, strategies=[Contrastive])
    first, second = (
        torch.load(tmp_path / one, weights_only=True)["state"][0]
        for one in ("contrastive/checkpoint.pt", "checkpoint.pt")
    )
    assert (first, second) == (SHORT["steps"], segment["learner"]["steps"])


def test_pretraining_goes_on_to_the_bit(recipe, classify, tmp_path, monkeypatch):
    learner = {"steps": 2, "checkpoint_minutes": 0}
    path = recipe(
        classify, strategies={"contrastive": SHORT}, learner=learner, labels={"share": 0.5}
    )
    fit(path, out=tmp_path / "whole", strategies=[Contrastive])
    kept = json.loads((tmp_path / "whole" / "run.json").read_text())["strategies"]["contrastive"]
    assert kept["cases"] == 8
    assert kept["weights"] == "contrastive.safetensors"
    real, calls = module.nt_xent, []

    def tired(*args, **keys):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **keys)

    monkeypatch.setattr(module, "nt_xent", tired)
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[Contrastive])
    monkeypatch.setattr(module, "nt_xent", real)
    fit(path, out=tmp_path / "parts", resume=True, strategies=[Contrastive])
    for place in ("contrastive/checkpoint.pt", "checkpoint.pt"):
        first, second = (
            torch.load(tmp_path / one / place, weights_only=True) for one in ("whole", "parts")
        )
        for name, value in first["net"].items():
            assert torch.equal(value, second["net"][name]), (place, name)
    net = models.create(
        "resnet-18", checkpoint=tmp_path / "whole" / "contrastive.safetensors", partial=True,
        num_classes=7, stem=4, widths=[4, 4, 8, 8],
    )  # fmt: skip
    assert net.report.share == 1
    place = tmp_path / "whole" / "contrastive" / "checkpoint.pt"
    for name, value in torch.load(place, weights_only=True)["net"].items():
        if name.startswith("net.") and not name.startswith("net.fc."):
            assert torch.equal(net.state_dict()[name.removeprefix("net.")], value), name


def test_wrong_keys_are_told(recipe, classify):
    path = recipe({**classify, "cohort": "nowhere.csv"},
                  strategies={"contrastive": {"temperature": 0, "augment": "strong"}})  # fmt: skip
    with pytest.raises(RecipeError, match=r"contrastive\.temperature"):
        check_recipe(read_yaml(path), path, strategies=[Contrastive])
