"""Displacement fields, read by nibabel and used by SimpleITK as a transform."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from osler.errors import InputError, OutputError
from osler.io.nifti_field_out import write_field
from osler.io.nifti_out import write_nifti
from osler.record import Image, Source, Transform
from osler.tasks.registration_warp import field_of, warped

RNG = np.random.default_rng(4)


def oblique(shape: tuple[int, ...], *, turn: float, at: tuple[float, float, float]) -> Image:
    """A smooth volume of unlike spacings, turned and with one axis backwards."""
    c, s = np.cos(turn), np.sin(turn)
    directions = np.array([[0, s, c], [0, c, -s], [-1, 0, 0]])  # of (d, h, w) in (x, y, z)
    affine = np.eye(4)
    affine[:3, :3] = directions * (2.5, 1.25, 0.8)
    affine[:3, 3] = at
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    array = 300 + 200 * np.sin(grid[0] / 3) * np.cos(grid[1] / 4) + 5.0 * grid[2]
    return Image("v", array[None].astype(np.float32), "MR", affine=affine)


@pytest.fixture(scope="module")
def pair() -> tuple[Image, Image, Transform]:
    fixed = oblique((10, 18, 20), turn=0.3, at=(-40.0, 25, 60))
    moving = oblique((12, 20, 22), turn=0.25, at=(-41.0, 23, 61))
    fixed.name, moving.name = "fixed", "moving"
    matrix = np.linalg.inv(moving.affine) @ fixed.affine
    h, w = np.mgrid[:18, :20]
    bend = np.zeros((3, 10, 18, 20), np.float32)
    bend[1] = 1.5 * np.sin(w / 6)
    bend[2] = 0.8 * np.cos(h / 5)
    bend[0] = 0.6
    return fixed, moving, Transform(
        id="t", name="T", source=Source("algorithm", "x"), item="fixed", target="moving",
        matrix=matrix, displacement=bend,
    )  # fmt: skip


def test_simpleitk_warps_by_it_as_we_do(
    pair: tuple[Image, Image, Transform], tmp_path: Path
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    fixed, moving, transform = pair
    write_nifti(fixed, tmp_path / "fixed.nii.gz")
    write_nifti(moving, tmp_path / "moving.nii.gz")
    field = field_of(transform, fixed=fixed, moving=moving)
    write_field(field, fixed, tmp_path / "field.nii.gz")
    read = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    assert read.GetDimension() == 3
    assert read.GetNumberOfComponentsPerPixel() == 3
    assert np.allclose(np.moveaxis(sitk.GetArrayFromImage(read), -1, 0), field, atol=1e-5)
    way = sitk.DisplacementFieldTransform(read)
    # one place by hand: index (d, h, w) to LPS mm, and on
    index = np.array([4, 7, 9])
    place = fixed.affine @ (*index, 1)
    bend = np.linalg.norm(fixed.affine[:3, :3], axis=0)
    directions = fixed.affine[:3, :3] / bend
    vector = directions @ transform.displacement[:, 4, 7, 9]
    assert way.TransformPoint(place[:3].tolist()) == pytest.approx(
        (place[:3] + vector).tolist(), abs=1e-4
    )
    seen = sitk.Resample(
        sitk.ReadImage(str(tmp_path / "moving.nii.gz")),
        sitk.ReadImage(str(tmp_path / "fixed.nii.gz")),
        way, sitk.sitkLinear, -1.0,
    )  # fmt: skip
    theirs = sitk.GetArrayFromImage(seen)
    ours = warped(moving, transform, onto=fixed, outside=-1.0).array[0]
    inside = (theirs != -1) & (ours != -1)
    assert inside.mean() > 0.5
    # ITK keeps the edge voxels half a voxel further
    assert np.abs(theirs - ours)[inside].max() < 0.05


def test_the_header_says_what_it_is(pair: tuple[Image, Image, Transform], tmp_path: Path) -> None:
    fixed, moving, transform = pair
    field = field_of(transform, fixed=fixed, moving=moving)
    for name in ("field.nii", "field.nii.gz"):
        read = nibabel.load(write_field(field, fixed, tmp_path / name))
        assert read.shape == (20, 18, 10, 1, 3)
        assert read.header.get_intent()[0] == "vector"
        assert read.header["intent_code"] == 1007
        assert b"LPS" in bytes(read.header["descrip"])
        ras = np.diag([-1, -1, 1, 1]) @ fixed.affine[:, [2, 1, 0, 3]]
        assert np.allclose(read.affine, ras, atol=1e-4)
        data = np.asarray(read.dataobj)
        assert np.array_equal(data[..., 0, :], np.transpose(field, (3, 2, 1, 0)))


def test_what_has_no_place_is_refused(pair: tuple[Image, Image, Transform], tmp_path: Path) -> None:
    fixed, moving, transform = pair
    field = field_of(transform, fixed=fixed, moving=moving)
    with pytest.raises(OutputError, match="is not on the grid"):
        write_field(field, moving, tmp_path / "x.nii")
    flat = Image("flat", np.zeros((1, 4, 5), np.uint8))
    with pytest.raises(OutputError, match="states no place"):
        write_field(np.zeros((2, 4, 5)), flat, tmp_path / "x.nii")
    plane = Transform(
        id="p", name="P", source=Source("algorithm", "x"), item="flat", target="flat",
        matrix=np.eye(3), unit="[pix_i]",
    )  # fmt: skip
    with pytest.raises(InputError, match="between volumes in millimetres"):
        field_of(plane, fixed=flat, moving=flat)
    assert not list(tmp_path.iterdir())
