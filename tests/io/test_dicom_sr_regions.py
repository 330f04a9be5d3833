"""Lines and points of volumes in structured reports: in their slice, back as they were."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicom_check import errors
from dicom_stack import enhanced, stack
from fake_case import fake_case
from fake_series import series, write_series

from osler.io import load
from osler.io.dicom_findings import add
from osler.io.dicom_sr import write_measurements, write_sr
from osler.record import Case, Code, Contour, Image, Measurement, Point, Source

WHO = Source("algorithm", "calipers", "1.0")
LINE = np.array([(3, 1.25, 2.5), (3, 5.5, 9)])
RING = np.array([(2, 1.0, 1), (2, 1, 5), (2, 4, 5)])
TWO = (RING, RING + np.array([0, 0, 6]), RING + np.array([1, 1, 0]))
"""Two parts in one plane and one in the next."""
INNER = RING.mean(0) + (RING - RING.mean(0)) / 3
CROSS = (LINE, LINE + np.array([0, -1, 1]))


def drawn(case: Case, item: str) -> Case:
    nodule = Code("27925004", "SCT", "Nodule")
    case.add(Contour(id="axis", name="Axis", source=WHO, item=item, rings=(LINE,), closed=False))
    case.add(Contour(id="rim", name="Rim", source=WHO, item=item, rings=(RING,), code=nodule))
    case.add(Contour(id="two", name="Two", source=WHO, item=item, rings=TWO))
    case.add(Contour(id="holed", name="Holed", source=WHO, item=item, rings=(RING, INNER)))
    case.add(Contour(id="cross", name="Cross", source=WHO, item=item, rings=CROSS, closed=False))
    case.add(Measurement(id="area.two", name="Area", source=WHO, item=item, value=20.0, unit="mm2", evidence=("two",)))  # fmt: skip  # noqa: E501
    case.add(Point(id="tip", name="Tip", source=WHO, item=item, position=(4.0, 2.25, 3.5)))
    case.add(Measurement(id="length.axis", name="Length", source=WHO, item=item, value=7.5, unit="mm", evidence=("axis",)))  # fmt: skip  # noqa: E501
    return case


def check(path: Path, image: Image) -> None:
    assert not errors(path)
    again = Case("d", items={image.name: image})
    add(again, path)
    axis, rim = again.get("axis", Contour), again.get("rim", Contour)
    assert np.allclose(axis.rings[0], LINE, atol=1e-5)
    assert not axis.closed
    assert np.allclose(rim.rings[0], RING, atol=1e-5)
    assert rim.closed
    assert rim.code == Code("27925004", "SCT", "Nodule")
    assert again.get("tip", Point).position == pytest.approx((4.0, 2.25, 3.5), abs=1e-5)
    length = again.get("length.axis", Measurement)
    assert (length.value, length.unit, length.evidence) == (7.5, "mm", ("axis",))
    two, cross = again.get("two", Contour), again.get("cross", Contour)
    assert np.allclose(two.rings, TWO, atol=1e-5)
    assert two.closed
    assert again.get("area.two", Measurement).evidence == ("two",)
    assert np.allclose(cross.rings, CROSS, atol=1e-5)
    assert not cross.closed
    # a region has no hole: that is for a structure set
    assert "holed" not in again


def test_in_the_slices_of_a_series(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    case = drawn(Case("c", items={"ct": image}), "ct")
    path = write_measurements(case, tmp_path / "sr.dcm")
    check(path, image)
    content = hd.sr.srread(path).content
    kinds = {
        group.tracking_identifier: group.roi.graphic_type.value
        for group in content.get_planar_roi_measurement_groups()
    }
    assert kinds == {"axis": "POLYLINE", "rim": "POLYLINE", "tip": "POINT"}
    named = [
        node.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for group in pydicom.dcmread(path).ContentSequence[-1].ContentSequence
        for region in group.ContentSequence
        if region.ValueType == "SCOORD"
        for node in region.ContentSequence
    ]
    assert sorted(named) == sorted(series()[n].SOPInstanceUID for n in (2, 3, 4, 2, 2, 3, 3, 3))
    parts = [
        [region.graphic_type.value for region in group.roi]
        for group in content.get_volumetric_roi_measurement_groups()
    ]
    assert parts == [["POLYLINE"] * 3, ["POLYLINE"] * 2]


def test_in_the_frames_of_one_file(tmp_path: Path) -> None:
    ds = enhanced(stack())
    (tmp_path / "e").mkdir()
    ds.save_as(tmp_path / "e" / "e.dcm", enforce_file_format=True)
    case = load(tmp_path / "e")
    image = next(i for i in case.items.values() if isinstance(i, Image))
    drawn(case, image.name)
    check(write_measurements(case, tmp_path / "sr.dcm"), image)


def test_on_a_photograph(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op")
    rim = np.array([(10.0, 12), (10, 40), (33, 41.5)])
    case.add(Contour(id="rim", name="Rim", source=WHO, item="photo", rings=(rim,)))
    path = write_sr(case, tmp_path)
    assert not errors(path)
    again = Case("d", items={"photo": case.image("photo")})
    add(again, path)
    assert np.allclose(again.get("rim", Contour).rings[0], rim, atol=1e-4)
