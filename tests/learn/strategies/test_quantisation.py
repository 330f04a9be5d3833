"""Quantisation-aware training: grids against slow ones, the graph against the network, resuming."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.eight_bit import eight_bits
from osler.learn.export import export_onnx
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.quantisation import Quantisation
from osler.learn.strategies.quantised_layers import (
    Grid,
    Quantised,
    Whole,
    fold_normalisation,
    layers_of,
)


def test_a_grid_against_a_slow_one_and_its_gradients():
    grid = Grid()
    grid.bound(-1.0, 4.1)
    step, zero = 5.1 / 255, 50
    x = torch.tensor([-3.0, -0.515, 0.0, 0.013, 1.234, 4.05, 9.0], requires_grad=True)
    slow = [(min(max(round(v / step) + zero, 0), 255) - zero) * step for v in x.detach().tolist()]
    said = grid(x)
    np.testing.assert_allclose(said.detach(), slow, atol=1e-6)
    said.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 0]  # straight through, but for what is clipped
    # Esser et al. 2020, equation 3, times the step, since its logarithm learns
    v = (x / step).detach()
    inside = (v + zero > 0) & (v + zero < 255)
    slope = torch.where(inside, v.round() - v, torch.where(v < 0, -zero, 255 - zero))
    assert float(grid.log_step.grad) == pytest.approx(float(slope.sum() * step), rel=1e-4)


def test_folding_changes_nothing_that_the_network_says():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1),
        nn.BatchNorm2d(5, affine=False), nn.Flatten(), nn.Linear(5 * 36, 2),
    )  # fmt: skip
    x = torch.randn(6, 3, 8, 8)
    for _ in range(3):
        net(x + torch.randn_like(x))
    nn.init.uniform_(net[1].weight, -1, 2)
    nn.init.uniform_(net[1].bias)
    net.eval()
    before = net(x)
    assert fold_normalisation(net, [x]) == 2
    assert not any(isinstance(one, nn.BatchNorm2d) for one in net.modules())
    torch.testing.assert_close(net(x), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [7, 4])
def test_the_graph_computes_in_whole_numbers_what_the_layers_say(bits):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))  # fmt: skip
    x = torch.randn(1, 3, 12, 12)
    for name in layers_of(net):
        layer = Quantised(net.get_submodule(name), bits=bits)
        for grid in (layer.taken, layer.given):
            grid.bound(-2.0, 2.5)
        net.set_submodule(name, layer)
    learning = net.eval()(x)
    for name in ("0", "2", "5"):
        weight = net.get_submodule(name).layer.weight.detach()
        net.set_submodule(name, Whole(net.get_submodule(name)))
        whole = net.get_submodule(name).weight
        assert whole.dtype == torch.int8
        slow = [
            [round(v / (max(map(abs, row)) / (2 ** (bits - 1) - 1))) for v in row]
            for row in weight.flatten(1).tolist()
        ]
        assert whole.flatten(1).tolist() == slow
    said = net.eval()(x)
    torch.testing.assert_close(said, learning, atol=0.05, rtol=0)  # the bias is whole too
    graph = export_onnx(net, {"image": x}, outputs=["scores"], step=None)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (ran,) = session.run(None, {"image": x.numpy()})
    np.testing.assert_allclose(ran, said.detach(), atol=0.05)
    kept = {one.data_type for one in onnx.load_from_string(graph).graph.initializer
            if len(one.dims) > 1}  # fmt: skip
    assert kept == {onnx.TensorProto.INT8}


def test_a_graph_is_rounded_without_further_training():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Linear(8, 2)).eval()  # fmt: skip
    x = torch.randn(1, 3, 12, 12)
    graph = export_onnx(net, {"image": x}, outputs=["scores"], step=None)
    small = eight_bits(graph, [{"image": x.numpy()}], reduce_range=True)
    session = onnxruntime.InferenceSession(small, providers=["CPUExecutionProvider"])
    (ran,) = session.run(None, {"image": x.numpy()})
    np.testing.assert_allclose(ran, net(x).detach(), atol=0.05)
    assert b"QLinearConv" in small or b"QuantizeLinear" in small


def test_a_network_learns_on_the_grid_and_goes_on_to_the_bit(recipe, classify, tmp_path, request):
    learner = {"steps": 2, "validate_every": 2, "checkpoint_minutes": 0}
    classify["network"]["options"]["layers"] = [1, 1, 1, 1]
    path = recipe(
        classify, strategies={"quantisation-aware": {"steps": 3, "batches": 2}}, learner=learner
    )
    run = fit(path, out=tmp_path / "whole")
    record = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert record["difference_between_onnx_and_torch"] < 0.05
    assert record["strategies"]["quantisation-aware"]["normalisations_folded"] > 5
    model = onnx.load(run.bundle / "model.onnx")
    assert sum(one.op_type == "QuantizeLinear" for one in model.graph.node) > 10
    request.getfixturevalue("graphless")

    class Tired(Quantisation):
        taken = 0

        def stepped(self, net, step):
            type(self).taken += 1
            if self.taken == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[Tired])
    fit(path, out=tmp_path / "parts", resume=True)
    first, second = (
        torch.load(tmp_path / one / "eight-bit" / "checkpoint.pt", weights_only=True)["net"]
        for one in ("whole", "parts")
    )
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_masks_of_structures_are_learnt_on_the_grid_too(recipe, segment, tmp_path):
    keys = {"quantisation-aware": {"steps": 1, "batches": 1, "keep": ["head"]}}
    base = {**segment, "settings": {**segment["settings"], "patch": [32, 32]}}
    path = recipe(base, strategies=keys, learner={"steps": 1, "validate_every": 1})
    assert fit(path, out=tmp_path).bundle.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategies": {"quantisation-aware": {"bits": 1}}}, "bits"),
        ({"strategies": {"quantisation-aware": {}, "pruning": {}}}, "how the steps are taken"),
        (
            {"strategies": {"quantisation-aware": {}}, "learner": {"checkpointing": True}},
            "layers change between the two stages",
        ),
    ],
)
def test_what_does_not_go_with_the_grid_is_refused(recipe, classify, change, said):
    path = recipe({**classify, "cohort": "nowhere.csv"}, **change)
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path)
