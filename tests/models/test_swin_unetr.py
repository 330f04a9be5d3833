"""Swin UNETR says what MONAI's class says, from a whole file and from the pretrained tower."""

import pytest
import torch

from osler import models
from osler.errors import RecipeError

X = torch.randn(1, 1, 32, 32, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def theirs():
    from monai.networks.nets.swin_unetr import SwinUNETR

    torch.manual_seed(0)
    net = SwinUNETR(
        in_channels=1,
        out_channels=2,
        feature_size=12,
        depths=(1, 2, 1, 1),
        num_heads=(1, 2, 2, 4),
        window_size=3,
    ).eval()
    for name, value in net.named_parameters():
        if name.endswith(("bias", "bias_table")):
            value.data.normal_(std=0.2)
    return net


def test_a_whole_file(theirs, tmp_path):
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "net.pt")
    net = models.create("swin-unetr", checkpoint=tmp_path / "net.pt")
    with torch.inference_mode():
        torch.testing.assert_close(net(X), theirs(X))
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing


def test_the_pretrained_tower(theirs, tmp_path):
    tower = {
        f"module.{name.replace('linear', 'fc')}": value
        for name, value in theirs.swinViT.state_dict().items()
    }
    extra = {
        "module.norm.weight": torch.ones(192),
        "module.rotation_head.weight": torch.zeros(4, 192),
        "module.contrastive_head.weight": torch.zeros(512, 192),
        "module.conv.0.weight": torch.zeros(96, 192, 3, 3, 3),
    }
    torch.save({"state_dict": {**tower, **extra}}, tmp_path / "model_swinvit.pt")
    net = models.create("swin-unetr", checkpoint=tmp_path / "model_swinvit.pt", labels=4)
    with torch.inference_mode():
        for ours, want in zip(net.pyramid(X), theirs.swinViT(X), strict=True):
            torch.testing.assert_close(ours, want)
    assert len(net.report.dropped) == len(extra)
    assert not net.report.unexpected
    parts = {name.split(".")[1] for name in net.report.missing}
    assert "swinViT" not in parts
    assert {"decoder1", "encoder1", "out"} <= parts


@pytest.mark.parametrize("sides", [(32, 32, 32), (32, 48, 64)])
def test_volumes_it_cannot_take_are_refused(sides):
    options = {"width": 12, "num_heads": [1, 1, 1, 1], "depths": [1, 1, 1, 1], "window": 2}
    net = models.create("swin-unetr", weights="random", **options)
    with pytest.raises(RecipeError, match="multiples of 32 and not all 32"):
        net(torch.zeros(1, 1, *sides))
