r"""Visual prompt tuning: learnt tokens beside those of the picture, in a transformer that rests.

.. math::

    \text{shallow: } [x_1, z_1] = L_1([x_0, P]),\quad
    \text{deep: } [x_i, \_] = L_i([x_{i-1}, P_{i-1}])

Source: Jia et al. 2022, "Visual Prompt Tuning", ECCV, arXiv:2203.12119.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.learn.strategies.freezing import (
    Tuning,
    example_inputs,
    heads_of,
    parameters_of,
    watched,
)
from osler.learn.strategies.strategy import Context
from osler.tasks.task import Settings, Task

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe

_NO_TOKENS = (
    "the network has no row of tokens that a prompt could join (a plain vision transformer has; "
    "convolutions and windows do not); take 'lora' or 'adapters'"
)
_OF_CONVOLUTIONS = (
    "resnet-", "se-resnet-", "densenet-", "efficientnet-", "mobilenet-", "swin-", "unet",
    "monai-unet", "dynunet", "resenc-unet", "stu-net-", "centre-detector", "signal-resnet",
    "tabular-perceptron",
)  # fmt: skip
"""How the names of networks begin of which that is known before they are built."""


class VisualPromptsSettings(Settings):
    """The keys of ``visual-prompts``.

    Attributes:
        tokens: prompts beside those of the picture.
        deep: others at each block; else the same go through all of them.
        dropout: share of a prompt's numbers that is dropped in training.
    """

    tokens: Annotated[int, Field(ge=1, le=1000)] = 10
    deep: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class VisualPrompts(Tuning):
    """Prompts and the head learn; the transformer rests."""

    name: ClassVar[str] = "visual-prompts"
    title: ClassVar[str] = "Visual prompt tuning"
    source: ClassVar[str] = "Jia et al. 2022, 'Visual Prompt Tuning', ECCV"
    Settings: ClassVar[type[Settings]] = VisualPromptsSettings

    settings: VisualPromptsSettings

    def faults(self, recipe: "Recipe", task: Task) -> list[str]:
        """Networks of convolutions have no tokens."""
        plain = (recipe.network.name or "").startswith(_OF_CONVOLUTIONS)
        return [*super().faults(recipe, task), *([_NO_TOKENS] if plain else [])]

    def learning(self, net: nn.Module, context: Context) -> tuple[nn.Module, Collection[str]]:
        """Prompts, and the weights of the head."""
        inputs = example_inputs(context)
        heads = heads_of(net, context.task, inputs)
        said = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.learner.seed)
            rows = add_prompts(net, inputs, said.tokens, deep=said.deep, dropout=said.dropout)
        context.record["rows"] = rows
        prompts = {name for name, _ in net.named_parameters() if name.endswith(".prompt")}
        return net, prompts | parameters_of(net, heads)


class Prompted(nn.Module):
    """A block of a transformer at which prompts join the row, leave it, or both.

    They join at its end and leave from there, so that a class token and the patches keep their
    places; attention does not see an order.

    Args:
        block: takes and gives ``(B, N, D)``.
        prompt: ``(P, D)``; None where none join.
        leaving: how many tokens leave after it.
        dropout: of the prompts in training.
    """

    def __init__(
        self, block: nn.Module, prompt: Tensor | None, *, leaving: int, dropout: float
    ) -> None:
        super().__init__()
        self.inner, self.leaving, self.dropout = block, leaving, dropout
        self.prompt = None if prompt is None else nn.Parameter(prompt)

    def __getattr__(self, name: str) -> Any:
        """What the block knows of itself, for networks that ask it."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """``(B, N, D)`` to the tokens that stay."""
        if self.prompt is not None:
            drawn = self.prompt[None].expand(len(x), -1, -1).to(x.dtype)
            drawn = functional.dropout(drawn, self.dropout, self.training)
            x = torch.cat([x, drawn], dim=1)
        said: Tensor = self.inner(x, *args, **kwargs)
        return said[:, : said.shape[1] - self.leaving] if self.leaving else said


def add_prompts(
    net: nn.Module, inputs: Sequence[Tensor], count: int, *, deep: bool, dropout: float = 0.0
) -> list[str]:
    """Put prompts into each row of blocks of a network, in place.

    Args:
        net: with lists of blocks that each take and give tokens ``(B, N, D)`` of one shape.
        inputs: of one batch, by which such lists are found.
        count: prompts.
        deep: others at each block.
        dropout: of the prompts in training.

    Returns:
        the names of the lists.

    Raises:
        RecipeError: it has none, or cannot run with prompts.
    """
    lists = {name: one for name, one in net.named_modules() if isinstance(one, nn.ModuleList)}
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, said: Any) -> None:
            del module
            row = args and isinstance(args[0], Tensor) and args[0].ndim == 3
            if row and isinstance(said, Tensor) and said.shape == args[0].shape:
                shapes[name] = tuple(said.shape)

        return hook

    members = {f"{name}.{n}": note(f"{name}.{n}") for name, one in lists.items()
               for n in range(len(one)) if len(one) > 1}  # fmt: skip
    watched(net, inputs, members)
    rows = []
    for name, blocks in lists.items():
        found = {shapes.get(f"{name}.{n}") for n in range(len(blocks))}
        if len(blocks) > 1 and len(found) == 1 and None not in found:
            rows.append(name)
    for name in rows:
        blocks, width = lists[name], shapes[f"{name}.0"][-1]
        bound = math.sqrt(6 / (2 * width))  # the paper's, where a patch has as many numbers
        for n, block in enumerate(blocks):
            joins = deep or n == 0
            prompt = torch.empty(count, width).uniform_(-bound, bound) if joins else None
            leaving = count if deep or n == len(blocks) - 1 else 0
            blocks[n] = Prompted(block, prompt, leaving=leaving, dropout=dropout)
    if not rows:
        raise RecipeError(f"strategies.visual-prompts: {_NO_TOKENS}")
    try:
        watched(net, inputs, {})
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        first = str(error).split("\n", 1)[0]
        more = "" if deep else ", or try strategies.visual-prompts.deep: true"
        raise RecipeError(
            f"strategies.visual-prompts: the network does not run with further tokens ({first}); "
            f"take 'lora' or 'adapters'{more}"
        ) from error
    return rows
