"""Vision transformers as published for everyday pictures, in the three layouts they come in.

Source: Dosovitskiy et al. 2021, "An image is worth 16x16 words", ICLR.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from osler.models.checkpoints.layout import Layout, Shapes, Tensors
from osler.models.vit import TORCHVISION, VisionTransformer, vit_options

_NAMES = ("vit-base", "vit-large")
_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Of the published widths; heads are not seen in shapes."""


def vit(**options: Any) -> VisionTransformer:
    """A vision transformer with a class token; options of ``VisionTransformer``."""
    return VisionTransformer(**options)


def fused(tensors: Tensors, net: nn.Module) -> Tensors:
    """Query, key and value of each block in one tensor."""
    out = {name: value for name, value in tensors.items() if ".attn.qkv_" not in name}
    for name, query in tensors.items():
        if ".attn.qkv_q." not in name:
            continue
        parts = [tensors.get(name.replace("qkv_q", f"qkv_{part}")) for part in "qkv"]
        whole = [part for part in parts if part is not None and part.shape == query.shape]
        if len(whole) == 3:
            out[name.replace("qkv_q", "qkv")] = torch.cat(whole)
    return out


def _options(shapes: Shapes) -> dict[str, Any]:
    out: dict[str, Any] = dict(vit_options(shapes))
    if out.get("embed_dim") in _HEADS:
        out["num_heads"] = _HEADS[out["embed_dim"]]
    return out


def _kinds(shapes: Shapes) -> dict[str, Any]:
    """What a ViT may have beside the first ones."""
    return {"layer_scale": "blocks.0.ls1.gamma" in shapes}


def _transformers_options(shapes: Shapes) -> dict[str, Any]:
    return {**_options(shapes), "eps": 1e-12}


def _config(said: Mapping[str, Any]) -> dict[str, Any]:
    """What the config.json of transformers says that no shape tells."""
    heads, eps = said.get("num_attention_heads"), said.get("layer_norm_eps")
    out: dict[str, Any] = {"num_heads": heads} if isinstance(heads, int) else {}
    return {**out, "eps": eps} if isinstance(eps, float) else out


LAYOUTS = (
    Layout(
        "ViT of timm",
        _NAMES,
        marks=(r"^blocks\.0\.attn\.qkv\.weight", r"^norm\.weight", r"^cls_token$"),
        without=(r"^decoder_", r"^fc_norm\.", r"\.ls1\.", r"^dino_head", r"^Head\."),
        drop=(r"^mask_token$", r"^pre_logits\."),
        options=_options,
        grids={"pos_embed": 1},
    ),
    Layout(
        "ViT of timm, averaged, with registers or layer scale",
        _NAMES,
        marks=(r"^blocks\.0\.attn\.qkv\.weight", r"^(fc_)?norm\.weight", r"^cls_token$"),
        without=(r"^decoder_", r"^dino_head", r"^Head\."),
        drop=(r"^mask_token$", r"^pre_logits\."),
        heads=(r"^head\.",),
        options=lambda shapes: {**_options(shapes), **_kinds(shapes)},
        grids={"pos_embed": lambda net: net.position_prefix},
        # a file like this is RETFound's or DINOv2's first of all
        borrowed=True,
    ),
    Layout(
        "ViT of torchvision",
        _NAMES,
        marks=(r"^encoder\.layers\.encoder_layer_0\.self_attention", r"^class_token$"),
        rename=TORCHVISION,
        options=_options,
        grids={"pos_embed": 1},
    ),
    Layout(
        "ViT of transformers",
        _NAMES,
        marks=(
            r"^(vit\.)?embeddings\.position_embeddings$",
            r"^(vit\.)?(encoder\.layer|layers)\.0\.layernorm_before\.",
        ),
        without=(r"^decoder\.", r"lambda_1$", r"layer_scale"),
        strip=("vit.",),
        drop=(r"^pooler\.", r"^embeddings\.mask_token$"),
        rename=(
            (r"^embeddings\.cls_token$", "cls_token"),
            (r"^embeddings\.position_embeddings$", "pos_embed"),
            (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
            (r"^layernorm\.", "norm."),
            (r"^classifier\.", "head."),
            # before release 5, and since
            (r"^(encoder\.layer|layers)\.(\d+)\.", r"blocks.\2."),
            (r"\.layernorm_before\.", ".norm1."),
            (r"\.layernorm_after\.", ".norm2."),
            (r"\.attention\.attention\.query\.", ".attn.qkv_q."),
            (r"\.attention\.attention\.key\.", ".attn.qkv_k."),
            (r"\.attention\.attention\.value\.", ".attn.qkv_v."),
            (r"\.attention\.output\.dense\.", ".attn.proj."),
            (r"\.attention\.([qkv])_proj\.", r".attn.qkv_\1."),
            (r"\.attention\.o_proj\.", ".attn.proj."),
            (r"\.intermediate\.dense\.", ".mlp.fc1."),
            (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        ),
        transform=fused,
        options=_transformers_options,
        config=_config,
        grids={"pos_embed": 1},
    ),
)
