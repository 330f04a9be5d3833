from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_check import errors
from fake_series import affine, write_series

from osler.errors import OutputError
from osler.io import load
from osler.io.dicom_secondary import write_secondary
from osler.record import Image

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RNG = np.random.default_rng(0)


def image_of(shape: tuple[int, ...], dtype: str, low: int = 0, high: int = 256) -> Image:
    return Image("x", RNG.integers(low, high, shape).astype(dtype), modality="OT")


@pytest.mark.parametrize(
    ("image", "sop_class"),
    [
        (image_of((1, 9, 11), "uint8"), "7"),
        (image_of((3, 9, 11), "uint8"), "7"),
        (image_of((1, 9, 11), "uint16", 0, 65536), "7.3"),
        (image_of((1, 4, 9, 11), "uint8"), "7.2"),
        (image_of((1, 4, 9, 11), "uint16", 0, 65536), "7.3"),
        (image_of((1, 4, 9, 11), "int16", -1024, 3000), "7.3"),
        (image_of((1, 4, 9, 11), "float32", -1024, 3000), "7.3"),
        (image_of((3, 4, 9, 11), "uint8"), "7.4"),
    ],
)
def test_pixels_come_back_and_the_checker_agrees(
    tmp_path: Path, image: Image, sop_class: str
) -> None:
    path = write_secondary(image, tmp_path / "sc.dcm", patient_id="P1", at=AT)
    assert errors(path) == []
    ds = pydicom.dcmread(path)
    assert ds.SOPClassUID == f"1.2.840.10008.5.1.4.1.1.{sop_class}"
    read = next(iter(load(path).items.values()))
    assert isinstance(read, Image)
    assert np.array_equal(np.squeeze(read.array), np.squeeze(image.array))
    assert load(path).patient_id == "P1"


def test_a_volume_keeps_its_place_and_its_patient(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    path = write_secondary(image, tmp_path / "sc.dcm", at=AT)
    assert errors(path) == []
    case = load(path)
    read = next(iter(case.items.values()))
    assert np.array_equal(read.array, image.array)
    assert np.allclose(read.affine, affine(), atol=1e-6)
    assert case.patient_id == "CT-1"
    ds = pydicom.dcmread(path)
    assert ds.StudyInstanceUID == image.origin.dicom["0020000D"]["Value"][0]
    assert ds.SeriesInstanceUID != image.origin.dicom["0020000E"]["Value"][0]


@pytest.mark.parametrize(
    "array", [np.full((1, 2, 2), 0.5), np.array([[[0, 70_000]]]), np.zeros((2, 4, 4), np.uint8)]
)
def test_what_would_not_come_back_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(OutputError, match="NIfTI"):
        write_secondary(Image("x", array), tmp_path / "sc.dcm")
    assert not (tmp_path / "sc.dcm").exists()
