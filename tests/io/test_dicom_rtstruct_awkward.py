"""Structure sets that are awkward and allowed."""

from pathlib import Path

import numpy as np
from fake_series import FRAME, SHAPE, affine, write_series
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from osler.io.dicom_findings import add
from osler.record import Case, Contour, Mask, Point

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


def millimetres(*indices: tuple[float, float, float]) -> list[float]:
    points = (affine() @ np.c_[np.array(indices, float), np.ones(len(indices))].T).T[:, :3]
    return [round(float(v), 6) for v in points.ravel()]


SQUARE = [(2, 0.5, 1.5), (2, 5.5, 1.5), (2, 5.5, 8.5), (2, 0.5, 8.5)]


def contour(kind: str, points: list[float]) -> Dataset:
    ds = Dataset()
    ds.ContourGeometricType, ds.NumberOfContourPoints = kind, len(points) // 3
    ds.ContourData = points
    return ds


def structures(path: Path, numbers: list[str], drawn: list[tuple[str, list[Dataset] | None]]) -> Path:  # fmt: skip  # noqa: E501
    ds = new(RTSTRUCT)
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number in numbers:
        roi = Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, "", FRAME
        ds.StructureSetROISequence.append(roi)
    for number, contours in drawn:
        one = Dataset()
        one.ReferencedROINumber = number
        if contours is not None:
            one.ContourSequence = contours
        ds.ROIContourSequence.append(one)
    ds.save_as(path, enforce_file_format=True)
    return path


def test_structures_without_names_contours_or_observations(tmp_path: Path) -> None:
    square = contour("CLOSED_PLANAR", millimetres(*SQUARE))
    path = structures(
        tmp_path / "rt.dcm", ["1", "2", "03", "4"], [("1", None), ("2", []), ("3", [square])]
    )
    case = Case("c", items={"ct": write_series(tmp_path)})
    assert add(case, path) == ("structure-1", "structure-2", "structure-3", "structure-4")
    expected = np.zeros(SHAPE, bool)
    expected[2, 1:6, 2:9] = True
    assert np.array_equal(case.get("structure-3", Mask).mask, expected)
    for id in ("structure-1", "structure-2", "structure-4"):
        assert case.get(id, Contour).rings == ()
        assert case.get(id, Contour).flags == ("structure-empty",)


def test_a_hole_by_a_channel_by_another_contour_and_a_line_that_closes_itself(tmp_path: Path) -> None:  # fmt: skip  # noqa: E501
    hole = [(2, 2.5, 3.5), (2, 3.5, 3.5), (2, 3.5, 5.5), (2, 2.5, 5.5)]
    channel = [*SQUARE[:1], (2, 3.0, 1.5), (2, 3.0, 3.5), *hole[1:], hole[0], (2, 3.0, 3.5), (2, 3.0, 1.5), *SQUARE[1:]]  # fmt: skip  # noqa: E501
    by_channel = [contour("CLOSED_PLANAR", millimetres(*channel))]
    by_another = [contour("CLOSED_PLANAR", millimetres(*ring)) for ring in (SQUARE, hole)]
    by_xor = [contour("CLOSEDPLANAR_XOR", millimetres(*ring, ring[0])) for ring in (SQUARE, hole)]
    path = structures(
        tmp_path / "rt.dcm", ["1", "2", "3"], [("1", by_channel), ("2", by_another), ("3", by_xor)]
    )
    case = Case("c", items={"ct": write_series(tmp_path)})
    expected = np.zeros(SHAPE, bool)
    expected[2, 1:6, 2:9] = True
    expected[2, 3, 4:6] = False
    for id in add(case, path):
        assert np.array_equal(case.get(id, Mask).mask, expected), id


def test_several_points_in_one_contour(tmp_path: Path) -> None:
    two = contour("POINT", millimetres((4, 3, 7), (1, 2, 3)))
    path = structures(tmp_path / "rt.dcm", ["1"], [("1", [two])])
    case = Case("c", items={"ct": write_series(tmp_path)})
    found = [case.get(id, Point).position for id in add(case, path)]
    assert np.allclose(found, [(4, 3, 7), (1, 2, 3)], atol=1e-4)
