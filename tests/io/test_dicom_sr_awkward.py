"""Structured reports that are awkward and allowed."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from fake_series import FRAME, write_series
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from osler.io import load
from osler.io.dicom_findings import add
from osler.record import Case, Contour, Measurement, Passage, Point

SR = "1.2.840.10008.5.1.4.1.1.88.33"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


def new(sop_class: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientID = sop_class, generate_uid(), "P1"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def code(value: str, scheme: str, meaning: str) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds


def node(kind: str, name: Dataset | None, *children: Dataset, relation: str = "CONTAINS") -> Dataset:  # fmt: skip  # noqa: E501
    ds = Dataset()
    ds.RelationshipType, ds.ValueType = relation, kind
    if name is not None:
        ds.ConceptNameCodeSequence = [name]
    if kind == "CONTAINER":
        ds.ContinuityOfContent = "SEPARATE"
    if children:
        ds.ContentSequence = list(children)
    return ds


def number(value: str | None, unit: str = "mm", *children: Dataset) -> Dataset:
    ds = node("NUM", code("410668003", "SCT", "Length"), *children)
    ds.MeasuredValueSequence = []
    if value is not None:
        measured = Dataset()
        measured.NumericValue = value
        measured.MeasurementUnitsCodeSequence = [code(unit, "UCUM", unit)]
        ds.MeasuredValueSequence = [measured]
    else:
        ds.NumericValueQualifierCodeSequence = [code("114009", "DCM", "Value out of range")]
    return ds


def words(text: str) -> Dataset:
    ds = node("TEXT", code("121071", "DCM", "Finding"))
    ds.TextValue = text
    return ds


def shape(kind: str, *points: float, image: str = "") -> Dataset:
    ds = node("SCOORD", code("111030", "DCM", "Image Region"))
    ds.GraphicType, ds.GraphicData = kind, list(points)
    if image:
        seen = node("IMAGE", None, relation="SELECTED FROM")
        reference = Dataset()
        reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        reference.ReferencedSOPInstanceUID = image
        seen.ReferencedSOPSequence = [reference]
        ds.ContentSequence = [seen]
    return ds


def report(path: Path, *inner: Dataset, title: str = "126000") -> Path:
    ds = new(SR)
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [code(title, "DCM", "Report")]
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ContentSequence = list(inner)
    ds.save_as(path, enforce_file_format=True)
    return path


def group(*children: Dataset) -> Dataset:
    return node("CONTAINER", code("125007", "DCM", "Measurement Group"), *children)


def box(*children: Dataset) -> Dataset:
    return node("CONTAINER", code("126010", "DCM", "Imaging Measurements"), *children)


@pytest.mark.parametrize("title", ["126000", "18748-4"])
def test_containers_in_containers(tmp_path: Path, title: str) -> None:
    inner = node("CONTAINER", None, words("Deep words."), group(number("12.5")))
    path = report(
        tmp_path / "sr.dcm",
        box(node("CONTAINER", code("1", "99X", "Part"), inner), words("Near words.")),
        title=title,
    )
    case = load(path)
    assert [m.value for m in case.of(Measurement)] == [12.5]
    assert sorted(p.text for p in case.of(Passage)) == ["Deep words.", "Near words."]


def test_numbers_without_values(tmp_path: Path) -> None:
    path = report(tmp_path / "sr.dcm", box(group(number(None), number("1e400"), number("3"))))
    found = list(load(path).of(Measurement))
    assert [m.value for m in found] == [None, None, 3.0]
    assert found[0].reason == "Value out of range"


def test_every_shape_of_a_group_is_read(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    uid = pydicom.dcmread(tmp_path / "003.dcm").SOPInstanceUID
    long_axis = number("9", "mm", shape("POLYLINE", 1.5, 2.5, 9.5, 2.5, image=uid))
    short_axis = number("4", "mm", shape("POLYLINE", 4.5, 0.5, 4.5, 5.5, image=uid))
    path = report(
        tmp_path / "sr.dcm",
        box(
            group(
                shape("MULTIPOINT", 1.5, 2.5, 3.5, 4.5, image=uid),
                shape("POINT", 2.5, 6.5, image=uid),
                shape("CIRCLE", 5.5, 3.5, 7.5, 3.5, image=uid),
                shape("POINT", 2.5),  # cut short: no place
                long_axis,
                short_axis,
            )
        ),
    )
    case = Case("c", items={"ct": image})
    add(case, path)
    many, circle, first, second = case.of(Contour)
    # points of their own, not a line through them
    assert [ring.tolist() for ring in many.rings] == [[[3, 2, 1]], [[3, 4, 3]]]
    assert not many.closed
    assert circle.closed
    (point,) = case.of(Point)
    assert point.position == (3, 6, 2)
    assert first.rings[0].tolist() == [[3, 2, 1], [3, 2, 9]]
    assert second.rings[0].tolist() == [[3, 0, 4], [3, 5, 4]]
    long, short = case.of(Measurement)
    assert long.evidence == (first.id,)
    assert short.evidence == (second.id,)


def test_a_report_that_refers_to_what_is_not_there(tmp_path: Path) -> None:
    by_reference = Dataset()
    by_reference.RelationshipType = "INFERRED FROM"
    by_reference.ReferencedContentItemIdentifier = [1, 9, 9]
    empty = node("TEXT", None)
    empty.TextValue = None
    path = report(
        tmp_path / "sr.dcm",
        box(group(number("2"), by_reference, shape("POINT", 1, 1, image="1.2.3.4"), empty)),
    )
    case = load(path)
    assert [m.value for m in case.of(Measurement)] == [2.0]
    assert next(case.of(Point)).position == (0.5, 0.5)
    assert next(case.of(Point)).item is None


def test_an_ellipse_in_space(tmp_path: Path) -> None:
    region = node("SCOORD3D", code("111030", "DCM", "Image Region"))
    region.GraphicType, region.ReferencedFrameOfReferenceUID = "ELLIPSE", FRAME
    region.GraphicData = [-4, 0, 7, 4, 0, 7, 0, -2, 7, 0, 2, 7]
    path = report(tmp_path / "sr.dcm", box(group(region, number("8"))))
    ring = next(load(path).of(Contour)).rings[0]
    assert len(ring) == 64
    assert np.allclose((ring[:, 0] / 4) ** 2 + (ring[:, 1] / 2) ** 2, 1)
