"""One image to one file: the extension decides, masks become labels, nothing is half written."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from volume_files import SHAPE, matrix, oblique, oracle, sitk, volume

from osler.errors import InputError, OutputError
from osler.io import load
from osler.io.converting import WRITERS, label_image, save, writer_for
from osler.record import Case, Image, Mask, Source

LPS = oblique()[:, [2, 1, 0, 3]]


def image(**options: Any) -> Image:
    spacing = tuple(float(n) for n in np.linalg.norm(LPS[:3, :3], axis=0))
    given = {"array": volume()[None], "affine": LPS, "spacing": spacing, **options}
    return Image("ct", modality="CT", **given)


def mask(id: str, start: int, stop: int) -> Mask:
    inside = np.zeros(SHAPE, bool)
    inside[:, start:stop] = True
    return Mask(id=id, name=id, source=Source("person", "reader"), item="ct", mask=inside)


@pytest.mark.parametrize(
    "extension", [e for w in WRITERS if "place" in w.keeps for e in w.extensions]
)
def test_voxels_and_place_survive_every_format_that_keeps_them(
    tmp_path: Path, extension: str
) -> None:
    path = save(image(), tmp_path / "new folder" / f"v{extension}")
    seen, place = oracle(path)
    np.testing.assert_array_equal(seen, volume())
    np.testing.assert_allclose(place, LPS, atol=2e-5)
    again = load(path).image("ct" if extension == ".dcm" else "volume")  # DICOM says what it is
    np.testing.assert_array_equal(again.array[0], volume())
    np.testing.assert_allclose(again.affine, LPS, atol=2e-5)
    assert not [p for p in path.parent.iterdir() if ".part" in p.name]


@pytest.mark.parametrize("first", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("second", [".nii", ".nrrd", ".mha"])
def test_from_any_format_to_any_other(tmp_path: Path, first: str, second: str) -> None:
    one = load(save(image(), tmp_path / f"one{first}")).image("volume")
    two = load(save(one, tmp_path / f"two{second}")).image("volume")
    np.testing.assert_array_equal(two.array, one.array)
    np.testing.assert_allclose(two.affine, one.affine, atol=2e-5)


def test_the_extension_decides(tmp_path: Path) -> None:
    assert writer_for("a.NII.GZ").format == "nifti"
    with pytest.raises(OutputError, match=r"v.jpg' has no extension .* use one of .nii.gz, .nii"):
        save(image(), tmp_path / "v.jpg")
    with pytest.raises(OutputError, match=r"one plane of uint8 or uint16.*write it as .tif"):
        save(image(), tmp_path / "v.png")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = save(image(), tmp_path / "v.nii.gz")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="complex128"):
        save(image(array=volume().astype(complex)[None]), path)
    assert path.read_bytes() == before
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        save(image(), tmp_path / "folder.nii")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.nii", "v.nii.gz"]


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    for extension in (".nii.gz", ".nrrd", ".mha"):
        first = save(image(), tmp_path / f"a{extension}").read_bytes()
        assert save(image(), tmp_path / f"b{extension}").read_bytes() == first


def test_masks_become_labels(tmp_path: Path) -> None:
    labels = label_image([mask("liver", 0, 2), mask("spleen", 3, 5)], image())
    assert labels.header["labels"] == {1: "liver", 2: "spleen"}
    path = save(labels, tmp_path / "v.nii.gz")
    seen, place = oracle(path)
    np.testing.assert_array_equal(np.unique(seen), [0, 1, 2])
    np.testing.assert_array_equal(seen == 2, mask("spleen", 3, 5).mask)
    np.testing.assert_allclose(place, LPS, atol=1e-5)
    nii: Any = nib.load(path)
    assert nii.header["intent_code"] == 1002
    assert nii.get_data_dtype() == np.uint8


def test_masks_that_one_label_volume_cannot_hold() -> None:
    with pytest.raises(OutputError, match="'b' and 'a' overlap"):
        label_image([mask("a", 0, 3), mask("b", 2, 5)], image())
    with pytest.raises(InputError, match="no masks"):
        label_image([], image())
    small = mask("a", 0, 1)
    small.mask = small.mask[0]
    with pytest.raises(InputError, match=r"'a' has shape \(5, 6\)"):
        label_image([small], image())


def test_a_real_volume_through_every_format(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "ct-example" / "example_ct_sm.nii.gz"
    nii: Any = nib.load(path)
    real = load(path).image("volume")
    for extension in (".nii", ".nrrd", ".mha"):
        seen, place = oracle(save(real, tmp_path / f"v{extension}"))
        np.testing.assert_array_equal(seen, np.asarray(nii.dataobj).T)
        np.testing.assert_allclose(place, real.affine, atol=1e-4)


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd", ".mha"])
def test_a_dicom_series_lies_where_gdcm_sees_it(
    data_dir: Path, tmp_path: Path, extension: str
) -> None:
    """The series as SimpleITK (GDCM) reads it, against our reader and writer one after another."""
    folder = data_dir / "ct-example" / "dicom"
    series = sitk.ImageSeriesReader()
    series.SetFileNames(series.GetGDCMSeriesFileNames(str(folder)))
    expected = series.Execute()
    case = load(folder)
    assert isinstance(case, Case)
    path = save(case.image("ct"), tmp_path / f"ct{extension}")
    seen, place = oracle(path)
    np.testing.assert_array_equal(seen, sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(place, matrix(expected), atol=1e-4)
