"""FLAIR says what its official code says, with the padding rule stated, and whole or not at all."""

import json

import pytest
import torch
from golden import Golden

from osler import models
from osler.errors import InputError, RecipeError, UnreadableError, UnsupportedError, WeightsError


@pytest.fixture(scope="module")
def golden():
    return Golden("flair")


@pytest.fixture(scope="module")
def official(golden):
    """As the official code pools."""
    return models.create(
        "flair", checkpoint=golden.folder / "checkpoint.pth", pool_padding=True, **golden.options
    )


@pytest.fixture(scope="module")
def net(golden):
    return models.create("flair", checkpoint=golden.folder / "checkpoint.pth", **golden.options)


def picture(golden, number):
    return golden.inputs[f"image{number}_uint8_hwc"].permute(2, 0, 1).numpy()


def texts(golden):
    return golden.inputs["input_ids"], golden.inputs["attention_mask"]


def alone(net, golden):
    """Each text without the others' padding."""
    ids, mask = texts(golden)
    lengths = mask.sum(1).tolist()
    return torch.cat(
        [net.embed_text(ids[i : i + 1, :n], mask[i : i + 1, :n]) for i, n in enumerate(lengths)]
    )


@pytest.mark.parametrize("number", [0, 1])
def test_pictures_texts_and_scores_are_the_official_ones(golden, official, number):
    x = torch.from_numpy(official.preprocessing(picture(golden, number)))[None]
    with torch.inference_mode():
        golden.agrees(x, f"preprocessed{number}", atol=1e-5)
        golden.agrees(official.features(x), f"image{number}_backbone_feature")
        golden.agrees(official.embed_image(x), f"image{number}_embed")
        logits = official(x, *texts(golden))
        golden.agrees(logits, f"logits{number}", atol=1e-3)
        golden.agrees(logits.softmax(1), f"probs{number}")
    golden.agrees(official.scale()[None], "logit_scale_exp_after_clamp")


def test_texts_are_read_layer_by_layer(golden, official):
    ids, mask = texts(golden)
    with torch.inference_mode():
        layers = official.text_layers(ids, mask)
        for layer, name in zip(layers, ("1", "2", "last"), strict=True):
            golden.agrees(layer, f"text_hidden_{name}")
        golden.agrees(official.pooled_text(ids, mask), "text_pooled_padding_included")
        golden.agrees(official.embed_text(ids, mask), "text_embed")
        golden.agrees(alone(official, golden), "text_embed_each_prompt_alone")


def test_by_default_padding_is_not_averaged(golden, net, official):
    ids, mask = texts(golden)
    with torch.inference_mode():
        golden.agrees(net.pooled_text(ids, mask), "text_pooled_masked_mean_NOT_official")
        golden.agrees(net.embed_text(ids, mask), "text_embed_each_prompt_alone")
        torch.testing.assert_close(net.embed_text(ids, mask), alone(net, golden))
        apart = (net.embed_text(ids, mask) - official.embed_text(ids, mask)).abs().max()
    assert apart > 0.01


def test_the_checkpoint_is_read_whole(golden, net):
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    assert net.report.dropped == ["text_model.model.embeddings.position_ids"]


def test_what_no_embedding_is_made_of_may_be_absent(golden, net, tmp_path):
    weights = torch.load(golden.folder / "checkpoint.pth", weights_only=True)
    weights = {k: v for k, v in weights.items() if ".pooler." not in k}
    torch.save(weights, tmp_path / "flair.pth")
    other = models.create("flair", checkpoint=tmp_path / "flair.pth", **golden.options)
    assert len(other.report.missing) == 2
    with torch.inference_mode():
        assert torch.equal(other.embed_text(*texts(golden)), net.embed_text(*texts(golden)))


def test_the_folder_of_hugging_face_says_the_same(golden, net):
    other = models.create("flair", checkpoint=golden.folder / "hub_layout", **golden.options)
    assert not other.report.unexpected
    assert not other.report.dropped
    assert other.image_size == 512
    for name, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_names_of_classes_are_put_into_the_caption(golden, official):
    said = official.zero_shot(
        [picture(golden, 0), picture(golden, 1)], golden.card["config"]["classes"]
    )
    assert said.labels == tuple(golden.card["config"]["classes"])
    golden.agrees(said.logits[:1], "logits0", atol=1e-3)
    golden.agrees(said.logits[1:], "logits1", atol=1e-3)
    golden.agrees(said.probabilities[:1], "probs0")


def test_prompts_of_a_class_become_the_mean_of_their_embeddings(golden, official):
    prompts = golden.card["config"]["ensemble_descriptions"]
    said = official._texts([list(one) for one in prompts.values()], official.caption, False)
    due = golden.outputs["ensemble_text_embed"]
    assert torch.equal(
        official.tokenize(
            [official.caption.replace("{}", one) for one in next(iter(prompts.values()))]
        )[0],
        golden.inputs["ensemble_input_ids"],
    )
    golden.agrees(torch.stack([one.mean(0) for one in said]), "ensemble_text_embed")
    image = picture(golden, 0)
    scores = official.zero_shot([image], prompts)
    seen = official.encode_image([image])
    torch.testing.assert_close(
        scores.logits, (official.scale() * seen @ due.T).detach(), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    ("file", "error", "says"),
    [
        (
            "missing_key",
            WeightsError,
            r"vision\.layer2\.0\.conv2\.weight is absent \(vision_model\.model\.layer2\.0\.conv2",
        ),
        (
            "wrong_shape",
            WeightsError,
            r"text_projection\.weight is 33x48 where 32x48 is due \(text_model\.proj",
        ),
        ("forbidden_global", UnsupportedError, r"refused: .*mkdir"),
        ("truncated", UnreadableError, "damaged"),
    ],
)
def test_damaged_checkpoints_end_in_the_right_error(
    golden, file, error, says, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = golden.folder / "damaged" / f"checkpoint_{file}.pt"
    with pytest.raises(error, match=says):
        models.create("flair", checkpoint=path, **golden.options)
    assert not (tmp_path / "GOLD_FORBIDDEN_EXECUTED").exists()


def test_heads_that_cannot_be_told_must_be_said(golden):
    with pytest.raises(RecipeError, match="text_heads"):
        models.create("flair", checkpoint=golden.folder / "checkpoint.pth")


def test_the_published_sizes_are_known():
    with torch.device("meta"):
        net = models.create("flair", weights="random")
    assert net.text.config.num_attention_heads == 12
    assert net.vision_projection.weight.shape == (512, 2048)
    assert json.dumps(net.options)
    with pytest.raises(InputError, match="no checkpoint was read"):
        net.encode_text(["a"])
