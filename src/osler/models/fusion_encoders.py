"""What reads one input of a fused network: a picture, a volume, a signal, a table or a text.

Each gives tokens of one width and says which of them are there. A place that was not measured (a
column of a table, a sample of a signal) is told apart from one that is nought.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_COLUMNS = 64  # a table of more has one token for all: attention among thousands pays nothing
_CHANNELS = ("channels", "in_channels", "in_chans")
_SIZES = ("image_size", "img_size")


def known_values(x: Tensor) -> Tensor:
    """An array of values, then which are known: the same, with zeros for what is not known."""
    values, known = x.chunk(2, dim=1)
    return torch.cat([torch.where(known > 0.5, values, torch.zeros_like(values)), known], dim=1)


class GridEncoder(nn.Module):
    """Convolutions over a signal, a picture or a volume, halved until it is a few places wide.

    Normalised sample by sample, so that no sample sees another, nor whether it is there.

    Args:
        channels: of the array.
        size: that it is built for: ``(T,)``, ``(H, W)`` or ``(D, H, W)``.
        width: channels of the coarsest map.
        dim: width of the tokens.
        known: the second half of the channels says which values of the first are known.
    """

    def __init__(
        self, *, channels: int, size: Sequence[int], width: int, dim: int, known: bool
    ) -> None:
        super().__init__()
        self.known = known
        dims = len(size)
        conv = _CONV[dims - 1]
        last, most = ((16, 8), (4, 6), (4, 5))[dims - 1]
        count = min(most, max(2, int(math.log2(max(max(size) / last, 1)))))
        self.levels = nn.ModuleList()
        inner = channels
        for level in range(count):
            outer = min(width, max(8, width // 4) * 2**level)
            self.levels.append(_Level(conv, inner, outer, residual=level > 0))
            inner = outer
        self.proj = conv(inner, dim, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, ...)`` to tokens ``(B, N, D)`` and which are there ``(B, N)``."""
        x = known_values(x) if self.known else x
        for level in self.levels:
            x = level(x)
        return placed(self.proj(x))


class _Level(nn.Module):
    """Halves a map, and adds to it what a convolution says of it.

    Only what is added is normalised, so brightness, colour and contrast of the whole go on.
    """

    def __init__(self, conv: Any, inner: int, outer: int, *, residual: bool) -> None:
        super().__init__()
        self.down = conv(inner, outer, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(1, outer) if residual else None
        self.conv = conv(outer, outer, 3, padding=1) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        if self.norm is None or self.conv is None:
            return functional.gelu(x)
        out: Tensor = x + self.conv(functional.gelu(self.norm(x)))
        return out


class PatchEncoder(nn.Module):
    """Patches of a signal, a picture or a volume, each one token: no convolution of its own.

    Args:
        channels: of the array.
        size: that it is built for.
        dim: width of the tokens.
        known: the second half of the channels says which values of the first are known.
    """

    def __init__(self, *, channels: int, size: Sequence[int], dim: int, known: bool) -> None:
        super().__init__()
        self.known = known
        dims, longest = len(size), max(size)
        side = longest // 32 if dims == 1 else min(16, longest // 6)
        self.patch = tuple(min(max(2, side), max(2, one)) for one in size)
        conv: Any = _CONV[dims - 1]
        self.proj = conv(channels, dim, self.patch, stride=self.patch)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, ...)`` to tokens ``(B, N, D)``; zeros are put behind what is no multiple."""
        x = known_values(x) if self.known else x
        behind: list[int] = []
        for side, patch in zip(x.shape[:1:-1], self.patch[::-1], strict=True):
            behind += [0, -side % patch]
        return placed(self.proj(functional.pad(x, behind)))


class ColumnEncoder(nn.Module):
    """Each column of a table is a token; a value that is missing has none that anyone sees.

    Args:
        columns: values; the array has as many again that say which are known.
        dim: width of the tokens.

    Source: Gorishniy et al. 2021, "Revisiting deep learning models for tabular data", NeurIPS.
    """

    def __init__(self, *, columns: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(columns, dim))
        self.bias = nn.Parameter(torch.empty(columns, dim))
        self.norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        for one in (self.weight, self.bias):
            nn.init.uniform_(one, -(dim**-0.5), dim**-0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 2 K)``, values then known, to tokens ``(B, K, D)`` and which are there."""
        values, known = x.chunk(2, dim=1)
        there = known > 0.5
        values = torch.where(there, values, torch.zeros_like(values))
        tokens = values[:, :, None] * self.weight + self.bias
        return tokens + self.fc2(functional.gelu(self.fc1(self.norm(tokens)))), there


class VectorEncoder(nn.Module):
    """All of a category, a text or a wide table as one token.

    Args:
        values: of the array.
        dim: width of the token.
        known: the second half of the array says which of the first are known.
    """

    def __init__(self, *, values: int, dim: int, known: bool) -> None:
        super().__init__()
        self.known = known
        self.proj = nn.Linear(values, dim)
        self.norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, V)`` to one token ``(B, 1, D)``."""
        x = self.proj(known_values(x) if self.known else x)
        x = x + self.fc2(functional.gelu(self.fc1(self.norm(x))))
        return x[:, None], torch.ones_like(x[:, :1], dtype=torch.bool)


class NamedEncoder(nn.Module):
    """Another network of the list, as far as its last map or its features.

    Args:
        said: its name, or a mapping of ``name``, ``checkpoint`` and options.
        channels: of the array.
        size: that it is built for.
        dim: width of the tokens.
    """

    def __init__(
        self, said: str | Mapping[str, Any], *, channels: int, size: Sequence[int], dim: int
    ) -> None:
        super().__init__()
        from osler.models.creating import create  # the list names this module

        options = {"name": said} if isinstance(said, str) else dict(said)
        name, checkpoint = str(options.pop("name", "")), options.pop("checkpoint", None)
        for key, value in _sizes(name, channels, size).items():
            options.setdefault(key, value)
        source = {"weights": "random"} if checkpoint is None else {"checkpoint": checkpoint}
        self.net = create(name, **source, **options)
        self.maps = bool(self.net.card.pyramid)  # type: ignore[union-attr]
        if not self.maps and not hasattr(self.net, "features"):
            raise RecipeError(
                f"'{name}' gives neither maps nor features, so it cannot be the encoder of a "
                "fused network; take a classifier such as 'resnet-18', 'densenet-121' or 'vit-base'"
            )
        with torch.no_grad():
            said_of = self._seen(torch.zeros(1, channels, *size))
        self.proj = _CONV[max(said_of.ndim - 3, 0)](said_of.shape[1], dim, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, ...)`` to tokens ``(B, N, D)`` and which are there ``(B, N)``."""
        return placed(self.proj(self._seen(x)))

    def _seen(self, x: Tensor) -> Tensor:
        """The last map, or features ``(B, C, 1)``."""
        if self.maps:
            last: Tensor = self.net.pyramid(x)[-1]  # type: ignore[operator]
            return last
        features: Tensor = self.net.features(x)  # type: ignore[operator]
        return features.flatten(1)[:, :, None]


def _sizes(name: str, channels: int, size: Sequence[int]) -> dict[str, Any]:
    """What a network must be told of an input, under its own names for it."""
    from osler.models.catalogue import find

    system = find(name)
    module, _, function = system.builder.partition(":")
    built = getattr(import_module(module), function)
    taken = set(inspect.signature(built).parameters)
    taken |= set(system.card.options) | set(system.card.tiny)
    out: dict[str, Any] = {}
    own = next((one for one in _CHANNELS if one in taken), None)
    if own is not None:
        out[own] = channels
    elif channels != 3:
        raise RecipeError(
            f"the encoder '{name}' takes pictures of 3 channels and an input has {channels}; "
            "colour: true of that input repeats a grey one"
        )
    own = next((one for one in _SIZES if one in taken), None)
    if own is not None and len(set(size)) == 1:
        out[own] = size[0]
    if "num_classes" in taken:
        out["num_classes"] = 0
    return out


def placed(maps: Tensor) -> tuple[Tensor, Tensor]:
    """A map ``(B, D, ...)`` as tokens ``(B, N, D)`` that know their place, all of them there."""
    tokens = maps.flatten(2).transpose(1, 2)
    tokens = tokens + positions(maps.shape[2:], maps.shape[1], maps).to(tokens)
    return tokens, torch.ones_like(tokens[:, :, 0], dtype=torch.bool)


def positions(grid: Sequence[int], dim: int, like: Tensor) -> Tensor:
    """Sines and cosines ``(1, N, D)`` of the places of a grid, an even share of them an axis."""
    share = dim // (2 * len(grid))
    out = torch.zeros(*grid, dim, device=like.device)
    if math.prod(grid) > 1:
        speed = 1 / 10000 ** (torch.arange(share, device=like.device) / max(share, 1))
        for axis, side in enumerate(grid):
            angle = torch.arange(side, device=like.device)[:, None] * speed
            shape = [side if one == axis else 1 for one in range(len(grid))]
            wave = torch.cat([angle.sin(), angle.cos()], dim=1).reshape(*shape, 2 * share)
            out[..., 2 * share * axis : 2 * share * (axis + 1)] = wave
    return 0.1 * out.reshape(1, -1, dim)


def encoder_of(
    one: Mapping[str, Any], *, width: int, dim: int, patches: bool,
    encoder: str | Mapping[str, Any] | None,
) -> nn.Module:  # fmt: skip
    """What reads an input.

    Args:
        one: ``kind``, ``channels`` and ``size`` of the input; see `osler.models.fusion.Fusion`.
        width: channels of the coarsest map of convolutions.
        dim: width of the tokens.
        patches: pictures, volumes and signals are cut into patches.
        encoder: of pictures, another network by name.
    """
    kind, channels, size = one["kind"], int(one["channels"]), tuple(one["size"])
    if kind in ("image", "volume", "signal"):
        own = one.get("encoder", encoder if kind == "image" else None)
        if own is not None:
            return NamedEncoder(own, channels=channels, size=size, dim=dim)
        if patches:
            return PatchEncoder(channels=channels, size=size, dim=dim, known=kind == "signal")
        return GridEncoder(
            channels=channels, size=size, width=width, dim=dim, known=kind == "signal"
        )
    if kind == "text":
        return VectorEncoder(values=channels, dim=dim, known=False)
    if kind == "category" or channels > 2 * _COLUMNS:
        return VectorEncoder(values=channels, dim=dim, known=True)
    return ColumnEncoder(columns=channels // 2, dim=dim)
