"""MONAI's U-Net says what MONAI's class says with the same weights."""

import pytest
import torch

from osler import models


@pytest.mark.parametrize("units", [0, 2])
@pytest.mark.parametrize(("name", "dims"), [("monai-unet", 2), ("monai-unet-3d", 3)])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_bundle_s_weights(name, dims, units, norm, tmp_path):
    from monai.networks.nets.unet import UNet

    torch.manual_seed(0)
    theirs = UNet(
        spatial_dims=dims,
        in_channels=2,
        out_channels=3,
        channels=(4, 6, 8),
        strides=(2, 2),
        num_res_units=units,
        norm=norm,
    )
    theirs(torch.randn(2, 2, *(16,) * dims))  # moves the statistics of the batch norms
    torch.save({"model": theirs.eval().state_dict(), "epoch": 3}, tmp_path / "model.pt")
    net = models.create(name, checkpoint=tmp_path / "model.pt")
    x = torch.randn(1, 2, *(8, 16, 12)[:dims])
    with torch.inference_mode():
        torch.testing.assert_close(net(x), theirs(x))
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing


def test_other_labels_get_a_new_head(tmp_path):
    from monai.networks.nets.unet import UNet

    theirs = UNet(2, 1, 2, (4, 6, 8), (2, 2), num_res_units=2)
    torch.save(theirs.state_dict(), tmp_path / "model.pt")
    net = models.create("monai-unet", checkpoint=tmp_path / "model.pt", labels=5)
    assert net(torch.randn(1, 1, 16, 16)).shape == (1, 5, 16, 16)
    assert all(name.startswith("model.2.") for name in net.report.dropped)
