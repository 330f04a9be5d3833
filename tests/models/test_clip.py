"""CLIP is transformers' under its own names, and OpenAI's under theirs."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from osler import models
from osler.errors import RecipeError, WeightsError

WIDTHS = {"vision": 24, "text": 16}
HEADS = {"vision_heads": 3, "text_heads": 2}


@pytest.fixture(scope="module")
def theirs():
    """A small CLIP of transformers, whose every number is random."""
    from transformers import CLIPConfig, CLIPModel

    both = {"num_hidden_layers": 2, "projection_dim": 12}
    torch.manual_seed(0)
    config = CLIPConfig(
        projection_dim=12,
        vision_config={
            **both, "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40,
            "image_size": 48, "patch_size": 16, "hidden_act": "gelu",
        },
        text_config={
            **both, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 36,
            "vocab_size": 60, "max_position_embeddings": 20, "hidden_act": "gelu",
            "bos_token_id": 58, "eos_token_id": 59, "pad_token_id": 59,
        },
    )  # fmt: skip
    net = CLIPModel(config).eval()
    for value in net.parameters():
        value.data.normal_(std=0.3)
    net.logit_scale.data.fill_(4.9)
    return net


@pytest.fixture
def folder(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


def asked():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 58, (3, 9), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in enumerate((9, 5, 7)):
        ids[row, length - 1 :] = 59
        mask[row, length:] = 0
    return torch.randn(2, 3, 48, 48, generator=generator), ids, mask


def test_a_folder_of_transformers_says_the_same(theirs, folder):
    net = models.create("clip", checkpoint=folder)
    image, ids, mask = asked()
    with torch.inference_mode():
        due = theirs(pixel_values=image, input_ids=ids, attention_mask=mask)
        torch.testing.assert_close(net.embed_image(image), due.image_embeds)
        torch.testing.assert_close(net.embed_text(ids, mask), due.text_embeds)
        torch.testing.assert_close(net(image, ids, mask), due.logits_per_image)
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    assert net.options["activation"] == "gelu"
    assert net.options["end_token"] == 59


def test_another_size_resizes_the_positions(theirs, folder):
    net = models.create("clip", checkpoint=folder, image_size=80)
    name = "vision_model.embeddings.position_embedding.weight"
    assert net.report.reshaped == [(name, (10, 24), (26, 24))]
    large = torch.randn(1, 3, 80, 80, generator=torch.Generator().manual_seed(2))
    same = models.create("clip", checkpoint=folder)
    with torch.inference_mode():
        due = theirs.vision_model(large, interpolate_pos_encoding=True).pooler_output
        torch.testing.assert_close(net.features(large), due)
        torch.testing.assert_close(same.features(large), due)


class OpenAI(nn.Module):
    """CLIP from its paper, under the names of its authors; attention is torch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Module()
        self.visual.conv1 = nn.Conv2d(3, 24, 16, stride=16, bias=False)
        self.visual.class_embedding = nn.Parameter(torch.empty(24))
        self.visual.positional_embedding = nn.Parameter(torch.empty(10, 24))
        self.visual.ln_pre, self.visual.ln_post = nn.LayerNorm(24), nn.LayerNorm(24)
        self.visual.transformer = tower(24)
        self.visual.proj = nn.Parameter(torch.empty(24, 24))  # square: its side cannot be seen
        self.transformer = tower(16)
        self.token_embedding = nn.Embedding(60, 16)
        self.positional_embedding = nn.Parameter(torch.empty(20, 16))
        self.ln_final = nn.LayerNorm(16)
        self.text_projection = nn.Parameter(torch.empty(16, 24))
        self.logit_scale = nn.Parameter(torch.empty(()))

    def forward(self, image, ids):
        x = self.visual.conv1(image).flatten(2).transpose(1, 2)
        first = self.visual.class_embedding.expand(len(x), 1, -1)
        x = torch.cat([first, x], 1) + self.visual.positional_embedding
        x = blocks(self.visual.transformer, self.visual.ln_pre(x), 3, None)
        seen = functional.normalize(self.visual.ln_post(x[:, 0]) @ self.visual.proj, dim=1)
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        later = torch.full((ids.shape[1],) * 2, -torch.inf).triu(1)
        x = self.ln_final(blocks(self.transformer, x, 2, later))
        x = x[torch.arange(len(x)), ids.argmax(1)] @ self.text_projection
        return self.logit_scale.exp() * seen @ functional.normalize(x, dim=1).T


def tower(width: int) -> nn.Module:
    out = nn.Module()
    out.resblocks = nn.ModuleList()
    for _ in range(2):
        block = nn.Module()
        block.ln_1, block.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        block.attn = nn.MultiheadAttention(width, {24: 3, 16: 2}[width], batch_first=True)
        block.mlp = nn.Module()
        block.mlp.c_fc, block.mlp.c_proj = nn.Linear(width, 40), nn.Linear(40, width)
        out.resblocks.append(block)
    return out


def blocks(transformer, x, heads, mask):
    for block in transformer.resblocks:
        y = block.ln_1(x)
        x = x + block.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        y = block.mlp.c_fc(block.ln_2(x))
        x = x + block.mlp.c_proj(y * torch.sigmoid(1.702 * y))
    return x


@pytest.fixture(scope="module")
def openai():
    torch.manual_seed(3)
    net = OpenAI().eval()
    for value in net.parameters():
        value.data.normal_(std=0.3)
    return net


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_layout_of_openai_and_open_clip(openai, tmp_path, wrapped):
    weights = openai.state_dict()
    if wrapped:  # as open_clip's training saves it
        weights = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in weights.items()}}
    else:  # as OpenAI's archives say beside it
        weights |= {
            "input_resolution": torch.tensor(48),
            "context_length": torch.tensor(20),
            "vocab_size": torch.tensor(60),
        }
    torch.save(weights, tmp_path / "clip.pt")
    net = models.create("clip", checkpoint=tmp_path / "clip.pt", **HEADS)
    image, ids, mask = asked()
    with torch.inference_mode():
        torch.testing.assert_close(net(image, ids, mask), openai(image, ids), rtol=1e-4, atol=1e-5)
    assert net.report.share == 1
    assert not net.report.missing
    assert not net.report.unexpected
    assert len(net.report.converted) == 2 * 2 * 2 + 2
    assert net.options["image_size"] == 48


def test_each_picture_may_have_texts_of_its_own(theirs, folder):
    net = models.create("clip", checkpoint=folder)
    image, ids, mask = asked()
    two = torch.stack([ids, ids.flip(0)]), torch.stack([mask, mask.flip(0)])
    with torch.inference_mode():
        whole = net(image, ids, mask)
        each = net(image, *two)
        torch.testing.assert_close(each[0], whole[0])
        torch.testing.assert_close(each[1], whole[1].flip(0))
        torch.testing.assert_close(net(image, ids[None], mask[None]), whole)


def test_pictures_are_prepared_as_transformers_prepares_them(folder):
    from transformers import CLIPImageProcessorPil

    picture = np.random.default_rng(0).integers(0, 256, (3, 300, 410), dtype=np.uint8)
    due = CLIPImageProcessorPil()(picture.transpose(1, 2, 0), return_tensors="np")["pixel_values"][
        0
    ]
    card = models.find("clip").card
    np.testing.assert_allclose(card.preprocessing(picture), due, atol=1e-5)
    net = models.create("clip", checkpoint=folder)
    assert net.preprocessing(picture).shape == (3, 48, 48)


def test_heads_that_cannot_be_told_must_be_said(folder):
    (folder / "config.json").unlink()
    with pytest.raises(RecipeError, match="say text_heads"):
        models.create("clip", checkpoint=folder)


def test_a_lost_tensor_is_named(theirs, tmp_path):
    weights = {
        k: v for k, v in theirs.state_dict().items() if "layers.1.self_attn.q_proj.w" not in k
    }
    torch.save(weights, tmp_path / "clip.pt")
    with pytest.raises(WeightsError, match=r"layers\.1\.self_attn\.q_proj\.weight is absent"):
        models.create("clip", checkpoint=tmp_path / "clip.pt", **HEADS)


def test_options_are_plain(folder):
    assert json.dumps(models.create("clip", checkpoint=folder).options)
