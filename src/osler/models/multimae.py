"""One transformer for any subset of several kinds of picture.

An absent kind is an absent key: it brings no tokens, never zeros.

Source: Bachmann et al. 2022, "MultiMAE: Multi-modal multi-task masked autoencoders", ECCV.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.vit import Block

Pictures = Mapping[str, Tensor]


class PictureInput(nn.Module):
    """Patches of one kind of picture, with sine and cosine positions that do not learn."""

    def __init__(self, patch: int, channels: int, dim: int, side: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(channels, dim, patch, stride=patch)
        self.pos_emb = nn.Parameter(sine_positions(side, side, dim), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, N, D)``."""
        if x.shape[-2] % self.patch or x.shape[-1] % self.patch:
            raise RecipeError(
                f"a picture of {x.shape[-2]} x {x.shape[-1]} pixels is no multiple of the patch "
                f"of {self.patch}; resize or pad it"
            )
        x = self.proj(x)
        return (x + at_size(self.pos_emb, x.shape[-2:])).flatten(2).transpose(1, 2)


def sine_positions(h: int, w: int, dim: int) -> Tensor:
    """``(1, D, h, w)``: the first half of the channels tells the row, the second the column."""
    if dim % 4:
        raise RecipeError(f"positions of sines and cosines need a multiple of 4, not {dim}")
    speed = 1 / 10000 ** (torch.arange(dim // 4) / (dim // 4))
    rows = torch.arange(h)[:, None] * speed
    columns = torch.arange(w)[:, None] * speed
    down = torch.cat([rows.sin(), rows.cos()], dim=1).T[:, :, None].expand(-1, h, w)
    across = torch.cat([columns.sin(), columns.cos()], dim=1).T[:, None].expand(-1, h, w)
    return torch.cat([down, across])[None].contiguous()


def at_size(positions: Tensor, size: Sequence[int]) -> Tensor:
    """Positions ``(1, D, h, w)`` for another grid, bicubic."""
    if tuple(positions.shape[-2:]) == tuple(size):
        return positions
    return functional.interpolate(positions, size=tuple(size), mode="bicubic", align_corners=False)


class LinearOutput(nn.Module):
    """A norm and a linear layer on what was pooled."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, D)`` to ``(B, classes)``."""
        return self.head(self.norm(x))


class MultiVit(nn.Module):
    """An encoder that takes any subset of several kinds of picture, with a classifier.

    Args:
        domains: the kinds of picture it knows.
        image_size: side that the positions are for, pixels; other sizes are taken too.
        patch_size: side of a patch, pixels.
        channels: of each picture.
        embed_dim: width.
        depth: number of blocks.
        num_heads: of each attention.
        mlp_ratio: width within the MLP over ``embed_dim``.
        num_classes: scores; 0 gives features.
        pool: the mean of all patches, or the global token.
        drop_path: greatest share of skipped blocks in training, rising with depth.
        modality: the kind of a picture that is given without a name.
    """

    def __init__(
        self,
        *,
        domains: Sequence[str],
        image_size: int = 224,
        patch_size: int = 16,
        channels: int = 3,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        num_classes: int = 0,
        pool: Literal["mean", "global"] = "mean",
        drop_path: float = 0.0,
        modality: str | None = None,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise RecipeError(f"image_size {image_size} is no multiple of patch_size {patch_size}")
        self.domains, self.pool, self.modality = tuple(domains), pool, modality
        self.patch_size = patch_size
        side = image_size // patch_size
        self.input_adapters = nn.ModuleDict(
            {name: PictureInput(patch_size, channels, embed_dim, side) for name in domains}
        )
        self.global_tokens = nn.Parameter(torch.zeros(1, 1, embed_dim))
        nn.init.trunc_normal_(self.global_tokens, std=0.02)
        self.encoder = nn.ModuleList(
            Block(
                embed_dim,
                num_heads,
                round(embed_dim * mlp_ratio),
                drop_path=drop_path * level / max(depth - 1, 1),
            )
            for level in range(depth)
        )
        adapters = {"cls": LinearOutput(embed_dim, num_classes)} if num_classes else {}
        self.output_adapters = nn.ModuleDict(adapters)

    def patches(self, pictures: Pictures) -> Tensor:
        """Tokens ``(B, N, D)`` of the pictures that there are, in their order.

        Raises:
            RecipeError: a picture of an unknown kind, or none.
        """
        unknown = [name for name in pictures if name not in self.input_adapters]
        if unknown or not pictures:
            wrong = ", ".join(map(repr, unknown)) or "nothing"
            raise RecipeError(f"{', '.join(self.domains)} are taken, any of them, not {wrong}")
        return torch.cat([self.input_adapters[name](x) for name, x in pictures.items()], dim=1)

    def encode(self, tokens: Tensor) -> Tensor:
        """``(B, N, D)`` to ``(B, N + 1, D)``, the global token last; not normalised."""
        x = torch.cat([tokens, self.global_tokens.expand(len(tokens), -1, -1)], dim=1)
        for block in self.encoder:
            x = block(x)
        return x

    def features(self, pictures: Pictures | Tensor) -> Tensor:
        """``(B, C, H, W)`` of each kind that there is to ``(B, D)``."""
        x = self.encode(self.patches(self.named(pictures)))
        return x[:, -1] if self.pool == "global" else x[:, :-1].mean(dim=1)

    def named(self, pictures: Pictures | Tensor) -> Pictures:
        """Pictures by kind; one without a name is of ``modality``."""
        if not isinstance(pictures, Tensor):
            return pictures
        if self.modality is None:
            raise RecipeError(
                f"say what the picture is: modality= one of {', '.join(self.domains)}"
            )
        return {self.modality: pictures}

    def forward(self, x: Tensor | None = None, **pictures: Tensor) -> Tensor:
        """``(B, C, H, W)`` of each kind to scores ``(B, num_classes)`` or features ``(B, D)``."""
        pooled = self.features(pictures if x is None else x)
        return self.output_adapters["cls"](pooled) if "cls" in self.output_adapters else pooled

    def each(self, cases: Sequence[Pictures]) -> Tensor:
        """What ``forward`` says of cases that have different kinds of picture.

        Args:
            cases: pictures ``(C, H, W)`` by kind; those with the same kinds are seen together.
        """
        groups: dict[tuple[Any, ...], list[int]] = {}
        for number, case in enumerate(cases):
            alike = tuple((name, tuple(x.shape)) for name, x in sorted(case.items()))
            groups.setdefault(alike, []).append(number)
        said: dict[int, Tensor] = {}
        for alike, members in groups.items():
            batch = {name: torch.stack([cases[m][name] for m in members]) for name, _ in alike}
            said |= dict(zip(members, self(**batch), strict=True))
        return torch.stack([said[number] for number in range(len(cases))])
