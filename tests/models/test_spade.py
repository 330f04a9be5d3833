"""SPADE draws what MONAI's SPADE draws; the discriminator sees each scale."""

import pytest
import torch
from torch.nn import functional

from osler import models

OPTIONS = {"image_size": 16, "labels": 3, "widths": [4, 6], "style": 5, "hidden": 4}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return models.create("spade", weights="random", **OPTIONS)


@pytest.fixture(scope="module")
def labels():
    map_ = torch.randint(3, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    return functional.one_hot(map_, 3).movedim(-1, 1).float()


def test_the_same_weights_in_monai(net, labels):
    from monai.networks.nets.spade_network import SPADENet

    theirs = SPADENet(2, 1, 1, 3, [16, 16], [4, 6], 5, True, 4, last_act=None).eval()
    theirs.load_state_dict(net.state_dict())
    style = torch.randn(2, 5)
    with torch.inference_mode():
        torch.testing.assert_close(net(labels, noise=style).picture, theirs.decoder(labels, style))
        picture = torch.randn(2, 1, 16, 16)
        said = net(labels, picture)
        torch.testing.assert_close(said.mean, theirs.encoder(picture)[0])
        torch.testing.assert_close(said.picture, theirs.decoder(labels, said.mean))


def test_labels_and_style_matter(net, labels):
    with torch.inference_mode():
        drawn = net(labels).picture
        assert not torch.allclose(drawn, net(labels.flip(1)).picture)
        assert not torch.allclose(drawn, net(labels, noise=torch.ones(2, 5)).picture)


def test_the_discriminator_sees_half_the_resolution_at_each_scale():
    torch.manual_seed(0)
    net = models.create("patch-discriminator", weights="random", width=4, layers=2, scales=3)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        scores, features = net(x)
        alone = net.scales[1](functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False))
    assert [tuple(one.shape) for one in scores] == [(1, 1, 14, 14), (1, 1, 6, 6), (1, 1, 2, 2)]
    assert [len(one) for one in features] == [3, 3, 3]
    torch.testing.assert_close(scores[1], alone[-1])
