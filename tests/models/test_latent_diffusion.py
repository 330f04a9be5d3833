"""Autoencoder, denoiser and sampling: MONAI's numbers, both generations of names, and laws."""

import numpy as np
import pytest
import torch

from osler import models
from osler.errors import RecipeError
from osler.models.diffusion_sampling import Noise, sample


def scrambled(net):
    """Random weights: a wrong mapping shows, and the last convolution is not zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
    return net.eval()


def generative(name):
    """As MONAI Generative named it, before it went into MONAI."""
    for new, old in [
        (".attn.to_", ".to_"),
        (".attn.out_proj.", ".proj_attn."),
        (".postconv.conv.", ".conv.conv."),
    ]:
        name = name.replace(new, old)
    return name


CODERS = [
    {"channels": (4, 8), "num_res_blocks": (1, 2), "attention_levels": (False, True)},
    {
        "channels": (4, 8, 8),
        "num_res_blocks": (2, 1, 1),
        "attention_levels": (True, False, False),
        "with_encoder_nonlocal_attn": False,
        "with_decoder_nonlocal_attn": False,
    },
    {"channels": (4, 8), "num_res_blocks": (2, 2), "attention_levels": (False, False)},
]


@pytest.mark.parametrize("name", [lambda name: name, generative])
@pytest.mark.parametrize("config", CODERS)
@pytest.mark.parametrize("dims", [2, 3])
def test_the_autoencoder(config, name, dims, tmp_path):
    from monai.networks.nets.autoencoderkl import AutoencoderKL

    theirs = scrambled(
        AutoencoderKL(
            spatial_dims=dims, in_channels=2, out_channels=2, latent_channels=3,
            norm_num_groups=4, **config,
        )
    )  # fmt: skip
    torch.save({name(k): v for k, v in theirs.state_dict().items()}, tmp_path / "net.pt")
    net = models.create("autoencoder-kl", checkpoint=tmp_path / "net.pt", groups=4)
    x = torch.randn(2, 2, *(16, 8, 8)[:dims])
    with torch.inference_mode():
        mean, deviation = theirs.encode(x)
        said = net(x)
        torch.testing.assert_close(said.mean, mean)
        torch.testing.assert_close(said.deviation, deviation)
        torch.testing.assert_close(said.picture, theirs.decode(mean))
        assert not torch.equal(net.train()(x).picture, net(x).picture)
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing


@pytest.mark.parametrize("name", [lambda name: name, generative])
@pytest.mark.parametrize("context", [None, 5])
def test_the_denoiser(name, context, tmp_path):
    from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

    theirs = scrambled(
        DiffusionModelUNet(
            spatial_dims=2, in_channels=3, out_channels=3, num_res_blocks=(1, 2), channels=(4, 8),
            attention_levels=(False, True), norm_num_groups=4, num_head_channels=4,
            with_conditioning=context is not None, cross_attention_dim=context, num_class_embeds=7,
        )
    )  # fmt: skip
    torch.save({name(k): v for k, v in theirs.state_dict().items()}, tmp_path / "net.pt")
    net = models.create(
        "latent-diffusion", checkpoint=tmp_path / "net.pt", groups=4, head_channels=4
    )
    x, time, classes = torch.randn(2, 3, 8, 8), torch.tensor([3, 700]), torch.tensor([1, 6])
    words = None if context is None else torch.randn(2, 4, context)
    with torch.inference_mode():
        want = theirs(x, time, context=words, class_labels=classes)
        torch.testing.assert_close(net(x, time, context=words, classes=classes), want)
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing


MEAN, DEVIATION = 0.7, 0.3


def ideal(x, time):
    """The noise that is expected in ``x`` where clean codes are normal: Bayes' rule."""
    betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    a = (1 - betas).cumprod(0)[time].reshape(-1, 1, 1, 1)
    return (1 - a).sqrt() * (x - a.sqrt() * MEAN) / (a * DEVIATION**2 + 1 - a)


@pytest.mark.parametrize(
    ("method", "steps", "eta"), [("ddim", 100, 0), ("ddim", 200, 1), ("ddpm", 1000, 0)]
)
def test_samples_follow_the_law_of_the_data(method, steps, eta):
    drawn = sample(ideal, (64, 1, 8, 8), method=method, steps=steps, eta=eta).numpy()
    assert np.mean(drawn) == pytest.approx(MEAN, abs=0.02)
    assert np.std(drawn) == pytest.approx(DEVIATION, abs=0.03)


def test_a_seed_means_one_picture_and_codes_are_decoded():
    net = models.create(
        "latent-diffusion", weights="random", **models.find("latent-diffusion").card.tiny
    )
    coder = models.create(
        "autoencoder-kl", weights="random", **models.find("autoencoder-kl").card.tiny
    )
    drawn = [
        sample(net, (1, 3, 8, 8), steps=3, seed=seed, decode=coder.decode, scale=2.0)
        for seed in (1, 1, 2)
    ]
    assert drawn[0].shape == (1, 1, 16, 16)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_noise_is_added_as_the_schedule_says():
    clean, noise = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    noisy = Noise().add(clean, noise, torch.tensor([0, 999]))
    kept = np.cumprod(1 - np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2)
    for number, step in enumerate((0, 999)):
        want = kept[step] ** 0.5 * clean[number] + (1 - kept[step]) ** 0.5 * noise[number]
        torch.testing.assert_close(noisy[number], want.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [0, 1001])
def test_steps_are_those_of_the_training(steps):
    with pytest.raises(RecipeError, match="steps are 1 to 1000"):
        sample(ideal, (1, 1, 2, 2), steps=steps)
