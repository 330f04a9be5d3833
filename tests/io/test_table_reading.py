"""Tables of every format: types, units, missing values, whose row is whose."""

import contextlib
import time
import zipfile
from datetime import date, datetime
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.errors import InputError, OslerError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import load
from osler.io.table_frame import from_values
from osler.io.table_grouping import read_table, table_cases
from osler.io.table_out import frame_of_tables, write_table
from osler.io.table_units import split_header, ucum
from osler.record import Signal, Table


def put(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def table(path: Path, **options: object) -> Table:
    item = load(path, **options)["table"]
    assert isinstance(item, Table)
    return item


ONE = (
    "patient_id,glucose [mmol/L],temp (°C),smoker,visit,at,code,sex,weight [kg],gone\n"
    "p1,5.40,37,TRUE,2021-02-03,2021-02-03 10:11,007,M,NA,\n"
)


def test_values_have_types_units_and_gaps(tmp_path: Path) -> None:
    case = load(put(tmp_path, ONE))
    item = case["table"]
    assert isinstance(item, Table)
    assert case.patient_id == "p1"
    assert item.values == {
        "patient_id": "p1", "glucose": 5.4, "temp": 37, "smoker": True, "visit": date(2021, 2, 3),
        "at": datetime(2021, 2, 3, 10, 11), "code": "007", "sex": "M",
    }  # fmt: skip
    assert item.units == {"glucose": "mmol/L", "temp": "Cel"}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("1,2", [1, 2]),
        ("1,2.5", [1.0, 2.5]),
        ("1e-5,.5", [1e-5, 0.5]),
        ("NaN,null", [None, None]),
        ("1,n/a", [1, None]),
        ("true,False", [True, False]),
        ("0,1", [0, 1]),
        ("01,02", ["01", "02"]),
        ("-99,3", [-99, 3]),
        ("none,x", ["none", "x"]),
        ("2020-01-02,2020/3/4", [date(2020, 1, 2), date(2020, 3, 4)]),
        ("2020年1月2日,2020年3月4日", [date(2020, 1, 2), date(2020, 3, 4)]),
        ("03/04/2020,05/04/2020", ["03/04/2020", "05/04/2020"]),
        ("2020-02-30,2020-01-01", ["2020-02-30", "2020-01-01"]),
        ("inf,1", ["inf", "1"]),
        ("12345678901234567890,1", ["12345678901234567890", "1"]),
        ("<5,7", ["<5", "7"]),
    ],
)
def test_types_are_those_that_every_cell_has(
    tmp_path: Path, cells: str, expected: list[object]
) -> None:
    frame = read_table(put(tmp_path, "id,x\na,{}\nb,{}\n".format(*cells.split(","))))
    assert list(frame.data["x"]) == expected
    assert [type(v) for v in frame.data["x"]] == [type(v) for v in expected]


def test_codes_of_a_site_are_missing_where_they_are_said(tmp_path: Path) -> None:
    frame = read_table(put(tmp_path, "id,x\na,-99\nb,3\n"), missing=("-99",))
    assert list(frame.data["x"]) == [None, 3]


def test_a_decimal_comma_is_said_and_not_guessed(tmp_path: Path) -> None:
    path = put(tmp_path, "id;x\na;1,5\nb;2,25\n")
    with pytest.raises(UnsupportedError, match=r"column 'x'.*decimal=','"):
        read_table(path)
    assert list(read_table(path, decimal=",").data["x"]) == [1.5, 2.25]
    assert list(read_table(path, decimal=".").data["x"]) == ["1,5", "2,25"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = "患者编号,血糖 [mmol/L],诊断\n甲,5.5,右上肺磨玻璃结节\n"
    item = table(put(tmp_path, text.encode(encoding)))
    assert item.values == {"患者编号": "甲", "血糖": 5.5, "诊断": "右上肺磨玻璃结节"}
    assert item.flags == (("encoding-gb18030",) if encoding == "gb18030" else ())


def test_an_encoding_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    path = put(tmp_path, "id,note\na,Fièvre élevée à l'arrivée\n".encode("cp1252"))
    with pytest.raises(UnsupportedError, match="encoding="):
        table(path)
    assert table(path, encoding="cp1252").values["note"] == "Fièvre élevée à l'arrivée"
    with pytest.raises(InputError, match="unknown"):
        table(path, encoding="klingon")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(tmp_path: Path, delimiter: str) -> None:
    text = f'id{delimiter}note\na{delimiter}"one{delimiter} ""two""\nthree"\n'
    assert table(put(tmp_path, text)).values == {"id": "a", "note": f'one{delimiter} "two"\nthree'}


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("a,b\n1\n", UnreadableError, "line 2: 1 cells where the first row has 2"),
        ("a,b\n1,2\n1,2,3\n", UnreadableError, "line 3"),
        ("a,a\n1,2\n", UnreadableError, "two columns of one name"),
        ('a,b\n1,"2\n', UnreadableError, "quotation mark|cells where"),
        ("a,b\n", UnsupportedError, "no others"),
        ("a;b,c;d\n1;x,y;4\n", None, ""),
        ("a;b,c\n1;2,3\n", UnsupportedError, "delimiter="),
        ("\n\n", UnreadableError, "no rows"),
        ("a,b\n1,\0\n", UnreadableError, "zero bytes|not read|of no known|binary"),
    ],
)
def test_what_is_no_table(
    tmp_path: Path, text: str, error: type[OslerError] | None, words: str
) -> None:
    path = put(tmp_path, text)
    if error is None:
        assert len(table(path).values) == 3
        return
    with pytest.raises((error, InputError), match=words):
        table(path)


def test_rows_of_several_patients_are_cases(tmp_path: Path) -> None:
    path = put(tmp_path, "patient_id,date,x\np1,2020-01-02,1\np2,2020-01-03,2\np1,2021-01-02,3\n")
    with pytest.raises(UnsupportedError, match="2 cases") as caught:
        load(path)
    assert "p1" not in str(caught.value)
    case = load(path, case="p1")
    assert case.patient_id == "p1"
    assert [i.values["x"] for i in case.items.values() if isinstance(i, Table)] == [1, 3]
    second = case["table-2"]
    assert isinstance(second, Table)
    assert second.acquired == datetime(2021, 1, 2)
    assert [c.id for c in table_cases(path)] == ["p1", "p2"]
    with pytest.raises(InputError, match="no row"):
        load(path, case="p3")
    with pytest.raises(InputError, match=r"no column 'mrn'.*patient_id"):
        load(path, id_column="mrn")


def test_rows_without_ids_are_cases_of_their_own(tmp_path: Path) -> None:
    path = put(tmp_path, "x,y\n1,2\n3,4\n")
    with pytest.raises(UnsupportedError, match="may be of different patients"):
        load(path)
    assert [(c.id, c.patient_id) for c in table_cases(path)] == [("t-1", None), ("t-2", None)]


@pytest.mark.parametrize(
    ("name", "rows", "patient"),
    [
        ("visual-fields/Series_Summary.csv", None, "PatID"),
        ("odir/patients.csv", 400, "patient_id"),
        ("cxr-outcomes/images.csv", None, "patientid"),
    ],
)
def test_real_tables_are_what_pandas_reads(
    data_dir: Path, name: str, rows: int | None, patient: str
) -> None:
    frame = read_table(data_dir / name)
    expected = pd.read_csv(data_dir / name)
    assert frame.columns == tuple(expected.columns)
    assert frame.rows == len(expected) == (rows or len(expected))
    for column in frame.columns:
        missing = [value is None for value in frame.data[column]]
        assert missing == expected[column].isna().tolist(), column
        if frame.kinds[column] in ("int", "float"):
            values = [float("nan") if v is None else float(v) for v in frame.data[column]]
            np.testing.assert_allclose(values, expected[column].astype(float))
        elif frame.kinds[column] == "text":
            text = expected[column].dropna().astype(str).tolist()
            assert [v for v in frame.data[column] if v is not None] == text
    patients = {case.patient_id for case in table_cases(data_dir / name)}
    assert len(patients - {None}) == expected[patient].nunique()


def test_a_signal_says_its_rate(tmp_path: Path) -> None:
    timed = "time [ms],Lead I [uV],SpO2 [%]\n" + "".join(
        f"{4 * i},{i * 1000},9{i % 10}\n" for i in range(20)
    )
    for path, options in (
        (put(tmp_path, timed), {}),
        (put(tmp_path, "# rate = 250 Hz\n" + timed.replace("time [ms]", "t_ms"), "u.csv"), {}),
    ):
        read = load(path, **options)["ecg"]
        assert isinstance(read, Signal)
        assert (read.rate, read.channels, read.units) == (250, ("I", "SpO2"), ("mV", "%"))
        np.testing.assert_allclose(read.array[0], np.arange(20.0))
    bare = put(tmp_path, "I,II\n1,2\n3,\n", "b.csv")
    read = load(bare, rate=100)["ecg"]
    assert isinstance(read, Signal)
    assert read.flags == ("units-unknown",)
    np.testing.assert_array_equal(read.array, [[1, 3], [2, np.nan]])


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("time [s],x\n0,1\n1,2\n3,3\n", UnreadableError, "evenly"),
        ("time [s],x\n0,1\n0,2\n", UnreadableError, "evenly"),
        ("time [s],x\n0,1\n", UnreadableError, "too few"),
        ("time [s],x\n0,1\n1,high\n", UnreadableError, "column 'x'"),
        ("# rate = 7\ntime [s],x\n0,1\n1,2\n", UnsupportedError, "remove the one"),
    ],
)
def test_signals_that_contradict_themselves(
    tmp_path: Path, text: str, error: type[OslerError], words: str
) -> None:
    with pytest.raises(error, match=words):
        load(put(tmp_path, text))


def workbook(folder: Path, *rows: tuple[object, ...], **sheets: object) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for title in sheets:
        book.create_sheet(title).append(["x"])
    book.save(folder / "t.xlsx")
    return folder / "t.xlsx"


def test_excel(tmp_path: Path) -> None:
    path = workbook(
        tmp_path,
        ("patient_id", "HbA1c [%]", "seen", "n", "ok", "note"),
        ("p1", 6.5, datetime(2020, 1, 2), 3, True, None),
        ("p1", None, datetime(2020, 2, 2), 4, False, "x"),
    )
    frame = read_table(path)
    assert frame.kinds == {
        "patient_id": "text", "HbA1c": "float", "seen": "date", "n": "int", "ok": "bool",
        "note": "text",
    }  # fmt: skip
    assert frame.row(0) == {
        "patient_id": "p1", "HbA1c": 6.5, "seen": date(2020, 1, 2), "n": 3, "ok": True
    }  # fmt: skip
    assert frame.units == {"HbA1c": "%"}
    expected = pd.read_excel(path)
    assert expected["HbA1c [%]"].tolist()[:1] == [6.5]
    assert list(load(path).items) == ["table", "table-2"]


def test_excel_with_several_sheets_asks_which(tmp_path: Path) -> None:
    path = workbook(tmp_path, ("a", "b"), (1, 2), other=None)
    with pytest.raises(UnsupportedError, match=r"2 sheets.*sheet="):
        read_table(path)
    assert read_table(path, sheet=1).rows == 1
    assert read_table(path, sheet="other").columns == ("x",)
    with pytest.raises(InputError, match="no sheet"):
        read_table(path, sheet="missing")


def test_formulas_give_their_stored_value_or_none_at_all(tmp_path: Path) -> None:
    path = workbook(tmp_path, ("a", "b"), (1, "=A2*2"))
    with pytest.raises(UnreadableError, match="cell B2"):
        read_table(path)
    sheet = "xl/worksheets/sheet1.xml"
    with zipfile.ZipFile(path) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    assert b"<v></v>" in parts[sheet] or b"<v />" in parts[sheet] or b"<v/>" in parts[sheet]
    for empty in (b"<v></v>", b"<v />", b"<v/>"):
        parts[sheet] = parts[sheet].replace(empty, b"<v>2</v>")
    rezipped(path, parts)
    frame = read_table(path)
    assert list(frame.data["b"]) == [2]
    assert frame.flags == ("formula-cells",)


def rezipped(path: Path, parts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in parts.items():
            out.writestr(name, data)


ENTITY = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'


@pytest.mark.parametrize(
    "part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "[Content_Types].xml"]
)
def test_hostile_workbooks(tmp_path: Path, part: str) -> None:
    path = workbook(tmp_path, ("a",), (1,))
    with zipfile.ZipFile(path) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    rezipped(path, {**parts, part: ENTITY})
    with pytest.raises(UnreadableError, match="entities"):
        read_table(path)
    rezipped(path, {**parts, part: b" " * 20_000_000})
    assert path.stat().st_size < 100_000
    with pytest.raises(TooLargeError, match="bomb"):
        read_table(path)


def test_far_cells_do_not_fill_memory(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active["A1"] = "a"
    book.active["XFD2"] = 1
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(UnreadableError, match="right of its last column"):
        read_table(tmp_path / "t.xlsx")
    with pytest.raises(TooLargeError):
        read_table(tmp_path / "t.xlsx", max_cells=10_000)


FRAME = from_values(
    "x",
    ["id", "n", "x [mmol/L]", "b", "d", "t", "e"],
    [
        ["=1+1", "b", None],
        [1, None, 3],
        [1.0, 0.1, None],
        [True, None, False],
        [date(2020, 1, 2), None, date(1999, 12, 31)],
        [None, datetime(2020, 1, 2, 3, 4, 5), datetime(2020, 1, 2)],
        [None, None, None],
    ],
)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_what_is_written_reads_back_the_same(tmp_path: Path, name: str) -> None:
    path = write_table(FRAME, tmp_path / name)
    again = read_table(path)
    assert again.data == {name: tuple(v) if isinstance(v, tuple) else list(v)
                          for name, v in FRAME.data.items()}  # fmt: skip
    assert (again.kinds, again.units) == (FRAME.kinds, FRAME.units)


def test_parquet_is_what_pandas_writes(tmp_path: Path, data_dir: Path) -> None:
    expected = pd.read_csv(data_dir / "odir" / "patients.csv")
    expected["sex"] = expected["sex"].astype("category")
    expected["seen"] = pd.Timestamp("2020-02-03 04:05")
    expected.to_parquet(tmp_path / "t.parquet")
    frame = read_table(tmp_path / "t.parquet")
    assert list(frame.data["age"]) == expected["age"].tolist()
    assert list(frame.data["sex"]) == expected["sex"].tolist()
    assert frame.data["seen"][0] == datetime(2020, 2, 3, 4, 5)
    with pytest.raises(TooLargeError, match="max_pixels"):
        read_table(tmp_path / "t.parquet", max_cells=100)


def test_cut_files(tmp_path: Path) -> None:
    whole = write_table(FRAME, tmp_path / "t.parquet").read_bytes()
    for keep in (4, 50, len(whole) - 1):
        with pytest.raises(OslerError):
            read_table(put(tmp_path, whole[:keep], "cut.parquet"))
    book = workbook(tmp_path, ("a",), (1,)).read_bytes()
    for keep in (4, 50, len(book) // 2, len(book) - 1):
        with pytest.raises(OslerError):
            read_table(put(tmp_path, book[:keep], "cut.xlsx"))


@pytest.mark.parametrize(
    "text",
    ["#a = b\n" * 100_000 + "x,y\n1,2\n", ",".join(f"c{i}" for i in range(50_000)) + "\n",
     '"' * 200_000, "x,y\n1," + "9" * 100_000 + "e5\n", "," * 50_000],
)  # fmt: skip
def test_odd_shapes_take_no_quadratic_time(tmp_path: Path, text: str) -> None:
    start = time.process_time()
    with contextlib.suppress(OslerError):
        load(put(tmp_path, text))
    assert time.process_time() - start < 10  # minutes, where something is quadratic


def test_tables_of_cases_become_one_frame() -> None:
    one = Table("table", {"a": 1, "b": "x"}, {"a": "kg"})
    frame = frame_of_tables([one, Table("table", {"a": 2.5, "c": ("q", "r")})])
    assert frame.row(1) == {"a": 2.5, "c": "q; r"}
    assert frame.units == {"a": "kg"}


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(min_size=1, max_size=200), name=st.sampled_from(["t.csv", "t.tsv"]))
def test_any_bytes_end_well(tmp_path: Path, data: bytes, name: str) -> None:
    try:
        frame = read_table(put(tmp_path, data, name))
    except OslerError:
        return
    assert all(len(values) == frame.rows for values in frame.data.values())


cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(cell, cell), min_size=1, max_size=4))
def test_any_text_survives_csv(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    frame = from_values("x", ["a", "b"], [[r[0] for r in rows], [r[1] for r in rows]])
    again = read_table(write_table(frame, tmp_path / "t.csv"), delimiter=",", decimal=".")
    for name in ("a", "b"):
        if again.kinds[name] == "text":
            assert list(again.data[name]) == list(frame.data[name])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mmHg", "mm[Hg]"), ("µV", "uV"), ("mg/dl", "mg/dL"), ("10^9/L", "10*9/L"), ("bpm", "/min"),
        ("kg/m2", "kg/m2"), ("mmol/L", "mmol/L"), ("years", "a"), ("岁", "a"), ("M/F", None),
        ("0-4", None), ("yes", None), ("%", "%"), ("ug/mL", "ug/mL"), ("mm[Hg]", "mm[Hg]"),
    ],
)  # fmt: skip
def test_units(text: str, expected: str | None) -> None:
    assert ucum(text) == expected
    assert split_header(f"x ({text})") == (("x", expected) if expected else (f"x ({text})", None))
