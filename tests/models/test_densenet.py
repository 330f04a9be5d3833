"""DenseNet says what MONAI's class says with the same weights, in every layout it comes in."""

import re

import pytest
import torch

from osler import models
from osler.errors import WeightsError

CONFIG = {"init_features": 8, "growth_rate": 4, "block_config": (2, 1, 3), "bn_size": 2}


def scrambled(net, seed=0):
    """Random statistics and weights, so that a wrong mapping shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
    return net.eval()


@pytest.fixture
def theirs():
    from monai.networks.nets.densenet import DenseNet

    return scrambled(DenseNet(spatial_dims=2, in_channels=2, out_channels=5, **CONFIG))


def published(net, layout):
    names = {"monai": lambda name: name}
    names["torchvision"] = lambda name: name.replace("class_layers.out", "classifier").replace(
        ".layers.", "."
    )
    names["old torchvision"] = lambda name: re.sub(
        r"(denselayer\d+\.)(norm|conv)([12])", r"\1\2.\3", names["torchvision"](name)
    )
    return {names[layout](name): value for name, value in net.state_dict().items()}


@pytest.mark.parametrize("layout", ["monai", "torchvision", "old torchvision"])
def test_every_layout_gives_the_same_numbers(theirs, layout, tmp_path):
    torch.save(published(theirs, layout), tmp_path / "net.pth")
    net = models.create("densenet-121", checkpoint=tmp_path / "net.pth")
    x = torch.randn(2, 2, 64, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(net(x), theirs(x), rtol=1e-5, atol=1e-6)
        levels = net.pyramid(x)
        torch.testing.assert_close(net.features(x), levels[-1].mean((2, 3)))
    assert [level.shape[-1] for level in levels] == [16, 8, 4, 2]
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing


def test_volumes_are_taken_too(tmp_path):
    from monai.networks.nets.densenet import DenseNet

    theirs = scrambled(DenseNet(spatial_dims=3, in_channels=1, out_channels=2, **CONFIG))
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    net = models.create("densenet-121", checkpoint=tmp_path / "net.pth")
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(net(x), theirs(x), rtol=1e-5, atol=1e-6)


def test_a_lost_layer_is_named(theirs, tmp_path):
    kept = published(theirs, "torchvision")
    del kept["features.denseblock2.denselayer1.conv2.weight"]
    torch.save(kept, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"denseblock2\.denselayer1\.layers\.conv2\.weight is"):
        models.create("densenet-121", checkpoint=tmp_path / "net.pth")


def test_the_published_size():
    with torch.device("meta"):
        net = models.create("densenet-121", weights="random", num_classes=1000)
    assert sum(p.numel() for p in net.parameters()) == 7_978_856  # as torchvision states it
