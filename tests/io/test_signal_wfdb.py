"""WFDB records, against the package wfdb and on real ones."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.errors import OslerError, OutputError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import load
from osler.io.signal_wfdb_out import write_wfdb
from osler.io.signal_wfdb_samples import STORAGE, pack, unpack
from osler.record import Case, Markers, Signal, Source, Table

wfdb = pytest.importorskip("wfdb")

# the other reader calls pandas in a way that pandas will give up
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def signal(case: Case, name: str = "ecg") -> Signal:
    item = case[name]
    assert isinstance(item, Signal)
    return item


def write_record(folder: Path, name: str, header: str, **files: bytes) -> Path:
    (folder / f"{name}.hea").write_text(header)
    for extension, data in files.items():
        (folder / f"{name}.{extension}").write_bytes(data)
    return folder / f"{name}.hea"


def digital(path: Path) -> np.ndarray:
    """All samples of a record in physical units, by the other reader."""
    return wfdb.rdrecord(str(path.with_suffix(""))).p_signal.T


@pytest.mark.parametrize("name", ["100", "310derive", "310derive_2", "a103l", "cinc2021/E07500"])
def test_real_records_are_what_wfdb_reads(data_dir: Path, name: str) -> None:
    path = data_dir / "ecg" / f"{name}.hea"
    (read,) = (i for i in load(path).items.values() if isinstance(i, Signal))
    expected = wfdb.rdrecord(str(path.with_suffix("")))
    np.testing.assert_allclose(read.array, expected.p_signal.T, rtol=1e-6, atol=1e-6)
    assert read.rate == expected.fs
    assert read.array.dtype == np.float32
    assert not read.flags


def test_signals_of_several_rates_are_items_of_their_own(data_dir: Path) -> None:
    path = data_dir / "ecg" / "03700181.hea"
    case = load(path)
    expected = wfdb.rdrecord(str(path.with_suffix("")), smooth_frames=False).e_p_signal
    assert signal(case).rate == 500
    assert signal(case, "signal").rate == 125
    np.testing.assert_allclose(signal(case).array[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(signal(case, "signal").array, expected[1:], rtol=1e-6)
    assert signal(case, "signal").units == ("mm[Hg]", "mV")
    assert signal(case).acquired == datetime(1994, 8, 15, 17, 27, 45)


@pytest.mark.parametrize("kind", ["atr", "qrs"])
def test_annotations_are_what_wfdb_reads(data_dir: Path, kind: str) -> None:
    case = load(data_dir / "ecg" / "100.hea")
    read = case[f"annotations.{kind}"]
    assert isinstance(read, Markers)
    expected = wfdb.rdann(str(data_dir / "ecg" / "100"), kind)
    # the other reader leaves out the comment that says how the beats were found
    keep = [i for i, label in enumerate(read.labels) if kind == "atr" or label != '"']
    np.testing.assert_allclose(read.times[keep] * 360, expected.sample)
    assert [read.labels[i] for i in keep] == expected.symbol
    assert [read.channels[i] for i in keep] == list(expected.chan)
    assert [n.rstrip("\0") for n in expected.aux_note] == [read.notes[i] for i in keep]
    assert read.source.kind == ("person" if kind == "atr" else "algorithm")
    assert read.item == "ecg"


def test_a_stated_time_resolution_is_used(data_dir: Path) -> None:
    read = load(data_dir / "ecg" / "03700181.hea")["annotations.gqrsh"]
    assert isinstance(read, Markers)
    expected = wfdb.rdann(str(data_dir / "ecg" / "03700181"), "gqrsh")
    beats = [i for i, label in enumerate(read.labels) if label != '"']
    np.testing.assert_allclose(read.times[beats], expected.sample / expected.fs)


def test_the_patient_is_in_a_table(data_dir: Path) -> None:
    table = load(data_dir / "ecg" / "cinc2021" / "E07500.hea")["variables"]
    assert isinstance(table, Table)
    assert table.values == {
        "age": 78, "sex": "male", "diagnoses": ("67741000119109", "426177001")
    }  # fmt: skip
    assert table.units == {"age": "a"}


def test_samples_open_by_the_header_beside_them(data_dir: Path) -> None:
    case = load(data_dir / "ecg" / "cinc2021" / "E07501.mat")
    assert signal(case).channels[:4] == ("I", "II", "III", "aVR")


@pytest.mark.parametrize("format", ["16", "24", "32", "80", "212", "310", "311", "61", "160"])
@pytest.mark.parametrize("length", [30, 31, 32])
def test_every_format_is_what_wfdb_reads(tmp_path: Path, format: str, length: int) -> None:
    storage = STORAGE[int(format)]
    raw = np.random.default_rng(0).integers(0, 256, storage.length(length), np.uint8).tobytes()
    path = write_record(tmp_path, "r", f"r 1 100 {length}\nr.dat {format} 200 0 0 0\n", dat=raw)
    read = signal(load(path), "signal")
    np.testing.assert_allclose(read.array, digital(path), rtol=1e-6)
    assert unpack(raw, int(format), length).shape == (length,)
    # one sample more may fit into the last word's bits
    assert storage.count(len(raw)) - length in (0, 1)


def test_differences_add_up(tmp_path: Path) -> None:
    path = write_record(
        tmp_path, "r", "r 2 100 3\nr.dat 8 1 8 0 10\nr.dat 8 1 8 0 -5\n",
        dat=np.array([0, 1, 5, -1, -128, 127], np.int8).tobytes(),
    )  # fmt: skip
    assert signal(load(path), "signal").array.tolist() == [[10, 15, -113], [-4, -5, 122]]
    np.testing.assert_array_equal(signal(load(path), "signal").array, digital(path))


def test_skew_and_missing_samples(tmp_path: Path) -> None:
    samples = np.array([[1, 10], [2, 20], [3, -32768], [4, 40]], "<i2")
    header = "r 2 100 4\nr.dat 16:1 1/mV 16 0 1 10 0 I\nr.dat 16 1/mV 16 0 10 0 0 II\n"
    path = write_record(tmp_path, "r", header, dat=samples.tobytes())
    read = signal(load(path))
    np.testing.assert_array_equal(read.array, [[2, 3, 4, np.nan], [10, 20, np.nan, 40]])
    np.testing.assert_array_equal(read.array, digital(path))


def test_a_wrong_checksum_and_a_missing_gain_are_said(tmp_path: Path) -> None:
    path = write_record(
        tmp_path, "r", "r 2 100 1\nr.dat 16 0 16 0 3 4 0 I\nr.dat 16 1 16 0 9 9 0 V1\n",
        dat=np.array([3, 9], "<i2").tobytes(),
    )  # fmt: skip
    assert signal(load(path)).flags == ("uncalibrated", "checksum-mismatch")


def test_microvolts_become_millivolts(tmp_path: Path) -> None:
    path = write_record(
        tmp_path, "r", "r 1 100 2\nr.dat 16 2/uV 16 0 0 0 0 Lead V1\n",
        dat=np.array([2000, -2000], "<i2").tobytes(),
    )  # fmt: skip
    read = signal(load(path))
    assert read.units == ("mV",)
    assert read.channels == ("V1",)
    np.testing.assert_allclose(read.array, [[1, -1]])


SEGMENTS = {
    "a": ("a 1 100 3\na.dat 16 1/mV 16 0 1 6 0 I\n", np.array([1, 2, 3], "<i2")),
    "b": ("b 2 100 2\nb.dat 16 1/mV 16 0 7 15 0 II\nb.dat 16 1/mV 16 0 9 19 0 I\n",
          np.array([7, 9, 8, 10], "<i2")),
}  # fmt: skip


def multi(folder: Path, lines: str) -> Path:
    for name, (header, samples) in SEGMENTS.items():
        write_record(folder, name, header, dat=samples.tobytes())
    layout = "l 2 100 0\n~ 0 1/mV 16 0 0 0 0 I\n~ 0 1/mV 16 0 0 0 0 II\n"
    write_record(folder, "l", layout)
    return write_record(folder, "m", lines)


def test_segments_are_joined_and_gaps_are_missing(tmp_path: Path) -> None:
    path = multi(tmp_path, "m/4 2 100 6\nl 0\na 3\n~ 1\nb 2\n")
    read = signal(load(path))
    assert read.channels == ("I", "II")
    nan = np.nan
    np.testing.assert_array_equal(read.array, [[1, 2, 3, nan, 9, 10], [nan, nan, nan, nan, 7, 8]])
    np.testing.assert_array_equal(read.array, digital(path))


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ("m/2 1 100 9\na 3\nc 6\n", UnreadableError),
        ("m/1 1 100 9\n../a 3\n", UnreadableError),
        ("m/1 1 100 9\na 4\n", UnreadableError),
        ("m/1 1 100 9\nm 9\n", UnreadableError),
        ("m/2 1 100 9\na 3\n", UnreadableError),
        ("m/2 1 100 9\na 3\n~ 99999999999\n", TooLargeError),
        ("m/1 1 100 9\n~ 5\n", UnreadableError),
    ],
)
def test_segments_that_do_not_fit(tmp_path: Path, lines: str, error: type[OslerError]) -> None:
    with pytest.raises(error, match=r"\.hea'"):
        load(multi(tmp_path, lines))


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ("../r.dat 16", UnreadableError, "not in its own folder"),
        ("/etc/passwd 16", UnreadableError, "not in its own folder"),
        ("- 16", UnreadableError, "not in its own folder"),
        ("q.dat 16", UnreadableError, "not there"),
        ("r.dat 508", UnreadableError, "no FLAC"),
        ("r.dat 500", UnsupportedError, "format 500"),
        ("r.dat 16x0", UnreadableError, "a signal line"),
        ("r.dat 16+99", UnreadableError, "incomplete"),
        ("r.dat 16x99999999999", TooLargeError, "max_pixels"),
    ],
)
def test_headers_that_lie(tmp_path: Path, line: str, error: type[OslerError], words: str) -> None:
    (tmp_path / "r.dat").write_bytes(b"\0" * 8)
    path = write_record(tmp_path, "r", f"r 1 100 4\n{line} 200\n")
    with pytest.raises(error, match=words):
        load(path)


def test_cut_samples_are_refused(tmp_path: Path) -> None:
    path = write_record(tmp_path, "r", "r 1 100 4\nr.dat 16 200\n", dat=b"\0" * 7)
    with pytest.raises(UnreadableError, match="incomplete"):
        load(path)


def test_samples_alone_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_bytes(b"\0" * 8)
    with pytest.raises(UnsupportedError, match=r"'r\.hea' is not beside it"):
        load(tmp_path / "r.dat")


def test_other_files_with_an_annotators_name_do_no_harm(tmp_path: Path) -> None:
    path = write_record(
        tmp_path, "r", "r 1 100 1\nr.dat 16 200\n", dat=b"\0\0", atr=b"no annotations"
    )
    assert signal(load(path), "signal").flags == ("annotations-unreadable",)


@pytest.mark.parametrize("name", ["100", "a103l", "cinc2021/E07502"])
def test_a_written_record_has_the_very_samples(data_dir: Path, tmp_path: Path, name: str) -> None:
    source = data_dir / "ecg" / f"{name}.hea"
    case = load(source)
    markers = case.get("annotations.atr", Markers)
    files = write_wfdb(signal(case), tmp_path, "out", markers={"atr": markers} if markers else {})
    again = load(files[0])
    np.testing.assert_array_equal(signal(again).array, signal(case).array)
    assert signal(again).channels == signal(case).channels
    assert signal(again).units == signal(case).units
    assert not signal(again).flags
    before = wfdb.rdrecord(str(source.with_suffix("")), physical=False).d_signal
    after = wfdb.rdrecord(str(tmp_path / "out"), physical=False).d_signal
    np.testing.assert_array_equal(after, before)
    if markers:
        expected = wfdb.rdann(str(source.with_suffix("")), "atr")
        written = wfdb.rdann(str(tmp_path / "out"), "atr")
        np.testing.assert_array_equal(written.sample, expected.sample)
        assert written.symbol == expected.symbol


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.integers(1, 3),
    columns=st.integers(1, 9),
    scale=st.sampled_from([1e-6, 1.0, 1e5]),
    seed=st.integers(0, 99),
)
def test_any_signal_survives_writing(
    tmp_path: Path, rows: int, columns: int, scale: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    array = random.normal(3, scale, (rows, columns)) * scale
    array[random.random(array.shape) < 0.1] = np.nan
    names = tuple(f"x {i}" for i in range(rows))
    path, *_ = write_wfdb(Signal("signal", array, 12.5, names, ("mm[Hg]",) * rows), tmp_path, "s")
    read = signal(load(path), "signal")
    spread = np.nan_to_num(np.nanmax(np.abs(array)) if not np.isnan(array).all() else 0)
    np.testing.assert_allclose(read.array, array, rtol=1e-6, atol=1e-6 * spread)
    assert (read.rate, read.channels, read.units) == (12.5, names, ("mm[Hg]",) * rows)


def test_markers_with_words_and_far_times_survive(tmp_path: Path) -> None:
    one = Signal("ecg", np.zeros((2, 3), np.float32), 100.0, ("I", "II"), ("mV", "mV"))
    made = Markers(
        id="m", name="m", source=Source("person", "annotator"), times=np.array([0.0, 0.5, 3000.0]),
        labels=("N", "V", "seizure"), channels=(0, 1, 0), notes=("", "odd", ""),
    )  # fmt: skip
    path, *_ = write_wfdb(one, tmp_path, "s", markers={"atr": made})
    read = load(path)["annotations.atr"]
    assert isinstance(read, Markers)
    np.testing.assert_allclose(read.times, made.times)
    assert read.labels == ("N", "V", '"')
    assert read.notes == ("", "odd", "seizure")
    assert read.channels == (0, 1, 0)
    assert wfdb.rdann(str(tmp_path / "s"), "atr").sample.tolist() == [0, 50, 300000]


def test_what_wfdb_cannot_hold_is_refused(tmp_path: Path) -> None:
    endless = Signal("ecg", np.array([[np.inf]]), 1.0, ("I",), ("mV",))
    with pytest.raises(OutputError, match="infinite"):
        write_wfdb(endless, tmp_path, "s")
    with pytest.raises(OutputError, match="letters"):
        write_wfdb(endless, tmp_path, "../s")


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    at=st.integers(0, 200), byte=st.integers(0, 255), keep=st.integers(1, 400),
    spoil=st.sampled_from(["hea", "dat", "atr"]),
)  # fmt: skip
def test_damage_ends_in_our_errors(
    tmp_path: Path, at: int, byte: int, keep: int, spoil: str
) -> None:
    files = {
        "hea": b"r 2 360/10(0) 20 10:11:12 1/2/2020\nr.dat 212 200(3)/mV 12 0 0 0 0 I\n"
               b"r.dat 212 200 12 0 0 0 0 V5\n# Age: 5\n",
        "dat": bytes(range(60)),
        "atr": b"\x01\x04\x02\xfc12\x00\xec\x01\x00\x00\x00\x03\x08\x00\x00",
    }  # fmt: skip
    data = bytearray(files[spoil])
    data[at % len(data)] = byte
    for name, content in {**files, spoil: bytes(data[:keep])}.items():
        (tmp_path / f"r.{name}").write_bytes(content)
    try:
        case = load(tmp_path / "r.hea")
    except OslerError:
        return
    assert all(i.array.ndim == 2 for i in case.items.values() if isinstance(i, Signal))


def test_packing_is_the_inverse_of_unpacking() -> None:
    values = np.array([0, 1, -1, 2047, -2048, 5, 77])
    for format in (16, 24, 32, 212):
        assert unpack(pack(values, format), format, 7).tolist() == values.tolist()
