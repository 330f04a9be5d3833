"""Damaged, absurd and misnamed files: one of our errors or a sound case, and nothing else."""

import os
import random
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import (
    bmp_header,
    chunk,
    deep_scene,
    dicom,
    encoded,
    exif,
    jpeg_dicom,
    jpeg_of_size,
    png,
    put,
    scene,
    tiff_header,
)
from pydicom.uid import ImplicitVRLittleEndian

from osler.errors import InputError, OslerError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import find, find_all, load
from osler.record import Case

PALETTE = {
    f"{name}PaletteColorLookupTable{part}": value
    for name in ("Red", "Green", "Blue")
    for part, value in (("Descriptor", [256, 0, 8]), ("Data", bytes(range(256))))
}

SOUND: dict[str, bytes] = {
    "baseline.jpg": encoded(scene(), "JPEG", exif=exif(orientation=6, taken="2024:01:02 03:04:05")),
    "progressive.jpg": encoded(scene(), "JPEG", progressive=True),
    "cmyk.jpg": encoded(scene(), "JPEG", mode="CMYK"),
    "colour.png": encoded(scene(), "PNG"),
    "deep.png": png(np.dstack([deep_scene()] * 3), 2),
    "palette.png": encoded(scene(), "PNG", mode="P"),
    "plain.tif": encoded(scene(), "TIFF"),
    "lzw.tif": encoded(scene(), "TIFF", compression="tiff_lzw"),
    "jpeg.tif": encoded(scene(), "TIFF", compression="jpeg"),
    "deep.tif": encoded(deep_scene(), "TIFF"),
    "colour.bmp": encoded(scene(), "BMP"),
    "palette.bmp": encoded(scene(), "BMP", mode="P"),
    "rgb.dcm": dicom(scene()),
    "implicit.dcm": dicom(scene(), syntax=ImplicitVRLittleEndian, preamble=False),
    "jpeg.dcm": jpeg_dicom(encoded(scene(), "JPEG"), "YBR_FULL_422", samples=scene()),
    "palette.dcm": dicom(scene()[..., 0], "PALETTE COLOR", **PALETTE),
}


def check(path: Path) -> Case | None:
    """Load: a sound case, or None for one of our errors that names the file."""
    message = ""
    try:
        case = load(path)
    except OslerError as error:
        message = str(error)
    if message:
        assert str(path) in message
        assert "Secret" not in message
        return None
    image = case.image("photo")
    assert image.array.ndim == 3
    assert image.array.shape[0] in (1, 3)
    assert image.array.size > 0
    assert image.array.dtype in (np.uint8, np.uint16)
    assert image.origin is not None
    return case


@pytest.mark.parametrize("name", SOUND)
def test_the_files_are_sound_before_they_are_damaged(tmp_path: Path, name: str) -> None:
    assert check(put(tmp_path, name, SOUND[name])) is not None


@pytest.mark.parametrize("name", SOUND)
def test_a_file_cut_anywhere(tmp_path: Path, name: str) -> None:
    data = SOUND[name]
    step = max(1, len(data) // 60)
    for end in {*range(0, min(200, len(data)), 5), *range(200, len(data), step)}:
        check(put(tmp_path, name, data[:end]))


@pytest.mark.parametrize("name", SOUND)
def test_half_a_file_is_never_half_a_picture(tmp_path: Path, name: str) -> None:
    data = SOUND[name]
    for part in (0.3, 0.5, 0.7):
        with pytest.raises(UnreadableError):
            load(put(tmp_path, name, data[: int(len(data) * part)]))


@pytest.mark.parametrize("name", SOUND)
def test_a_file_with_flipped_bytes(tmp_path: Path, name: str) -> None:
    chance = random.Random(name)
    for _ in range(60):
        data = bytearray(SOUND[name])
        for _ in range(chance.choice((1, 3, 20))):
            # headers are where damage misleads
            where = chance.randrange(len(data) if chance.random() < 0.4 else min(400, len(data)))
            data[where] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        check(put(tmp_path, name, bytes(data)))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    start=st.sampled_from([data[:n] for data in SOUND.values() for n in (8, 26, 140)]),
    rest=st.binary(max_size=600),
)
def test_any_bytes_after_a_signature(tmp_path: Path, start: bytes, rest: bytes) -> None:
    check(put(tmp_path, "any.bin", start + rest))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(SOUND)),
    begin=st.integers(0, 3000),
    length=st.integers(0, 64),
    other=st.binary(max_size=64),
)
def test_any_stretch_replaced(
    tmp_path: Path, name: str, begin: int, length: int, other: bytes
) -> None:
    data = SOUND[name]
    check(put(tmp_path, name, data[:begin] + other + data[begin + length :]))


def test_lengths_that_lie_take_no_memory(tmp_path: Path) -> None:
    """An element that claims 4 GB does not allocate 4 GB."""
    data = bytearray(dicom(scene(), syntax=ImplicitVRLittleEndian, preamble=False))
    data[4:8] = (0xFFFFFFFE).to_bytes(4, "little")
    for name, bad in (
        ("length.dcm", b"\x08\0\x05\0UN\0\0\xfe\xff\xff\xff" + bytes(99)),
        ("implicit.dcm", bytes(128) + b"DICM" + bytes(data)),
        ("length.png", png(scene(), 2, extra=b"\xff\xff\xff\xfetEXtabc")),
        ("text.png", png(scene(), 2, extra=chunk(b"zTXt", b"k\0\0" + b"x" * 100))),
    ):
        tracemalloc.start()
        check(put(tmp_path, name, bad))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 50_000_000, name


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("huge.png", png(scene(), 2, size=(40_000, 40_000))),
        ("huge.jpg", jpeg_of_size(40_000, 40_000)),
        ("huge.bmp", bmp_header(40_000, 40_000)),
        ("huge.tif", tiff_header(40_000, 40_000)),
        ("huge.dcm", dicom(scene(), Rows=40_000, Columns=40_000)),
        (
            "huge-jpeg.dcm",
            jpeg_dicom(
                jpeg_of_size(40_000, 40_000),
                "YBR_FULL_422",
                samples=scene(),
                Rows=40_000,
                Columns=40_000,
            ),
        ),
    ],
)
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, name: str, data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(TooLargeError, match=rf"{name}' has 40000 x 40000 pixels.*max_pixels"):
        load(put(tmp_path, name, data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_bomb_inside_a_dicom_file(tmp_path: Path) -> None:
    data = jpeg_dicom(jpeg_of_size(40_000, 40_000), "YBR_FULL_422", samples=scene())
    with pytest.raises(UnreadableError, match="holds a JPEG of 40000 x 40000"):
        load(put(tmp_path, "inside.dcm", data))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("made-up.jpg", jpeg_of_size(9000, 9000)),
        ("made-up.png", png(scene(), 2, size=(9000, 9000))),
        ("made-up.tif", tiff_header(9000, 9000)),
        ("made-up.bmp", bmp_header(9000, 9000)),
        (
            "made-up.dcm",
            jpeg_dicom(
                jpeg_of_size(9000, 9000), "YBR_FULL_422", samples=scene(), Rows=9000, Columns=9000
            ),
        ),
    ],
)
def test_pixels_that_are_not_there_are_not_made_up(tmp_path: Path, name: str, data: bytes) -> None:
    """Decoders fill what is missing with grey, and take memory for it."""
    tracemalloc.start()
    with pytest.raises(UnreadableError, match="incomplete"):
        load(put(tmp_path, name, data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_an_interrupted_copy_of_full_length_is_flagged(tmp_path: Path) -> None:
    """Programs that set the length first leave zeros, which decode to grey."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(noise, "JPEG")
    zeroed = data[: len(data) * 3 // 4] + bytes(len(data) - len(data) * 3 // 4)
    case = check(put(tmp_path, "zeroed.jpg", zeroed))
    assert case is None or "no-end-marker" in case.image("photo").flags
    assert "no-end-marker" not in load(put(tmp_path, "whole.jpg", data)).image("photo").flags


def test_the_limit_can_be_moved(tmp_path: Path) -> None:
    path = put(tmp_path, "a.png", SOUND["colour.png"])
    with pytest.raises(TooLargeError, match="limit of 767"):
        load(path, max_pixels=767)
    assert load(path, max_pixels=768)


@pytest.mark.parametrize(
    ("name", "data", "error", "words"),
    [
        ("empty.jpg", b"", UnreadableError, "is empty"),
        ("notes.jpg", b"Left eye, \xc3\xa9tude\n", UnreadableError, "named .jpg but .* is text"),
        ("page.png", b"<!DOCTYPE html><html>", UnreadableError, "named .png but .* is text"),
        ("noise.jpg", bytes(range(200, 256)) * 9, UnreadableError, "of no known format"),
        ("zeros.dcm", bytes(500), UnreadableError, "of no known format"),
        ("notes.bin", b"BM is how this begins", UnsupportedError, "is text"),
        ("a.gif", b"GIF89a" + bytes(40), UnsupportedError, "a GIF image"),
        ("a.webp", b"RIFF\x20\0\0\0WEBPVP8 " + bytes(40), UnsupportedError, "a WebP image.*PNG"),
        ("a.rtf", b"{\\rtf1\\ansi x}", UnsupportedError, "an RTF document.*docx"),
        ("a.xls", b"<HTML><table>", UnsupportedError, "a web page.*xlsx"),
        ("a.npy", b"\x93NUMPY\x01\0", UnsupportedError, "a NumPy array.*NIfTI"),
        ("a.pdf", b"%PDF-1.7\n", UnreadableError, "starts as pdf"),
        ("a.jpg", b"%PDF-1.7\n", UnreadableError, "starts as pdf"),
        ("a.nii", bytes(344) + b"n+1\0", UnreadableError, "named .nii but .* of no known format"),
        ("a.bin", b"\x93\xfa\x01\x02" * 50, UnreadableError, "of no known format"),
    ],
)
def test_what_is_no_photograph_is_named(
    tmp_path: Path, name: str, data: bytes, error: type[OslerError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        load(put(tmp_path, name, data))
    assert name in str(caught.value)


def test_paths_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'.*nowhere.jpg' does not exist; check the path"):
        load(tmp_path / "nowhere.jpg")
    with pytest.raises(InputError, match="holds no file that is read"):
        load(tmp_path)
    with pytest.raises(InputError, match="cannot be opened"):
        load(str(tmp_path / "nul\0.jpg"))
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UnsupportedError, match="device, pipe or socket"):
        load(tmp_path / "pipe.jpg")


def test_names_of_any_script_length_and_encoding(tmp_path: Path) -> None:
    for name in ("眼底 左.png", "é" * 120 + ".png", "🩺.png", "a'b\"c.png", " .png"):
        case = load(put(tmp_path, name, SOUND["colour.png"]))
        assert len(case.id.encode()) <= 120
    # bytes that are no text, as old archives hold them
    raw = os.fsencode(tmp_path) + b"/bad\xff.png"
    Path(os.fsdecode(raw)).write_bytes(SOUND["colour.png"])
    case = load(os.fsdecode(raw))
    origin = case.image("photo").origin
    assert case.id == "bad_"
    assert origin is not None
    assert origin.path.endswith("bad�.png")
    assert find_all([tmp_path]).paths


# --- permissions ----------------------------------------------------------------------------


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder that anybody may enter, and for root: the rights of somebody who is not root."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "locked").mkdir()
        put(folder / "locked", "in.png", SOUND["colour.png"])
        put(folder, "locked.png", SOUND["colour.png"]).chmod(0)
        put(folder, "open.png", SOUND["colour.png"]).chmod(0o644)
        (folder / "locked").chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if user == 0:
                os.seteuid(0)
            (folder / "locked").chmod(0o700)


def test_what_may_not_be_read(tmp_path: Path) -> None:
    load(put(tmp_path, "a.png", SOUND["colour.png"]))  # imports, while they may be read
    with as_nobody() as folder:
        with pytest.raises(InputError, match=r"locked.png' may not be read .* grant"):
            load(folder / "locked.png")
        with pytest.raises(InputError, match=r"in.png' may not be read"):
            load(folder / "locked" / "in.png")
        with pytest.raises(InputError, match=r"folder '.*locked' may not be listed"):
            find([folder / "locked"])
        found = find_all([folder])
    assert [path.name for path in found.paths] == ["open.png"]
    assert {path.name: why for path, why in found.skipped} == {
        "locked": "cannot be listed (Permission denied)",
        "locked.png": "cannot be opened (Permission denied)",
    }


def test_no_error_of_a_decoder_is_chained(tmp_path: Path) -> None:
    """A decoder's words may quote the patient, and a traceback would print them."""
    with pytest.raises(UnreadableError) as caught:
        load(put(tmp_path, "half.dcm", SOUND["jpeg.dcm"][:-200]))
    error: Any = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
