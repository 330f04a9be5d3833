"""CLIP with a residual network: the pictures' tower of RN50, RN101, RN50x4 and PubMedCLIP-RN50.

The network differs from torchvision's: three convolutions before the stages, means before every
reduction, and an attention that pools the last map.

Source: Radford et al. 2021, "Learning transferable visual models from natural language
supervision", ICML, arXiv:2103.00020.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.attention_heads import heads_for
from osler.models.checkpoints.layout import Layout, Shapes, resize_grid
from osler.models.checkpoints.shapes import agreed, commonest, count, known
from osler.models.clinical_pair import example
from osler.models.clip import OPEN_CLIP_TEXT, ClipText, open_clip_config, split, text_options

__all__ = ("LAYOUTS", "ClipResNet", "clip_resnet", "example")


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut; a mean over places, not a stride, reduces the map."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.stride = stride
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, 4 width, H / stride, W / stride)``."""
        beside = x
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        if self.stride > 1:
            x = functional.avg_pool2d(x, self.stride)
        x = self.bn3(self.conv3(x))
        if self.downsample is not None:
            if self.stride > 1:
                beside = functional.avg_pool2d(beside, self.stride)
            beside = self.downsample(beside)
        return functional.relu(x + beside)


class AttentionPool(nn.Module):
    """The mean of a map looks at the map, each place of which has a learnt position.

    Args:
        side: of the map that the positions are for; they are interpolated for others.
        width: channels of the map.
        heads: of the attention.
        outputs: width of the space.
    """

    def __init__(self, side: int, width: int, heads: int, outputs: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(side * side + 1, width) * width**-0.5)
        self.k_proj, self.q_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.c_proj = nn.Linear(width, width), nn.Linear(width, outputs)

    def pooled(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C)``, before the projection into the space."""
        h, w = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        tokens = tokens + self._positions(h, w)
        q, k, v = (
            one(part).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for one, part in (
                (self.q_proj, tokens[:, :1]),
                (self.k_proj, tokens),
                (self.v_proj, tokens),
            )
        )
        seen = functional.scaled_dot_product_attention(q, k, v)
        return seen.transpose(1, 2).flatten(1)

    def _positions(self, h: int, w: int) -> Tensor:
        side = isqrt(self.positional_embedding.shape[0] - 1)
        if (h, w) == (side, side):
            return self.positional_embedding
        grid = self.positional_embedding[1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, size=(h, w), mode="bicubic", align_corners=False)
        return torch.cat([self.positional_embedding[:1], grid[0].flatten(1).T])

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, outputs)``."""
        return self.c_proj(self.pooled(x))


class ClipResNet(ClipText):
    """A residual network for pictures beside a transformer for texts.

    Args:
        layers: blocks a stage.
        width: of the first stage; a stage gives 4, 8, 16 and 32 times as many channels.
        vision_heads: of the attention that pools; None is one for each 64 of its width.
        image_size: side of the pictures that the positions are for, pixels.
        proj_dim: width of the space.
        text: options of ``ClipText``.
    """

    def __init__(
        self,
        *,
        layers: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        vision_heads: int | None = None,
        image_size: int = 224,
        proj_dim: int = 1024,
        **text: Any,
    ) -> None:
        super().__init__(proj_dim=proj_dim, **text)
        if image_size % 32:
            raise RecipeError(f"image_size {image_size} is no multiple of 32")
        self.image_size = image_size
        vision = nn.Module()
        half = width // 2
        vision.conv1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False)
        vision.bn1 = nn.BatchNorm2d(half)
        vision.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        vision.bn2 = nn.BatchNorm2d(half)
        vision.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        vision.bn3 = nn.BatchNorm2d(width)
        inputs = width
        for number, depth in enumerate(layers):
            planes = width * 2**number
            blocks = [
                Bottleneck(
                    inputs if place == 0 else 4 * planes,
                    planes,
                    2 if number and place == 0 else 1,
                )
                for place in range(depth)
            ]
            inputs = 4 * planes
            vision.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
        heads = heads_for(inputs, "vision_heads", told=vision_heads)
        vision.attnpool = AttentionPool(image_size // 32, inputs, heads, proj_dim)
        self.stages, self.vision = len(layers), vision

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """``(B, 3, H, W)`` to the map after each stage, at 1/4, 1/8, 1/16 and 1/32."""
        v = self.vision
        x = functional.relu(v.bn1(v.conv1(image)))
        x = functional.relu(v.bn2(v.conv2(x)))
        x = functional.relu(v.bn3(v.conv3(x)))
        x = functional.avg_pool2d(x, 2)
        levels = []
        for number in range(1, self.stages + 1):
            x = v.get_submodule(f"layer{number}")(x)
            levels.append(x)
        return levels

    def features(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to what attention pooled, ``(B, 32 width)``."""
        pooled: Tensor = self.vision.attnpool.pooled(self.pyramid(image)[-1])
        return pooled

    def embed_image(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)``, preprocessed, to ``(B, D)`` of length 1."""
        return functional.normalize(self.vision.attnpool.c_proj(self.features(image)), dim=1)


def clip_resnet(**options: Any) -> ClipResNet:
    """CLIP with a residual network; options of ``ClipResNet``."""
    return ClipResNet(**options)


def _options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of a checkpoint (in our names) tell."""
    stages = count(shapes, r"^vision\.layer(\d+)\.0\.conv1\.weight")
    places = commonest(shapes, r"^vision\.attnpool\.positional_embedding$", 0)
    out = {
        **text_options(shapes),
        **known(
            width=commonest(shapes, r"^vision\.(bn3|layer1\.\d+\.bn1)\.", 0),
            proj_dim=agreed(
                commonest(shapes, r"^vision\.attnpool\.c_proj\.", 0),
                commonest(shapes, r"^text_projection\.columns$", 1),
            ),
            image_size=32 * isqrt(places - 1) if places else None,
        ),
    }
    if stages:
        out["layers"] = [
            count(shapes, rf"^vision\.layer{n}\.(\d+)\.") or 1 for n in range(1, stages)
        ]
    return out


def _regrid(value: Tensor, due: torch.Size) -> Tensor | None:
    return resize_grid(value[None], due[0], prefix=1)[0] if value.ndim == 2 else None


LAYOUTS = (
    Layout(
        "CLIP of OpenAI and open_clip, residual network",
        ("clip-resnet-50",),
        marks=(r"^visual\.attnpool\.k_proj\.", r"^transformer\.resblocks\.", r"^ln_final\."),
        rename=((r"^visual\.", "vision."), *OPEN_CLIP_TEXT),
        drop=(r"^input_resolution$", r"^context_length$", r"^vocab_size$", r"^attn_mask$"),
        heads=(),
        transform=split,
        options=_options,
        config=open_clip_config,
        refits=((r"^vision\.attnpool\.positional_embedding$", _regrid),),
    ),
)
