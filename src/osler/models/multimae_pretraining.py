"""Masked pretraining over several kinds of picture: what is hidden is drawn from what is visible.

Source: Bachmann et al. 2022, "MultiMAE: Multi-modal multi-task masked autoencoders", ECCV.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.multimae import MultiVit, Pictures, at_size, sine_positions
from osler.models.vit import Block, Mlp


class CrossAttention(nn.Module):
    """Queries look at a context."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise RecipeError(f"decoder_dim {dim} cannot be shared by decoder_heads {heads}")
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """``(B, N, D)`` and ``(B, M, D)`` to ``(B, N, D)``."""
        b, n, d = x.shape
        q = self.q(x).reshape(b, n, self.heads, -1).transpose(1, 2)
        k, v = (
            self.kv(context).reshape(b, -1, 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        )
        seen = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(seen.transpose(1, 2).reshape(b, n, d))


class PictureOutput(nn.Module):
    """Draws one kind of picture from what the encoder saw of all.

    Args:
        domains: the kinds of picture the context may hold.
        dim: width of the encoder.
        width: of this decoder.
        depth: of its own blocks after the cross-attention, which has no shortcut.
        heads: of its attentions.
        patch: side of a patch, pixels.
        channels: of the picture.
        side: patches a side that the positions are for.
    """

    def __init__(
        self,
        domains: Sequence[str],
        *,
        dim: int,
        width: int,
        depth: int,
        heads: int,
        patch: int,
        channels: int,
        side: int,
    ) -> None:
        super().__init__()
        self.patch, self.channels = patch, channels
        self.pos_emb = nn.Parameter(sine_positions(side, side, width), requires_grad=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.task_embeddings = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(1, 1, width) * 0.02) for name in sorted(domains)}
        )
        self.proj_context = nn.Linear(dim, width)
        self.context_norm = nn.LayerNorm(width, eps=1e-6)
        self.query_norm = nn.LayerNorm(width, eps=1e-6)
        self.out_norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder = CrossAttention(width, heads)
        self.mlp = Mlp(width, 4 * width)
        self.decoder_transformer = nn.ModuleList(
            Block(width, heads, 4 * width) for _ in range(depth)
        )
        self.out_proj = nn.Linear(width, channels * patch * patch)

    def forward(
        self,
        encoded: Tensor,
        *,
        name: str,
        sizes: Mapping[str, tuple[int, int]],
        kept: Tensor,
        restore: Tensor,
    ) -> Tensor:
        """Draw a picture ``(B, C, H, W)``.

        Args:
            encoded: ``(B, K + 1, D)``, visible tokens and the global one.
            name: what is drawn.
            sizes: ``(H / P, W / P)`` of each kind that was given, in order.
            kept: ``(B, K)``, where the visible tokens stood among all.
            restore: ``(B, N)``, which of visible and hidden tokens stands at each place.
        """
        context = self.proj_context(encoded)
        seen, whole = context[:, :-1], context[:, -1:]
        b, total, width = len(seen), restore.shape[1], seen.shape[2]
        hidden = self.mask_token.expand(b, total - seen.shape[1], -1)
        places = restore[:, :, None].expand(-1, -1, width)
        full = torch.cat([seen, hidden], dim=1).gather(1, places)
        full = full + torch.cat([self._place(one, size) for one, size in sizes.items()], dim=1)
        if name in sizes:
            lengths = [h * w for h, w in sizes.values()]
            size = sizes[name]
            queries = full.split(lengths, dim=1)[list(sizes).index(name)]
        else:
            size = next(iter(sizes.values()))
            queries = (self.mask_token + self._place(name, size)).expand(b, -1, -1)
        seen = full.gather(1, kept[:, :, None].expand(-1, -1, width))
        context = self.context_norm(torch.cat([seen, whole], dim=1))
        x = self.decoder(self.query_norm(queries), context)
        x = x + self.mlp(self.out_norm(x))
        for block in self.decoder_transformer:
            x = block(x)
        return _drawn(self.out_proj(x), size, self.patch, self.channels)

    def _place(self, name: str, size: tuple[int, int]) -> Tensor:
        positions = at_size(self.pos_emb, size).flatten(2).transpose(1, 2)
        return positions + self.task_embeddings[name]


def _drawn(x: Tensor, size: tuple[int, int], patch: int, channels: int) -> Tensor:
    """Patches ``(B, N, C P P)`` to a picture."""
    h, w = size
    x = x.reshape(len(x), h, w, channels, patch, patch).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(len(x), channels, h * patch, w * patch)


class MultiMae(MultiVit):
    """The encoder with a decoder for each kind of picture, for masked pretraining.

    Args:
        visible: tokens that the encoder sees when masks are drawn.
        decoder_dim: width of the decoders.
        decoder_depth: blocks of each after its cross-attention.
        decoder_heads: of their attentions.
        count_over_batch: with masks given, keep as many tokens of each sample as are visible in the
            whole batch, as the official code does by mistake: hidden ones leak.
        options: of ``MultiVit``.
    """

    def __init__(
        self,
        *,
        visible: int = 225,
        decoder_dim: int = 256,
        decoder_depth: int = 2,
        decoder_heads: int = 8,
        count_over_batch: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.visible, self.count_over_batch = visible, count_over_batch
        first: Any = next(iter(self.input_adapters.values()))
        self.output_adapters = nn.ModuleDict(
            {
                name: PictureOutput(
                    self.domains,
                    dim=first.proj.out_channels,
                    width=decoder_dim,
                    depth=decoder_depth,
                    heads=decoder_heads,
                    patch=self.patch_size,
                    channels=first.proj.in_channels,
                    side=first.pos_emb.shape[-1],
                )
                for name in self.domains
            }
        )

    def draw_masks(
        self, pictures: Pictures, *, alpha: float = 1.0, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Masks ``(B, N)`` by kind, 1 hidden and 0 visible, ``visible`` of each sample.

        Args:
            pictures: that there are.
            alpha: how evenly the visible tokens are shared among the kinds (Dirichlet).
            generator: where the randomness comes from.
        """
        sizes = self._sizes(pictures)
        lengths = [h * w for h, w in sizes.values()]
        x = next(iter(pictures.values()))
        masks = torch.ones(len(x), sum(lengths), dtype=torch.long)
        keep = min(self.visible, sum(lengths))
        for sample in masks:
            alphas = torch.full((len(lengths),), float(alpha))
            share = torch._sample_dirichlet(alphas, generator)
            counts = _counts(share, lengths, keep)
            for part, count in zip(sample.split(lengths), counts, strict=True):
                part[torch.randperm(len(part), generator=generator)[:count]] = 0
        return dict(zip(sizes, masks.to(x.device).split(lengths, dim=1), strict=True))

    def kept(self, masks: Mapping[str, Tensor], pictures: Pictures) -> tuple[Tensor, Tensor]:
        """Where the visible tokens stand ``(B, K)``, and the order ``(B, N)``, visible first.

        Raises:
            RecipeError: the masks do not fit the pictures, or samples see different numbers.
        """
        sizes = self._sizes(pictures)
        for name, (h, w) in sizes.items():
            if name not in masks or masks[name].shape[1] != h * w:
                raise RecipeError(f"a mask (B, {h * w}) is needed for the pictures of '{name}'")
        every = torch.cat([masks[name] for name in sizes], dim=1)
        counts = (every == 0).sum(dim=1)
        if self.count_over_batch:
            number = min(int(counts.sum()), every.shape[1])
        else:
            number = int(counts[0])
            if bool((counts != number).any()):
                raise RecipeError(
                    "the samples of a batch must see the same number of tokens, not "
                    f"{counts.tolist()}; give them apart"
                )
        order = every.argsort(dim=1, stable=True)
        return order[:, :number], order

    def encode_visible(self, pictures: Pictures, masks: Mapping[str, Tensor]) -> Tensor:
        """What the encoder makes of visible tokens, ``(B, K + 1, D)``, the global token last."""
        kept, _ = self.kept(masks, pictures)
        return self.encode(self._visible(pictures, kept))

    def _visible(self, pictures: Pictures, kept: Tensor) -> Tensor:
        tokens = self.patches(pictures)
        return tokens.gather(1, kept[:, :, None].expand(-1, -1, tokens.shape[2]))

    def forward(  # type: ignore[override]
        self,
        masks: Mapping[str, Tensor] | None = None,
        noise: Tensor | None = None,
        **pictures: Tensor,
    ) -> dict[str, Tensor]:
        """Draw all kinds of picture from what is visible of those that there are.

        Args:
            masks: ``(B, N)`` by kind, 1 hidden and 0 visible; drawn where neither is given.
            noise: ``(B, N)`` over all kinds in place of masks: the ``visible`` least are visible.
            pictures: ``(B, C, H, W)`` by kind.

        Returns:
            pictures ``(B, C, H, W)`` of every kind the network knows; one that was not given has
            the size of the first that was.
        """
        if noise is not None:
            order = noise.argsort(dim=1)
            kept = order[:, : self.visible]
        else:
            given = masks if masks is not None else self.draw_masks(pictures)
            kept, order = self.kept(given, pictures)
        encoded = self.encode(self._visible(pictures, kept))
        sizes, restore = self._sizes(pictures), order.argsort(dim=1)
        return {
            name: self.output_adapters[name](
                encoded, name=name, sizes=sizes, kept=kept, restore=restore
            )
            for name in self.domains
        }

    def loss(
        self,
        pictures: Pictures,
        masks: Mapping[str, Tensor] | None = None,
        *,
        norm_pix: bool = True,
    ) -> dict[str, Tensor]:
        """Squared error of the hidden patches, by kind; pretraining minimises their sum.

        Args:
            pictures: ``(B, C, H, W)`` by kind.
            masks: as in ``forward``.
            norm_pix: each patch of the target has mean 0 and deviation 1.
        """
        masks = masks if masks is not None else self.draw_masks(pictures)
        drawn = self(masks=masks, **pictures)
        return {
            name: masked_error(drawn[name], x, masks[name], self.patch_size, norm_pix=norm_pix)
            for name, x in pictures.items()
        }

    def _sizes(self, pictures: Pictures) -> dict[str, tuple[int, int]]:
        p = self.patch_size
        return {name: (x.shape[-2] // p, x.shape[-1] // p) for name, x in pictures.items()}


def masked_error(
    drawn: Tensor, target: Tensor, mask: Tensor, patch: int, *, norm_pix: bool = True
) -> Tensor:
    """Mean squared error over hidden patches, of each sample, then of those that have any.

    Args:
        drawn: ``(B, C, H, W)``.
        target: the same.
        mask: ``(B, N)``, 1 hidden.
        patch: side, pixels.
        norm_pix: each patch of the target has mean 0 and (unbiased) deviation 1 over all channels.
    """
    drawn, target = in_patches(drawn, patch), in_patches(target, patch)
    if norm_pix:
        mean, var = target.mean(dim=2, keepdim=True), target.var(dim=2, keepdim=True)
        target = (target - mean) / (var + 1e-6).sqrt()
    error = (drawn - target).square().mean(dim=2) * mask
    hidden = mask.sum(dim=1)
    there = hidden > 0
    return (error.sum(dim=1) / hidden.clamp(min=1))[there].mean() if there.any() else error.sum()


def in_patches(x: Tensor, patch: int) -> Tensor:
    """``(B, C, H, W)`` to ``(B, N, P P C)``, row by row, the channels of a pixel together."""
    b, c, height, width = x.shape
    x = x.reshape(b, c, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(b, -1, patch * patch * c)


def _counts(share: Tensor, lengths: Sequence[int], keep: int) -> list[int]:
    """Whole numbers near ``share * keep``, none above its length, ``keep`` together."""
    counts = [min(int(part * keep), length) for part, length in zip(share, lengths, strict=True)]
    while (left := keep - sum(counts)) > 0:
        room = [k for k, length in enumerate(lengths) if counts[k] < length]
        best = max(room, key=lambda k: float(share[k]) * keep - counts[k])
        counts[best] += min(left, 1)
    return counts
