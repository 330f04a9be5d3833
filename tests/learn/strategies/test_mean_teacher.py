"""Mean teacher: its loss and update against loops, and runs that it takes part in."""

import copy
import math
from typing import ClassVar

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.augmenting_settings import Augmentation
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.mean_teacher import (
    MeanTeacher,
    consistency,
    follow_student,
    ramped,
    teaching,
)
from osler.learn.strategies.strategy import Settings, Strategy, Wrapped
from osler.learn.strategies.unlabelled_views import cut_out

CHANGES = {"strategies": {"mean-teacher": {"ramp": 0.5}}, "labels": {"share": 0.5}}


class EnoughError(Exception):
    """Ends a run once what is looked at is there."""


class Frozen(Strategy):
    """Leaves the first layer as it is."""

    name = "frozen"
    title = "Frozen"
    role = "tuning"
    source = "a test"
    Settings = Settings
    seen: ClassVar[list[torch.Tensor]] = []

    def prepared(self, net, context):
        own = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
        own.requires_grad_(False)
        self.seen.append(own.weight.detach().clone())
        return Wrapped(net)

    def finished(self, net, context):
        own = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
        self.seen.append(own.weight.detach().clone())
        raise EnoughError


def test_the_consistency_is_the_mean_square_over_everything():
    rng = np.random.default_rng(0)
    said, taught = rng.random((2, 3, 2, 4, 5))
    total = 0.0
    for b in range(3):
        for c in range(2):
            for h in range(4):
                for w in range(5):
                    total += (said[b, c, h, w] - taught[b, c, h, w]) ** 2
    found = consistency(torch.from_numpy(said), torch.from_numpy(taught))
    assert float(found) == pytest.approx(total / 120, rel=1e-12)


def test_the_weight_rises_as_its_authors_say():
    assert ramped(0, 40) == pytest.approx(math.exp(-5))
    assert ramped(10, 40) == pytest.approx(math.exp(-5 * 0.75**2))
    assert ramped(40, 40) == ramped(99, 40) == ramped(0, 0) == 1


def test_the_teacher_is_the_mean_at_first_and_then_forgets():
    torch.manual_seed(0)
    student, teacher = nn.Linear(3, 2), nn.Linear(3, 2)
    kept = teacher.weight.detach().numpy().copy()
    for step in range(1, 8):
        with torch.no_grad():
            student.weight.normal_()
        follow_student(teacher, student, 0.75, step)
        alpha = min(step / (step + 1), 0.75)
        for row in range(2):
            for column in range(3):
                new = student.weight[row, column].item()
                kept[row, column] = alpha * kept[row, column] + (1 - alpha) * new
        np.testing.assert_allclose(teacher.weight.detach().numpy(), kept, rtol=1e-5, atol=1e-6)


def test_a_box_is_cut_out_of_each_image():
    images = torch.rand(5, 2, 6, 8, 10)
    out = cut_out(images, 0.5, torch.Generator().manual_seed(3))
    for before, after in zip(images, out, strict=True):
        changed = (before != after).any(dim=0)
        places = changed.nonzero()
        low, high = places.amin(dim=0), places.amax(dim=0) + 1
        assert changed.sum() == (high - low).prod()  # a full box
        assert all(h - low_ <= s / 2 + 1 for h, low_, s in zip(high, low, (6, 8, 10), strict=True))
        for channel in range(2):
            assert torch.allclose(after[channel][changed], before[channel].mean())
    assert torch.equal(cut_out(images, 0.0, torch.Generator()), images)


def test_what_was_said_of_a_case_moves_with_it(recipe, segment, tmp_path):
    from osler.learn.strategies.unlabelled_views import Views, moved

    turn = Augmentation.model_validate({"quarter": {"probability": 1.0}, "flip": {}})
    seen = []

    class Looks(MeanTeacher):
        def loss(self, loss, context):
            views = Views(context, context.unlabelled, batch=4, change=turn)
            inputs = views.weak(3, torch.device("cpu"))
            image = inputs["image"]
            said = {"scores": (torch.cat([image, 1 - image], dim=1), "softmax")}
            changed, maps = moved(said, views, inputs, 3)
            seen.append((image, changed["image"], maps["scores"]))
            again = moved(said, views, views.weak(3, torch.device("cpu")), 3)
            assert torch.equal(again[0]["image"], changed["image"])
            raise EnoughError

    segment["settings"]["patch"] = [32, 32]
    with pytest.raises(EnoughError):
        fit(recipe(segment, **CHANGES), out=tmp_path, strategies=[Looks])
    ((before, after, maps),) = seen
    assert not torch.equal(before, after)
    torch.testing.assert_close(maps, torch.cat([after, 1 - after], dim=1))


def test_volumes_move_with_what_was_said_of_them():
    """The same warp for image and map, in three dimensions."""
    from types import SimpleNamespace

    from osler.learn.strategies.unlabelled_views import Views, moved

    task = SimpleNamespace(images=("image",), apart=False)
    views = Views.__new__(Views)
    views.task, views.seed, views.cutout = task, 1, 0.0
    views.change = Augmentation.model_validate({
        "flip": {}, "rotate": {"probability": 1.0}, "translate": {"probability": 1.0},
    })  # fmt: skip
    image = torch.rand(3, 1, 8, 10, 12)
    said = {"scores": (torch.cat([image, 1 - image], dim=1), "softmax")}
    changed, maps = moved(said, views, {"image": image}, 2)
    assert not torch.equal(changed["image"], image)
    both = torch.cat([changed["image"], 1 - changed["image"]], dim=1)
    torch.testing.assert_close(maps["scores"], both, atol=1e-4, rtol=0)
    one = {"scores": (torch.rand(3, 2), "softmax")}  # an answer a case stays as it is
    _, kept = moved(one, views, {"image": image}, 2)
    assert torch.equal(kept["scores"], one["scores"][0])


@pytest.mark.parametrize("which", ["classify", "segment"])
def test_a_network_is_taught_and_answers_alone(which, recipe, request, tmp_path):
    base = request.getfixturevalue(which)
    path = recipe(base, **CHANGES, learner={"steps": 4, "precision": "bfloat16"})
    run = fit(path, out=tmp_path, strategies=[MeanTeacher])
    graph = onnxruntime.InferenceSession(run.bundle / "model.onnx")
    assert [one.name for one in graph.get_outputs()] == ["scores"]
    weights = sum(
        p.numel()
        for name, p in torch.load(tmp_path / "checkpoint.pt", weights_only=True)["net"].items()
        if ".mean_teacher." not in name
    )
    assert (run.bundle / "model.onnx").stat().st_size < 4 * weights + 100_000


def test_the_whole_goes_on_to_the_bit(recipe, classify, tmp_path):
    classify["network"]["options"] |= {"widths": [4, 4, 4, 4]}
    path = recipe(classify, **CHANGES, learner={"steps": 4, "accumulate": 2,
                                                "checkpoint_minutes": 0})  # fmt: skip

    class Taught(MeanTeacher):
        def finished(self, net, context):
            raise EnoughError

    class Tired(MeanTeacher):
        def stepped(self, net, step):
            if step == 3:
                raise KeyboardInterrupt
            super().stepped(net, step)

    with pytest.raises(EnoughError):
        fit(path, out=tmp_path / "whole", strategies=[Taught])
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[Tired])
    with pytest.raises(EnoughError):
        fit(path, out=tmp_path / "parts", resume=True, strategies=[Taught])
    first, second = (
        torch.load(tmp_path / one / "checkpoint.pt", weights_only=True)["net"]
        for one in ("whole", "parts")
    )
    assert any(".mean_teacher." in name for name in first)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_it_goes_with_weights_that_stay(recipe, classify, tmp_path):
    Frozen.seen.clear()
    path = recipe(classify, **{**CHANGES, "strategies": {"mean-teacher": {}, "frozen": {}}})
    with pytest.raises(EnoughError):
        fit(path, out=tmp_path, strategies=[MeanTeacher, Frozen])
    before, after = Frozen.seen
    assert torch.equal(before, after)


def test_the_loss_moves_the_student_and_not_the_teacher(recipe, classify, tmp_path):
    slopes = []

    class Looks(MeanTeacher):
        def loss(self, loss, context):
            made = super().loss(loss, context)
            plain = loss
            net = self.prepared(context.build(3), context)
            with torch.no_grad():
                for one in net.net.parameters():
                    one.add_(0.1 * torch.randn_like(one))
            for step, one in ((0, plain), (3, made)):
                copied = copy.deepcopy(net)
                one(copied, step, torch.device("cpu")).backward()
                slopes.append([p.grad for p in copied.net.parameters()])
                teacher = teaching(copied).beside["mean_teacher"]
                assert all(p.grad is None for p in teacher.parameters())
            raise EnoughError

    with pytest.raises(EnoughError):
        fit(recipe(classify, **CHANGES), out=tmp_path, strategies=[Looks])
    first, second = slopes
    assert any(not torch.allclose(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": {"share": 1.0}}, "learns from cases without a label too"),
        ({"strategies": {"mean-teacher": {"decay": 1.0}}}, "less than 1"),
        ({"strategies": {"mean-teacher": {"change": {"nois": {}}}}}, "nearest is 'noise'|nois"),
    ],
)
def test_what_does_not_go_is_refused(recipe, classify, change, said):
    path = recipe(classify, **{**CHANGES, **change})
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path, strategies=[MeanTeacher])


def test_a_prompt_cannot_be_told_without_the_truth(recipe, segment):
    segment["settings"]["prompt"] = "box"
    path = recipe(segment, **CHANGES)
    with pytest.raises(RecipeError, match=r"needs settings\.prompt none"):
        check_recipe(read_yaml(path), path, strategies=[MeanTeacher])


def test_a_signal_has_no_two_views(recipe, classify):
    classify["settings"] = {"signal": {"channels": ["I"], "rate": 100.0, "seconds": 2.0}}
    path = recipe(classify, **CHANGES)
    with pytest.raises(RecipeError, match="needs an image, of which two views differ"):
        check_recipe(read_yaml(path), path, strategies=[MeanTeacher])


def test_pictures_among_named_inputs_have_two_views(recipe, classify):
    target = classify["settings"]["target"]
    for inputs, goes in (({"left": "fundus", "age": "number"}, True), ({"age": "number"}, False)):
        classify["settings"] = {"inputs": inputs, "target": target}
        classify.pop("network", None)
        path = recipe(classify, **CHANGES)
        said = read_yaml(path)
        if goes:
            check_recipe(said, path, strategies=[MeanTeacher])
            continue
        with pytest.raises(RecipeError, match="settings names none"):
            check_recipe(said, path, strategies=[MeanTeacher])
