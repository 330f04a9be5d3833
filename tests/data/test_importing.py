"""Data sets of other tools: what becomes of them, and what is refused."""

import base64
import contextlib
import csv
import io
import json
import threading
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from osler.data.coco import polygon_mask, runs
from osler.data.cohort import read_cohort
from osler.data.importing import import_cohort
from osler.errors import InputError, OslerError, RecipeError, UnreadableError, UnsupportedError
from osler.record import Box, Mask


def picture(path: Path, value: int = 90, size: tuple[int, int] = (6, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full(size, value, np.uint8)).save(path)
    return path


def volume(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1, 2, 1])), path)
    return path


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def take(source: Path, out: Path, **options):
    cohort, notes = import_cohort(source, out / "cohort.csv", **options)
    again = read_cohort(out / "cohort.csv")
    assert [row.case_id for row in again.rows] == [row.case_id for row in cohort.rows]
    return again, notes


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


# BIDS


@pytest.fixture
def bids(tmp_path):
    source = tmp_path / "ds"
    write_json(source / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.10.0"})
    write_json(source / "T1w.json", {"EchoTime": 0.003, "MagneticFieldStrength": 3})
    for subject, session in (("01", "pre"), ("01", "post"), ("02", "")):
        folder = source / f"sub-{subject}" / (f"ses-{session}" if session else "")
        stem = f"sub-{subject}_" + (f"ses-{session}_" if session else "")
        volume(folder / "anat" / f"{stem}T1w.nii.gz", np.ones((2, 2, 2), "u1"))
        volume(folder / "func" / f"{stem}task-rest_run-1_bold.nii.gz", np.ones((2, 2, 2), "u1"))
        (folder / "anat" / f"{stem}notes.xyz").write_text("?")
    write_json(
        source / "sub-01/ses-pre/anat/sub-01_ses-pre_T1w.json", {"EchoTime": 0.004, "Other": [1]}
    )
    (source / "participants.tsv").write_text(
        "participant_id\tage\tsex\tgroup\nsub-01\t61\tF\tn/a\nsub-02\tn/a\tM\tcontrol\n"
        "sub-03\t5\tF\tcontrol\n"
    )
    (source / "sub-01/sub-01_sessions.tsv").write_text(
        "session_id\tscore\nses-pre\t3\nses-post\t4\n"
    )
    (source / "derivatives").mkdir()
    return source


def test_bids_subjects_sessions_participants_and_sidecars(bids, tmp_path):
    cohort, notes = take(bids, tmp_path / "out")
    rows = {row.case_id: row for row in cohort.rows}
    assert list(rows) == ["sub-01_ses-post", "sub-01_ses-pre", "sub-02"]
    assert rows["sub-01_ses-pre"].patient_id == rows["sub-01_ses-post"].patient_id == "sub-01"
    assert set(rows["sub-02"].items) == {"T1w", "task-rest_run-1_bold"}
    assert rows["sub-01_ses-pre"].variables == {
        "age": 61, "sex": "F", "score": 3, "T1w.EchoTime": 0.004, "T1w.MagneticFieldStrength": 3
    }  # fmt: skip
    assert rows["sub-02"].variables == {
        "sex": "M", "group": "control", "T1w.EchoTime": 0.003, "T1w.MagneticFieldStrength": 3
    }  # fmt: skip
    assert next(cohort.cases()).image("T1w").shape == (2, 2, 2)
    assert any("3 file(s) of kinds" in n for n in notes)
    assert any("derivatives" in n for n in notes)
    assert any("1 participant(s)" in n for n in notes)


def test_a_bids_file_under_a_strange_name_is_refused(bids, tmp_path):
    file = bids / "sub-02/anat/sub-02_T1w.nii.gz"
    file.rename(file.with_name("sub-03_T1w.nii.gz"))
    with pytest.raises(UnreadableError, match="not named after its folder"):
        take(bids, tmp_path / "out")


# COCO


@pytest.fixture
def coco(tmp_path):
    for k in (1, 2):
        picture(tmp_path / "ds/train2017" / f"{k}.png", k, (10, 12))
    head = {
        "images": [
            {"id": 5, "file_name": "1.png", "height": 10, "width": 12},
            {"id": 6, "file_name": "2.png", "height": 10, "width": 12},
        ],
        "categories": [{"id": 1, "name": "nodule"}, {"id": 9, "name": "rib"}],
        "annotations": [
            {"image_id": 5, "category_id": 1, "segmentation": [[2, 3, 6, 3, 6, 5, 2, 5]]},
            {"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4.5], "segmentation": []},
            {"image_id": 5, "category_id": 9, "bbox": [0, 0, 2, 2]},
            {
                "image_id": 6, "category_id": 9, "iscrowd": 1,
                "segmentation": {"size": [10, 12], "counts": [10, 5, 105]},
            },
        ],
    }  # fmt: skip
    return write_json(tmp_path / "ds/annotations/instances_train2017.json", head)


def test_coco_outlines_become_masks_and_boxes_boxes(coco, tmp_path):
    cohort, _ = take(coco.parent.parent, tmp_path / "out")
    one, two = cohort.cases()
    assert [row.split for row in cohort.rows] == ["train", "train"]
    mask = one.get("nodule", Mask).mask
    assert mask[3:5, 2:6].all()
    assert mask.sum() == 8
    box = one.get("rib", Box)
    assert (box.start, box.stop) == ((0, 0), (2, 2))
    assert cohort.rows[0].labels["nodule box"] == "2;1;6.5;4"
    crowd = two.get("rib", Mask).mask
    assert crowd[:5, 1].all()
    assert crowd.sum() == 5  # a column holds 10: the run of 5 begins in the second


def encode(mask: np.ndarray) -> str:
    """The compressed form, written the obvious way: runs, differences, five bits a letter."""
    flat = mask.T.ravel()
    lengths, last, count = [], False, 0
    for value in flat:
        if bool(value) != last:
            lengths.append(count)
            last, count = bool(value), 0
        count += 1
    lengths.append(count)
    out = ""
    for k, length in enumerate(lengths):
        value = length - lengths[k - 2] if k > 2 else length
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            out += chr(48 + (bits | (32 if more else 0)))
            if not more:
                break
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_run_lengths_give_back_the_mask(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    code = {"size": [height, width], "counts": encode(mask)}
    assert (runs(code, (height, width)) == mask).all()


def test_a_polygon_holds_the_pixels_whose_centres_are_inside():
    triangle = [0, 0, 8, 0, 0, 8]
    hh, ww = np.mgrid[:10, :10] + 0.5
    assert (polygon_mask(triangle, (10, 10)) == (hh + ww < 8)).sum() >= 92  # its edge may count


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (("images", 0, "file_name"), "../../x.png", "outside its folder"),
        (("images", 0, "file_name"), "x" * 300, "no disk can hold"),
        (("images", 0, "file_name"), "x\0.png", "no disk can hold"),
        (("images", 0, "file_name"), "\ud800.png", "no disk can hold"),
        (("images", 0, "file_name"), "none.png", "does not exist"),
        (("images", 0, "height"), 10**9, "states an image of"),
        (("annotations", 0, "segmentation"), [[1, 2]], "is damaged"),
        (("annotations", 0, "segmentation"), [[float("nan")] * 6], "is damaged"),
        (("annotations", 0, "image_id"), 77, "is not there"),
        (("annotations", 2, "bbox"), [1, 2], "is damaged"),
        (("annotations", 3, "segmentation", "counts"), "zzz", "is damaged"),
        (("annotations", 3, "segmentation", "counts"), [10**12], "is damaged"),
        (("annotations",), {}, "lacks one of the lists"),
    ],
)
def test_a_broken_coco_file_is_refused(coco, tmp_path, where, value, words):
    head = json.loads(coco.read_text())
    place = head
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    coco.write_text(json.dumps(head))
    with pytest.raises(InputError, match=words):
        take(coco, tmp_path / "out", images=coco.parent.parent / "train2017")


# FHIR bulk export


def observation(patient, name, value, unit="mmol/L", when="2020-05-01", **more):
    return {
        "resourceType": "Observation", "status": "final", "code": {"text": name},
        "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": when,
        "valueQuantity": {"value": value, "code": unit}, **more,
    }  # fmt: skip


@pytest.fixture
def bulk(tmp_path):
    folder = tmp_path / "bulk"
    folder.mkdir()

    def write(name, *resources):
        lines = "".join(json.dumps(r) + "\n" for r in resources)
        (folder / f"{name}.ndjson").write_text(lines, encoding="utf-8")

    write(
        "Patient",
        {
            "resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1960-06-01",
            "name": [{"family": "Secretname"}],
        },
        {"resourceType": "Patient", "id": "p2", "birthDate": "1990"},
    )  # fmt: skip
    write(
        "Observation",
        observation("p1", "Glucose", 5.5, when="2020-05-02"),
        observation("p1", "Glucose", 9.9, when="2019-01-01"),
        observation(
            "p1",
            "CRP",
            5,
            unit="mg/L",
            valueQuantity={"value": 5, "comparator": "<", "code": "mg/L"},
        ),
        observation("p2", "Glucose", 4, status="preliminary"),
    )
    write(
        "rest",
        {
            "resourceType": "DiagnosticReport", "status": "final",
            "subject": {"reference": "https://h/fhir/Patient/p1"},
            "effectiveDateTime": "2020-05-03",
            "conclusionCode": [{"coding": [{"code": "233604007", "display": "Pneumonia"}]}],
            "presentedForm": [{
                "contentType": "text/plain", "data": base64.b64encode(b"Consolidation.").decode(),
            }],
        },
        {
            "resourceType": "ImagingStudy", "started": "2020-05-03",
            "subject": {"reference": "Patient/p1"}, "series": [{"modality": {"code": "CT"}}],
            "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
        },
        {"resourceType": "Encounter", "id": "e"},
    )  # fmt: skip
    return folder


def test_fhir_patients_values_reports_and_studies(bulk, tmp_path):
    cohort, notes = take(bulk, tmp_path / "out")
    one, two = cohort.rows
    assert one.variables == {
        "sex": "female", "age": 59, "CRP [mg/L]": "<5", "Glucose [mmol/L]": 5.5,
        "study_uid": "1.2.3", "modality": "CT",
    }  # fmt: skip
    assert one.labels == {"Pneumonia": "1"}
    assert one.items["report"].read_text() == "Consolidation."
    assert (two.patient_id, two.variables, two.labels) == ("p2", {}, {})
    assert notes == ["left out: 1 Encounter"]
    assert "Secretname" not in (tmp_path / "out/cohort.csv").read_text()
    assert "1960" not in (tmp_path / "out/cohort.csv").read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 5 is no JSON"), ("[1]", "line 5 is no FHIR resource"),
        ('{"resourceType": "Observation"}', "line 5: the Observation is damaged"),
        ("[" * 100_000, "line 5 is no JSON"),
    ],
)  # fmt: skip
def test_a_broken_line_is_named(bulk, tmp_path, line, words):
    with (bulk / "Observation.ndjson").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(UnreadableError, match=words):
        take(bulk, tmp_path / "out")


# all of them


def test_what_is_nothing_of_this_is_refused(tmp_path):
    (tmp_path / "x.txt").write_text("?")
    with pytest.raises(UnsupportedError, match="is none of what is imported"):
        take(tmp_path / "x.txt", tmp_path / "out")
    with pytest.raises(InputError, match="does not exist"):
        take(tmp_path / "none", tmp_path / "out")
    with pytest.raises(RecipeError, match="kind is 'x'; it is one of nnunet, bids"):
        take(tmp_path, tmp_path / "out", kind="x")


# DICOMweb


SERIES = [
    ("s1", "1", "CT", "P1"), ("s1", "2", "CT", "P1"), ("s1", "3", "SR", "P1"),
    ("s2", "4", "MR", "P1"), ("s3", "5", "DX", ""),
]  # fmt: skip


@pytest.fixture
def service():
    """A DICOMweb service that answers one kind of query, a page of two at a time."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            start = int(dict(p.split("=") for p in self.path.split("?")[1].split("&"))["offset"])
            page = [
                {
                    "0020000D": {"vr": "UI", "Value": [study]},
                    "0020000E": {"vr": "UI", "Value": [uid]},
                    "00080060": {"vr": "CS", "Value": [modality]},
                    "00100020": {"vr": "LO", "Value": [patient]} if patient else {"vr": "LO"},
                    "00080020": {"vr": "DA", "Value": ["20200102"]},
                }
                for study, uid, modality, patient in SERIES[start : start + 2]
            ]
            body = json.dumps(page).encode()
            self.send_response(200 if page else 204)
            if page:
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if page:
                self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/dicom-web", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_dicomweb_query_becomes_a_cohort_of_urls(service, tmp_path):
    pytest.importorskip("dicomweb_client")
    from osler.data.dicomweb import connect, import_dicomweb

    url, asked = service
    filters = {"StudyDate": "20200101-"}
    _, notes = import_dicomweb(connect(url), tmp_path / "c.csv", filters=filters)
    with (tmp_path / "c.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["case_id"], r["patient_id"]) for r in rows] == [
        ("s1", "P1"), ("s2", "P1"), ("s3", "s3")
    ]  # fmt: skip
    assert rows[0]["ct"] == f"{url}/studies/s1/series/1"
    assert rows[0]["ct-2"] == f"{url}/studies/s1/series/2"
    assert rows[2]["photo"].endswith("/series/5")
    assert rows[0]["study_date"] == "2020-01-02"
    assert read_cohort(tmp_path / "c.csv").rows[0].items["ct"].startswith("http")
    assert any("1 series of findings" in n for n in notes)
    assert any("1 studies do not say their patient" in n for n in notes)
    assert len(asked) == 4  # three pages and an empty one
    assert all("StudyDate=20200101-" in path for path in asked)
    _, notes = import_dicomweb(connect(url), tmp_path / "c.csv", limit=1)
    assert "only the first 1 series" in notes[0]


# hostile sources


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def replaced(head, draw):
    """The same content with something else in one place."""
    if isinstance(head, dict) and head and draw.draw(st.integers(0, 4)):
        key = draw.draw(st.sampled_from(sorted(head)))
        return head | {key: replaced(head[key], draw)}
    if isinstance(head, list) and head and draw.draw(st.integers(0, 4)):
        place = draw.draw(st.integers(0, len(head) - 1))
        return [*head[:place], replaced(head[place], draw), *head[place + 1 :]]
    return draw.draw(json_values)


def only_our_errors(source, folder, **options):
    with contextlib.suppress(OslerError):
        import_cohort(source, folder / "out" / "cohort.csv", **options)


FUZZ = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(draw=st.data())
def test_any_nnunet_head_ends_in_our_errors(nnunet, tmp_path, draw):
    path = nnunet / "dataset.json"
    kept = path.read_text()
    listed = {"dataset": {"a": {"images": ["x.nii.gz"], "label": "y.nii.gz"}}}
    path.write_text(json.dumps(replaced(json.loads(kept) | listed, draw)))
    only_our_errors(nnunet, tmp_path)
    path.write_text(kept)


@FUZZ
@given(draw=st.data())
def test_any_coco_content_ends_in_our_errors(coco, tmp_path, draw):
    kept = coco.read_text()
    coco.write_text(json.dumps(replaced(json.loads(kept), draw)))
    only_our_errors(coco, tmp_path, kind="coco", images=coco.parent.parent / "train2017")
    coco.write_text(kept)


@FUZZ
@given(draw=st.data())
def test_any_fhir_resource_ends_in_our_errors(bulk, tmp_path, draw):
    lines = [line for f in sorted(bulk.glob("*.ndjson")) for line in f.read_text().splitlines()]
    changed = [json.loads(line) for line in lines]
    place = draw.draw(st.integers(0, len(changed) - 1))
    changed[place] = replaced(changed[place], draw)
    source = tmp_path / "one.ndjson"
    source.write_text("".join(json.dumps(one) + "\n" for one in changed))
    only_our_errors(source, tmp_path, kind="fhir")


@FUZZ
@given(table=st.binary(max_size=80), sidecar=json_values)
def test_any_bids_table_and_sidecar_ends_in_our_errors(bids, tmp_path, table, sidecar):
    (bids / "participants.tsv").write_bytes(b"participant_id\tage\nsub-01\t" + table)
    write_json(bids / "T1w.json", {"EchoTime": sidecar})
    only_our_errors(bids, tmp_path)
