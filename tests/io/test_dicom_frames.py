"""Multi-frame DICOM and its overlays: against pydicom, SimpleITK, and what is known of them."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_stack import (
    ENCODERS,
    NORMAL,
    START,
    STEP,
    affine,
    case_of,
    enhanced,
    film,
    image,
    read,
    stack,
)
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    RLELossless,
    RTDoseStorage,
    SecondaryCaptureImageStorage,
)

from osler.errors import GeometryError, TooLargeError, UnsupportedError
from osler.io import load
from osler.record import Mask

JPEG_LS = "1.2.840.10008.1.2.4.80"
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


# --- volumes in one file --------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG_LS])
def test_frames_are_sorted_by_their_places(tmp_path: Path, syntax: str) -> None:
    order = [4, 0, 5, 2, 1, 3]
    found = read(tmp_path, enhanced(stack(), order=order, syntax=syntax))
    assert (found.name, found.shape, found.loaded) == ("mr", (6, 8, 12), False)
    assert found.window == (500.0, 900.0)
    np.testing.assert_allclose(found.affine, affine(), atol=1e-5)
    slopes = 1 + np.arange(6)[:, None, None]
    np.testing.assert_array_equal(found.array[0], stack().astype(int) * slopes - 10)
    part = found.region(slice(1, 3), slice(0, 8), slice(2, 5))
    np.testing.assert_array_equal(part, found.array[:, 1:3, :, 2:5])


def test_volumes_over_time_are_channels(tmp_path: Path) -> None:
    order = [7, 0, 5, 2, 1, 3, 4, 6]
    found = read(tmp_path, enhanced(stack(8), order=order, times=2))
    assert (found.channel_count, found.shape) == (2, (4, 8, 12))
    assert found.times == (0.0, 2.5)
    np.testing.assert_allclose(found.affine, affine(), atol=1e-5)
    slopes = 1 + np.arange(4)[:, None, None]
    expected = stack(8).reshape(2, 4, 8, 12).astype(int) * slopes - 10
    np.testing.assert_array_equal(found.array, expected)


def test_frames_that_make_no_grid(tmp_path: Path) -> None:
    ds = enhanced(stack())
    groups = ds.PerFrameFunctionalGroupsSequence
    groups[2].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 0]
    with pytest.raises(GeometryError, match=r"frame \d of '.*file.dcm'.*allow_irregular=True"):
        read(tmp_path, ds)
    found = read(tmp_path, ds, allow_irregular=True)
    assert (found.affine, found.spacing) == (None, None)
    ds = enhanced(stack())
    del ds.PerFrameFunctionalGroupsSequence[5]
    with pytest.raises(GeometryError, match=r"6 frames .* 5 items"):
        read(tmp_path, ds)


def test_an_affine_is_never_invented(tmp_path: Path) -> None:
    ds = enhanced(stack())
    del ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    with pytest.raises(GeometryError, match="no usable ImageOrientationPatient"):
        read(tmp_path, ds)
    for group in ds.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
    found = read(tmp_path, ds)
    assert (found.affine, found.spacing) == (None, None)


@pytest.mark.filterwarnings("ignore")
def test_a_dose_grid(tmp_path: Path) -> None:
    found = load(PYDICOM_FILES / "rtdose.dcm").image("rtdose")
    independent = SimpleITK.ReadImage(str(PYDICOM_FILES / "rtdose.dcm"))
    assert found.affine is not None
    np.testing.assert_allclose(found.affine[:3, 3], independent.GetOrigin(), atol=1e-6)
    dataset = pydicom.dcmread(PYDICOM_FILES / "rtdose.dcm")
    expected = dataset.pixel_array * float(dataset.DoseGridScaling)
    np.testing.assert_allclose(found.array[0], expected, rtol=1e-9)
    ds = image(stack().astype(np.uint32), RTDoseStorage)
    ds.Modality, ds.DoseUnits, ds.DoseGridScaling = "RTDOSE", "GY", "0.001"
    ds.ImagePositionPatient = START.tolist()
    ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], [2, 3]
    ds.GridFrameOffsetVector = [0, 2, 4, 6, 8, 10]
    found = read(tmp_path, ds)
    assert (found.units, found.spacing) == ("Gy", (2.0, 2.0, 3.0))


# --- overlays -------------------------------------------------------------------------------


def test_overlays_are_masks_apart(tmp_path: Path) -> None:
    ds = image(film(1)[0, ..., 0], SecondaryCaptureImageStorage)
    drawn = np.zeros((6, 9), np.uint8)
    drawn[1:3, 2:8] = 1
    for group, origin in ((0x6000, [3, 5]), (0x6004, [22, -1])):
        for element, vr, value in (
            (0x10, "US", 6),
            (0x11, "US", 9),
            (0x40, "CS", "R"),
            (0x50, "SS", origin),
            (0x100, "US", 1),
            (0x102, "US", 0),
            (0x3000, "OW", np.packbits(drawn.ravel(), bitorder="little").tobytes() + b"\0"),
        ):
            ds.add_new((group, element), vr, value)
    case = case_of(tmp_path, ds)
    np.testing.assert_array_equal(case.image("photo").array[0], film(1)[0, ..., 0])
    first, second = case.of(Mask)
    assert (first.id, second.id) == ("overlay-1", "overlay-3")
    expected = np.zeros((24, 32), np.bool_)
    expected[3:5, 6:12] = True
    np.testing.assert_array_equal(first.mask, expected)
    assert (first.flags, second.flags) == ((), ("overlay-cut-off",))
    assert second.mask[22:24, 0:6].all()
    assert second.mask.sum() == 12


@pytest.mark.filterwarnings("ignore")
def test_a_device_s_overlay() -> None:
    case = load(PYDICOM_FILES / "examples_overlay.dcm")
    dataset = pydicom.dcmread(PYDICOM_FILES / "examples_overlay.dcm")
    mask = case["mr.overlay-1"]
    assert isinstance(mask, Mask)
    expected = dataset.overlay_array(0x6000).astype(bool)
    np.testing.assert_array_equal(mask.mask[: expected.shape[0], : expected.shape[1]], expected)


# --- what is refused ------------------------------------------------------------------------


def test_many_frames_in_few_bytes(tmp_path: Path) -> None:
    ds = image(film(1)[..., 0], MultiFrameGrayscaleByteSecondaryCaptureImageStorage)
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.90")
    stream = ENCODERS["1.2.840.10008.1.2.4.90"](np.zeros((2000, 2000), np.uint8))
    ds.PixelData = encapsulate([stream] * 400)
    ds["PixelData"].VR = "OB"
    ds.Rows, ds.Columns, ds.NumberOfFrames = 2000, 2000, 400
    with pytest.raises(TooLargeError, match=r"400 frames, 1,600,000,000 pixels"):
        read(tmp_path, ds)


def test_a_whole_slide_image(tmp_path: Path) -> None:
    ds = image(film(2), UID("1.2.840.10008.5.1.4.1.1.77.1.6"))
    with pytest.raises(UnsupportedError, match="whole slide"):
        read(tmp_path, ds)


def test_the_first_place_is_that_of_the_lowest_plane(tmp_path: Path) -> None:
    found = read(tmp_path, enhanced(stack(), order=[5, 4, 3, 2, 1, 0]))
    assert found.affine is not None
    np.testing.assert_allclose(found.affine[:3, 3], START, atol=1e-5)
    np.testing.assert_allclose(found.affine[:3, 0], STEP * NORMAL, atol=1e-5)
