"""RETFound says what its official code says, and refuses checkpoints that are not whole."""

from pathlib import Path

import pytest
import torch
from golden import Golden

from osler import models
from osler.errors import InputError, RecipeError, UnreadableError, UnsupportedError, WeightsError

MAE = "retfound-vit-large"
DINO = "retfound-dinov2-vit-large"


@pytest.fixture(scope="module")
def mae():
    return Golden("retfound")


@pytest.fixture(scope="module")
def dino():
    return Golden("retfound_dinov2")


def test_the_pretrained_encoder(mae):
    net = models.create(MAE, checkpoint=mae.folder / "checkpoint_mae_pretrain.pth", **mae.options)
    mae.agrees(net.pos_embed, "pos_embed_resized")
    x = mae.inputs["x"]
    with torch.inference_mode():
        mae.agrees(net.embed(x), "tokens_after_pos_embed")
        for number, tokens in enumerate(net.levels(x, range(mae.config["depth"]))):
            mae.agrees(tokens, f"tokens_block{number}")
        mae.agrees(net.tokens(x)[:, 1:].mean(1), "patch_mean_before_norm")
    assert net.report.share == 1
    assert [name for name, _, _ in net.report.reshaped] == ["pos_embed"]
    assert net.report.missing == ["fc_norm.bias", "fc_norm.weight"]
    assert not net.report.unexpected
    assert sum(name.startswith("decoder_") for name in net.report.dropped) >= 30


@pytest.mark.parametrize(
    ("twice", "output"), [(False, "logits_single_fc_norm"), (True, "logits_official")]
)
def test_a_fine_tuned_checkpoint_both_ways(mae, twice, output):
    net = models.create(
        MAE,
        checkpoint=mae.folder / "checkpoint_finetuned.pth",
        **mae.options,
        fc_norm_twice=twice,
    )
    with torch.inference_mode():
        mae.agrees(net(mae.inputs["x"]), output)
        mae.agrees(net.features(mae.inputs["x"]), "features_fc_norm_once")


def test_a_new_head_replaces_one_of_other_classes(mae):
    net = models.create(
        MAE,
        checkpoint=mae.folder / "checkpoint_finetuned.pth",
        **mae.options,
        num_classes=2,
    )
    assert net(mae.inputs["x"]).shape[1] == 2
    assert {"head.weight", "head.bias"} <= set(net.report.dropped)


def test_a_pretrained_dinov2_file_is_taken_to_the_published_size(dino):
    net = models.create(
        DINO, checkpoint=next(dino.folder.glob("*.pth")), num_heads=dino.options["num_heads"]
    )
    assert net.options["image_size"] == 224
    assert net.pos_embed.shape[1] == 1 + 16 * 16


def test_the_dinov2_layout(dino):
    net = models.create(
        DINO,
        checkpoint=next(dino.folder.glob("*.pth")),
        **dino.options,
        num_classes=dino.config["num_classes"],
    )
    assert net.report.share == 1
    assert not net.report.unexpected
    assert net.report.missing == ["head.bias", "head.weight"]
    net.head.load_state_dict({k: dino.outputs[f"fresh_head_{k}"] for k in ("weight", "bias")})
    x = dino.inputs["x"]
    with torch.inference_mode():
        dino.agrees(net.pos_embed, "pos_embed_resized")
        dino.agrees(net.norm(net.tokens(x)), "tokens_normed")
        dino.agrees(net.features(x), "cls_feature")
        dino.agrees(net(x), "logits")


@pytest.mark.parametrize(
    ("file", "error", "says"),
    [
        ("mae_pretrain_missing_key.pt", WeightsError, r"blocks\.1\.attn\.qkv\.weight is absent"),
        ("mae_pretrain_wrong_shape.pt", WeightsError, r"blocks\.0\.mlp\.fc1\.weight is 193x48"),
        ("mae_pretrain_forbidden_global.pt", UnsupportedError, r"refused: .*mkdir"),
        ("mae_pretrain_truncated.pt", UnreadableError, "damaged"),
    ],
)
def test_damaged_checkpoints_end_in_the_right_error(mae, file, error, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=says):
        models.create(MAE, checkpoint=mae.folder / "damaged" / file, **mae.options)
    assert not (tmp_path / "GOLD_FORBIDDEN_EXECUTED").exists()


def test_one_lost_tensor_may_be_accepted(mae):
    net = models.create(
        MAE,
        checkpoint=mae.folder / "damaged/mae_pretrain_missing_key.pt",
        **mae.options,
        partial=True,
    )
    assert "blocks.1.attn.qkv.weight" in net.report.missing
    assert 0.9 < net.report.share < 1


def test_another_systems_checkpoint_is_named(mae, dino):
    with pytest.raises(WeightsError, match=DINO):
        models.create(MAE, checkpoint=next(dino.folder.glob("*.pth")))


def test_nothing_is_built_or_fetched_unasked():
    with pytest.raises(RecipeError, match=r"checkpoint=FILE .*RETFound_mae_natureCFP.pth"):
        models.create(MAE)
    with pytest.raises(InputError, match="does not exist"):
        models.create(MAE, checkpoint=Path("nowhere.pth"))
