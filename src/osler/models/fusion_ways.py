"""How what several inputs say becomes one answer. An input that is absent is not looked at.

Each way takes the tokens of all inputs and gives features that a head reads, or (late fusion) the
scores themselves.

Sources: (1) Baltrušaitis et al. 2019, "Multimodal machine learning: a survey and taxonomy", IEEE
TPAMI (early and late fusion); (2) Guo et al. 2017, "On calibration of modern neural networks", ICML
(temperature); (3) Arevalo et al. 2017, "Gated multimodal units for information fusion", ICLR
workshop; (4) Tsai et al. 2019, "Multimodal transformer for unaligned multimodal language
sequences", ACL (cross-attention); (5) Bachmann et al. 2022, "MultiMAE: Multi-modal multi-task
masked autoencoders", ECCV (one encoder over the tokens of all kinds).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.masked_attention import MaskedEncoder


@dataclass(frozen=True, slots=True)
class Parts:
    """What was read of the inputs of a batch.

    Attributes:
        tokens: of each input ``(B, N, D)``.
        there: of each input ``(B, N)``, which of its tokens are there; none of an absent input.
        means: ``(B, M, D)``, the mean of each input's tokens; zeros for an absent one.
        present: ``(B, M)``, which inputs there are.
    """

    tokens: Sequence[Tensor]
    there: Sequence[Tensor]
    means: Tensor
    present: Tensor


def share_of_present(scores: Tensor, present: Tensor) -> Tensor:
    """Softmax over the second axis among what is present; zeros where nothing is."""
    kept = scores.masked_fill(~present, -1e4)
    return kept.softmax(dim=1) * present.to(kept)


class Late(nn.Module):
    """The calibrated mean of what each present input says alone.

    Scores (log odds) of an input are divided by a temperature of its own, which is learnt, and
    averaged with weights that are learnt, among the inputs that are present.

    Args:
        dim: width of the tokens.
        labels: number of scores.
        groups: of each input, the number of its head; inputs alike may have one.
    """

    def __init__(self, *, dim: int, labels: int, groups: Sequence[int]) -> None:
        super().__init__()
        self.groups = tuple(groups)
        self.heads = nn.ModuleDict(
            {str(group): nn.Linear(dim, labels, bias=False) for group in sorted(set(groups))}
        )
        self.log_temperature = nn.Parameter(torch.zeros(len(groups)))
        self.weight = nn.Parameter(torch.zeros(len(groups)))

    def forward(self, parts: Parts) -> Tensor:
        """Scores ``(B, L)``."""
        said = torch.stack(
            [self.heads[str(group)](parts.means[:, i]) for i, group in enumerate(self.groups)], 1
        )
        said = said / self.log_temperature.exp()[:, None]
        weight = share_of_present(self.weight.expand(said.shape[0], -1), parts.present)
        return (weight[:, :, None] * said).sum(dim=1)


class Joint(nn.Module):
    """Blocks of attention over the tokens of all inputs, told apart by a learnt vector each.

    Args:
        dim, depth, heads: of the transformer.
        inputs: how many.
    """

    def __init__(self, *, dim: int, depth: int, heads: int, inputs: int) -> None:
        super().__init__()
        self.kind = nn.Parameter(torch.zeros(inputs, dim))
        self.encoder = MaskedEncoder(dim, depth, heads, 2 * dim, dropout=0.1)
        nn.init.normal_(self.kind, std=0.02)

    def forward(self, parts: Parts) -> Tensor:
        """Features ``(B, D)``: of the class token."""
        tokens = torch.cat(
            [one + kind for one, kind in zip(parts.tokens, self.kind, strict=True)], 1
        )
        out: Tensor = self.encoder(tokens, torch.cat(list(parts.there), dim=1))[:, 0]
        return out


class Gated(nn.Module):
    """The mean of the inputs, weighed number by number by gates that look at all of them.

    Args:
        dim: width.
        inputs: how many.
    """

    def __init__(self, *, dim: int, inputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.own = nn.ModuleList(nn.Linear(dim, dim) for _ in range(inputs))
        self.gate = nn.Linear(inputs * dim + inputs, inputs * dim)

    def forward(self, parts: Parts) -> Tensor:
        """Features ``(B, D)``."""
        said = torch.stack([own(parts.means[:, i]) for i, own in enumerate(self.own)], 1).tanh()
        seen = torch.cat([parts.means.flatten(1), parts.present.to(said)], dim=1)
        gates = self.gate(seen).unflatten(1, (self.inputs, -1))
        there = parts.present[:, :, None].expand_as(gates)
        return (share_of_present(gates, there) * said).sum(dim=1)


class Crossed(nn.Module):
    """Each input asks the tokens of the others; what the present ones learnt is averaged.

    A token that is always there lets an input that is alone ask as well.

    Args:
        dim, depth, heads: of the attention.
        inputs: how many.
    """

    def __init__(self, *, dim: int, depth: int, heads: int, inputs: int) -> None:
        super().__init__()
        self.kind = nn.Parameter(torch.zeros(inputs, dim))
        self.nothing = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = nn.ModuleList(_Asking(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        nn.init.normal_(self.kind, std=0.02)
        nn.init.normal_(self.nothing, std=0.02)

    def forward(self, parts: Parts) -> Tensor:
        """Features ``(B, D)``."""
        tokens = [one + kind for one, kind in zip(parts.tokens, self.kind, strict=True)]
        batch, many = tokens[0].shape[0], len(tokens)
        told = torch.cat([self.nothing.expand(batch, -1, -1), *tokens], dim=1)
        columns = []
        for asking in range(many):
            rows = [torch.ones_like(parts.there[0][:, :1])]
            for answering, there in enumerate(parts.there):
                rows.append(torch.zeros_like(there) if answering == asking else there)
            columns.append(torch.cat(rows, dim=1))
        visible = torch.stack(columns, dim=1)
        x = parts.means + self.kind
        for block in self.blocks:
            x = block(x, told, visible)
        kept = parts.present[:, :, None].to(x)
        out: Tensor = (self.norm(x) * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)
        return out


class _Asking(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise RecipeError(f"width {dim} cannot be shared by num_heads {heads}")
        self.heads = heads
        self.norm_q, self.norm_kv, self.norm = (nn.LayerNorm(dim) for _ in range(3))
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor, told: Tensor, visible: Tensor) -> Tensor:
        """``x`` ``(B, M, D)``, ``told`` ``(B, N, D)``, ``visible`` ``(B, M, N)``."""
        q = self.q(self.norm_q(x)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(self.norm_kv(told)).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None])
        x = x + self.proj(seen.transpose(1, 2).flatten(2))
        out: Tensor = x + self.fc2(functional.gelu(self.fc1(self.norm(x))))
        return out
