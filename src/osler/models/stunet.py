"""STU-Net: nnU-Net's U-Net with residual blocks, in four sizes, for volumes.

Source: Huang et al. 2023, "STU-Net: scalable and transferable medical image segmentation models
empowered by large-scale supervised pre-training", arXiv:2304.06716.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Layout, Shapes

Triple = tuple[int, int, int]


class Residual(nn.Module):
    """Two convolutions with instance norm beside a shortcut.

    Args:
        channels: of the input.
        width: of the output.
        kernel: of the two convolutions, voxels.
        stride: of the first.
        project: the shortcut is a convolution of one voxel.
    """

    def __init__(
        self, channels: int, width: int, kernel: Triple, *, stride: Triple, project: bool
    ) -> None:
        super().__init__()
        around = tuple(side // 2 for side in kernel)
        self.conv1 = nn.Conv3d(channels, width, kernel, stride, around)
        self.norm1 = nn.InstanceNorm3d(width, affine=True)
        self.conv2 = nn.Conv3d(width, width, kernel, 1, around)
        self.norm2 = nn.InstanceNorm3d(width, affine=True)
        self.conv3 = nn.Conv3d(channels, width, 1, stride) if project else None

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, D, H, W)`` to ``(B, width, D/s, H/s, W/s)``."""
        y = functional.leaky_relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return functional.leaky_relu(y + (x if self.conv3 is None else self.conv3(x)))


class Enlarge(nn.Module):
    """Nearest neighbour, then a convolution of one voxel."""

    def __init__(self, channels: int, width: int, factor: Triple) -> None:
        super().__init__()
        self.factor = [float(one) for one in factor]
        self.conv = nn.Conv3d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, D, H, W)`` to ``(B, width, D*f, H*f, W*f)``."""
        return self.conv(functional.interpolate(x, scale_factor=self.factor, mode="nearest"))


class STUNet(nn.Module):
    """An encoder of residual stages, a decoder with shortcuts, and scores at every scale.

    Args:
        channels: of the volume.
        labels: scores a voxel, background included.
        widths: of the stages.
        depths: blocks of the stages.
        strides: of each stage after the first, an edge or three; twice everywhere by default.
        kernels: of each stage, an edge or three.
        deep_supervision: in training, give the scores of every scale, the finest first.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        labels: int = 105,
        widths: Sequence[int] = (32, 64, 128, 256, 512, 512),
        depths: Sequence[int] = (1, 1, 1, 1, 1, 1),
        strides: Sequence[int | Sequence[int]] | None = None,
        kernels: Sequence[int | Sequence[int]] | None = None,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        levels = len(widths)
        steps = [_triple(one) for one in (strides or [2] * (levels - 1))]
        sides = [_triple(one) for one in (kernels or [3] * levels)]
        if len(depths) != levels or len(steps) != levels - 1 or len(sides) != levels:
            raise RecipeError(
                f"{levels} widths need as many depths ({len(depths)} given) and kernels "
                f"({len(sides)}), and one stride less ({len(steps)})"
            )
        self.deep_supervision = deep_supervision
        # the published names, which come from nnU-Net
        self.conv_blocks_context = nn.ModuleList()
        inner = channels
        for level, width in enumerate(widths):
            step = (1, 1, 1) if level == 0 else steps[level - 1]
            self.conv_blocks_context.append(_stage(inner, width, depths[level], sides[level], step))
            inner = width
        self.upsample_layers = nn.ModuleList()
        self.conv_blocks_localization = nn.ModuleList()
        self.seg_outputs = nn.ModuleList()
        for level in range(levels - 2, -1, -1):
            width = widths[level]
            self.upsample_layers.append(Enlarge(widths[level + 1], width, steps[level]))
            self.conv_blocks_localization.append(
                _stage(2 * width, width, depths[level], sides[level], (1, 1, 1))
            )
            self.seg_outputs.append(nn.Conv3d(width, labels, 1))

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The encoder's maps, the finest first."""
        levels = []
        for stage in self.conv_blocks_context:
            x = stage(x)
            levels.append(x)
        return levels

    def features(self, x: Tensor) -> Tensor:
        """``(B, C, D, H, W)`` to the mean ``(B, width)`` of the deepest map."""
        return self.pyramid(x)[-1].mean((2, 3, 4))

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """``(B, C, D, H, W)`` to scores ``(B, labels, D, H, W)``.

        With deep supervision and in training: those of every scale, the finest first.
        """
        *shallow, x = self.pyramid(x)
        scores: list[Tensor] = []
        deep = self.deep_supervision and self.training
        last = len(self.seg_outputs) - 1
        for number, (enlarge, stage, output) in enumerate(
            zip(self.upsample_layers, self.conv_blocks_localization, self.seg_outputs, strict=True)
        ):
            x = stage(torch.cat([enlarge(x), shallow[-1 - number]], dim=1))
            if deep or number == last:
                scores.insert(0, output(x))
        return scores if deep else scores[0]


def _triple(sides: int | Sequence[int]) -> Triple:
    if isinstance(sides, int):
        return sides, sides, sides
    d, h, w = sides
    return d, h, w


def _stage(channels: int, width: int, depth: int, kernel: Triple, stride: Triple) -> nn.Sequential:
    rest = [
        Residual(width, width, kernel, stride=(1, 1, 1), project=False) for _ in range(depth - 1)
    ]
    return nn.Sequential(Residual(channels, width, kernel, stride=stride, project=True), *rest)


def small(**options: Any) -> STUNet:
    """STU-Net-S; options of ``STUNet``."""
    return STUNet(**{"widths": (16, 32, 64, 128, 256, 256), **options})


def base(**options: Any) -> STUNet:
    """STU-Net-B; options of ``STUNet``."""
    return STUNet(**options)


def large(**options: Any) -> STUNet:
    """STU-Net-L; options of ``STUNet``."""
    return STUNet(
        **{"widths": (64, 128, 256, 512, 1024, 1024), "depths": (2, 2, 2, 2, 2, 2), **options}
    )


def huge(**options: Any) -> STUNet:
    """STU-Net-H; options of ``STUNet``."""
    return STUNet(
        **{"widths": (96, 192, 384, 768, 1536, 1536), "depths": (3, 3, 3, 3, 3, 3), **options}
    )


def stunet_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes tell; strides cannot be seen."""
    depths: dict[int, int] = {}
    for name in shapes:
        found = re.match(r"conv_blocks_context\.(\d+)\.(\d+)\.", name)
        if found:
            level, block = int(found[1]), int(found[2])
            depths[level] = max(depths.get(level, 0), block + 1)
    if sorted(depths) != list(range(len(depths))):
        return {}
    firsts = [shapes.get(f"conv_blocks_context.{n}.0.conv1.weight") for n in range(len(depths))]
    known = [shape for shape in firsts if shape is not None]
    if not known or len(known) < len(firsts):
        return {}
    out: dict[str, Any] = {
        "channels": known[0][1],
        "widths": [shape[0] for shape in known],
        "kernels": [list(shape[2:]) for shape in known],
        "depths": [depths[level] for level in sorted(depths)],
    }
    head = shapes.get("seg_outputs.0.weight")
    if head is not None:
        out["labels"] = head[0]
    return out


LAYOUTS = (
    Layout(
        "STU-Net of nnU-Net (versions 1 and 2)",
        ("stu-net-base", "stu-net-small", "stu-net-large", "stu-net-huge"),
        marks=(r"^conv_blocks_context\.0\.0\.conv1\.weight", r"^conv_blocks_localization\.0\.0\."),
        heads=(r"^seg_outputs\.",),
        options=stunet_options,
    ),
)

SIZES = {name: [(4, 8, 12)] for name in LAYOUTS[0].systems}
