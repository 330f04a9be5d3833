from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicom_check import errors
from fake_case import Grading, Kind, fake_case

from osler.errors import OutputError
from osler.io.dicom_photo import reference
from osler.io.dicom_seg import segmented, write_seg
from osler.record import Laterality, Mask, Source, vocab

KINDS: tuple[Kind, ...] = ("jpeg", "png", "dicom-op", "dicom-sc", "dicom-grey")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["R", None])
def test_the_masks_come_back_pixel_for_pixel(
    tmp_path: Path, kind: Kind, side: Laterality | None
) -> None:
    case = fake_case(tmp_path, kind=kind, laterality=side, shape=(101, 133))
    path = write_seg(case, tmp_path)
    seg = hd.seg.segread(path)
    pixels = seg.get_pixels_by_source_instance(
        source_sop_instance_uids=[reference(case)["SOPInstanceUID"]]
    )
    expected = {m.id: m.mask for m in case.of(Mask) if m.mask.any()}
    ids = [seg.get_segment_description(n).tracking_id for n in seg.segment_numbers]
    assert ids == list(expected)
    assert "soft-exudates" not in ids
    for number, mask in enumerate(expected.values()):
        assert np.array_equal(pixels[0, ..., number], mask)
    assert errors(path) == []


def test_a_segment_says_what_where_and_by_whom(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op", laterality="L")
    seg = hd.seg.segread(write_seg(case, tmp_path))
    by_id = {s.TrackingID: s for s in seg.SegmentSequence}
    artery = hd.seg.SegmentDescription.from_dataset(by_id["artery"])
    assert artery.segmented_property_type == hd.sr.CodedConcept("51114001", "SCT", "Artery")
    assert artery.segmented_property_category.value == vocab.ANATOMY.value
    assert artery.anatomic_regions[0].value == vocab.RETINA.value
    side = by_id["artery"].AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0]
    assert side.CodeValue == vocab.LEFT.value
    algorithm = artery.algorithm_identification
    assert (algorithm.name, algorithm.version) == ("retina-vessels", "1.0.0")
    assert by_id["cup"].SegmentDescription == "pseudo-label"
    assert seg.PatientID == "EYE-1"
    assert str(seg.PatientName) == "Müller^Jürgen"
    referred = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert referred.ReferencedSOPInstanceUID == reference(case)["SOPInstanceUID"]


def test_a_person_draws_by_hand(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    shape = case.image("photo").shape
    case.add(
        Mask(
            id="reader-1",
            name="Something new",
            source=Source("person", "ophthalmologist"),
            mask=np.ones(shape, bool),
        )
    )
    path = write_seg(case, tmp_path)
    drawn = hd.seg.segread(path).SegmentSequence[-1]
    assert drawn.SegmentAlgorithmType == "MANUAL"
    assert drawn.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99OSLER"
    assert errors(path) == []


def test_the_scale_is_left_to_the_photograph(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op")
    case.image("photo").spacing = (0.012, 0.013)
    path = write_seg(case, tmp_path)
    assert "PixelMeasuresSequence" not in hd.seg.segread(path).SharedFunctionalGroupsSequence[0]
    assert errors(path) == []


def test_the_same_case_gives_the_same_file_and_another_result_another(tmp_path: Path) -> None:
    files, uids = [], []
    for name in ("a", "b", "c"):
        folder = tmp_path / name
        folder.mkdir()
        case = fake_case(folder)
        if name == "c":
            case.get("artery", Mask).mask[0, 0] ^= True
        path = write_seg(case, folder)
        files.append(path.read_bytes())
        uids.append(hd.seg.segread(path).SOPInstanceUID)
    assert files[0] == files[1]
    assert uids[2] != uids[0]


@pytest.mark.parametrize("grading", ["reject", "not-fundus"])
def test_a_photograph_that_is_not_read_has_its_field(tmp_path: Path, grading: Grading) -> None:
    case = fake_case(tmp_path, grading=grading)
    assert errors(write_seg(case, tmp_path)) == []


def test_nothing_is_written_where_no_mask_has_a_pixel(tmp_path: Path) -> None:
    case = fake_case(tmp_path, grading="not-fundus")
    case.get("field", Mask).mask[:] = False
    assert segmented(case) == []
    assert write_seg(case, tmp_path) is None
    assert not (tmp_path / "segmentation.dcm").exists()


def test_a_mask_of_another_grid_is_refused(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    case.get("vein", Mask).mask = np.ones((4, 4), bool)
    with pytest.raises(OutputError, match=r"'vein'.*native"):
        write_seg(case, tmp_path)


@pytest.mark.parametrize("placed", [True, False])
def test_an_image_with_a_place_in_the_patient(tmp_path: Path, placed: bool) -> None:
    case = fake_case(tmp_path, kind="dicom-grey", grading="not-fundus")
    origin = case.image("photo").origin
    header = dict(origin.dicom) | {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.4"]},
        "00080060": {"vr": "CS", "Value": ["MR"]},
    }
    if placed:
        header |= {
            "00200052": {"vr": "UI", "Value": ["1.2.3.4"]},
            "00200032": {"vr": "DS", "Value": [1.0, -2.5, 3.0]},
            "00200037": {"vr": "DS", "Value": [1, 0, 0, 0, 1, 0]},
            "00280030": {"vr": "DS", "Value": [0.5, 0.5]},
            "00180050": {"vr": "DS", "Value": [2.0]},
        }
    case.image("photo").origin = replace(origin, dicom=header)
    if not placed:
        with pytest.raises(OutputError, match="leave DICOM out"):
            write_seg(case, tmp_path)
        return
    path = write_seg(case, tmp_path)
    frame = hd.seg.segread(path).PerFrameFunctionalGroupsSequence[0]
    assert frame.PlanePositionSequence[0].ImagePositionPatient == [1, -2.5, 3]
    assert errors(path) == []
