"""Masks of a volume as a DICOM Segmentation: binary, fractional or label map [1].

A segment takes frames only in the planes where it has a voxel. Masks are packed one after the
other into a file, and the descriptions of thousands of frames are bytes put together from a few
parts, so that a hundred organs need the memory of one and seconds, not minutes.

1. DICOM PS3.3, A.51, A.94, C.8.20 and C.7.6.16.
"""

import hashlib
import io
import shutil
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from osler.errors import OutputError
from osler.io import dicom_encoding as encode
from osler.io import identity
from osler.io.atomic_file import replacing
from osler.io.dicom_context import digest_of, header_of, instances, new_object, refer
from osler.io.dicom_photo import sound
from osler.record import Code, Image, Mask, vocab

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Kind = Literal["binary", "fractional", "labelmap"]
_SOP_CLASS = {
    "binary": "1.2.840.10008.5.1.4.1.1.66.4",
    "fractional": "1.2.840.10008.5.1.4.1.1.66.4",
    "labelmap": "1.2.840.10008.5.1.4.1.1.66.7",
}
_MOST_SEGMENTS = 65_535
_IN_MEMORY = 1 << 25  # bytes of packed pixels before they go to a file beside the target
_FULL = 255  # the stored value that stands for probability 1
_SEGMENTATION = Code("113076", "DCM", "Segmentation")
_SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")


@dataclass(frozen=True, slots=True)
class _Plan:
    """The frames in order: segment number (0 for a label map) and plane of each."""

    segments: NDArray[np.int64]
    planes: NDArray[np.int64]
    length: int
    overlap: bool | None


def write_segmentation(
    masks: Sequence[Mask],
    image: Image,
    path: str | Path,
    *,
    kind: Kind = "binary",
    patient_id: str | None = None,
    at: datetime | None = None,
) -> Path:
    """Write masks of a placed image as one DICOM Segmentation.

    Args:
        masks: at least one with a voxel, each of the image's ``(D, H, W)`` or ``(H, W)``. The
            numbers of the segments are their order, from 1.
        image: the image that they are about; it must have an affine. Its pixels stay unread.
        path: the file, which appears whole or not at all.
        kind: ``"binary"``; ``"fractional"``, which keeps probabilities in steps of 1/255; or
            ``"labelmap"``, for masks that do not overlap.
        patient_id: the patient, where the image's file names none.
        at: when the masks were made; now by default.

    Returns:
        The path.

    Raises:
        OutputError: a mask is of another shape, no mask has a voxel, masks overlap in a label map,
            the image has no place in the patient, or the file cannot be written.
    """
    path = Path(path)
    _check(masks, image)
    at = at or datetime.now().astimezone()
    total = hashlib.sha256()
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as packed:
        plan = _pack(masks, image, kind, packed, total)
        if not len(plan.planes):
            raise OutputError(
                f"no mask of image '{image.name}' has a voxel, and a segmentation without a frame "
                "is not allowed; write the other findings only"
            )
        names = "".join(f"{m.id}{m.source}{m.flags}{m.code}" for m in masks)
        key = digest_of(image, names.encode(), kind.encode(), total.digest())
        ds = _header(masks, image, kind, plan, key=key, patient_id=patient_id, at=at)
        with replacing(path) as part, part.open("wb") as file:
            buffer = io.BytesIO()
            ds.save_as(buffer, enforce_file_format=True)
            file.write(buffer.getbuffer())
            file.write(_frames(image, kind, plan))
            odd = plan.length % 2
            wide = kind == "labelmap" and _label_type(masks).itemsize == 2
            vr = b"OW" if wide else b"OB"
            file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, vr, 0, plan.length + odd))
            packed.seek(0)
            shutil.copyfileobj(packed, file, 1 << 20)
            file.write(b"\0" * odd)
    return path


def _check(masks: Sequence[Mask], image: Image) -> None:
    for mask in masks:
        if mask.shape != image.shape:
            raise OutputError(
                f"mask '{mask.id}' has shape {mask.shape} but image '{image.name}' has "
                f"{image.shape}; give masks in the native grid of their image"
            )
    if image.affine is None:
        raise OutputError(
            f"image '{image.name}' has no place in the patient (no affine), which a segmentation "
            "of a volume must say; write the masks as NIfTI or NRRD"
        )
    if not 0 < len(masks) <= _MOST_SEGMENTS:
        raise OutputError(f"{len(masks)} masks were given; a segmentation holds 1 to 65,535")
    across, down = image.affine[:3, 2], image.affine[:3, 1]
    lengths = float(np.linalg.norm(across)), float(np.linalg.norm(down))
    if min(lengths) <= 0 or abs(float(across @ down)) > 1e-4 * lengths[0] * lengths[1]:
        raise OutputError(
            f"image '{image.name}' has an affine whose rows and columns are not at right angles, "
            "which DICOM cannot say; resample it, or write NIfTI"
        )


def _planes_of(volume: NDArray[Any]) -> NDArray[np.int64]:
    flat = volume.reshape(-1, volume.shape[-2] * volume.shape[-1])
    return np.flatnonzero(flat.any(axis=1))


def _label_type(masks: Sequence[Mask]) -> np.dtype[Any]:
    return np.dtype("<u1" if len(masks) < 256 else "<u2")


def _pack(masks: Sequence[Mask], image: Image, kind: Kind, out: IO[bytes], total: Any) -> _Plan:
    """Write the pixels of the frames, and say which frames they are."""
    shape = (1,) * (3 - len(image.shape)) + image.shape
    if kind == "labelmap":
        labels = _labels(masks, shape, image)
        planes = _planes_of(labels)
        content = np.ascontiguousarray(labels[planes]).data
        total.update(content)
        out.write(content)
        return _Plan(np.zeros(len(planes), np.int64), planes, len(content.cast("B")), False)
    segments: list[NDArray[np.int64]] = []
    all_planes: list[NDArray[np.int64]] = []
    left: NDArray[np.bool_] = np.zeros(0, np.bool_)
    length = 0
    seen, overlap = np.zeros(shape, np.bool_), False
    for number, mask in enumerate(masks, 1):
        voxels = _stored(mask, kind).reshape(shape)
        planes = _planes_of(voxels)
        segments.append(np.full(len(planes), number, np.int64))
        all_planes.append(planes)
        # planes in one run are a view, not a copy
        run = len(planes) and planes[-1] - planes[0] == len(planes) - 1
        frames = voxels[planes[0] : planes[-1] + 1] if run else voxels[planes]
        if kind == "binary":
            place = slice(int(planes[0]), int(planes[-1]) + 1) if run else planes
            overlap = overlap or bool((seen[place] & frames).any())
            seen[place] |= frames
            bits = frames.reshape(-1)
            if len(left):
                bits = np.concatenate([left, bits])
            whole = len(bits) // 8 * 8
            content = np.packbits(bits[:whole], bitorder="little").data
            left = bits[whole:].copy()
        else:
            content = np.ascontiguousarray(frames).data
        total.update(content)
        out.write(content)
        length += len(content.cast("B"))
    if len(left):
        rest = np.packbits(left, bitorder="little").tobytes()
        total.update(rest)
        out.write(rest)
        length += len(rest)
    said = overlap if kind == "binary" else None
    return _Plan(np.concatenate(segments), np.concatenate(all_planes), length, said)


def _stored(mask: Mask, kind: Kind) -> NDArray[Any]:
    if kind == "binary":
        return np.asarray(mask.mask, np.bool_)
    if not mask.fractional:
        return np.where(mask.mask, np.uint8(_FULL), np.uint8(0))
    chances = np.nan_to_num(np.asarray(mask.probabilities, np.float32))
    return np.rint(np.clip(chances, 0, 1) * _FULL).astype(np.uint8)


def _labels(masks: Sequence[Mask], shape: tuple[int, ...], image: Image) -> NDArray[Any]:
    labels = np.zeros(shape, _label_type(masks))
    for number, mask in enumerate(masks, 1):
        voxels = mask.mask.reshape(shape)
        taken = int(labels[voxels].max(initial=0))
        if taken:
            raise OutputError(
                f"masks '{mask.id}' and '{masks[taken - 1].id}' of image '{image.name}' overlap, "
                "and a voxel of a label map is of one segment; write them as kind='binary'"
            )
        labels[voxels] = number
    return labels


def _header(
    masks: Sequence[Mask],
    image: Image,
    kind: Kind,
    plan: _Plan,
    *,
    key: str,
    patient_id: str | None,
    at: datetime,
) -> "Dataset":
    header = header_of(image)
    ds = new_object(image, _SOP_CLASS[kind], "SEG", key=key, patient_id=patient_id, at=at)
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.SeriesNumber = 101
    ds.SeriesDescription = "Osler segmentation"
    frame = sound(header, "FrameOfReferenceUID")
    ds.FrameOfReferenceUID = str(frame or identity.uid(digest_of(image), "frame"))
    ds.PositionReferenceIndicator = sound(header, "PositionReferenceIndicator")
    refer(ds, image)
    ds.ContentLabel, ds.ContentDescription = "OSLER", f"Segments of the {image.modality} image"
    ds.ContentCreatorName = None
    ds.NumberOfFrames = len(plan.planes)
    ds.Rows, ds.Columns = image.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 1 if kind == "binary" else 8 * (_label_type(masks).itemsize if kind == "labelmap" else 1)
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation = bits - 1, 0
    ds.LossyImageCompression = "00"
    ds.SegmentationType = {"binary": "BINARY", "fractional": "FRACTIONAL"}.get(kind, "LABELMAP")
    if kind == "fractional":
        ds.SegmentationFractionalType, ds.MaximumFractionalValue = "PROBABILITY", _FULL
    if kind == "labelmap":
        ds.PixelPaddingValue = 0
    ds.SegmentsOverlap = {True: "YES", False: "NO", None: "UNDEFINED"}[plan.overlap]
    ds.SegmentSequence = [_segment(mask, n, key) for n, mask in enumerate(masks, 1)]
    _dimensions(ds, kind, key)
    ds.SharedFunctionalGroupsSequence = [_shared(image, header)]
    return ds


def _dimensions(ds: "Dataset", kind: Kind, key: str) -> None:
    from pydicom.dataset import Dataset

    organization = Dataset()
    organization.DimensionOrganizationUID = identity.uid(key, "dimensions")
    ds.DimensionOrganizationSequence = [organization]
    pointers = [(0x00200032, 0x00209113, "Position")]
    if kind != "labelmap":
        pointers.insert(0, (0x0062000B, 0x0062000A, "Segment"))
    ds.DimensionIndexSequence = []
    for pointer, group, label in pointers:
        index = Dataset()
        index.DimensionOrganizationUID = organization.DimensionOrganizationUID
        index.DimensionIndexPointer, index.FunctionalGroupPointer = pointer, group
        index.DimensionDescriptionLabel = label
        ds.DimensionIndexSequence.append(index)


def _shared(image: Image, header: Any) -> "Dataset":
    from pydicom.dataset import Dataset
    from pydicom.valuerep import DSfloat

    assert image.affine is not None
    sizes = np.linalg.norm(image.affine[:3, :3], axis=0)
    directions = image.affine[:3, :3] / sizes
    group, measures, orientation = Dataset(), Dataset(), Dataset()

    def exact(*values: float) -> list[DSfloat]:
        return [DSfloat(float(v), auto_format=True) for v in values]

    measures.PixelSpacing = exact(sizes[1], sizes[2])
    thickness = sound(header, "SliceThickness")
    measures.SliceThickness = thickness or exact(sizes[0])[0]
    if len(image.shape) == 3 and image.shape[0] > 1:
        measures.SpacingBetweenSlices = exact(sizes[0])[0]
    orientation.ImageOrientationPatient = exact(*directions[:, 2], *directions[:, 1])
    group.PixelMeasuresSequence = [measures]
    group.PlaneOrientationSequence = [orientation]
    return group


def _segment(mask: Mask, number: int, key: str) -> "Dataset":
    from pydicom.dataset import Dataset

    shown = vocab.structure(mask.id, mask.name)
    ds = Dataset()
    ds.SegmentNumber = number
    ds.SegmentLabel = (mask.name or mask.id)[:64]
    if mask.flags or mask.note:
        ds.SegmentDescription = "; ".join(filter(None, (*mask.flags, mask.note)))[:1024]
    person = mask.source.kind == "person"
    ds.SegmentAlgorithmType = "MANUAL" if person else "AUTOMATIC"
    if not person:
        ds.SegmentAlgorithmName = mask.source.name[:64]
        algorithm = Dataset()
        learnt = Code("123110", "DCM", "Artificial Intelligence")
        plain = vocab.local("image-analysis", "Image analysis without learning")
        family = learnt if mask.source.kind == "bundle" else plain
        algorithm.AlgorithmFamilyCodeSequence = [_coded(family)]
        algorithm.AlgorithmName = mask.source.name[:64]
        algorithm.AlgorithmVersion = (mask.source.version or identity.version())[:64]
        algorithm.AlgorithmSource = "Osler"
        ds.SegmentationAlgorithmIdentificationSequence = [algorithm]
    ds.SegmentedPropertyCategoryCodeSequence = [_coded(mask.category or shown.category)]
    ds.SegmentedPropertyTypeCodeSequence = [_coded(mask.code or shown.type)]
    if mask.laterality and not mask.site:
        side = _coded(vocab.side(mask.laterality))
        ds.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    if mask.site:
        region = _coded(mask.site)
        if mask.laterality:
            region.AnatomicRegionModifierSequence = [_coded(vocab.side(mask.laterality))]
        ds.AnatomicRegionSequence = [region]
    ds.TrackingID, ds.TrackingUID = mask.id[:64], identity.uid(key, "segment", mask.id)
    return ds


def _coded(code: Code) -> "Dataset":
    from pydicom.dataset import Dataset

    item = Dataset()
    if len(code.value) <= 16:
        item.CodeValue = code.value
    else:
        item.LongCodeValue = code.value
    item.CodingSchemeDesignator, item.CodeMeaning = code.scheme[:16], code.meaning[:64]
    return item


def _frames(image: Image, kind: Kind, plan: _Plan) -> bytes:
    """The per-frame functional groups, encoded."""
    assert image.affine is not None
    used, ranks = np.unique(plan.planes, return_inverse=True)
    derivation = _derivations(image, used)
    positions = [
        encode.sequence(
            0x00209113,
            encode.item(encode.decimals(0x00200032, tuple((image.affine @ [d, 0, 0, 1])[:3]))),
        )
        for d in used.tolist()
    ]
    # (0020,9111) with (0020,9157), and (0062,000A) with (0062,000B): fixed lengths
    count = 1 if kind == "labelmap" else 2
    content_head = (
        struct.pack("<HH2sHI", 0x0020, 0x9111, b"SQ", 0, 16 + 4 * count)
        + struct.pack("<HHI", 0xFFFE, 0xE000, 8 + 4 * count)
        + struct.pack("<HH2sH", 0x0020, 0x9157, b"UL", 4 * count)
    )
    segment_head = (
        struct.pack("<HH2sHI", 0x0062, 0x000A, b"SQ", 0, 18)
        + struct.pack("<HHI", 0xFFFE, 0xE000, 10)
        + struct.pack("<HH2sH", 0x0062, 0x000B, b"US", 2)
    )
    items = []
    for segment, rank in zip(plan.segments.tolist(), ranks.tolist(), strict=True):
        place = struct.pack("<I", rank + 1)
        number = b"" if kind == "labelmap" else struct.pack("<I", segment)
        named = b"" if kind == "labelmap" else segment_head + struct.pack("<H", segment)
        content = content_head + number + place
        parts = (derivation[rank], content, positions[rank], named)
        items.append(encode.item(*parts))
    return encode.sequence(0x52009230, *items)


def _derivations(image: Image, planes: NDArray[np.int64]) -> list[bytes]:
    """For each plane the slice that it was made of, or the multi-frame object as a whole."""
    uids = instances(image)
    sop_class = sound(header_of(image), "SOPClassUID")
    depth = image.shape[0] if len(image.shape) == 3 else 1
    if not (sop_class and len(uids) in (1, depth) and all(uids)):
        return [b""] * len(planes)
    uids = uids * (depth // len(uids))
    purpose = encode.code(
        0x0040A170, _SOURCE_IMAGE.value, _SOURCE_IMAGE.scheme, _SOURCE_IMAGE.meaning
    )
    kind = encode.code(0x00089215, _SEGMENTATION.value, _SEGMENTATION.scheme, _SEGMENTATION.meaning)
    out = []
    for plane in planes.tolist():
        source = encode.item(
            encode.text(0x00081150, "UI", str(sop_class)),
            encode.text(0x00081155, "UI", uids[plane]),
            purpose,
        )
        inner = encode.item(encode.sequence(0x00082112, source), kind)
        out.append(encode.sequence(0x00089124, inner))
    return out
