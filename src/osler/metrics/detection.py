r"""How well lesions are found: boxes in 2-D and 3-D against true boxes.

A box is its first corner and the one opposite, ``(h, w, h, w)`` or ``(d, h, w, d, h, w)``, stop
exclusive, so that its size is the difference; `osler.record.Box` has the two halves.

Within an image, detections are matched from the highest score down, each to the free truth that it
overlaps most, if by the threshold or more [1]_. Detections of one score are taken in the order of
their overlap, so that the order in which they were listed changes nothing. Every other detection
is a false alarm, a second one of the same lesion as well. When images are pooled, detections of
one score enter together.

An image without truth and without detections still counts among the images that a false-alarm rate
is divided by. A cohort without any truth has no sensitivity: None.

References:
    .. [1] Everingham et al., "The Pascal visual object classes (VOC) challenge", Int J Computer
       Vision 88:303-338, 2010, section 4.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import finite, same_length

Points = Literal["all", "coco"]
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
COCO_THRESHOLDS = tuple(np.arange(50, 100, 5) / 100)


@dataclass(frozen=True, slots=True)
class Matches:
    """What became of the detections of one image.

    Attributes:
        scores: ``(N,)`` scores.
        hits: ``(N,)`` whether each found a lesion.
        truths: how many lesions there are.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    truths: int


@dataclass(frozen=True, slots=True)
class Froc:
    """Sensitivity against false alarms per image, one point a distinct score, descending.

    Attributes:
        thresholds: ``(T,)`` scores from which on a detection counts.
        alarms: ``(T,)`` false alarms per image at each.
        sensitivity: ``(T,)`` share of all lesions found at each; None where there is no lesion.
        rates: the false alarms per image that were asked for.
        at_rates: the greatest sensitivity with at most that many; 0 where even the highest score
            has more; None where there is no lesion.
        mean: their mean, the competition performance metric.
    """

    thresholds: NDArray[np.float64]
    alarms: NDArray[np.float64]
    sensitivity: NDArray[np.float64] | None
    rates: tuple[float, ...]
    at_rates: tuple[float, ...] | None
    mean: float | None


def box_iou(one: ArrayLike, other: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every pair of boxes.

    Args:
        one: ``(N, 4)`` or ``(N, 6)``.
        other: ``(M, 4)`` or ``(M, 6)``.

    Returns:
        ``(N, M)``; 0 where both boxes are empty.

    Raises:
        InputError: shapes do not fit, or a box stops before it starts.
    """
    a, b = _boxes(one, "one"), _boxes(other, "other")
    if len(a) and len(b) and a.shape[1] != b.shape[1]:
        raise InputError(f"shapes differ: 'one' {a.shape}, 'other' {b.shape}")
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    axes = a.shape[1] // 2
    low = np.maximum(a[:, None, :axes], b[None, :, :axes])
    high = np.minimum(a[:, None, axes:], b[None, :, axes:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    sizes, others = ((box[:, axes:] - box[:, :axes]).prod(axis=1) for box in (a, b))
    union = sizes[:, None] + others[None] - shared
    return np.asarray(shared / np.where(union > 0, union, 1.0), dtype=np.float64)


def match_boxes(
    truth: ArrayLike, boxes: ArrayLike, scores: ArrayLike, *, iou: float = 0.5
) -> Matches:
    """Which detections of one image found a lesion; the rule stands at the head of the module.

    Args:
        truth: ``(M, 4)`` or ``(M, 6)``, M from 0.
        boxes: ``(N, 4)`` or ``(N, 6)``, N from 0.
        scores: ``(N,)``, greater for what is surer.
        iou: the overlap from which a detection is a hit, above 0 and up to 1. 0.1 is usual in
            3-D, where the overlap of small boxes falls fast; 0.5 in 2-D.

    Raises:
        InputError: shapes do not fit, a value is not finite, or ``iou`` is out of its range.
    """
    if not 0 < iou <= 1:
        raise InputError(f"'iou' is {iou}; expected above 0 and up to 1")
    return _matched(box_iou(boxes, truth), scores, iou)


def match_points(
    truth: ArrayLike, points: ArrayLike, scores: ArrayLike, *, radius: ArrayLike
) -> Matches:
    """`match_boxes` for points: a hit lies within the radius of a lesion, the nearest first [1]_.

    Args:
        truth: ``(M, 2)`` or ``(M, 3)`` centres, mm.
        points: ``(N, 2)`` or ``(N, 3)``, mm.
        scores: ``(N,)``, greater for what is surer.
        radius: mm, one for all or ``(M,)``; a distance equal to it is a hit.

    Raises:
        InputError: shapes do not fit, a value is not finite, or a radius is not above 0.

    References:
        .. [1] Setio et al., "Validation, comparison, and combination of algorithms for automatic
           detection of pulmonary nodules: the LUNA16 challenge", Medical Image Analysis 42:1-13,
           2017 (which leaves further hits of a found nodule out; here they are false alarms).
    """
    one, other = finite(truth, name="truth"), finite(points, name="points")
    reach = finite(radius, name="radius").astype(np.float64)
    if reach.size and reach.min() <= 0:
        raise InputError("'radius' has values of 0 or below; expected millimetres above 0")
    if not one.size or not other.size:
        return _matched(np.zeros((len(other), len(one))), scores, 0.5)
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise InputError(f"shapes do not fit: 'truth' {one.shape}, 'points' {other.shape}")
    gaps = np.sqrt(((other[:, None].astype(float) - one[None]) ** 2).sum(axis=2)) / reach
    # 1 at the centre, 0.5 at the radius
    return _matched(1 / (1 + gaps), scores, 0.5 - 1e-9)


def froc(images: Sequence[Matches], *, rates: Sequence[float] = RATES) -> Froc:
    """Free-response ROC of a cohort [1]_: sensitivity against false alarms per image.

    Nothing is interpolated: a sensitivity is one that a threshold reaches. The mean over 1/8 to 8
    false alarms per image is LUNA16's score.

    Args:
        images: every image of the cohort, those without lesions and detections too.
        rates: the false alarms per image to read it at.

    Raises:
        InputError: there is no image, or a rate is below 0.

    References:
        .. [1] Bunch et al., "A free-response approach to the measurement and characterization of
           radiographic-observer performance", J Appl Photogr Eng 4:166-171, 1978.
    """
    if not images:
        raise InputError("'images' is empty; a rate per image needs one")
    if any(rate < 0 for rate in rates):
        raise InputError(f"'rates' are {tuple(rates)}; expected 0 or more")
    thresholds, hits, alarms = _curve(images)
    per_image = alarms / len(images)
    total = sum(one.truths for one in images)
    if not total:
        return Froc(thresholds, per_image, None, tuple(rates), None, None)
    found = hits / total
    at_rates = tuple(float(found[per_image <= rate].max(initial=0.0)) for rate in rates)
    mean = sum(at_rates) / len(at_rates) if at_rates else None
    return Froc(thresholds, per_image, found, tuple(rates), at_rates, mean)


def detection_ap(images: Sequence[Matches], *, points: Points = "all") -> float | None:
    """Average precision of detections of one class, pooled over images.

    Precision at a recall is the greatest at that recall or above; ``"all"`` takes the area under
    these steps (VOC 2010 and after [1]_), ``"coco"`` the mean at 101 recalls from 0 to 1 [2]_.
    None without a lesion; 0 without detections.

    Raises:
        InputError: ``points`` is neither.

    References:
        .. [1] Everingham et al., "The Pascal visual object classes challenge: a retrospective",
           Int J Computer Vision 111:98-136, 2015.
        .. [2] Lin et al., "Microsoft COCO: common objects in context", ECCV 2014 (the evaluation).
    """
    if points not in ("all", "coco"):
        raise InputError(f"'points' is {points!r}; expected 'all' or 'coco'")
    total = sum(one.truths for one in images)
    if not total:
        return None
    _, hits, alarms = _curve(images)
    if not hits.size:
        return 0.0
    best = np.maximum.accumulate((hits / (hits + alarms))[::-1])[::-1]
    if points == "all":
        return float((np.diff(hits, prepend=0) / total * best).sum())
    # counts are compared as integers, so that 0.29 of 100 lesions is reached by 29
    place = np.searchsorted(hits * 100, np.arange(101) * total, side="left")
    return float(np.append(best, 0.0)[np.minimum(place, best.size)].mean())


def mean_average_precision(
    truth: Sequence[Sequence[ArrayLike]],
    boxes: Sequence[Sequence[ArrayLike]],
    scores: Sequence[Sequence[ArrayLike]],
    *,
    ious: Sequence[float] = COCO_THRESHOLDS,
    points: Points = "coco",
) -> float | None:
    """The mean of `detection_ap` over the classes that have a lesion, and over thresholds [1]_.

    Args:
        truth: by class, by image: ``(M, 4)`` or ``(M, 6)``.
        boxes: by class, by image: ``(N, 4)`` or ``(N, 6)``.
        scores: by class, by image: ``(N,)``.
        ious: overlap thresholds; 0.5 to 0.95 for COCO's figure, 0.1 to 0.5 is usual in 3-D.
        points: as for `detection_ap`.

    Returns:
        0 to 1, or None where no class has a lesion. Classes without one are left out, false
        alarms of theirs too: look at `froc` for those.

    Raises:
        InputError: lengths or shapes do not fit, or an option is out of its range.

    References:
        .. [1] Lin et al., "Microsoft COCO: common objects in context", ECCV 2014 (the evaluation).
    """
    found = []
    for classed in zip(truth, boxes, scores, strict=True):
        for iou in ious:
            images = [match_boxes(t, b, s, iou=iou) for t, b, s in zip(*classed, strict=True)]
            found.append(detection_ap(images, points=points))
    known = [one for one in found if one is not None]
    return sum(known) / len(known) if known else None


def _matched(overlap: NDArray[np.float64], scores: ArrayLike, least: float) -> Matches:
    values = finite(scores, name="scores").astype(np.float64).ravel()
    same_length(boxes=overlap, scores=values)
    hits = np.zeros(values.size, np.bool_)
    free = np.ones(overlap.shape[1], np.bool_)
    for score in np.unique(values)[::-1]:
        tied = np.flatnonzero(values == score)
        while tied.size and free.any():
            part = np.where(free[None], overlap[tied], -1.0)
            row, column = np.unravel_index(int(part.argmax()), part.shape)
            if part[row, column] < least:
                break
            hits[tied[row]] = True
            free[column] = False
            tied = np.delete(tied, row)
    return Matches(values, hits, overlap.shape[1])


def _curve(
    images: Sequence[Matches],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Distinct scores, descending, with the hits and false alarms from each on."""
    scores = np.concatenate([np.empty(0), *(one.scores for one in images)])
    hits = np.concatenate([np.empty(0, np.bool_), *(one.hits for one in images)])
    levels, place = np.unique(-scores, return_inverse=True)
    right = np.bincount(place[hits], minlength=levels.size)
    wrong = np.bincount(place[~hits], minlength=levels.size)
    return -levels, np.cumsum(right), np.cumsum(wrong)


def _boxes(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = finite(values, name=name).astype(np.float64)
    if not array.size:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] not in (4, 6):
        raise InputError(f"'{name}' has shape {array.shape}; expected (N, 4) or (N, 6)")
    axes = array.shape[1] // 2
    if (array[:, axes:] < array[:, :axes]).any():
        raise InputError(f"'{name}' has a box that stops before it starts")
    return array
