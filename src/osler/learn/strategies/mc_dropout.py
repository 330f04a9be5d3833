"""Monte Carlo dropout: a network asked several times, each time without other channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from osler.learn.ensembling import mean_scores
from osler.learn.strategies.ensemble import activations
from osler.learn.strategies.features import output_layer
from osler.learn.strategies.quantised_layers import Quantised, order_of_calls
from osler.learn.strategies.strategy import Context, Settings, Strategy


class McDropoutSettings(Settings):
    """The keys of ``mc-dropout``.

    Attributes:
        share: of the channels that are left out.
        where: before the ``head`` alone, or before ``every`` weighted layer but the first.
        passes: masks that are drawn for the exported network, which answers once with each.
        seed: of the masks.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    where: Literal["head", "every"] = "head"
    passes: Annotated[int, Field(ge=2, le=100)] = 10
    seed: int = 1


@dataclass(slots=True)
class Turn:
    """Which mask is on.

    An object of its own: lists that are attributes of modules are copied by `torch.export`, and
    layers would no longer look at the same one.
    """

    now: int = 0


class Dropped(nn.Module):
    """A weighted layer before which channels are left out.

    While it learns they are drawn anew for every case; in evaluation all of them stay, until masks
    have been `drawn`.

    Args:
        layer: convolution or linear.
        share: of the channels.
    """

    masks: Tensor

    def __init__(self, layer: nn.Module, share: float) -> None:
        super().__init__()
        self.layer, self.share = layer, share
        self.channels_last = isinstance(layer, nn.Linear)
        self.turn: Turn | None = None

    def forward(self, x: Tensor) -> Tensor:
        """What the layer takes, to what it gives."""
        if self.turn is not None:
            x = x * self._shaped(self.masks[self.turn.now][None], x)
        elif self.training:
            width = x.shape[-1] if self.channels_last else x.shape[1]
            kept = torch.rand(len(x), width, device=x.device) >= self.share
            x = x * self._shaped(kept.to(x.dtype) / (1 - self.share), x)
        out: Tensor = self.layer(x)
        return out

    def _shaped(self, mask: Tensor, x: Tensor) -> Tensor:
        between = [1] * (x.ndim - 2)
        shape = (len(mask), *between, -1) if self.channels_last else (len(mask), -1, *between)
        return mask.reshape(shape).to(x.dtype)

    def drawn(self, passes: int, generator: torch.Generator, turn: Turn) -> None:
        """Fix a mask for each pass.

        Args:
            passes: how many.
            generator: draws them.
            turn: holds the number of the pass under way.
        """
        layer = self.layer.layer if isinstance(self.layer, Quantised) else self.layer
        assert isinstance(layer, nn.Linear | _ConvNd)
        width = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
        kept = torch.rand(passes, width, generator=generator) >= self.share
        self.register_buffer("masks", kept.float() / (1 - self.share))
        self.turn = turn


class Passes(nn.Module):
    """A network's mean over its masks; the weights are there once.

    Args:
        net: with `Dropped` layers.
        passes: masks.
        turn: that the layers look at.
        activations: by place and name, as of `osler.learn.ensembling.Ensemble`.
    """

    def __init__(self, net: nn.Module, passes: int, turn: Turn, activations: Any) -> None:
        super().__init__()
        self.net, self.passes, self.turn, self.activations = net, passes, turn, activations

    def forward(self, *inputs: Tensor) -> Any:
        """What the network takes; scores whose probabilities are the mean."""
        said = []
        for number in range(self.passes):
            self.turn.now = number
            said.append(self.net(*inputs))
        first = said[0]
        if isinstance(first, Tensor):
            return mean_scores(said, self.activations[0])
        if isinstance(first, dict):
            return {key: mean_scores([one[key] for one in said], self.activations[key])
                    for key in first}  # fmt: skip
        return tuple(
            mean_scores(list(parts), self.activations[place])
            for place, parts in enumerate(zip(*said, strict=True))
        )


class McDropout(Strategy):
    """The graph holds the masks as constants, so it gives one answer to one case."""

    name = "mc-dropout"
    title = "Monte Carlo dropout"
    role = "objective"
    source = (
        'Gal & Ghahramani 2016, "Dropout as a Bayesian approximation", ICML; channels as a whole: '
        'Tompson et al. 2015, "Efficient object localization using convolutional networks", CVPR'
    )
    Settings = McDropoutSettings
    settings: McDropoutSettings

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        arrays, _ = context.batches(context.teach, batch=2)(0)
        inputs = [torch.from_numpy(np.ascontiguousarray(one)) for one in arrays.values()]
        for name in self._places(net, inputs):
            net.set_submodule(name, Dropped(net.get_submodule(name), self.settings.share))
        return net

    def _places(self, net: nn.Module, inputs: Sequence[Tensor]) -> list[str]:
        if self.settings.where == "head":
            return [output_layer(net, inputs)]
        ran = [
            name
            for name, _, _ in order_of_calls(net, list(inputs))
            if isinstance(net.get_submodule(name), _ConvNd | nn.Linear)
        ]
        return list(dict.fromkeys(ran))[1:]

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        said, turn = self.settings, Turn()
        generator = torch.Generator().manual_seed(said.seed)
        layers = [one for one in net.modules() if isinstance(one, Dropped)]
        for layer in layers:
            layer.drawn(said.passes, generator, turn)
        context.record |= {"passes": said.passes, "layers": len(layers)}
        return Passes(net, said.passes, turn, activations(context.task))
