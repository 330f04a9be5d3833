r"""Adapters: small bottlenecks between layers that rest.

.. math:: a(h) = h + U\, \phi(D h)

Sources: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", ICML,
arXiv:1902.00751; of convolutional networks Rebuffi et al. 2018, "Efficient parametrization of
multi-domain deep neural networks", CVPR.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase

from osler.errors import RecipeError
from osler.learn.blocks import blocks_of
from osler.learn.strategies.freezing import (
    Tuning,
    example_inputs,
    heads_of,
    parameters_of,
    watched,
)
from osler.learn.strategies.strategy import Context
from osler.tasks.task import Settings

_PARTS = (("attn", "mlp"), ("attention", "mlp"), ("self_attn", "mlp"))
"""What the two parts of a transformer's block are called, which lie beside a shortcut each."""


class AdaptersSettings(Settings):
    """The keys of ``adapters``.

    Attributes:
        width: of each bottleneck.
        norms: whether scale and shift of normalisation learn too, as in the paper; statistics rest
            either way.
    """

    width: Annotated[int, Field(ge=1, le=4096)] = 16
    norms: bool = True


class Adapters(Tuning):
    """Bottlenecks after each part of each block, normalisation and the head learn."""

    name: ClassVar[str] = "adapters"
    title: ClassVar[str] = "Adapters"
    source: ClassVar[str] = (
        "Houlsby et al. 2019, 'Parameter-Efficient Transfer Learning for NLP', ICML"
    )
    Settings: ClassVar[type[Settings]] = AdaptersSettings

    settings: AdaptersSettings

    def learning(self, net: nn.Module, context: Context) -> tuple[nn.Module, Collection[str]]:
        """Adapters, scale and shift of normalisation, and the weights of the head."""
        inputs = example_inputs(context)
        heads = heads_of(net, context.task, inputs)
        kept = parameters_of(net, heads)
        if self.settings.norms:
            kept |= parameters_of(net, [
                name for name, module in net.named_modules()
                if isinstance(module, nn.LayerNorm | nn.GroupNorm | _NormBase)
            ])  # fmt: skip
        learning = {id(net.get_parameter(name)) for name in kept}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.learner.seed)
            places = add_adapters(net, inputs, heads, width=self.settings.width)
        context.record["places"] = places
        return net, {
            name
            for name, one in net.named_parameters()
            if id(one) in learning or ".adapter." in name
        }


class Bottleneck(nn.Module):
    """Down, ReLU and up beside a shortcut; nothing changes before it has learnt.

    Args:
        channels: that come and go.
        width: between.
        axes: after the channels of maps, on which it lies as 1 x 1 convolutions; 0 where channels
            come last.
    """

    def __init__(self, channels: int, width: int, axes: int) -> None:
        super().__init__()
        layer: Any = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}.get(axes)
        self.down: nn.Module
        self.up: nn.Module
        if layer is None:
            self.down, self.up = nn.Linear(channels, width), nn.Linear(width, channels)
        else:
            self.down, self.up = layer(channels, width, 1), layer(width, channels, 1)
        for name, parameter in self.up.named_parameters():
            del name
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        out: Tensor = x + self.up(functional.relu(self.down(x)))
        return out


class Adapted(nn.Module):
    """A module with an adapter after it, which else is what it was."""

    def __init__(self, module: nn.Module, adapter: Bottleneck) -> None:
        super().__init__()
        self.inner, self.adapter = module, adapter

    def __getattr__(self, name: str) -> Any:
        """What the module knows of itself, for networks that ask it."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module says, changed."""
        return self.adapter(self.inner(*args, **kwargs))


def add_adapters(
    net: nn.Module, inputs: Sequence[Tensor], heads: Collection[str], *, width: int
) -> list[str]:
    """Put an adapter after attention and perceptron of each block, or after a block of other kind.

    Args:
        net: changed in place.
        inputs: of one batch, by which channels are found.
        heads: names of layers that answer, after which none lies.
        width: of each.

    Returns:
        the names of what has an adapter now.

    Raises:
        RecipeError: there is no place for one.
    """
    wanted: list[str] = []
    for name, block in blocks_of(net).items():
        pair = next((p for p in _PARTS if all(isinstance(getattr(block, one, None), nn.Module)
                                              for one in p)), None)  # fmt: skip
        parts = [f"{name}.{one}" for one in pair] if pair else [name]
        wanted += [one for one in parts if not any(head.startswith(one) for head in heads)]
    seen: dict[str, tuple[int, int]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, said: Any) -> None:
            del args
            if isinstance(said, Tensor) and said.ndim > 2:
                last = [one for one in module.modules() if _weighs(one)]
                flat = not last or isinstance(last[-1], nn.Linear)
                seen[name] = (said.shape[-1], 0) if flat else (said.shape[1], said.ndim - 2)

        return hook

    watched(net, inputs, {name: note(name) for name in wanted})
    if not seen:
        raise RecipeError(
            "strategies.adapters: no block of the network gives maps or tokens that a bottleneck "
            "could follow; take 'lora' or 'last-blocks'"
        )
    for name, (channels, axes) in seen.items():
        parent, _, last = name.rpartition(".")
        holder = net.get_submodule(parent)
        holder._modules[last] = Adapted(
            net.get_submodule(name), Bottleneck(channels, width, axes)
        )  # members of a list are named by number, which setattr does not take everywhere
    return list(seen)


def _weighs(module: nn.Module) -> bool:
    return any(one.ndim > 1 for one in module.parameters(recurse=False))
