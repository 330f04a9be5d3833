"""Labels that cannot be right are told; those that can are not."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from osler.data.cohort import read_cohort
from osler.data.fingerprint import fingerprint
from osler.data.label_faults import label_faults
from osler.data.scanning import scan

SHAPE = (6, 7, 8)


def volume(path, array, affine=None):
    grid = np.diag([1.0, 1.5, 2.0, 1.0]) if affine is None else affine
    image = nib.Nifti1Image(array, grid)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def shifted(by, axis=0):
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    affine[axis, 3] += by
    return affine


def faults_of(folder, lines):
    head = "case_id,patient_id,ct,label:liver,label:tumour,label:centre"
    (folder / "c.csv").write_text("\n".join([head, *lines]) + "\n")
    cohort = read_cohort(folder / "c.csv", strict=False)
    return cohort, label_faults(cohort, scan(cohort))


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abcdefgh":
        volume(tmp_path / f"{name}.nii.gz", rng.integers(0, 90, SHAPE).astype(np.int16))
    liver = (rng.random(SHAPE) < 0.3).astype(np.uint8)
    liver[0, 0, 0] = 1
    volume(tmp_path / "good.nii.gz", liver)
    volume(tmp_path / "near.nii.gz", liver, shifted(0.2))
    volume(tmp_path / "far.nii.gz", liver, shifted(4.5, axis=1))
    flipped = np.diag([-1.0, 1.5, 2.0, 1.0])
    flipped[0, 3] = SHAPE[0] - 1
    volume(tmp_path / "mirrored.nii.gz", liver, flipped)
    volume(tmp_path / "small.nii.gz", liver[:4])
    volume(tmp_path / "none.nii.gz", liver * 0)
    (tmp_path / "broken.nii.gz").write_bytes((tmp_path / "good.nii.gz").read_bytes()[:60])
    return tmp_path


def test_each_fault_is_told_with_its_case(folder):
    cohort, found = faults_of(folder, [
        "a,pa,a.nii.gz,good.nii.gz#1,good.nii.gz#2,2;3;4",
        "b,pb,b.nii.gz,far.nii.gz,,",
        "c,pc,c.nii.gz,small.nii.gz,,",
        "d,pd,d.nii.gz,none.nii.gz,,7;3;99",
        "e,pe,e.nii.gz,broken.nii.gz#1,broken.nii.gz#2,",
        "f,pf,f.nii.gz,gone.nii.gz,,",
        "g,pg,g.nii.gz,near.nii.gz,,",
        "h,ph,h.nii.gz,mirrored.nii.gz,,",
    ])  # fmt: skip
    assert [(f.case, f.label, f.kind) for f in found] == [
        ("b", "liver", "place"), ("c", "liver", "size"), ("d", "centre", "outside"),
        ("d", "liver", "empty"), ("e", "liver", "unreadable"), ("e", "tumour", "unreadable"),
        ("h", "liver", "place"),
    ]  # fmt: skip
    texts = {(f.case, f.kind): f.text for f in found}
    assert texts["b", "place"] == "up to 3.0 voxels away"
    assert texts["h", "place"] == "up to 5.0 voxels away"
    assert texts["c", "size"] == "8 x 7 x 4, the image 8 x 7 x 6"
    assert texts["d", "outside"] == "7;3;99 in an image of 8 x 7 x 6"
    said = {w.text: w.level for w in fingerprint(cohort).warnings}
    assert said["2 masks cannot be read."] == "fault"
    assert said["1 mask has another size than its image."] == "fault"
    assert said["2 masks lie elsewhere in the patient than the image (affine)."] == "fault"
    assert said["1 position leaves the image."] == "fault"
    assert sum(text.startswith("1 mask marks nothing") for text in said) == 1
    assert fingerprint(cohort).as_json()["label_faults"][0]["kind"] == "place"


def test_where_the_image_itself_is_broken_its_mask_is_not_blamed(folder):
    (folder / "a.nii.gz").write_bytes(b"\x1f\x8b broken")
    _, found = faults_of(folder, ["a,pa,a.nii.gz,good.nii.gz,,"])
    assert found == []


def test_pictures_have_masks_without_a_place(tmp_path):
    Pillow.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    mask = np.zeros((20, 30), np.uint8)
    mask[3:5, 4:9] = 255
    Pillow.fromarray(mask).save(tmp_path / "m.png")
    Pillow.fromarray(mask.T.copy()).save(tmp_path / "turned.png")
    lines = [
        "a,pa,a.png,m.png,1;2;10;20 0;0;20;30,19.5;29.5",
        "b,pb,a.png,turned.png,1;2;10;31,19.6;3",
    ]
    _, found = faults_of(tmp_path, lines)
    assert [(f.case, f.label, f.kind) for f in found] == [
        ("b", "tumour", "outside"), ("b", "centre", "outside"), ("b", "liver", "size"),
    ]  # fmt: skip


def test_a_real_data_set_has_none(data_dir, tmp_path):
    from osler.data.importing import import_cohort

    import_cohort(data_dir / "hippocampus", tmp_path / "c.csv")
    lines = (tmp_path / "c.csv").read_text().splitlines()[:9]
    (tmp_path / "few.csv").write_text("\n".join(lines) + "\n")
    cohort = read_cohort(tmp_path / "few.csv")
    assert len(cohort) == 8
    assert label_faults(cohort, scan(cohort)) == []
