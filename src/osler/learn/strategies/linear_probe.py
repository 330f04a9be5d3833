"""Linear probe: what the features of a network know already.

Source: Alain and Bengio 2017, "Understanding intermediate layers using linear classifier probes",
ICLR workshop, arXiv:1610.01644.
"""

import difflib
from collections.abc import Collection, Sequence
from typing import ClassVar

from torch import nn

from osler.errors import RecipeError
from osler.learn.strategies.freezing import Tuning, example_inputs, heads_of, parameters_of
from osler.learn.strategies.strategy import Context
from osler.tasks.task import Settings


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

    def learning(self, net: nn.Module, context: Context) -> tuple[nn.Module, Collection[str]]:
        """The weights of the head."""
        heads = named_heads(net, self.settings.heads, self.name)
        heads = heads or heads_of(net, context.task, example_inputs(context))
        context.record["heads"] = heads
        return net, parameters_of(net, heads)


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
