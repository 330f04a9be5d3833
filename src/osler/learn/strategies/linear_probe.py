"""Linear probe: what the features of a network know already.

Source: Alain and Bengio 2017, "Understanding intermediate layers using linear classifier probes",
ICLR workshop, arXiv:1610.01644.
"""

import difflib
from collections.abc import Collection, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn.strategies.freezing import Tuning, example_inputs, heads_of, parameters_of
from osler.learn.strategies.strategy import Context
from osler.models.zero_shot import ImageText
from osler.tasks.task import Settings, Task


class LinearProbeSettings(Settings):
    """The keys of ``linear-probe``.

    Attributes:
        heads: names of the modules that learn; empty finds the last weighted layer before each
            output of the task.
    """

    heads: tuple[str, ...] = ()


class LinearProbe(Tuning):
    """Only the output layer learns; all before it rests, statistics of normalisation too."""

    name: ClassVar[str] = "linear-probe"
    title: ClassVar[str] = "Linear probe"
    source: ClassVar[str] = (
        "Alain and Bengio 2017, 'Understanding intermediate layers using linear classifier "
        "probes', ICLR workshop"
    )
    Settings: ClassVar[type[Settings]] = LinearProbeSettings

    settings: LinearProbeSettings

    def built(self, net: nn.Module, task: Task) -> nn.Module:
        """A network of pictures and texts gets an output layer, which it has none of."""
        return Probed(net, task) if isinstance(net, ImageText) else net

    def learning(self, net: nn.Module, context: Context) -> tuple[nn.Module, Collection[str]]:
        """The weights of the head."""
        heads = named_heads(net, self.settings.heads, self.name)
        heads = heads or heads_of(net, context.task, example_inputs(context))
        context.record["heads"] = heads
        return net, parameters_of(net, heads)


class Probed(nn.Module):
    """The picture's encoder of a network of pictures and texts, with an output layer.

    Args:
        net: gives features of pictures.
        task: names the labels and the size of the pictures.
    """

    def __init__(self, net: ImageText, task: Task) -> None:
        super().__init__()
        self.net = net
        spec, labels = task.inputs()[0], task.outputs()[0].labels
        blank = torch.zeros(1, len(spec.channels), *(spec.size or (net.image_size,) * 2))
        was = net.training
        with torch.no_grad():
            width = net.eval().features(blank.to(net.logit_scale.device)).shape[1]
        net.train(was)
        self.head = nn.Linear(width, len(labels))

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, L)``."""
        out: Tensor = self.head(self.net.features(image))
        return out


def named_heads(net: nn.Module, said: Sequence[str], strategy: str) -> list[str]:
    """The modules that a recipe names as heads.

    Raises:
        RecipeError: the network has no such module, or it holds no weights.
    """
    known = {name for name, one in net.named_modules() if name and list(one.parameters())}
    for name in said:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
            raise RecipeError(
                f"strategies.{strategy}.heads: the network has no part '{name}' with weights; the "
                f"nearest is '{near[0]}'"
            )
    return list(said)
