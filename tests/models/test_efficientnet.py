"""EfficientNet from the table of the paper, computed again from the names of its weights."""

import pytest
import torch
from torch.nn import functional

from osler import models
from osler.models.efficientnet import ROWS

X = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
SCALED = [[1, 3, 1, 16, 2], [6, 3, 2, 16, 3], [4, 5, 2, 24, 1], [6, 3, 2, 32, 1]]


def unit(weights, name, x, *, stride=1, act=True):
    kernel = weights[f"{name}.0.weight"]
    groups = x.shape[1] // kernel.shape[1]
    x = functional.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2, groups=groups)
    parts = ("running_mean", "running_var", "weight", "bias")
    mean, variance, gain, bias = (weights[f"{name}.1.{k}"][None, :, None, None] for k in parts)
    x = (x - mean) / (variance + 1e-5).sqrt() * gain + bias
    return x * torch.sigmoid(x) if act else x


def slowly(weights, x, rows):
    x = unit(weights, "features.0", x, stride=2)
    for stage, (wide, _, stride, _, count) in enumerate(rows, start=1):
        for place in range(count):
            name, before, step = f"features.{stage}.{place}.block", x, 0
            if wide != 1:
                x, step = unit(weights, f"{name}.0", x), 1
            x = unit(weights, f"{name}.{step}", x, stride=stride if place == 0 else 1)
            s = x.mean((2, 3))
            s = s @ weights[f"{name}.{step + 1}.fc1.weight"][:, :, 0, 0].T
            s = s + weights[f"{name}.{step + 1}.fc1.bias"]
            s = s * torch.sigmoid(s) @ weights[f"{name}.{step + 1}.fc2.weight"][:, :, 0, 0].T
            x = x * torch.sigmoid(s + weights[f"{name}.{step + 1}.fc2.bias"])[:, :, None, None]
            x = unit(weights, f"{name}.{step + 2}", x, act=False)
            x = x + before if x.shape == before.shape else x
    x = unit(weights, f"features.{len(rows) + 1}", x).mean((2, 3))
    return x @ weights["classifier.1.weight"].T + weights["classifier.1.bias"]


@pytest.mark.parametrize("rows", [ROWS, SCALED])
def test_torchvision_s_layout(rows, tmp_path):
    torch.manual_seed(0)
    made = models.create("efficientnet-b0", weights="random", rows=rows, start=16, num_classes=4)
    for key, value in made.state_dict().items():
        if "running" in key:
            value.copy_(torch.rand_like(value) + 0.5)
        if key.endswith("bias"):
            value.copy_(torch.randn_like(value) * 0.1)
    weights = {
        k.replace("encoder.", "features.", 1).replace("head.", "classifier.1."): v
        for k, v in made.state_dict().items()
    }
    torch.save(weights, tmp_path / "net.pth")
    net = models.create("efficientnet-b0", checkpoint=tmp_path / "net.pth")
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing
    with torch.inference_mode():
        torch.testing.assert_close(net(X), slowly(weights, X, rows), rtol=1e-4, atol=1e-5)


def test_the_published_size_and_scales():
    with torch.device("meta"):
        net = models.create("efficientnet-b0", weights="random", num_classes=1000)
        levels = net.pyramid(torch.empty(1, 3, 224, 224))
    assert sum(p.numel() for p in net.parameters()) == 5_288_548  # as torchvision states it
    assert [level.shape[-1] for level in levels] == [112, 56, 28, 14, 7]
