"""Adaptive instance normalisation: the means and deviations of other images, or of features."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn.blocks import blocks_of
from osler.learn.recipe import Recipe
from osler.learn.strategies.restyling import STYLES, Restyling, StyleSettings
from osler.learn.strategies.sites import Draws, sites_of
from osler.learn.strategies.strategy import Context, Loss
from osler.learn.strategies.styles import adain
from osler.tasks.task import Sample, Task


class AdainSettings(StyleSettings):
    """The keys of adaptive instance normalisation.

    Attributes:
        by, chance: see `StyleSettings`. With features, None takes any other case of the batch.
        of: ``images`` takes the moments of images; ``features`` those that other cases of the
            batch have after the first blocks of the network (MixStyle).
        blocks: how many of the first blocks, with features.
        beta: the weight of an image's own moments is drawn from Beta(beta, beta); None takes the
            others' whole.
    """

    chance: float = Field(default=0.5, gt=0, le=1)
    of: Literal["images", "features"] = "images"
    blocks: int = Field(default=2, ge=1)
    beta: float | None = Field(default=0.1, gt=0)


class Adain(Restyling):
    """Each labelled image, or its features, with the moments of another."""

    name: ClassVar[str] = "adain"
    title: ClassVar[str] = "Adaptive instance normalisation (MixStyle on features)"
    source: ClassVar[str] = (
        "Huang & Belongie 2017, Arbitrary Style Transfer in Real-Time with Adaptive Instance "
        "Normalization, ICCV; Zhou et al. 2021, Domain Generalization with MixStyle, ICLR"
    )
    Settings: ClassVar[type[AdainSettings]] = AdainSettings

    def faults(self, recipe: Recipe, task: Task) -> list[str]:
        """Features take styles within the batch."""
        if self.settings.of == "images":
            return super().faults(recipe, task)
        if recipe.learner.batch < 2:
            return ["mixes the features of a batch, and learner.batch is 1; raise it"]
        return []

    def before(self, net: nn.Module, context: Context) -> None:
        if self.settings.of == "images":
            super().before(net, context)
            return
        found = list(blocks_of(net))
        if len(found) < self.settings.blocks:
            raise RecipeError(
                f"adain.blocks is {self.settings.blocks}, and the network has {len(found)} blocks"
            )
        self._blocks = found[: self.settings.blocks]
        by = self.settings.by
        sites = [] if by is None else sites_of(context.teach, by, context)
        named = zip([one.id for one in context.teach], sites, strict=False)
        self._sites = dict(named)

    def loss(self, loss: Loss, context: Context) -> Loss:
        if self.settings.of == "images":
            return super().loss(loss, context)
        draws = Draws(context)

        def restyled(net: nn.Module, number: int, device: torch.device) -> Tensor:
            rng = np.random.default_rng((context.learner.seed, STYLES, number))
            mixing = _Mixing(rng, draws(number), self._sites, self.settings)
            with ExitStack() as back:
                for module in self._found(net):
                    back.callback(module.register_forward_hook(mixing).remove)
                return loss(net, number, device)

        self._loss = restyled
        return restyled

    def _found(self, net: nn.Module) -> list[nn.Module]:
        """The blocks, wherever other strategies have put the network."""
        named = dict(net.named_modules())
        return [
            next(module for name, module in named.items() if f".{name}".endswith(f".{block}"))
            for block in self._blocks
        ]

    def change(self, images: Tensor, styles: Tensor, rng: np.random.Generator) -> Tensor:
        beta = self.settings.beta
        own = np.zeros(len(images)) if beta is None else rng.beta(beta, beta, len(images))
        return adain(images, styles, torch.from_numpy(own).to(images))


class _Mixing:
    """A forward hook that mixes the moments of the cases of a batch.

    The partners and weights are drawn once, for the labelled batch; batches of another size, which
    other strategies show the network, pass unchanged.
    """

    def __init__(
        self, rng: np.random.Generator, drawn: Sequence[Sample], sites: dict[str, str],
        settings: AdainSettings,
    ) -> None:  # fmt: skip
        count, beta = len(drawn), settings.beta
        own = np.zeros(count) if beta is None else rng.beta(beta, beta, count)
        own = np.where(rng.random(count) < settings.chance, own, 1.0)
        self.own = torch.from_numpy(own)
        self.partner = torch.arange(count)
        for place, sample in enumerate(drawn):
            here = sites.get(sample.id)
            others = [
                n for n, one in enumerate(drawn)
                if (n != place if here is None else sites[one.id] != here)
            ]  # fmt: skip
            if others:
                self.partner[place] = int(rng.choice(others))

    def __call__(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        if not isinstance(out, Tensor) or out.ndim < 4 or len(out) != len(self.partner):
            return out
        styles = out.detach()[self.partner.to(out.device)]
        return adain(out, styles, self.own.to(out))
