"""WFDB records whose samples are compressed as FLAC, against the package wfdb."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from osler.errors import (
    MissingExtraError,
    OslerError,
    TooLargeError,
    UnreadableError,
    UnsupportedError,
)
from osler.io import load
from osler.io.signal_wfdb_out import write_wfdb
from osler.record import Signal

wfdb = pytest.importorskip("wfdb")
pytest.importorskip("soundfile")

# the other reader calls pandas in a way that pandas will give up
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def flac(folder: Path, format: str, count: int = 300, channels: int = 3) -> NDArray[np.int64]:
    """A record written by the wfdb package, whose encoder is another library than our decoder."""
    half = 1 << (int(format) - 500 - 1)
    chance = np.random.default_rng(3)
    samples = chance.integers(-half + 1, half, (count, channels))
    samples[5, 1] = -half  # no sample
    wfdb.wrsamp(
        "r", fs=250, units=["mV"] * channels, sig_name=["I", "II", "V1"][:channels],
        d_signal=samples, fmt=[format] * channels, adc_gain=[200.0] * channels,
        baseline=[7] * channels, write_dir=str(folder),
    )  # fmt: skip
    return samples


@pytest.mark.parametrize("format", ["508", "516", "524"])
def test_compressed_samples_are_those_of_the_wfdb_package(tmp_path: Path, format: str) -> None:
    samples = flac(tmp_path, format)
    signal = load(tmp_path / "r.hea")["ecg"]
    assert isinstance(signal, Signal)
    expected = wfdb.rdrecord(str(tmp_path / "r")).p_signal.T
    np.testing.assert_allclose(signal.array, expected, rtol=1e-6, atol=1e-6)
    assert np.isnan(signal.array[1, 5])
    assert np.isnan(signal.array).sum() == 1
    np.testing.assert_allclose(signal.array[0], (samples[:, 0] - 7) / 200, rtol=1e-6, atol=1e-6)
    assert signal.flags == ()


def test_several_compressed_samples_a_frame(tmp_path: Path) -> None:
    samples = flac(tmp_path, "516", channels=2)
    header = (tmp_path / "r.hea").read_text()
    header = header.replace(" 516 ", " 516x3 ").replace("r 2 250 300", "r 2 250 100")
    header = re.sub(r" 16 0 -?\d+ -?\d+ 0 ", " 16 0 0 0 0 ", header)
    (tmp_path / "r.hea").write_text(re.sub(r"( 16 0) .*", r"\1", header))
    (signal,) = load(tmp_path / "r.hea").items.values()
    assert isinstance(signal, Signal)
    assert signal.rate == 750
    np.testing.assert_allclose(signal.array[0], (samples[:, 0] - 7) / 200, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda d: d[:200], UnreadableError, "damaged"),
        (lambda d: d[:-40] + b"\0" * 40, UnreadableError, "damaged"),
        (lambda d: b"RIFF" + d[4:], UnreadableError, "no FLAC"),
        (lambda d: d[:30], UnreadableError, "no FLAC"),
        (lambda d: d[:21] + b"\xff\xff\xff\xff\xff" + d[26:], TooLargeError, "max_pixels"),
        (lambda d: d[:21] + bytes([d[21] & 0xF0]) + b"\0" * 4 + d[26:], UnsupportedError, "length"),
        (lambda d: d[:20] + bytes([d[20] ^ 2]) + d[21:], UnreadableError, "channels"),
        (lambda d: d[:26] + b"\1" * 16 + d[42:], UnreadableError, "damaged"),
    ],
)
def test_compressed_samples_that_lie(
    tmp_path: Path, change: Callable[[bytes], bytes], error: type[OslerError], words: str
) -> None:
    flac(tmp_path, "516")
    dat = tmp_path / "r.dat"
    dat.write_bytes(change(dat.read_bytes()))
    with pytest.raises(error, match=words):
        load(tmp_path / "r.hea")


@settings(max_examples=60)
@given(at=st.integers(0, 400), other=st.binary(min_size=1, max_size=6), cut=st.integers(0, 300))
def test_any_bytes_in_compressed_samples(
    tmp_path_factory: pytest.TempPathFactory, at: int, other: bytes, cut: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "flac"
    folder.mkdir(exist_ok=True)
    flac(folder, "516")
    data = (folder / "r.dat").read_bytes()
    data = data[:at] + other + data[at + len(other) :]
    (folder / "r.dat").write_bytes(data[: len(data) - cut])
    with suppress(OslerError):
        load(folder / "r.hea")


def test_they_are_written_again_sample_by_sample(tmp_path: Path) -> None:
    samples = flac(tmp_path, "524")
    signal = load(tmp_path / "r.hea")["ecg"]
    assert isinstance(signal, Signal)
    (tmp_path / "out").mkdir()
    write_wfdb(signal, tmp_path / "out", name="again")
    again = wfdb.rdrecord(str(tmp_path / "out" / "again"), physical=False).d_signal
    np.testing.assert_array_equal(again, samples)


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flac(tmp_path, "516")
    monkeypatch.setattr("osler.io.signal_wfdb_flac.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"osler\[signals\]"):
        load(tmp_path / "r.hea")
