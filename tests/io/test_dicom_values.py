"""Values of DICOM pixels: depth, sign, rescale and window, against pydicom and SimpleITK."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_stack import (
    ENCODERS,
    enhanced,
    image,
    read,
    series,
    stack,
)
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from osler.errors import UnreadableError
from osler.io import load

JPEG_LS, LOSSLESS = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.70"
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [2, 7, 8, 12, 15, 16, 24, 32])
def test_every_depth_and_sign(tmp_path: Path, bits: int, signed: bool) -> None:
    size = 1 if bits <= 8 else 2 if bits <= 16 else 4
    low = -(1 << (bits - 1)) if signed else 0
    values = np.linspace(low, low + (1 << bits) - 1, 96).round().astype(np.int64).reshape(8, 12)
    kind = np.dtype(f"{'i' if signed else 'u'}{size}")
    ds = image(values.astype(kind), CTImageStorage)
    # unused bits hold rubbish, and a sign that is not repeated
    unused = ~np.uint64((1 << bits) - 1) & np.uint64((1 << (8 * size)) - 1)
    raw = (values.astype(np.uint64) & np.uint64((1 << bits) - 1)) | (unused & np.uint64(0xA5A5A5A5))
    ds.PixelData = raw.astype(f"<u{size}").tobytes()
    ds.BitsStored, ds.HighBit = bits, bits - 1
    found = read(tmp_path, ds)
    np.testing.assert_array_equal(found.array[0], values)
    assert found.dtype == kind


def test_a_high_bit_that_is_not_the_last(tmp_path: Path) -> None:
    values = (stack(1)[0] & 0xFFF).astype(np.uint16)
    ds = image(values << 4, CTImageStorage)
    ds.BitsStored, ds.HighBit = 12, 15
    np.testing.assert_array_equal(read(tmp_path, ds).array[0], values)
    signed = values.astype(np.int16) - 2048
    ds = image((signed << 4).astype(np.int16), CTImageStorage)
    ds.BitsStored, ds.HighBit = 12, 15
    np.testing.assert_array_equal(read(tmp_path, ds).array[0], signed)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_single_bits_do_not_align_with_bytes(tmp_path: Path, syntax: UID) -> None:
    bits = (np.arange(3 * 5 * 7) % 3 == 0).reshape(3, 5, 7)
    ds = image(bits.astype(np.uint8), MultiFrameSingleBitSecondaryCaptureImageStorage)
    packed = np.packbits(bits.ravel(), bitorder="little")
    if syntax == ExplicitVRBigEndian:
        packed = np.frombuffer(packed.tobytes(), "<u2").byteswap().view(np.uint8)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = packed.tobytes()
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    found = read(tmp_path, ds)
    np.testing.assert_array_equal(found.array[0], bits)
    if syntax == ExplicitVRLittleEndian:  # pydicom leaves big-endian words as they are
        independent = pydicom.dcmread(tmp_path / "file.dcm").pixel_array
        np.testing.assert_array_equal(found.array[0], independent)
    np.testing.assert_array_equal(
        found.region(slice(2, 3), slice(1, 4), slice(0, 7))[0], bits[2:3, 1:4]
    )


@pytest.mark.parametrize("syntax", [JPEG_LS, LOSSLESS])
def test_signed_values_in_streams_that_know_no_sign(tmp_path: Path, syntax: str) -> None:
    values = stack(1)[0].astype(np.int16) - 1500
    ds = image(values, CTImageStorage)
    ds.PixelData = encapsulate([ENCODERS[syntax](values.view(np.uint16))])
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    np.testing.assert_array_equal(read(tmp_path, ds).array[0], values)


def test_floating_point(tmp_path: Path) -> None:
    values = np.linspace(-3.5, 900.25, 96).reshape(8, 12)
    for kind, keyword in ((np.float32, "FloatPixelData"), (np.float64, "DoubleFloatPixelData")):
        ds = image(values.astype(kind), SecondaryCaptureImageStorage)
        del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
        setattr(ds, keyword, values.astype(kind).tobytes())
        found = read(tmp_path, ds)
        assert found.dtype == kind
        np.testing.assert_array_equal(found.array[0], values.astype(kind))


def test_a_modality_lookup_table(tmp_path: Path) -> None:
    ds = image((np.arange(96) % 40).astype(np.uint8).reshape(8, 12), CTImageStorage)
    table = (np.arange(30) ** 2 * 7).astype(np.uint16)
    entry = Dataset()
    entry.LUTDescriptor, entry.ModalityLUTType = [30, 5, 16], "HU"
    entry.add_new("LUTData", "OW", table.tobytes())
    ds.ModalityLUTSequence = pydicom.Sequence([entry])
    found = read(tmp_path, ds)
    expected = pydicom.pixels.apply_modality_lut(ds.pixel_array, ds)
    np.testing.assert_array_equal(found.array[0], expected)
    assert found.units == "[hnsf'U]"
    entry.add_new("LUTData", "OW", table.tobytes()[:20])
    with pytest.raises(UnreadableError, match="without its 30 entries"):
        read(tmp_path, ds)


def test_slope_and_intercept_choose_the_smallest_exact_type(tmp_path: Path) -> None:
    (ds,) = series(stack(1))
    for slope, intercept, kind in (
        ("1", "-1024", np.int16),
        ("2", "0", np.uint16),
        ("20", "0", np.uint32),
        ("1", "0", np.uint16),
        ("0.25", "-3.5", np.float32),
    ):
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
        found = read(tmp_path, ds)
        assert found.dtype == kind
        np.testing.assert_array_equal(found.array[0], stack(1)[0] * float(slope) + float(intercept))
    ds.RescaleSlope = "0"
    with pytest.raises(UnreadableError, match="unusable RescaleSlope"):
        read(tmp_path, ds)
    ds.RescaleSlope = "1"
    for words in (b"-1O24", b"1e999 "):
        ds[0x00281052] = RawDataElement(Tag(0x00281052), "DS", len(words), words, 0, False, True)
        with pytest.raises(UnreadableError, match="unusable RescaleIntercept"):
            read(tmp_path, ds)
    del ds.RescaleSlope, ds.RescaleIntercept
    ds[0x3004000E] = RawDataElement(Tag(0x3004000E), "DS", 4, b"1E-O", 0, False, True)
    with pytest.raises(UnreadableError, match="unusable DoseGridScaling"):
        read(tmp_path, ds)


@pytest.mark.parametrize("keyword", ["", "RescaleIntercept", "RescaleSlope"])
def test_a_frame_that_alone_states_no_rescale(tmp_path: Path, keyword: str) -> None:
    ds = enhanced(stack())
    frame = ds.PerFrameFunctionalGroupsSequence[2]
    if keyword:
        del frame.PixelValueTransformationSequence[0][keyword]
    else:
        del frame.PixelValueTransformationSequence
    with pytest.raises(UnreadableError, match="some of its frames only"):
        read(tmp_path, ds)


def test_monochrome1_of_signed_values_and_its_window(tmp_path: Path) -> None:
    values = stack(1)[0].astype(np.int16) - 1800
    ds = image(values, SecondaryCaptureImageStorage)
    ds.BitsStored, ds.HighBit, ds.PhotometricInterpretation = 12, 11, "MONOCHROME1"
    ds.WindowCenter, ds.WindowWidth = ["100", "7"], ["300", "8"]
    found = read(tmp_path, ds)
    np.testing.assert_array_equal(found.array[0], -1 - values)
    assert found.window is not None
    centre, width = found.window
    # what was at the lower end of the window is now at its upper end
    low, high = 100 - 0.5 - 299 / 2, 100 - 0.5 + 299 / 2
    assert (centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2) == (-1 - high, -1 - low)


def test_physical_values_are_not_turned_round(tmp_path: Path) -> None:
    (ds,) = series(stack(1))
    ds.PhotometricInterpretation = "MONOCHROME1"
    found = read(tmp_path, ds)
    np.testing.assert_array_equal(found.array[0], stack(1)[0].astype(int) - 1024)
    assert "monochrome1-kept" in found.flags


def test_padding_is_flagged(tmp_path: Path) -> None:
    (ds,) = series(stack(1))
    ds.PixelPaddingValue = 0
    assert "pixel-padding" in read(tmp_path, ds).flags


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
def test_extended_jpeg_of_twelve_bits(name: str) -> None:
    found = load(PYDICOM_FILES / name).image("photo")
    independent = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(PYDICOM_FILES / name)))
    np.testing.assert_array_equal(found.array, independent)
