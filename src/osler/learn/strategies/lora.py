r"""LoRA: the weights rest, and an update of low rank beside each of them learns.

.. math:: h = W x + \frac{\alpha}{r} B A x,\qquad A \in R^{r \times i},\ B \in R^{o \times r}

Source: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", ICLR,
arXiv:2106.09685.
"""

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn.strategies.freezing import (
    Tuning,
    example_inputs,
    heads_of,
    layers_run,
    parameters_of,
)
from osler.learn.strategies.strategy import Context
from osler.tasks.task import Settings

_LINEAR: tuple[type[nn.Module], ...] = (nn.Linear,)
_CONVOLUTION: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ASKED = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
_NAME = "default"  # of peft's updates


class LoraSettings(Settings):
    """The keys of ``lora``.

    Attributes:
        rank: of each update.
        alpha: an update counts ``alpha / rank``.
        dropout: share of an update's inputs that is dropped in training.
        layers: which layers get one: ``all``, ``linear`` or ``convolution``.
    """

    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    alpha: Annotated[float, Field(gt=0, le=10_000)] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    layers: Literal["all", "linear", "convolution"] = "all"


class Lora(Tuning):
    """Low-rank updates and the head learn; the updates are added to the weights in the end."""

    name: ClassVar[str] = "lora"
    title: ClassVar[str] = "LoRA"
    source: ClassVar[str] = (
        "Hu et al. 2022, 'LoRA: Low-Rank Adaptation of Large Language Models', ICLR"
    )
    Settings: ClassVar[type[Settings]] = LoraSettings
    refuses: ClassVar[dict[str, str]] = {
        "quantisation-aware": "updates are added to the weights in the end, after those were "
        "rounded; train with one, then with the other.",
        "pruning": "updates are added to the weights in the end, and would fill what was cut out; "
        "prune in a recipe without lora.",
    }

    settings: LoraSettings

    def learning(self, net: nn.Module, context: Context) -> tuple[nn.Module, Collection[str]]:
        """Updates beside every layer that takes one, and the weights of the head."""
        inputs = example_inputs(context)
        heads = heads_of(net, context.task, inputs)
        layers = [one for one in low_rank_layers(net, inputs, self.settings) if one not in heads]
        if not layers:
            raise RecipeError(
                f"strategies.lora: the network runs no layer of the kind "
                f"'{self.settings.layers}' before its head that an update of low rank could lie "
                "beside; choose other strategies.lora.layers"
            )
        add_updates(net, layers, self.settings, seed=context.learner.seed)
        context.record["layers"] = len(layers)
        updates = {name for name, _ in net.named_parameters() if ".lora_" in name}
        return net, updates | parameters_of(net, heads)

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        """The network in which each update is part of its weight."""
        return merged(super().finished(net, context))


def low_rank_layers(net: nn.Module, inputs: list[Tensor], said: LoraSettings) -> list[str]:
    """Names of the layers that a network calls and that take an update.

    Grouped and dilated convolutions do not: the first have few weights already, and peft convolves
    without dilation. Nor do layers whose weights another module reads without calling them.
    """
    kinds = {"linear": _LINEAR, "convolution": _CONVOLUTION}.get(
        said.layers, (*_LINEAR, *_CONVOLUTION)
    )
    return [
        name
        for name in layers_run(net, inputs, kinds)
        if type(module := net.get_submodule(name)) in kinds and _plain(module)
    ]


def _plain(module: nn.Module) -> bool:
    if isinstance(module, nn.Linear):
        return True
    flat = all(one == 1 for one in module.dilation)  # type: ignore[union-attr]
    return bool(module.groups == 1 and flat and module.padding_mode == "zeros")


def add_updates(net: nn.Module, layers: list[str], said: LoraSettings, *, seed: int) -> None:
    """Put an update that is 0 beside each layer, in place."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=said.rank,
        lora_alpha=said.alpha,  # type: ignore[arg-type]
        lora_dropout=said.dropout,
        target_modules=layers,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, net, adapter_name=_NAME)
    for name in layers:  # what other modules ask a convolution for, and peft's has not
        module: Any = net.get_submodule(name)
        for key in _ASKED:
            if not hasattr(module, key) and hasattr(module.get_base_layer(), key):
                setattr(module, key, getattr(module.get_base_layer(), key))


def merged(net: nn.Module) -> nn.Module:
    """The network without updates, whose weights are the sums; changed in place."""
    from peft.tuners.lora import LoraLayer

    for name, found in list(net.named_modules()):
        if not isinstance(found, LoraLayer):
            continue
        module: Any = found
        # peft's own merging is wrong for convolutions of one place in 3-D
        base = module.get_base_layer()
        down = module.lora_A[_NAME].weight.flatten(1)
        up = module.lora_B[_NAME].weight.flatten(1)
        with torch.no_grad():
            base.weight += module.scaling[_NAME] * (up @ down).reshape(base.weight.shape)
        parent, _, last = name.rpartition(".")
        net.get_submodule(parent)._modules[last] = base
    return net
