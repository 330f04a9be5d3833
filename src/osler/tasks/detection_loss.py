"""What a detector of centres learns from: a heatmap with a peak at each centre, sizes, offsets.

Sources: the heatmap's focal loss of Law & Deng 2018, "CornerNet", ECCV (equation 1, exponents 2 and
4); sizes and offsets at the centres of Zhou et al. 2019, "Objects as points", arXiv:1904.07850;
Gaussians as wide and as tall as the box of Liu et al. 2020, "Training-time-friendly network for
real-time object detection", AAAI; generalised IoU of Rezatofighi et al. 2019, CVPR.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

_EASY: Final = 2  # exponent that makes what is already right count less
_NEAR: Final = 4  # exponent that makes cells near a centre count less as background
_NARROWEST: Final = 0.4  # standard deviation of a peak, cells
_FAR: Final = 20.0  # of exponents, against overflow


def drawn(
    boxes: Any, classes: Any, *, grid: Sequence[int], labels: int, stride: int, spread: float
) -> tuple[Any, Any, Any]:
    """The heatmaps that boxes make.

    Args:
        boxes: ``(B, K, 2 n)`` pixels; may reach or lie beyond the image.
        classes: ``(B, K)``, below 0 for no box.
        grid: of the heatmap.
        labels: how many.
        stride: pixels a cell.
        spread: standard deviation of a peak, of the box's sides.

    Returns:
        heatmap ``(B, labels, *grid)``, 1 at centres only; the places of the boxes that count
        ``(P, 1 + n)``, image and cell; and their centres and sides ``(P, 2 n)`` in cells. Boxes
        whose centre lies beyond the image do not count but leave their slope in it, so that what
        is half seen is not background.
    """
    import torch

    n = len(grid)
    boxes = boxes.float()
    valid = (classes >= 0) & torch.isfinite(boxes).all(dim=2)
    boxes = torch.nan_to_num(boxes)
    centre = (boxes[..., :n] + boxes[..., n:]) / 2 / stride
    sides = ((boxes[..., n:] - boxes[..., :n]) / stride).clamp(min=1e-3)
    cell = centre.floor()
    sizes = torch.tensor(grid, device=boxes.device)
    inside = valid & (cell >= 0).all(dim=2) & (cell < sizes).all(dim=2)
    heat = torch.zeros(len(boxes), labels, *grid, device=boxes.device)
    for b in range(len(boxes)):
        own = valid[b]
        deviation = (spread * sides[b, own]).clamp(min=_NARROWEST)
        peak: Any = None
        for axis in range(n):
            place = torch.arange(grid[axis], device=boxes.device)
            away = (place - cell[b, own, axis, None]) / deviation[:, axis, None]
            slope = torch.exp(-(away**2) / 2)
            shape = [len(slope), *(1,) * n]
            shape[axis + 1] = grid[axis]
            peak = slope.view(shape) if peak is None else peak * slope.view(shape)
        for label in range(labels):
            chosen = classes[b, own] == label
            if bool(chosen.any()):
                heat[b, label] = peak[chosen].amax(dim=0)
    image, which = inside.nonzero(as_tuple=True)
    at = torch.cat([image[:, None], cell[image, which].long()], dim=1)
    kinds = classes[image, which].long()
    heat = heat.clamp(max=0.999)  # 1 is for centres alone
    heat[(at[:, 0], kinds, *at[:, 1:].T)] = 1.0
    return heat, at, torch.cat([centre, sides], dim=2)[image, which]


def detection_loss(
    outputs: Mapping[str, Any], targets: Mapping[str, Any], *, stride: int, unit: float,
    spread: float, sizes: str, weight: float,
) -> Any:  # fmt: skip
    """The loss of a batch.

    Args:
        outputs: ``heatmap``, ``size`` and ``offset`` as of a centre detector.
        targets: ``boxes``, ``classes``; ``known`` ``(B, L)``; ``ignore`` ``(B, 1, [D,] H, W)``
            where there are regions in which nothing is background.
        stride: pixels a cell.
        unit: of the sides, pixels.
        spread: see `drawn`.
        sizes: ``"l1"`` of the logarithms and offsets, or ``"giou"`` of the boxes.
        weight: of sizes and offsets beside the heatmap.
    """
    from torch.nn import functional

    scores = outputs["heatmap"].float()
    grid = tuple(scores.shape[2:])
    n = len(grid)
    heat, at, true = drawn(
        targets["boxes"], targets["classes"], grid=grid, labels=scores.shape[1], stride=stride,
        spread=spread,
    )  # fmt: skip
    known = targets["known"].float().view(*scores.shape[:2], *(1,) * n)
    counts = known.expand_as(scores)
    if "ignore" in targets:
        pool: Any = functional.max_pool2d if n == 2 else functional.max_pool3d
        counts = counts * (1 - pool(targets["ignore"].float(), stride, stride))
    p = scores.sigmoid()
    centres = (heat == 1).float()
    right = -((1 - p) ** _EASY) * functional.logsigmoid(scores) * centres * known
    wrong = -(p**_EASY) * functional.logsigmoid(-scores) * (1 - heat) ** _NEAR * counts
    total = (right + (1 - centres) * wrong).sum() / centres.sum().clamp(min=1)
    places = (at[:, 0], slice(None), *at[:, 1:].T)
    size, offset = outputs["size"].float()[places], outputs["offset"].float()[places]
    if not len(at):
        return total + 0 * (outputs["size"].sum() + outputs["offset"].sum())
    away, sides = true[:, :n] - at[:, 1:] - 0.5, true[:, n:]
    if sizes == "giou":
        said = (size.clamp(-_FAR, _FAR)).exp() * (unit / stride)
        loss = 1 - generalised_iou(offset, said, away, sides)
    else:
        wanted = (sides * (stride / unit)).log()
        loss = (size - wanted).abs().mean(dim=1) + (offset - away).abs().mean(dim=1)
    return total + weight * loss.mean()


def generalised_iou(centre: Any, sides: Any, other_centre: Any, other_sides: Any) -> Any:
    """Generalised intersection over union of boxes ``(P, n)``, -1 to 1, in any number of axes."""
    low, high = centre - sides / 2, centre + sides / 2
    other_low, other_high = other_centre - other_sides / 2, other_centre + other_sides / 2
    shared = (high.minimum(other_high) - low.maximum(other_low)).clamp(min=0).prod(dim=1)
    union = sides.prod(dim=1) + other_sides.prod(dim=1) - shared
    hull = (high.maximum(other_high) - low.minimum(other_low)).prod(dim=1)
    return shared / union.clamp(min=1e-9) - (hull - union) / hull.clamp(min=1e-9)
