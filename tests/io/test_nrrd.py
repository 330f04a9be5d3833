"""NRRD volumes, attached and detached: voxels, millimetres, kinds of axes, and damage."""

import bz2
import gzip
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_files import SHAPE, itk_image, oblique, oracle, sitk, volume

from osler.errors import (
    GeometryError,
    InputError,
    OslerError,
    TooLargeError,
    UnreadableError,
    UnsupportedError,
)
from osler.io import load
from osler.io.nrrd_out import write_nrrd
from osler.record import Image

DIRECTIONS = "(0.7,0,0) (0,0.9,0.1) (0,-0.2,2.5)"
BASE = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "6 5 4",
    "space directions": DIRECTIONS,
    "endian": "little",
    "encoding": "raw",
    "space origin": "(-31.5,12.25,400)",
}


def made(path: Path, data: bytes | None = None, **fields: str | None) -> Path:
    """A file with the fields of BASE and others instead; None leaves one out."""
    names = {name.replace("_", " "): value for name, value in fields.items()}
    lines = [f"{k}: {v}" for k, v in (BASE | names).items() if v is not None]
    body = volume().astype("<i2").tobytes() if data is None else data
    path.write_bytes(("\n".join(["NRRD0004", "# by hand", *lines]) + "\n\n").encode() + body)
    return path


def opened(path: Path, **options: Any) -> Image:
    return load(path, **options).image("volume")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_voxels_and_millimetres(tmp_path: Path, encoding: str, order: str) -> None:
    body = volume().astype("<i2" if order == "little" else ">i2").tobytes()
    pack = {"raw": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}[encoding]
    path = made(tmp_path / "v.nrrd", pack(body), encoding=encoding, endian=order)
    image = opened(path)
    assert not image.loaded
    np.testing.assert_array_equal(image.array[0], volume())
    seen, place = oracle(path) if encoding != "bzip2" else (nrrd.read(str(path))[0].T, image.affine)
    np.testing.assert_array_equal(seen, image.array[0])
    np.testing.assert_allclose(image.affine, place, atol=1e-6)
    assert image.flags == ("sheared-axes",)


@pytest.mark.parametrize(("space", "turn"), [("RAS", (-1, -1, 1)), ("LAS", (1, -1, 1))])
@pytest.mark.parametrize("short", [True, False])
def test_every_frame_becomes_lps(tmp_path: Path, space: str, turn: Any, short: bool) -> None:
    words = {"R": "right", "L": "left", "A": "anterior", "S": "superior"}
    name = space if short else "-".join(words[letter] for letter in space)
    path = made(tmp_path / "v.nrrd", space=name)
    image = opened(path)
    assert image.affine is not None
    lps = opened(made(tmp_path / "w.nrrd")).affine
    np.testing.assert_allclose(image.affine, np.diag([*turn, 1]) @ lps)
    np.testing.assert_allclose(image.affine, oracle(path)[1], atol=1e-6)


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_type_from_itk_and_back(tmp_path: Path, kind: str) -> None:
    sitk.WriteImage(itk_image(volume(kind), oblique()), str(tmp_path / "v.nrrd"), True)
    image = opened(tmp_path / "v.nrrd")
    assert image.dtype == np.dtype(kind)
    np.testing.assert_array_equal(image.array[0], volume(kind))
    np.testing.assert_allclose(image.affine, oracle(tmp_path / "v.nrrd")[1], atol=1e-9)
    again = opened(write_nrrd(image, tmp_path / "w.nrrd"))
    np.testing.assert_array_equal(again.array, image.array)
    np.testing.assert_allclose(again.affine, image.affine, atol=1e-9)
    np.testing.assert_array_equal(oracle(tmp_path / "w.nrrd")[0], image.array[0])


@pytest.mark.parametrize("fastest", [True, False])
@pytest.mark.parametrize(("kind", "count"), [("RGB-color", 3), ("list", 4), ("vector", 3)])
def test_the_axis_of_channels(tmp_path: Path, fastest: bool, kind: str, count: int) -> None:
    array = volume(np.uint8, (count, *SHAPE))
    stored = np.moveaxis(array, 0, -1) if fastest else array
    order = (lambda a, b: [a, *b]) if fastest else (lambda a, b: [*b, a])
    path = made(
        tmp_path / "v.nrrd",
        np.ascontiguousarray(stored).tobytes(),
        type="uchar",
        dimension="4",
        sizes=" ".join(order(str(count), ["6", "5", "4"])),
        space_directions=" ".join(order("none", DIRECTIONS.split())),
        kinds=" ".join(order(kind, ["domain"] * 3)),
    )
    image = opened(path)
    np.testing.assert_array_equal(image.array, array)
    seen, place = oracle(path)
    np.testing.assert_array_equal(np.moveaxis(seen, -1, 0), image.array)
    np.testing.assert_allclose(image.affine, place, atol=1e-6)
    assert ("vectors-as-stored" in image.flags) == (kind == "vector")
    write_nrrd(image, tmp_path / "w.nrrd")
    again = opened(tmp_path / "w.nrrd")
    np.testing.assert_array_equal(again.array, image.array)
    assert again.header["nrrd"]["fields"]["kinds"] == image.header["nrrd"]["fields"]["kinds"]
    bare = Image("v", image.array, affine=image.affine)
    seen, place = oracle(write_nrrd(bare, tmp_path / "x.nrrd"))
    np.testing.assert_array_equal(np.moveaxis(seen, -1, 0), image.array)
    np.testing.assert_allclose(place, image.affine, atol=1e-6)


def test_time_has_a_step_and_a_unit(tmp_path: Path) -> None:
    image = Image("v", volume(np.int16, (3, *SHAPE)), spacing=(2.0, 1.0, 0.5), times=(0, 1.5, 3.0))
    again = opened(write_nrrd(image, tmp_path / "v.nrrd"))
    assert again.times == image.times
    assert again.spacing == image.spacing
    assert again.affine is None
    np.testing.assert_array_equal(again.array, image.array)


def test_itk_reads_what_has_times(tmp_path: Path) -> None:
    affine = oblique()[:, [2, 1, 0, 3]]
    image = Image("v", volume(np.int16, (3, *SHAPE)), affine=affine, times=(0, 1.5, 3.0))
    path = write_nrrd(image, tmp_path / "v.nrrd")
    seen, place = oracle(path)
    np.testing.assert_array_equal(np.moveaxis(seen, -1, 0), image.array)
    np.testing.assert_allclose(place, affine, atol=1e-9)
    assert opened(path).times == (0, 1.5, 3.0)


def test_time_without_a_unit_is_said(tmp_path: Path) -> None:
    data = volume(np.int16, (2, *SHAPE)).astype("<i2").tobytes()
    path = made(tmp_path / "v.nrrd", data, dimension="4", sizes="6 5 4 2",
                space_directions=f"{DIRECTIONS} none", kinds="domain " * 3 + "time")  # fmt: skip
    image = opened(path)
    assert image.times == ()
    assert "time-step-unknown" in image.flags


def test_a_plane_in_the_plane_and_in_space(tmp_path: Path) -> None:
    data = volume(np.int16, (5, 6)).tobytes()
    flat = opened(made(tmp_path / "v.nrrd", data, dimension="2", sizes="6 5", space=None,
                       space_directions=None, space_origin=None, spacings="0.7 0.9"))  # fmt: skip
    assert flat.shape == (5, 6)
    assert flat.affine is None
    assert flat.spacing == (0.9, 0.7)
    assert flat.flags == ("no-orientation", "millimetres-assumed")
    placed = opened(made(tmp_path / "w.nrrd", data, dimension="2", sizes="6 5",
                         space_directions="(0,0.7,0) (0,0,0.9)"))  # fmt: skip
    assert placed.affine is not None
    np.testing.assert_allclose(placed.affine[:3], [[1, 0, 0, -31.5], [0, 0, 0.7, 12.25],
                                                   [0, 0.9, 0, 400]])  # fmt: skip
    again = opened(write_nrrd(placed, tmp_path / "x.nrrd"))
    np.testing.assert_allclose(again.affine, placed.affine)


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({"space_origin": None}, ("no-origin",)),
        ({"space": "scanner-xyz"}, ("no-orientation",)),
        ({"space": None, "space_dimension": "3"}, ("no-orientation",)),
        ({"space": None, "space_directions": None, "space_origin": None},
         ("no-orientation", "no-scale")),
    ],
)  # fmt: skip
def test_no_affine_is_made_up(
    tmp_path: Path, fields: dict[str, str | None], flags: tuple[str, ...]
) -> None:
    image = opened(made(tmp_path / "v.nrrd", **fields))
    assert image.affine is None
    assert image.flags == flags
    assert (image.spacing is None) == ("no-scale" in flags)
    again = opened(write_nrrd(image, tmp_path / "w.nrrd"))
    assert again.affine is None
    assert again.spacing == image.spacing


def test_space_units(tmp_path: Path) -> None:
    image = opened(made(tmp_path / "v.nrrd", space_units='"um" "um" "um"'))
    assert image.affine is not None
    np.testing.assert_allclose(image.affine[:3, 3], [-0.0315, 0.01225, 0.4])
    with pytest.raises(GeometryError, match="space units"):
        load(made(tmp_path / "v.nrrd", space_units='"furlong" "furlong" "furlong"'))


@pytest.mark.parametrize("how", ["one", "list", "pattern"])
def test_voxels_in_other_files(tmp_path: Path, how: str) -> None:
    planes = [plane.astype("<i2").tobytes() for plane in volume()]
    if how == "one":
        (tmp_path / "v.raw.gz").write_bytes(gzip.compress(b"".join(planes)))
        path = made(tmp_path / "v.nhdr", b"", encoding="gzip", data_file="v.raw.gz")
    else:
        for i, plane in enumerate(planes):
            (tmp_path / f"v{i:02d}.raw").write_bytes(plane)
        stated = (
            "v%02d.raw 0 3 1"
            if how == "pattern"
            else "LIST\n" + "\n".join(f"v{i:02d}.raw" for i in range(4))
        )
        path = made(tmp_path / "v.nhdr", b"", data_file=stated)
        # what stands below the header of a list must not be taken for a name
        path.write_bytes(path.read_bytes().rstrip() + b"\n")
    image = opened(path)
    np.testing.assert_array_equal(image.array[0], volume())
    np.testing.assert_array_equal(oracle(path)[0], image.array[0])
    assert image.origin is not None
    assert len(image.origin.files) == (1 if how == "one" else 4)
    again = opened(write_nrrd(image, tmp_path / "w.nrrd"))
    np.testing.assert_array_equal(again.array, image.array)


@pytest.mark.parametrize("name", ["/etc/hostname", "../v.raw", "a/../../v.raw", "..\\v.raw"])
def test_a_name_that_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "v.raw").write_bytes(bytes(240))
    folder = tmp_path / "inside"
    folder.mkdir()
    with pytest.raises(InputError, match="outside its folder"):
        load(made(folder / "v.nhdr", b"", data_file=name))


def test_skipped_lines_and_bytes(tmp_path: Path) -> None:
    body = volume().astype("<i2").tobytes()
    for fields, data in (
        ({"line_skip": "2", "byte_skip": "3"}, b"a\nb\nabc" + body),
        ({"byte_skip": "-1"}, b"anything" + body),
    ):
        image = opened(made(tmp_path / "v.nrrd", data, **fields))
        np.testing.assert_array_equal(image.array[0], volume())


def test_other_fields_survive(tmp_path: Path) -> None:
    path = made(tmp_path / "v.nrrd", content="by hand", measurement_frame="(1,0,0) (0,1,0) (0,0,1)")
    path.write_bytes(path.read_bytes().replace(b"# by hand\n", b"modality:=DWMRI\n"))
    image = opened(path)
    _, header = nrrd.read(str(write_nrrd(image, tmp_path / "w.nrrd")))
    assert header["content"] == "by hand"
    assert header["modality"] == "DWMRI"
    np.testing.assert_array_equal(header["measurement frame"], np.eye(3))


def test_a_region_reads_no_more(tmp_path: Path) -> None:
    image = opened(made(tmp_path / "v.nrrd"))
    part = image.region(slice(1, 3), slice(2, 4), slice(0, 3))
    assert not image.loaded
    np.testing.assert_array_equal(part, image.array[:, 1:3, 2:4, 0:3])


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"encoding": "hex"}, UnsupportedError, "encoding"),
        ({"type": "block"}, UnsupportedError, "type"),
        ({"endian": None}, UnreadableError, "endian"),
        ({"type": None}, UnreadableError, "'type'"),
        ({"sizes": "6 5"}, UnreadableError, "3 dimensions and 2"),
        ({"sizes": "6 5 400000"}, UnreadableError, "incomplete"),
        ({"sizes": "6 5 0"}, UnreadableError, "empty axis"),
        ({"data_file": "gone.raw"}, UnreadableError, "not beside it"),
        ({"data_file": "%s%s 1 2 1"}, UnreadableError, "pattern"),
        ({"data_file": "v%d.raw 1 999999999 1"}, UnreadableError, "pattern"),
        ({"space_directions": "(0,0,0) (0,1,0) (0,0,1)"}, GeometryError, "no length"),
        ({"space_directions": "(0,1,0) (0,1,0) (0,0,1)"}, GeometryError, "coincide"),
        ({"dimension": "4", "sizes": "2 3 5 4", "space": None, "space_directions": None},
         UnsupportedError, "which are of space"),
    ],
)  # fmt: skip
def test_what_is_refused(
    tmp_path: Path, fields: dict[str, str | None], error: type[OslerError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        load(made(tmp_path / "v.nrrd", **fields))
    assert "v.nrrd" in str(caught.value)


def test_the_limit(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError, match="max_pixels"):
        _ = opened(made(tmp_path / "v.nrrd"), max_pixels=10).array


def survives(path: Path) -> None:
    message = path.name
    try:
        _ = load(path).image("volume").array
    except OslerError as error:
        message = str(error)
    assert path.name in message


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_cut_anywhere_it_is_refused(tmp_path: Path, encoding: str) -> None:
    pack = {"raw": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}[encoding]
    body = pack(volume().astype("<i2").tobytes())
    data = made(tmp_path / "v.nrrd", body, encoding=encoding).read_bytes()
    for end in range(1, len(data), 11):
        (tmp_path / "v.nrrd").write_bytes(data[:end])
        with pytest.raises(OslerError):
            _ = opened(tmp_path / "v.nrrd").array


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(0, 330), length=st.integers(0, 20), other=st.binary(max_size=20))
def test_any_bytes_in_the_header(tmp_path: Path, at: int, length: int, other: bytes) -> None:
    data = made(tmp_path / "v.nrrd", kinds="domain domain domain").read_bytes()
    (tmp_path / "v.nrrd").write_bytes(data[:at] + other + data[at + length :])
    survives(tmp_path / "v.nrrd")


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    fields=st.dictionaries(
        st.sampled_from([*BASE, "kinds", "spacings", "units", "space units", "data file",
                         "line skip", "byte skip", "sizes", "dimension"]),
        st.one_of(
            st.sampled_from(["none", "nan", "1e999", "-1", "0", "LIST", "LIST 2", "(1,2", "99" * 20,
                             "%d 1 2 1", "none none none", '"', "(nan,nan,nan)", "1 2 3", "3"]),
            st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12),
        ),
        max_size=4,
    )
)  # fmt: skip
def test_any_fields(tmp_path: Path, fields: dict[str, str]) -> None:
    survives(made(tmp_path / "v.nrrd", **fields))
