"""``osler.write`` to a file: by its extension, by independent readers, and never instead of it."""

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK
from dicom_check import errors
from fake_series import write_series

import osler
from osler.errors import InputError, OutputError
from osler.record import Case, Mask, Signal, Source, Table, Text


@pytest.fixture
def case(tmp_path: Path) -> Case:
    (tmp_path / "series").mkdir()
    image = write_series(tmp_path / "series")
    made = Case("c", "p1", {"ct": image})
    made.items["labs"] = Table("labs", {"hb": 7.5}, {"hb": "g/dL"})
    cut = np.zeros(image.shape, bool)
    cut[2, 2:4, 3:6] = True
    made.add(Mask(id="lesion", name="Lesion", source=Source("person", "x"), item="ct", mask=cut))
    return made


def test_an_image_by_its_extension(tmp_path: Path, case: Case) -> None:
    ct = case.image("ct")
    written = osler.write(case, tmp_path / "ct.nii.gz")
    assert written == tmp_path / "ct.nii.gz"
    volume = nibabel.load(written)
    np.testing.assert_array_equal(np.asarray(volume.dataobj).T, ct.array[0])
    osler.write(case["ct"], tmp_path / "ct.nrrd")
    read = SimpleITK.ReadImage(str(tmp_path / "ct.nrrd"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(read), ct.array[0])
    place = read.TransformIndexToPhysicalPoint((3, 2, 1))
    np.testing.assert_allclose(place, (ct.affine @ [1, 2, 3, 1])[:3], atol=1e-6)


def test_what_was_found(tmp_path: Path, case: Case) -> None:
    seg = osler.write(case, tmp_path / "seg.dcm", findings="seg")
    assert pydicom.dcmread(seg).Modality == "SEG"
    assert not errors(seg)
    labels = osler.write(case, tmp_path / "labels.nii.gz", masks=True)
    assert int(np.asarray(nibabel.load(labels).dataobj).sum()) == 6


def test_tables_and_texts(tmp_path: Path, case: Case) -> None:
    path = osler.write(case, tmp_path / "labs.parquet")
    assert pd.read_parquet(path).to_dict("list") == {"hb": [7.5]}
    assert osler.load(path)["table"].units == {"hb": "g/dL"}
    osler.write(case["labs"], tmp_path / "labs.csv")
    assert pd.read_csv(tmp_path / "labs.csv").to_dict("list") == {"hb [g/dL]": [7.5]}
    osler.write(Text("report", "FINDINGS: none"), tmp_path / "r.txt")
    assert (tmp_path / "r.txt").read_text() == "FINDINGS: none"
    with pytest.raises(OutputError, match=r"nothing that 'e\.hea' could hold"):
        osler.write(case, tmp_path / "e.hea")


def test_nothing_is_replaced_or_guessed(tmp_path: Path, case: Case) -> None:
    path = osler.write(case, tmp_path / "ct.mha")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="overwrite=True"):
        osler.write(case, path)
    assert path.read_bytes() == before
    osler.write(case, path, overwrite=True)
    case.items["pt"] = case.image("ct")
    case.items["ecg"] = Signal("ecg", np.zeros((1, 4)), 4.0, ("I",), ("mV",))
    with pytest.raises(InputError, match=r"several items.*item="):
        osler.write(case, tmp_path / "one.nii")
    osler.write(case, tmp_path / "one.nii", item="ct")


def test_a_folder_is_told_from_a_file(tmp_path: Path, case: Case) -> None:
    with pytest.raises(InputError, match="is a folder, which takes the findings of a whole case"):
        osler.write(case["ct"], tmp_path / "out")
    with pytest.raises(InputError, match="is a folder"):
        osler.write(case, tmp_path / "out", overwrite=True)
    with pytest.raises(InputError, match=r"one file.*give a folder"):
        osler.write(case, tmp_path / "ct.nii.gz", fhir=True)
    (tmp_path / "odd.png").mkdir()
    assert osler.write(case, tmp_path / "odd.png", html=False).is_dir()
