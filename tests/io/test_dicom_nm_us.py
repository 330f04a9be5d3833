"""Slices of nuclear medicine, volumes and pictures of ultrasound: placed only where it is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_stack import as_bytes, image, item
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from osler.errors import GeometryError
from osler.io import load
from osler.record import Image

NM = "1.2.840.10008.5.1.4.1.1.20"
US = "1.2.840.10008.5.1.4.1.1.6.1"
ENHANCED_US = "1.2.840.10008.5.1.4.1.1.6.2"
ROW, COLUMN = np.array([0.8, 0.6, 0.0]), np.array([0.0, 0.0, -1.0])
NORMAL = np.cross(ROW, COLUMN)
FIRST = np.array([-20.0, 35.5, 12.25])


def only(path: Path, **options: Any) -> Image:
    case = load(path, **options)
    return next(i for i in case.items.values() if isinstance(i, Image))


def nm(folder: Path, *, step: float | None = 4.5, slots: int = 1, **elements: Any) -> tuple[Path, np.ndarray]:  # fmt: skip  # noqa: E501
    """Five slices, the last one first in the file; one volume for each time slot."""
    pixels = np.random.default_rng(0).integers(0, 900, (5 * slots, 7, 9)).astype(np.uint16)
    ds = image(pixels, NM)  # type: ignore[arg-type]
    ds.Modality = "NM"
    gated = slots > 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "RECON GATED TOMO" if gated else "RECON TOMO", "EMISSION"]  # fmt: skip  # noqa: E501
    ds.PixelSpacing, ds.SliceThickness = [3.0, 2.0], 9.0
    ds.SpacingBetweenSlices = step
    ds.NumberOfSlices, ds.SliceVector = 5, list(range(5, 0, -1)) * slots
    ds.FrameIncrementPointer = pydicom.tag.Tag(0x0054, 0x0080)
    if gated:
        ds.TimeSlotVector = [slot for slot in range(1, slots + 1) for _ in range(5)]
        ds.FrameIncrementPointer = [pydicom.tag.Tag(0x0054, t) for t in (0x0070, 0x0080)]
    ds.DetectorInformationSequence = item(
        ImagePositionPatient=FIRST.tolist(), ImageOrientationPatient=[*ROW, *COLUMN]
    )
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    path = folder / "nm.dcm"
    path.write_bytes(as_bytes(ds))
    return path, pixels


@pytest.mark.parametrize("step", [4.5, -4.5])
def test_slices_lie_along_the_normal(tmp_path: Path, step: float) -> None:
    path, pixels = nm(tmp_path, step=step)
    found = only(path)
    assert found.spacing == pytest.approx((4.5, 3.0, 2.0))
    for number in range(1, 6):  # by the text of the standard, voxel by voxel
        place = FIRST + (number - 1) * step * NORMAL + 2 * 3.0 * COLUMN + 3 * 2.0 * ROW
        d, h, w = np.linalg.solve(found.affine, [*place, 1])[:3].round(6)
        assert (h, w) == (2, 3)
        assert found.array[0, int(d), 2, 3] == pixels[5 - number, 2, 3]
    assert found.modality == "NM"
    assert "slices-without-place" not in found.flags


def test_gdcm_sees_the_same_places(tmp_path: Path) -> None:
    path, pixels = nm(tmp_path, SliceVector=[1, 2, 3, 4, 5])
    found, seen = only(path), sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(seen), pixels)
    for d, h, w in ((0, 0, 0), (4, 0, 0), (0, 6, 0), (2, 3, 8)):
        place = (found.affine @ [d, h, w, 1])[:3]
        index = seen.TransformPhysicalPointToContinuousIndex(place.tolist())
        assert index == pytest.approx((w, h, d), abs=1e-4)


def test_time_slots_are_volumes(tmp_path: Path) -> None:
    path, pixels = nm(tmp_path, slots=3)
    found = only(path)
    assert found.array.shape == (3, 5, 7, 9)
    plain = only(nm(tmp_path)[0])
    assert np.array_equal(found.affine, plain.affine)
    up = int(np.sign((plain.affine[:3, 0]) @ NORMAL))
    for slot in range(3):
        volume = pixels[5 * slot : 5 * slot + 5][::-1][::up]
        assert np.array_equal(found.array[slot], volume)


@pytest.mark.parametrize("lacking", ["SpacingBetweenSlices", "SliceVector", "PixelSpacing"])
def test_nothing_is_invented(tmp_path: Path, lacking: str) -> None:
    path, pixels = nm(tmp_path, **{lacking: None})
    found = only(path)
    assert found.affine is None
    assert found.spacing is None
    assert "slices-without-place" in found.flags
    assert np.array_equal(found.array[0], pixels)


def test_distances_without_a_place(tmp_path: Path) -> None:
    found = only(nm(tmp_path, DetectorInformationSequence=None)[0])
    assert found.affine is None
    assert found.spacing == pytest.approx((4.5, 3.0, 2.0))
    assert "slices-placed-loosely" in found.flags
    two = item(ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[*ROW, *COLUMN])
    two += item(ImagePositionPatient=[0, 0, 9], ImageOrientationPatient=[*ROW, *COLUMN])
    assert only(nm(tmp_path, DetectorInformationSequence=two)[0]).affine is None


def test_projections_are_no_slices(tmp_path: Path) -> None:
    path, pixels = nm(tmp_path, ImageType=["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"])
    found = only(path)
    assert found.affine is None
    assert found.spacing is None
    assert np.array_equal(found.array[0], pixels)


def test_a_slice_twice_is_refused(tmp_path: Path) -> None:
    path, _ = nm(tmp_path, SliceVector=[1, 2, 3, 4, 4])
    with pytest.raises(GeometryError, match="same place"):
        load(path)
    assert only(path, allow_irregular=True).affine is None


def ultrasound(folder: Path, *, patient: bool = False, bent: bool = False) -> tuple[Path, np.ndarray]:  # fmt: skip  # noqa: E501
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 8)).astype(np.uint8)
    ds = image(pixels, ENHANCED_US)  # type: ignore[arg-type]
    ds.Modality = "US"
    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.3, 0.2], SliceThickness=0.5)
    shared.PlaneOrientationVolumeSequence = item(ImageOrientationVolume=[*ROW, *COLUMN])
    if patient:
        shared.PlaneOrientationSequence = item(ImageOrientationPatient=[*ROW, *COLUMN])
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = []
    for frame in (3, 1, 0, 2):
        group = Dataset()
        place = (frame * 0.5 + (0.2 if bent and frame == 2 else 0)) * NORMAL
        group.PlanePositionVolumeSequence = item(ImagePositionVolume=place.tolist())
        if patient:
            position = [round(float(v), 9) for v in FIRST + place]
            group.PlanePositionSequence = item(ImagePositionPatient=position)
        ds.PerFrameFunctionalGroupsSequence.append(group)
    path = folder / "us.dcm"
    path.write_bytes(as_bytes(ds))
    return path, pixels[[2, 1, 3, 0]]


def test_a_volume_in_its_own_frame_has_a_scale_and_no_place(tmp_path: Path) -> None:
    path, ordered = ultrasound(tmp_path)
    found = only(path)
    assert found.affine is None
    assert found.spacing == pytest.approx((0.5, 0.3, 0.2))
    assert "position-of-transducer" in found.flags
    assert np.array_equal(found.array[0], ordered)


def test_a_volume_with_a_place_in_the_patient_has_it(tmp_path: Path) -> None:
    path, ordered = ultrasound(tmp_path, patient=True)
    found = only(path)
    assert np.allclose(found.affine[:3, 3], FIRST)
    assert np.allclose(found.affine[:3, 0], 0.5 * NORMAL)
    assert np.array_equal(found.array[0], ordered)
    assert "position-of-transducer" not in found.flags


def test_an_uneven_volume_keeps_its_order_alone(tmp_path: Path) -> None:
    path, _ = ultrasound(tmp_path, bent=True)
    found = only(path)
    assert found.affine is None
    assert found.spacing is None
    assert {"position-of-transducer", "slices-irregular"} <= set(found.flags)
    assert np.array_equal(found.array[0], pydicom.dcmread(path).pixel_array)


def region(across: float = 0.02, down: float = 0.03, *, units: int = 3, kind: int = 1) -> Dataset:
    ds = Dataset()
    ds.RegionSpatialFormat, ds.RegionDataType, ds.RegionFlags = kind, 1, 0
    ds.PhysicalUnitsXDirection = ds.PhysicalUnitsYDirection = units
    ds.PhysicalDeltaX, ds.PhysicalDeltaY = across, down
    return ds


def picture(folder: Path, *regions: Dataset) -> Image:
    ds = image(np.zeros((6, 8), np.uint8), US)  # type: ignore[arg-type]
    ds.Modality, ds.SequenceOfUltrasoundRegions = "US", list(regions)
    (folder / "us.dcm").write_bytes(as_bytes(ds))
    return only(folder / "us.dcm")


def test_a_calibrated_region_gives_the_scale(tmp_path: Path) -> None:
    found = picture(tmp_path, region())
    assert found.spacing == pytest.approx((0.3, 0.2))
    assert found.affine is None
    assert picture(tmp_path, region(-0.02), region()).spacing == pytest.approx((0.3, 0.2))


@pytest.mark.parametrize(
    ("regions", "flag"),
    [
        ((region(), region(0.05)), "us-regions-disagree"),
        ((region(), region(kind=2, units=4)), "us-regions-disagree"),
        ((region(units=4),), "us-region-uncalibrated"),
        ((region(0.0),), "us-region-uncalibrated"),
        ((region(float("nan")),), "us-region-uncalibrated"),
        ((region(900.0),), "spacing-implausible"),
    ],
)
def test_regions_without_one_scale(tmp_path: Path, regions: tuple[Dataset, ...], flag: str) -> None:
    found = picture(tmp_path, *regions)
    assert found.spacing is None
    assert flag in found.flags


def test_devices_pictures() -> None:
    several = only(Path(str(get_testdata_file("examples_palette.dcm"))))
    assert several.spacing is None
    assert "us-regions-disagree" in several.flags
    film = only(Path(str(get_testdata_file("examples_ybr_color.dcm"))))
    assert film.spacing is None
    assert film.header["in_plane_spacing"] == pytest.approx((0.5104970559, 0.5104970559))
