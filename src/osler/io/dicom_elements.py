"""Data elements walked in their bytes: for the functional groups of thousands of frames.

A general parser makes a dozen objects for each element, which takes minutes where a file has a
hundred thousand of them. This one only notes where the wanted values lie [1].

1. DICOM PS3.5, sections 7.1 (data elements) and 7.5 (nested data sets).
"""

import struct
from collections.abc import Iterator
from mmap import mmap

from osler.errors import UnreadableError

UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR"))
_LONG_VRS = _LONG | {b"UT", b"UV"}
_DEEPEST = 16
"""Functional groups nest no deeper than 6; a file that goes on is hostile."""


Buffer = bytes | mmap
"""Bytes, or a file in memory."""

Place = tuple[int, int]
"""Where a value starts, and how many bytes it has."""

Leaves = dict[tuple[int, int], Place]
"""(tag of the sequence around it, tag) to the place of the value; the last one where there are
several."""


class Walker:
    """Walks through data elements of one byte order and VR encoding."""

    def __init__(self, buffer: Buffer, *, implicit: bool, little: bool) -> None:
        self._buffer = buffer
        self._implicit = implicit
        order = "<" if little else ">"
        self._tag = struct.Struct(f"{order}HH").unpack_from
        self._short = struct.Struct(f"{order}H").unpack_from
        self._long = struct.Struct(f"{order}I").unpack_from
        self._end = len(buffer)
        self.after = 0
        """Where the sequence ended whose items were asked for last."""

    def header(self, at: int) -> tuple[int, int, int, bool]:
        """Tag, start of the value, its length, and whether it is a sequence.

        Raises:
            UnreadableError: the element ends beyond the buffer.
        """
        if at + 8 > self._end:
            raise UnreadableError("a data element is cut off")
        group, element = self._tag(self._buffer, at)
        tag = group << 16 | element
        if group == 0xFFFE or self._implicit:
            length, start = self._long(self._buffer, at + 4)[0], at + 8
            sequence = group != 0xFFFE and (length == UNDEFINED or _is_sequence(tag))
        else:
            vr = self._buffer[at + 4 : at + 6]
            if vr in _LONG_VRS:
                if at + 12 > self._end:
                    raise UnreadableError("a data element is cut off")
                length, start = self._long(self._buffer, at + 8)[0], at + 12
            else:
                length, start = self._short(self._buffer, at + 6)[0], at + 8
            sequence = vr == b"SQ" or length == UNDEFINED
        if length != UNDEFINED and start + length > self._end:
            raise UnreadableError("a data element ends beyond its file")
        return tag, start, length, sequence

    def items(self, at: int, length: int) -> Iterator[Leaves]:
        """The leaves of each item of the sequence whose value starts at ``at``."""
        end = self._end if length == UNDEFINED else at + length
        while at < end:
            tag, start, size, _ = self.header(at)
            if tag == _SEQUENCE_END:
                at = start
                break
            if tag != _ITEM:
                raise UnreadableError("a sequence holds something else than items")
            leaves: Leaves = {}
            at = self._item(start, size, 0, leaves, 0)
            yield leaves
        self.after = at

    def _item(self, at: int, length: int, parent: int, leaves: Leaves, depth: int) -> int:
        if depth > _DEEPEST:
            raise UnreadableError("sequences are nested too deeply")
        end = self._end if length == UNDEFINED else at + length
        while at < end:
            tag, start, size, sequence = self.header(at)
            if tag == _ITEM_END:
                return start
            if sequence:
                at = self._sequence(start, size, tag, leaves, depth + 1)
            else:
                leaves[parent, tag] = (start, size)
                at = start + size
        return at

    def _sequence(self, at: int, length: int, parent: int, leaves: Leaves, depth: int) -> int:
        end = self._end if length == UNDEFINED else at + length
        while at < end:
            tag, start, size, _ = self.header(at)
            if tag == _SEQUENCE_END:
                return start
            if tag != _ITEM:
                raise UnreadableError("a sequence holds something else than items")
            at = self._item(start, size, parent, leaves, depth)
        return at


def _is_sequence(tag: int) -> bool:
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False
