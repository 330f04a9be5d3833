"""Labelled images translated to look like those without a label."""

from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn.strategies.image_translation import CyclePair, cycle_loss
from osler.learn.strategies.restyling import Restyling
from osler.learn.strategies.strategy import Context, Settings


class CycleGanSettings(Settings):
    """The keys of translation by cycle consistency.

    Attributes:
        chance: share of the labelled images that are translated.
        steps: of the stage in which the translators learn.
        batch: images of each set in a batch, of which a step has ``learner.accumulate``.
        width: of the translators' features.
        rate: learning rate of that stage.
        cycle: weight of coming back to the image one came from.
        identity: weight of leaving an image of the other set as it is.
    """

    by: ClassVar[None] = None
    chance: float = Field(default=1.0, gt=0, le=1)
    steps: int = Field(default=300, ge=1)
    batch: int = Field(default=2, ge=1)
    width: int = Field(default=16, ge=1, le=256)
    rate: float = Field(default=1e-3, gt=0, le=1)
    cycle: float = Field(default=10.0, ge=0)
    identity: float = Field(default=5.0, ge=0)


class CycleGan(Restyling):
    """Before the training, two translators learn between the labelled and the other images."""

    name: ClassVar[str] = "cyclegan"
    title: ClassVar[str] = "Translation by cycle consistency (CycleGAN)"
    source: ClassVar[str] = (
        "Zhu et al. 2017, Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial "
        "Networks, ICCV"
    )
    Settings: ClassVar[type[Settings]] = CycleGanSettings

    def before(self, net: nn.Module, context: Context) -> None:
        """The stage in which translators learn; its checkpoints lie in ``cyclegan/``."""
        super().before(net, context)
        if len(self._places) != 1:
            raise RecipeError("cyclegan translates one image a case, and the network reads several")
        said, name = self.settings, self._names[self._places[0]]
        here = context.batches(context.teach, batch=said.batch, seed=51)
        there = context.batches(context.unlabelled, batch=said.batch, seed=52)
        shape = here(0)[0][name].shape
        if len(shape) not in (4, 5):
            raise RecipeError("cyclegan translates pictures and volumes")
        torch.manual_seed(context.learner.seed)
        pair = CyclePair(shape[1], len(shape) - 2, said.width)

        def loss(pair: Any, number: int, device: torch.device) -> Tensor:
            one, other = (
                torch.from_numpy(np.ascontiguousarray(part(number)[0][name])).to(device)
                for part in (here, there)
            )
            return cycle_loss(pair, one, other, cycle=said.cycle, identity=said.identity)

        learner = context.learner.model_copy(update={
            "steps": said.steps, "rate": said.rate, "warmup": 0, "clip": None,
            "weight_decay": 0.0, "optimiser": "adamw", "layer_decay": 1.0, "checkpointing": False,
            "patience": None, "graph": False, "ema": min(context.learner.ema, 0.99),
        })  # fmt: skip
        context.stage(pair, loss, "cyclegan", learner=learner)
        self._translate = pair.there.eval().requires_grad_(False)

    def change(self, images: Tensor, styles: Tensor, rng: np.random.Generator) -> Tensor:
        """The images as the other set would have them; single styles are not looked at."""
        translate = self._translate.to(images.device)
        out: Tensor = translate(images.float()).to(images.dtype)
        return out
