"""TIFF files that are no photographs: stacks, microscopes' headers, and pages read by window."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from volume_files import SHAPE, volume

from osler.errors import OslerError, TooLargeError, UnreadableError
from osler.io import load
from osler.io.converting import save
from osler.record import Image

LIMIT = 1000
"""Of pixels, so that small pictures are large ones here."""


def colour(height: int = 150, width: int = 200) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, (rows * columns) % 251], axis=-1).astype(np.uint8)


def large(path: Path, pixels: NDArray[Any], **options: Any) -> Image:
    tifffile.imwrite(path, pixels, **{"photometric": "rgb", **options})
    return load(path, max_pixels=LIMIT).image("photo")


LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (32, 48)},
    "deflated tiles": {"tile": (32, 48), "compression": "zlib", "predictor": True},
    "lzw strips": {"rowsperstrip": 7, "compression": "lzw"},
    "strips": {"rowsperstrip": 7},
    "one strip": {},
    "separate planes": {"tile": (32, 48), "planarconfig": "separate"},
    "zstd": {"tile": (64, 64), "compression": "zstd"},
    "BigTIFF": {"tile": (32, 48), "bigtiff": True},
    "big endian": {"tile": (32, 48), "byteorder": ">"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_window_of_a_large_picture(tmp_path: Path, layout: str) -> None:
    pixels = colour()
    options = dict(LAYOUTS[layout])
    stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in options else pixels
    image = large(tmp_path / "v.tif", np.ascontiguousarray(stored), **options)
    assert not image.loaded
    assert image.shape == (150, 200)
    for top, bottom, left, right in (
        (0, 10, 0, 20),
        (25, 70, 40, 60),
        (149, 150, 190, 200),
        (31, 33, 47, 50),
    ):
        rows, columns = slice(top, bottom), slice(left, right)
        part = image.region(rows, columns)
        np.testing.assert_array_equal(np.moveaxis(part, 0, -1), pixels[rows, columns])
    assert not image.loaded


def test_jpeg_tiles(tmp_path: Path) -> None:
    smooth = (colour() // 2).copy()
    smooth[..., 2] = 90
    image = large(tmp_path / "v.tif", smooth, tile=(32, 48), compression="jpeg")
    part = np.moveaxis(image.region(slice(20, 45), slice(30, 60)), 0, -1)
    expected = tifffile.imread(tmp_path / "v.tif")[20:45, 30:60]
    np.testing.assert_array_equal(part, expected)
    assert np.abs(part.astype(int) - smooth[20:45, 30:60]).mean() < 6


def test_grey_and_white_is_zero(tmp_path: Path) -> None:
    pixels = volume(np.uint16, (60, 70))
    image = large(tmp_path / "v.tif", pixels, photometric="miniswhite")
    part = image.region(slice(5, 9), slice(60, 70))
    np.testing.assert_array_equal(part[0], 65535 - pixels[5:9, 60:70])
    assert part.dtype == np.uint16


def test_the_whole_is_refused_by_naming_the_way(tmp_path: Path) -> None:
    image = large(tmp_path / "v.tif", colour(), tile=(32, 48))
    with pytest.raises(TooLargeError, match=r"v.tif' has 200 x 150.*image.region.*max_pixels"):
        _ = image.array
    with pytest.raises(TooLargeError, match="smaller one"):
        image.region(slice(0, 150), slice(0, 200))


def test_only_the_tiles_of_the_window_are_read(tmp_path: Path) -> None:
    image = large(tmp_path / "v.tif", colour(600, 800), tile=(64, 64), compression="zlib")
    image.region(slice(0, 1), slice(0, 1))
    tracemalloc.start()
    image.region(slice(300, 320), slice(400, 420))
    assert tracemalloc.get_traced_memory()[1] < 200_000, "the whole takes 1.4 MB"
    tracemalloc.stop()


def test_a_tile_that_states_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.tif"
    large(path, colour(), tile=(32, 48), compression="jpeg")
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0")
    while at >= 0:
        data[at + 5 : at + 9] = b"\xff\xf0\xff\xf0"
        at = data.find(b"\xff\xc0", at + 2)
    path.write_bytes(data)
    image = load(path, max_pixels=LIMIT).image("photo")
    tracemalloc.start()
    with pytest.raises(UnreadableError, match="tile of another size"):
        image.region(slice(0, 2), slice(0, 2))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    image = large(tmp_path / "v.tif", colour(), tile=(32, 48))
    with (tmp_path / "v.tif").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UnreadableError, match="when it was opened"):
        image.region(slice(0, 1), slice(0, 1))


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_alike_grey_pages_are_a_volume(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    array = volume(kind)
    tifffile.imwrite(tmp_path / "v.tif", array, photometric="minisblack", metadata=None, **options)
    image = load(tmp_path / "v.tif").image("volume")
    assert not image.loaded
    assert image.spacing is None, "dots per inch describe paper"
    assert image.flags == ("no-scale",)
    np.testing.assert_array_equal(
        image.region(slice(1, 3), slice(2, 4), slice(0, 5))[0], array[1:3, 2:4, 0:5]
    )
    np.testing.assert_array_equal(image.array[0], array)
    assert image.dtype == np.dtype(kind)


def test_pages_that_differ_are_no_volume(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "v.tif") as writer:
        writer.write(volume(np.uint8, (8, 9)), metadata=None)
        writer.write(volume(np.uint8, (8, 10)), metadata=None)
    image = load(tmp_path / "v.tif").image("photo")
    assert image.flags == ("first-page-only",)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("µm", 1e-3), ("nm", 1e-6)])
def test_an_ome_header_has_millimetres(tmp_path: Path, unit: str, factor: float) -> None:
    stated: dict[str, Any] = {"axes": "ZYX"}
    for axis, step in (("X", 2), ("Y", 3), ("Z", 5)):
        stated |= {f"PhysicalSize{axis}": step, f"PhysicalSize{axis}Unit": unit}
    tifffile.imwrite(tmp_path / "v.ome.tif", volume(np.uint16), metadata=stated)
    image = load(tmp_path / "v.ome.tif").image("volume")
    np.testing.assert_allclose(image.spacing, (5 * factor, 3 * factor, 2 * factor))
    np.testing.assert_array_equal(image.array[0], volume(np.uint16))


@pytest.mark.parametrize("axes", ["CZYX", "ZCYX", "TZYX", "ZTYX", "CYX", "TCYX"])
def test_the_axes_of_an_ome_header(tmp_path: Path, axes: str) -> None:
    sizes = {"C": 2, "T": 3, "Z": 4, "Y": 5, "X": 6}
    array = volume(np.uint16, tuple(sizes[a] for a in axes))
    extra = {"TimeIncrement": 2.0, "TimeIncrementUnit": "s"} if "T" in axes else {}
    tifffile.imwrite(tmp_path / "v.ome.tif", array, metadata={"axes": axes, **extra})
    image = load(tmp_path / "v.ome.tif").image("volume")
    order = [axes.index(a) for a in "TCZYX" if a in axes]
    expected = array.transpose(order)
    depth = sizes["Z"] if "Z" in axes else 1
    np.testing.assert_array_equal(image.array, expected.reshape(-1, depth, 5, 6))
    assert image.times == ((0.0, 2.0, 4.0) if "T" in axes and "C" not in axes else ())


def test_an_imagej_stack_has_millimetres(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "v.tif", volume(np.uint16), imagej=True, resolution=(1 / 0.5, 1 / 0.25),
        metadata={"spacing": 3.0, "unit": "um", "axes": "ZYX"},
    )  # fmt: skip
    image = load(tmp_path / "v.tif").image("volume")
    np.testing.assert_allclose(image.spacing, (3e-3, 0.25e-3, 0.5e-3), rtol=1e-4)


@pytest.mark.parametrize(
    "image",
    [
        Image("a", volume(np.uint16)[None], spacing=(2.5, 0.9, 0.7)),
        Image("a", volume(np.float32)[None]),
        Image("a", volume(np.int16, (3, *SHAPE)), spacing=(1.0, 2.0, 3.0), times=(0.0, 2.0, 4.0)),
        Image("a", volume(np.uint8, (2, *SHAPE))),
        Image("a", volume(np.float32, (1, 5, 6)), spacing=(0.5, 0.25)),
    ],
)
def test_what_is_written_comes_back(tmp_path: Path, image: Image) -> None:
    case = load(save(image, tmp_path / "v.tif"))
    (again,) = (item for item in case.items.values() if isinstance(item, Image))
    np.testing.assert_array_equal(again.array, image.array)
    assert again.dtype == image.dtype
    assert again.times == image.times
    if image.spacing is not None:
        np.testing.assert_allclose(again.spacing, image.spacing)


def test_colour_is_written_as_colour(tmp_path: Path) -> None:
    image = Image("photo", np.ascontiguousarray(colour().transpose(2, 0, 1)))
    for name in ("v.tif", "v.png"):
        np.testing.assert_array_equal(
            load(save(image, tmp_path / name)).image("photo").array, image.array
        )


def test_the_xml_bomb_is_never_parsed(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "' + "x" * 50 + '">'
    bomb += "".join(
        f'<!ENTITY c{i} "{("&" + ("b" if i == 0 else f"c{i - 1}") + ";") * 10}">' for i in range(9)
    )
    bomb += '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">&c8;</OME>'
    tifffile.imwrite(
        tmp_path / "v.tif", volume(np.uint16), description=bomb, metadata=None,
        photometric="minisblack",
    )  # fmt: skip
    image = load(tmp_path / "v.tif").image("volume")
    np.testing.assert_array_equal(image.array[0], volume(np.uint16))


def sound(name: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.tif"
        if name == "stack":
            tifffile.imwrite(path, volume(np.uint16), compression="zlib", photometric="minisblack")
        elif name == "ome":
            save(Image("a", volume(np.uint16)[None], spacing=(1.0, 2.0, 3.0)), path)
        else:
            tifffile.imwrite(path, colour(64, 64), photometric="rgb", tile=(32, 32))
        return path.read_bytes()


SOUND = {name: sound(name) for name in ("stack", "ome", "tiles")}


def survives(path: Path) -> None:
    message = path.name
    try:
        for image in load(path, max_pixels=LIMIT).items.values():
            if isinstance(image, Image):
                image.region(*(slice(0, min(3, n)) for n in image.shape))
                _ = image.array
    except OslerError as error:
        message = str(error)
    assert path.name in message


@pytest.mark.parametrize("name", SOUND)
def test_a_file_cut_anywhere(tmp_path: Path, name: str) -> None:
    data = SOUND[name]
    for end in range(1, len(data), max(1, len(data) // 60)):
        (tmp_path / "v.tif").write_bytes(data[:end])
        survives(tmp_path / "v.tif")


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(SOUND)),
    at=st.one_of(st.integers(0, 900), st.integers(0, 14_000)),
    other=st.binary(min_size=1, max_size=12),
)
def test_any_bytes_anywhere(tmp_path: Path, name: str, at: int, other: bytes) -> None:
    data = SOUND[name]
    at = min(at, len(data) - 1)
    (tmp_path / "v.tif").write_bytes(data[:at] + other + data[at + len(other) :])
    survives(tmp_path / "v.tif")
