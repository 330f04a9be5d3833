"""Makes fake image files of every kind that the readers meet, from known pixels."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

OP8 = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
OP16 = "1.2.840.10008.5.1.4.1.1.77.1.5.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def scene(height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """Smooth colour without any symmetry, ``(H, W, 3)``: each turn of it differs."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = 255 * columns / max(1, width - 1)
    green = 255 * rows / max(1, height - 1)
    blue = 40 + 120 * (rows < height // 3) * (columns < width // 2)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def deep_scene(height: int = 24, width: int = 32) -> NDArray[np.uint16]:
    """Grey over all 16 bits, ``(H, W)``."""
    return np.linspace(0, 65535, height * width).astype(np.uint16).reshape(height, width)


def encoded(array: NDArray[Any], format: str, *, mode: str | None = None, **options: Any) -> bytes:
    """The array as a file of Pillow's making."""
    picture = Pillow.fromarray(array)
    if mode is not None:
        picture = picture.convert(mode)
    buffer = BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def exif(*, orientation: int | None = None, taken: str = "", offset: str = "") -> bytes:
    """An EXIF block."""
    block = Pillow.Exif()
    if orientation is not None:
        block[0x0112] = orientation
    if taken:
        block.get_ifd(0x8769)[0x9003] = taken
    if offset:
        block.get_ifd(0x8769)[0x9011] = offset
    return block.tobytes()


def srgb_profile() -> bytes:
    """The ICC profile of sRGB."""
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def swapped_profile() -> bytes:
    """An RGB profile whose red and blue primaries are those of sRGB exchanged."""
    profile = srgb_profile().replace(b"rXYZ", b"?XYZ")
    profile = profile.replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")
    # the description decides whether it is sRGB: it gets another name
    return profile.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    samples: NDArray[Any],
    colour_type: int,
    *,
    extra: bytes = b"",
    size: tuple[int, int] | None = None,
) -> bytes:
    """A PNG written by hand (Pillow writes no 16-bit colour).

    Args:
        samples: ``(H, W)`` or ``(H, W, C)`` of 8 or 16 bits.
        colour_type: 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA.
        extra: chunks between the header and the data.
        size: width and height to state instead of the true ones.
    """
    height, width = samples.shape[:2]
    bits = samples.dtype.itemsize * 8
    rows = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", *(size or (width, height)), bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def bmp_header(width: int, height: int) -> bytes:
    """The header of a 24-bit BMP without its pixels."""
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, *[0] * 6)


def tiff_header(width: int, height: int) -> bytes:
    """A little-endian TIFF of one 8-bit grey strip that is not there."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1)]
    tags += [(278, height), (279, min(width * height, 2**32 - 1))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def jpeg_of_size(width: int, height: int) -> bytes:
    """A small JPEG whose frame header states another size."""
    data = bytearray(encoded(scene(), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def dicom(
    samples: NDArray[Any],
    photometric: str = "RGB",
    *,
    syntax: UID = ExplicitVRLittleEndian,
    sop_class: str = OP8,
    preamble: bool = True,
    pixels: bytes | None = None,
    **elements: Any,
) -> bytes:
    """A DICOM file.

    Args:
        samples: ``(H, W)`` or ``(H, W, C)``; what is written unless ``pixels`` is given.
        photometric: PhotometricInterpretation.
        syntax: transfer syntax.
        sop_class: SOP class.
        preamble: whether to write the preamble and the file meta information.
        pixels: the value of PixelData.
        elements: further elements by keyword; None deletes one.
    """
    little = syntax != pydicom.uid.ExplicitVRBigEndian
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = generate_uid()
    dataset.Modality = "OP"
    dataset.PatientID = "P-17"
    dataset.PatientName = "Secret^Name"
    dataset.Rows, dataset.Columns = samples.shape[:2]
    dataset.SamplesPerPixel = samples.shape[2] if samples.ndim == 3 else 1
    dataset.PhotometricInterpretation = photometric
    if samples.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = samples.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    if pixels is None:
        pixels = samples.astype(samples.dtype.newbyteorder("<" if little else ">")).tobytes()
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    deep = samples.dtype.itemsize == 2
    dataset["PixelData"].VR = "OW" if deep or syntax.is_implicit_VR else "OB"
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return _file(dataset, syntax=syntax, preamble=preamble)


def _file(dataset: pydicom.Dataset, *, syntax: Any, preamble: bool) -> bytes:
    buffer = BytesIO()
    if not preamble:
        pydicom.dcmwrite(
            buffer,
            dataset,
            implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
        )
        return buffer.getvalue()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def jpeg_dicom(stream: bytes, photometric: str, *, samples: NDArray[Any], **elements: Any) -> bytes:
    """A DICOM file around a JPEG baseline stream."""
    return dicom(
        samples,
        photometric,
        syntax=JPEGBaseline8Bit,
        pixels=encapsulate([stream]),
        **elements,
    )


def put(folder: Path, name: str, data: bytes) -> Path:
    """Write a file and give its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
