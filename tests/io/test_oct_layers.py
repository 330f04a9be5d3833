"""Boundaries that an OCT device has drawn, and places on the en-face image both ways."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import oct_files as files
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import InputError
from osler.io import load
from osler.io.oct_layers import heights
from osler.io.oct_places import enface_of, nearest_ascan
from osler.record import Case, Contour, Transform


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def expected() -> Any:
    found = files.boundaries().astype(float)
    found[found > 1e30] = np.nan
    return found


def assert_drawn(case: Case, item: str = "oct") -> None:
    oct = case.image(item)
    drawn = [one for one in case.of(Contour) if one.item == item]
    assert [one.name for one in drawn] == ["Boundary ILM", "Boundary BM"], "the last is nowhere"
    for one, truth in zip(drawn, expected(), strict=False):
        np.testing.assert_allclose(heights(one, oct), truth, rtol=1e-6)
        assert not one.closed
        assert not one.frame
    ilm, bm = drawn
    assert len(ilm.rings) == 4, "one line in each B-scan"
    assert len(bm.rings) == 5, "parted where there is a gap in the middle"
    d, h, w = bm.rings[1].T
    np.testing.assert_array_equal(d, 0)
    np.testing.assert_array_equal(w, [4, 5, 6, 7])
    np.testing.assert_allclose(h, expected()[1, 0, 4:], rtol=1e-6)
    np.testing.assert_allclose(
        heights(bm, oct, millimetres=True), expected()[1] * 0.0039, rtol=1e-6
    )


def eyepy() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("eyepy")


def test_boundaries_of_a_vol_file(tmp_path: Path) -> None:
    path = put(tmp_path / "a.vol", files.vol(layers=files.boundaries()))
    case = load(path)
    assert_drawn(case)
    np.testing.assert_array_equal(case.image("oct").array[0], files.cube())
    other = eyepy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = other.io.HeVolReader(path).layers
    for one, layer in zip(case.of(Contour), truth, strict=False):
        np.testing.assert_allclose(heights(one, case.image("oct")), layer, rtol=1e-6)


def test_boundaries_of_one_bscan(tmp_path: Path) -> None:
    case = load(put(tmp_path / "a.vol", files.vol(files.cube(1), layers=files.boundaries(1, 8, 1))))
    (ilm,) = case.of(Contour)
    assert ilm.rings[0].shape == (8, 2)
    np.testing.assert_allclose(
        heights(ilm, case.image("oct")), files.boundaries(1, 8, 1)[0], rtol=1e-6
    )


def codes() -> Any:
    return (np.arange(4 * 6 * 8).reshape(4, 6, 8) * 331 % 60000 + 1024).astype(np.uint16)


@pytest.mark.parametrize("padding", [0, 3])
def test_boundaries_of_an_e2e_file(tmp_path: Path, padding: int) -> None:
    data = files.e2e(codes(), layers=files.boundaries(), by_hand=(1,), padding=padding)
    path = put(tmp_path / "a.e2e", data)
    case = load(path)
    assert_drawn(case)
    assert [one.flags for one in case.of(Contour)] == [(), ("edited-by-hand",)]
    other = eyepy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with other.io.HeE2eReader(path) as reader:
            (series,) = reader.series
            truth = series.get_layers()
    for number, one in enumerate(case.of(Contour)):
        np.testing.assert_allclose(heights(one, case.image("oct")), truth[number], rtol=1e-6)


def test_boundaries_of_an_xml_export(tmp_path: Path) -> None:
    ilm, bm, nothing = files.boundaries()
    planes = (files.cube() * 200).astype(np.uint8)
    path = files.heyex_xml(tmp_path, planes, layers={"ILM": ilm, "BM": bm, "RNFL": nothing})
    case = load(path)
    assert_drawn(case)
    assert [one.flags for one in case.of(Contour)] == [(), ("edited-by-hand",)]


@pytest.mark.parametrize("count", [65, 2**31])
def test_boundaries_that_cannot_be_are_left_out(tmp_path: Path, count: int) -> None:
    data = bytearray(files.vol(layers=files.boundaries()))
    at = 2048 + files.enface().size + 48
    assert data[at : at + 4] == (3).to_bytes(4, "little")
    data[at : at + 4] = count.to_bytes(4, "little")
    case = load(put(tmp_path / "a.vol", bytes(data)))
    assert "layers-left-out" in case.image("oct").flags
    ilm = next(case.of(Contour))
    assert np.isnan(heights(ilm, case.image("oct"))[0]).all(), "of that B-scan nothing is said"


def test_a_boundary_of_something_else_is_refused(tmp_path: Path) -> None:
    case = load(put(tmp_path / "a.vol", files.vol(layers=files.boundaries())))
    with pytest.raises(InputError, match="no boundary"):
        heights(next(case.of(Contour)), case.image("slo"))
    oct = case.image("oct")
    oct.spacing, oct.header = None, {}
    with pytest.raises(InputError, match="depth of a pixel"):
        heights(next(case.of(Contour)), oct, millimetres=True)


@given(d=st.integers(0, 3), w=st.floats(0, 7))
def test_places_lead_there_and_back(d: int, w: float) -> None:
    """Parallel, radial and uneven B-scans: each A-scan is the nearest to its own place."""
    radial = [(5 + 4 * np.sin(a), 5 + 4 * np.cos(a), 5 - 4 * np.sin(a), 5 - 4 * np.cos(a))
              for a in np.arange(4) * np.pi / 4]  # fmt: skip
    for lines in ([(i * 2.0, 1.0, i * 2.0, 9.0) for i in range(4)], radial):
        h, x = enface_of(lines[d], 8, w)
        back, at, off = nearest_ascan(lines, 8, h, x)
        assert off < 1e-9
        assert enface_of(lines[back], 8, at) == pytest.approx((h, x), abs=1e-9)
        if abs(w - 3.5) > 1e-3:  # where radial lines do not cross
            assert (back, at) == (d, pytest.approx(w, abs=1e-6))


def test_places_are_those_of_eyepy_and_of_the_transform(tmp_path: Path) -> None:
    path = put(tmp_path / "a.vol", files.vol())
    case = load(path)
    (transform,) = case.of(Transform)
    lines = case.image("oct").header["bscans"]
    other = eyepy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = other.io.HeVolReader(path).volume
    for d in range(4):
        for w in (0, 3, 7):
            h, x = enface_of(lines[d], 8, w)
            np.testing.assert_allclose(transform.matrix @ (d, 2, w, 1), (h, x, 1), atol=1e-9)
            # it counts B-scans from the top of the en-face image, and gives (x, y)
            theirs = volume.localizer_transform([[w, 3 - d]])[0]
            np.testing.assert_allclose(theirs, (x, h), atol=1e-6)
            assert nearest_ascan(lines, 8, h, x)[:2] == (d, pytest.approx(w, abs=1e-6))


def test_beside_every_line_the_distance_is_told() -> None:
    assert nearest_ascan([(0, 0, 0, 8)], 9, 3.0, 4.0) == (0, 4.0, 3.0)
    assert nearest_ascan([(0, 0, 0, 8)], 9, 0.0, 12.0) == (0, 8.0, 4.0)
    with pytest.raises(InputError, match="not known"):
        nearest_ascan([], 9, 0.0, 0.0)


def test_a_circle_is_no_line(tmp_path: Path) -> None:
    header = load(put(tmp_path / "a.vol", files.vol(files.cube(1), pattern=2))).image("oct").header
    assert "bscans" not in header
    assert len(header["circle"]) == 1
