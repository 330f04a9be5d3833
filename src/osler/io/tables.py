"""Measurements of a case and the summary of a batch, as CSV files that are safe to open."""

import contextlib
import csv
import io
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from osler.errors import OutputError
from osler.io.wording import chance_of
from osler.record import Case, Image, Label, Measurement

MEASUREMENTS = "measurements.csv"
SUMMARY = "summary.csv"

MEASUREMENT_COLUMNS: Final = (
    "id", "name", "structure", "region", "value", "unit", "flags", "reason", "method", "source",
)  # fmt: skip

# Measurements that the summary holds, under their own ids.
SUMMARY_MEASURES: Final = (
    "cdr.vertical",
    "avr.knudtson",
    "crae.knudtson",
    "crve.knudtson",
    "tortuosity.artery",
    "tortuosity.vein",
    "fractal-dimension.all",
    "lesion-count.microaneurysms",
    "lesion-count.haemorrhages",
    "lesion-count.hard-exudates",
    "lesion-count.soft-exudates",
)

SUMMARY_COLUMNS: Final = (
    "case", "file", "status", "error", "photograph", "quality", "quality_reasons", "laterality",
    "dr_grade", "p_0", "p_1", "p_2", "p_3", "p_4", "p_referable", "prediction_set", "dme_risk",
    *SUMMARY_MEASURES, "calibre_unit", "flags",
)  # fmt: skip

# A spreadsheet runs a cell that begins with one of these as a formula [1].
# [1] OWASP, CSV Injection, https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")

Cell = str | float


def safe(cell: Cell) -> str:
    """A cell as written: text that a spreadsheet would run gets an apostrophe before it."""
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(_FORMULA) else cell
    return f"{cell:.8g}"


def measurement_rows(case: Case) -> list[dict[str, Cell]]:
    """A row for each measurement, the ones without a value too."""
    return [
        {
            "id": m.id,
            "name": m.name,
            "structure": m.structure,
            "region": m.region,
            "value": "" if m.value is None else float(m.value),
            "unit": m.unit,
            "flags": "; ".join(m.flags),
            "reason": m.reason,
            "method": m.method,
            "source": f"{m.source.name} {m.source.version}".strip(),
        }
        for m in case.of(Measurement)
    ]


def write_measurements(case: Case, folder: Path) -> None:
    """Write ``measurements.csv`` into a case's folder."""
    text = _csv(measurement_rows(case), MEASUREMENT_COLUMNS)
    (folder / MEASUREMENTS).write_text(text, encoding="utf-8", newline="")


def summary_row(case: Case) -> dict[str, Cell]:
    """One case as one row of ``SUMMARY_COLUMNS``; what is unknown is an empty cell.

    ``status`` and ``error`` are left to the batch, which knows them.
    """
    row: dict[str, Cell] = dict.fromkeys(SUMMARY_COLUMNS, "")
    row["case"] = case.id
    row["file"] = next(
        (
            Path(item.origin.path).name
            for item in case.items.values()
            if isinstance(item, Image) and item.origin
        ),
        "",
    )
    for column, id in (("photograph", "photograph"), ("quality", "quality"),
                       ("laterality", "laterality"), ("dr_grade", "dr-grade"),
                       ("dme_risk", "dme-risk")):  # fmt: skip
        label = case.get(id, Label)
        row[column] = label.value if label else ""
    quality = case.get("quality", Label)
    row["quality_reasons"] = "; ".join(quality.flags) if quality else ""
    row |= _grade_cells(case)
    row |= _measure_cells(case)
    row["flags"] = "; ".join(
        f"{f.id}: {flag}" for f in case.findings.values() for flag in f.flags if f.id != "quality"
    )
    return row


def _grade_cells(case: Case) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    if grade := case.get("dr-grade", Label):
        cells |= {f"p_{v}": float(p) for v, p in grade.probabilities.items() if v in set("01234")}
        cells["prediction_set"] = " ".join(grade.prediction_set)
    if referable := case.get("dr-referable", Label):
        p = chance_of(referable, "yes")
        if p is None and referable.value == "no" and referable.probability is not None:
            p = 1 - referable.probability
        cells["p_referable"] = "" if p is None else p
    return cells


def _measure_cells(case: Case) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for id in SUMMARY_MEASURES:
        measurement = case.get(id, Measurement)
        if measurement and measurement.value is not None:
            cells[id] = float(measurement.value)
            if id.startswith("cr"):
                cells["calibre_unit"] = measurement.unit
    return cells


def write_summary(rows: Iterable[Mapping[str, Cell]], path: Path) -> Path:
    """Write the batch's rows as one CSV file; a reader sees the old file or the new one whole.

    Args:
        rows: as ``summary_row`` gives them; other columns than its own are refused.
        path: the file to write.

    Raises:
        OutputError: the file cannot be written.
    """
    text = _csv(rows, SUMMARY_COLUMNS)
    part = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: the summary cannot be written ({error.strerror}); close the file where it "
            "is open, free some space, or name another folder with --out"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # there may be no folder to remove it from
            part.unlink(missing_ok=True)
    return path


def _csv(rows: Iterable[Mapping[str, Cell]], columns: tuple[str, ...]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: safe(cell) for column, cell in row.items()})
    return buffer.getvalue()
