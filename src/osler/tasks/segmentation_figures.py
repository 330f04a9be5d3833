"""The figures of segmentation: of one case, and of a cohort with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.metrics.surfaces import StructureScores, structure_scores
from osler.record import Measurement, Source
from osler.tasks.segmentation_settings import Measure, SegmentationSettings
from osler.tasks.task import Figure, Row

_MM3 = 1000.0  # in a millilitre
_METHODS = {
    "size": "size of {of}",
    "share": "size of {of} over that of {to}",
    "fall": "1 less the size of {to} over that of {of}",
    "height": "vertical extent of {of} over that of {to}",
}


def kinds(settings: SegmentationSettings, axes: int) -> list[tuple[str, str, bool]]:
    """Key, words and whether greater is better, of each figure of a label."""
    unit = "ml" if axes == 3 else "mm², pixels without a scale"
    return [
        ("dice", "Dice", True),
        *([("cldice", "clDice", True)] if settings.thin else []),
        ("nsd", "NSD", True),
        ("hd95", "HD95 (mm)" if axes == 3 else "HD95 (mm, pixels without a scale)", False),
        ("volume_error", f"{'volume' if axes == 3 else 'area'} error ({unit})", False),
    ]


def judged(
    truth: NDArray[np.bool_],
    found: NDArray[np.bool_],
    label: str,
    *,
    spacing: Sequence[float],
    settings: SegmentationSettings,
) -> Row:
    """What one label of one case gives: figures, and the sizes in ml (mm² of pictures)."""
    scored = structure_scores(truth, found, spacing=spacing, tolerance=settings.tolerance)
    scale = _MM3 if truth.ndim == 3 else 1.0
    out: Row = {f"{key}/{label}": _figure(scored, key) for key in ("dice", "nsd", "hd95")}
    if settings.thin:
        thin = label in settings.thin
        out[f"cldice/{label}"] = metrics.cl_dice(truth, found) if thin else None
    out[f"volume_error/{label}"] = abs(scored.volume_error) / scale
    out[f"truth_volume/{label}"] = scored.truth_volume / scale
    out[f"volume/{label}"] = scored.predicted_volume / scale
    return out


def unknown(label: str, *, settings: SegmentationSettings) -> Row:
    """The row of a label whose truth is not known."""
    keys = ["dice", "nsd", "hd95", "volume_error", "truth_volume", "volume"]
    return {f"{key}/{label}": None for key in [*keys, *(["cldice"] if settings.thin else [])]}


def figures(
    rows: Sequence[Row],
    patients: Sequence[str],
    settings: SegmentationSettings,
    *,
    axes: int,
    seed: int,
    replicates: int,
) -> list[Figure]:
    """Each figure of each label, then the errors of what is measured."""
    out = []

    def add(name: str, values: Sequence[float | None], how: str, better: bool) -> None:
        done = metrics.summarise(values, seed=seed, groups=list(patients), replicates=replicates)
        out.append(Figure(name, done.mean, done.cases, how, done.left_out, better))

    for key, words, better in kinds(settings, axes):
        labels = settings.thin if key == "cldice" else settings.labels
        columns = [[row[f"{key}/{label}"] for row in rows] for label in labels]
        how = "per case in the native grid, then the mean over cases"
        if len(columns) > 1:
            mean = [
                None if not (known := [v for v in values if v is not None])
                else float(np.mean(known))
                for values in zip(*columns, strict=True)
            ]  # fmt: skip
            add(f"{words}, mean of labels", mean, how, better)
        for label, values in zip(labels, columns, strict=True):
            add(f"{words}, {label}", values, how, better)
    for one in settings.measure:
        pairs = [(row[f"measure/{one.name}"], row[f"true_measure/{one.name}"]) for row in rows]
        errors = [None if None in pair else abs(pair[0] - pair[1]) for pair in pairs]
        how = "absolute difference from the truth's per case, then the mean over cases"
        unit = (
            "" if one.kind != "size" else " (ml)" if axes == 3 else " (mm², pixels without a scale)"
        )
        add(f"error, {one.name}{unit}", errors, how, False)
    return out


def value_of(
    measure: Measure, masks: Mapping[str, NDArray[np.bool_]], spacing: Sequence[float]
) -> float | None:
    """What is measured, or None where what it is divided by is empty.

    Args:
        measure: what.
        masks: of its labels, in one grid of equal voxels.
        spacing: of that grid, mm, or 1 for each axis.
    """
    of = np.logical_or.reduce([masks[label] for label in measure.of])
    if measure.kind == "size":
        voxel = float(np.prod(spacing)) / (_MM3 if of.ndim == 3 else 1.0)
        return int(of.sum()) * voxel
    to = np.logical_or.reduce([masks[label] for label in measure.to])
    if measure.kind == "height":
        tall, long = (int(one.any(axis=tuple(range(1, one.ndim))).sum()) for one in (of, to))
        return tall / long if long else None
    mine, others = int(of.sum()), int(to.sum())
    if measure.kind == "fall":
        return 1 - others / mine if mine else None
    return mine / others if others else None


def measurements(
    settings: SegmentationSettings,
    masks: Sequence[NDArray[np.bool_]],
    ids: Sequence[str],
    *,
    spacing: Sequence[float] | None,
    item: str,
    source: Source,
) -> list[Measurement]:
    """What the settings measure, as findings that stand on the masks.

    Args:
        settings: of the task.
        masks: of its labels.
        ids: of the findings that hold them.
        spacing: mm, or None where no scale is known.
        item: that the masks lie on.
        source: who says so.
    """
    named = dict(zip(settings.labels, masks, strict=True))
    out = []
    for number, one in enumerate(settings.measure, 1):
        axes = masks[0].ndim
        reason = ""
        value = value_of(one, named, spacing or (1.0,) * axes)
        unit = "1"
        if one.kind == "size":
            unit = "mL" if axes == 3 else "mm2" if spacing else "[pix_i]"
            if axes == 3 and spacing is None:
                value, reason = None, "the volume states no spacing"
        elif value is None:
            reason = f"{' and '.join(one.of if one.kind == 'fall' else one.to)} was not found"
        words = {"of": " and ".join(one.of), "to": " and ".join(one.to)}
        used = dict.fromkeys([*one.of, *one.to])
        out.append(
            Measurement(
                id=f"measure-{number}", name=one.name, source=source, item=item, value=value,
                unit=unit, method=_METHODS[one.kind].format(**words), reason=reason,
                evidence=tuple(ids[settings.labels.index(label)] for label in used),
            )
        )  # fmt: skip
    return out


def _figure(scored: StructureScores, key: str) -> float | None:
    value: float | None = getattr(scored, key)
    return None if value is None else float(value)
