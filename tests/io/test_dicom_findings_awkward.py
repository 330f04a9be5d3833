"""Segmentations, reports and structure sets that are awkward and allowed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fake_series import FRAME, SHAPE, affine, masks, write_series
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from osler.errors import UnsupportedError
from osler.io import load
from osler.io.dicom_findings import add
from osler.io.dicom_seg_out import write_segmentation
from osler.record import Case, Contour, Mask, Measurement, Passage, Point

SR = "1.2.840.10008.5.1.4.1.1.88.33"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


def segmentation(tmp_path: Path, change: Callable[[Dataset], None], kind: str = "binary") -> Case:
    """What is read of a segmentation of ours that was changed, onto its image."""
    image = write_series(tmp_path)
    path = write_segmentation(masks(), image, tmp_path / "seg.dcm", kind=kind)
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(path)
    case = Case("c", items={"ct": image})
    add(case, path)
    return case


def unpacked(ds: Dataset) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
    return bits[: ds.NumberOfFrames * 77].reshape(-1, *SHAPE[1:])


def packed(ds: Dataset, frames: np.ndarray) -> None:
    data = np.packbits(frames.ravel(), bitorder="little").tobytes()
    ds.PixelData, ds.NumberOfFrames = data + b"\0" * (len(data) % 2), len(frames)


# --- segmentations ---------------------------------------------------------------------------


def test_a_segment_without_frames_is_empty(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        keep = [
            n
            for n, frame in enumerate(ds.PerFrameFunctionalGroupsSequence)
            if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber != 2
        ]
        packed(ds, unpacked(ds)[keep])
        ds.PerFrameFunctionalGroupsSequence = [ds.PerFrameFunctionalGroupsSequence[n] for n in keep]

    case = segmentation(tmp_path, change)
    assert not case.get("spleen", Mask).mask.any()
    assert np.array_equal(case.get("liver", Mask).mask, masks()[0].mask)
    assert np.array_equal(case.get("kidney", Mask).mask, masks()[2].mask)


def test_frames_in_any_order(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        order = np.random.default_rng(3).permutation(ds.NumberOfFrames)
        packed(ds, unpacked(ds)[order])
        groups = ds.PerFrameFunctionalGroupsSequence
        ds.PerFrameFunctionalGroupsSequence = [groups[int(n)] for n in order]

    case = segmentation(tmp_path, change)
    for mask in masks():
        assert np.array_equal(case.get(mask.id, Mask).mask, mask.mask)


def test_what_is_optional_may_be_missing(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        for keyword in (
            "ReferencedSeriesSequence",
            "DimensionIndexSequence",
            "DimensionOrganizationSequence",
            "SegmentsOverlap",
            "ContentLabel",
        ):
            if keyword in ds:
                delattr(ds, keyword)
        for segment in ds.SegmentSequence:
            for keyword in (
                "AnatomicRegionSequence",
                "SegmentationAlgorithmIdentificationSequence",
                "SegmentAlgorithmName",
                "TrackingID",
                "TrackingUID",
                "SegmentLabel",
                "SegmentAlgorithmType",
            ):
                if keyword in segment:
                    delattr(segment, keyword)
        for frame in ds.PerFrameFunctionalGroupsSequence:
            for keyword in ("FrameContentSequence", "DerivationImageSequence"):
                if keyword in frame:
                    delattr(frame, keyword)

    case = segmentation(tmp_path, change)
    found = list(case.of(Mask))
    assert [m.name for m in found] == ["Segment 1", "Segment 2", "Segment 3"]
    assert {m.item for m in found} == {"ct"}  # by the frame of reference
    for mask, original in zip(found, masks(), strict=True):
        assert np.array_equal(mask.mask, original.mask)


def test_the_instances_that_it_refers_to_are_not_here(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        for series in ds.ReferencedSeriesSequence:
            series.SeriesInstanceUID = generate_uid()
            for one in series.ReferencedInstanceSequence:
                one.ReferencedSOPInstanceUID = generate_uid()

    case = segmentation(tmp_path, change)
    assert np.array_equal(case.get("liver", Mask).mask, masks()[0].mask)
    assert case.get("liver", Mask).item == "ct"


def test_one_segment_that_is_said_once_for_all_frames(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        frames = ds.PerFrameFunctionalGroupsSequence
        numbers = [f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in frames]
        keep = [n for n, number in enumerate(numbers) if number == 1]
        packed(ds, unpacked(ds)[keep])
        shared = ds.SharedFunctionalGroupsSequence[0]
        shared.SegmentIdentificationSequence = frames[keep[0]].SegmentIdentificationSequence
        for n in keep:
            del frames[n].SegmentIdentificationSequence
        ds.PerFrameFunctionalGroupsSequence = [frames[n] for n in keep]
        ds.SegmentSequence = ds.SegmentSequence[:1]

    case = segmentation(tmp_path, change)
    assert np.array_equal(case.get("liver", Mask).mask, masks()[0].mask)


@pytest.mark.parametrize("most", [100, 1, 255])
def test_fractions_of_any_whole(tmp_path: Path, most: int) -> None:
    image = write_series(tmp_path)
    mask = masks()[0]
    mask.probabilities = mask.mask.astype(np.float16)
    path = write_segmentation([mask], image, tmp_path / "seg.dcm", kind="fractional")
    ds = pydicom.dcmread(path)
    stored = np.frombuffer(ds.PixelData, np.uint8).astype(int) * most // 255
    ds.MaximumFractionalValue = most
    ds.PixelData = stored.astype(np.uint8).tobytes()
    ds.save_as(path)
    case = Case("c", items={"ct": image})
    add(case, path)
    found = case.get("liver", Mask)
    assert np.array_equal(found.mask, mask.mask)
    assert np.array_equal(found.probabilities, mask.mask.astype(np.float16))


def test_a_fraction_beyond_the_whole_is_the_whole(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    mask = masks()[0]
    mask.probabilities = mask.mask.astype(np.float16)
    path = write_segmentation([mask], image, tmp_path / "seg.dcm", kind="fractional")
    ds = pydicom.dcmread(path)
    ds.MaximumFractionalValue = 100  # and 255 stays in the pixels
    ds.save_as(path)
    case = Case("c", items={"ct": image})
    add(case, path)
    assert case.get("liver", Mask).probabilities.max() == 1


def test_a_label_map_with_gaps_a_background_and_labels_that_nobody_describes(tmp_path: Path) -> None:  # fmt: skip  # noqa: E501
    def change(ds: Dataset) -> None:
        values = np.frombuffer(ds.PixelData, np.uint8)
        table = np.zeros(256, np.uint8)
        table[1:4] = 7, 200, 30  # liver, spleen, and a kidney that is not described
        ds.PixelData = table[values].tobytes()
        liver, spleen, other = ds.SegmentSequence
        liver.SegmentNumber, spleen.SegmentNumber, other.SegmentNumber = 7, 200, 0
        other.SegmentLabel = "Background"
        ds.PixelPaddingValue = 0
        ds.SegmentsOverlap = "NO"

    case = segmentation(tmp_path, change, "labelmap")
    assert [m.id for m in case.of(Mask)] == ["liver", "spleen"]
    assert np.array_equal(case.get("liver", Mask).mask, masks()[0].mask)
    assert np.array_equal(case.get("spleen", Mask).mask, masks()[1].mask)


def test_far_planes_without_a_stated_step(tmp_path: Path) -> None:
    # planes 0, 2 and 5 alone: no two of them are neighbours
    image = write_series(tmp_path)
    voxels = np.zeros(SHAPE, bool)
    voxels[[0, 2, 5], 1:4, 2:9] = True
    mask = masks()[0]
    mask.mask = voxels
    path = write_segmentation([mask], image, tmp_path / "seg.dcm")
    ds = pydicom.dcmread(path)
    measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == 2.5
    if "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices
    ds.save_as(path)
    case = Case("c", items={"ct": image})
    add(case, path)
    assert case.get("liver", Mask).item == "ct"
    assert np.array_equal(case.get("liver", Mask).mask, voxels)
    alone = load(path)
    assert alone.image("segmentation").spacing == pytest.approx((2.5, 0.8, 0.7))
    assert np.array_equal(alone.get("liver", Mask).mask, voxels)


def test_tiles_of_a_slide_are_refused_by_name(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = 700, 1100
        ds.DimensionOrganizationType = "TILED_FULL"
        for frame in ds.PerFrameFunctionalGroupsSequence:
            del frame.PlanePositionSequence

    with pytest.raises(UnsupportedError, match="tiles"):
        segmentation(tmp_path, change)


def test_directions_that_are_rounded_and_turned_zeros(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        shared = ds.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = [
            *("0.80000", "0.6000", "-0.0"),
            *("-0", "0.0000", "-1.00000"),
        ]

    case = segmentation(tmp_path, change)
    assert np.array_equal(case.get("spleen", Mask).mask, masks()[1].mask)


# --- structure sets --------------------------------------------------------------------------


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


# --- reports ---------------------------------------------------------------------------------


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
