"""Text in pixels: found, blacked out in every frame, and the syntax kept."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_pictures import NAMES, dataset, encoded, picture, save
from pydicom.encaps import generate_frames

from osler.io.deidentification import Key, Options, text_boxes
from osler.io.deidentification.one import Copied, Setting, check, copy

pytest.importorskip("rapidocr")


def copied(path: Path, tmp_path: Path, **options: object) -> tuple[Copied, pydicom.FileDataset]:
    out = tmp_path / "out"
    out.mkdir()
    setting = Setting(path.parent, out, Options(**options), Key(b"k" * 32))  # type: ignore[arg-type]
    outcome = copy(path, setting)
    assert outcome.status == "copied", outcome.error
    assert check(outcome, setting) == []
    return outcome, pydicom.dcmread(out / outcome.place)


def pixels(ds: pydicom.FileDataset, path: Path) -> "np.ndarray":
    """Stored values, by another decoder than the one under test where there is one."""
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax in (NAMES["jpeg-12"], NAMES["jpeg-lossless"]):
        if shutil.which("dcmdjpeg") is None:
            pytest.skip("dcmdjpeg is not installed (Debian package dcmtk)")
        plain = path.with_suffix(".plain")
        subprocess.run(["dcmdjpeg", path, plain], check=True)
        return pydicom.dcmread(plain).pixel_array
    if syntax == NAMES["htj2k"]:  # no other decoder is installed
        count = int(ds.get("NumberOfFrames") or 1)
        frames = generate_frames(ds.PixelData, number_of_frames=count)
        return np.squeeze([imagecodecs.htj2k_decode(frame) for frame in frames])
    return ds.pixel_array


BITS = {"jpeg-12": 12, "jpeg-lossless": 12, "jpeg-ls": 16, "j2k": 12, "big-endian": 12}


@pytest.mark.parametrize("name", NAMES)
def test_text_is_blacked_out_and_the_syntax_kept(name: str, tmp_path: Path) -> None:
    bits = BITS.get(name, 8)
    frames = [picture(bits=bits, text="" if i == 1 else "SMITH^JOHN 1950-02-03") for i in range(2)]
    path = save(dataset(frames, name, bits=bits), tmp_path / "a.dcm")
    before = pixels(pydicom.dcmread(path), path)
    outcome, new = copied(path, tmp_path)
    assert new.file_meta.TransferSyntaxUID == NAMES[name]
    after = pixels(new, tmp_path / "out" / outcome.place)
    assert after.shape == before.shape
    assert after.dtype == before.dtype
    assert new.BurnedInAnnotation == "NO"
    text = (slice(None), slice(9, 18), slice(8, 120))  # in the frame without text too
    assert np.ptp(after[text].astype(int)) <= (30 << bits - 8 if name.startswith("jpeg") else 0)
    rest = (slice(None), slice(60, None))
    lossy = name in ("jpeg", "jpeg-12")
    difference = np.abs(after[rest].astype(int) - before[rest].astype(int)).max()
    assert difference <= (8 << bits - 8 if lossy else 0)
    assert any("with losses" in note for note in outcome.notes) == lossy


@pytest.mark.parametrize("name", ["native", "rle", "jpeg", "j2k", "htj2k"])
def test_colour_keeps_its_colours(name: str, tmp_path: Path) -> None:
    frame = picture(colour=True).copy()
    frame[100:150, 50:100] = (200, 40, 60)
    path = save(dataset([frame], name), tmp_path / "a.dcm")
    outcome, new = copied(path, tmp_path)
    after = pixels(new, tmp_path / "out" / outcome.place)
    assert np.abs(after[120, 70].astype(int) - (200, 40, 60)).max() <= 6
    assert after[10:17, 10:120].max() <= 16


def test_text_in_one_frame_of_a_film(tmp_path: Path) -> None:
    frames = [picture(text="SMITH^JOHN" if i == 7 else "", seed=0) for i in range(20)]
    path = save(dataset(frames, "rle"), tmp_path / "a.dcm")
    outcome, new = copied(path, tmp_path)
    assert outcome.counts["burnt-in text", "blacked out"] >= 1
    assert np.ptp(new.pixel_array[:, 9:18, 10:80]) == 0


def test_without_text_the_bytes_stay(tmp_path: Path) -> None:
    path = save(dataset([picture(text="")], "jpeg"), tmp_path / "a.dcm")
    outcome, new = copied(path, tmp_path)
    assert new.PixelData == pydicom.dcmread(path).PixelData
    assert ("burnt-in text", "blacked out") not in outcome.counts
    assert next(generate_frames(new.PixelData, number_of_frames=1)).rstrip(b"\0") == encoded(
        picture(text=""), "jpeg", 8
    ).rstrip(b"\0")


def test_a_picture_without_text_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    once = text_boxes._once
    monkeypatch.setattr(text_boxes, "_TEXTLESS", set())
    monkeypatch.setattr(
        text_boxes, "_once", lambda *given, **more: looks.append(1) or once(*given, **more)
    )
    plain, written = picture(text=""), picture()
    for _ in range(2):  # as the second pass comes to it, from the copy
        assert text_boxes.find(plain.copy(), markers=True) == []
        assert len(looks) == 1
    assert text_boxes.find(plain, markers=False) == []
    assert len(looks) == 2  # that was another question
    for _ in range(2):
        assert text_boxes.find(written, markers=True)  # text in the same picture is always found


def test_another_process_need_not_look_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    once = text_boxes._once
    monkeypatch.setattr(text_boxes, "_TEXTLESS", set())
    monkeypatch.setattr(
        text_boxes, "_once", lambda *given, **more: looks.append(1) or once(*given, **more)
    )
    path = save(dataset([picture(text="")], "native"), tmp_path / "a.dcm")
    outcome, _ = copied(path, tmp_path)
    assert outcome.textless
    setting = Setting(tmp_path, tmp_path / "out", Options(), Key(b"k" * 32))
    for known in (True, False):
        monkeypatch.setattr(text_boxes, "_TEXTLESS", set())  # as in a process that has just begun
        looks.clear()
        assert check(outcome if known else replace(outcome, textless=()), setting) == []
        assert bool(looks) is not known


def test_around_the_regions_of_ultrasound_nothing_stays(tmp_path: Path) -> None:
    ds = dataset([picture(text="")], "native")
    ds.Modality = "US"
    region = pydicom.Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 20, 40
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 199, 149
    ds.SequenceOfUltrasoundRegions = [region]
    path = save(ds, tmp_path / "a.dcm")
    before = ds.pixel_array
    _, new = copied(path, tmp_path, pixels="rules")
    after = new.pixel_array
    assert (after[40:150, 20:200] == before[40:150, 20:200]).all()
    after[40:150, 20:200] = before.min()
    assert np.ptp(after) == 0


def test_side_markers_stay_unless_asked(tmp_path: Path) -> None:
    frame = picture(text="LEFT")
    path = save(dataset([frame], "native"), tmp_path / "a.dcm")
    _, new = copied(path, tmp_path)
    assert (new.pixel_array == frame).all()


def test_overlays_in_unused_bits_go(tmp_path: Path) -> None:
    frame = picture(bits=12, text="")
    hidden = frame | (picture(text="SMITH", bits=8).astype(np.uint16) > 200).astype(np.uint16) << 15
    ds = dataset([hidden], "native", bits=12)
    ds.add_new(0x60000102, "US", 15)
    ds.add_new(0x60000100, "US", 16)
    path = save(ds, tmp_path / "a.dcm")
    outcome, new = copied(path, tmp_path, pixels="rules")
    assert (np.frombuffer(new.PixelData, "<u2").reshape(frame.shape) == frame).all()
    assert 0x60000102 not in new
    assert outcome.counts["overlay in unused bits of the pixels", "removed"] == 1


def test_a_film_in_mpeg_is_refused(tmp_path: Path) -> None:
    ds = dataset([picture()], "jpeg")
    ds.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.840.10008.1.2.4.102")
    path = save(ds, tmp_path / "a.dcm")
    setting = Setting(tmp_path, tmp_path / "out", Options(), Key())
    outcome = copy(path, setting)
    assert outcome.status == "refused"
    assert "1.2.840.10008.1.2.4.102" in outcome.error
    assert not (tmp_path / "out").exists()
