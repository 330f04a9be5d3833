"""MONAI's U-Net with residual units, of pictures or volumes: the network of most MONAI bundles.

Sources: Ronneberger et al. 2015, "U-Net", MICCAI; Kerfoot et al. 2019, "Left-ventricle
quantification using residual U-Net", STACOM.
"""

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from osler.models.checkpoints.layout import Layout, Shapes


class MonaiUNet(nn.Module):
    """MONAI's ``UNet``, under the names of its own files.

    Args:
        dims: 2 for pictures, 3 for volumes.
        channels: of the input.
        labels: scores a pixel, background included.
        widths: of the levels.
        strides: between them; one less than widths.
        units: residual units a level; 0 has plain convolutions.
        norm: ``batch`` or ``instance``.
        dropout: share of numbers dropped after each convolution in training.
    """

    def __init__(
        self,
        *,
        dims: int = 2,
        channels: int = 1,
        labels: int = 2,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        strides: Sequence[int] | None = None,
        units: int = 2,
        norm: Literal["batch", "instance"] = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        from monai.networks.nets.unet import UNet

        built = UNet(
            spatial_dims=dims,
            in_channels=channels,
            out_channels=labels,
            channels=tuple(widths),
            strides=tuple(strides or [2] * (len(widths) - 1)),
            num_res_units=units,
            norm=norm,
            dropout=dropout,
        )
        self.model = built.model

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` or ``(B, C, D, H, W)`` to scores of that size."""
        return self.model(x)


def flat(**options: Any) -> MonaiUNet:
    """Of pictures; options of ``MonaiUNet``."""
    return MonaiUNet(**{"dims": 2, **options})


def deep(**options: Any) -> MonaiUNet:
    """Of volumes; options of ``MonaiUNet``."""
    return MonaiUNet(**{"dims": 3, **options})


def unet_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes tell; strides cannot be seen."""
    first = shapes.get("model.0.conv.unit0.conv.weight") or shapes.get("model.0.conv.weight")
    if first is None:
        return {}
    widths, prefix = [first[0]], "model.1.submodule."
    while True:
        down = shapes.get(f"{prefix}0.conv.unit0.conv.weight") or shapes.get(
            f"{prefix}0.conv.weight"
        )
        if down is None:
            break
        widths.append(down[0])
        prefix += "1.submodule."
    bottom = shapes.get(f"{prefix}conv.unit0.conv.weight") or shapes.get(f"{prefix}conv.weight")
    if bottom is None:
        return {}
    units = 0
    while f"model.0.conv.unit{units}.conv.weight" in shapes:
        units += 1
    norms = any(".adn.N.weight" in name for name in shapes)
    out: dict[str, Any] = {
        "dims": len(first) - 2,
        "channels": first[1],
        "widths": [*widths, bottom[0]],
        "units": units,
        "norm": "batch" if norms else "instance",
    }
    up = shapes.get("model.2.0.conv.weight") or shapes.get("model.2.conv.weight")
    if up is not None:
        out["labels"] = up[1]  # of a transposed convolution
    return out


_NAMES = ("monai-unet", "monai-unet-3d")

LAYOUTS = tuple(
    Layout(
        name,
        _NAMES,
        marks=(rf"^model\.0\.conv\.{unit}weight", r"^model\.1\.submodule\."),
        heads=(r"^model\.2\.",),
        options=unet_options,
    )
    for name, unit in (("MONAI, residual", r"unit0\.conv\."), ("MONAI, plain", ""))
)

SIZES = {"monai-unet-3d": [(8, 16, 12)]}
