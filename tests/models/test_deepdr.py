"""DeepDR's image module says what its official code says, in the names of timm and torchvision."""

import numpy as np
import pytest
import torch
from golden import Golden

from osler import models
from osler.errors import WeightsError
from osler.models.deepdr import merged, quadrants

GRADES = "deepdr-vit-base"
LESIONS = "deepdr-vit-base-lesions"


@pytest.fixture(scope="module")
def golden():
    return Golden("deepdr")


def lesions(golden, **options):
    return models.create(
        LESIONS,
        checkpoint=golden.folder / "checkpoint_seg.pth",
        levels=golden.config["out_indices"],
        **{**golden.options, **options},
    )


def test_classification(golden):
    net = models.create(GRADES, checkpoint=golden.folder / "checkpoint_cla.pth", **golden.options)
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    x = golden.inputs["x"]
    with torch.inference_mode():
        golden.agrees(net.features(x), "cla_feature_pooled_then_norm")
        golden.agrees(net(x), "cla_logits")


def test_lesions(golden):
    net = lesions(golden)
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    x = golden.inputs["x"]
    with torch.inference_mode():
        each = zip(golden.config["out_indices"], net.maps(x), net.scores(x), strict=True)
        for number, (block, level, scores) in enumerate(each):
            golden.agrees(
                level.flatten(2).transpose(1, 2), f"seg_feature_block{block}_no_final_norm"
            )
            golden.agrees(scores, f"seg_logits_head{number}")
        golden.agrees(net(x), "seg_logits_head3")


def test_a_picture_of_twice_the_tile_is_cut_in_four(golden):
    net = lesions(golden)
    x = golden.inputs["x"]
    large = torch.cat([torch.cat([x[:1], x[1:]], 3), torch.cat([x[1:], x[:1]], 3)], 2)
    with torch.inference_mode():
        said = net(large)[0]
    one, other = golden.outputs["seg_logits_head3"]
    want = torch.cat([torch.cat([one, other], 2), torch.cat([other, one], 2)], 1)
    np.testing.assert_allclose(said, want, rtol=1e-4, atol=3e-5)


def test_quadrants_come_together_again():
    x = torch.arange(2 * 3 * 6 * 8.0).reshape(2, 3, 6, 8)
    tiles = quadrants(x)
    assert tiles.shape == (8, 3, 3, 4)
    assert torch.equal(tiles[3], x[1, :, :3, 4:])
    assert torch.equal(tiles[4], x[0, :, 3:, :4])
    assert torch.equal(merged(tiles), x)


def test_torchvisions_layout(golden):
    path = golden.folder / "checkpoint_torchvision_vit.pth"
    net = models.create(GRADES, checkpoint=path, **golden.options, pool="token")
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    x = golden.inputs["x"]
    with torch.inference_mode():
        golden.agrees(net.norm(net.tokens(x)), "torchvision_vit_tokens_after_ln")
        golden.agrees(net(x), "torchvision_vit_logits_cls_token")


def test_what_one_may_start_from_is_not_taken_for_it(golden):
    from osler.models.checkpoints.reading import read_checkpoint

    def names(file):
        return {one.name for one, _ in models.recognise(read_checkpoint(golden.folder / file))}

    assert names("checkpoint_seg.pth") >= {LESIONS}
    assert LESIONS not in names("checkpoint_cla.pth")
    assert GRADES in names("checkpoint_cla.pth")
    assert not {GRADES, LESIONS} & names("checkpoint_torchvision_vit.pth")


@pytest.mark.parametrize("file", ["checkpoint_torchvision_vit.pth", "checkpoint_cla.pth"])
def test_lesions_start_from_a_classifier(golden, file):
    net = models.create(LESIONS, checkpoint=golden.folder / file, **golden.options, channels_up=4)
    assert net.report.share == 1
    assert all(name.startswith("heads.") for name in net.report.missing)
    assert not net.report.unexpected
    assert len(net.report.dropped) == 2
    assert net(golden.inputs["x"]).shape == (2, 5, 64, 64)


def test_another_number_of_labels_replaces_the_last_layers(golden):
    net = lesions(golden, num_classes=2)
    assert net(golden.inputs["x"]).shape == (2, 2, 64, 64)
    assert len(net.report.dropped) == 8


def test_a_lost_tensor_is_named(golden, tmp_path):
    stored = torch.load(golden.folder / "checkpoint_seg.pth", weights_only=True)
    del stored["model"]["Head.Head2.UP_stage_3.0.weight"]
    torch.save(stored, tmp_path / "damaged.pth")
    with pytest.raises(WeightsError, match=r"heads\.2\.up3\.0\.weight is absent"):
        models.create(LESIONS, checkpoint=tmp_path / "damaged.pth", **golden.options)


def test_the_official_order_of_channels():
    card = models.find(LESIONS).card
    picture = np.zeros((3, 40, 30), np.uint8)
    picture[0] = 255
    said = card.alternatives["official"](picture)
    assert said.shape == (3, 896, 896)
    middle = said[:, 448, 448]
    assert middle[2] == pytest.approx((1 - 0.406) / 0.225, rel=1e-5)
    assert middle[0] == pytest.approx(-0.485 / 0.229, rel=1e-5)
    assert np.allclose(said[:, 448, 5], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
