"""Photographs in JPEG, PNG, TIFF and BMP: pixels, colour, orientation, flags."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from image_files import (
    chunk,
    deep_scene,
    encoded,
    exif,
    png,
    put,
    scene,
    srgb_profile,
    swapped_profile,
)
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import PngImagePlugin

from osler.errors import InputError, UnsupportedError
from osler.io import load
from osler.record import Image


def photo(path: Path) -> Image:
    image = load(path).image("photo")
    assert image.array.flags.c_contiguous
    assert image.array.flags.writeable
    return image


def read(folder: Path, data: bytes, name: str = "photo.png") -> Image:
    return photo(put(folder, name, data))


def channels_first(array: NDArray[Any]) -> NDArray[Any]:
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"big_tiff": True}),
    ],
)
@pytest.mark.parametrize("colour", [True, False])
def test_lossless_formats_give_the_pixels(
    tmp_path: Path, format: str, options: dict[str, Any], colour: bool
) -> None:
    pixels = scene() if colour else scene()[..., 0]
    image = read(tmp_path, encoded(pixels, format, **options), f"photo.{format.lower()}")
    np.testing.assert_array_equal(image.array, channels_first(pixels))
    assert image.array.dtype == np.uint8
    assert image.flags == ()
    assert image.origin is not None
    assert image.origin.format == format.lower()


def test_a_jpeg_gives_what_its_decoder_gives(tmp_path: Path) -> None:
    data = encoded(scene(), "JPEG", quality=90)
    image = read(tmp_path, data, "photo.jpg")
    expected = np.asarray(Pillow.open(BytesIO(data)))
    np.testing.assert_array_equal(image.array, channels_first(expected))


def test_what_is_known_of_the_case(tmp_path: Path) -> None:
    data = encoded(scene(), "JPEG", dpi=(300, 300))
    path = put(tmp_path, "left eye.jpg", data)
    case = load(path)
    image = case.image("photo")
    assert case.id == "left eye"
    assert case.patient_id is None
    assert image.origin is not None
    assert image.origin.path == str(path)
    assert image.origin.sha256 == hashlib.sha256(data).hexdigest()
    assert image.spacing is None, "dots per inch are no millimetres on the retina"
    assert image.laterality is None
    assert image.modality == "OP"
    assert load(str(path)).id == "left eye"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_every_orientation_is_turned_upright(tmp_path: Path, orientation: int, format: str) -> None:
    # as the camera stored it: the inverse of what EXIF says to do
    store = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    stored = np.ascontiguousarray(store(scene(48, 64)))
    block = exif(orientation=orientation)
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    data = encoded(stored, format, exif=block, **options)
    image = read(tmp_path, data, f"photo.{format.lower()}")
    assert image.shape == (48, 64)
    off = np.abs(image.array.astype(int) - channels_first(scene(48, 64)))
    assert off.mean() < (3 if format == "JPEG" else 1e-9)
    assert ("exif-orientation-applied" in image.flags) == (orientation != 1)


@pytest.mark.parametrize("orientation", [0, 9, 200])
def test_an_orientation_that_does_not_exist_is_passed_over(
    tmp_path: Path, orientation: int
) -> None:
    image = read(tmp_path, encoded(scene(), "PNG", exif=exif(orientation=orientation)))
    np.testing.assert_array_equal(image.array, channels_first(scene()))
    assert image.flags == ()


def test_damaged_exif_leaves_the_pixels(tmp_path: Path) -> None:
    broken = b"Exif\0\0II*\0\xff\xff\xff\x7f garbage"
    image = read(tmp_path, encoded(scene(), "JPEG", exif=broken), "photo.jpg")
    assert image.shape == (24, 32)


@pytest.mark.parametrize(
    ("taken", "offset", "expected"),
    [
        ("2024:03:05 10:11:12", "", datetime(2024, 3, 5, 10, 11, 12)),
        ("2024:03:05 10:11:12", "+00:00", datetime(2024, 3, 5, 10, 11, 12, tzinfo=UTC)),
        (
            "2024:03:05 10:11:12",
            "-05:30",
            datetime(2024, 3, 5, 10, 11, 12, tzinfo=timezone(-timedelta(hours=5, minutes=30))),
        ),
        ("2024:03:05 10:11:12", "nonsense", datetime(2024, 3, 5, 10, 11, 12)),
        ("0000:00:00 00:00:00", "", None),
        ("yesterday", "", None),
    ],
)
def test_when_it_was_taken(
    tmp_path: Path, taken: str, offset: str, expected: datetime | None
) -> None:
    image = read(tmp_path, encoded(scene(), "JPEG", exif=exif(taken=taken, offset=offset)))
    assert image.acquired == expected


# --- colour ---------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(tmp_path: Path, format: str) -> None:
    options = {"quality": 100} if format == "JPEG" else {}
    image = read(tmp_path, encoded(scene(), format, mode="CMYK", **options), f"a.{format.lower()}")
    assert image.array.shape == (3, 24, 32)
    assert "cmyk-converted" in image.flags
    assert np.abs(image.array.astype(int) - channels_first(scene())).mean() < 4


def test_a_palette_becomes_rgb(tmp_path: Path) -> None:
    few = (scene() // 64) * 64
    picture = Pillow.fromarray(few).quantize(256)
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    image = read(tmp_path, buffer.getvalue())
    np.testing.assert_array_equal(image.array, channels_first(np.asarray(picture.convert("RGB"))))
    assert image.flags == ("palette-converted",)


def test_a_transparent_palette_lies_on_black(tmp_path: Path) -> None:
    picture = Pillow.fromarray(np.array([[0, 1]], np.uint8))
    picture.putpalette([200, 10, 20, 30, 40, 50])
    buffer = BytesIO()
    picture.save(buffer, "PNG", transparency=0)
    image = read(tmp_path, buffer.getvalue())
    assert image.array[:, 0].T.tolist() == [[0, 0, 0], [30, 40, 50]]
    assert image.flags == ("palette-converted", "alpha-flattened")


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_alpha(tmp_path: Path, format: str) -> None:
    alpha = np.full((24, 32, 1), 255, np.uint8)
    opaque = read(tmp_path, encoded(np.dstack([scene(), alpha]), format))
    np.testing.assert_array_equal(opaque.array, channels_first(scene()))
    assert "alpha-dropped" in opaque.flags

    alpha[:5] = 0
    clear = read(tmp_path, encoded(np.dstack([scene(), alpha]), format))
    expected = scene()
    expected[:5] = 0
    np.testing.assert_array_equal(clear.array, channels_first(expected))
    assert "alpha-flattened" in clear.flags


def test_grey_with_alpha_stays_grey(tmp_path: Path) -> None:
    both = np.dstack([scene()[..., 0], np.full((24, 32), 255, np.uint8)])
    image = read(tmp_path, png(both, 4))
    np.testing.assert_array_equal(image.array, scene()[..., 0][None])
    assert image.flags == ("alpha-dropped",)


def test_a_bilevel_picture_is_black_and_white(tmp_path: Path) -> None:
    image = read(tmp_path, encoded(scene()[..., 0] > 90, "PNG"))
    np.testing.assert_array_equal(image.array[0], np.where(scene()[..., 0] > 90, 255, 0))
    assert image.flags == ("bilevel-converted",)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_an_srgb_profile_changes_nothing(tmp_path: Path, format: str) -> None:
    plain = read(tmp_path, encoded(scene(), format))
    tagged = read(tmp_path, encoded(scene(), format, icc_profile=srgb_profile()))
    np.testing.assert_array_equal(tagged.array, plain.array)
    assert not any(flag.startswith("icc") for flag in tagged.flags)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_another_profile_is_converted_to_srgb(tmp_path: Path, format: str) -> None:
    image = read(tmp_path, encoded(scene(), format, icc_profile=swapped_profile()))
    assert "icc-converted" in image.flags
    off = np.abs(image.array.astype(int) - channels_first(scene()[..., ::-1]))
    assert off.max() <= 2, "red and blue change places"


def test_alpha_and_a_profile_together(tmp_path: Path) -> None:
    opaque = np.dstack([scene(), np.full((24, 32), 255, np.uint8)])
    image = read(tmp_path, encoded(opaque, "PNG", icc_profile=swapped_profile()))
    assert set(image.flags) == {"alpha-dropped", "icc-converted"}
    assert np.abs(image.array.astype(int) - channels_first(scene()[..., ::-1])).max() <= 2


@pytest.mark.parametrize("profile", [b"nonsense", srgb_profile()[:200]])
def test_a_damaged_profile_is_flagged(tmp_path: Path, profile: bytes) -> None:
    image = read(tmp_path, encoded(scene(), "PNG", icc_profile=profile))
    np.testing.assert_array_equal(image.array, channels_first(scene()))
    assert image.flags == ("icc-unusable",)


def test_a_lab_tiff_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="LAB"):
        read(tmp_path, encoded(scene(), "TIFF", mode="LAB"))


# --- depth ----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_deep_grey_keeps_its_units(tmp_path: Path, format: str) -> None:
    image = read(tmp_path, encoded(deep_scene(), format))
    assert image.array.dtype == np.uint16
    np.testing.assert_array_equal(image.array[0], deep_scene())
    assert "16-bit-scaled" not in image.flags


def test_big_endian_deep_grey(tmp_path: Path) -> None:
    picture = Pillow.frombytes("I;16B", (32, 24), deep_scene().astype(">u2").tobytes())
    buffer = BytesIO()
    picture.save(buffer, "TIFF")
    image = read(tmp_path, buffer.getvalue())
    assert image.array.dtype == np.uint16
    assert image.array.dtype.isnative
    np.testing.assert_array_equal(image.array[0], deep_scene())


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4)])
def test_deep_colour_is_scaled(tmp_path: Path, colour_type: int, channels: int) -> None:
    deep = np.dstack([deep_scene(), deep_scene()[::-1], deep_scene() // 2])
    if channels == 4:
        deep = np.dstack([deep, np.full((24, 32), 65535, np.uint16)])
    image = read(tmp_path, png(deep, colour_type))
    assert image.array.dtype == np.uint8
    np.testing.assert_array_equal(image.array, channels_first(deep[..., :3] >> 8))
    assert "16-bit-scaled" in image.flags


def test_deep_grey_with_alpha(tmp_path: Path) -> None:
    both = np.dstack([deep_scene(), np.full((24, 32), 65535, np.uint16)])
    image = read(tmp_path, png(both, 4))
    np.testing.assert_array_equal(image.array[0], deep_scene() >> 8)
    assert set(image.flags) == {"16-bit-scaled", "alpha-dropped"}


def test_deep_colour_tiff(tmp_path: Path) -> None:
    import tifffile

    deep = np.dstack([deep_scene(), deep_scene()[::-1], deep_scene() // 2])
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    image = photo(tmp_path / "deep.tif")
    np.testing.assert_array_equal(image.array, channels_first(deep >> 8))
    assert image.flags == ("16-bit-scaled",)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.uint32, np.int16])
def test_values_beyond_16_unsigned_bits_are_kept(tmp_path: Path, kind: type) -> None:
    import tifffile

    values = (deep_scene().astype(np.int64) // 3 - 9).astype(kind)
    tifffile.imwrite(tmp_path / "deep.tif", values)
    image = photo(tmp_path / "deep.tif")
    assert image.array.dtype == kind
    np.testing.assert_array_equal(image.array[0], values)


def test_a_layout_that_pillow_has_no_mode_for_is_refused(tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "odd.tif", np.zeros((8, 8, 3), np.float64), photometric="rgb")
    with pytest.raises(UnsupportedError, match="export it as 8-bit colour"):
        photo(tmp_path / "odd.tif")


# --- several pictures in a file -------------------------------------------------------------


def test_the_first_page_of_several(tmp_path: Path) -> None:
    first, second = Pillow.fromarray(scene()), Pillow.fromarray(255 - scene())
    for format, name in (("TIFF", "a.tif"), ("PNG", "a.png"), ("MPO", "a.jpg")):
        options = {"quality": 95, "subsampling": 0} if format == "MPO" else {}
        first.save(tmp_path / name, format, save_all=True, append_images=[second], **options)
        image = photo(tmp_path / name)
        assert image.flags == ("first-page-only",), format
        off = np.abs(image.array.astype(int) - channels_first(scene())).mean()
        assert off < (4 if format == "MPO" else 1e-9)


def test_a_thumbnail_page_is_flagged(tmp_path: Path) -> None:
    tags = {254: 1}
    image = read(tmp_path, encoded(scene(), "TIFF", tiffinfo=tags), "raw.tif")
    assert image.flags == ("reduced-resolution-page",)


# --- names ----------------------------------------------------------------------------------


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    wrong = photo(put(tmp_path, "photo.jpg", encoded(scene(), "PNG")))
    np.testing.assert_array_equal(wrong.array, channels_first(scene()))
    assert wrong.flags == ("wrong-extension",)
    none = photo(put(tmp_path, "photo", encoded(scene(), "PNG")))
    assert none.flags == ()


def test_text_chunks_do_not_disturb(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 10_000, zip=True)
    image = read(tmp_path, encoded(scene(), "PNG", pnginfo=info))
    np.testing.assert_array_equal(image.array, channels_first(scene()))
    padded = png(scene(), 2, extra=chunk(b"tEXt", b"a\0b"))
    np.testing.assert_array_equal(read(tmp_path, padded).array, channels_first(scene()))


def test_one_pixel_is_a_case(tmp_path: Path) -> None:
    assert read(tmp_path, encoded(scene(1, 1), "PNG")).array.shape == (3, 1, 1)


def test_real_photographs(data_dir: Path) -> None:
    for path in sorted((data_dir / "chase-db1").rglob("*.jpg"))[:2]:
        image = photo(path)
        assert image.array.shape[0] == 3
        with Pillow.open(path) as picture:
            np.testing.assert_array_equal(image.array, channels_first(np.asarray(picture)))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP"])
def test_resolution_is_a_spacing_only_where_a_person_says_so(tmp_path: Path, format: str) -> None:
    path = put(tmp_path, "p", encoded(scene(), format, dpi=(254, 127)))
    assert load(path).image("photo").spacing is None
    for at_once in (True, False):
        photo = load(path, resolution=True, at_once=at_once).image("photo")
        assert photo.spacing == pytest.approx((0.2, 0.1), rel=1e-5)
        assert photo.flags == ("spacing-by-resolution",)
    data = encoded(scene(), format)
    if format == "BMP":  # its header has a place for it, which is 0 where nothing is said
        data = data[:38] + bytes(8) + data[46:]
    plain = put(tmp_path, "q", data)
    with pytest.raises(InputError, match="states no resolution"):
        load(plain, resolution=True)


def test_resolution_turns_with_the_picture_and_asks_for_a_unit(tmp_path: Path) -> None:
    tags = Pillow.Exif()
    tags[0x0112], tags[0x011A], tags[0x011B], tags[0x0128] = 6, 100.0, 50.0, 3
    path = put(tmp_path, "e.jpg", encoded(scene(), "JPEG", exif=tags.tobytes()))
    photo = load(path, resolution=True).image("photo")
    assert photo.shape == (32, 24)
    assert photo.spacing == pytest.approx((0.1, 0.2))
    del tags[0x011A], tags[0x011B]
    silent = put(tmp_path, "s.jpg", encoded(scene(), "JPEG", exif=tags.tobytes()))
    with pytest.raises(InputError, match="states no resolution"):
        load(silent, resolution=True)
    deep = tmp_path / "d.tif"
    tifffile.imwrite(deep, deep_scene(), resolution=(1000, 500), resolutionunit="CENTIMETER")
    assert load(deep, resolution=True).image("photo").spacing == pytest.approx((0.02, 0.01))
    tifffile.imwrite(deep, deep_scene(), resolution=(1000, 500), resolutionunit="NONE")
    with pytest.raises(InputError, match="unit of length"):
        load(deep, resolution=True)
