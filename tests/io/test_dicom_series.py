"""Series of DICOM files: voxels and millimetres against SimpleITK, and what is refused."""

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from dicom_stack import ENCODERS, NORMAL, START, STEP, affine, series, stack, write
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from osler.errors import GeometryError, InputError, TooLargeError, UnreadableError
from osler.io.dicom_series import read_series
from osler.record import Image

SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    *ENCODERS,
)
REAL = (
    "ct-example/dicom",
    "brain-mr-dicom/11-T1post-18670",
    "brain-mr-dicom/36468-FLAIRreg-58706",
    "brain-mr-dicom/11_HCropVolume",
)


def read(paths: list[Path], **options: Any) -> Image:
    (image,) = read_series(paths, **options).items
    assert isinstance(image, Image)
    return image


def by_simpleitk(folder: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels ``(D, H, W)`` and the affine of an independent reader."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    matrix = np.eye(4)
    columns = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, :3], matrix[:3, 3] = columns[:, ::-1], image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), matrix


@pytest.mark.parametrize("name", REAL)
def test_real_series_are_those_of_an_independent_reader(data_dir: Path, name: str) -> None:
    image = read(list((data_dir / name).iterdir()))
    assert not image.loaded
    voxels, matrix = by_simpleitk(data_dir / name)
    np.testing.assert_array_equal(image.array[0], voxels)
    np.testing.assert_allclose(image.affine, matrix, atol=1e-6)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_transfer_syntax(tmp_path: Path, syntax: str) -> None:
    image = read(write(tmp_path, series(syntax=syntax)))
    assert (image.name, image.modality, image.units) == ("ct", "CT", "[hnsf'U]")
    assert image.window == (40.0, 400.0)
    assert image.flags == ("bits-stored-12",)
    assert image.dtype == np.int16
    np.testing.assert_allclose(image.affine, affine(), atol=1e-5)
    np.testing.assert_allclose(image.spacing, (STEP, 0.75, 0.5), rtol=1e-6)
    np.testing.assert_array_equal(image.array[0], stack().astype(int) - 1024)
    assert image.array.flags.c_contiguous
    if syntax not in ("1.2.840.10008.1.2.4.201",):  # GDCM does not decode HTJ2K
        voxels, matrix = by_simpleitk(tmp_path)
        np.testing.assert_array_equal(image.array[0], voxels)
        np.testing.assert_allclose(image.affine, matrix, atol=1e-5)


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path: Path) -> None:
    paths = write(tmp_path, series())
    image = read(paths)
    part = image.region(slice(2, 4), slice(1, 5), slice(3, 12))
    np.testing.assert_array_equal(part[0], stack()[2:4, 1:5, 3:12].astype(int) - 1024)
    assert not image.loaded
    copied = pickle.loads(pickle.dumps(image.__dict__["_held"]))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(copied.load(), image.array)


def test_the_files_are_named_in_the_order_of_their_planes(tmp_path: Path) -> None:
    datasets = series()
    paths = write(tmp_path, datasets[::-1])
    image = read(paths)
    assert image.origin is not None
    places = [(i * 7 + 3) % 1009 for i in range(6)][::-1]
    assert [int(Path(file).stem) for file in image.origin.files] == places
    assert image.header["SOPInstanceUID"] == tuple(ds.SOPInstanceUID for ds in datasets)


def test_a_file_that_changes_meanwhile(tmp_path: Path) -> None:
    paths = write(tmp_path, series())
    image = read(paths)
    paths[2].write_bytes(paths[2].read_bytes()[:-10])
    with pytest.raises(UnreadableError, match=r"has changed since it was opened"):
        image.array.sum()
    paths[2].unlink()
    with pytest.raises(InputError, match="does not exist"):
        image.array.sum()


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    datasets = series(stack().astype(np.int16))
    for index, ds in enumerate(datasets):
        ds.Modality, ds.Units = "PT", "BQML"
        ds.RescaleSlope, ds.RescaleIntercept = str(0.5 + index), "0"
        ds.BitsStored, ds.HighBit = 16, 15
    image = read(write(tmp_path, datasets))
    assert (image.name, image.units, image.dtype) == ("pt", "Bq/mL", np.float32)
    slopes = 0.5 + np.arange(6)[:, None, None]
    np.testing.assert_allclose(image.array[0], stack() * slopes, rtol=1e-6)
    np.testing.assert_allclose(image.array[0], by_simpleitk(tmp_path)[0], rtol=1e-6)


@pytest.mark.parametrize("keyword", ["RescaleIntercept", "RescaleSlope"])
@pytest.mark.parametrize("emptied", [False, True])
def test_a_slice_that_alone_states_no_rescale(tmp_path: Path, keyword: str, emptied: bool) -> None:
    """Its values would lie 1,024 from those of its neighbours, and nobody would see it."""
    datasets = series()
    for ds in datasets:
        ds.RescaleType = "HU"
    if emptied:
        setattr(datasets[3], keyword, None)
    else:
        del datasets[3][keyword]
    with pytest.raises(UnreadableError, match=f"only one states {keyword}"):
        read(write(tmp_path, datasets))


# --- what is refused ------------------------------------------------------------------------


def without(datasets: list[Dataset]) -> None:
    del datasets[3]


def double(datasets: list[Dataset]) -> None:
    datasets[3].ImagePositionPatient = datasets[2].ImagePositionPatient


def tilted(datasets: list[Dataset]) -> None:
    for index, ds in enumerate(datasets):
        place = np.array(ds.ImagePositionPatient) + 0.3 * index * np.array([0.0, 0.0, -1.0])
        ds.ImagePositionPatient = [round(float(v), 6) for v in place]


def turned(datasets: list[Dataset]) -> None:
    datasets[4].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def spaced(datasets: list[Dataset]) -> None:
    datasets[1].PixelSpacing = [0.8, 0.5]


def uneven(datasets: list[Dataset]) -> None:
    place = START + 5.3 * STEP * NORMAL
    datasets[5].ImagePositionPatient = [round(float(v), 6) for v in place]


def nowhere(datasets: list[Dataset]) -> None:
    del datasets[2].ImagePositionPatient


def undirected(datasets: list[Dataset]) -> None:
    datasets[0].ImageOrientationPatient = [1, 0, 0, 1, 0, 0]


def crooked(datasets: list[Dataset]) -> None:
    place = np.array(datasets[2].ImagePositionPatient) + 3 * np.array([0.8, 0.6, 0.0])
    datasets[2].ImagePositionPatient = [round(float(v), 6) for v in place]


def elsewhere(datasets: list[Dataset]) -> None:
    datasets[2].FrameOfReferenceUID = "1.2.3"


def in_other_units(datasets: list[Dataset]) -> None:
    datasets[2].RescaleType = "OD"


DEFECTS: tuple[tuple[Callable[[list[Dataset]], None], str, bool], ...] = (
    (without, "1 slices are missing", True),
    (double, "lie at the same place", True),
    (tilted, r"tilted by 6\.8 degrees .* allow_tilt=True", True),
    (turned, "another direction", True),
    (spaced, "another PixelSpacing", True),
    (uneven, "the distance differs", True),
    (nowhere, "no usable ImagePositionPatient", True),
    (undirected, "no unit vectors at right angles", False),
    (crooked, "do not lie on one straight line", True),
    (elsewhere, "FrameOfReferenceUID", False),
    (in_other_units, "RescaleType", False),
)


@pytest.mark.parametrize(("defect", "words", "override"), DEFECTS)
def test_what_is_no_grid_is_refused(
    tmp_path: Path, defect: Callable[[list[Dataset]], None], words: str, override: bool
) -> None:
    datasets = series()
    defect(datasets)
    paths = write(tmp_path, datasets)
    with pytest.raises(GeometryError, match=words) as caught:
        read(paths)
    assert ".dcm" in str(caught.value)
    assert "Secret" not in str(caught.value)
    assert "P-17" not in str(caught.value)
    if override:
        image = read(paths, allow_irregular=True)
        assert image.affine is None
        assert image.spacing is None
        assert "slices-irregular" in image.flags
        assert image.shape == (len(datasets), 8, 12)


def test_a_tilted_gantry_can_be_kept_with_its_shear(tmp_path: Path) -> None:
    datasets = series()
    tilted(datasets)
    image = read(write(tmp_path, datasets), allow_tilt=True)
    assert "tilted-gantry" in image.flags
    assert image.affine is not None
    for index, ds in enumerate(datasets):
        place = (image.affine @ [index, 0, 0, 1])[:3]
        np.testing.assert_allclose(place, ds.ImagePositionPatient, atol=1e-5)
    assert image.spacing is not None
    assert math.isclose(image.spacing[0], math.hypot(STEP, 0.3), rel_tol=1e-5)


def test_rounded_positions_are_flagged(tmp_path: Path) -> None:
    datasets = series()
    place = START + 5.05 * STEP * NORMAL
    datasets[5].ImagePositionPatient = [round(float(v), 6) for v in place]
    assert "slices-uneven" in read(write(tmp_path, datasets)).flags


def test_several_volumes_are_told_apart_on_demand(tmp_path: Path) -> None:
    first, second = series(), series(stack()[::-1])
    for ds in first:
        ds.EchoTime = "30"
    for ds in second:
        ds.EchoTime = "110"
    paths = write(tmp_path, [*first, *second])
    with pytest.raises(GeometryError, match="pass split_by='EchoTime'"):
        read(paths)
    early, late = read_series(paths, split_by="EchoTime").items
    assert isinstance(early, Image)
    assert isinstance(late, Image)
    assert (early.name, late.name) == ("ct", "ct-2")
    np.testing.assert_array_equal(early.array[0], stack().astype(int) - 1024)
    np.testing.assert_array_equal(late.array[0], stack()[::-1].astype(int) - 1024)
    with pytest.raises(InputError, match="no keyword of DICOM"):
        read_series(paths, split_by="Echo")


def test_files_of_other_series_and_sizes(tmp_path: Path) -> None:
    datasets = series()
    datasets[1].SeriesInstanceUID = "1.2.3"
    with pytest.raises(InputError, match="different series"):
        read(write(tmp_path / "a", datasets))
    datasets = [*series(), *series(stack(rows=10))[:1]]
    with pytest.raises(GeometryError, match=r"10 x 12 and 8 x 12|8 x 12 and 10 x 12"):
        read(write(tmp_path / "b", datasets))
    with pytest.raises(TooLargeError, match="more than the limit of 95"):
        read(write(tmp_path / "c", series()), max_pixels=95)
    with pytest.raises(InputError, match="no files"):
        read([])
