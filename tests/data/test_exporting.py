"""Cohorts to nnU-Net and class folders, and back."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from osler.data.cohort import read_cohort
from osler.data.exporting import export_image_folder, export_nnunet
from osler.data.importing import import_cohort
from osler.errors import OutputError, RecipeError, UnsupportedError


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(array).save(path)
    return path


def table(folder: Path, head: str, *lines: str):
    (folder / "c.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return read_cohort(folder / "c.csv")


@pytest.fixture
def masks(tmp_path):
    """Two pictures; a has disjoint masks in two files, b a map with values 3 and 7."""
    rng = np.random.default_rng(0)
    for name in "abt":
        save(tmp_path / f"{name}.png", rng.integers(0, 255, (5, 6), np.uint8))
    one, two, both = (np.zeros((5, 6), np.uint8) for _ in range(3))
    one[0], two[1:3] = 255, 255
    both[0], both[4] = 3, 7
    for name, array in (("one", one), ("two", two), ("both", both)):
        save(tmp_path / f"{name}.png", array)
    return tmp_path


HEAD = "case_id,patient_id,split,photo,label:x,label:y"
LINES = (
    "a,a,train,a.png,one.png,two.png", "b,b,train,b.png,both.png#3,both.png#7", "t,t,test,t.png,,"
)  # fmt: skip


def test_masks_become_one_map_with_consecutive_values(masks):
    out = masks / "Dataset001_X"
    assert export_nnunet(table(masks, HEAD, *LINES), out) == []
    head = json.loads((out / "dataset.json").read_text())
    assert head == {
        "channel_names": {"0": "photo"}, "labels": {"background": 0, "x": 1, "y": 2},
        "numTraining": 2, "file_ending": ".png",
    }  # fmt: skip
    for case in "ab":
        assert (out / f"imagesTr/{case}_0000.png").read_bytes() == (
            masks / f"{case}.png"
        ).read_bytes()
    a, b = (np.asarray(Pillow.open(out / f"labelsTr/{case}.png")) for case in "ab")
    assert np.array_equal(a[:, 0], [1, 2, 2, 0, 0])
    assert np.array_equal(b[:, 0], [1, 0, 0, 0, 2])
    assert (out / "imagesTs/t_0000.png").is_file()
    assert not (out / "labelsTs").exists()
    assert not [p for p in masks.iterdir() if p.name.endswith(".part")]


def test_what_is_exported_is_imported_again(masks):
    export_nnunet(table(masks, HEAD, *LINES), masks / "out")
    cohort, _ = import_cohort(masks / "out", masks / "again.csv")
    old = {case.id: case for case in table(masks, HEAD, *LINES).cases()}
    for case in cohort.cases():
        assert (case.image("photo").array == old[case.id].image("photo").array).all()
        for finding in case.findings.values():
            assert (finding.mask == old[case.id].findings[finding.id].mask).all()
        assert set(case.findings) == set(old[case.id].findings)


def test_a_real_volume_is_copied_and_a_changed_map_keeps_its_place(data_dir, tmp_path):
    cohort, _ = import_cohort(data_dir / "hippocampus", tmp_path / "c.csv")
    few = type(cohort)(cohort.path, cohort.root, cohort.rows[:2])
    export_nnunet(few, tmp_path / "same")
    export_nnunet(few, tmp_path / "one", labels=["posterior"])
    for case in few.rows:
        old = data_dir / f"hippocampus/labelsTr/{case.case_id}.nii.gz"
        new = tmp_path / f"same/labelsTr/{case.case_id}.nii.gz"
        assert new.read_bytes() == old.read_bytes()
        source = nibabel.load(old)
        one = nibabel.load(tmp_path / f"one/labelsTr/{case.case_id}.nii.gz")
        assert np.allclose(one.affine, source.affine, atol=1e-6)
        assert ((np.asarray(source.dataobj) == 2) == np.asarray(one.dataobj)).all()


def test_folds_become_splits_final(masks):
    head = "case_id,patient_id,fold,photo,label:x"
    export_nnunet(
        table(masks, head, "a,a,0,a.png,one.png", "b,b,1,b.png,both.png#3"), masks / "out"
    )
    folds = json.loads((masks / "out/splits_final.json").read_text())
    assert folds == [{"train": ["b"], "val": ["a"]}, {"train": ["a"], "val": ["b"]}]


def test_a_missing_mask_is_refused_or_background_when_said(masks):
    cohort = table(masks, HEAD, "a,a,train,a.png,one.png,", LINES[1])
    with pytest.raises(RecipeError, match="line 2: 'y' is not labelled"):
        export_nnunet(cohort, masks / "out")
    assert not (masks / "out").exists()
    export_nnunet(cohort, masks / "out", missing_is_background=True)
    assert np.asarray(Pillow.open(masks / "out/labelsTr/a.png")).max() == 1


def test_overlap_is_refused_or_the_later_wins_when_said(masks):
    cohort = table(masks, HEAD, "a,a,train,a.png,one.png,one.png")
    with pytest.raises(RecipeError, match="line 2: 'y' overlaps other structures in 6 voxels"):
        export_nnunet(cohort, masks / "out")
    export_nnunet(cohort, masks / "out", later_wins=True)
    assert np.asarray(Pillow.open(masks / "out/labelsTr/a.png")).max() == 2


def test_lossy_pictures_are_decoded_and_others_refused(masks):
    rng = np.random.default_rng(0)
    save(masks / "c.jpg", rng.integers(0, 255, (5, 6, 3), np.uint8))
    head = "case_id,patient_id,photo,label:x"
    notes = export_nnunet(table(masks, head, "c,c,c.jpg,one.png"), masks / "out")
    assert notes == ["the pictures were decoded and written as PNG"]
    got = np.asarray(Pillow.open(masks / "out/imagesTr/c_0000.png"))
    assert (got == np.asarray(Pillow.open(masks / "c.jpg"))).all()
    names = json.loads((masks / "out/dataset.json").read_text())["channel_names"]
    assert names == {"0": "R", "1": "G", "2": "B"}
    (masks / "d.nii.gz").write_bytes((masks / "c.jpg").read_bytes())
    both = table(masks, head, "c,c,c.jpg,one.png", "d,d,d.nii.gz,one.png")
    with pytest.raises(UnsupportedError, match=r"the files end with \.jpg, \.nii\.gz"):
        export_nnunet(both, masks / "out2")


def test_classes_become_folders_and_folders_classes(masks):
    head = "case_id,patient_id,split,photo,label:class"
    cohort = table(masks, head, "a,a,train,a.png,good", "b,b,val,b.png,bad/..", "t,t,test,t.png,")
    notes = export_image_folder(cohort, masks / "out")
    assert notes == ["1 case without 'class' or 'photo' left out"]
    files = sorted(p.relative_to(masks / "out").as_posix() for p in (masks / "out").rglob("*.png"))
    assert files == ["train/good/a.png", "val/bad__/b.png"]
    again, _ = import_cohort(masks / "out", masks / "again.csv")
    assert [(r.split, r.labels["class"]) for r in again.rows] == [
        ("train", "good"), ("val", "bad__")
    ]  # fmt: skip


def test_a_folder_that_holds_something_is_left_alone(masks):
    (masks / "out").mkdir()
    (masks / "out/mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        export_nnunet(table(masks, HEAD, *LINES), masks / "out")
    assert [p.name for p in (masks / "out").iterdir()] == ["mine.txt"]


def test_a_cohort_without_masks_is_refused(masks):
    cohort = table(masks, "case_id,patient_id,photo,label:class", "a,a,a.png,good")
    with pytest.raises(RecipeError, match="has no label that is a mask"):
        export_nnunet(cohort, masks / "out")


def test_what_must_be_named_is_asked_for(masks):
    cohort = table(masks, HEAD, LINES[0])
    with pytest.raises(RecipeError, match="has these labels: x, y; name one"):
        export_image_folder(cohort, masks / "out")
    with pytest.raises(RecipeError, match="has no labels named z; it has: x, y"):
        export_nnunet(cohort, masks / "out", labels=["z"])
    with pytest.raises(RecipeError, match="'x' is a path, no class"):
        export_image_folder(cohort, masks / "out", label="x")
