"""Registration: which displacement brings one picture or volume onto another.

Displacements are in voxels, channel by channel in the order of the axes: ``displacement[:, 0]``
moves along the first axis. ``warped(x) = moving(x + displacement(x))``.

Sources: (1) Balakrishnan et al. 2019, "VoxelMorph", IEEE TMI, doi:10.1109/TMI.2019.2897538; (2)
Dalca et al. 2019, "Unsupervised learning of probabilistic diffeomorphic registration for images
and surfaces", MedIA; (3) Arsigny et al. 2006, "A log-Euclidean framework for statistics on
diffeomorphisms", MICCAI (scaling and squaring).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Layout, Shapes


class Registered(NamedTuple):
    """The moving picture warped, the displacement in voxels, and the velocity it came from."""

    warped: Tensor
    displacement: Tensor
    velocity: Tensor


class VoxelMorph(nn.Module):
    """MONAI's U-Net of VoxelMorph, and a velocity that is integrated here.

    MONAI's own class scales displacements by 2 where it halves the resolution, and takes only
    volumes then; here they are halved with it.

    Args:
        dims: 2 for pictures, 3 for volumes.
        channels: of each of the two pictures.
        widths: of the U-Net, in pairs of down and up, from the outside in.
        last: width after the U-Net.
        final: widths of the convolutions after it.
        steps: squarings of the integration; 0 takes the velocity for the displacement.
        half: integrate at half the resolution.
    """

    def __init__(
        self,
        *,
        dims: int = 3,
        channels: int = 1,
        widths: Sequence[int] = (16, 32, 32, 32, 32, 32),
        last: int = 32,
        final: Sequence[int] = (16, 16),
        steps: int = 7,
        half: bool = False,
    ) -> None:
        if len(widths) % 2:
            raise ValueError(f"widths has {len(widths)} numbers, and takes pairs of down and up")
        super().__init__()
        from monai.networks.nets.voxelmorph import VoxelMorphUNet

        self.dims, self.steps, self.half = dims, steps, half
        self.levels = len(widths) // 2
        self.backbone = VoxelMorphUNet(
            spatial_dims=dims,
            in_channels=2 * channels,
            unet_out_channels=last,
            channels=tuple(widths),
            final_conv_channels=tuple(final),
        )

    def forward(self, moving: Tensor, fixed: Tensor) -> Registered:
        """Two pictures ``(B, C, H, W)`` or volumes ``(B, C, D, H, W)`` of one size."""
        step = 2**self.levels
        if moving.shape != fixed.shape or any(side % step for side in moving.shape[2:]):
            raise RecipeError(
                f"two pictures of one size in multiples of {step} are registered, not "
                f"{tuple(moving.shape)} and {tuple(fixed.shape)}; resample and pad them"
            )
        velocity = self.backbone(torch.cat([moving, fixed], dim=1))
        if self.half:
            velocity = _resized(velocity, 0.5)
        displacement = integrate(velocity, self.steps) if self.steps else velocity
        if self.half:
            displacement = _resized(displacement, 2.0)
        return Registered(warp(moving, displacement), displacement, velocity)


def _resized(field: Tensor, factor: float) -> Tensor:
    mode = "bilinear" if field.ndim == 4 else "trilinear"
    sides = [round(side * factor) for side in field.shape[2:]]
    # lengths in voxels change with the voxels
    return factor * functional.interpolate(field, size=sides, mode=mode, align_corners=True)


def warp(picture: Tensor, displacement: Tensor) -> Tensor:
    """A picture ``(B, C, [D,] H, W)`` seen through a displacement ``(B, dims, [D,] H, W)``.

    Linear between voxels; 0 outside.
    """
    sides = picture.shape[2:]
    axes = [
        torch.arange(side, dtype=displacement.dtype, device=displacement.device) for side in sides
    ]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij")) + displacement
    scaled = [2 * places[:, axis] / max(side - 1, 1) - 1 for axis, side in enumerate(sides)]
    # grid_sample wants x before y before z
    grid = torch.stack(scaled[::-1], dim=-1)
    return functional.grid_sample(
        picture, grid, mode="bilinear", padding_mode="zeros", align_corners=True
    )


def integrate(velocity: Tensor, steps: int = 7) -> Tensor:
    """The displacement after unit time along a velocity that stands still (source 3).

    Args:
        velocity: ``(B, dims, [D,] H, W)``, voxels.
        steps: squarings; the velocity is first divided by ``2 ** steps``.
    """
    displacement = velocity / 2**steps
    for _ in range(steps):
        displacement = displacement + warp(displacement, displacement)
    return displacement


def jacobian(displacement: Tensor) -> Tensor:
    """Determinant of the Jacobian of ``x + displacement(x)``, between voxels, by differences.

    Args:
        displacement: ``(B, dims, [D,] H, W)``, voxels.

    Returns:
        ``(B, [D-1,] H-1, W-1)``; 1 where volume is kept, 0 or less where space is folded.
    """
    dims = displacement.shape[1]
    inner = tuple(slice(0, -1) for _ in range(dims))
    columns = [
        displacement.diff(dim=2 + axis)[(slice(None), slice(None), *_except(inner, axis))]
        for axis in range(dims)
    ]
    matrix = torch.stack(columns, dim=-1).movedim(1, -2)
    return torch.linalg.det(matrix + torch.eye(dims, dtype=matrix.dtype, device=matrix.device))


def _except(inner: tuple[slice, ...], axis: int) -> tuple[slice, ...]:
    return (*inner[:axis], slice(None), *inner[axis + 1 :])


def folded(displacement: Tensor) -> Tensor:
    """How many places ``(B,)`` are folded: where the Jacobian's determinant is 0 or less."""
    return (jacobian(displacement) <= 0).flatten(1).sum(1)


def voxelmorph_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes (in our names) tell."""
    first = shapes.get("backbone.net.0.0.conv.weight")
    last = shapes.get("backbone.net.0.2.conv.weight")
    if first is None or last is None:
        return {}
    downs, ups = [first[0]], []
    prefix = "backbone.net.0.1.submodule."
    while f"{prefix}0.1.conv.weight" in shapes and f"{prefix}2.0.conv.weight" in shapes:
        downs.append(shapes[f"{prefix}0.1.conv.weight"][0])
        ups.append(shapes[f"{prefix}2.0.conv.weight"][0])
        prefix += "1.submodule."
    bottom = shapes.get(f"{prefix}0.1.conv.weight")
    final = []
    while (name := f"backbone.net.1.final_conv_{len(final)}.conv.weight") in shapes:
        final.append(shapes[name][0])
    out: dict[str, Any] = {
        "dims": len(first) - 2,
        "channels": first[1] // 2,
        "last": last[0],
        "final": final,
    }
    if bottom is not None:
        pairs = zip(downs, [*ups, bottom[0]], strict=True)
        out["widths"] = [width for pair in pairs for width in pair]
    return out


_NAMES = ("voxelmorph", "voxelmorph-2d")

LAYOUTS = (
    Layout(
        "VoxelMorph of MONAI",
        _NAMES,
        marks=(r"^backbone\.net\.0\.0\.conv\.weight", r"^backbone\.net\.1\.final_conv_out\."),
        heads=(),
        options=voxelmorph_options,
    ),
)

SIZES = {"voxelmorph": [(16, 8, 24)], "voxelmorph-2d": [(16, 24)]}


def flat(**options: Any) -> VoxelMorph:
    """Of pictures; options of ``VoxelMorph``."""
    return VoxelMorph(**{"dims": 2, **options})


def deep(**options: Any) -> VoxelMorph:
    """Of volumes; options of ``VoxelMorph``."""
    return VoxelMorph(**{"dims": 3, **options})


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """Two smooth pictures."""
    generator = torch.Generator().manual_seed(0)
    dims = options.get("dims", 2 if name.endswith("2d") else 3)
    sides = size or (32,) * dims
    two = torch.rand(2, batch, options.get("channels", 1), *sides, generator=generator)
    return {"moving": two[0], "fixed": two[1]}
