"""Prompts and masks of Segment Anything: what boxes, points and masks become, and what is drawn.

Source: Kirillov et al. 2023, "Segment Anything", ICCV.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.sam_encoder import LayerNorm2d, Mlp

NOT_A_POINT, BACKGROUND, FOREGROUND = -1, 0, 1
"""Labels of points."""


class PointPositions(nn.Module):
    """Sines and cosines of random directions, for places from 0 to 1."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, dim // 2))

    def forward(self, places: Tensor) -> Tensor:
        """``(..., 2)``, x and y from 0 to 1, to ``(..., D)``."""
        matrix = self.positional_encoding_gaussian_matrix
        exact = torch.promote_types(matrix.dtype, torch.float32)  # half precision knows no places
        turned = (2 * places.to(exact) - 1) @ matrix.to(exact) * (2 * math.pi)
        return torch.cat([turned.sin(), turned.cos()], dim=-1).to(matrix.dtype)

    def grid(self, size: tuple[int, int]) -> Tensor:
        """``(1, D, h, w)`` of the middles of a map's tokens."""
        matrix = self.positional_encoding_gaussian_matrix
        y = (torch.arange(size[0], device=matrix.device) + 0.5) / size[0]
        x = (torch.arange(size[1], device=matrix.device) + 0.5) / size[1]
        places = torch.stack([x.expand(size[0], -1), y[:, None].expand(-1, size[1])], dim=-1)
        return self(places).permute(2, 0, 1)[None]


class PromptEncoder(nn.Module):
    """Boxes, points and masks to tokens and a map.

    Args:
        dim: width.
        mask_channels: within the small network that reads a mask.
    """

    def __init__(self, dim: int, mask_channels: int) -> None:
        super().__init__()
        self.dim = dim
        self.pe_layer = PointPositions(dim)
        # background, foreground, top left corner, bottom right corner
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.no_mask_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, dim, 1),
        )

    def forward(
        self,
        *,
        size: tuple[int, int],
        grid: tuple[int, int],
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Prompts of N objects, in pixels of the network's input.

        Args:
            size: ``(H, W)`` of the input, pixels.
            grid: ``(h, w)`` of the embedding, tokens.
            points: ``(N, K, 2)``, x and y.
            labels: ``(N, K)``: 1 within the object, 0 outside, -1 no point.
            boxes: ``(N, 4)``, x0, y0, x1, y1.
            masks: scores ``(N, 1, 4h, 4w)``.

        Returns:
            tokens ``(N, T, D)`` and a map ``(N, D, h, w)``.
        """
        tokens = []
        given = [one for one in (points, boxes, masks) if one is not None]
        if not given:
            raise RecipeError("say what to segment: a box, points or a mask")
        if points is not None:
            if labels is None:
                labels = torch.ones_like(points[..., 0])
            if boxes is None:
                points = functional.pad(points, (0, 0, 0, 1))
                labels = functional.pad(labels, (0, 1), value=NOT_A_POINT)
            tokens.append(self._points(points, labels, size))
        if boxes is not None:
            corners = self._places(boxes.reshape(-1, 2, 2), size)
            kinds = torch.cat([self.point_embeddings[i].weight for i in (2, 3)])
            tokens.append(corners + kinds)
        first = given[0]
        n = first.shape[0]
        none = self.no_mask_embed.weight.new_zeros(n, 0, self.dim)
        sparse = torch.cat([none, *tokens], dim=1)
        if masks is None:
            dense = self.no_mask_embed.weight[..., None, None].repeat(n, 1, *grid)
        else:
            dense = self.mask_downscaling(masks)
        return sparse, dense

    def _places(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        middle = (pixels + 0.5) / pixels.new_tensor([size[1], size[0]])
        return self.pe_layer(middle)

    def _points(self, points: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
        kinds = labels[..., None]
        background, foreground = (self.point_embeddings[i].weight for i in (0, 1))
        placed = self._places(points, size)
        placed = placed + torch.where(kinds == FOREGROUND, foreground, 0.0)
        placed = placed + torch.where(kinds == BACKGROUND, background, 0.0)
        return torch.where(kinds == NOT_A_POINT, self.not_a_point_embed.weight, placed)


class Attention(nn.Module):
    """Attention of one set of tokens to another, narrower within."""

    def __init__(self, dim: int, heads: int, narrower: int = 1) -> None:
        super().__init__()
        inner = dim // narrower
        if inner % heads:
            raise RecipeError(f"{inner} channels cannot be shared by decoder_heads {heads}")
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """``(N, Q, D)``, ``(N, K, D)`` and ``(N, K, D)`` to ``(N, Q, D)``."""
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        seen = functional.scaled_dot_product_attention(q, k, v)
        return self.out_proj(seen.transpose(1, 2).flatten(2))


class _Relu(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.lin1(x).relu())


class TwoWayBlock(nn.Module):
    """Tokens look at themselves and the picture, then the picture at the tokens."""

    def __init__(self, dim: int, heads: int, hidden: int, narrower: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, heads)
        self.cross_attn_token_to_image = Attention(dim, heads, narrower)
        self.mlp = _Relu(dim, hidden)
        self.cross_attn_image_to_token = Attention(dim, heads, narrower)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(dim) for _ in range(4))

    def forward(self, tokens: Tensor, image: Tensor, start: Tensor, places: Tensor) -> tuple:
        """Tokens ``(N, T, D)`` and picture ``(N, hw, D)``, and what is added to look by."""
        if self.first:  # the tokens are their own positions still
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            looking = tokens + start
            tokens = tokens + self.self_attn(looking, looking, tokens)
        tokens = self.norm1(tokens)
        tokens = tokens + self.cross_attn_token_to_image(tokens + start, image + places, image)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = image + self.cross_attn_image_to_token(image + places, tokens + start, tokens)
        return tokens, self.norm4(image)


class TwoWayTransformer(nn.Module):
    """Blocks, and a last look of the tokens at the picture."""

    def __init__(self, depth: int, dim: int, heads: int, hidden: int, narrower: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(dim, heads, hidden, narrower, first=number == 0) for number in range(depth)
        )
        self.final_attn_token_to_image = Attention(dim, heads, narrower)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, image: Tensor, places: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Picture and positions ``(N, hw, D)`` and tokens ``(N, T, D)``: tokens, then picture."""
        tokens = start
        for layer in self.layers:
            tokens, image = layer(tokens, image, start, places)
        seen = self.final_attn_token_to_image(tokens + start, image + places, image)
        return self.norm_final_attn(tokens + seen), image


class Head(nn.Module):
    """Linear layers with ReLU between."""

    def __init__(self, inputs: int, hidden: int, outputs: int, depth: int) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * (depth - 1), outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, D)`` to ``(N, outputs)``."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


class MaskDecoder(nn.Module):
    """An embedding and prompts to masks, each with its guessed overlap with the truth.

    Args:
        dim: width.
        depth: two-way blocks.
        heads: of each attention.
        hidden: width within the blocks' MLPs.
        narrower: by which the attention between tokens and picture is narrower.
        masks: that are offered where a prompt is ambiguous; one more answers clear prompts.
        iou_depth, iou_hidden: of the head that guesses the overlap.
        widths: channels after each doubling of the map's sides.
    """

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        narrower: int,
        masks: int,
        iou_depth: int,
        iou_hidden: int,
        widths: Sequence[int],
    ) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(depth, dim, heads, hidden, narrower)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(masks + 1, dim)
        steps: list[nn.Module] = []
        for inputs, outputs in zip((dim, *widths[:-1]), widths, strict=True):
            steps += [nn.ConvTranspose2d(inputs, outputs, 2, stride=2), LayerNorm2d(outputs)]
            steps += [nn.GELU()]
        del steps[-2]  # no norm after the last doubling
        self.output_upscaling = nn.Sequential(*steps)
        self.output_hypernetworks_mlps = nn.ModuleList(
            Head(dim, dim, widths[-1], 3) for _ in range(masks + 1)
        )
        self.iou_prediction_head = Head(dim, iou_hidden, masks + 1, iou_depth)

    def forward(
        self, embedding: Tensor, positions: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All masks of N prompts: the clear one first, then those of ambiguous prompts.

        Args:
            embedding: ``(N, D, h, w)``, or one of batch 1 for all.
            positions: ``(1, D, h, w)``.
            sparse: tokens ``(N, T, D)`` of ``PromptEncoder``.
            dense: its map ``(N, D, h, w)``.

        Returns:
            scores ``(N, 1 + masks, H, W)`` and overlaps ``(N, 1 + masks)``.
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
        image = embedding + dense
        size = image.shape[-2:]
        places = positions.flatten(2).transpose(1, 2)
        tokens, seen = self.transformer(image.flatten(2).transpose(1, 2), places, tokens)
        drawn = self.output_upscaling(seen.transpose(1, 2).unflatten(2, size))
        brushes = torch.stack(
            [head(tokens[:, 1 + i]) for i, head in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        masks = (brushes @ drawn.flatten(2)).unflatten(2, drawn.shape[-2:])
        return masks, self.iou_prediction_head(tokens[:, 0])
