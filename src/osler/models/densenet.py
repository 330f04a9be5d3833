"""DenseNet: each layer sees all layers before it. MONAI's, in two or three dimensions.

Source: Huang et al. 2017, "Densely connected convolutional networks", CVPR.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from osler.models.checkpoints.layout import Layout, Shapes


class DenseNet(nn.Module):
    """Dense blocks of MONAI, a mean over positions and a head.

    Args:
        channels: of the picture.
        num_classes: scores; 0 gives features.
        start: width after the first convolution.
        growth: channels that each layer adds.
        blocks: layers of each dense block.
        bottleneck: width within a layer over ``growth``.
        dropout: share of numbers dropped after each layer in training.
        dims: 2 for pictures, 3 for volumes.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        num_classes: int = 0,
        start: int = 64,
        growth: int = 32,
        blocks: Sequence[int] = (6, 12, 24, 16),
        bottleneck: int = 4,
        dropout: float = 0.0,
        dims: int = 2,
    ) -> None:
        super().__init__()
        from monai.networks.nets.densenet import DenseNet as Built

        built = Built(
            spatial_dims=dims,
            in_channels=channels,
            out_channels=1,
            init_features=start,
            growth_rate=growth,
            block_config=tuple(blocks),
            bn_size=bottleneck,
            dropout_prob=dropout,
        )
        self.encoder = built.features
        width: int = built.class_layers.out.in_features
        self.head = nn.Linear(width, num_classes) if num_classes else nn.Identity()

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Maps at halves, quarters, and so on: after the first convolution and each block."""
        levels = []
        for name, layer in self.encoder.named_children():
            x = layer(x)
            if name in ("relu0", "norm5") or (
                name.startswith("denseblock") and not self._is_last(name)
            ):
                levels.append(x)
        levels[-1] = torch.relu(levels[-1])
        return levels

    def _is_last(self, name: str) -> bool:
        return name.replace("denseblock", "transition") not in dict(self.encoder.named_children())

    def features(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` or ``(B, C, D, H, W)`` to ``(B, D)``."""
        return torch.relu(self.encoder(x)).flatten(2).mean(2)

    def forward(self, x: Tensor) -> Tensor:
        """The same to scores ``(B, num_classes)``, or to features."""
        return self.head(self.features(x))


def densenet_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of a DenseNet's tensors (in our names) tell."""
    first = shapes.get("encoder.conv0.weight")
    if first is None:
        return {}
    blocks: dict[int, int] = {}
    for name in shapes:
        found = re.match(r"encoder\.denseblock(\d+)\.denselayer(\d+)\.", name)
        if found:
            block, layer = int(found[1]), int(found[2])
            blocks[block] = max(blocks.get(block, 0), layer)
    out: dict[str, Any] = {
        "start": first[0],
        "channels": first[1],
        "dims": len(first) - 2,
        "blocks": [blocks[number] for number in sorted(blocks)],
    }
    inner = shapes.get("encoder.denseblock1.denselayer1.layers.conv2.weight")
    if inner is not None:
        out |= {"growth": inner[0], "bottleneck": inner[1] // inner[0]}
    head = shapes.get("head.weight")
    if head is not None:
        out["num_classes"] = head[0]
    return out


LAYOUTS = (
    Layout(
        "DenseNet of torchvision",
        ("densenet-121",),
        marks=(r"^features\.denseblock1\.denselayer1\.norm\.?1\.weight", r"^features\.conv0\."),
        rename=(
            (r"^features\.", "encoder."),
            # files of torchvision before 0.3 have a point between name and number
            (r"(denselayer\d+)\.(norm|conv)\.?([12])\.", r"\1.layers.\2\3."),
            (r"^classifier\.", "head."),
        ),
        options=densenet_options,
    ),
    Layout(
        "DenseNet of MONAI",
        ("densenet-121",),
        marks=(r"^features\.denseblock1\.denselayer1\.layers\.norm1\.weight",),
        rename=((r"^features\.", "encoder."), (r"^class_layers\.out\.", "head.")),
        options=densenet_options,
    ),
)
