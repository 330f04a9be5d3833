"""RetiZero: a RETFound that was taught more than four hundred eye diseases by text.

Source: Wang et al. 2025, "Enhancing diagnostic accuracy in rare and common fundus diseases with a
knowledge-rich vision-language model", Nature Communications, arXiv:2406.09317.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from osler.errors import WeightsError
from osler.models.checkpoints.layout import Layout, Shapes, Tensors
from osler.models.checkpoints.shapes import commonest
from osler.models.clinical_pair import (
    NOT_NEEDED,
    TEXT_NAMES,
    UNUSED,
    ClinicalPair,
    example,
    of_vision,
    text_options,
)
from osler.models.vit import VisionTransformer, vit_options

__all__ = ("LAYOUTS", "LoraQkv", "RetiZero", "example", "retizero", "similarity")


class LoraQkv(nn.Module):
    """The fused projection of a block, with a change of low rank of its query and value.

    Source: Hu et al. 2022, "LoRA: low-rank adaptation of large language models", ICLR; without a
    factor before the change.

    Args:
        qkv: the projection, ``D`` to ``3 D``.
        rank: of the change.
    """

    def __init__(self, qkv: nn.Linear, rank: int) -> None:
        super().__init__()
        dim = qkv.in_features
        self.qkv = qkv
        self.linear_a_q = nn.Linear(dim, rank, bias=False)
        self.linear_b_q = nn.Linear(rank, dim, bias=False)
        self.linear_a_v = nn.Linear(dim, rank, bias=False)
        self.linear_b_v = nn.Linear(rank, dim, bias=False)
        for learnt in (self.linear_a_q, self.linear_a_v):
            nn.init.kaiming_uniform_(learnt.weight, a=5**0.5)
        for empty in (self.linear_b_q, self.linear_b_v):
            nn.init.zeros_(empty.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` to ``(B, N, 3 D)``."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q + self.linear_b_q(self.linear_a_q(x))
        v = v + self.linear_b_v(self.linear_a_v(x))
        return torch.cat([q, k, v], dim=-1)


class RetiZero(ClinicalPair):
    """A vision transformer with LoRA beside a clinical BERT.

    Args:
        image_size: side of the pictures that the position embeddings are for, pixels.
        patch_size: side of a patch, pixels.
        channels: of the picture.
        embed_dim: width of the vision transformer.
        depth: its blocks.
        num_heads: of its attention.
        mlp_ratio: width within its MLP over ``embed_dim``.
        rank: of LoRA.
        fold: add LoRA to the weights when they are read. It says the same and is faster;
            without it, LoRA can be trained further.
        options: of ``ClinicalPair``.
    """

    caption = "A fundus photograph of {}"

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        channels: int = 3,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        rank: int = 8,
        fold: bool = False,
        **options: Any,
    ) -> None:
        net = VisionTransformer(
            image_size=image_size,
            patch_size=patch_size,
            channels=channels,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
        )
        if not fold:
            for block in net.blocks:
                block.attn.qkv = LoraQkv(block.attn.qkv, rank)
        super().__init__(net, embed_dim, image_size=image_size, **options)
        self.vision: VisionTransformer = net
        self.fold = fold

    def features(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to the normalised class token, ``(B, embed_dim)``."""
        return self.vision.features(image)

    def retrieval_features(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to the mean over patches before the last norm, ``(B, embed_dim)``.

        These are what the authors look for like pictures with; see ``similarity``.
        """
        return self.vision.tokens(image)[:, 1:].mean(dim=1)

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """``(B, 3, H, W)`` to maps after each quarter of the blocks."""
        return self.vision.pyramid(image)


def similarity(
    queries: Tensor, candidates: Tensor, *, scale: Literal["query", "candidate"] = "query"
) -> Tensor:
    """How alike pictures are, for retrieval: ``s / (s + d)``, ``d`` the Euclidean distance.

    Args:
        queries: ``(Q, D)``, from ``retrieval_features``.
        candidates: ``(K, D)``, as well.
        scale: ``s`` is half the length of the ``query``, so that a query's candidates are ranked
            by distance; or that of the ``candidate``, as the official code has it, where
            longer candidates seem nearer.

    Returns:
        ``(Q, K)``, 1 for the same picture.
    """
    far = torch.cdist(queries, candidates, compute_mode="donot_use_mm_for_euclid_dist")
    half = (queries.norm(dim=1)[:, None] if scale == "query" else candidates.norm(dim=1)) / 2
    return half / (half + far)


def retizero(**options: Any) -> RetiZero:
    """RetiZero; options of ``RetiZero``."""
    return RetiZero(**options)


def _options(shapes: Shapes) -> dict[str, Any]:
    own = of_vision(shapes)
    seen = vit_options(own)
    wanted = ("image_size", "patch_size", "channels", "embed_dim", "depth", "mlp_ratio")
    out = {k: seen[k] for k in wanted if k in seen}
    rank = commonest(own, r"\.linear_a_[qv]\.weight$", 0)
    out |= {"fold": True} if rank is None else {"rank": rank}
    return {**out, **text_options(shapes)}


_FUSED = ".attn.qkv.qkv."


def _folded(tensors: Tensors, net: nn.Module) -> Tensors:
    """LoRA added to the projections that it changes, where the network has none."""
    if not getattr(net, "fold", False):
        return tensors
    out: Tensors = {}
    for name, value in tensors.items():
        if ".attn.qkv.linear_" in name:
            continue
        if _FUSED not in name:
            out[name] = value
            continue
        start, _, kind = name.partition(_FUSED)
        out[f"{start}.attn.qkv.{kind}"] = value if kind == "bias" else _sum(tensors, start, value)
    return out


def _sum(tensors: Tensors, block: str, weight: Tensor) -> Tensor:
    """The weight of a block's projection with the change of its query and its value."""
    whole = list(weight.chunk(3))
    for place, part in ((0, "q"), (2, "v")):
        down, up = (f"{block}.attn.qkv.linear_{one}_{part}.weight" for one in "ab")
        for name in (down, up):
            if name not in tensors:
                raise WeightsError(f"LoRA cannot be folded: {name} is absent")
        change = (tensors[up].shape[0], tensors[down].shape[1])
        if tensors[up].shape[1] != tensors[down].shape[0] or change != whole[place].shape:
            raise WeightsError(
                f"LoRA cannot be folded: {up} is {list(tensors[up].shape)} and {down} is "
                f"{list(tensors[down].shape)}, beside {list(whole[place].shape)}"
            )
        whole[place] = whole[place] + tensors[up] @ tensors[down]
    return torch.cat(whole)


LAYOUTS = (
    Layout(
        "RetiZero",
        ("retizero",),
        marks=(
            r"^vision_model\.model\.lora_vit\.blocks\.",
            r"^(vision|text)_model\.projection_head_(vision|text)\.projection\.weight$",
        ),
        rename=(
            (r"^vision_model\.model\.lora_vit\.", "vision."),
            (r"^vision_model\.projection_head_vision\.projection\.", "vision_projection."),
            *TEXT_NAMES,
        ),
        drop=NOT_NEEDED,
        heads=UNUSED,
        transform=_folded,
        options=_options,
        grids={"vision.pos_embed": 1},
    ),
)
