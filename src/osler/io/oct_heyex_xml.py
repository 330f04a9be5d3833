"""Heidelberg XML exports: an ``.xml``, and a picture file for each B-scan and the en-face image.

The lateral step between B-scans is not stated, so it is taken from their positions.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from osler.errors import TooLargeError, UnreadableError, UnsupportedError
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding, opened
from osler.io.oct_layers import MOST, Boundary, contours
from osler.io.oct_places import Line, laterality_of, scan_of, transform_of
from osler.io.siblings import sibling
from osler.io.volume_data import BYTES_A_PIXEL, Piece, unchanged
from osler.record import Deferred, Finding, Image, Item, Origin
from osler.record.item import Region

_MOST_XML: Final = 64 << 20
_LONGEST_SIDE: Final = 1 << 15
_CONTEXT: Final = "OphthalmicAcquisitionContext"


def _layers(element: Element, width: int) -> Iterator[tuple[str, tuple[NDArray[np.float64], bool]]]:
    """Name, heights and whether a person drew it, of each boundary in a B-scan."""
    for line in islice(element.iter("SegLine"), MOST):
        name = (line.findtext("Name") or "").strip()
        try:
            heights = np.array((line.findtext("Array") or "").split(), np.float64)
        except ValueError:
            continue
        if re.fullmatch(r"[A-Za-z0-9+\- ]{1,20}", name) and heights.shape == (width,):
            by_hand = (line.findtext("Manual") or "").strip().lower() in ("true", "1")
            yield name, (heights, by_hand)


class _Picture:
    """One image of the export: where its file is, its size and where it lies."""

    def __init__(self, file: InputFile, element: Element) -> None:
        url = element.findtext("ImageData/ExamURL") or ""
        # the export names a path of the machine that made it
        name = url.replace("\\", "/").rsplit("/", 1)[-1].strip()
        found = sibling(file, name) if name else None
        if found is None:
            raise UnreadableError(f"'{file.name}' does not name the file of one of its images")
        self.path, self.size = found
        context = element.find(_CONTEXT)
        self.context = Element(_CONTEXT) if context is None else context
        self.width, self.height = int(self.number("Width")), int(self.number("Height"))
        if not (0 < self.width <= _LONGEST_SIDE and 0 < self.height <= _LONGEST_SIDE):
            raise UnreadableError(f"'{file.name}' states an image size that no device makes")
        self.scale = (self.number("ScaleY"), self.number("ScaleX"))
        ends = ("Start/Coord/Y", "Start/Coord/X", "End/Coord/Y", "End/Coord/X")
        self.line = [self.number(end) for end in ends]
        self.layers = dict(_layers(element, self.width))

    def number(self, path: str) -> float:
        """A number of the acquisition, or NaN."""
        try:
            return float(self.context.findtext(path) or "nan")
        except ValueError:
            return math.nan

    def read(self) -> NDArray[Any]:
        """``(H, W)`` grey in 8 bits."""
        from osler.io.raster import read_raster
        from osler.io.readers import reader_for

        with unchanged(Piece(self.path, self.size), "image"), opened(self.path) as file:
            reader = reader_for(file.head)
            if reader is None or reader.format not in ("png", "tiff", "bmp", "jpeg"):
                raise UnsupportedError(f"'{file.name}' is no picture that is read")
            limit = self.width * self.height
            image, _ = read_raster(file, reader.format, max_pixels=limit)
            pixels = image.array
            if image.shape != (self.height, self.width) or pixels.dtype != np.uint8:
                raise UnreadableError(
                    f"'{file.name}' is of another size or depth than the export says; export again"
                )
            if any((plane != pixels[0]).any() for plane in pixels[1:]):
                raise UnsupportedError(f"'{file.name}' is in colour; a B-scan is grey")
            plane: NDArray[Any] = pixels[0]
            return plane

    def channel(self) -> NDArray[Any]:
        """``(1, H, W)``."""
        return self.read()[None]


def read_heyex_xml(file: InputFile, format: str, *, max_pixels: int) -> Content:
    """Read the XML; the pictures are read when they are asked for.

    Gives ``"oct"`` (a plane where there is one B-scan), ``"slo"``, and for parallel B-scans the
    transform between them.

    Raises:
        UnreadableError: damaged, or a picture is missing.
        UnsupportedError: it holds more than one series, or no B-scan.
    """
    with decoding(file, format):
        root = _parsed(file)
        all_series = list(root.iter("Series"))
        images = [i for s in all_series for i in s.iter("Image")]
        kinds = [image.findtext("ImageType/Type") for image in images]
        if len(all_series) != 1 or "OCT" not in kinds:
            raise UnsupportedError(
                f"'{file.name}' holds {len(all_series)} series and {kinds.count('OCT')} B-scans; "
                "export one OCT series at a time"
            )
        bscans = [_Picture(file, i) for i, k in zip(images, kinds, strict=True) if k == "OCT"]
        flats = [_Picture(file, i) for i, k in zip(images, kinds, strict=True) if k == "LOCALIZER"]
        eye, flags = laterality_of(all_series[0].findtext("Laterality") or "")
        origin = Origin(
            path=file.name, sha256="", format=format, files=tuple(str(b.path) for b in bscans)
        )
        items: list[Item] = [_oct(file, bscans, flats, eye, flags, origin, max_pixels)]
        items += [_slo(flat, eye, flags, origin) for flat in flats[:1]]
        findings = _findings(items) + _boundaries(bscans)
        patient = (root.findtext(".//Patient/PatientID") or "").strip()
    return Content(items, findings, patient_id=patient or None)


def _parsed(file: InputFile) -> Element:
    """The document; one that defines entities, as XML bombs do, is refused unread."""
    if file.size > _MOST_XML:
        raise TooLargeError(f"'{file.name}' has {file.size:,} bytes, more than any export")
    file.stream.seek(0)
    data = file.stream.read()
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0" in data:
        raise UnreadableError(f"'{file.name}' defines entities, which no export does")
    return ElementTree.fromstring(data)


def _oct(
    file: InputFile,
    bscans: list[_Picture],
    flats: list[_Picture],
    eye: Any,
    flags: tuple[str, ...],
    origin: Origin,
    max_pixels: int,
) -> Image:
    first = bscans[0]
    if any((b.height, b.width) != (first.height, first.width) for b in bscans):
        raise UnreadableError(f"'{file.name}' has B-scans of different sizes")
    lines = np.array([b.line for b in bscans])
    scan = scan_of(lines)
    single = len(bscans) == 1
    plane = tuple(s if 0 < s < 10 else math.nan for s in first.scale)
    spacing: tuple[float, ...] | None = plane if single else (scan.step or math.nan, *plane)
    doubts = scan.flags
    if spacing is None or any(map(math.isnan, spacing)):
        spacing, doubts = None, (*doubts, "no-scale")
    header: dict[str, Any] = {"bscans_mm": tuple(map(tuple, lines.tolist()))}
    if not math.isnan(plane[0]):
        header["depth_spacing_mm"] = plane[0]
    if flats and all(scale > 0 for scale in flats[0].scale):
        pixels = np.array(flats[0].scale * 2)
        header["bscans"] = tuple(map(tuple, (lines / pixels).tolist()))
    return Image(
        name="oct",
        array=_deferred(file, bscans, max_pixels),
        modality="OPT",
        spacing=spacing,
        laterality=eye,
        origin=origin,
        flags=(*file.extension_flags("heyex-xml"), *flags, *doubts),
        header=header,
    )


def _deferred(file: InputFile, bscans: list[_Picture], max_pixels: int) -> Deferred:
    first = bscans[0]
    single = len(bscans) == 1
    shape = (1, *(() if single else (len(bscans),)), first.height, first.width)

    pictures = _Pictures(file.name, tuple(bscans), shape, max_pixels)
    return Deferred(shape, np.dtype(np.uint8), pictures.load, pictures.region)


@dataclass(frozen=True, slots=True)
class _Pictures:
    """B-scans, each in a file of its own."""

    name: str
    bscans: "tuple[_Picture, ...]"
    shape: tuple[int, ...]
    max_pixels: int

    def load(self) -> NDArray[Any]:
        if math.prod(self.shape) > self.max_pixels * BYTES_A_PIXEL:
            raise TooLargeError(
                f"'{self.name}' takes {math.prod(self.shape):,} bytes; read a part with "
                "image.region(...), or raise max_pixels"
            )
        return np.stack([b.read() for b in self.bscans])[None].reshape(self.shape)

    def region(self, cut: Region) -> NDArray[Any]:
        single = len(self.shape) == 3
        chosen = self.bscans if single else self.bscans[cut[0]]
        planes = [b.read()[cut[-2:]] for b in chosen]
        if not planes:
            return np.empty(self.shape, np.uint8)[(slice(None), *cut)]
        return np.stack(planes) if single else np.stack(planes)[None]


def _slo(flat: _Picture, eye: Any, flags: tuple[str, ...], origin: Origin) -> Image:
    sound = all(0 < scale < 10 for scale in flat.scale)
    shape = (1, flat.height, flat.width)
    return Image(
        name="slo",
        array=Deferred(shape, np.dtype(np.uint8), flat.channel),
        modality="OP",
        spacing=flat.scale if sound else None,
        laterality=eye,
        origin=origin,
        flags=(*flags, *(() if sound else ("no-scale",))),
    )


def _boundaries(bscans: list[_Picture]) -> list[Finding]:
    names = dict.fromkeys(name for one in bscans for name in one.layers)
    found = []
    for name in islice(names, MOST):
        heights = np.full((len(bscans), bscans[0].width), np.nan)
        for row, one in zip(heights, bscans, strict=True):
            if name in one.layers:
                row[:] = one.layers[name][0]
        by_hand = any(one.layers[name][1] for one in bscans if name in one.layers)
        found.append(Boundary(name, heights, by_hand))
    return list(contours(found, item="oct", flat=len(bscans) == 1))


def _findings(items: list[Item]) -> list[Finding]:
    oct = items[0]
    if len(items) < 2 or not isinstance(oct, Image) or oct.spacing is None:
        return []
    lines: tuple[Line, ...] = oct.header.get("bscans", ())
    transform = transform_of(lines, oct.shape[-1], item="oct", target="slo")
    return [transform] if transform else []
