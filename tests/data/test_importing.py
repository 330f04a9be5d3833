"""Folders and archives of other tools: what becomes of them, and what is refused."""

import contextlib
import io
import json
import zipfile
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importing_files import FUZZ, only_our_errors, picture, replaced, take, volume, write_json

from osler.data.importing import import_cohort
from osler.errors import InputError, OslerError, RecipeError, UnreadableError, UnsupportedError
from osler.record import Mask

# nnU-Net


@pytest.fixture
def nnunet(tmp_path):
    source = tmp_path / "Dataset001_Test"
    for k, case in enumerate(("a", "b", "c")):
        for channel in (0, 1):
            volume(source / f"imagesTr/{case}_{channel:04d}.nii.gz", np.full((4, 3, 2), k, "i2"))
        labels = np.zeros((4, 3, 2), np.uint8)
        labels[0], labels[1] = 1, 2
        volume(source / f"labelsTr/{case}.nii.gz", labels)
    volume(source / "imagesTs/t_0000.nii.gz", np.zeros((4, 3, 2), "i2"))
    volume(source / "imagesTs/t_0001.nii.gz", np.zeros((4, 3, 2), "i2"))
    head = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "tumour": [1, 2], "core": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    write_json(source / "dataset.json", head)
    return source


def test_nnunet_channels_labels_and_tests(nnunet, tmp_path):
    cohort, notes = take(nnunet, tmp_path / "out")
    assert [(r.case_id, r.split) for r in cohort.rows] == [
        ("a", "train"), ("b", "train"), ("c", "train"), ("t", "test")
    ]  # fmt: skip
    assert cohort.columns("items") == ("t1", "t2")
    case = next(cohort.cases())
    assert case.get("tumour", Mask).mask.sum() == 12
    assert case.get("core", Mask).mask.sum() == 6
    assert case.get("core", Mask).item == "t1"
    assert cohort.rows[3].labels == {}
    assert "does not say who the patients are" in notes[0]


def test_nnunet_version_1_and_folds(nnunet, tmp_path):
    head = {
        "modality": {"0": "CT", "1": "CT"}, "labels": {"0": "background", "1": "x", "2": "y"},
        "numTraining": 5, "training": [], "test": [],
    }  # fmt: skip
    write_json(nnunet / "dataset.json", head)
    for file in (nnunet / "imagesTs").iterdir():
        file.unlink()
    folds = [{"train": ["b", "c"], "val": ["a"]}, {"train": ["a"], "val": ["b", "c"]}]
    write_json(nnunet / "splits_final.json", folds)
    cohort, notes = take(nnunet, tmp_path / "out", patient=r"imagesTr/(.)")
    assert cohort.columns("items") == ("ct", "ct-2")
    assert [row.fold for row in cohort.rows] == [0, 1, 1]
    assert next(cohort.cases()).get("x", Mask).mask.sum() == 6
    assert notes == ["dataset.json states 5 training cases, 3 are there"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: (s / "imagesTr/a_0001.nii.gz").unlink(), "case 'a' lacks channel _0001"),
        (lambda s: (s / "labelsTr/b.nii.gz").unlink(), "case 'b' has no label map"),
        (lambda s: (s / "dataset.json").write_text("{"), "is no JSON"),
        (lambda s: (s / "dataset.json").write_text("[]"), "holds no object"),
        (lambda s: (s / "dataset.json").write_text('{"labels": {}}'), "has no channel_names"),
        (lambda s: volume(s / "imagesTr/a_0002.nii.gz", np.zeros((2, 2, 2), "u1")), "has _0002"),
        (
            lambda s: write_json(
                s / "dataset.json",
                {
                    "channel_names": {"0": "T1"}, "labels": {"x": 1},
                    "dataset": {"a": {"images": ["../../secret.nii.gz"], "label": "x.nii.gz"}},
                },
            ),
            "outside its folder",
        ),
    ],
)  # fmt: skip
def test_a_broken_nnunet_folder_is_refused(nnunet, tmp_path, change, words):
    change(nnunet)
    with pytest.raises(UnreadableError, match=words):
        take(nnunet, tmp_path / "out")


def test_the_real_hippocampus_data(data_dir, tmp_path):
    cohort, _ = take(data_dir / "hippocampus", tmp_path)
    assert len(cohort) == 120
    for case in (next(cohort.cases()),):
        path = data_dir / f"hippocampus/labelsTr/{case.id}.nii.gz"
        values = np.asarray(nibabel.load(path).dataobj)
        for code, name in ((1, "anterior"), (2, "posterior")):
            assert case.get(name, Mask).mask.sum() == (values == code).sum() > 0
            assert ((values == code) == case.get(name, Mask).mask.T).all()


@FUZZ
@given(draw=st.data())
def test_any_nnunet_head_ends_in_our_errors(nnunet, tmp_path, draw):
    path = nnunet / "dataset.json"
    kept = path.read_text()
    listed = {"dataset": {"a": {"images": ["x.nii.gz"], "label": "y.nii.gz"}}}
    path.write_text(json.dumps(replaced(json.loads(kept) | listed, draw)))
    only_our_errors(nnunet, tmp_path)
    path.write_text(kept)


# class folders


def test_class_folders_with_splits(tmp_path):
    source = tmp_path / "set"
    for name in ("train/cat/1.png", "train/dog/1.png", "validation/cat/p7_2.png", "test/dog/3.PNG"):
        picture(source / name)
    (source / "train/cat/notes.txt").write_text("no picture")
    (source / "train/empty").mkdir()
    cohort, notes = take(source, tmp_path / "out")
    assert [(r.split, r.labels["class"], r.case_id) for r in cohort.rows] == [
        ("test", "dog", "test-dog-3"), ("train", "cat", "train-cat-1"),
        ("train", "dog", "train-dog-1"), ("val", "cat", "val-cat-p7_2"),
    ]  # fmt: skip
    assert any("'train/empty' holds no picture" in note for note in notes)
    assert cohort.rows[0].items["photo"].samefile(source / "test/dog/3.PNG")


def test_masks_that_become_classes_are_told(tmp_path):
    for name in ("images/1.png", "vessels/1.png"):
        picture(tmp_path / "set" / name)
    _, notes = take(tmp_path / "set", tmp_path / "out")
    assert any("the folders images, vessels became classes" in note for note in notes)


def test_a_rule_names_the_patients(tmp_path):
    for name in ("a/p1_1.png", "a/p1_2.png", "b/p2_1.png"):
        picture(tmp_path / "set" / name)
    cohort, notes = take(tmp_path / "set", tmp_path, patient=r"(p\d+)_")
    assert [row.patient_id for row in cohort.rows] == ["p1", "p1", "p2"]
    assert notes == []
    with pytest.raises(RecipeError, match=r"does not fit 'a/p1_1\.png'"):
        take(tmp_path / "set", tmp_path, patient=r"(q\d+)_")
    with pytest.raises(RecipeError, match="in parentheses"):
        take(tmp_path / "set", tmp_path, patient=r"p\d+_")
    with pytest.raises(RecipeError, match="no regular expression"):
        take(tmp_path / "set", tmp_path, patient="(p")


def test_the_real_ultrasound_data(data_dir, tmp_path):
    cohort, _ = take(data_dir / "busi", tmp_path)
    counts = Counter(row.labels["class"] for row in cohort.rows)
    assert counts == {"benign": 110, "malignant": 110, "normal": 110}


# MedMNIST


def archive(path: Path, **arrays) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def mnist(n=3, size=(5, 4), labels=1, **more):
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 255, (n, *size), np.uint8),
        "train_labels": rng.integers(0, 2, (n, labels), np.uint8),
        **more,
    }


@pytest.mark.parametrize("size", [(5, 4), (5, 4, 3), (6, 5, 4)])
def test_medmnist_is_taken_value_for_value(tmp_path, size):
    arrays = mnist(size=size, labels=2)
    cohort, _ = take(archive(tmp_path / "x.npz", **arrays), tmp_path / "out")
    for k, case in enumerate(cohort.cases()):
        got = next(iter(case.items.values())).array
        expected = arrays["train_images"][k]
        expected = np.moveaxis(expected, -1, 0) if size[-1] == 3 else expected[None]
        assert (got == expected).all()
        assert cohort.rows[k].labels == {
            f"class-{j}": str(v) for j, v in enumerate(arrays["train_labels"][k])
        }
        if len(size) == 3 and size[-1] != 3:
            assert case.image("volume").spacing is None  # not said, so not invented


def test_medmnist_objects_are_never_opened(tmp_path):
    bad = mnist(train_labels=np.array([{}, {}, {}], object))
    with pytest.raises(UnreadableError, match=r"train_labels\.npy holds objects"):
        take(archive(tmp_path / "x.npz", **bad), tmp_path / "out")


def test_medmnist_headers_are_held_against_the_bytes(tmp_path):
    stream = io.BytesIO()
    head = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 1000, 1000)}
    np.lib.format.write_array_header_1_0(stream, head)
    for shape, kind in (((10**6, 1000, 1000), OslerError), ((10**6,), UnreadableError)):
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, head | {"shape": shape})
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
            file.writestr("train_images.npy", stream.getvalue() + b"\0" * 10)
        with pytest.raises(kind, match=r"train_images\.npy (states|holds)"):
            take(tmp_path / "x.npz", tmp_path / "out")


@pytest.mark.parametrize(
    "arrays",
    [
        mnist(train_labels=np.zeros((2, 1), np.uint8)), mnist(train_labels=np.zeros((3, 1))),
        {"train_images": np.zeros((2, 2, 2), np.uint8)}, {"train_images": np.zeros((2, 2, 2))},
    ],
)  # fmt: skip
def test_medmnist_that_does_not_fit_together_is_refused(tmp_path, arrays):
    with pytest.raises(InputError):
        take(archive(tmp_path / "x.npz", **arrays), tmp_path / "out")


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_damaged_archive_ends_in_our_errors(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("npz")
    content = bytearray(archive(folder / "x.npz", **mnist()).read_bytes())
    for _ in range(3):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "x.npz").write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    with contextlib.suppress(InputError):
        import_cohort(folder / "x.npz", folder / "out.csv", kind="medmnist")


# all of them


def test_what_is_nothing_of_this_is_refused(tmp_path):
    (tmp_path / "x.txt").write_text("?")
    with pytest.raises(UnsupportedError, match="is none of what is imported"):
        take(tmp_path / "x.txt", tmp_path / "out")
    with pytest.raises(InputError, match="does not exist"):
        take(tmp_path / "none", tmp_path / "out")
    with pytest.raises(RecipeError, match="kind is 'x'; it is one of nnunet, bids"):
        take(tmp_path, tmp_path / "out", kind="x")
