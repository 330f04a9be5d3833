"""Whole runs: interrupted, resumed, parallel, with a mapping, and with a leak planted in a copy."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_pictures import dataset, picture, save

from osler.batch import deidentify
from osler.errors import InputError, OutputError
from osler.io.deidentification import Key, Options, mapping, one

RULES = Options(pixels="rules")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve files of two patients, in folders named after them, and one that is damaged."""
    for i in range(12):
        place = tmp_path / "in" / ("SMITH JOHN" if i % 2 else "HOSP-778899")
        place.mkdir(parents=True, exist_ok=True)
        ds = dataset([picture(text="", seed=i)], "native")
        ds.SOPInstanceUID = f"1.2.3.44.5.{i + 1000}"
        if i % 2:
            ds.PatientName, ds.PatientID = "QUILLFEATHER^XIOMARA", "HOSP-112233"
        save(ds, place / f"QUILLFEATHER_{i}.dcm")
    broken = tmp_path / "in" / "SMITH JOHN" / "broken.dcm"
    broken.write_bytes((place / "QUILLFEATHER_11.dcm").read_bytes()[:900])
    return tmp_path / "in"


def everything(out: Path) -> bytes:
    files = [p for p in out.rglob("*") if p.is_file()]
    return b"\n".join(str(p.relative_to(out)).encode() + p.read_bytes() for p in files)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bad_file_is_named_and_not_copied(folder: Path, tmp_path: Path, jobs: int) -> None:
    out = tmp_path / "out"
    told: list[one.Copied] = []
    run = deidentify.run(folder, out, options=RULES, jobs=jobs, told=told.append)
    assert len(list(out.rglob("*.dcm"))) == 12
    assert not run.clean
    (bad,) = [o for o in told if o.status == "failed"]
    assert "broken.dcm" in bad.error
    data = everything(out)
    for secret in (b"QUILLFEATHER", b"SMITH", b"HOSP-", b"broken", b"1.2.3.44", b"19500203"):
        assert secret not in data
    assert len({p.parent.parent.parent for p in out.rglob("*.dcm")}) == 2
    report = json.loads((out / "deidentification" / "report.json").read_text("utf-8"))
    assert report["files"] == {"copied": 12, "failed": 1}
    assert report["not_copied"][0]["why"].startswith("the file ends early")


@pytest.mark.parametrize("deep", [30, 300])
def test_sequences_in_sequences_without_end(folder: Path, tmp_path: Path, deep: int) -> None:
    """Of lengths that are stated, so that the parser itself does not descend into them."""
    nested = b""
    for _ in range(deep):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(nested)) + nested
        nested = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, len(item)) + item
    whole = (folder / "SMITH JOHN" / "QUILLFEATHER_11.dcm").read_bytes()
    pixels = whole.index(struct.pack("<HH", 0x7FE0, 0x0010))
    source = tmp_path / "deep"
    source.mkdir()
    (source / "a.dcm").write_bytes(whole[:pixels] + nested + whole[pixels:])
    told: list[one.Copied] = []
    run = deidentify.run(source, tmp_path / "out", options=RULES, told=told.append)
    assert run.clean == (deep == 30)
    if deep == 300:
        assert "more than 32 deep" in told[0].error


def test_command_says_three_where_something_is_not_copied(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "osler", "deidentify", str(folder), str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--pixels", "rules"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "broken.dcm" in done.stderr
    assert "12 of 13 files copied" in done.stderr


def test_an_interrupted_run_goes_on_with_its_key(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    calls = 0

    def stop_after_five(_: one.Copied) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    first = deidentify.run(folder, out, options=RULES, told=stop_after_five)
    assert first.signal == signal.SIGTERM
    assert first.left == 13 - 5
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.dcm")}
    with pytest.raises(InputError, match="other options"):
        deidentify.run(folder, out, options=Options(pixels="rules", dates="keep"))
    with pytest.raises(InputError, match="another key"):
        deidentify.run(folder, out, options=RULES, key=Key())
    second = deidentify.run(folder, out, options=RULES)
    assert second.skipped == len(before)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    copies = list(out.rglob("*.dcm"))
    assert len(copies) == 12
    assert len({pydicom.dcmread(p).StudyInstanceUID for p in copies}) == 1
    assert not (out / deidentify.STATE).exists()
    with pytest.raises(OutputError, match="not empty"):
        deidentify.run(folder, out, options=RULES)


def test_a_killed_run_leaves_nothing_half_written(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "osler", "deidentify", str(folder), str(out)]
    process = subprocess.Popen([*command, "--pixels", "rules", "-q"], stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.rglob("*.dcm"))) < 3:
        time.sleep(0.01)
    process.kill()
    process.wait()
    for path in out.rglob("*.dcm"):
        assert pydicom.dcmread(path).PatientIdentityRemoved == "YES"
    if (out / deidentify.STATE).exists():
        assert len(deidentify.run(folder, out, options=RULES).outcomes) == 13
    assert len(list(out.rglob("*.dcm"))) == 12
    assert not list(out.rglob("*.part"))


def test_the_second_pass_finds_what_was_planted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    real = deidentify._second_pass

    def planted(copies: list[one.Copied], setting: one.Setting, jobs: int) -> object:
        name, tag, byte = (setting.out / c.place for c in copies[:3])
        ds = pydicom.dcmread(tag)
        ds.add_new(0x00091010, "LO", "x")
        ds.save_as(tag)
        ds = pydicom.dcmread(name)
        ds.ImageComments = "of smith, john"
        ds.save_as(name)
        byte.write_bytes(byte.read_bytes() + b"HOSP-778899" + b"QUILLFEATHER")
        (setting.out / "stranger.txt").write_text("x")
        return real(copies, setting, jobs)

    monkeypatch.setattr(deidentify, "_second_pass", planted)
    run = deidentify.run(folder, out, options=RULES)
    assert not run.clean
    assert len(run.found) == 4
    assert len(list(out.rglob("*.dcm"))) == 9
    said = " ".join(kind for kinds in run.found.values() for kind in kinds)
    assert "private attribute" in said
    assert "in its bytes" in said
    assert "Image Comments" in said
    report = json.loads((out / "deidentification" / "report.json").read_text("utf-8"))
    assert report["second_pass"]["clean"] is False


def test_the_mapping_is_encrypted_and_apart(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, path = tmp_path / "out", tmp_path / "who.map"
    with pytest.raises(InputError, match="OSLER_PASSPHRASE"):
        deidentify.run(folder, out, options=RULES, mapping=path)
    monkeypatch.setenv("OSLER_PASSPHRASE", "correct horse battery")
    with pytest.raises(OutputError, match="outside"):
        deidentify.run(folder, out, options=RULES, mapping=out / "who.map")
    deidentify.run(folder, out, options=RULES, mapping=path)
    assert b"SMITH" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    told = mapping.read(path, "correct horse battery")
    assert {p["id"] for p in told["patients"].values()} == {"HOSP-778899", "HOSP-112233"}
    assert told["files"]["HOSP-778899/QUILLFEATHER_0.dcm"] in {
        p.relative_to(out).as_posix() for p in out.rglob("*.dcm")
    }
    new = {str(pydicom.dcmread(p).StudyInstanceUID) for p in out.rglob("*.dcm")}
    assert new == {told["uids"]["1.2.3.44"]}
    with pytest.raises(InputError, match="passphrase"):
        mapping.read(path, "another passphrase")


def test_the_mapping_knows_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edfio = pytest.importorskip("edfio")
    (tmp_path / "in").mkdir()
    signal = edfio.EdfSignal(np.zeros(256), 256, physical_range=(-1, 1))
    patient = edfio.Patient(code="HOSP-445566", name="Quillfeather")
    edfio.Edf([signal], patient=patient).write(tmp_path / "in" / "a.edf")
    monkeypatch.setenv("OSLER_PASSPHRASE", "correct horse battery")
    deidentify.run(tmp_path / "in", tmp_path / "out", options=RULES, mapping=tmp_path / "who.map")
    (copy,) = (tmp_path / "out").rglob("*.edf")
    told = mapping.read(tmp_path / "who.map", "correct horse battery")
    assert told["patients"] == {edfio.read_edf(copy).patient.code: {"id": "HOSP-445566"}}


def test_a_key_file_is_read_and_never_shown(tmp_path: Path) -> None:
    key = Key()
    key.save(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert Key.load(tmp_path / "key").digest("a", "b") == key.digest("a", "b")
    (tmp_path / "short").write_text("abcd")
    with pytest.raises(InputError, match="32"):
        Key.load(tmp_path / "short")
    assert (tmp_path / "key").read_text().strip() not in repr((key, Options()))


def test_copies_do_not_go_into_the_source(folder: Path) -> None:
    with pytest.raises(OutputError, match="lies in"):
        deidentify.run(folder, folder / "out", options=RULES)
