"""What a student and its momentum teacher are compared by, and the schedules of both.

Pure functions of scores over learnt directions.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def cosine(
    step: int, *, steps: int, start: float, end: float, warmup: int = 0, begin: float = 0.0
) -> float:
    """Half a cosine from ``start`` to ``end`` after a straight rise from ``begin``.

    ``end + (start - end) (1 + cos(pi (s - w) / (S - w))) / 2``; the rise reaches ``start`` in its
    last step. It is the schedule of the momentum, the rate and the weight decay of DINO and iBOT.

    Args:
        step: from 0.
        steps: ``S``.
        start: value at the top of the cosine.
        end: value that it falls or rises to, one step after the last.
        warmup: ``w`` steps of the rise.
        begin: where the rise begins.
    """
    if step < warmup:
        return begin + (start - begin) * step / max(warmup - 1, 1)
    share = (step - warmup) / max(steps - warmup, 1)
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def targets(scores: Tensor, centre: Tensor, *, temperature: float) -> Tensor:
    """What a teacher says: sharpened scores from which the centre of all scores is taken.

    Source: Caron et al. 2021, "Emerging properties in self-supervised vision transformers" (DINO),
    ICCV, section 3.1.
    """
    return ((scores - centre) / temperature).softmax(dim=-1).detach()


def agreement(
    students: Sequence[Tensor], teachers: Sequence[Tensor], *, temperature: float
) -> Tensor:
    """The mean cross-entropy of each student's view with each teacher's other view (DINO).

    Args:
        students: scores ``(B, K)`` of each view; the first ones are those that the teacher saw.
        teachers: `targets` ``(B, K)`` of its views.
        temperature: of the students.
    """
    logs = [(one / temperature).log_softmax(dim=-1) for one in students]
    each = [
        -(target * log).sum(dim=-1).mean()
        for t, target in enumerate(teachers)
        for s, log in enumerate(logs)
        if s != t
    ]
    return torch.stack(each).mean()


def agreement_where_hidden(
    student: Tensor, teacher: Tensor, hidden: Tensor, *, temperature: float
) -> Tensor:
    """The cross-entropy of tokens that the student did not see, the mean over tokens and images.

    Source: Zhou et al. 2022, "iBOT: image BERT pre-training with online tokenizer", ICLR,
    equation 2.

    Args:
        student: scores ``(B, N, K)``.
        teacher: `targets` ``(B, N, K)``, of the whole image.
        hidden: ``(B, N)``, 1 where the student saw the mask.
        temperature: of the student.
    """
    each = -(teacher * (student / temperature).log_softmax(dim=-1)).sum(dim=-1)
    hidden = hidden.to(each.dtype)
    return ((each * hidden).sum(dim=1) / hidden.sum(dim=1).clamp(min=1)).mean()


def moved_centre(centre: Tensor, scores: Tensor, *, momentum: float) -> Tensor:
    """The running mean of a teacher's scores ``(..., K)``, which keeps one direction from winning.

    ``c <- m c + (1 - m) mean(scores)`` (DINO, equation 4).
    """
    return momentum * centre + (1 - momentum) * scores.detach().flatten(0, -2).mean(dim=0)
