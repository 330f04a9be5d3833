"""Contours, points and outlines of masks as an RT Structure Set [1].

Every finding becomes one structure; its lines are millimetres in the frame of reference of the
image, and each line in a plane names the slice that it lies in.

1. DICOM PS3.3, A.19, C.8.8.5 (Structure Set), C.8.8.6 (ROI Contour), C.8.8.8 (Observations).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import OutputError
from osler.io import identity
from osler.io.contour_fill import OFF_PLANE
from osler.io.contour_trace import keyholed, rings_of
from osler.io.dicom_context import frame_number, header_of, instances, new_object, write_dataset
from osler.io.dicom_photo import sound
from osler.record import Case, Contour, Finding, Image, Mask, Point, Source, Text, vocab

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY = "1.2.840.10008.3.1.2.3.1"  # the retired class that references to a study still name
_COLOURS = (
    *((255, 51, 71), (63, 140, 255), (138, 240, 160), (255, 241, 74)),
    *((215, 155, 255), (53, 232, 220), (255, 184, 108), (255, 106, 213)),
)


@dataclass(frozen=True, slots=True)
class _Line:
    """One contour: ``(N, 3)`` LPS millimetres, its kind, and the plane of the image or None."""

    points: NDArray[np.float64]
    kind: str
    plane: int | None = None


def write_structures(
    case: Case,
    path: str | Path,
    *,
    item: str | None = None,
    masks: bool = False,
    at: datetime | None = None,
) -> Path:
    """Write the contours and points of a case as an RT Structure Set.

    Args:
        case: the case.
        path: the file, which appears whole or not at all.
        item: the image that they lie in; the first placed one from DICOM by default. Where the
            case has none, contours in millimetres are written without one.
        masks: write the outlines of masks too, slice by slice along the edges of their pixels;
            holes are reached through channels of no width.
        at: when they were drawn; now by default.

    Returns:
        The path.

    Raises:
        OutputError: there is nothing to write, a line has no place in the patient, or the file
            cannot be written.
        InputError: the case has no such image.
    """
    image = case.image(item) if item is not None else _image_of(case)
    frame = _frame(image, case)
    found = [(f, list(_lines(f, image, frame, masks=masks))) for f in case.findings.values()]
    found = [(f, lines) for f, lines in found if lines]
    if not found:
        left = any(isinstance(f, Mask) for f in case.findings.values()) and not masks
        raise OutputError(
            f"case '{case.id}' has no contours or points that lie in image "
            f"'{image.name if image else ''}'"
            + ("; its masks are outlined where that is asked for (masks=True)" if left else "")
        )
    at = at or datetime.now().astimezone()
    uids = instances(image) if image is not None else ()
    key = _key(uids, frame, found)
    about = image if image is not None else Text("structures", "")
    ds = new_object(about, STRUCTURES, "RTSTRUCT", key=key, patient_id=case.patient_id, at=at)
    ds.SeriesNumber, ds.SeriesDescription, ds.OperatorsName = 105, "Osler structures", None
    ds.StructureSetLabel = "OSLER"
    ds.StructureSetDate, ds.StructureSetTime = ds.ContentDate, ds.ContentTime
    del ds.ContentDate, ds.ContentTime  # no attributes of this object
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = frame, None
    ds.ReferencedFrameOfReferenceSequence = [
        _referenced(image, uids, frame, str(ds.StudyInstanceUID))
    ]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    ds.RTROIObservationsSequence = []
    for number, (finding, lines) in enumerate(found, 1):
        ds.StructureSetROISequence.append(_roi(finding, number, frame))
        ds.ROIContourSequence.append(_drawn(lines, number, image, uids))
        ds.RTROIObservationsSequence.append(_observed(finding, number))
    write_dataset(ds, Path(path))
    return Path(path)


def _image_of(case: Case) -> Image | None:
    images = (i for i in case.items.values() if isinstance(i, Image) and i.modality != "SEG")
    return next((i for i in images if i.affine is not None and header_of(i)), None)


def _frame(image: Image | None, case: Case) -> str:
    """The frame of reference that everything is written in."""
    if image is None:
        frames = {c.frame for c in case.of(Contour)} - {""}
        if len(frames) == 1:
            return frames.pop()
        raise OutputError(
            f"case '{case.id}' has no image from DICOM with a place in the patient, and its "
            f"contours name {len(frames)} frames of reference; give the image along"
        )
    frame = sound(header_of(image), "FrameOfReferenceUID")
    if image.affine is None or not frame:
        raise OutputError(
            f"image '{image.name}' has no place in a frame of reference (FrameOfReferenceUID), so "
            "no structure can lie in it; write the masks as NIfTI instead"
        )
    return str(frame)


def _lines(finding: Finding, image: Image | None, frame: str, *, masks: bool) -> Iterator[_Line]:
    """What is written of a finding; nothing where it is about something else."""
    refuse_unplaced(finding)
    if isinstance(finding, Contour) and finding.frame:
        if finding.frame == frame:
            to_index = None if image is None else np.linalg.inv(_affine(image))
            for ring in finding.rings:
                yield _line(finding, ring, None if to_index is None else _moved(ring, to_index))
        return
    if image is None or finding.item not in (image.name, None):
        return
    if isinstance(finding, Point):
        index = _indices(np.array([finding.position], np.float64), image)
        yield _Line(_moved(index, _affine(image)), "POINT", _plane(index))
    elif isinstance(finding, Contour):
        for ring in finding.rings:
            index = _indices(ring, image)
            yield _line(finding, _moved(index, _affine(image)), index)
    elif isinstance(finding, Mask) and masks and finding.shape == image.shape:
        yield from _outlines(finding, image)


def refuse_unplaced(finding: Finding) -> None:
    """Raise where a point or line has coordinates that are no numbers.

    Raises:
        OutputError: it has.
    """
    places = finding.rings if isinstance(finding, Contour) else ()
    places = (np.array(finding.position),) if isinstance(finding, Point) else places
    if not all(np.isfinite(place).all() for place in places):
        raise OutputError(
            f"'{finding.id}' has coordinates that are no numbers, so it lies nowhere; leave it out"
        )


def _line(
    contour: Contour, points: NDArray[np.float64], index: NDArray[np.float64] | None
) -> _Line:
    flat = _flat(points)
    if len(points) == 1:
        kind = "POINT"
    elif contour.closed and flat and len(points) > 2:
        kind = "CLOSED_PLANAR"
    elif contour.closed:
        raise OutputError(
            f"contour '{contour.id}' has a closed line whose {len(points)} points lie in no one "
            "plane, which a structure set cannot hold"
        )
    else:
        kind = "OPEN_PLANAR" if flat else "OPEN_NONPLANAR"
    return _Line(points, kind, None if index is None else _plane(index))


def _outlines(mask: Mask, image: Image) -> Iterator[_Line]:
    voxels = mask.mask.reshape((1,) * (3 - len(image.shape)) + image.shape)
    for plane in np.flatnonzero(voxels.any((1, 2))).tolist():
        for ring in keyholed(rings_of(voxels[plane])):
            index = np.column_stack([np.full(len(ring), float(plane)), ring])
            yield _Line(_moved(index, _affine(image)), "CLOSED_PLANAR", plane)


def _affine(image: Image) -> NDArray[Any]:
    assert image.affine is not None
    return image.affine


def _indices(points: NDArray[np.float64], image: Image) -> NDArray[np.float64]:
    """``(N, 3)`` indices of points in an image, which may be flat."""
    if points.shape[1] == 3:
        return points
    if len(image.shape) == 3:
        raise OutputError(
            f"a line of two coordinates is said to lie in the volume '{image.name}'; its slice is "
            "not known"
        )
    return np.column_stack([np.zeros(len(points)), points])


def _moved(points: NDArray[np.float64], matrix: NDArray[Any]) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = points @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


def _plane(index: NDArray[np.float64]) -> int | None:
    plane = int(np.rint(index[:, 0].mean()))
    return plane if np.abs(index[:, 0] - plane).max() <= OFF_PLANE else None


def _flat(points: NDArray[np.float64]) -> bool:
    """Whether points lie in one plane, to a hundredth of a millimetre."""
    centred = points - points.mean(0)
    return len(points) < 4 or float(np.linalg.svd(centred, compute_uv=False)[2]) < 0.01


def _key(uids: tuple[str, ...], frame: str, found: Sequence[tuple[Finding, list[_Line]]]) -> str:
    total = hashlib.sha256(frame.encode())
    total.update("\\".join(uids).encode())
    for finding, lines in found:
        total.update(f"{finding.id}\\{finding.name}\\{finding.source}\\{finding.code}".encode())
        for line in lines:
            total.update(line.kind.encode() + np.round(line.points, 6).tobytes())
    return total.hexdigest()


def _referenced(image: Image | None, uids: tuple[str, ...], frame: str, study: str) -> "Dataset":
    from pydicom.dataset import Dataset

    out = Dataset()
    out.FrameOfReferenceUID = frame
    series = sound(header_of(image), "SeriesInstanceUID") if image is not None else None
    if image is None or not series:
        return out
    named, within = Dataset(), Dataset()
    within.SeriesInstanceUID = series
    within.ContourImageSequence = [_instance(image, uid) for uid in uids]
    named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID = _STUDY, study
    named.RTReferencedSeriesSequence = [within]
    out.RTReferencedStudySequence = [named]
    return out


def _instance(image: Image, uid: str) -> "Dataset":
    from pydicom.dataset import Dataset

    out = Dataset()
    out.ReferencedSOPClassUID = str(sound(header_of(image), "SOPClassUID") or "")
    out.ReferencedSOPInstanceUID = uid
    return out


def _roi(finding: Finding, number: int, frame: str) -> "Dataset":
    from pydicom.dataset import Dataset

    out = Dataset()
    out.ROINumber, out.ReferencedFrameOfReferenceUID = number, frame
    out.ROIName = (finding.name or finding.id)[:64]
    source = finding.source
    if source.kind == "person":
        out.ROIGenerationAlgorithm = "MANUAL"
        return out
    out.ROIGenerationAlgorithm = "AUTOMATIC"
    out.ROIGenerationDescription = source.name[:64]
    out.ROIDerivationAlgorithmIdentificationSequence = [_algorithm(source)]
    return out


def _algorithm(source: Source) -> "Dataset":
    from pydicom.dataset import Dataset

    out, family = Dataset(), Dataset()
    learnt = source.kind == "bundle"
    code = vocab.local("image-analysis", "Image analysis without learning")
    family.CodeValue = "123110" if learnt else code.value
    family.CodingSchemeDesignator = "DCM" if learnt else code.scheme
    family.CodeMeaning = "Artificial Intelligence" if learnt else code.meaning[:64]
    out.AlgorithmFamilyCodeSequence = [family]
    out.AlgorithmName = source.name[:64]
    out.AlgorithmVersion = (source.version or identity.version())[:64]
    out.AlgorithmSource = "Osler"
    return out


def _drawn(
    lines: Sequence[_Line], number: int, image: Image | None, uids: tuple[str, ...]
) -> "Dataset":
    from pydicom.dataset import Dataset

    out = Dataset()
    out.ROIDisplayColor = list(_COLOURS[(number - 1) % len(_COLOURS)])
    out.ReferencedROINumber = number
    out.ContourSequence = []
    for count, line in enumerate(lines, 1):
        one = Dataset()
        named = None if image is None or line.plane is None else _slice(image, uids, line.plane)
        if named is not None:
            one.ContourImageSequence = [named]
        one.ContourGeometricType, one.NumberOfContourPoints = line.kind, len(line.points)
        one.ContourNumber = count
        one.ContourData = _decimals(line.points)
        out.ContourSequence.append(one)
    return out


def _slice(image: Image, uids: tuple[str, ...], plane: int) -> "Dataset | None":
    several = len(image.shape) == 3
    if several and len(uids) > 1:
        return _instance(image, uids[plane]) if 0 <= plane < len(uids) else None
    if not uids or not 0 <= plane < (image.shape[0] if several else 1):
        return None
    out = _instance(image, uids[0])
    if several:
        out.ReferencedFrameNumber = frame_number(image, plane)
    return out


def _decimals(points: NDArray[np.float64]) -> list[str]:
    """Millimetres to a ten-thousandth of a micrometre, as short as they are."""
    if not np.isfinite(points).all() or np.abs(points).max() >= 1e6:
        raise OutputError("a line has points that are no places in a patient; mend its affine")
    # + 0.0: minus zero is zero
    return [f"{v:.7f}".rstrip("0").rstrip(".") for v in (points.ravel().round(7) + 0.0).tolist()]


def _observed(finding: Finding, number: int) -> "Dataset":
    from pydicom.dataset import Dataset

    out = Dataset()
    out.ObservationNumber, out.ReferencedROINumber = number, number
    if finding.code is not None:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator = finding.code.value, finding.code.scheme
        code.CodeMeaning = finding.code.meaning[:64]
        out.RTROIIdentificationCodeSequence = [code]
    out.RTROIInterpretedType, out.ROIInterpreter = None, None
    return out
