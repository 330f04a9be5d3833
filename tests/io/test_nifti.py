"""NIfTI volumes: voxels, millimetres, scaling, time, conflicts, and damage."""

import gzip
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from volume_files import SHAPE, oblique, oracle, volume

from osler.errors import (
    GeometryError,
    InputError,
    OslerError,
    TooLargeError,
    UnreadableError,
    UnsupportedError,
)
from osler.io import load
from osler.io.nifti_out import write_nifti
from osler.record import Image

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def saved(
    path: Path, array: NDArray[Any], affine: NDArray[np.float64] | None = None, **fields: Any
) -> Path:
    """Write ``(D, H, W)`` with nibabel; the fields are set last, in the bytes of the header."""
    nii = nib.Nifti1Image(array.T, oblique() if affine is None else affine)
    nii.header.set_xyzt_units("mm", "sec")
    nii.to_filename(path)
    if fields:
        packed = path.suffix == ".gz"
        data = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
        header = nib.Nifti1Header(bytes(data[:348]), check=False)
        for name, value in fields.items():
            header.structarr[name] = value
        data[:348] = header.binaryblock
        path.write_bytes(gzip.compress(bytes(data)) if packed else bytes(data))
    return path


def opened(path: Path, **options: Any) -> Image:
    return load(path, **options).image("volume")


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.hdr"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_voxels_and_millimetres_of_every_layout(
    tmp_path: Path, name: str, order: str, version: int
) -> None:
    array = volume()
    pair = name.endswith(".hdr")
    kinds: dict[tuple[int, bool], Any] = {
        (1, False): nib.Nifti1Image,
        (1, True): nib.Nifti1Pair,
        (2, False): nib.Nifti2Image,
        (2, True): nib.Nifti2Pair,
    }
    kind = kinds[version, pair]
    header = kind.header_class(endianness=order)
    header.set_data_dtype(array.dtype.newbyteorder(order))
    kind(array.T, oblique(), header).to_filename(tmp_path / name)
    image = opened(tmp_path / name)
    assert not image.loaded
    np.testing.assert_array_equal(image.array[0], array)
    assert image.dtype == np.int16
    assert image.shape == SHAPE
    if version == 1:  # SimpleITK reads no NIfTI-2
        seen, place = oracle(tmp_path / name)
        np.testing.assert_array_equal(seen, image.array[0])
        np.testing.assert_allclose(image.affine, place, atol=1e-4)
    # nibabel's matrix is RAS and of (i, j, k)
    nii: Any = nib.load(tmp_path / name)
    np.testing.assert_allclose(image.affine, (RAS_TO_LPS @ nii.affine)[:, [2, 1, 0, 3]], atol=1e-6)
    np.testing.assert_allclose(image.spacing, (2.5, 0.9, 0.7), atol=1e-6)
    assert load(tmp_path / name).id == "v"


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_real_type(tmp_path: Path, kind: str) -> None:
    array = volume(kind)
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    nib.Nifti1Image(array.T, oblique(), header).to_filename(tmp_path / "v.nii.gz")
    image = opened(tmp_path / "v.nii.gz")
    assert image.dtype == array.dtype
    np.testing.assert_array_equal(image.array[0], array)
    again = opened(write_nifti(image, tmp_path / "w.nii"))
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again.array, image.array)


@pytest.mark.parametrize("channels", [3, 4])
def test_colour(tmp_path: Path, channels: int) -> None:
    pixels = volume(np.uint8, (*SHAPE, channels))
    names = "RGBA"[:channels]
    stored = pixels.view([(c, "u1") for c in names])[..., 0]
    nib.Nifti1Image(stored.T, np.eye(4)).to_filename(tmp_path / "v.nii.gz")
    image = opened(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(np.moveaxis(image.array, 0, -1), pixels)
    assert image.channels == ((), ("red", "green", "blue", "alpha"))[channels - 3]
    write_nifti(Image("a", image.array, channels=image.channels), tmp_path / "w.nii")
    again: Any = nib.load(tmp_path / "w.nii")
    np.testing.assert_array_equal(np.asarray(again.dataobj), stored.T)


@pytest.mark.parametrize(
    ("slope", "inter", "dtype"),
    [
        (1.0, 0.0, np.int16),
        (0.0, 5.0, np.int16),
        (np.nan, np.nan, np.int16),
        (1.0, -1024.0, np.int32),
        (2.0, 0.0, np.int32),
        (0.25, -3.0, np.float32),
    ],
)
def test_scaling_keeps_integers_where_it_can(
    tmp_path: Path, slope: float, inter: float, dtype: Any
) -> None:
    path = saved(tmp_path / "v.nii.gz", volume(), scl_slope=slope, scl_inter=inter)
    image = opened(path)
    assert image.dtype == dtype
    nii: Any = nib.load(path)
    np.testing.assert_array_equal(image.array[0], nii.get_fdata().T.astype(dtype))
    again: Any = nib.load(write_nifti(image, tmp_path / "w.nii"))
    np.testing.assert_array_equal(again.dataobj.get_unscaled(), volume().T)
    kept = opened(tmp_path / "w.nii").header["nifti"]
    np.testing.assert_array_equal([kept["scl_slope"], kept["scl_inter"]], [slope, inter])


def test_values_that_the_old_scaling_cannot_give_are_stored_as_they_are(tmp_path: Path) -> None:
    image = opened(saved(tmp_path / "v.nii", volume(), scl_slope=0.25, scl_inter=0))
    image.array = image.array + np.float32(0.1)
    again = opened(write_nifti(image, tmp_path / "w.nii"))
    np.testing.assert_array_equal(again.array, image.array)


@pytest.mark.parametrize(("unit", "factor"), [(1, 1000.0), (2, 1.0), (3, 0.001)])
def test_units_become_millimetres(tmp_path: Path, unit: int, factor: float) -> None:
    image = opened(saved(tmp_path / "v.nii", volume(), xyzt_units=unit))
    np.testing.assert_allclose(image.spacing, np.array([2.5, 0.9, 0.7]) * factor, rtol=1e-6)
    lps = (RAS_TO_LPS @ np.diag([factor, factor, factor, 1]) @ oblique())[:, [2, 1, 0, 3]]
    np.testing.assert_allclose(image.affine, lps, rtol=1e-5)
    again: Any = nib.load(write_nifti(image, tmp_path / "w.nii"))
    assert again.header["xyzt_units"] == unit, "a volume that was not moved keeps its header"


def test_a_unit_that_is_not_stated_is_said(tmp_path: Path) -> None:
    image = opened(saved(tmp_path / "v.nii", volume(), xyzt_units=0))
    assert image.flags == ("millimetres-assumed",)


@pytest.mark.parametrize(("unit", "seconds"), [(8, 1.5), (16, 0.0015), (24, 1.5e-6)])
def test_time_is_the_channel_axis(tmp_path: Path, unit: int, seconds: float) -> None:
    array = volume(np.int16, (3, *SHAPE))
    path = saved(
        tmp_path / "v.nii.gz", array, xyzt_units=2 | unit, pixdim=[1, 0.7, 0.9, 2.5, 1.5, 1, 1, 1]
    )
    image = opened(path)
    np.testing.assert_array_equal(image.array, array)
    np.testing.assert_allclose(image.times, [0, seconds, 2 * seconds])
    bare = Image("v", image.array, affine=image.affine, times=image.times)
    again = opened(write_nifti(bare, tmp_path / "w.nii.gz"))
    np.testing.assert_allclose(again.times, image.times, rtol=1e-6)


def test_time_without_a_unit_is_said(tmp_path: Path) -> None:
    image = opened(saved(tmp_path / "v.nii", volume(np.int16, (3, *SHAPE)), xyzt_units=2))
    assert image.times == ()
    assert "time-step-unknown" in image.flags


def test_a_plane_has_two_axes(tmp_path: Path) -> None:
    array = volume(np.int16, (5, 6))
    nib.Nifti1Image(array.T, oblique()).to_filename(tmp_path / "v.nii")
    image = opened(tmp_path / "v.nii")
    assert image.shape == (5, 6)
    np.testing.assert_array_equal(image.array[0], array)
    assert image.spacing is not None
    np.testing.assert_allclose(image.spacing, (0.9, 0.7), atol=1e-6)
    again = opened(write_nifti(image, tmp_path / "w.nii"))
    assert again.shape == (5, 6)


def test_a_conflict_is_an_error_that_names_the_way_out(tmp_path: Path) -> None:
    nii = nib.Nifti1Image(volume().T, oblique())
    moved = oblique()
    moved[0, 3] += 5
    nii.set_qform(oblique(), code=1)
    nii.set_sform(moved, code=2)
    nii.to_filename(tmp_path / "v.nii")
    with pytest.raises(GeometryError, match=r'v.nii.*sform.*qform.* 5 apart.*prefer="sform"'):
        load(tmp_path / "v.nii")
    by_sform = opened(tmp_path / "v.nii", prefer="sform")
    by_qform = opened(tmp_path / "v.nii", prefer="qform")
    assert by_sform.affine is not None
    assert by_qform.affine is not None
    np.testing.assert_allclose((by_sform.affine - by_qform.affine)[:, 3], [-5, 0, 0, 0], atol=1e-5)
    assert "prefers-qform" in by_qform.flags
    neither = opened(tmp_path / "v.nii", prefer="none")
    assert neither.affine is None
    with pytest.raises(InputError, match=r"takes no option 'anything'; it takes: .*prefer"):
        load(tmp_path / "v.nii", anything=1)
    # both matrices are kept when it is written again
    again: Any = nib.load(write_nifti(by_qform, tmp_path / "w.nii"))
    np.testing.assert_allclose(again.get_sform(), moved, atol=1e-4)


def test_a_small_difference_is_a_flag(tmp_path: Path) -> None:
    nii = nib.Nifti1Image(volume().T, oblique())
    moved = oblique()
    moved[0, 3] += 0.1
    nii.set_qform(oblique(), code=1)
    nii.set_sform(moved, code=1)
    nii.header.set_xyzt_units("mm")
    nii.to_filename(tmp_path / "v.nii")
    assert opened(tmp_path / "v.nii").flags == ("qform-sform-differ",)


def test_no_matrix_is_never_made_up(tmp_path: Path) -> None:
    image = opened(saved(tmp_path / "v.nii", volume(), sform_code=0, qform_code=0))
    assert image.affine is None
    assert image.flags == ("no-orientation",)
    np.testing.assert_allclose(image.spacing, (2.5, 0.9, 0.7), atol=1e-6)
    bare = opened(saved(tmp_path / "v.nii", volume(), sform_code=0, qform_code=0, xyzt_units=0))
    assert bare.spacing is None
    for source in (image, bare):
        again = opened(
            write_nifti(Image("v", source.array, spacing=source.spacing), tmp_path / "w.nii")
        )
        assert again.affine is None
        assert (again.spacing is None) == (source.spacing is None)


@pytest.mark.parametrize("row", [[0, 0, 0, 0], [np.nan, 0, 0, 0], [0, 0.9, 0, 0]])
def test_a_matrix_that_places_no_box(tmp_path: Path, row: list[float]) -> None:
    path = saved(tmp_path / "v.nii", volume(), qform_code=0, sform_code=1, srow_x=row,
                 srow_y=[0, 0.9, 0, 0], srow_z=[0, 0, 1, 0])  # fmt: skip
    with pytest.raises(GeometryError, match=r"v.nii.*sform"):
        load(path)


def test_header_and_extensions_survive(tmp_path: Path) -> None:
    nii = nib.Nifti1Image(volume().T, oblique())
    nii.header["descrip"] = b"made by hand"
    nii.header["intent_code"], nii.header["cal_max"] = 1002, 7.5
    nii.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept as it is"))
    nii.to_filename(tmp_path / "v.nii.gz")
    image = opened(tmp_path / "v.nii.gz")
    again: Any = nib.load(write_nifti(image, tmp_path / "w.nii.gz"))
    first: Any = nib.load(tmp_path / "v.nii.gz")
    for name in first.header.structarr.dtype.names:
        if name not in ("vox_offset", "magic"):
            np.testing.assert_array_equal(first.header[name], again.header[name], err_msg=name)
    (extension,) = again.header.extensions
    assert extension.get_content().rstrip(b"\0") == b"kept as it is"


def test_a_moved_volume_gets_a_new_matrix(tmp_path: Path) -> None:
    image = opened(saved(tmp_path / "v.nii", volume(), descrip=b"kept"))
    assert image.affine is not None
    image.affine = image.affine.copy()
    image.affine[:3, 3] += (1, 2, 3)
    write_nifti(image, tmp_path / "w.nii")
    again = opened(tmp_path / "w.nii")
    np.testing.assert_allclose(again.affine, image.affine, atol=1e-4)
    np.testing.assert_allclose(oracle(tmp_path / "w.nii")[1], image.affine, atol=1e-4)
    assert again.header["nifti"]["descrip"] == "kept"


def test_a_region_reads_no_more(tmp_path: Path) -> None:
    path = saved(tmp_path / "v.nii", volume(), scl_slope=2, scl_inter=1)
    image = opened(path)
    part = image.region(slice(1, 3), slice(0, 2), slice(4, 6))
    assert not image.loaded
    np.testing.assert_array_equal(part, image.array[:, 1:3, 0:2, 4:6])


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "v.nii", volume())
    image = opened(path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(UnreadableError, match=r"had \d+ bytes when it was opened"):
        _ = image.array


def test_several_gzip_members(tmp_path: Path) -> None:
    data = saved(tmp_path / "v.nii", volume()).read_bytes()
    parts = [gzip.compress(data[:400]), gzip.compress(data[400:420]), gzip.compress(data[420:])]
    (tmp_path / "w.nii.gz").write_bytes(b"".join(parts))
    np.testing.assert_array_equal(opened(tmp_path / "w.nii.gz").array[0], volume())


def test_a_wrong_checksum(tmp_path: Path) -> None:
    path = saved(tmp_path / "v.nii.gz", volume())
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnreadableError):
        _ = opened(path).array


def test_the_limit_refuses_to_load_but_opens(tmp_path: Path) -> None:
    image = opened(saved(tmp_path / "v.nii", volume()), max_pixels=10)
    with pytest.raises(TooLargeError, match=r"120 voxels.*image.region.*max_pixels"):
        _ = image.array
    assert image.region(slice(0, 1), slice(0, 1), slice(0, 1)).size == 1


@pytest.mark.parametrize("dim", [[3, 32767, 32767, 32767, 1, 1, 1, 1], [3, 0, 5, 4, 1, 1, 1, 1],
                                 [9, 1, 1, 1, 1, 1, 1, 1], [3, -6, 5, 4, 1, 1, 1, 1]])  # fmt: skip
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_impossible_sizes_are_refused_at_once(tmp_path: Path, name: str, dim: list[int]) -> None:
    path = saved(tmp_path / name, volume(), dim=dim)
    tracemalloc.start()
    with pytest.raises(UnreadableError, match=name):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("code", "words"), [(32, "complex"), (1536, "float128"), (77, "not known")]
)
def test_types_that_are_not_read(tmp_path: Path, code: int, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        load(saved(tmp_path / "v.nii", volume(), datatype=code))


def test_analyze_does_not_say_left_from_right(tmp_path: Path) -> None:
    path = saved(tmp_path / "v.nii", volume(), magic=b"", regular=b"r")
    nib.AnalyzeImage(volume().T, np.diag([1.0, 2, 3, 1])).to_filename(tmp_path / "a.hdr")
    for one in (path, tmp_path / "a.hdr"):
        with pytest.raises(UnsupportedError, match=r"Analyze 7.5.*left from right"):
            load(one)


def test_a_pair_without_its_voxels(tmp_path: Path) -> None:
    nib.Nifti1Pair(volume().T, oblique()).to_filename(tmp_path / "v.hdr")
    (tmp_path / "v.img").unlink()
    with pytest.raises(UnreadableError, match=r"v.hdr.*\.img.*not beside"):
        load(tmp_path / "v.hdr")


def test_a_gzip_bomb_ends_at_what_the_header_announces(tmp_path: Path) -> None:
    data = saved(tmp_path / "v.nii", volume()).read_bytes()
    (tmp_path / "w.nii.gz").write_bytes(gzip.compress(data + bytes(50_000_000)))
    tracemalloc.start()
    np.testing.assert_array_equal(opened(tmp_path / "w.nii.gz").array[0], volume())
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def sound(name: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return saved(Path(folder) / name, volume(np.int16, (2, *SHAPE))).read_bytes()


SOUND = {name: sound(name) for name in ("v.nii", "v.nii.gz")}


def survives(path: Path) -> None:
    """Loads, or raises one of our errors that names the file."""
    message = path.name
    try:
        _ = load(path).image("volume").array
    except OslerError as error:
        message = str(error)
    assert path.name in message


@pytest.mark.parametrize("name", SOUND)
def test_cut_anywhere_it_is_refused(tmp_path: Path, name: str) -> None:
    data = SOUND[name]
    for end in range(1, len(data), 13):
        (tmp_path / name).write_bytes(data[:end])
        with pytest.raises(OslerError):
            _ = load(tmp_path / name).image("volume").array


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(SOUND)),
    at=st.integers(0, 400),
    other=st.binary(min_size=1, max_size=16),
)
def test_any_bytes_in_the_header(tmp_path: Path, name: str, at: int, other: bytes) -> None:
    data = SOUND["v.nii"]
    data = data[:at] + other + data[at + len(other) :]
    (tmp_path / name).write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
    survives(tmp_path / name)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    fields=st.dictionaries(st.sampled_from([0, 40, 42, 44, 46, 48, 50, 70, 72, 76, 108, 112, 116,
                                            123, 252, 254, 256, 280, 296, 344, 348, 352]),
                           st.one_of(st.integers(-(2**31), 2**31 - 1), st.floats(width=32)),
                           max_size=4))  # fmt: skip
def test_any_values_in_the_header(tmp_path: Path, fields: dict[int, float]) -> None:
    data = bytearray(SOUND["v.nii"])
    for at, value in fields.items():
        struct.pack_into("<i" if isinstance(value, int) else "<f", data, at, value)
    (tmp_path / "v.nii").write_bytes(data)
    survives(tmp_path / "v.nii")


def test_real_volumes(data_dir: Path) -> None:
    for path in (
        data_dir / "ct-example" / "example_ct_sm.nii.gz",
        next((data_dir / "hippocampus" / "imagesTr").glob("*.nii.gz")),
    ):
        image = opened(path)
        nii: Any = nib.load(path)
        np.testing.assert_array_equal(image.array[0], np.asarray(nii.dataobj).T)
        np.testing.assert_allclose(image.affine, oracle(path)[1], atol=1e-4)
