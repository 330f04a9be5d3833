"""SAM and MedSAM say what their official code says, at every size, and as transformers does."""

import numpy as np
import pytest
import torch
from golden import Golden

from osler import models
from osler.errors import RecipeError, UnreadableError, UnsupportedError, WeightsError
from osler.models.promptable import Promptable
from osler.models.trying import tiny

SAM, MEDSAM = "sam-vit-base", "medsam"
PROMPTS = ("box", "points", "points_box", "box_mask", "twobox")


@pytest.fixture(scope="module")
def golden():
    return Golden("sam")


@pytest.fixture(scope="module")
def sam(golden):
    return models.create(
        SAM, checkpoint=golden.folder / "checkpoint_sam_flat.pth", **golden.options
    )


@pytest.fixture(scope="module")
def medsam(golden):
    return models.create(
        MEDSAM,
        checkpoint=golden.folder / "checkpoint_medsam_finetuned_ddp.pth",
        **golden.options,
    )


@pytest.fixture(scope="module")
def picture(golden):
    return golden.inputs["image_uint8_hwc"].numpy().transpose(2, 0, 1)


def the_prompts(golden):
    """Prompts by the names of the vectors, in pixels of the network's input."""
    h, w = golden.card["config"]["image_size"]
    side = golden.card["config"]["encoder"]["img_size"]
    scale = torch.tensor([side / w, side / h], dtype=torch.float64)
    box = (golden.inputs["box_xyxy_original"] * scale.repeat(2)).float()
    points = golden.inputs["points_xy"]
    labels = golden.inputs["point_labels"].float()
    return {
        "box": {"boxes": box},
        "points": {"points": points, "labels": labels},
        "points_box": {"points": points, "labels": labels, "boxes": box},
        "box_mask": {"boxes": box, "masks": golden.inputs["mask_prompt"]},
        "twobox": {"boxes": golden.inputs["two_boxes_model_scale"][:, 0]},
    }


def test_nothing_of_the_checkpoints_is_left_over(sam, medsam):
    for net in (sam, medsam):
        assert net.report.share == 1
        assert not net.report.missing
        assert not net.report.unexpected
        assert not net.report.dropped


def test_medsam_prepares_a_picture_its_own_way(golden, medsam, picture):
    grey = golden.inputs["grey_uint8_hw"].numpy()[None]
    golden.agrees(torch.from_numpy(medsam.preprocessing(picture))[None], "medsam_input")
    golden.agrees(torch.from_numpy(medsam.preprocessing(grey))[None], "medsam_grey_input")
    card = models.find(MEDSAM).card.preprocessing
    large = card(picture)
    golden.agrees(torch.from_numpy(large[None, :, ::16, ::16].copy()), "medsam_1024_input_every16")


def test_sam_prepares_a_picture_its_own_way(golden, sam, picture):
    golden.agrees(torch.from_numpy(sam.preprocessing(picture))[None], "sam_preprocessed")


@pytest.mark.parametrize("name", [SAM, MEDSAM])
def test_the_card_prepares_as_the_network_does(name):
    build = models.create(name, weights="random", **models.find(name).card.tiny)
    said = models.find(name).card.preprocessing.model_dump_json()
    assert said.replace("1024", "64") == build.preprocessing.model_dump_json()


def test_the_encoder_block_by_block(golden, medsam):
    x = golden.outputs["medsam_input"]
    with torch.inference_mode():
        for number, tokens in enumerate(medsam.image_encoder.levels(x)):
            golden.agrees(tokens, f"encoder_block{number}_bhwc")
        embedding = medsam.encode(x)
    golden.agrees(embedding, "image_embedding")
    golden.agrees(medsam.positions(embedding), "dense_pe")


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_and_what_is_drawn_for_them(golden, sam, name):
    prompts = the_prompts(golden)[name]
    embedding = golden.outputs["image_embedding"]
    side = golden.card["config"]["encoder"]["img_size"]
    grid = (embedding.shape[-2], embedding.shape[-1])
    with torch.inference_mode():
        sparse, dense = sam.prompt_encoder(size=(side, side), grid=grid, **prompts)
        golden.agrees(sparse, f"{name}_sparse")
        golden.agrees(dense.mean(dim=(2, 3)), f"{name}_dense_mean")
        for several in (0, 1):
            scores, overlaps = sam.decode(
                embedding, size=(side, side), multimask=bool(several), **prompts
            )
            golden.agrees(scores, f"{name}_logits_multi{several}")
            golden.agrees(overlaps, f"{name}_iou_multi{several}")


def test_a_box_on_ones_own_picture(golden, sam, medsam, picture):
    box = golden.inputs["box_xyxy_original"].numpy()
    said = medsam.segment(picture, boxes=box)
    golden.agrees(torch.from_numpy(said.chances), "medsam_prob_fullsize")
    assert (said.masks[0, 0] == golden.outputs["medsam_mask_uint8"].numpy()).all()
    said = sam.segment(picture, boxes=box[0], multimask=True)
    golden.agrees(torch.from_numpy(said.overlaps), "sam_iou")
    assert (said.masks == golden.outputs["sam_masks_bool"].numpy()).all()
    assert (said.best()[0] == said.masks[0, said.overlaps[0].argmax()]).all()


def test_many_prompts_are_answered_one_by_one(sam, picture):
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 40, (20, 2))
    boxes = np.concatenate([corners, corners + 30], axis=1)
    together = sam.segment(picture, boxes=boxes)
    assert together.masks.shape == (20, 1, 90, 140)
    alone = sam.segment(picture, boxes=boxes[17])
    assert np.allclose(together.chances[17], alone.chances[0], atol=1e-5)
    points = sam.segment(picture, points=[(70, 45), (5, 5)], labels=[1, 0])
    assert points.masks.shape == (1, 1, 90, 140)


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ({}, "say what to segment"),
        ({"boxes": (10, 10, 5, 20)}, "x0 < x1"),
        ({"boxes": (10, 10, 150, 20)}, "outside the picture"),
        ({"points": [(1, 2, 3)]}, "shape"),
        ({"points": [(1, 2)], "labels": [2]}, "1 within"),
    ],
)
def test_prompts_that_mean_nothing_are_refused(sam, picture, prompts, says):
    with pytest.raises(RecipeError, match=says):
        sam.segment(picture, **prompts)


@pytest.mark.parametrize(
    ("file", "error", "says"),
    [
        ("sam_missing_key.pt", WeightsError, r"blocks\.1\.attn\.rel_pos_h is absent"),
        ("sam_wrong_shape.pt", WeightsError, r"layers\.0\.mlp\.lin1\.weight is 65x32"),
        ("sam_forbidden_global.pt", UnsupportedError, r"refused: .*mkdir"),
        ("sam_truncated.pt", UnreadableError, "damaged"),
    ],
)
def test_damaged_checkpoints_end_in_the_right_error(
    golden, file, error, says, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=says):
        models.create(SAM, checkpoint=golden.folder / "damaged" / file, **golden.options)
    assert not (tmp_path / "GOLD_FORBIDDEN_EXECUTED").exists()


def test_positions_are_resized_to_another_size(golden):
    net = models.create(
        SAM,
        checkpoint=golden.folder / "checkpoint_sam_flat.pth",
        **golden.options,
        image_size=96,
    )
    assert {name for name, _, _ in net.report.reshaped} == {
        "image_encoder.pos_embed",
        "image_encoder.blocks.1.attn.rel_pos_h",
        "image_encoder.blocks.1.attn.rel_pos_w",
    }
    assert net(torch.zeros(1, 3, 96, 96), torch.tensor([[[5.0, 5, 50, 50]]]))[0].shape[-1] == 24


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("image_encoder.blocks.0.attn.rel_pos_h", (11, 8)),
        ("image_encoder.blocks.1.attn.rel_pos_h", (16, 8)),
        ("image_encoder.pos_embed", (1, 9, 8, 32)),
    ],
)
def test_positions_of_a_wrong_shape_are_not_made_to_fit(golden, tmp_path, name, shape):
    stored = torch.load(golden.folder / "checkpoint_sam_flat.pth", weights_only=True)
    stored[name] = torch.zeros(shape)
    torch.save(stored, tmp_path / "wrong.pth")
    with pytest.raises(WeightsError, match=name.replace(".", r"\.") + " is " + str(shape[0])):
        models.create(SAM, checkpoint=tmp_path / "wrong.pth", **golden.options)


@pytest.mark.filterwarnings("ignore")
def test_a_hugging_face_folder_says_the_same_here(golden, medsam, tmp_path):
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    theirs = SamModel(
        SamConfig(
            vision_config={
                "hidden_size": 24, "output_channels": 16, "num_hidden_layers": 3,
                "num_attention_heads": 2, "image_size": 80, "patch_size": 16, "window_size": 3,
                "global_attn_indexes": [1], "mlp_dim": 48, "num_pos_feats": 8,
            },
            prompt_encoder_config={
                "hidden_size": 16, "image_size": 80, "patch_size": 16, "mask_input_channels": 8,
            },
            mask_decoder_config={
                "hidden_size": 16, "mlp_dim": 20, "num_attention_heads": 2,
                "iou_head_hidden_dim": 12, "layer_norm_eps": 1e-5,
            },
        )
    ).eval()  # fmt: skip
    for value in theirs.parameters():
        torch.nn.init.normal_(value, std=0.2)
    theirs.save_pretrained(tmp_path / "sam")
    ours = models.create(SAM, checkpoint=tmp_path / "sam", decoder_heads=2)
    assert ours.report.layout.startswith("Hugging Face")
    assert not ours.report.unexpected
    x = torch.randn(2, 3, 80, 80)
    boxes = torch.tensor([[[4.0, 9, 40, 60], [20, 20, 70, 66]]]).repeat(2, 1, 1)
    with torch.inference_mode():
        scores, overlaps = ours(x, boxes=boxes, multimask=True)
        said = theirs(pixel_values=x, input_boxes=boxes, multimask_output=True)
    assert torch.allclose(scores, said.pred_masks, rtol=1e-3, atol=1e-4)
    assert torch.allclose(overlaps, said.iou_scores, rtol=1e-3, atol=1e-4)


def test_pictures_of_a_batch_have_prompts_of_their_own():
    net = tiny(SAM)
    assert isinstance(net, Promptable)
    x, boxes = torch.rand(2, 3, 64, 64), torch.tensor([[[1.0, 1, 30, 30]], [[20, 20, 60, 50]]])
    with torch.inference_mode():
        both, one = net(x, boxes)[0], net(x[1:], boxes[1:])[0]
    assert torch.allclose(both[1:], one, atol=1e-5)


def test_half_precision_knows_its_places(golden, picture):
    file = golden.folder / "checkpoint_medsam_finetuned_ddp.pth"
    half = models.create(MEDSAM, checkpoint=file, **golden.options).to(torch.bfloat16)
    said = half.segment(picture, boxes=golden.inputs["box_xyxy_original"].numpy())
    want = golden.outputs["medsam_prob_fullsize"].numpy()
    assert np.abs(said.chances - want).max() < 0.05
    assert (said.masks[0, 0] == (want[0, 0] > 0.5)).mean() > 0.97


def test_many_places_are_attended_to_head_by_head(monkeypatch):
    from osler.models import sam_encoder

    net, x = tiny(SAM), torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        together = net.encode(x)
        monkeypatch.setattr(sam_encoder, "MANY", 4)
        assert torch.allclose(net.encode(x), together, atol=1e-5)
