"""Volumes in NRRD and MetaImage: voxels and geometry stay, all else of the header goes."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from osler.io import load
from osler.io.deidentification import Key, Options
from osler.io.deidentification.one import Copied, Setting, check, copy
from osler.io.deidentification.unaided import left

SECRET = "Xiomara Quillfeather"


def written(path: Path, *, colour: bool = False) -> Path:
    voxels = np.random.default_rng(0).integers(-900, 900, (4, 5, 6)).astype(np.int16)
    if colour:
        voxels = voxels[..., None].repeat(3, axis=-1).astype(np.uint8)
    image = sitk.GetImageFromArray(voxels, isVector=colour)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-10.25, 3.5, 99.125))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    for key in ("PatientName", "Comment", "content"):
        image.SetMetaData(key, SECRET)
    sitk.WriteImage(image, str(path))
    return path


def copied(path: Path, tmp_path: Path) -> tuple[Copied, Path]:
    setting = Setting(path.parent, tmp_path / "out", Options(), Key(b"k" * 32))
    outcome = copy(path, setting)
    assert outcome.status == "copied", outcome.error
    assert check(outcome, setting) == []
    assert left(setting.out / outcome.place, outcome.place, Options()) == []
    return outcome, setting.out / outcome.place


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.nhdr", "a.mhd"])
def test_voxels_and_millimetres_stay(tmp_path: Path, name: str, colour: bool) -> None:
    folder = tmp_path / SECRET
    folder.mkdir()
    path = written(folder / f"{SECRET.split(maxsplit=1)[0]} {name}", colour=colour)
    assert any(SECRET.encode() in p.read_bytes() for p in folder.iterdir())
    outcome, new = copied(path, tmp_path)
    assert new.suffix == (".nrrd" if "n" in path.suffix else ".mha")
    old, now = sitk.ReadImage(str(path)), sitk.ReadImage(str(new))
    assert (sitk.GetArrayFromImage(old) == sitk.GetArrayFromImage(now)).all()
    for what in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(old, what)(), getattr(now, what)(), atol=1e-6)
    data = new.read_bytes()
    assert b"Quillfeather" not in data
    assert b"Xiomara" not in data
    assert "Xiomara" not in outcome.place
    if path.suffix in (".nhdr", ".mhd"):
        (beside,) = [p for p in folder.iterdir() if p != path]
        setting = Setting(folder, tmp_path / "out", Options(), Key(b"k" * 32))
        assert copy(beside, setting).status == "left out"


def test_words_in_fields_of_the_format(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nrrd")
    head, data = path.read_bytes().split(b"\n\n", 1)
    more = f'content: {SECRET}\n# {SECRET}\nsample units: "{SECRET}"\nlabels: "{SECRET}" "b" "c"'
    path.write_bytes(head + b"\n" + more.encode() + b"\n\n" + data)
    assert SECRET in str(load(path)["volume"].header)
    _, new = copied(path, tmp_path)
    assert b"Quillfeather" not in new.read_bytes()


def test_a_second_look_finds_a_field_too_many(tmp_path: Path) -> None:
    _, new = copied(written(tmp_path / "a.mha"), tmp_path)
    new.write_bytes(new.read_bytes().replace(b"NDims", f"Name = {SECRET}\nNDims".encode(), 1))
    assert left(new, "/".join(new.parts[-2:]), Options()) == ["a field in the header of a volume"]


def test_loose_voxels_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"\1" * 64)
    setting = Setting(tmp_path, tmp_path / "out", Options(), Key(b"k" * 32))
    assert copy(tmp_path / "a.raw", setting).status == "refused"
