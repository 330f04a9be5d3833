"""Images of which parts are hidden, what draws them from a network's maps, and how well.

Sources: He et al. 2022, "Masked autoencoders are scalable vision learners", CVPR, for the target;
Xie et al. 2022, "SimMIM: a simple framework for masked image modeling", CVPR, for hidden parts that
an encoder sees as one learnt value, and for the light decoder; Tian et al. 2023, "Designing BERT
for convolutional networks: sparse and hierarchical masked modeling" (SparK), ICLR, for a decoder of
the maps of every size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from osler.learn.strategies.features import output_layer

MOST = 32
"""Side of the largest patch that is chosen by itself, as in SimMIM."""


def patch_for(shape: Sequence[int]) -> int:
    """The power of two that goes four times into the shortest side, 2 to `MOST`; flat axes aside.

    Args:
        shape: ``([D,] H, W)``.
    """
    side = min(one for one in shape if one >= max(shape) / 4)
    patch = 2
    while patch * 2 <= min(side // 4, MOST):
        patch *= 2
    return patch


def hidden_parts(
    batch: int, shape: Sequence[int], *, patch: int, ratio: float, generator: torch.Generator
) -> Tensor:
    """Which pixels are hidden, in whole patches: ``(B, 1, [D,] H, W)``, 1 hidden and 0 visible.

    Args:
        batch: images.
        shape: ``([D,] H, W)``.
        patch: side of a patch; those at the far edges may be smaller.
        ratio: share of patches that is hidden; at least one is, and at least one is not.
        generator: of the processor.
    """
    grid = [-(-side // patch) for side in shape]
    count = 1
    for one in grid:
        count *= one
    hidden = min(max(round(ratio * count), 1), count - 1)
    order = torch.rand(batch, count, generator=generator).argsort(dim=1).argsort(dim=1)
    mask = (order < hidden).float().reshape(batch, 1, *grid)
    return enlarged(mask, patch, shape)


def enlarged(values: Tensor, patch: int, shape: Sequence[int]) -> Tensor:
    """A value a patch as a value a pixel."""
    for axis, side in enumerate(shape):
        values = values.repeat_interleave(patch, dim=2 + axis).narrow(2 + axis, 0, side)
    return values


def in_each_patch(images: Tensor, patch: int) -> Tensor:
    """Images whose every patch has the mean 0 and the deviation 1 in every channel."""
    shape = images.shape[2:]
    pool = functional.avg_pool2d if len(shape) == 2 else functional.avg_pool3d
    sides: Any = [min(patch, side) for side in shape]
    keys: Any = {"stride": sides, "ceil_mode": True, "count_include_pad": False}
    mean = enlarged(pool(images, sides, **keys), patch, shape)
    away = images - mean
    variance = enlarged(pool(away.square(), sides, **keys), patch, shape)
    return away / (variance + 1e-6).sqrt()


def hidden_error(drawn: Tensor, images: Tensor, hidden: Tensor) -> Tensor:
    """The mean squared error of the hidden pixels.

    Args:
        drawn: ``(B, C, ...)``.
        images: ``(B, C, ...)``.
        hidden: ``(B, 1, ...)``.
    """
    error = (drawn - images).square().mean(dim=1, keepdim=True)
    return (error * hidden).sum() / hidden.sum()


class MapDecoder(nn.Module):
    """Draws an image from maps of several sizes, from the coarsest to the finest.

    Args:
        widths: channels of the maps, the finest first.
        strides: of the finest map on each axis of the image.
        channels: of the image.
        width: of the decoder.
    """

    def __init__(
        self, widths: Sequence[int], strides: Sequence[int], channels: int, *, width: int
    ) -> None:
        super().__init__()
        axes = len(strides)
        conv: Any = nn.Conv2d if axes == 2 else nn.Conv3d
        self.strides, self.channels = tuple(strides), channels
        self.taken = nn.ModuleList(conv(one, width, 1) for one in widths)
        self.mixed = nn.ModuleList(conv(width, width, 3, padding=1) for _ in widths)
        self.drawn = conv(width, channels * int(torch.tensor(strides).prod()), 1)
        self.fill = nn.Parameter(torch.zeros(1, channels, *[1] * axes))

    def covered(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Images whose hidden pixels have the learnt value of their channel."""
        return images * (1 - hidden) + self.fill * hidden

    def forward(self, maps: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """Maps, the finest first, to ``(B, C, *shape)``."""
        mode = "bilinear" if len(shape) == 2 else "trilinear"
        y: Tensor | None = None
        for one, take, mix in reversed(list(zip(maps, self.taken, self.mixed, strict=True))):
            here = take(one)
            if y is not None:
                here = here + functional.interpolate(y, here.shape[2:], mode=mode)
            y = functional.gelu(mix(here))
        assert y is not None
        return _shuffled(self.drawn(y), self.channels, self.strides, shape)


def _shuffled(y: Tensor, channels: int, strides: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Channels laid out as pixels: ``(B, C s s, h, w)`` to ``(B, C, h s, w s)``, cut to a shape."""
    axes, sides = len(strides), y.shape[2:]
    y = y.reshape(len(y), channels, *strides, *sides)
    order = [0, 1]
    for axis in range(axes):
        order += [2 + axes + axis, 2 + axis]
    y = y.permute(order).reshape(
        len(y), channels, *(a * b for a, b in zip(sides, strides, strict=True))
    )
    for axis, side in enumerate(shape):
        y = y.narrow(2 + axis, 0, side)
    return y


def map_layers(net: nn.Module, inputs: Sequence[Tensor], shape: Sequence[int]) -> list[str]:
    """The layers that give a network's maps, the finest first, one for each size.

    Of every size it is the last module whose output is what its last convolution or normalisation
    gave, or of its shape: the end of a stage. The head is none of them.

    Args:
        net: in whichever mode.
        inputs: of one batch.
        shape: of the image, ``([D,] H, W)``.
    """
    found: dict[tuple[int, ...], str] = {}
    last: list[torch.Size] = []
    head = output_layer(net, inputs)

    def look(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            del args
            if name in ("", head) or not isinstance(output, Tensor):
                return
            if output.ndim != 2 + len(shape):
                return
            if isinstance(module, _ConvNd | _NormBase | nn.GroupNorm):
                last[:] = [output.shape]
            size = tuple(output.shape[2:])
            if last and output.shape == last[0] and all(
                a <= b for a, b in zip(size, shape, strict=True)
            ):  # fmt: skip
                found[size] = name

        return hook

    handles = [module.register_forward_hook(look(name)) for name, module in net.named_modules()]
    try:
        output_layer(net, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return [found[size] for size in sorted(found, reverse=True)]


@contextmanager
def heard(net: nn.Module, layers: Sequence[str], *, before: bool) -> Iterator[dict[str, Tensor]]:
    """What goes into layers, or comes out of them, when the network is called."""
    seen: dict[str, Tensor] = {}

    def taken(name: str) -> Any:
        def came(module: nn.Module, args: Any) -> None:
            del module
            seen[name] = args[0]

        def went(module: nn.Module, args: Any, output: Tensor) -> None:
            del module, args
            seen[name] = output

        module = net.get_submodule(name)
        if before:
            return module.register_forward_pre_hook(came)
        return module.register_forward_hook(went)

    handles = [taken(name) for name in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
