"""What makes a test tell too much: patients and pictures on both sides of a split.

Source: Kapoor and Narayanan 2023, "Leakage and the reproducibility crisis in machine-learning-based
science", Patterns 4(9), kinds L1.4 (duplicates) and L3.2 (no independence of the test).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from osler.data.cohort import Cohort, Row
from osler.data.duplicates import Pair, find_duplicates, groups
from osler.data.locations import looks_like_path
from osler.data.scanning import Scan


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
