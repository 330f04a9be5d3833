"""EyeFM says what its official code says, of any subset of pictures, and leaks nothing hidden."""

import numpy as np
import pytest
import torch
from golden import Golden

from osler import models
from osler.errors import RecipeError, WeightsError

NAME = "eyefm-vit-large"
PRETRAINING = "eyefm-vit-large-pretraining"
KINDS = ("cfp", "oct", "ffa")


@pytest.fixture(scope="module")
def golden():
    return Golden("eyefm")


@pytest.fixture(scope="module")
def pictures(golden):
    return {name: golden.inputs[f"x_{name}"] for name in KINDS}


@pytest.fixture(scope="module")
def masks(golden):
    return {name: golden.inputs[f"mask_{name}"] for name in KINDS}


@pytest.fixture(scope="module")
def pretraining(golden):
    return models.create(
        PRETRAINING,
        checkpoint=golden.folder / "checkpoint_pretrain.pth",
        **golden.options,
        decoder_heads=golden.config["decoder_num_heads"],
    )


@pytest.fixture(scope="module")
def classifier(golden):
    return models.create(
        NAME, checkpoint=golden.folder / "checkpoint_finetuned.pth", **golden.options
    )


def in_their_order(golden, tokens, order):
    """Visible tokens as the official sort, which is not stable, happened to put them."""
    theirs = golden.outputs["ids_shuffle_used"][:, : tokens.shape[1] - 1]
    ours = order[:, : tokens.shape[1] - 1]
    assert torch.equal(theirs.sort(1).values, ours.sort(1).values)
    places = ours.argsort(1).gather(1, theirs.argsort(1).argsort(1))
    last = torch.full((len(tokens), 1), tokens.shape[1] - 1)
    places = torch.cat([places, last], 1)
    return tokens.gather(1, places[:, :, None].expand_as(tokens))


def test_the_whole_checkpoint_of_pretraining_is_taken(golden, pretraining):
    report = pretraining.report
    assert report.share == 1
    assert not report.missing
    assert not report.unexpected
    assert not report.dropped
    golden.agrees(pretraining.input_adapters["cfp"].pos_emb, "pos_emb_2d_sincos")


def test_positions_are_the_published_ones_without_a_checkpoint(golden):
    net = models.create(
        NAME, weights="random", domains=["cfp"], image_size=32, patch_size=8, embed_dim=48,
        depth=1, num_heads=4,
    )  # fmt: skip
    golden.agrees(net.input_adapters["cfp"].pos_emb, "pos_emb_2d_sincos")


def test_hidden_patches_are_drawn_from_visible_ones(golden, pretraining, pictures, masks):
    with torch.inference_mode():
        kept, order = pretraining.kept(masks, pictures)
        assert kept.shape == (2, golden.card["config"]["num_visible"])
        seen = pretraining.patches(pictures).gather(1, kept[:, :, None].expand(-1, -1, 48))
        seen = torch.cat([seen, pretraining.global_tokens.expand(2, -1, -1)], 1)
        golden.agrees(in_their_order(golden, seen, order), "encoder_input_masked_global_last")
        encoded = pretraining.encode_visible(pictures, masks)
        golden.agrees(in_their_order(golden, encoded, order), "encoder_output_masked_global_last")
        drawn = pretraining(masks=masks, **pictures)
        for name in KINDS:
            golden.agrees(drawn[name], f"recon_{name}")


def test_the_loss_of_pretraining(golden, pretraining, pictures, masks):
    with torch.inference_mode():
        normed = pretraining.loss(pictures, masks)
        raw = pretraining.loss(pictures, masks, norm_pix=False)
    for name in KINDS:
        golden.agrees(normed[name].reshape(1), f"loss_norm_pix_{name}")
        golden.agrees(raw[name].reshape(1), f"loss_raw_{name}")
    golden.agrees(sum(normed.values()).reshape(1), "loss_norm_pix_sum")


def test_nothing_hidden_leaks_unless_the_official_count_is_asked_for(
    golden, pretraining, pictures, masks
):
    hidden = {
        name: mask.reshape(2, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
        for name, mask in masks.items()
    }
    other = {name: x + 5 * hidden[name] for name, x in pictures.items()}
    official = models.create(
        PRETRAINING,
        checkpoint=golden.folder / "checkpoint_pretrain.pth",
        **golden.options,
        decoder_heads=golden.config["decoder_num_heads"],
        count_over_batch=True,
    )
    with torch.inference_mode():
        ours = pretraining.encode_visible(pictures, masks)
        assert torch.equal(ours, pretraining.encode_visible(other, masks))
        theirs = official.encode_visible(pictures, masks)
        assert not torch.equal(theirs, official.encode_visible(other, masks))
        assert int(golden.outputs["official_batch2_number_of_encoder_tokens"]) == theirs.shape[1]
        alone = [
            pretraining.encode_visible(
                {k: v[i : i + 1] for k, v in pictures.items()},
                {k: v[i : i + 1] for k, v in masks.items()},
            )
            for i in range(2)
        ]
    np.testing.assert_allclose(ours, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_any_subset_in_any_order(golden, pretraining, pictures):
    def encoded(**some):
        with torch.inference_mode():
            return pretraining.encode(pretraining.patches(some))

    cfp, ffa = pictures["cfp"], pictures["ffa"]
    golden.agrees(encoded(**pictures), "encoder_output_all")
    golden.agrees(encoded(cfp=cfp, ffa=ffa), "encoder_output_subset")
    golden.agrees(encoded(ffa=ffa, cfp=cfp), "encoder_output_subset_reversed_order")
    golden.agrees(encoded(ffa=ffa), "encoder_output_single")
    larger = {name: golden.inputs[f"larger_x_{name}"] for name in ("cfp", "ffa")}
    golden.agrees(encoded(**larger), "encoder_output_larger_image_subset")
    with torch.inference_mode():
        tokens = pretraining.patches({"cfp": cfp, "ffa": ffa})
        tokens = torch.cat([tokens, pretraining.global_tokens.expand(2, -1, -1)], 1)
    golden.agrees(tokens, "tokens_in_subset_global_last")


def test_noise_hides_all_but_the_least(pretraining, pictures, masks):
    every = torch.cat(list(masks.values()), 1)
    pretraining.visible = int((every == 0).sum(1)[0])
    with torch.inference_mode():
        by_noise = pretraining(noise=every + torch.rand(every.shape) / 2, **pictures)
        by_masks = pretraining(masks=masks, **pictures)
    for name in KINDS:
        np.testing.assert_allclose(by_noise[name], by_masks[name], rtol=1e-3, atol=1e-4)


def test_a_kind_that_was_not_given_is_drawn_too(pretraining, pictures, masks):
    with torch.inference_mode():
        drawn = pretraining(masks={"cfp": masks["cfp"][:1]}, cfp=pictures["cfp"][:1])
    assert list(drawn) == list(KINDS)
    assert drawn["ffa"].shape == (1, 3, 32, 32)


def test_the_fine_tuned_classifier(golden, classifier, pictures):
    assert classifier.report.share == 1
    assert not classifier.report.missing
    assert not classifier.report.unexpected
    subset = {name: pictures[name] for name in ("cfp", "ffa")}
    with torch.inference_mode():
        golden.agrees(classifier(**pictures), "logits_all_mean_pooling")
        golden.agrees(classifier(**subset), "logits_subset_mean_pooling")
        classifier.pool = "global"
        golden.agrees(classifier(**pictures), "logits_all_global_token")
        classifier.pool = "mean"


def test_cases_with_different_pictures_are_each_seen_alone(classifier, pictures):
    cases = [
        {"cfp": pictures["cfp"][0], "ffa": pictures["ffa"][0]},
        {"oct": pictures["oct"][0]},
        {"ffa": pictures["ffa"][1], "cfp": pictures["cfp"][1]},
    ]
    with torch.inference_mode():
        together = classifier.each(cases)
        for case, said in zip(cases, together, strict=True):
            alone = classifier(**{name: x[None] for name, x in case.items()})[0]
            np.testing.assert_allclose(said, alone, rtol=1e-4, atol=1e-5)


def test_a_pretrained_encoder_starts_a_classifier(golden, pictures):
    path = golden.folder / "checkpoint_pretrain.pth"
    net = models.create(NAME, checkpoint=path, **golden.options, num_classes=2)
    assert net.report.share == 1
    assert not net.report.unexpected
    assert all(name.startswith("output_adapters.cls.") for name in net.report.missing)
    assert net(**pictures).shape == (2, 2)
    with torch.inference_mode():
        encoded = golden.outputs["encoder_output_all"][:, :-1].mean(1)
        np.testing.assert_allclose(net.features(pictures), encoded, rtol=1e-4, atol=1e-4)
    larger = models.create(NAME, checkpoint=path, **golden.options, image_size=64)
    assert {name for name, _, _ in larger.report.reshaped} == {
        f"input_adapters.{name}.pos_emb" for name in KINDS
    }


def test_masks_are_drawn_evenly_and_to_the_number(pretraining, pictures):
    draw = torch.Generator().manual_seed(0)
    pretraining.visible = 13
    masks = pretraining.draw_masks(pictures, generator=draw)
    every = torch.cat(list(masks.values()), 1)
    assert ((every == 0).sum(1) == 13).all()
    assert not torch.equal(every[0], every[1])
    pretraining.visible = 10**6
    assert not torch.cat(list(pretraining.draw_masks(pictures).values()), 1).any()
    pretraining.visible = 5
    shares = torch.stack(
        [
            torch.tensor([float((m == 0).sum()) for m in
                          pretraining.draw_masks(pictures, generator=draw).values()])
            for _ in range(200)
        ]
    ).mean(0)  # fmt: skip
    assert torch.allclose(shares, torch.full((3,), 10 / 3), atol=0.6)


def test_wrong_pictures_and_masks_are_named(pretraining, classifier, pictures, masks):
    with pytest.raises(RecipeError, match=r"cfp, oct, ffa are taken.*not 'xray'"):
        classifier(xray=pictures["cfp"])
    with pytest.raises(RecipeError, match="not nothing"):
        classifier()
    with pytest.raises(RecipeError, match="say what the picture is"):
        classifier(pictures["cfp"])
    with pytest.raises(RecipeError, match=r"mask \(B, 16\) is needed for the pictures of 'oct'"):
        pretraining(masks={"cfp": masks["cfp"]}, **pictures)
    uneven = {name: mask.clone() for name, mask in masks.items()}
    uneven["cfp"][0] = 0
    with pytest.raises(RecipeError, match="same number of tokens"):
        pretraining(masks=uneven, **pictures)


def test_one_kind_needs_no_name_once_it_is_said(golden, pictures):
    path = golden.folder / "checkpoint_finetuned.pth"
    net = models.create(NAME, checkpoint=path, **golden.options, modality="oct")
    with torch.inference_mode():
        assert torch.equal(net(pictures["oct"]), net(oct=pictures["oct"]))


def test_a_lost_tensor_is_named(golden, tmp_path):
    stored = torch.load(golden.folder / "checkpoint_finetuned.pth", weights_only=False)
    del stored["model"]["encoder.1.attn.qkv.weight"]
    torch.save({"model": stored["model"]}, tmp_path / "damaged.pth")
    with pytest.raises(WeightsError, match=r"encoder\.1\.attn\.qkv\.weight is absent"):
        models.create(NAME, checkpoint=tmp_path / "damaged.pth", **golden.options)
