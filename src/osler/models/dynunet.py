"""nnU-Net's plain U-Net, from MONAI's DynUNet, and the reader of nnU-Net's own checkpoints.

Source: Isensee et al. 2021, "nnU-Net: a self-configuring method for deep learning-based
biomedical image segmentation", Nature Methods, doi:10.1038/s41592-020-01008-z.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from osler.models.checkpoints.layout import Layout, Shapes, Tensors

Sides = int | Sequence[int]
_T = TypeVar("_T")


class DynUNet(nn.Module):
    """The blocks of MONAI's ``DynUNet``, joined without keeping each block twice.

    Args:
        dims: 2 for pictures, 3 for volumes.
        channels: of the input.
        labels: scores a pixel, background included.
        widths: of the stages, at least three.
        kernels: of each stage; 3 everywhere by default.
        strides: of each stage after the first; 2 everywhere by default.
        up_kernels: of each stage on the way up, the finest first; nnU-Net takes those of the way
            down at the same size (the default), MONAI those of the next smaller one.
        residual: blocks have shortcuts.
        up_bias: the transposed convolutions have a bias, as nnU-Net's have.
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
        kernels: Sequence[Sides] | None = None,
        strides: Sequence[Sides] | None = None,
        up_kernels: Sequence[Sides] | None = None,
        residual: bool = False,
        up_bias: bool = True,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        from monai.networks.blocks.dynunet_block import UnetUpBlock
        from monai.networks.nets.dynunet import DynUNet as Built

        if len(widths) < 3:
            raise ValueError(f"widths has {len(widths)} stages, and three are the least")
        down = [_sides(one, dims) for one in (kernels or [3] * len(widths))]
        up = [_sides(one, dims) for one in up_kernels] if up_kernels else down[:-1]
        steps = [_sides(one, dims) for one in (strides or [2] * (len(widths) - 1))]
        built = Built(
            spatial_dims=dims,
            in_channels=channels,
            out_channels=labels,
            kernel_size=down,
            strides=[[1] * dims, *steps],
            upsample_kernel_size=steps,
            filters=list(widths),
            norm_name=("INSTANCE", {"affine": True}),
            deep_supervision=deep_supervision and len(widths) > 2,
            deep_supr_num=max(len(widths) - 2, 1),
            res_block=residual,
            trans_bias=up_bias,
        )
        self.input_block = built.input_block
        self.downsamples = built.downsamples
        self.bottleneck = built.bottleneck
        self.upsamples = nn.ModuleList(
            UnetUpBlock(
                dims,
                widths[level + 1],
                widths[level],
                kernel_size=up[level],
                stride=steps[level],
                upsample_kernel_size=steps[level],
                norm_name=("INSTANCE", {"affine": True}),
                trans_bias=up_bias,
            )
            for level in range(len(widths) - 2, -1, -1)
        )
        self.upsamples.apply(built.initialize_weights)
        self.output_block = built.output_block
        self.deep_supervision_heads: nn.ModuleList = getattr(
            built, "deep_supervision_heads", nn.ModuleList()
        )

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The encoder's maps, the finest first."""
        levels = [self.input_block(x)]
        for stage in [*self.downsamples, self.bottleneck]:
            levels.append(stage(levels[-1]))
        return levels

    def features(self, x: Tensor) -> Tensor:
        """The mean ``(B, width)`` of the deepest map."""
        return self.pyramid(x)[-1].flatten(2).mean(2)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """``(B, C, [D,] H, W)`` to scores ``(B, labels, [D,] H, W)``; see ``deep_supervision``."""
        *shallow, x = self.pyramid(x)
        scores: list[Tensor] = []
        for enlarge, skip in zip(self.upsamples, reversed(shallow), strict=True):
            x = enlarge(x, skip)
            level = len(shallow) - len(scores) - 1
            scores.append(self._scores(x, level))
        return scores[::-1] if self._deep() else scores[-1]

    def _deep(self) -> bool:
        return self.training and len(self.deep_supervision_heads) > 0

    def _scores(self, x: Tensor, level: int) -> Tensor:
        if level == 0:
            return self.output_block(x)
        return self.deep_supervision_heads[level - 1](x) if self._deep() else x


def _sides(sides: Sides, dims: int) -> list[int]:
    return [sides] * dims if isinstance(sides, int) else list(sides)


def dynunet_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes (in our names) tell, strides included."""
    first = shapes.get("input_block.conv1.conv.weight")
    bottom = shapes.get("bottleneck.conv1.conv.weight")
    if first is None or bottom is None:
        return {}
    firsts = [first]
    while (name := f"downsamples.{len(firsts) - 1}.conv1.conv.weight") in shapes:
        firsts.append(shapes[name])
    firsts.append(bottom)
    out: dict[str, Any] = {
        "dims": len(first) - 2,
        "channels": first[1],
        "widths": [shape[0] for shape in firsts],
        "kernels": [list(shape[2:]) for shape in firsts],
        "residual": any(re.match(r"(input_block|bottleneck)\.conv3\.", name) for name in shapes),
        "up_bias": "upsamples.0.transp_conv.conv.bias" in shapes,
        "deep_supervision": any(name.startswith("deep_supervision_heads") for name in shapes),
    }
    ups = [shapes.get(f"upsamples.{n}.transp_conv.conv.weight") for n in range(len(firsts) - 1)]
    if all(ups):
        # of a transposed convolution, kernel and stride are one
        out["strides"] = [list(shape[2:]) for shape in reversed(ups) if shape]
    blocks = [shapes.get(f"upsamples.{n}.conv_block.conv1.conv.weight") for n in range(len(ups))]
    if all(blocks):
        out["up_kernels"] = [list(shape[2:]) for shape in reversed(blocks) if shape]
    head = shapes.get("output_block.conv.conv.weight")
    if head is not None:
        out["labels"] = head[0]
    return out


def _placed(named: Mapping[str, _T]) -> dict[str, _T]:
    """Stages by their number become MONAI's input block, downsamples and bottleneck."""
    numbers = [int(name.split(".")[1]) for name in named if name.startswith("stages.")]
    last = max(numbers, default=0)
    heads = [int(name.split(".")[1]) for name in named if name.startswith("heads.")]
    finest = max(heads, default=0)

    def place(name: str) -> str:
        kind, number, *rest = name.split(".")
        if kind == "stages":
            stage = int(number)
            inner = "bottleneck" if stage == last else f"downsamples.{stage - 1}"
            return ".".join(["input_block" if stage == 0 else inner, *rest])
        if kind == "heads":
            level = finest - int(number)
            inner = f"deep_supervision_heads.{level - 1}" if level else "output_block"
            return ".".join([inner, "conv.conv", *rest])
        return name

    return {place(name): value for name, value in named.items()}


def _nnunet_options(shapes: Shapes) -> dict[str, Any]:
    return dynunet_options(_placed(shapes))


def _nnunet(tensors: Tensors, net: nn.Module) -> Tensors:
    # a bias before an instance norm changes nothing: its mean takes it away
    return {
        name: value
        for name, value in _placed(tensors).items()
        if not re.search(r"\.conv[12]\.conv\.bias$", name)
    }


def _first_nnunet(tensors: Tensors, net: nn.Module) -> Tensors:
    out = _nnunet(tensors, net)
    for name in list(out):
        # the scores of nnU-Net 1 have no bias
        if re.match(r"(output_block|deep_supervision_heads\.\d+)\.conv\.conv\.weight", name):
            out[name.replace("weight", "bias")] = torch.zeros(len(out[name]))
    return out


_NAMES = ("dynunet", "dynunet-2d")

LAYOUTS = (
    Layout(
        "DynUNet of MONAI",
        _NAMES,
        marks=(r"^input_block\.conv1\.conv\.weight", r"^upsamples\.0\.transp_conv\."),
        drop=(r"^skip_layers\.",),  # the same tensors under other names
        heads=(r"^output_block\.", r"^deep_supervision_heads\."),
        options=dynunet_options,
    ),
    Layout(
        "plain U-Net of nnU-Net 2",
        _NAMES,
        marks=(r"^encoder\.stages\.0\.0\.convs\.0\.conv\.weight", r"^decoder\.transpconvs\.0\."),
        drop=(r"^decoder\.encoder\.", r"\.all_modules\."),  # the same tensors under other names
        rename=(
            (r"^encoder\.stages\.(\d+)\.0\.convs\.", r"stages.\1."),
            (r"^decoder\.stages\.(\d+)\.convs\.", r"upsamples.\1.conv_block."),
            (r"^decoder\.transpconvs\.(\d+)\.", r"upsamples.\1.transp_conv.conv."),
            (r"^decoder\.seg_layers\.", "heads."),
            (r"\.0\.conv\.(weight|bias)$", r".conv1.conv.\1"),
            (r"\.1\.conv\.(weight|bias)$", r".conv2.conv.\1"),
            (r"\.0\.norm\.", ".norm1."),
            (r"\.1\.norm\.", ".norm2."),
        ),
        heads=(r"^output_block\.", r"^deep_supervision_heads\."),
        transform=_nnunet,
        options=_nnunet_options,
    ),
    Layout(
        "U-Net of nnU-Net 1",
        _NAMES,
        marks=(r"^conv_blocks_context\.0\.blocks\.0\.conv\.weight", r"^tu\.0\.weight"),
        rename=(
            # the deepest stage is two blocks of one convolution, the others one block of two
            (r"^conv_blocks_context\.(\d+)\.([01])\.blocks\.0\.", r"stages.\1.\2."),
            (r"^conv_blocks_context\.(\d+)\.blocks\.([01])\.", r"stages.\1.\2."),
            (
                r"^conv_blocks_localization\.(\d+)\.([01])\.blocks\.0\.",
                r"upsamples.\1.conv_block.\2.",
            ),
            (r"^tu\.(\d+)\.", r"upsamples.\1.transp_conv.conv."),
            (r"^seg_outputs\.", "heads."),
            (r"\.0\.conv\.(weight|bias)$", r".conv1.conv.\1"),
            (r"\.1\.conv\.(weight|bias)$", r".conv2.conv.\1"),
            (r"\.0\.instnorm\.", ".norm1."),
            (r"\.1\.instnorm\.", ".norm2."),
        ),
        heads=(r"^output_block\.", r"^deep_supervision_heads\."),
        transform=_first_nnunet,
        options=_nnunet_options,
    ),
)

SIZES = {"dynunet": [(4, 16, 12)]}


def flat(**options: Any) -> DynUNet:
    """Of pictures; options of ``DynUNet``."""
    return DynUNet(**{"dims": 2, "widths": (32, 64, 128, 256, 512, 512, 512), **options})


def deep(**options: Any) -> DynUNet:
    """Of volumes; options of ``DynUNet``."""
    return DynUNet(**{"dims": 3, **options})
