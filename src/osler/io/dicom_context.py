"""What a new DICOM object takes over from the image that it was made of, and what it says anew."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.errors import OutputError
from osler.io import identity
from osler.io.dicom_photo import TYPE_2, sound
from osler.record import Image, Item, vocab

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset

Target = tuple[Image | None, int | None]
"""An image, and a plane of it where it is a volume."""

_KEPT = (
    *TYPE_2,
    "StudyDescription",
    "PatientAge",
    "PatientWeight",
    "PatientSize",
    "IssuerOfPatientID",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
)


def header_of(item: Item) -> Mapping[str, Any]:
    """The header of the DICOM file that an item came from; empty where it came from none."""
    return item.origin.dicom if item.origin is not None else {}


def new_object(
    item: Item, sop_class: str, modality: str, *, key: str, patient_id: str | None, at: datetime
) -> "Dataset":
    """A data set with patient, study, new series, equipment and identifiers, without content.

    Patient and study are those of the item's file. Where it came from none, the patient is the
    one that is given and the study is one of its own.

    Args:
        item: what the object is made of.
        sop_class: its class.
        modality: its modality.
        key: names the content: the same content gives the same identifiers.
        patient_id: the patient, where the file names none.
        at: when it was made.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    header = header_of(item)
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _KEPT:
        value = sound(header, keyword)
        if value is not None or keyword in TYPE_2:
            setattr(ds, keyword, value)
    ds.PatientID = ds.PatientID or patient_id
    study = sound(header, "StudyInstanceUID")
    ds.StudyInstanceUID = str(study or identity.uid(key, "study"))
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = identity.uid(key, sop_class, "instance")
    ds.SeriesInstanceUID = identity.uid(key, sop_class, "series")
    ds.Modality, ds.InstanceNumber = modality, 1
    ds.Manufacturer, ds.ManufacturerModelName = "Osler", "osler"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "none", identity.version()
    day, time = at.strftime("%Y%m%d"), at.strftime("%H%M%S")
    ds.ContentDate = ds.SeriesDate = ds.InstanceCreationDate = day
    ds.ContentTime = ds.SeriesTime = ds.InstanceCreationTime = time
    if at.utcoffset() is not None:
        ds.TimezoneOffsetFromUTC = at.strftime("%z")[:5]
    scheme = Dataset()
    scheme.CodingSchemeDesignator = vocab.LOCAL
    scheme.CodingSchemeUID = vocab.LOCAL_URL.removeprefix("urn:oid:")
    scheme.CodingSchemeName = "Osler concepts without a standard code"
    ds.CodingSchemeIdentificationSequence = [scheme]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    return ds


def instances(image: Image) -> tuple[str, ...]:
    """The SOP instance of each plane of a series, or the one of a single file; else nothing.

    Raises:
        OutputError: the series' files no longer say.
    """
    known = image.header.get("SOPInstanceUID")
    if isinstance(known, tuple):
        return known
    if image.origin is not None and len(image.origin.files) > 1:
        return tuple(_instance(path) for path in image.origin.files)
    uid = sound(header_of(image), "SOPInstanceUID")
    return (str(uid),) if uid else ()


def planes_of(images: Sequence[Image]) -> dict[str, Target]:
    """SOP instance to the image that it is part of, and to the plane of a series."""
    known: dict[str, Target] = {}
    for image in images:
        try:
            uids = instances(image)
        except OutputError:  # the files are gone; what refers to them finds no plane
            uids = ()
        series = len(uids) > 1 and len(image.shape) == 3
        for plane, uid in enumerate(uids):
            known[uid] = (image, plane if series else None)
        own = sound(header_of(image), "SOPInstanceUID")
        if own:
            known.setdefault(str(own), (image, None))
    return known


def frame_number(image: Image, plane: int) -> int:
    """The number of the frame, from 1, that is a plane of an image of one multi-frame file."""
    known = image.header.get("FrameNumber")
    return int(known[plane]) if isinstance(known, tuple) else plane + 1


def plane_of_frame(image: Image, number: int) -> int:
    """The plane that a frame of a multi-frame file became; as it is numbered where not known."""
    known = image.header.get("FrameNumber")
    return known.index(number) if isinstance(known, tuple) and number in known else number - 1


def _instance(path: str) -> str:
    import pydicom

    try:
        ds = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], force=True)
        return str(ds.SOPInstanceUID)
    except (OSError, AttributeError, ValueError) as error:
        raise OutputError(
            f"'{path}' does not say its SOPInstanceUID any more, so nothing can refer to it; give "
            "the series where it lies now"
        ) from error


def refer(ds: "Dataset", image: Image) -> None:
    """Name the instances that the object was made of, where they are known."""
    from pydicom.dataset import Dataset

    header = header_of(image)
    series, sop_class = sound(header, "SeriesInstanceUID"), sound(header, "SOPClassUID")
    uids = instances(image)
    if not (series and sop_class and uids and all(uids)):
        return
    named = Dataset()
    named.SeriesInstanceUID = series
    named.ReferencedInstanceSequence = []
    for uid in dict.fromkeys(uids):
        one = Dataset()
        one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = sop_class, uid
        named.ReferencedInstanceSequence.append(one)
    ds.ReferencedSeriesSequence = [named]


def sources(image: Image) -> "list[Dataset]":
    """A data set for each instance that an image came from, as far as references need it.

    Raises:
        OutputError: the image came from no DICOM file.
    """
    from pydicom.dataset import Dataset

    header, uids = header_of(image), instances(image)
    if not header or not uids:
        raise OutputError(
            f"image '{image.name}' came from no DICOM file, and a report must name what it is "
            "about; write the image as DICOM, load that, and report on it"
        )
    out = []
    study = sound(header, "StudyInstanceUID")
    series = sound(header, "SeriesInstanceUID")
    for number, uid in enumerate(uids, 1):
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        for keyword in TYPE_2:
            setattr(ds, keyword, sound(header, keyword))
        ds.StudyInstanceUID = str(study or identity.uid(uids[0], "study"))
        ds.SeriesInstanceUID = str(series or identity.uid(uids[0], "series"))
        ds.SOPClassUID, ds.SOPInstanceUID = str(sound(header, "SOPClassUID") or ""), uid
        ds.Modality, ds.InstanceNumber = image.modality, number
        ds.Rows, ds.Columns = image.shape[-2:]
        out.append(ds)
    return out


def digest_of(image: Image, *parts: bytes) -> str:
    """Hexadecimal SHA-256 that names an image and further content.

    A series is named by its instances, so that its pixels need not be read.
    """
    import hashlib

    total = hashlib.sha256()
    uids = instances(image)
    total.update("\\".join(uids).encode() if uids else identity.digest(image).encode())
    total.update(np.array(image.shape, "<i8").tobytes())
    for part in parts:
        total.update(part)
    return total.hexdigest()


def write_dataset(ds: "Dataset", path: "Path") -> None:
    """Write a whole data set; the file appears whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    from osler.io.atomic_file import replacing

    with replacing(path) as part:
        ds.save_as(part, enforce_file_format=True)
