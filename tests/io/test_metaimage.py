"""MetaImage volumes, in one file and in several: voxels, millimetres, channels, and damage."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_files import SHAPE, itk_image, oblique, oracle, sitk, volume

from osler.errors import (
    GeometryError,
    InputError,
    OslerError,
    OutputError,
    UnreadableError,
    UnsupportedError,
)
from osler.io import load
from osler.io.metaimage_out import write_metaimage
from osler.record import Image

BASE = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "0.8 0.6 0 -0.6 0.8 0 0 0 1",
    "Offset": "-31.5 12.25 400",
    "ElementSpacing": "0.7 0.9 2.5",
    "DimSize": "6 5 4",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


def made(path: Path, data: bytes | None = None, **fields: str | None) -> Path:
    """A file with the fields of BASE and others instead; None leaves one out."""
    chosen: dict[str, str | None] = {**BASE, **fields}
    last = chosen.pop("ElementDataFile")
    lines = [f"{k} = {v}" for k, v in chosen.items() if v is not None]
    lines += [f"ElementDataFile = {last}"] if last is not None else []
    body = volume().astype("<i2").tobytes() if data is None else data
    path.write_bytes(("\n".join(lines) + "\n").encode() + body)
    return path


def opened(path: Path, **options: Any) -> Image:
    return load(path, **options).image("volume")


def agrees(path: Path, image: Image) -> None:
    """SimpleITK reads the same voxels at the same millimetres."""
    seen, place = oracle(path)
    expected = image.array[0] if image.channel_count == 1 else np.moveaxis(image.array, 0, -1)
    np.testing.assert_array_equal(seen, expected)
    np.testing.assert_allclose(image.affine, place, atol=1e-9)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("msb", [True, False])
def test_voxels_and_millimetres(tmp_path: Path, packed: bool, msb: bool) -> None:
    body = volume().astype(">i2" if msb else "<i2").tobytes()
    extra = {"CompressedData": "True"} if packed else {}
    body = zlib.compress(body) if packed else body
    if packed:
        extra["CompressedDataSize"] = str(len(body))
    path = made(tmp_path / "v.mha", body, BinaryDataByteOrderMSB=str(msb), **extra)
    image = opened(path)
    assert not image.loaded
    assert image.flags == ()
    np.testing.assert_array_equal(image.array[0], volume())
    np.testing.assert_allclose(image.spacing, (2.5, 0.9, 0.7))
    agrees(path, image)


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("name", ["v.mha", "v.mhd"])
def test_every_type_from_itk_and_back(tmp_path: Path, kind: str, name: str) -> None:
    sitk.WriteImage(itk_image(volume(kind), oblique()), str(tmp_path / name), True)
    image = opened(tmp_path / name)
    assert image.dtype == np.dtype(kind)
    assert image.flags == ()
    agrees(tmp_path / name, image)
    np.testing.assert_array_equal(image.array[0], volume(kind))
    again = write_metaimage(image, tmp_path / f"again-{name}")
    agrees(again, image)
    np.testing.assert_allclose(opened(again).affine, image.affine, atol=1e-9)


def test_every_old_name_of_a_type(tmp_path: Path) -> None:
    data = volume(np.int32).tobytes()
    path = made(tmp_path / "v.mha", data, ElementType="MET_LONG")
    agrees(path, opened(path))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_channels_lie_together(tmp_path: Path, count: int) -> None:
    pixels = volume(np.uint8, (*SHAPE, count))
    sitk.WriteImage(itk_image(pixels, oblique(), vector=True), str(tmp_path / "v.mha"))
    image = opened(tmp_path / "v.mha")
    np.testing.assert_array_equal(np.moveaxis(image.array, 0, -1), pixels)
    agrees(write_metaimage(image, tmp_path / "w.mha"), image)


def test_four_axes(tmp_path: Path) -> None:
    array = volume(np.int16, (2, *SHAPE))
    sitk.WriteImage(itk_image(array), str(tmp_path / "v.mha"))
    image = opened(tmp_path / "v.mha")
    np.testing.assert_array_equal(image.array, array)
    assert image.flags == ("time-step-unknown",)
    seen, _ = (sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in
               (write_metaimage(image, tmp_path / "w.mha"), tmp_path / "v.mha"))  # fmt: skip
    np.testing.assert_array_equal(seen, array)


def test_a_plane(tmp_path: Path) -> None:
    sitk.WriteImage(itk_image(volume(np.int16, (5, 6))), str(tmp_path / "v.mha"))
    image = opened(tmp_path / "v.mha")
    assert image.shape == (5, 6)
    assert image.affine is None
    assert image.spacing == (1.0, 1.0)
    again = opened(write_metaimage(image, tmp_path / "w.mha"))
    np.testing.assert_array_equal(again.array, image.array)


@pytest.mark.parametrize("how", ["one", "list", "pattern"])
def test_voxels_in_other_files(tmp_path: Path, how: str) -> None:
    planes = [plane.astype("<i2").tobytes() for plane in volume()]
    names = [f"v{i:02d}.raw" for i in range(4)]
    if how == "one":
        (tmp_path / "a name.raw").write_bytes(b"skipped" + b"".join(planes))
        path = made(tmp_path / "v.mhd", b"", ElementDataFile="a name.raw", HeaderSize="-1")
    else:
        for name, plane in zip(names, planes, strict=True):
            (tmp_path / name).write_bytes(plane)
        stated = "v%02d.raw 0 3 1" if how == "pattern" else "LIST\n" + "\n".join(names)
        path = made(tmp_path / "v.mhd", b"", ElementDataFile=stated)
    image = opened(path)
    np.testing.assert_array_equal(image.array[0], volume())
    agrees(path, image)


@pytest.mark.parametrize("name", ["/etc/hostname", "../v.raw", "a/../../v.raw"])
def test_a_name_that_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "v.raw").write_bytes(bytes(240))
    folder = tmp_path / "inside"
    folder.mkdir()
    with pytest.raises(InputError, match="outside its folder"):
        load(made(folder / "v.mhd", b"", ElementDataFile=name))


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({"TransformMatrix": None}, ("no-orientation",)),
        ({"Offset": None}, ("no-origin",)),
        ({"ElementSpacing": None}, ("no-scale",)),
    ],
)
def test_no_affine_is_made_up(
    tmp_path: Path, fields: dict[str, str | None], flags: tuple[str, ...]
) -> None:
    image = opened(made(tmp_path / "v.mha", **fields))
    assert image.affine is None
    assert image.flags == flags
    again = opened(write_metaimage(image, tmp_path / "w.mha"))
    assert again.affine is None
    assert again.spacing == image.spacing


def test_letters_that_say_something_else(tmp_path: Path) -> None:
    fine = opened(made(tmp_path / "v.mha", AnatomicalOrientation="RAI"))
    assert fine.flags == ()
    other = opened(made(tmp_path / "v.mha", AnatomicalOrientation="LPS"))
    assert other.flags == ("anatomical-orientation-differs",)


def test_other_fields_survive(tmp_path: Path) -> None:
    image = opened(made(tmp_path / "v.mha", Modality="MET_MOD_CT", Laboratory="by hand"))
    text = write_metaimage(image, tmp_path / "w.mha").read_bytes()
    assert b"Modality = MET_MOD_CT\n" in text
    assert b"Laboratory = by hand\n" in text


def test_times_do_not_fit(tmp_path: Path) -> None:
    image = Image("v", volume(np.int16, (2, *SHAPE)), times=(0.0, 1.0))
    with pytest.raises(OutputError, match=r"no unit of time; write it as .nii.gz or .nrrd"):
        write_metaimage(image, tmp_path / "v.mha")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"ObjectType": "Tube"}, UnsupportedError, "no image"),
        ({"ElementType": "MET_STRING"}, UnsupportedError, "ElementType"),
        ({"BinaryData": "False"}, UnsupportedError, "BinaryData"),
        ({"DimSize": "6 5"}, UnreadableError, "does not fit"),
        ({"DimSize": "6 5 400000"}, UnreadableError, "incomplete"),
        ({"DimSize": "6 5 0"}, UnreadableError, "does not fit"),
        ({"DimSize": "6 five 4"}, UnreadableError, "no list of numbers"),
        ({"NDims": "5", "DimSize": "1 1 6 5 4"}, UnsupportedError, "5 axes"),
        ({"ElementDataFile": None}, UnreadableError, "no field|does not say where"),
        ({"ElementDataFile": "gone.raw"}, UnreadableError, "not beside it"),
        ({"ElementSpacing": "1 0 1"}, GeometryError, "ElementSpacing"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, GeometryError, "coincide"),
        ({"TransformMatrix": "1 0 0 1"}, GeometryError, "another size"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, fields: dict[str, str | None], error: type[OslerError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        load(made(tmp_path / "v.mha", **fields))
    assert "v.mha" in str(caught.value)


def survives(path: Path) -> None:
    message = path.name
    try:
        _ = load(path).image("volume").array
    except OslerError as error:
        message = str(error)
    assert path.name in message


@pytest.mark.parametrize("packed", [True, False])
def test_cut_anywhere_it_is_refused(tmp_path: Path, packed: bool) -> None:
    body = volume().astype("<i2").tobytes()
    path = made(tmp_path / "v.mha", zlib.compress(body) if packed else body,
                CompressedData=str(packed))  # fmt: skip
    data = path.read_bytes()
    for end in range(1, len(data), 11):
        path.write_bytes(data[:end])
        with pytest.raises(OslerError):
            _ = opened(path).array


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(0, 330), length=st.integers(0, 20), other=st.binary(max_size=20))
def test_any_bytes_in_the_header(tmp_path: Path, at: int, length: int, other: bytes) -> None:
    data = made(tmp_path / "v.mha").read_bytes()
    (tmp_path / "v.mha").write_bytes(data[:at] + other + data[at + length :])
    survives(tmp_path / "v.mha")


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    fields=st.dictionaries(
        st.sampled_from([*BASE, "HeaderSize", "ElementNumberOfChannels", "DistanceUnits"]),
        st.one_of(
            st.sampled_from(["nan", "1e999", "-1", "0", "LIST", "True", "%d 1 2 1", "9" * 30, "3",
                             "inf inf inf", "4", "MET_FLOAT", "1 2 3"]),
            st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12),
        ),
        max_size=4,
    )
)  # fmt: skip
def test_any_fields(tmp_path: Path, fields: dict[str, str]) -> None:
    survives(made(tmp_path / "v.mha", **fields))
