"""Residual networks equal MONAI's under the same names, and are built from what shapes tell."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from osler import models
from osler.errors import RecipeError
from osler.models.resnet import LAYOUTS, SqueezeExcite, resnet, resnet_options, se_resnet

SMALL = {"layers": (1, 2, 1, 1), "widths": (8, 16, 24, 32), "stem": 16}
KINDS = {
    "basic": {**SMALL, "block": "basic", "num_classes": 3},
    "bottleneck": {**SMALL, "channels": 1, "num_classes": 5},
    "grouped": {**SMALL, "groups": 2, "group_width": 32},
    "squeezed": {**SMALL, "squeeze": 16},
    "three stages": {"block": "basic", "layers": (1, 1, 1), "widths": (8, 8, 16), "stem": 8},
}


def stirred(net: nn.Module) -> nn.Module:
    """With statistics and biases that are not those of a new network."""
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if value.is_floating_point() and "conv" not in name:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return net.eval()


@pytest.mark.parametrize(
    ("block", "options"),
    [("basic", {"num_classes": 3}), ("bottleneck", {"num_classes": 3, "channels": 4})],
)
def test_it_is_monais_network_of_the_same_names(block, options):
    from monai.networks.nets.resnet import ResNet, ResNetBlock, ResNetBottleneck

    ours = stirred(
        resnet(block=block, layers=(1, 2, 1, 1), widths=(8, 16, 24, 32), stem=8, **options)
    )
    theirs = ResNet(
        ResNetBlock if block == "basic" else ResNetBottleneck,
        [1, 2, 1, 1],
        [8, 16, 24, 32],
        spatial_dims=2,
        n_input_channels=options.get("channels", 3),
        conv1_t_stride=2,
        bias_downsample=False,
        num_classes=3,
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(
        2, options.get("channels", 3), 64, 96, generator=torch.Generator().manual_seed(1)
    )
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("kind", KINDS)
def test_the_shapes_tell_how_to_build_it(kind):
    first = resnet(**KINDS[kind])
    told = resnet_options({k: tuple(v.shape) for k, v in first.state_dict().items()})
    second = resnet(**told)
    second.load_state_dict(first.state_dict())


def test_the_published_sizes():
    with torch.device("meta"):
        counts = {
            "ResNet-18": resnet(block="basic", layers=(2, 2, 2, 2), num_classes=1000),
            "ResNet-50": resnet(num_classes=1000),
            "ResNeXt-50 32x4d": resnet(groups=32, group_width=4, num_classes=1000),
            "SE-ResNet-50": se_resnet(num_classes=1000),
        }
    # as torchvision and, for the last, timm publish them
    assert {k: sum(p.numel() for p in v.parameters()) for k, v in counts.items()} == {
        "ResNet-18": 11_689_512,
        "ResNet-50": 25_557_032,
        "ResNeXt-50 32x4d": 25_028_904,
        "SE-ResNet-50": 28_088_024,
    }


def test_squeeze_and_excitation_weighs_channels_by_their_means():
    net = SqueezeExcite(3, 8)
    x = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    mean = x.mean(dim=(2, 3))
    hidden = torch.relu(mean @ net.fc1.weight[:, :, 0, 0].T + net.fc1.bias)
    weight = torch.sigmoid(hidden @ net.fc2.weight[:, :, 0, 0].T + net.fc2.bias)
    torch.testing.assert_close(net(x), x * weight[:, :, None, None])


def test_the_pyramid_halves_from_a_quarter():
    net = resnet(**KINDS["bottleneck"]).eval()
    levels = net.pyramid(torch.zeros(1, 1, 64, 96))
    assert [tuple(one.shape[1:]) for one in levels] == [
        (32, 16, 24), (64, 8, 12), (96, 4, 6), (128, 2, 3),
    ]  # fmt: skip


def test_layouts_tell_plain_from_squeezed():
    plain, squeezed = resnet(**SMALL).state_dict(), se_resnet(**SMALL).state_dict()
    fits = [[layout.fits(names) for layout in LAYOUTS] for names in (plain, squeezed)]
    assert fits == [[True, False, False], [False, True, False]]  # the third came from Caffe


def test_options_that_cannot_be_built_are_named():
    with pytest.raises(RecipeError, match="basic, bottleneck"):
        resnet(block="inverted")
    with pytest.raises(RecipeError, match="3 stages have layers and 4 have widths"):
        resnet(layers=(1, 1, 1))


@pytest.mark.parametrize("groups", [1, 2])
def test_weights_that_came_from_caffe(tmp_path, groups):
    """Cadene's names; what differs from torchvision's network is written out."""
    sizes = {"layers": [1, 1], "widths": [32, 64], "stem": 8, "num_classes": 3}
    torch.manual_seed(0)
    kind = {"groups": 2, "group_width": 32} if groups > 1 else {}
    made = models.create("se-resnet-50", weights="random", **sizes, **kind)
    w = {name: torch.randn_like(v.float()) * 0.2 for name, v in made.state_dict().items()}
    w |= {name: v.abs() + 0.5 for name, v in w.items() if name.endswith("running_var")}
    theirs = {
        re.sub(r"^fc\.", "last_linear.", re.sub(r"^(conv1|bn1)\.", r"layer0.\1.", name)).replace(
            ".se.", ".se_module."
        ): value
        for name, value in w.items()
    }
    torch.save(theirs, tmp_path / "se.pth")
    net = models.create("se-resnet-50", checkpoint=tmp_path / "se.pth")
    assert net.report.share == 1
    assert not net.report.unexpected
    assert net.options["caffe"] == ("pool" if groups > 1 else "stride")

    def normed(x, name):
        stats = (w[f"{name}.running_mean"], w[f"{name}.running_var"])
        return functional.batch_norm(x, *stats, w[f"{name}.weight"], w[f"{name}.bias"])

    x = torch.randn(1, 3, 45, 52)
    with torch.inference_mode():
        y = normed(functional.conv2d(x, w["conv1.weight"], stride=2, padding=3), "bn1").relu()
        y = functional.max_pool2d(y, 3, stride=2, ceil_mode=True)
        for stage, stride in (("layer1.0", 1), ("layer2.0", 2)):
            first, second = (1, stride) if groups > 1 else (stride, 1)
            z = functional.conv2d(y, w[f"{stage}.conv1.weight"], stride=first)
            z = normed(z, f"{stage}.bn1").relu()
            z = functional.conv2d(
                z, w[f"{stage}.conv2.weight"], stride=second, padding=1, groups=groups
            )
            z = normed(z, f"{stage}.bn2").relu()
            z = normed(functional.conv2d(z, w[f"{stage}.conv3.weight"]), f"{stage}.bn3")
            s = z.mean((2, 3), keepdim=True)
            for layer, after in (("fc1", torch.relu), ("fc2", torch.sigmoid)):
                at = f"{stage}.se.{layer}"
                s = after(functional.conv2d(s, w[f"{at}.weight"], w[f"{at}.bias"]))
            y = functional.conv2d(y, w[f"{stage}.downsample.0.weight"], stride=stride)
            y = (z * s + normed(y, f"{stage}.downsample.1")).relu()
        due = y.mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]
        torch.testing.assert_close(net(x), due, rtol=1e-4, atol=1e-5)
