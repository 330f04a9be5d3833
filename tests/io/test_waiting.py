"""Photographs that wait in their files: the same as decoded at once, and damage told later."""

import io
import pickle
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_stack import as_bytes, series
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms, PngImagePlugin

import osler
from osler.errors import OslerError, TooLargeError, UnreadableError
from osler.io.inventory import inventory
from osler.record import Image


def photo(path: Path, **options: Any) -> Image:
    case = osler.load(path, **options)
    item = case["photo"]
    assert isinstance(item, Image)
    return item


def picture(mode: str) -> Pillow.Image:
    rows, columns = np.mgrid[0:30, 0:40]
    colour = np.stack([rows * 8, columns * 6, rows + columns], -1).astype(np.uint8)
    if mode == "I;16":
        return Pillow.fromarray((rows * 2000 + columns).astype(np.uint16))
    if mode == "P":
        return Pillow.fromarray(colour).quantize(17)
    return Pillow.fromarray(colour).convert(mode)


def exif(orientation: int) -> Pillow.Exif:
    made = Pillow.Exif()
    made[0x0112] = orientation
    made.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    return made


def profile(name: str) -> bytes:
    if name == "damaged":
        return b"abc" * 50
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB", 5000)).tobytes()


KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "JPEG": ("jpeg", "RGB", {}),
    "grey JPEG": ("jpeg", "L", {}),
    "ink JPEG": ("jpeg", "CMYK", {}),
    "progressive JPEG": ("jpeg", "RGB", {"progressive": True}),
    "JPEG with a damaged profile": ("jpeg", "RGB", {"icc_profile": profile("damaged")}),
    "JPEG with a profile of another model": ("jpeg", "RGB", {"icc_profile": profile("lab")}),
    "PNG": ("png", "RGB", {}),
    "grey PNG": ("png", "L", {}),
    "deep PNG": ("png", "I;16", {}),
    "palette PNG": ("png", "P", {}),
    "bilevel PNG": ("png", "1", {}),
    "transparent PNG": ("png", "RGBA", {}),
    "grey transparent PNG": ("png", "LA", {}),
    "PNG of one transparent colour": ("png", "RGB", {"transparency": (8, 6, 2)}),
    "BMP": ("bmp", "RGB", {}),
    "palette BMP": ("bmp", "P", {}),
    "bilevel BMP": ("bmp", "1", {}),
    "TIFF": ("tiff", "RGB", {}),
    "grey TIFF": ("tiff", "L", {"compression": "tiff_lzw"}),
    "deep TIFF": ("tiff", "I;16", {}),
    "palette TIFF": ("tiff", "P", {"compression": "tiff_deflate"}),
    "ink TIFF": ("tiff", "CMYK", {}),
    "bilevel TIFF": ("tiff", "1", {"compression": "group4"}),
    "JPEG in TIFF": ("tiff", "RGB", {"compression": "jpeg"}),
    "TIFF with a damaged profile": ("tiff", "RGB", {"icc_profile": profile("damaged")}),
    "transparent TIFF": ("tiff", "RGBA", {}),
}
FEWER = (
    "transparent PNG", "grey transparent PNG", "PNG of one transparent colour", "transparent TIFF"
)  # fmt: skip
"""Of which the header does not tell all: they are decoded at once."""


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_a_photograph_that_waits_is_the_one_that_does_not(
    tmp_path: Path, kind: str, orientation: int
) -> None:
    format, mode, options = KINDS[kind]
    if format in ("jpeg", "png", "tiff"):
        options = options | {"exif": exif(orientation)}
    path = tmp_path / "a.img"
    picture(mode).save(path, format, **options)
    now, later = photo(path), photo(path, at_once=False)
    assert now.loaded
    assert later.loaded == (kind in FEWER)
    assert (later.shape, later.channel_count, later.dtype) == (
        now.shape,
        now.channel_count,
        now.dtype,
    )
    assert later.flags == now.flags
    assert (later.acquired, later.spacing, later.modality) == (
        now.acquired,
        now.spacing,
        now.modality,
    )
    again = pickle.loads(pickle.dumps(later))  # noqa: S301 - made here
    np.testing.assert_array_equal(later.array, now.array)
    np.testing.assert_array_equal(again.array, now.array)


def late_exif(orientation: int) -> bytes:
    """A PNG whose EXIF stands after its pixels, as the format allows."""
    out = io.BytesIO()
    picture("RGB").save(out, "png")
    data = out.getvalue()
    body = exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + body))
    return data[:-12] + chunk + data[-12:]


def test_exif_after_the_pixels_or_as_text_is_not_missed(tmp_path: Path) -> None:
    (tmp_path / "late.png").write_bytes(late_exif(6))
    text = PngImagePlugin.PngInfo()
    words = exif(6).tobytes().hex()
    text.add_text("Raw profile type exif", f"\nexif\n{len(words) // 2}\n{words}", zip=True)
    picture("RGB").save(tmp_path / "text.png", pnginfo=text)
    for name in ("late.png", "text.png"):
        now, later = photo(tmp_path / name), photo(tmp_path / name, at_once=False)
        assert later.shape == now.shape
        assert later.flags == now.flags
        np.testing.assert_array_equal(later.array, now.array)
    assert photo(tmp_path / "late.png").shape == (40, 30)


@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "bmp"])
def test_damage_is_told_when_the_pixels_are_asked_for(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"a.{format}"
    picture("RGB").save(path)
    data = path.read_bytes()
    path.write_bytes(data[:-40])
    with pytest.raises(UnreadableError):
        osler.load(path)
    later = photo(path, at_once=False)
    with pytest.raises(UnreadableError, match="damaged or incomplete"):
        _ = later.array


def test_what_the_header_tells_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture("RGB").save(path)
    with pytest.raises(TooLargeError):
        osler.load(path, at_once=False, max_pixels=100)
    data = bytearray(path.read_bytes())
    at = data.find(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 30000, 5000)
    path.write_bytes(data)
    with pytest.raises(UnreadableError, match="incomplete"):
        osler.load(path, at_once=False)


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture("RGB").save(path)
    later = photo(path, at_once=False)
    picture("L").save(path)
    with pytest.raises(UnreadableError, match="load it again"):
        _ = later.array


def test_info_decodes_nothing(tmp_path: Path) -> None:
    """A large photograph, and a slice whose pixels are damaged."""
    path = tmp_path / "large.jpg"
    Pillow.new("RGB", (12000, 12000), (90, 40, 20)).save(path)
    begin = time.perf_counter()
    (item,) = inventory(str(path))["case"]["items"]
    assert time.perf_counter() - begin < 0.5
    assert item["shape"] == [3, 12000, 12000]
    one = series()[0]
    (tmp_path / "a.dcm").write_bytes(as_bytes(one))
    assert not osler.load(tmp_path / "a.dcm", at_once=False)["ct"].loaded
    assert osler.load(tmp_path / "a.dcm")["ct"].loaded


@settings(max_examples=60)
@given(
    format=st.sampled_from(["jpeg", "png", "bmp"]),
    at=st.integers(0, 2000),
    other=st.binary(max_size=5),
    cut=st.integers(0, 400),
)
def test_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, format: str, at: int, other: bytes, cut: int
) -> None:
    out = io.BytesIO()
    picture("RGB").save(out, format)
    data = out.getvalue()
    data = data[:at] + other + data[at + len(other) :]
    path = tmp_path_factory.getbasetemp() / f"any.{format}"
    path.write_bytes(data[: len(data) - cut])
    try:
        case = osler.load(path, at_once=False)
        for item in case.items.values():
            assert isinstance(item.array, np.ndarray)
    except OslerError:
        pass
