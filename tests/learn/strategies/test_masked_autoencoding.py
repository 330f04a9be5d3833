"""What is hidden and how it is judged, by plain loops, and pretraining by drawing it."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from osler import models
from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.strategies import masked_autoencoding as module
from osler.learn.strategies.contrastive import Contrastive
from osler.learn.strategies.masked_autoencoding import (
    MaskedAutoencoding,
    _refuse_what_is_not_reached,
    autoencoder_of,
    of_tokens,
)
from osler.learn.strategies.masked_reconstruction import (
    MapDecoder,
    _shuffled,
    hidden_error,
    hidden_parts,
    in_each_patch,
    map_layers,
    patch_for,
)
from osler.learn.strategies.strategy import Wrapped
from osler.models.mae import MaskedAutoencoder

pytestmark = pytest.mark.usefixtures("graphless")

VIT = {"image_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


def test_whole_patches_are_hidden_in_the_wanted_share():
    draw = torch.Generator().manual_seed(1)
    hidden = hidden_parts(3, (20, 16), patch=8, ratio=0.5, generator=draw)
    assert hidden.shape == (3, 1, 20, 16)
    for one in hidden[:, 0]:
        blocks = [one[i : i + 8, j : j + 8] for i in (0, 8, 16) for j in (0, 8)]
        assert all(block.unique().numel() == 1 for block in blocks)
        assert sum(float(block[0, 0]) for block in blocks) == 3
    for ratio, count in ((0.01, 1), (0.99, 7)):
        volume = hidden_parts(1, (8, 8, 8), patch=4, ratio=ratio, generator=draw)
        assert float(volume.mean()) == count / 8
    assert [patch_for(shape) for shape in ((28, 28), (96, 96), (512, 512), (32, 48, 32))] == [
        4, 16, 32, 8,
    ]  # fmt: skip
    assert patch_for((4, 64, 64)) == 16


@pytest.mark.parametrize("shape", [(10, 8), (5, 6, 4)])
def test_patches_are_normalised_and_judged_as_by_plain_loops(shape):
    draw = torch.Generator().manual_seed(2)
    images = torch.rand(2, 2, *shape, generator=draw, dtype=torch.float64)
    want = images.numpy().copy()
    grid = [range(0, side, 4) for side in shape]
    for place in np.array(np.meshgrid(*grid, indexing="ij")).reshape(len(shape), -1).T:
        box = tuple(slice(one, one + 4) for one in place)
        for b in range(2):
            for c in range(2):
                part = want[b, c][box]
                want[b, c][box] = (part - part.mean()) / np.sqrt(part.var() + 1e-6)
    said = in_each_patch(images, 4)
    np.testing.assert_allclose(said.numpy(), want, atol=1e-6)
    hidden = hidden_parts(2, shape, patch=4, ratio=0.5, generator=draw).double()
    drawn = torch.zeros_like(images)
    kept = [
        want[(b, c, *place)] ** 2
        for b in range(2) for c in range(2)
        for place in np.argwhere(hidden[b, 0].numpy() > 0)
    ]  # fmt: skip
    assert float(hidden_error(drawn, said, hidden)) == pytest.approx(np.mean(kept), rel=1e-5)


def test_channels_become_pixels():
    y = torch.rand(2, 3 * 4, 5, 6)
    torch.testing.assert_close(_shuffled(y, 3, (2, 2), (10, 12)), nn.PixelShuffle(2)(y))
    assert _shuffled(torch.rand(1, 2 * 2 * 4, 3, 4, 5), 2, (2, 2, 2), (5, 8, 9)).shape == (
        1, 2, 5, 8, 9,
    )  # fmt: skip
    decoder = MapDecoder([4, 6], (2, 2), 3, width=8)
    said = decoder([torch.rand(2, 4, 14, 14), torch.rand(2, 6, 7, 7)], (28, 28))
    assert said.shape == (2, 3, 28, 28)


def test_the_encoder_is_the_network_and_the_loss_is_the_masked_autoencoders():
    torch.manual_seed(0)
    net = models.create("vit-base", weights="random", num_classes=2, pool="avg", **VIT)
    assert of_tokens(net)
    whole = autoencoder_of(net, ratio=0.75, norm_pix=True, width=16, depth=1)
    assert whole.blocks is net.blocks
    assert whole.pos_embed is net.pos_embed
    known = MaskedAutoencoder(
        decoder_dim=16, decoder_depth=1, decoder_heads=2, channels=3, **VIT
    )  # fmt: skip
    missing = known.load_state_dict(whole.state_dict(), strict=False)
    assert not missing.missing_keys
    images, noise = torch.rand(2, 3, 32, 32), torch.rand(2, 16)
    torch.testing.assert_close(whole.loss(images, noise), known.loss(images, noise))


def test_maps_are_the_ends_of_stages():
    grader = models.create("resnet-18", weights="random", widths=[4, 4, 8, 8], num_classes=2)
    layers = map_layers(grader, [torch.rand(2, 3, 64, 64)], (64, 64))
    assert layers[-1].startswith("layer4")
    assert len(layers) == 5


def test_a_network_without_maps_is_refused():
    net = models.create("vit-base", weights="random", num_classes=2, registers=1, **VIT)
    assert not of_tokens(net)
    whole = Wrapped(net)
    with pytest.raises(RecipeError, match=r"would teach .*% of this network's weights"):
        _refuse_what_is_not_reached(whole, net.patch_embed(torch.rand(2, 3, 32, 32)).sum())


def test_a_vision_transformer_is_pretrained_twice_over(recipe, classify, tmp_path):
    classify["network"] = {"name": "vit-base", "options": VIT}
    said = {
        "contrastive": {"steps": 2, "hidden": 8, "projection": 4},
        "masked-autoencoding": {"steps": 2, "width": 16, "depth": 1, "ratio": 0.5},
    }
    path = recipe(classify, strategies=said, labels={"share": 0.5})
    fit(path, out=tmp_path, strategies=[Contrastive, MaskedAutoencoding])
    kept = json.loads((tmp_path / "run.json").read_text())["strategies"]
    assert kept["masked-autoencoding"]["weights"] == "masked-autoencoding.safetensors"
    net = models.create(
        "vit-base", checkpoint=tmp_path / "masked-autoencoding.safetensors", partial=True,
        num_classes=2,
    )  # fmt: skip
    assert net.report.share == 1


def test_a_segmentation_goes_on_to_the_bit(recipe, segment, tmp_path, monkeypatch):
    said = {"masked-autoencoding": {"steps": 3, "width": 8, "patch": 8}}
    learner = {"steps": 2, "checkpoint_minutes": 0}
    path = recipe(segment, strategies=said, learner=learner, augment="light")
    fit(path, out=tmp_path / "whole", strategies=[MaskedAutoencoding])
    real, calls = module.hidden_error, []

    def tired(*args):
        calls.append(1)
        if len(calls) == 4:  # the first one looks which weights are reached
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(module, "hidden_error", tired)
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[MaskedAutoencoding])
    monkeypatch.setattr(module, "hidden_error", real)
    fit(path, out=tmp_path / "parts", resume=True, strategies=[MaskedAutoencoding])
    for place in ("masked-autoencoding/checkpoint.pt", "checkpoint.pt"):
        first, second = (
            torch.load(tmp_path / one / place, weights_only=True) for one in ("whole", "parts")
        )
        for name, value in first["net"].items():
            assert torch.equal(value, second["net"][name]), (place, name)
