"""The figures of detection: average precision and FROC, by label, with intervals by patient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.metrics.detection import (
    RATES,
    Matches,
    detection_ap,
    froc,
    match_boxes,
    match_points,
)
from osler.tasks.task import Figure

_SMALLEST = 1e-6  # a radius of 0 hits nothing


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of the candidates of one label in one image.

    Attributes:
        overlap: hits by overlap, for average precision.
        hit: hits as FROC counts them.
    """

    overlap: Matches
    hit: Matches


def matches_of(
    row: Mapping[str, Any] | None, spacing: Sequence[float] | None, *, iou: float, hit: str,
    reach: float,
) -> Judged | None:  # fmt: skip
    """Match what `Detection.judge` gave of a label; None where nothing is known of it.

    Candidates that hit nothing and lie where nothing counts are left out.
    """
    if row is None:
        return None
    truth, boxes = np.array(row["truth"], float), np.array(row["boxes"], float)
    scores, excused = np.array(row["probability"], float), np.array(row["excused"], bool)
    overlap = match_boxes(truth, boxes, scores, iou=iou)
    if hit == "iou":
        return Judged(_left(overlap, excused), _left(overlap, excused))
    centres, radii = _centres(truth, spacing)
    points, _ = _centres(boxes, spacing)
    near = match_points(
        centres, points, scores, radius=np.maximum(np.maximum(radii, reach), _SMALLEST)
    )
    return Judged(_left(overlap, excused), _left(near, excused))


def _left(found: Matches, excused: NDArray[np.bool_]) -> Matches:
    kept = found.hits | ~excused
    return Matches(found.scores[kept], found.hits[kept], found.truths)


def _centres(
    boxes: NDArray[np.float64], spacing: Sequence[float] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres ``(K, n)`` and half of the longest side ``(K,)``, mm or pixels."""
    if not boxes.size:
        return np.empty((0, 2)), np.empty(0)
    axes = boxes.shape[1] // 2
    step = np.ones(axes) if spacing is None else np.array(spacing, float)
    low, high = boxes[:, :axes] * step, boxes[:, axes:] * step
    return (low + high) / 2, (high - low).max(axis=1) / 2


def table_of(
    judged: Mapping[str, Sequence[Judged | None]], index: NDArray[np.intp]
) -> dict[str, float | None]:
    """Every figure of some images, which may stand in ``index`` more than once."""
    out: dict[str, float | None] = {}
    curves: list[tuple[float, ...]] = []
    for label, rows in judged.items():
        known = [one for one in (rows[k] for k in index) if one is not None]
        out[f"ap/{label}"] = detection_ap([one.overlap for one in known]) if known else None
        curve = froc([one.hit for one in known]) if known else None
        out[f"froc/{label}"] = None if curve is None else curve.mean
        if curve is not None and curve.at_rates is not None:
            curves.append(curve.at_rates)
    for key in ("ap", "froc"):
        values = [out[f"{key}/{label}"] for label in judged]
        there = [one for one in values if one is not None]
        out[key] = float(np.mean(there)) if there else None
    for rate, column in zip(RATES, zip(*curves, strict=True), strict=False):
        out[f"at/{rate:g}"] = float(np.mean(column))
    return out


def figures_of(
    judged: Mapping[str, Sequence[Judged | None]], patients: Sequence[str], *, iou: float,
    hit: str, seed: int, replicates: int,
) -> list[Figure]:  # fmt: skip
    """Average precision and sensitivity by label and over labels.

    Lesions of all images are pooled, as both figures are defined; patients are resampled whole.
    """
    count = len(patients)
    done: dict[bytes, dict[str, float | None]] = {}  # each resample serves every figure

    def table(index: NDArray[np.intp]) -> dict[str, float | None]:
        key = index.tobytes()
        if key not in done:
            done[key] = table_of(judged, index)
        return done[key]

    precision = f"lesions of all images pooled, a hit is an IoU of {iou:g} or more"
    rates = ", ".join(f"{rate:g}" for rate in RATES)
    sensitivity = f"mean sensitivity at {rates} false positives an image, a hit is a {hit}"
    labels = list(judged)
    wanted: list[tuple[str, str, str, str | None]]
    wanted = [(f"ap/{one}", f"AP, {one}", precision, one) for one in labels]
    wanted += [(f"froc/{one}", f"FROC, {one}", sensitivity, one) for one in labels]
    wanted += [
        (
            f"at/{rate:g}",
            f"sensitivity at {rate:g} false positives an image",
            f"mean over labels, a hit is a {hit}",
            None,
        )
        for rate in RATES
    ]
    if len(labels) > 1:
        wanted = [
            ("ap", "mAP", f"mean over labels of: {precision}", None),
            ("froc", "FROC, mean of labels", f"mean over labels of: {sensitivity}", None),
            *wanted,
        ]
    out = []
    for key, name, how, label in wanted:
        interval = metrics.bootstrap_interval(
            lambda index, key=key: table(index).get(key), np.arange(count), seed=seed,
            groups=list(patients), replicates=replicates,
        )  # fmt: skip
        left = sum(one is None for one in judged[label]) if label is not None else 0
        out.append(Figure(name, interval, count - left, how, left))
    return out
