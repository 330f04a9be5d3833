"""Files that are awkward, but legal: as the formats' own programs read them, or refused."""

import re
import struct
from datetime import date
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import openpyxl
import pytest
from nibabel.nifti1 import Nifti1Header
from volume_files import oracle

from osler.errors import GeometryError, OslerError, UnreadableError, UnsupportedError
from osler.io import load
from osler.io.converting import save
from osler.record import Signal, Table

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# --- NIfTI ----------------------------------------------------------------------------------

BOX = (5, 4, 3)
NIFTI: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "vectors on the fifth axis": ((*BOX, 1, 3), "f4", {"intent_code": 1007}),
    "symmetric matrices": ((*BOX, 1, 6), "f4", {"intent_code": 1005}),
    "colour by intent": ((*BOX, 1, 3), "u1", {"intent_code": 2003}),
    "statistics": (BOX, "f4", {"intent_code": 5, "intent_p1": 3}),
    "time and vectors": ((*BOX, 2, 3), "i2", {}),
    "seven axes": ((*BOX, 1, 1, 1, 2), "i2", {}),
    "one axis": ((7,), "i2", {}),
    "unused axes of 0": (BOX, "i2", {"dim": (3, 5, 4, 3, 0, 0, 0, 0)}),
    "slope 0": (BOX, "i2", {"scl_slope": 0, "scl_inter": 5}),
    "slope NaN": (BOX, "i2", {"scl_slope": np.nan, "scl_inter": np.nan}),
    "infinite slope": (BOX, "i2", {"scl_slope": np.inf}),
    "negative slope": (BOX, "i2", {"scl_slope": -1, "scl_inter": 10}),
    "fractions of bytes": (BOX, "u1", {"scl_slope": 0.1, "scl_inter": -3.3}),
    "left-handed qform": (BOX, "i2", {"sform_code": 0, "qform_code": 1, "pixdim": (-1, 2, 3, 4)}),
    "qfac of 0": (BOX, "i2", {"sform_code": 0, "qform_code": 1, "pixdim": (0, 2, 3, 4)}),
    "no thickness but a sform": (BOX, "i2", {"qform_code": 0, "pixdim": (1, 2, 3, 0)}),
    "a qform that cannot be": (BOX, "i2", {"qform_code": 1, "pixdim": (1, 2, 3, 0)}),
    "no step of time": ((*BOX, 3), "i2", {"pixdim": (1, 2, 3, 4, 0)}),
    "hertz": ((*BOX, 3), "i2", {"xyzt_units": 2 | 32}),
}


def nifti(path: Path, shape: tuple[int, ...], dtype: str, fields: dict[str, Any]) -> Path:
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    image = nibabel.Nifti1Image(values, np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    data = bytearray(path.read_bytes())
    header = Nifti1Header(bytes(data[:348]), check=False)
    for name, value in fields.items():
        field = header.structarr[name]
        if isinstance(value, tuple):
            field[: len(value)] = value
        else:
            header.structarr[name] = value
    data[:348] = header.structarr.tobytes()
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", NIFTI)
def test_nifti_as_nibabel_reads_it(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = nifti(tmp_path / "a.nii", *NIFTI[kind])
    image = load(path).image("volume")
    theirs = nibabel.load(path)
    values = np.asanyarray(theirs.dataobj)
    values = values.reshape(*values.shape, *[1] * (3 - values.ndim))
    values = values.reshape(*values.shape[:3], -1, order="F").T
    np.testing.assert_allclose(image.array.reshape(values.shape), values, rtol=1e-6)
    if kind != "a qform that cannot be":
        assert "qform-unusable" not in image.flags
    expected = (LPS @ theirs.affine)[:, [2, 1, 0, 3]]
    np.testing.assert_allclose(image.affine, expected, atol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {"pixdim": (1, -2, 3, 4)},
        {"pixdim": (1, 2, 0, 4)},
        {"pixdim": (1, 2, np.nan, 4)},
        {"quatern_b": 0.9, "quatern_c": 0.9},
        {"quatern_d": np.nan},
    ],
)
def test_a_qform_that_cannot_be_is_said(tmp_path: Path, fields: dict[str, Any]) -> None:
    alone = {"sform_code": 0, "qform_code": 1} | fields
    path = nifti(tmp_path / "a.nii", BOX, "i2", alone)
    with pytest.raises(GeometryError, match="placed by a qform"):
        load(path)
    assert load(path, prefer="none").image("volume").affine is None
    path = nifti(tmp_path / "b.nii", BOX, "i2", {"qform_code": 1} | fields)
    image = load(path).image("volume")
    assert "qform-unusable" in image.flags
    expected = (LPS @ np.diag([2.0, 3.0, 4.0, 1.0]))[:, [2, 1, 0, 3]]
    np.testing.assert_allclose(image.affine, expected, atol=1e-6)
    assert image.spacing == (4.0, 3.0, 2.0)
    with pytest.raises(GeometryError):
        load(path, prefer="qform")


# --- NRRD and MetaImage ---------------------------------------------------------------------

VOXELS = np.arange(60, dtype="<i2").reshape(3, 4, 5)
COLOURS = np.arange(180, dtype="<i2").reshape(3, 4, 5, 3)
NRRD = "NRRD0005\ntype: short\ndimension: 3\nsizes: 5 4 3\nendian: little\nencoding: raw\n"
PLACED = (
    "space: left-posterior-superior\nspace directions: (1,0,0) (0,2,0) (0,0,3)\n"
    "space origin: (1,2,3)\n"
)
MHA = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    "TransformMatrix = 0 1 0 1 0 0 0 0 -1\nOffset = 1 2 3\nElementSpacing = 1 2 3\n"
    "DimSize = 5 4 3\nElementType = MET_SHORT\n"
)
LOCAL = "ElementDataFile = LOCAL\n"
VOLUMES: dict[str, tuple[str, str, Any]] = {
    "list of files": ("nhdr", NRRD + PLACED + "data file: LIST\ns0.raw\ns1.raw\ns2.raw\n", None),
    "list with its axes": (
        "nhdr",
        NRRD + PLACED + "data file: LIST 2\ns0.raw\ns1.raw\ns2.raw\n",
        None,
    ),
    "files counted down": ("nhdr", NRRD + PLACED + "data file: s%d.raw 2 0 -1\n", None),
    "bytes before the voxels": (
        "nhdr",
        NRRD + PLACED + "byte skip: -1\ndata file: all.raw\n",
        None,
    ),
    "scanner-xyz": (
        "nrrd",
        NRRD + PLACED.replace("left-posterior-superior", "scanner-xyz") + "\n",
        VOXELS,
    ),
    "right-handed": (
        "nrrd",
        NRRD + PLACED.replace("left-posterior-superior", "3D-right-handed") + "\n",
        VOXELS,
    ),
    "a space of three axes": (
        "nrrd",
        NRRD + "space dimension: 3\nspace directions: (1,0,0) (0,2,0) (0,0,3)\n\n",
        VOXELS,
    ),
    "carriage returns": ("nrrd", (NRRD + PLACED + "\n").replace("\n", "\r\n"), VOXELS),
    "remarks and keys": (
        "nrrd",
        NRRD.replace("\n", "\n# a: b\n", 2) + PLACED + "k:=v:=\\n\nk k:=1\n\n",
        VOXELS,
    ),
    "capitals": (
        "nrrd",
        NRRD.replace("type", "TYPE").replace("raw", "RAW") + PLACED + "\n",
        VOXELS,
    ),
    "cells and nodes": (
        "nrrd",
        NRRD + "spacings: 1 2 3\naxis mins: 0 0 0\ncenters: node node node\n\n",
        VOXELS,
    ),
    "channels in MetaImage": ("mha", MHA + "ElementNumberOfChannels = 3\n" + LOCAL, COLOURS),
    "arrays in MetaImage": (
        "mha",
        MHA.replace("SHORT", "SHORT_ARRAY") + "ElementNumberOfChannels = 3\n" + LOCAL,
        COLOURS,
    ),
    "tabs in MetaImage": ("mha", (MHA + LOCAL).replace(" = ", "\t=\t"), VOXELS),
    "no spaces in MetaImage": ("mha", (MHA + LOCAL).replace(" = ", "="), VOXELS),
    "list of MetaImage": ("mhd", MHA + "ElementDataFile = LIST 2D\ns0.raw\ns1.raw\ns2.raw\n", None),
    "pattern of MetaImage": ("mhd", MHA + "ElementDataFile = s%d.raw 0 2 1\n", None),
    "big endian MetaImage": (
        "mha",
        MHA.replace("MSB = False", "MSB = True") + LOCAL,
        VOXELS.astype(">i2"),
    ),
    "older names": (
        "mha",
        MHA.replace("Offset", "Position").replace("TransformMatrix", "Orientation") + LOCAL,
        VOXELS,
    ),
    "a centre of rotation": ("mha", MHA + "CenterOfRotation = 10 0 0\n" + LOCAL, VOXELS),
    "equals in a comment": ("mha", "Comment = a = b\n" + MHA + LOCAL, VOXELS),
    "a header to pass over": ("mhd", MHA + "HeaderSize = -1\nElementDataFile = all.raw\n", None),
}


@pytest.mark.parametrize("kind", VOLUMES)
def test_volumes_as_itk_reads_them(tmp_path: Path, kind: str) -> None:
    extension, text, data = VOLUMES[kind]
    for i, plane in enumerate(VOXELS):
        (tmp_path / f"s{i}.raw").write_bytes(plane.tobytes())
    (tmp_path / "all.raw").write_bytes(VOXELS.tobytes())
    path = tmp_path / f"a.{extension}"
    path.write_bytes(text.encode() + (b"" if data is None else data.tobytes()))
    image = load(path).image("volume")
    array, matrix = oracle(path)
    ours = np.moveaxis(image.array, 0, -1) if array.ndim == 4 else image.array[0]
    np.testing.assert_array_equal(ours, array)
    if image.affine is None:
        assert "no-orientation" in image.flags
        np.testing.assert_allclose(image.spacing, np.linalg.norm(matrix[:3, :3], axis=0))
    else:
        np.testing.assert_allclose(image.affine, matrix)


TIMED = (
    NRRD.replace("dimension: 3", "dimension: 4").replace("5 4 3", "5 4 3 2")
    + "space: left-posterior-superior-time\nspace origin: (1,2,3,0)\n"
    'space units: "mm" "mm" "mm" "s"\n'
)


@pytest.mark.parametrize("space", ["left-posterior-superior-time", "LPST"])
def test_a_space_with_time(tmp_path: Path, space: str) -> None:
    text = TIMED.replace("left-posterior-superior-time", space)
    steps = "space directions: (1,0,0,0) (0,2,0,0) (0,0,3,0) (0,0,0,1.5)\n\n"
    voxels = np.stack([VOXELS, VOXELS + 100])
    path = tmp_path / "a.nrrd"
    path.write_bytes((text + steps).encode() + voxels.tobytes())
    image = load(path).image("volume")
    np.testing.assert_array_equal(image.array, voxels)
    assert image.times == (0.0, 1.5)
    assert image.spacing == (3.0, 2.0, 1.0)
    np.testing.assert_array_equal(image.affine[:3, 3], (1, 2, 3))
    again = load(save(image, tmp_path / "b.nrrd")).image("volume")
    np.testing.assert_array_equal(again.array, voxels)
    assert again.times == image.times
    np.testing.assert_array_equal(again.affine, image.affine)


def test_an_axis_through_space_and_time_is_refused(tmp_path: Path) -> None:
    steps = "space directions: (1,0,0,0) (0,2,0,0) (0,0,3,1) (0,0,0,1.5)\n\n"
    path = tmp_path / "a.nrrd"
    path.write_bytes((TIMED + steps).encode() + bytes(240))
    with pytest.raises(GeometryError, match=r"a\.nrrd.* space and time"):
        load(path)


# --- CSV and Excel --------------------------------------------------------------------------

ROW = 'case_id;age [a];glucose [mmol/L];day;note\nA1;63;5,4;2020-03-04;"a; b"\n'


def values(path: Path, name: str = "table", **options: Any) -> dict[str, Any]:
    table = load(path, **options)[name]
    assert isinstance(table, Table)
    return dict(table.values)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + ROW.encode(),
        ROW.encode("utf-16"),
        ("sep=;\r\n" + ROW.replace("\n", "\r\n")).encode(),
        b"\xef\xbb\xbfsep=;\n" + ROW.encode(),
    ],
    ids=["byte order mark", "UTF-16", "Excel's first line", "both"],
)
def test_european_csv(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(UnsupportedError, match="decimal=','"):
        load(path)
    assert values(path, decimal=",") == {
        "case_id": "A1", "age": 63, "glucose": 5.4, "day": date(2020, 3, 4), "note": "a; b",
    }  # fmt: skip


def test_no_digit_of_a_long_number_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("case_id,accession,count\nA,123456789012345678901,123456789012345678\n")
    assert values(path)["accession"] == "123456789012345678901"
    path.write_text("case_id,count\nA,12345678901234567\n")
    assert values(path)["count"] == 12345678901234567


def book(path: Path, rows: list[list[Any]], *merged: str) -> Path:
    made = openpyxl.Workbook()
    sheet = made.active
    for row in rows:
        sheet.append(row)
    for cells in merged:
        sheet.merge_cells(cells)
    made.save(path)
    return path


def test_cells_merged_over_rows_hold_for_each(tmp_path: Path) -> None:
    rows = [["case_id", "age", "sex"], ["A", 5, "f"], [None, 6, None], ["B", 7, "m"]]
    path = book(tmp_path / "a.xlsx", rows, "A2:A3", "C2:C3")
    case = load(path, case="A")
    tables = [item for item in case.items.values() if isinstance(item, Table)]
    assert [table.values for table in tables] == [
        {"case_id": "A", "age": 5, "sex": "f"},
        {"case_id": "A", "age": 6, "sex": "f"},
    ]
    assert all("merged-cells" in table.flags for table in tables)
    assert values(path, case="B") == {"case_id": "B", "age": 7, "sex": "m"}


def test_cells_merged_across_columns_are_refused(tmp_path: Path) -> None:
    rows = [["Study", None], ["case_id", "age"], ["A", 5]]
    with pytest.raises(UnsupportedError, match=re.escape("A1:B1")):
        load(book(tmp_path / "a.xlsx", rows, "A1:B1"))


# --- EDF+D ----------------------------------------------------------------------------------


def edf(path: Path, onsets: list[float], rates: tuple[int, ...] = (10, 1)) -> Path:
    """A discontinuous recording with records of one second; the samples count up."""
    signals = len(rates) + 1
    labels = [*(f"S{rate}" for rate in rates), "EDF Annotations"]
    numbers = [*rates, 20]

    def column(texts: list[Any], width: int) -> bytes:
        return b"".join(str(text).encode().ljust(width) for text in texts)

    head = b"0".ljust(8) + b"X X X X".ljust(80) + b"Startdate X X X X".ljust(80)
    head += b"01.02.2003.04.05" + column([256 * (signals + 1)], 8) + b"EDF+D".ljust(44)
    head += column([len(onsets)], 8) + column([1], 8) + column([signals], 4)
    head += column(labels, 16) + column([""] * signals, 80) + column(["NU"] * signals, 8)
    for ends in ((-32768, -1), (32767, 1), (-32768, -32768), (32767, 32767)):
        head += column([*[ends[0]] * len(rates), ends[1]], 8)
    head += column([""] * signals, 80) + column(numbers, 8) + column([""] * signals, 32)
    for i, onset in enumerate(onsets):
        for rate in rates:
            head += struct.pack(f"<{rate}h", *range(i * rate, (i + 1) * rate))
        head += f"+{onset}\x14\x14\0".encode().ljust(40, b"\0")
    path.write_bytes(head)
    return path


def signals_of(path: Path) -> dict[float, Signal]:
    return {item.rate: item for item in load(path).items.values() if isinstance(item, Signal)}


def test_gaps_of_whole_samples(tmp_path: Path) -> None:
    found = signals_of(edf(tmp_path / "a.edf", [0, 1, 5]))
    fast, slow = found[10], found[1]
    assert fast.flags == slow.flags == ("gaps",)
    assert fast.array.shape == (1, 60)
    assert np.isnan(fast.array[0, 20:50]).all()
    np.testing.assert_array_equal(fast.array[0, 50:], np.arange(20, 30))
    np.testing.assert_array_equal(slow.array[0], [0, 1, np.nan, np.nan, np.nan, 2])


def test_gaps_that_are_no_whole_samples_are_said_and_lose_nothing(tmp_path: Path) -> None:
    found = signals_of(edf(tmp_path / "a.edf", [0, 3.5, 6.5, 7.5], (1, 10)))
    fast, slow = found[10], found[1]
    assert fast.flags == ("gaps",)
    assert slow.flags == ("gaps", "gaps-off-grid")
    for signal in (fast, slow):
        there = signal.array[~np.isnan(signal.array)]
        np.testing.assert_array_equal(there, np.arange(there.size))
    assert np.count_nonzero(~np.isnan(slow.array)) == 4


def test_a_recording_without_gaps_has_none(tmp_path: Path) -> None:
    found = signals_of(edf(tmp_path / "a.edf", [0.25, 1.25, 2.25]))
    assert all(signal.flags == () for signal in found.values())
    assert not np.isnan(found[10].array).any()


@pytest.mark.parametrize("onsets", [[0, 0.5, 2], [0, 5, 2], [0, 1, 10**12]])
def test_times_that_cannot_be(tmp_path: Path, onsets: list[float]) -> None:
    with pytest.raises(OslerError) as raised:
        load(edf(tmp_path / "a.edf", onsets))
    assert isinstance(raised.value, UnreadableError) or "max_pixels" in str(raised.value)
