"""Damaged and hostile DICOM: one of our errors, in bounded time and memory, and nothing else."""

import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_stack import ENCODERS, as_bytes, cine, enhanced, image, series, stack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import put
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage

from osler.errors import OslerError, TooLargeError, UnreadableError
from osler.io import load_file, sort
from osler.io.dicom_overlays import too_large
from osler.io.dicom_scan import scan
from osler.io.dicom_series import read_series
from osler.record import Image, Mask

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
NAMES = (
    *("CT_small.dcm", "MR_small_RLE.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"),
    *("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_small_odd_jpeg.dcm"),
    *("SC_rgb_rle_2frame.dcm", "image_dfl.dcm", "examples_palette.dcm", "rtdose_rle.dcm"),
    *("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jls_lossy_line.dcm", "nested_priv_SQ.dcm"),
)
FILES = {name: (PYDICOM_FILES / name).read_bytes() for name in NAMES} | {
    "enhanced": as_bytes(enhanced(stack())),
    "cine": as_bytes(cine(np.zeros((3, 16, 16, 3), np.uint8))),
    "ht": as_bytes(series(syntax="1.2.840.10008.1.2.4.201")[0]),
    "lossless": as_bytes(series(syntax="1.2.840.10008.1.2.4.70")[0]),
}
BOUNDED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

pytestmark = pytest.mark.filterwarnings("ignore")


def check(path: Path) -> bool:
    """Read everything: whether it is sound; any error but ours is a failure."""
    try:
        case = load_file(path)
        for item in case.items.values():
            if isinstance(item, Image):
                assert item.array.dtype == item.dtype
                assert item.array.size > 0
        for mask in case.of(Mask):
            assert mask.mask.dtype == np.bool_
    except OslerError as error:
        assert str(path.name) in str(error)  # noqa: PT017
        return False
    return True


@BOUNDED
@given(name=st.sampled_from(sorted(FILES)), end=st.floats(0, 1))
def test_files_cut_anywhere(tmp_path: Path, name: str, end: float) -> None:
    data = FILES[name]
    check(put(tmp_path, "cut.dcm", data[: int(len(data) * end)]))


@BOUNDED
@given(
    name=st.sampled_from(sorted(FILES)),
    where=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    early=st.booleans(),
)
def test_bytes_changed_anywhere(
    tmp_path: Path, name: str, where: list[tuple[float, int]], early: bool
) -> None:
    data = bytearray(FILES[name])
    room = min(len(data), 3000) if early else len(data)
    for place, value in where:
        data[int(place * (room - 1))] = value
    path = put(tmp_path, "changed.dcm", bytes(data))
    check(path)
    for study in sort(tmp_path).studies:
        assert study.id


@BOUNDED
@given(
    name=st.sampled_from(sorted(FILES)),
    element=st.integers(0, 200),
    value=st.sampled_from([0, 1, 0x7FFF, 0xFFFE, 0xFFFF, 0xFFFFFFFE, 0xFFFFFFFF, 0x7FFFFFFF]),
)
def test_lengths_and_numbers_that_lie(tmp_path: Path, name: str, element: int, value: int) -> None:
    data = bytearray(FILES[name])
    place = min(132 + 4 * element, len(data) - 4)
    data[place : place + 4] = struct.pack("<I", value)
    check(put(tmp_path, "lies.dcm", bytes(data)))


@BOUNDED
@given(name=st.sampled_from(sorted(FILES)), start=st.integers(0, 400), data=st.binary(max_size=80))
def test_the_walk_over_a_header_ends(tmp_path: Path, name: str, start: int, data: bytes) -> None:
    whole = FILES[name][:start] + data + FILES[name][start:]
    path = put(tmp_path, "walk.dcm", whole)
    with path.open("rb") as stream:
        try:
            found = scan(stream)
        except ValueError:
            return
    assert all(len(value) <= 65_536 for value in found.values.values())


@BOUNDED
@given(end=st.floats(0, 1), place=st.floats(0, 1), value=st.integers(0, 255))
def test_a_damaged_slice_of_a_series(tmp_path: Path, end: float, place: float, value: int) -> None:
    paths = []
    for index, ds in enumerate(series()):
        data = bytearray(as_bytes(ds))
        if index == 3:
            data[int(place * (len(data) - 1))] = value
            data = data[: max(200, int(len(data) * (0.5 + end)))]
        paths.append(put(tmp_path, f"{index}.dcm", bytes(data)))
    try:
        (item,) = read_series(paths).items
        assert isinstance(item, Image)
        assert item.array.shape[1:] == item.shape
    except OslerError as error:
        assert ".dcm" in str(error)  # noqa: PT017


# --- bombs ----------------------------------------------------------------------------------


def bounded(path: Path, error: type[OslerError], words: str, *, most: int = 40_000_000) -> None:
    began = time.process_time()
    tracemalloc.start()
    with pytest.raises(error, match=words):
        load_file(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < most
    assert time.process_time() - began < 30


def compressed(stream: bytes, syntax: str, **elements: Any) -> Dataset:
    ds = image(np.zeros((64, 64), np.uint8), SecondaryCaptureImageStorage)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([stream])
    ds["PixelData"].VR = "OB"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"])
def test_a_stream_larger_than_its_header_says(tmp_path: Path, syntax: str) -> None:
    stream = bytearray(ENCODERS[syntax](np.zeros((64, 64), np.uint8)))
    stream[8:16] = struct.pack(">II", 1 << 31, 1 << 31)
    path = put(tmp_path, "bomb.dcm", as_bytes(compressed(bytes(stream), syntax)))
    bounded(path, UnreadableError, "holds a JPEG 2000 of 2147483648 x 2147483648")


def test_a_jpeg_ls_larger_than_its_header_says(tmp_path: Path) -> None:
    stream = bytearray(imagecodecs.jpegls_encode(np.zeros((64, 64), np.uint8)))
    at = stream.index(b"\xff\xf7") + 5
    stream[at : at + 4] = struct.pack(">HH", 65535, 65535)
    ds = compressed(bytes(stream), "1.2.840.10008.1.2.4.80")
    bounded(put(tmp_path, "bomb.dcm", as_bytes(ds)), UnreadableError, "JPEG-LS of 65535 x 65535")


def test_run_lengths_too_short_for_their_pixels(tmp_path: Path) -> None:
    stream = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 500
    ds = compressed(stream, RLELossless, Rows=10_000, Columns=10_000)
    bounded(put(tmp_path, "bomb.dcm", as_bytes(ds)), UnreadableError, "100,000,000 pixels but")


def test_a_header_that_inflates_for_ever(tmp_path: Path) -> None:
    ds = image(np.zeros((8, 8), np.uint8), SecondaryCaptureImageStorage, "1.2.840.10008.1.2.1.99")
    ds.add_new(0x00091010, "OB", bytes(200_000_000))
    path = put(tmp_path, "bomb.dcm", as_bytes(ds))
    bounded(path, TooLargeError, "inflates to more than", most=450_000_000)


def test_a_palette_that_repeats_itself_for_ever(tmp_path: Path) -> None:
    ds = image(np.zeros((8, 8), np.uint8), SecondaryCaptureImageStorage)
    ds.PhotometricInterpretation = "PALETTE COLOR"
    empty, again = [0, 0] * 8000, [2, 8000, 0, 0] * 8000
    for name in ("Red", "Green", "Blue"):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [0, 0, 16])
        data = np.array(empty + again).astype("<u2").tobytes()
        setattr(ds, f"Segmented{name}PaletteColorLookupTableData", data)
    bounded(put(tmp_path, "palette.dcm", as_bytes(ds)), UnreadableError, "damaged palette")


def test_overlays_of_a_long_film_take_no_memory(tmp_path: Path) -> None:
    ds = cine(np.zeros((2, 16, 16, 3), np.uint8))
    ds.add_new(0x60000010, "US", 16)
    ds.add_new(0x60000011, "US", 16)
    ds.add_new(0x60003000, "OW", bytes(32))
    (mask,) = load_file(put(tmp_path, "a.dcm", as_bytes(ds))).of(Mask)
    assert mask.mask.shape == (2, 16, 16)
    assert too_large(ds, shape=(1000, 600, 800))
    assert not too_large(cine(np.zeros((1, 8, 8, 3), np.uint8)), shape=(1000, 600, 800))


def test_sequences_without_end(tmp_path: Path) -> None:
    ds = series()[0]
    data = as_bytes(ds)
    deep = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    nested = (struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + deep) * 5000
    at = data.index(struct.pack("<HH", 0x0010, 0x0010))
    path = put(tmp_path, "deep.dcm", data[:at] + deep + nested + data[at:])
    assert not check(path)
    with path.open("rb") as stream, pytest.raises(ValueError, match="too deep"):
        scan(stream)


def test_counts_that_need_memory(tmp_path: Path) -> None:
    ds = image(np.zeros((8, 8), np.uint8), SecondaryCaptureImageStorage)
    ds.NumberOfFrames = 2_000_000_000
    bounded(put(tmp_path, "many.dcm", as_bytes(ds)), OslerError, "many.dcm")
    ds = compressed(b"\xff\xd8", "1.2.840.10008.1.2.4.50", NumberOfFrames=2_000_000_000)
    bounded(put(tmp_path, "many.dcm", as_bytes(ds)), OslerError, "many.dcm")
