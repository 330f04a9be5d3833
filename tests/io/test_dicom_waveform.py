"""DICOM waveforms, against pydicom's own conversion."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from osler.errors import OslerError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import load
from osler.record import Case, Markers, Measurement, Passage, Signal

REAL = Path(str(get_testdata_file("waveform_ecg.dcm", download=False)))


def signal(case: Case, name: str = "ecg") -> Signal:
    item = case[name]
    assert isinstance(item, Signal)
    return item


def saved(folder: Path, dataset: Dataset) -> Path:
    dataset.save_as(folder / "ecg.dcm", enforce_file_format=True)
    return folder / "ecg.dcm"


def changed(folder: Path, **values: object) -> Path:
    dataset = pydicom.dcmread(REAL)
    for keyword, value in values.items():
        setattr(dataset.WaveformSequence[0], keyword, value)
    return saved(folder, dataset)


def test_a_real_twelve_lead_ecg() -> None:
    case = load(REAL)
    dataset = pydicom.dcmread(REAL)
    for i, name in enumerate(["ecg", "ecg-2"]):
        read = signal(case, name)
        expected = dataset.waveform_array(i).T / 1000  # microvolts in the file
        np.testing.assert_allclose(read.array, expected, rtol=1e-6)
        assert read.units == ("mV",) * 12
        assert read.rate == 1000
        assert read.channels == (
            "I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"
        )  # fmt: skip
    assert signal(case).header["label"] == "RHYTHM"
    assert case.patient_id == dataset.PatientID


def test_what_the_device_says() -> None:
    case = load(REAL)
    assert next(case.of(Passage)).text == "RITMO SINUSALE"
    interval = case["qt-interval"]
    assert isinstance(interval, Measurement)
    assert (interval.value, interval.unit) == (368, "ms")
    (markers, *_) = case.of(Markers)
    assert "P Onset" in markers.labels
    assert markers.times[markers.labels.index("P Onset")] == pytest.approx(0.298)
    assert markers.item in case.items


def test_scale_baseline_and_padding(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(REAL)
    group = dataset.WaveformSequence[0]
    group.NumberOfWaveformSamples = 2
    group.NumberOfWaveformChannels = 1
    group.ChannelDefinitionSequence = group.ChannelDefinitionSequence[:1]
    channel = group.ChannelDefinitionSequence[0]
    channel.ChannelSensitivity, channel.ChannelBaseline = "2", "100"
    channel.ChannelSensitivityCorrectionFactor = "1.5"
    group.WaveformData = np.array([10, -7], "<i2").tobytes()
    group.add_new("WaveformPaddingValue", "OW", np.array([-7], "<i2").tobytes())
    read = signal(load(saved(tmp_path, dataset)))
    np.testing.assert_allclose(read.array, [[0.13, np.nan]], rtol=1e-6)


def test_without_a_scale_there_is_no_unit(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(REAL)
    del dataset.WaveformSequence[0].ChannelDefinitionSequence[3].ChannelSensitivity
    read = signal(load(saved(tmp_path, dataset)))
    assert read.flags == ("uncalibrated",)
    assert read.units[3] == "1"


def test_big_endian(tmp_path: Path) -> None:
    expected = signal(load(REAL)).array
    dataset = pydicom.dcmread(REAL)
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    for group in dataset.WaveformSequence:
        group.WaveformData = np.frombuffer(group.WaveformData, "<i2").byteswap().tobytes()
    dataset.walk(lambda _dataset, _element: None)  # convert every raw element first
    pydicom.dcmwrite(
        tmp_path / "big.dcm", dataset, implicit_vr=False, little_endian=False, force_encoding=True
    )
    np.testing.assert_array_equal(signal(load(tmp_path / "big.dcm")).array, expected)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"NumberOfWaveformSamples": 10**9}, TooLargeError, "max_pixels"),
        ({"NumberOfWaveformSamples": 10_001}, UnreadableError, "incomplete"),
        ({"NumberOfWaveformSamples": 0}, UnreadableError, "without samples"),
        ({"NumberOfWaveformChannels": 11}, UnreadableError, "describes 12"),
        ({"SamplingFrequency": "0"}, UnreadableError, "SamplingFrequency"),
        ({"WaveformSampleInterpretation": "MB", "WaveformBitsAllocated": 8}, UnsupportedError, "8"),
    ],
)
def test_headers_that_lie(
    tmp_path: Path, values: dict[str, object], error: type[OslerError], words: str
) -> None:
    with pytest.raises(error, match=words):
        load(changed(tmp_path, **values))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(keep=st.integers(200, 290_000), at=st.integers(132, 8000), byte=st.integers(0, 255))
def test_any_byte_may_be_wrong(tmp_path: Path, keep: int, at: int, byte: int) -> None:
    data = bytearray(REAL.read_bytes()[:keep])
    data[at % len(data)] = byte
    (tmp_path / "x.dcm").write_bytes(data)
    try:
        case = load(tmp_path / "x.dcm")
    except OslerError:
        return
    assert case.items
