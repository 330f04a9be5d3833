"""The few elements of a DICOM header that sorting and stacking need, found without the rest.

A general reader makes an object of every element; ten thousand files have a million of them. This
one walks over the lengths and keeps the bytes of what was asked for. Little-endian files only, in
explicit or implicit VR; big-endian ones go through pydicom, and of deflated ones only the transfer
syntax is told. Source: DICOM PS3.5 7.1 and 7.5, PS3.10 7.1.
"""

import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from osler.io.dicom_layout import DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_BLOCK = 4096
_PIXELS = 0x7FE00008
_UNDEFINED = 0xFFFFFFFF
_DEEPEST = 32
_LONG_VRS = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN", b"UC", b"UR", b"UT", b"SQ"))
_LONG_VRS |= frozenset((b"SV", b"UV"))
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_IMPLICIT = struct.Struct("<HHI").unpack_from
_EXPLICIT = struct.Struct("<HH2sH").unpack_from
_LONGEST = 65_536
_MOST_NESTED = 300_000  # elements in the sequences of one header

_MOST_KNOWN = 4096
_KNOWN_IMPLICIT: dict[bytes, tuple[int, int]] = {}
_KNOWN_EXPLICIT: dict[bytes, tuple[int, int]] = {}
"""The 8 or 12 bytes that say all of an element but its value: to its tag, and its whole length."""

TAGS: dict[str, tuple[int, str]] = {
    "SpecificCharacterSet": (0x00080005, "CS"),
    "ImageType": (0x00080008, "CS"),
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "StudyDate": (0x00080020, "DA"),
    "Modality": (0x00080060, "CS"),
    "PatientID": (0x00100020, "LO"),
    "EchoTime": (0x00180081, "DS"),
    "EchoNumbers": (0x00180086, "IS"),
    "TriggerTime": (0x00181060, "DS"),
    "DiffusionBValue": (0x00189087, "FD"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
    "SeriesNumber": (0x00200011, "IS"),
    "AcquisitionNumber": (0x00200012, "IS"),
    "InstanceNumber": (0x00200013, "IS"),
    "ImagePositionPatient": (0x00200032, "DS"),
    "ImageOrientationPatient": (0x00200037, "DS"),
    "FrameOfReferenceUID": (0x00200052, "UI"),
    "TemporalPositionIdentifier": (0x00200100, "IS"),
    "SamplesPerPixel": (0x00280002, "US"),
    "PhotometricInterpretation": (0x00280004, "CS"),
    "PlanarConfiguration": (0x00280006, "US"),
    "NumberOfFrames": (0x00280008, "IS"),
    "Rows": (0x00280010, "US"),
    "Columns": (0x00280011, "US"),
    "PixelSpacing": (0x00280030, "DS"),
    "BitsAllocated": (0x00280100, "US"),
    "BitsStored": (0x00280101, "US"),
    "HighBit": (0x00280102, "US"),
    "PixelRepresentation": (0x00280103, "US"),
    "RescaleIntercept": (0x00281052, "DS"),
    "RescaleSlope": (0x00281053, "DS"),
    "RescaleType": (0x00281054, "LO"),
    "ModalityLUTSequence": (0x00283000, "SQ"),
    "Units": (0x00541001, "CS"),
    "OverlayRows": (0x60000010, "US"),
}
"""Keyword to tag and VR of what is kept."""

IDENTITY = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyDate", "Modality"),
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber"),
)
"""What tells whose a file is, and of which study and series."""


class EndlessError(ValueError):
    """A header has more nested elements than any device writes."""


@dataclass(slots=True)
class Scan:
    """What was found; takes the place of a data set where only these elements are asked for.

    Attributes:
        syntax: UID of the transfer syntax; empty where the file does not say.
        values: tag to bytes.
        pixels: where the element of the pixels starts; None where the end was not reached.
        head: its first bytes, as far as they have been read.
        tags: keyword to tag and VR of what was asked for.
    """

    syntax: str = ""
    values: dict[int, bytes] = field(default_factory=dict)
    pixels: int | None = None
    head: bytes = b""
    tags: dict[str, tuple[int, str]] = field(default_factory=lambda: TAGS)

    def get(self, keyword: str, default: Any = None) -> Any:
        """The value as pydicom would give it: text, a number, or a list of several."""
        tag, vr = self.tags.get(keyword, (0, ""))
        data = self.values.get(tag)
        if not data:
            return default
        if vr == "US":
            return int.from_bytes(data[:2], "little")
        if vr == "FD":
            return struct.unpack_from("<d", data)[0] if len(data) >= 8 else default
        if vr == "SQ":
            return data
        parts = data.decode("latin-1").split("\\")
        if vr in ("DS", "IS"):
            try:
                numbers = [float(part) if part.strip(" \0") else None for part in parts]
            except ValueError:
                return default
            whole = [int(n) if vr == "IS" and n is not None else n for n in numbers]
            return whole[0] if len(whole) == 1 else whole
        words = [part.strip(" \0") for part in parts]
        return words[0] if len(words) == 1 else words

    def __contains__(self, keyword: object) -> bool:
        return self.tags.get(str(keyword), (0, ""))[0] in self.values

    def text(self, keyword: str) -> str:
        """The first value as text in the file's own character set; empty where absent."""
        data = self.values.get(self.tags.get(keyword, (0, ""))[0], b"")
        if data.isascii():
            plain = data.decode("ascii")
            return (plain.split("\\")[0] if "\\" in plain else plain).strip(" \0")
        from pydicom.charset import convert_encodings, decode_bytes

        stated = self.get("SpecificCharacterSet") or "ISO_IR 6"
        text = str(decode_bytes(data, convert_encodings(stated), {0x5C}))
        return text.split("\\", maxsplit=1)[0].strip(" \0")


class _Walk:
    """Bytes of a stream by position, read in blocks."""

    def __init__(self, stream: BinaryIO, head: bytes = b"", size: int | None = None) -> None:
        self.stream = stream
        self.size = stream.seek(0, os.SEEK_END) if size is None else size
        self.block = head
        self.start = 0

    def at(self, position: int, count: int) -> tuple[bytes, int]:
        """A block, and where in it the ``count`` bytes at ``position`` start.

        Raises:
            EOFError: the file ends before.
        """
        offset = position - self.start
        if offset < 0 or offset + count > len(self.block):
            if position + count > self.size:
                raise EOFError
            self.stream.seek(position)
            self.block = self.stream.read(max(_BLOCK, count))
            self.start, offset = position, 0
            if len(self.block) < count:
                raise EOFError
        return self.block, offset


def scan(stream: BinaryIO, keywords: Iterable[str] | None = None) -> Scan:
    """Find elements in a DICOM stream, with or without preamble and file meta information.

    Args:
        stream: a seekable file.
        keywords: what to keep, of ``TAGS``; None for all of them, up to the pixels.

    Returns:
        What was found; a stream that breaks off gives what came before.

    Raises:
        ValueError: the bytes cannot be walked over.
    """
    tags = TAGS if keywords is None else {keyword: TAGS[keyword] for keyword in keywords}
    return scan_tags(stream, tags, last=_PIXELS if keywords is None else None)


def scan_tags(
    stream: BinaryIO,
    tags: dict[str, tuple[int, str]],
    *,
    last: int | None = None,
    head: bytes = b"",
    size: int | None = None,
) -> Scan:
    """Find elements by their tags; see ``scan``.

    Args:
        stream: a seekable file.
        tags: keyword to tag and VR of what to keep.
        last: the tag to stop at; None for the one after the last of ``tags``.
        head: the first bytes, where they have been read already.
        size: length of the file in bytes, where it is known already.
    """
    wanted = frozenset(tag for tag, _ in tags.values())
    found = Scan(tags=tags)
    walk = _Walk(stream, head, size)
    try:
        position, implicit = _start(walk, found)
    except EOFError:
        return found
    if found.syntax == DEFLATED:
        return found  # pydicom would inflate all of it, however large
    if found.syntax == EXPLICIT_BIG:
        return _by_pydicom(stream, tags)
    end = max(wanted) + 1 if last is None else last
    with suppress(EOFError):
        _elements(walk, position, found, wanted, implicit=implicit, last=end)
    return found


def _start(walk: _Walk, found: Scan) -> tuple[int, bool]:
    """Where the data set begins, and whether its VRs are implicit."""
    position = 0
    if walk.size >= 132:
        block, at = walk.at(0, 132)
        position = 132 if block[at + 128 : at + 132] == b"DICM" else 0
    block, at = walk.at(position, 8)
    if block[at : at + 2] == b"\2\0":
        meta = Scan(tags={"TransferSyntaxUID": (0x00020010, "UI")})
        position = _elements(
            walk, position, meta, frozenset((0x00020010,)), implicit=False, last=0x00030000
        )
        found.syntax = str(meta.get("TransferSyntaxUID", ""))
    block, at = walk.at(position, 8)
    vr = block[at + 4 : at + 6]
    explicit = vr in _SHORT_VRS or vr in _LONG_VRS
    if not found.syntax and not explicit:
        found.syntax = IMPLICIT_LITTLE
    return position, not explicit


def _elements(
    walk: _Walk,
    position: int,
    found: Scan,
    wanted: frozenset[int],
    *,
    implicit: bool,
    last: int,
) -> int:
    """Walk over elements up to tag ``last``; gives where that one starts."""
    # this loop runs a million times for ten thousand files: the block is kept in local names, and
    # what was understood once is looked up by its bytes
    values, known = found.values, _KNOWN_IMPLICIT if implicit else _KNOWN_EXPLICIT
    block, base, before = walk.block, walk.start, -1
    at = position - base
    while True:
        header = known.get(block[at : at + 8])
        if header is not None:
            tag, after = header[0], at + header[1]
            if before < tag < last and (tag not in wanted or after <= len(block)):
                if tag in wanted:
                    values[tag] = block[at + 8 : after]
                before, at = tag, after
                continue
        else:
            header = known.get(block[at : at + 12])
            if header is not None and before < header[0] < last and header[0] not in wanted:
                before, at = header[0], at + header[1]
                continue
        position = base + at
        if position >= walk.size:
            return position
        tag, after = _element(walk, position, found, wanted, implicit=implicit, last=last)
        if tag >= last:
            if tag >= _PIXELS:
                found.pixels = position
                at = position - walk.start
                found.head = walk.block[at : at + 12]
            return position
        if tag <= before:
            raise ValueError("elements out of order")
        block, base, before = walk.block, walk.start, tag
        at = after - base


def _element(
    walk: _Walk, position: int, found: Scan, wanted: frozenset[int], *, implicit: bool, last: int
) -> tuple[int, int]:
    """The tag at a position, and where the next element starts; a wanted value is kept."""
    block, at = walk.at(position, min(12, walk.size - position))
    if len(block) - at < 8:
        raise EOFError
    vr, head = b"", block[at : at + 8]
    if implicit:
        group, element, length = _IMPLICIT(block, at)
    else:
        group, element, vr, length = _EXPLICIT(block, at)
    tag, after = group << 16 | element, position + 8
    if tag >= last:
        return tag, position
    if not implicit and vr in _LONG_VRS:
        if at + 12 > len(block):
            raise EOFError
        length = int.from_bytes(block[at + 8 : at + 12], "little")
        after += 4
        head = block[at : at + 12]
    elif not implicit and vr not in _SHORT_VRS:
        raise ValueError("no value representation")
    if length == _UNDEFINED:
        if tag in wanted:
            found.values[tag] = b"\1"
        # a UN of undefined length holds implicit elements (PS3.5 6.2.2)
        return tag, _skip(walk, after, implicit=implicit or vr == b"UN")
    known = _KNOWN_IMPLICIT if implicit else _KNOWN_EXPLICIT
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known[head] = (tag, len(head) + length)
    if tag in wanted:
        if length > _LONGEST or after + length > walk.size:
            raise ValueError("an element too long")
        block, at = walk.at(after, length)
        found.values[tag] = block[at : at + length]
    return tag, after + length


def _skip(walk: _Walk, position: int, *, implicit: bool) -> int:
    """Where a sequence of undefined length ends, its nested ones too."""
    # each level: whether it is an item (which ends with its own delimiter) and its encoding
    levels = [(False, implicit)]
    left = _MOST_NESTED
    while levels:
        left -= 1
        if not left:
            raise EndlessError("a header that goes on and on")
        is_item, implicit = levels[-1]
        block, at = walk.at(position, 8)
        group, element, length = struct.unpack_from("<HHI", block, at)
        if group == 0xFFFE:
            position += 8
            if element == (0xE00D if is_item else 0xE0DD):
                levels.pop()
            elif element == 0xE000 and not is_item:
                if length == _UNDEFINED:
                    levels.append((True, implicit))
                else:
                    position += length
            else:
                raise ValueError("a sequence that does not close")
        elif not is_item:
            raise ValueError("a sequence without items")
        else:
            vr, head = b"", 8
            if not implicit:
                vr = block[at + 4 : at + 6]
                if vr in _LONG_VRS:
                    block, at = walk.at(position, 12)
                    (length,) = struct.unpack_from("<I", block, at + 8)
                    head = 12
                elif vr in _SHORT_VRS:
                    (length,) = struct.unpack_from("<H", block, at + 6)
                else:
                    raise ValueError("no value representation")
            position += head
            if length == _UNDEFINED:
                levels.append((False, implicit or vr == b"UN"))
            else:
                position += length
        if len(levels) > _DEEPEST:
            raise ValueError("sequences too deep")
    return position


def _by_pydicom(stream: BinaryIO, tags: dict[str, tuple[int, str]]) -> Scan:
    """The same through pydicom, for big-endian files."""
    import pydicom

    stream.seek(0)
    try:
        dataset = pydicom.dcmread(
            stream, stop_before_pixels=True, specific_tags=[tag for tag, _ in tags.values()]
        )
        return of_dataset(dataset, tags=tags)
    except Exception as error:
        raise ValueError("a header that cannot be read") from error


def of_dataset(dataset: "Dataset", *, tags: dict[str, tuple[int, str]] | None = None) -> Scan:
    """What a scan would have found in a header that pydicom read."""
    tags = TAGS if tags is None else tags
    meta = getattr(dataset, "file_meta", None) or {}
    found = Scan(syntax=str(meta.get("TransferSyntaxUID", "")), tags=tags)
    for keyword, (tag, vr) in tags.items():
        value = dataset.get(keyword)
        if value is None and tag >> 16 == 0x6000 and tag in dataset:  # of a repeating group
            value = dataset[tag].value
        if value is None:
            continue
        if vr == "US":
            found.values[tag] = int(value).to_bytes(2, "little")
        elif vr == "FD":
            found.values[tag] = struct.pack("<d", float(value))
        elif vr == "SQ":
            found.values[tag] = b"\1"
        else:
            several = not isinstance(value, str) and hasattr(value, "__iter__")
            text = "\\".join(str(part) for part in value) if several else str(value)
            found.values[tag] = text.encode()
    # pydicom has decoded the text, whatever it was in
    found.values[TAGS["SpecificCharacterSet"][0]] = b"ISO_IR 192"
    return found
