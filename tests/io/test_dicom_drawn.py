"""Structure sets, presentation states and documents read back."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_check import errors
from fake_series import FRAME, SHAPE, affine, series, turned, write_series
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from skimage.draw import polygon2mask

from osler.errors import OutputError, UnreadableError
from osler.io import load
from osler.io.contour_fill import fill_plane
from osler.io.dicom_findings import add
from osler.io.dicom_pdf import copy_object, write_document
from osler.io.record_out import save_record
from osler.record import Case, Contour, Mask, Passage, Point, Text

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"


def new(sop_class: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
    ds.PatientID = "P1"
    return ds


def save(ds: Dataset, path: Path) -> Path:
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)
    return path


def millimetres(*indices: tuple[float, float, float]) -> list[float]:
    points = (affine() @ np.c_[np.array(indices, float), np.ones(len(indices))].T).T[:, :3]
    return [round(float(v), 6) for v in points.ravel()]


def structures(path: Path, *rois: tuple[str, str, list[list[float]]]) -> Path:
    ds = new(RTSTRUCT)
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    for number, (name, kind, contours) in enumerate(rois, 1):
        roi, drawn, seen = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID, roi.ROIGenerationAlgorithm = FRAME, "MANUAL"
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.ContourData = kind, points
            contour.NumberOfContourPoints = len(points) // 3
            drawn.ContourSequence.append(contour)
        seen.ReferencedROINumber, seen.ObservationNumber = number, number
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "10200004", "SCT", "Liver"
        seen.RTROIIdentificationCodeSequence = [code]
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawn)
        ds.RTROIObservationsSequence.append(seen)
    return save(ds, path)


SQUARE = [(2, 0.5, 1.5), (2, 5.5, 1.5), (2, 5.5, 8.5), (2, 0.5, 8.5)]
HOLE = [(2, 2.5, 3.5), (2, 3.5, 3.5), (2, 3.5, 5.5), (2, 2.5, 5.5)]


@pytest.mark.parametrize("around", [False, True])
def test_contours_fill_the_image_that_they_were_drawn_on(tmp_path: Path, around: bool) -> None:
    path = structures(
        tmp_path / "rt.dcm",
        ("Liver", "CLOSED_PLANAR", [millimetres(*SQUARE), millimetres(*HOLE)]),
        ("Marker", "POINT", [millimetres((4, 3, 7))]),
    )
    image = write_series(tmp_path)
    case = Case("c", items={"ct": turned(image) if around else image})
    assert add(case, path) == ("liver", "marker")
    expected = np.zeros(SHAPE, bool)
    expected[2, 1:6, 2:9] = True
    expected[2, 3, 4:6] = False
    mask = case.get("liver", Mask)
    assert np.array_equal(mask.mask, expected[::-1] if around else expected)
    assert (mask.item, mask.code.value) == ("ct", "10200004")
    plane = SHAPE[0] - 1 - 4 if around else 4
    assert case.get("marker", Point).position == pytest.approx((plane, 3, 7), abs=1e-4)


def test_without_the_image_contours_stay_lines_in_the_patient(tmp_path: Path) -> None:
    path = structures(tmp_path / "rt.dcm", ("Liver", "CLOSED_PLANAR", [millimetres(*SQUARE)]))
    case = load(path)
    contour = case.get("liver", Contour)
    assert contour.closed
    assert contour.frame == FRAME
    assert np.allclose(contour.rings[0].ravel(), millimetres(*SQUARE))
    assert not case.items
    assert case.patient_id == "P1"


@pytest.mark.parametrize("plane", [2.5, -1, SHAPE[0]])
def test_a_contour_between_or_beyond_the_slices_makes_no_mask(tmp_path: Path, plane: float) -> None:
    stray = [(plane, h, w) for _, h, w in SQUARE]
    rings = [millimetres(*SQUARE), millimetres(*stray)]
    path = structures(tmp_path / "rt.dcm", ("Liver", "CLOSED_PLANAR", rings))
    case = Case("c", items={"ct": write_series(tmp_path)})
    add(case, path)
    contour = case.get("liver", Contour)
    assert contour.flags == ("contour-off-plane",)
    assert len(contour.rings) == 2


def test_a_slanted_contour_makes_no_mask(tmp_path: Path) -> None:
    slanted = [(2, 0.5, 1.5), (2, 5.5, 1.5), (3, 5.5, 8.5), (3, 0.5, 8.5)]
    path = structures(tmp_path / "rt.dcm", ("Liver", "CLOSED_PLANAR", [millimetres(*slanted)]))
    case = Case("c", items={"ct": write_series(tmp_path)})
    add(case, path)
    assert case.get("liver", Contour).flags == ("contour-off-plane",)


def test_damaged_contours_are_refused(tmp_path: Path) -> None:
    path = structures(tmp_path / "rt.dcm", ("Liver", "CLOSED_PLANAR", [[1.0, 2.0]]))
    with pytest.raises(UnreadableError, match="3006,0050"):
        load(path)


def test_filling_agrees_with_scikit_image() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        ring = rng.random((7, 2)) * 30 - 3  # off the lattice, partly outside, crossing itself
        assert np.array_equal(fill_plane([ring], (24, 20)), polygon2mask((24, 20), ring))


def drawing(kind: str, *points: float, units: str = "PIXEL", filled: bool = False) -> Dataset:
    graphic = Dataset()
    graphic.GraphicAnnotationUnits, graphic.GraphicDimensions = units, 2
    graphic.NumberOfGraphicPoints, graphic.GraphicData = len(points) // 2, list(points)
    graphic.GraphicType, graphic.GraphicFilled = kind, "NY"[filled]
    return graphic


def presentation(path: Path, *graphics: Dataset, plane: int = 3) -> Path:
    ds = new(GSPS)
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = series()[plane].SOPInstanceUID
    layer, words, window = Dataset(), Dataset(), Dataset()
    words.UnformattedTextValue = "Look here"
    layer.ReferencedImageSequence = [reference]
    layer.TextObjectSequence, layer.GraphicObjectSequence = [words], list(graphics)
    window.WindowCenter, window.WindowWidth = 40, 400
    ds.GraphicAnnotationSequence, ds.SoftcopyVOILUTSequence = [layer], [window]
    return save(ds, path)


def test_a_presentation_state_on_its_slice(tmp_path: Path) -> None:
    path = presentation(
        tmp_path / "pr.dcm",
        drawing("POINT", 7.5, 3.5),
        drawing("POLYLINE", 2, 1, 9, 1, 9, 6, 2, 6, 2, 1),
        drawing("CIRCLE", 5.5, 3.5, 7.6, 3.5),
        drawing("POLYLINE", 2, 1, 9, 1, 9, 6, 2, 6, 2, 1, filled=True),
        drawing("CIRCLE", 5.5, 3.5, 7.6, 3.5, filled=True),
        drawing("POLYLINE", 1, 1, 4, 5),
        drawing("POLYLINE", 0.1, 0.1, 0.4, 0.5, units="DISPLAY"),
    )
    case = Case("c", items={"ct": write_series(tmp_path)})
    add(case, path)
    texts = [p.text for p in case.of(Passage)]
    assert texts[0] == "Look here"
    assert texts[-1] == "Shown with window centre 40 and width 400."
    assert next(case.of(Point)).position == (3, 3, 7)
    box, circle = case.of(Mask)
    expected = np.zeros(SHAPE, bool)
    expected[3, 1:6, 2:9] = True
    assert np.array_equal(box.mask, expected)
    rows, columns = np.indices(SHAPE[1:])
    round_ = np.hypot(rows - 3, columns - 5) < 2.1
    assert np.array_equal(circle.mask[3], round_)
    outline, round_line, line = case.of(Contour)
    assert outline.rings[0].tolist() == [[3, 0.5, 1.5], [3, 0.5, 8.5], [3, 5.5, 8.5], [3, 5.5, 1.5]]
    away = np.hypot(*(round_line.rings[0][:, 1:] - (3, 5)).T)
    np.testing.assert_allclose(away, 2.1, atol=1e-6)
    assert (outline.closed, round_line.closed, line.closed) == (True, True, False)
    assert line.rings[0].tolist() == [[3, 0.5, 0.5], [3, 4.5, 3.5]]
    assert any("drawn-on-display" in f.flags for f in case.findings.values())
    assert {f.item for f in case.findings.values() if f.name != "Display window"} == {"ct"}


def test_a_presentation_state_alone(tmp_path: Path) -> None:
    path = presentation(tmp_path / "pr.dcm", drawing("ELLIPSE", 1, 3, 9, 3, 5, 1, 5, 5))
    case = load(path)
    contour = next(case.of(Contour))
    assert contour.closed
    assert contour.item is None
    assert np.allclose(contour.rings[0].mean(0), [2.5, 4.5])


def _pdf(words: str) -> bytes:
    stream = f"BT /F1 12 Tf 20 100 Td ({words}) Tj ET".encode()
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R"
        b"/Resources<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
    ]
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    places = []
    for number, part in enumerate(parts, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj%s endobj\n" % (number, part))
    start = out.tell()
    out.write(b"xref\n0 5\n0000000000 65535 f \n")
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer<</Size 5/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % start)
    return out.getvalue()


def test_an_encapsulated_document(tmp_path: Path) -> None:
    pytest.importorskip("pypdf", reason="pypdf is not installed: pip install 'osler[pdf]'")
    ds = new(PDF)
    ds.EncapsulatedDocument = _pdf("Findings: no lesion.")
    case = load(save(ds, tmp_path / "doc.dcm"))
    assert "no lesion" in case["report"].text
    for content, flag in (
        (b"<html>no pdf</html> ", "document-not-pdf"),
        (b"%PDF-1.4 nothing ", "document-damaged"),
        (_pdf(""), "document-without-text"),
    ):
        ds.EncapsulatedDocument = content
        item = load(save(ds, tmp_path / "doc.dcm"))["report"]
        assert (item.text, item.flags) == ("", (flag,))


def test_real_structure_set_of_pydicom() -> None:
    name = pydicom.data.get_testdata_file("rtstruct.dcm", download=False)
    if name is None:
        pytest.skip("pydicom's rtstruct.dcm is in its data package, which is not installed")
    assert load(name).findings


def test_documents_written(tmp_path: Path) -> None:
    pytest.importorskip("pypdf", reason="pypdf is not installed: pip install 'osler[pdf]'")
    image = write_series(tmp_path)
    words = "Findings: no (visible) lesion – naïve \\ path.\n" + "a word " * 900
    path = write_document(Text("report", words), tmp_path / "doc.dcm", about=image)
    assert errors(path) == []
    case = load(path)
    assert case.patient_id == "CT-1"
    assert " ".join(case["report"].text.split()) == " ".join(words.split())
    file = tmp_path / "report.pdf"
    file.write_bytes(_pdf("Impression: well."))
    path = write_document(file, tmp_path / "doc.dcm", patient_id="P2")
    assert errors(path) == []
    assert "well" in load(path)["report"].text
    with pytest.raises(OutputError, match="no PDF"):
        write_document(image.origin.path, path)
    with pytest.raises(OutputError, match="U\\+0E01"):
        write_document(Text("report", "ก"), path)
    path = write_document(Text("report", "汉"), path, about=image)
    assert errors(path) == []


def test_a_waveform_is_copied_untouched(tmp_path: Path) -> None:
    source = pydicom.data.get_testdata_file("waveform_ecg.dcm", download=False)
    signal = next(iter(load(source).items.values()))
    path = save_record(signal, tmp_path / "ecg.dcm")
    assert path.read_bytes() == Path(source).read_bytes()
    with pytest.raises(OutputError, match="no single DICOM file"):
        copy_object(Text("report", "x"), path)
