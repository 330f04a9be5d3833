"""A perceptron over the columns of a table, down to a linear model of them.

A value that is missing adds a learnt constant in place of what it would have said. Without hidden
layers the scores are linear: with a Cox or logistic loss that is the classical regression with an
indicator of missing values (Cohen & Cohen, "Applied multiple regression", 1975, chapter 7).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from osler.errors import RecipeError


class TabularPerceptron(nn.Module):
    """Hidden layers of rectified units over values and over which of them are missing.

    Args:
        numbers: columns.
        num_classes: scores; 0 gives features.
        widths: of the hidden layers; none for a linear model.
        dropout: share of numbers dropped in training, after each hidden layer.
    """

    def __init__(
        self, *, numbers: int = 8, num_classes: int = 0, widths: Sequence[int] = (64, 64),
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if numbers < 1:
            raise RecipeError("a table has at least one column: say numbers=")
        layers: list[nn.Module] = []
        inner = 2 * numbers
        for width in widths:
            layers += [nn.Linear(inner, width), nn.ReLU(), nn.Dropout(dropout)]
            inner = width
        self.layers = nn.Sequential(*layers)
        self.head: nn.Module = nn.Identity()
        if num_classes:
            head = nn.Linear(inner, num_classes)
            if not widths:
                nn.init.zeros_(head.weight)
            self.head = head

    def features(self, numbers: Tensor, present: Tensor | None = None) -> Tensor:
        """The same as ``forward`` to features ``(B, D)``."""
        known = ~numbers.isnan()
        if present is not None:
            known = known & present
        # not a product: what is not there may be no number
        filled = torch.where(known, numbers, torch.zeros_like(numbers))
        out: Tensor = self.layers(torch.cat([filled, (~known).to(filled)], dim=1))
        return out

    def forward(self, numbers: Tensor, present: Tensor | None = None) -> Tensor:
        """Scores ``(B, num_classes)``, or features.

        Args:
            numbers: ``(B, numbers)``, standardised; what is no number (nan) is missing.
            present: ``(B, numbers)``, which values there are beside.
        """
        scores: Tensor = self.head(self.features(numbers, present))
        return scores


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """A table in which the first row lacks its first number."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(batch, options.get("numbers", 8), generator=generator)
    numbers[:1, :1] = torch.nan
    return {"numbers": numbers}
