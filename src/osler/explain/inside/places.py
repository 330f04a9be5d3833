"""Places in a network where its maps can be looked at: convolutional maps and grids of tokens."""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from osler.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn

Target = Callable[["Tensor"], "Tensor"]
"""The network's answer, ``(N, ...)``, to the ``(N,)`` scores that are explained."""

_MOST_PREFIX = 16  # class token and registers
_MOST_SKEW = 8  # between the strides of the axes


@dataclass(frozen=True, slots=True)
class Place:
    """A module whose output is a map over the picture.

    Attributes:
        name: the module's name in its network.
        grid: positions an axis, ``(h, w)`` or ``(d, h, w)``.
        prefix: tokens before those of the grid, such as a class token; None for a convolutional
            map ``(N, K, *grid)``.
    """

    name: str
    grid: tuple[int, ...]
    prefix: int | None = None

    def as_map(self, value: "Tensor") -> "Tensor":
        """What the module gave, as ``(N, K, *grid)``."""
        if self.prefix is None:
            return value
        tokens = value[:, self.prefix :]
        return tokens.transpose(1, 2).reshape(len(value), -1, *self.grid)


@dataclass(slots=True, eq=False)
class Seen:
    """What a module gave on one run.

    Attributes:
        place: where.
        value: its output, ``(N, K, *grid)`` or tokens, in the graph of gradients.
    """

    place: Place
    value: "Tensor"


def look(
    net: "nn.Module", x: "Tensor", *, names: Sequence[str] | None = None
) -> "tuple[Any, list[Seen]]":
    """Run a network and keep what its modules gave, in the order in which they ended.

    Args:
        net: in eval mode.
        x: ``(N, C, [D,] H, W)``.
        names: the modules to look at; None takes all.

    Returns:
        The network's answer, and the places that hold a map over the picture.
    """
    import torch

    seen: list[Seen] = []
    patch = _patch(net)
    hooks = []

    def hook(name: str, module: "nn.Module") -> Callable[..., Any]:
        def keep(_: "nn.Module", __: Any, output: Any) -> Any:
            if not isinstance(output, torch.Tensor):
                return output
            place = _place(name, module, output, x, patch)
            if place is None:
                return output
            if not output.requires_grad and torch.is_grad_enabled():
                output = output.detach().requires_grad_()
            seen.append(Seen(place, output))
            # what follows may work in place; what was kept must stay as it was
            return output.clone()

        return keep

    try:
        for name, module in net.named_modules():
            if name and (names is None or name in names):
                hooks.append(module.register_forward_hook(hook(name, module)))
        answer = net(x)
    finally:
        for one in hooks:
            one.remove()
    return answer, seen


def find_place(net: "nn.Module", x: "Tensor", target: Target, *, layer: str | None = None) -> Place:
    """The place that a class activation map is made at.

    Left to itself it is the last one of the coarsest grid (two positions an axis or more) on which
    the answer depends: the last convolutional stage of a classifier, the bottleneck of a U-Net,
    the norm before the last attention of a vision transformer that answers by its class token.

    Args:
        net: in eval mode.
        x: ``(1, C, [D,] H, W)``.
        target: what is asked.
        layer: the name of a module, to choose it.

    Raises:
        RecipeError: there is no such module (the message has the nearest), or it gives no map.
    """
    import torch

    if layer is not None and layer not in dict(net.named_modules()):
        raise RecipeError(_unknown(layer, net))
    with torch.enable_grad():
        answer, seen = look(net, x, names=None if layer is None else [layer])
        if layer is not None:
            if not seen:
                raise RecipeError(
                    f"the layer '{layer}' gives no map over the picture; "
                    f"one that does is '{find_place(net, x, target).name}'"
                )
            return seen[-1].place
        if not seen:
            raise RecipeError(
                f"{type(net).__name__} has no layer with a map over the picture; use "
                "integrated-gradients or occlusion"
            )
        score = target(answer).sum()
        slopes = torch.autograd.grad(score, [s.value for s in seen], allow_unused=True)
    telling = [
        one.place
        for one, slope in zip(seen, slopes, strict=True)
        if slope is not None and bool(one.place.as_map(slope).abs().amax() > 0)
    ]
    if not telling:
        raise RecipeError("the answer depends on no layer's map; name another label")
    coarsest = min(math.prod(place.grid) for place in telling)
    return [place for place in telling if math.prod(place.grid) == coarsest][-1]


def _place(
    name: str,
    module: "nn.Module",
    output: "Tensor",
    x: "Tensor",
    patch: tuple[int, ...] | None,
) -> Place | None:
    """Where a module's output lies on the picture; None if it is no map of it."""
    picture = tuple(x.shape[2:])
    if len(output) != len(x):
        return None  # windows of a transformer, folded into the batch
    if output.ndim == x.ndim and output.shape[1] >= 2 and not _is_norm_last(module):
        grid = tuple(output.shape[2:])
        return Place(name, grid) if _fits(grid, picture) else None
    if output.ndim == 3 and patch is not None and (_is_norm(module) or any(module.children())):
        found = _tokens(output.shape[1], picture, patch)
        return Place(name, *found) if found else None
    return None


def _fits(grid: tuple[int, ...], picture: tuple[int, ...]) -> bool:
    """Whether a grid is the picture at whole strides that do not differ too much."""
    if any(g < 2 or g > p for g, p in zip(grid, picture, strict=True)):
        return False
    ratios = [p / g for g, p in zip(grid, picture, strict=True)]
    whole = all(
        abs(-(-p // max(1, round(r))) - g) <= 1
        for r, g, p in zip(ratios, grid, picture, strict=True)
    )
    return whole and max(ratios) <= _MOST_SKEW * min(ratios)


def _tokens(
    count: int, picture: tuple[int, ...], patch: tuple[int, ...]
) -> tuple[tuple[int, ...], int] | None:
    """The grid of so many tokens and how many stand before it."""
    grid = tuple(-(-p // s) for p, s in zip(picture, patch, strict=True))
    for halvings in range(6):
        smaller = tuple(-(-g // 2**halvings) for g in grid)
        if math.prod(smaller) == count and min(smaller) >= 2:
            return smaller, 0
    prefix = count - math.prod(grid)
    return (grid, prefix) if 0 < prefix <= _MOST_PREFIX and min(grid) >= 2 else None


def _patch(net: "nn.Module") -> tuple[int, ...] | None:
    """The stride of the convolution that makes patches, if the network has one."""
    from torch import nn

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            stride = tuple(int(s) for s in module.stride)
            if stride == tuple(module.kernel_size) and max(stride) > 1:
                return stride
    return None


def _is_norm(module: "nn.Module") -> bool:
    return "norm" in type(module).__name__.lower()


def _is_norm_last(module: "nn.Module") -> bool:
    """Whether a module works on maps with channels last, as the norms of transformers do."""
    from torch import nn

    return isinstance(module, nn.LayerNorm | nn.Linear)


def _unknown(layer: str, net: "nn.Module") -> str:
    names = [name for name, _ in net.named_modules() if name]
    near = difflib.get_close_matches(layer, names, n=1, cutoff=0.3)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{type(net).__name__} has no layer '{layer}'{hint}"


def label_score(label: int, *, region: "Tensor | None" = None) -> Target:
    """The target of one label: its score, or the mean of its scores over a region.

    Args:
        label: channel of the answer.
        region: boolean ``([D,] H, W)`` for a network that answers with maps; None takes all of
            them. With the mask that the network drew it is the target of Seg-Grad-CAM (Vinogradova
            et al. 2020, AAAI student abstracts).
    """

    def score(answer: "Tensor") -> "Tensor":
        import torch

        if not isinstance(answer, torch.Tensor):  # the finest answer of a deep supervision
            answer = answer[0]
        if answer.ndim < 2 or not 0 <= label < answer.shape[1]:
            raise RecipeError(
                f"label {label} is not among the {answer.shape[1] if answer.ndim > 1 else 1} "
                "answers of the network"
            )
        chosen = answer[:, label]
        if chosen.ndim == 1:
            return chosen
        flat = chosen.flatten(1)
        return flat.mean(dim=1) if region is None else flat[:, region.flatten()].mean(dim=1)

    return score
