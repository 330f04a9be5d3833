"""A cohort: many cases as a table of paths, values and labels.

Columns of the table (CSV or Parquet):

- ``case_id``, unique; ``patient_id``, the unit of splitting;
- ``split`` (a name such as ``train``) or ``fold`` (a whole number) or both or neither; patients
  never straddle them;
- one column an item, whose cells are paths or URLs, and one a variable, whose cells are values. A
  column holds items where a cell of it is a URL, exists as a file, or ends as the files of
  medicine do; a name with ``item:`` or ``variable:`` before it says which outright;
- ``label:NAME`` for targets: a value, a path to a mask, ``PATH#1,2`` for voxels of a label map,
  ``h;w`` for a point, ``h0;w0;h1;w1`` for a box (pixels; three axes likewise).

An empty cell is missing, and missing is an absent key. Paths are relative to the table's folder.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from osler.data.locations import Location, exists, is_url, locate, looks_like_path, moved, relative
from osler.data.tables import Line, Value, read_table, typed, write_table
from osler.errors import RecipeError

if TYPE_CHECKING:
    from osler.record import Case

_REQUIRED = ("case_id", "patient_id")
_OWN = (*_REQUIRED, "split", "fold")


@dataclass(frozen=True, slots=True)
class Row:
    """One case of a cohort.

    Attributes:
        case_id: unique in the cohort.
        patient_id: the unit of splitting.
        fold: which fold the patient is in; None where the table has no folds.
        items: item name to path, or to the text of a URL.
        labels: target name to value or path; a missing label is an absent key.
        split: which part the patient is in, such as ``"train"``; None where none is said.
        variables: variable name to value; a missing one is an absent key.
        where: the place in the table, such as ``"line 3"``, for messages.
        absent: names of items that the table has a column for and this case lacks.
    """

    case_id: str
    patient_id: str
    fold: int | None
    items: Mapping[str, Path]
    labels: Mapping[str, str]
    split: str | None = None
    variables: Mapping[str, Value] = field(default_factory=dict)
    where: str = ""
    absent: frozenset[str] = frozenset()


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

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def folds(self) -> tuple[int, ...]:
        """The fold numbers in use, sorted."""
        return tuple(sorted({row.fold for row in self.rows if row.fold is not None}))

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the parts in use, in the table's order."""
        return tuple(dict.fromkeys(row.split for row in self.rows if row.split is not None))

    def patients(self) -> int:
        """How many patients there are."""
        return len({row.patient_id for row in self.rows})

    def columns(self, kind: str) -> tuple[str, ...]:
        """Names in use of one kind: ``"items"``, ``"variables"`` or ``"labels"``."""
        return tuple(dict.fromkeys(name for row in self.rows for name in getattr(row, kind)))

    def part(self, split: str) -> "Cohort":
        """The cases of one part."""
        return replace(self, rows=tuple(row for row in self.rows if row.split == split))

    def cases(
        self, *, labels: bool = True, pixels: bool = False, threads: int = 0
    ) -> Iterator["Case"]:
        """The cases, opened one after the other in the table's order.

        Args:
            labels: also read the labels, as findings by a person; masks are read whole.
            pixels: read the pixels at once; else they stay in their files until asked for.
            threads: so many cases are opened ahead at the same time; 0 opens each when its turn
                comes. No more than twice as many are held.

        Raises:
            InputError: a file cannot be used; the message names the row and the file.
        """
        from osler.data.opening import cases

        return cases(self, labels=labels, pixels=pixels, threads=threads)

    def write(self, path: Path) -> "Cohort":
        """Write the table (CSV, or Parquet by its name) with paths relative to its new place.

        Returns:
            The cohort as it lies there.

        Raises:
            OutputError: the file cannot be written.
            MissingExtraError: Parquet, and ``pyarrow`` is not installed.
        """
        return write_cohort(self, path)


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


def read_cohort(path: Path, *, root: Path | None = None, strict: bool = True) -> Cohort:
    """Read a cohort's table (CSV or Parquet) and check it.

    Args:
        path: the table.
        root: the folder that its paths are relative to; by default the table's own where the
            first path lies there, else ``data_folder()``.
        strict: refuse missing files and patients in two parts; ``osler data check`` reports them.

    Raises:
        RecipeError: the table cannot be read, a column or an identifier is missing, a fold is no
            number, a file does not exist, a case is listed twice, or a patient is in two folds.
            The message lists what is wrong, and where.
        MissingExtraError: Parquet, and ``pyarrow`` is not installed.
    """
    columns, lines = read_table(path)
    if not lines:
        raise RecipeError(f"the cohort '{path}' has no rows")
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        raise RecipeError(
            f"the cohort '{path}' lacks the column(s): {', '.join(missing)}; "
            "name a case and a patient in each row, or let 'osler data import' write the table"
        )
    free = [name for name in columns if name and name not in _OWN and not name.startswith("label:")]
    root = root or _root_of(path, free, lines)
    kinds = {name: _kind(name, lines, root) for name in free}
    lines = _typed(lines, [name for name, kind in kinds.items() if kind == "variable"])
    rows = tuple(_row(line, path, root, kinds, has_fold="fold" in columns) for line in lines)
    _check(rows, path, strict=strict)
    return Cohort(path, root, rows)


def _root_of(path: Path, columns: Iterable[str], lines: Sequence[Line]) -> Path:
    """The table's folder, or the data folder where only there a file of it lies."""
    pairs = (
        (name, str(line.cells[name])) for line in lines for name in columns if name in line.cells
    )
    local = [
        cell
        for name, cell in pairs
        if not is_url(cell) and (name.startswith("item:") or "/" in cell or looks_like_path(cell))
    ][:50]
    if local and not any(exists(path.parent / cell) for cell in local):
        with suppress(RecipeError):
            folder = data_folder()
            if any(exists(folder / cell) for cell in local):
                return folder
    return path.parent


def _kind(column: str, lines: Iterable[Line], root: Path) -> str:
    """``"item"`` or ``"variable"``."""
    prefix = column.partition(":")[0]
    if prefix in ("item", "variable"):
        return prefix
    texts = [cell for line in lines if isinstance(cell := line.cells.get(column), str)]
    if any(looks_like_path(text) for text in texts):
        return "item"
    # names without an extension, such as the folders of DICOM series; a few tell
    return "item" if any("/" in t and exists(root / t) for t in texts[:5]) else "variable"


def _typed(lines: Sequence[Line], columns: Iterable[str]) -> list[Line]:
    """Variables as numbers and dates; identifiers and labels stay as they are written."""
    out = [dict(line.cells) for line in lines]
    for name in columns:
        filled = [cells for cells in out if name in cells]
        for cells, value in zip(filled, typed([c[name] for c in filled]), strict=True):
            cells[name] = value
    return [Line(line.where, cells) for line, cells in zip(lines, out, strict=True)]


def _bare(column: str) -> str:
    prefix, _, name = column.partition(":")
    return name if prefix in ("item", "variable") else column


def _row(line: Line, path: Path, root: Path, kinds: Mapping[str, str], *, has_fold: bool) -> Row:
    cells, where = line.cells, f"the cohort '{path}', {line.where}"
    for name in _REQUIRED:
        if name not in cells:
            raise RecipeError(f"{where}: {name} is empty")
    fold = str(cells.get("fold", ""))
    if has_fold and not fold.removeprefix("-").isdecimal():
        raise RecipeError(f"{where}: fold is '{fold}', not a whole number")
    items = {_bare(c): locate(str(cells[c]), root) for c in cells if kinds.get(c) == "item"}
    split = cells.get("split")
    return Row(
        str(cells["case_id"]),
        str(cells["patient_id"]),
        int(fold) if has_fold else None,
        items,  # type: ignore[arg-type]  # URLs are text; who takes only files says so
        {c.removeprefix("label:"): str(cells[c]) for c in cells if c.startswith("label:")},
        None if split is None else str(split),
        {_bare(c): cells[c] for c in cells if kinds.get(c) == "variable"},
        line.where,
        frozenset(_bare(c) for c, kind in kinds.items() if kind == "item") - items.keys(),
    )


def _check(rows: Iterable[Row], path: Path, *, strict: bool) -> None:
    problems: list[str] = []
    seen: set[str] = set()
    folds: dict[str, int | None] = {}
    splits: dict[str, str | None] = {}
    for row in rows:
        if row.case_id in seen:
            problems.append(f"{row.where}: case '{row.case_id}' is listed twice")
        seen.add(row.case_id)
        if not strict:
            continue
        first = folds.setdefault(row.patient_id, row.fold)
        if first != row.fold:
            problems.append(
                f"{row.where}: patient '{row.patient_id}' is in folds {first} and {row.fold}"
            )
        part = splits.setdefault(row.patient_id, row.split)
        if part != row.split:
            problems.append(
                f"{row.where}: patient '{row.patient_id}' is in splits {part} and {row.split}"
            )
        problems += [
            f"{row.where}: '{item}' does not exist"
            for item in row.items.values()
            if not exists(item)
        ]
    if problems:
        listed = "\n  ".join(problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise RecipeError(f"the cohort '{path}' cannot be used:\n  {listed}{more}")


def write_cohort(cohort: Cohort, path: Path) -> Cohort:
    """What ``Cohort.write`` does."""
    folder = Path(os.path.abspath(path.parent))
    names = {kind: cohort.columns(kind) for kind in ("items", "variables", "labels")}
    shared = {*names["items"]} & {*names["variables"]}
    if shared:
        raise RecipeError(
            f"the cohort '{cohort.path}' has items and variables of one name: {', '.join(shared)}"
        )
    tables = [_cells(row, cohort.root, folder) for row in cohort.rows]
    # a name alone must say again, when it is read, what the column is
    shown = {
        **{n: _column("item", n, (t.get(n) for t in tables)) for n in names["items"]},
        **{n: _column("variable", n, (t.get(n) for t in tables)) for n in names["variables"]},
    }
    own = [*_REQUIRED, *(n for n in ("split", "fold") if any(n in t for t in tables))]
    columns = [*own, *shown.values(), *(f"label:{n}" for n in names["labels"])]
    write_table(path, columns, ({shown.get(n, n): c for n, c in t.items()} for t in tables))
    rows = [replace(r, labels=_labels(r, cohort.root, folder)) for r in cohort.rows]
    return Cohort(path, folder, tuple(rows))


def _column(kind: str, name: str, cells: Iterable[Value | None]) -> str:
    paths = any(isinstance(cell, str) and looks_like_path(cell) for cell in cells)
    plain = name not in _OWN and ":" not in name and paths == (kind == "item")
    return name if plain else f"{kind}:{name}"


def _labels(row: Row, root: Path, folder: Path) -> dict[str, str]:
    return {n: moved(text, Path(os.path.abspath(root)), folder) for n, text in row.labels.items()}


def _cells(row: Row, root: Path, folder: Path) -> dict[str, Value]:
    items: Mapping[str, Location] = row.items
    cells: dict[str, Value] = {"case_id": row.case_id, "patient_id": row.patient_id}
    if row.split is not None:
        cells["split"] = row.split
    if row.fold is not None:
        cells["fold"] = row.fold
    cells |= {name: relative(_absolute(item), folder) for name, item in items.items()}
    cells |= row.variables
    return cells | {f"label:{n}": text for n, text in _labels(row, root, folder).items()}


def _absolute(location: Location) -> Location:
    return location if isinstance(location, str) else Path(os.path.abspath(location))
