"""An encoder of gene expression through named sets of genes.

The first layer has a weight only where a gene belongs to a set, so each of its outputs can be
read as what its set does; genes that were not measured are left out, not zero.

Source: Elmarakeby et al. 2021, "Biologically informed deep neural network for prostate cancer
discovery", Nature, doi:10.1038/s41586-021-03922-4 (layers along known sets). It is no copy of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.masked_attention import MaskedEncoder


class GeneSetEncoder(nn.Module):
    """Genes to sets to a sample.

    Args:
        genes: names, in the order of the columns.
        sets: for each name of a set, the names of its genes; those that are no column are left
            out, as lists of genes are longer than what was measured.
        num_classes: scores; 0 gives features.
        embed_dim: numbers for each set.
        depth: blocks of attention among sets.
        num_heads: of each attention.
        dropout: share of numbers dropped in training.
    """

    def __init__(
        self,
        *,
        genes: Sequence[str],
        sets: Mapping[str, Sequence[str]],
        num_classes: int = 0,
        embed_dim: int = 32,
        depth: int = 2,
        num_heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        columns = {gene: column for column, gene in enumerate(genes)}
        if len(columns) != len(genes):
            raise RecipeError("two columns have the name of one gene; join or rename them")
        members = {
            name: [columns[gene] for gene in wanted if gene in columns]
            for name, wanted in sets.items()
        }
        empty = [name for name, found in members.items() if not found]
        if empty or not members:
            raise RecipeError(
                "no gene of these sets is a column: "
                f"{', '.join(empty[:5]) or 'none are named'}; take them out, or check whether "
                "columns are symbols or identifiers"
            )
        self.genes, self.sets = list(genes), list(members)
        most = max(map(len, members.values()))
        index = torch.zeros(len(members), most, dtype=torch.long)
        member = torch.zeros(len(members), most, dtype=torch.bool)
        for row, found in enumerate(members.values()):
            index[row, : len(found)] = torch.tensor(found)
            member[row, : len(found)] = True
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("member", member, persistent=False)
        # one row a membership: a gene outside a set has no weight there that could be learnt
        self.weight = nn.Parameter(torch.randn(sum(map(len, members.values())), embed_dim))
        self.register_buffer(
            "row", (member.flatten().cumsum(0) - 1).clamp(min=0).reshape(member.shape),
            persistent=False,
        )  # fmt: skip
        with torch.no_grad():
            sizes = torch.tensor([float(len(found)) for found in members.values() for _ in found])
            self.weight /= sizes[:, None].sqrt()
        self.bias = nn.Parameter(torch.zeros(len(members), embed_dim))
        self.encoder = MaskedEncoder(embed_dim, depth, num_heads, 2 * embed_dim, dropout=dropout)
        self.head = nn.Linear(embed_dim, num_classes) if num_classes else nn.Identity()
        nn.init.normal_(self.bias, std=0.02)

    def activities(
        self, expression: Tensor, present: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What each set does.

        Args:
            expression: ``(B, genes)``, standardised gene by gene; nan was not measured.
            present: ``(B, genes)``, which were measured beside.

        Returns:
            ``(B, sets, D)``, each scaled up by the share of its genes that are missing, and which
            sets have any gene ``(B, sets)``.
        """
        known = ~expression.isnan()
        if present is not None:
            known = known & present
        filled = torch.where(known, expression, torch.zeros_like(expression))
        there = (known[:, self.index] & self.member).to(filled)
        values = filled[:, self.index] * there
        weights = self.weight[self.row] * self.member[:, :, None]
        measured = there.sum(2)
        share = measured.clamp(min=1) / self.member.sum(1).to(filled)
        said = torch.einsum("bsm,smd->bsd", values, weights) / share[:, :, None]
        return said + self.bias, measured > 0

    def features(self, expression: Tensor, present: Tensor | None = None) -> Tensor:
        """The same as ``forward`` to features ``(B, D)``."""
        said, there = self.activities(expression, present)
        return self.encoder(functional.gelu(said) + self.bias, there)[:, 0]

    def forward(self, expression: Tensor, present: Tensor | None = None) -> Tensor:
        """Scores ``(B, num_classes)``, or features; arguments as of ``activities``."""
        return self.head(self.features(expression, present))


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """Expression in which the first sample lacks its first gene."""
    generator = torch.Generator().manual_seed(0)
    expression = torch.randn(batch, len(options["genes"]), generator=generator)
    expression[:1, :1] = torch.nan
    return {"expression": expression}
