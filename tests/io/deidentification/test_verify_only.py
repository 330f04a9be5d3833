"""The second pass alone, over copies whose originals are not at hand."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import word_documents
from dicom_pictures import dataset, picture, save
from PIL import Image
from test_excel_files import workbook
from test_recordings import record, recording
from tree_documents import BUNDLE, CDA

from osler.batch import deidentify, deidentify_verify
from osler.errors import InputError
from osler.io.deidentification import Options

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")
RULES = Options(pixels="rules")


def originals(folder: Path) -> Path:
    """Something of every kind that is cleaned."""
    record(folder)
    recording(folder / "night.edf")
    ds = dataset([picture(text="")], "native")
    ds.StudyDescription, ds.StudyDate = "CT of SMITH JOHN", "20190303"
    save(ds, folder / "a.dcm")
    Image.fromarray(picture(text="")).save(folder / "a.png")
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4)), folder / "a.nii.gz")
    (folder / "a.txt").write_text("Seen by Dr Xiomara Quillfeather on 3 March 2019, stable.\n")
    (folder / "a.csv").write_text(
        "patient_id,name,dob,visit_date,age,note,hba1c,file\n"
        "MCH-1,X Q,1951-02-14,2019-03-03,67,called Dr Quillfeather,6.5,a.png\n"
    )
    word_documents.write(folder / "a.docx")
    workbook(folder / "a.xlsx")
    (folder / "a.json").write_text(json.dumps(BUNDLE))
    (folder / "a.xml").write_text(CDA)
    return folder


@pytest.mark.parametrize("dates", ["remove", "shift"])
def test_what_was_cleaned_is_found_clean(tmp_path: Path, dates: str) -> None:
    folder, out = originals(tmp_path / "in"), tmp_path / "out"
    for options in (
        Options(pixels="rules", dates=dates),  # type: ignore[arg-type]
        Options(pixels="rules", dates=dates, descriptors=True, patient=True),  # type: ignore[arg-type]
    ):
        run = deidentify.run(folder, out, options=options)
        assert run.clean, (run.found, [o.error for o in run.outcomes])
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        result = deidentify_verify.run(out)
        assert result.found == {}
        assert result.looked == len(run.outcomes)
        assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
        shutil.rmtree(out)


def planted(out: Path) -> set[str]:
    """Somebody in each copy; the names of the copies."""
    for path in [p for p in out.rglob("*") if p.is_file() and p.parent.name != "deidentification"]:
        kind = path.suffix
        if kind == ".dcm":
            ds = pydicom.dcmread(path)
            ds.PatientName = "SMITH^JOHN"
            ds.save_as(path)
        elif kind in (".txt", ".hea"):
            path.write_text(path.read_text() + "# called Dr Xiomara Quillfeather\n")
        elif kind == ".csv":
            path.write_text(path.read_text().replace("[NAME]", "Quillfeather", 1))
        elif kind == ".edf":
            path.write_bytes(path.read_bytes()[:8] + b"Smith".ljust(80) + path.read_bytes()[88:])
        elif kind == ".xlsx":
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("docProps/custom.xml", "<a>Quillfeather</a>")
        elif kind in (".json", ".xml"):
            path.write_text(path.read_text().replace("6 mm", "Dr Xiomara Quillfeather: 6 mm"))
        elif kind == ".docx":
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("docProps/custom.xml", "<a>Quillfeather</a>")
        elif kind == ".png":
            path.write_bytes(path.read_bytes() + b"Quillfeather")
        elif kind == ".gz":
            image = nib.load(path)
            image.header["descrip"] = b"Quillfeather"
            nib.save(image, path)
        else:
            path.rename(path.with_name("SMITH_JOHN" + kind))
    (out / "notes.xyz").write_bytes(b"\1\2\0")
    return {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}


def test_what_was_planted_in_each_kind_is_found(tmp_path: Path) -> None:
    out = tmp_path / "out"
    deidentify.run(originals(tmp_path / "in"), out, options=RULES)
    names = {n for n in planted(out) if not n.startswith("deidentification/")}
    result = deidentify_verify.run(out, jobs=2)
    assert set(result.found) == names
    said = str(result.found)
    assert "Quillfeather" not in said.replace("SMITH_JOHN", "")
    for words in ("somebody in (0010,0010)", "EDF patient", "a column of name", "NIfTI descrip"):
        assert words in said


def test_the_command_says_three(tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = tmp_path / "in"
    folder.mkdir()
    save(dataset([picture(text="")], "native"), folder / "a.dcm")
    deidentify.run(folder, out, options=RULES)
    command = [sys.executable, "-m", "osler", "deidentify", "--verify-only", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "1 file looked through, nothing found\n")
    (out / "SMITH.txt").write_text("x")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "'SMITH.txt' still holds a name that tells" in done.stderr
    wrong = subprocess.run([*command, str(out)], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    alone = subprocess.run([*command[:4], str(folder)], capture_output=True, text=True, check=False)
    assert alone.returncode == 2


def test_dates_are_found_where_they_were_to_be_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = tmp_path / "in"
    folder.mkdir()
    save(dataset([picture(text="")], "native"), folder / "a.dcm")
    deidentify.run(folder, out, options=RULES)
    (path,) = out.rglob("*.dcm")
    ds = pydicom.dcmread(path)
    ds.StudyDate = "20190303"
    ds.save_as(path)
    (kinds,) = deidentify_verify.run(out).found.values()
    assert "a date in (0008,0020)" in kinds


def test_an_empty_folder_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no copies"):
        deidentify_verify.run(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        deidentify_verify.run(tmp_path / "nothing")
