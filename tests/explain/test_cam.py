"""Class activation maps, against closed forms and loops over the definitions."""

import math

import pytest

torch = pytest.importorskip("torch")

from small_nets import SMALL, small  # noqa: E402
from torch.nn import functional  # noqa: E402

from osler.errors import RecipeError  # noqa: E402
from osler.explain.inside.cam import class_activation, enlarge  # noqa: E402
from osler.explain.inside.places import find_place, label_score  # noqa: E402

PLACES = {
    "resnet": ("layer4", (3, 4), None),
    "densenet": ("encoder", (3, 3), None),
    "densenet-3d": ("encoder", (4, 5, 6), None),
    "unet": (None, (8, 12), None),
    "unet-3d": (None, (4, 6, 8), None),
    "vit": ("blocks.2.norm1", (6, 6), 1),
    "swin": ("swin.layernorm", (8, 8), 0),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_good_place_is_found(name):
    net, x = small(name)
    layer, grid, prefix = PLACES[name]
    place = find_place(net, x, label_score(1))
    if layer is not None:
        assert place.name == layer
    assert (place.grid, place.prefix) == (grid, prefix)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("kind", ["grad-cam", "grad-cam++", "layer-cam", "score-cam"])
def test_each_family_gets_a_map(name, kind):
    net, x = small(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    heat, place = class_activation(net, x, label_score(1), kind=kind)
    assert tuple(heat.shape) == place.grid
    assert bool((heat >= 0).all())
    assert bool(torch.isfinite(heat).all())
    assert enlarge(heat[None], tuple(x.shape[2:])).shape[1:] == x.shape[2:]
    assert not any(module._forward_hooks for module in net.modules())
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])


def maps_and_slopes(name, label):
    """The last maps of a classifier that averages them, and the gradient by hand."""
    net, x = small(name)
    with torch.no_grad():
        if name == "resnet":
            maps, weight = net.pyramid(x)[-1][0], net.fc.weight[label]
            slope = weight.reshape(-1, 1, 1).expand_as(maps) / math.prod(maps.shape[1:])
        else:
            maps, weight = net.encoder(x)[0], net.head.weight[label]
            ones = [1] * (maps.ndim - 1)
            slope = weight.reshape(-1, *ones) * (maps > 0) / math.prod(maps.shape[1:])
    return net, x, maps, slope


@pytest.mark.parametrize("name", ["resnet", "densenet", "densenet-3d"])
def test_the_maps_are_their_definitions(name):
    label = 2
    net, x, maps, slopes = maps_and_slopes(name, label)
    places = list(torch.cartesian_prod(*[torch.arange(n) for n in maps.shape[1:]]).tolist())
    grad, plus, layer = (torch.zeros(maps.shape[1:]) for _ in range(3))
    for one, g in zip(maps, slopes, strict=True):
        mean = sum(float(g[tuple(p)]) for p in places) / len(places)
        total = sum(float(one[tuple(p)]) for p in places)
        weight = 0.0
        for p in places:
            at = float(g[tuple(p)])
            divisor = 2 * at**2 + total * at**3
            weight += (at**2 / divisor if divisor else 0.0) * max(at, 0.0)
        grad += mean * one
        plus += weight * one
        layer += g.clamp(min=0) * one
    for kind, want in (("grad-cam", grad), ("grad-cam++", plus), ("layer-cam", layer)):
        got, place = class_activation(net, x, label_score(label), kind=kind)
        assert place.name == PLACES[name][0]
        torch.testing.assert_close(got, want.clamp(min=0), atol=1e-5, rtol=1e-3)


def test_grad_cam_of_a_mean_is_the_class_activation_map_of_zhou():
    net, x = small("resnet")
    with torch.no_grad():
        maps = net.pyramid(x)[-1][0]
        want = (net.fc.weight[0].reshape(-1, 1, 1) * maps).sum(dim=0).clamp(min=0)
    got, place = class_activation(net, x, label_score(0))
    torch.testing.assert_close(got * math.prod(place.grid), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet", "densenet-3d"])
def test_score_cam_is_its_algorithm(name):
    net, x = small(name)
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    with torch.no_grad():
        maps = net.pyramid(x)[-1][0] if name == "resnet" else net.encoder(x)[0]
        nothing = net(torch.zeros_like(x))[0, 1]
        gains, kept = [], []
        for one in maps:
            if one.max() <= one.min():
                continue
            large = functional.interpolate(
                one[None, None], size=x.shape[2:], mode=mode, align_corners=False
            )
            large = (large - large.min()) / (large.max() - large.min())
            gains.append(net(x * large)[0, 1] - nothing)
            kept.append(one)
        weights = torch.stack(gains).softmax(dim=0)
        want = sum(w * one for w, one in zip(weights, kept, strict=True)).clamp(min=0)
    got, _ = class_activation(net, x, label_score(1), kind="score-cam", batch=3)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-3)


def test_tokens_of_a_transformer_are_a_map():
    """Through the norm before the last attention, with the gradient of the class token."""
    net, x = small("vit")
    block = net.blocks[2]
    with torch.no_grad():
        tokens = net.embed(x)
        for one in net.blocks[:2]:
            tokens = one(tokens)
    seen = block.norm1(tokens).detach().requires_grad_()
    after = tokens + block.attn(seen)
    after = after + block.mlp(block.norm2(after))
    net.head(net.norm(after)[:, 0])[0, 1].backward()
    weights = seen.grad[0, 1:].mean(dim=0)
    want = (seen.detach()[0, 1:] * weights).sum(dim=1).reshape(6, 6).clamp(min=0)
    got, _ = class_activation(net, x, label_score(1))
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-3)


def test_a_layer_can_be_named_and_an_unknown_one_is_met_with_the_nearest():
    net, x = small("resnet")
    heat, place = class_activation(net, x, label_score(1), kind="layer-cam", layer="layer2")
    assert place.name == "layer2"
    assert tuple(heat.shape) == (12, 16)
    with pytest.raises(RecipeError, match="did you mean 'layer4'"):
        class_activation(net, x, label_score(1), layer="layr4")
    with pytest.raises(RecipeError, match="gives no map over the picture; one that does is"):
        class_activation(net, x, label_score(1), layer="fc")
    with pytest.raises(RecipeError, match="grad-cam, grad-cam"):
        class_activation(net, x, label_score(1), kind="cam")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="label 7"):
        class_activation(net, x, label_score(7))


def test_a_region_asks_for_the_mean_of_its_scores():
    net, x = small("unet")
    region = torch.zeros(x.shape[2:], dtype=torch.bool)
    region[4:9, 10:30] = True
    with torch.no_grad():
        answer = net(x)
    got = label_score(2, region=region)(answer)
    torch.testing.assert_close(got, answer[:, 2, 4:9, 10:30].mean(dim=(1, 2)))
    there, _ = class_activation(net, x, label_score(2, region=region))
    everywhere, _ = class_activation(net, x, label_score(2))
    assert not torch.allclose(there, everywhere)


def test_frozen_networks_and_layers_that_work_in_place_are_read_right():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, stride=2, padding=1),
        torch.nn.ReLU(inplace=True),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 16, 2),
    ).eval()
    for values in net.parameters():
        values.requires_grad_(False)
    x = torch.randn(1, 1, 8, 8)
    raw = net[0](x)[0]
    got, _ = class_activation(net, x, label_score(0), layer="0")
    slope = net[3].weight[0].reshape(4, 4, 4) * (raw > 0)
    want = (slope.mean(dim=(1, 2), keepdim=True) * raw).sum(dim=0).clamp(min=0)
    torch.testing.assert_close(got, want)
