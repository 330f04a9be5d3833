"""Image-text pretraining: an image and what was written of it are alike, other texts are not.

Sources: Radford et al. 2021, "Learning transferable visual models from natural language
supervision" (CLIP), ICML; for texts that are right for several images Silva-Rodriguez et al. 2025,
"A foundation language-image model of the retina (FLAIR)", Medical Image Analysis 99.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn.loop import Loss
from osler.learn.strategies.contrastive_losses import soft_clip
from osler.learn.strategies.features import output_layer
from osler.learn.strategies.pretraining import (
    Pretraining,
    PretrainingSettings,
    exact,
    first_inputs,
    image_network,
    joined,
    keep_weights,
    perceptron,
    pool,
    represent,
    representation,
    view,
)
from osler.learn.strategies.strategy import Context, Wrapped, tensors
from osler.tasks.task import Sample, Settings

MOST_SURE = math.log(100)
"""Greatest logarithm of one over the temperature, as in CLIP."""


class ImageTextSettings(PretrainingSettings):
    """The keys of ``image-text``, beside those of every stage without labels.

    Attributes:
        text: the variable of the cohort that holds the text of a case; cases without one do not
            take part.
        alike: which texts are right for an image: its own alone (``pairs``, CLIP), every equal one
            (``same``, soft-label CLIP), or each by the share of its words that are its own too
            (``words``).
        temperature: of the similarities at the start; it learns.
        hidden: width within both encoders' heads.
        projection: numbers that are compared.
    """

    text: str = Field(min_length=1)
    alike: Literal["pairs", "same", "words"] = "same"
    temperature: float = Field(0.07, gt=0)
    hidden: int = Field(256, gt=0)
    projection: int = Field(64, gt=0)


class ImageText(Pretraining):
    """See `ImageTextSettings`."""

    name: ClassVar[str] = "image-text"
    title: ClassVar[str] = "Image-text pretraining"
    source: ClassVar[str] = (
        "Radford et al. 2021, 'Learning transferable visual models from natural language "
        "supervision', ICML"
    )
    Settings: ClassVar[type[Settings]] = ImageTextSettings

    settings: ImageTextSettings

    def before(self, net: nn.Module, context: Context) -> None:
        """Pretrain the network in place, and keep its weights."""
        said = self.settings
        samples, texts = with_text(pool(context), context, said.text)
        words = vocabulary(texts)
        first = first_inputs(context, samples)
        net, names = image_network(net, first)
        inputs = joined([first], names)
        layer = representation(net, inputs)
        with torch.no_grad():
            width = represent(net, inputs, layer).shape[1]
        torch.manual_seed(context.learner.seed)
        whole = Wrapped(net, {
            "image": perceptron(width, said.hidden, said.projection),
            "text": perceptron(len(words), said.hidden, said.projection, norm=False),
            "scale": _Scale(said.temperature),
        })  # fmt: skip
        state = context.stage(
            whole, self._loss_of(samples, texts, words, names, layer, context), self.name,
            learner=self.learner(context),
        )  # fmt: skip
        context.record |= {
            "cases": len(samples), "words": len(words), "features": layer, "steps": state.step,
        }  # fmt: skip
        keep_weights(net, context, self.name, head=output_layer(net.cpu(), inputs))

    def _loss_of(
        self, samples: Sequence[Sample], texts: Sequence[set[str]], words: Sequence[str],
        names: Sequence[str], layer: str, context: Context,
    ) -> Loss:  # fmt: skip
        said, task, changes = self.settings, context.task, self.changes()
        seed = context.learner.seed * 1_000_003
        batches = context.batches(samples, batch=self.learner(context).batch)
        place = {word: number for number, word in enumerate(words)}

        def loss(net: nn.Module, number: int, device: torch.device) -> Tensor:
            made: Any = net
            inputs = view(
                tensors(batches(number)[0], device), task, changes, seed=seed + number
            )  # fmt: skip
            bags = bags_of([texts[one] for one in batches.choose(number)], place).to(device)
            images = made.beside["image"](represent(made.net, joined([inputs], names), layer))
            written = made.beside["text"](bags / bags.sum(dim=1, keepdim=True).sqrt())
            with exact(device):
                return soft_clip(
                    images.float(), written.float(),
                    made.beside["scale"].log_scale.clamp(max=MOST_SURE), alike(bags, said.alike),
                )  # fmt: skip

        return loss


class _Scale(nn.Module):
    """The logarithm of one over the temperature, which learns."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))


def with_text(
    samples: Sequence[Sample], context: Context, column: str
) -> tuple[list[Sample], list[set[str]]]:
    """The cases that have a text, and the words of each.

    Raises:
        RecipeError: the cohort has no such variable, or fewer than two cases have words in it.
    """
    said = [
        set(re.findall(r"\w+", context.variables.get(sample.id, {}).get(column, "").lower()))
        for sample in samples
    ]
    kept = [(sample, words) for sample, words in zip(samples, said, strict=True) if words]
    if len({frozenset(words) for _, words in kept}) < 2:
        there = sorted({name for one in context.variables.values() for name in one})
        raise RecipeError(
            f"strategies.image-text.text: fewer than two texts of the cases that teach differ in "
            f"the variable '{column}'; the cohort's variables are: {', '.join(there) or 'none'}"
        )
    return [sample for sample, _ in kept], [words for _, words in kept]


def vocabulary(texts: Sequence[set[str]]) -> list[str]:
    """All words, sorted."""
    return sorted(set().union(*texts))


def bags_of(texts: Sequence[set[str]], place: dict[str, int]) -> Tensor:
    """Which words each text has: ``(N, V)``, 0 and 1."""
    bags = torch.zeros(len(texts), len(place))
    for row, words in enumerate(texts):
        bags[row, [place[word] for word in words]] = 1
    return bags


def alike(bags: Tensor, how: str) -> Tensor:
    """How much texts (rows) are right for images (columns): ``(N, N)``, 0 to 1.

    Args:
        bags: of `bags_of`.
        how: ``pairs``, ``same`` or ``words``: the words of both over the words of either.
    """
    if how == "pairs":
        return torch.eye(len(bags), device=bags.device)
    both = bags @ bags.T
    count = bags.sum(dim=1)
    share: Tensor = both / (count[:, None] + count[None] - both)
    return share if how == "words" else (share == 1).float()
