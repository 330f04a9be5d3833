"""Presentation states written: by dciodvfy, by highdicom and pydicom, and by our own reader."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_check import errors
from dicom_stack import cine
from fake_case import fake_case
from fake_series import FRAME, SHAPE, affine, filled, masks, series, write_series
from PIL import Image as Picture
from PIL import ImageCms

from osler.errors import OutputError
from osler.io import load
from osler.io.dicom_findings import add
from osler.io.dicom_presentation_out import write_presentation
from osler.record import Box, Case, Contour, Image, Mask, Passage, Point, Source

ME = Source("person", "author of the annotation")


def circle(centre: tuple[float, float], radius: float) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return np.c_[centre[0] + radius * np.sin(turn), centre[1] + radius * np.cos(turn)]


def test_what_is_drawn_on_slices_comes_back(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    image.window = (40.0, 400.0)
    case = Case("c", items={"ct": image})
    bent = np.array([(3, 1.25, 2.5), (3, 4, 2.5), (3, 5.5, 9)])
    case.add(Point(id="tip", name="Tip", source=ME, item="ct", position=(3.0, 2.25, 3.5)))
    case.add(Contour(id="line", name="Line", source=ME, item="ct", rings=(bent,), closed=False))
    flat = circle((3.0, 5.0), 2.0)
    ring = np.c_[np.full(64, 2.0), flat]
    case.add(Contour(id="round", name="Round", source=ME, item="ct", rings=(ring,)))
    case.add(Box(id="box", name="Box", source=ME, item="ct", start=(4, 1, 2), stop=(6, 3, 7)))
    liver = masks()[0]
    case.add(liver)
    case.add(Passage(id="p", name="P", source=ME, item="ct", text="Here 肝", evidence=("tip",)))
    case.add(Passage(id="q", name="Q", source=ME, item="ct", text="Everywhere"))
    case.add(Contour(id="else", name="E", source=ME, rings=(bent,), frame="1.2.3"))
    path = write_presentation(case, tmp_path / "pr.dcm", masks=True)
    assert not errors(path)
    again = Case("d", items={"ct": image})
    add(again, path)
    assert again.get("tip", Point).position == pytest.approx((3.0, 2.25, 3.5), abs=1e-5)
    line = again.get("line", Contour)
    assert np.allclose(line.rings[0], bent, atol=1e-5)
    assert not line.closed
    found = again.get("round", Contour)
    assert found.closed
    assert np.allclose(found.rings[0], ring, atol=1e-4)
    box = again.get("box", Contour)
    assert [sorted(map(tuple, one)) for one in box.rings] == [
        [(d, 0.5, 1.5), (d, 0.5, 6.5), (d, 2.5, 1.5), (d, 2.5, 6.5)] for d in (4, 5)
    ]
    assert np.array_equal(filled(again.get("liver", Contour)), liver.mask)
    said = sorted(p.text for p in again.of(Passage))
    assert said == ["Everywhere", "Here 肝", "Shown with window centre 40 and width 400."]
    assert "else" not in again


def test_who_drew_comes_back_if_it_was_a_program(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    case = Case("c", items={"ct": image})
    sources = (
        Source("bundle", "ct-lungs", "1.2.0"),
        Source("algorithm", "region growing"),
        Source("person", "Dr X. Fazakerley"),
    )
    for n, source in enumerate(sources):
        case.add(Point(id=f"p{n}", name="P", source=source, item="ct", position=(3.0, 1, n)))
        text = Passage(id=f"t{n}", name="T", source=source, item="ct", text=f"Text {n}")
        case.add(text)
    path = write_presentation(case, tmp_path / "pr.dcm")
    assert not errors(path)
    assert b"Fazakerley" not in path.read_bytes()
    again = Case("d", items={"ct": image})
    add(again, path)
    for n, source in enumerate((*sources[:2], ME)):
        assert again.get(f"p{n}", Point).source == source
        (said,) = (p for p in again.of(Passage) if p.text == f"Text {n}")
        assert said.source == source


def test_a_filled_shape_is_a_mask(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    case = Case("c", items={"ct": image})
    case.add(Box(id="box", name="Box", source=ME, item="ct", start=(4, 1, 2), stop=(5, 3, 7)))
    path = write_presentation(case, tmp_path / "pr.dcm")
    ds = pydicom.dcmread(path)
    ds.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicFilled = "Y"
    ds.save_as(path)
    again = Case("d", items={"ct": image})
    add(again, path)
    expected = np.zeros(SHAPE, bool)
    expected[4, 1:3, 2:7] = True
    assert np.array_equal(again.get("box", Mask).mask, expected)


def test_as_others_see_it(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    image.window = (40.0, 400.0)
    case = Case("c", items={"ct": image})
    ring = np.c_[np.full(64, 2.0), circle((3.0, 5.0), 2.0)]
    case.add(Contour(id="round", name="Round", source=ME, item="ct", rings=(ring,)))
    case.add(Point(id="tip", name="Tip", source=ME, item="ct", position=(3.0, 2.25, 3.5)))
    ds = pydicom.dcmread(write_presentation(case, tmp_path / "pr.dcm"))
    assert (ds.PatientID, ds.StudyInstanceUID) == ("CT-1", series()[0].StudyInstanceUID)
    # what highdicom derives from the same images for the same window
    by = [(ds.RescaleSlope, ds.RescaleIntercept, ds.PresentationLUTShape)]
    assert by == [(1, -1024, "IDENTITY")]
    window = ds.SoftcopyVOILUTSequence[0]
    assert (window.WindowCenter, window.WindowWidth) == (40, 400)
    drawn = {}
    for layer in ds.GraphicAnnotationSequence:
        (reference,) = layer.ReferencedImageSequence
        for graphic in layer.GraphicObjectSequence:
            drawn[graphic.GraphicType] = (reference.ReferencedSOPInstanceUID, graphic.GraphicData)
    uid, data = drawn["CIRCLE"]
    assert uid == series()[2].SOPInstanceUID
    assert np.allclose(data, [5.5, 3.5, 7.5, 3.5])  # column, row; pixels' corners are whole
    uid, data = drawn["POINT"]
    assert uid == series()[3].SOPInstanceUID
    assert np.allclose(data, [4.0, 2.75])
    named = ds.ReferencedSeriesSequence[0].ReferencedImageSequence
    assert [i.ReferencedSOPInstanceUID for i in named] == [s.SOPInstanceUID for s in series()]


def test_dcmtk_applies_it(tmp_path: Path) -> None:
    if shutil.which("dcmp2pgm") is None:
        pytest.skip("dcmp2pgm is not installed: apt-get install dcmtk")
    image = write_series(tmp_path)
    image.window = (-980.0, 60.0)
    case = Case("c", items={"ct": image})
    case.add(Point(id="tip", name="Tip", source=ME, item="ct", position=(3.0, 2.25, 3.5)))
    case.add(Passage(id="p", name="P", source=ME, item="ct", text="Here", evidence=("tip",)))
    path = write_presentation(case, tmp_path / "pr.dcm")
    checked = subprocess.run(
        ["dcmpschk", str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "E:" not in checked.stderr
    out = tmp_path / "x.pgm"
    shown = subprocess.run(
        ["dcmp2pgm", "-v", "-p", str(path), str(tmp_path / "003.dcm"), str(out)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "anchor point: 4\\2.75 units=pixel" in shown.stderr
    assert "points=1 type=point" in shown.stderr
    values = image.array[0, 3].astype(float)
    expected = np.clip((values - (-980 - 0.5)) / (60 - 1) + 0.5, 0, 1) * 255  # PS3.3 C.11.2.1.2
    assert np.abs(np.asarray(Picture.open(out)).astype(float) - expected).max() <= 1.1


def test_contours_in_millimetres_are_drawn_in_their_slice(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    case = Case("c", items={"ct": image})
    index = np.array([(4, 1.25, 2.5), (4, 4, 2.5), (4, 5.5, 9)])
    place = index @ affine()[:3, :3].T + affine()[:3, 3]
    case.add(Contour(id="a", name="A", source=ME, rings=(place,), frame=FRAME, closed=False))
    path = write_presentation(case, tmp_path / "pr.dcm")
    assert not errors(path)
    again = Case("d", items={"ct": image})
    add(again, path)
    assert np.allclose(again.get("a", Contour).rings[0], index, atol=1e-4)
    slanted = place.copy()
    slanted[0] += affine()[:3, 0]
    case.add(Contour(id="b", name="B", source=ME, rings=(slanted,), frame=FRAME, closed=False))
    with pytest.raises(OutputError, match="no one slice"):
        write_presentation(case, tmp_path / "pr2.dcm")


def test_a_photograph_in_colour(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op")
    path = write_presentation(case, tmp_path / "pr.dcm", item="photo", masks=True)
    assert not errors(path)
    ds = pydicom.dcmread(path)
    assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.11.2"
    assert "RGB" in ImageCms.ImageCmsProfile(io.BytesIO(ds.ICCProfile)).profile.xcolor_space
    again = Case("d", items={"photo": case.image("photo")})
    add(again, path)
    for mask in case.of(Mask):
        if mask.mask.any():
            assert np.array_equal(filled(again.get(mask.id, Contour), mask.shape), mask.mask)
    fovea = case.get("fovea", Point)
    assert again.get("fovea", Point).position == pytest.approx(fovea.position, abs=1e-3)


def test_frames_of_a_film(tmp_path: Path) -> None:
    pixels = np.zeros((4, 8, 10, 3), np.uint8)
    cine(pixels).save_as(tmp_path / "film.dcm", enforce_file_format=True)
    case = load(tmp_path / "film.dcm")
    item = next(i for i in case.items.values() if isinstance(i, Image))
    case.add(Point(id="p", name="P", source=ME, item=item.name, position=(2.0, 3.0, 4.0)))
    path = write_presentation(case, tmp_path / "pr.dcm", window=(100, 50))
    assert not errors(path)
    reference = pydicom.dcmread(path).GraphicAnnotationSequence[0].ReferencedImageSequence[0]
    assert reference.ReferencedFrameNumber == 3
    again = Case("d", items={item.name: item})
    add(again, path)
    assert again.get("p", Point).position == pytest.approx((2, 3, 4))


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    case = Case("c", items={"ct": image})
    with pytest.raises(OutputError, match="nothing that is drawn"):
        write_presentation(case, tmp_path / "pr.dcm")
    ds = pydicom.dcmread(tmp_path / "003.dcm")
    ds.RescaleSlope = 2
    ds.save_as(tmp_path / "003.dcm")
    with pytest.raises(OutputError, match="window=None"):
        write_presentation(case, tmp_path / "pr.dcm", window=(40, 400))
    with pytest.raises(OutputError, match="width of at least 1"):
        write_presentation(case, tmp_path / "pr.dcm", window=(40, 0))
    with pytest.raises(OutputError, match="no image from DICOM"):
        write_presentation(Case("e"), tmp_path / "pr.dcm")
