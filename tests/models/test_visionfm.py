"""VisionFM says what its official code says, with each of its heads."""

import pytest
import torch
from golden import Golden

from osler import models
from osler.errors import RecipeError, WeightsError

NAME = "visionfm-vit-base"


@pytest.fixture(scope="module")
def golden():
    return Golden("visionfm")


@pytest.fixture(scope="module")
def pretrained(golden):
    return golden.folder / "checkpoint_pretrain.pth"


@pytest.fixture(scope="module")
def other_heads(golden):
    return torch.load(golden.folder / "checkpoint_other_heads.pth", weights_only=True)


def test_the_pretrained_encoder(golden, pretrained):
    net = models.create(NAME, checkpoint=pretrained, **golden.options)
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    assert len(net.report.dropped) == 10
    assert all("head." in name for name in net.report.dropped)
    x = golden.inputs["x"]
    with torch.inference_mode():
        golden.agrees(net.pos_embed, "pos_embed_used")
        tokens = net.norm(net.tokens(x))
        golden.agrees(tokens, "forward_all_tokens")
        golden.agrees(tokens[:, 0], "forward_cls")
        for number, level in enumerate(net.levels(x, (8, 9, 10, 11), norm=True)):
            golden.agrees(level, f"last4_normed_layer{number}")
        for block, level in zip((3, 5, 7, 11), net.maps(x), strict=True):
            golden.agrees(level.flatten(2).transpose(1, 2), f"seg_feature_block{block}_normed")
        golden.agrees(net(x), "cls_concat_4xD")
        golden.agrees(net.attention(x), "last_selfattention")


def test_positions_of_another_size_both_ways(golden, pretrained):
    larger = golden.inputs["x_larger"]
    official = models.create(NAME, checkpoint=pretrained, **golden.options, positions="scale")
    ours = models.create(NAME, checkpoint=pretrained, **golden.options)
    with torch.inference_mode():
        tokens = official.norm(official.tokens(larger))
        golden.agrees(tokens, "forward_all_tokens_larger_image")
        difference = (ours.norm(ours.tokens(larger)) - tokens).abs().max()
    assert 1e-4 < difference < 1


def test_a_fine_tuned_classifier(golden):
    net = models.create(
        NAME, checkpoint=golden.folder / "checkpoint_finetuned_cls.pth", **golden.options
    )
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    with torch.inference_mode():
        golden.agrees(net(golden.inputs["x"]), "logits_cls")


def test_the_head_of_a_fine_tuned_classifier_may_be_left_or_replaced(golden):
    path = golden.folder / "checkpoint_finetuned_cls.pth"
    features = models.create(NAME, checkpoint=path, **golden.options, head="none")
    x = golden.inputs["x"]
    with torch.inference_mode():
        golden.agrees(features(x), "cls_concat_4xD")
    assert not features.report.unexpected
    assert len(features.report.dropped) == 11
    other = models.create(NAME, checkpoint=path, **golden.options, num_classes=2)
    assert other(x).shape[1] == 2
    assert sorted(other.report.dropped) == ["head.classifier.6.bias", "head.classifier.6.weight"]


@pytest.mark.parametrize(
    ("head", "pool", "group", "output"),
    [
        ("classification", "patches", "classifier_patchmean", "logits_patchmean"),
        ("regression", "tokens", "regression", "regression"),
    ],
)
def test_a_head_in_a_file_of_its_own(
    golden, pretrained, other_heads, tmp_path, head, pool, group, output
):
    torch.save({"state_dict": other_heads[group]}, tmp_path / "head.pth")
    net = models.create(
        NAME, checkpoint=[pretrained, tmp_path / "head.pth"], **golden.options, pool=pool
    )
    assert net.kind == head
    assert not net.report.missing
    assert not net.report.unexpected
    x = golden.inputs["x"]
    with torch.inference_mode():
        if pool == "patches":
            golden.agrees(net.features(x), "patchmean_feature")
        golden.agrees(net(x), output)


def test_segmentation_takes_the_encoder_and_the_decoder(golden, pretrained):
    decoder = golden.folder / "checkpoint_segdecoder.pth"
    net = models.create(NAME, checkpoint=[pretrained, decoder], **golden.options)
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    x = golden.inputs["x"]
    with torch.inference_mode():
        golden.agrees(net(x), "seg_logits")
        assert net(x[:, :, :48, :]).shape[2:] == (48, x.shape[3])
    with pytest.raises(WeightsError, match=r"must bring its encoder.*decoder of segmentation"):
        models.create(NAME, checkpoint=decoder, **golden.options)


def test_half_a_decoder_is_refused(golden, pretrained, tmp_path):
    whole = torch.load(golden.folder / "checkpoint_segdecoder.pth", weights_only=True)
    del whole["state_dict"]["module.c2.0.layers.0.weight"]
    torch.save(whole, tmp_path / "decoder.pth")
    with pytest.raises(WeightsError, match=r"head\.c2\.0\.layers\.0\.weight is absent"):
        models.create(NAME, checkpoint=[pretrained, tmp_path / "decoder.pth"], **golden.options)


def test_the_head_of_self_distillation(golden, pretrained):
    net = models.create(NAME, checkpoint=pretrained, **golden.options, head="projection")
    assert not net.report.missing
    assert not net.report.dropped
    with torch.inference_mode():
        golden.agrees(net.head(golden.inputs["projector_in"]), "ibot_head_out")
        assert net(golden.inputs["x"]).shape[1] == golden.outputs["ibot_head_out"].shape[1]


@pytest.mark.parametrize("head", ["regression", "segmentation", "projection"])
def test_every_head_learns(head):
    torch.manual_seed(0)
    net = models.create(
        NAME, weights="random", image_size=32, embed_dim=24, depth=4, num_heads=2, base=4,
        num_classes=2, head=head, projection=(16, 8, 12),
    ).train()  # fmt: skip
    net(torch.rand(2, 3, 32, 48)).square().mean().backward()
    reached = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters()]
    assert sum(reached) >= 0.9 * len(reached) - 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_segmentation_leaves_as_onnx(golden, pretrained):
    import onnxruntime

    from osler.models.trying import export

    net = models.create(
        NAME,
        checkpoint=[pretrained, golden.folder / "checkpoint_segdecoder.pth"],
        **golden.options,
    )
    x = golden.inputs["x"]
    session = onnxruntime.InferenceSession(
        export(net, {"x": x}), providers=["CPUExecutionProvider"]
    )
    golden.agrees(torch.from_numpy(session.run(None, {"x": x.numpy()})[0]), "seg_logits", atol=1e-3)


def test_the_modality_chooses_the_preprocessing():
    tiny = {"image_size": 32, "embed_dim": 24, "depth": 4, "num_heads": 2}
    oct_ = models.create(NAME, weights="random", modality="oct", **tiny).card.preprocessing
    fundus = models.create(NAME, weights="random", **tiny).card.preprocessing
    lesions = models.create(
        NAME, weights="random", modality="oct", head="segmentation", num_classes=2, **tiny
    ).card.preprocessing
    assert fundus.steps[-1].mean[2] == pytest.approx(0.1284, abs=1e-4)
    assert oct_.steps[-1].mean == (0.21091926, 0.21091926, 0.21091919)
    assert oct_.steps[0].resize == (224, 224)
    assert lesions.steps[0].resize == (512, 512)
    assert lesions.steps[-1] == oct_.steps[-1]
    assert models.find(NAME).card.chosen({"modality": "ubm", "head": "segmentation"}).answers == [
        "segmentation"
    ]
    with pytest.raises(RecipeError, match="no modality 'xray'; it has fundus, oct"):
        models.create(NAME, weights="random", modality="xray", **tiny)


def test_the_layout_is_recognised(golden):
    from osler.models.checkpoints.reading import read_checkpoint

    for file in ("checkpoint_pretrain.pth", "checkpoint_finetuned_cls.pth"):
        assert NAME in [s.name for s, _ in models.recognise(read_checkpoint(golden.folder / file))]
