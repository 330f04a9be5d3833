"""MobileNetV3 from the table of the paper, computed again from the names of its weights."""

import pytest
import torch
from torch.nn import functional

from osler import models
from osler.errors import WeightsError
from osler.models.mobilenet import LARGE, SMALL, rounded

X = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def unit(weights, name, x, *, stride=1, act=None):
    """Convolution and batch norm of torchvision's ``Conv2dNormActivation``."""
    kernel = weights[f"{name}.0.weight"]
    groups = x.shape[1] // kernel.shape[1]
    x = functional.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2, groups=groups)
    mean, variance = weights[f"{name}.1.running_mean"], weights[f"{name}.1.running_var"]
    gain, bias = weights[f"{name}.1.weight"], weights[f"{name}.1.bias"]
    shaped = [v[None, :, None, None] for v in (mean, variance, gain, bias)]
    x = (x - shaped[0]) / (shaped[1] + 1e-3).sqrt() * shaped[2] + shaped[3]
    return act(x) if act else x


def hard_swish(x):
    return x * (x + 3).clamp(0, 6) / 6


def slowly(weights, x, rows):
    x = unit(weights, "features.0", x, stride=2, act=hard_swish)
    for number, (_, wide, _, excite, swish, stride) in enumerate(rows, start=1):
        act, before, place = hard_swish if swish else torch.relu, x, 0
        name = f"features.{number}.block"
        if wide != x.shape[1]:
            x, place = unit(weights, f"{name}.0", x, act=act), 1
        x = unit(weights, f"{name}.{place}", x, stride=stride, act=act)
        if excite:
            place += 1
            s = x.mean((2, 3))
            for fc, squash in (("fc1", torch.relu), ("fc2", lambda v: (v + 3).clamp(0, 6) / 6)):
                w, b = (weights[f"{name}.{place}.{fc}.{part}"] for part in ("weight", "bias"))
                s = squash(s @ w[:, :, 0, 0].T + b)
            x = x * s[:, :, None, None]
        x = unit(weights, f"{name}.{place + 1}", x)
        x = x + before if stride == 1 and x.shape == before.shape else x
    x = unit(weights, f"features.{len(rows) + 1}", x, act=hard_swish).mean((2, 3))
    x = hard_swish(x @ weights["classifier.0.weight"].T + weights["classifier.0.bias"])
    return x @ weights["classifier.3.weight"].T + weights["classifier.3.bias"]


@pytest.mark.parametrize(("kind", "rows"), [("large", LARGE), ("small", SMALL)])
def test_torchvision_s_layout(kind, rows, tmp_path):
    torch.manual_seed(0)
    name = f"mobilenet-v3-{kind}"
    made = models.create(name, weights="random", num_classes=4, hidden=24)
    for key, value in made.state_dict().items():
        if "running" in key:
            value.copy_(torch.rand_like(value) + 0.5)
        if key.endswith("bias"):
            value.copy_(torch.randn_like(value) * 0.1)
    weights = {k.replace("encoder.", "features.", 1): v for k, v in made.state_dict().items()}
    torch.save(weights, tmp_path / "net.pth")
    net = models.create(name, checkpoint=tmp_path / "net.pth")
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing
    with torch.inference_mode():
        torch.testing.assert_close(net(X), slowly(weights, X, rows), rtol=1e-4, atol=1e-5)
        assert [level.shape[-1] for level in net.pyramid(X)] == [48, 24, 12, 6, 3]


@pytest.mark.parametrize(("kind", "published"), [("large", 5_483_032), ("small", 2_542_856)])
def test_the_published_size(kind, published):
    with torch.device("meta"):
        net = models.create(f"mobilenet-v3-{kind}", weights="random", num_classes=1000)
    assert sum(p.numel() for p in net.parameters()) == published


def test_one_is_not_taken_for_the_other(tmp_path):
    made = models.create("mobilenet-v3-small", weights="random", num_classes=2)
    weights = {k.replace("encoder.", "features.", 1): v for k, v in made.state_dict().items()}
    torch.save(weights, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="looks like mobilenet-v3-small"):
        models.create("mobilenet-v3-large", checkpoint=tmp_path / "net.pth")


@pytest.mark.parametrize(("width", "eights"), [(16 / 4, 8), (72 / 4, 24), (576 / 4, 144), (18, 24)])
def test_widths_are_multiples_of_eight(width, eights):
    assert rounded(width) == eights
