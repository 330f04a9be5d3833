"""RetiZero says what its official code says, with LoRA kept and folded."""

import pytest
import torch
from golden import Golden

from osler import models
from osler.models.retizero import similarity


@pytest.fixture(scope="module")
def golden():
    return Golden("retizero")


def built(golden, **options):
    return models.create(
        "retizero", checkpoint=golden.folder / "checkpoint.pth", **{**golden.options, **options}
    )


@pytest.fixture(scope="module")
def official(golden):
    return built(golden, pool_padding=True)


def picture(golden):
    return golden.inputs["image_uint8_hwc"].permute(2, 0, 1).numpy()


@pytest.mark.parametrize("fold", [False, True])
def test_pictures_and_scores_are_the_official_ones(golden, official, fold):
    net = built(golden, fold=True, pool_padding=True) if fold else official
    x = torch.from_numpy(net.preprocessing(picture(golden)))[None]
    texts = golden.inputs["input_ids"], golden.inputs["attention_mask"]
    with torch.inference_mode():
        golden.agrees(x, "preprocessed", atol=1e-5)
        golden.agrees(net.vision.tokens(x), "tokens_last_block_before_norm", atol=1e-4)
        golden.agrees(net.retrieval_features(x), "patch_mean_before_norm")
        golden.agrees(net.features(x), "cls_feature_after_norm")
        golden.agrees(net.embed_image(x), "image_embed")
        golden.agrees(net(x, *texts), "logits", atol=1e-3)
    said = net.zero_shot([picture(golden)], golden.card["config"]["classes"])
    golden.agrees(said.probabilities, "probs")


def test_lora_changes_query_and_value(golden, official):
    x = golden.inputs["lora_probe"]
    qkv = official.vision.blocks[0].attn.qkv
    folded = built(golden, fold=True).vision.blocks[0].attn.qkv
    with torch.inference_mode():
        golden.agrees(qkv(x), "lora_qkv_block0")
        golden.agrees(folded(x), "lora_qkv_block0")
        golden.agrees(qkv.qkv(x), "plain_qkv_block0")


def test_texts_with_padding_and_without(golden, official):
    texts = golden.inputs["input_ids"], golden.inputs["attention_mask"]
    with torch.inference_mode():
        golden.agrees(official.embed_text(*texts), "text_embed")
        golden.agrees(built(golden).embed_text(*texts), "text_embed_each_prompt_alone")


def test_the_report_says_what_became_of_lora(golden, official):
    whole, folded = official.report, built(golden, fold=True).report
    for report in (whole, folded):
        assert report.share == 1
        assert not report.missing
        assert not report.unexpected
        assert report.dropped == ["text_model.model.embeddings.position_ids"]
    assert not whole.converted
    assert sum("linear_a_q" in name for name in folded.converted) == 3
    assert "converted" in str(folded)


def test_another_size_resizes_the_positions(golden):
    net = built(golden, image_size=160)
    assert [name for name, *_ in net.report.reshaped] == ["vision.pos_embed"]
    assert net.preprocessing(picture(golden)).shape == (3, 160, 160)
    assert net.encode_image([picture(golden)]).shape == (1, 32)


def test_likeness_is_scaled_by_the_query_or_as_published():
    golden = Golden("training")
    one = golden.inputs["retrieval_embed"]
    golden.agrees(similarity(one, one), "retrieval_similarity_query_scale_NOT_official", atol=1e-6)
    published = similarity(one, one, scale="candidate")
    golden.agrees(published, "retrieval_similarity_official", atol=1e-6)
    assert torch.equal(
        published.argsort(dim=1, descending=True), golden.outputs["retrieval_official_ranking_rows"]
    )
    near = torch.cdist(one, one).argsort(dim=1)
    assert torch.equal(similarity(one, one).argsort(dim=1, descending=True), near)
