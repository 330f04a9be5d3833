"""Masked autoencoders: a vision transformer that draws the patches that were hidden from it.

Source: He et al. 2022, "Masked autoencoders are scalable vision learners", CVPR.
"""

from typing import Any

import torch
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Layout, Shapes, resize_grid
from osler.models.multimae import at_size, sine_positions
from osler.models.multimae_pretraining import in_patches
from osler.models.vit import Block, VisionTransformer, vit_options
from osler.models.vit_base import fused


class MaskedAutoencoder(VisionTransformer):
    """An encoder that sees some patches, and a decoder that draws the others.

    Args:
        mask_ratio: share of patches that is hidden.
        decoder_dim: width of the decoder.
        decoder_depth: its blocks.
        decoder_heads: of its attentions.
        norm_pix: the decoder draws patches of mean 0 and deviation 1, as in most pretraining; the
            weights published for looking at drew plain pixels.
        options: of ``VisionTransformer``.
    """

    def __init__(
        self,
        *,
        mask_ratio: float = 0.75,
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        norm_pix: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**{"pool": "none", **options})
        if not 0 < mask_ratio < 1:
            raise RecipeError(f"mask_ratio is between 0 and 1, not {mask_ratio}")
        self.mask_ratio, self.norm_pix = mask_ratio, norm_pix
        self.channels = self.patch_embed.proj.in_channels
        eps = self.blocks[0].norm1.eps
        self.decoder_embed = nn.Linear(self.embed_dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, self.pos_embed.shape[1], decoder_dim))
        self.decoder_blocks = nn.ModuleList(
            Block(decoder_dim, decoder_heads, 4 * decoder_dim, eps=eps)
            for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_dim, eps=eps)
        self.decoder_pred = nn.Linear(decoder_dim, self.patch_size**2 * self.channels)
        nn.init.normal_(self.mask_token, std=0.02)
        nn.init.normal_(self.cls_token, std=0.02)
        for positions in (self.pos_embed, self.decoder_pos_embed):
            positions.requires_grad_(False)
            side = round((positions.shape[1] - 1) ** 0.5)
            grid = sine_positions(side, side, positions.shape[2])
            # the published order: the second half of the channels tells the row
            half = positions.shape[2] // 2
            grid = torch.cat([grid[:, half:], grid[:, :half]], dim=1)
            positions.data[:, :1] = 0
            positions.data[:, 1:] = grid.flatten(2).transpose(1, 2)

    def encode(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What the encoder makes of visible patches.

        Args:
            x: ``(B, C, H, W)``.
            noise: ``(B, N)``; the patches with the least are visible.

        Returns:
            tokens ``(B, 1 + K, D)``, normalised, and which of visible and hidden tokens stands at
            each place, ``(B, N)``.
        """
        tokens = self.embed(x)
        order = noise.argsort(dim=1)
        kept = order[:, : self.visible(noise.shape[1]), None].expand(-1, -1, tokens.shape[2])
        tokens = torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, kept)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens), order.argsort(dim=1)

    def visible(self, patches: int) -> int:
        """How many of so many patches the encoder sees."""
        return int(patches * (1 - self.mask_ratio))

    def drawn_patches(self, x: Tensor, noise: Tensor) -> Tensor:
        """All patches ``(B, N, P P C)`` as the decoder draws them."""
        seen, restore = self.encode(x, noise)
        seen = self.decoder_embed(seen)
        hidden = restore.shape[1] - seen.shape[1] + 1
        every = torch.cat([seen[:, 1:], self.mask_token.expand(len(seen), hidden, -1)], dim=1)
        every = every.gather(1, restore[:, :, None].expand(-1, -1, every.shape[2]))
        h, w = x.shape[-2] // self.patch_size, x.shape[-1] // self.patch_size
        y = torch.cat([seen[:, :1], every], dim=1) + self._decoder_positions(h, w)
        for block in self.decoder_blocks:
            y = block(y)
        return self.decoder_pred(self.decoder_norm(y))[:, 1:]

    def _decoder_positions(self, h: int, w: int) -> Tensor:
        side = round((self.decoder_pos_embed.shape[1] - 1) ** 0.5)
        if (h, w) == (side, side):
            return self.decoder_pos_embed
        if h == w:
            return resize_grid(self.decoder_pos_embed, 1 + h * w, prefix=1)
        grid = self.decoder_pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        grid = at_size(grid, (h, w)).flatten(2).transpose(1, 2)
        return torch.cat([self.decoder_pos_embed[:, :1], grid], dim=1)

    def mask(self, noise: Tensor) -> Tensor:
        """Which patches are hidden: ``(B, N)``, 1 hidden and 0 visible."""
        place = noise.argsort(dim=1).argsort(dim=1)
        return (place >= self.visible(noise.shape[1])).to(noise.dtype)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Draw a picture from a part of it.

        Args:
            x: ``(B, C, H, W)``.
            noise: ``(B, N)``; the patches with the least are visible; drawn where none is given.

        Returns:
            ``(B, C, H, W)`` as the decoder draws it, each patch with mean 0 and deviation 1 where
            the network was trained so; ``reconstruct`` gives a picture to look at.
        """
        return self._picture(self.drawn_patches(x, self._noise(x, noise)), x)

    def reconstruct(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A picture to look at: what was visible, and the rest as drawn.

        Patches drawn with mean 0 and deviation 1 are given back those of the true patch; without
        that, they come out as flat blocks of colour.

        Returns:
            the picture ``(B, C, H, W)``, and which patches were hidden, ``(B, N)``.
        """
        noise = self._noise(x, noise)
        drawn, true = self.drawn_patches(x, noise), in_patches(x, self.patch_size)
        if self.norm_pix:
            drawn = drawn * _deviation(true) + true.mean(dim=2, keepdim=True)
        mask = self.mask(noise)
        return self._picture(torch.where(mask[:, :, None] > 0, drawn, true), x), mask

    def loss(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Mean squared error of the hidden patches, which pretraining minimises."""
        noise = self._noise(x, noise)
        true = in_patches(x, self.patch_size)
        if self.norm_pix:
            true = (true - true.mean(dim=2, keepdim=True)) / _deviation(true)
        error = (self.drawn_patches(x, noise) - true).square().mean(dim=2)
        mask = self.mask(noise)
        return (error * mask).sum() / mask.sum()

    def features(self, x: Tensor) -> Tensor:
        """The class token of a picture that is seen whole, ``(B, D)``."""
        return self.norm(self.tokens(x))[:, 0]

    def _noise(self, x: Tensor, noise: Tensor | None) -> Tensor:
        if noise is not None:
            return noise
        patches = (x.shape[-2] // self.patch_size) * (x.shape[-1] // self.patch_size)
        return torch.rand(len(x), patches, device=x.device)

    def _picture(self, patches: Tensor, x: Tensor) -> Tensor:
        p, c = self.patch_size, self.channels
        h, w = x.shape[-2] // p, x.shape[-1] // p
        patches = patches.reshape(len(x), h, w, p, p, c).permute(0, 5, 1, 3, 2, 4)
        return patches.reshape(len(x), c, h * p, w * p)


def _deviation(patches: Tensor) -> Tensor:
    return (patches.var(dim=2, keepdim=True) + 1e-6).sqrt()


def mae(**options: Any) -> MaskedAutoencoder:
    """A masked autoencoder; options of ``MaskedAutoencoder``."""
    return MaskedAutoencoder(**options)


def example(
    name: str, options: dict[str, Any], batch: int, size: tuple[int, int] | None
) -> dict[str, Tensor]:
    """A picture, and the noise that says what is hidden."""
    del name
    h, w = size or (options["image_size"],) * 2
    draw = torch.Generator().manual_seed(0)
    patches = (h // options["patch_size"]) * (w // options["patch_size"])
    x = torch.rand(batch, options.get("channels", 3), h, w, generator=draw)
    return {"x": x, "noise": torch.rand(batch, patches, generator=draw)}


_HEADS = {768: 12, 1024: 16, 1280: 16}
"""Of the published sizes: the width tells them."""


def _options(shapes: Shapes) -> dict[str, Any]:
    out = vit_options(shapes)
    out.pop("num_classes", None)
    if out.get("embed_dim") in _HEADS:
        out["num_heads"] = _HEADS[out["embed_dim"]]
    if "decoder_embed.weight" in shapes:
        out["decoder_dim"] = shapes["decoder_embed.weight"][0]
    blocks = [int(n.split(".")[1]) for n in shapes if n.startswith("decoder_blocks.")]
    if blocks:
        out["decoder_depth"] = 1 + max(blocks)
    return out


_DECODER = (r"^decoder_", r"^mask_token$")
_NAME = "mae-vit-base"

LAYOUTS = (
    Layout(
        "MAE",
        (_NAME,),
        marks=(r"^decoder_blocks\.0\.attn\.qkv", r"^blocks\.0\.attn\.qkv", r"^mask_token$"),
        heads=(r"^head\.",),
        options=_options,
        grids={"pos_embed": 1, "decoder_pos_embed": 1},
    ),
    Layout(
        "MAE, encoder alone",
        (_NAME,),
        marks=(r"^cls_token$", r"^blocks\.0\.attn\.qkv", r"^norm\.weight"),
        without=(r"^decoder_", r"^fc_norm\.", r"\.ls1\.", r"^reg_token$", r"^head\.", r"^Head\."),
        heads=_DECODER,
        options=_options,
        grids={"pos_embed": 1},
        borrowed=True,
    ),
    Layout(
        "MAE of transformers",
        (_NAME,),
        marks=(r"^decoder\.decoder_pos_embed$", r"^vit\.embeddings\.position_embeddings$"),
        rename=(
            (r"^vit\.embeddings\.cls_token$", "cls_token"),
            (r"^vit\.embeddings\.position_embeddings$", "pos_embed"),
            (r"^vit\.embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
            (r"^vit\.layernorm\.", "norm."),
            # before release 5, and since
            (r"^vit\.(encoder\.layer|layers)\.", "blocks."),
            (r"^decoder\.decoder_layers\.", "decoder_blocks."),
            (r"^decoder\.", ""),
            (r"\.layernorm_before\.", ".norm1."),
            (r"\.layernorm_after\.", ".norm2."),
            (r"\.attention\.attention\.(q|k|v)[a-z]+\.", r".attn.qkv_\1."),
            (r"\.attention\.output\.dense\.", ".attn.proj."),
            (r"\.attention\.([qkv])_proj\.", r".attn.qkv_\1."),
            (r"\.attention\.o_proj\.", ".attn.proj."),
            (r"\.intermediate\.dense\.", ".mlp.fc1."),
            (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        ),
        heads=(r"^head\.",),
        transform=fused,
        options=lambda shapes: {**_options(shapes), "eps": 1e-12},
        grids={"pos_embed": 1, "decoder_pos_embed": 1},
    ),
)
