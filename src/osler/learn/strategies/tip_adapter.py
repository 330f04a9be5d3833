r"""TIP-Adapter: a cache of the cases that teach beside the sentences, learnt or not.

.. math:: s = e^\tau f T^T + \alpha\, e^{-\beta (1 - f F^T)} L

with the embeddings ``F`` of the cases that teach and their classes ``L``, one-hot. The same scores
are used in training (TIP-Adapter-F, which lets ``F`` learn) and in use; the official code of FLAIR
divides the second part by the shots and scales it in training only.

Source: Zhang et al. 2022, "Tip-Adapter: Training-free Adaption of CLIP for Few-shot
Classification", ECCV, arXiv:2207.09519.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from osler.learn.checkpoint import State
from osler.learn.loop import Loss, Validate
from osler.learn.strategies.freezing import Rested, exchanged, freeze
from osler.learn.strategies.prototypes import features_of_samples
from osler.learn.strategies.sentences import (
    OnSentences,
    SentenceClassifier,
    SentenceSettings,
    names_of,
)
from osler.learn.strategies.strategy import Context, Training

_BOTH = "it says itself which weights learn: the keys of its cache, or none."


class TipAdapterSettings(SentenceSettings):
    """The keys of ``tip-adapter``, beside those of `SentenceSettings`.

    Attributes:
        alpha: weight of the cache.
        beta: how sharply only near cases count.
        fine_tune: let the keys of the cache learn (TIP-Adapter-F); else nothing is stepped.
    """

    alpha: Annotated[float, Field(ge=0, le=1000)] = 1.0
    beta: Annotated[float, Field(gt=0, le=1000)] = 5.5
    fine_tune: bool = False


class TipAdapter(OnSentences, Training):
    """The cases that teach are looked up by their likeness; both encoders rest."""

    name: ClassVar[str] = "tip-adapter"
    title: ClassVar[str] = "TIP-Adapter"
    source: ClassVar[str] = (
        "Zhang et al. 2022, 'Tip-Adapter: Training-free Adaption of CLIP for Few-shot "
        "Classification', ECCV"
    )
    Settings: ClassVar[type[SentenceSettings]] = TipAdapterSettings
    refuses: ClassVar[dict[str, str]] = {"tuning": _BOTH}

    settings: TipAdapterSettings

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        """The classifier with its cache, of which the keys learn or nothing does."""
        assert isinstance(net, SentenceClassifier)
        features, classes = features_of_samples(
            net, "", context.teach, context.task,
            embed=lambda _, inputs: net.net.embed_image(inputs[0]),
        )  # fmt: skip
        cached = Cached(net, features, classes, alpha=self.settings.alpha, beta=self.settings.beta)
        context.record["cases in the cache"] = len(features)
        learning = names_of(cached, [cached.keys]) if self.settings.fine_tune else set()
        return Rested(cached, still=freeze(cached, learning))

    def train(
        self, net: nn.Module, loss: Loss, validate: Validate | None, context: Context
    ) -> State:
        """Let the keys learn, or leave them."""
        if not self.settings.fine_tune:
            net.eval()
            return State()
        state = context.stage(
            net, loss, ".", learner=context.learner, validate=validate,
            stepped=[way.stepped for way, _ in context.everyone],
        )  # fmt: skip
        net.eval()
        return state

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        """The classifier with its cache."""
        return exchanged(net, Rested, lambda one: one.net)


class Cached(SentenceClassifier):
    """A classifier by sentences and by likeness to known cases.

    Args:
        of: the classifier without.
        keys: embeddings of the cases ``(N, D)``.
        classes: of each, ``(N,)``.
        alpha: weight of the cache.
        beta: how sharply only near cases count.
    """

    values: Tensor

    def __init__(
        self, of: SentenceClassifier, keys: Tensor, classes: Tensor, *, alpha: float, beta: float
    ) -> None:
        super().__init__(of.net, of.texts)
        self.keys = nn.Parameter(keys.clone())
        self.register_buffer("values", functional.one_hot(classes, len(of.texts)).to(keys.dtype))
        self.alpha, self.beta = alpha, beta

    def scores(self, seen: Tensor) -> Tensor:
        """Embeddings of pictures ``(B, D)`` to ``(B, L)``."""
        known = looked_up(seen, self.keys, self.values, self.beta)
        return super().scores(seen) + self.alpha * known


def looked_up(seen: Tensor, keys: Tensor, values: Tensor, beta: float) -> Tensor:
    """What a cache says of embeddings ``(B, D)``: ``(B, L)``."""
    return torch.exp(-beta * (1 - seen @ keys.T)) @ values
