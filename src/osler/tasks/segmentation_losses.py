"""Losses of segmentation, of which a recipe names one: ``settings.loss``.

All are of probabilities ``p`` and the truth ``t``, ``(B, L, ...)``; what is not known has been set
to 0 in both. Torch is imported where it is needed, since tasks are read without it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from torch import Tensor

Loss = Literal[
    "dice",
    "squared-dice",
    "half-dice",
    "generalised-dice",
    "weighted-dice",
    "dice-focal",
    "cl-dice",
]
"""What stands beside, or in the place of, cross-entropy."""

SKELETON: Final = 3
"""Rounds of thinning: half the width of what is thin, in voxels."""


def dice(p: "Tensor", t: "Tensor") -> "Tensor":
    """``1 - 2 sum(p t) / (sum(p) + sum(t))`` over the batch, mean over the labels that are in it.

    Milletari et al. 2016, "V-Net", 3DV, without the squares.
    """
    axes = _axes(p)
    shared, sizes = (p * t).sum(axes), (p + t).sum(axes)
    loss = 1 - (2 * shared + 1e-5) / (sizes + 1e-5)
    present = (t.sum(axes) > 0).to(loss.dtype)
    return (loss * present).sum() / present.sum().clamp(min=1)


def squared_dice(p: "Tensor", t: "Tensor") -> "Tensor":
    """``1 - 2 sum(p t) / (sum(p^2) + sum(t^2))`` over the batch, mean over labels.

    As TransUNet has it (Chen et al. 2021, arXiv:2102.04306, the released code).
    """
    axes = _axes(p)
    shared, sizes = (p * t).sum(axes), (p * p).sum(axes) + (t * t).sum(axes)
    return (1 - (2 * shared + 1e-5) / (sizes + 1e-5)).mean()


def case_dice(p: "Tensor", t: "Tensor", *, squared: bool = False) -> "Tensor":
    """``1 - 2 sum(p t) / (sum(p) + sum(t))`` of each case and label, mean over both, as in MONAI.

    Args:
        p: probabilities.
        t: truth.
        squared: ``p^2`` and ``t^2`` below the line, as MedSAM has it (Ma et al. 2024, Nature
            Communications 15).
    """
    axes = tuple(range(2, p.ndim))
    shared, sizes = (p * t).sum(axes), (p * p + t * t if squared else p + t).sum(axes)
    return (1 - (2 * shared + 1e-5) / (sizes + 1e-5)).mean()


def generalised_dice(p: "Tensor", t: "Tensor") -> "Tensor":
    """One ratio over all labels of a case, each by one over its squared volume; mean over cases.

    Sudre et al. 2017, "Generalised Dice overlap as a deep learning loss function for highly
    unbalanced segmentations", DLMIA. A label that a case lacks weighs as the heaviest of those
    that it has, as in MONAI.
    """
    import torch

    axes = tuple(range(2, p.ndim))
    shared, sizes, volume = (p * t).sum(axes), (p + t).sum(axes), t.sum(axes)
    weight = 1 / (volume * volume)
    finite = torch.where(torch.isinf(weight), torch.zeros_like(weight), weight)
    heaviest = finite.amax(dim=1, keepdim=True).expand_as(weight)
    weight = torch.where(torch.isinf(weight), heaviest, weight)
    above = 2 * (shared * weight).sum(dim=1) + 1e-5
    return (1 - above / ((sizes * weight).sum(dim=1) + 1e-5)).mean()


def weighted_entropy(p: "Tensor", t: "Tensor") -> "Tensor":
    """``-(1 - f) t log max(p, 0.005)``, summed over classes, mean over voxels and cases.

    ``f`` is the share of a case's voxels that are of the class. As mmFormer has it (Zhang et al.
    2022, MICCAI, the released code).
    """
    axes = tuple(range(2, p.ndim))
    share = t.sum(axes, keepdim=True) / t.sum((1, *axes), keepdim=True).clamp(min=1)
    entropies = -((1 - share) * t * p.clamp(min=0.005).log()).sum(dim=1)
    return entropies.sum() / t.sum().clamp(min=1)


def every_dice(p: "Tensor", t: "Tensor") -> "Tensor":
    """``1 - 2 sum(p t) / (sum(p) + sum(t))`` over the batch, mean over all labels, as mmFormer."""
    axes = _axes(p)
    return (1 - 2 * (p * t).sum(axes) / ((p + t).sum(axes) + 1e-7)).mean()


def focal(entropy: "Tensor", gamma: float = 2.0) -> "Tensor":
    """Cross-entropies, each by ``(1 - p)^gamma`` of the probability of what is true.

    Lin et al. 2017, "Focal loss for dense object detection", ICCV, without its balance of classes.
    """
    import torch

    return (1 - torch.exp(-entropy)) ** gamma * entropy


def cl_dice(p: "Tensor", t: "Tensor", rounds: int = SKELETON) -> "Tensor":
    """One minus the harmonic mean of how much of each skeleton lies in the other's structure.

    Shit et al. 2021, "clDice - a novel topology-preserving loss function for tubular structure
    segmentation", CVPR, equations 1 to 3, over the whole batch with 1 added above and below.
    """
    ours, theirs = soft_skeleton(p, rounds), soft_skeleton(t, rounds)
    precision = ((ours * t).sum() + 1) / (ours.sum() + 1)
    recall = ((theirs * p).sum() + 1) / (theirs.sum() + 1)
    return 1 - 2 * precision * recall / (precision + recall)


def soft_skeleton(image: "Tensor", rounds: int = SKELETON) -> "Tensor":
    """What thinning leaves of ``(B, L, [D,] H, W)``, algorithm 1 of the same."""
    from torch.nn import functional

    def opened(image: "Tensor") -> "Tensor":
        return _widest(_eroded(image))

    skeleton = functional.relu(image - opened(image))
    for _ in range(rounds):
        image = _eroded(image)
        more = functional.relu(image - opened(image))
        skeleton = skeleton + functional.relu(more - skeleton * more)
    return skeleton


def _eroded(image: "Tensor") -> "Tensor":
    """The least of each voxel and its neighbours along the axes."""
    import torch
    from torch.nn import functional

    count = image.ndim - 2
    pool = functional.max_pool2d if count == 2 else functional.max_pool3d
    out = None
    for axis in range(count):
        size = tuple(3 if one == axis else 1 for one in range(count))
        around = tuple(one // 2 for one in size)
        least = -pool(-image, size, stride=1, padding=around)
        out = least if out is None else torch.minimum(out, least)
    assert out is not None
    return out


def _widest(image: "Tensor") -> "Tensor":
    """The greatest of each voxel and all its neighbours."""
    from torch.nn import functional

    pool = functional.max_pool2d if image.ndim == 4 else functional.max_pool3d
    return pool(image, 3, stride=1, padding=1)


def _axes(p: "Tensor") -> tuple[int, ...]:
    return (0, *range(2, p.ndim))


def shares_of(deep: "Sequence[Tensor]") -> list[float]:
    """What each of several answers of a network counts, together 1.

    Half as much a scale; what is of the finest's size, such as the scores from one input alone of
    mmFormer, counts as much as that.
    """
    shares = [1.0 if one.shape == deep[0].shape else 0.5**k for k, one in enumerate(deep)]
    return [one / sum(shares) for one in shares]


def named_loss(
    scores: "Tensor", labels: "Tensor", *, overlapping: bool, loss: Loss, weight: float
) -> "Tensor":
    """What a recipe names under ``loss``.

    With ``w`` of ``settings.dice``: ``dice`` is cross-entropy + w Dice over the batch;
    ``squared-dice`` cross-entropy + w Dice of each case with squares, as MedSAM; ``half-dice``
    (cross-entropy + w Dice with squares) / 2, as TransUNet; ``generalised-dice`` cross-entropy + w
    generalised Dice; ``weighted-dice`` cross-entropy in which a class counts the more the less of
    a case it fills + w Dice of every label, as mmFormer; ``dice-focal`` the focal loss of every
    label + w Dice of each case, as VisionFM; ``cl-dice`` cross-entropy + w (Dice + clDice) / 2, for
    thin structures. Where labels exclude each other, all but ``dice`` and ``cl-dice`` count the
    background as a label.

    Args:
        scores: ``(B, L, ...)``, or ``(B, 1 + L, ...)`` of labels that exclude each other.
        labels: ``(B, L, ...)`` of 0, 1 and 2 (not known), or ``(B, 1, ...)`` of numbers.
        overlapping: labels may share voxels.
        loss: see above.
        weight: ``w``, ``settings.dice``.
    """
    import torch
    from torch.nn import functional

    every_entropy = functional.binary_cross_entropy_with_logits
    if overlapping:
        known = (labels < 1.5).to(scores.dtype)
        truth = (labels > 0.5).to(scores.dtype) * known
        entropies = every_entropy(scores, truth, reduction="none")
        entropy = (entropies * known).sum() / known.sum().clamp(min=1)
        p, whole, every = scores.sigmoid() * known, scores.sigmoid() * known, truth
    else:
        index = labels[:, 0].long()
        entropy = functional.cross_entropy(scores, index)
        every = functional.one_hot(index, scores.shape[1]).movedim(-1, 1).to(scores.dtype)
        known, whole = every.new_ones(()).expand_as(every), scores.softmax(dim=1)
        p, truth = whole[:, 1:], every[:, 1:]
    if loss == "squared-dice":
        return entropy + weight * case_dice(whole, every, squared=True)
    if loss == "half-dice":
        return (entropy + weight * squared_dice(whole, every)) / 2
    if loss == "generalised-dice":
        return entropy + weight * generalised_dice(whole, every)
    if loss == "weighted-dice":
        if not overlapping:
            return weighted_entropy(whole, every) + weight * every_dice(whole, every)
        parts = [  # each label is a question of yes and no
            weighted_entropy(
                torch.cat([1 - p[:, k : k + 1], p[:, k : k + 1]], dim=1),
                torch.cat([(known - truth)[:, k : k + 1], truth[:, k : k + 1]], dim=1),
            )
            for k in range(p.shape[1])
        ]
        return torch.stack(parts).mean() + weight * every_dice(p, truth)
    if loss == "dice-focal":
        hard = focal(every_entropy(scores, every, reduction="none")) * known
        return hard.sum() / known.sum().clamp(min=1) + weight * case_dice(whole, every)
    if loss == "cl-dice":
        return entropy + weight * (dice(p, truth) + cl_dice(p, truth)) / 2
    return entropy + weight * dice(p, truth)
