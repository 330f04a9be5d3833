"""CLIP: pictures and captions in one space.

The towers are transformers'; weights come in its layout or in that of OpenAI and open_clip.

Source: Radford et al. 2021, "Learning transferable visual models from natural language
supervision", ICML, arXiv:2103.00020.
"""

import math
from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.models.attention_heads import heads_for
from osler.models.checkpoints.layout import Layout, Shapes, Tensors, resize_grid
from osler.models.checkpoints.shapes import agreed, commonest, count, known
from osler.models.clinical_pair import example
from osler.models.tokenizing import Family
from osler.models.zero_shot import ImageText

__all__ = ("LAYOUTS", "Clip", "clip", "example")


class ClipText(ImageText):
    """The transformer of texts of CLIP; a network of the list adds one for pictures.

    Args:
        proj_dim: width of the space.
        text_dim: width of the transformer.
        text_depth: its blocks.
        text_heads: of its attention; None is one for each 64 of its width, as in every published
            CLIP of OpenAI.
        text_hidden: width within its MLP.
        vocabulary: number of its tokens.
        positions: number of its position embeddings, and the longest text.
        activation: within the MLPs: ``quick_gelu`` of OpenAI, or ``gelu`` of most weights of
            open_clip; no shape tells which.
        end_token: number of the token that ends a text, where it is not the greatest.
    """

    caption = "a photo of {}."
    family: Family = "clip"
    most_scale = None

    def __init__(
        self,
        *,
        proj_dim: int = 512,
        text_dim: int = 512,
        text_depth: int = 12,
        text_heads: int | None = None,
        text_hidden: int = 2048,
        vocabulary: int = 49408,
        positions: int = 77,
        activation: str = "quick_gelu",
        end_token: int | None = None,
    ) -> None:
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        super().__init__()
        built = CLIPTextModelWithProjection(
            CLIPTextConfig(
                hidden_act=activation,
                projection_dim=proj_dim,
                hidden_size=text_dim,
                num_hidden_layers=text_depth,
                num_attention_heads=heads_for(text_dim, "text_heads", told=text_heads),
                intermediate_size=text_hidden,
                vocab_size=vocabulary,
                max_position_embeddings=positions,
                bos_token_id=None,
                # 2 is how transformers says "the greatest"
                eos_token_id=2 if end_token is None else end_token,
            )
        )
        self.longest = positions
        self.text_model, self.text_projection = built.text_model, built.text_projection
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``(P, T)`` each to ``(P, D)`` of length 1."""
        # what ends a text sees nothing after it, so that padding cannot matter
        said = self.text_model(input_ids=input_ids).pooler_output
        return functional.normalize(self.text_projection(said), dim=1)


class Clip(ClipText):
    """Two transformers, one for pictures and one for texts.

    Args:
        image_size: side of the pictures that the position embeddings are for, pixels.
        patch_size: side of a patch, pixels.
        vision_dim: width of the picture's transformer.
        vision_depth: its blocks.
        vision_heads: of its attention; None is one for each 64 of its width.
        vision_hidden: width within its MLP.
        proj_dim: width of the space.
        activation: as ``ClipText`` has it.
        text: further options of ``ClipText``.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 32,
        vision_dim: int = 768,
        vision_depth: int = 12,
        vision_heads: int | None = None,
        vision_hidden: int = 3072,
        proj_dim: int = 512,
        activation: str = "quick_gelu",
        **text: Any,
    ) -> None:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        super().__init__(proj_dim=proj_dim, activation=activation, **text)
        built = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_act=activation,
                projection_dim=proj_dim,
                image_size=image_size,
                patch_size=patch_size,
                hidden_size=vision_dim,
                num_hidden_layers=vision_depth,
                num_attention_heads=heads_for(vision_dim, "vision_heads", told=vision_heads),
                intermediate_size=vision_hidden,
            )
        )
        self.image_size = image_size
        self.vision_model, self.visual_projection = built.vision_model, built.visual_projection

    def features(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to the normalised class token, ``(B, vision_dim)``."""
        other = tuple(image.shape[-2:]) != (self.image_size, self.image_size)
        seen: Tensor = self.vision_model(image, interpolate_pos_encoding=other).pooler_output
        return seen

    def embed_image(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)``, preprocessed, to ``(B, D)`` of length 1."""
        return functional.normalize(self.visual_projection(self.features(image)), dim=1)


def clip(**options: Any) -> Clip:
    """CLIP with a vision transformer; options of ``Clip``."""
    return Clip(**options)


def text_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of a checkpoint (in our names) tell of the transformer of texts."""
    layer = r"^text_model\.encoder\.layers\."
    return known(
        vocabulary=commonest(shapes, r"^text_model\.embeddings\.token_embedding\.weight$", 0),
        positions=commonest(shapes, r"^text_model\.embeddings\.position_embedding\.weight$", 0),
        text_dim=commonest(shapes, layer + r"\d+\.layer_norm\d\.", 0),
        text_depth=count(shapes, layer + r"(\d+)\."),
        text_hidden=commonest(shapes, layer + r"\d+\.mlp\.fc1\.", 0),
    )


def _options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of a checkpoint (in our names) tell."""
    patch = shapes.get("vision_model.embeddings.patch_embedding.weight")
    out: dict[str, Any] = known(
        patch_size=patch[2] if patch and len(patch) == 4 else None,
        proj_dim=agreed(
            *(commonest(shapes, rf"^{tower}_projection\.weight$", 0) for tower in _TOWERS),
            *(commonest(shapes, rf"^{tower}_projection\.columns$", 1) for tower in _TOWERS),
        ),
    )
    layer = r"^vision_model\.encoder\.layers\."
    out |= text_options(shapes) | known(
        vision_dim=commonest(shapes, layer + r"\d+\.layer_norm\d\.", 0),
        vision_depth=count(shapes, layer + r"(\d+)\."),
        vision_hidden=commonest(shapes, layer + r"\d+\.mlp\.fc1\.", 0),
    )
    places = commonest(shapes, r"^vision_model\.embeddings\.position_embedding\.weight$", 0)
    if places and "patch_size" in out:
        out["image_size"] = isqrt(places - 1) * out["patch_size"]
    return out


def _config(said: Mapping[str, Any]) -> dict[str, Any]:
    """What the config.json of transformers says that no shape tells."""
    out: dict[str, Any] = {}
    for part in ("vision", "text"):
        one = said.get(f"{part}_config")
        heads = one.get("num_attention_heads") if isinstance(one, Mapping) else None
        if isinstance(heads, int):
            out[f"{part}_heads"] = heads
        elif isinstance(one, Mapping):
            # transformers leaves out what is its default
            out[f"{part}_heads"] = {"vision": 12, "text": 8}[part]
        act = one.get("hidden_act") if isinstance(one, Mapping) else None
        if isinstance(act, str):
            out["activation"] = act
    text = said.get("text_config")
    end = text.get("eos_token_id") if isinstance(text, Mapping) else None
    if isinstance(end, int) and end != 2:
        out["end_token"] = end
    return out


def open_clip_config(said: Mapping[str, Any]) -> dict[str, Any]:
    """What ``open_clip_config.json`` says that no shape tells."""
    model = said.get("model_cfg")
    if not isinstance(model, Mapping):
        return {}
    out: dict[str, Any] = {"activation": "quick_gelu" if model.get("quick_gelu") else "gelu"}
    text = model.get("text_cfg")
    heads = text.get("heads") if isinstance(text, Mapping) else None
    return {**out, "text_heads": heads} if isinstance(heads, int) else out


def split(tensors: Tensors, net: nn.Module) -> Tensors:
    """Query, key and value apart, and projections as linear layers have them."""
    out: Tensors = {}
    for name, value in tensors.items():
        if ".self_attn.in_proj_" in name:
            for part, one in zip("qkv", value.chunk(3), strict=True):
                out[name.replace("in_proj_", f"{part}_proj.")] = one
        elif name.endswith("_projection.columns"):
            out[name.replace("columns", "weight")] = value.T
        else:
            out[name] = value
    return out


def _regrid(value: Tensor, due: torch.Size) -> Tensor | None:
    return resize_grid(value[None], due[0], prefix=1)[0] if value.ndim == 2 else None


OPEN_CLIP_TEXT = (
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.columns"),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.attn\.", ".self_attn."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
"""Names of the transformer of texts of OpenAI and open_clip, and ours."""

_TOWERS = ("visual", "text")
_GRID = ((r"^vision_model\.embeddings\.position_embedding\.weight$", _regrid),)

LAYOUTS = (
    Layout(
        "CLIP of transformers",
        ("clip",),
        marks=(
            r"^vision_model\.pre_layrnorm\.",
            r"^text_model\.encoder\.layers\.",
            r"^(visual|text)_projection\.weight$",
        ),
        drop=(r"\.position_ids$",),
        heads=(),
        options=_options,
        config=_config,
        refits=_GRID,
    ),
    Layout(
        "CLIP of OpenAI and open_clip",
        ("clip",),
        marks=(r"^visual\.transformer\.", r"^transformer\.resblocks\.", r"^ln_final\."),
        rename=(
            (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
            (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
            (
                r"^visual\.positional_embedding$",
                "vision_model.embeddings.position_embedding.weight",
            ),
            (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
            (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
            (r"^visual\.proj$", "visual_projection.columns"),
            (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
            *OPEN_CLIP_TEXT,
        ),
        drop=(r"^input_resolution$", r"^context_length$", r"^vocab_size$", r"^attn_mask$"),
        heads=(),
        transform=split,
        options=_options,
        config=open_clip_config,
        refits=_GRID,
    ),
)
