"""nnU-Net's U-Net with a residual encoder, the network of its presets M, L and XL.

Source: Isensee et al. 2024, "nnU-Net revisited: a call for rigorous validation in 3D medical
image segmentation", MICCAI, arXiv:2404.09556; blocks: He et al. 2019, "Bag of tricks for image
classification with convolutional neural networks", CVPR (ResNet-D).
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Layout, Shapes

Sides = int | Sequence[int]


class Unit(nn.Module):
    """A convolution and an instance norm."""

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: Sequence[int],
        *,
        stride: Sequence[int] | int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        conv, norm = _layers(len(kernel))
        around = [side // 2 for side in kernel]
        self.conv = conv(channels, width, tuple(kernel), stride, around, bias=bias)
        self.norm = norm(width, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ...)`` to ``(B, width, ...)``, not cut at zero."""
        return self.norm(self.conv(x))


class Residual(nn.Module):
    """Two units beside a shortcut, which averages where the first unit strides."""

    def __init__(
        self, channels: int, width: int, kernel: Sequence[int], *, stride: Sequence[int], bias: bool
    ) -> None:
        super().__init__()
        self.conv1 = Unit(channels, width, kernel, stride=tuple(stride), bias=bias)
        self.conv2 = Unit(width, width, kernel, bias=bias)
        ways: list[nn.Module] = []
        if any(step != 1 for step in stride):
            pool = nn.AvgPool2d if len(kernel) == 2 else nn.AvgPool3d
            ways.append(pool(tuple(stride), tuple(stride)))
        if channels != width:
            ways.append(Unit(channels, width, [1] * len(kernel), bias=False))
        self.skip = nn.Sequential(*ways)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ...)`` to ``(B, width, ... / stride)``."""
        y = self.conv2(functional.leaky_relu(self.conv1(x)))
        return functional.leaky_relu(y + self.skip(x))


class ResEncUNet(nn.Module):
    """A stem, residual stages, and a decoder of plain units, under nnU-Net's names.

    Args:
        dims: 3 for volumes, 2 for pictures.
        channels: of the input.
        labels: scores a voxel, background included.
        widths: of the stages.
        blocks: residual blocks of each stage.
        up_blocks: units of each stage on the way up.
        kernels: of each stage; 3 everywhere by default.
        strides: of each stage after the first; 2 everywhere by default.
        bias: convolutions have one.
        deep_supervision: in training, give the scores of every scale but the deepest, the finest
            first.
    """

    def __init__(
        self,
        *,
        dims: int = 3,
        channels: int = 1,
        labels: int = 2,
        widths: Sequence[int] = (32, 64, 128, 256, 320, 320),
        blocks: Sequence[int] = (1, 3, 4, 6, 6, 6),
        up_blocks: int = 1,
        kernels: Sequence[Sides] | None = None,
        strides: Sequence[Sides] | None = None,
        bias: bool = True,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        levels = len(widths)
        sides = [_sides(one, dims) for one in (kernels or [3] * levels)]
        steps = [[1] * dims, *(_sides(one, dims) for one in (strides or [2] * (levels - 1)))]
        if not len(blocks) == len(sides) == len(steps) == levels:
            raise RecipeError(
                f"{levels} widths need as many blocks ({len(blocks)} given) and kernels "
                f"({len(sides)}), and one stride less ({len(steps) - 1})"
            )
        self.deep_supervision = deep_supervision
        self.encoder = nn.Module()
        self.encoder.stem = _several(Unit(channels, widths[0], sides[0], bias=bias))
        stages, inner = [], widths[0]
        for width, count, kernel, step in zip(widths, blocks, sides, steps, strict=True):
            stage = nn.Module()
            stage.blocks = nn.Sequential(
                Residual(inner, width, kernel, stride=step, bias=bias),
                *(
                    Residual(width, width, kernel, stride=[1] * dims, bias=bias)
                    for _ in range(count - 1)
                ),
            )
            stages.append(stage)
            inner = width
        self.encoder.stages = nn.ModuleList(stages)
        self.decoder = nn.Module()
        down = range(levels - 2, -1, -1)
        enlarge = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
        self.decoder.transpconvs = nn.ModuleList(
            enlarge(widths[n + 1], widths[n], tuple(steps[n + 1]), tuple(steps[n + 1]), bias=bias)
            for n in down
        )
        self.decoder.stages = nn.ModuleList(
            _several(
                *(
                    Unit(widths[n] * (1 if place else 2), widths[n], sides[n], bias=bias)
                    for place in range(up_blocks)
                )
            )
            for n in down
        )
        conv, _ = _layers(dims)
        self.decoder.seg_layers = nn.ModuleList(conv(widths[n], labels, 1) for n in down)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The encoder's maps, the finest first."""
        x = _through(self.encoder.stem, x)
        levels = []
        for stage in self.encoder.stages:  # type: ignore[union-attr]
            x = stage.blocks(x)
            levels.append(x)
        return levels

    def features(self, x: Tensor) -> Tensor:
        """The mean ``(B, width)`` of the deepest map."""
        return self.pyramid(x)[-1].flatten(2).mean(2)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """``(B, C, [D,] H, W)`` to scores ``(B, labels, [D,] H, W)``; see ``deep_supervision``."""
        *shallow, x = self.pyramid(x)
        deep = self.deep_supervision and self.training
        parts: Any = self.decoder
        scores: list[Tensor] = []
        for number, skip in enumerate(reversed(shallow)):
            x = torch.cat([parts.transpconvs[number](x), skip], dim=1)
            x = _through(parts.stages[number], x)
            if deep or number == len(shallow) - 1:
                scores.insert(0, parts.seg_layers[number](x))
        return scores if deep else scores[0]


def _layers(dims: int) -> tuple[Any, Any]:
    return (nn.Conv2d, nn.InstanceNorm2d) if dims == 2 else (nn.Conv3d, nn.InstanceNorm3d)


def _sides(sides: Sides, dims: int) -> list[int]:
    return [sides] * dims if isinstance(sides, int) else list(sides)


def _several(*units: Unit) -> nn.Module:
    """Units under the name that nnU-Net gives to several of them."""
    out = nn.Module()
    out.convs = nn.Sequential(*units)
    return out


def _through(several: Any, x: Tensor) -> Tensor:
    for unit in several.convs:
        x = functional.leaky_relu(unit(x))
    return x


def resenc_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes tell, strides included."""
    stem = shapes.get("encoder.stem.convs.0.conv.weight")
    counts: dict[int, int] = {}
    for name in shapes:
        found = re.match(r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv1\.conv\.weight", name)
        if found:
            counts[int(found[1])] = max(counts.get(int(found[1]), 0), int(found[2]) + 1)
    if stem is None or not counts:
        return {}
    firsts = [shapes.get(f"encoder.stages.{n}.blocks.0.conv1.conv.weight") for n in sorted(counts)]
    known = [shape for shape in firsts if shape is not None]
    ups = [shapes.get(f"decoder.transpconvs.{n}.weight") for n in range(len(known) - 1)]
    units = 0
    while f"decoder.stages.0.convs.{units}.conv.weight" in shapes:
        units += 1
    out: dict[str, Any] = {
        "dims": len(stem) - 2,
        "channels": stem[1],
        "widths": [shape[0] for shape in known],
        "kernels": [list(shape[2:]) for shape in known],
        "blocks": [counts[n] for n in sorted(counts)],
        "bias": "encoder.stem.convs.0.conv.bias" in shapes,
    }
    if units:
        out["up_blocks"] = units
    if all(ups):
        # of a transposed convolution, kernel and stride are one
        out["strides"] = [list(shape[2:]) for shape in reversed(ups) if shape]
    head = shapes.get("decoder.seg_layers.0.weight")
    if head is not None:
        out["labels"] = head[0]
    return out


LAYOUTS = (
    Layout(
        "residual encoder of nnU-Net 2",
        ("resenc-unet",),
        marks=(
            r"^encoder\.stem\.convs\.0\.conv\.weight",
            r"^encoder\.stages\.0\.blocks\.0\.conv1\.conv\.weight",
            r"^decoder\.transpconvs\.0\.",
        ),
        without=(r"\.squeeze_excitation\.", r"\.conv3\."),
        drop=(r"^decoder\.encoder\.", r"\.all_modules\."),  # the same tensors under other names
        heads=(r"^decoder\.seg_layers\.",),
        options=resenc_options,
    ),
)

SIZES = {"resenc-unet": [(4, 16, 12)]}
