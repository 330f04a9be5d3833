import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest
from dicom_check import errors
from fake_case import Kind, draw_eye, fake_case
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import OutputError
from osler.io import jpeg, load
from osler.io.dicom_photo import OP_8_BIT, OP_16_BIT, SECONDARY_CAPTURE, reference, write_photo
from osler.record import Case, Image, Laterality


def encoded(**options: object) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.moveaxis(draw_eye((40, 50)), 0, -1)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("side", ["R", "L", None])
def test_the_object_is_valid_and_holds_the_same_pixels(
    tmp_path: Path, kind: Kind, side: Laterality | None
) -> None:
    case = fake_case(tmp_path, kind=kind, laterality=side)
    write_photo(case, tmp_path / "photo.dcm")
    back = pydicom.dcmread(tmp_path / "photo.dcm")
    assert np.array_equal(np.moveaxis(back.pixel_array, -1, 0), case.image("photo").array)
    assert back.SOPClassUID == (OP_8_BIT if side else SECONDARY_CAPTURE)
    assert back.get("ImageLaterality") == side
    assert errors(tmp_path / "photo.dcm") == []


def test_the_bytes_of_a_jpeg_are_kept(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="jpeg")
    ds = write_photo(case, tmp_path / "photo.dcm")
    assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert ds.LossyImageCompression == "01"
    frame = next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1))
    assert jpeg.strip(Path(case.image("photo").origin.path).read_bytes())[0] == frame.rstrip(b"\0")


@pytest.mark.parametrize(
    ("mode", "options", "syntax"),
    [
        ("RGB", {"subsampling": 0}, "1.2.840.10008.1.2.4.50"),
        ("RGB", {"subsampling": 2}, "1.2.840.10008.1.2.4.50"),
        ("L", {}, "1.2.840.10008.1.2.4.50"),
        ("RGB", {"keep_rgb": True}, "1.2.840.10008.1.2.1"),
        ("RGB", {"progressive": True}, "1.2.840.10008.1.2.1"),
    ],
)
def test_every_jpeg_becomes_a_valid_object(
    tmp_path: Path, mode: str, options: dict[str, object], syntax: str
) -> None:
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(np.moveaxis(draw_eye((40, 50)), 0, -1)).convert(mode)
    picture.save(buffer, "JPEG", **options)
    (tmp_path / "eye.jpg").write_bytes(buffer.getvalue())
    case = load(tmp_path / "eye.jpg")
    case.image("photo").laterality = "L"
    ds = write_photo(case, tmp_path / "photo.dcm")
    assert ds.file_meta.TransferSyntaxUID == syntax
    pixels = np.atleast_3d(pydicom.dcmread(tmp_path / "photo.dcm").pixel_array)
    assert np.array_equal(np.moveaxis(pixels, -1, 0), case.image("photo").array)
    assert errors(tmp_path / "photo.dcm") == []


def test_a_jpeg_that_was_turned_is_written_from_its_pixels(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="jpeg", shape=(64, 64))
    image = case.image("photo")
    image.array = np.ascontiguousarray(image.array[:, ::-1])
    ds = write_photo(case, tmp_path / "photo.dcm")
    assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert ds.LossyImageCompression == "01"
    assert errors(tmp_path / "photo.dcm") == []


def test_a_jpeg_that_is_gone_is_written_from_its_pixels(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="jpeg")
    Path(case.image("photo").origin.path).unlink()
    ds = write_photo(case, tmp_path / "photo.dcm")
    assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_the_same_file_gives_the_same_object(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        write_photo(fake_case(folder), folder / "photo.dcm")
        contents.append((folder / "photo.dcm").read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_array_without_a_file_is_written(tmp_path: Path, channels: int) -> None:
    array = draw_eye((33, 35))[:channels]
    image = Image(
        name="photo",
        array=array,
        modality="OP",
        spacing=(0.0101234567, 0.01),
        laterality="L",
        acquired=datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    case = Case(id="eye", patient_id="Pätient 1", items={"photo": image})
    write_photo(case, tmp_path / "photo.dcm")
    back = pydicom.dcmread(tmp_path / "photo.dcm")
    assert back.PatientID == "Pätient 1"
    assert back.AcquisitionDateTime == "20200102030405+0000"
    assert list(back.PixelSpacing) == pytest.approx([0.0101235, 0.01])
    assert np.array_equal(np.moveaxis(np.atleast_3d(back.pixel_array), -1, 0), array)
    assert errors(tmp_path / "photo.dcm") == []


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    array = draw_eye((32, 32))[:1].astype(np.uint16) * 257
    image = Image(name="photo", array=array, modality="OP", laterality="R")
    write_photo(Case(id="eye", items={"photo": image}), tmp_path / "photo.dcm")
    back = pydicom.dcmread(tmp_path / "photo.dcm")
    assert back.SOPClassUID == OP_16_BIT
    assert np.array_equal(back.pixel_array, array[0])
    assert errors(tmp_path / "photo.dcm") == []


def test_an_array_of_floats_is_refused(tmp_path: Path) -> None:
    image = Image(name="photo", array=np.zeros((3, 8, 8), np.float32), modality="OP")
    with pytest.raises(OutputError, match="float32"):
        write_photo(Case(id="eye", items={"photo": image}), tmp_path / "photo.dcm")


@pytest.mark.parametrize("kind", ["jpeg", "png", "dicom-op", "dicom-sc", "dicom-grey"])
def test_a_reference_names_the_file_itself(tmp_path: Path, kind: Kind) -> None:
    case = fake_case(tmp_path, kind=kind)
    if kind.startswith("dicom"):
        there = pydicom.dcmread(case.image("photo").origin.path)
    else:
        there = write_photo(case, tmp_path / "photo.dcm")
    assert reference(case) == {keyword: there[keyword].value for keyword in reference(case)}


def test_an_unsound_value_of_a_header_is_not_passed_on(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op")
    origin = case.image("photo").origin
    header = dict(origin.dicom) | {"0020000D": {"vr": "UI", "Value": ["not a uid"]}}
    case.image("photo").origin = replace(origin, dicom=header)
    assert reference(case)["StudyInstanceUID"].startswith("2.25.")


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_stripping_leaves_the_pixels(subsampling: int) -> None:
    content = encoded(subsampling=subsampling, restart_marker_rows=1)
    stripped, photometric = jpeg.strip(content)
    assert photometric == "YBR_FULL_422"
    before, after = (np.asarray(PIL.Image.open(io.BytesIO(b))) for b in (content, stripped))
    assert np.array_equal(before, after)


def test_metadata_of_a_jpeg_is_left_behind() -> None:
    exif = PIL.Image.Exif()
    exif[0x010E] = "Jane Doe, born 1960"
    content = encoded(exif=exif, comment=b"Jane Doe") + encoded(comment=b"Jane Doe")
    assert b"Jane" in content
    stripped, _ = jpeg.strip(content)
    assert b"Jane" not in stripped
    assert stripped == jpeg.strip(encoded())[0]


def test_other_jpegs_are_not_kept() -> None:
    assert jpeg.strip(encoded(progressive=True)) is None
    assert jpeg.strip(encoded()[:-400]) is None
    assert jpeg.strip(b"") is None


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_damage_makes_stripping_fail(data: st.DataObject) -> None:
    content = bytearray(encoded(quality=40))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    result = jpeg.strip(bytes(content[: data.draw(st.integers(0, len(content)))]))
    assert result is None or result[0].startswith(b"\xff\xd8")
