"""Makes small DICOM series and multi-frame files whose every voxel and millimetre is known."""

import json
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from osler.io import load
from osler.record import Case, Image

ACROSS = np.array([0.8, 0.6, 0.0])
DOWN = np.array([0.0, 0.0, -1.0])
NORMAL = np.cross(ACROSS, DOWN)
START = np.array([-20.0, 35.5, 12.25])
STEP, SPACING = 2.5, (0.75, 0.5)

ENCODERS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    "1.2.840.10008.1.2.4.57": lambda a: bytes(imagecodecs.jpeg8_encode(a, lossless=True)),
    "1.2.840.10008.1.2.4.70": lambda a: bytes(imagecodecs.ljpeg_encode(a)),
    "1.2.840.10008.1.2.4.80": lambda a: bytes(imagecodecs.jpegls_encode(a)),
    "1.2.840.10008.1.2.4.90": lambda a: bytes(
        imagecodecs.jpeg2k_encode(a, codecformat="j2k", level=0, reversible=True)
    ),
    "1.2.840.10008.1.2.4.201": lambda a: bytes(imagecodecs.htj2k_encode(a, reversible=True)),
}
"""Transfer syntax to a lossless encoder of unsigned samples."""


def stack(count: int = 6, rows: int = 8, columns: int = 12) -> NDArray[np.uint16]:
    """Stored values ``(D, H, W)`` of 12 bits, no two planes alike."""
    chance = np.random.default_rng(7)
    smooth = np.linspace(0, 3000, count * rows * columns).reshape(count, rows, columns)
    return (smooth + chance.integers(0, 900, smooth.shape)).astype(np.uint16)


def affine() -> NDArray[np.float64]:
    """What maps ``(d, h, w)`` of ``series()`` to LPS millimetres."""
    out = np.eye(4)
    out[:3, 0], out[:3, 1], out[:3, 2] = NORMAL * STEP, DOWN * SPACING[0], ACROSS * SPACING[1]
    out[:3, 3] = START
    return out


def image(pixels: NDArray[Any], sop_class: UID, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """A data set with pixels ``(H, W)``, ``(D, H, W)`` or ``(D, H, W, 3)`` and an identity."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["series"])
    ds.PatientID, ds.PatientName = "P-17", "Secret^Name"
    colour = pixels.ndim == 4
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        ds.PlanarConfiguration = 0
    shape = pixels.shape[:-1] if colour else pixels.shape
    ds.Rows, ds.Columns = shape[-2:]
    if len(shape) == 3:
        ds.NumberOfFrames = shape[0]
    bits = pixels.dtype.itemsize * 8
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    store(ds, pixels, syntax)
    return ds


def store(ds: Dataset, pixels: NDArray[Any], syntax: str) -> None:
    """Put pixels into a data set in a transfer syntax."""
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    frames = pixels.reshape(-1, *pixels.shape[-(2 if ds.SamplesPerPixel == 1 else 3) :])
    if syntax in ENCODERS:
        ds.PixelData = encapsulate([ENCODERS[syntax](frame) for frame in frames])
        ds["PixelData"].VR = "OB"
        return
    if syntax == RLELossless:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.PixelData = pixels.tobytes()
        ds["PixelData"].VR = "OW"
        compress(ds, RLELossless, generate_instance_uid=False)
        return
    order = "<" if UID(syntax).is_little_endian else ">"
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    ds.PixelData = data + bytes(len(data) % 2)
    ds["PixelData"].VR = "OW"


def series(
    pixels: NDArray[Any] | None = None, *, syntax: str = ExplicitVRLittleEndian
) -> list[Dataset]:
    """A CT series: one data set a plane, oblique, in the order of their places."""
    pixels = stack() if pixels is None else pixels
    out = []
    for index, plane in enumerate(pixels):
        ds = image(plane, CTImageStorage, syntax)
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "CT", 3, index + 1
        ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame"])
        ds.ImagePositionPatient = [round(float(v), 6) for v in START + index * STEP * NORMAL]
        ds.ImageOrientationPatient = [*ACROSS.tolist(), *DOWN.tolist()]
        ds.PixelSpacing = list(SPACING)
        ds.BitsStored, ds.HighBit = 12, 11
        ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
        ds.WindowCenter, ds.WindowWidth = "40", "400"
        out.append(ds)
    return out


def write(folder: Path, datasets: Sequence[Dataset], *, shuffled: bool = True) -> list[Path]:
    """Write data sets under names that do not sort as their places do."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, ds in enumerate(datasets):
        name = (index * 7 + 3) % 1009 if shuffled else index
        path = folder / f"{name:04}.dcm"
        path.write_bytes(as_bytes(ds))
        paths.append(path)
    return sorted(paths)


def as_bytes(ds: Dataset) -> bytes:
    """The data set as a file."""
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def item(**elements: Any) -> Items:
    """A sequence of one item."""
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return Items([ds])


def enhanced(
    pixels: NDArray[Any],
    *,
    order: Sequence[int] | None = None,
    times: int = 1,
    syntax: str = ExplicitVRLittleEndian,
) -> Dataset:
    """An Enhanced MR of frames in any order.

    Args:
        pixels: ``(times * D, H, W)``, volume after volume.
        order: the numbers of the frames as they are written.
        times: how many volumes over time.
        syntax: transfer syntax.
    """
    order = range(len(pixels)) if order is None else order
    depth = len(pixels) // times
    ds = image(pixels[list(order)], EnhancedMRImageStorage, syntax)
    ds.Modality = "MR"
    shared = Dataset()
    shared.PlaneOrientationSequence = item(
        ImageOrientationPatient=[*ACROSS.tolist(), *DOWN.tolist()]
    )
    shared.PixelMeasuresSequence = item(PixelSpacing=list(SPACING), SliceThickness=STEP)
    ds.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for number in order:
        frame = Dataset()
        place = START + (number % depth) * STEP * NORMAL
        frame.PlanePositionSequence = item(ImagePositionPatient=[round(float(v), 6) for v in place])
        frame.FrameContentSequence = item(
            TemporalPositionIndex=number // depth + 1,
            DimensionIndexValues=[number // depth + 1, number % depth + 1],
        )
        frame.TemporalPositionSequence = item(TemporalPositionTimeOffset=2.5 * (number // depth))
        frame.PixelValueTransformationSequence = item(
            RescaleSlope=str(1 + number % depth), RescaleIntercept="-10", RescaleType="US"
        )
        frame.FrameVOILUTSequence = item(WindowCenter="500", WindowWidth="900")
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Items(frames)
    return ds


def cine(pixels: NDArray[np.uint8], **elements: Any) -> Dataset:
    """An ultrasound cine ``(D, H, W, 3)`` in JPEG, YBR_FULL_422, as devices write it."""
    ds = image(pixels, UltrasoundMultiFrameImageStorage)
    ds.Modality = "US"
    ds.FrameTime, ds.FrameIncrementPointer = "40", 0x00181063
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.50")
    ds.PhotometricInterpretation = "YBR_FULL_422"
    frames = [imagecodecs.jpeg8_encode(frame, 90, subsampling="422") for frame in pixels]
    ds.PixelData = encapsulate([bytes(frame) for frame in frames])
    ds["PixelData"].VR = "OB"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def whole_study(slices: Sequence[Dataset]) -> Callable[[Any], None]:
    """A DICOMweb service, for ``web_server.serving``, that has these instances."""

    def answer(asked: Any) -> None:
        if asked.path.endswith("/metadata"):
            headers = [one.to_json_dict() for one in slices]
            for header in headers:
                header.pop("7FE00010", None)
            asked.reply(json.dumps(headers).encode(), "application/dicom+json")
            return
        uid = asked.path.rpartition("/")[2]
        one = next(one for one in slices if uid == one.SOPInstanceUID)
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + as_bytes(one)
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        asked.reply(body + b"\r\n--b--\r\n", kind)

    return answer


def film(count: int = 5) -> NDArray[np.uint8]:
    """Smooth colour ``(D, H, W, 3)``, each frame another."""
    rows, columns = np.mgrid[0:24, 0:32]
    frames = [np.stack([rows * 9, columns * 7, rows * 0 + 40 * d], axis=-1) for d in range(count)]
    return np.array(frames).astype(np.uint8)


def case_of(folder: Path, ds: Dataset, **options: Any) -> Case:
    """What the reader makes of a data set."""
    path = folder / "file.dcm"
    path.write_bytes(as_bytes(ds))
    return load(path, **options)


def read(folder: Path, ds: Dataset, **options: Any) -> Image:
    """The one image that the reader makes of a data set."""
    (found,) = case_of(folder, ds, **options).items.values()
    assert isinstance(found, Image)
    return found
