"""A cohort in numbers: what is in it, what is missing, what stands out, and what is wrong."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from osler.data.cohort import Cohort, Row
from osler.data.label_faults import LabelFault, label_faults
from osler.data.leaks import Leaks, find_leaks, part_of
from osler.data.locations import boxes, exists, marked, place
from osler.data.outliers import Outlier, find_outliers
from osler.data.scanning import Scan, scan
from osler.data.warnings_in_words import Warned, warnings_of

BINS: Final = 24
_MOST_VALUES = 12


@dataclass(frozen=True, slots=True)
class Numbers:
    """How numbers are spread.

    Attributes:
        count: how many there are.
        least: the smallest.
        median: the middle one.
        most: the largest.
        bins: how many fall into each of ``BINS`` equal steps from ``least`` to ``most``; empty
            where all are equal.
    """

    count: int
    least: float
    median: float
    most: float
    bins: tuple[int, ...] = ()


@dataclass(slots=True)
class Column:
    """An item's, variable's or label's column.

    Attributes:
        name: without ``label:``.
        kind: ``"item"``, ``"variable"`` or ``"label"``.
        what: what its cells are: ``"image"``, ``"number"``, ``"value"``, ``"mask"``, ``"place"``.
        missing: part to the number of its cases without it; ``""`` where there are no parts.
        values: value to part to count, the commonest values first; empty for numbers and files.
        spread: measure to its numbers: of an item height, width, depth, spacing and grey values.
        counts: property to value to count: of an item its kinds, types, channels and flags.
    """

    name: str
    kind: str
    what: str
    missing: dict[str, int] = field(default_factory=dict)
    values: dict[str, dict[str, int]] = field(default_factory=dict)
    spread: dict[str, Numbers] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(slots=True)
class Fingerprint:
    """What ``osler data check`` found.

    Attributes:
        cohort: the cases.
        scans: their images, in the table's order.
        parts: part to its number of cases and patients; one part ``""`` where there are none.
        columns: in the table's order.
        leaks: patients and pictures twice.
        outliers: images that stand out, the farthest first.
        absent: masks that the table names and that are not there, as case and column.
        misplaced: labels that do not lie on their images.
        warnings: what a person should look at, faults first.
    """

    cohort: Cohort
    scans: list[Scan]
    parts: dict[str, tuple[int, int]]
    columns: list[Column]
    leaks: Leaks
    outliers: list[Outlier]
    absent: list[tuple[str, str]]
    misplaced: list[LabelFault] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values, without pictures."""
        pairs = [
            {
                "cases": [self.scans[k].row.case_id for k in (pair.first, pair.second)],
                "kind": pair.kind,
                "correlation": round(pair.correlation, 4),
                "turn": pair.turn,
                "across_parts": pair in self.leaks.across,
                "different_patients": pair in self.leaks.strangers,
            }
            for pair in self.leaks.pairs
        ]
        return {
            "cohort": self.cohort.path.name,
            "cases": len(self.cohort),
            "patients": self.cohort.patients(),
            "parts": {name: {"cases": c, "patients": p} for name, (c, p) in self.parts.items()},
            "columns": [asdict(column) for column in self.columns],
            "patients_in_several_parts": {k: list(v) for k, v in self.leaks.patients.items()},
            "same_pictures": pairs,
            "label_conflicts": [asdict(conflict) for conflict in self.leaks.conflicts],
            "unreadable": [
                {"case": s.row.case_id, "item": s.item, "error": s.error}
                for s in self.scans
                if s.error
            ],
            "flat": [s.row.case_id for s in self.scans if not s.error and s.flat],
            "missing_masks": [{"case": case, "label": name} for case, name in self.absent],
            "label_faults": [asdict(fault) for fault in self.misplaced],
            "outliers": [
                {
                    "case": self.scans[o.scan].row.case_id,
                    "item": self.scans[o.scan].item,
                    "measure": o.measure,
                    "value": o.value,
                    "median": o.median,
                    "z": round(o.z, 2),
                }
                for o in self.outliers
            ],
            "warnings": [asdict(warning) for warning in self.warnings],
        }


def fingerprint(
    cohort: Cohort, *, threads: int = 4, told: Callable[[], None] | None = None
) -> Fingerprint:
    """Look at every image of a cohort once and say what is there.

    Args:
        cohort: read with ``strict=False``, so that faults are told instead of refused.
        threads: images read at the same time.
        told: called after each image.
    """
    scans = scan(cohort, threads=threads, told=told)
    parts: dict[str, list[Row]] = {}
    for row in sorted(cohort.rows, key=_turn):
        parts.setdefault(part_of(row), []).append(row)
    found = Fingerprint(
        cohort,
        scans,
        {name: (len(rows), len({row.patient_id for row in rows})) for name, rows in parts.items()},
        [*_items(cohort, scans, parts), *_variables(cohort, parts), *_labels(cohort, parts)],
        find_leaks(cohort, scans),
        find_outliers(scans),
        _absent(cohort),
        label_faults(cohort, scans, threads=threads),
    )
    found.warnings = warnings_of(found)
    return found


def _turn(row: Row) -> tuple[int, str, int]:
    """Training first, the test last, as people think of them; then by name and fold."""
    usual = ("train", "val", "test")
    place = usual.index(row.split) if row.split in usual else len(usual)
    return (place, row.split or "", row.fold or 0)


def spread(values: Iterable[float]) -> Numbers | None:
    """How numbers are spread; None where there are none."""
    array = np.array([float(v) for v in values])
    array = array[np.isfinite(array)]
    if not array.size:
        return None
    low, high = float(array.min()), float(array.max())
    bins = tuple(int(n) for n in np.histogram(array, BINS)[0]) if high > low else ()
    return Numbers(array.size, low, float(np.median(array)), high, bins)


def _items(
    cohort: Cohort, scans: Sequence[Scan], parts: Mapping[str, Sequence[Row]]
) -> list[Column]:
    out = []
    named = dict.fromkeys([*cohort.columns("items"), *(s.item for s in scans)])
    for name in named:
        good = [s for s in scans if s.item == name and not s.error]
        column = Column(name, "item", "image" if good else "file")
        if name in cohort.columns("items"):
            column.missing = _missing(parts, "items", name)
        axes = ("depth", "height", "width")
        numbers: dict[str, list[float]] = {}
        for s in good:
            for axis, size in zip(axes[-len(s.shape) :], s.shape, strict=True):
                numbers.setdefault(f"{axis} (pixels)", []).append(size)
            for axis, step in zip(axes[-len(s.spacing or ()) :], s.spacing or (), strict=False):
                numbers.setdefault(f"spacing along {axis} (mm)", []).append(step)
            for key, words in (("mean", "mean value"), ("std", "spread of values")):
                numbers.setdefault(words, []).append(s.values[key])
        column.spread = {key: n for key, v in numbers.items() if (n := spread(v)) is not None}
        column.counts = {
            "kind": dict(Counter(s.kind for s in good)),
            "type": dict(Counter(s.dtype for s in good)),
            "channels": dict(Counter(str(s.channels) for s in good)),
            "axes": dict(Counter(f"{len(s.shape)}-D" for s in good)),
            "spacing": dict(Counter("said" if s.spacing else "not said" for s in good)),
            "doubts": dict(Counter(flag for s in good for flag in s.flags)),
        }
        out.append(column)
    return out


def _missing(parts: Mapping[str, Sequence[Row]], kind: str, name: str) -> dict[str, int]:
    return {
        part: sum(name not in getattr(row, kind) for row in rows) for part, rows in parts.items()
    }


def _variables(cohort: Cohort, parts: Mapping[str, Sequence[Row]]) -> list[Column]:
    out = []
    for name in cohort.columns("variables"):
        cells = [row.variables[name] for row in cohort.rows if name in row.variables]
        number = all(isinstance(c, int | float) and not isinstance(c, bool) for c in cells)
        column = Column(name, "variable", "number" if number else "value")
        column.missing = _missing(parts, "variables", name)
        if number and (numbers := spread(c for c in cells if isinstance(c, int | float))):
            column.spread = {"value": numbers}
        else:
            column.values = _balance(parts, "variables", name)
        out.append(column)
    return out


def _labels(cohort: Cohort, parts: Mapping[str, Sequence[Row]]) -> list[Column]:
    out = []
    for name in cohort.columns("labels"):
        texts = [row.labels[name] for row in cohort.rows if name in row.labels]
        what = "value"
        if any(marked(text, cohort.root) for text in texts):
            what = "mask"
        elif all(place(text) or boxes(text) for text in texts):
            what = "place"
        column = Column(name, "label", what)
        column.missing = _missing(parts, "labels", name)
        if what == "value":
            column.values = _balance(parts, "labels", name)
        out.append(column)
    return out


def _balance(
    parts: Mapping[str, Sequence[Row]], kind: str, column: str
) -> dict[str, dict[str, int]]:
    """Value to part to count, the commonest first, the rest together."""
    counts = {
        name: Counter(str(found[column]) for row in rows if column in (found := getattr(row, kind)))
        for name, rows in parts.items()
    }
    total = sum(counts.values(), Counter())
    kept = [v for v, _ in sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))]
    shown, rest = kept[:_MOST_VALUES], kept[_MOST_VALUES:]
    with suppress(ValueError):  # grades in their order
        shown.sort(key=float)
    out = {v: {part: found[v] for part, found in counts.items()} for v in shown}
    if rest:
        out[f"{len(rest)} other values"] = {
            part: sum(found[v] for v in rest) for part, found in counts.items()
        }
    return out


def _absent(cohort: Cohort) -> list[tuple[str, str]]:
    out = []
    for row in cohort.rows:
        for name, text in row.labels.items():
            mark = marked(text, cohort.root)
            if mark is not None and not exists(mark.location):
                out.append((row.case_id, name))
    return out
