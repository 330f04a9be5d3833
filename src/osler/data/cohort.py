"""A cohort: many cases as a table of paths and labels.

Columns: ``case_id``, ``patient_id``, ``fold`` (a whole number; patients never straddle folds),
one column an item (a path relative to the data folder), and ``label:NAME`` columns for targets (a
value, or a path to a mask; an empty cell is a missing label).
"""

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from osler.errors import RecipeError

_REQUIRED = ("case_id", "patient_id", "fold")


@dataclass(frozen=True, slots=True)
class Row:
    """One case of a cohort.

    Attributes:
        case_id: unique in the cohort.
        patient_id: the unit of splitting.
        fold: which fold the patient is in.
        items: item name to path.
        labels: target name to value or path; a missing label is an absent key.
    """

    case_id: str
    patient_id: str
    fold: int
    items: Mapping[str, Path]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cohort:
    """A table of cases, checked: files exist, ids are unique, no patient is in two folds.

    Attributes:
        path: the table's file.
        root: the folder that its paths are relative to.
        rows: the cases, in the table's order.
    """

    path: Path
    root: Path
    rows: tuple[Row, ...]

    @property
    def folds(self) -> tuple[int, ...]:
        """The fold numbers in use, sorted."""
        return tuple(sorted({row.fold for row in self.rows}))

    def patients(self) -> int:
        """How many patients there are."""
        return len({row.patient_id for row in self.rows})


def data_folder() -> Path:
    """Where the data sets lie: ``$OSLER_DATA``, else ``../shared/data`` beside the project.

    Raises:
        RecipeError: neither is a folder.
    """
    named = os.environ.get("OSLER_DATA")
    folder = Path(named) if named else Path("..") / "shared" / "data"
    if not folder.is_dir():
        raise RecipeError(
            f"the data folder '{folder}' does not exist; set OSLER_DATA to the folder that holds "
            "the data sets named in the cohort"
        )
    return folder.resolve()


def read_cohort(path: Path, *, root: Path | None = None) -> Cohort:
    """Read a cohort's table (CSV) and check it.

    Args:
        path: the table.
        root: the folder that its paths are relative to; ``data_folder()`` by default.

    Raises:
        RecipeError: the table cannot be read, a column or an identifier is missing, a fold is no
            number, a file does not exist, a case is listed twice, or a patient is in two folds.
            The message lists what is wrong.
    """
    root = root or data_folder()
    try:
        # spreadsheets put a byte order mark before the first column's name
        with path.open(newline="", encoding="utf-8-sig") as stream:
            table = list(csv.DictReader(stream, restval=""))
    except OSError as error:
        raise RecipeError(f"the cohort '{path}' cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"the cohort '{path}' is not a CSV table in UTF-8: {error}") from error
    if not table:
        raise RecipeError(f"the cohort '{path}' has no rows")
    missing = [name for name in _REQUIRED if name not in table[0]]
    if missing:
        raise RecipeError(f"the cohort '{path}' lacks the column(s): {', '.join(missing)}")
    rows = tuple(_row(line, number, path, root) for number, line in enumerate(table, start=2))
    _check(rows, path)
    return Cohort(path, root, rows)


def _row(line: dict[str, str], number: int, path: Path, root: Path) -> Row:
    if None in line:  # where the reader of the standard library puts what has no column
        raise RecipeError(f"the cohort '{path}', line {number}: more cells than columns")
    for name in ("case_id", "patient_id"):
        if not line[name]:
            raise RecipeError(f"the cohort '{path}', line {number}: {name} is empty")
    try:
        fold = int(line["fold"])
    except ValueError:
        raise RecipeError(
            f"the cohort '{path}', line {number}: fold is '{line['fold']}', not a whole number"
        ) from None
    labels = {
        key.removeprefix("label:"): value
        for key, value in line.items()
        if key.startswith("label:") and value
    }
    items = {
        key: root / value
        for key, value in line.items()
        if key not in _REQUIRED and not key.startswith("label:") and value
    }
    return Row(line["case_id"], line["patient_id"], fold, items, labels)


def _check(rows: tuple[Row, ...], path: Path) -> None:
    problems: list[str] = []
    seen: set[str] = set()
    folds: dict[str, int] = {}
    for row in rows:
        if row.case_id in seen:
            problems.append(f"case '{row.case_id}' is listed twice")
        seen.add(row.case_id)
        if folds.setdefault(row.patient_id, row.fold) != row.fold:
            problems.append(
                f"patient '{row.patient_id}' is in folds {folds[row.patient_id]} and {row.fold}"
            )
        problems += [
            f"'{item}' does not exist" for item in row.items.values() if not item.is_file()
        ]
    if problems:
        listed = "\n  ".join(problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise RecipeError(f"the cohort '{path}' cannot be used:\n  {listed}{more}")
