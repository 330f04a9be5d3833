"""Overlays in the unused bits of the pixels, as dcmtk draws them; the values without them."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_stack import ACROSS, DOWN, as_bytes, enhanced, image, series, stack, write
from PIL import Image as Picture
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)

from osler.io import load
from osler.record import Case, Image, Mask

ROWS, COLUMNS = 24, 36


def shapes() -> tuple[np.ndarray, np.ndarray]:
    first, second = np.zeros((2, ROWS, COLUMNS), bool)
    first[3:9, 4:20] = True
    second[np.arange(ROWS), np.arange(ROWS)] = True
    return first, second


def hide(ds: pydicom.Dataset, group: int, bit: int, kind: str = "G") -> None:
    ds.add_new((group, 0x0010), "US", ds.Rows)
    ds.add_new((group, 0x0011), "US", ds.Columns)
    ds.add_new((group, 0x0040), "CS", kind)
    ds.add_new((group, 0x0050), "SS", [1, 1])
    ds.add_new((group, 0x0100), "US", ds.BitsAllocated)
    ds.add_new((group, 0x0102), "US", bit)


def file_of(folder: Path, syntax: str, *, signed: bool = False) -> tuple[Path, np.ndarray]:
    """12 bits of values with an overlay in bit 12 and one in bit 15."""
    rng = np.random.default_rng(0)
    values = rng.integers(-2048 if signed else 0, 2048, (ROWS, COLUMNS)).astype(np.int32)
    first, second = shapes()
    stored = values & 0xFFF | first.astype(np.int32) << 12 | second.astype(np.int32) << 15
    ds = image(stored.astype(np.uint16), CTImageStorage, syntax)
    ds.Modality = "CT"
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, int(signed)
    hide(ds, 0x6000, 12)
    hide(ds, 0x6004, 15, "R")
    path = folder / "x.dcm"
    path.write_bytes(as_bytes(ds))
    return path, values


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLosslessSV1,
    ],
)
def test_values_and_overlays_come_apart(tmp_path: Path, syntax: str, signed: bool) -> None:
    path, values = file_of(tmp_path, syntax, signed=signed)
    case = load(path)
    assert isinstance(case, Case)
    item = next(i for i in case.items.values() if isinstance(i, Image))
    assert np.array_equal(item.array[0], values)
    masks = list(case.of(Mask))
    assert [m.name for m in masks] == ["Overlay 1 (graphics)", "Overlay 3 (region of interest)"]
    for mask, shape in zip(masks, shapes(), strict=True):
        assert np.array_equal(mask.mask, shape)
        assert mask.item == item.name


@pytest.mark.parametrize(("number", "shape"), [(1, 0), (2, 1)])
def test_dcmtk_draws_the_same(tmp_path: Path, number: int, shape: int) -> None:
    if shutil.which("dcm2pnm") is None:
        pytest.skip("dcm2pnm is not installed: apt-get install dcmtk")
    path, _ = file_of(tmp_path, ExplicitVRLittleEndian)
    # a window so wide that no value is as white as what is drawn
    options = ["+Ww", "1023.5", "8192", "+Omr", "+Osf", "1"]

    def drawn(name: str, *which: str) -> np.ndarray:
        out = tmp_path / name
        subprocess.run(["dcm2pnm", *which, *options, str(path), str(out)], check=True, timeout=60)
        return np.asarray(Picture.open(out)).astype(int)

    plain, over = drawn("plain.pgm", "-O"), drawn("over.pgm", "+O", str(number))
    assert np.ptp(plain) > 20
    mask = list(load(path).of(Mask))[shape].mask
    assert np.array_equal(plain != over, mask)


def test_frames_that_are_sorted_keep_their_overlays(tmp_path: Path) -> None:
    pixels = (stack() & 0xFFF).astype(np.uint16)
    marks = np.random.default_rng(1).random(pixels.shape) < 0.3
    ds = enhanced((pixels | marks.astype(np.uint16) << 13).astype(np.uint16))
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 0
    hide(ds, 0x6000, 13)
    ds.save_as(tmp_path / "e.dcm", enforce_file_format=True)
    case = load(tmp_path / "e.dcm")
    item = next(i for i in case.items.values() if isinstance(i, Image))
    (mask,) = case.of(Mask)
    places = [
        np.array(f.PlanePositionSequence[0].ImagePositionPatient, float)
        for f in ds.PerFrameFunctionalGroupsSequence
    ]
    for depth in range(item.shape[0]):
        place = (item.affine @ [depth, 0, 0, 1])[:3]
        frame = int(np.argmin([np.linalg.norm(p - place) for p in places]))
        assert np.array_equal(mask.mask[depth], marks[frame])


@pytest.mark.parametrize("bit", [3, 16, 200])
def test_a_bit_of_the_values_is_no_overlay(tmp_path: Path, bit: int) -> None:
    path, values = file_of(tmp_path, ExplicitVRLittleEndian)
    ds = pydicom.dcmread(path)
    ds[0x6000, 0x0102].value = bit
    ds.save_as(path)
    case = load(path)
    item = next(i for i in case.items.values() if isinstance(i, Image))
    assert "overlay-left-out" in item.flags
    assert [m.name for m in case.of(Mask)] == ["Overlay 3 (region of interest)"]
    assert np.array_equal(item.array[0], values)


@pytest.mark.parametrize(
    ("within", "syntax"),
    [
        (False, ExplicitVRLittleEndian),
        (True, ExplicitVRLittleEndian),
        (True, ExplicitVRBigEndian),
        (True, JPEGLosslessSV1),
        (True, RLELossless),
    ],
)
def test_the_overlays_of_a_series(tmp_path: Path, within: bool, syntax: str) -> None:
    pixels = (stack() & 0xFFF).astype(np.uint16)
    drawn = np.random.default_rng(2).random(pixels.shape) < 0.3
    drawn[[0, 3]] = False
    stored = (pixels | (drawn * np.uint16(within)) << 14).astype(np.uint16)
    datasets = series(stored, syntax=syntax)
    for plane, ds in enumerate(datasets):
        if plane in (0, 3):
            continue  # slices without one
        hide(ds, 0x6000, 14 if within else 0)
        if not within:
            ds[0x6000, 0x0100].value = 1
            bits = np.packbits(drawn[plane].ravel(), bitorder="little").tobytes()
            ds.add_new((0x6000, 0x3000), "OW", bits + b"\0" * (len(bits) % 2))
    write(tmp_path, datasets)
    case = load(tmp_path)
    assert isinstance(case, Case)
    (mask,) = case.of(Mask)
    assert (mask.id, mask.item, mask.name) == ("ct.overlay-1", "ct", "Overlay 1 (graphics)")
    image = case.image("ct")
    up = int(np.sign(image.affine[:3, 0] @ np.cross(ACROSS, DOWN)))
    assert np.array_equal(mask.mask, drawn[::up])
    assert np.array_equal(image.array[0], pixels[::up].astype(int) - 1024)


def test_a_series_without_overlays_has_no_masks(tmp_path: Path) -> None:
    write(tmp_path, series())
    assert not list(load(tmp_path).of(Mask))
