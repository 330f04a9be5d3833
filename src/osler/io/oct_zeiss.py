"""Zeiss Cirrus ``.img`` files: the samples of an OCT volume, and nothing else.

The file has no header. The number of B-scans and A-scans and the eye stand in the name that the
device gives it (``..._Macular Cube 512x128_..._OD_..._cube_z.img``); a file that was renamed is
refused rather than guessed at.
"""

import re
from datetime import datetime
from typing import Final

import numpy as np

from osler.errors import InputError, UnreadableError
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding
from osler.io.oct_places import laterality_of
from osler.io.volume_data import Piece, Voxels
from osler.record import Image, Origin

_DEPTH: Final = 1024  # samples in an A-scan of every cube
_SIZE: Final = re.compile(r"(\d{1,4})x(\d{1,4})")
_EYE: Final = re.compile(r"(?<![A-Za-z])(OD|OS)(?![A-Za-z])")
_TAKEN: Final = re.compile(r"(\d{1,2})-(\d{1,2})-(\d{4})_(\d{1,2})-(\d{1,2})-(\d{1,2})")


def read_zeiss(
    file: InputFile,
    format: str,
    *,
    max_pixels: int,
    bscans: int | None = None,
) -> Content:
    """Read the sizes from the name; the pixels are read when they are asked for.

    Args:
        file: the opened file.
        format: ``"zeiss-img"``.
        max_pixels: what loads into more memory than so many pixels of 4 bytes is refused then.
        bscans: how many B-scans there are, for a file that was renamed.

    Raises:
        InputError: neither the name nor ``bscans`` says how many B-scans there are.
        UnreadableError: it has another length than its size needs.
    """
    with decoding(file, format):
        name = file.path.name
        if (file.path.with_suffix(".hdr")).is_file():
            raise InputError(
                f"'{file.name}' is the second file of a NIfTI pair; give the .hdr beside it"
            )
        size = _SIZE.search(name)
        if bscans is None and size is None:
            raise InputError(
                f"'{file.name}' has no header, and its name does not say the size of its cube "
                "(such as 512x128); pass bscans=128, or give the file its old name"
            )
        count = int(bscans if bscans is not None else size[2] if size else 0)
        width, rest = divmod(file.size, _DEPTH * count) if count > 0 else (0, 1)
        stated = int(size[1]) if size and bscans is None else width
        if rest or width < 1 or width != stated:
            raise UnreadableError(
                f"'{file.name}' has {file.size:,} bytes, which are not {count} B-scans of "
                f"{stated} x {_DEPTH} samples; copy it again from its source"
            )
        eye = _EYE.search(name)
        laterality, flags = laterality_of(eye[1] if eye else "")
        stored = np.dtype("u1")
        voxels = Voxels(
            file.name, format, (Piece(file.path, file.size),), stored, (count, _DEPTH, width), None,
            stored,
        )  # fmt: skip
        held = voxels.deferred(max_pixels=max_pixels)
    doubts = ("no-scale", "size-from-name", "bscan-places-not-stated")
    image = Image(
        name="oct", array=held, modality="OPT", laterality=laterality, acquired=_moment(name),
        origin=Origin(path=file.name, sha256="", format=format), flags=(*flags, *doubts),
    )  # fmt: skip
    return Content([image])


def _moment(name: str) -> datetime | None:
    found = _TAKEN.search(name)
    if found is None:
        return None
    month, day, year, hour, minute, second = (int(number) for number in found.groups())
    try:
        return datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
