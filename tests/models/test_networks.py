"""What every network promises: shapes, gradients, weights that travel, and the same in ONNX."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from osler import models
from osler.errors import RecipeError
from osler.learn.export import export_onnx, largest_difference
from osler.learn.fundus.grading import OUTPUTS, Ensemble
from osler.models.grader import Grader, LesionFeatures
from osler.models.normalise import LocalContrast
from osler.models.unet import UNet

WIDTHS = (4, 8, 8, 8, 8)
LABELS = 3


def pictures(height=64, width=64, count=2, seed=0):
    """Canvases with a border outside the field."""
    x = torch.rand(count, 4, height, width, generator=torch.Generator().manual_seed(seed))
    x[:, 3] = 0
    x[:, 3, 4:-4, 4:-4] = 1
    return x * x[:, 3:]


def cells(height=3, width=4, count=2, channels=18):
    x = torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(1))
    x[:, -1, 0] = 0
    return x


def grader() -> Grader:
    return Grader(channels=18, outputs=OUTPUTS, width=8)


BUILD = {
    **{
        name: lambda name=name: models.create(name, weights="random", labels=LABELS, widths=WIDTHS)
        for name in ("classifier", "unet")
    },
    "unet without context": lambda: UNet(labels=LABELS, widths=WIDTHS, context=False),
    "shallow unet": lambda: UNet(labels=LABELS, widths=(4, 8, 8)),
    "lesion features": lambda: LesionFeatures(UNet(labels=LABELS, widths=WIDTHS)),
    "grader": grader,
    "ensemble": lambda: Ensemble([grader(), grader()]),
}


def example(name, **changes):
    return cells(**changes) if name in ("grader", "ensemble") else pictures(**changes)


def outputs(net, x):
    said = net(x)
    return said if isinstance(said, tuple) else (said,)


@pytest.fixture(params=BUILD, ids=str)
def built(request):
    torch.manual_seed(0)
    return request.param, BUILD[request.param]()


def test_forward_and_backward_reach_every_weight(built):
    name, net = built
    net.train()
    loss = sum(part.float().square().mean() for part in outputs(net, example(name)))
    loss.backward()
    without = [key for key, p in net.named_parameters() if p.grad is None]
    assert not without
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_evaluation_is_deterministic_and_a_batch_is_its_pictures(built):
    name, net = built
    net.eval()
    x = example(name)
    with torch.inference_mode():
        once, again = outputs(net, x), outputs(net, x)
        alone = outputs(net, x[1:])
    for a, b, c in zip(once, again, alone, strict=True):
        assert torch.equal(a, b)
        assert torch.allclose(a[1:], c, atol=1e-5)


def test_weights_are_saved_and_loaded(built, tmp_path):
    name, net = built
    net.train()
    outputs(net, example(name))  # moves the statistics of the normalisation
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(99)
    other = BUILD[name]()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    x = example(name)
    with torch.inference_mode():
        for a, b in zip(outputs(net.eval(), x), outputs(other.eval(), x), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 64), (160, 224)])
def test_segmentation_keeps_any_size_in_steps_of_32(height, width):
    x = pictures(height, width, count=1)
    for name in ("unet", "unet without context", "shallow unet"):
        assert BUILD[name]().eval()(x).shape == (1, LABELS, height, width)
    net = LesionFeatures(UNet(labels=LABELS, widths=WIDTHS)).eval()
    logits, grid = net(x)
    assert logits.shape == (1, LABELS, height, width)
    assert grid.shape == (1, net.channels, height // 32, width // 32)
    assert BUILD["classifier"]().eval()(x).shape == (1, LABELS)


def test_features_of_lesions_are_what_they_say():
    net = LesionFeatures(UNet(labels=LABELS, widths=WIDTHS)).eval()
    x = pictures(96, 64, count=1)
    with torch.inference_mode():
        logits, grid = net(x)
    deep, rest = grid[0, : net.net.deepest], grid[0, net.net.deepest :]
    assert deep.shape[0] == WIDTHS[-1]
    probability = (logits.sigmoid() * x[:, 3:])[0]
    cell = probability[:, 32:64, :32]
    assert torch.allclose(rest[:LABELS, 1, 0], cell.amax((1, 2)))
    assert torch.allclose(rest[LABELS : 2 * LABELS, 1, 0], cell.mean((1, 2)).sqrt(), atol=1e-5)
    share = (cell > 0.5).float().mean((1, 2)).sqrt()
    assert torch.allclose(rest[2 * LABELS : 3 * LABELS, 1, 0], share)
    assert rest[-1, 1, 0] == pytest.approx(float(x[0, 3, 32:64, :32].mean()))


def test_attention_sums_to_one_and_stays_in_the_field():
    *heads, attention = grader().eval()(cells())
    assert [tuple(head.shape) for head in heads] == [(2, count) for count in OUTPUTS]
    assert attention.shape == (2, 1, 3, 4)
    assert attention.sum((1, 2, 3)).tolist() == pytest.approx([1, 1])
    assert not attention[:, :, 0].any()


def test_cells_outside_the_field_do_not_speak():
    net, x = grader().eval(), cells()
    x[:, -1, :2] = 0
    y = x.clone()
    y[:, :-1, 0] += 5  # two rows away from the field: not even its neighbours see it
    with torch.inference_mode():
        for a, b in zip(net(x), net(y), strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_an_ensemble_says_the_mean():
    one, other = grader().eval(), grader().eval()
    both = Ensemble([one, other]).eval()
    x = cells()
    with torch.inference_mode():
        for a, b, mean in zip(one(x), other(x), both(x), strict=True):
            assert torch.allclose((a + b) / 2, mean, atol=1e-6)


@pytest.mark.parametrize("gain", [0.5, 0.8])
def test_local_contrast_takes_exposure_out(gain):
    """Twice the light gives nearly the same standardised colours, and nothing outside the field."""
    hh, ww = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    inside = ((hh - 128) ** 2 + (ww - 128) ** 2 < 120**2).float()
    picture = torch.zeros(1, 4, 256, 256)
    picture[:, :3] = 0.5 + 0.25 * torch.sin(ww / 3) * torch.sin(hh / 3)
    picture[:, 3] = inside
    dim = torch.cat([picture[:, :3] * gain, picture[:, 3:]], dim=1)
    net = LocalContrast()
    bright, dark = net(picture)[:, 3:6], net(dim)[:, 3:6]
    assert not bright[:, :, inside == 0].any()
    assert not net(picture)[:, :, inside == 0].any()
    assert float((bright - dark).abs().max()) < 0.15
    assert float(bright.abs().max()) > 1


def test_what_lies_outside_the_field_changes_nothing():
    torch.manual_seed(0)
    net = UNet(labels=1, widths=WIDTHS).eval()
    x = pictures(count=1)
    noise = x.clone()
    noise[:, :3] += (1 - x[:, 3:]) * torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(net(x), net(noise), atol=1e-6)


def test_unknown_networks_and_options_are_refused():
    with pytest.raises(RecipeError, match="no network is called 'unett'; the nearest are 'unet'"):
        models.create("unett", weights="random", labels=1)
    with pytest.raises(RecipeError, match="the nearest are 'retfound-vit-large', 'retfound-dino"):
        models.find("RETFound")
    with pytest.raises(RecipeError, match="the nearest are 'sam-vit-base', 'medsam'"):
        models.find("sam")
    with pytest.raises(RecipeError, match=r"'unet' does not take these options: .*depth"):
        models.create("unet", weights="random", labels=1, depth=3)
    with pytest.raises(RecipeError, match=r"options: 'heads' \(the nearest is 'num_heads'\)"):
        models.create("vit-base", weights="random", heads=3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"weights": "pretrained"}, "no weights called 'pretrained'; say where"),
        ({"weights": "random", "num_classes": -1}, "num_classes is a whole number from 0"),
        ({"weights": "random", "num_classes": 2.0}, "not 2.0"),
        ({}, 'weights="random"'),
    ],
)
def test_weights_are_random_only_where_that_is_said(options, says):
    with pytest.raises(RecipeError, match=says):
        models.create("resnet-18", **options)


def test_a_network_of_no_labels_is_refused():
    with pytest.raises(RecipeError, match="labels is a whole number from 1, not 0"):
        models.create("dynunet", weights="random", labels=0)


def test_starting_weights_are_copied_where_they_fit(tmp_path):
    torch.manual_seed(1)
    first = UNet(labels=1, widths=WIDTHS)
    torch.save({"best": first.state_dict(), "state": [1]}, tmp_path / "checkpoint.pt")
    torch.manual_seed(2)
    second = UNet(labels=3, widths=WIDTHS)  # another head
    before = second.head.weight.clone()
    copied = models.start_from(second, tmp_path / "checkpoint.pt")
    assert copied == len(second.state_dict()) - 2
    assert torch.equal(second.down[0][0].weight, first.down[0][0].weight)
    assert torch.equal(second.head.weight, before)
    assert models.start_from(UNet(labels=1, widths=WIDTHS), tmp_path / "checkpoint.pt") == len(
        first.state_dict()
    )


def test_starting_weights_that_do_not_serve_are_refused(tmp_path):
    net = UNet(labels=1, widths=WIDTHS)
    with pytest.raises(RecipeError, match=r"none\.pt' do not exist; train them first"):
        models.start_from(net, tmp_path / "none.pt")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "linear.pt")
    with pytest.raises(RecipeError, match=r"fits only 0 of \d+ tensors"):
        models.start_from(net, tmp_path / "linear.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(RecipeError, match="damaged or no checkpoint"):
        models.start_from(net, tmp_path / "list.pt")
    (tmp_path / "junk.pt").write_bytes(b"no checkpoint")
    with pytest.raises(RecipeError, match="damaged or no checkpoint"):
        models.start_from(net, tmp_path / "junk.pt")


def test_starting_weights_cannot_run_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    torch.save({"best": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(RecipeError, match="damaged or no checkpoint"):
        models.start_from(UNet(labels=1, widths=WIDTHS), tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def trained_a_little(net, x):
    """Statistics and weights as training leaves them, not as they are made."""
    net.train()
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    for _ in range(3):
        outputs(net, x)
    return net.eval()


@pytest.fixture(scope="module")
def exported():
    """A lesion network with features: whole and half weights. One export, since it is slow."""
    torch.manual_seed(3)
    net = trained_a_little(LesionFeatures(UNet(labels=2, widths=(8, 16, 16, 16, 16))), pictures())
    graph = export_onnx(
        net, {"image": pictures(64, 96, 1)}, outputs=["scores", "cells"], step=32, half=False
    )
    return net, graph


def test_the_graph_says_the_same_at_any_size(exported):
    net, graph = exported
    feeds = [{"image": pictures(h, w, 1).numpy()} for h, w in ((64, 96), (128, 64), (96, 160))]
    assert largest_difference(net, graph, feeds) < 1e-5


def test_half_weights_are_smaller_and_near(exported):
    from osler.learn.export import _store_half

    net, graph = exported
    model = onnx.load_from_string(graph)
    _store_half(model)
    onnx.checker.check_model(model)
    half = model.SerializeToString()
    assert len(half) < 0.85 * len(graph)
    assert largest_difference(net, half, [{"image": pictures(64, 96, 1).numpy()}]) < 2e-3


def test_the_graph_names_its_ends_and_holds_no_notes(exported):
    _, graph = exported
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["image"]
    assert [one.name for one in session.get_outputs()] == ["scores", "cells"]
    for trace in (b"/work", b"site-packages", b"unet.py", b"stack_trace"):
        assert trace not in graph
    assert not [t for t in onnx.load_from_string(graph).graph.initializer if t.external_data]


def test_an_ensemble_of_graders_says_the_same_as_its_graph():
    torch.manual_seed(4)
    net = trained_a_little(Ensemble([grader(), grader()]), cells(6, 7))
    graph = export_onnx(
        net,
        {"cells": cells(6, 7, 1)},
        outputs=["grade", "referable", "oedema", "attention"],
        step=1,
    )
    feeds = [{"cells": cells(h, w, 1).numpy()} for h, w in ((6, 7), (9, 4))]
    assert largest_difference(net, graph, feeds) < 2e-3


def test_a_graph_of_another_network_is_noticed(exported):
    _, graph = exported
    torch.manual_seed(5)
    other = LesionFeatures(UNet(labels=2, widths=(8, 16, 16, 16, 16))).eval()
    feed = {"image": pictures(64, 96, 1).numpy().astype(np.float32)}
    assert largest_difference(other, graph, [feed]) > 1e-2
