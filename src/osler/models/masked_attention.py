"""Transformer blocks over tokens of which some are absent.

An absent token is seen by none: what stands in its place changes nothing, be it zero or no number.

Source: Vaswani et al. 2017, "Attention is all you need", NeurIPS; the norm before each part as in
Xiong et al. 2020, "On layer normalization in the transformer architecture", ICML.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError


class MaskedBlock(nn.Module):
    """Attention among present tokens and an MLP, each after a norm and beside a shortcut.

    Args:
        dim: width.
        heads: of the attention.
        hidden: width within the MLP.
        dropout: share of numbers dropped in training.
    """

    def __init__(self, dim: int, heads: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise RecipeError(f"embed_dim {dim} cannot be shared by num_heads {heads}")
        self.heads, self.dropout = heads, dropout
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Tokens ``(B, N, D)``, of which ``present`` ``(B, N)`` are there, to the same.

        At least one of each sample must be present.
        """
        b, n, d = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=present[:, None, None])
        x = x + self._dropped(self.proj(seen.transpose(1, 2).reshape(b, n, d)))
        return x + self._dropped(self.fc2(functional.gelu(self.fc1(self.norm2(x)))))

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


class MaskedEncoder(nn.Module):
    """A class token before the tokens, blocks, and a norm.

    Args:
        dim: width.
        depth: number of blocks.
        heads: of each attention.
        hidden: width within each MLP.
        dropout: share of numbers dropped in training.
    """

    def __init__(
        self, dim: int, depth: int, heads: int, hidden: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = nn.ModuleList(
            MaskedBlock(dim, heads, hidden, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Tokens ``(B, N, D)`` and which are present ``(B, N)`` to ``(B, 1 + N, D)``."""
        x = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        there = torch.cat([torch.ones_like(present[:, :1]), present], dim=1)
        for block in self.blocks:
            x = block(x, there)
        return self.norm(x)
