"""Gradients, attention rollout and random weights, against slow definitions."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_nets import SMALL, small  # noqa: E402

from osler.errors import InputError, RecipeError  # noqa: E402
from osler.explain.inside.drawn_anew import cascade  # noqa: E402
from osler.explain.inside.gradients import (  # noqa: E402
    gradient,
    gradient_times_input,
    integrated_gradients,
    smooth_grad,
)
from osler.explain.inside.places import label_score  # noqa: E402
from osler.explain.inside.rollout import attention_rollout  # noqa: E402


@pytest.mark.parametrize("name", SMALL)
def test_integrated_gradients_add_up(name):
    net, x = small(name)
    said = integrated_gradients(
        net, x, label_score(1), baseline=torch.zeros_like(x), steps=128, batch=32
    )
    assert said.values.shape == x.shape[1:]
    with torch.no_grad():
        difference = net(x)[0, 1].mean() - net(torch.zeros_like(x))[0, 1].mean()
    assert said.difference == pytest.approx(float(difference), abs=1e-5)
    assert float(said.values.sum()) == pytest.approx(
        float(difference), abs=0.06 * max(1.0, abs(float(difference)))
    )
    assert said.gap == pytest.approx(float(said.values.sum()) - said.difference, abs=1e-4)


def test_integrated_gradients_are_the_integral():
    """A smooth network of two inputs whose path integral scipy takes by itself."""
    from scipy.integrate import quad

    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)
    ).double()
    x, base = torch.randn(2, 1, 1, 2, 2, dtype=torch.float64)
    said = integrated_gradients(net, x[None], label_score(0), baseline=base[None], steps=40)
    first, second = net[1], net[3]
    a, b = first.weight.detach().numpy(), first.bias.detach().numpy()
    out = second.weight.detach().numpy()[0]
    here, there = x.numpy().ravel(), base.numpy().ravel()

    def slope(t, i):
        z = a @ (there + t * (here - there)) + b
        return float((out * (1 - np.tanh(z) ** 2) * a[:, i]).sum())

    want = [(here[i] - there[i]) * quad(slope, 0, 1, args=(i,))[0] for i in range(4)]
    np.testing.assert_allclose(said.values.numpy().ravel(), want, rtol=1e-8)
    assert abs(said.gap) < 1e-8
    with pytest.raises(InputError, match="the baseline is"):
        integrated_gradients(net, x[None], label_score(0), baseline=base)


@pytest.mark.parametrize("shape", [(2, 4, 5), (1, 3, 4, 4)])
def test_gradients_are_differences(shape):
    torch.manual_seed(2)
    conv = torch.nn.Conv2d if len(shape) == 3 else torch.nn.Conv3d
    net = torch.nn.Sequential(
        conv(shape[0], 3, 3, padding=1), torch.nn.Softplus(), torch.nn.Flatten(),
        torch.nn.LazyLinear(2),
    ).double()  # fmt: skip
    x = torch.randn(1, *shape, dtype=torch.float64)
    net(x)
    slope = gradient(net, x, label_score(1))[0]
    for place in np.ndindex(*shape):
        up, down = x.clone(), x.clone()
        up[0][place] += 1e-5
        down[0][place] -= 1e-5
        with torch.no_grad():
            want = float(net(up)[0, 1] - net(down)[0, 1]) / 2e-5
        assert float(slope[place]) == pytest.approx(want, abs=1e-7)
    torch.testing.assert_close(gradient_times_input(net, x, label_score(1)), x[0] * slope)
    still = smooth_grad(net, x, label_score(1), noise=0.0, samples=3)
    torch.testing.assert_close(still, slope.abs().amax(dim=0))


def test_smooth_grad_is_the_mean_over_noise():
    net, x = small("resnet")
    got = smooth_grad(net, x, label_score(0), noise=0.1, samples=5, batch=2, seed=3)
    random = torch.Generator().manual_seed(3)
    spread = 0.1 * float(x.max() - x.min())
    drawn = [torch.randn((n, *x.shape[1:]), generator=random) for n in (2, 2, 1)]
    slopes = [gradient(net, x + spread * one[None], label_score(0)) for d in drawn for one in d]
    want = (sum(slopes) / 5)[0].abs().amax(dim=0)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-4)
    assert got.shape == x.shape[2:]


def slow_rollout(net, x):
    """Walk the blocks by hand; attention from its queries and keys, entry by entry."""
    tokens = net.embed(x)
    rolled = np.eye(tokens.shape[1])
    for block in net.blocks:
        seen = block.norm1(tokens)[0]
        n, d = seen.shape
        heads = block.attn.heads
        q, k = (block.attn.qkv(seen)[:, i * d : (i + 1) * d].detach().numpy() for i in (0, 1))
        mean = np.zeros((n, n))
        for head in range(heads):
            part = slice(head * d // heads, (head + 1) * d // heads)
            scores = q[:, part] @ k[:, part].T / np.sqrt(d // heads)
            raised = np.exp(scores - scores.max(axis=1, keepdims=True))
            mean += raised / raised.sum(axis=1, keepdims=True) / heads
        rolled = (mean / 2 + np.eye(n) / 2) @ rolled
        tokens = block(tokens)
    return rolled


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_rollout_is_its_definition(pool):
    net, x = small("vit")
    net.pool = pool
    heat, place = attention_rollout(net, x, label_score(1))
    assert place.grid == (6, 6)
    with torch.no_grad():
        rolled = slow_rollout(net, x)
    rows = rolled[:1] if pool == "token" else rolled[1:]
    np.testing.assert_allclose(heat.numpy(), rows.mean(axis=0)[1:].reshape(6, 6), atol=1e-6)


def test_rollout_in_three_dimensions():
    from monai.networks.nets import ViT

    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.vit = ViT(
                1, (16, 16, 24), 8, hidden_size=12, mlp_dim=24, num_layers=2, num_heads=2
            )
            self.head = torch.nn.Linear(12, 2)

        def forward(self, x):
            return self.head(self.vit(x)[0].mean(dim=1))

    torch.manual_seed(0)
    heat, place = attention_rollout(Pooled().eval(), torch.randn(1, 1, 16, 16, 24), label_score(0))
    assert place.grid == (2, 2, 3)
    assert tuple(heat.shape) == (2, 2, 3)
    assert float(heat.sum()) == pytest.approx(1.0, abs=1e-5)  # rows of attention sum to 1


def test_what_has_no_global_attention_is_refused_with_a_way_out():
    for name in ("swin", "resnet"):
        net, x = small(name)
        with pytest.raises(RecipeError, match=r"no global attention to follow.*use grad-cam"):
            attention_rollout(net, x, label_score(1))


def test_attention_of_another_kind_is_not_misread():
    net, x = small("vit")

    class Cosine(type(net.blocks[0].attn)):
        def forward(self, x):
            return 2 * super().forward(x)

    net.blocks[1].attn.__class__ = Cosine
    with pytest.raises(RecipeError, match="Cosine is not plain"):
        attention_rollout(net, x, label_score(1))


@pytest.mark.parametrize("name", ["resnet", "vit", "swin", "unet-3d"])
def test_a_cascade_forgets_from_the_answer_backwards(name):
    net, _ = small(name)
    before = copy.deepcopy(net.state_dict())
    kept = []
    for stage, changed in cascade(net, stages=3, seed=1):
        same = [
            torch.equal(value, before[key])
            for key, value in changed.named_parameters()
            if value.numel() > 1
            and float(value.detach().std()) > 0  # biases of 0 are drawn as 0 again
        ]
        kept.append((stage, sum(same)))
        # what is first of the network is forgotten last
        assert same == sorted(same, reverse=True) or name in ("swin", "unet-3d")
    assert [count for _, count in kept] == sorted((count for _, count in kept), reverse=True)
    assert kept[-1] == ("all", 0)
    assert all(stage.startswith("from ") for stage, _ in kept[:-1])
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])
    again = [
        list(changed.parameters())[-1].clone() for _, changed in cascade(net, stages=3, seed=1)
    ]
    other = [
        list(changed.parameters())[-1].clone() for _, changed in cascade(net, stages=3, seed=1)
    ]
    assert all(torch.equal(a, b) for a, b in zip(again, other, strict=True))
