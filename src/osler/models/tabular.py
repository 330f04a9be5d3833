"""A transformer over the columns of a table, in which a missing value is absent, not zero.

Source: Gorishniy et al. 2021, "Revisiting deep learning models for tabular data", NeurIPS,
arXiv:2106.11959 (FT-Transformer). The blocks are plain ones, with GELU instead of ReGLU.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.models.masked_attention import MaskedEncoder


class TabularTransformer(nn.Module):
    """Each value is a token; a value that is missing has none that anyone sees.

    Args:
        numbers: columns of numbers.
        categories: for each column of categories, how many there are.
        num_classes: scores; 0 gives features.
        embed_dim: width.
        depth: number of blocks.
        num_heads: of each attention.
        dropout: share of numbers dropped in training.
    """

    def __init__(
        self,
        *,
        numbers: int = 8,
        categories: Sequence[int] = (),
        num_classes: int = 0,
        embed_dim: int = 192,
        depth: int = 3,
        num_heads: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if numbers + len(categories) == 0:
            raise RecipeError("a table has at least one column: say numbers= or categories=")
        self.weight = nn.Parameter(torch.empty(numbers, embed_dim))
        self.bias = nn.Parameter(torch.empty(numbers + len(categories), embed_dim))
        self.values = nn.Embedding(sum(categories), embed_dim) if categories else None
        starts = [sum(categories[:column]) for column in range(len(categories))]
        self.register_buffer("starts", torch.tensor(starts, dtype=torch.long), persistent=False)
        self.encoder = MaskedEncoder(embed_dim, depth, num_heads, 2 * embed_dim, dropout=dropout)
        self.head = nn.Linear(embed_dim, num_classes) if num_classes else nn.Identity()
        for one in (self.weight, self.bias):
            nn.init.uniform_(one, -(embed_dim**-0.5), embed_dim**-0.5)

    def tokens(self, numbers: Tensor | None, categories: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, N, D)`` of all columns, and which of them are there ``(B, N)``."""
        tokens, there = [], []
        if numbers is not None:
            known = ~numbers.isnan()
            filled = torch.where(known, numbers, torch.zeros_like(numbers))
            tokens.append(filled[:, :, None] * self.weight)
            there.append(known)
        if categories is not None and self.values is not None:
            known = categories >= 0
            places = categories.clamp(min=0) + self.starts
            tokens.append(self.values(places))
            there.append(known)
        return torch.cat(tokens, dim=1) + self.bias, torch.cat(there, dim=1)

    def features(
        self,
        numbers: Tensor | None = None,
        categories: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """The same as ``forward`` to features ``(B, D)``."""
        tokens, there = self.tokens(numbers, categories)
        if present is not None:
            there = there & present
        return self.encoder(tokens, there)[:, 0]

    def forward(
        self,
        numbers: Tensor | None = None,
        categories: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Scores ``(B, num_classes)``, or features.

        Args:
            numbers: ``(B, numbers)``, standardised; what is no number (nan) is missing.
            categories: ``(B, columns)``, counted from 0; what is negative is missing.
            present: ``(B, numbers + columns)``, which values there are beside.
        """
        return self.head(self.features(numbers, categories, present))


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """A table in which the first row lacks its first number and its last category."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(batch, options.get("numbers", 8), generator=generator)
    numbers[:1, :1] = torch.nan
    out = {"numbers": numbers}
    columns = [
        torch.randint(count, (batch, 1), generator=generator)
        for count in options.get("categories", ())
    ]
    if columns:
        out["categories"] = torch.cat(columns, dim=1)
        out["categories"][:1, -1] = -1
    return out
