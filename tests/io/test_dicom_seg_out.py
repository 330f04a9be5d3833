from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicom_check import errors
from fake_series import SHAPE, affine, masks, turned, write_series

from osler.errors import OutputError
from osler.io import load
from osler.io.dicom_findings import add
from osler.io.dicom_secondary import write_secondary
from osler.io.dicom_seg_out import Kind, write_segmentation
from osler.record import Case, Image, Mask

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def expected_of(mask: Mask, kind: Kind) -> np.ndarray:
    return mask.mask.astype(np.float32) if kind == "fractional" else mask.mask


@pytest.mark.parametrize("kind", ["binary", "fractional", "labelmap"])
@pytest.mark.parametrize("around", [False, True])
def test_highdicom_reads_it_and_the_masks_come_back(
    tmp_path: Path, kind: Kind, around: bool
) -> None:
    image = write_series(tmp_path)
    given = masks()
    if around:
        image = turned(image)
    path = write_segmentation(given, image, tmp_path / "seg.dcm", kind=kind, at=AT)
    if kind != "labelmap":  # the checker of 2022 does not know the object
        assert errors(path) == []
    seg = hd.seg.segread(path)
    volume = seg.get_volume(combine_segments=False, allow_missing_positions=True)
    # highdicom's planes run along its own direction; compare by place, not by index
    for number, mask in enumerate(given, 1):
        there = np.argwhere(np.asarray(volume.array)[..., number - 1] > 0)
        places = (volume.affine @ np.c_[there, np.ones(len(there))].T).T[:, :3]
        ours = np.argwhere(mask.mask)
        wanted = (image.affine @ np.c_[ours, np.ones(len(ours))].T).T[:, :3]
        assert len(places) == len(wanted)
        order = [np.lexsort(np.round(p, 2).T) for p in (places, wanted)]
        assert np.allclose(places[order[0]], wanted[order[1]], atol=1e-4)
    case = Case("c", items={"ct": image})
    assert add(case, path) == ("liver", "spleen", "kidney")
    for mask in given:
        found = case.get(mask.id, Mask)
        assert np.array_equal(found.mask, mask.mask)
        assert (found.code, found.category, found.source) == (mask.code, mask.category, mask.source)
        assert found.laterality == mask.laterality
        assert found.item == "ct"


def test_it_is_of_the_patient_and_refers_to_the_slices(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    path = write_segmentation(masks(), image, tmp_path / "seg.dcm", at=AT)
    seg = hd.seg.segread(path)
    assert str(seg.PatientName) == "Müller^Jürgen"
    assert seg.StudyInstanceUID == image.origin.dicom["0020000D"]["Value"][0]
    assert seg.FrameOfReferenceUID == image.origin.dicom["00200052"]["Value"][0]
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == SHAPE[0]
    frame = seg.PerFrameFunctionalGroupsSequence[0]
    source = frame.DerivationImageSequence[0].SourceImageSequence[0]
    assert (
        source.ReferencedSOPInstanceUID
        == load(image.origin.files[1]).items["ct"].origin.dicom["00080018"]["Value"][0]
    )
    assert seg.NumberOfFrames == sum(int(m.mask.any(axis=(1, 2)).sum()) for m in masks())
    again = write_segmentation(masks(), image, tmp_path / "again.dcm", at=AT)
    assert again.read_bytes() == path.read_bytes()


def test_probabilities_come_back_in_steps(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    stored = np.random.default_rng(0).integers(0, 256, SHAPE)
    chances = (stored / np.float32(255)).astype(np.float16)
    mask = Mask(
        id="liver", name="Liver", source=masks()[0].source, item="ct",
        mask=stored >= 128, probabilities=chances,
    )  # fmt: skip
    path = write_segmentation([mask], image, tmp_path / "seg.dcm", kind="fractional", at=AT)
    case = Case("c", items={"ct": image})
    add(case, path)
    found = case.get("liver", Mask)
    assert np.array_equal(found.probabilities, chances)
    assert np.array_equal(found.mask, mask.mask)


def test_an_image_that_is_not_from_dicom(tmp_path: Path) -> None:
    image = Image("volume", np.zeros((1, *SHAPE), np.int16), "CT", affine=affine())
    path = write_segmentation(masks(), image, tmp_path / "seg.dcm", patient_id="P1", at=AT)
    assert errors(path) == []
    case = load(path)
    assert case.patient_id == "P1"
    assert np.array_equal(case.get("liver", Mask).mask, masks()[0].mask[1:])


def test_what_dicom_cannot_hold_is_refused(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    path = tmp_path / "seg.dcm"
    empty = replace(masks()[0], mask=np.zeros(SHAPE, bool))
    for wrong, words in (
        ([replace(masks()[0], mask=np.ones((2, 2, 2), bool))], "native grid"),
        ([empty], "no mask"),
        ([], "1 to"),
    ):
        with pytest.raises(OutputError, match=words):
            write_segmentation(wrong, image, path)
    twice = [masks()[0], replace(masks()[0], id="again")]
    with pytest.raises(OutputError, match="overlap"):
        write_segmentation(twice, image, path, kind="labelmap")
    with pytest.raises(OutputError, match="no place"):
        write_segmentation(masks(), replace(image, affine=None), path)
    assert not path.exists()
    assert not list(tmp_path.glob(".*part*"))


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_a_multi_frame_source(tmp_path: Path, kind: Kind) -> None:
    whole = load(write_secondary(write_series(tmp_path), tmp_path / "multi.dcm"))
    image = whole.image("ct")
    given = [replace(mask, item="ct") for mask in masks()]
    path = write_segmentation(given, image, tmp_path / "seg.dcm", kind=kind, at=AT)
    assert kind == "labelmap" or errors(path) == []
    seg = hd.seg.segread(path)
    named = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [i.ReferencedSOPInstanceUID for i in named] == [
        image.origin.dicom["00080018"]["Value"][0]
    ]
    add(whole, path)
    for mask in given:
        assert np.array_equal(whole.get(mask.id, Mask).mask, mask.mask)


def test_a_single_slice(tmp_path: Path) -> None:
    write_series(tmp_path)
    case = load(tmp_path / "003.dcm")
    image = next(iter(case.items.values()))
    flat = replace(masks()[0], mask=masks()[0].mask[3], item=image.name)
    path = write_segmentation([flat], image, tmp_path / "seg.dcm", at=AT)
    assert errors(path) == []
    add(case, path)
    assert np.array_equal(case.get("liver", Mask).mask, flat.mask)
    volume = Case("c", items={"ct": write_series(tmp_path)})
    add(volume, path)
    expected = np.zeros(SHAPE, bool)
    expected[3] = flat.mask
    assert np.array_equal(volume.get("liver", Mask).mask, expected)
