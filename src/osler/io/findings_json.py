"""A case as ``findings.json``, and back: every finding with its source, doubts and evidence.

The format is described in ``docs/findings.md`` and checked by ``schemas/findings-4.schema.json``.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from osler.errors import InputError, UnreadableError, UnsupportedError
from osler.io import derived_images, masks
from osler.record import (
    Box,
    Case,
    Code,
    Contour,
    DerivedImage,
    Event,
    Finding,
    Heatmap,
    Image,
    Item,
    Label,
    Markers,
    Mask,
    Measurement,
    Passage,
    Point,
    Risk,
    Source,
    Status,
    Transform,
    describe,
)

FILE: Final = "findings.json"
SCHEMA_VERSION: Final = 4
SCHEMA: Final = Path(__file__).parent / "schemas" / "findings-4.schema.json"


_SINCE: Final[Mapping[type[Finding], int]] = {Contour: 2, Markers: 2, DerivedImage: 3}
"""Kinds that came later, and the version that has them."""

_SECTIONS_SINCE_4: Final = ("advice", "history")

_TUPLES: Final = (
    *("evidence", "flags", "position", "start", "stop", "prediction_set"),
    *("labels", "durations", "channels", "notes", "span", "interval"),
)

_KINDS: Final[Mapping[str, type[Finding]]] = {
    kind.__name__.lower(): kind
    for kind in (Mask, Point, Box, Label, Measurement, Passage, Risk, Heatmap, Transform, *_SINCE)
}


def write_findings(case: Case, folder: Path) -> None:
    """Write ``findings.json`` into a case's folder."""
    text = json.dumps(as_document(case), ensure_ascii=False, indent=1, allow_nan=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8", newline="\n")


def as_document(case: Case) -> dict[str, Any]:
    """The content of ``findings.json`` as plain values.

    Of a source file only its name and digest are kept: folders and DICOM headers can hold names.
    """
    files = masks.file_names(case) | derived_images.file_names(case)
    kept = [f for f in case.findings.values() if not _left_out(f)]
    return {
        # the least that holds it, so that a program which knows version 1 reads all that it can
        "schema_version": max((_since(f) for f in kept), default=1),
        "case": {"id": case.id, "patient_id": case.patient_id},
        "items": {name: _item(item) for name, item in case.items.items()},
        "sources": _sources(kept),
        "findings": [_finding(f, files) for f in kept],
        "history": [
            {"step": e.step, "by": e.by, "seconds": round(e.seconds, 4), "at": e.at.isoformat()}
            for e in case.history
        ],
    }


def _since(finding: Finding) -> int:
    """The first version that holds it."""
    if isinstance(finding, Label | Risk) and (finding.contributions or finding.without):
        return 4
    if any(getattr(finding, name, None) is not None for name in ("span", "interval")):
        return 4
    if isinstance(finding, Passage) and finding.section in _SECTIONS_SINCE_4:
        return 4
    volume = isinstance(finding, Mask | Heatmap) and masks.is_volume(finding)
    return 3 if volume else _SINCE.get(type(finding), 1)


def _left_out(finding: Finding) -> bool:
    """Whether this format does not hold it: vectors for each voxel."""
    return isinstance(finding, Transform) and finding.displacement is not None


def _item(item: Item) -> dict[str, Any]:
    out: dict[str, Any] = {
        "kind": type(item).__name__.lower(),
        "acquired": item.acquired.isoformat() if item.acquired else None,
        "flags": list(item.flags),
        "source": None,
    }
    if item.origin:
        out["source"] = {
            "file": Path(item.origin.path).name,
            "sha256": item.origin.sha256,
            "format": item.origin.format,
        }
    if isinstance(item, Image):
        out |= {
            "modality": item.modality,
            "shape": list(item.array.shape),
            "spacing": None if item.spacing is None else list(item.spacing),
            "laterality": item.laterality,
        }
    return out


def _sources(findings: list[Finding]) -> list[dict[str, str]]:
    distinct = dict.fromkeys(f.source for f in findings)
    return [{"kind": s.kind, "name": s.name, "version": s.version} for s in distinct]


def _finding(finding: Finding, files: Mapping[str, str]) -> dict[str, Any]:
    out = {key: _plain(value) for key, value in describe(finding).items()}
    if isinstance(finding, Mask):
        out.pop("probabilities", None)
        out["pixels"] = int(np.count_nonzero(finding.mask))
        out["shape"] = list(finding.mask.shape)
    elif isinstance(finding, Heatmap):
        out["shape"] = list(finding.values.shape)
    elif isinstance(finding, Transform):
        out["matrix"] = finding.matrix.tolist()
        out.pop("displacement", None)
        out.pop("unit", None)
    elif isinstance(finding, Label | Risk):
        for key in ("contributions", "without"):
            if not out[key]:  # as versions before the fourth have it
                del out[key]
    elif isinstance(finding, Markers):
        out["times"] = finding.times.tolist()
    elif isinstance(finding, DerivedImage):
        out["image"] = derived_images.described(finding.image)
    if finding.id in files:
        out["file"] = files[finding.id]
    for key in ("span", "interval", "level"):
        if out.get(key, 0) is None:
            del out[key]  # a span has what a text states alone, an interval some risks
    return out


def _plain(value: Any) -> Any:
    """Values as JSON has them: numpy's numbers, sources, codes and mappings undone."""
    if isinstance(value, Source | Code):
        return {name: getattr(value, name) for name in value.__slots__}
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Status):
        return value.value
    return value


def read_findings(
    folder: str | Path,
    *,
    load: Callable[[Path], Case] | None = None,
    source: str | Path | None = None,
    pixels: bool = True,
) -> Case:
    """Open a case's folder again, with its masks.

    What the folder does not hold is absent in the case: the photograph (unless ``source`` names
    it), and the probabilities of masks.

    Args:
        folder: a folder written by ``osler.io.write``.
        load: how to open ``source``, such as ``osler.io.load``.
        source: the file that was read, where its items are wanted too.
        pixels: False leaves masks, heatmaps and derived images blank, and their files alone.

    Raises:
        UnreadableError: the folder holds no sound ``findings.json`` or misses a mask.
        UnsupportedError: it was written by a later version.
        InputError: ``source`` is another file than the one that was read.
    """
    path = Path(folder) / FILE
    document = _document(path)
    try:
        case = Case(id=document["case"]["id"], patient_id=document["case"]["patient_id"])
        if load is not None and source is not None:
            case.items = _checked_items(load(Path(source)), document["items"], Path(source))
        for row in document["findings"]:
            case.findings[row["id"]] = _checked(row, path, pixels=pixels)
        case.history = [
            Event(e["step"], e["by"], e["seconds"], datetime.fromisoformat(e["at"]))
            for e in document["history"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableError(
            f"{path}: not as its schema says ({type(error).__name__}: {error}); read the "
            "photograph again"
        ) from error
    return case


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableError(
            f"{path}: no readable findings ({error}); read the photograph again"
        ) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, int) or version < 1:
        raise UnreadableError(f"{path}: schema_version is {version!r}; expected a whole number")
    if version > SCHEMA_VERSION:
        raise UnsupportedError(
            f"{path}: schema_version {version} is newer than {SCHEMA_VERSION}; update osler"
        )
    return dict(document)


def _checked_items(case: Case, items: Mapping[str, Any], source: Path) -> dict[str, Item]:
    for name, item in case.items.items():
        expected = (items.get(name) or {}).get("source") or {}
        if item.origin and item.origin.sha256 != expected.get("sha256"):
            raise InputError(
                f"{source} is not the file that was read ('{expected.get('file')}' with sha256 "
                f"{expected.get('sha256')}); name that file"
            )
    return case.items


def _checked(row: Mapping[str, Any], path: Path, *, pixels: bool) -> Finding:
    try:
        return _rebuilt(row, path.parent, pixels=pixels)
    except UnreadableError:
        raise
    except InputError as error:  # what the finding itself does not take
        raise UnreadableError(f"{path}: {error}; read the photograph again") from error


def _rebuilt(row: Mapping[str, Any], folder: Path, *, pixels: bool) -> Finding:
    values = dict(row)
    kind = _KINDS[values.pop("kind")]
    file, _, shape = values.pop("file", None), values.pop("pixels", None), values.pop("shape", None)
    values["source"] = Source(**values["source"])
    values["status"] = Status(values["status"])
    for key in ("code", "site"):
        values[key] = Code(**values[key]) if values[key] else None
    for key in _TUPLES:
        if key in values:
            values[key] = tuple(values[key])
    if kind in (Mask, Heatmap):
        read = masks.read_pixels(_inside(folder, file)) if pixels else np.broadcast_to(0, shape)
        if kind is Mask:
            values["mask"] = read.astype(bool)
        else:
            values["values"] = (read / np.float32(255)).astype(np.float16)
    if kind is DerivedImage:
        where = _inside(folder, file) if pixels else None
        values["image"] = derived_images.rebuilt(values["image"], where)
    if kind is Transform:
        values["matrix"] = np.array(values["matrix"], np.float64)
    elif kind is Contour:
        values["rings"] = tuple(np.array(ring, np.float64) for ring in values["rings"])
    elif kind is Markers:
        values["times"] = np.array(values["times"], np.float64)
    return kind(**values)


def _inside(folder: Path, name: str) -> Path:
    """The path of a mask; a name that leads out of the folder is refused."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UnreadableError(f"{folder / FILE}: file '{name}' lies outside the case's folder")
    return path
