"""OCT files of three makers: samples, millimetres, eye, places of B-scans, doubts and damage."""

import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import oct_files as files
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.errors import (
    GeometryError,
    InputError,
    OslerError,
    UnreadableError,
    UnsupportedError,
)
from osler.io import load
from osler.record import Case, Image, Transform


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def codes(count: int = 4) -> Any:
    return (np.arange(count * 48) * 331 + 20_000).astype(np.uint16).reshape(count, 6, 8)


# --- Heidelberg .vol ------------------------------------------------------------------------


def test_a_vol_file(tmp_path: Path) -> None:
    data = files.cube()
    data[0, 0, 0] = np.finfo(np.float32).max
    case = load(put(tmp_path / "a.vol", files.vol(data)))
    oct = case.image("oct")
    assert not oct.loaded
    assert oct.shape == (4, 6, 8)
    assert oct.spacing == (pytest.approx(0.12), 0.0039, 0.1)
    assert oct.laterality == "R"
    assert oct.modality == "OPT"
    assert oct.affine is None
    assert oct.flags == ()
    assert oct.acquired is not None
    assert oct.acquired.year == 2019
    assert case.patient_id == "P-17"
    assert np.isnan(oct.array[0, 0, 0, 0]), "what was not measured is not the brightest"
    np.testing.assert_array_equal(oct.array[0, 1:], data[1:])
    slo = case.image("slo")
    np.testing.assert_array_equal(slo.array[0], files.enface())
    assert slo.spacing == (0.05, 0.1)


def test_a_region_of_a_vol_file(tmp_path: Path) -> None:
    oct = load(put(tmp_path / "a.vol", files.vol())).image("oct")
    part = oct.region(slice(1, 3), slice(2, 4), slice(0, 5))
    assert not oct.loaded
    np.testing.assert_array_equal(part[0], files.cube()[1:3, 2:4, 0:5])
    assert oct.region(slice(2, 2), slice(0, 6), slice(0, 8)).shape == (1, 0, 6, 8)


def test_eyepy_reads_the_same_of_a_vol_file(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eyepy = pytest.importorskip("eyepy")
        volume = eyepy.io.HeVolReader(put(tmp_path / "a.vol", files.vol()))
        parsed = volume.parsed_file
    oct = load(tmp_path / "a.vol").image("oct")
    np.testing.assert_array_equal(np.stack([b.data for b in parsed.bscans]), oct.array[0])
    assert parsed.scan_position == "OD"
    assert oct.spacing == pytest.approx((parsed.distance, parsed.scale_y, parsed.scale_x))
    np.testing.assert_array_equal(parsed.localizer, load(tmp_path / "a.vol").image("slo").array[0])
    for line, b in zip(oct.header["bscans"], parsed.bscans, strict=True):
        assert line == pytest.approx(
            (b.start_y / 0.05, b.start_x / 0.1, b.end_y / 0.05, b.end_x / 0.1)
        )


def test_the_transform_leads_to_the_lines(tmp_path: Path) -> None:
    case = load(put(tmp_path / "a.vol", files.vol()))
    (transform,) = case.of(Transform)
    assert (transform.item, transform.target) == ("oct", "slo")
    for d, (h0, w0, h1, w1) in enumerate(case.image("oct").header["bscans"]):
        np.testing.assert_allclose(transform.matrix @ (d, 3, 0, 1), (h0, w0, 1), atol=1e-9)
        np.testing.assert_allclose(transform.matrix @ (d, 0, 7, 1), (h1, w1, 1), atol=1e-9)


@pytest.mark.parametrize(
    ("options", "flag", "spaced"),
    [
        ({"distance": 0.3}, "bscan-step-differs", True),
        (
            {"lines": [(0, i**2 / 9, 1, i**2 / 9) for i in range(4)]},
            "bscans-unevenly-spaced",
            False,
        ),
        ({"pattern": 5}, "radial-scan", False),
        ({"eye": b"??"}, "laterality-not-stated", True),
    ],
)
def test_doubts_about_a_vol_file(
    tmp_path: Path, options: dict[str, Any], flag: str, spaced: bool
) -> None:
    case = load(put(tmp_path / "a.vol", files.vol(**options)))
    assert case.image("oct").flags == (flag,)
    assert (case.image("oct").spacing is not None) == spaced
    assert bool(list(case.of(Transform))) == spaced


def test_a_circle_is_a_plane(tmp_path: Path) -> None:
    oct = load(put(tmp_path / "a.vol", files.vol(files.cube(1), pattern=2))).image("oct")
    assert oct.shape == (6, 8)
    assert oct.spacing == (0.0039, 0.1)
    assert oct.flags == ("circular-scan",)
    np.testing.assert_array_equal(oct.array[0], files.cube(1)[0])


def test_a_size_that_is_no_length(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=r"a.vol.*no lengths in an eye"):
        load(put(tmp_path / "a.vol", files.vol(scale=300.0)))


def test_a_vol_file_that_lacks_a_bscan(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="states 4 B-scans but ends before the last"):
        load(put(tmp_path / "a.vol", files.vol()[:-600]))


# --- Topcon ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["@IMG_MOT_COMP_03", "@IMG_SCAN_03"])
def test_raw_topcon_volumes(tmp_path: Path, name: str) -> None:
    kind = b"FDS" if "SCAN" in name else b"FDA"
    data = files.topcon(files.raw_chunk(codes(), name), kind=kind)
    oct = load(put(tmp_path / "a.fda", data)).image("oct")
    assert not oct.loaded
    np.testing.assert_array_equal(oct.array[0], codes())
    assert oct.spacing == pytest.approx((3.0 / 4, 0.0026, 6.0 / 8))
    assert oct.laterality == "L"
    assert oct.flags == ("bscan-places-not-stated",)
    assert oct.acquired is not None
    assert oct.acquired.isoformat() == "2020-03-04T10:11:12"


def test_compressed_topcon_volumes(tmp_path: Path) -> None:
    planes = (np.arange(3 * 40 * 48) % 251).astype(np.uint8).reshape(3, 40, 48)
    oct = load(put(tmp_path / "a.fda", files.topcon(files.jpeg_chunk(planes)))).image("oct")
    np.testing.assert_array_equal(
        oct.region(slice(1, 3), slice(5, 9), slice(0, 48))[0], planes[1:3, 5:9]
    )
    assert not oct.loaded
    np.testing.assert_array_equal(oct.array[0], planes)


@pytest.mark.parametrize("order", [1, -1])
def test_a_fundus_is_red_whichever_way_it_is_stored(tmp_path: Path, order: int) -> None:
    colour = np.zeros((40, 48, 3), np.uint8)
    colour[..., 0], colour[..., 1] = 180, np.arange(48)
    data = files.topcon(files.raw_chunk(codes()), files.fundus_chunk(colour[..., ::order].copy()))
    photo = load(put(tmp_path / "a.fda", data)).image("photo")
    np.testing.assert_array_equal(np.moveaxis(photo.array, 0, -1), colour)
    assert photo.flags == ("colour-order-by-content",)
    assert photo.laterality == "L"


@pytest.mark.parametrize("options", [{"width_mm": 300.0}, {"depth_um": 2600.0}])
def test_nonsense_for_a_spacing_is_not_passed_on(tmp_path: Path, options: dict[str, Any]) -> None:
    data = files.topcon(files.raw_chunk(codes()), **options)
    oct = load(put(tmp_path / "a.fda", data)).image("oct")
    assert oct.spacing is None
    assert "spacing-implausible" in oct.flags


def test_neither_eye(tmp_path: Path) -> None:
    data = files.topcon(files.raw_chunk(codes()), eye=255)
    oct = load(put(tmp_path / "a.fda", data)).image("oct")
    assert oct.laterality is None
    assert "laterality-not-stated" in oct.flags


def test_a_topcon_file_that_lacks_a_bscan(tmp_path: Path) -> None:
    planes = np.zeros((3, 40, 48), np.uint8)
    data = files.jpeg_chunk(planes)
    lying = bytearray(files.topcon(data))
    at = bytes(lying).index(b"@IMG_JPEG") + 9 + 4 + 17
    assert lying[at] == 3
    lying[at] = 4
    with pytest.raises(UnreadableError, match="states 4 B-scans and holds 3"):
        load(put(tmp_path / "a.fda", bytes(lying)))
    with pytest.raises(UnsupportedError, match="no volume in a chunk that is read"):
        load(put(tmp_path / "a.fda", files.topcon()))


# --- Heidelberg .e2e ------------------------------------------------------------------------


def floats(array: Any) -> Any:
    """The slow way to a value: 6 bits of exponent, 10 of mantissa."""
    out = np.empty(array.shape)
    for place, code in np.ndenumerate(array):
        mantissa, exponent = int(code) & 1023, int(code) >> 10
        small = exponent == 0
        out[place] = (mantissa / 1024 + (not small)) * 2.0 ** (-62 if small else exponent - 63)
        out[place] *= exponent != 63
    return out.astype(np.float32)


def test_an_e2e_file(tmp_path: Path) -> None:
    case = load(put(tmp_path / "a.e2e", files.e2e(codes())))
    oct = case.image("oct")
    assert not oct.loaded
    np.testing.assert_array_equal(oct.array[0], floats(codes()))
    assert oct.spacing is None, "the file states no width of a pixel"
    assert oct.laterality == "R"
    assert oct.header["depth_spacing_mm"] == pytest.approx(0.0039)
    assert oct.header["bscans_deg"][1] == (1.0, -9.0, 1.0, 9.0)
    assert oct.flags == ("no-lateral-scale", "bscan-places-in-degrees")
    np.testing.assert_array_equal(case.image("slo").array[0], files.enface())


def test_eyepy_finds_the_same_in_an_e2e_file(tmp_path: Path) -> None:
    """It reads mantissas backwards and knows no special exponents; the other codes agree."""
    same = (((codes() % 60 + 1) << 10) | (codes() % 2) * 1023).astype(np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eyepy = pytest.importorskip("eyepy")
        with eyepy.io.HeE2eReader(put(tmp_path / "a.e2e", files.e2e(same))) as reader:
            (series,) = reader.series
            data, eye = series.get_bscans(), series.laterality()
    oct = load(tmp_path / "a.e2e").image("oct")
    np.testing.assert_array_equal(data, oct.array[0])
    assert eye == str(ord("R"))


def test_two_e2e_eyes_are_neither(tmp_path: Path) -> None:
    oct = load(put(tmp_path / "a.e2e", files.e2e(codes(), eyes=b"RL"))).image("oct")
    assert oct.laterality is None
    assert "laterality-conflict" in oct.flags


@pytest.mark.parametrize(
    ("options", "words"),
    [({"numbers": [0, 2, 6, 8]}, "lacks B-scan 3 "), ({"stated": 5}, "lacks B-scans")],
)
def test_an_e2e_file_that_lacks_a_bscan(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnreadableError, match=words):
        load(put(tmp_path / "a.e2e", files.e2e(codes(), **options)))


def test_directories_that_lead_in_a_circle(tmp_path: Path) -> None:
    data = bytearray(files.e2e(codes()))
    data[88 + 44 : 88 + 48] = (88).to_bytes(4, "little")
    with pytest.raises(UnreadableError, match="circle"):
        load(put(tmp_path / "a.e2e", bytes(data)))


# --- Heidelberg XML -------------------------------------------------------------------------


def planes() -> Any:
    return (np.arange(4 * 48) % 251).astype(np.uint8).reshape(4, 6, 8)


def test_an_xml_export(tmp_path: Path) -> None:
    case = load(files.heyex_xml(tmp_path, planes()))
    oct = case.image("oct")
    assert not oct.loaded
    assert oct.spacing == pytest.approx((0.12, 0.0039, 0.1))
    assert oct.laterality == "R"
    np.testing.assert_array_equal(
        oct.region(slice(1, 2), slice(2, 5), slice(1, 3))[0], planes()[1:2, 2:5, 1:3]
    )
    np.testing.assert_array_equal(oct.array[0], planes())
    np.testing.assert_array_equal(case.image("slo").array[0], files.enface())
    assert oct.header["bscans"][0] == pytest.approx((10.0, 1.0, 10.0, 9.0))
    assert list(case.of(Transform))


def test_an_eye_that_is_neither_is_not_the_left_one(tmp_path: Path) -> None:
    oct = load(files.heyex_xml(tmp_path, planes(), eye="X")).image("oct")
    assert oct.laterality is None
    assert oct.flags == ("laterality-not-stated",)


def test_what_an_xml_export_may_not_do(tmp_path: Path) -> None:
    path = files.heyex_xml(tmp_path, planes())
    text = path.read_text()
    path.write_text(text.replace("b2.tif", "gone.tif"))
    with pytest.raises(UnreadableError, match=r"scan.xml.*not beside it"):
        load(path)
    path.write_text(text.replace("<HEDX>", '<!DOCTYPE a [<!ENTITY b "c">]><HEDX>'))
    with pytest.raises(UnreadableError, match="entities"):
        load(path)
    path.write_text(text)
    files.Pillow.fromarray(planes()[0][:3]).save(tmp_path / "b1.tif")
    with pytest.raises((UnreadableError, OslerError)):
        _ = load(path).image("oct").array


# --- Zeiss ----------------------------------------------------------------------------------

NAME = "P100_Macular Cube 8x4_5-13-2014_10-30-5_OS_sn0001_cube_z.img"


def test_a_zeiss_file(tmp_path: Path) -> None:
    data = (np.arange(4 * 1024 * 8) % 251).astype(np.uint8).reshape(4, 1024, 8)
    oct = load(put(tmp_path / NAME, data.tobytes())).image("oct")
    np.testing.assert_array_equal(oct.array[0], data)
    assert oct.laterality == "L"
    assert oct.spacing is None
    assert oct.flags == ("no-scale", "size-from-name", "bscan-places-not-stated")
    assert oct.acquired is not None
    assert oct.acquired.isoformat() == "2014-05-13T10:30:05"


def test_a_renamed_zeiss_file_is_not_guessed_at(tmp_path: Path) -> None:
    path = put(tmp_path / "eye.img", bytes(4 * 1024 * 8))
    with pytest.raises(InputError, match=r"eye.img.*pass bscans="):
        load(path)
    oct = load(path, bscans=4).image("oct")
    assert oct.shape == (4, 1024, 8)
    assert oct.laterality is None
    with pytest.raises(UnreadableError, match="are not 5 B-scans"):
        load(path, bscans=5)
    with pytest.raises(UnreadableError, match="not 4 B-scans of 8 x 1024"):
        load(put(tmp_path / NAME, bytes(4 * 1024 * 8 - 1)))


def test_the_voxels_of_a_nifti_pair_are_no_eye(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_bytes(b"x")
    with pytest.raises(InputError, match=r"give the .hdr"):
        load(put(tmp_path / "a.img", bytes(100)))


# --- damage ---------------------------------------------------------------------------------

COLOUR = np.full((16, 16, 3), 90, np.uint8)
SOUND = {
    "a.vol": files.vol(),
    "raw.fda": files.topcon(files.raw_chunk(codes()), files.fundus_chunk(COLOUR)),
    "jpeg.fda": files.topcon(files.jpeg_chunk(np.zeros((2, 16, 16), np.uint8))),
    "a.e2e": files.e2e(codes()),
}


def survives(path: Path) -> Case | None:
    message = path.name
    case = None
    try:
        case = load(path)
        for image in case.items.values():
            if isinstance(image, Image):
                _ = image.array
    except OslerError as error:
        message = str(error)
    assert path.name in message
    assert "P-17" not in message
    return case


@pytest.mark.parametrize("name", SOUND)
def test_cut_anywhere_it_is_refused(tmp_path: Path, name: str) -> None:
    data = SOUND[name]
    for end in range(10, len(data), max(1, len(data) // 60)):
        path = put(tmp_path / name, data[:end])
        with pytest.raises(OslerError):
            pixels_of(path)


def pixels_of(path: Path) -> list[Any]:
    return [i.array for i in load(path).items.values() if isinstance(i, Image)]


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(SOUND)),
    at=st.one_of(st.integers(8, 400), st.integers(8, 4000)),
    other=st.binary(min_size=1, max_size=8),
)
def test_any_bytes_anywhere(tmp_path: Path, name: str, at: int, other: bytes) -> None:
    data = SOUND[name]
    at = min(at, len(data) - 1)
    survives(put(tmp_path / name, data[:at] + other + data[at + len(other) :]))


def test_sizes_that_are_not_there_take_no_memory(tmp_path: Path) -> None:
    data = bytearray(files.vol())
    data[16:20] = (60_000).to_bytes(4, "little")
    tracemalloc.start()
    with pytest.raises(UnreadableError):
        load(put(tmp_path / "a.vol", bytes(data)))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    old=st.sampled_from(["Width>8<", ">0.0039<", "<HEDX>", "b1.tif", "OCT<", "<Series>", "Coord"]),
    new=st.one_of(
        st.sampled_from(
            [">-1<", ">nan<", ">1e999<", "../b1.tif", "b1.tif\0", "", "&a;", "LOCALIZER<"]
        ),
        st.text(max_size=8),
    ),
)
def test_any_text_in_an_export(tmp_path: Path, old: str, new: str) -> None:
    path = files.heyex_xml(tmp_path, planes())
    text = path.read_text().replace(old, new, 1)
    path.write_bytes(text.encode("utf-8", "replace"))
    message = path.name
    try:
        _ = load(path).image("oct").array
    except OslerError as error:
        message = str(error)
    # a picture that the export names may be the one at fault
    assert any(name in message for name in (path.name, *(p.name for p in tmp_path.iterdir())))
