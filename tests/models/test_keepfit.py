"""KeepFIT says what its official code says, with its attention as published and as meant."""

import pytest
import torch
from golden import Golden

from osler import models
from osler.errors import RecipeError, WeightsError


@pytest.fixture(scope="module")
def golden():
    return Golden("keepfit")


def built(golden, **options):
    return models.create(
        "keepfit", checkpoint=golden.folder / "checkpoint.pth", **{**golden.options, **options}
    )


@pytest.fixture(scope="module")
def official(golden):
    return built(golden, pool_padding=True, attention_over="heads")


def picture(golden):
    return golden.inputs["image0_uint8_hwc"].permute(2, 0, 1).numpy()


def test_pictures_texts_and_scores_are_the_official_ones(golden, official):
    x = torch.from_numpy(official.preprocessing(picture(golden)))[None]
    texts = golden.inputs["input_ids"], golden.inputs["attention_mask"]
    with torch.inference_mode():
        golden.agrees(x, "preprocessed0_torchvision_ge_0.17_antialias", atol=1e-5)
        golden.agrees(official.embed_image(x), "image0_embed")
        golden.agrees(official.embed_text(*texts), "text_embed")
        golden.agrees(official(x, *texts), "logits0", atol=1e-3)
    said = official.zero_shot([picture(golden)], golden.card["config"]["classes"])
    golden.agrees(said.probabilities, "probs0")


def test_the_canvas_may_be_sampled_as_older_releases_do(golden):
    net = built(golden, antialias=False)
    x = torch.from_numpy(net.preprocessing(picture(golden)))[None]
    golden.agrees(x, "preprocessed0_old_torchvision_no_antialias", atol=1e-5)
    with torch.inference_mode():
        golden.agrees(net.embed_image(x), "image0_embed_no_antialias")


@pytest.mark.parametrize(
    ("over", "kind", "weights"),
    [
        ("keys", "corrected_softmax_keys", "corrected"),
        ("heads", "official_softmax_dim0", "official"),
    ],
)
@pytest.mark.parametrize("case", ["attn", "attn2"])
def test_expert_attention_both_ways(golden, over, kind, weights, case):
    net = built(golden, **({} if over == "keys" else {"attention_over": over}))
    q, k, v = (golden.inputs[f"{case}_{one}"] for one in "qkv")
    with torch.inference_mode():
        golden.agrees(net.attention.weights(q, k), f"{case}_weights_{weights}")
        golden.agrees(net.attention(q, k, v), f"{case}_{kind}")
        if case == "attn":
            apart = (net.attention(q, k, v)[0] - golden.inputs["public_text_embed"]).square()
            golden.agrees(100 * apart.mean()[None], f"expert_mse_x100_{weights}")


def test_the_checkpoint_is_read_whole(golden, official):
    assert official.report.share == 1
    assert not official.report.missing
    assert not official.report.unexpected
    assert official.longest == 256


def test_it_is_told_from_flair(golden):
    with pytest.raises(WeightsError, match="looks like keepfit"):
        models.create("flair", checkpoint=golden.folder / "checkpoint.pth", **golden.options)


def test_options_that_cannot_be_built_are_named(golden):
    with pytest.raises(RecipeError, match="'keys' or 'heads', not 'queries'"):
        built(golden, attention_over="queries")
    with pytest.raises(RecipeError, match="attention_heads 5"):
        built(golden, attention_heads=5)
