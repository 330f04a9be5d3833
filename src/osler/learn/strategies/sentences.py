r"""Networks of pictures and texts as classifiers: a class is where its sentences are.

.. math:: s_k(x) = e^{\tau}\, f(x)^T t_k

with the picture's embedding ``f`` and the class's ``t_k``, both of length 1.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import InputError, RecipeError
from osler.learn.strategies.strategy import Strategy
from osler.models.zero_shot import ImageText
from osler.tasks.task import Settings, Task

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe


class SentenceSettings(Settings):
    """The keys of every strategy on a network of pictures and texts.

    Attributes:
        prompts: of each class, what may be said of it; a class that is not named has its label.
        caption: sentence into which a prompt is put at ``{}``; None takes the network's own.
        knowledge: add what Osler knows of the look of each label.
    """

    prompts: dict[str, list[str]] = {}
    caption: str | None = None
    knowledge: bool = False


class OnSentences(Strategy):
    """A strategy on a network of `osler.models.zero_shot`, which answers by sentences first."""

    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    def faults(self, recipe: "Recipe", task: Task) -> list[str]:
        """Labels one by one have no sentences that exclude each other; captions want a place."""
        out = []
        if getattr(task.settings, "kind", None) == "multi-label":
            out.append("takes one class a case, and settings.kind is multi-label")
        caption = self.settings.caption
        if caption is not None and "{}" not in caption:
            out.append(f"caption '{caption}' has no {{}} for the label to stand at")
        return out

    def built(self, net: nn.Module, task: Task) -> nn.Module:
        """The classifier by sentences that the network is already."""
        if not isinstance(net, ImageText):
            raise RecipeError(
                f"strategies.{self.name}: the network has no space of pictures and texts; choose a "
                "network.name of the group 'image and language' (osler models list) with its "
                "network.checkpoint"
            )
        try:
            return SentenceClassifier(net, self.embedded(net, task))
        except InputError as error:
            raise RecipeError(f"strategies.{self.name}: {error}") from error

    def embedded(self, net: ImageText, task: Task) -> Tensor:
        """The direction of each class's sentences, ``(L, D)`` of length 1."""
        said, labels = self.settings, list(task.settings.labels)
        if unknown := sorted(set(said.prompts) - set(labels)):
            raise RecipeError(
                f"strategies.{self.name}.prompts names {', '.join(map(repr, unknown))}; the labels "
                f"are {', '.join(map(repr, labels))}"
            )
        prompts: Mapping[str, Any] = {one: said.prompts.get(one, [one]) for one in labels}
        was = net.training
        classes = net.eval().classes(prompts, caption=said.caption, knowledge=said.knowledge)
        net.train(was)
        mean = torch.stack([one.mean(dim=0) for one in classes.embeddings])
        return functional.normalize(mean, dim=1).clone()


class SentenceClassifier(nn.Module):
    """Scores of pictures by the sentences of each class.

    Args:
        net: embeds pictures.
        texts: ``(L, D)`` of length 1.
    """

    texts: Tensor

    def __init__(self, net: ImageText, texts: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("texts", texts)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, H, W)``, as the weights expect it, to ``(B, L)``."""
        return self.scores(self.net.embed_image(image))

    def scores(self, seen: Tensor) -> Tensor:
        """Embeddings of pictures ``(B, D)`` to ``(B, L)``."""
        return self.net.scale() * seen @ self.texts.T


def names_of(net: nn.Module, parts: Collection[nn.Module | nn.Parameter]) -> set[str]:
    """Full names of some parameters, and of those of some modules."""
    wanted = {
        id(one)
        for part in parts
        for one in ([part] if isinstance(part, nn.Parameter) else part.parameters())
    }
    return {name for name, one in net.named_parameters() if id(one) in wanted}
