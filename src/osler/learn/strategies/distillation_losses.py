"""What a student lacks of its teacher: in scores, in features, and in relations between cases."""

import torch
from torch import Tensor
from torch.nn import functional


def score_distance(student: Tensor, teacher: Tensor, activation: str, temperature: float) -> Tensor:
    r"""How far the student's probabilities are from the teacher's, softened.

    :math:`\tau^2\,\mathrm{KL}(\sigma(t/\tau)\,\|\,\sigma(s/\tau))`, mean over cases and positions:
    the factor keeps gradients of one size at any temperature (Hinton, Vinyals & Dean 2015,
    "Distilling the knowledge in a neural network", arXiv:1503.02531, section 2).

    Args:
        student: scores ``(B, L, ...)``.
        teacher: likewise.
        activation: ``softmax`` over axis 1, ``sigmoid`` (each label by itself, mean over labels),
            or ``none``: the mean squared difference, whatever the temperature.
        temperature: above 0.
    """
    student, teacher = student.float(), teacher.float()
    if activation == "none":
        return functional.mse_loss(student, teacher)
    s, t = student / temperature, teacher / temperature
    if activation == "softmax":
        log = functional.log_softmax(t, dim=1)
        kl = (log.exp() * (log - functional.log_softmax(s, dim=1))).sum(dim=1)
    else:
        p = t.sigmoid()
        kl = p * (functional.logsigmoid(t) - functional.logsigmoid(s))
        kl = kl + (1 - p) * (functional.logsigmoid(-t) - functional.logsigmoid(-s))
    return temperature**2 * kl.mean()


def hint_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference of features, where both lie on one grid.

    Romero et al. 2015, "FitNets: hints for thin deep nets", ICLR, equation 3, with the mean in the
    place of half the sum. A teacher's map of another size is brought to the student's.

    Args:
        student: ``(B, C, ...)``, already mapped to the teacher's channels.
        teacher: ``(B, C, ...)``.
    """
    student, teacher = student.float(), teacher.float()
    if student.ndim == teacher.ndim > 2 and student.shape[2:] != teacher.shape[2:]:
        adapt = functional.adaptive_avg_pool3d if teacher.ndim == 5 else (
            functional.adaptive_avg_pool2d if teacher.ndim == 4 else functional.adaptive_avg_pool1d
        )  # fmt: skip
        size = tuple(int(one) for one in student.shape[2:])
        teacher = adapt(teacher, size)  # type: ignore[arg-type]
    return functional.mse_loss(student, teacher)


def distances(features: Tensor) -> Tensor:
    """``(B, B)`` distances of features ``(B, C)``, as shares of their mean; 0 on the diagonal."""
    square = (features[:, None] - features[None]).square().sum(dim=2)
    apart = ~torch.eye(len(features), dtype=torch.bool, device=features.device)
    lengths = torch.where(apart, square.clamp(min=1e-12), 1.0).sqrt() * apart
    return lengths / lengths[apart].mean().clamp(min=1e-12)


def angles(features: Tensor) -> Tensor:
    """``(B, B, B)``: the cosine of the angle at case ``j`` between ``i`` and ``k``."""
    towards = functional.normalize(features[None] - features[:, None], dim=2, eps=1e-6)
    return torch.bmm(towards, towards.transpose(1, 2))


def relation_distance(student: Tensor, teacher: Tensor, *, distance: float, angle: float) -> Tensor:
    """How much the student's geometry of a batch differs from the teacher's.

    Park et al. 2019, "Relational knowledge distillation", CVPR, equations 6 and 9: Huber's loss of
    distances (as shares of their mean) and of cosines of angles. Features may have any widths.

    Args:
        student: features ``(B, C)``.
        teacher: features ``(B, C')``.
        distance: weight of the distances.
        angle: weight of the angles.
    """
    student, teacher = student.float(), teacher.float()
    if len(student) < 2:
        return student.sum() * 0
    out = student.new_zeros(())
    if distance:
        out = out + distance * functional.smooth_l1_loss(distances(student), distances(teacher))
    if angle:
        out = out + angle * functional.smooth_l1_loss(angles(student), angles(teacher))
    return out
