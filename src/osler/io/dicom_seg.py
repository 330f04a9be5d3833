"""Masks as a DICOM Segmentation: one binary segment a mask, in the grid of the photograph [1].

A photograph has no frame of reference, so a segment is tied to its pixels by reference alone: the
segmentation has the same rows and columns and names the image that it was derived from.

1. DICOM PS3.3, A.51 and C.8.20; the code meanings follow PS3.16, CID 7150.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.errors import OutputError
from osler.io import identity
from osler.io.dicom_photo import side_of, source_dataset, when
from osler.record import Case, Laterality, Mask, Source, vocab
from osler.record.code import Code

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.dataset import Dataset

FILE = "segmentation.dcm"


def write_seg(
    case: Case, folder: Path, *, item: str = "photo", source: "Dataset | None" = None
) -> Path | None:
    """Write the masks of an image as ``segmentation.dcm``.

    Args:
        case: the case; its masks that have no pixel are left out.
        folder: an existing folder.
        item: name of the image.
        source: the data set that stands for the image, made where it is not given.

    Returns:
        The file, or None where no mask has a pixel.

    Raises:
        OutputError: a mask is not of the image's shape ``(H, W)``, or the image came from DICOM
            of a class that no segmentation can refer to as it is.
    """
    seg = build_seg(case, item=item, source=source)
    if seg is None:
        return None
    path = folder / FILE
    seg.save_as(path)
    return path


def build_seg(
    case: Case, *, item: str = "photo", source: "Dataset | None" = None
) -> "Segmentation | None":
    """The data set of ``write_seg``."""
    from highdicom.seg import Segmentation

    masks = segmented(case, item=item)
    if not masks:
        return None
    source = source if source is not None else source_dataset(case, item=item)
    side = side_of(case, item=item)
    # (frames, H, W, segments)
    pixels = np.stack([m.mask for m in masks], axis=-1)[None].astype(np.uint8)
    key = _key(masks, str(source.SOPInstanceUID))
    try:
        seg = Segmentation(
            source_images=[_referable(source)],
            pixel_array=pixels,
            segmentation_type="BINARY",
            segment_descriptions=[_segment(m, n, side, key) for n, m in enumerate(masks, 1)],
            series_instance_uid=identity.uid(key, "segmentation", "series"),
            series_number=101,
            sop_instance_uid=identity.uid(key, "segmentation"),
            instance_number=1,
            manufacturer="Osler",
            manufacturer_model_name="osler",
            software_versions=identity.version(),
            device_serial_number="none",
            content_label="OSLER",
            content_description="Structures and lesions of the photograph",
            series_description="Osler segmentation",
            specific_character_set="ISO_IR 192",
            omit_empty_frames=False,
        )
    except (ValueError, KeyError, AttributeError) as error:
        raise OutputError(
            f"masks of image '{item}' cannot be written as DICOM: an image of SOP class "
            f"{source.SOPClassUID} must say where it lies in the patient, or its class is not "
            "known; leave DICOM out"
        ) from error
    if "FrameOfReferenceUID" not in seg:
        # the placeholder of `_referable`: the scale is that of the photograph, which is named
        seg.SharedFunctionalGroupsSequence[0].pop("PixelMeasuresSequence", None)
    organization = identity.uid(key, "dimensions")
    for items in (seg.DimensionOrganizationSequence, seg.DimensionIndexSequence):
        for entry in items:
            entry.DimensionOrganizationUID = organization
    seg.PatientOrientation = None
    stamp(seg, case)
    return seg


def _referable(source: "Dataset") -> "Dataset":
    """The source as highdicom wants it.

    It takes every object that may have several frames for one with functional groups, which
    ophthalmic photographs have not.
    """
    from highdicom import PixelMeasuresSequence
    from pydicom.dataset import Dataset

    if "FrameOfReferenceUID" in source:
        return source
    copy = Dataset()
    copy.update({e.tag: e for e in source if e.tag != 0x7FE00010})
    group = Dataset()
    group.PixelMeasuresSequence = PixelMeasuresSequence(pixel_spacing=(1.0, 1.0), slice_thickness=1)
    copy.SharedFunctionalGroupsSequence = [group]
    return copy


def segmented(case: Case, *, item: str = "photo") -> list[Mask]:
    """The masks of an image that have a pixel, in order: segment ``n`` is the ``n``-th, from 1.

    Raises:
        OutputError: a mask is not of the image's shape ``(H, W)``.
    """
    shape = case.image(item).shape
    masks = [m for m in case.of(Mask) if m.item in (item, None) and m.mask.any()]
    for mask in masks:
        if mask.mask.shape != shape or mask.mask.ndim != 2:
            raise OutputError(
                f"mask '{mask.id}' has shape {mask.mask.shape} but image '{item}' has {shape}; "
                "give masks in the native (H, W) grid of their image"
            )
    return masks


def stamp(ds: "Dataset", case: Case) -> None:
    """Date the object by the case, so that it is written the same again, and name our scheme."""
    from pydicom.dataset import Dataset

    at = when(case)
    ds.ContentDate = ds.SeriesDate = ds.InstanceCreationDate = at.strftime("%Y%m%d")
    ds.ContentTime = ds.SeriesTime = ds.InstanceCreationTime = at.strftime("%H%M%S")
    ds.TimezoneOffsetFromUTC = at.strftime("%z")[:5] or "+0000"
    for equipment in ds.get("ContributingEquipmentSequence", []):
        equipment.ContributionDateTime = at.strftime("%Y%m%d%H%M%S")
    scheme = Dataset()
    scheme.CodingSchemeDesignator = vocab.LOCAL
    scheme.CodingSchemeUID = vocab.LOCAL_URL.removeprefix("urn:oid:")
    scheme.CodingSchemeName = "Osler concepts without a standard code"
    ds.CodingSchemeIdentificationSequence = [scheme]


def coded(code: Code) -> "CodedConcept":
    """The code as DICOM writes it; a meaning is cut to the 64 characters that it may have."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning[:64])


def _key(masks: Sequence[Mask], source_uid: str) -> str:
    """Names the content: another result is another object, the same one keeps its UID."""
    import hashlib

    total = hashlib.sha256(source_uid.encode())
    for mask in masks:
        total.update(f"{mask.id}{mask.source}{mask.flags}".encode())
        total.update(np.packbits(mask.mask).tobytes())
    return total.hexdigest()


def _segment(mask: Mask, number: int, side: Laterality | None, key: str) -> "SegmentDescription":
    from highdicom.seg import SegmentDescription

    shown = vocab.structure(mask.id, mask.name)
    person = mask.source.kind == "person"
    described = SegmentDescription(
        segment_number=number,
        segment_label=mask.name[:64] or mask.id[:64],
        segmented_property_category=coded(shown.category),
        segmented_property_type=coded(mask.code or shown.type),
        algorithm_type="MANUAL" if person else "AUTOMATIC",
        algorithm_identification=None if person else _algorithm(mask.source),
        tracking_uid=identity.uid(key, "segment", mask.id),
        tracking_id=mask.id,
        anatomic_regions=[coded(mask.site or shown.site)],
        display_color=_lab(shown.colour),
    )
    side = mask.laterality or side
    if side is not None:
        region = described.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence = [coded(vocab.side(side))]
    if mask.flags or mask.note:
        described.SegmentDescription = "; ".join(filter(None, (*mask.flags, mask.note)))[:1024]
    return described


def _algorithm(source: Source) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from pydicom.sr.codedict import codes

    learnt = source.kind == "bundle"
    return AlgorithmIdentificationSequence(
        name=source.name,
        family=codes.DCM.ArtificialIntelligence
        if learnt
        else coded(vocab.local("image-analysis", "Image analysis without learning")),
        version=source.version or identity.version(),
        source="Osler",
    )


def _lab(colour: tuple[int, int, int]) -> Any:
    from highdicom.color import CIELabColor

    return CIELabColor.from_rgb(*colour)
