"""Names that no header tells, in the places of a DICOM file in which nobody looks for them."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    HEVCMP51,
    MPEG2MPML,
    MPEG4HP41,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

from osler.io.deidentification import Key, Options
from osler.io.deidentification.one import Copied, Setting, copy

WHO = "WORBLEHAT"
JPIP = UID("1.2.840.10008.1.2.4.94")
BASIC = Options(pixels="rules")
ALL = Options(
    dates="shift",
    device=True,
    patient=True,
    institution=True,
    safe_private=True,
    descriptors=True,
    structured=True,
    graphics=True,
    pixels="rules",
)
BOTH = pytest.mark.parametrize("options", [BASIC, ALL], ids=["basic", "all"])


def copied(ds: Dataset, folder: Path, options: Options = BASIC) -> tuple[Copied, bytes]:
    with warnings.catch_warnings():  # of values that are none
        warnings.simplefilter("ignore")
        ds.save_as(folder / "a.dcm")
    setting = Setting(folder, folder / "out", options, Key(b"k" * 32))
    outcome = copy(folder / "a.dcm", setting)
    place = setting.out / outcome.place
    return outcome, place.read_bytes() if outcome.status == "copied" else b""


def ct() -> pydicom.FileDataset:
    return pydicom.dcmread(get_testdata_file("CT_small.dcm"))


def raw(ds: Dataset, tag: int, vr: str, value: bytes) -> None:
    value += b" " * (len(value) % 2)
    ds[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)


def item(**values: object) -> Dataset:
    one = Dataset()
    for keyword, value in values.items():
        setattr(one, keyword, value)
    return one


def words_for_numbers(ds: Dataset) -> None:
    for tag, vr in ((0x00181152, "IS"), (0x00180060, "DS"), (0x00101010, "AS")):
        raw(ds, tag, vr, WHO.encode())
    raw(ds, 0x00180050, "LO", WHO.encode())
    raw(ds, 0x00189074, "DT", WHO.encode())
    ds.ReferencedImageSequence = [Dataset()]
    raw(ds.ReferencedImageSequence[0], 0x00081150, "UI", WHO.encode())


def unlisted_words(ds: Dataset) -> None:
    ds.ConvolutionKernel = f"Dr {WHO}"
    ds.WindowCenterWidthExplanation = "for Mr Worblehat"
    code = item(CodeValue="7", CodingSchemeDesignator="99X", CodeMeaning="view by Dr Worblehat")
    ds.AnatomicRegionSequence = [code]
    ds.ModalityLUTSequence = [item(LUTExplanation=WHO)]
    ds.StorageMediaFileSetID = WHO
    ds.ContentLabel = WHO


def addresses(ds: Dataset) -> None:
    ds.RetrieveURL = ds.PixelDataProviderURL = f"http://pacs/{WHO}"


def encrypted(ds: Dataset) -> None:
    ds.EncryptedAttributesSequence = [item(EncryptedContent=WHO.encode() + b" ")]


def document(ds: Dataset) -> None:
    ds.EncapsulatedDocument = b"%PDF-1.4 " + WHO.encode()
    ds.DocumentTitle = f"report of {WHO}"


def descriptions(ds: Dataset) -> None:
    ds.SeriesDescription, ds.StudyDescription = "Worblehat head", f"CT FOR {WHO}"
    raw(ds, 0x00181030, "UN", WHO.encode())


def after_the_pixels(ds: Dataset) -> None:
    ds.PixelData += WHO.encode() * 2


def offsets(ds: Dataset) -> None:
    ds.add_new(0x7FE00001, "OV", WHO.encode() * 8)
    ds.add_new(0x7FE00002, "OV", WHO.encode() * 8)


PLACES = (
    words_for_numbers,
    unlisted_words,
    addresses,
    encrypted,
    document,
    descriptions,
    after_the_pixels,
    offsets,
)


@BOTH
@pytest.mark.parametrize("plant", PLACES, ids=lambda f: f.__name__)
def test_nothing_is_left_of_a_name(
    plant: Callable[[Dataset], None], options: Options, tmp_path: Path
) -> None:
    ds = ct()
    plant(ds)
    outcome, data = copied(ds, tmp_path, options)
    assert outcome.status == "copied", outcome.error
    assert WHO.lower().encode() not in data.lower()


def test_values_that_are_what_they_should_be_stay(tmp_path: Path) -> None:
    ds = ct()
    ds.SeriesDescription, ds.ConvolutionKernel = "T1 MPRAGE SAG FLAIR 3D HEAD", "B30f"
    raw(ds, 0x00180050, "LO", b"5.0")  # another VR, and yet no word
    outcome, _ = copied(ds, tmp_path, ALL)
    new = pydicom.dcmread(tmp_path / "out" / outcome.place)
    assert new.SeriesDescription == "T1 MPRAGE SAG FLAIR 3D HEAD"
    assert (new.ConvolutionKernel, new.KVP, new.Manufacturer) == ("B30f", ds.KVP, ds.Manufacturer)


@pytest.mark.parametrize(("signs", "encoding"), [("", "gb18030"), ("ISO_IR 100", "utf-8")])
def test_chinese_in_signs_that_are_not_declared(signs: str, encoding: str, tmp_path: Path) -> None:
    ds = ct()
    ds.SpecificCharacterSet = signs or None
    for tag, vr in ((0x0008103E, "LO"), (0x00204000, "LT"), (0x00281055, "LO")):
        raw(ds, tag, vr, "患者姓名：欧阳明远，头颅".encode(encoding))
    outcome, data = copied(ds, tmp_path, ALL)
    assert outcome.status == "copied", outcome.error
    assert "欧阳".encode(encoding) not in data


def coded(kind: str) -> tuple[bytes, UID, np.ndarray]:
    """A frame with a comment in it and words after it, its syntax, and its pixels."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    comment = (2 + len(WHO)).to_bytes(2, "big") + WHO.encode()
    if kind == "jpeg":
        stream, tags = io.BytesIO(), Image.Exif()
        tags[0x010E] = WHO
        Image.fromarray(pixels).save(stream, "JPEG", comment=WHO.encode(), exif=tags)
        data = stream.getvalue()
        return data + WHO.encode(), JPEGBaseline8Bit, imagecodecs.jpeg8_decode(data)
    if kind == "jpeg-ls":
        data = imagecodecs.jpegls_encode(pixels)
        return data[:2] + b"\xff\xfe" + comment + data[2:], JPEGLSLossless, pixels
    if kind == "jp2":
        data = imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="jp2")
        box = (8 + len(WHO)).to_bytes(4, "big") + b"xml " + WHO.encode()
        at = data.index(b"jp2c") - 4
        return data[:at] + box + data[at:], JPEG2000Lossless, pixels
    data = imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k")
    mark = b"\xff\x64" + (4 + len(WHO)).to_bytes(2, "big") + b"\0\1" + WHO.encode()
    at = data.index(b"\xff\x5c")
    return data[:at] + mark + data[at:] + WHO.encode(), JPEG2000Lossless, pixels


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("kind", ["jpeg", "jpeg-ls", "jpeg-2000", "jp2"])
def test_words_in_compressed_frames(kind: str, fragments: int, tmp_path: Path) -> None:
    data, syntax, pixels = coded(kind)
    ds = ct()
    ds.Rows = ds.Columns = 64
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation, ds.NumberOfFrames = 7, 0, 2
    ds.PixelData = encapsulate([data, data], fragments_per_frame=fragments)
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    outcome, after = copied(ds, tmp_path)
    assert outcome.status == "copied", outcome.error
    assert WHO.encode() not in after
    assert ("words in compressed frames", "removed") in outcome.counts
    new = pydicom.dcmread(tmp_path / "out" / outcome.place)
    if kind != "jp2":  # which pydicom reads with a warning
        assert (new.pixel_array == np.stack([pixels, pixels])).all()
    assert len(new.PixelData) == len(ds.PixelData)


def test_frames_that_hold_nothing_keep_every_byte(tmp_path: Path) -> None:
    for name in (
        "JPEG2000.dcm",
        "JPEG-lossy.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ):
        ds = pydicom.dcmread(get_testdata_file(name))
        _, data = copied(ds, tmp_path)
        assert data, name
        before = bytes(ds.PixelData)
        after = bytes(pydicom.dcmread(io.BytesIO(data)).PixelData)
        assert len(before) == len(after)
        assert sum(a != b for a, b in zip(before, after, strict=True)) < 400, name


def test_a_table_of_offsets_that_is_none(tmp_path: Path) -> None:
    data, _, _ = coded("jpeg")
    frame = encapsulate([data[: -len(WHO)]], has_bot=False)
    table = (WHO * 4).encode()
    ds = ct()
    ds.Rows = ds.Columns = 64
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = b"\xfe\xff\x00\xe0" + len(table).to_bytes(4, "little") + table + frame[8:]
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    outcome, after = copied(ds, tmp_path)
    assert outcome.status == "copied", outcome.error
    assert WHO.encode() not in after
    assert pydicom.dcmread(tmp_path / "out" / outcome.place).pixel_array.shape == (64, 64)


@pytest.mark.parametrize("options", [BASIC, Options(pixels="all")], ids=["rules", "all"])
@pytest.mark.parametrize("syntax", [MPEG2MPML, MPEG4HP41, HEVCMP51, JPIP])
def test_films_are_refused_and_named(syntax: UID, options: Options, tmp_path: Path) -> None:
    ds = ct()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([b"\0\0\0\x18ftypmp42" + WHO.encode()])
    ds["PixelData"].is_undefined_length = True
    outcome, _ = copied(ds, tmp_path, options)
    assert outcome.status == "refused"
    assert syntax.name in outcome.error
    assert "JPEG or uncompressed" in outcome.error
    assert not any((tmp_path / "out").rglob("*.dcm"))


def test_voices_and_labels_are_refused(tmp_path: Path) -> None:
    voice = ct()
    voice.SOPClassUID = voice.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.9.4.1"
    label = ct()
    label.ImageType = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
    overview = ct()
    overview.SpecimenLabelInImage = "YES"
    for ds in (voice, label, overview):
        assert copied(ds, tmp_path)[0].status == "refused"
