"""The header of an NRRD as text and as values [1].

[1] Nearly Raw Raster Data, format 5, https://teem.sourceforge.net/nrrd/format.html.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from osler.errors import GeometryError, UnreadableError
from osler.io.input_file import InputFile

MOST_HEADER: Final = 1 << 20

_WITH_TIME: Final = {
    "left-posterior-superior-time": "lps", "lpst": "lps", "right-anterior-superior-time": "ras",
    "rast": "ras", "left-anterior-superior-time": "las", "last": "las",
    "scanner-xyz-time": "scanner-xyz", "3d-right-handed-time": "3d-right-handed",
    "3d-left-handed-time": "3d-left-handed",
}  # fmt: skip

# Names that the format allows with and without the space.
_ALIASES: Final = {
    "datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip",
    "sampleunits": "sample units", "axismins": "axis mins", "axismaxs": "axis maxs",
    "oldmin": "old min", "oldmax": "old max",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """A header as text and as values.

    Attributes:
        magic: its first line.
        fields: name (lower case) to text.
        pairs: what stands as ``key:=value``.
        values: name to what pynrrd makes of it.
        files: the names below ``data file: LIST``.
        end: where attached voxels begin.
    """

    magic: str
    fields: dict[str, str]
    pairs: dict[str, str]
    values: dict[str, Any]
    files: tuple[str, ...]
    end: int


def kept(header: Header) -> dict[str, Any]:
    """Every field as it stands, so that the file can be written again."""
    return {"magic": header.magic, "fields": dict(header.fields), "pairs": dict(header.pairs)}


def read_header(file: InputFile) -> Header:
    """The fields before the empty line, which pynrrd parses."""
    file.stream.seek(0)
    text = file.stream.read(MOST_HEADER)
    found = re.search(rb"\r?\n\r?\n", text)
    if found is None and len(text) == MOST_HEADER:
        raise UnreadableError(f"'{file.name}' has a header without an end; export it again")
    end = found.end() if found else file.size
    lines = text[: found.start() if found else None].decode("utf-8", "replace").splitlines()
    fields, pairs, files = dict[str, str](), dict[str, str](), list[str]()
    for line in lines[1:]:
        if line.startswith("#") or not line.strip():
            continue
        if fields.get("data file", "").split()[:1] == ["LIST"]:
            files.append(line.strip())
            continue
        match = re.match(r"([^:]+):(=?)(.*)\Z", line)
        if match is None:
            raise UnreadableError(f"'{file.name}' has a line in its header that is no field")
        name, pair, value = match[1].strip(), match[2], match[3].strip()
        if not pair:
            name = _ALIASES.get(name.lower(), name.lower())
        if name in (pairs if pair else fields):
            raise UnreadableError(f"'{file.name}' states a field of its header twice")
        (pairs if pair else fields)[name] = value
    return Header(lines[0], fields, pairs, _values(file, fields, lines[0]), tuple(files), end)


def parsed(kept: Mapping[str, Any]) -> Header:
    """The header again, from what ``kept`` gave."""
    fields, pairs = dict(kept["fields"]), dict(kept["pairs"])
    return Header(kept["magic"], fields, pairs, _typed(kept["magic"], fields), (), 0)


def _values(file: InputFile, fields: dict[str, str], magic: str) -> dict[str, Any]:
    missing = [n for n in ("dimension", "sizes", "type", "encoding") if n not in fields]
    if missing:
        raise UnreadableError(f"'{file.name}' lacks the field '{missing[0]}'; export it again")
    try:
        return _typed(magic, fields)
    except GeometryError as error:
        raise GeometryError(f"'{file.name}' {error}") from None


def _typed(magic: str, fields: Mapping[str, str]) -> dict[str, Any]:
    import nrrd  # type: ignore[import-untyped]

    lines = [magic, *(f"{name}: {value}" for name, value in fields.items())]
    values = dict(nrrd.read_header(lines))
    values["space"] = str(values.get("space", "")).lower()
    base = _WITH_TIME.get(values["space"])
    return values if base is None else values | {"space": base} | _without_time(values)


def _without_time(values: Mapping[str, Any]) -> dict[str, Any]:
    """Directions, origin and units of a space of four axes, the last of which is time.

    Raises:
        GeometryError: an axis runs through space and time at once.
    """
    origin, units = values.get("space origin"), list(values.get("space units", []))
    out: dict[str, Any] = {} if origin is None else {"space origin": origin[:3]}
    if units:
        out["space units"] = units[:3]
    steps: dict[int, float] = {}
    directions: list[Any] = []
    for axis, direction in enumerate(values.get("space directions", [])):
        some = None if is_none(direction) else np.asarray(direction, float)
        if some is not None and len(some) == 4:
            if some[3] and some[:3].any():
                raise GeometryError(
                    "has an axis that runs through space and time; mend it in the header"
                )
            if some[3]:
                steps[axis] = float(some[3])
            some = None if some[3] else some[:3]
        directions.append(some)
    out["space directions"] = directions
    if steps and "spacings" not in values:
        count = len(directions)
        out["spacings"] = [steps.get(axis, math.nan) for axis in range(count)]
        time = units[3] if len(units) == 4 else ""
        out["units"] = [time if axis in steps else "" for axis in range(count)]
        out["kinds"] = ["time" if axis in steps else "domain" for axis in range(count)]
    return out


def is_none(direction: Any) -> bool:
    """Whether an axis has no direction in space."""
    return direction is None or bool(np.isnan(np.asarray(direction, float)).all())
