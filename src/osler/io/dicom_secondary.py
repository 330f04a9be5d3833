"""Any image as a Secondary Capture: grey in 8 or 16 bits or true colour, one frame or many [1].

Values that are no whole numbers from 0 are stored with an intercept, so that they come back as
they were; what cannot come back is refused. The planes of a placed volume say where they lie.

1. DICOM PS3.3, A.8 (Secondary Capture IODs), C.8.6.1 and C.8.6.3.
"""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import OutputError
from osler.io import identity
from osler.io.dicom_context import digest_of, header_of, new_object, write_dataset
from osler.io.dicom_photo import sound
from osler.record import Image

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SINGLE = "1.2.840.10008.5.1.4.1.1.7"
GREY_BYTE = "1.2.840.10008.5.1.4.1.1.7.2"
GREY_WORD = "1.2.840.10008.5.1.4.1.1.7.3"
COLOUR = "1.2.840.10008.5.1.4.1.1.7.4"


def write_secondary(
    image: Image,
    path: str | Path,
    *,
    patient_id: str | None = None,
    at: datetime | None = None,
) -> Path:
    """Write an image as a Secondary Capture, uncompressed.

    Args:
        image: grey ``(1, [D,] H, W)`` of whole numbers that span at most 65,535, or colour
            ``(3, [D,] H, W)`` in ``uint8``.
        path: the file, which appears whole or not at all.
        patient_id: the patient, where the image's file names none.
        at: when it was made; now by default.

    Returns:
        The path.

    Raises:
        OutputError: the values do not fit, or the file cannot be written.
    """
    path = Path(path)
    at = at or datetime.now().astimezone()
    stored, intercept = _stored(image)
    frames = stored.shape[0] if stored.ndim - (image.channel_count == 3) == 3 else 1
    sop_class = _sop_class(image, stored, frames)
    content = np.ascontiguousarray(stored).astype(stored.dtype.newbyteorder("<"), copy=False)
    key = digest_of(image, sop_class.encode(), content.tobytes()[:65_536])
    ds = new_object(image, sop_class, image.modality, key=key, patient_id=patient_id, at=at)
    header = header_of(image)
    ds.SeriesNumber, ds.SeriesDescription = 103, "Osler secondary capture"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.ConversionType, ds.PatientOrientation = "WSD", None
    ds.BurnedInAnnotation = str(sound(header, "BurnedInAnnotation") or "NO")
    ds.LossyImageCompression = str(sound(header, "LossyImageCompression") or "00")
    ds.Laterality = image.laterality
    if image.acquired is not None:
        ds.AcquisitionDateTime = image.acquired.strftime("%Y%m%d%H%M%S")
    _add_layout(ds, image, stored, frames, intercept)
    if sop_class != SINGLE:
        _add_frames(ds, image, frames, key)
    elif image.spacing is not None:
        ds.PixelSpacing = [float(f"{v:.10g}") for v in image.spacing[-2:]]
    data = content.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OW" if stored.dtype.itemsize == 2 else "OB"
    write_dataset(ds, path)
    return path


def _stored(image: Image) -> tuple[NDArray[Any], int]:
    """``([D,] H, W)`` or ``([D,] H, W, 3)`` as stored, and what is added to it."""
    array = image.array
    if image.channel_count == 3 and array.dtype == np.uint8:
        return np.moveaxis(array, 0, -1), 0
    if image.channel_count != 1 or array.dtype.kind not in "uifb":
        raise OutputError(
            f"image '{image.name}' has {image.channel_count} channels of {array.dtype}; a "
            "secondary capture is grey, or colour in uint8: write it as NIfTI or TIFF"
        )
    grey = array[0]
    if grey.dtype in (np.uint8, np.uint16):
        return grey, 0
    low, high = (float(grey.min()), float(grey.max())) if grey.size else (0.0, 0.0)
    whole = np.isfinite([low, high]).all() and bool((np.floor(grey) == grey).all())
    if not whole or high - low > 65_535 or abs(low) > 1e9:
        raise OutputError(
            f"image '{image.name}' has values from {low:g} to {high:g} in {grey.dtype}; a "
            "secondary capture holds whole numbers that span at most 65,535: write it as NIfTI"
        )
    intercept = int(min(low, 0))
    if high - intercept > 65_535:
        intercept = int(low)
    return (grey.astype(np.int64) - intercept).astype(np.uint16), intercept


def _sop_class(image: Image, stored: NDArray[Any], frames: int) -> str:
    if len(image.shape) == 2 and stored.dtype == np.uint8:
        return SINGLE
    if image.channel_count == 3:
        return COLOUR
    return GREY_BYTE if stored.dtype == np.uint8 else GREY_WORD


def _add_layout(
    ds: "Dataset", image: Image, stored: NDArray[Any], frames: int, intercept: int
) -> None:
    bits = stored.dtype.itemsize * 8
    colour = image.channel_count == 3
    ds.Rows, ds.Columns = image.shape[-2:]
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation = bits - 1, 0
    if colour:
        ds.PlanarConfiguration = 0
        return
    if bits == 16 or frames > 1 or len(image.shape) == 3:
        ds.RescaleIntercept, ds.RescaleSlope = intercept, 1
        ds.RescaleType = "HU" if image.units == "[hnsf'U]" else "US"
        ds.PresentationLUTShape = "IDENTITY"
    if image.window is not None:
        ds.WindowCenter, ds.WindowWidth = image.window


def _add_frames(ds: "Dataset", image: Image, frames: int, key: str) -> None:
    from pydicom.dataset import Dataset
    from pydicom.valuerep import DSfloat

    def exact(*values: float) -> list[DSfloat]:
        return [DSfloat(float(v), auto_format=True) for v in values]

    ds.NumberOfFrames = frames
    placed = image.affine is not None and len(image.shape) == 3
    if not placed:
        if frames > 1 and image.times:
            ds.FrameIncrementPointer = 0x00181065
            ds.FrameTimeVector = exact(0, *(np.diff(image.times) * 1000))
        elif frames > 1:
            ds.FrameIncrementPointer = 0x00182002
            ds.FrameLabelVector = [str(n) for n in range(1, frames + 1)]
        if image.spacing is not None:
            ds.PixelSpacing = exact(*image.spacing[-2:])
        return
    assert image.affine is not None
    frame = sound(header_of(image), "FrameOfReferenceUID")
    ds.FrameOfReferenceUID = str(frame or identity.uid(key, "frame"))
    ds.PositionReferenceIndicator = None
    sizes = np.linalg.norm(image.affine[:3, :3], axis=0)
    directions = image.affine[:3, :3] / sizes
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = exact(sizes[1], sizes[2])
    measures.SliceThickness = measures.SpacingBetweenSlices = exact(sizes[0])[0]
    orientation.ImageOrientationPatient = exact(*directions[:, 2], *directions[:, 1])
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence = [shared]
    organization = Dataset()
    organization.DimensionOrganizationUID = identity.uid(key, "dimensions")
    ds.DimensionOrganizationSequence = [organization]
    index = Dataset()
    index.DimensionOrganizationUID = organization.DimensionOrganizationUID
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x00200032, 0x00209113
    ds.DimensionIndexSequence = [index]
    ds.FrameIncrementPointer = 0x52009230
    per_frame = []
    for plane in range(frames):
        group, where, what = Dataset(), Dataset(), Dataset()
        where.ImagePositionPatient = exact(*(image.affine @ [plane, 0, 0, 1])[:3])
        what.DimensionIndexValues = [plane + 1]
        group.PlanePositionSequence, group.FrameContentSequence = [where], [what]
        per_frame.append(group)
    ds.PerFrameFunctionalGroupsSequence = per_frame
