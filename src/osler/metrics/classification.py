"""How well cases are told apart.

A figure that the cases cannot give (one class only, no case at all) is **None**, never 0.5 or NaN.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import classes, finite, same_length
from osler.metrics.ranking import area_under_roc, average_precision, interleave


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
