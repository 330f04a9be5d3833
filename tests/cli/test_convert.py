"""``osler convert``: files come back the same, losses are said, refusals are clear."""

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from osler.cli import app
from osler.errors import OutputError
from osler.io import load
from osler.io.converting import WRITERS, Writer, save
from osler.io.losses import lost_of_image
from osler.record import Image

AFFINE = np.array([[0, 0, 0.8, 5], [0, 0.8, 0, 6], [1.5, 0, 0, 7], [0, 0, 0, 1.0]])


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["convert", *(str(a) for a in arguments)])
    return result.exit_code, result.stdout, result.stderr


def volume(dtype: type = np.int16) -> Image:
    array = np.arange(60).reshape(1, 3, 4, 5).astype(dtype)
    return Image("volume", array, spacing=(1.5, 0.8, 0.8), affine=AFFINE)


def test_a_series_becomes_a_volume_as_an_independent_reader_sees_it(data_dir, tmp_path):
    out = tmp_path / "ct.nii.gz"
    status, printed, told = run(data_dir / "ct-example" / "dicom", out)
    assert status == 0
    assert printed.strip() == str(out)
    assert "not kept: the DICOM header" in told
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(data_dir / "ct-example" / "dicom")))
    expected = reader.Execute()
    seen = sitk.ReadImage(str(out))
    assert np.array_equal(sitk.GetArrayFromImage(seen), sitk.GetArrayFromImage(expected))
    assert np.allclose(seen.GetOrigin(), expected.GetOrigin(), atol=1e-3)
    assert np.allclose(seen.GetDirection(), expected.GetDirection(), atol=1e-5)


@pytest.mark.parametrize("extension", [".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".tif"])
def test_a_volume_goes_there_and_back(tmp_path, extension):
    start = save(volume(), tmp_path / "a.nii.gz")
    middle, end = tmp_path / f"b{extension}", tmp_path / "c.nii.gz"
    assert run(start, middle)[0] == 0
    assert run(middle, end)[0] == 0
    one, two = nib.load(start), nib.load(end)
    assert np.array_equal(one.get_fdata(), two.get_fdata())
    if extension != ".tif":
        assert np.allclose(one.affine, two.affine, atol=1e-5)


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.format)
def test_what_a_writer_says_it_keeps_comes_back_and_the_rest_does_not(tmp_path, writer: Writer):
    full = replace(
        volume(), modality="CT", laterality="R", units="[hnsf'U]", window=(40.0, 400.0),
        acquired=datetime(2020, 1, 2, 3, 4, 5), origin=None,
    )  # fmt: skip
    if writer.format == "png":
        full = replace(full, array=full.array[:, 0].astype(np.uint8), spacing=(0.8, 0.8))
    path = save(full, tmp_path / f"x{writer.extensions[0]}")
    again = next(iter(load(path).items.values()))
    kept = {
        "place": again.affine is not None and np.allclose(again.affine, AFFINE),
        "spacing": again.spacing is not None and np.allclose(again.spacing, full.spacing),
        "units": again.units == full.units,
        "laterality": again.laterality == full.laterality,
        "acquired": again.acquired == full.acquired,
        "window": again.window == full.window,
        "modality": again.modality == full.modality,
    }
    assert {name for name, same in kept.items() if same} == set(writer.keeps) - {"times", "header"}
    assert np.array_equal(again.array, full.array)
    assert len(lost_of_image(full, writer)) == len(kept) - sum(kept.values())


def test_values_change_only_with_consent(tmp_path):
    plane = replace(
        volume(np.float32), array=np.linspace(-1, 1, 20, dtype=np.float32).reshape(1, 4, 5),
        spacing=(0.8, 0.8), affine=None,
    )  # fmt: skip
    source, out = save(plane, tmp_path / "a.tif"), tmp_path / "a.png"
    status, _, error = run(source, out)
    assert status == 2
    assert "--lossy" in error
    assert not out.exists()
    status, _, told = run(source, out, "--lossy")
    assert status == 0
    assert "became 0 to 255" in told
    assert load(out).image("photo").array.max() == 255


def test_a_volume_is_no_png(tmp_path):
    source = save(volume(), tmp_path / "a.nii")
    status, _, error = run(source, tmp_path / "a.png", "--lossy")
    assert status == 2
    assert "one plane" in error


def test_labels_become_a_segmentation_and_come_back(tmp_path):
    array = np.zeros((1, 3, 4, 5), np.uint8)
    array[0, 1, 1:3, 1:3], array[0, 2, 0, 0] = 1, 4
    source = save(replace(volume(), array=array), tmp_path / "labels.nii.gz")
    assert run(source, tmp_path / "seg.dcm", "--masks")[0] == 0
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (seg.Modality, len(seg.SegmentSequence)) == ("SEG", 2)
    status, _, told = run(tmp_path / "seg.dcm", tmp_path / "back.nii.gz", "--masks")
    assert status == 0
    assert "the names of the values: 1 label-1, 2 label-4" in told
    back = np.asarray(nib.load(tmp_path / "back.nii.gz").dataobj)
    assert np.count_nonzero(back == 1) == 4
    assert np.count_nonzero(back == 2) == 1
    status, _, error = run(save(volume(np.float32), tmp_path / "f.nii"), tmp_path / "g.dcm")
    assert status == 0, error  # whole numbers, though stored as floats


def test_a_signal_becomes_a_table_of_samples(data_dir, tmp_path):
    source = data_dir / "ecg" / "a103l.hea"
    status, _, told = run(source, tmp_path / "x.csv")
    assert status == 0
    one = next(i for i in load(source).items.values() if hasattr(i, "rate"))
    two = next(i for i in load(tmp_path / "x.csv").items.values() if hasattr(i, "rate"))
    assert one.channels == two.channels
    assert np.allclose(one.array, two.array, equal_nan=True)
    assert "header" in told


def test_a_folder_becomes_a_folder_and_one_bad_file_does_not_end_it(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":
        save(volume(), tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "in" / "c.nii").write_bytes(nib.Nifti1Header().binaryblock[:300] + bytes(60))
    (tmp_path / "in" / "d.gif").write_bytes(b"GIF89a" + bytes(20))
    out = tmp_path / "out"
    status, printed, error = run(tmp_path / "in", out, "--to", "nrrd")
    assert status == 3
    assert sorted(p.name for p in out.iterdir()) == ["a.nrrd", "b.nrrd"]
    assert printed.count(".nrrd") == 2
    assert "d.gif: a GIF image" in error
    status, _, error = run(tmp_path / "in", out, "--to", "nrrd")
    assert status == 2  # nothing could be written
    assert error.count("lies there already") == 2
    assert run(tmp_path / "in", out, "--to", "nrrd", "--overwrite", "--case", "a")[0] == 3


def test_a_table_of_many_patients_goes_as_a_whole(tmp_path):
    source = tmp_path / "visits.csv"
    source.write_text("patient_id,glucose [mmol/L]\na,5.1\nb,\n")
    assert run(source, tmp_path / "v.parquet")[0] == 0
    assert run(tmp_path / "v.parquet", tmp_path / "back.csv")[0] == 0
    assert (tmp_path / "back.csv").read_text().split() == source.read_text().split()
    assert run(source, tmp_path / "one.csv", "--case", "a")[0] == 0
    assert "5.1" in (tmp_path / "one.csv").read_text()
    assert "b" not in (tmp_path / "one.csv").read_text().splitlines()[-1]
    status, _, error = run(source, source, "--overwrite")
    assert status == 2
    assert "is the file that is read" in error


def test_a_url_is_no_place_to_write_to_and_to_takes_an_extension(tmp_path):
    source = save(volume(), tmp_path / "a.nii")
    status, _, error = run(source, "https://host/a.nrrd")
    assert status == 2
    assert "a URL cannot be written" in error
    status, _, error = run(source, tmp_path / "out", "--to", "exe")
    assert status == 2
    assert "'NAME.exe' has no extension" in error
    assert not (tmp_path / "out").exists()


def test_a_folder_of_nothing_says_why(data_dir, tmp_path):
    status, _, error = run(tmp_path, tmp_path / "x.nii")
    assert status == 2
    assert "holds no case that is read" in error
    (tmp_path / "notes.json").write_text("{}")
    assert "such as '" in run(tmp_path, tmp_path / "x.nii")[2]
    slices = sorted((data_dir / "ct-example" / "dicom").iterdir())
    (tmp_path / "cut.dcm").write_bytes(slices[0].read_bytes()[:2000])
    status, _, error = run(tmp_path, tmp_path / "x.nii")
    assert status == 2
    assert "cut.dcm' is a DICOM image without pixels" in error


def test_several_items_are_never_guessed_between(data_dir, tmp_path):
    folder = data_dir / "brain-mr-dicom"
    status, _, error = run(folder, tmp_path / "x.nii.gz")
    assert status == 2
    assert "--item" in error
    assert "mr-2" in error
    assert run(folder, tmp_path / "x.nii.gz", "--item", "mr")[0] == 0
    status, _, error = run(folder, tmp_path / "y.nii.gz", "--item", "ct")
    assert status == 2
    assert "has no item 'ct'" in error


def test_refusals_are_one_sentence(tmp_path):
    source = save(volume(), tmp_path / "a.nii")
    there = save(volume(), tmp_path / "b.nii")
    contours = Path(str(get_testdata_file("rtstruct.dcm")))
    recording = tmp_path / "ecg.csv"
    recording.write_text("time,I,II\n0,1,2\n0.004,2,3\n")
    before = there.read_bytes()
    cases = {
        (source, tmp_path / "x.jpg"): "no extension that is written",
        (source, there): "lies there already",
        (source, source): "is the file that is read",
        (source, tmp_path / "x.csv"): "has nothing that 'x.csv' could hold; it has: volume (image)",
        (contours, tmp_path / "x.nii"): "it has: findings alone (for those say --findings",
        (recording, tmp_path / "x.hea"): "-O rate=...",
        (tmp_path / "absent.nii", tmp_path / "x.nrrd"): "does not exist",
        (source, tmp_path / "a.nii" / "x.nrrd"): "cannot be written",
    }
    for (one, two), words in cases.items():
        status, out, error = run(one, two)
        assert (status, out) == (2, ""), error
        assert words in error
        assert error.startswith("osler: ")
        assert error.count("\n") == 1
    assert there.read_bytes() == before
    assert run(source, there, "--overwrite")[0] == 0
    assert not [name for name in os.listdir(tmp_path) if "part" in name]


def test_a_detached_file_is_not_replaced_either(tmp_path):
    source = save(volume(), tmp_path / "a.nii")
    (tmp_path / "b.zraw").write_bytes(b"mine")
    assert "b.zraw' lies there already" in run(source, tmp_path / "b.mhd")[2]
    assert (tmp_path / "b.zraw").read_bytes() == b"mine"


def test_disk_errors_are_no_matter_of_consent(tmp_path):
    source = save(volume(), tmp_path / "a.nii")
    file = tmp_path / "file"
    file.touch()
    status, _, error = run(source, file / "x.dcm")
    assert status == 2
    assert "--lossy" not in error
    with pytest.raises(OutputError):
        save(volume(), file / "x.dcm")
