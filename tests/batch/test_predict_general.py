"""A bundle of one's own on pictures, tables and a DICOM series, and what is written of it."""

import csv
import json

import numpy as np
import pydicom
import pytest
import small_bundles as small
import yaml
from PIL import Image as Pillow
from typer.testing import CliRunner

import osler
from osler.batch.asking import cells
from osler.cli import app
from osler.errors import InputError
from osler.io.dicom_findings import add
from osler.io.findings_json import read_findings
from osler.io.nifti_out import write_nifti
from osler.record import (
    Box,
    Case,
    Image,
    Label,
    Mask,
    Measurement,
    Passage,
    Risk,
    Source,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("general")
    small.squares(folder, count=4)
    small.lights(folder, count=3)
    small.segmenter(folder / "seg")
    small.classifier(folder / "light")
    return folder


def invoke(*words):
    return CliRunner().invoke(app, ["predict", *map(str, words)])


def table(out):
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_get_masks_findings_and_a_table(place, tmp_path):
    run = invoke(place / "seg", place / "0.png", place / "1.png", "--out", tmp_path, "--quiet")
    assert run.exit_code == 0, run.output
    for row in table(tmp_path):
        picture = np.asarray(Pillow.open(place / f"{row['case']}.png"))
        mask = np.asarray(Pillow.open(tmp_path / row["case"] / "masks" / "shape.png"))
        assert (mask == (picture >= 127.5)).all()
        assert int(row["shape_pixels"]) == mask.sum()
        case = read_findings(tmp_path / row["case"])
        assert case["shape"].source.name == "bright"
    assert [row["case"] for row in table(tmp_path)] == ["0", "1"]


def test_a_table_of_cases_and_a_glob(place, tmp_path):
    run = invoke(place / "light", place / "lights.csv", place / "l1.*", "-o", tmp_path, "-q")
    assert run.exit_code == 0, run.output
    rows = table(tmp_path)
    assert [row["case"] for row in rows] == ["l0", "l1", "l2", "l1-2"]
    assert rows[1]["class"] == rows[3]["class"]
    for row in rows:
        level = np.asarray(Pillow.open(place / f"{row['case'][:2]}.png")).mean() / 255
        assert float(row["p_class_light"]) == pytest.approx(
            1 / (1 + np.exp(-10 * (level - 0.5))), abs=1e-4
        )


def test_a_bad_file_is_named_and_the_others_are_read(place, tmp_path):
    (place / "broken.png").write_bytes(b"no picture")
    run = invoke(place / "seg", place / "broken.png", place / "0.png", "-o", tmp_path, "-q")
    assert run.exit_code == 3
    assert "broken.png" in run.output
    assert [row["case"] for row in table(tmp_path)] == ["0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seg", "nowhere.png"], "there is nothing at"),
        (["seg", "0.png", "--probabilities"], "--probabilities is for bundles of the fundus"),
        (["seg", "0.png", "--features"], "is a bundle"),
    ],
)
def test_wrong_usage(place, tmp_path, words, message):
    named = [word if word.startswith("--") else place / word for word in words]
    run = invoke(*named, "-o", tmp_path / "x")
    assert run.exit_code == 2
    assert message in run.output


def test_dicom_and_fhir_of_a_picture(place, tmp_path):
    run = invoke(place / "seg", place / "0.png", "-o", tmp_path, "--dicom", "--fhir", "-q")
    assert run.exit_code == 0, run.output
    seg = pydicom.dcmread(tmp_path / "0" / "segmentation.dcm")
    mask = np.asarray(Pillow.open(tmp_path / "0" / "masks" / "shape.png"))
    assert (np.squeeze(seg.pixel_array) == mask).all()
    assert (tmp_path / "0" / "photo.dcm").is_file()
    fhir = json.loads((tmp_path / "0" / "fhir.json").read_text())
    assert fhir["resourceType"] == "Bundle"
    run = invoke("retina-vessels", place / "0.png", "-o", tmp_path / "r", "--dicom")
    assert run.exit_code == 2


def test_the_verb_gives_the_case(place):
    case = osler.predict(place / "seg", place / "0.png")
    assert isinstance(case["shape"], Mask)
    again = osler.predict(place / "light", osler.load(place / "l0.png"))
    assert again["class"].value in ("light", "dark")
    with pytest.raises(InputError, match=r"holds \d+ cases"):
        osler.predict(place / "seg", place)


def place_of(dataset):
    return tuple(round(float(x), 3) for x in dataset.ImagePositionPatient)


def test_every_kind_of_finding_has_its_cells():
    said = {"source": Source("bundle", "x"), "item": "ct"}
    ct = Image("ct", np.zeros((1, 4, 5, 6), np.int16), "CT", spacing=(3.0, 2.0, 2.0))
    case = Case("c", items={"ct": ct})
    mask = np.zeros((4, 5, 6), bool)
    mask[0, 0, :5] = True
    found = [
        Mask(id="m", name="liver", mask=mask, **said),
        Box(id="a", name="nodule", start=(0, 0, 0), stop=(1, 1, 1), **said),
        Box(id="b", name="nodule", start=(1, 1, 1), stop=(2, 2, 2), **said),
        Risk(id="r", name="death", value=0.25, horizon_days=365, **said),
        Label(id="y", name="cough", value="no", probabilities={"yes": 0.1, "no": 0.9}, **said),
        Measurement(id="e", name="ef", value=0.5, unit="%", **said),
        Passage(id="p", name="report", text="=1+1", **said),
        Passage(id="q", name="report", text="and more", **said),
    ]
    assert cells(case, found) == {
        "liver_voxels": 5, "liver_ml": "0.060", "nodule_count": 2, "p_death_365_days": "0.250000",
        "cough": "no", "p_cough": "0.100000", "ef_%": 0.5,
        "report": "'=1+1 and more",  # no formula of a spreadsheet
    }  # fmt: skip


RECIPE = {
    "name": "body",
    "task": "segmentation",
    "cohort": "cohort.csv",
    "hold": {"test": None, "tune": None},
    "settings": {
        "image": {
            "items": ["ct"],
            "spacing": [4.0, 6.0, 6.0],
            "intensity": {"method": "clip", "range": [-1000, 400], "mean": -300, "deviation": 400},
        },
        "labels": ["body"],
        "patch": [8, 32, 32],
    },
    "network": {"name": "dynunet", "options": {"widths": [4, 8, 8]}},
    "learner": {"steps": 25, "batch": 1, "rate": 0.03, "warmup": 2, "ema": 0.5,
                "precision": "float32"},
}  # fmt: skip


def test_a_series_is_learnt_from_and_its_segmentation_reads_back_in_its_grid(data_dir, tmp_path):
    series = data_dir / "ct-example" / "dicom"
    case = osler.load(series)
    ct = case.image("ct")
    body = ct.array > -400
    write_nifti(
        Image("body", body.astype(np.uint8), "SEG", affine=ct.affine), tmp_path / "b.nii.gz"
    )
    (tmp_path / "cohort.csv").write_text(
        f"case_id,patient_id,split,item:ct,label:body\na,a,train,{series},b.nii.gz\n"
    )
    (tmp_path / "body.yaml").write_text(yaml.safe_dump(RECIPE))
    run = osler.fit(tmp_path / "body.yaml", out=tmp_path / "run")
    out = tmp_path / "out"
    done = invoke(run.bundle, series, "--out", out, "--dicom", "--fhir", "--quiet")
    assert done.exit_code == 0, done.output
    (row,) = table(out)
    folder = out / row["case"]
    found = read_findings(folder)["body"].mask
    assert found.shape == ct.shape == (20, 512, 512)
    shared = 2 * (found & body[0]).sum() / (found.sum() + body.sum())
    assert shared > 0.65  # a few steps, as a sign that something was learnt
    voxel = np.prod(ct.spacing) * 1e-3
    assert float(row["body_ml"]) == pytest.approx(found.sum() * voxel, rel=1e-4)
    # an archive gives the series and the segmentation; both come together voxel for voxel
    again = osler.load(series)
    add(again, folder / "segmentation.dcm")
    (mask,) = again.of(Mask)
    assert mask.item == "ct"
    assert (mask.mask == found).all()
    seg = pydicom.dcmread(folder / "segmentation.dcm", stop_before_pixels=True)
    # this series has lost its own identifiers; its place in the patient is there
    read = [pydicom.dcmread(path, stop_before_pixels=True) for path in series.iterdir()]
    assert seg.FrameOfReferenceUID == read[0].FrameOfReferenceUID
    slices = {place_of(one) for one in read}
    frames = {place_of(f.PlanePositionSequence[0]) for f in seg.PerFrameFunctionalGroupsSequence}
    assert frames <= slices
    assert len(frames) > 10
    assert seg.SegmentSequence[0].SegmentAlgorithmName.startswith("body")
