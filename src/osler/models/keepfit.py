"""KeepFIT: FLAIR taught further with textbooks, and the attention that looked things up in them.

Source: Wu et al. 2024, "MM-Retinal: knowledge-enhanced foundational pretraining with fundus
image-text expertise", MICCAI, arXiv:2405.11793.
"""

from typing import Any, Literal

from torch import Tensor, nn

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Layout
from osler.models.clinical_pair import NOT_NEEDED, UNUSED, example
from osler.models.flair import NAMES, Flair, flair_options

__all__ = ("LAYOUTS", "ExpertAttention", "KeepFit", "example", "keepfit")

Over = Literal["keys", "heads"]


class ExpertAttention(nn.Module):
    """What the pictures of an atlas say of other pictures, by how much alike they look.

    Args:
        dim: width of the embeddings.
        heads: of the attention.
        dropout: share of weights dropped in training.
        over: what the weights of a query sum to 1 over: the ``keys``; or, as the official code
            does since its softmax names no dimension, all ``heads`` of all samples, so that
            every key is weighed as if it were alone.
    """

    def __init__(
        self, dim: int, *, heads: int = 2, dropout: float = 0.5, over: Over = "keys"
    ) -> None:
        super().__init__()
        if dim % heads:
            raise RecipeError(f"proj_dim {dim} cannot be shared by attention_heads {heads}")
        if over not in ("keys", "heads"):
            raise RecipeError(f"attention_over is 'keys' or 'heads', not '{over}'")
        self.heads, self.over = heads, over
        self.W_q = nn.Linear(dim, dim, bias=False)
        self.W_k = nn.Linear(dim, dim, bias=False)
        self.W_v = nn.Linear(dim, dim, bias=False)
        self.W_o = nn.Linear(dim, dim, bias=False)
        self.dropout = nn.Dropout(dropout)

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """``(B, Q, D)`` and ``(B, K, D)`` to ``(B * heads, Q, K)``, a sample's heads together."""
        q, k = self._split(self.W_q(queries)), self._split(self.W_k(keys))
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        return scores.softmax(dim=-1 if self.over == "keys" else 0)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Look up.

        Args:
            queries: ``(B, Q, D)``, embeddings of pictures.
            keys: ``(B, K, D)``, embeddings of the atlas's pictures.
            values: ``(B, K, D)``, embeddings of what the atlas says of them.

        Returns:
            ``(B, Q, D)``.
        """
        seen = self.dropout(self.weights(queries, keys)) @ self._split(self.W_v(values))
        b, n, d = queries.shape
        seen = seen.reshape(b, self.heads, n, d // self.heads).transpose(1, 2)
        return self.W_o(seen.reshape(b, n, d))

    def _split(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        x = x.reshape(b, n, self.heads, d // self.heads).transpose(1, 2)
        return x.reshape(b * self.heads, n, d // self.heads)


class KeepFit(Flair):
    """FLAIR's network, with the attention that was used in training alone.

    Args:
        attention_heads: of the expert attention.
        attention_over: what its weights sum to 1 over; see ``ExpertAttention``.
        antialias: of the canvas; releases of torchvision before 0.17 had none.
        proj_dim: width of the space.
        longest: number of tokens after which a text is cut.
        options: of ``Flair``.
    """

    def __init__(
        self,
        *,
        attention_heads: int = 2,
        attention_over: Over = "keys",
        antialias: bool = True,
        proj_dim: int = 512,
        longest: int = 256,
        **options: Any,
    ) -> None:
        super().__init__(proj_dim=proj_dim, longest=longest, **options)
        self.antialias = antialias  # the card's preprocessing is chosen by it
        self.attention = ExpertAttention(proj_dim, heads=attention_heads, over=attention_over)


def keepfit(**options: Any) -> KeepFit:
    """KeepFIT; options of ``KeepFit``."""
    return KeepFit(**options)


LAYOUTS = (
    Layout(
        "KeepFIT",
        ("keepfit",),
        marks=(
            r"^vision_model\.model\.layer1\.",
            r"^(vision|text)_model\.projection_head_(vision|text)\.projection\.weight$",
            r"^attention\.W_",
        ),
        rename=NAMES,
        drop=NOT_NEEDED,
        heads=UNUSED,
        options=flair_options,
    ),
)
