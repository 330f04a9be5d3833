"""Networks of signals: missing leads and ends are not looked at, whatever stands there."""

import numpy as np
import pytest
import torch

from osler import models
from osler.errors import RecipeError

NAMES = ["signal-resnet", "signal-transformer"]
OPTIONS = {
    "signal-resnet": {"widths": [8, 12], "blocks": [2, 1], "kernel": 5},
    "signal-transformer": {"patch": 10, "embed_dim": 16, "depth": 2, "num_heads": 2},
}


@pytest.fixture(params=NAMES)
def net(request):
    torch.manual_seed(0)
    made = models.create(
        request.param, weights="random", leads=4, num_classes=3, **OPTIONS[request.param]
    )
    for name, value in made.state_dict().items():
        if "running_mean" in name or ("bn" in name and "bias" in name):
            value.normal_()  # a norm that is not the identity
    return made


def signal(samples=73, leads=4, count=2):
    return torch.randn(count, leads, samples, generator=torch.Generator().manual_seed(0))


def test_what_stands_in_a_missing_lead_is_not_looked_at(net):
    present = torch.tensor([[True, True, True, False], [True] * 4])
    x, other = signal(), signal()
    other[0, 3] = torch.nan
    with torch.inference_mode():
        said = net(x, present)
        assert torch.equal(net(other, present), said)
        # absent is not the same as a lead that is zero
        other[0, 3] = 0
        assert not torch.allclose(net(other)[0], said[0], atol=1e-4)
        assert torch.equal(net(x)[1], said[1])


@pytest.mark.parametrize("samples", [40, 41, 57])
def test_a_signal_in_a_longer_batch_gives_what_it_gives_alone(net, samples):
    x = signal()
    x[0, :, samples:] = torch.nan
    with torch.inference_mode():
        both = net(x, length=torch.tensor([samples, 73]))
        torch.testing.assert_close(both[:1], net(x[:1, :, :samples]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(both[1:], net(x[1:]), rtol=1e-4, atol=1e-5)


def test_fewer_leads_than_it_knows_are_the_first(net):
    present = torch.tensor([[True, True, False, False]])
    with torch.inference_mode():
        torch.testing.assert_close(net(signal(count=1)[:, :2]), net(signal(count=1), present))


def test_leads_that_it_does_not_know_are_refused(net):
    with pytest.raises(RecipeError, match="knows 4 leads; the signal has 5"):
        net(signal(leads=5))
    with pytest.raises(RecipeError, match="'present' 3"):
        net(signal(), torch.ones(2, 3, dtype=torch.bool))


def test_leads_are_not_exchangeable(net):
    with torch.inference_mode():
        assert not torch.allclose(net(signal()), net(signal().flip(1)), atol=1e-4)


def test_the_transformer_by_hand():
    """One block in numpy."""
    torch.manual_seed(1)
    net = models.create(
        "signal-transformer", weights="random", leads=2, patch=3, embed_dim=4, depth=1, num_heads=2
    )
    w = {k: v.double().numpy() for k, v in net.state_dict().items()}
    x = signal(6, 2, 1)

    def norm(v, name):
        v = (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-5)
        return v * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(v, name):
        return v @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    tokens = [w["encoder.cls_token"][0, 0]]
    for lead in range(2):
        for piece in range(2):
            values = x[0, lead, 3 * piece : 3 * piece + 3].double().numpy()
            angles = piece * np.array([1.0, 10_000.0**-0.5])
            times = np.concatenate([np.sin(angles), np.cos(angles)])
            tokens.append(linear(values, "piece") + w["lead"][lead] + times)
    t = np.stack(tokens)
    block = "encoder.blocks.0"
    q, k, v = np.split(linear(norm(t, f"{block}.norm1"), f"{block}.qkv"), 3, axis=1)
    seen = []
    for head in (slice(0, 2), slice(2, 4)):
        scores = np.exp(q[:, head] @ k[:, head].T / np.sqrt(2))
        seen.append(scores / scores.sum(1, keepdims=True) @ v[:, head])
    t = t + linear(np.concatenate(seen, axis=1), f"{block}.proj")
    hidden = linear(norm(t, f"{block}.norm2"), f"{block}.fc1")
    gelu = torch.nn.functional.gelu(torch.from_numpy(hidden)).numpy()
    t = t + linear(gelu, f"{block}.fc2")
    want = norm(t, "encoder.norm")[0]
    with torch.inference_mode():
        np.testing.assert_allclose(net(x)[0].numpy(), want, rtol=1e-4, atol=1e-5)


def test_it_learns_which_rhythm_is_faster():
    torch.manual_seed(0)
    net = models.create("signal-resnet", weights="random", leads=2, num_classes=2,
                        widths=[8, 8], blocks=[1, 1], kernel=5).train()  # fmt: skip
    time = torch.arange(100) / 100
    labels = torch.arange(16) % 2
    phase = torch.rand(16, 1, generator=torch.Generator().manual_seed(0))
    waves = torch.sin(6.28 * (phase + time * (4 + 8 * labels[:, None])))
    x = torch.stack([waves, -waves], dim=1)
    present = torch.ones(16, 2, dtype=torch.bool)
    present[::3, 1] = False
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(25):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x, present), labels).backward()
        optimiser.step()
    with torch.inference_mode():
        assert (net(x, present).argmax(1) == labels).float().mean() > 0.9
