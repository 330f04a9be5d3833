"""TransUNet says what its official code says, and takes Google's arrays; TransUNet++ gates."""

import numpy as np
import pytest
import torch
from golden import Golden
from scipy.ndimage import zoom

from osler import models
from osler.errors import RecipeError, WeightsError
from osler.models.transunet_encoder import resize_positions
from osler.models.transunet_pp import Gate
from osler.models.trying import tiny

NAME, NESTED = "transunet", "transunet-pp"


@pytest.fixture(scope="module")
def golden():
    return Golden("transunet")


@pytest.fixture(scope="module")
def net(golden):
    return models.create(NAME, checkpoint=golden.folder / "checkpoint.pth", **golden.options)


def test_every_step_of_the_network(golden, net):
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    x = golden.inputs["x"]
    with torch.inference_mode():
        last, skips = net.encode(x)
        golden.agrees(net.transformer.embeddings.hybrid_model(x)[0], "resnet_out")
        golden.agrees(last.flatten(2).transpose(1, 2), "encoded_tokens")
        for number, skip in enumerate(skips):
            golden.agrees(skip.mean(dim=(2, 3)), f"skip{number}_mean_hw")
            golden.agrees(skip[:, :4], f"skip{number}_first_channels")
        golden.agrees(net.decoder(last, skips), "decoder_out")
        golden.agrees(net(x), "logits")
        golden.agrees(net(golden.inputs["x_1ch"]), "logits_1ch_input")


def test_another_number_of_classes_gets_a_new_head(golden):
    net = models.create(
        NAME, checkpoint=golden.folder / "checkpoint.pth", **golden.options, num_classes=2
    )
    assert {"segmentation_head.0.weight", "segmentation_head.0.bias"} <= set(net.report.dropped)
    assert net(golden.inputs["x"]).shape == (1, 2, 64, 64)


def google_arrays(net, side):
    """A network's encoder as Google wrote it, with positions of another grid and a class token."""
    heads = net.transformer.encoder.layer[0].attn.heads
    out = {}
    for name, value in net.transformer.state_dict().items():
        array = value.numpy()
        flax = name.replace("weight", "kernel" if array.ndim > 1 else "scale").split(".")
        flax = ["Transformer/encoderblock_" + flax[2], *flax[3:]] if flax[1] == "layer" else flax
        path = "/".join(flax)
        for ours, theirs in (
            ("embeddings/hybrid_model/root/conv", "conv_root"),
            ("embeddings/hybrid_model/root/gn", "gn_root"),
            ("embeddings/hybrid_model/body/", ""),
            ("embeddings/patch_embeddings", "embedding"),
            ("encoder/encoder_norm", "Transformer/encoder_norm"),
            ("downsample", "conv_proj"),
            ("attention_norm", "LayerNorm_0"),
            ("ffn_norm", "LayerNorm_2"),
            ("ffn/fc1", "MlpBlock_3/Dense_0"),
            ("ffn/fc2", "MlpBlock_3/Dense_1"),
            ("/attn/", "/MultiHeadDotProductAttention_1/"),
        ):
            path = path.replace(ours, theirs)
        dim = net.transformer.embeddings.position_embeddings.shape[2]
        if path.endswith(("query/kernel", "key/kernel", "value/kernel")):
            array = array.T.reshape(dim, heads, -1)
        elif path.endswith(("query/bias", "key/bias", "value/bias")):
            array = array.reshape(heads, -1)
        elif path.endswith("Attention_1/out/kernel"):
            array = array.T.reshape(heads, -1, dim)
        elif array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif array.ndim == 2:
            array = array.T
        elif "/gn" in path or path.startswith("gn_root"):
            array = array.reshape(1, 1, 1, -1)
        if path.endswith("position_embeddings"):
            grid = np.random.default_rng(0).normal(size=(1, 1 + side * side, dim))
            path, array = "Transformer/posembed_input/pos_embedding", grid.astype(np.float32)
        out[path] = array
    out["head/kernel"] = np.zeros((4, 2), np.float32)
    out["cls"] = np.zeros((1, 1, 16), np.float32)
    return out


@pytest.mark.parametrize("name", [NAME, NESTED])
def test_googles_arrays_fill_the_encoder(name, tmp_path):
    torch.manual_seed(0)
    first = tiny(name, image_size=48)
    for value in first.parameters():
        torch.nn.init.normal_(value, std=0.1)
    arrays = google_arrays(first, 5)
    np.savez(tmp_path / "R50+ViT-B_16.npz", **arrays)
    options = models.find(name).card.tiny
    kept = {k: v for k, v in options.items() if k in ("head_channels", "decoder_channels")}
    net = models.create(
        name, checkpoint=tmp_path / "R50+ViT-B_16.npz", image_size=48, num_classes=2, **kept
    )
    assert net.report.share == 1
    assert not net.report.unexpected
    assert set(net.report.dropped) == {"head/kernel", "cls"}
    assert all(n.startswith(("decoder.", "segmentation_head.")) for n in net.report.missing)
    ours, theirs = net.transformer.state_dict(), first.transformer.state_dict()
    for key, value in theirs.items():
        if not key.endswith("position_embeddings"):
            assert torch.equal(ours[key], value), key
    grid = arrays["Transformer/posembed_input/pos_embedding"][0, 1:].reshape(5, 5, -1)
    want = zoom(grid, (3 / 5, 3 / 5, 1), order=1).reshape(9, -1)
    said = ours["embeddings.position_embeddings"][0].numpy()
    np.testing.assert_allclose(said, want, rtol=1e-5, atol=1e-6)


def test_positions_of_another_grid_are_linear_from_corner_to_corner():
    learnt = torch.arange(9.0).reshape(1, 9, 1)
    said = resize_positions(learnt, (5, 3)).reshape(5, 3)
    want = [[0, 1, 2], [1.5, 2.5, 3.5], [3, 4, 5], [4.5, 5.5, 6.5], [6, 7, 8]]
    assert said.tolist() == want


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(RecipeError, match="multiple of 16"):
        tiny(NAME)(torch.zeros(1, 3, 40, 32))


def test_a_lost_tensor_of_the_encoder_is_named(golden, tmp_path):
    stored = torch.load(golden.folder / "checkpoint.pth", weights_only=True)
    del stored["transformer.encoder.layer.1.attn.key.weight"]
    torch.save(stored, tmp_path / "lost.pth")
    with pytest.raises(WeightsError, match=r"layer\.1\.attn\.key\.weight is absent"):
        models.create(NAME, checkpoint=tmp_path / "lost.pth", **golden.options)


def test_a_gate_goes_from_convolution_to_transformer():
    torch.manual_seed(0)
    gate, seen, thought = Gate(4, 6), torch.rand(2, 4, 8, 8), torch.rand(2, 6, 2, 2)
    torch.nn.init.zeros_(gate.weigh.weight)
    with torch.inference_mode():
        gate.weigh.bias.fill_(50)
        assert torch.allclose(gate(seen, thought), seen)
        gate.weigh.bias.fill_(-50)
        drawn = gate(seen, thought)
        assert torch.allclose(drawn[:, :, 0, 0], gate.project(thought)[:, :, 0, 0], atol=1e-6)
        gate.weigh.bias.zero_()
        assert torch.allclose(gate(seen, thought), (seen + drawn) / 2, atol=1e-6)
