"""Statistics of batch normalisation are those of the weights that are judged."""

import pytest
import torch
from torch import nn

from osler.learn.normalisation import settle


def batch(number):
    return torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(number)) * 5 + 2


def test_statistics_are_the_mean_over_the_batches():
    layer = nn.BatchNorm2d(3, momentum=0.01)
    net = nn.Sequential(layer, nn.Dropout(0.5))
    settle(net, lambda net, n: net(batch(n)), batches=4)
    means = torch.stack([batch(n).mean((0, 2, 3)) for n in range(4)]).mean(0)
    spreads = torch.stack([batch(n).transpose(0, 1).flatten(1).var(1) for n in range(4)]).mean(0)
    assert torch.allclose(layer.running_mean, means, atol=1e-5)
    assert torch.allclose(layer.running_var, spreads, rtol=1e-5)
    assert layer.momentum == 0.01
    assert not net.training
    assert not layer.training


def test_weights_and_layers_without_statistics_stay():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    before = [p.clone() for p in net.parameters()]
    settle(net, lambda *_: pytest.fail("nothing is to run"), batches=2)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_a_deep_network_is_no_longer_blind_in_evaluation():
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3, momentum=0.01), nn.ReLU())
        for _ in range(20)
    ]
    net = nn.Sequential(*blocks)
    for one in net.modules():
        if isinstance(one, nn.Conv2d):
            nn.init.normal_(one.weight, std=0.02)
    net.train()
    for number in range(20):  # a short training, as the running statistics see it
        net(batch(number))
    x = batch(99)
    with torch.no_grad():
        lagging = net.eval()(x).std(dim=0).mean()
        settle(net, lambda net, n: net(batch(n)), batches=8)
        settled = net(x).std(dim=0).mean()
    assert lagging < 1e-3
    assert settled > 0.1
