"""A pair of encoders as a task asks it, and the parts of it that a bundle holds."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.zero_shot import Ensemble, ImageText


class Answering(nn.Module):
    """A pair as a task asks it: where a picture lies, and its scores against classes in words.

    Args:
        net: the pair.
        ids, mask: the prompts of all classes, ``(P, T)`` each.
        counts: prompts of each class, in order.
        ensemble: how the prompts of a class become one score; see ``ImageText.zero_shot``.
    """

    ids: Tensor
    mask: Tensor

    def __init__(
        self, net: ImageText, ids: Tensor, mask: Tensor, counts: Sequence[int], ensemble: Ensemble
    ) -> None:
        super().__init__()
        self.net, self.counts, self.ensemble = net, list(counts), ensemble
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        self._known: tuple[int, Tensor] | None = None

    def train(self, mode: bool = True) -> "Answering":
        """Training mode, in which what was read before is forgotten."""
        self._known = None
        super().train(mode)
        return self

    def table(self) -> Tensor:
        """The embeddings of the prompts, ``(P, D)``; read once for as long as no weight changes."""
        version = sum(one._version for one in self.net.parameters())
        if self._known is not None and self._known[0] == version and not self.training:
            return self._known[1]
        with torch.inference_mode(mode=False), torch.no_grad():
            table = torch.cat([
                self.net.embed_text(ids, mask)
                for ids, mask in zip(self.ids.split(64), self.mask.split(64), strict=True)
            ])  # fmt: skip
        self._known = None if self.training else (version, table)
        return table

    def forward(
        self, image: Tensor, ids: Tensor | None = None, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Pictures ``(B, C, H, W)``, and texts ``(B, T)`` that are embedded too."""
        seen = self.net.embed_image(image)
        scale = self.net.scale().detach()
        out = {
            "embedding": seen,
            "scores": scores_of(seen, self.table(), self.counts, self.ensemble, scale),
        }
        if ids is not None and mask is not None:
            out["text"] = self.net.embed_text(ids, mask)
        return out

    def fixed(self) -> "Fixed":
        """The same with the classes as numbers, without the encoder of texts."""
        return Fixed(self.net, self.table().clone(), self.counts, self.ensemble)


class Fixed(nn.Module):
    """A pair's encoder of pictures, and scores against classes that are known as embeddings.

    Args:
        net: the pair.
        table: ``(P, D)``.
        counts, ensemble: as for `Answering`.
    """

    table: Tensor
    scale: Tensor

    def __init__(
        self, net: ImageText, table: Tensor, counts: Sequence[int], ensemble: Ensemble
    ) -> None:
        super().__init__()
        self.net, self.counts, self.ensemble = net, list(counts), ensemble
        self.register_buffer("table", table)
        self.register_buffer("scale", net.scale().detach().clone())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, H, W)`` to embeddings ``(B, D)`` and scores ``(B, L)``."""
        seen = self.net.embed_image(image)
        return seen, scores_of(seen, self.table, self.counts, self.ensemble, self.scale)


class TextSide(nn.Module):
    """A pair's encoder of texts alone.

    Args:
        net: the pair.
    """

    def __init__(self, net: ImageText) -> None:
        super().__init__()
        self.net = net

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """``(P, T)`` each to embeddings ``(P, D)`` and the factor of scores ``(1,)``."""
        return self.net.embed_text(input_ids, attention_mask), self.net.scale().reshape(1)


def scores_of(
    seen: Tensor, table: Tensor, counts: Sequence[int], ensemble: Ensemble, scale: Tensor
) -> Tensor:
    """Embeddings of pictures ``(B, D)`` against those of prompts ``(P, D)``: ``(B, L)``."""
    groups, begin = [], 0
    for count in counts:
        groups.append(table[begin : begin + count])
        begin += count
    if ensemble == "max":
        return torch.stack([(scale * seen @ one.T).amax(dim=1) for one in groups], dim=1)
    means = [one.mean(dim=0) for one in groups]
    if ensemble == "direction":
        means = [functional.normalize(one, dim=0) for one in means]
    return scale * seen @ torch.stack(means).T


def pair_of(net: nn.Module) -> ImageText:
    """The pair within a network, whatever was put around it.

    Raises:
        RecipeError: there is none.
    """
    for one in net.modules():
        if isinstance(one, ImageText):
            return one
    raise RecipeError(
        "the network has no space of pictures and texts; choose a network.name of the group 'image "
        "and language' (osler models list), such as image-text"
    )
