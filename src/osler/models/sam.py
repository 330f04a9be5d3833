"""Segment Anything and MedSAM: a picture and a box, points or a rough mask give masks.

transformers' SamModel says the same (a test holds the two against each other), but takes one size
of picture only and cannot hold the other encoders, adapters and decoders that medicine has put
into this network; three systems of the list share the parts that stand here.

Source: Kirillov et al. 2023, "Segment Anything", ICCV; Ma et al. 2024, "Segment anything in medical
images", Nature Communications, doi:10.1038/s41467-024-44824-z.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from osler.models.checkpoints.layout import Layout, Shapes
from osler.models.checkpoints.shapes import commonest, count
from osler.models.preprocessing import Preprocessing, Step
from osler.models.promptable import Promptable
from osler.models.sam_decoder import MaskDecoder, PromptEncoder
from osler.models.sam_encoder import ImageEncoder, resize_positions, resize_relative

SAM, MEDSAM = "sam-vit-base", "medsam"


class Sam(Promptable):
    """An image encoder, a prompt encoder and a mask decoder.

    Args:
        encoder: ``(B, C, H, W)`` to an embedding ``(B, D, h, w)``.
        preprocessing: from a picture to the encoder's input.
        image_size: side of that input, pixels.
        dim: width of the embedding, D.
        mask_channels: within the network that reads a rough mask.
        decoder_depth: two-way blocks.
        decoder_heads: of each attention of the decoder; no shape tells them.
        decoder_hidden: width within the decoder's MLPs.
        narrower: by which attention between tokens and picture is narrower.
        masks: that are offered where a prompt is ambiguous.
        iou_depth, iou_hidden: of the head that guesses the overlap.
        upscaling: channels after each doubling of the masks' sides.
        home: whether scores or chances are resized to the picture's own size.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        preprocessing: Preprocessing,
        image_size: int,
        dim: int = 256,
        mask_channels: int = 16,
        decoder_depth: int = 2,
        decoder_heads: int = 8,
        decoder_hidden: int = 2048,
        narrower: int = 2,
        masks: int = 3,
        iou_depth: int = 3,
        iou_hidden: int = 256,
        upscaling: Sequence[int] | None = None,
        home: str = "scores",
    ) -> None:
        super().__init__(preprocessing=preprocessing, image_size=image_size, home=home)
        self.image_encoder = encoder
        self.prompt_encoder = PromptEncoder(dim, mask_channels)
        self.mask_decoder = MaskDecoder(
            dim=dim,
            depth=decoder_depth,
            heads=decoder_heads,
            hidden=decoder_hidden,
            narrower=narrower,
            masks=masks,
            iou_depth=iou_depth,
            iou_hidden=iou_hidden,
            widths=upscaling or (dim // 4, dim // 8),
        )

    def encode(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the embedding ``(B, D, h, w)``."""
        return self.image_encoder(x)

    def positions(self, embedding: Tensor) -> Tensor:
        """``(1, D, h, w)``: where each token of an embedding is."""
        return self.prompt_encoder.pe_layer.grid((embedding.shape[-2], embedding.shape[-1]))

    def decode(
        self,
        embedding: Tensor,
        *,
        size: tuple[int, int],
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Masks of N prompts, in pixels of the encoder's input.

        Args:
            embedding: ``(N, D, h, w)``, or ``(1, D, h, w)`` of one picture for all prompts.
            size: ``(H, W)`` of the encoder's input.
            points: ``(N, K, 2)``, x and y.
            labels: ``(N, K)``, 1 within and 0 outside.
            boxes: ``(N, 4)``, x0, y0, x1, y1.
            masks: rough scores ``(N, 1, 4h, 4w)``.
            multimask: the masks that are offered for an ambiguous prompt instead of the one.

        Returns:
            scores ``(N, M, H', W')`` and guessed overlaps ``(N, M)``.
        """
        sparse, dense = self.prompt_encoder(
            size=size,
            grid=(embedding.shape[-2], embedding.shape[-1]),
            points=points,
            labels=labels,
            boxes=boxes,
            masks=masks,
        )
        drawn, overlap = self.mask_decoder(embedding, self.positions(embedding), sparse, dense)
        asked = slice(1, None) if multimask else slice(0, 1)
        return drawn[:, asked], overlap[:, asked]

    def forward(
        self,
        x: Tensor,
        boxes: Tensor | None = None,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Pictures with P prompts each.

        Args:
            x: ``(B, C, H, W)``, as the preprocessing gives it.
            boxes: ``(B, P, 4)``, x0, y0, x1, y1 in pixels of ``x``.
            points: ``(B, P, K, 2)``, x and y in pixels of ``x``.
            labels: ``(B, P, K)``, 1 within and 0 outside; all within if absent.
            masks: rough scores ``(B, P, 1, 4h, 4w)``.
            multimask: several masks a prompt.

        Returns:
            scores ``(B, P, M, H', W')`` and guessed overlaps ``(B, P, M)``.
        """
        embedding = self.encode(x)
        given = next(one for one in (boxes, points, masks, x[:, None]) if one is not None)
        n = given.shape[1]
        drawn, overlap = self.decode(
            embedding.repeat_interleave(n, dim=0),
            size=(x.shape[-2], x.shape[-1]),
            **{
                name: None if one is None else one.flatten(0, 1)
                for name, one in (
                    ("boxes", boxes),
                    ("points", points),
                    ("labels", labels),
                    ("masks", masks),
                )
            },
            multimask=multimask,
        )
        return drawn.unflatten(0, (-1, n)), overlap.unflatten(0, (-1, n))


def sam(
    *,
    image_size: int = 1024,
    patch_size: int = 16,
    channels: int = 3,
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    mlp_ratio: float = 4.0,
    window_size: int = 14,
    global_blocks: Collection[int] = (2, 5, 8, 11),
    dim: int = 256,
    preprocessing: Preprocessing | None = None,
    **decoder: Any,
) -> Sam:
    """Segment Anything; options of ``ImageEncoder`` and of ``Sam``."""
    encoder = ImageEncoder(
        image_size=image_size,
        patch_size=patch_size,
        channels=channels,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=mlp_ratio,
        window_size=window_size,
        global_blocks=global_blocks,
        out_channels=dim,
    )
    steps = preprocessing or longest_side(image_size)
    return Sam(encoder, preprocessing=steps, image_size=image_size, dim=dim, **decoder)


def medsam(*, image_size: int = 1024, **options: Any) -> Sam:
    """MedSAM: the network of ``sam`` with a preprocessing of its own."""
    steps = both_sides(image_size)
    return sam(image_size=image_size, preprocessing=steps, **{"home": "chances", **options})


def longest_side(side: int) -> Preprocessing:
    """Segment Anything's: the longer side resized, ImageNet's mean and spread, then the margin."""
    return Preprocessing(
        steps=(
            Step(resize_long=side, interpolation="bilinear", rounding="nearest"),
            Step(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
            Step(pad=side),
        )
    )


def both_sides(side: int) -> Preprocessing:
    """MedSAM's: both sides resized, 8 bits again, then the whole picture's range to 0 to 1."""
    return Preprocessing(
        steps=(Step(resize=(side, side), interpolation="spline"), Step(min_max=True))
    )


def example(
    name: str, options: dict[str, Any], batch: int, size: tuple[int, int] | None
) -> dict[str, Tensor]:
    """Pictures, each with two boxes."""
    generator = torch.Generator().manual_seed(0)
    h, w = size or (options["image_size"], options["image_size"])
    x = torch.rand(batch, options.get("channels", 3), h, w, generator=generator)
    corners = torch.rand(batch, 2, 2, generator=generator) / 2
    boxes = torch.cat([corners, corners + 0.4], dim=2) * torch.tensor([w, h, w, h])
    return {"x": x, "boxes": boxes}


def encoder_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of an image encoder tell, all but nothing of which is left open."""
    patch = shapes.get("image_encoder.patch_embed.proj.weight")
    grid = shapes.get("image_encoder.pos_embed")
    dim = commonest(shapes, r"^image_encoder\.blocks\.\d+\.norm\d\.", 0)
    out: dict[str, Any] = {
        "depth": count(shapes, r"^image_encoder\.blocks\.(\d+)\."),
        "embed_dim": dim,
        "dim": commonest(shapes, r"^image_encoder\.neck\.\d\.weight", 0),
    }
    if patch:
        out |= {"channels": patch[1], "patch_size": patch[2]}
    if patch and grid:
        out["image_size"] = grid[1] * patch[2]
    hidden = commonest(shapes, r"^image_encoder\.blocks\.\d+\.mlp\.(mlp\.)?lin1\.", 0)
    if dim and hidden:
        out["mlp_ratio"] = hidden / dim
    relative = r"^image_encoder\.blocks\.\d+\.attn\.rel_pos_[hw]"
    head = commonest(shapes, relative, 1)
    if dim and head:
        out["num_heads"] = dim // head
    if grid:
        out |= _windows(shapes, relative, 2 * grid[1] - 1)
    return {name: value for name, value in out.items() if value is not None}


def _windows(shapes: Shapes, relative: str, everywhere: int) -> dict[str, Any]:
    """Windows, by the lengths of relative positions; those as long as the grid go everywhere."""
    lengths: dict[int, list[int]] = {}
    for name, shape in shapes.items():
        if re.search(relative, name):
            lengths.setdefault(int(name.split(".")[2]), []).append(shape[0])
    narrow = [one for some in lengths.values() for one in some if one != everywhere]
    if not lengths:
        return {}
    out: dict[str, Any] = {
        "global_blocks": tuple(sorted(i for i, some in lengths.items() if everywhere in some))
    }
    if narrow:
        out["window_size"] = (Counter(narrow).most_common(1)[0][0] + 1) // 2
    return out


def decoder_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of a prompt encoder and a mask decoder tell; heads cannot be seen."""
    layers = r"^mask_decoder\.transformer\.layers\.\d+\."
    out: dict[str, Any] = {
        "dim": commonest(shapes, layers + r"norm\d\.", 0),
        "mask_channels": commonest(shapes, r"^prompt_encoder\.mask_downscaling\.[34]\.", 0),
        "decoder_depth": count(shapes, r"^mask_decoder\.transformer\.layers\.(\d+)\."),
        "decoder_hidden": commonest(shapes, layers + r"mlp\.lin1\.", 0),
        "iou_depth": count(shapes, r"^mask_decoder\.iou_prediction_head\.layers\.(\d+)\."),
        "iou_hidden": commonest(shapes, r"^mask_decoder\.iou_prediction_head\.layers\.0\.", 0),
    }
    inner = commonest(shapes, r"token_to_image\.[qkv]_proj\.", 0)
    if out["dim"] and inner:
        out["narrower"] = out["dim"] // inner
    tokens = shapes.get("mask_decoder.mask_tokens.weight")
    if tokens:
        out["masks"] = tokens[0] - 1
    rising = re.compile(r"^mask_decoder\.output_upscaling\.(\d+)\.weight")
    widths = {
        int(one[1]): shape[1]
        for name, shape in shapes.items()
        if (one := rising.match(name)) and len(shape) == 4
    }
    if widths:
        out["upscaling"] = tuple(widths[number] for number in sorted(widths))
    return {name: value for name, value in out.items() if value is not None}


def sam_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of Segment Anything tell."""
    return {**encoder_options(shapes), **decoder_options(shapes)}


def positions_to(mode: str) -> tuple[tuple[Any, Any], ...]:
    """How positions for one size of picture become those of another (``Layout.refits``)."""

    def absolute(value: Tensor, due: torch.Size) -> Tensor | None:
        if value.ndim != 4 or value.shape[1] != value.shape[2] or value.shape[3] != due[3]:
            return None
        return resize_positions(value, (due[1], due[2]), mode)

    def relative(value: Tensor, due: torch.Size) -> Tensor | None:
        if value.ndim != 2 or value.shape[0] % 2 == 0 or value.shape[1] != due[1]:
            return None
        return resize_relative(value, due[0])

    return ((r"^image_encoder\.pos_embed$", absolute), (_everywhere, relative))


def _everywhere(net: Sam) -> str:
    """Relative positions of the blocks that attend everywhere; windows stay as they are."""
    blocks = [str(i) for i, block in enumerate(net.image_encoder.blocks) if not block.window]  # type: ignore[arg-type]
    return rf"^image_encoder\.blocks\.({'|'.join(blocks) or 'none'})\.attn\.rel_pos_[hw]$"


_HUGGING_FACE = (
    (r"^vision_encoder\.", "image_encoder."),
    (r"^image_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^image_encoder\.layers\.", "image_encoder.blocks."),
    (r"^(image_encoder\.blocks\.\d+\.)layer_norm", r"\1norm"),
    (r"^image_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^image_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^image_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^image_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^(mask_decoder\.transformer\.layers\.\d+\.)layer_norm", r"\1norm"),
    (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
    (r"\.upscale_conv1\.", ".output_upscaling.0."),
    (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
    (r"\.upscale_conv2\.", ".output_upscaling.3."),
    (r"\.layers\.0\.(weight|bias)$", r".layers.1.\1"),
    (r"\.proj_in\.", ".layers.0."),
    (r"\.proj_out\.", ".layers.2."),
    (r"\.mask_embed\.conv1\.", ".mask_downscaling.0."),
    (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
    (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
    (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
    (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
    (r"\.point_embed\.", ".point_embeddings."),
    (
        r"^(prompt_encoder\.shared_embedding|shared_image_embedding)\.positional_embedding$",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
)

LAYOUTS = (
    Layout(
        "segment_anything",
        (SAM, MEDSAM),
        marks=(
            r"^image_encoder\.blocks\.0\.attn\.qkv\.",
            r"^prompt_encoder\.point_embeddings\.0\.weight",
            r"^mask_decoder\.output_upscaling\.0\.",
        ),
        without=(r"\.adapter_",),
        heads=(),
        options=sam_options,
        refits=positions_to("bicubic"),
    ),
    Layout(
        "Hugging Face (SamModel)",
        (SAM, MEDSAM),
        marks=(r"^vision_encoder\.layers\.0\.attn\.qkv\.", r"^mask_decoder\.upscale_conv1\."),
        rename=_HUGGING_FACE,
        heads=(),
        options=sam_options,
        refits=positions_to("bicubic"),
    ),
)
