"""Segmentations and other findings that are deflated or big endian, by dcmtk's converter."""

import shutil
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fake_series import filled, masks, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from osler.errors import InputError, TooLargeError
from osler.io import load
from osler.io.dicom_findings import add
from osler.io.dicom_pdf import write_document
from osler.io.dicom_presentation_out import write_presentation
from osler.io.dicom_rtstruct_out import write_structures
from osler.io.dicom_seg_out import write_segmentation
from osler.io.dicom_sr import write_measurements
from osler.record import Case, Contour, Label, Mask, Measurement, Passage, Source, Text

SYNTAXES = {"deflated": ("+td", "1.2.840.10008.1.2.1.99"), "big": ("+tb", "1.2.840.10008.1.2.2")}


def converted(path: Path, syntax: str) -> Path:
    """The same object in another transfer syntax; skips without dcmtk."""
    if shutil.which("dcmconv") is None:
        pytest.skip("dcmconv is not installed: apt-get install dcmtk")
    option, uid = SYNTAXES[syntax]
    out = path.with_name(f"{path.name}.{syntax}")
    subprocess.run(["dcmconv", option, str(path), str(out)], check=True, timeout=60)
    assert pydicom.dcmread(out, stop_before_pixels=True).file_meta.TransferSyntaxUID == uid
    return out


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("vr", ["OB", "OW"])
@pytest.mark.parametrize("kind", ["binary", "fractional", "labelmap"])
def test_segmentations(tmp_path: Path, kind: str, vr: str, syntax: str) -> None:
    image = write_series(tmp_path)
    given = masks()
    for mask in given if kind == "fractional" else ():
        mask.probabilities = (mask.mask * np.float16(0.8)).astype(np.float16)
    plain = write_segmentation(given, image, tmp_path / "seg", kind=kind)
    ds = pydicom.dcmread(plain)
    ds["PixelData"].VR = vr  # in words the pairs of bytes change places, in bytes they do not
    ds.save_as(plain)
    path = converted(plain, syntax)
    case = Case("c", items={"ct": image})
    ids = add(case, path)
    assert len(ids) == len(given)
    for id, mask in zip(ids, given, strict=True):
        assert np.array_equal(case.get(id, Mask).mask, mask.mask)
        if kind == "fractional":
            assert np.allclose(case.get(id, Mask).probabilities, mask.probabilities, atol=0.003)
    alone, same = load(path), load(plain)
    assert np.array_equal(alone.image("segmentation").array, same.image("segmentation").array)
    assert np.array_equal(alone.image("segmentation").affine, same.image("segmentation").affine)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_label_map_of_16_bits(tmp_path: Path, syntax: str) -> None:
    image = write_series(tmp_path)
    plain = write_segmentation(masks(), image, tmp_path / "seg", kind="labelmap")
    ds = pydicom.dcmread(plain)
    wide = np.frombuffer(ds.PixelData, np.uint8, ds.NumberOfFrames * 77).astype("<u2")
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelData = (wide * 300).astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    for segment in ds.SegmentSequence:
        segment.SegmentNumber = segment.SegmentNumber * 300
    ds.save_as(plain)
    case = Case("c", items={"ct": image})
    for id, mask in zip(add(case, converted(plain, syntax)), masks(), strict=True):
        assert np.array_equal(case.get(id, Mask).mask, mask.mask)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_report_and_a_folder(tmp_path: Path, syntax: str) -> None:
    image = write_series(tmp_path)
    source = Source("algorithm", "a", "1")
    case = Case("c", items={"ct": image})
    case.add(Measurement(id="m.x", name="M", source=source, item="ct", value=1.25, unit="mm"))
    case.add(Label(id="l", name="L", source=source, item="ct", value="v", probability=0.5))
    case.add(Passage(id="p", name="P", source=source, item="ct", text="脾大 – é"))
    report = write_measurements(case, tmp_path / "sr")
    seg = write_segmentation(masks(), image, tmp_path / "seg")
    for path in (report, seg):
        converted(path, syntax)
        path.unlink()
    found = load(tmp_path)
    assert isinstance(found, Case)
    assert not found.left_out
    assert next(found.of(Measurement)).value == 1.25
    assert next(found.of(Label)).value == "v"
    assert [p.text for p in found.of(Passage)] == ["脾大 – é"]
    assert np.array_equal(found.get("liver", Mask).mask, masks()[0].mask)
    assert found.get("liver", Mask).item == "ct"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_drawings_and_documents(tmp_path: Path, syntax: str) -> None:
    image = write_series(tmp_path)
    case = Case("c", items={"ct": image})
    case.add(masks()[0])
    case.add(Passage(id="p", name="P", source=Source("person", "p"), item="ct", text="肝"))
    structures = write_structures(case, tmp_path / "rt", masks=True)
    shown = write_presentation(case, tmp_path / "pr", masks=True)
    document = write_document(Text("t", "Words 肝."), tmp_path / "doc")
    again = Case("d", items={"ct": image})
    for path in (structures, shown, document):
        add(again, converted(path, syntax))
    assert np.array_equal(again.get("liver", Mask).mask, masks()[0].mask)
    assert np.array_equal(filled(again.get("liver-2", Contour)), masks()[0].mask)
    assert [p.text for p in again.of(Passage)] == ["肝"]
    assert "Words 肝." in again["report"].text


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_waveform(tmp_path: Path, syntax: str) -> None:
    source = tmp_path / "ecg"
    source.write_bytes(Path(str(get_testdata_file("waveform_ecg.dcm"))).read_bytes())
    plain, other = load(source), load(converted(source, syntax))
    for name, signal in plain.items.items():
        assert np.array_equal(other[name].array, signal.array, equal_nan=True)
        assert other[name].units == signal.units


def deflated_of(path: Path, content: bytes) -> Path:
    """A file whose data set is these bytes, deflated, behind a deflated file's meta information."""
    meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
    length = 132 + 12 + meta.FileMetaInformationGroupLength
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    whole = path.read_bytes()[:length] + packer.compress(content) + packer.flush()
    out = path.with_name("bomb")
    out.write_bytes(whole)
    return out


@pytest.mark.parametrize("kind", ["seg", "pixels", "sr"])
def test_what_inflates_for_ever_is_refused_in_bounded_memory(tmp_path: Path, kind: str) -> None:
    image = write_series(tmp_path)
    case = Case("c", items={"ct": image})
    source = Source("algorithm", "a", "1")
    case.add(Measurement(id="m.x", name="M", source=source, item="ct", value=1.25, unit="mm"))
    if kind == "sr":
        plain = write_measurements(case, tmp_path / "x")
    else:
        plain = write_segmentation(masks(), image, tmp_path / "x")
    ds = pydicom.dcmread(plain)
    padding = bytes(100 << 20)
    if kind == "pixels":
        ds.PixelData = padding
        ds.NumberOfFrames = 1 << 30
    else:  # a private element before the functional groups or the content
        ds.add_new(0x00110010, "LO", "X")
        ds.add_new(0x00111001, "OB", padding)
    ds.save_as(tmp_path / "y", enforce_file_format=True)
    meta = pydicom.dcmread(tmp_path / "y", stop_before_pixels=True).file_meta
    start = 132 + 12 + meta.FileMetaInformationGroupLength
    path = deflated_of(converted(plain, "deflated"), (tmp_path / "y").read_bytes()[start:])
    del ds, padding
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(TooLargeError, match="inflates to more than"):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("syntax", SYNTAXES)
@given(place=st.floats(0.2, 1), value=st.binary(min_size=0, max_size=2), end=st.floats(0.3, 1))
def test_damage_ends_in_our_errors(
    tmp_path: Path, syntax: str, place: float, value: bytes, end: float
) -> None:
    sound = tmp_path / "seg"
    if not sound.exists():
        write_segmentation(masks(), write_series(tmp_path), sound)
        converted(sound, syntax)
    content = bytearray((tmp_path / f"seg.{syntax}").read_bytes())
    at = int(place * (len(content) - 1))
    content[at : at + 1] = value
    path = tmp_path / "damaged"
    path.write_bytes(bytes(content[: int(end * len(content)) + 1]))
    try:
        for mask in load(path, max_pixels=1_000_000).of(Mask):
            assert mask.mask.shape == mask.shape
    except InputError:
        pass
