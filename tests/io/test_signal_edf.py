"""EDF and EDF+ recordings, written by edfio and by hand."""

import datetime
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.errors import OslerError, TooLargeError, UnreadableError
from osler.io import load
from osler.record import Markers, Signal, Table

edfio = pytest.importorskip("edfio")


def recording(**options: object) -> bytes:
    random = np.random.default_rng(1)
    signals = [
        edfio.EdfSignal(random.normal(0, 500, 200), 100, label="ECG II", physical_dimension="uV",
                        physical_range=(-3000, 3000)),
        edfio.EdfSignal(random.normal(0, 1, 200), 100, label="EEG Fpz-Cz", physical_dimension="mV",
                        physical_range=(-5, 5)),
        edfio.EdfSignal(np.linspace(36, 38, 20), 10, label="Temp rectal",
                        physical_dimension="degC", physical_range=(30, 40)),
    ]  # fmt: skip
    out = io.BytesIO()
    edfio.Edf(signals, **options).write(out)
    return out.getvalue()


PLUS = recording(
    patient=edfio.Patient(
        code="Secret", sex="F", birthdate=datetime.date(1980, 6, 2), name="Secret"
    ),
    recording=edfio.Recording(startdate=datetime.date(2020, 6, 1)),
    starttime=datetime.time(22, 30, 1),
    annotations=[edfio.EdfAnnotation(0.5, None, "Lights off"), edfio.EdfAnnotation(1.25, 0.5, "W")],
)


def field(at: int, value: bytes, data: bytes = PLUS) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def put(folder: Path, data: bytes) -> Path:
    path = folder / "night.edf"
    path.write_bytes(data)
    return path


def test_signals_of_one_rate_are_one_item(tmp_path: Path) -> None:
    path = put(tmp_path, PLUS)
    case = load(path)
    expected = edfio.read_edf(path)
    fast, slow = case["ecg"], case["signal"]
    assert isinstance(fast, Signal)
    assert isinstance(slow, Signal)
    assert (fast.rate, fast.channels, fast.units) == (100, ("II", "EEG Fpz-Cz"), ("mV", "mV"))
    assert (slow.rate, slow.channels, slow.units) == (10, ("Temp rectal",), ("Cel",))
    np.testing.assert_allclose(fast.array[0], expected.signals[0].data / 1000, rtol=1e-6)
    np.testing.assert_allclose(fast.array[1], expected.signals[1].data, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(slow.array[0], expected.signals[2].data, rtol=1e-6)
    assert fast.acquired == datetime.datetime(2020, 6, 1, 22, 30, 1)


def test_annotations_and_the_patient(tmp_path: Path) -> None:
    case = load(put(tmp_path, PLUS))
    markers, table = case["annotations"], case["variables"]
    assert isinstance(markers, Markers)
    assert markers.times.tolist() == [0.5, 1.25]
    assert markers.labels == ("Lights off", "W")
    assert markers.durations == (0, 0.5)
    assert isinstance(table, Table)
    assert table.values == {"sex": "female", "age": 39}  # the day before the birthday
    assert "Secret" not in str(table.values)


def test_gaps_of_a_discontinuous_recording_are_missing(tmp_path: Path) -> None:
    signal = edfio.EdfSignal(np.arange(30.0), 10, label="x", physical_range=(0, 100))
    out = io.BytesIO()
    edfio.Edf([signal], annotations=[edfio.EdfAnnotation(0, None, "a")],
              data_record_duration=1).write(out)  # fmt: skip
    data = out.getvalue()
    assert data.count(b"+2\x14\x14") == 1
    late = data.replace(b"+2\x14\x14", b"+4\x14\x14")
    case = load(put(tmp_path, field(192, b"EDF+D", late)))
    read = case["signal"]
    assert isinstance(read, Signal)
    assert read.flags == ("gaps",)
    assert read.array.shape == (1, 50)
    assert np.isnan(read.array[0, 20:40]).all()
    np.testing.assert_allclose(read.array[0, 40:], np.arange(20, 30), atol=0.01)
    early = data.replace(b"+2\x14\x14", b"+1\x14\x14")
    with pytest.raises(UnreadableError, match="overlap"):
        load(put(tmp_path, field(192, b"EDF+D", early)))
    with pytest.raises(TooLargeError, match="gaps"):
        load(put(tmp_path, field(192, b"EDF+D", late)), max_pixels=49)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (PLUS[:-1], UnreadableError),
        (PLUS[:-800], UnreadableError),
        (PLUS[:700], UnreadableError),
        (PLUS[:256], UnreadableError),
        (PLUS + b"\0\0", UnreadableError),
        (field(236, b"99999999"), UnreadableError),
        (field(252, b"9999"), UnreadableError),
        (field(252, b"0   "), UnreadableError),
        (field(256 + 216 * 4, b"-1      "), UnreadableError),
        (field(256 + 216 * 4, b"12x     "), UnreadableError),
        (field(244, b"nan     "), UnreadableError),
    ],
)
def test_damage_is_refused(tmp_path: Path, data: bytes, error: type[OslerError]) -> None:
    with pytest.raises(error, match=r"night\.edf'") as caught:
        load(put(tmp_path, data))
    assert "Secret" not in str(caught.value)


def test_large_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError, match="max_pixels"):
        load(put(tmp_path, PLUS), max_pixels=100)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(8, 1280), byte=st.integers(0, 255), cut=st.integers(0, 3))
def test_any_byte_may_be_wrong(tmp_path: Path, at: int, byte: int, cut: int) -> None:
    data = field(at, bytes([byte]))
    try:
        case = load(put(tmp_path, data[: len(data) - 300 * cut]))
    except OslerError:
        return
    assert all(i.array.ndim == 2 for i in case.items.values() if isinstance(i, Signal))
