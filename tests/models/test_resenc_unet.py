"""nnU-Net's residual encoder, computed again from the names of its weights."""

import pytest
import torch
from torch.nn import functional

from osler import models
from osler.errors import WeightsError

CHANNELS, WIDTHS, BLOCKS, LABELS = 2, [4, 6, 6], [1, 2, 2], 3
STRIDES = [(1, 1, 1), (1, 2, 2), (2, 2, 2)]
KERNELS = [(1, 3, 3), (3, 3, 3), (3, 3, 3)]


def stored(seed=0):
    """A file of nnU-Net's ``ResidualEncoderUNet``, with all the names its tensors have there."""
    generator = torch.Generator().manual_seed(seed)
    out = {}

    def some(*shape):
        return torch.randn(shape, generator=generator) * 0.4

    def unit(name, channels, width, kernel, *, bias=True):
        out[f"{name}.conv.weight"] = some(width, channels, *kernel)
        for part in (("conv.bias",) if bias else ()) + ("norm.weight", "norm.bias"):
            out[f"{name}.{part}"] = some(width)

    unit("encoder.stem.convs.0", CHANNELS, WIDTHS[0], KERNELS[0])
    inner = WIDTHS[0]
    for stage, (width, count) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
        for place in range(count):
            name = f"encoder.stages.{stage}.blocks.{place}"
            unit(f"{name}.conv1", inner, width, KERNELS[stage])
            unit(f"{name}.conv2", width, width, KERNELS[stage])
            if inner != width:
                unit(f"{name}.skip.1", inner, width, (1, 1, 1), bias=False)
            inner = width
    for number, level in enumerate((1, 0)):
        width, stride = WIDTHS[level], STRIDES[level + 1]
        out[f"decoder.transpconvs.{number}.weight"] = some(WIDTHS[level + 1], width, *stride)
        out[f"decoder.transpconvs.{number}.bias"] = some(width)
        unit(f"decoder.stages.{number}.convs.0", 2 * width, width, KERNELS[level])
        out[f"decoder.seg_layers.{number}.weight"] = some(LABELS, width, 1, 1, 1)
        out[f"decoder.seg_layers.{number}.bias"] = some(LABELS)
    for name in list(out):
        twin = name.replace(".conv.w", ".all_modules.0.w").replace(".norm.", ".all_modules.1.")
        out[twin] = out[name]
        if name.startswith("encoder."):
            out[f"decoder.{name}"] = out[name]
    return out


def slowly(weights, x):
    def unit(name, x, stride=1):
        kernel, bias = weights[f"{name}.conv.weight"], weights.get(f"{name}.conv.bias")
        x = functional.conv3d(x, kernel, bias, stride, [side // 2 for side in kernel.shape[2:]])
        gain, shift = weights[f"{name}.norm.weight"], weights[f"{name}.norm.bias"]
        return functional.instance_norm(x, weight=gain, bias=shift)

    x = functional.leaky_relu(unit("encoder.stem.convs.0", x))
    skips = []
    for stage, count in enumerate(BLOCKS):
        for place in range(count):
            name = f"encoder.stages.{stage}.blocks.{place}"
            stride = STRIDES[stage] if place == 0 else (1, 1, 1)
            y = functional.leaky_relu(unit(f"{name}.conv1", x, stride))
            y = unit(f"{name}.conv2", y)
            beside = functional.avg_pool3d(x, stride, stride)
            if f"{name}.skip.1.conv.weight" in weights:
                beside = unit(f"{name}.skip.1", beside)
            x = functional.leaky_relu(y + beside)
        skips.append(x)
    scores = []
    for number, level in enumerate((1, 0)):
        kernel = weights[f"decoder.transpconvs.{number}.weight"]
        bias = weights[f"decoder.transpconvs.{number}.bias"]
        x = functional.conv_transpose3d(x, kernel, bias, STRIDES[level + 1])
        x = unit(f"decoder.stages.{number}.convs.0", torch.cat([x, skips[level]], 1))
        x = functional.leaky_relu(x)
        head = [weights[f"decoder.seg_layers.{number}.{part}"] for part in ("weight", "bias")]
        scores.append(functional.conv3d(x, *head))
    return scores[::-1]


def test_checkpoints_of_nnunet(tmp_path):
    weights = stored()
    torch.save({"network_weights": weights, "current_epoch": 1000}, tmp_path / "net.pth")
    net = models.create("resenc-unet", checkpoint=tmp_path / "net.pth")
    x = torch.randn(2, CHANNELS, 4, 16, 8)
    with torch.inference_mode():
        torch.testing.assert_close(net(x), slowly(weights, x)[0], rtol=1e-4, atol=1e-4)
        for ours, want in zip(net.train()(x), slowly(weights, x), strict=True):
            torch.testing.assert_close(ours, want, rtol=1e-4, atol=1e-4)
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing


def test_a_plain_u_net_is_named(tmp_path):
    plain = {
        "encoder.stages.0.0.convs.0.conv.weight": torch.zeros(4, 1, 3, 3, 3),
        "decoder.transpconvs.0.weight": torch.zeros(4, 4, 2, 2, 2),
    }
    torch.save({"network_weights": plain}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"looks like .*dynunet"):
        models.create("resenc-unet", checkpoint=tmp_path / "net.pth")


def test_pictures_are_taken_too():
    net = models.create(
        "resenc-unet", weights="random", dims=2, widths=[4, 6], blocks=[1, 1], strides=[[2, 1]]
    )
    assert net(torch.randn(1, 1, 8, 6)).shape == (1, 2, 8, 6)
