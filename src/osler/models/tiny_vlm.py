"""A small network that writes: a picture and a prompt are read, a text is written token by token.

The picture's places and the prompt's tokens stand before the text, as a visual prefix does in
large models (Tsimpoukelli et al. 2021, "Multimodal few-shot learning with frozen language models",
NeurIPS); they see each other both ways, and each place of the text sees them and the text before
it. A token of the prompt may also be copied (See, Liu & Manning 2017, "Get to the point:
summarization with pointer-generator networks", ACL): that is how numbers get into a report that no
training text held. It is small enough to be trained from nothing on a processor.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_NEVER = -1e4  # a score that is no probability, also in half precision


class TinyVLM(nn.Module):
    """Scores of the next token of a text, given a picture, a prompt or both.

    Args:
        vocabulary: how many numbers there are; 0 is padding.
        written: places of the text.
        prompt: places of the prompt; 0 for none.
        image: whether there is a picture.
        channels: of the picture.
        backbone: network of the list whose smallest map becomes the picture's places.
        backbone_options: what it is built with.
        embed_dim: width.
        depth: blocks.
        num_heads: of each.
        dropout: share of values dropped in training.
        copy: whether tokens of the prompt may be copied.
    """

    def __init__(
        self,
        *,
        vocabulary: int = 512,
        written: int = 16,
        prompt: int = 48,
        image: bool = True,
        channels: int = 3,
        backbone: str = "mobilenet-v3-small",
        backbone_options: Mapping[str, Any] | None = None,
        embed_dim: int = 128,
        depth: int = 3,
        num_heads: int = 4,
        dropout: float = 0.1,
        copy: bool = True,
    ) -> None:
        super().__init__()
        self.takes = [
            *(["image"] if image else []), *(["prompt"] if prompt else []), "written"
        ]  # fmt: skip
        self.vocabulary = vocabulary
        self.tokens = nn.Embedding(vocabulary, embed_dim)
        self.places = nn.Parameter(0.02 * torch.randn(1, written, embed_dim))
        if image:
            self._see(backbone, {"channels": channels, **(backbone_options or {})}, embed_dim)
        if prompt:
            self.asked = nn.Parameter(0.02 * torch.randn(1, prompt, embed_dim))
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.drop = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.pointer = Pointer(embed_dim) if prompt and copy else None
        nn.init.normal_(self.tokens.weight, std=0.02)

    def _see(self, backbone: str, options: Mapping[str, Any], width: int) -> None:
        from osler.models.creating import create

        self.backbone = create(backbone, weights="random", **{**options, "num_classes": 0})
        with torch.no_grad():  # it says how many channels its smallest map has
            seen = self.backbone.eval().pyramid(torch.zeros(1, options["channels"], 64, 64))[-1]
        self.see = nn.Linear(seen.shape[1], width)
        self.rows = nn.Linear(2, width)

    def forward(
        self, x: Tensor, prompt: Tensor | None = None, written: Tensor | None = None
    ) -> Tensor:
        """Those of picture, prompt and text that the network was built for, in this order.

        Args:
            x: the picture ``(B, C, H, W)``, where there is one.
            prompt: token numbers ``(B, P)``, padded with 0.
            written: token numbers ``(B, T)``: the beginning, then the text before each place.

        Returns:
            ``(B, V, T)`` scores of what comes at each place.
        """
        said = [one for one in (x, prompt, written) if one is not None]
        given = dict(zip(self.takes, said, strict=True))
        text = given["written"].long()
        parts, there, asked = self._read(given)
        prefix = sum(part.shape[1] for part in parts)
        parts.append(self.tokens(text) * self._scale + self.places)
        there.append(torch.ones_like(text, dtype=torch.bool))
        hidden = self.drop(torch.cat(parts, dim=1))
        mask = _mask(torch.cat(there, dim=1), prefix)
        for block in self.blocks:
            hidden = block(hidden, mask)
        hidden = self.norm(hidden)
        near = hidden[:, :prefix]
        return self._scores(hidden[:, prefix:], near, asked).transpose(1, 2)

    def continued(self, *prefix: Tensor) -> "Continued":
        """The network with a picture, a prompt or both read, to be asked about texts to them.

        Args:
            prefix: those of picture and prompt that the network was built for, as `forward` takes
                them.
        """
        return Continued(self, dict(zip(self.takes[:-1], prefix, strict=True)))

    def _read(
        self, given: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
        """What stands before the text, which places of it are there, and the prompt's numbers."""
        parts, there = [], []
        if "image" in given:
            parts.append(self._places_of(given["image"]))
            there.append(torch.ones_like(parts[0][..., 0], dtype=torch.bool))
        asked = given["prompt"].long() if "prompt" in given else None
        if asked is not None:
            parts.append(self.tokens(asked) * self._scale + self.asked)
            there.append(asked != 0)
        return parts, there, asked

    def _scores(self, ends: Tensor, near: Tensor, asked: Tensor | None) -> Tensor:
        """Scores ``(B, T, V)`` behind the ends of texts, from the prefix that was read."""
        scores = ends @ self.tokens.weight.T + self.bias
        if self.pointer is None or asked is None:
            return scores
        copied: Tensor = self.pointer(
            ends, near[:, near.shape[1] - asked.shape[1] :], asked, self.tokens, scores
        )
        return copied

    @property
    def _scale(self) -> float:
        return math.sqrt(self.tokens.embedding_dim)

    def _places_of(self, x: Tensor) -> Tensor:
        """The picture's places ``(B, N, D)``, each with where it lies from -1 to 1."""
        seen = self.backbone.pyramid(x)[-1]
        height, width = seen.shape[-2:]
        rows = torch.linspace(-1, 1, height, device=x.device).view(-1, 1).expand(height, width)
        columns = torch.linspace(-1, 1, width, device=x.device).view(1, -1).expand(height, width)
        where = torch.stack([rows, columns], dim=-1).reshape(1, -1, 2)
        out: Tensor = self.see(seen.flatten(2).transpose(1, 2)) + self.rows(where)
        return out


class Block(nn.Module):
    """Attention and two layers, each on normalised values and added to what was there."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, past: "Past | None" = None) -> Tensor:
        """``(B, N, D)`` with what may not be seen ``(B, 1, N, N)`` below 0.

        With a past, its places come before those of ``x`` in the last axis of the mask, and those
        of ``x`` are added to it.
        """
        samples, count, width = x.shape
        q, k, v = (
            one.reshape(samples, count, self.heads, width // self.heads).transpose(1, 2)
            for one in self.qkv(self.first(x)).chunk(3, dim=-1)
        )
        if past is not None:
            k, v = past.add(k, v)
        weight = (q @ k.transpose(-1, -2) / math.sqrt(width // self.heads) + mask).softmax(dim=-1)
        met = (weight @ v).transpose(1, 2).reshape(samples, count, width)
        x = x + self.drop(self.out(met))
        out: Tensor = x + self.drop(self.mlp(self.second(x)))
        return out


class Past:
    """Keys and values of the places that a block has seen."""

    def __init__(self) -> None:
        self.seen: tuple[Tensor, Tensor] | None = None

    def add(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Those seen and these behind them, ``(B, H, N, D)`` each."""
        if self.seen is not None:
            k, v = (torch.cat(both, dim=2) for both in zip(self.seen, (k, v), strict=True))
        self.seen = k, v
        return k, v

    def cut(self, count: int) -> None:
        """Forget what stands behind so many places."""
        assert self.seen is not None
        k, v = self.seen
        self.seen = k[:, :, :count], v[:, :, :count]


class Continued:
    """A network asked about one text after the other to one picture and prompt.

    What it has read before is not read again: the prefix never, the text as far as it begins as the
    one before. It says what the network says of the whole, but for the rounding of sums.

    Args:
        net: the network, in evaluation mode.
        prefix: picture and prompt by name.
    """

    def __init__(self, net: TinyVLM, prefix: Mapping[str, Tensor]) -> None:
        self.net = net
        parts, there, self.asked = net._read(prefix)
        self.pasts = [Past() for _ in net.blocks]
        self.there = torch.cat(there, dim=1)
        hidden = torch.cat(parts, dim=1)
        self.prefix = hidden.shape[1]
        self.near = net.norm(self._through(hidden, _mask(self.there, self.prefix)))
        self.written: Tensor | None = None

    def __call__(self, written: Tensor, start: int, stop: int) -> Tensor:
        """Scores ``(B, V, stop - start)`` of what comes at some places of a text.

        Args:
            written: token numbers ``(B, T)``, as `TinyVLM.forward` takes them.
            start: the first place.
            stop: one past the last.
        """
        text = written.long()[:, :stop]
        known = self._known(text)
        begin = min(known, start)
        for past in self.pasts:
            past.cut(self.prefix + begin)
        x = self.net.tokens(text[:, begin:]) * self.net._scale + self.net.places[:, begin:stop]
        there = torch.cat([self.there, torch.ones_like(text, dtype=torch.bool)], dim=1)
        hidden = self._through(x, _mask(there, self.prefix)[:, :, self.prefix + begin :])
        self.written = text
        ends = self.net.norm(hidden[:, start - begin :])
        return self.net._scores(ends, self.near, self.asked).transpose(1, 2)

    def _known(self, text: Tensor) -> int:
        """The places at the head of a text that were read with the one before."""
        if self.written is None:
            return 0
        count = min(text.shape[1], self.written.shape[1])
        other = (text[:, :count] != self.written[:, :count]).any(dim=0).nonzero()
        return int(other[0]) if len(other) else count

    def _through(self, x: Tensor, mask: Tensor) -> Tensor:
        for block, past in zip(self.net.blocks, self.pasts, strict=True):
            x = block(x, mask, past)
        return x


class Pointer(nn.Module):
    """A token of the prompt is copied, found by what it is and by what stands before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.want = nn.Linear(width, width)
        self.is_ = nn.Linear(width, width)
        self.follows = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 1)
        nn.init.constant_(self.gate.bias, -2.0)  # words of its own first

    def forward(
        self, ends: Tensor, near: Tensor, asked: Tensor, tokens: nn.Embedding, scores: Tensor
    ) -> Tensor:
        """Log probabilities ``(B, T, V)`` of own words and copied ones together."""
        past = torch.cat([torch.zeros_like(asked[:, :1]), asked[:, :-1]], dim=1)
        width = ends.shape[-1]
        keys = self.is_(near) + self.follows(tokens(past)) * math.sqrt(width)
        match = self.want(ends) @ keys.transpose(1, 2) / math.sqrt(width)
        match = match + torch.where(asked != 0, 0.0, _NEVER).unsqueeze(1)
        numbers = torch.arange(scores.shape[-1], device=asked.device)
        which = (asked.unsqueeze(-1) == numbers).to(match.dtype)
        copied = match.softmax(dim=-1) @ which
        share = torch.sigmoid(self.gate(ends))
        mixed = (1 - share) * scores.softmax(dim=-1) + share * copied
        return torch.log(mixed.float() + 1e-7)


def _mask(there: Tensor, prefix: int) -> Tensor:
    """What each place may see: the prefix that is there, and of the text what came before."""
    count = there.shape[1]
    place = torch.arange(count, device=there.device)
    seen = (place.view(1, -1) < prefix) | (
        (place.view(1, -1) <= place.view(-1, 1)) & (place.view(-1, 1) >= prefix)
    )
    return torch.where(seen.unsqueeze(0) & there.unsqueeze(1), 0.0, _NEVER).unsqueeze(1)


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """A picture, a prompt of which the end is padding, and a text."""
    generator = torch.Generator().manual_seed(0)
    most = int(options["vocabulary"])
    prompt = torch.randint(3, most, (batch, int(options["prompt"])), generator=generator)
    prompt[:, -2:] = 0
    written = torch.randint(3, most, (batch, int(options["written"])), generator=generator)
    written[:, 0] = 1
    return {
        "x": torch.rand(batch, 3, *(size or (64, 64)), generator=generator),
        "prompt": prompt.float(),
        "written": written.float(),
    }
