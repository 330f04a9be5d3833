"""STU-Net as nnU-Net stores it, computed again from the names of its weights."""

import pytest
import torch
from torch.nn import functional

from osler import models
from osler.errors import RecipeError, WeightsError

PUBLISHED = {"small": 14.6, "base": 58.26, "large": 440.30, "huge": 1457.33}
OPTIONS = {"widths": [4, 6, 8], "depths": [1, 2, 1], "strides": [[1, 2, 2], 2], "labels": 3}
X = torch.randn(2, 2, 8, 16, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    net = models.create("stu-net-base", weights="random", channels=2, **OPTIONS)
    for name, value in net.state_dict().items():
        if "norm" in name:
            value.copy_(torch.randn_like(value))
    return net.state_dict()


def normed(weights, name, x):
    mean, var = x.mean((2, 3, 4), keepdim=True), x.var((2, 3, 4), keepdim=True, unbiased=False)
    gain, bias = (weights[f"{name}.{k}"].reshape(1, -1, 1, 1, 1) for k in ("weight", "bias"))
    return (x - mean) / (var + 1e-5).sqrt() * gain + bias


def conv(weights, name, x, stride=1):
    kernel = weights[f"{name}.weight"]
    return functional.conv3d(x, kernel, weights[f"{name}.bias"], stride, kernel.shape[-1] // 2)


def block(weights, name, x, stride=1):
    y = functional.leaky_relu(
        normed(weights, f"{name}.norm1", conv(weights, f"{name}.conv1", x, stride))
    )
    y = normed(weights, f"{name}.norm2", conv(weights, f"{name}.conv2", y))
    if f"{name}.conv3.weight" in weights:
        x = conv(weights, f"{name}.conv3", x, stride)
    return functional.leaky_relu(x + y)


def slowly(weights, x):
    one = block(weights, "conv_blocks_context.0.0", x)
    two = block(weights, "conv_blocks_context.1.0", one, (1, 2, 2))
    two = block(weights, "conv_blocks_context.1.1", two)
    deep = block(weights, "conv_blocks_context.2.0", two, 2)
    up = deep.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    up = torch.cat([conv(weights, "upsample_layers.0.conv", up), two], 1)
    up = block(weights, "conv_blocks_localization.0.0", up)
    up = block(weights, "conv_blocks_localization.0.1", up)
    coarse = conv(weights, "seg_outputs.0", up)
    up = up.repeat_interleave(2, 3).repeat_interleave(2, 4)
    up = torch.cat([conv(weights, "upsample_layers.1.conv", up), one], 1)
    up = block(weights, "conv_blocks_localization.1.0", up)
    return conv(weights, "seg_outputs.1", up), coarse


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda w: {"network_weights": w, "current_epoch": 7, "trainer_name": "STUNetTrainer"},
        lambda w: {"epoch": 7, "state_dict": w, "optimizer_state_dict": {}, "plot_stuff": ([], [])},
        lambda w: {f"module.{k}": v for k, v in w.items()},
    ],
)
def test_checkpoints_of_nnunet(weights, wrapped, tmp_path):
    torch.save(wrapped(weights), tmp_path / "base_ep4k.model")
    net = models.create(
        "stu-net-base", checkpoint=tmp_path / "base_ep4k.model", strides=OPTIONS["strides"]
    )
    fine, coarse = slowly(weights, X)
    with torch.inference_mode():
        torch.testing.assert_close(net(X), fine, rtol=1e-4, atol=1e-4)
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    net.deep_supervision = True
    with torch.inference_mode():
        scores = net.train()(X)
    torch.testing.assert_close(scores[1], coarse, rtol=1e-4, atol=1e-4)


def test_other_labels_get_new_heads(weights, tmp_path):
    torch.save({"network_weights": weights}, tmp_path / "net.pth")
    net = models.create(
        "stu-net-base", checkpoint=tmp_path / "net.pth", strides=OPTIONS["strides"], labels=7
    )
    assert net(X).shape == (2, 7, 8, 16, 12)
    assert "seg_outputs.0.weight" in net.report.dropped


def test_a_lost_stage_is_named(weights, tmp_path):
    kept = {k: v for k, v in weights.items() if "localization.1" not in k}
    torch.save({"network_weights": kept}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"conv_blocks_localization\.1\.0\.\S+ is absent"):
        models.create("stu-net-base", checkpoint=tmp_path / "net.pth", strides=OPTIONS["strides"])


@pytest.mark.parametrize("size", PUBLISHED)
def test_the_published_numbers_of_parameters(size):
    assert models.find(f"stu-net-{size}").card.parameters / 1e6 == pytest.approx(
        PUBLISHED[size], abs=0.006
    )


def test_options_must_agree():
    with pytest.raises(RecipeError, match="3 widths need as many depths"):
        models.create("stu-net-base", weights="random", widths=[4, 4, 4])
