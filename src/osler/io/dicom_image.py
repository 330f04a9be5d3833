"""Single-frame DICOM images: ophthalmic photographs, secondary captures and their like.

Uncompressed and JPEG baseline. Photometric interpretation, planar configuration, palettes and
unused bits are resolved here, so that no later step asks how the samples were stored.
"""

import math
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from osler.errors import UnreadableError, UnsupportedError
from osler.io import dicom_header as header
from osler.io.colour import Flags
from osler.io.dicom_pixels import Layout, read_pixels
from osler.io.input_file import InputFile, check_size, decoding
from osler.io.signatures import is_dicom_without_preamble
from osler.record import Image

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

_DEFLATED = "1.2.840.10008.1.2.1.99"
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"

TRANSFER_SYNTAXES = (*_UNCOMPRESSED, _JPEG_BASELINE)
"""What is decoded: implicit and explicit little endian, explicit big endian, JPEG baseline."""


def read_dicom(file: InputFile, format: str, *, max_pixels: int) -> tuple[Image, str | None]:
    """Read a single-frame DICOM image and the patient's id.

    Args:
        file: the opened file.
        format: ``"dicom"``.
        max_pixels: refuse more pixels than this (rows times columns).

    Raises:
        UnreadableError: damaged, incomplete, or contradicting itself.
        UnsupportedError: no image, several frames, or a way of storing samples that is not read.
        TooLargeError: more than ``max_pixels`` pixels; the header alone is read.
    """
    with decoding(file, format):
        dataset = _read(file, stop_before_pixels=True)
        _refuse_without_image(file, dataset)
        _refuse_frames(file, dataset)
        layout = _layout(file, dataset)
        check_size(file, width=layout.columns, height=layout.rows, max_pixels=max_pixels)
        dataset = _read(file, stop_before_pixels=False)
        if "PixelData" not in dataset:
            raise _truncated(file)
        array, flags = read_pixels(file, dataset, layout)
        image = _image(file, dataset, array, flags)
        image.origin = file.origin(format, header.as_json(dataset))
        return image, header.patient_id(dataset)


def _image(
    file: InputFile, dataset: "FileDataset", array: NDArray[Any], pixel_flags: Flags
) -> Image:
    laterality, laterality_flags = header.laterality(dataset)
    spacing, spacing_flags = header.spacing(dataset, shape=array.shape[1:])
    flags = (*pixel_flags, *laterality_flags, *spacing_flags, *file.extension_flags("dicom"))
    if is_dicom_without_preamble(file.head):
        flags = (*flags, "no-preamble")
    if dataset.get("BurnedInAnnotation") == "YES":
        flags = (*flags, "burned-in-annotation")
    return Image(
        name="photo",
        array=np.require(array, requirements=["C_CONTIGUOUS", "WRITEABLE"]),
        modality=header.text(dataset, "Modality") or "OT",
        spacing=spacing,
        laterality=laterality,
        acquired=header.acquired(dataset),
        flags=flags,
    )


def _read(file: InputFile, *, stop_before_pixels: bool) -> "FileDataset":
    import pydicom
    from pydicom.filereader import read_dataset, read_preamble
    from pydicom.uid import UID

    stream = cast(BinaryIO, file.stream)
    stream.seek(0)
    read_preamble(stream, force=True)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if meta.get("TransferSyntaxUID") == _DEFLATED:
        # pydicom would inflate all of it at once, however large it says it is
        raise _syntax_not_read(file, _DEFLATED)
    stream.seek(0)
    dataset = pydicom.dcmread(stream, force=True, stop_before_pixels=stop_before_pixels)
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = UID(_guessed_syntax(dataset))
    return dataset


def _guessed_syntax(dataset: "FileDataset") -> str:
    """The transfer syntax by how the elements were encoded, for files without file meta."""
    implicit, little = dataset.original_encoding
    if implicit:
        return _UNCOMPRESSED[0]
    return _UNCOMPRESSED[1] if little else _UNCOMPRESSED[2]


def _refuse_without_image(file: InputFile, dataset: "FileDataset") -> None:
    """Raise where the object is of a class without an image, or ends before its image module."""
    if "Rows" in dataset and "Columns" in dataset:
        return
    kind = header.uid_name(header.text(dataset, "SOPClassUID"))
    if kind == "unknown" or "Image" in kind or "Photography" in kind:
        raise _truncated(file)
    raise UnsupportedError(
        f"'{file.name}' is a DICOM object without an image ({kind}); give an image of the study"
    )


def _refuse_frames(file: InputFile, dataset: "FileDataset") -> None:
    frames = header.integer(file, dataset, "NumberOfFrames", default=1)
    if frames > 1:
        raise UnsupportedError(
            f"'{file.name}' has {frames} frames; single frames are read: export the frame that you "
            "want as an image of its own"
        )


def _layout(file: InputFile, dataset: "FileDataset") -> Layout:
    """How the samples are stored, checked as far as the header can be."""
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax not in TRANSFER_SYNTAXES:
        raise _syntax_not_read(file, syntax)

    def number(keyword: str, default: int | None = None) -> int:
        return header.integer(file, dataset, keyword, default=default)

    allocated = number("BitsAllocated")
    layout = Layout(
        rows=number("Rows"),
        columns=number("Columns"),
        samples=number("SamplesPerPixel", 1),
        allocated=allocated,
        stored=number("BitsStored", allocated),
        photometric=header.text(dataset, "PhotometricInterpretation"),
        jpeg=syntax == _JPEG_BASELINE,
    )
    if not 1 <= layout.stored <= allocated:
        raise UnreadableError(
            f"'{file.name}' stores {layout.stored} bits in {allocated} allocated (BitsStored, "
            "BitsAllocated); export it again"
        )
    if layout.samples not in (1, 3) or allocated not in (8, 16) or layout.stored < 2:
        raise UnsupportedError(
            f"'{file.name}' has {layout.samples} samples a pixel of {allocated} bits; 1 or 3 "
            "samples of 8 or 16 bits are read: export it as a secondary capture"
        )
    if number("PixelRepresentation", 0) != 0:
        raise UnsupportedError(
            f"'{file.name}' has signed pixels, which photographs never have; export it as a "
            "secondary capture"
        )
    _refuse_rescale(file, dataset)
    return layout


def _refuse_rescale(file: InputFile, dataset: "FileDataset") -> None:
    """Raise where the stored values are not the values, as in CT."""
    for keyword, neutral in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        value = header.decimal(dataset, keyword)
        if value is not None and not math.isclose(value, neutral):
            raise UnsupportedError(
                f"'{file.name}' has {keyword} {value:g}, which photographs never have; export it "
                "as a secondary capture"
            )


def _truncated(file: InputFile) -> UnreadableError:
    return UnreadableError(
        f"'{file.name}' is a DICOM image without pixels; it is incomplete: copy it again from its "
        "source"
    )


def _syntax_not_read(file: InputFile, syntax: str) -> UnsupportedError:
    return UnsupportedError(
        f"'{file.name}' is in transfer syntax {header.uid_name(syntax)}; uncompressed and JPEG "
        "baseline are read: convert it with 'gdcmconv --raw IN OUT'"
    )
