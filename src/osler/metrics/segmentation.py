"""How well pixels agree with a truth.

Every function takes arrays of one shape (``(H, W)`` or ``(D, H, W)``) and, as ``within``, the
pixels that count, such as the field of view; others are as if they were not there. A ratio with
nothing in its denominator is **None**, never 0, 1 or NaN: it is not known, and whoever averages
must say how many cases were left out.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import binary, same_shape
from osler.metrics.ranking import area_under_roc, average_precision, interleave


def dice(
    truth: ArrayLike, prediction: ArrayLike, *, within: ArrayLike | None = None
) -> float | None:
    r"""Overlap :math:`2 |T \cap P| / (|T| + |P|)` [1]_, the F1 of pixels.

    0 where only one of the two is empty: a missed structure and an invented one both count as
    wrong. None where both are empty.

    Args:
        truth: 0 or 1.
        prediction: 0 or 1, the same shape.
        within: the pixels that count; None for all.

    Returns:
        0 to 1, or None.

    Raises:
        InputError: shapes differ, or a value is neither 0 nor 1.

    References:
        .. [1] Dice, "Measures of the amount of ecologic association between species", Ecology
           26:297-302, 1945.
    """
    both, only_truth, only_prediction, _ = _confusion(truth, prediction, within)
    return _ratio(2 * both, 2 * both + only_truth + only_prediction)


def sensitivity(
    truth: ArrayLike, prediction: ArrayLike, *, within: ArrayLike | None = None
) -> float | None:
    r"""The share of the truth that was found, :math:`|T \cap P| / |T|` [1]_; also recall.

    None where the truth is empty. Arguments and errors as for `dice`.

    References:
        .. [1] Altman & Bland, "Diagnostic tests 1: sensitivity and specificity", BMJ 308:1552,
           1994.
    """
    both, only_truth, _, _ = _confusion(truth, prediction, within)
    return _ratio(both, both + only_truth)


def specificity(
    truth: ArrayLike, prediction: ArrayLike, *, within: ArrayLike | None = None
) -> float | None:
    r"""The share of the rest that was left alone, :math:`|\bar T \cap \bar P| / |\bar T|` [1]_.

    None where the truth fills everything. Arguments and errors as for `dice`. Near 1 for any
    small structure: read it beside `precision`.

    References:
        .. [1] Altman & Bland, "Diagnostic tests 1: sensitivity and specificity", BMJ 308:1552,
           1994.
    """
    _, _, only_prediction, neither = _confusion(truth, prediction, within)
    return _ratio(neither, neither + only_prediction)


def precision(
    truth: ArrayLike, prediction: ArrayLike, *, within: ArrayLike | None = None
) -> float | None:
    r"""The share of the prediction that is right, :math:`|T \cap P| / |P|` [1]_.

    None where the prediction is empty. Arguments and errors as for `dice`.

    References:
        .. [1] Altman & Bland, "Diagnostic tests 2: predictive values", BMJ 309:102, 1994.
    """
    both, _, only_prediction, _ = _confusion(truth, prediction, within)
    return _ratio(both, both + only_prediction)


def cl_dice(
    truth: ArrayLike, prediction: ArrayLike, *, within: ArrayLike | None = None
) -> float | None:
    r"""Agreement of centre lines, which a missing thin vessel lowers as much as a thick one [1]_.

    With :math:`S(\cdot)` the skeleton, the harmonic mean of the share of :math:`S(P)` inside
    :math:`T` and the share of :math:`S(T)` inside :math:`P`. 0 where only one of the two is
    empty, or neither skeleton meets the other; None where both are empty. Pixels outside
    ``within`` are cleared before the skeletons are drawn. Skeletons are 8-connected, by the
    thinning of Zhang & Suen [2]_ (3-D: Lee [3]_), as in scikit-image.

    Args:
        truth: 0 or 1, ``(H, W)`` or ``(D, H, W)``.
        prediction: 0 or 1, the same shape.
        within: the pixels that count; None for all.

    Returns:
        0 to 1, or None.

    Raises:
        InputError: shapes differ, or a value is neither 0 nor 1.

    References:
        .. [1] Shit et al., "clDice: a novel topology-preserving loss function for tubular structure
           segmentation", CVPR 2021, equations 1-3.
        .. [2] Zhang & Suen, "A fast parallel algorithm for thinning digital patterns", Commun. ACM
           27:236-239, 1984.
        .. [3] Lee et al., "Building skeleton models via 3-D medial surface/axis thinning
           algorithms", CVGIP 56:462-478, 1994.
    """
    from skimage.morphology import skeletonize

    one, other = _checked(truth, prediction)
    if within is not None:
        kept = _within(within, one)
        one, other = one & kept, other & kept
    if not one.any() and not other.any():
        return None
    line: NDArray[np.bool_] = skeletonize(one)  # type: ignore[no-untyped-call]
    other_line: NDArray[np.bool_] = skeletonize(other)  # type: ignore[no-untyped-call]
    right = _ratio(int((other_line & one).sum()), int(other_line.sum())) or 0.0
    found = _ratio(int((line & other).sum()), int(line.sum())) or 0.0
    return _ratio(2 * right * found, right + found) or 0.0


def pixel_auroc(
    truth: ArrayLike, probability: ArrayLike, *, within: ArrayLike | None = None
) -> float | None:
    """Area under the ROC curve over pixels: `auroc` with every pixel as a case.

    Exact, ties counting half. Fastest with ``float16`` probabilities, as bundles give them.
    None where only one class lies ``within``.

    Args:
        truth: 0 or 1.
        probability: the same shape, greater for what is more likely 1.
        within: the pixels that count, such as the field of view; None for all. A dark border
            that counts makes any vessel map look better than it is.

    Returns:
        0 to 1, or None.

    Raises:
        InputError: shapes differ, ``truth`` is not binary, or a probability is not finite.
    """
    return area_under_roc(interleave(*_kept(truth, probability, within)))


def pixel_average_precision(
    truth: ArrayLike, probability: ArrayLike, *, within: ArrayLike | None = None
) -> float | None:
    """Area under the precision–recall curve over pixels, step-wise (`auprc`), exact.

    The measure of the IDRiD challenge for lesions, which it pools over the pixels of all images
    [1]_: concatenate their pixels and call this once. None where there is no positive pixel.
    Arguments and errors as for `pixel_auroc`.

    References:
        .. [1] Porwal et al., "IDRiD: diabetic retinopathy – segmentation and grading challenge",
           Medical Image Analysis 59:101561, 2020.
    """
    return average_precision(interleave(*_kept(truth, probability, within)))


def label_f1(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    labels: tuple[int, ...],
    within: ArrayLike | None = None,
) -> dict[int, float | None]:
    """`dice` of each label of two label maps.

    None for a label in neither; 0 for a label in only one of the two.

    Args:
        truth: integer labels.
        prediction: integer labels, the same shape; may hold labels that are not asked for.
        labels: the labels that are asked for.
        within: the pixels that count, such as the labelled vessel pixels; None for all.

    Raises:
        InputError: shapes differ, a map is not of integers, or ``labels`` is empty.
    """
    one, other = np.asarray(truth), np.asarray(prediction)
    for name, array in (("truth", one), ("prediction", other)):
        if array.dtype.kind not in "iub":
            raise InputError(f"'{name}' has {array.dtype} values; give integer labels")
    if not labels:
        raise InputError("'labels' is empty; name the labels to score")
    same_shape(truth=one, prediction=other)
    if within is not None:
        kept = _within(within, one)
        one, other = one[kept], other[kept]
    return {label: dice(one == label, other == label) for label in labels}


def macro_f1(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    labels: tuple[int, ...],
    within: ArrayLike | None = None,
) -> float | None:
    """The mean of `label_f1` over the labels that are in the truth or the prediction [1]_.

    None where no label is in either. For arteries and veins over all labelled vessel pixels,
    ``within`` is where the truth is one or the other, and a missed pixel counts as neither.

    References:
        .. [1] Opitz & Burst, "Macro F1 and macro F1", arXiv:1911.03347, 2019 (the averaged F1).
    """
    scores = label_f1(truth, prediction, labels=labels, within=within).values()
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def _confusion(
    truth: ArrayLike, prediction: ArrayLike, within: ArrayLike | None
) -> tuple[int, int, int, int]:
    """Pixels in both, only in the truth, only in the prediction, in neither."""
    one, other = _checked(truth, prediction)
    if within is not None:
        kept = _within(within, one)
        one, other = one[kept], other[kept]
    both = int(np.count_nonzero(one & other))
    size, other_size = int(np.count_nonzero(one)), int(np.count_nonzero(other))
    return both, size - both, other_size - both, one.size - size - other_size + both


def _checked(
    truth: ArrayLike, prediction: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    one, other = binary(truth, name="truth"), binary(prediction, name="prediction")
    same_shape(truth=one, prediction=other)
    return one, other


def _within(within: ArrayLike, like: NDArray[Any]) -> NDArray[np.bool_]:
    kept = binary(within, name="within")
    same_shape(truth=like, within=kept)
    return kept


def _kept(
    truth: ArrayLike, probability: ArrayLike, within: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    one, values = np.asarray(truth), np.asarray(probability)
    same_shape(truth=one, probability=values)
    if within is None:
        return one, values
    kept = _within(within, one)
    return one[kept], values[kept]


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
