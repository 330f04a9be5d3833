"""What is there, without interpreting it: items and findings of a file, or the cases of a folder.

Plain values, ready for JSON. Volumes, films and large pictures stay in their files. Identity (ids,
names, dates, what the file says about the patient) is left out unless it is asked for.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from osler.errors import InputError, UnsupportedError
from osler.io.doubts import doubt
from osler.io.input_file import MAX_PIXELS, opened, printable
from osler.io.readers import reader_for
from osler.io.reading import load
from osler.io.sorting import Cases, Study, sort
from osler.io.web_address import is_url, shown
from osler.record import Case, Image, Item, Signal, Table, Text

_IDENTITY: Final = {
    "00100010": "patient_name",
    "00100020": "patient_id",
    "00100030": "birth_date",
    "00100040": "sex",
    "00080020": "study_date",
    "00080050": "accession_number",
    "00080080": "institution",
}
"""DICOM tag to the name that it has here."""

_WAYS: Final = (("L", "R"), ("P", "A"), ("S", "I"))
_SLANT: Final = 1.0  # degrees
_MOST_NAMES: Final = 12
_MOST_FILES: Final = 5
_NO_FAULT: Final = ("the same file as", "an output folder")


def inventory(
    path: str, *, identity: bool = False, max_pixels: int = MAX_PIXELS, **options: Any
) -> dict[str, Any]:
    """What a file or folder holds.

    Args:
        path: a file, a folder or a URL.
        identity: also say whose it is and when it was made.
        max_pixels: refuse a picture that must be decoded to be understood, and is larger.
        options: of the readers; for a folder also ``pattern``.

    Returns:
        For one case ``case`` with ``items``, ``findings`` and ``left_out``; for a table of
        several ``table``; for a folder of several ``cases``; for every folder
        ``not_understood``: a reason, how many files, and the first of them.

    Raises:
        InputError: it cannot be opened.
    """
    options = {"max_pixels": max_pixels, **options}
    if os.path.isdir(path):
        return _of_folder(path, identity=identity, options=options)
    try:
        loaded = load(path, **{"at_once": False, **options})
    except UnsupportedError:
        table = _of_whole_table(path, options)
        if table is None:
            raise
        return {"path": printable(shown(path)), "kind": "table", "table": table}
    name = printable(shown(path))
    if isinstance(loaded, Cases):
        return {"path": name, "kind": "folder", **_of_cases(loaded, identity=identity)}
    return {"path": name, "kind": "file", "case": of_case(loaded, identity=identity)}


def _of_whole_table(path: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """A table of the rows of several cases, or None where it is something else."""
    from osler.io.table_grouping import read_table

    if "case" in options or not (is_url(path) or os.path.isfile(path)):
        return None
    taken = {"encoding", "delimiter", "decimal", "missing", "sheet"}
    known = {name: value for name, value in options.items() if name in taken}
    try:
        with _on_disk(path, dict(options)) as here:
            frame = read_table(here, max_cells=options["max_pixels"], **known)
    except InputError:
        return None
    columns = [
        {
            "name": name,
            "type": str(frame.kinds[name]),
            "unit": frame.units.get(name, ""),
            "missing": sum(value is None for value in frame.data[name]),
        }
        for name in frame.data
    ]
    doubts = {flag: doubt(flag) for flag in frame.flags}
    return {"rows": frame.rows, "columns": columns, "doubts": doubts}


@contextmanager
def _on_disk(path: str, options: dict[str, Any]) -> Iterator[str]:
    if not is_url(path):
        yield path
        return
    from osler.io.web_files import fetched_file

    with fetched_file(path, options) as here:
        yield str(here)


def _of_folder(path: str, *, identity: bool, options: dict[str, Any]) -> dict[str, Any]:
    from osler.io.sorting import refuse_unknown

    refuse_unknown({name: value for name, value in options.items() if name != "pattern"})
    cases = sort(path, **options)
    if not (cases.studies or cases.skipped):
        raise InputError(f"the folder '{printable(path)}' holds no file")
    out = {"path": printable(path), "kind": "folder", **_of_cases(cases, identity=identity)}
    if len(cases) == 1:
        case = cases.studies[0].load(allow_empty=True, **cases.options)
        out["case"] = of_case(case, identity=identity)
    return out


def _of_cases(cases: Cases, *, identity: bool) -> dict[str, Any]:
    return {
        "cases": [_of_study(study, identity=identity) for study in cases.studies],
        "not_understood": _by_reason(cases.skipped),
    }


def incomplete(found: Mapping[str, Any]) -> bool:
    """Whether something that lies there was not understood."""
    return bool(found.get("case", {}).get("left_out")) or any(
        not one["reason"].startswith(_NO_FAULT) for one in found.get("not_understood", ())
    )


def _of_study(study: Study, *, identity: bool) -> dict[str, Any]:
    out: dict[str, Any] = {
        "id": study.id,
        "files": sum(len(series.files) for series in study.series) + len(study.files),
        "series": [
            {"number": s.number, "modality": s.modality, "files": len(s.files)}
            for s in study.series
        ],
        "formats": dict(sorted(Counter(_format(path) for path, _ in study.files).items())),
    }
    return out | ({"patient_id": study.patient_id} if identity else {})


def _format(path: str) -> str:
    try:
        with opened(path) as file:
            reader = reader_for(file.head, file.path.suffix[1:].lower())
    except Exception:  # noqa: BLE001 - it went away meanwhile
        return "unknown"
    return reader.format if reader else "unknown"


def _by_reason(skipped: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Files that were not understood, by the reason; the file that another repeats is left out."""
    reasons: dict[str, list[str]] = {}
    for path, why in skipped:
        reason = next((same for same in _NO_FAULT if why.startswith(same)), why)
        reasons.setdefault(f"{reason} another" if reason == _NO_FAULT[0] else reason, []).append(
            printable(path)
        )
    ordered = sorted(reasons.items(), key=lambda one: -len(one[1]))
    return [
        {"reason": reason, "count": len(files), "files": files[:_MOST_FILES]}
        for reason, files in ordered
    ]


def of_case(case: Case, *, identity: bool = False) -> dict[str, Any]:
    """What a case holds."""
    kinds: dict[str, list[str]] = {}
    for finding in case.findings.values():
        kinds.setdefault(type(finding).__name__.lower(), []).append(finding.id)
    out: dict[str, Any] = {
        "id": case.id,
        "items": [of_item(item, identity=identity) for item in case.items.values()],
        "findings": {
            kind: {"count": len(ids), "ids": ids[:_MOST_NAMES]} for kind, ids in kinds.items()
        },
        "left_out": [{"file": path, "reason": reason} for path, reason in case.left_out],
    }
    doubts = sorted({f for one in case.findings.values() for f in one.flags})
    out["doubts"] = {flag: doubt(flag) for flag in doubts}
    if identity:
        out["identity"] = _identity(case)
    return out


def of_item(item: Item, *, identity: bool = False) -> dict[str, Any]:
    """What an item is; what is not known is left out."""
    out: dict[str, Any] = {"name": item.name, "kind": type(item).__name__.lower()}
    if item.origin is not None:
        out["format"] = item.origin.format
        out["files"] = len(item.origin.files) or 1
    if isinstance(item, Image):
        out |= _of_image(item)
    elif isinstance(item, Signal):
        out |= _of_signal(item)
    elif isinstance(item, Table):
        out |= _of_table(item)
    else:
        out |= _of_text(item)
    out["doubts"] = {flag: doubt(flag) for flag in item.flags}
    if identity and item.acquired is not None:
        out["acquired"] = item.acquired.isoformat()
    return out


def _of_image(image: Image) -> dict[str, Any]:
    out: dict[str, Any] = {
        "modality": image.modality,
        "shape": [image.channel_count, *image.shape],
        "type": str(image.dtype),
    }
    if image.spacing is not None:
        out["spacing_mm"] = [float(f"{value:.6g}") for value in image.spacing]
    if image.affine is not None:
        out["orientation"] = orientation(image.affine, axes=len(image.shape))
        slant = _slant(image.affine, axes=len(image.shape))
        if slant > _SLANT:
            out["oblique_degrees"] = round(slant, 1)
    if image.laterality:
        out["laterality"] = image.laterality
    if image.units:
        out["units"] = image.units
    if image.channels:
        out["channels"] = list(image.channels[:_MOST_NAMES])
    if len(image.times) > 1:
        out["seconds"] = float(f"{image.times[-1]:.6g}")
        of_frames = image.channel_count in (1, 3) and len(image.shape) == 3
        if of_frames and len(image.times) == image.shape[0]:
            out["frames"] = image.shape[0]
    if image.window is not None:
        out["window"] = list(image.window)
    return out


def _of_signal(signal: Signal) -> dict[str, Any]:
    return {
        "shape": list(signal.array.shape),
        "type": str(signal.array.dtype),
        "rate_hz": signal.rate,
        "seconds": float(f"{signal.array.shape[1] / signal.rate:.6g}"),
        "channels": list(signal.channels),
        "units": sorted(set(signal.units)),
    }


def _of_table(table: Table) -> dict[str, Any]:
    out: dict[str, Any] = {"values": len(table.values), "variables": list(table.values)[:24]}
    if table.matrix is not None:
        out["shape"] = list(table.matrix.shape)
        out["missing"] = int(np.isnan(table.matrix).sum())
    return out


def _of_text(text: Text) -> dict[str, Any]:
    return {
        "characters": len(text.text),
        "language": text.language,
        "sections": list(text.sections),
    }


def orientation(affine: np.ndarray[Any, Any], *, axes: int = 3) -> list[str]:
    """Where each axis of ``([D,] H, W)`` leads: to L, R, P, A, S or I, whichever is nearest."""
    letters = []
    for axis in range(3 - axes, 3):
        column = affine[:3, axis]
        main = int(np.argmax(np.abs(column)))
        letters.append(_WAYS[main][0 if column[main] > 0 else 1])
    return letters


def _slant(affine: np.ndarray[Any, Any], *, axes: int) -> float:
    """Degrees between the axis that is turned most and the patient's."""
    columns = affine[:3, 3 - axes : 3]
    lengths = np.linalg.norm(columns, axis=0)
    cosines = np.abs(columns).max(axis=0) / np.where(lengths > 0, lengths, 1.0)
    return float(np.degrees(np.arccos(np.clip(cosines, 0.0, 1.0))).max())


def _identity(case: Case) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if case.patient_id:
        out["patient_id"] = case.patient_id
    for item in case.items.values():
        header = item.origin.dicom if item.origin else {}
        for tag, name in _IDENTITY.items():
            values = header.get(tag, {}).get("Value") or [None]
            value = values[0].get("Alphabetic") if isinstance(values[0], Mapping) else values[0]
            if value:
                out.setdefault(name, str(value))
    return out
