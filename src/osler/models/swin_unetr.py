"""Swin UNETR of MONAI: a Swin tower over volumes and a U-Net's decoder.

Sources: Hatamizadeh et al. 2022, "Swin UNETR", BrainLes, arXiv:2201.01266; pretraining: Tang et
al. 2022, "Self-supervised pre-training of Swin transformers for 3D medical image analysis", CVPR.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Layout, Shapes


class SwinUNETR(nn.Module):
    """MONAI's network.

    Args:
        dims: 3 for volumes, 2 for pictures.
        channels: of the input.
        labels: scores a voxel, background included.
        width: of the first stage, a multiple of 12.
        depths: blocks a stage.
        num_heads: of attention, a stage.
        window: side of a window, in patches of 2 voxels.
        drop_path: greatest share of skipped blocks in training.
        second: a further convolution before each stage, as "Swin UNETR V2" has it.
    """

    def __init__(
        self,
        *,
        dims: int = 3,
        channels: int = 1,
        labels: int = 14,
        width: int = 48,
        depths: Sequence[int] = (2, 2, 2, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        drop_path: float = 0.0,
        second: bool = False,
    ) -> None:
        super().__init__()
        from monai.networks.nets.swin_unetr import SwinUNETR as Built

        wanted = torch.get_default_device()
        # MONAI reads numbers out of tensors while it builds, which the meta device has not
        with torch.device("cpu" if wanted.type == "meta" else wanted):
            built = Built(
                in_channels=channels,
                out_channels=labels,
                feature_size=width,
                depths=tuple(depths),
                num_heads=tuple(num_heads),
                window_size=window,
                dropout_path_rate=drop_path,
                spatial_dims=dims,
                use_v2=second,
            )
        self.net: Any = built.to(wanted)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The maps of the Swin tower at 1/2, 1/4, 1/8, 1/16 and 1/32."""
        return list(self.net.swinViT(x, self.net.normalize))

    def features(self, x: Tensor) -> Tensor:
        """The mean ``(B, 16 * width)`` of the deepest map."""
        return self.pyramid(x)[-1].flatten(2).mean(2)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, D, H, W)``, sides multiples of 32, to scores ``(B, labels, D, H, W)``.

        Raises:
            RecipeError: a side is no multiple of 32, or all of them are 32: the deepest map would
                have one voxel, which an instance norm cannot take.
        """
        sides = x.shape[2:]
        if any(side % 32 for side in sides) or all(side == 32 for side in sides):
            raise RecipeError(
                f"Swin UNETR takes sides that are multiples of 32 and not all 32, not "
                f"{' x '.join(map(str, sides))}; pad the input"
            )
        # MONAI's own forward checks sizes with numpy, which cannot be exported
        net = self.net
        one, two, three, four, five = self.pyramid(x)
        first = net.encoder1(x)
        up = net.decoder5(net.encoder10(five), four)
        up = net.decoder4(up, net.encoder4(three))
        up = net.decoder3(up, net.encoder3(two))
        up = net.decoder2(up, net.encoder2(one))
        return net.out(net.decoder1(up, first))


def swin_unetr_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes (in our names) tell, heads and window included."""
    patch = shapes.get("net.swinViT.patch_embed.proj.weight")
    if patch is None:
        return {}
    dims = len(patch) - 2
    out: dict[str, Any] = {"width": patch[0], "channels": patch[1], "dims": dims}
    heads, depths = [], []
    for stage in range(1, 5):
        start = f"net.swinViT.layers{stage}.0.blocks."
        table = shapes.get(f"{start}0.attn.relative_position_bias_table")
        if table is None:
            break
        heads.append(table[1])
        blocks = {name.removeprefix(start).split(".")[0] for name in shapes if start in name}
        depths.append(len(blocks))
        out["window"] = (round(table[0] ** (1 / dims)) + 1) // 2
    if heads:
        out |= {"num_heads": heads, "depths": depths}
    if any("swinViT.layers1c" in name for name in shapes):
        out["second"] = True
    head = shapes.get("net.out.conv.conv.weight")
    if head is not None:
        out["labels"] = head[0]
    return out


LAYOUTS = (
    Layout(
        "Swin UNETR of MONAI",
        ("swin-unetr",),
        marks=(r"^swinViT\.patch_embed\.proj\.", r"^decoder1\.", r"^out\.conv\."),
        rename=((r"^", "net."), (r"\.mlp\.fc([12])\.", r".mlp.linear\1.")),
        heads=(r"^net\.out\.",),
        options=swin_unetr_options,
    ),
    Layout(
        "the tower alone, pretrained by itself",
        ("swin-unetr",),
        marks=(r"^(swinViT\.)?layers1\.0\.blocks\.0\.attn\.qkv\.", r"^(swinViT\.)?patch_embed\."),
        without=(r"^decoder1\.", r"^layers\.0\.0"),
        strip=("swinViT.",),
        # the norm after the last stage and the heads of the pretraining's tasks have no place here
        drop=(
            r"^norm\.",
            r"^(rotation_(pre|head)|contrastive_(pre|head)|conv|encoder|decoder)",
        ),
        rename=((r"^", "net.swinViT."), (r"\.mlp\.fc([12])\.", r".mlp.linear\1.")),
        heads=(r"^net\.(encoder\d+|decoder\d|out)\.",),
        options=swin_unetr_options,
    ),
)

SIZES = {"swin-unetr": [(64, 32, 32)]}


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """A volume of the least size."""
    generator = torch.Generator().manual_seed(0)
    sides = size or (32, 32, 64)
    return {"x": torch.rand(batch, options["channels"], *sides, generator=generator)}
