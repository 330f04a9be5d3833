"""EDF and WFDB recordings: the samples stay, and nobody goes along."""

import datetime as dt
import shutil
import warnings
from pathlib import Path

import edfio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leaks import found

from osler.batch import deidentify
from osler.io.deidentification import Key, Options
from osler.io.deidentification.one import Copied, Setting, check, copy

with warnings.catch_warnings():  # it warns of pandas while it is imported
    warnings.simplefilter("ignore")
    import wfdb

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")
KEY = Key(b"k" * 32)
SECRETS = (
    "Quillfeather",
    "Xiomara",
    "MCH-0234567",
    "Fazakerley",
    "PSG-1234",
    "14-FEB-1951",
    "欧阳",
)


def copied(path: Path, tmp_path: Path, options: Options | None = None) -> tuple[Copied, Path]:
    setting = Setting(path.parent, tmp_path / "out", options or Options(), KEY)
    outcome = copy(path, setting)
    assert outcome.status == "copied", outcome.error
    assert check(outcome, setting) == []
    new = tmp_path / "out" / outcome.place
    assert found([new], SECRETS) == []
    return outcome, new


def recording(path: Path, *, bdf: bool = False) -> Path:
    """An EDF+ file as a sleep laboratory writes it."""
    rng = np.random.default_rng(0)
    kind = edfio.BdfSignal if bdf else edfio.EdfSignal
    signals = [
        kind(
            rng.normal(0, 50, 256 * 30),
            sampling_frequency=256,
            label=label,
            transducer_type="AgAgCl of Nurse Fazakerley",
            physical_dimension="uV",
            prefiltering="HP:0.1Hz LP:75Hz",
        )
        for label in ("EEG Fpz-Cz", "ECG II")
    ]
    notes = [
        edfio.EdfAnnotation(0, None, "Lights off"),
        edfio.EdfAnnotation(5.5, 2, "Xiomara Quillfeather moved; called Dr Fazakerley"),
        edfio.EdfAnnotation(9, None, "患者姓名：欧阳小明，打鼾"),
        edfio.EdfAnnotation(29, 1, "born 14-FEB-1951, MCH-0234567"),
    ]
    made = (edfio.Bdf if bdf else edfio.Edf)(
        signals,
        patient=edfio.Patient(
            code="MCH-0234567",
            sex="F",
            birthdate=dt.date(1951, 2, 14),
            name="Xiomara_Quillfeather",
            additional=("ward7",),
        ),
        recording=edfio.Recording(
            startdate=dt.date(2009, 12, 2),
            hospital_administration_code="PSG-1234",
            investigator_technician_code="Fazakerley",
            equipment_code="Telemetry03",
        ),
        starttime=dt.time(22, 30, 5),
        annotations=notes,
    )
    made.write(path)
    return path


@pytest.mark.parametrize("bdf", [False, True])
@pytest.mark.parametrize("dates", ["remove", "shift", "keep"])
def test_edf_keeps_samples_and_loses_the_patient(tmp_path: Path, dates: str, bdf: bool) -> None:
    path = recording(tmp_path / "Quillfeather.edf", bdf=bdf)
    options = Options(dates=dates)  # type: ignore[arg-type]
    outcome, new = copied(path, tmp_path, options)
    read = edfio.read_bdf if bdf else edfio.read_edf
    before, after = read(path), read(new)
    for a, b in zip(before.signals, after.signals, strict=True):
        assert (a.digital == b.digital).all()
        assert (a.data == b.data).all()
        assert (a.label, a.physical_dimension, a.prefiltering) == (
            b.label,
            b.physical_dimension,
            b.prefiltering,
        )
        assert b.transducer_type == "AgAgCl of Nurse [NAME]"
    assert after.patient.code == KEY.name("patient", "MCH-0234567")
    assert new.read_bytes()[8:88].split()[1:] == [b"X", b"X", b"X"]
    texts = [note.text for note in after.annotations]
    assert [n.onset for n in after.annotations] == [n.onset for n in before.annotations]
    assert texts[0] == "Lights off"
    assert texts[1] == "[NAME] moved; called [NAME]"
    assert texts[2] == "患者姓名：[NAME]，打鼾"
    assert outcome.counts["EDF annotations", "cleaned"] == 3
    if dates == "keep":
        assert after.startdate == dt.date(2009, 12, 2)
        assert after.starttime == dt.time(22, 30, 5)
    elif dates == "shift":
        days = (dt.date(2009, 12, 2) - after.startdate).days
        assert 365 <= days <= 3651
    else:
        assert new.read_bytes()[168:184] == b"01.01.8500.00.00"
        assert b"2009" not in new.read_bytes()[:256]


def test_plain_edf_with_anything_in_its_fields(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.edf")
    data = bytearray(path.read_bytes())
    data[8:88] = "Müller-Quillfeather Xiomara 14.02.1951 MCH-0234567".encode("latin-1").ljust(80)
    data[88:168] = b"St. Fazakerley Hospital, Dr. Fazakerley".ljust(80)
    data[192:236] = b"Fazakerley".ljust(44)
    path.write_bytes(data)
    _, new = copied(path, tmp_path)
    assert found([new], ("Müller",)) == []
    assert (edfio.read_edf(new).signals[0].digital == edfio.read_edf(path).signals[0].digital).all()


@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_a_cut_edf_is_not_copied(tmp_path: Path, part: float) -> None:
    path = recording(tmp_path / "a.edf")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    outcome = copy(path, Setting(tmp_path, tmp_path / "out", Options(), KEY))
    assert outcome.status in ("failed", "refused")
    path.write_bytes(data + b"Xiomara Quillfeather")
    assert copy(path, Setting(tmp_path, tmp_path / "out", Options(), KEY)).status == "failed"


def record(folder: Path) -> Path:
    """A record named after its patient, with annotations and all that a header may tell."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    wfdb.wrsamp(
        "MCH-0234567",
        fs=250,
        units=["mV", "mV"],
        sig_name=["II", "V5 Quillfeather"],
        p_signal=rng.normal(0, 1, (1000, 2)),
        fmt=["212", "212"],
        base_time=dt.time(22, 30, 5),
        base_date=dt.date(2009, 12, 2),
        comments=[
            "Age: 93  Sex: F",
            "Name: Xiomara Quillfeather",
            "Dx: 426783006,164889003",
            "referred by Dr Fazakerley, tel 020 7946 0123",
            "DOB: 14-FEB-1951",
        ],
        write_dir=str(folder),
    )
    wfdb.wrann(
        "MCH-0234567",
        "atr",
        np.array([10, 400, 800]),
        symbol=["N", "+", '"'],
        aux_note=["", "(AFIB", "called Dr Fazakerley about Xiomara Quillfeather"],
        write_dir=str(folder),
    )
    return folder


@pytest.mark.parametrize("dates", ["remove", "shift"])
def test_wfdb_keeps_samples_and_loses_the_patient(tmp_path: Path, dates: str) -> None:
    folder = record(tmp_path / "in")
    out = tmp_path / "out"
    run = deidentify.run(folder, out, options=Options(dates=dates), key=KEY)  # type: ignore[arg-type]
    assert run.clean, (run.found, [o.error for o in run.outcomes])
    assert found(out.rglob("*"), (*SECRETS, "7946", "2009")) == []
    (header,) = out.rglob("*.hea")
    stem = str(header.with_suffix(""))
    before, after = wfdb.rdrecord(str(folder / "MCH-0234567")), wfdb.rdrecord(stem)
    assert (before.p_signal == after.p_signal).all()
    assert after.sig_name == ["II", "V5 [NAME]"]
    assert after.comments == [
        "Age: 90  Sex: F",
        "Name: [NAME]",
        "Dx: 426783006,164889003",
        "referred by Dr [NAME], tel [PHONE]",
        "DOB: [DATE]",
    ]
    note = wfdb.rdann(stem, "atr")
    assert list(note.sample) == [10, 400, 800]
    assert [n.rstrip("\0") for n in note.aux_note] == ["", "(AFIB", "called [NAME] about [NAME]"]
    if dates == "remove":
        assert after.base_date is None
    else:
        assert 365 <= (dt.date(2009, 12, 2) - after.base_date).days <= 3651


def test_real_records_stay_as_they_are(data_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("100", "310derive", "310derive_2", "a103l", "03700181"):
        for path in (data_dir / "ecg").glob(f"{name}.*"):
            shutil.copy(path, source)
    out = tmp_path / "out"
    run = deidentify.run(source, out, options=Options(pixels="rules"), key=KEY)
    assert {o.status for o in run.outcomes} == {"copied"}, [o.error for o in run.outcomes]
    assert run.found == {}
    places = {o.source.name: out / o.place for o in run.outcomes}
    for name, place in places.items():
        if place.suffix in (".dat", ".mat"):
            assert place.read_bytes() == (source / name).read_bytes()
    for name in ("100", "a103l", "03700181"):
        new = str(places[f"{name}.hea"].with_suffix(""))
        old = str(source / name)
        assert np.array_equal(
            wfdb.rdrecord(new, sampto=500).p_signal,
            wfdb.rdrecord(old, sampto=500).p_signal,
            equal_nan=True,
        )
    a, b = wfdb.rdann(str(source / "100"), "atr"), wfdb.rdann(str(places["100.atr"])[:-4], "atr")
    assert (a.sample == b.sample).all()
    assert a.symbol == b.symbol
    assert a.aux_note == b.aux_note


def test_bytes_around_the_samples_go(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    samples = np.arange(20, dtype="<i2").tobytes()
    (folder / "r1.dat").write_bytes(b"Quillfeather".ljust(32) + samples + b"Xiomara Quillfeather")
    (folder / "r1.hea").write_text("r1 1 100 20\nr1.dat 16+32 200 16 0 0 0 0 II\n")
    _, new = copied(folder / "r1.dat", tmp_path)
    assert new.read_bytes() == b"\0" * 32 + samples


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kind=st.sampled_from(["edf", "hea", "atr"]), data=st.data())
def test_damaged_recordings_are_named_or_clean(
    made: Path, tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    (path,) = made.glob(f"*.{kind}")
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=20))
    path.write_bytes(whole[:at] + junk + whole[at + len(junk) :])
    try:
        outcome = copy(path, Setting(made, tmp_path / "out", Options(), KEY))
    finally:
        path.write_bytes(whole)
    assert outcome.status in ("copied", "failed", "refused")
    assert not any(secret in outcome.error for secret in ("Quillfeather", "Xiomara"))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A record and a recording in a folder."""
    folder = record(tmp_path / "in")
    recording(folder / "a.edf")
    return folder


def test_compressed_samples_and_strangers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_text("r 1 100 20\nr.dat 516 200 16 0 0 0 0 II\n")
    for name in ("r.dat", "other.dat"):
        (tmp_path / name).write_bytes(b"\1\2\3\0")
        outcome = copy(tmp_path / name, Setting(tmp_path, tmp_path / "out", Options(), KEY))
        assert outcome.status == "refused"
