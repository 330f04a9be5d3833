"""Schedules against golden vectors, losses by plain loops, and pretraining with a teacher."""

import json

import numpy as np
import pytest
import torch

from osler import models
from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.strategies import self_distillation as module
from osler.learn.strategies.self_distillation import (
    SelfDistillation,
    _covered,
    _hidden,
    _seen,
)
from osler.learn.strategies.self_distillation_losses import (
    agreement,
    agreement_where_hidden,
    cosine,
    moved_centre,
    targets,
)

pytestmark = pytest.mark.usefixtures("graphless")

VIT = {"image_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
SMALL = {"steps": 3, "local": 1, "directions": 16, "hidden": 8, "narrow": 4}


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("dino_cosine_momentum", {"start": 0.996, "end": 1.0}),
        ("dino_cosine_lr_warmup", {"start": 7.5e-5, "end": 1e-6, "warmup": 18}),
        ("dino_cosine_wd", {"start": 0.04, "end": 0.4}),
    ],
)
def test_schedules_are_the_golden_ones(golden_vectors, name, keys):
    golden = golden_vectors("training")
    steps = len(golden.outputs[name])
    said = [cosine(step, steps=steps, **keys) for step in range(steps)]
    golden.agrees(torch.tensor(said, dtype=torch.float64), name)


def _softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def test_views_agree_as_by_plain_loops():
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(3, 4, 5)), rng.normal(size=(2, 4, 5))
    centre = rng.normal(size=5)
    terms = []
    for t in range(2):
        for s in range(3):
            if s == t:
                continue
            for b in range(4):
                right = _softmax((teacher[t, b] - centre) / 0.04)
                said = np.log(_softmax(student[s, b] / 0.1))
                terms.append(-sum(right[k] * said[k] for k in range(5)))
    aims = [targets(torch.tensor(one), torch.tensor(centre), temperature=0.04) for one in teacher]
    said = agreement([torch.tensor(one) for one in student], aims, temperature=0.1)
    assert float(said) == pytest.approx(np.mean(terms), rel=1e-9)
    moved = moved_centre(torch.tensor(centre), torch.tensor(teacher), momentum=0.9)
    np.testing.assert_allclose(moved, 0.9 * centre + 0.1 * teacher.reshape(-1, 5).mean(axis=0))


def test_hidden_tokens_agree_as_by_plain_loops():
    rng = np.random.default_rng(2)
    student, teacher = rng.normal(size=(2, 3, 4)), rng.dirichlet(np.ones(4), size=(2, 3))
    hidden = np.array([[1, 0, 1], [0, 1, 0]])
    each = []
    for b in range(2):
        losses = [
            -sum(teacher[b, n] * np.log(_softmax(student[b, n] / 0.1)))
            for n in range(3) if hidden[b, n]
        ]  # fmt: skip
        each.append(np.mean(losses))
    said = agreement_where_hidden(
        torch.tensor(student), torch.tensor(teacher), torch.tensor(hidden), temperature=0.1
    )
    assert float(said) == pytest.approx(np.mean(each), rel=1e-9)


def test_a_hidden_patch_says_nothing_of_what_is_there():
    torch.manual_seed(0)
    net = models.create("vit-base", weights="random", num_classes=2, **VIT)
    images = torch.rand(2, 3, 32, 32)
    changed = images.clone()
    changed[:, :, :8, :8] = torch.rand(2, 3, 8, 8)
    hidden = torch.zeros(2, 16, dtype=torch.bool)
    hidden[:, 0] = True
    token = torch.zeros(24)
    with _covered(net, hidden, token):
        first, second = (_seen(net, [one], "head") for one in (images, changed))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(_seen(net, [images], "head")[0], _seen(net, [changed], "head")[0])
    drawn = _hidden(torch.zeros(4, 16, 3), 3, 0.25, 7)
    assert drawn.shape == (6, 16)
    assert drawn[:4].sum(dim=1).tolist() == [4] * 4
    assert not drawn[4:].any()


def test_a_vision_transformer_goes_on_to_the_bit(recipe, classify, tmp_path, monkeypatch):
    classify["network"] = {"name": "vit-base", "options": VIT}
    learner = {"steps": 2, "checkpoint_minutes": 0}
    path = recipe(classify, strategies={"self-distillation": SMALL}, learner=learner)
    fit(path, out=tmp_path / "whole", strategies=[SelfDistillation])
    real, calls = module.agreement, []

    def tired(*args, **keys):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **keys)

    monkeypatch.setattr(module, "agreement", tired)
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[SelfDistillation])
    monkeypatch.setattr(module, "agreement", real)
    fit(path, out=tmp_path / "parts", resume=True, strategies=[SelfDistillation])
    for place in ("self-distillation/checkpoint.pt", "checkpoint.pt"):
        first, second = (
            torch.load(tmp_path / one / place, weights_only=True) for one in ("whole", "parts")
        )
        for name, value in first["net"].items():
            assert torch.equal(value, second["net"][name]), (place, name)
    kept = torch.load(tmp_path / "whole" / "self-distillation" / "checkpoint.pt", weights_only=True)
    assert kept["net"]["beside.remembered.centre"].abs().sum() > 0
    assert kept["net"]["beside.remembered.patch_centre"].abs().sum() > 0
    net = models.create(
        "vit-base", checkpoint=tmp_path / "whole" / "self-distillation.safetensors", partial=True
    )
    for name, value in net.state_dict().items():  # the teacher's weights
        if not name.startswith("head."):
            assert torch.equal(value, kept["net"][f"beside.teacher.{name}"]), name


def test_a_segmentation_starts_from_its_student(recipe, segment, tmp_path):
    said = {"self-distillation": {**SMALL, "keep": "student", "local": 0}}
    fit(recipe(segment, strategies=said), out=tmp_path, strategies=[SelfDistillation])
    kept = json.loads((tmp_path / "run.json").read_text())["strategies"]["self-distillation"]
    assert kept["steps"] == 3


def test_several_processes_are_refused(recipe, classify, tmp_path, monkeypatch):
    from osler.learn import training
    from osler.learn.distributed import Processes

    monkeypatch.setattr(training, "join", lambda: Processes(0, 2))
    path = recipe(classify, strategies={"self-distillation": SMALL})
    with pytest.raises(RecipeError, match="start it without torchrun"):
        fit(path, out=tmp_path, strategies=[SelfDistillation])
