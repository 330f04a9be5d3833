"""Colour of DICOM frames: palettes, ranges and transforms."""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_stack import (
    film,
    image,
    read,
)
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from osler.errors import UnreadableError

JPEG_LS = "1.2.840.10008.1.2.4.80"


@pytest.mark.filterwarnings("ignore")
def test_a_segmented_palette(tmp_path: Path) -> None:
    ds = image((np.arange(96) % 64).astype(np.uint8).reshape(8, 12), SecondaryCaptureImageStorage)
    ds.PhotometricInterpretation = "PALETTE COLOR"
    segments = np.array([0, 4, 0, 9, 200, 65535, 1, 27, 300, 0, 2, 40000, 50000, 2, 2, 0, 0])
    for name in ("Red", "Green", "Blue"):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [64, 0, 16])
        data = segments.astype("<u2").tobytes()
        setattr(ds, f"Segmented{name}PaletteColorLookupTableData", data)
    ds.SegmentedGreenPaletteColorLookupTableData = (
        np.array([0, 1, 0, 1, 63, 65535]).astype("<u2").tobytes()
    )
    found = read(tmp_path, ds)
    expected = pydicom.pixels.apply_color_lut(ds.pixel_array, ds) >> 8
    assert np.abs(np.moveaxis(found.array, 0, -1).astype(int) - expected).max() <= 1
    ds.SegmentedRedPaletteColorLookupTableData = segments[:8].astype("<u2").tobytes()
    with pytest.raises(UnreadableError, match="damaged palette"):
        read(tmp_path, ds)


def test_partial_range_ybr(tmp_path: Path) -> None:
    ds = image(film(1), SecondaryCaptureImageStorage)
    ds.PhotometricInterpretation, ds.NumberOfFrames = "YBR_PARTIAL_422", 1
    pairs = np.full((24, 16, 4), 128, np.uint8)
    pairs[:, :8, :2], pairs[:, 8:, :2] = 16, 235
    ds.PixelData = pairs.tobytes()
    found = read(tmp_path, ds)
    assert (found.array[:, :, :16] == 0).all()
    assert (found.array[:, :, 16:] == 255).all()


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.90", JPEG_LS, RLELossless])
def test_lossless_colour(tmp_path: Path, syntax: str) -> None:
    pixels = film(2)
    ds = image(pixels, SecondaryCaptureImageStorage, syntax)
    if syntax.endswith("90"):
        ds.PhotometricInterpretation = "YBR_RCT"
    found = read(tmp_path, ds)
    np.testing.assert_array_equal(np.moveaxis(found.array, 0, -1), pixels)


def test_a_colour_transform_that_the_stream_does_not_have(tmp_path: Path) -> None:
    ds = image(film(1)[0][None], SecondaryCaptureImageStorage)
    ds.NumberOfFrames, ds.PhotometricInterpretation = 1, "YBR_RCT"
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.90")
    for transform in (True, False):
        stream = imagecodecs.jpeg2k_encode(film(1)[0], codecformat="j2k", level=0, mct=transform)
        ds.PixelData = encapsulate([bytes(stream)])
        found = read(tmp_path, ds)
        np.testing.assert_array_equal(np.moveaxis(found.array, 0, -1), film(1)[0])
        assert ("photometric-mismatch" in found.flags) is not transform
