"""VisionFM: one vision transformer for each of eight kinds of eye picture, and its heads.

Source: Qiu et al. 2024, "Development and validation of a multimodal multitask vision foundation
model for generalist ophthalmic artificial intelligence", NEJM AI, doi:10.1056/AIoa2300221.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Layout, Shapes
from osler.models.visionfm_heads import ClassificationHead, IbotHead, RegressionHead, UnetrHead
from osler.models.vit import VisionTransformer, vit_options

Modality = Literal["fundus", "oct", "ffa", "ultrasound", "external", "slitlamp", "mri", "ubm"]
Head = Literal["none", "classification", "regression", "segmentation", "projection"]
Pool = Literal["tokens", "patches", "both"]


class VisionFm(VisionTransformer):
    """A ViT whose last blocks' tokens all pass through the final norm, with a head for a task.

    Args:
        modality: the kind of picture that the weights are for. The network is the same for all;
            the card's preprocessing is the modality's own. A checkpoint does not tell it.
        head: what is on top; None takes classification where there are classes and none otherwise.
            ``projection`` is the head of self-distillation (iBOT).
        num_classes: scores, values or labels that the head gives.
        pool: what a head of classification or regression is given: the class tokens of the last
            blocks, the mean over patches of the last one, or both.
        last_blocks: how many blocks give their class token.
        levels: blocks (from 0) whose patches segmentation is given, four of them; None takes those
            of the published networks: 3, 5, 7, 11 of 12, or the last of each quarter.
        base: width of the segmentation's third step; the others have 4, 2 and 1/2 of it.
        projection: widths of the projection: hidden, unit vector, directions.
        positions: how position embeddings become those of another size: ``size`` resizes them to
            it; ``scale`` enlarges by (patches + 0.1) / patches of training, as the official code
            does, which shifts them a little.
        options: of ``VisionTransformer``.
    """

    def __init__(
        self,
        *,
        modality: Modality = "fundus",
        head: Head | None = None,
        num_classes: int = 0,
        pool: Pool = "tokens",
        last_blocks: int = 4,
        levels: Sequence[int] | None = None,
        base: int = 32,
        projection: Sequence[int] = (2048, 256, 8192),
        positions: Literal["size", "scale"] = "size",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if modality not in get_args(Modality):
            raise RecipeError(
                f"VisionFM has no modality '{modality}'; it has {', '.join(get_args(Modality))}"
            )
        self.modality, self.feature, self.positions = modality, pool, positions
        self.kind = head or ("classification" if num_classes else "none")
        self.last = tuple(range(max(self.depth - last_blocks, 0), self.depth))
        self.seen = tuple(levels) if levels is not None else _levels(self.depth)
        dim = self.embed_dim
        width = {"tokens": dim * len(self.last), "patches": dim, "both": dim * (len(self.last) + 1)}
        if self.kind in ("classification", "regression", "segmentation") and not num_classes:
            raise RecipeError(f"num_classes says how many {self.kind} outputs the head gives")
        if self.kind == "classification":
            self.head = ClassificationHead(width[pool], num_classes)
        elif self.kind == "regression":
            self.head = RegressionHead(width[pool], num_classes)
        elif self.kind == "segmentation":
            if len(self.seen) != 4 or self.patch_size != 16 or max(self.seen) >= self.depth:
                raise RecipeError("segmentation needs patches of 16 and four levels within depth")
            channels = self.patch_embed.proj.in_channels
            self.head = UnetrHead(dim, num_classes, base=base, channels=channels)
        elif self.kind == "projection":
            self.head = IbotHead(dim, *projection)
        elif self.kind != "none":
            raise RecipeError(
                f"VisionFM has no head '{self.kind}'; it has {', '.join(get_args(Head))}"
            )

    def _positions(self, h: int, w: int) -> Tensor:
        side = round((self.pos_embed.shape[1] - 1) ** 0.5)
        if self.positions == "size" or (h, w) == (side, side):
            return super()._positions(h, w)
        grid = self.pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        factor = ((h + 0.1) / side, (w + 0.1) / side)
        grid = functional.interpolate(grid, scale_factor=factor, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)

    def features(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to what a head is given: ``(B, 4 D)`` as published."""
        levels = self.levels(x, self.last, norm=True)
        parts = [] if self.feature == "patches" else [level[:, 0] for level in levels]
        if self.feature != "tokens":
            parts.append(levels[-1][:, 1:].mean(dim=1))
        return torch.cat(parts, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to scores or values ``(B, K)``, labels ``(B, K, H, W)`` or features."""
        if self.kind == "segmentation":
            return self.head(x, self.maps(x))
        if self.kind == "projection":
            return self.head(self.norm(self.tokens(x))[:, 0])
        return self.head(self.features(x))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Normalised patches of four blocks as maps ``(B, D, H/16, W/16)``."""
        h, w = x.shape[-2] // self.patch_size, x.shape[-1] // self.patch_size
        return [
            level[:, 1:].transpose(1, 2).reshape(len(x), -1, h, w)
            for level in self.levels(x, self.seen, norm=True)
        ]


def _levels(depth: int) -> tuple[int, ...]:
    if depth == 12:
        return (3, 5, 7, 11)
    return tuple(max(1, round(depth * part / 4)) - 1 for part in (1, 2, 3, 4))


def visionfm(**options: Any) -> VisionFm:
    """VisionFM; options of ``VisionFm``."""
    return VisionFm(**options)


def _encoder(shapes: Shapes) -> dict[str, Any]:
    """As for any ViT; a checkpoint of pretraining has a head that only ``projection`` takes."""
    options = vit_options(shapes)
    if "head.last_layer.weight_v" in shapes:
        out, narrow = shapes["head.last_layer.weight_v"]
        options["projection"] = (shapes["head.mlp.0.weight"][0], narrow, out)
    return options


def _head(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of a head tell."""
    if "head.cls.weight" in shapes:
        classes, half = shapes["head.cls.weight"][:2]
        return {"head": "segmentation", "num_classes": classes, "base": 2 * half}
    last = max(n for n in shapes if n.startswith("head.classifier.") and n.endswith(".weight"))
    kind = "regression" if last == "head.classifier.3.weight" else "classification"
    return {"head": kind, "num_classes": shapes[last][0]}


def _both(shapes: Shapes) -> dict[str, Any]:
    options = {**_encoder(shapes), **_head(shapes)}
    if "head.channel_bn.weight" in shapes:
        parts = shapes["head.channel_bn.weight"][0] // options["embed_dim"]
        options |= {"last_blocks": parts} if parts > 1 else {"pool": "patches"}
    return options


_NAME = "visionfm-vit-base"

LAYOUTS = (
    Layout(
        "VisionFM, pretrained (iBOT)",
        (_NAME,),
        marks=(r"^backbone\.cls_token$", r"^backbone\.blocks\.0\.attn\.qkv"),
        without=(r"\.ls1\.gamma", r"^(dino|ibot)_head\."),
        strip=("backbone.",),
        # newer torch names the weight norm otherwise
        rename=(
            (r"(last_layer2?)\.parametrizations\.weight\.original0$", r"\1.weight_g"),
            (r"(last_layer2?)\.parametrizations\.weight\.original1$", r"\1.weight_v"),
        ),
        drop=(r"^masked_embed$",),
        heads=(r"^head\.",),
        options=_encoder,
        grids={"pos_embed": 1},
    ),
    Layout(
        "VisionFM, fine-tuned",
        (_NAME,),
        marks=(r"^cls_token$", r"^blocks\.0\.attn\.qkv"),
        drop=(r"^masked_embed$",),
        heads=(r"^head\.",),
        options=_both,
        grids={"pos_embed": 1},
        beside={"classifier_state_dict": "head."},
    ),
    Layout(
        "VisionFM, decoder of segmentation",
        (_NAME,),
        marks=(r"^d1\.deconv\.weight", r"^s3\.5\.layers\.0\.weight", r"^cls\.weight"),
        rename=((r"^", "head."),),
        heads=(r"^head\.cls\.",),
        options=_head,
        part="head.",
    ),
    Layout(
        "VisionFM, head",
        (_NAME,),
        marks=(r"^channel_bn\.weight", r"^classifier\.0\.weight"),
        rename=((r"^", "head."),),
        heads=(r"^head\.classifier\.[36]\.",),
        options=_head,
        part="head.",
    ),
)
