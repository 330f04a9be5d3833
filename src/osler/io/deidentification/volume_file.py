"""A volume in NRRD or MetaImage → the same, written anew from its voxels and its geometry.

Both formats have fields for whatever a program likes to say, and key/value pairs besides, so none
of them goes along: the header is made from the size, the type, the place in space, the times and
the unit of the values.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from osler.io.deidentification.draft import Cleaned
from osler.io.input_file import MAX_PIXELS, InputFile
from osler.io.signatures import is_nrrd
from osler.io.volume_note import SYNTHETIC
from osler.io.volume_values import is_colour
from osler.record import Image

_HEADERS: Final = (".nhdr", ".mhd")
_LONGEST_HEADER: Final = 1 << 16  # bytes of ours
_LARGEST_NAMED: Final = 1 << 20  # bytes of a header that is asked for the names of its files

_UNITS: Final = ("[hnsf'U]", "1", "%", "s", "ms", "mm", "um", "mm2/s", "Bq/mL", "g/mL", "Gy", "Hz")
"""Units of values that may stay; any other word could be somebody's."""

# What a field of ours may hold: numbers, and words of the formats and of UCUM.
_NUMBERS: Final = r"(?:none|nan|[-+.\deE(), ])+"
_FIELDS: Final = {
    "type": r"u?int(?:8|16|32|64)|float|double",
    "space": "left-posterior-superior",
    "kinds": r"(?:(?:domain|list|RGB-color|RGBA-color|none) ?)+",
    "sample units": rf'"?(?:{"|".join(map(re.escape, _UNITS))})"?',
    "units": r'(?:"(?:s|mm|)" ?|none ?)+',
    "space units": r'(?:"mm" ?)+',
    "encoding": "gzip",
    "endian": "little",
    "ObjectType": "Image",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "True",
    "AnatomicalOrientation": "[RLAPIS]{3}",
    "ElementType": "MET_[A-Z_]+",
    "ElementDataFile": "LOCAL",
}
_SIZES: Final = (
    "dimension|space dimension|sizes|space directions|space origin|spacings|thicknesses|axis mins|"
    "NDims|TransformMatrix|Offset|CenterOfRotation|ElementSpacing|DimSize|CompressedDataSize|"
    "ElementNumberOfChannels"
)
_OF_NUMBERS: Final = frozenset(_SIZES.split("|"))


def clean(file: InputFile) -> Cleaned:
    """The volume with nothing in its header but what its voxels need.

    Raises:
        UnreadableError: it is damaged, or a file with its voxels is missing.
        UnsupportedError: its axes or values are not read, so that they cannot be written anew.
    """
    from osler.io.metaimage import read_metaimage
    from osler.io.metaimage_out import write_metaimage
    from osler.io.nrrd import read_nrrd
    from osler.io.nrrd_out import write_nrrd

    nrrd = is_nrrd(file.head)
    read, write = (read_nrrd, write_nrrd) if nrrd else (read_metaimage, write_metaimage)
    image = read(file, "nrrd" if nrrd else "metaimage", max_pixels=MAX_PIXELS)
    bare = _bare(image)
    ending = ".nrrd" if nrrd else ".mha"

    def put(path: Path) -> None:
        # the writer goes by the ending, and the part that is written has one of its own
        target = path.with_name(f"{path.name}{ending}")
        try:
            write(bare, target)
            target.replace(path)
        finally:
            target.unlink(missing_ok=True)

    cleaned = Cleaned(ending, put, Counter({("header of the volume", "made anew"): 1}))
    cleaned.notes.append("written anew from its voxels: other fields of its header were left out")
    return cleaned


def _bare(image: Image) -> Image:
    """The image with its geometry and unit alone."""
    return replace(
        image,
        name="volume",
        laterality=None,
        acquired=None,
        origin=None,
        flags=tuple(flag for flag in image.flags if flag == SYNTHETIC),
        units=image.units if image.units in _UNITS else "",
        channels=image.channels if is_colour(image) else (),
        window=None,
        header={},
    )


def left(path: Path) -> Iterator[str]:
    """What the header of a copy says that one of ours does not."""
    with path.open("rb") as stream:
        head = stream.read(_LONGEST_HEADER)
    nrrd = is_nrrd(head)
    end = head.find(b"\n\n") if nrrd else head.find(b"ElementDataFile = LOCAL\n")
    if end < 0:
        yield "a header of a volume that is none of ours"
        return
    text = head[:end].decode("utf-8", "replace")
    for line in text.splitlines()[1 if nrrd else 0 :]:
        name, sign, value = line.partition(": " if nrrd else " = ")
        if re.fullmatch(r'osler(?::=| = )\{[" a-z:,]*\}', line):
            said = set(re.findall("[a-z]+", line.partition("{")[2]))
            if said <= {"plane", SYNTHETIC, "true"}:
                continue
        pattern = _NUMBERS if name in _OF_NUMBERS else _FIELDS.get(name)
        if not sign or pattern is None or not re.fullmatch(pattern, value.strip()):
            yield "a field in the header of a volume"


def is_of_a_header(path: Path) -> bool:
    """Whether the header of a volume beside a file names it as where its voxels lie."""
    name = path.name.encode()
    for beside in path.parent.iterdir():
        if beside.suffix.lower() not in _HEADERS or beside == path or not beside.is_file():
            continue
        try:
            with beside.open("rb") as stream:
                text = stream.read(_LARGEST_NAMED)
        except OSError:
            continue
        if re.search(rb"(?:ElementDataFile\s*=|data ?file:)\s*(?:\./)?" + re.escape(name), text):
            return True
    return False
