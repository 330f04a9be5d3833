"""mmFormer: what several named pictures of one patient show, also where some were not taken.

Each input has an encoder of convolutions and a transformer over its last map; another transformer
looks over all of them, and a decoder draws at each scale from whatever is there. The inputs of the
published network are the four MR sequences of brain tumours; here they are any named set, flat or
deep.

Source: Zhang et al. 2022, "mmFormer: Multimodal medical transformer for incomplete multimodal
learning of brain tumor segmentation", MICCAI, doi:10.1007/978-3-031-16443-9_11.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Layout, Shapes
from osler.models.checkpoints.shapes import commonest, count
from osler.models.fusion import drop_inputs
from osler.models.mmformer_parts import LEVELS, Decoder, Encoder, Transformer, conv, enlarged

NAME = "mmformer"
BRATS = ("flair", "t1ce", "t1", "t2")

Answer = Literal["segmentation", "classification"]


class MMFormer(nn.Module):
    """Encoders, transformers and a decoder for any named set of inputs.

    Args:
        modalities: names of the inputs, in the order in which they are joined.
        num_classes: scores a place, or of the whole.
        dims: 2 for pictures or 3 for volumes; for classification also by name, mixed.
        channels: of each input, or by name.
        image_size: side (or sides) that the positions are for, multiples of 16, or by name; other
            sizes are taken too, the positions interpolated.
        width: channels of the finest map.
        embed_dim, depth, num_heads, hidden, dropout: of the transformers.
        order: ``places`` joins, for each place, the tokens that the inputs have there;
            ``published`` reads the joined tokens as the official code does, four that follow each
            other in one input for each place, which its published weights need.
        answer: a score for each place, or for the whole.
        input_dropout: share of the inputs dropped in training, never all of a sample.
        deep_supervision: in training, the scores of coarser scales are given too.
        alone: in training, the scores from each input alone, by a decoder that all share, are
            given too. Where a sample lacks an input they are those from all, and nothing learns
            of them.
    """

    def __init__(
        self,
        *,
        modalities: Sequence[str] = BRATS,
        num_classes: int = 4,
        dims: int | Mapping[str, int] = 3,
        channels: int | Mapping[str, int] = 1,
        image_size: int | Sequence[int] | Mapping[str, Any] = 128,
        width: int = 8,
        embed_dim: int = 512,
        depth: int = 1,
        num_heads: int = 8,
        hidden: int = 4096,
        dropout: float = 0.1,
        order: Literal["places", "published"] = "places",
        answer: Answer = "segmentation",
        input_dropout: float = 0.0,
        deep_supervision: bool = False,
        alone: bool = False,
    ) -> None:
        super().__init__()
        self.input_dropout, self.deep_supervision = input_dropout, deep_supervision
        self.alone = alone
        self.modalities, self.order, self.answer = tuple(modalities), order, answer
        self.dims = {name: _own(dims, name) for name in self.modalities}
        self.channels = {name: int(_own(channels, name)) for name in self.modalities}
        self.grids = {
            name: _grid(_own(image_size, name), self.dims[name]) for name in self.modalities
        }
        self._check()
        deepest = width * 2 ** (LEVELS - 1)
        for name in self.modalities:
            flat = self.dims[name]
            self.add_module(f"{name}_encoder", Encoder(flat, _own(channels, name), width))
            self.add_module(f"{name}_encode_conv", conv(flat, deepest, embed_dim, 1))
            self.add_module(
                f"{name}_transformer", Transformer(embed_dim, depth, num_heads, hidden, dropout)
            )
            tokens = math.prod(self.grids[name])
            self.register_parameter(f"{name}_pos", nn.Parameter(torch.zeros(1, tokens, embed_dim)))
        self.multimodal_transformer = Transformer(embed_dim, depth, num_heads, hidden, dropout)
        if answer == "classification":
            self.head = nn.Linear(embed_dim, num_classes)
        else:
            self._add_decoders(num_classes, width, embed_dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight)
        for module in self.modules():
            if isinstance(module, Decoder):  # all classes start as likely as each other
                nn.init.normal_(module.seg_layer.weight, std=0.01)
                nn.init.zeros_(module.seg_layer.bias)

    def _add_decoders(self, num_classes: int, width: int, embed_dim: int) -> None:
        deepest = width * 2 ** (LEVELS - 1)
        flat, many = self.dims[self.modalities[0]], len(self.modalities)
        for name in self.modalities:  # brings each input's own tokens back to its last map
            self.add_module(f"{name}_decode_conv", conv(flat, embed_dim, deepest, 1))
        self.multimodal_decode_conv = conv(flat, many * embed_dim, many * deepest, 1)
        self.decoder_fuse = Decoder(flat, num_classes, width, many)
        self.decoder_sep = Decoder(flat, num_classes, width)

    def _check(self) -> None:
        for name in self.modalities:
            if not name.isidentifier() or name in ("present", "multimodal", "decoder"):
                raise RecipeError(f"'{name}' cannot be the name of an input; it is no plain word")
        if len(set(self.modalities)) != len(self.modalities) or not self.modalities:
            raise RecipeError("the names of the inputs must differ, and there must be one")
        if set(self.dims.values()) - {2, 3}:
            raise RecipeError("inputs are pictures (dims=2) or volumes (dims=3)")
        same = len(set(self.grids.values())) == 1
        if self.answer == "segmentation" and not same:
            raise RecipeError(
                "to segment, all inputs must be of one size and lie over each other; "
                "inputs of different sizes can be classified (answer='classification')"
            )
        if self.order == "published" and len(self.modalities) < 2:
            raise RecipeError("order='published' needs several inputs")
        if self.answer == "classification" and self.alone:
            raise RecipeError("alone needs answer='segmentation': a class has no decoder")

    def encode(
        self, images: Mapping[str, Tensor], present: Tensor | None = None
    ) -> tuple[dict[str, list[Tensor]], dict[str, Tensor], Tensor]:
        """Maps and tokens of each input, and what all tokens together became.

        Args:
            images: inputs by name, ``(B, C, H, W)`` or ``(B, C, D, H, W)``; any may be absent.
            present: ``(B, M)``, which of them each sample has; None takes all that are given.

        Returns:
            of each input its maps from the finest to the coarsest, not yet masked, and its tokens
            ``(B, n, D)``; and ``(B, M * n, D)`` for all.
        """
        there = self._there(images, present)
        near = next(iter(images.values()))
        maps: dict[str, list[Tensor]] = {}
        tokens: dict[str, Tensor] = {}
        joined, positions, seen = [], [], []
        for column, name in enumerate(self.modalities):
            if name in images:
                maps[name] = getattr(self, f"{name}_encoder")(images[name])
                inner = getattr(self, f"{name}_encode_conv")(maps[name][-1])
                place = self._positions(name, inner.shape[2:])
                tokens[name] = getattr(self, f"{name}_transformer")(
                    inner.flatten(2).transpose(1, 2), place
                )
                kept = tokens[name] * there[:, column, None, None]
            else:
                same = self.answer == "segmentation"
                grid = [side // 16 for side in near.shape[2:]] if same else self.grids[name]
                place = self._positions(name, grid)
                kept = place.new_zeros(near.shape[0], place.shape[1], place.shape[2])
            joined.append(kept)
            positions.append(place)
            seen.append(there[:, column, None].expand(-1, place.shape[1]))
        # the published network looks at absent inputs too: at their positions over zeros
        look = torch.cat(seen, dim=1) > 0 if self.answer == "classification" else None
        everything = self.multimodal_transformer(
            torch.cat(joined, dim=1), torch.cat(positions, dim=1), look
        )
        return maps, tokens, everything

    def _there(self, images: Mapping[str, Tensor], present: Tensor | None) -> Tensor:
        """``(B, M)``: 1 where an input is there."""
        unknown = set(images) - set(self.modalities)
        if unknown or not images:
            raise RecipeError(
                f"the inputs are {', '.join(self.modalities)}; "
                + (f"there is no {', '.join(sorted(unknown))}" if unknown else "none is given")
            )
        near = next(iter(images.values()))
        given = near.new_tensor([float(name in images) for name in self.modalities])
        there = given.expand(near.shape[0], -1)
        return there if present is None else there * present.to(there)

    def _positions(self, name: str, grid: Sequence[int]) -> Tensor:
        learnt: Tensor = getattr(self, f"{name}_pos")
        if tuple(grid) == self.grids[name]:
            return learnt
        return resize_positions(learnt, self.grids[name], tuple(grid))

    def _fused(
        self, images: Mapping[str, Tensor], present: Tensor | None
    ) -> tuple[Tensor, list[Tensor], dict[str, list[Tensor]]]:
        maps, _, everything = self.encode(images, present)
        there = self._there(images, present)
        near = next(iter(maps.values()))
        levels = []
        for level in range(LEVELS - 1):
            parts = []
            for column, name in enumerate(self.modalities):
                if name in maps:
                    shape = (-1, *[1] * (near[level].ndim - 1))
                    parts.append(maps[name][level] * there[:, column].reshape(shape))
                else:
                    parts.append(torch.zeros_like(near[level]))
            levels.append(torch.cat(parts, dim=1))
        last = self.multimodal_decode_conv(self.ordered(everything, near[-1].shape[2:]))
        scores, coarser = self.decoder_fuse([*levels, last])
        return scores, coarser, maps

    def ordered(self, tokens: Tensor, grid: Sequence[int]) -> Tensor:
        """``(B, M * n, D)`` to ``(B, M * D, ...)``: what each place has of every input."""
        many = len(self.modalities)
        if self.order == "published":
            return tokens.reshape(tokens.shape[0], *grid, -1).movedim(-1, 1)
        by_input = tokens.unflatten(1, (many, -1)).transpose(2, 3)
        return by_input.flatten(1, 2).unflatten(2, tuple(grid))

    def auxiliary(self, *, present: Tensor | None = None, **images: Tensor) -> dict[str, Any]:
        """What training compares with the truth beside the scores.

        Returns:
            ``scores``; ``scales``, chances of the four coarser scales at full size, from the
            finest; ``alone``, by name the scores from each input alone.
        """
        scores, coarser, maps = self._fused(images, present)
        scales = [enlarged(one.softmax(dim=1), 2**level) for level, one in enumerate(coarser, 1)]
        return {"scores": scores, "scales": scales, "alone": self._alone(maps)}

    def _alone(self, maps: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        return {name: self.decoder_sep(levels)[0] for name, levels in maps.items()}

    def _known_alone(
        self, maps: Mapping[str, list[Tensor]], taken: Tensor, rest: Tensor
    ) -> list[Tensor]:
        """Scores from each input alone; ``rest`` in samples that lack it."""
        out = []
        for name, scores in self._alone(maps).items() if self.alone else ():
            here = taken[:, self.modalities.index(name)].reshape(-1, *[1] * (rest.ndim - 1))
            out.append(torch.where(here, scores, rest))
        return out

    def forward(
        self, x: Tensor | None = None, present: Tensor | None = None, **images: Tensor
    ) -> Any:
        """Inputs by name; those that were not taken are left out. Or all of them as one array.

        Args:
            x: ``(B, sum of C, ...)``, all inputs behind each other; with ``present``, what is
                absent is not looked at.
            present: ``(B, M)``, which inputs each sample has, where that differs within a batch.
            images: ``(B, C, H, W)`` or ``(B, C, D, H, W)``.

        Returns:
            scores ``(B, num_classes, ...)``, or ``(B, num_classes)`` of the whole; in training
            with ``deep_supervision`` or ``alone`` a list of them, those of coarser scales and
            those from each input alone, in this order.
        """
        if x is not None:
            images = self._parted(x, present)
        taken = present
        if self.training and self.input_dropout:
            there = self._there(images, present) > 0.5
            present = drop_inputs(there, self.input_dropout).to(next(iter(images.values())))
        if self.answer == "segmentation":
            scores, coarser, maps = self._fused(images, present)
            if not (self.training and (self.deep_supervision or self.alone)):
                return scores
            alone = self._known_alone(maps, self._there(images, taken) > 0.5, scores.detach())
            return [scores, *(coarser if self.deep_supervision else ()), *alone]
        tokens = self.encode(images, present)[2]
        there = self._there(images, present)
        sizes = torch.tensor(
            [self._tokens(name, images) for name in self.modalities], device=there.device
        )
        share = there.repeat_interleave(sizes, dim=1)[..., None]
        return self.head((tokens * share).sum(dim=1) / share.sum(dim=1).clamp(min=1))

    def _parted(self, x: Tensor, present: Tensor | None) -> dict[str, Tensor]:
        """One array as inputs by name, with zeros for those that are absent."""
        widths = [self.channels[name] for name in self.modalities]
        if sum(widths) != x.shape[1]:
            raise RecipeError(
                f"the inputs {', '.join(self.modalities)} have {sum(widths)} channels together, "
                f"not {x.shape[1]}"
            )
        out = {}
        parts = zip(self.modalities, torch.split(x, widths, dim=1), strict=True)
        for column, (name, part) in enumerate(parts):
            out[name] = part
            if present is not None:
                there = present[:, column].reshape(-1, *[1] * (x.ndim - 1)) > 0.5
                out[name] = torch.where(there, part, torch.zeros_like(part))
        return out

    def _tokens(self, name: str, images: Mapping[str, Tensor]) -> int:
        if name in images:
            return math.prod(-(-side // 16) for side in images[name].shape[2:])
        return math.prod(self.grids[name])


def _own(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, Mapping) else value


def _grid(size: int | Sequence[int], dims: int) -> tuple[int, ...]:
    sides = (size,) * dims if isinstance(size, int) else tuple(size)
    if len(sides) != dims or any(side % 16 or side < 32 for side in sides):
        raise RecipeError(
            f"image_size {size} must be {dims} multiples of 16, 32 or more: maps are halved four "
            "times, and a map of one place has no spread to be normalised by"
        )
    return tuple(side // 16 for side in sides)


def resize_positions(learnt: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Position embeddings ``(1, n, D)`` of one grid for another, linear."""
    grid = learnt.transpose(1, 2).unflatten(2, tuple(old)).float()
    mode = "bilinear" if len(old) == 2 else "trilinear"
    grid = functional.interpolate(grid, size=tuple(new), mode=mode, align_corners=False)
    return grid.flatten(2).transpose(1, 2).to(learnt.dtype)


def example(
    name: str, options: dict[str, Any], batch: int, size: tuple[int, int] | None
) -> dict[str, Tensor]:
    """All inputs, by name."""
    generator = torch.Generator().manual_seed(0)
    side = options["image_size"]
    shape = (side, side) if size is None else size
    if options.get("dims", 3) == 3 and len(shape) == 2:
        shape = (shape[0], *shape)
    return {
        one: torch.rand(batch, 1, *shape, generator=generator)
        for one in options.get("modalities", BRATS)
    }


SIZES = {NAME: [(32, 48), (48, 32)]}


def _options(shapes: Shapes) -> dict[str, Any]:
    """What a published checkpoint tells; heads cannot be seen."""
    names = [
        one[1] for name in shapes if (one := re.fullmatch(r"(\w+)_encoder\.e1_c1\.bias", name))
    ]
    if not names:
        return {}
    if set(names) == set(BRATS):
        names = list(
            BRATS
        )  # tokens are concatenated in this order, and some files sort their names
    first = shapes[f"{names[0]}_encoder.e1_c1.weight"]
    dims = len(first) - 2
    tokens = commonest(shapes, r"_pos$", 1) or 1
    out: dict[str, Any] = {
        "modalities": tuple(names),
        "channels": {name: shapes[f"{name}_encoder.e1_c1.weight"][1] for name in names},
        "dims": dims,
        "width": commonest(shapes, r"_encoder\.e1_c\d(\.conv)?\.bias", 0),
        "embed_dim": commonest(shapes, r"_pos$", 2),
        "depth": count(shapes, r"^multimodal_transformer\.cross_ffn_list\.(\d+)\."),
        "hidden": commonest(shapes, r"cross_ffn_list\.\d+\.fn\.fn\.net\.0\.", 0),
        "num_classes": commonest(shapes, r"^decoder_(fuse|sep)\.seg_layer\.", 0),
        "image_size": 16 * round(tokens ** (1 / dims)),
        "order": "published",
    }
    return {name: value for name, value in out.items() if value is not None}


LAYOUTS = (
    Layout(
        "mmFormer",
        (NAME,),
        marks=(
            r"_encoder\.e1_c1\.weight",
            r"^multimodal_transformer\.cross_attention_list\.0\.",
            r"^decoder_fuse\.RFM1\.",
        ),
        heads=(r"^(?!multimodal)\w+_decode_conv\.", r"^decoder_sep\."),
        options=_options,
    ),
)
