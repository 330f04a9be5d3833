"""Images and label maps moved along warps, each interpolated once.

On a processor a volume takes a road of its own. ``grid_sample`` is vectorised there for pictures
and not for volumes, so the volume is laid out as a mosaic of its slices, with each slice's next one
as a second channel: one sampling of the mosaic gives both neighbours along the depth, which are
then mixed. Slab by slab, the coordinates stay in the processor's cache.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from osler.learn.augmenting_space import Floats, Warp

_SLAB: Final = 131_072  # voxels moved at a time
_WHOLE: Final = 2**24  # up to here float32 holds every integer
_EDGE: Final = 1e-3  # pixels that rounding may put a place beyond the edge


def resample(
    images: Tensor,
    masks: Tensor | None,
    warps: Sequence[Warp],
    *,
    outside: str = "edge",
    labels: str = "nearest",
) -> tuple[Tensor, Tensor | None]:
    """Move images and masks along warps.

    Args:
        images: ``(B, C, [D,] H, W)``, floating point.
        masks: ``(B, L, [D,] H, W)``: whole numbers and truth values are labels, floating point is
            interpolated linearly.
        warps: one for each of the ``B``.
        outside: ``edge``: what lies beyond the image is as its edge; ``zero``: it is zero.
        labels: how labels are interpolated: ``nearest``, or ``linear``: the label whose
            indicator is largest, the smaller of two that tie.

    Returns:
        new tensors of the same types.

    Raises:
        ValueError: a label is too large to be moved exactly.
    """
    turns = [warp.turn() for warp in warps]
    moved = [b for b, turn in enumerate(turns) if turn is None]
    one_by_one = images.device.type == "cpu" and images.ndim == 5
    if len(moved) == len(warps) and not (one_by_one and len(moved) > 1):
        return _moved(images, masks, warps, outside, labels)
    out, out_masks = torch.empty_like(images), None if masks is None else torch.empty_like(masks)
    for b, turn in enumerate(turns):
        if turn is not None:
            _turn(images[b], out[b], turn)
            if masks is not None and out_masks is not None:
                _turn(masks[b], out_masks[b], turn)
    for group in [[b] for b in moved] if one_by_one else [moved] * bool(moved):
        chosen = [warps[b] for b in group]
        own = None if masks is None else masks[group]
        out[group], new_masks = _moved(images[group], own, chosen, outside, labels)
        if out_masks is not None and new_masks is not None:
            out_masks[group] = new_masks
    return out, out_masks


def _moved(
    images: Tensor, masks: Tensor | None, warps: Sequence[Warp], outside: str, labels: str
) -> tuple[Tensor, Tensor | None]:
    """All of them interpolated."""
    if masks is None or (labels == "linear" and not masks.is_floating_point()):
        (image,) = _sample([images], ["bilinear"], warps, outside)
        return image.to(images.dtype), None if masks is None else _largest(masks, warps, outside)
    mode = "bilinear" if masks.is_floating_point() else "nearest"
    image, mask = _sample([images, _exactly(masks)], ["bilinear", mode], warps, outside)
    return image.to(images.dtype), mask.to(masks.dtype)


def _turn(old: Tensor, new: Tensor, turn: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    order, mirrored = turn
    new.copy_(old.permute(0, *[a + 1 for a in order]).flip([a + 1 for a in mirrored]))


def _exactly(masks: Tensor) -> Tensor:
    if masks.dtype in (torch.int32, torch.int64) and masks.abs().max() >= _WHOLE:
        raise ValueError(f"a label is {_WHOLE} or more, too large to be moved exactly; renumber")
    return masks


def _largest(masks: Tensor, warps: Sequence[Warp], outside: str) -> Tensor:
    """The label whose indicator, interpolated linearly, is largest."""
    best = torch.full(masks.shape, -1.0, device=masks.device)
    out = torch.zeros_like(masks)
    for value in torch.unique(masks):
        (share,) = _sample([masks == value], ["bilinear"], warps, "edge")
        out.masked_fill_(share > best + 1e-6, value)  # rounding decides nothing
        torch.maximum(best, share, out=best)
    if outside == "zero":
        (inside,) = _sample([torch.ones_like(masks)], ["nearest"], warps, outside)
        out *= inside.to(out.dtype)
    return out


def _sample(
    layers: Sequence[Tensor], modes: Sequence[str], warps: Sequence[Warp], outside: str
) -> list[Tensor]:
    """Layers ``(B, C, *shape)`` moved along the warps, float32."""
    real = [layer.float() for layer in layers]
    device, shape = real[0].device, real[0].shape[2:]
    splines = [warp.spline() for warp in warps]
    if device.type == "cpu" and len(shape) == 3 and shape[0] > 1:
        control, bases = splines[0]
        return _through_mosaic(real, modes, control, [_tensor(w) for w in bases], outside)
    return _at_once(real, modes, splines, outside)


def _at_once(
    layers: Sequence[Tensor],
    modes: Sequence[str],
    splines: Sequence[tuple[Floats, list[Floats]]],
    outside: str,
) -> list[Tensor]:
    """Layers ``(B, C, *shape)`` along a map each: pictures, and volumes on a graphics card."""
    device, shape = layers[0].device, layers[0].shape[2:]
    grid = torch.stack([
        _grid(_tensor(_scaled(control, shape), device), [_tensor(w, device) for w in bases])
        for control, bases in splines
    ])  # fmt: skip
    out = [
        functional.grid_sample(
            layer, grid.movedim(1, -1), mode=mode, padding_mode="border", align_corners=False
        )
        for layer, mode in zip(layers, modes, strict=True)
    ]
    if outside == "zero":
        sides = torch.tensor(shape[::-1], device=device).reshape(-1, *[1] * len(shape))
        inside = ((grid * sides).abs() <= sides - 1 + _EDGE).all(dim=1, keepdim=True)
        out = [one * inside for one in out]
    return out


def _tensor(array: Floats, device: torch.device | None = None) -> Tensor:
    """In float32, or float64 where products of float32 may be rounded to fewer digits.

    With 10 bits (TF32) or 8 (bfloat16), places would be wrong by tenths of a voxel or by voxels.
    """
    tensor = torch.from_numpy(array).to(device)
    return tensor.float() if torch.get_float32_matmul_precision() == "highest" else tensor


def _scaled(control: Floats, sides: Sequence[int]) -> Floats:
    """Indices as ``grid_sample`` counts them: -1 to 1 between outer edges, the last axis first."""
    lines = [(2 * line + 1) / side - 1 for line, side in zip(control, sides, strict=True)]
    return np.stack(lines[::-1])


def _grid(control: Tensor, bases: Sequence[Tensor]) -> Tensor:
    """``(n, *shape)`` from control points ``(n, *K)`` and weights ``(N, K)`` of the axes."""
    out = control
    for axis in reversed(range(len(bases))):
        out = torch.tensordot(out, bases[axis], dims=([axis + 1], [1])).movedim(-1, axis + 1)
    return out.float()


def _through_mosaic(
    layers: Sequence[Tensor],
    modes: Sequence[str],
    control: Floats,
    bases: Sequence[Tensor],
    outside: str,
) -> list[Tensor]:
    """Layers ``(1, C, D, H, W)`` along one map, on a processor."""
    depth, height, width = layers[0].shape[2:]
    across = min(depth, max(1, round(math.sqrt(depth * height / width))))  # slices side by side
    down = -(-depth // across)
    mosaics = [_mosaic(layer[0], down, across) for layer in layers]
    out = [torch.empty_like(layer) for layer in layers]
    plane = _scaled(control[1:], (down * height, across * width))
    lines = _tensor(np.stack([*plane, control[0]]))
    for axis in (2, 1):  # width and height once, depth slab by slab
        lines = torch.tensordot(lines, bases[axis], dims=([axis + 1], [1])).movedim(-1, axis + 1)
    lines = lines.flatten(2).contiguous()
    ends = [_ends(n, k) for n, k in ((width, across), (height, down))]
    slab = max(1, _SLAB // (height * width))
    for first in range(0, depth, slab):
        last = min(depth, first + slab)
        places = torch.matmul(bases[0][first:last], lines).float()  # (3, slices, H W): x, y, z
        x, y, z = places
        inside = _inside(places, ends, depth) if outside == "zero" else None
        x.clamp_(*ends[0])
        y.clamp_(*ends[1])
        z.clamp_(0, depth - 1)
        whole = z.floor().clamp_(max=depth - 2)
        z -= whole  # how far to the next slice
        row = whole.add(0.5).mul_(1 / across).floor_()
        y.add_(row, alpha=2 / down)
        x.add_(whole.sub_(row, alpha=across), alpha=2 / across)
        size = ((last - first) * height, width)
        grid = places[:2].view(2, 1, *size).permute(1, 2, 3, 0)
        far = z.view(*size)
        for mosaic, mode, new in zip(mosaics, modes, out, strict=True):
            found = functional.grid_sample(
                mosaic, grid, mode=mode, padding_mode="border", align_corners=False
            )
            here, following = found[0].chunk(2)
            target = new[0, :, first:last].view(-1, *size)
            if mode == "bilinear":
                torch.lerp(here, following, far, out=target)
            else:
                torch.where(far < 0.5, here, following, out=target)
            if inside is not None:
                target *= inside.view(*size)
    return out


def _mosaic(layer: Tensor, down: int, across: int) -> Tensor:
    """``(1, 2 C, down H, across W)``: slices in rows; their next ones as further channels."""
    channels, _, height, width = layer.shape
    out = layer.new_empty(2, channels, down, height, across, width)
    for nth in range(2):
        for row in range(down):
            slices = layer[:, row * across + nth : (row + 1) * across + nth]
            there = slices.shape[1]
            out[nth, :, row, :, :there] = slices.transpose(1, 2)
            out[nth, :, row, :, there:] = 0  # a rounding's weight of what lies there is not none
    return out.view(1, 2 * channels, down * height, across * width)


def _ends(side: int, tiles: int) -> tuple[float, float]:
    """Where the first of a row of tiles starts and ends, from its outer pixels' centres.

    A little inside: rounding must not mix in the neighbouring tile.
    """
    slack = tiles * side * 2.0**-22
    return (1 + 2 * slack) / (tiles * side) - 1, (2 * (side - slack) - 1) / (tiles * side) - 1


def _inside(places: Tensor, ends: Sequence[tuple[float, float]], depth: int) -> Tensor:
    x, y, z = places
    near: Tensor = (z >= -_EDGE) & (z <= depth - 1 + _EDGE)
    for line, (low, high) in zip((x, y), ends, strict=True):
        slack = _EDGE * (low + 1)  # low + 1 is half a pixel
        near &= (line >= low - slack) & (line <= high + slack)
    return near
