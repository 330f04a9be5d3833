"""RT Structure Sets read: contours in millimetres, filled in the grid of the image at hand [1].

A structure becomes a mask only where all its contours lie in planes of the image; otherwise it
stays what it is, lines in the patient, with a flag that says so. Never a mask with parts missing.

1. DICOM PS3.3, C.8.8.5 (Structure Set), C.8.8.6 (ROI Contour), C.8.8.8 (RT ROI Observations).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import UnreadableError
from osler.io import dicom_header as header
from osler.io.contour_fill import fill
from osler.io.dicom_codes import algorithm_of, code_of, slug
from osler.io.dicom_placing import said
from osler.io.dicom_seg_in import unused
from osler.io.dicom_whole import read_whole
from osler.io.input_file import InputFile, decoding
from osler.record import Code, Contour, Deferred, Finding, Image, Mask, Point, Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_FAR = 1e6
"""Millimetres; nothing of a patient lies further from the origin."""


@dataclass(slots=True)
class _Structure:
    """One region of interest."""

    name: str
    frame: str
    source: Source
    flags: tuple[str, ...] = ()
    code: Code | None = None
    closed: list[NDArray[np.float64]] = field(default_factory=list)
    open: list[NDArray[np.float64]] = field(default_factory=list)
    points: list[NDArray[np.float64]] = field(default_factory=list)


def read_rtstruct(
    file: InputFile, format: str, *, images: Sequence[Image] = ()
) -> tuple[list[Finding], str | None]:
    """Read a structure set.

    Args:
        file: the opened file.
        format: ``"dicom"``.
        images: images that it may be about.

    Returns:
        For each structure a mask in the grid of the image that it was drawn on, where that is at
        hand and every contour lies in one of its planes, else a contour in millimetres; points as
        points; and the patient's id.

    Raises:
        UnreadableError: damaged, incomplete, or with contours that are no points in space.
    """
    with decoding(file, format):
        dataset = read_whole(file)
        if "StructureSetROISequence" not in dataset:
            raise UnreadableError(
                f"'{file.name}' is a structure set without structures "
                "(StructureSetROISequence); it is incomplete: copy it again from its source"
            )
        series = _series(dataset)
        findings: list[Finding] = []
        taken = {image.name for image in images}
        for structure in _structures(file, dataset):
            image = _image_of(structure, series, images)
            for finding in _said(structure, image):
                finding.id = unused(finding.id, taken)
                taken.add(finding.id)
                findings.append(finding)
        return findings, header.patient_id(dataset)


def _structures(file: InputFile, dataset: "Dataset") -> list[_Structure]:
    found: dict[str, _Structure] = {}
    for roi in dataset.StructureSetROISequence:
        number = _number(roi, "ROINumber")
        found[number] = _Structure(
            header.text(roi, "ROIName") or f"Structure {number}",
            header.text(roi, "ReferencedFrameOfReferenceUID"),
            *_source(roi),
        )
    for observation in dataset.get("RTROIObservationsSequence") or ():
        structure = found.get(_number(observation, "ReferencedROINumber"))
        if structure is not None:
            structure.code = code_of(observation, "RTROIIdentificationCodeSequence")
    for drawn in dataset.get("ROIContourSequence") or ():
        structure = found.get(_number(drawn, "ReferencedROINumber"))
        for contour in drawn.get("ContourSequence") or () if structure is not None else ():
            assert structure is not None
            kind = header.text(contour, "ContourGeometricType")
            points = _points(file, contour)
            if kind == "POINT":
                structure.points.extend(points)
            elif kind in _CLOSED:
                structure.closed.append(points)
            else:
                structure.open.append(points)
    return list(found.values())


def _number(item: "Dataset", keyword: str) -> str:
    """A number as text without leading zeros; whatever else stands there as it is."""
    said = header.text(item, keyword)
    return str(int(said)) if said.isdecimal() else said


def _source(roi: "Dataset") -> tuple[Source, tuple[str, ...]]:
    """Who drew it: a program where the file says so, with its name and version where known."""
    kind = header.text(roi, "ROIGenerationAlgorithm")
    if kind not in ("AUTOMATIC", "SEMIAUTOMATIC"):
        return Source("person", "author of the contours"), ()
    flags = ("semi-automatic",) if kind == "SEMIAUTOMATIC" else ()
    named = next(iter(roi.get("ROIDerivationAlgorithmIdentificationSequence") or ()), None)
    if named is not None and header.text(named, "AlgorithmName"):
        return algorithm_of(named), flags
    described = header.text(roi, "ROIGenerationDescription")
    return Source("algorithm", described or "contouring program"), flags


def _points(file: InputFile, contour: "Dataset") -> NDArray[np.float64]:
    values = np.array(contour.get("ContourData") or [], np.float64).ravel()
    if not values.size or values.size % 3 or not (np.abs(values) < _FAR).all():
        raise UnreadableError(
            f"'{file.name}' has a contour whose ContourData (3006,0050) is no list of points in "
            "space; it is damaged: export it again"
        )
    return values.reshape(-1, 3)


def _series(dataset: "Dataset") -> set[str]:
    return {
        header.text(series, "SeriesInstanceUID")
        for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ()
        for study in frame.get("RTReferencedStudySequence") or ()
        for series in study.get("RTReferencedSeriesSequence") or ()
    } - {""}


def _image_of(structure: _Structure, series: set[str], images: Sequence[Image]) -> Image | None:
    """The image that the structure was drawn on, else one in the same frame of reference."""
    placed = [image for image in images if image.affine is not None]
    drawn_on = (i for i in placed if said(i, "SeriesInstanceUID") in series)
    same = (i for i in placed if said(i, "FrameOfReferenceUID") == structure.frame != "")
    return next(drawn_on, None) or next(same, None)


def _said(structure: _Structure, image: Image | None) -> list[Finding]:
    shared: dict[str, Any] = {
        "id": slug(structure.name),
        "name": structure.name,
        "source": structure.source,
        "code": structure.code,
        "flags": structure.flags,
    }
    out: list[Finding] = []
    if structure.closed:
        out.append(_filled(structure, image, shared))
    if structure.open:
        out.append(
            Contour(rings=tuple(structure.open), closed=False, frame=structure.frame, **shared)
        )
    if not (structure.closed or structure.open or structure.points):
        nothing = {"flags": (*structure.flags, "structure-empty")}
        out.append(Contour(rings=(), frame=structure.frame, **shared | nothing))
    for point in structure.points:
        out.append(_point(point, structure.frame, image, shared))
    return out


def _filled(structure: _Structure, image: Image | None, shared: dict[str, Any]) -> Finding:
    if image is not None and image.affine is not None:
        shape = (1,) * (3 - len(image.shape)) + image.shape
        to_index = np.linalg.inv(image.affine)
        rings = [_indices(ring, to_index) for ring in structure.closed]
        voxels = fill(rings, (shape[0], shape[1], shape[2]))
        if voxels is not None:
            packed, size = np.packbits(voxels), image.shape
            count = voxels.size

            def unpacked() -> NDArray[np.bool_]:
                bits = np.unpackbits(packed, count=count).view(np.bool_)
                return bits.reshape(size)

            mask = Deferred(size, np.dtype(np.bool_), unpacked)
            return Mask(item=image.name, mask=mask, **shared)
        shared = shared | {"flags": (*structure.flags, "contour-off-plane")}
    return Contour(rings=tuple(structure.closed), frame=structure.frame, **shared)


def _point(
    point: NDArray[np.float64], frame: str, image: Image | None, shared: dict[str, Any]
) -> Finding:
    if image is None or image.affine is None:
        return Contour(rings=(point[None],), closed=False, frame=frame, **shared)
    index = _indices(point[None], np.linalg.inv(image.affine))[0]
    position = tuple(float(v) for v in index[-len(image.shape) :])
    return Point(item=image.name, position=position, **shared)


def _indices(points: NDArray[np.float64], to_index: NDArray[Any]) -> NDArray[np.float64]:
    indices: NDArray[np.float64] = points @ to_index[:3, :3].T + to_index[:3, 3]
    return indices
