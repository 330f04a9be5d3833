"""Fine-tuning of the last blocks of a network only.

Source: Yosinski et al. 2014, "How transferable are features in deep neural networks?", NeurIPS,
arXiv:1411.1792.
"""

from collections.abc import Collection
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from osler.errors import RecipeError
from osler.learn.blocks import blocks_of
from osler.learn.optimisers import depths_of
from osler.learn.strategies.freezing import Tuning, example_inputs, heads_of, parameters_of
from osler.learn.strategies.strategy import Context
from osler.tasks.task import Settings


class LastBlocksSettings(Settings):
    """The keys of ``last-blocks``.

    Attributes:
        blocks: how many of the last blocks learn, as `osler.learn.blocks.blocks_of` counts them,
            with all that was made after them and the head.
    """

    blocks: Annotated[int, Field(ge=1, le=1000)] = 1


class LastBlocks(Tuning):
    """The last blocks and the head learn; what lies before them rests."""

    name: ClassVar[str] = "last-blocks"
    title: ClassVar[str] = "The last blocks only"
    source: ClassVar[str] = (
        "Yosinski et al. 2014, 'How transferable are features in deep neural networks?', NeurIPS"
    )
    Settings: ClassVar[type[Settings]] = LastBlocksSettings

    settings: LastBlocksSettings

    def learning(self, net: nn.Module, context: Context) -> tuple[nn.Module, Collection[str]]:
        """The weights of the last blocks, of what follows them, and of the head."""
        blocks = list(blocks_of(net))
        count = self.settings.blocks
        if count >= len(blocks):
            raise RecipeError(
                f"strategies.last-blocks.blocks is {count} and the network has {len(blocks)} "
                "blocks, so that all or none would rest; say fewer, or leave the strategy out to "
                "train them all"
            )
        first = len(blocks) - count + 1
        names = {name for name, depth in depths_of(net).items() if depth >= first}
        heads = heads_of(net, context.task, example_inputs(context))
        context.record["blocks"] = blocks[-count:]
        context.record["of"] = len(blocks)
        return net, names | parameters_of(net, heads)
