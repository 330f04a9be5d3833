"""Losses of segmentation, with pixels that do not count left out."""

import torch
from torch import Tensor
from torch.nn import functional


def overlap(
    logits: Tensor,
    targets: Tensor,
    valid: Tensor,
    *,
    dice: float,
    positive: float,
    entropy_of_prevalence: Tensor | None = None,
) -> Tensor:
    """Cross-entropy a label plus soft Dice, for labels that may overlap.

    Args:
        logits: ``(B, L, H, W)``.
        targets: the same shape, 0 to 1.
        valid: the same shape, 1 where a pixel counts.
        dice: weight of the Dice loss (Milletari et al. 2016, "V-Net", 3DV).
        positive: weight of positive pixels in the cross-entropy.
        entropy_of_prevalence: ``(L,)``: the cross-entropy of each label is divided by it, so that a
            label of few pixels teaches as much as one of many (normalised entropy: He et al. 2014,
            "Practical lessons from predicting clicks on ads at Facebook", ADKDD); None leaves it.
    """
    logits = logits.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    weight = valid * (1 + (positive - 1) * targets)
    loss = (entropy * weight).sum((0, 2, 3)) / weight.sum((0, 2, 3)).clamp(min=1)
    if entropy_of_prevalence is not None:
        loss = loss / entropy_of_prevalence.to(loss.device)
    return loss.mean() + dice * _soft_dice(logits.sigmoid(), targets, valid)


def exclusive(
    logits: Tensor, targets: Tensor, valid: Tensor, *, dice: float, positive: float
) -> Tensor:
    """Cross-entropy over a background and labels that exclude each other, plus soft Dice.

    Args:
        logits: ``(B, 1 + L, H, W)``; the first is the background.
        targets: ``(B, L, H, W)``, 0 to 1.
        valid: ``(B, L, H, W)``; a pixel counts where all labels are known.
        dice: weight of the Dice loss.
        positive: weight of labelled pixels in the cross-entropy.
    """
    logits = logits.float()
    known = valid.amin(dim=1, keepdim=True)
    rest = (1 - targets.sum(dim=1, keepdim=True)).clamp(min=0)
    every = torch.cat([rest, targets], dim=1)
    every = every / every.sum(dim=1, keepdim=True)
    entropy = -(every * functional.log_softmax(logits, dim=1)).sum(dim=1, keepdim=True)
    weight = known * (1 + (positive - 1) * (1 - rest))
    loss = (entropy * weight).sum() / weight.sum().clamp(min=1)
    return loss + dice * _soft_dice(logits.softmax(dim=1)[:, 1:], targets, known.expand_as(targets))


def _soft_dice(probability: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """One minus soft Dice over the whole batch, mean over the labels that are in it."""
    dims = (0, 2, 3)
    probability, targets = probability * valid, targets * valid
    shared = (probability * targets).sum(dims)
    total = (probability + targets).sum(dims)
    present = (targets.sum(dims) > 1).float()
    loss = 1 - (2 * shared + 1) / (total + 1)
    return (loss * present).sum() / present.sum().clamp(min=1)
