"""mmFormer says what its official code says, for whatever inputs are there, and takes others."""

import pytest
import torch
from golden import Golden

from osler import models
from osler.errors import RecipeError
from osler.models.trying import tiny

NAME = "mmformer"
SMALL = {"width": 2, "embed_dim": 8, "num_heads": 2, "hidden": 8}


@pytest.fixture(scope="module")
def golden():
    return Golden("mmformer")


@pytest.fixture(scope="module")
def net(golden):
    return models.create(NAME, checkpoint=golden.folder / "checkpoint.pth", **golden.options)


@pytest.fixture(scope="module")
def images(golden, net):
    x = golden.inputs["x"]
    return {name: x[:, i : i + 1] for i, name in enumerate(net.modalities)}


def test_nothing_of_the_checkpoint_is_left_over(net):
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    assert not net.report.dropped
    assert net.order == "published"
    assert net.modalities == ("flair", "t1ce", "t1", "t2")


def test_a_file_that_sorts_its_names_is_the_same_network(golden, net, images, tmp_path):
    from safetensors.torch import save_file

    weights = torch.load(golden.folder / "checkpoint.pth", weights_only=True)["state_dict"]
    save_file({k: v.contiguous() for k, v in sorted(weights.items())}, tmp_path / "a.safetensors")
    other = models.create(NAME, checkpoint=tmp_path / "a.safetensors", **golden.options)
    with torch.inference_mode():
        assert torch.equal(other(**images), net(**images))


def test_one_input_on_its_own(golden, net, images):
    with torch.inference_mode():
        maps, tokens, _ = net.encode(images)
    golden.agrees(tokens["flair"], "flair_intra_tokens", atol=3e-4)
    golden.agrees(maps["flair"][0][..., ::4, ::4, ::4], "flair_enc_x1_every4")
    for level in (2, 3, 4, 5):
        golden.agrees(maps["flair"][level - 1], f"flair_enc_x{level}")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_all_inputs_and_some(golden, net, images, number):
    present = golden.inputs["masks"][number : number + 1]
    with torch.inference_mode():
        _, _, everything = net.encode(images, present)
        golden.agrees(everything, f"inter_tokens_mask{number}")
        decoded = net.multimodal_decode_conv(net.ordered(everything, (2, 2, 2)))
        golden.agrees(decoded, f"inter_decode_conv_mask{number}")
        said = net(present=present, **images)
        golden.agrees(said, f"logits_mask{number}")
        given = {name: x for name, x in images.items() if present[0, list(images).index(name)]}
        golden.agrees(net(**given), f"logits_mask{number}")


def test_what_training_sees_beside_the_scores(golden, net, images):
    with torch.inference_mode():
        said = net.auxiliary(present=golden.inputs["masks"][1:2], **images)
    golden.agrees(said["scores"], "logits_mask1")
    for name, scores in said["alone"].items():
        golden.agrees(scores.softmax(dim=1)[..., ::4, ::4, ::4], f"sep_pred_{name}_every4")
    for level, chances in enumerate(said["scales"], start=1):
        golden.agrees(chances[..., ::4, ::4, ::4], f"scale_pred_up{2**level}_every4")


def test_our_order_keeps_places_apart_and_the_published_does_not():
    ours, theirs = (tiny(NAME, order=order) for order in ("places", "published"))
    tokens = torch.zeros(1, 8, 8)
    tokens[0, [1, 5]] = 1.0  # place 1 of both inputs
    assert ours.ordered(tokens, (2, 2))[0].sum(dim=0).tolist() == [[0, 16], [0, 0]]
    assert theirs.ordered(tokens, (2, 2))[0].sum(dim=0).tolist() == [[8, 0], [8, 0]]


@pytest.mark.parametrize("dims", [2, 3])
def test_any_named_set_of_inputs(dims):
    torch.manual_seed(0)
    net = models.create(
        NAME,
        weights="random",
        modalities=["cfp", "ffa", "icg"],
        dims=dims,
        channels={"cfp": 3, "ffa": 1, "icg": 1},
        image_size=32,
        num_classes=5,
        **SMALL,
    )
    cfp, ffa = torch.rand(2, 3, *[32] * dims), torch.rand(2, 1, *[32] * dims)
    with torch.inference_mode():
        both = net(cfp=cfp, ffa=ffa)
        assert both.shape == (2, 5, *[32] * dims)
        some = net(cfp=cfp, ffa=ffa, present=torch.tensor([[1, 1, 0], [1, 0, 0]]))
        # norms of maps that are all but even make much of the last digits
        assert torch.allclose(some[0], both[0], atol=1e-3)
        assert torch.allclose(some[1], net(cfp=cfp[1:])[0], atol=1e-3)
        assert not torch.allclose(some[1], both[1], atol=1e-2)


def test_pictures_and_volumes_together_are_classified():
    torch.manual_seed(0)
    net = models.create(
        NAME,
        weights="random",
        modalities=["cfp", "oct"],
        dims={"cfp": 2, "oct": 3},
        channels={"cfp": 3, "oct": 1},
        image_size={"cfp": 64, "oct": (32, 48, 32)},
        num_classes=4,
        answer="classification",
        **SMALL,
    )
    cfp, volume = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 32, 48, 32)
    with torch.inference_mode():
        assert net(cfp=cfp, oct=volume).shape == (2, 4)
        alone = net(cfp=cfp)
        assert torch.isfinite(alone).all()
        masked = net(cfp=cfp, oct=volume, present=torch.tensor([[1, 0], [1, 1]]))
    assert torch.allclose(masked[0], alone[0], atol=1e-5)
    assert not torch.allclose(masked[1], alone[1], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"image_size": 40}, "multiples of 16"),
        ({"image_size": {"photo": 32, "oct": 64}}, "one size"),
        ({"modalities": ["oct", "oct"]}, "differ"),
        ({"modalities": ["not a word"]}, "plain word"),
    ],
)
def test_sets_that_mean_nothing_are_refused(options, says):
    with pytest.raises(RecipeError, match=says):
        tiny(NAME, **options)


def test_inputs_by_the_wrong_name_are_refused():
    with pytest.raises(RecipeError, match="there is no mri"):
        tiny(NAME)(mri=torch.zeros(1, 1, 32, 32))
    with pytest.raises(RecipeError, match="none is given"):
        tiny(NAME)()
