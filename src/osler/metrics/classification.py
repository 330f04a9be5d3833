"""How well cases are told apart.

A figure that the cases cannot give (one class only, no case at all) is **None**, never 0.5 or NaN.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import binary, classes, finite, same_length, same_shape
from osler.metrics.ranking import area_under_roc, average_precision, interleave

Average = Literal["macro", "micro"]
Curve = Literal["roc", "pr"]


def auroc(truth: ArrayLike, scores: ArrayLike) -> float | None:
    r"""Area under the ROC curve: the chance that a positive scores above a negative [1]_.

    The share of the :math:`n_+ n_-` pairs of a positive and a negative in which the positive
    scores more; a tie counts half. Exact. Any increasing map of the scores leaves it unchanged,
    so it says nothing of calibration.

    Args:
        truth: 0 or 1, ``(N,)``.
        scores: ``(N,)``, greater for what is more likely 1.

    Returns:
        0 to 1, or None where there is no positive or no negative.

    Raises:
        InputError: shapes differ, ``truth`` is not binary, or a score is not finite.

    References:
        .. [1] Hanley & McNeil, "The meaning and use of the area under a receiver operating
           characteristic (ROC) curve", Radiology 143:29-36, 1982.
    """
    return area_under_roc(interleave(truth, scores))


def auprc(truth: ArrayLike, scores: ArrayLike) -> float | None:
    r"""Average precision, the step-wise area under the precision–recall curve [1]_.

    :math:`\sum_t (R_t - R_{t-1}) P_t` over the distinct scores :math:`t`, descending. A score
    that knows nothing reaches the share of positives, not 0.5. Arguments and errors as for
    `auroc`.

    Returns:
        0 to 1, or None where there is no positive.

    References:
        .. [1] Davis & Goadrich, "The relationship between precision-recall and ROC curves",
           ICML 2006.
    """
    return average_precision(interleave(truth, scores))


def class_aurocs(truth: ArrayLike, scores: ArrayLike) -> tuple[float | None, ...]:
    """`auroc` of each class against all others.

    Args:
        truth: class indices, ``(N,)``, 0 to K - 1.
        scores: ``(N, K)``, a column a class.

    Returns:
        K figures; None for a class without a case, or that all cases have.

    Raises:
        InputError: shapes do not fit, a class is out of range, or a score is not finite.
    """
    values = finite(scores, name="scores")
    if values.ndim != 2 or values.shape[1] < 2:
        raise InputError(f"'scores' has shape {values.shape}; expected (N, K) with K from 2")
    count = values.shape[1]
    labels = classes(truth, count=count, name="truth")
    same_length(truth=labels, scores=values)
    return tuple(auroc(labels == one, values[:, one]) for one in range(count))


def macro_auroc(truth: ArrayLike, scores: ArrayLike) -> float | None:
    """The plain mean of `class_aurocs`: one versus rest, each class counting alike [1]_.

    None where any of the K classes has no case, or all of them: a mean over fewer classes would
    be another, often easier, question. Arguments and errors as for `class_aurocs`.

    References:
        .. [1] Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27:861-874,
           2006, section 9 (there weighted by prevalence; here not).
    """
    areas = [area for area in class_aurocs(truth, scores) if area is not None]
    return sum(areas) / len(areas) if len(areas) == np.shape(scores)[1] else None


def confusion_matrix(truth: ArrayLike, prediction: ArrayLike, *, count: int) -> NDArray[np.int64]:
    """How many cases of each class were called each class.

    Args:
        truth: class indices, ``(N,)``, 0 to ``count - 1``.
        prediction: class indices, ``(N,)``.
        count: how many classes there are (K), whether or not each occurs.

    Returns:
        ``(K, K)``: rows the truth, columns the prediction.

    Raises:
        InputError: lengths differ, or a class is out of range.
    """
    one = classes(truth, count=count, name="truth")
    other = classes(prediction, count=count, name="prediction")
    same_length(truth=one, prediction=other)
    return np.bincount(one * count + other, minlength=count * count).reshape(count, count)


def accuracy(truth: ArrayLike, prediction: ArrayLike, *, count: int) -> float | None:
    """The share of cases that were called what they are; None without cases.

    Arguments and errors as for `confusion_matrix`.
    """
    table = confusion_matrix(truth, prediction, count=count)
    total = int(table.sum())
    return int(np.trace(table)) / total if total else None


def balanced_accuracy(truth: ArrayLike, prediction: ArrayLike, *, count: int) -> float | None:
    """The mean over the classes in the truth of the share of each that was found [1]_.

    Classes without a case are left out; None without cases. Arguments and errors as for
    `confusion_matrix`.

    References:
        .. [1] Brodersen et al., "The balanced accuracy and its posterior distribution", ICPR 2010.
    """
    table = confusion_matrix(truth, prediction, count=count)
    sizes = table.sum(axis=1)
    there = sizes > 0
    return float((np.diag(table)[there] / sizes[there]).mean()) if there.any() else None


def class_f1(truth: ArrayLike, prediction: ArrayLike, *, count: int) -> tuple[float | None, ...]:
    r"""F1 of each class, :math:`2 \text{TP} / (2 \text{TP} + \text{FP} + \text{FN})` [1]_.

    0 for a class that only the truth or only the prediction has; None for one in neither.
    Arguments and errors as for `confusion_matrix`.

    References:
        .. [1] van Rijsbergen, "Information retrieval", 2nd ed., Butterworths, 1979, chapter 7.
    """
    table = confusion_matrix(truth, prediction, count=count)
    sums = table.sum(axis=0) + table.sum(axis=1)
    pairs = zip(np.diag(table).tolist(), sums.tolist(), strict=True)
    return tuple(2 * both / size if size else None for both, size in pairs)


def f1(
    truth: ArrayLike, prediction: ArrayLike, *, count: int, average: Average = "macro"
) -> float | None:
    """F1 over classes: their mean (macro) or that of all decisions together (micro) [1]_.

    Macro is the mean of `class_f1` over classes in the truth or the prediction. Micro, where each
    case has one class, is the accuracy. None without cases. Arguments and errors as for
    `confusion_matrix`.

    References:
        .. [1] Opitz & Burst, "Macro F1 and macro F1", arXiv:1911.03347, 2019 (the averaged F1).
    """
    _average(average)
    if average == "micro":
        return accuracy(truth, prediction, count=count)
    return _mean(class_f1(truth, prediction, count=count))


def multilabel_f1(
    truth: ArrayLike, prediction: ArrayLike, *, average: Average = "macro"
) -> float | None:
    """F1 where a case may have several labels or none.

    Macro: the mean over labels that occur in the truth or the prediction. Micro: true and false
    positives and negatives of all labels added up first. None where no label occurs.

    Args:
        truth: 0 or 1, ``(N, K)``.
        prediction: 0 or 1, ``(N, K)``.
        average: ``"macro"`` or ``"micro"``.

    Raises:
        InputError: shapes differ or do not fit, a value is neither 0 nor 1, or ``average`` is
            neither.
    """
    _average(average)
    one, other = binary(truth, name="truth"), binary(prediction, name="prediction")
    same_shape(truth=one, prediction=other)
    if one.ndim != 2:
        raise InputError(f"'truth' has shape {one.shape}; expected (N, K)")
    both, sums = (one & other).sum(axis=0), one.sum(axis=0) + other.sum(axis=0)
    if average == "micro":
        both, sums = both.sum(keepdims=True), sums.sum(keepdims=True)
    return _mean(
        2 * part / size if size else None
        for part, size in zip(both.tolist(), sums.tolist(), strict=True)
    )


def multilabel_areas(
    truth: ArrayLike, scores: ArrayLike, *, curve: Curve = "roc"
) -> tuple[float | None, ...]:
    """`auroc` or `auprc` of each label, where a case may have several labels or none.

    Args:
        truth: 0 or 1, ``(N, K)``.
        scores: ``(N, K)``.
        curve: ``"roc"``, or ``"pr"`` for precision and recall.

    Returns:
        K figures, None as for `auroc` and `auprc`. Say how many a mean over labels leaves out.

    Raises:
        InputError: shapes differ or do not fit, ``truth`` is not binary, a score is not finite, or
            ``curve`` is neither.
    """
    if curve not in ("roc", "pr"):
        raise InputError(f"'curve' is {curve!r}; expected 'roc' or 'pr'")
    one, values = binary(truth, name="truth"), finite(scores, name="scores")
    same_shape(truth=one, scores=values)
    if one.ndim != 2:
        raise InputError(f"'truth' has shape {one.shape}; expected (N, K)")
    area = auroc if curve == "roc" else auprc
    return tuple(area(one[:, k], values[:, k]) for k in range(one.shape[1]))


def quadratic_kappa(truth: ArrayLike, prediction: ArrayLike, *, count: int) -> float | None:
    r"""Cohen's kappa with quadratic weights [1]_, for ordered classes such as grades.

    With :math:`O` the confusion matrix, :math:`E` the outer product of its margins over N, and
    :math:`w_{ij} = (i - j)^2`, :math:`\kappa = 1 - \sum w O / \sum w E`: 1 for full agreement, 0
    for that of chance with the same margins, below 0 for worse.

    Args:
        truth: class indices, ``(N,)``, 0 to ``count - 1``, in their order.
        prediction: class indices, ``(N,)``.
        count: how many classes there are; classes that do not occur change nothing.

    Returns:
        -1 to 1, or None where no disagreement is expected: without cases, or where truth and
        prediction are all of one and the same class.

    Raises:
        InputError: lengths differ, or a class is out of range.

    References:
        .. [1] Cohen, "Weighted kappa: nominal scale agreement with provision for scaled
           disagreement or partial credit", Psychological Bulletin 70:213-220, 1968.
    """
    table = confusion_matrix(truth, prediction, count=count)
    steps = np.arange(count)
    weights = (steps[:, None] - steps[None, :]) ** 2
    # integers throughout, so that full agreement is exactly 1
    expected = int((weights * np.outer(table.sum(axis=1), table.sum(axis=0))).sum())
    observed = int((weights * table).sum()) * int(table.sum())
    return 1.0 - observed / expected if expected else None


def _mean(figures: Iterable[float | None]) -> float | None:
    known = [one for one in figures if one is not None]
    return sum(known) / len(known) if known else None


def _average(average: str) -> None:
    if average not in ("macro", "micro"):
        raise InputError(f"'average' is {average!r}; expected 'macro' or 'micro'")
