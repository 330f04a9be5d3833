"""Small pictures of the cases that a bundle did worst on, with truth and answer drawn on them."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.batch.evaluation_rows import Judge
from osler.data.cohort import Cohort
from osler.data.fingerprint_html import shown
from osler.data.opening import open_row
from osler.errors import OslerError
from osler.record import Case, Image, Mask, Source

MOST: Final = 8
_SIDE: Final = 240
TRUTH, ANSWER = (95, 208, 197), (255, 158, 77)
"""Colours of what the cohort says and of what the bundle says."""


def pictures(content: Mapping[str, Any], judge: Judge, cohort: Cohort) -> list[dict[str, Any]]:
    """The worst cases, worst first: ``case``, ``worth``, ``picture`` (a data address or empty).

    Args:
        content: of ``evaluation.json``.
        judge: the bundle.
        cohort: where the cases come from.
    """
    known = [case for case in content["cases"] if case["worth"] is not None]
    worst = sorted(known, key=lambda case: float(case["worth"]))[:MOST]
    rows = {row.case_id: row for row in cohort.rows}
    out = []
    for one in worst:
        try:
            case = open_row(rows[one["case"]], cohort)
            picture, drawn = _picture(case, judge)
        except OslerError:  # it was read a moment ago; a page without its picture is still right
            picture, drawn = "", False
        out.append({"case": one["case"], "worth": one["worth"], "row": one["bundle"],
                    "picture": picture, "drawn": drawn})  # fmt: skip
    return out


def _picture(case: Case, judge: Judge) -> tuple[str, bool]:
    image = next((item for item in case.items.values() if isinstance(item, Image)), None)
    if image is None:
        return "", False
    pairs: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []
    if judge.task.masks:
        pairs = list(_masks(case, judge))
    shapes = {mask.shape for pair in pairs for mask in pair}
    image = next(
        (i for i in case.items.values() if isinstance(i, Image) and {i.shape} == shapes), image
    )
    pairs = [pair for pair in pairs if pair[0].shape == image.shape]
    plane = _busiest(pairs) if len(image.shape) == 3 else None
    flat = shown(image if plane is None else _slice(image, plane))
    if plane is not None:
        pairs = [(a[plane], b[plane]) for a, b in pairs]
    return _drawn(flat, pairs), bool(pairs)


def _masks(
    case: Case, judge: Judge
) -> Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:  # fmt: skip
    """Truth and answer of each label that the bundle marks."""
    true = {one.name: np.asarray(one.mask) for one in case.of(Mask) if one.source.kind == "person"}
    sample = judge.task.encode(case)
    outputs = judge.task.calibrated(judge.task.run(judge.bundle.run, sample))
    said = judge.task.decode(outputs, sample, source=Source("bundle", judge.bundle.card.name))
    return [
        (true.get(one.name, np.zeros(one.mask.shape, bool)), np.asarray(one.mask))
        for one in said
        if isinstance(one, Mask)
    ]


def _busiest(pairs: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]) -> int | None:
    """The slice in which truth and answer differ most, else the one with most in it."""
    if not pairs:
        return None
    wrong = sum(((a ^ b).sum(axis=(1, 2)) for a, b in pairs), np.zeros(len(pairs[0][0])))
    there = sum(((a | b).sum(axis=(1, 2)) for a, b in pairs), np.zeros(len(pairs[0][0])))
    return int(np.argmax(wrong + there * 1e-6))


def _slice(image: Image, plane: int) -> Image:
    return Image(image.name, np.asarray(image.array[:, plane]), image.modality)


def _drawn(
    flat: NDArray[np.uint8], pairs: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]
) -> str:
    from PIL import Image as Pillow

    picture = Pillow.fromarray(flat).convert("RGB")
    scale = _SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    canvas = np.asarray(picture.resize(size, Pillow.Resampling.BICUBIC)).copy()
    for truth, said in pairs:
        for mask, colour in ((truth, TRUTH), (said, ANSWER)):
            large = Pillow.fromarray(mask.astype(np.uint8) * 255).resize(
                size, Pillow.Resampling.BILINEAR
            )
            canvas[_edge(np.asarray(large) >= 128)] = colour
    stream = io.BytesIO()
    Pillow.fromarray(canvas).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask that have a neighbour outside of it."""
    padded = np.pad(mask, 1)
    inside = padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    return np.asarray(mask & ~inside)
