"""Which weights learn and which rest, for every strategy that lets only some of them learn.

What rests keeps the statistics of its normalisation and has no dropout: a batch normalisation whose
weights are frozen but whose statistics still follow the batches is another layer at each step.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from osler.errors import RecipeError
from osler.learn.strategies.features import output_layer
from osler.learn.strategies.strategy import Context, Role, Strategy, Wrapped
from osler.tasks.task import Task

EXAMPLES = 2
"""Cases on which the layers of a network are found."""


class Tuning(Strategy, ABC):
    """A strategy that lets some weights learn, and adds others.

    Of a subclass, `learning` names what learns after whatever it added to the network.
    """

    role: ClassVar[Role] = "tuning"

    @abstractmethod
    def learning(self, net: nn.Module, context: Context) -> tuple[nn.Module, Collection[str]]:
        """The network, with parts added, and the names of its parameters that learn."""

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        """The network in which the rest is frozen."""
        net, names = self.learning(net, context)
        still = freeze(net, names)
        context.record["parameters that learn"] = sum(
            one.numel() for one in net.parameters() if one.requires_grad
        )
        context.record["parameters"] = sum(one.numel() for one in net.parameters())
        return Rested(net, still=still)

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        """The network itself, or each of several, all of which may learn again."""
        return exchanged(net, Rested, lambda one: one.net).requires_grad_(True)


class Rested(Wrapped):
    """A network of which a part rests."""


def exchanged(net: nn.Module, kind: type[nn.Module], make: Callable[[Any], nn.Module]) -> nn.Module:
    """A network in which every module of a kind is another, such as in each of an ensemble."""
    if isinstance(net, kind):
        return make(net)
    for holder in list(net.modules()):
        for name, child in list(holder.named_children()):
            if isinstance(child, kind):
                holder._modules[name] = make(child)
    return net


def freeze(net: nn.Module, learning: Collection[str]) -> list[nn.Module]:
    """Let only the named parameters learn.

    Args:
        net: changed in place.
        learning: full names of parameters.

    Returns:
        the largest modules of which nothing learns, whose statistics and dropout shall rest.
    """
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in learning)
    return _resting(net)


def _resting(module: nn.Module) -> list[nn.Module]:
    out: list[nn.Module] = []
    for child in module.children():
        if any(one.requires_grad for one in child.parameters()):
            out += _resting(child)
        elif any(True for _ in child.parameters()) or any(True for _ in child.buffers()):
            out.append(child)  # what holds neither, such as dropout before the head, stays
    return out


def example_inputs(context: Context) -> list[Tensor]:
    """Inputs of a few cases that teach, by which the layers of a network are found."""
    arrays, _ = context.batches(context.teach, batch=min(EXAMPLES, len(context.teach)))(0)
    return [torch.from_numpy(one) for one in arrays.values()]


def heads_of(net: nn.Module, task: Task, inputs: Sequence[Tensor]) -> list[str]:
    """The last weighted layer before each output of a task, by name.

    Args:
        net: in whichever mode, which it is left in.
        task: names the outputs.
        inputs: of one batch.

    Raises:
        RecipeError: the network runs no linear or convolutional layer.
    """
    ran = layers_run(net, inputs)
    if not ran:
        raise RecipeError("the network runs no linear or convolutional layer, so it has no head")
    weights = [net.get_parameter(f"{name}.weight") for name in ran]
    asked = [one.requires_grad for one in weights]
    found: list[str] = []
    with torch.enable_grad(), evaluating(net):
        for one in weights:
            one.requires_grad_(True)
        try:
            for said in task.named(net(*inputs)).values():
                values = [one for one in tensors_of(said) if one.requires_grad]
                if not values:
                    continue
                total = torch.stack([one.float().sum() for one in values]).sum()
                slopes = torch.autograd.grad(total, weights, allow_unused=True, retain_graph=True)
                used = [name for name, one in zip(ran, slopes, strict=True) if one is not None]
                if used and used[-1] not in found:
                    found.append(used[-1])
        finally:
            for one, before in zip(weights, asked, strict=True):
                one.requires_grad_(before)
    return found or [output_layer(net, inputs)]


def layers_run(
    net: nn.Module, inputs: Sequence[Tensor],
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, _ConvNd),
) -> list[str]:  # fmt: skip
    """Names of the layers of some kinds that a network calls, in the order of their last calls."""
    ran: dict[str, None] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            ran.pop(name, None)
            ran[name] = None

        return hook

    watched(net, inputs, {
        name: note(name) for name, module in net.named_modules() if isinstance(module, kinds)
    })  # fmt: skip
    return list(ran)


def watched(
    net: nn.Module, inputs: Sequence[Tensor], hooks: Mapping[str, Callable[..., None]]
) -> None:
    """Run a network once in evaluation, and call a hook after each named module."""
    handles = [net.get_submodule(name).register_forward_hook(hook) for name, hook in hooks.items()]
    try:
        with torch.no_grad(), evaluating(net):
            net(*inputs)
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(net: nn.Module) -> Iterator[nn.Module]:
    """The network in evaluation mode, each module of which has its own mode again afterwards."""
    modes = [(module, module.training) for module in net.modules()]
    try:
        yield net.eval()
    finally:
        for module, mode in modes:
            module.training = mode


def parameters_of(net: nn.Module, modules: Collection[str]) -> set[str]:
    """Full names of the parameters of some modules."""
    return {f"{one}.{name}" for one in modules for name, _ in
            net.get_submodule(one).named_parameters()}  # fmt: skip


def tensors_of(said: Any) -> list[Tensor]:
    """All tensors of floating-point numbers in what a network said."""
    if isinstance(said, Tensor):
        return [said] if said.is_floating_point() else []
    parts = said.values() if isinstance(said, Mapping) else said
    return [one for part in parts for one in tensors_of(part)] if _is_many(parts) else []


def _is_many(parts: Any) -> bool:
    return not isinstance(parts, str) and hasattr(parts, "__iter__")
