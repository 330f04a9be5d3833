"""One DICOM file as an image: a photograph, a slice, a volume or a cine.

The header alone is read when the file is opened, and every check that it allows is made then; the
frames stay in the file until somebody asks for them.
"""

import re
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from osler.errors import UnreadableError, UnsupportedError
from osler.io import dicom_header as header
from osler.io.content import Content
from osler.io.dicom_codestream import parse
from osler.io.dicom_decoders import check_stream, colour_of
from osler.io.dicom_frames import Frames, inflate, locate, refuse_bomb, truncated
from osler.io.dicom_geometry import Allowed
from osler.io.dicom_layout import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    SHARED_CHROMA,
    Layout,
    layout_of,
)
from osler.io.dicom_multiframe import Arrangement, arrange, groups
from osler.io.dicom_overlays import overlays, too_large
from osler.io.dicom_overlays_embedded import embedded, hidden
from osler.io.dicom_palette import palette_of
from osler.io.dicom_pixels import Pixels, Plane
from osler.io.dicom_ultrasound import region_spacing
from osler.io.dicom_values import Rescale, rescale_of, result_type, window_of
from osler.io.input_file import InputFile, decoding
from osler.io.signatures import is_dicomdir
from osler.record import Image

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

_HEADER_MOST = 64 << 20
"""A deflated header of more bytes is a bomb."""

_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_NAMES = {"CT": "ct", "MR": "mr", "PT": "pt", "NM": "nm", "US": "us", "OPT": "oct", "OCT": "oct"}
"""Modalities whose single images are slices and not photographs, and the names of their items."""

_PROJECTIONS = ("CR", "DX", "MG", "XA", "RF", "PX", "IO")


@dataclass(frozen=True, slots=True)
class Opened:
    """An image file whose header has been read and whose frames have been found.

    Attributes:
        dataset: the header, without pixels.
        layout: how the samples are stored.
        frames: where they lie.
    """

    dataset: "FileDataset"
    layout: Layout
    frames: Frames


def read_dicom(
    file: InputFile,
    format: str,
    *,
    max_pixels: int,
    allow_tilt: bool = False,
    allow_irregular: bool = False,
    at_once: bool = True,
) -> Content:
    """Read a DICOM image of one frame or more, and the overlays that lie over it.

    Args:
        file: the opened file.
        format: ``"dicom"``.
        max_pixels: refuse a frame of more pixels than this (rows times columns).
        allow_tilt: keep slices that move sideways; the affine has their shear.
        allow_irregular: keep frames without a regular grid; the image has no affine.
        at_once: decode a single frame now, so that damage is told now; several frames wait.

    Raises:
        UnreadableError: damaged, incomplete, or contradicting itself.
        UnsupportedError: no image, or a way of storing samples that is not read.
        TooLargeError: a frame has more than ``max_pixels`` pixels; the header alone is read.
        GeometryError: the frames have places that make no regular grid.
    """
    with decoding(file, format):
        opened = open_image(file, max_pixels=max_pixels)
        dataset, layout = opened.dataset, opened.layout
        image = image_of(file, opened, allowed=Allowed(allow_tilt, allow_irregular))
        single = layout.frames == 1
        if single and at_once:  # asking for the pixels decodes them
            image.array = image.array
        sha256 = file.sha256() if single and at_once else ""
        image.origin = header.origin(file, format, dataset, sha256=sha256, lazy=not single)
        masks = []
        if too_large(dataset, shape=image.shape):
            image.flags = (*image.flags, "overlays-left-out")
        else:
            masks = overlays(dataset, item=image.name, shape=image.shape)
            if layout.shared and image.channel_count == 1:
                some, flags = embedded(
                    file,
                    dataset,
                    layout,
                    opened.frames,
                    depths=_depths(image, layout.frames),
                    item=image.name,
                    shape=image.shape,
                )
                masks, image.flags = [*masks, *some], (*image.flags, *flags)
        return Content([image], masks, header.patient_id(dataset))


def read_header(file: InputFile) -> "FileDataset":
    """The header alone, of a file with or without pixels."""
    return _read(file)[0]


def open_image(file: InputFile, *, max_pixels: int) -> Opened:
    """Read the header, check it, and find the frames.

    Raises:
        UnreadableError: damaged, incomplete, or contradicting itself.
        UnsupportedError: no image, or a way of storing samples that is not read.
        TooLargeError: a frame has more than ``max_pixels`` pixels.
    """
    dataset, stream, start = _read(file)
    _refuse_without_image(file, dataset)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    layout = layout_of(
        file, dataset, syntax=syntax, real=_real(stream, syntax), max_pixels=max_pixels
    )
    if hidden(dataset):
        layout = replace(layout, shared=True)
    inflated = None
    if start is not None:
        limit = stream.tell() + 12 + (layout.frame_bits * 3 // 2 * layout.frames + 7) // 8
        file.stream.seek(start)
        data = inflate(iter(lambda: file.stream.read(1 << 20), b""), limit=limit)
        here = stream.tell()
        stream = BytesIO(data)
        stream.seek(here)
        inflated = (start, limit)
    frames = locate(file, stream, dataset, layout, inflate=inflated)
    if layout.photometric in SHARED_CHROMA and not layout.encapsulated:
        layout = _shared_chroma(file, layout, frames)
    return Opened(dataset, layout, frames)


def image_of(file: InputFile, opened: Opened, *, allowed: Allowed) -> Image:
    """The image of an opened file, its pixels left where they are."""
    dataset, layout, frames = opened.dataset, opened.layout, opened.frames
    arrangement = arrange(file.name, dataset, frames=layout.frames, allowed=allowed)
    rescales = _rescales(file, dataset, layout)
    stored_flags = pixel_flags(file, dataset, layout, frames, units=rescales[0].units)
    planes = tuple(
        Plane(0, index, channel, depth, rescale)
        for index, ((channel, depth), rescale) in enumerate(
            zip(arrangement.places, rescales, strict=True)
        )
    )
    channels = arrangement.channels if layout.grey else 3
    if not layout.grey and arrangement.channels > 1:
        raise UnsupportedError(
            f"'{file.name}' has colour volumes over time, which are not read; export its time "
            "points apart"
        )
    depth = layout.frames // arrangement.channels
    size = (layout.rows, layout.columns)
    pixels = Pixels(
        files=(frames,),
        layouts=(layout,),
        planes=planes,
        shape=(channels, *size) if layout.frames == 1 else (channels, depth, *size),
        dtype=result_type(layout, tuple(set(rescales))),
        palette=(
            palette_of(file.name, dataset, signed=layout.signed, big=layout.syntax == EXPLICIT_BIG)
            if layout.photometric == "PALETTE COLOR"
            else None
        ),
        profile=profile_of(dataset),
        invert="monochrome1-inverted" in stored_flags,
    )
    return described(file, dataset, layout, pixels, arrangement, rescales[0], stored_flags)


def described(
    file: InputFile,
    dataset: "Dataset",
    layout: Layout,
    pixels: Pixels,
    arrangement: Arrangement,
    rescale: Rescale,
    stored_flags: tuple[str, ...],
) -> Image:
    """The image with everything that its header says of it."""
    laterality, laterality_flags = header.laterality(dataset)
    spacing, spacing_flags = arrangement.grid.spacing, arrangement.grid.flags
    flat: tuple[float, ...] | None = spacing
    size = (layout.rows, layout.columns)
    known: dict[str, Any] = _sorted_frames(arrangement)
    if layout.frames == 1:
        flat = spacing[1:] if spacing else None
        if arrangement.grid.affine is None:
            flat, spacing_flags = header.spacing(dataset, shape=size)
    if flat is None and "SequenceOfUltrasoundRegions" in dataset:
        scale, doubts = region_spacing(dataset, shape=size)
        spacing_flags = (*spacing_flags, *doubts)
        if layout.frames == 1:
            flat = scale
        elif scale is not None:  # a film has no spacing from frame to frame
            known["in_plane_spacing"] = scale
    flags = (*stored_flags, *laterality_flags, *spacing_flags, *header.flags(file, dataset))
    voi = next(groups(dataset, "FrameVOILUTSequence", 1), None)
    window = window_of(dataset if voi is None else voi)
    return Image(
        name=item_name(
            dataset,
            frames=layout.frames,
            placed=arrangement.grid.affine is not None,
            times=bool(arrangement.times),
        ),
        array=pixels.deferred(),
        modality=header.text(dataset, "Modality") or "OT",
        spacing=flat,
        affine=arrangement.grid.affine,
        laterality=laterality,
        acquired=header.acquired(dataset),
        flags=flags,
        units=rescale.units,
        channels=arrangement.names,
        times=arrangement.times,
        window=turned(window, layout, rescale) if pixels.invert else window,
        header=known,
    )


def _depths(image: Image, frames: int) -> tuple[int, ...]:
    """The depth of each frame of an image of one channel."""
    order = image.header.get("FrameNumber") or range(1, frames + 1)
    depths = {number: depth for depth, number in enumerate(order)}
    return tuple(depths[number] for number in range(1, frames + 1))


def _sorted_frames(arrangement: Arrangement) -> dict[str, tuple[int, ...]]:
    """The number of the frame, from 1, of each plane, where the planes are sorted otherwise."""
    if arrangement.channels > 1:
        return {}
    order = sorted(range(len(arrangement.places)), key=lambda index: arrangement.places[index])
    plain = order == list(range(len(order)))
    return {} if plain else {"FrameNumber": tuple(index + 1 for index in order)}


def turned(
    window: tuple[float, float] | None, layout: Layout, rescale: Rescale
) -> tuple[float, float] | None:
    """A window for values of MONOCHROME1 that were turned round (PS3.3 C.11.2.1.2)."""
    if window is None or rescale.table is not None:
        return None
    total = rescale.slope * sum(layout.limits) + 2 * rescale.intercept
    return total - window[0] + 1, window[1]


_SCALE = ("RescaleSlope", "RescaleIntercept")


def _rescales(file: InputFile, dataset: "Dataset", layout: Layout) -> tuple[Rescale, ...]:
    """For each frame how its values become physical ones."""
    groups_there = header.tag_present(
        dataset, "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
    )
    if layout.frames == 1 or groups_there:
        items = tuple(groups(dataset, "PixelValueTransformationSequence", layout.frames))
        found = tuple(rescale_of(file.name, dataset, layout, item=item) for item in items)
        stated = {
            tuple(header.tag_present(dataset if item is None else item, word) for word in _SCALE)
            for item, rescale in zip(items, found, strict=True)
            if rescale.table is None
        }
        if len(stated) > 1:
            raise UnreadableError(
                f"'{file.name}' states {' and '.join(_SCALE)} for some of its frames only, so "
                "their values are not of one scale; export it again"
            )
    else:
        found = (rescale_of(file.name, dataset, layout),) * layout.frames
    if len({rescale.units for rescale in found}) > 1:
        raise UnreadableError(
            f"'{file.name}' has frames in different units (RescaleType), which make no one image; "
            "export them apart"
        )
    return found


def pixel_flags(
    file: InputFile, dataset: "Dataset", layout: Layout, frames: Frames, *, units: str
) -> tuple[str, ...]:
    """What will be done to the samples, by the header and the first codestream."""
    flags: list[str] = []
    colour = layout.photometric
    if layout.encapsulated:
        colour, mismatch = _stream_colour(file, layout, frames)
        if mismatch:
            flags.append("photometric-mismatch")
    if layout.grey:
        if layout.stored not in (1, 8, 16, 32) and not layout.real:
            flags.append(f"bits-stored-{layout.stored}")
        if layout.photometric == "MONOCHROME1":
            # physical values keep their sense: only the picture is shown turned round
            flags.append("monochrome1-kept" if units or layout.real else "monochrome1-inverted")
        if header.tag_present(dataset, "PixelPaddingValue"):
            flags.append("pixel-padding")
        return tuple(flags)
    if colour == "PALETTE COLOR":
        return (*flags, "palette-converted")
    stated = header.text(dataset, "PhotometricInterpretation")
    if stated in SHARED_CHROMA and layout.photometric != stated:
        flags.append("photometric-mismatch")
    if layout.allocated > 8:
        flags.append(f"{layout.allocated}-bit-scaled")
    return (*flags, *header.profile_flags(profile_of(dataset)))


def _stream_colour(file: InputFile, layout: Layout, frames: Frames) -> tuple[str, bool]:
    """The colour model after decoding by the first frame, whose header is checked now."""
    with frames.reading() as read:
        stream = read(0)
    found = check_stream(file.name, stream, layout) if layout.frames == 1 else parse(stream)
    return colour_of(found, layout)


def profile_of(dataset: "Dataset") -> bytes:
    """The ICC profile of a header; empty where there is none."""
    profile = dataset.get("ICCProfile")
    return profile if isinstance(profile, bytes) else b""


def _shared_chroma(file: InputFile, layout: Layout, frames: Frames) -> Layout:
    if frames.frame_bits > layout.frame_bits and layout.photometric == "YBR_FULL_422":
        # decompressed by a program that left the name of the JPEG's colour model behind
        return replace(layout, photometric="YBR_FULL")
    if layout.columns % 2 or layout.allocated != 8:
        raise UnreadableError(
            f"'{file.name}' shares chroma between pairs of 8-bit pixels ({layout.photometric}), but"
            f" has {layout.columns} columns of {layout.allocated} bits; export it again"
        )
    return layout


def item_name(dataset: "Dataset", *, frames: int, placed: bool, times: bool) -> str:
    """The name of an image in its case: ``"photo"``, or the modality in lower case."""
    modality = header.text(dataset, "Modality").upper()
    kind = header.text(dataset, "SOPClassUID")
    captured = kind == _SECONDARY_CAPTURE or kind.startswith(f"{_SECONDARY_CAPTURE}.")
    flat = frames == 1 and (captured or not placed or modality in _PROJECTIONS)
    if flat:
        return "photo" if captured else _NAMES.get(modality, "photo")
    if modality in ("", "OT") or not re.fullmatch(r"[A-Z][A-Z0-9_]{1,15}", modality):
        return "cine" if times else "volume"
    return _NAMES.get(modality, modality.lower())


def _read(file: InputFile) -> "tuple[FileDataset, BinaryIO, int | None]":
    """The header; the stream at the element of the pixels; where deflated bytes begin, if any."""
    import pydicom
    from pydicom.filereader import read_dataset, read_preamble
    from pydicom.uid import UID

    stream = cast(BinaryIO, file.stream)
    stream.seek(0)
    read_preamble(stream, force=True)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if meta.get("TransferSyntaxUID") == DEFLATED:
        return _read_deflated(file, meta)
    stream.seek(0)
    dataset = pydicom.dcmread(stream, force=True, stop_before_pixels=True)
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = UID(_guessed_syntax(dataset))
    return dataset, stream, None


def _read_deflated(file: InputFile, meta: "Dataset") -> "tuple[FileDataset, BinaryIO, int]":
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.filereader import read_dataset

    start = file.stream.tell()
    limit = 1 << 20
    while True:
        file.stream.seek(start)
        data = inflate(iter(lambda: file.stream.read(1 << 16), b""), limit=limit)
        stream = BytesIO(data)
        dataset = read_dataset(stream, False, True, stop_when=_at_pixels)
        if stream.tell() < len(data) or len(data) < limit:
            break
        refuse_bomb(file, len(data), _HEADER_MOST)
        limit *= 4
    whole = FileDataset(file.name, dataset, b"", FileMetaDataset(meta), False, True)
    return whole, stream, start


def _at_pixels(tag: Any, _vr: str | None, _length: int) -> bool:
    return tag in (0x7FE00008, 0x7FE00009, 0x7FE00010)


def _real(stream: BinaryIO, syntax: str) -> bool:
    """Whether the pixels are floating point, by the element that the stream is at."""
    here = stream.tell()
    tag = stream.read(4)
    stream.seek(here)
    order = "big" if syntax == EXPLICIT_BIG else "little"
    group, element = int.from_bytes(tag[:2], order), int.from_bytes(tag[2:], order)  # type: ignore[arg-type]
    return group == 0x7FE0 and element in (0x0008, 0x0009)


def _guessed_syntax(dataset: "FileDataset") -> str:
    """The transfer syntax by how the elements were encoded, for files without file meta."""
    implicit, little = dataset.original_encoding
    if implicit:
        return IMPLICIT_LITTLE
    return EXPLICIT_LITTLE if little else EXPLICIT_BIG


def _refuse_without_image(file: InputFile, dataset: "FileDataset") -> None:
    """Raise where the object is of a class without an image, or ends before its image module."""
    if is_dicomdir(file.head):
        raise UnsupportedError(
            f"'{file.name}' is a DICOMDIR, the index of a medium, and holds no image; open the "
            "folder that it lies in"
        )
    sop_class = header.text(dataset, "SOPClassUID")
    if sop_class == _WHOLE_SLIDE:
        raise UnsupportedError(
            f"'{file.name}' is a whole slide image, whose frames are tiles of one picture; they "
            "are not read: export the region that you want as TIFF or PNG from a slide viewer, or "
            "with the Python package wsidicom"
        )
    if "Rows" in dataset and "Columns" in dataset:
        return
    kind = header.uid_name(sop_class)
    if kind == "unknown" or "Image" in kind or "Photography" in kind:
        raise truncated(file)
    raise UnsupportedError(
        f"'{file.name}' is a DICOM object without an image ({kind}); give an image of the study"
    )
