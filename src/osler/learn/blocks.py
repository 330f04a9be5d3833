"""The blocks that a network is built of, found by its structure rather than by its name."""

from collections.abc import Iterator

from torch import nn

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def blocks_of(net: nn.Module) -> dict[str, nn.Module]:
    """The network's blocks by name, in the order in which they were made.

    A block is a member of an ``nn.Sequential``, ``nn.ModuleList`` or ``nn.ModuleDict`` that holds
    at least two weighted layers (attention and perceptron, two convolutions) and no smaller such
    member; and any other part of the network with as many and no block within (the first block of
    a U-Net, a head of two layers). Where there is none, members with one weighted layer and
    something beside it serve (convolution and activation). Blocks never hold one another.
    """
    members = _members(net)
    for weighted in (2, 1):
        large = {
            name
            for name, module in members.items()
            if len(_weighted(module)) >= weighted and len(_leaves(module)) > 1
        }
        inner = {name for name in large if not any(other.startswith(f"{name}.") for other in large)}
        found = dict(_taken(net, "", inner, others=weighted == 2))
        if found:
            return found
    return {}


def _taken(
    module: nn.Module, name: str, inner: set[str], *, others: bool
) -> Iterator[tuple[str, nn.Module]]:
    """Walk down; stop at each block."""
    for key, child in module.named_children():
        full = f"{name}.{key}" if name else key
        holds = any(one.startswith(f"{full}.") for one in inner)
        called = not isinstance(child, nn.ModuleList | nn.ModuleDict)  # lists only hold others
        if full in inner or (others and called and not holds and len(_weighted(child)) > 1):
            yield full, child
        else:
            yield from _taken(child, full, inner, others=others)


def _members(net: nn.Module) -> dict[str, nn.Module]:
    """Each member of a container by its full name, in the order in which modules were made."""
    members = {
        id(child)
        for module in net.modules()
        if isinstance(module, _CONTAINERS)
        for child in module.children()
    }
    return {name: module for name, module in net.named_modules() if id(module) in members}


def _leaves(module: nn.Module) -> list[nn.Module]:
    return [one for one in module.modules() if not any(True for _ in one.children())]


def _weighted(module: nn.Module) -> list[nn.Module]:
    """Submodules that hold a matrix or kernels of their own."""
    return [
        one for one in module.modules() if any(p.ndim > 1 for p in one.parameters(recurse=False))
    ]
