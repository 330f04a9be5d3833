"""Segmentations that are awkward and allowed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fake_series import SHAPE, masks, write_series
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from osler.errors import UnsupportedError
from osler.io import load
from osler.io.dicom_findings import add
from osler.io.dicom_seg_out import write_segmentation
from osler.record import Case, Mask


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
