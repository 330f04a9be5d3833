"""Boxes in structured reports and FHIR: valid, where they are, and back as they were."""

import json
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicom_check import errors
from dicom_stack import enhanced, stack
from fake_case import fake_case
from fake_series import series, write_series
from fhir_check import fhir_errors

from osler.errors import OutputError
from osler.io import dicom_out, fhir, load
from osler.io.dicom_findings import add
from osler.io.dicom_sr import write_measurements, write_sr
from osler.record import Box, Case, Contour, Image, Measurement, Source

WHO = Source("bundle", "nodules", "1.0.0")


def boxed(case: Case, item: str) -> Case:
    """A box through three planes with its chance and volume, and one in a single plane."""
    case.add(Box(id="nodule-1", name="Nodule", source=WHO, item=item, start=(1, 2, 3), stop=(4, 6, 8), probability=0.75, flags=("at-the-rim",)))  # fmt: skip  # noqa: E501
    case.add(Box(id="nodule-2", name="Nodule", source=WHO, item=item, start=(2, 0, 0), stop=(3, 4, 4)))  # fmt: skip  # noqa: E501
    case.add(Measurement(id="volume.nodule-1", name="Volume", source=WHO, item=item, value=1.5, unit="mL", evidence=("nodule-1",)))  # fmt: skip  # noqa: E501
    return case


def check(path: Path, image: Image) -> None:
    assert not errors(path)
    again = Case("d", items={image.name: image})
    add(again, path)
    first, second = again.get("nodule-1", Box), again.get("nodule-2", Box)
    assert (first.start, first.stop, first.probability) == ((1, 2, 3), (4, 6, 8), 0.75)
    assert (first.name, first.item, first.flags) == ("Nodule", image.name, ("at-the-rim",))
    assert (second.start, second.stop, second.probability) == ((2, 0, 0), (3, 4, 4), None)
    volume = again.get("volume.nodule-1", Measurement)
    assert (volume.value, volume.evidence) == (1.5, ("nodule-1",))
    assert not list(again.of(Contour))
    assert len(list(again.of(Measurement))) == 1  # the chance is the box's own


def test_in_the_slices_of_a_series(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    path = write_measurements(boxed(Case("c", items={"ct": image}), "ct"), tmp_path / "sr.dcm")
    check(path, image)
    content = hd.sr.srread(path).content
    (volume,) = content.get_volumetric_roi_measurement_groups()
    (plane,) = content.get_planar_roi_measurement_groups()
    assert volume.tracking_identifier == "nodule-1"
    assert plane.roi.graphic_type.value == "POLYLINE"
    # columns and rows from the corner of the first pixel; the line closes
    assert plane.roi.value.tolist() == [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
    for region in volume.roi:
        assert region.value.min(0).tolist() == [3, 2]
        assert region.value.max(0).tolist() == [8, 6]
    named = [
        region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for region in volume.roi
    ]
    assert named == [series()[plane].SOPInstanceUID for plane in (1, 2, 3)]
    purposes = [
        node.ConceptCodeSequence[0].CodeMeaning
        for group in pydicom.dcmread(path).ContentSequence[-1].ContentSequence
        for node in group.ContentSequence
        if node.ConceptNameCodeSequence[0].CodeValue == "130400"
    ]
    assert purposes == ["Bounded by", "Bounded by"]


def test_in_the_frames_of_one_file(tmp_path: Path) -> None:
    ds = enhanced(stack())
    (tmp_path / "e").mkdir()
    ds.save_as(tmp_path / "e" / "e.dcm", enforce_file_format=True)
    case = load(tmp_path / "e")
    image = next(i for i in case.items.values() if isinstance(i, Image))
    check(write_measurements(boxed(case, image.name), tmp_path / "sr.dcm"), image)


def test_on_a_photograph_and_by_the_verb(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op")
    case.add(Box(id="spot", name="Spot", source=WHO, item="photo", start=(4, 6), stop=(10, 9)))
    case.add(Box(id="off", name="Spot", source=WHO, item="photo", start=(4, 6), stop=(10**6, 9)))
    path = write_sr(case, tmp_path)
    assert not errors(path)
    again = Case("d", items={"photo": case.image("photo")})
    add(again, path)
    found = again.get("spot", Box)
    assert (found.start, found.stop) == ((4, 6), (10, 9))
    assert "off" not in again  # no region leaves its image
    (tmp_path / "ct").mkdir()
    alone = Case("e", items={"ct": write_series(tmp_path / "ct")})
    alone.add(Box(id="n", name="N", source=WHO, item="ct", start=(0, 0, 0), stop=(1, 2, 2)))
    (tmp_path / "out").mkdir()
    assert [one.name for one in dicom_out.write(alone, tmp_path / "out")] == ["report.dcm"]


@pytest.mark.parametrize(
    "ring",
    [
        [(0.0, 0), (0, 4), (4, 4), (4, 0)],  # through the middle of pixels
        [(-0.5, 1.5), (1.5, -0.5), (3.5, 1.5), (1.5, 3.5)],  # on its point
        [(-0.5, -0.5), (-0.5, 3.5), (3.5, 3.5)],
    ],
)
def test_other_outlines_stay_outlines(tmp_path: Path, ring: list[tuple[float, float]]) -> None:
    image = write_series(tmp_path)
    case = Case("c", items={"ct": image})
    flat = np.array([(1, *corner) for corner in ring])
    case.add(Contour(id="rim", name="Rim", source=WHO, item="ct", rings=(flat,)))
    path = write_measurements(case, tmp_path / "sr.dcm")
    from osler.io.dicom_sr_regions import corners_of

    again = Case("d", items={"ct": image})
    add(again, path)
    assert np.allclose(again.get("rim", Contour).rings[0], flat, atol=1e-5)
    assert corners_of([again.get("rim", Contour)]) is None


def test_where_nothing_was_found_there_is_no_report(tmp_path: Path) -> None:
    """A picture without objects is an answer too, and no reason to write nothing of it."""
    case = Case("none", "p", {"photo": Image("photo", np.zeros((3, 8, 8), np.uint8))})
    assert [one.name for one in dicom_out.write(case, tmp_path)] == ["photo.dcm"]


def test_without_an_image_there_is_no_dicom(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"'row' has no image, .*FHIR takes any case"):
        dicom_out.write(Case("row"), tmp_path)


def test_fhir_says_what_is_present_and_where(tmp_path: Path) -> None:
    r4 = pytest.importorskip("fhir.resources.R4B.bundle")
    case = boxed(Case("c", items={"ct": write_series(tmp_path)}), "ct")
    text = fhir.write(case, tmp_path).read_text(encoding="utf-8")
    r4.Bundle.model_validate_json(text)
    bundle = json.loads(text)
    assert not fhir_errors(bundle)
    observed = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Observation"]  # fmt: skip  # noqa: E501
    one = next(o for o in observed if o["code"]["text"] == "Nodule")
    assert one["valueCodeableConcept"]["coding"][0]["code"] == "52101004"
    parts = {p["code"]["coding"][0]["code"]: p["valueQuantity"]["value"] for p in one["component"] if "valueQuantity" in p}  # fmt: skip  # noqa: E501
    assert parts == {
        "122157": 0.75,
        "box-first-slice": 1, "box-beyond-slice": 4, "box-first-row": 2, "box-beyond-row": 6,
        "box-first-column": 3, "box-beyond-column": 8,
    }  # fmt: skip
    codes = {o["code"]["coding"][0]["code"] for o in observed if o["code"]["text"] == "Nodule"}
    assert len(codes) == 1  # two boxes of one kind
    assert len(observed) == 3
