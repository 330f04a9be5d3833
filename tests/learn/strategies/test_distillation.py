"""Distillation: its losses against slow ones, its teachers, and its composition."""

import json
import math

import numpy as np
import pytest
import torch

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.distillation import Distillation
from osler.learn.strategies.distillation_losses import (
    hint_distance,
    relation_distance,
    score_distance,
)

TEACHER = {"name": "resnet-18", "options": {"widths": [6, 6, 8, 8], "stem": 4}}


def test_softened_scores_against_a_slow_oracle():
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(2, 3, 4, 5))
    tau = 3.0
    slow = 0.0
    for i in range(4):
        for x in range(5):
            p = [math.exp(t[k, i, x] / tau) for k in range(3)]
            q = [math.exp(s[k, i, x] / tau) for k in range(3)]
            p, q = ([one / sum(v) for one in v] for v in (p, q))
            slow += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    fast = score_distance(torch.tensor(s)[None], torch.tensor(t)[None], "softmax", tau)
    assert float(fast) == pytest.approx(tau**2 * slow / 20, rel=1e-5)
    slow = 0.0
    for a, b in zip(t.ravel(), s.ravel(), strict=True):
        p, q = (1 / (1 + math.exp(-one / tau)) for one in (a, b))
        slow += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    fast = score_distance(torch.tensor(s), torch.tensor(t), "sigmoid", tau)
    assert float(fast) == pytest.approx(tau**2 * slow / t.size, rel=1e-5)
    # at a high temperature the gradient is that of the squared difference of centred scores
    a = torch.tensor(s[:, :, 0].T, requires_grad=True)
    score_distance(a, torch.tensor(t[:, :, 0].T), "softmax", 1e3).backward()
    gap = (s - t)[:, :, 0].T
    limit = (gap - gap.mean(1, keepdims=True)) / 3 / 4
    np.testing.assert_allclose(a.grad, limit, atol=1e-3)


def test_relations_against_a_slow_oracle():
    rng = np.random.default_rng(1)
    s, t = rng.normal(size=(5, 4)), rng.normal(size=(5, 3))

    def huber(a, b):
        gap = abs(a - b)
        return gap**2 / 2 if gap < 1 else gap - 0.5

    def lengths(f):
        d = [[math.dist(a, b) for b in f] for a in f]
        mean = sum(map(sum, d)) / 20
        return [[one / mean for one in row] for row in d]

    def cosine(f, i, j, k):
        a, b = f[i] - f[j], f[k] - f[j]
        size = np.linalg.norm(a) * np.linalg.norm(b)
        return float(a @ b / size) if size else 0.0

    ds, dt = lengths(s), lengths(t)
    distance = sum(huber(ds[i][j], dt[i][j]) for i in range(5) for j in range(5)) / 25
    triples = [(i, j, k) for i in range(5) for j in range(5) for k in range(5)]
    angle = sum(huber(cosine(s, *one), cosine(t, *one)) for one in triples) / 125
    pair = torch.tensor(s), torch.tensor(t)
    assert float(relation_distance(*pair, distance=1, angle=0)) == pytest.approx(distance, rel=1e-5)
    assert float(relation_distance(*pair, distance=0, angle=1)) == pytest.approx(angle, rel=1e-5)
    same = torch.tensor(s, requires_grad=True)
    relation_distance(same, torch.tensor(t), distance=25, angle=50).backward()
    assert torch.isfinite(same.grad).all()


def test_a_hint_is_compared_on_the_students_grid():
    teacher = torch.arange(16.0).reshape(1, 1, 4, 4)
    student = torch.nn.functional.avg_pool2d(teacher, 2) + 2
    assert float(hint_distance(student, teacher)) == pytest.approx(4)


@pytest.mark.usefixtures("graphless")
def test_a_student_of_a_trained_teacher_goes_on_to_the_bit(recipe, classify, tmp_path):
    keys = {"teacher": {"network": TEACHER, "steps": 2}, "features": 1.0, "distance": 25.0,
            "angle": 50.0}  # fmt: skip
    learner = {"steps": 3, "validate_every": 3, "checkpoint_minutes": 0}
    path = recipe(classify, strategies={"distillation": keys}, learner=learner)
    fit(path, out=tmp_path / "whole")
    kept = json.loads((tmp_path / "whole" / "run.json").read_text())["strategies"]["distillation"]
    assert kept["teacher_parameters"] > 0

    class Tired(Distillation):
        def stepped(self, net, step):
            if step == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[Tired])
    fit(path, out=tmp_path / "parts", resume=True)
    first, second = (
        torch.load(tmp_path / one / "checkpoint.pt", weights_only=True)["net"]
        for one in ("whole", "parts")
    )
    assert any("distillation-hint" in name for name in first)
    assert not any("teacher" in name for name in first)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_run_and_its_bundle_teach_the_same_student(recipe, segment, tmp_path, request):
    learner = {"steps": 2, "batch": 1, "validate_every": 2, "optimiser": "sgd"}
    base = {**segment, "settings": {**segment["settings"], "patch": [32, 32]}, "learner":
            {**segment["learner"], **learner}}  # fmt: skip
    fit(recipe(base), out=tmp_path / "teacher")
    request.getfixturevalue("graphless")  # for the students
    ends = []
    for kind, place in (("run", "teacher"), ("bundle", "teacher/bundle")):
        keys = {"teacher": {kind: str(tmp_path / place)}, "weight": 1.0}
        fit(recipe(base, strategies={"distillation": keys}), out=tmp_path / kind)
        ends.append(torch.load(tmp_path / kind / "checkpoint.pt", weights_only=True)["net"])
    for name, value in ends[0].items():  # the graph keeps its weights in half precision
        torch.testing.assert_close(value.float(), ends[1][name].float(), atol=1e-3, rtol=1e-2)
    keys = {"teacher": {"run": str(tmp_path / "teacher")}}
    other = recipe(base, strategies={"distillation": keys}, hold={"test": 2, "tune": 1})
    with pytest.raises(RecipeError, match="differs in hold"):
        fit(other, out=tmp_path / "other")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"teacher": {}}, "name one teacher"),
        ({"teacher": {"bundle": "x"}, "features": 1.0}, "a bundle gives scores alone"),
        ({"teacher": {"bundle": "x"}, "weight": 0.0}, "all weights are 0"),
        ({"teacher": {"bundle": "x"}, "temperature": 0}, "temperature"),
    ],
)
def test_what_cannot_teach_is_refused_before_any_data(recipe, classify, keys, said):
    path = recipe({**classify, "cohort": "nowhere.csv"}, strategies={"distillation": keys})
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path)
