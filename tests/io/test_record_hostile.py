"""Damaged containers of tables and text, and packages that are not installed."""

import sys
from pathlib import Path

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_files import docx, paragraph, pdf

from osler.errors import MissingExtraError, OslerError
from osler.io import load
from osler.io.table_frame import from_values
from osler.io.table_out import write_table


def workbook(path: Path) -> Path:
    book = openpyxl.Workbook()
    book.active.append(["patient_id", "hb [g/dL]", "note"])
    book.active.append(["p1", 7.5, "x" * 50])
    book.save(path)
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sound")
    frame = from_values("x", ["id", "x [kg]"], [["a"], [1.5]])
    paths = [
        workbook(folder / "t.xlsx"),
        docx(folder / "r.docx", paragraph("FINDINGS: none")),
        write_table(frame, folder / "t.parquet"),
    ]
    return {path.name: path.read_bytes() for path in paths}


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(["t.xlsx", "r.docx", "t.parquet"]), at=st.integers(0, 20_000),
    some=st.binary(max_size=4), keep=st.integers(1, 20_000),
)  # fmt: skip
def test_damage_ends_in_our_errors(
    tmp_path: Path, sound: dict[str, bytes], name: str, at: int, some: bytes, keep: int
) -> None:
    data = sound[name]
    at %= len(data)
    data = data[:at] + some + data[at + len(some) :]
    (tmp_path / name).write_bytes(data[: max(keep, 4)])
    try:
        case = load(tmp_path / name)
    except OslerError:
        return
    assert case.items


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("t.xlsx", "openpyxl", "tables"),
        ("t.parquet", "pyarrow", "tables"),
        ("t.xls", "xlrd", "tables"),
        ("r.pdf", "pypdf", "pdf"),
        ("n.edf", "edfio", "signals"),
        ("m.h5ad", "h5py", "omics"),
    ],
)
def test_a_package_that_is_not_there_is_named(
    tmp_path: Path, sound: dict[str, bytes], monkeypatch: pytest.MonkeyPatch,
    name: str, package: str, extra: str,
) -> None:  # fmt: skip
    entry = "Workbook\0".encode("utf-16-le")
    others = {
        "r.pdf": pdf(["x"]),
        "n.edf": b"0       " + b" " * 176 + b"512     " + b" " * 44 + b"1       1       1   ",
        "m.h5ad": b"\x89HDF\r\n\x1a\n",
        "t.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + entry.ljust(64, b"\0") + b"\x12\0",
    }
    (tmp_path / name).write_bytes({**sound, **others}[name])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*osler\[{extra}\]"):
        load(tmp_path / name)
