"""``osler info``: what it says of real and made files, and how it refuses."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from osler.cli import app
from osler.io.converting import save
from osler.record import Image


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


def volume(path: Path) -> Path:
    affine = np.array([[0, 0, -0.8, 5], [0, 0.8, 0, 6], [1.5, 0, 0, 7], [0, 0, 0, 1.0]])
    array = np.zeros((1, 3, 4, 5), np.int16)
    return save(Image("volume", array, spacing=(1.5, 0.8, 0.8), affine=affine), path)


def test_a_volume_is_described_without_its_voxels(tmp_path):
    path = volume(tmp_path / "a.nii.gz")
    status, out, _ = run("info", path, "--json")
    item = json.loads(out)["case"]["items"][0]
    assert status == 0
    assert item["shape"] == [1, 3, 4, 5]
    assert item["spacing_mm"] == [1.5, 0.8, 0.8]
    assert item["orientation"] == ["S", "P", "R"]
    assert "oblique_degrees" not in item
    assert "3 x 4 x 5 (slices x rows x columns)" in run("info", path)[1]


def test_a_volume_beyond_the_memory_is_described_from_its_header(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((1024, 1024, 1024))
    header.set_data_dtype(np.int16)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path = tmp_path / "big.nii"
    with path.open("wb") as file:
        file.write(header.binaryblock + bytes(4))
        file.truncate(352 + 2 * 1024**3)  # a hole, which takes no disk
    status, out, _ = run("info", path)
    assert status == 0
    assert "1024 x 1024 x 1024" in out
    status, _, error = run("convert", path, tmp_path / "x.nrrd")
    assert status == 2
    assert "-O max_pixels=..." in error
    assert not (tmp_path / "x.nrrd").exists()


def test_identity_is_shown_only_when_asked_for(data_dir):
    folder = data_dir / "brain-mr-dicom" / "11-T1post-18670"
    plain, asked = run("info", folder)[1], run("info", folder, "--identity")[1]
    case = json.loads(run("info", folder, "--identity", "--json")[1])["case"]
    patient = case["identity"]["patient_id"]
    assert patient in asked
    named = plain.replace(str(folder), "")
    assert patient not in named
    assert "identity" not in json.loads(run("info", folder, "--json")[1])["case"]
    assert "oblique" in plain


def test_a_folder_is_a_table_of_cases_and_says_what_it_did_not_understand(tmp_path):
    volume(tmp_path / "a.nii.gz")
    volume(tmp_path / "b.nii.gz")
    for name in ("x.gif", "y.gif"):
        (tmp_path / name).write_bytes(b"GIF89a" + bytes(20))
    (tmp_path / "z").touch()
    status, out, _ = run("info", tmp_path)
    assert status == 3
    assert "2 cases in 2 files, 3 files not read" in out
    assert "2 not read: a GIF image, which is not read" in out
    assert "y.gif" in out
    found = json.loads(run("info", tmp_path, "--json")[1])
    assert [case["id"] for case in found["cases"]] == ["a", "b"]
    assert {one["reason"]: one["count"] for one in found["not_understood"]}["empty"] == 1


def test_copies_are_told_and_are_no_failure(data_dir, tmp_path):
    one = sorted((data_dir / "brain-mr-dicom" / "11-T1post-18670").iterdir())[0]
    for name in ("a.dcm", "b.dcm"):
        shutil.copy(one, tmp_path / name)
    status, out, _ = run("info", tmp_path)
    assert status == 0
    assert "the same file as another" in out


def test_signals_and_tables_name_their_channels_and_variables(data_dir):
    _, out, _ = run("info", data_dir / "ecg" / "100.hea")
    assert "2 channels x 650,000 samples" in out
    assert "360 Hz" in out
    assert "annotations.atr" in out


def test_options_of_the_readers_are_passed_on(tmp_path):
    path = tmp_path / "signal.csv"
    path.write_text("I [mV],II [mV]\n" + "0.1,0.2\n" * 10)
    _, out, _ = run("info", path, "-O", "rate=500")
    assert "500 Hz" in out
    status, _, error = run("info", path, "-O", "prefer=sform")
    assert status == 2
    assert "takes no option 'prefer'" in error
    status, _, error = run("info", path, "-O", "rate=fast")
    assert status == 2
    assert "'fast', which is no number" in error
    status, _, error = run("info", path, "-O", "rate")
    assert status == 2
    assert "NAME=VALUE" in error


@pytest.mark.parametrize("name", ["absent.nii", "empty.nii", "words.xyz", "nothing"])
def test_what_cannot_be_opened_is_one_sentence_and_status_2(tmp_path, name):
    path = tmp_path / name
    if name == "empty.nii":
        path.touch()
    elif name == "words.xyz":
        path.write_text("hello")
    elif name == "nothing":
        path.mkdir()
    status, out, error = run("info", path)
    assert status == 2
    assert out == ""
    assert error.startswith("osler: ")
    assert error.count("\n") == 1
    assert name in error


def test_a_table_of_many_patients_is_described_as_one(tmp_path):
    path = tmp_path / "visits.csv"
    path.write_text("patient_id,glucose [mmol/L],day\n1,5.1,2020-01-02\n2,,2020-01-03\n")
    status, out, _ = run("info", path)
    assert status == 0
    assert "2 rows x 3 columns, a table of several cases" in out
    columns = json.loads(run("info", path, "--json")[1])["table"]["columns"]
    assert columns[1] == {"name": "glucose", "type": "float", "unit": "mmol/L", "missing": 1}
    one = json.loads(run("info", path, "-O", "case=1", "--json")[1])["case"]["items"][0]
    assert "glucose" in one["variables"]


def test_options_in_messages_are_said_as_they_are_typed(tmp_path):
    path = tmp_path / "visits.csv"
    path.write_text("patient_id,x\na,1\nb,2\n")
    result = CliRunner().invoke(app, ["view", str(path), "--no-open"])
    assert result.exit_code == 2
    assert "-O case=..., -O id_column=..." in result.stderr


def test_names_of_files_move_nothing_on_the_screen(tmp_path):
    """Neither a line break nor the codes that move a cursor, in what is read and what is not."""
    odd = "a\nFINDINGS: none\x1b[2J\u202e"
    volume(tmp_path / f"{odd}.nii.gz")
    (tmp_path / f"{odd}.bin").write_bytes(b"\x01nothing that is read")
    one = run("info", tmp_path / f"{odd}.nii.gz")[1]
    folder = run("info", tmp_path)[1]
    refused = run("info", tmp_path / f"{odd}.bin")[2]
    for words in (one, folder, refused):
        assert not {"\x1b", "\u202e"} & set(words)
        assert "\\x1b[2J" in words
    assert not any(line.startswith("FINDINGS") for line in (one + folder).splitlines())
    read = json.loads(run("info", tmp_path / f"{odd}.nii.gz", "--json")[1])
    assert odd in read["path"]


def test_arrays_without_a_meaning_are_pointed_to_what_takes_them(tmp_path):
    np.savez(tmp_path / "x.npz", train_images=np.zeros((2, 4, 4), np.uint8))
    status, _, error = run("info", tmp_path / "x.npz")
    assert status == 2
    assert "a NumPy archive (.npz)" in error
    assert "'osler data import' takes those of MedMNIST" in error
