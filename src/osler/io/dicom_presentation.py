"""Softcopy presentation states read: what somebody wrote and drew on images [1].

1. DICOM PS3.3, A.33, C.10.5 (Graphic Annotation) and C.11.8 (Softcopy VOI LUT).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.io import dicom_header as header
from osler.io.contour_fill import fill_plane
from osler.io.dicom_codes import slug
from osler.io.dicom_context import Target, plane_of_frame, planes_of
from osler.io.dicom_graphic_layers import SOMEBODY, sources_of
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

    Text becomes passages, points become points, lines and closed shapes contours in pixels; a
    shape that is filled becomes a mask in the image that it is drawn on, if it is one of
    ``images``. The source is a person, unless Osler wrote which program drew. What is drawn
    relative to the screen, not to the image, has no place in it: its text is kept, its shapes are
    not, and the flag ``"drawn-on-display"`` says so.

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
            plane = plane_of_frame(image, frame)
        if image is not None:
            out.append((image, plane))
    return out or [(None, None)]


def _annotations(dataset: "Dataset", known: dict[str, Target]) -> Iterator[Finding]:
    sources = sources_of(dataset)
    lines: dict[tuple[Any, ...], list[_Line]] = {}
    for layer in dataset.get("GraphicAnnotationSequence") or ():
        targets = _targets(layer, known)
        source = sources.get(header.text(layer, "GraphicLayer"), SOMEBODY)
        named = dict.fromkeys(image.name if image is not None else None for image, _ in targets)
        for one in layer.get("TextObjectSequence") or ():
            words = str(one.get("UnformattedTextValue") or "").strip()
            for item in named if words else ():  # once for a volume, however many its slices
                yield Passage(
                    id="annotation", name="Annotation", source=source, item=item, text=words
                )
        for graphic in layer.get("GraphicObjectSequence") or ():
            for target in targets:
                line = _line(graphic, target)
                if line is not None:
                    # parts of one thing carry one UID; without it each is a thing of its own
                    uid = header.text(graphic, "TrackingUID") or len(lines)
                    key = (uid, line.item, line.closed, line.flags, source)
                    lines.setdefault(key, []).append(line)
    for (*_, drawer), together in lines.items():
        yield _drawing(together, drawer)


@dataclass(frozen=True, slots=True)
class _Line:
    """One graphic on one image: ``(N, 2)`` of ``(h, w)``, and the plane of a volume."""

    name: str
    image: Image | None
    plane: int | None
    points: NDArray[np.float64]
    closed: bool
    flags: tuple[str, ...] = ()

    @property
    def item(self) -> str | None:
        return self.image.name if self.image is not None else None


def _line(graphic: "Dataset", target: Target) -> _Line | None:
    image, plane = target
    name = header.text(graphic, "TrackingID")
    if header.text(graphic, "GraphicAnnotationUnits") == "DISPLAY":
        nothing = np.zeros((0, 2))
        return _Line(name, image, plane, nothing, closed=False, flags=("drawn-on-display",))
    kind = header.text(graphic, "GraphicType")
    values = np.array(graphic.get("GraphicData") or [], np.float64).ravel()
    if not values.size or values.size % 2 or not np.isfinite(values).all():
        return None
    # DICOM counts (column, row) from the top left corner of the first pixel
    corners = values.reshape(-1, 2)[:, ::-1] - 0.5
    if kind == "POINT":
        return _Line(name, image, plane, corners[:1], closed=False)
    round_trip = len(corners) > 3 and np.array_equal(corners[0], corners[-1])
    flags = ("line-interpolated",) if kind == "INTERPOLATED" else ()
    flags = (*flags, "filled") if header.text(graphic, "GraphicFilled") == "Y" else flags
    line = outline(kind, corners[:-1] if round_trip else corners)
    closed = kind in ("CIRCLE", "ELLIPSE") or round_trip
    return _Line(name, image, plane, line, closed=closed, flags=flags)


def _drawing(lines: list[_Line], source: Source) -> Finding:
    first = lines[0]
    image = first.image
    shared: dict[str, Any] = {
        "id": slug(first.name) if first.name else "drawing",
        "name": first.name or "Drawing",
        "source": source,
        "item": first.item,
        "flags": first.flags,
    }
    if not len(first.points):
        return Passage(text="Something was drawn relative to the display.", **shared)
    rings = tuple(_placed(line.points, line.plane) for line in lines)
    if len(rings) == 1 and len(rings[0]) == 1:
        return Point(position=tuple(rings[0][0].tolist()), **shared)
    filled = "filled" in first.flags and first.closed
    mask = _filled(lines, image) if filled and image is not None else None
    if mask is not None:
        return Mask(mask=mask, **shared)
    return Contour(rings=rings, closed=first.closed, **shared)


def _filled(lines: list[_Line], image: Image) -> NDArray[np.bool_] | None:
    """What the lines enclose, by the even-odd rule; None where one has no plane in the image."""
    flat = len(image.shape) == 2
    planes: dict[int, list[NDArray[np.float64]]] = {}
    for line in lines:
        plane = 0 if flat and line.plane is None else line.plane
        if plane is None or not 0 <= plane < (1 if flat else image.shape[0]):
            return None
        planes.setdefault(plane, []).append(line.points)
    voxels = np.zeros((1,) * flat + image.shape, np.bool_)
    for plane, rings in planes.items():
        voxels[plane] = fill_plane(rings, (image.shape[-2], image.shape[-1]))
    return voxels[0] if flat else voxels


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
