r"""CLIP-Adapter: a bottleneck mixed into the embedding of a picture.

.. math::

    f' = \alpha\, \phi(\phi(f W_1) W_2) + (1 - \alpha) f,\qquad
    s_k = e^\tau \frac{f'^T t_k}{|f'|}

Source: Gao et al. 2021, "CLIP-Adapter: Better Vision-Language Models with Feature Adapters",
arXiv:2110.04544 (IJCV 2024).
"""

from collections.abc import Collection
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.learn.strategies.freezing import Tuning
from osler.learn.strategies.sentences import (
    OnSentences,
    SentenceClassifier,
    SentenceSettings,
    names_of,
)
from osler.learn.strategies.strategy import Context


class ClipAdapterSettings(SentenceSettings):
    """The keys of ``clip-adapter``, beside those of `SentenceSettings`.

    Attributes:
        ratio: how much of what the adapter says is mixed in.
        reduction: the embedding's width over that of the bottleneck.
    """

    ratio: Annotated[float, Field(gt=0, le=1)] = 0.2
    reduction: Annotated[int, Field(ge=1, le=256)] = 4


class ClipAdapter(OnSentences, Tuning):
    """Two layers after the embedding of a picture learn; both encoders rest."""

    name: ClassVar[str] = "clip-adapter"
    title: ClassVar[str] = "CLIP-Adapter"
    source: ClassVar[str] = (
        "Gao et al. 2021, 'CLIP-Adapter: Better Vision-Language Models with Feature Adapters', "
        "arXiv:2110.04544"
    )
    Settings: ClassVar[type[SentenceSettings]] = ClipAdapterSettings

    settings: ClipAdapterSettings

    def learning(self, net: nn.Module, context: Context) -> tuple[nn.Module, Collection[str]]:
        """The weights of the adapter."""
        assert isinstance(net, SentenceClassifier)
        width = net.texts.shape[1]
        if width < self.settings.reduction:
            raise RecipeError(
                f"strategies.clip-adapter.reduction is {self.settings.reduction} and the "
                f"embedding has {width} numbers; say fewer"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.learner.seed)
            adapted = AdaptedSentences(net, width // self.settings.reduction, self.settings.ratio)
        return adapted, names_of(adapted, [adapted.down, adapted.up])


class AdaptedSentences(SentenceClassifier):
    """A classifier by sentences with an adapter of the picture's embedding.

    Args:
        of: the classifier without.
        width: of the bottleneck.
        ratio: how much of it is mixed in.
    """

    def __init__(self, of: SentenceClassifier, width: int, ratio: float) -> None:
        super().__init__(of.net, of.texts)
        size = of.texts.shape[1]
        self.down, self.up = nn.Linear(size, width, bias=False), nn.Linear(width, size, bias=False)
        self.ratio = ratio

    def scores(self, seen: Tensor) -> Tensor:
        """Embeddings of pictures ``(B, D)`` to ``(B, L)``."""
        return super().scores(mixed(seen, self.down.weight, self.up.weight, self.ratio))


def mixed(seen: Tensor, down: Tensor, up: Tensor, ratio: float) -> Tensor:
    """Embeddings ``(B, D)`` with what the adapter says of them, of length 1."""
    said = functional.relu(functional.linear(functional.relu(functional.linear(seen, down)), up))
    return functional.normalize(ratio * said + (1 - ratio) * seen, dim=1)
