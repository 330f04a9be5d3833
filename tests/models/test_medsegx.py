"""MedSegX says what its official code says, from its two files, and knows its tasks by name."""

import numpy as np
import pytest
import torch
from golden import Golden

from osler import models
from osler.errors import RecipeError, UnreadableError, UnsupportedError, WeightsError
from osler.models.medsegx_tasks import MODALITIES, ORGANS, TASKS, UNKNOWN, context_of
from osler.models.trying import example, tiny

NAME = "medsegx"


@pytest.fixture(scope="module")
def golden():
    return Golden("medsegx")


def built(golden, own="checkpoint_medsegx.pth", **options):
    files = [golden.folder / "checkpoint_base_sam.pth", golden.folder / own]
    return models.create(NAME, checkpoint=files, **{**golden.options, **options})


@pytest.fixture(scope="module")
def net(golden):
    return built(golden)


@pytest.fixture(scope="module")
def rows(golden):
    organs = [golden.inputs[f"organ_idx_level{level}"] for level in (1, 2, 3)]
    return golden.inputs["modal_idx"], torch.stack(organs, dim=1), golden.inputs["task_idx"]


def prepared(golden, net):
    pictures = golden.inputs["img_0_255"].numpy()
    return torch.from_numpy(np.stack([net.preprocessing(one) for one in pictures]))


def test_two_files_fill_the_network(golden, net):
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    # the larger decoder's steps have no place in the one that keeps the resolution
    assert net.report.dropped
    assert all(name.startswith("mask_decoder.output_") for name in net.report.dropped)
    assert {name.rsplit(".", 1)[1] for name, _, _ in net.report.reshaped} == {
        "pos_embed",
        "rel_pos_h",
        "rel_pos_w",
    }
    golden.agrees(net.image_encoder.pos_embed, "pos_embed_resized")
    golden.agrees(net.image_encoder.blocks[1].attn.rel_pos_h, "rel_pos_h_block1_resized")


def test_the_experts_are_mixed_by_the_context(golden, net, rows):
    encoder, x = net.image_encoder, golden.inputs["block0_mlp_input"]
    with torch.inference_mode():
        context = encoder.context(*rows)
        golden.agrees(context[0], "modal_embed")
        golden.agrees(context[1].transpose(0, 1), "organ_embeds_5xBxC")
        experts = encoder.blocks[0].mlp
        shares, where = experts.shares(x, *context)
        golden.agrees(shares, "block0_gate")
        golden.agrees(where, "block0_organ_gate")
        golden.agrees(experts.mlp(x), "block0_plain_mlp")
        golden.agrees(experts(x, *context), "block0_mlp_output")


def test_masks_of_three_pictures(golden, net, rows):
    x = prepared(golden, net)
    golden.agrees(x.mean(dim=(2, 3)), "preprocessed_mean_per_image_channel")
    seen = []
    hooks = [
        block.mlp.register_forward_pre_hook(lambda one, said: seen.append(one.shares(*said)[0]))
        for block in net.image_encoder.blocks
    ]
    with torch.inference_mode():
        golden.agrees(net.encode(x, rows=rows), "image_embedding")
        golden.agrees(torch.stack(seen), "gates_per_layer")
        for hook in hooks:
            hook.remove()
        scores, overlaps = net(x, golden.inputs["box_xyxy"][:, None], *rows)
    golden.agrees(scores[:, 0], "mask_logits_3")
    golden.agrees(overlaps[:, 0], "iou_all4_multi")


def test_tasks_by_name_are_the_rows_of_the_vectors(golden, rows):
    for number, name in enumerate(golden.card["config"]["class_names"]):
        said = context_of(name)
        assert said.modality == rows[0][number]
        assert said.organs == tuple(rows[1][number].tolist())
        assert said.task == rows[2][number]


def test_the_tree_has_as_many_rows_as_the_embeddings(golden):
    published = golden.card["config"]["organ_rows"]
    assert len(TASKS) == published[4] - 1 or len(TASKS) == published[4]
    assert len(ORGANS) == published[3]
    assert len(MODALITIES) == golden.card["config"]["modal_rows"]


def test_tasks_that_were_never_seen():
    assert context_of("CT_FNH") == context_of("CT_HCC")
    assert context_of("CT_FNH").organs == context_of("CT_Liver").organs
    assert context_of("CT_FNH").task == UNKNOWN
    assert context_of("MRI_Somewhere").organs == (UNKNOWN,) * 3
    assert context_of("CT_ThoracicSpine11") == context_of("CT_ThoracicSpine")
    assert context_of("Funduscopy_OpticDisc") == context_of("Fundus_OpticDisc")
    for wrong in ("OpticCup", "Sonar_Liver", ""):
        with pytest.raises(RecipeError, match="MODALITY_Task"):
            context_of(wrong)


def test_a_task_never_seen_takes_the_last_row(net):
    places = torch.tensor([[UNKNOWN] * 3])
    _, organs = net.image_encoder.context(torch.tensor([6]), places, torch.tensor([UNKNOWN]))
    assert torch.equal(organs[0, 4], net.image_encoder.organ_embed[4].weight[-1])
    assert not organs[0, 1:4].any()


def test_one_mask_of_three_is_the_one_most_like_the_others(golden, net):
    picture = golden.inputs["img_0_255"][0].numpy()
    box = golden.inputs["box_xyxy"][0].numpy()
    three = net.segment(picture, boxes=box, task="Fundus_OpticCup", multimask=True)
    one = net.segment(picture, boxes=box, task="Fundus_OpticCup")
    assert three.masks.shape == (1, 3, 128, 128)
    found = [np.array_equal(one.chances[0, 0], three.chances[0, i]) for i in range(3)]
    assert sum(found) == 1
    chances = three.chances[0].reshape(3, -1)
    both = chances @ chances.T
    overlap = both / (chances.sum(1)[:, None] + chances.sum(1) - both)
    assert found.index(True) == (overlap.sum(1) - overlap.diagonal()).argmax()


@pytest.mark.parametrize(
    ("file", "error", "says"),
    [
        (
            "checkpoint_missing_key.pt",
            WeightsError,
            r"blocks\.1\.mlp\.adapter_up\.2\.weight is abs",
        ),
        ("checkpoint_wrong_shape.pt", WeightsError, r"organ_embed\.3\.weight is 40x16"),
        ("checkpoint_forbidden_global.pt", UnsupportedError, r"refused: .*mkdir"),
        ("checkpoint_truncated.pt", UnreadableError, "damaged"),
    ],
)
def test_damaged_checkpoints_end_in_the_right_error(
    golden, file, error, says, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=says):
        built(golden, own=f"damaged/{file}")
    assert not (tmp_path / "GOLD_FORBIDDEN_EXECUTED").exists()


def test_its_own_file_alone_is_not_enough(golden):
    with pytest.raises(WeightsError, match="encoder"):
        models.create(NAME, checkpoint=golden.folder / "checkpoint_medsegx.pth")


def test_segment_anything_alone_is_not_enough(golden):
    base = golden.folder / "checkpoint_base_sam.pth"
    options = {"image_size": 128, "decoder_heads": 4, "dim": 64}
    with pytest.raises(WeightsError, match="not the whole of 'medsegx'"):
        models.create(NAME, checkpoint=base, **options)
    net = models.create(NAME, checkpoint=base, partial=True, **options)
    assert any(".adapter_gate." in name for name in net.report.missing)


def test_two_files_are_kept_as_one(golden, net, tmp_path):
    models.keep(net, tmp_path / "kept")
    again = models.create(NAME, checkpoint=tmp_path / "kept")
    assert not again.report.missing
    picture, box = golden.inputs["img_0_255"][0].numpy(), golden.inputs["box_xyxy"][0].numpy()
    said, want = (
        one.segment(picture, boxes=box, task="Fundus_OpticCup").chances for one in (again, net)
    )
    assert np.array_equal(said, want)


def test_a_task_may_be_named_when_it_is_built(golden, net):
    picture, box = golden.inputs["img_0_255"][0].numpy(), golden.inputs["box_xyxy"][0].numpy()
    told = built(golden, task="Fundus_OpticCup")
    want = net.segment(picture, boxes=box, task="Fundus_OpticCup")
    assert np.array_equal(told.segment(picture, boxes=box).chances, want.chances)
    with pytest.raises(RecipeError, match="MODALITY_Task"):
        net.segment(picture, boxes=box)
    with pytest.raises(RecipeError, match="MODALITY_Task"):
        built(golden, task="OpticCup")


def test_experts_start_as_segment_anything():
    net, inputs = tiny(NAME), example(NAME)
    with torch.inference_mode():
        before = net(**inputs)[0]
        for block in net.image_encoder.blocks:
            block.mlp.scale = 0.0
        assert torch.equal(before, net(**inputs)[0])
