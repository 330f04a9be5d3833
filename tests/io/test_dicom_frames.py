"""Multi-frame DICOM, values and overlays: against pydicom, SimpleITK, and what is known of them."""

from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
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
    as_bytes,
    cine,
    enhanced,
    image,
    series,
    stack,
)
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    RLELossless,
    RTDoseStorage,
    SecondaryCaptureImageStorage,
)

from osler.errors import GeometryError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import load
from osler.record import Case, Image, Mask

JPEG_LS, LOSSLESS = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.70"
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def case_of(folder: Path, ds: Dataset, **options: Any) -> Case:
    path = folder / "file.dcm"
    path.write_bytes(as_bytes(ds))
    return load(path, **options)


def read(folder: Path, ds: Dataset, **options: Any) -> Image:
    (item,) = case_of(folder, ds, **options).items.values()
    assert isinstance(item, Image)
    return item


def film(count: int = 5) -> NDArray[np.uint8]:
    """Smooth colour ``(D, H, W, 3)``, each frame another."""
    rows, columns = np.mgrid[0:24, 0:32]
    frames = [np.stack([rows * 9, columns * 7, rows * 0 + 40 * d], axis=-1) for d in range(count)]
    return np.array(frames).astype(np.uint8)


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


# --- cines ----------------------------------------------------------------------------------


def test_a_cine(tmp_path: Path) -> None:
    ds = cine(film())
    found = read(tmp_path, ds)
    assert (found.name, found.shape, found.loaded) == ("us", (5, 24, 32), False)
    np.testing.assert_allclose(found.times, [0, 0.04, 0.08, 0.12, 0.16])
    independent = pydicom.pixels.pixel_array(BytesIO(as_bytes(ds))).astype(int)
    assert np.abs(np.moveaxis(found.array, 0, -1) - independent).max() <= 2
    alone = read(tmp_path, ds).region(slice(3, 4), slice(0, 24), slice(0, 32))
    np.testing.assert_array_equal(alone, found.array[:, 3:4])


def test_times_by_a_vector_or_a_rate(tmp_path: Path) -> None:
    ds = cine(film(3), FrameTime=None, FrameTimeVector=["0", "30", "50"])
    np.testing.assert_allclose(read(tmp_path, ds).times, [0, 0.03, 0.08])
    ds = cine(film(3), FrameTime=None, CineRate="20")
    np.testing.assert_allclose(read(tmp_path, ds).times, [0, 0.05, 0.1])
    assert read(tmp_path, cine(film(3), FrameTime=None)).times == ()


@pytest.mark.parametrize("kind", ["no table", "table", "extended table", "no delimiter"])
def test_frames_of_several_fragments(tmp_path: Path, kind: str) -> None:
    ds = cine(film(4))
    frames = list(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=4))
    if kind == "extended table":
        value, offsets, lengths = encapsulate_extended(frames)
        ds.PixelData, ds.ExtendedOffsetTable = value, offsets
        ds.ExtendedOffsetTableLengths = lengths
    elif kind == "no delimiter":
        ds.PixelData = encapsulate(frames)
        data = as_bytes(ds)[:-8]
        (tmp_path / "cut.dcm").write_bytes(data)
        (found,) = load(tmp_path / "cut.dcm").items.values()
        assert isinstance(found, Image)
        assert found.array.shape == (3, 4, 24, 32)
        return
    else:
        ds.PixelData = encapsulate(frames, fragments_per_frame=3, has_bot=kind == "table")
    expected = read(tmp_path, cine(film(4))).array
    np.testing.assert_array_equal(read(tmp_path, ds).array, expected)


def test_missing_frames(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"states 9 frames .* 5 fragments"):
        read(tmp_path, cine(film(5), NumberOfFrames=9))


# --- values ---------------------------------------------------------------------------------


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


# --- colour ---------------------------------------------------------------------------------


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
