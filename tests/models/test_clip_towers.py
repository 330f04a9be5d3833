"""CLIP with a residual network, and open_clip's pairs of a vision transformer and a BERT.

The networks that write the files are put together here from torch's and transformers' own parts,
under the names of OpenAI and open_clip.
"""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from osler import models
from osler.errors import InputError, UnreadableError
from osler.models.vit import VisionTransformer

WIDTH, DIM, LAYERS = 8, 12, (2, 1, 1, 1)


def conv(x, w, name, **options):
    return functional.conv2d(x, w[f"{name}.weight"], **options)


def norm(x, w, name):
    stats = (w[f"{name}.running_mean"], w[f"{name}.running_var"])
    return functional.batch_norm(x, *stats, w[f"{name}.weight"], w[f"{name}.bias"])


def seen(w, x, attention):
    """The modified residual network of CLIP's paper, written out."""
    for number in (1, 2, 3):
        x = conv(x, w, f"visual.conv{number}", stride=2 if number == 1 else 1, padding=1)
        x = norm(x, w, f"visual.bn{number}").relu()
    x = functional.avg_pool2d(x, 2)
    for stage, depth in enumerate(LAYERS):
        for place in range(depth):
            at, y = f"visual.layer{stage + 1}.{place}", x
            x = norm(conv(x, w, f"{at}.conv1"), w, f"{at}.bn1").relu()
            x = norm(conv(x, w, f"{at}.conv2", padding=1), w, f"{at}.bn2").relu()
            if stage and not place:
                x, y = functional.avg_pool2d(x, 2), functional.avg_pool2d(y, 2)
            if not place:
                y = norm(conv(y, w, f"{at}.downsample.0"), w, f"{at}.downsample.1")
            x = (norm(conv(x, w, f"{at}.conv3"), w, f"{at}.bn3") + y).relu()
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([x.mean(1, keepdim=True), x], 1) + w["visual.attnpool.positional_embedding"]
    return (
        attention(x[:, :1], x, x, need_weights=False)[0][:, 0]
        @ w["visual.attnpool.c_proj.weight"].T
        + w["visual.attnpool.c_proj.bias"]
    )


@pytest.fixture(scope="module")
def residual():
    """A small file of OpenAI's names, and the attention that pools, as torch's own module."""
    torch.manual_seed(0)
    ours = models.create(
        "clip-resnet-50", weights="random", layers=LAYERS, width=WIDTH, image_size=64,
        vision_heads=4, proj_dim=DIM, text_dim=16, text_depth=1, text_heads=2, text_hidden=32,
        vocabulary=30, positions=9,
    )  # fmt: skip
    weights = {}
    for name, own in ours.state_dict().items():
        value = torch.randn_like(own) * 0.3 if own.is_floating_point() else own
        if name.startswith("vision."):
            value = value.abs() + 0.5 if name.endswith("running_var") else value
            weights["visual." + name.removeprefix("vision.")] = value
    pool = "visual.attnpool."
    attention = nn.MultiheadAttention(32 * WIDTH, 4, batch_first=True)
    attention.in_proj_weight.data = torch.cat([weights[f"{pool}{p}_proj.weight"] for p in "qkv"])
    attention.in_proj_bias.data = torch.cat([weights[f"{pool}{p}_proj.bias"] for p in "qkv"])
    attention.out_proj.weight.data = torch.eye(32 * WIDTH)
    attention.out_proj.bias.data.zero_()
    weights |= {
        "positional_embedding": torch.randn(9, 16), "token_embedding.weight": torch.randn(30, 16),
        "ln_final.weight": torch.ones(16), "ln_final.bias": torch.zeros(16),
        "text_projection": torch.randn(16, DIM), "logit_scale": torch.tensor(2.0),
    }  # fmt: skip
    shapes = {
        "ln_1.weight": (16,), "ln_1.bias": (16,), "ln_2.weight": (16,), "ln_2.bias": (16,),
        "attn.in_proj_weight": (48, 16), "attn.in_proj_bias": (48,),
        "attn.out_proj.weight": (16, 16), "attn.out_proj.bias": (16,),
        "mlp.c_fc.weight": (32, 16), "mlp.c_fc.bias": (32,),
        "mlp.c_proj.weight": (16, 32), "mlp.c_proj.bias": (16,),
    }  # fmt: skip
    weights |= {f"transformer.resblocks.0.{k}": torch.randn(s) for k, s in shapes.items()}
    return weights, attention


def test_a_residual_network_of_openai(residual, tmp_path):
    weights, attention = residual
    torch.save(weights, tmp_path / "RN.pt")
    net = models.create(
        "clip-resnet-50", checkpoint=tmp_path / "RN.pt", vision_heads=4, text_heads=2
    )
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    assert net.options["layers"] == list(LAYERS)
    assert net.options["image_size"] == 64
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        due = functional.normalize(seen(weights, x, attention), dim=1)
        torch.testing.assert_close(net.embed_image(x), due, rtol=1e-4, atol=1e-5)
        assert net.embed_image(torch.rand(1, 3, 96, 64)).shape == (1, DIM)
    assert ("clip-resnet-50", "CLIP of OpenAI and open_clip, residual network") in models.inspect(
        tmp_path / "RN.pt"
    ).looks_like


@pytest.fixture
def biomed(tmp_path):
    """A folder as open_clip publishes it, its towers, and texts with padding."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(2)
    trunk = VisionTransformer(image_size=32, embed_dim=24, depth=2, num_heads=2).eval()
    text = BertModel(
        BertConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=24, max_position_embeddings=20,
        ),
        add_pooling_layer=False,
    ).eval()  # fmt: skip
    proj = nn.Sequential(nn.Linear(16, 10, bias=False), nn.GELU(), nn.Linear(10, 8, bias=False))
    head = nn.Linear(24, 8, bias=False)
    whole = {"logit_scale": torch.tensor(3.0), "visual.head.proj.weight": head.weight.data}
    parts = {"visual.trunk": trunk, "text.transformer": text, "text.proj": proj}
    for start, part in parts.items():
        for value in part.parameters():
            value.data.normal_(std=0.3)
        whole |= {f"{start}.{name}": value for name, value in part.state_dict().items()}
    torch.save(whole, tmp_path / "open_clip_pytorch_model.bin")
    text_cfg = {"hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 18}
    said = {"model_cfg": {"embed_dim": 8, "text_cfg": text_cfg}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(said))
    return tmp_path, trunk, head, text, proj


def test_a_folder_of_open_clip(biomed):
    folder, trunk, head, text, proj = biomed
    net = models.create("biomedclip", checkpoint=folder, num_heads=2, text_heads=2)
    assert net.report.share == 1
    assert not net.report.unexpected
    assert net.longest == 18
    x, ids = torch.rand(2, 3, 32, 32), torch.randint(1, 40, (3, 18))
    ids[1, 9:] = 0
    mask = (ids > 0).long()
    with torch.inference_mode():
        seen_ = functional.normalize(head(trunk(x)), dim=1)
        said = text(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
        said = functional.normalize(proj(said), dim=1)
        torch.testing.assert_close(net.embed_image(x), seen_)
        torch.testing.assert_close(net.embed_text(ids, mask), said)
        due = torch.tensor(3.0).exp() * seen_ @ said.T
        torch.testing.assert_close(net(x, ids, mask), due, rtol=1e-4, atol=1e-4)


def test_a_folder_that_is_not_whole_says_what_is_absent(biomed):
    folder = biomed[0]
    (folder / "open_clip_pytorch_model.bin").rename(folder / "part-1.bin")
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part-1.bin", "b": "part-2.bin"}}))
    with pytest.raises(InputError, match=r"not whole: 'part-2.bin', which holds 1 of its 2"):
        models.inspect(folder)
    index.write_text(json.dumps({"weight_map": {"logit_scale": "part-1.bin", "b": "part-1.bin"}}))
    with pytest.raises(UnreadableError, match=r"'b' is not in 'part-1.bin'"):
        models.inspect(folder)
    index.write_text("[1]")
    with pytest.raises(UnreadableError, match="no names and values"):
        models.inspect(folder)
