"""Excel workbooks: the values stay, and nobody goes along."""

import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from leaks import found
from openpyxl.comments import Comment

from osler.io import load
from osler.io.deidentification import Key, Options
from osler.io.deidentification.names_of_files import place
from osler.io.deidentification.one import Copied, Setting, check, copy
from osler.io.deidentification.unaided import left

KEY = Key(b"k" * 32)
RULES = Options(pixels="rules")
SECRETS = ("Quillfeather", "Xiomara", "Fazakerley", "MCH-0234567", "Quagmire", "1951", "2019")
HEAD = ["patient_id", "name", "dob", "visit", "age", "HbA1c [%]", "note", "=odd", "ok"]
ROWS = [
    ["MCH-0234567", "Xiomara Quillfeather", date(1951, 2, 14), datetime(2019, 3, 3, 10, 11), 93,
     6.5, "Mr Quillfeather, seen by Dr Fazakerley", "=1+1 as text", True],
    ["MCH-0234567", "Xiomara Quillfeather", date(1951, 2, 14), date(2019, 3, 5), 68,
     7, "stable", None, False],
]  # fmt: skip


def workbook(path: Path, rows: list[list[Any]] | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    book = openpyxl.Workbook()
    book.properties.creator = "Fazakerley"
    book.properties.title = "Quagmire Hospital"
    sheet = book.worksheets[0]
    sheet.title = "Quillfeather"
    for row in rows or [HEAD, *ROWS]:
        sheet.append(row)
    if rows is None:
        for cell in (sheet["H1"], sheet["H2"]):
            cell.data_type = "s"
        sheet["B2"].comment = Comment("Quillfeather!", "Fazakerley")
        hidden = book.create_sheet("Quagmire")
        hidden.sheet_state = "hidden"
        hidden.append(["MRN", "value"])
        hidden.append(["MCH-0234567", 3])
        book.create_sheet("empty")
    book.save(path)
    return path


def attempt(path: Path, tmp_path: Path, options: Options = RULES) -> tuple[Copied, Path]:
    setting = Setting(path.parent, tmp_path / "out", options, KEY)
    outcome = copy(path, setting)
    if outcome.status == "copied":
        assert check(outcome, setting) == []
    return outcome, tmp_path / "out" / outcome.place


def values(path: Path) -> list[list[tuple[Any, ...]]]:
    return [list(sheet.iter_rows(values_only=True)) for sheet in openpyxl.load_workbook(path)]


def test_values_stay_and_people_go(tmp_path: Path) -> None:
    path = workbook(tmp_path / "in" / "Quillfeather.xlsx")
    assert set(found([path], SECRETS)) >= {"Quillfeather", "Fazakerley", "Quagmire"}
    outcome, new = attempt(path, tmp_path)
    assert outcome.status == "copied", outcome.error
    assert found([new], SECRETS) == []
    assert left(new, outcome.place, RULES) == []
    assert outcome.place == "/".join(place("Quillfeather.xlsx", ".xlsx", KEY))
    pseudonym = KEY.name("patient", "MCH-0234567")
    first, second, third = values(new)
    assert first == [
        tuple(HEAD),
        (pseudonym, "[NAME]", None, None, 90, 6.5, "Mr [NAME], seen by Dr [NAME]",
         "=1+1 as text", True),
        (pseudonym, "[NAME]", None, None, 68, 7, "stable", None, False),
    ]  # fmt: skip
    assert second == [("MRN", "value"), (pseudonym, 3)]
    assert third == []
    assert openpyxl.load_workbook(new).worksheets[0]["H2"].data_type == "s"
    assert openpyxl.load_workbook(new).sheetnames == ["Sheet1", "Sheet2", "Sheet3"]
    with zipfile.ZipFile(new) as archive:
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert any("written anew" in note for note in outcome.notes)
    table = load(new, sheet=1)["table"]
    assert "ok" in table.values  # type: ignore[union-attr]


def test_dates_move_together_and_stay_dates(tmp_path: Path) -> None:
    options = Options(pixels="rules", dates="shift")
    outcome, new = attempt(workbook(tmp_path / "in" / "a.xlsx"), tmp_path, options)
    assert left(new, outcome.place, options) == []
    first, second = (row[3] for row in values(new)[0][1:])
    assert isinstance(first, datetime)
    assert isinstance(second, datetime)
    assert first.year < 2019
    assert 1 <= (second.date() - first.date()).days <= 3
    assert {row[2] for row in values(new)[0][1:]} == {None}  # a birth does not move
    options = Options(pixels="rules", dates="keep")
    _, new = attempt(workbook(tmp_path / "in" / "a.xlsx"), tmp_path, options)
    assert values(new)[0][1][3] == datetime(2019, 3, 3, 10, 11)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([["Ward list"], ["patient", "name"], ["1", "X"]], "must name every column"),
        ([["patient", None, "name"], ["1", "2", "X"]], "must name every column"),
        ([[3, 4], [5, 6]], "must name every column"),
        ([["a", "b"], [1, "=A2*2"]], "formula without a stored value"),
    ],
)
def test_sheets_that_nobody_can_tell_are_not_copied(
    tmp_path: Path, rows: list[list[Any]], reason: str
) -> None:
    outcome, _ = attempt(workbook(tmp_path / "in" / "a.xlsx", rows), tmp_path)
    assert (outcome.status, reason in outcome.error) == ("refused", True), outcome.error


def test_what_was_planted_is_found(tmp_path: Path) -> None:
    outcome, new = attempt(workbook(tmp_path / "in" / "a.xlsx"), tmp_path)
    whole = new.read_bytes()
    with zipfile.ZipFile(new, "a") as archive:
        archive.writestr("xl/comments1.xml", "<a/>")
    assert "a part that is not cleaned" in left(new, outcome.place, RULES)
    for at, value in (("B2", "Smith"), ("G3", "for Mr. John Smith"), ("C2", date(1951, 2, 14))):
        new.write_bytes(whole)
        book = openpyxl.load_workbook(new)
        book.worksheets[0][at] = value
        book.save(new)
        again = left(new, outcome.place, RULES)
        assert any("column" in one for one in again), (at, again)


def test_a_damaged_workbook_fails(tmp_path: Path) -> None:
    path = workbook(tmp_path / "in" / "a.xlsx")
    whole = path.read_bytes()
    for size in range(4, len(whole), len(whole) // 20):
        path.write_bytes(whole[:size])
        outcome, _ = attempt(path, tmp_path)
        assert outcome.status in ("refused", "failed")
