"""What makes a test tell too much: patients and pictures on both sides of a split.

Source: Kapoor and Narayanan 2023, "Leakage and the reproducibility crisis in machine-learning-based
science", Patterns 4(9), kinds L1.4 (duplicates) and L3.2 (no independence of the test).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from osler.data.cohort import Cohort, Row
from osler.data.digest import location_digest
from osler.data.duplicates import Pair, find_duplicates, groups
from osler.data.locations import Location, looks_like_path
from osler.data.scanning import Scan, scan

_WORDS: Final = frozenset({".txt", ".csv", ".tsv", ".json", ".xml"})
"""Files that two patients may well have alike, such as a report without findings."""


@dataclass(frozen=True, slots=True)
class Twice:
    """One picture in two parts.

    Attributes:
        first: the case in the one part.
        second: the case in the other.
        item: the column of the first.
        parts: the names of the two parts.
        kind: ``"exact"`` for equal bytes or pixels, ``"same"`` or ``"alike"`` as in `Pair`.
    """

    first: Row
    second: Row
    item: str
    parts: tuple[str, str]
    kind: str

    def __str__(self) -> str:
        words = {
            "exact": "is the same file as", "same": "shows the same as", "alike": "looks like",
        }  # fmt: skip
        return (
            f"'{self.item}' of case '{self.first.case_id}' ({self.parts[0]}) {words[self.kind]} "
            f"that of case '{self.second.case_id}' ({self.parts[1]})"
        )


@dataclass(frozen=True, slots=True)
class Conflict:
    """One picture, two labels.

    Attributes:
        label: the label's name.
        cases: the cases of the group that have it, with what each says.
    """

    label: str
    cases: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Leaks:
    """What was found in a cohort.

    Attributes:
        patients: patient to the parts (splits or folds) that it is in, where they are several.
        pairs: all pairs of images of different cases that show the same.
        across: those of them whose cases are in different parts.
        strangers: those of them whose cases are said to be of different patients.
        conflicts: labels that differ between cases that show the same picture.
    """

    patients: dict[str, tuple[str, ...]]
    pairs: tuple[Pair, ...]
    across: tuple[Pair, ...]
    strangers: tuple[Pair, ...]
    conflicts: tuple[Conflict, ...]


def part_of(row: Row) -> str:
    """The part a case is in, as words: its split, and its fold where it has one."""
    fold = None if row.fold is None else f"fold {row.fold}"
    return ", ".join(part for part in (row.split, fold) if part)


def find_leaks(cohort: Cohort, scans: Sequence[Scan]) -> Leaks:
    """Compare patients and pictures between the parts of a cohort.

    Args:
        cohort: read with ``strict=False``, so that its faults can be told.
        scans: of its images.
    """
    parts: dict[str, dict[str, None]] = {}
    for row in cohort.rows:
        if part_of(row):
            parts.setdefault(row.patient_id, {})[part_of(row)] = None
    pairs = tuple(
        pair
        for pair in find_duplicates(scans)
        if scans[pair.first].row.case_id != scans[pair.second].row.case_id
    )
    rows = {id(pair): (scans[pair.first].row, scans[pair.second].row) for pair in pairs}
    return Leaks(
        {patient: tuple(found) for patient, found in parts.items() if len(found) > 1},
        pairs,
        tuple(p for p in pairs if part_of(rows[id(p)][0]) != part_of(rows[id(p)][1])),
        tuple(p for p in pairs if rows[id(p)][0].patient_id != rows[id(p)][1].patient_id),
        tuple(_conflicts(scans, pairs)),
    )


def _conflicts(scans: Sequence[Scan], pairs: Sequence[Pair]) -> list[Conflict]:
    out = []
    for members in groups(pairs):
        rows = {scans[k].row.case_id: scans[k].row for k in members}
        for name in dict.fromkeys(label for row in rows.values() for label in row.labels):
            said = tuple((id, row.labels[name]) for id, row in rows.items() if name in row.labels)
            values = {value for _, value in said}
            # two masks are two files whether they agree or not
            if len(values) > 1 and not any(looks_like_path(v.split("#")[0]) for v in values):
                out.append(Conflict(name, said))
    return out


def same_files(parts: Mapping[str, Sequence[Row]]) -> list[Twice]:
    """Files of equal bytes whose cases are in different parts.

    A column that holds one file in all its cases, such as an atlas, tells nothing apart and is
    left out, and so are reports and tables, which two patients may have alike.

    Args:
        parts: name of a part to its cases.

    Raises:
        InputError: a file cannot be read.
    """
    digests: dict[str, list[tuple[str, str, Row]]] = {}
    for part, rows in parts.items():
        for row in rows:
            for name, digest in file_digests(row).items():
                digests.setdefault(name, []).append((digest, part, row))
    first: dict[str, tuple[str, str, Row]] = {}
    out = []
    for name, found in digests.items():
        if len(found) > 1 and len({digest for digest, _, _ in found}) == 1:
            continue
        for digest, part, row in found:
            item, before, other = first.setdefault(digest, (name, part, row))
            if before != part:
                out.append(Twice(other, row, item, (before, part), "exact"))
    return out


def file_digests(row: Row) -> dict[str, str]:
    """SHA-256 of each file of a case, by its column; reports and tables left out.

    Raises:
        InputError: a file cannot be read.
    """
    items: Mapping[str, Location] = row.items
    return {
        name: location_digest(item)
        for name, item in items.items()
        if not (isinstance(item, Path) and item.suffix.lower() in _WORDS)
    }


def near_duplicates(
    cohort: Cohort, parts: Mapping[str, Sequence[Row]], *, threads: int = 4
) -> list[Twice]:
    """Pictures that show the same though their files differ, in cases of different parts.

    Every image is opened once; see `osler.data.duplicates` for what counts as the same.

    Args:
        cohort: where the cases come from.
        parts: name of a part to its cases.
        threads: images read at the same time.
    """
    where = {row.case_id: part for part, rows in parts.items() for row in rows}
    every = tuple(row for rows in parts.values() for row in rows)
    scans = scan(Cohort(cohort.path, cohort.root, every), threads=threads)
    out = []
    for pair in find_duplicates(scans):
        one, other = scans[pair.first], scans[pair.second]
        two = where[one.row.case_id], where[other.row.case_id]
        if two[0] != two[1]:
            out.append(Twice(one.row, other.row, one.item, two, pair.kind))
    return out
