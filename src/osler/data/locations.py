"""Where a cell of a cohort points: a file, a folder, a URL, a place in an image, or nowhere."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

Location = Path | str
"""A file or folder of this machine, or the text of a URL."""

# pictures, volumes, signals, tables, text, omics: what the name of a medical file ends with
_SUFFIXES = (
    ".jpg .jpeg .png .tif .tiff .bmp .jp2 .svs .ndpi .dcm .dicom .ima .nii .nii.gz .hdr .img .nrrd "
    ".nhdr .mha .mhd .vol .e2e .fda .hea .dat .mat .edf .csv .tsv .parquet .xlsx .xls .json "
    ".ndjson .txt .docx .pdf .xml .hl7 .h5ad .gct .vcf .vcf.gz .npy .npz .zip"
)
SUFFIXES = frozenset(_SUFFIXES.split())
"""What tells a path from a value by its look alone."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_VALUES = re.compile(r"(.+)#(\d+(?:,\d+)*)\Z", re.DOTALL)
_NUMBER = r"-?\d+(?:\.\d+)?"
_PLACE = re.compile(rf"{_NUMBER}(?:;{_NUMBER}){{1,2}}\Z")
_BOX = re.compile(rf"{_NUMBER}(?:;{_NUMBER}){{3}}(?:(?:;{_NUMBER}){{2}})?\Z")


@dataclass(frozen=True, slots=True)
class Marked:
    """The voxels of a label map that are one structure.

    Attributes:
        location: the label map.
        values: those of the structure; empty where everything above 0 is.
    """

    location: Location
    values: tuple[int, ...] = ()


def is_url(text: str) -> bool:
    """Whether it names its scheme, as ``s3://bucket/key`` does."""
    return bool(_URL.match(text))


def looks_like_path(text: str) -> bool:
    """Whether it is a URL or ends as the files of medicine do; looks at no disk."""
    lower = text.lower()
    dots = [i for i, letter in enumerate(lower) if letter == "."][-2:]
    return is_url(text) or any(lower[i:] in SUFFIXES and i > 0 for i in dots)


def locate(text: str, root: Path) -> Location:
    """A cell as a location: a URL as it stands, a path under ``root``."""
    return text if is_url(text) else root / text


def exists(location: Location) -> bool:
    """Whether a file or folder is there; a URL is taken at its word."""
    try:
        return isinstance(location, str) or location.exists()
    except (OSError, ValueError):  # a text that is too long for a name, or no name at all
        return False


def marked(text: str, root: Path) -> Marked | None:
    """A label as the voxels of a label map, or None where it is a value or a place.

    ``masks/1.png`` is everything above 0, ``labels/1.nii.gz#1,2`` the voxels that are 1 or 2.
    """
    found = _VALUES.match(text)
    if found and looks_like_path(found[1]):
        values = tuple(int(value) for value in found[2].split(","))
        return Marked(locate(found[1], root), values)
    return Marked(locate(text, root)) if looks_like_path(text) else None


def place(text: str) -> tuple[float, ...] | None:
    """A label as a point ``h;w`` or ``d;h;w`` in pixels, or None."""
    return tuple(float(n) for n in text.split(";")) if _PLACE.match(text) else None


def boxes(text: str) -> list[tuple[tuple[float, ...], tuple[float, ...]]] | None:
    """A label as boxes in pixels, first and opposite corner of each, or None.

    A box is ``h0;w0;h1;w1`` or ``d0;h0;w0;d1;h1;w1``, a space between two, all of as many numbers.
    """
    parts = text.split()
    if not parts or not all(_BOX.match(part) for part in parts):
        return None
    numbers = [tuple(map(float, part.split(";"))) for part in parts]
    if len({len(one) for one in numbers}) > 1:
        return None
    axes = len(numbers[0]) // 2
    return [(one[:axes], one[axes:]) for one in numbers]


def relative(location: Location, folder: Path) -> str:
    """A location as a table in ``folder`` names it: relative, with forward slashes."""
    if isinstance(location, str):
        return location
    return Path(os.path.relpath(location, folder)).as_posix()


def moved(label: str, old: Path, new: Path) -> str:
    """A label that is a path relative to ``old``, as a table in ``new`` writes it."""
    mark = marked(label, old)
    if mark is None:
        return label
    values = f"#{','.join(str(v) for v in mark.values)}" if mark.values else ""
    return relative(mark.location, new) + values
