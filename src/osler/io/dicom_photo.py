"""A photograph as a DICOM object, so that segmentations and reports have something to point at.

A photograph of a known eye becomes an Ophthalmic Photography Image [1]. That object must state
the eye, so one of an unknown eye becomes a Secondary Capture Image, which need not.

1. DICOM PS3.3, A.41 and A.42; C.8.17 for its modules.
"""

import io
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.errors import OutputError
from osler.io import identity, jpeg
from osler.record import Case, Image, Label, Laterality, vocab
from osler.record.code import Code

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

OP_8_BIT = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
OP_16_BIT = "1.2.840.10008.5.1.4.1.1.77.1.5.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"

TYPE_2 = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_UIDS = {
    "StudyInstanceUID": ("study",),
    "SeriesInstanceUID": ("photo", "series"),
    "SOPInstanceUID": ("photo",),
}
"""Identifiers of a photograph, and what they are named by beside its digest."""
_PLACE = (
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
)
"""What says where an image lies in the patient, if all of it is there."""


def write_photo(case: Case, path: Path, *, item: str = "photo") -> "Dataset":
    """Write an image of the case as a DICOM file, and give the data set.

    The bytes of a baseline JPEG are kept, less the metadata in them, when they decode to the very
    pixels that were interpreted; anything else is written uncompressed.

    Raises:
        OutputError: the image has an array that the object cannot hold.
    """
    ds = build_photo(case, item=item)
    ds.save_as(path, enforce_file_format=True)
    return ds


def side_of(case: Case, *, item: str = "photo") -> Laterality | None:
    """The eye: as the file states it, else as it was found out, else None."""
    stated = case.image(item).laterality
    found = case.get("laterality", Label)
    if stated is None and found is not None and found.value in ("R", "L"):
        return "R" if found.value == "R" else "L"
    return stated


def when(case: Case) -> datetime:
    """When the case was last worked on, or now for one without a history."""
    return case.history[-1].at if case.history else datetime.now().astimezone()


def source_dataset(case: Case, *, item: str = "photo") -> "Dataset":
    """The data set that stands for the image in references, its pixels aside.

    For an image that came from DICOM it holds what the file's header says of the patient, the
    study and the object; a value that breaks the rules of its type is left empty, since it would
    break them in the results too. For any other image it is that of ``write_photo``.

    Raises:
        OutputError: the header's rows and columns are not those of the image.
    """
    from pydicom.dataset import Dataset

    image = case.image(item)
    if image.origin is None or not image.origin.dicom:
        return build_photo(case, item=item)
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword in TYPE_2:
        setattr(ds, keyword, sound(image.origin.dicom, keyword))
    for keyword, uid in reference(case, item=item).items():
        setattr(ds, keyword, uid)
    ds.NumberOfFrames = 1
    ds.Rows, ds.Columns = image.shape[-2:]
    stated = tuple(sound(image.origin.dicom, k) for k in ("Rows", "Columns"))
    if stated != image.shape[-2:]:
        raise OutputError(
            f"image '{item}' has {image.shape[-2:]} pixels but its DICOM header says {stated}; "
            "results can refer only to the grid of the file"
        )
    place = {keyword: sound(image.origin.dicom, keyword) for keyword in _PLACE}
    if all(place.values()) and ds.SOPClassUID not in (OP_8_BIT, OP_16_BIT):
        for keyword, value in place.items():
            setattr(ds, keyword, value)
        ds.SliceThickness = sound(image.origin.dicom, "SliceThickness")
    return ds


def reference(case: Case, *, item: str = "photo") -> dict[str, str]:
    """The identifiers of ``source_dataset`` by keyword, without the cost of making it."""
    image = case.image(item)
    header = image.origin.dicom if image.origin is not None else {}
    key = identity.digest(image)
    out = {
        keyword: str(sound(header, keyword) or identity.uid(key, *parts))
        for keyword, parts in _UIDS.items()
    }
    if header:
        out["SOPClassUID"] = str(sound(header, "SOPClassUID") or SECONDARY_CAPTURE)
        out["Modality"] = str(sound(header, "Modality") or image.modality)
    else:
        out["SOPClassUID"] = _sop_class(image, side_of(case, item=item))
        out["Modality"] = "OT" if out["SOPClassUID"] == SECONDARY_CAPTURE else "OP"
    return out


def _sop_class(image: Image, side: Laterality | None) -> str:
    if side is None:
        return SECONDARY_CAPTURE
    return OP_8_BIT if image.array.dtype == np.uint8 else OP_16_BIT


def sound(header: Mapping[str, Any], keyword: str) -> Any:
    """A value of a header in the DICOM JSON model, or None where it is absent or not valid."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataset import Dataset
    from pydicom.valuerep import validate_value

    tag, vr = f"{tag_for_keyword(keyword):08X}", dictionary_VR(keyword)
    entry = header.get(tag)
    if not entry or not entry.get("Value") or entry.get("vr") != vr:
        return None
    try:
        for value in entry["Value"]:
            said = "=".join(filter(None, value.values())) if vr == "PN" else value
            validate_value(vr, str(said) if vr in ("DS", "IS") else said, RAISE)
        return Dataset.from_json({tag: entry})[keyword].value
    except (ValueError, TypeError, AttributeError):
        return None


def _decimals(spacing: tuple[float, ...]) -> list[float]:
    """Spacing along ``(H, W)`` in millimetres, short enough for a decimal string."""
    return [float(f"{s:.6g}") for s in spacing[-2:]]


def build_photo(case: Case, *, item: str = "photo") -> "Dataset":
    """The data set of ``write_photo``, with file meta, pixels included."""
    from pydicom.dataset import Dataset, FileMetaDataset

    image = case.image(item)
    if image.array.ndim != 3 or image.array.dtype not in (np.uint8, np.uint16):
        raise OutputError(
            f"image '{item}' is {image.array.dtype} {image.array.shape}; a photograph is written "
            "from uint8 or uint16 of (1, H, W) or (3, H, W)"
        )
    side = side_of(case, item=item)
    ds = Dataset()
    _add_patient_and_study(ds, case, item)
    _add_image(ds, case, image)
    if side is None:
        ds.ConversionType, ds.Laterality = "DI", None
    else:
        _add_ophthalmic(ds, image, side)
        if image.laterality is None:
            ds.ImageComments = "Image laterality was found by software"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    _add_pixels(ds, image)
    return ds


def _add_patient_and_study(ds: "Dataset", case: Case, item: str) -> None:
    image = case.image(item)
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword in TYPE_2:
        setattr(ds, keyword, None)
    ds.PatientID = case.patient_id
    if image.acquired is not None:
        ds.StudyDate = image.acquired.strftime("%Y%m%d")
        ds.StudyTime = image.acquired.strftime("%H%M%S")
    for keyword, uid in reference(case, item=item).items():
        setattr(ds, keyword, uid)
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    ds.Manufacturer = None  # of the camera, which the file does not name
    ds.SoftwareVersions = f"osler {identity.version()}"


def _add_image(ds: "Dataset", case: Case, image: Image) -> None:
    from pydicom.dataset import Dataset

    created = image.acquired or when(case)
    ds.ContentDate, ds.ContentTime = created.strftime("%Y%m%d"), created.strftime("%H%M%S")
    ds.PatientOrientation = None
    ds.BurnedInAnnotation = "NO"
    if image.acquired is not None:
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        ds.AcquisitionDateTime = image.acquired.strftime("%Y%m%d%H%M%S%z")
    else:
        # An original photograph must say when it was taken, and the time is not made up. A
        # derived one must name its source: the file, by a UID made from its digest.
        ds.ImageType = ["DERIVED", "PRIMARY", "CONVERTED"]
        ds.DerivationDescription = "Converted from a file that does not say when it was taken"
        file = Dataset()
        file.ReferencedSOPClassUID = SECONDARY_CAPTURE
        file.ReferencedSOPInstanceUID = identity.uid(identity.digest(image), "file")
        file.PurposeOfReferenceCodeSequence = [_item(vocab.SOURCE_IMAGE)]
        ds.SourceImageSequence = [file]
    if image.spacing is not None:
        ds.PixelSpacing = _decimals(image.spacing)
    ds.LossyImageCompression = "00"


def _add_ophthalmic(ds: "Dataset", image: Image, side: Laterality) -> None:
    ds.NumberOfFrames = 1
    ds.FrameIncrementPointer = 0x00181063
    ds.FrameTime = "0"
    ds.ImageLaterality = side
    ds.AnatomicRegionSequence = [_item(vocab.RETINA)]
    ds.AcquisitionDeviceTypeCodeSequence = [_item(vocab.FUNDUS_CAMERA)]
    ds.SynchronizationFrameOfReferenceUID = identity.uid(identity.digest(image), "clock")
    ds.SynchronizationTrigger = "NO TRIGGER"
    ds.AcquisitionTimeSynchronized = "N"
    for keyword in (
        "PatientEyeMovementCommanded",
        "EmmetropicMagnification",
        "IntraOcularPressure",
        "HorizontalFieldOfView",
        "PupilDilated",
        "DetectorType",
    ):
        setattr(ds, keyword, None)
    for keyword in (
        "RefractiveStateSequence",
        "IlluminationTypeCodeSequence",
        "LightPathFilterTypeStackCodeSequence",
        "ImagePathFilterTypeStackCodeSequence",
        "LensesCodeSequence",
    ):
        setattr(ds, keyword, [])
    ds.AcquisitionContextSequence = []
    if len(image.array) == 1:
        ds.PresentationLUTShape = "IDENTITY"


def _item(code: Code) -> "Dataset":
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme
    item.CodeMeaning = code.meaning
    return item


def _add_pixels(ds: "Dataset", image: Image) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    channels, ds.Rows, ds.Columns = image.array.shape
    bits = image.array.dtype.itemsize * 8
    ds.SamplesPerPixel = channels
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation = bits - 1, 0
    ds.PhotometricInterpretation = "RGB" if channels == 3 else "MONOCHROME2"
    if channels == 3:
        ds.PlanarConfiguration = 0
    raw = int(image.array.nbytes)
    file = _file_bytes(image)
    kept = jpeg.strip(file) if file else None
    if file and image.origin is not None and image.origin.format == "jpeg":
        ds.LossyImageCompression = "01"
        ds.LossyImageCompressionMethod = "ISO_10918_1"
        ds.LossyImageCompressionRatio = round(max(raw / len(file), 1.0), 3)
    if kept is not None and _decodes_to(kept[0], image):
        ds.file_meta.TransferSyntaxUID = UID(JPEG_BASELINE)
        ds.PhotometricInterpretation = kept[1]
        ds.PixelData = encapsulate([kept[0]])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
        return
    ds.file_meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE)
    pixels = np.ascontiguousarray(np.moveaxis(image.array, 0, -1))
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"


def _file_bytes(image: Image) -> bytes | None:
    """The JPEG that the image came from, if it is still there unchanged."""
    import hashlib

    origin = image.origin
    if origin is None or origin.format != "jpeg":
        return None
    try:
        content = Path(origin.path).read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == origin.sha256 else None


def _decodes_to(content: bytes, image: Image) -> bool:
    """Whether the bytes, undone of nothing but JPEG, are the pixels that were interpreted."""
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(content)) as picture:
            if (picture.height, picture.width) != image.shape:
                return False
            decoded = np.atleast_3d(np.asarray(picture))
    except (OSError, SyntaxError):
        return False
    return bool(np.array_equal(np.moveaxis(decoded, -1, 0), image.array))
