"""One damaged tensor does not decide how a network is built; it is named."""

import pytest
import torch
from golden import Golden

from osler import models
from osler.errors import WeightsError
from osler.models.checkpoints.shapes import agreed, commonest, count

SHAPES = {"a.0.w": (4, 2), "a.1.w": (4, 3), "a.2.w": (5, 3), "a.2.b": (), "b.w": (7,)}


def test_most_tensors_decide():
    assert commonest(SHAPES, r"^a\.\d\.w", 0) == 4
    assert commonest(SHAPES, r"^a\.\d\.w", 1) == 3
    assert commonest(SHAPES, r"^b\.", 1) is None
    assert commonest(SHAPES, r"^c\.", 0) is None
    assert count(SHAPES, r"^a\.(\d)\.") == 3
    assert count(SHAPES, r"^c\.(\d)\.") is None


def test_of_two_lengths_the_rounder_one_is_meant():
    assert agreed(32, None, 32, 33) == 32
    assert agreed(33, 32) == agreed(32, 33) == 32
    assert agreed(47, 47, 48) == 47
    assert agreed(None) is None


DAMAGED = [
    # network, file, options, name that is damaged, its name in the network
    ("flair", "checkpoint.pth", {"text_heads": 4}, [
        ("vision_model.model.conv1.weight", "vision.conv1.weight"),
        ("vision_model.model.layer3.0.conv3.weight", "vision.layer3.0.conv3.weight"),
        ("vision_model.projection_head_vision.projection.weight", "vision_projection.weight"),
        ("text_model.model.encoder.layer.0.intermediate.dense.weight",
         "text.encoder.layer.0.intermediate.dense.weight"),
        ("text_model.model.embeddings.LayerNorm.weight", "text.embeddings.LayerNorm.weight"),
    ]),
    ("retizero", "checkpoint.pth", {"text_heads": 4, "num_heads": 4}, [
        ("vision_model.model.lora_vit.blocks.1.attn.qkv.linear_a_q.weight",
         "vision.blocks.1.attn.qkv.linear_a_q.weight"),
        ("vision_model.model.lora_vit.blocks.0.mlp.fc1.bias", "vision.blocks.0.mlp.fc1.bias"),
    ]),
    ("retizero", "checkpoint.pth", {"text_heads": 4, "num_heads": 4, "fold": True}, [
        ("vision_model.model.lora_vit.blocks.1.attn.qkv.linear_b_v.weight",
         "vision.blocks.1.attn.qkv.linear_b_v.weight"),
    ]),
    ("medclip", "pytorch_model_vit.bin", {"text_heads": 4}, [
        ("text_model.projection_head.weight", "text_projection.weight"),
        ("vision_model.model.encoder.layers.1.blocks.0.intermediate.dense.weight",
         "vision.swin.encoder.layers.1.blocks.0.mlp.fc1.weight"),
    ]),
]  # fmt: skip
EACH = [(*case[:3], *names) for case in DAMAGED for names in case[3]]


@pytest.mark.parametrize("how", ["absent", "longer"])
@pytest.mark.parametrize(
    ("name", "file", "options", "came", "ours"), EACH, ids=lambda x: x if isinstance(x, str) else ""
)
def test_the_damaged_tensor_is_named(name, file, options, came, ours, how, tmp_path):
    weights = torch.load(Golden(name).folder / file, weights_only=True)
    if how == "absent":
        del weights[came]
    else:
        value = weights[came]
        weights[came] = torch.cat([value, value[:1]])
    torch.save(weights, tmp_path / "damaged.pth")
    with pytest.raises(WeightsError) as error:
        models.create(name, checkpoint=tmp_path / "damaged.pth", **options)
    said = str(error.value)
    assert ours in said
    assert said.count(" is due") <= 1, said


def test_words_that_are_absent_do_not_make_a_network_without_text(tmp_path):
    weights = torch.load(Golden("flair").folder / "checkpoint.pth", weights_only=True)
    del weights["text_model.model.embeddings.word_embeddings.weight"]
    torch.save(weights, tmp_path / "damaged.pth")
    with pytest.raises(WeightsError, match=r"word_embeddings\.weight is absent"):
        models.create("flair", checkpoint=tmp_path / "damaged.pth", text_heads=4)
