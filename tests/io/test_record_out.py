"""Signals, tables and texts to files and back."""

import json
from pathlib import Path

import numpy as np
import pytest

from osler.errors import OutputError
from osler.io import load, read_table, save_record
from osler.io.findings_json import as_document
from osler.record import Markers, Signal, Source, Table, Text


def test_a_signal_as_csv_is_the_same_to_the_bit(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(0, 1, (2, 50)).astype(np.float32)
    array[0, 3] = np.nan
    made = Signal("ecg", array, 257.123, ("I", "SpO2"), ("mV", "mm[Hg]"))
    read = load(save_record(made, tmp_path / "s.csv"))["ecg"]
    assert isinstance(read, Signal)
    np.testing.assert_array_equal(read.array.astype(np.float32), array)
    assert (read.rate, read.channels, read.units) == (257.123, made.channels, made.units)
    assert not read.flags


def test_a_single_channel_keeps_its_gaps(tmp_path: Path) -> None:
    made = Signal("signal", np.array([[1.0, np.nan, 3.0]]), 10.0, ("x",), ("1",))
    read = load(save_record(made, tmp_path / "s.csv"))["signal"]
    assert isinstance(read, Signal)
    np.testing.assert_array_equal(read.array, made.array)


def test_markers_go_with_a_wfdb_record(data_dir: Path, tmp_path: Path) -> None:
    case = load(data_dir / "ecg" / "100.hea")
    signal, beats = case["ecg"], case["annotations.atr"]
    assert isinstance(signal, Signal)
    assert isinstance(beats, Markers)
    again = load(save_record(signal, tmp_path / "out.hea", markers=[beats]))
    read = again["annotations.atr"]
    assert isinstance(read, Markers)
    assert read.labels == beats.labels
    np.testing.assert_allclose(read.times, beats.times)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_and_a_matrix(tmp_path: Path, name: str) -> None:
    made = Table("table", {"age": 40, "hb": 7.5}, {"hb": "g/dL"})
    read = load(save_record(made, tmp_path / name))["table"]
    assert isinstance(read, Table)
    assert (read.values, read.units) == (made.values, made.units)
    matrix = Table(
        "expression", {}, matrix=np.array([[1.5, np.nan], [2, 4]]), samples=("a", "b"),
        features=("TP53", "XIST"),
    )  # fmt: skip
    path = save_record(matrix, tmp_path / f"m-{name}")
    assert read_table(path).row(0) == {"sample": "a", "TP53": 1.5}
    if name.endswith("csv"):
        again = load(path, orientation="samples-by-features")["expression"]
        assert isinstance(again, Table)
        np.testing.assert_array_equal(again.matrix, matrix.matrix)
        assert (again.samples, again.features) == (matrix.samples, matrix.features)


def test_a_text(tmp_path: Path) -> None:
    read = load(save_record(Text("report", "FINDINGS: x\n正常"), tmp_path / "r.txt"))["report"]
    assert isinstance(read, Text)
    assert read.text == "FINDINGS: x\n正常"


def test_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"text is written to; use one of \.txt"):
        save_record(Text("report", "x"), tmp_path / "r.docx")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OutputError, match="cannot be written"):
        save_record(Text("report", "x"), tmp_path / "file" / "r.txt")


def test_a_case_with_markers_has_its_findings_as_json(data_dir: Path) -> None:
    document = as_document(load(data_dir / "ecg" / "100.hea"))
    assert json.dumps(document)
    assert set(document["items"]) == {"ecg", "variables"}


def test_markers_are_checked() -> None:
    from osler.errors import InputError

    with pytest.raises(InputError, match="one of everything"):
        Markers(id="m", name="m", source=Source("person", "x"), times=np.zeros(2), labels=("a",))


def test_functions_are_not_hidden_by_modules(tmp_path: Path) -> None:
    import osler.io

    (tmp_path / "t.csv").write_text("x,y\n1,2\n")
    load(tmp_path / "t.csv")  # imports the rooms' modules, which Python binds to the package
    for name in osler.io.__all__:
        assert callable(getattr(osler.io, name)), name
