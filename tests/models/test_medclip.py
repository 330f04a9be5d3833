"""MedCLIP says what its official code says, with either encoder of pictures."""

import pytest
import torch
from golden import Golden
from torch.nn import functional

from osler import models
from osler.errors import InputError, WeightsError


@pytest.fixture(scope="module")
def golden():
    return Golden("medclip")


def built(golden, **options):
    path = golden.folder / "pytorch_model_vit.bin"
    return models.create("medclip", checkpoint=path, **{**golden.options, **options})


@pytest.fixture(scope="module")
def official(golden):
    return built(golden, pool_padding=True)


@pytest.fixture(scope="module")
def resnet(golden):
    path = golden.folder / "pytorch_model_resnet_vision_only.bin"
    return models.create(
        "medclip-resnet-50", checkpoint=path, image_size=golden.options["image_size"]
    )


def texts(golden, start=""):
    return golden.inputs[f"{start}input_ids"], golden.inputs[f"{start}attention_mask"]


def test_a_radiograph_becomes_what_the_official_code_makes_of_it(golden, official):
    picture = golden.inputs["grey_uint8_hw"][None].numpy()
    golden.agrees(torch.from_numpy(official.preprocessing(picture))[None], "preprocessed")
    colour = official.preprocessing(picture.repeat(3, axis=0))
    golden.agrees(torch.from_numpy(colour)[None], "preprocessed")
    drawn = picture.transpose(1, 2, 0)
    for step in official.preprocessing.steps[:3]:
        drawn = step.apply(drawn)
    assert (drawn[:, :, 0] == golden.outputs["padded_resized_uint8"].numpy()).all()


def test_pictures_texts_and_scores_are_the_official_ones(golden, official):
    x = golden.inputs["pixel_values_1ch"]
    with torch.inference_mode():
        tower = official.vision.swin(x.expand(-1, 3, -1, -1))
        golden.agrees(tower.last_hidden_state, "swin_last_hidden")
        golden.agrees(official.features(x), "vision_pooler_output")
        golden.agrees(official.projected(x), "vision_projected_unnormalised")
        golden.agrees(official.embed_image(x), "img_embeds")
        golden.agrees(official.embed_text(*texts(golden)), "text_embeds")
        logits = official(x, *texts(golden))
        golden.agrees(logits, "logits", atol=1e-3)
        golden.agrees(logits.T, "logits_per_text", atol=1e-3)
        right = torch.arange(3)
        loss = functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)
        golden.agrees(loss[None] / 2, "clip_loss_square_batch", atol=1e-3)


@pytest.mark.parametrize("ensemble", ["mean", "max"])
def test_prompts_of_a_class_become_one_score(golden, official, ensemble):
    net, prompts = official, golden.card["config"]["prompts"]
    net.tokenizer_folder = golden.folder / "tokenizer_and_bert_config"
    for name, said in prompts.items():
        for got, due in zip(net.tokenize(said), texts(golden, f"prompts_{name}_"), strict=True):
            assert torch.equal(got, due)
    scores = net.zero_shot(golden.inputs["pixel_values_1ch"], prompts, ensemble=ensemble, batch=2)
    golden.agrees(scores.logits, f"promptclassifier_{ensemble}", atol=1e-3)


def test_the_checkpoint_is_read_whole(golden, official):
    report = official.report
    assert report.share == 1
    assert not report.missing
    assert not report.unexpected
    assert sum("relative_position_index" in name for name in report.dropped) == 4
    assert len(report.dropped) == 5
    # what no option said was told by the shapes
    assert official.vision.window == 7
    assert official.vision.swin.config.num_heads == golden.card["config"]["swin"]["num_heads"]


def test_each_text_has_one_embedding_by_default(golden, official):
    net = built(golden)
    ids, mask = texts(golden)
    n = int(mask[2].sum())
    with torch.inference_mode():
        together = net.embed_text(ids, mask)[2]
        torch.testing.assert_close(together, net.embed_text(ids[2:, :n], mask[2:, :n])[0])
        assert (together - official.embed_text(ids, mask)[2]).abs().max() > 0.01


def test_the_resnet_of_pictures_alone(golden, resnet):
    with torch.inference_mode():
        golden.agrees(
            resnet.projected(golden.inputs["pixel_values_1ch"]), "resnet_embed_unnormalised"
        )
    assert resnet.report.share == 1
    assert resnet.report.missing == ["logit_scale"]
    assert not resnet.report.unexpected
    with pytest.raises(InputError, match="without an encoder of texts"):
        resnet.embed_text(*texts(golden))


def test_the_two_are_told_apart(golden):
    with pytest.raises(WeightsError, match="looks like medclip"):
        models.create("medclip-resnet-50", checkpoint=golden.folder / "pytorch_model_vit.bin")
