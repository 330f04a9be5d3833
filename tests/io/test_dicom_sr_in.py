from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicom_check import errors
from fake_case import fake_case
from fake_series import masks, series, write_series
from pydicom.data import get_testdata_file
from pydicom.sr.codedict import codes

from osler.errors import InputError, OutputError, UnreadableError
from osler.io import load
from osler.io.dicom_findings import add
from osler.io.dicom_out import write
from osler.io.dicom_seg_out import write_segmentation
from osler.io.dicom_sr import write_measurements
from osler.record import (
    Case,
    Code,
    Contour,
    Image,
    Label,
    Mask,
    Measurement,
    Passage,
    Point,
    Source,
    Text,
    vocab,
)


def test_what_we_wrote_comes_back(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op", laterality="L")
    new = Case("c", items={"photo": case.image("photo")})
    for path in write(case, tmp_path):
        add(new, path)
    for written in case.of(Measurement):
        found = new.get(written.id, Measurement)
        assert found.value == written.value
        assert found.flags == written.flags
        assert found.reason == written.reason
        assert found.unit == written.unit
        if written.value is not None:
            code = vocab.measure(written.id, written.name)
            assert found.code == code
            assert found.source == written.source
            assert found.laterality == "L"
        assert found.item == "photo"
    for label in case.of(Label):
        found = new.get(label.id, Label)
        assert found.value == label.value
        assert found.probabilities == label.probabilities
        assert found.prediction_set == label.prediction_set
        assert found.coverage == label.coverage
        assert found.flags == label.flags
    passages = [(p.text, p.section) for p in case.of(Passage)]
    assert [(p.text, p.section) for p in new.of(Passage)] == passages
    assert new.get("fovea", Point).position == pytest.approx(case.get("fovea", Point).position)
    assert {m.id for m in case.of(Mask) if m.mask.any()} == {m.id for m in new.of(Mask)}


def test_each_sentence_says_its_language(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op")
    said = [("zh", "右眼中度病变。"), ("zh", "两处微动脉瘤。"), ("fr", "Deux hémorragies.")]
    told = Case(case.id, items=case.items)
    for finding in case.findings.values():
        if not isinstance(finding, Passage):
            told.add(finding)
    rule = Source("rule", "osler.retina.narrative")
    for number, (language, text) in enumerate(said):
        told.add(
            Passage(
                id=f"s{number}", name="S", source=rule, item="photo", text=text, language=language
            )
        )
    report = next(path for path in write(told, tmp_path) if path.name == "report.dcm")
    assert errors(report) == []
    new = Case("c", items={"photo": case.image("photo")})
    add(new, report)
    assert [(p.language, p.text) for p in new.of(Passage)] == said
    document = next(i for i in load(report).items.values() if isinstance(i, Text))
    assert document.language == "en"  # its codes and remarks


def test_a_report_alone_is_words_and_findings(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="jpeg")
    write(case, tmp_path)
    new = load(tmp_path / "report.dcm")
    assert "Vertical cup-to-disc ratio: 0.52" in new["report"].text
    assert new["report"].sections["impression"].startswith("Moderate")
    assert new.get("cdr.vertical", Measurement).value == 0.52
    assert new.get("fovea", Point).item is None


def _report(groups: list[object]) -> hd.sr.Comprehensive3DSR:
    observer = hd.sr.ObserverContext(
        codes.DCM.Person, hd.sr.PersonObserverIdentifyingAttributes("Curie^Marie")
    )
    report = hd.sr.MeasurementReport(
        hd.sr.ObservationContext(observer_person_context=observer),
        codes.LN.CTUnspecifiedBodyRegion,
        groups,
    )
    return hd.sr.Comprehensive3DSR(
        [series()[0]], report[0], hd.UID(), 1, hd.UID(), 1, "M", is_complete=False
    )


def _group(kind: type, **region: object) -> object:
    return kind(
        tracking_identifier=hd.sr.TrackingIdentifier(identifier="Lesion 1", uid=hd.UID()),
        finding_type=codes.SCT.Nodule,
        finding_sites=[hd.sr.FindingSite(codes.SCT.Lung, laterality=codes.SCT.Right)],
        measurements=[
            hd.sr.Measurement(codes.SCT.Diameter, 12.300000000000001, codes.UCUM.Millimeter),
            hd.sr.Measurement(codes.SCT.Area, 80.0, codes.UCUM.SquareMillimeter),
        ],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(
                hd.sr.CodedConcept("112024", "DCM", "Texture"), codes.SCT.Nodule
            )
        ],
        **region,
    )


def test_a_report_of_another_program(tmp_path: Path) -> None:
    first = series()[0]
    source = hd.sr.SourceImageForRegion(first.SOPClassUID, first.SOPInstanceUID)
    square = np.array([[1, 1], [4, 1], [4, 3], [1, 3], [1, 1]], float)
    region = hd.sr.ImageRegion("POLYLINE", square, source)
    group = _group(hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations, referenced_region=region)
    path = tmp_path / "sr.dcm"
    _report([group]).save_as(path)
    case = load(path)
    diameter, area = case.of(Measurement)
    assert (diameter.value, diameter.unit) == (12.300000000000001, "mm")
    assert (area.value, area.unit) == (80.0, "mm2")
    assert diameter.code.value == codes.SCT.Diameter.value
    assert diameter.site.meaning == "Lung"
    assert diameter.laterality == "R"
    assert diameter.id == "diameter.lesion-1"
    assert diameter.evidence == ("Lesion 1",)
    assert diameter.source.kind == "person"
    contour = case.get("Lesion 1", Contour)
    assert contour.closed
    assert np.array_equal(contour.rings[0], square[:-1, ::-1] - 0.5)
    label = next(case.of(Label))
    assert (label.name, label.value) == ("Texture", codes.SCT.Nodule.value)
    assert case["report"].flags == ("report-partial",)
    assert "Curie" not in case["report"].text


def test_a_region_in_the_patient(tmp_path: Path) -> None:
    ring = np.array([[0, 0, 1], [5, 0, 1], [5, 5, 1], [0, 0, 1]], float)
    region = hd.sr.ImageRegion3D("POLYGON", ring, "1.2.3")
    kind = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations
    _report([_group(kind, referenced_region=region)]).save_as(tmp_path / "sr.dcm")
    contour = load(tmp_path / "sr.dcm").get("Lesion 1", Contour)
    assert contour.frame == "1.2.3"
    assert contour.closed
    assert np.array_equal(contour.rings[0], ring[:-1])


def test_other_reports_become_passages() -> None:
    case = load(get_testdata_file("test-SR.dcm"))
    texts = [p.text for p in case.of(Passage)]
    assert texts[0] == "A mass of"
    assert next(case.of(Measurement)).value == 3.0
    assert "A mass of" in case["report"].text
    assert load(get_testdata_file("reportsi.dcm")).findings


def test_nesting_without_end_and_cut_files_are_refused(tmp_path: Path) -> None:
    content = Path(get_testdata_file("reportsi.dcm")).read_bytes()
    path = tmp_path / "hostile.dcm"
    start = content.index(b"\x40\x00\x30\xa7SQ")
    deeper = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    path.write_bytes(content[:start] + deeper * 5000)
    with pytest.raises(UnreadableError):
        load(path)
    for length in range(132, len(content), 211):
        path.write_bytes(content[:length])
        try:
            load(path)
        except InputError:
            continue


def test_measurements_of_a_volume(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    case = Case("c", items={"ct": image})
    source = Source("bundle", "organs", "2.0.0")
    for mask in masks():
        case.add(mask)
    millilitres = Measurement(
        id="volume.liver", name="Volume", source=source, item="ct", value=1412.123456789, unit="mL",
        code=Code("118565006", "SCT", "Volume"), evidence=("liver",), flags=("cut-off",),
    )  # fmt: skip
    spread = Measurement(
        id="spread", name="Spread", source=source, item="ct", value=3.0, unit="mm",
        site=Code("10200004", "SCT", "Liver"), laterality="R",
    )  # fmt: skip
    phase = Label(id="phase", name="Phase", source=source, item="ct", value="portal")
    marker = Point(id="marker", name="Marker", source=source, item="ct", position=(4.0, 2.5, 7.0))
    words = Passage(
        id="words", name="Words", source=source, item="ct", text="Normal.", section="impression"
    )
    for finding in (millilitres, spread, phase, marker, words):
        case.add(finding)
    seg = write_segmentation(masks(), image, tmp_path / "seg.dcm")
    path = write_measurements(case, tmp_path / "sr.dcm", seg=seg)
    assert errors(path) == []
    assert errors(write_measurements(case, tmp_path / "alone.dcm")) == []
    new = Case("n", items={"ct": image})
    add(new, seg)
    add(new, path)
    found = new.get("volume.liver", Measurement)
    assert (found.value, found.unit, found.code) == (1412.123456789, "mL", millilitres.code)
    assert (found.structure, found.flags, found.item) == ("liver", ("cut-off",), "ct")
    assert found.evidence == ("liver",)
    assert found.site is None
    assert new.get("spread", Measurement).value == 3.0
    assert new.get("phase", Label).value == "portal"
    assert new.get("marker", Point).position == (4.0, 2.5, 7.0)
    assert next(new.of(Passage)).text == "Normal."
    read = hd.sr.srread(path)
    groups = read.content.get_volumetric_roi_measurement_groups()
    assert {g.tracking_identifier for g in groups} == {"liver", "spleen", "kidney"}
    assert len(read.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence) == 2


def test_a_report_must_name_what_it_is_about(tmp_path: Path) -> None:
    case = Case("c", items={"volume": Image("volume", np.zeros((1, 2, 2, 2)))})
    with pytest.raises(OutputError, match="no DICOM file"):
        write_measurements(case, tmp_path / "sr.dcm")
