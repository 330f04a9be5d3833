"""CABNet's attention is that of its paper, on any backbone that gives maps."""

import pytest
import torch
from golden import Golden

from osler import models
from osler.errors import RecipeError
from osler.models.cabnet import smooth
from osler.models.trying import tiny

NAME = "cabnet"


@pytest.fixture(scope="module")
def golden():
    return Golden("cabnet")


def last(x):
    return x.permute(0, 2, 3, 1)


@pytest.fixture(scope="module")
def net(golden):
    return models.create(NAME, checkpoint=golden.folder / "weights.npz").double()


def test_the_attention_of_the_paper(golden, net):
    assert not net.report.unexpected
    x = golden.inputs["x"].double().permute(0, 3, 1, 2)
    with torch.inference_mode():
        channels = net.gab.channels(x)
        golden.agrees(last(channels), "gab_channel_attention")
        golden.agrees(last(channels * x), "gab_channel_refined")
        golden.agrees(last((channels * x).mean(1, keepdim=True).sigmoid()), "gab_spatial_attention")
        refined = net.gab(x)
        golden.agrees(last(refined), "gab_out")
        golden.agrees(last(net.cab.bn(net.cab.conv(refined)).relu()), "cab_feature_relu")
        scores, maps = net.cab.categories(refined)
        golden.agrees(scores, "cab_class_scores_S")
        golden.agrees(last(maps), "cab_class_maps_G")
        assert torch.equal(net.attention(x), maps)
        golden.agrees(last(net.cab.map(refined)), "cab_map_M")
        golden.agrees(last(net.cab(refined)), "cab_out")
        golden.agrees(net(x), "logits")
        golden.agrees(net(x).softmax(dim=1), "probs")


@pytest.mark.parametrize(
    ("published", "output"),
    [(True, "loss_label_smooth_official_per_sample"), (None, "loss_ce_per_sample")],
)
def test_the_loss_of_the_paper(golden, net, published, output):
    grades = golden.inputs["onehot"].argmax(dim=1)
    target = golden.inputs["onehot"]
    if published:
        target = smooth(grades, 5, published=True).double()
        assert target.sum(dim=1).tolist() == pytest.approx([1.15, 1.15])
    said = -(target * golden.outputs["logits"].log_softmax(dim=1)).sum(dim=1)
    golden.agrees(said, output)


def test_our_smoothing_spreads_what_it_takes():
    target = smooth(torch.tensor([0, 3]), 5)
    assert target.sum(dim=1).tolist() == pytest.approx([1, 1])
    assert target[0, 0] == pytest.approx(0.92)


@pytest.mark.parametrize("backbone", ["densenet-121", "mobilenet-v3-small", "retfound-vit-large"])
def test_it_stands_on_backbones_of_the_list(backbone):
    options = models.find(backbone).card.tiny
    net = tiny(NAME, backbone=backbone, backbone_options=options)
    with torch.inference_mode():
        x = torch.rand(2, 3, *[options.get("image_size", 64)] * 2)
        assert net(x).shape == (2, 3)
        assert net.attention(x).shape[:2] == (2, 3)


def test_a_backbone_brings_its_own_weights_and_needs_its_file_no_more(tmp_path):
    mae = Golden("retfound")
    net = models.create(
        NAME,
        weights="random",
        backbone="retfound-vit-large",
        backbone_checkpoint=mae.folder / "checkpoint_mae_pretrain.pth",
        backbone_options={"image_size": 96, "num_heads": 4},
    )
    assert net.backbone.report.share == 1
    models.keep(net, tmp_path / "kept")
    assert "mae_pretrain" not in (tmp_path / "kept/config.json").read_text()
    again, x = models.create(NAME, checkpoint=tmp_path / "kept"), torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        assert torch.equal(net(x), again(x))


def test_what_it_cannot_stand_on_is_refused():
    for backbone in (NAME, "sam-vit-base"):
        with pytest.raises(RecipeError, match="stand on"):
            tiny(NAME, backbone=backbone, backbone_options=models.find("medsam").card.tiny)
    with pytest.raises(RecipeError, match="width"):
        tiny(NAME, backbone=None)
