"""Single-frame DICOM: pixels against independent decoders, and what the header says."""

import json
import tracemalloc
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_photos import case_of, read, rows_first, ybr
from image_files import (
    OP16,
    SECONDARY_CAPTURE,
    deep_scene,
    dicom,
    put,
    scene,
    srgb_profile,
    swapped_profile,
)
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from osler.errors import OslerError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import load

UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


# --- uncompressed ---------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_rgb(tmp_path: Path, syntax: UID) -> None:
    image = read(tmp_path, dicom(scene(), syntax=syntax))
    np.testing.assert_array_equal(rows_first(image), scene())
    assert image.array.dtype == np.uint8
    assert image.flags == ()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_file_without_preamble(tmp_path: Path, syntax: UID) -> None:
    image = read(tmp_path, dicom(scene(), syntax=syntax, preamble=False))
    np.testing.assert_array_equal(rows_first(image), scene())
    assert image.flags == ("no-preamble",)


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_grey_keeps_stored_units(tmp_path: Path, syntax: UID) -> None:
    shallow = read(tmp_path, dicom(scene()[..., 0], "MONOCHROME2", syntax=syntax))
    np.testing.assert_array_equal(rows_first(shallow), scene()[..., 0])
    deep = read(tmp_path, dicom(deep_scene(), "MONOCHROME2", syntax=syntax, sop_class=OP16))
    np.testing.assert_array_equal(rows_first(deep), deep_scene())
    assert deep.array.dtype == np.uint16
    assert deep.flags == shallow.flags == ()


def test_big_endian_words_of_bytes(tmp_path: Path) -> None:
    grey = np.ascontiguousarray(scene(4, 6)[..., 0])
    data = dicom(grey, "MONOCHROME2", syntax=ExplicitVRBigEndian)
    dataset = pydicom.dcmread(BytesIO(data))
    dataset["PixelData"].VR = "OW"
    dataset.PixelData = grey.view("<u2").byteswap().tobytes()
    buffer = BytesIO()
    dataset.save_as(buffer)
    np.testing.assert_array_equal(rows_first(read(tmp_path, buffer.getvalue())), grey)
    np.testing.assert_array_equal(pydicom.dcmread(BytesIO(buffer.getvalue())).pixel_array, grey)


def test_monochrome1_is_inverted_in_its_depth(tmp_path: Path) -> None:
    image = read(tmp_path, dicom(scene()[..., 0], "MONOCHROME1"))
    np.testing.assert_array_equal(rows_first(image), 255 - scene()[..., 0])
    assert image.flags == ("monochrome1-inverted",)
    twelve = deep_scene() >> 4
    image = read(tmp_path, dicom(twelve, "MONOCHROME1", BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(rows_first(image), 4095 - twelve)
    assert image.flags == ("bits-stored-12", "monochrome1-inverted")


def test_unused_bits_are_cleared(tmp_path: Path) -> None:
    twelve = deep_scene() >> 4
    overlaid = twelve | 0xA000
    image = read(tmp_path, dicom(overlaid, "MONOCHROME2", BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(rows_first(image), twelve)


def test_planes(tmp_path: Path) -> None:
    planes = scene().transpose(2, 0, 1).tobytes()
    image = read(tmp_path, dicom(scene(), pixels=planes, PlanarConfiguration=1))
    np.testing.assert_array_equal(rows_first(image), scene())


def test_an_odd_number_of_bytes(tmp_path: Path) -> None:
    image = read(tmp_path, dicom(scene(3, 5), sop_class=SECONDARY_CAPTURE))
    np.testing.assert_array_equal(rows_first(image), scene(3, 5))


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_ICT"])
@pytest.mark.parametrize("planar", [0, 1])
def test_ybr_becomes_rgb(tmp_path: Path, photometric: str, planar: int) -> None:
    stored = ybr(scene())
    pixels = stored.transpose(2, 0, 1).tobytes() if planar else stored.tobytes()
    image = read(tmp_path, dicom(stored, photometric, pixels=pixels, PlanarConfiguration=planar))
    independent = convert_color_space(stored, "YBR_FULL", "RGB").astype(int)
    assert np.abs(rows_first(image) - independent).max() <= 1
    assert np.abs(rows_first(image).astype(int) - scene()).max() <= 3


def test_shared_chroma(tmp_path: Path) -> None:
    full = ybr(np.repeat(scene(24, 16), 2, axis=1))
    pairs = np.stack([full[:, ::2, 0], full[:, 1::2, 0], full[:, ::2, 1], full[:, ::2, 2]], axis=-1)
    data = dicom(full, "YBR_FULL_422", pixels=pairs.tobytes())
    independent = pydicom.pixels.pixel_array(BytesIO(data)).astype(int)
    assert np.abs(rows_first(read(tmp_path, data)) - independent).max() <= 1


def test_a_leftover_name_of_shared_chroma(tmp_path: Path) -> None:
    image = read(tmp_path, dicom(ybr(scene()), "YBR_FULL_422"))
    assert image.flags == ("photometric-mismatch",)
    assert np.abs(rows_first(image).astype(int) - scene()).max() <= 3


def test_deep_colour_is_scaled(tmp_path: Path) -> None:
    deep = np.dstack([deep_scene(), deep_scene()[::-1], deep_scene() // 2])
    image = read(tmp_path, dicom(deep, sop_class=OP16))
    np.testing.assert_array_equal(rows_first(image), deep >> 8)
    assert image.flags == ("16-bit-scaled",)
    image = read(tmp_path, dicom(deep >> 4, sop_class=OP16, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(rows_first(image), deep >> 8)


@pytest.mark.parametrize(("bits", "step"), [(8, 1), (16, 257), (16, 1)])
def test_a_palette(tmp_path: Path, bits: int, step: int) -> None:
    table = {
        name: (np.arange(256) * factor % 256 * step).astype(np.uint16 if bits == 16 else np.uint8)
        for name, factor in (("Red", 1), ("Green", 3), ("Blue", 7))
    }
    elements: dict[str, Any] = {}
    for name, values in table.items():
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        elements[f"{name}PaletteColorLookupTableData"] = values.tobytes()
    indices = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32).astype(np.uint8)
    image = read(tmp_path, dicom(indices, "PALETTE COLOR", **elements))
    expected = np.stack([indices * np.uint8(f) for f in (1, 3, 7)], axis=-1)
    np.testing.assert_array_equal(rows_first(image), expected)
    assert image.flags == ("palette-converted",)


# --- what the header says -------------------------------------------------------------------


def test_what_is_known_of_the_case(tmp_path: Path) -> None:
    case = case_of(tmp_path, dicom(scene()))
    image = case.image("photo")
    assert (case.id, case.patient_id, image.modality) == ("image", "P-17", "OP")
    assert image.origin is not None
    header = image.origin.dicom
    assert header["00100020"] == {"vr": "LO", "Value": ["P-17"]}
    assert header["00280010"]["Value"] == [24]
    assert "7FE00010" not in header
    assert json.loads(json.dumps(dict(header))) == header
    assert image.origin.format == "dicom"


@pytest.mark.parametrize("given", [None, "", "  "])
def test_no_patient(tmp_path: Path, given: str | None) -> None:
    assert case_of(tmp_path, dicom(scene(), PatientID=given)).patient_id is None


@pytest.mark.parametrize(
    ("elements", "expected", "flags"),
    [
        ({"ImageLaterality": "R"}, "R", ()),
        ({"ImageLaterality": "L"}, "L", ()),
        ({"Laterality": "L"}, "L", ()),
        ({"ImageLaterality": "R", "Laterality": "R"}, "R", ()),
        ({"ImageLaterality": "R", "Laterality": "L"}, None, ("laterality-contradictory",)),
        ({"ImageLaterality": "B"}, None, ("laterality-both",)),
        ({"ImageLaterality": ""}, None, ()),
        ({}, None, ()),
    ],
)
def test_laterality(
    tmp_path: Path, elements: dict[str, str], expected: str | None, flags: tuple[str, ...]
) -> None:
    image = read(tmp_path, dicom(scene(), **elements))
    assert image.laterality == expected
    assert image.flags == flags


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"AcquisitionDateTime": "20240305101112.5"}, datetime(2024, 3, 5, 10, 11, 12, 500_000)),
        (
            {"AcquisitionDateTime": "20240305101112+0000"},
            datetime(2024, 3, 5, 10, 11, 12, tzinfo=UTC),
        ),
        ({"AcquisitionDate": "20240305", "AcquisitionTime": "1011"}, datetime(2024, 3, 5, 10, 11)),
        ({"ContentDate": "20240305", "ContentTime": "101112"}, datetime(2024, 3, 5, 10, 11, 12)),
        ({"ContentDate": "20240305"}, datetime(2024, 3, 5)),
        ({"AcquisitionDateTime": "", "ContentDate": "20240305"}, datetime(2024, 3, 5)),
        ({}, None),
    ],
)
def test_when_it_was_taken(
    tmp_path: Path, elements: dict[str, str], expected: datetime | None
) -> None:
    assert read(tmp_path, dicom(scene(), **elements)).acquired == expected


@pytest.mark.filterwarnings("ignore")  # pydicom minds writing what is tested here
@pytest.mark.parametrize("value", ["tomorrow", "20249999", "99999999999999", "2024"])
def test_a_date_that_is_none(tmp_path: Path, value: str) -> None:
    for keyword in ("AcquisitionDateTime", "AcquisitionDate", "ContentDate"):
        data = dicom(scene())
        dataset = pydicom.dcmread(BytesIO(data))
        dataset.add_new(keyword, "LO", value)
        buffer = BytesIO()
        dataset.save_as(buffer)
        assert read(tmp_path, buffer.getvalue()).acquired is None


@pytest.mark.parametrize(
    ("elements", "expected", "flags"),
    [
        ({"PixelSpacing": [0.0075, 0.008]}, (0.0075, 0.008), ()),
        ({"PixelSpacing": [5.0, 5.0]}, None, ("spacing-implausible",)),
        ({"PixelSpacing": [0.0, 0.0]}, None, ("spacing-implausible",)),
        ({"PixelSpacing": [-0.01, 0.01]}, None, ("spacing-implausible",)),
        ({"ImagerPixelSpacing": [0.0075, 0.008]}, None, ("spacing-at-detector",)),
        ({"PixelSpacing": [0.0075, 0.008], "sop_class": SECONDARY_CAPTURE}, None, ()),
        ({}, None, ()),
    ],
)
def test_spacing_is_of_the_retina_or_absent(
    tmp_path: Path,
    elements: dict[str, Any],
    expected: tuple[float, float] | None,
    flags: tuple[str, ...],
) -> None:
    image = read(tmp_path, dicom(scene(), **elements))
    assert image.spacing == expected
    assert image.flags == flags


def test_burnt_in_text_and_wrong_names_are_flagged(tmp_path: Path) -> None:
    data = dicom(scene(), BurnedInAnnotation="YES")
    image = load(put(tmp_path, "photo.jpg", data)).image("photo")
    assert set(image.flags) == {"burned-in-annotation", "wrong-extension"}


def test_a_profile_of_its_own(tmp_path: Path) -> None:
    image = read(tmp_path, dicom(scene(), ICCProfile=srgb_profile()))
    np.testing.assert_array_equal(rows_first(image), scene())
    image = read(tmp_path, dicom(scene(), ICCProfile=swapped_profile()))
    assert image.flags == ("icc-converted",)
    assert np.abs(rows_first(image).astype(int) - scene()[..., ::-1]).max() <= 2


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "error", "words"),
    [
        ({"NumberOfFrames": 30}, UnreadableError, "its header needs 69120"),
        ({"PixelRepresentation": 1}, UnsupportedError, "signed or floating-point colour"),
        ({"BitsAllocated": 32}, UnreadableError, "its header needs 9216"),
        ({"BitsAllocated": 12, "BitsStored": 8}, UnsupportedError, "of 12 bits"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, UnreadableError, "single bits"),
        ({"HighBit": 3}, UnreadableError, "highest bit at 3 of 8"),
        ({"BitsStored": 20}, UnreadableError, "20 bits in 8"),
        ({"SamplesPerPixel": 4}, UnsupportedError, "4 samples"),
        ({"SamplesPerPixel": 1}, UnreadableError, "RGB has 3"),
        ({"PhotometricInterpretation": "HSV"}, UnsupportedError, "interpretation HSV"),
        ({"PhotometricInterpretation": "YBR_RCT"}, UnsupportedError, "interpretation YBR_RCT"),
        ({"PhotometricInterpretation": None}, UnsupportedError, "interpretation unknown"),
        ({"Rows": 0}, UnreadableError, "32 x 0 pixels"),
        ({"Rows": 65535, "Columns": 65535}, TooLargeError, "65535 x 65535 pixels"),
        ({"Rows": 400}, UnreadableError, "its header needs 38400"),
        ({"Rows": None}, UnreadableError, "without pixels"),
        ({"PixelData": None}, UnreadableError, "without pixels"),
        ({"BitsAllocated": None}, UnreadableError, "no BitsAllocated"),
    ],
)
def test_refusals_name_the_reason(
    tmp_path: Path, elements: dict[str, Any], error: type[OslerError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        read(tmp_path, dicom(scene(), **elements))
    assert "image.dcm" in str(caught.value)
    assert "Secret" not in str(caught.value)
    assert "P-17" not in str(caught.value)


def test_an_object_without_an_image(tmp_path: Path) -> None:
    data = dicom(
        scene(),
        sop_class="1.2.840.10008.5.1.4.1.1.481.5",
        Rows=None,
        Columns=None,
        PixelData=None,
    )
    with pytest.raises(UnsupportedError, match=r"without an image \(RT Plan Storage, 1"):
        read(tmp_path, data)


def test_films_are_named(tmp_path: Path) -> None:
    data = dicom(scene(), syntax=MPEG2MPML, pixels=encapsulate([bytes(64)]))
    with pytest.raises(
        UnsupportedError, match=r"film in transfer syntax MPEG2 .*, 1\.2\.840.*ffmpeg"
    ):
        read(tmp_path, data)


def test_a_deflated_bomb_is_inflated_as_far_as_its_header_goes(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        "bomb.dcm",
        dicom(
            scene(),
            syntax=DeflatedExplicitVRLittleEndian,
            pixels=scene().tobytes() + bytes(50_000_000),
        ),
    )
    tracemalloc.start()
    image = load(path).image("photo")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(rows_first(image), scene())
    assert peak < 10_000_000


def test_a_palette_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="without a palette"):
        read(tmp_path, dicom(scene()[..., 0], "PALETTE COLOR"))


def test_shared_chroma_wants_pairs(tmp_path: Path) -> None:
    odd = scene(4, 5)
    with pytest.raises(UnreadableError, match="5 columns"):
        read(tmp_path, dicom(odd, "YBR_FULL_422", pixels=bytes(4 * 5 * 2)))
