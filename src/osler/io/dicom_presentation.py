"""Softcopy presentation states read: what somebody wrote and drew on images [1].

1. DICOM PS3.3, A.33, C.10.5 (Graphic Annotation) and C.11.8 (Softcopy VOI LUT).
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.io import dicom_header as header
from osler.io.contour_fill import fill_plane
from osler.io.dicom_context import Target, planes_of
from osler.io.dicom_seg_in import unused
from osler.io.dicom_sr_groups import outline
from osler.io.dicom_whole import read_whole
from osler.io.input_file import InputFile, decoding
from osler.record import Contour, Finding, Image, Mask, Passage, Point, Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def read_presentation(
    file: InputFile, format: str, *, images: Sequence[Image] = ()
) -> tuple[list[Finding], str | None]:
    """Read the annotations and the display window of a presentation state.

    Text becomes passages, points become points. Closed shapes become masks in the image that they
    are drawn on, if it is one of ``images``; lines, and shapes of other images, become contours
    in pixels. What is drawn relative to the screen, not to the image, has no place in it: its
    text is kept, its shapes are not, and the flag ``"drawn-on-display"`` says so.

    Args:
        file: the opened file.
        format: ``"dicom"``.
        images: images that the annotations may be about.

    Returns:
        The findings and the patient's id.

    Raises:
        UnreadableError: damaged or incomplete.
    """
    with decoding(file, format):
        dataset = read_whole(file)
        known = planes_of(images)
        findings: list[Finding] = []
        taken = {image.name for image in images}
        for finding in (*_annotations(dataset, known), *_windows(dataset, known)):
            finding.id = unused(finding.id, taken)
            taken.add(finding.id)
            findings.append(finding)
        return findings, header.patient_id(dataset)


def _targets(item: "Dataset", known: dict[str, Target]) -> list[Target]:
    """Where something is drawn: on each image that it names, or on one that is not at hand."""
    out: list[Target] = []
    for reference in item.get("ReferencedImageSequence") or ():
        image, plane = known.get(header.text(reference, "ReferencedSOPInstanceUID"), (None, None))
        frames = reference.get("ReferencedFrameNumber")
        frame = int(header.text(reference, "ReferencedFrameNumber") or 0) if frames else 0
        if image is not None and plane is None and len(image.shape) == 3 and frame:
            plane = frame - 1
        if image is not None:
            out.append((image, plane))
    return out or [(None, None)]


def _annotations(dataset: "Dataset", known: dict[str, Target]) -> Iterator[Finding]:
    source = Source("person", "author of the annotation")
    for layer in dataset.get("GraphicAnnotationSequence") or ():
        targets = _targets(layer, known)
        texts = list(layer.get("TextObjectSequence") or ())
        for target in targets:
            image, _ = target
            item = image.name if image is not None else None
            for one in texts:
                words = str(one.get("UnformattedTextValue") or "").strip()
                if words:
                    yield Passage(
                        id="annotation", name="Annotation", source=source, item=item, text=words
                    )
            for graphic in layer.get("GraphicObjectSequence") or ():
                finding = _graphic(graphic, target, source)
                if finding is not None:
                    yield finding


def _graphic(graphic: "Dataset", target: Target, source: Source) -> Finding | None:
    image, plane = target
    shared: dict[str, Any] = {
        "id": "drawing",
        "name": "Drawing",
        "source": source,
        "item": image.name if image is not None else None,
    }
    if header.text(graphic, "GraphicAnnotationUnits") == "DISPLAY":
        return Passage(
            text="Something was drawn relative to the display.",
            flags=("drawn-on-display",),
            **shared,
        )
    kind = header.text(graphic, "GraphicType")
    values = np.array(graphic.get("GraphicData") or [], np.float64).ravel()
    if not values.size or values.size % 2 or not np.isfinite(values).all():
        return None
    # DICOM counts (column, row) from the top left corner of the first pixel
    corners = values.reshape(-1, 2)
    flat = corners[:, ::-1] - 0.5
    if kind == "POINT":
        return Point(position=tuple(_placed(flat, plane)[0].tolist()), **shared)
    closed = kind in ("CIRCLE", "ELLIPSE") or bool(
        len(corners) > 3 and np.array_equal(corners[0], corners[-1])
    )
    line = outline(kind, flat)
    flags = ("line-interpolated",) if kind == "INTERPOLATED" else ()
    flags = (*flags, "filled") if header.text(graphic, "GraphicFilled") == "Y" else flags
    if closed and image is not None and (plane is None) == (len(image.shape) == 2):
        voxels = np.zeros(image.shape, np.bool_)
        inside = fill_plane([line], (image.shape[-2], image.shape[-1]))
        if plane is None or 0 <= plane < image.shape[0]:
            voxels[... if plane is None else plane] = inside
            return Mask(mask=voxels, flags=flags, **shared)
    return Contour(rings=(_placed(line, plane),), closed=closed, flags=flags, **shared)


def _placed(flat: NDArray[np.float64], plane: int | None) -> NDArray[np.float64]:
    if plane is None:
        return flat
    return np.column_stack([np.full(len(flat), float(plane)), flat])


def _windows(dataset: "Dataset", known: dict[str, Target]) -> Iterator[Finding]:
    for display in dataset.get("SoftcopyVOILUTSequence") or ():
        centre, width = (header.decimal(display, f"Window{k}") for k in ("Center", "Width"))
        if centre is None or width is None:
            continue
        names = dict.fromkeys(i.name if i else None for i, _ in _targets(display, known))
        for name in names:
            yield Passage(
                id="display-window",
                name="Display window",
                source=Source("person", "author of the presentation"),
                item=name,
                text=f"Shown with window centre {centre:g} and width {width:g}.",
                section="display",
            )
