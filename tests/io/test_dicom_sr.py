import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import pydicom
import pytest
from dicom_check import errors
from fake_case import Grading, Kind, fake_case

from osler.io import dicom_out
from osler.io.dicom_photo import reference
from osler.io.dicom_sr import write_sr
from osler.record import Label, Laterality, Mask, Measurement, vocab

KINDS: tuple[Kind, ...] = ("jpeg", "png", "dicom-op", "dicom-sc", "dicom-grey")


def groups(path: Path) -> dict[str, object]:
    content = hd.sr.srread(path).content
    found = [
        *content.get_planar_roi_measurement_groups(),
        *content.get_image_measurement_groups(),
    ]
    return {g.tracking_identifier: g for g in found}


@pytest.mark.parametrize(
    ("kind", "grading"),
    [*((kind, "graded") for kind in KINDS), ("jpeg", "reject"), ("dicom-op", "not-fundus")],
)
def test_what_is_written_is_valid(tmp_path: Path, kind: Kind, grading: Grading) -> None:
    case = fake_case(tmp_path, kind=kind, grading=grading)
    written = dicom_out.write(case, tmp_path)
    raster = kind in ("jpeg", "png")
    names = ["segmentation.dcm", "report.dcm"]
    assert [p.name for p in written] == (["photo.dcm", *names] if raster else names)
    study = {pydicom.dcmread(p, stop_before_pixels=True).StudyInstanceUID for p in written}
    assert study == {reference(case)["StudyInstanceUID"]}
    assert [e for p in written for e in errors(p)] == []


@pytest.mark.parametrize("side", ["R", "L", None])
def test_the_numbers_come_back(tmp_path: Path, side: Laterality | None) -> None:
    case = fake_case(tmp_path, laterality=side)
    path = write_sr(case, tmp_path)
    read = {}
    for group in groups(path).values():
        for number in group.get_measurements():
            inside = number[0].get("ContentSequence", [])
            name = [i for i in inside if i.name.value == "112039"]
            if name:
                read[name[0].value] = (number.value, number.unit.value)
    expected = {
        m.id: (pytest.approx(m.value), vocab.unit(m.unit).value)
        for m in case.of(Measurement)
        if m.value is not None
    }
    assert read == expected
    assert errors(path) == []


def test_a_group_points_at_its_segment(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op")
    _, path = dicom_out.write(case, tmp_path)
    seg = hd.seg.segread(tmp_path / "segmentation.dcm")
    numbers = {s.TrackingID: s.SegmentNumber for s in seg.SegmentSequence}
    read = groups(path)
    for id in ("disc", "artery", "vein", "vessels", "haemorrhages"):
        item = next(
            i
            for i in read[id][0].ContentSequence
            if i.name.meaning == "Referenced Segmentation Frame"
        )
        referred = item.ReferencedSOPSequence[0]
        assert referred.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        assert referred.ReferencedSegmentNumber == numbers[id]
    names = {m.name.meaning for m in read["artery"].get_measurements()}
    assert {"Tortuosity of retinal vessels", "Central retinal artery equivalent"} <= names
    # a lesion that was not found has no segment, and its count of 0 is still said
    assert [m.value for m in read["soft-exudates"].get_measurements()] == [0]
    fovea = read["fovea"].roi
    assert fovea.value.tolist() == [[pytest.approx(128 * 0.42 + 0.5), pytest.approx(50.42)]]


def test_the_labels_come_back_with_their_probabilities(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    read = groups(write_sr(case, tmp_path))
    assert {label.id for label in case.of(Label)} <= set(read)
    grade = read["dr-grade"]
    said = [(q.name.value, q.value.value) for q in grade.get_qualitative_evaluations()]
    assert said[0] == ("icdr-grade", "LA18645-4")
    assert [v for n, v in said if n == "prediction-set"] == ["LA18644-7", "LA18645-4"]
    chances = [m.value for m in grade.get_measurements()]
    assert chances == pytest.approx([0.04, 0.15, 0.71, 0.08, 0.02])
    names = {i.name.meaning: i.value for i in grade[0].ContentSequence if i.ValueType == "TEXT"}
    assert (names["Algorithm Name"], names["Algorithm Version"]) == ("retina-grade", "1.0.0")


def test_what_was_not_computed_has_a_reason_and_no_number(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    vein = groups(write_sr(case, tmp_path))["vein"]
    texts = [i.value for i in vein[0].ContentSequence if i.ValueType == "TEXT"]
    reason = "crve.hubbard not computed: the image does not say its spacing in µm"
    assert reason in texts
    said = next(i for i in vein[0].ContentSequence if i.get("TextValue") == reason)
    (unit,) = said.ContentSequence
    assert (unit.name.meaning, unit.value.value, unit.value.scheme_designator) == (
        *("Units", "um", "UCUM"),
    )
    assert "temporal-angle.vein few-vessels" in texts
    assert sum(m.name.value == "crve" for m in vein.get_measurements()) == 1


def test_the_words_of_the_report_are_kept(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    ds = hd.sr.srread(write_sr(case, tmp_path))
    box = next(i for i in ds.ContentSequence if i.name.meaning == "Qualitative Evaluations")
    said = {i.value: i.name.meaning for i in box.ContentSequence}
    assert said["Microaneurysms and haemorrhages – 1 quadrant."] == "Finding"
    assert "Impression" in said.values()
    observer = {i.name.meaning: i.get("TextValue") for i in ds.ContentSequence}
    assert "retina-vessels 1.0.0" in observer["Device Observer Model Name"]
    assert (ds.VerificationFlag, ds.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


def test_dcmtk_reads_it(tmp_path: Path) -> None:
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is not installed: apt-get install dcmtk")
    case = fake_case(tmp_path)
    path = write_sr(case, tmp_path)
    done = subprocess.run(
        ["dsrdump", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0
    assert "E: " not in done.stderr
    assert '(LA18645-4,LN,"Moderate non-proliferative retinopathy")' in done.stdout


def test_the_same_case_gives_the_same_file_and_another_result_another(tmp_path: Path) -> None:
    files, uids = [], []
    for name in ("a", "b", "c"):
        folder = tmp_path / name
        folder.mkdir()
        case = fake_case(folder)
        if name == "c":
            case.measurements["cdr.vertical"].value = 0.9
        path = write_sr(case, folder)
        files.append(path.read_bytes())
        uids.append(pydicom.dcmread(path).SOPInstanceUID)
    assert files[0] == files[1]
    assert uids[2] != uids[0]


def test_a_case_without_any_mask_is_still_reported(tmp_path: Path) -> None:
    case = fake_case(tmp_path, grading="not-fundus")
    case.get("field", Mask).mask[:] = False
    written = dicom_out.write(case, tmp_path)
    assert [p.name for p in written] == ["photo.dcm", "report.dcm"]
    assert errors(written[-1]) == []
