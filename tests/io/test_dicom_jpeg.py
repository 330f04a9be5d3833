"""JPEG baseline in DICOM: pixels against independent decoders, and files of other programs."""

import contextlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_photos import read, rows_first
from image_files import (
    encoded,
    jpeg_dicom,
    scene,
)
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from osler.errors import OslerError, UnreadableError
from osler.io import load
from osler.record import Image

UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def jpeg(pixels: NDArray[Any], **options: Any) -> bytes:
    return encoded(pixels, "JPEG", quality=95, **options)


def without_markers(stream: bytes) -> bytes:
    """The stream without its JFIF segment, as most devices write it into DICOM."""
    assert stream[2:4] == b"\xff\xe0"
    return stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("marked", [True, False])
def test_jpeg_colour_is_that_of_an_independent_decoder(
    tmp_path: Path, subsampling: int, marked: bool
) -> None:
    stream = jpeg(scene(), subsampling=subsampling)
    stream = stream if marked else without_markers(stream)
    data = jpeg_dicom(stream, "YBR_FULL_422", samples=scene())
    image = read(tmp_path, data)
    np.testing.assert_array_equal(rows_first(image), np.asarray(Pillow.open(BytesIO(stream))))
    independent = pydicom.pixels.pixel_array(BytesIO(data)).astype(int)
    assert np.abs(rows_first(image) - independent).max() <= 2
    assert image.flags == ()


def test_jpeg_grey(tmp_path: Path) -> None:
    grey = scene()[..., 0]
    stream = jpeg(grey)
    expected = np.asarray(Pillow.open(BytesIO(stream)))
    image = read(tmp_path, jpeg_dicom(stream, "MONOCHROME2", samples=grey))
    np.testing.assert_array_equal(rows_first(image), expected)
    image = read(tmp_path, jpeg_dicom(stream, "MONOCHROME1", samples=grey))
    np.testing.assert_array_equal(rows_first(image), 255 - expected)


def test_jpeg_that_is_rgb_and_says_so_in_its_markers(tmp_path: Path) -> None:
    stream = jpeg(scene(), subsampling=0, keep_rgb=True)
    image = read(tmp_path, jpeg_dicom(stream, "RGB", samples=scene()))
    assert np.abs(rows_first(image).astype(int) - scene()).mean() < 4
    assert image.flags == ()
    image = read(tmp_path, jpeg_dicom(stream, "YBR_FULL_422", samples=scene()))
    assert np.abs(rows_first(image).astype(int) - scene()).mean() < 4
    assert image.flags == ("photometric-mismatch",)


def test_jpeg_that_is_rgb_and_only_the_header_says_so(tmp_path: Path) -> None:
    # RGB under the component ids 1, 2, 3 and no marker: alone, a decoder takes it for YCbCr
    as_if_ybr = Pillow.frombytes("YCbCr", (32, 24), scene().tobytes())
    buffer = BytesIO()
    as_if_ybr.save(buffer, "JPEG", quality=95, subsampling=0)
    stream = without_markers(buffer.getvalue())
    data = jpeg_dicom(stream, "RGB", samples=scene())
    image = read(tmp_path, data)
    assert np.abs(rows_first(image).astype(int) - scene()).mean() < 4
    np.testing.assert_array_equal(rows_first(image), pydicom.pixels.pixel_array(BytesIO(data)))
    assert image.flags == ()


def test_jpeg_whose_jfif_marker_contradicts_rgb(tmp_path: Path) -> None:
    stream = jpeg(scene())
    image = read(tmp_path, jpeg_dicom(stream, "RGB", samples=scene()))
    np.testing.assert_array_equal(rows_first(image), np.asarray(Pillow.open(BytesIO(stream))))
    assert image.flags == ("photometric-mismatch",)


def test_jpeg_of_another_size_than_its_header(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"JPEG of 32 x 24 pixels .* says 30 x 20"):
        read(tmp_path, jpeg_dicom(jpeg(scene()), "YBR_FULL_422", samples=scene(20, 30)))
    with pytest.raises(UnreadableError, match="export it again"):
        read(tmp_path, jpeg_dicom(jpeg(scene()[..., 0]), "YBR_FULL_422", samples=scene()))


READABLE = (
    "ExplVR_BigEnd.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "examples_rgb_color.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "SC_jpeg_no_color_transform_2.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+n2.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_jpeg.dcm",
    "SC_rgb_jpeg_app14_dcmd.dcm",
    "SC_rgb_jpeg_dcmd.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_lossy_gdcm.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READABLE)
def test_files_of_other_programs(name: str) -> None:
    """Written by DCMTK, GDCM and devices; they come with pydicom, which decodes them too."""
    (image,) = load(PYDICOM_FILES / name).items.values()
    assert isinstance(image, Image)
    dataset = pydicom.dcmread(PYDICOM_FILES / name)
    expected = pydicom.pixels.pixel_array(dataset)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        expected = pydicom.pixels.apply_color_lut(expected, dataset) >> 8
    assert rows_first(image).shape == expected.shape
    assert np.abs(rows_first(image).astype(int) - expected).max() <= 2


@pytest.mark.filterwarnings("ignore")
def test_every_file_that_comes_with_pydicom_is_read_or_refused() -> None:
    for path in PYDICOM_FILES.glob("*.dcm"):
        with contextlib.suppress(OslerError):
            for item in load(path).items.values():
                assert not isinstance(item, Image) or item.array.size
