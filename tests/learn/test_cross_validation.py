"""Folds left out in turn, and the mean of what their networks say."""

import json

import numpy as np
import pytest
import test_loop
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.cross_validation import cross_validate
from osler.learn.ensembling import Ensemble, mean_scores
from osler.learn.learner import Learner
from osler.learn.loop import inference, train
from osler.metrics import auroc

LEARNER = Learner(steps=40, warmup=0, rate=0.05, ema=0.0, precision="float32", hold=None)


def cohort(count=60):
    """Points of two classes that overlap, in three folds."""
    rng = np.random.default_rng(1)
    labels = rng.integers(2, size=count)
    points = rng.normal(size=(count, 2)) + labels[:, None]
    return [
        (f"case {i}", i % 3, points[i].astype(np.float32), int(labels[i])) for i in range(count)
    ]


CASES = cohort()
TRUTH = {name: label for name, _, _, label in CASES}


def train_fold(fold, folder, resume):
    teach = [case for case in CASES if case[1] != fold]
    x = torch.from_numpy(np.stack([case[2] for case in teach]))
    y = torch.tensor([case[3] for case in teach])
    torch.manual_seed(fold)
    net = nn.Linear(2, 2)

    def loss(net, number, device):
        return nn.functional.cross_entropy(net(x.to(device)), y.to(device))

    train(net, loss=loss, validate=None, learner=LEARNER, folder=folder, resume=resume)
    return net


def judge(net, fold):
    held = [case for case in CASES if case[1] == fold]
    with inference(net):
        said = net(torch.from_numpy(np.stack([case[2] for case in held]))).softmax(1)[:, 1]
    return {case[0]: float(p) for case, p in zip(held, said, strict=True)}


def score(judged):
    names = list(judged)
    return {
        "AUROC": auroc(np.array([TRUTH[n] for n in names]), np.array([judged[n] for n in names]))
    }


def test_a_fold_that_does_not_define_a_figure_has_no_spread(tmp_path):
    """A fold without cases of a class has no AUROC, and a mean over the others is another one."""
    figures = {"a": {"AUROC": 0.7}, "b": {"AUROC": float("nan")}, "c": {"AUROC": 0.9}}
    done = cross_validate(
        [0, 1, 2],
        train_fold=lambda fold, folder, resume: folder.mkdir(),
        judge=lambda net, fold: {"abc"[fold]: 0.5},
        score=lambda judged: figures.get("".join(judged), {"AUROC": 0.8}),
        folder=tmp_path,
        resume=False,
    )
    assert np.isnan(done.spread("AUROC")).all()
    record = json.loads((tmp_path / "cross-validation.json").read_text())
    assert record["figures"] == {"AUROC": 0.8}
    assert record["folds"]["1"] == {"AUROC": None}
    assert record["over_folds"] == {"AUROC": {"mean": None, "deviation": None}}


def test_every_case_is_judged_by_the_network_that_never_saw_it(tmp_path):
    done = cross_validate(
        [0, 1, 2], train_fold=train_fold, judge=judge, score=score, folder=tmp_path, resume=False
    )
    assert done.left_out.keys() == TRUTH.keys()
    for fold, net in done.members.items():  # the slow way: one network after the other
        again = train_fold(fold, tmp_path / "again" / str(fold), resume=False)
        test_loop.assert_same(net, again)
        for name, value in judge(again, fold).items():
            assert done.left_out[name] == value
            assert done.fold_of[name] == fold
    assert done.figures == score(done.left_out)
    assert 0.6 < done.figures["AUROC"] < 1
    values = [one["AUROC"] for one in done.by_fold.values()]
    assert done.spread("AUROC") == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert {p.name for p in tmp_path.glob("fold-*/checkpoint.pt")} == {"checkpoint.pt"}
    record = json.loads((tmp_path / "cross-validation.json").read_text())
    assert record["figures"]["AUROC"] == done.figures["AUROC"]
    assert record["cases"]["case 4"] == 1


def test_interrupted_it_goes_on_with_the_fold_it_was_in(tmp_path):
    trained = []

    def noted(fold, folder, resume):
        trained.append((fold, resume and (folder / "checkpoint.pt").exists()))
        if fold == 2 and len(trained) == 3:
            raise KeyboardInterrupt
        return train_fold(fold, folder, resume)

    common = {"judge": judge, "score": score, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        cross_validate([0, 1, 2], train_fold=noted, resume=False, **common)
    assert not (tmp_path / "cross-validation.json").exists()
    done = cross_validate([0, 1, 2], train_fold=noted, resume=True, **common)
    assert trained[3:] == [(0, True), (1, True), (2, False)]
    straight = cross_validate(
        [0, 1, 2], train_fold=train_fold, judge=judge, score=score, folder=tmp_path / "straight",
        resume=False,
    )  # fmt: skip
    assert done.left_out == straight.left_out


def test_a_case_in_two_folds_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="'case 1' is in the folds 0 and 1"):
        cross_validate(
            [0, 1], train_fold=lambda *_: None, judge=lambda *_: {"case 1": 0.5},
            score=lambda _: {}, folder=tmp_path, resume=False,
        )  # fmt: skip


@pytest.mark.parametrize("folds", [[], [1], [1, 1], [0, 1, 0]])
def test_folds_that_are_none_are_refused(tmp_path, folds):
    with pytest.raises(RecipeError, match="at least two folds, each once"):
        cross_validate(
            folds, train_fold=train_fold, judge=judge, score=score, folder=tmp_path, resume=False
        )


# --- the mean of several networks


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_the_scores_of_an_ensemble_are_those_of_the_mean_probability(activation):
    torch.manual_seed(0)
    scores = [4 * torch.randn(3, 5, 4, 4) for _ in range(4)]
    turn = {
        "softmax": lambda x: x.softmax(1), "sigmoid": torch.sigmoid, "none": lambda x: x,
    }[activation]  # fmt: skip
    mean = sum(turn(one.double()) for one in scores) / 4
    torch.testing.assert_close(
        turn(mean_scores(scores, activation).double()), mean, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_certain_networks_give_finite_scores_in_order(activation):
    scores = [torch.tensor([[300.0, -300.0]]), torch.tensor([[200.0, -400.0]])]
    said = mean_scores(scores, activation)
    assert torch.isfinite(said).all()
    assert said[0, 0] > said[0, 1]


def test_an_ensemble_of_one_says_what_it_says():
    x = torch.randn(2, 3)
    torch.testing.assert_close(mean_scores([x], "sigmoid"), x)
    torch.testing.assert_close(mean_scores([x], "softmax").softmax(1), x.softmax(1))


class Several(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.one = kind, nn.Linear(2, 3)

    def forward(self, x):
        a, b = self.one(x), self.one(x).sum(1)
        return {"a": a, "b": b} if self.kind == "mapping" else (a, b)


@pytest.mark.parametrize("kind", ["tuple", "mapping"])
def test_several_outputs_have_an_activation_each(kind):
    nets = [Several(kind) for _ in range(3)]
    activations = {"a": "softmax", "b": "none"} if kind == "mapping" else ("softmax", "none")
    said = Ensemble(nets, activations)(torch.ones(1, 2))
    a, b = (said["a"], said["b"]) if kind == "mapping" else said
    singles = [net.one(torch.ones(1, 2)) for net in nets]
    torch.testing.assert_close(a.softmax(1), sum(one.softmax(1) for one in singles) / 3)
    torch.testing.assert_close(b, sum(one.sum(1) for one in singles) / 3)


def test_an_ensemble_becomes_a_graph():
    from osler.learn.export import export_onnx, largest_difference

    net = Ensemble(
        [nn.Sequential(nn.Conv2d(2, 3, 3, padding=1)) for _ in range(2)], "softmax"
    ).eval()
    example = {"image": torch.rand(1, 2, 16, 16)}
    graph = export_onnx(net, example, outputs=["scores"], step=8)
    assert largest_difference(net, graph, [{"image": example["image"].numpy()}]) < 0.02


@pytest.mark.parametrize("wrong", ["argmax", ("softmax", "tanh"), {"a": "relu"}])
def test_an_unknown_activation_is_named(wrong):
    with pytest.raises(ValueError, match="is none of softmax, sigmoid, none"):
        Ensemble([nn.Linear(2, 2)], wrong)
