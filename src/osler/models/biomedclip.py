"""BiomedCLIP and other pairs of open_clip whose towers are timm's and BERT's.

Source: Zhang et al. 2023, "BiomedCLIP: a multimodal biomedical foundation model pretrained from
fifteen million scientific image-text pairs", arXiv:2303.00915.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.attention_heads import heads_for
from osler.models.checkpoints.layout import Layout, Shapes
from osler.models.checkpoints.shapes import commonest, count, known
from osler.models.clinical_pair import NOT_NEEDED, bert, example, of_vision
from osler.models.vit import VisionTransformer, vit_options
from osler.models.zero_shot import ImageText

__all__ = ("LAYOUTS", "BiomedClip", "biomedclip", "example")

Pool = Literal["first", "mean"]


class BiomedClip(ImageText):
    """A vision transformer beside a BERT, each projected into one space.

    Args:
        image_size: side of the pictures that the position embeddings are for, pixels.
        patch_size: side of a patch, pixels.
        embed_dim: width of the vision transformer.
        depth: its blocks.
        num_heads: of its attention.
        mlp_ratio: width within its MLPs over ``embed_dim``.
        trunk: another network for pictures, by its name in timm (which must be installed).
        proj_dim: width of the space.
        text_dim: width of BERT.
        text_depth: its blocks.
        text_heads: of its attention; None is one for each 64 of its width.
        text_hidden: width within its MLP.
        text_pool: what stands for a text: its ``first`` token, or the ``mean`` of its tokens.
        text_middle: width between the two linear layers after BERT; None has one layer.
        vocabulary: number of tokens.
        positions: number of BERT's position embeddings.
        longest: number of tokens after which a text is cut.
        vision: further options of ``VisionTransformer``.
    """

    caption = "this is a photo of {}"
    most_scale = None

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        trunk: str | None = None,
        proj_dim: int = 512,
        text_dim: int = 768,
        text_depth: int = 12,
        text_heads: int | None = None,
        text_hidden: int = 3072,
        text_pool: Pool = "first",
        text_middle: int | None = 640,
        vocabulary: int = 30522,
        positions: int = 512,
        longest: int = 256,
        **vision: Any,
    ) -> None:
        super().__init__()
        if text_pool not in ("first", "mean"):
            raise RecipeError(f"text_pool is 'first' or 'mean', not '{text_pool}'")
        self.image_size, self.longest, self.text_pool = (
            image_size,
            min(longest, positions),
            text_pool,
        )
        self.vision: nn.Module
        if trunk is None:
            self.vision = VisionTransformer(
                image_size=image_size, patch_size=patch_size, embed_dim=embed_dim, depth=depth,
                num_heads=num_heads, mlp_ratio=mlp_ratio, **vision,
            )  # fmt: skip
            width = embed_dim
        else:
            self.vision, width = _of_timm(trunk)
        self.vision_projection = nn.Linear(width, proj_dim, bias=False)
        heads = heads_for(text_dim, "text_heads", told=text_heads)
        self.text = bert(
            text_dim, text_depth, heads, text_hidden, vocabulary, positions, pooler=False
        )
        self.text_projection: nn.Module
        if text_middle is None:
            self.text_projection = nn.Linear(text_dim, proj_dim, bias=False)
        else:
            self.text_projection = nn.Sequential(
                nn.Linear(text_dim, text_middle, bias=False),
                nn.GELU(),
                nn.Linear(text_middle, proj_dim, bias=False),
            )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def features(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to what the picture's encoder says, ``(B, embed_dim)``."""
        seen: Tensor = self.vision(image)
        return seen

    def embed_image(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)``, preprocessed, to ``(B, D)`` of length 1."""
        return functional.normalize(self.vision_projection(self.features(image)), dim=1)

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``(P, T)`` each to ``(P, D)`` of length 1."""
        # as numbers to add: a graph cannot ask whether there is padding at all
        kind = self.logit_scale.dtype
        hidden = (1 - attention_mask[:, None, None, :].to(kind)) * torch.finfo(kind).min
        said = self.text(input_ids=input_ids, attention_mask=hidden).last_hidden_state
        if self.text_pool == "mean":
            weight = attention_mask[:, :, None].to(kind)
            one = (said * weight).sum(dim=1) / weight.sum(dim=1)
        else:
            one = said[:, 0]
        return functional.normalize(self.text_projection(one), dim=1)


def _of_timm(name: str) -> tuple[nn.Module, int]:
    from osler.models.timm_net import TimmNet

    net = TimmNet(architecture=name).net
    return net, int(net.num_features)


def biomedclip(**options: Any) -> BiomedClip:
    """BiomedCLIP; options of ``BiomedClip``."""
    return BiomedClip(**options)


def _options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of a checkpoint (in our names) tell."""
    seen = vit_options(of_vision(shapes))
    seen.pop("num_classes", None)
    layer = r"^text\.encoder\.layer\.\d+\."
    middle = commonest(shapes, r"^text_projection\.0\.weight$", 0)
    return {
        **seen,
        **known(
            proj_dim=commonest(shapes, r"^vision_projection\.weight$", 0),
            text_dim=commonest(shapes, r"^text\..*LayerNorm\.", 0),
            text_depth=count(shapes, r"^text\.encoder\.layer\.(\d+)\."),
            text_hidden=commonest(shapes, layer + r"intermediate\.dense\.", 0),
            vocabulary=commonest(shapes, r"^text\.embeddings\.word_embeddings\.weight$", 0),
            positions=commonest(shapes, r"^text\.embeddings\.position_embeddings\.weight$", 0),
        ),
        "text_middle": middle,
    }


def _config(said: Mapping[str, Any]) -> dict[str, Any]:
    """What ``open_clip_config.json`` says that no shape tells."""
    model = said.get("model_cfg")
    if not isinstance(model, Mapping):
        return {}
    out: dict[str, Any] = {}
    vision, text = (model.get(f"{part}_cfg") for part in ("vision", "text"))
    name = vision.get("timm_model_name") if isinstance(vision, Mapping) else None
    if isinstance(name, str) and not name.startswith(("vit_base_patch", "vit_large_patch")):
        out["trunk"] = name
    if isinstance(text, Mapping):
        pooler = text.get("hf_pooler_type")
        if pooler is not None:
            if pooler not in _POOLS:
                raise RecipeError(
                    f"the pooling of texts '{pooler}' is not known; {list(_POOLS)} are"
                )
            out["text_pool"] = _POOLS[pooler]
        if isinstance(text.get("context_length"), int):
            out["longest"] = text["context_length"]
    return out


_POOLS = {"cls_last_hidden_state_pooler": "first", "mean_pooler": "mean"}

LAYOUTS = (
    Layout(
        "open_clip, towers of timm and BERT",
        ("biomedclip",),
        marks=(
            r"^visual\.trunk\.",
            r"^visual\.head\.proj\.weight$",
            r"^text\.transformer\.embeddings\.word_embeddings\.weight$",
        ),
        rename=(
            (r"^visual\.trunk\.", "vision."),
            (r"^visual\.head\.proj\.", "vision_projection."),
            (r"^text\.transformer\.", "text."),
            (r"^text\.proj\.", "text_projection."),
        ),
        drop=(*NOT_NEEDED, r"^text\.transformer\.pooler\."),
        heads=(),
        options=_options,
        config=_config,
        grids={"vision.pos_embed": lambda net: net.vision.position_prefix},
    ),
)
