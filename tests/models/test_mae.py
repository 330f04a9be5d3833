"""The masked autoencoder says what transformers' does, and takes RETFound's pretraining whole."""

import numpy as np
import pytest
import torch
from golden import Golden

from osler import models
from osler.errors import RecipeError, WeightsError

NAME = "mae-vit-base"


@pytest.fixture(scope="module")
def oracle():
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    torch.manual_seed(0)
    config = ViTMAEConfig(
        image_size=32, patch_size=8, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=72, decoder_hidden_size=16, decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2, decoder_intermediate_size=64, norm_pix_loss=True,
    )  # fmt: skip
    net = ViTMAEForPreTraining(config).eval()
    with torch.no_grad():
        for value in net.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    return net


@pytest.fixture(scope="module")
def ours(oracle, tmp_path_factory):
    path = tmp_path_factory.mktemp("mae") / "mae.pth"
    torch.save(oracle.state_dict(), path)
    return models.create(NAME, checkpoint=path, num_heads=3, decoder_heads=2)


@pytest.fixture(scope="module")
def x():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def noise():
    return torch.rand(2, 16, generator=torch.Generator().manual_seed(2))


def test_it_draws_what_transformers_draws(oracle, ours, x, noise):
    assert ours.report.share == 1
    assert not ours.report.missing
    assert not ours.report.unexpected
    with torch.inference_mode():
        theirs = oracle(x, noise=noise)
        assert torch.equal(ours.mask(noise), theirs.mask)
        np.testing.assert_allclose(
            ours.drawn_patches(x, noise), theirs.logits, rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(ours.loss(x, noise), theirs.loss, rtol=1e-5)
        picture = oracle.unpatchify(theirs.logits, original_image_size=(32, 32))
        np.testing.assert_allclose(ours(x, noise), picture, rtol=1e-4, atol=1e-5)


def test_the_loss_of_plain_pixels(oracle, ours, x, noise):
    oracle.config.norm_pix_loss = ours.norm_pix = False
    try:
        with torch.inference_mode():
            np.testing.assert_allclose(ours.loss(x, noise), oracle(x, noise=noise).loss, rtol=1e-5)
    finally:
        oracle.config.norm_pix_loss = ours.norm_pix = True


def test_positions_are_the_published_ones_and_do_not_learn():
    net = models.create(
        NAME, weights="random", image_size=32, patch_size=8, embed_dim=24, depth=1, num_heads=2,
        decoder_dim=16, decoder_depth=1, decoder_heads=2,
    )  # fmt: skip
    for positions in (net.pos_embed, net.decoder_pos_embed):
        quarter = positions.shape[2] // 4
        want = np.zeros((17, 4 * quarter))
        for row in range(4):
            for column in range(4):
                for k in range(quarter):
                    speed = 10000 ** (-k / quarter)
                    # as the official code has it: the column first
                    want[1 + 4 * row + column, k::quarter] = [
                        np.sin(column * speed),
                        np.cos(column * speed),
                        np.sin(row * speed),
                        np.cos(row * speed),
                    ]
        np.testing.assert_allclose(positions[0], want, atol=1e-6)
        assert not positions.requires_grad


def test_a_reconstruction_keeps_what_was_visible(ours, x, noise):
    with torch.inference_mode():
        picture, mask = ours.reconstruct(x, noise)
        hidden = mask.reshape(2, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3) > 0
        hidden = hidden.expand_as(x)
        assert mask.sum(1).tolist() == [12, 12]
        assert torch.equal(picture[~hidden], x[~hidden])
        drawn = ours(x, noise)[hidden].reshape(2, -1)
    # drawn patches come back to the brightness of the true ones
    assert (picture[hidden] - x[hidden]).abs().mean() < (
        drawn - x[hidden].reshape(2, -1)
    ).abs().mean()


def test_without_noise_it_hides_at_random(ours, x):
    torch.manual_seed(0)
    with torch.inference_mode():
        assert not torch.equal(ours(x), ours(x))
    assert ours.features(x).shape == (2, 24)


def test_retfounds_pretraining_is_taken_whole():
    golden = Golden("retfound")
    net = models.create(
        NAME,
        checkpoint=golden.folder / "checkpoint_mae_pretrain.pth",
        num_heads=4,
        decoder_heads=4,
    )
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    assert not net.report.dropped
    assert len(net.decoder_blocks) == golden.card["config"]["decoder_depth"]
    x = golden.inputs["x"]
    larger = models.create(
        NAME,
        checkpoint=golden.folder / "checkpoint_mae_pretrain.pth",
        num_heads=4,
        decoder_heads=4,
        image_size=96,
    )
    assert {name for name, _, _ in larger.report.reshaped} == {"pos_embed", "decoder_pos_embed"}
    draw = torch.rand(3, 36)
    with torch.inference_mode():
        golden.agrees(net.features(x), "cls_token_after_encoder_norm")
        np.testing.assert_allclose(net(x, draw), larger(x, draw), rtol=1e-4, atol=1e-4)


def test_an_encoder_alone_leaves_the_decoder_to_be_trained(ours, tmp_path):
    encoder = {k: v for k, v in ours.state_dict().items() if not k.startswith(("dec", "mask"))}
    torch.save({"model": encoder}, tmp_path / "encoder.pth")
    net = models.create(NAME, checkpoint=tmp_path / "encoder.pth", num_heads=3, decoder_heads=2)
    assert net.report.share == 1
    assert all(name.startswith(("decoder_", "mask_token")) for name in net.report.missing)


def test_a_lost_part_of_the_decoder_is_named(ours, tmp_path):
    stored = dict(ours.state_dict())
    del stored["decoder_blocks.1.mlp.fc2.weight"]
    torch.save({"model": stored}, tmp_path / "damaged.pth")
    with pytest.raises(WeightsError, match=r"decoder_blocks\.1\.mlp\.fc2\.weight is absent"):
        models.create(NAME, checkpoint=tmp_path / "damaged.pth", num_heads=3, decoder_heads=2)
    with pytest.raises(RecipeError, match="mask_ratio"):
        models.create(NAME, weights="random", mask_ratio=1.0)
