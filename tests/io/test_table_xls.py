"""Workbooks of before 2007: typed as those of today, and never trusted."""

import contextlib
from datetime import date, datetime, time
from pathlib import Path

import numpy as np
import pytest
import xlwt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.errors import InputError, OslerError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import load, sort
from osler.io.table_grouping import read_table

DAY = xlwt.easyxf(num_format_str="YYYY-MM-DD")
HOUR = xlwt.easyxf(num_format_str="HH:MM")


def book(path: Path, *rows: tuple[object, ...], date1904: bool = False) -> Path:
    made = xlwt.Workbook()
    made.dates_1904 = date1904
    sheet = made.add_sheet("one")
    for r, row in enumerate(rows):
        for c, value in enumerate(row):
            style = {datetime: DAY, time: HOUR}.get(type(value))
            if value is not None:
                sheet.write(r, c, value, *([style] if style else []))
    made.save(str(path))
    return path


@pytest.mark.parametrize("date1904", [False, True])
def test_types_units_and_dates(tmp_path: Path, date1904: bool) -> None:
    path = book(
        tmp_path / "labs.xls",
        ("patient_id", "HbA1c [%]", "seen", "n", "ok", "note", "at"),
        ("p1", 6.5, datetime(2020, 1, 2), 3, True, None, time(9, 30)),
        ("p1", None, datetime(2020, 2, 2), 4, False, "见 x", time(10, 0)),
        date1904=date1904,
    )
    frame = read_table(path)
    assert frame.kinds == {
        "patient_id": "text", "HbA1c": "float", "seen": "date", "n": "int", "ok": "bool",
        "note": "text", "at": "text",
    }  # fmt: skip
    assert frame.units == {"HbA1c": "%"}
    assert frame.row(0) == {
        "patient_id": "p1", "HbA1c": 6.5, "seen": date(2020, 1, 2), "n": 3, "ok": True,
        "at": "09:30:00",
    }  # fmt: skip
    assert frame.row(1)["note"] == "见 x"
    case = load(path)
    assert case.patient_id == "p1"
    assert case.items["table"].origin.format == "xls"


def test_formulas_errors_and_merged_cells_are_said(tmp_path: Path) -> None:
    made = xlwt.Workbook()
    sheet = made.add_sheet("one")
    for c, name in enumerate(("arm", "x", "y")):
        sheet.write(0, c, name)
    sheet.write_merge(1, 2, 0, 0, "left")
    for r in (1, 2):
        sheet.write(r, 1, r)
        sheet.write(r, 2, xlwt.Formula(f"B{r + 1}*2"))
    sheet.row(3).write(0, "right")
    sheet.row(3).set_cell_error(1, "#DIV/0!")
    made.save(str(tmp_path / "t.xls"))
    frame = read_table(tmp_path / "t.xls")
    assert list(frame.data["arm"]) == ["left", "left", "right"]
    assert np.array_equal(np.asarray(frame.data["x"], float), [1, 2, np.nan], equal_nan=True)
    assert set(frame.flags) == {"formula-cells", "error-cells", "merged-cells"}


def test_merged_across_columns_is_refused(tmp_path: Path) -> None:
    made = xlwt.Workbook()
    sheet = made.add_sheet("one")
    sheet.write_merge(0, 0, 0, 1, "both")
    sheet.write(1, 0, 1)
    sheet.write(1, 1, 2)
    made.save(str(tmp_path / "t.xls"))
    with pytest.raises(UnsupportedError, match=r"merged across columns \(A1:B1\)"):
        load(tmp_path / "t.xls")


def test_several_sheets_ask_which(tmp_path: Path) -> None:
    made = xlwt.Workbook()
    for title, value in (("a", 1), ("b", 2), ("none", None)):
        sheet = made.add_sheet(title)
        if value:
            sheet.write(0, 0, "x")
            sheet.write(1, 0, xlwt.Formula("1+1") if value == 2 else value)
    path = tmp_path / "t.xls"
    made.save(str(path))
    with pytest.raises(UnsupportedError, match=r"2 sheets.*sheet="):
        read_table(path)
    assert list(read_table(path, sheet=1).data["x"]) == [1]
    assert read_table(path, sheet=1).flags == ()
    assert read_table(path, sheet="b").flags == ("formula-cells",)
    with pytest.raises(InputError, match="no sheet"):
        read_table(path, sheet="missing")


def test_too_many_cells_are_refused(tmp_path: Path) -> None:
    path = book(tmp_path / "t.xls", *[("a", "b", "c")] * 1000)
    with pytest.raises(TooLargeError, match="cells"):
        load(path, max_pixels=5000)


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        ("WordDocument", r"Word document of before 2007.*convert-to docx"),
        ("PowerPoint Document", "PowerPoint.*PDF"),
        ("EncryptedPackage", "password"),
        ("Contents", "no Office document"),
    ],
)
def test_other_old_documents_say_the_way_out(tmp_path: Path, stream: str, words: str) -> None:
    data = book(tmp_path / "t.xls", ("x",), (1,)).read_bytes()

    def entry(name: str) -> bytes:
        coded = (name + "\0").encode("utf-16-le")
        return coded.ljust(64, b"\0") + len(coded).to_bytes(2, "little")

    assert entry("Workbook") in data
    path = tmp_path / "note.doc"
    path.write_bytes(data.replace(entry("Workbook"), entry(stream)))
    with pytest.raises(UnsupportedError, match=words):
        load(path)


def test_compound_files_of_other_programs_are_no_cases(tmp_path: Path) -> None:
    path = book(tmp_path / "labs.xls", ("patient_id", "x"), ("p1", 1))
    (tmp_path / "Thumbs.db").write_bytes(path.read_bytes())
    cases = sort(tmp_path)
    assert [case.id for case in cases] == ["labs"]
    assert [reason for _, reason in cases.skipped] == ["an OLE compound file, which is not read"]
    with pytest.raises(UnsupportedError, match=r"OLE compound file.*name it \.xls"):
        load(tmp_path / "Thumbs.db")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("sound")
    return book(folder / "t.xls", ("id", "hb [g/dL]", "note"), ("p1", 7.5, "x" * 50)).read_bytes()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(0, 6000), some=st.binary(max_size=4), keep=st.integers(8, 6000))
def test_damage_ends_in_our_errors(
    tmp_path: Path, sound: bytes, at: int, some: bytes, keep: int
) -> None:
    data = (sound[:at] + some + sound[at + len(some) :])[:keep]
    path = tmp_path / "t.xls"
    path.write_bytes(data)
    with contextlib.suppress(OslerError):
        load(path)


def test_half_a_file_is_unreadable(tmp_path: Path, sound: bytes) -> None:
    (tmp_path / "t.xls").write_bytes(sound[: len(sound) // 2])
    with pytest.raises((UnreadableError, UnsupportedError)):
        load(tmp_path / "t.xls")
