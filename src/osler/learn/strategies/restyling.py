"""What strategies have in common that show a network its own cases in the style of other ones."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn.normalisation import BATCHES, settle
from osler.learn.recipe import Recipe
from osler.learn.strategies.sites import Draws, sites_of
from osler.learn.strategies.strategy import Context, Loss, Role, Settings, Strategy
from osler.tasks.task import Sample, Task

STYLES = 31  # keeps these draws apart from those of batches, patches and augmentation


class StyleSettings(Settings):
    """Whose style is taken, and how often.

    Attributes:
        by: a variable of the cohort, such as the site or the camera: an image takes the style of a
            case with another value. None takes that of the cases without a label.
        chance: share of the images that are changed.
    """

    by: str | None = Field(default=None, min_length=1)
    chance: float = Field(default=1.0, gt=0, le=1)


class Restyling(Strategy):
    """Changes the images of each batch before the network sees them; nothing else."""

    role: ClassVar[Role] = "objective"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "training": "its stages take the task's own loss, which shows images as they are."
    })  # fmt: skip

    def faults(self, recipe: Recipe, task: Task) -> list[str]:
        """It needs cases to take styles from."""
        if self.settings.by is None and not recipe.some_unlabelled:
            return [
                "takes styles from cases without a label, and the recipe has none; name a cohort "
                "under unlabelled, set labels.blank, or write by: and a variable of the cohort"
            ]
        return []

    def before(self, net: nn.Module, context: Context) -> None:
        """Look for the images and the cases whose styles are taken."""
        names = [spec.name for spec in context.task.inputs()]
        self._places = [place for place, name in enumerate(names) if name in context.task.images]
        self._names = names
        if not self._places:
            raise RecipeError(f"{self.name} changes images, and the network of the task reads none")
        by = self.settings.by
        if by is None:
            self._pool = list(context.unlabelled)
            self._sites: dict[str, str] = {}
        else:
            self._pool = [*context.teach, *context.unlabelled]
            found = sites_of(self._pool, by, context)
            self._sites = dict(zip([one.id for one in self._pool], found, strict=True))
        if not self._pool:
            raise RecipeError(f"{self.name} takes styles from cases without a label; none teaches")

    def loss(self, loss: Loss, context: Context) -> Loss:
        """The same loss, of images in other styles."""
        draws = Draws(context)

        def restyled(net: nn.Module, number: int, device: torch.device) -> Tensor:
            rng = np.random.default_rng((context.learner.seed, STYLES, number))
            seen = False

            def change(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
                nonlocal seen
                if seen:  # other strategies may ask the network about cases of their own
                    return None
                seen = True
                return self._changed(args, draws(number), context.task, rng)

            handle = net.register_forward_pre_hook(change)
            try:
                return loss(net, number, device)
            finally:
                handle.remove()

        self._loss = restyled
        return restyled

    def _changed(
        self, args: tuple[Any, ...], drawn: Sequence[Sample], task: Task, rng: np.random.Generator
    ) -> tuple[Any, ...]:
        """What the network is given, with images in the styles of drawn cases."""
        count = len(args[self._places[0]])
        known = drawn if self._sites and len(drawn) == count else [None] * count
        shown = [task.example(self._other(one, rng), rng)[0] for one in known]
        hit = torch.from_numpy(rng.random(count) < self.settings.chance)
        out = list(args)
        for place in self._places:
            images = args[place]
            arrays = [np.ascontiguousarray(one[self._names[place]], np.float32) for one in shown]
            if any(array.shape != tuple(images.shape[1:]) for array in arrays):
                raise RecipeError(
                    f"{self.name} needs images of one size; set settings.patch or "
                    "settings.image.size"
                )
            styles = torch.from_numpy(np.stack(arrays)).to(images)
            with torch.no_grad():
                changed = self.change(images, styles, rng)
            chosen = hit.to(images.device).reshape(-1, *(1,) * (images.ndim - 1))
            out[place] = torch.where(chosen, changed, images)
        return tuple(out)

    def _other(self, sample: Sample | None, rng: np.random.Generator) -> Sample:
        """A case whose style an image takes: of another site drawn first, where sites are known."""
        pool = self._pool
        if sample is not None:
            others = sorted({*self._sites.values()} - {self._sites[sample.id]})
            site = others[int(rng.integers(len(others)))]
            pool = [one for one in pool if self._sites[one.id] == site]
        return pool[int(rng.integers(len(pool)))]

    @abstractmethod
    def change(self, images: Tensor, styles: Tensor, rng: np.random.Generator) -> Tensor:
        """Images ``(B, C, ...)`` in the styles of others of that shape."""

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        """Count the statistics of batch normalisation over images such as it was taught with."""
        device = next(net.parameters()).device
        settle(net, lambda net, number: self._loss(net, number, device), batches=BATCHES)
        return net
