"""``osler register``, as a person calls it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from scipy import ndimage
from typer.testing import CliRunner

from osler.cli import app
from osler.io import load
from osler.io.converting import save
from osler.record import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
runner = CliRunner()


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume, the same moved by (2, -1) voxels, and labels that lie on the moved one."""
    pytest.importorskip("SimpleITK")
    folder = tmp_path_factory.mktemp("volumes")
    values = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(12, 28, 26)), 2.5) * 900
    moved = ndimage.shift(values, (0, 2, -1), order=1, mode="nearest")
    labels = (moved > np.percentile(moved, 80)).astype(np.uint8)
    truth = (values > np.percentile(values, 80)).astype(np.uint8)
    for name, array in (
        ("fixed", values), ("moving", moved), ("labels", labels), ("truth", truth)
    ):  # fmt: skip
        kind = array.astype(np.uint8 if name in ("labels", "truth") else np.float32)
        affine = np.diag([3.0, 1.0, 1.0, 1.0])
        image = Image(name, kind[None], modality="MR", spacing=(3.0, 1.0, 1.0), affine=affine)
        save(image, folder / f"{name}.nii.gz")
    return folder


def test_a_volume_is_brought_onto_another_with_its_labels(volumes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [str(volumes / "fixed.nii.gz"), str(volumes / "moving.nii.gz"), "--out", str(out)]
    labels = ["--labels", str(volumes / "labels.nii.gz")]
    done = runner.invoke(app, ["register", *words, *labels])
    assert done.exit_code == 0, done.output
    assert "registered (rigid)" in done.output
    told = json.loads((out / "registration.json").read_text())
    assert told["files"] == ["moved.nii.gz", "labels.nii.gz"]
    assert told["fixed"]["file"] == "fixed.nii.gz"
    place = (np.array(told["matrix"]) @ (6, 14, 13, 1))[:3]
    assert np.abs(place - (6, 16, 12)).max() < 0.3
    assert sorted(p.name for p in out.iterdir()) == [
        "labels.nii.gz", "moved.nii.gz", "registration.json"
    ]  # fmt: skip
    brought, truth = (
        next(iter(load(p).items.values())).array[0]
        for p in (out / "labels.nii.gz", volumes / "truth.nii.gz")
    )
    inner = (slice(1, -1), slice(4, -4), slice(4, -4))
    assert 2 * (brought[inner] * truth[inner]).sum() / (brought + truth)[inner].sum() > 0.85
    again = runner.invoke(app, ["register", *words])
    assert again.exit_code == 2
    assert "--overwrite" in again.output


def test_what_bends_leaves_its_displacement(volumes: Path, tmp_path: Path) -> None:
    words = [str(volumes / "fixed.nii.gz"), str(volumes / "moving.nii.gz"), "--out", str(tmp_path)]
    done = runner.invoke(app, ["register", *words, "--method", "demons", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["unit_of_displacement"] == "mm"
    assert json.loads(done.output)["files"][1:] == ["displacement.npy", "displacement.nii.gz"]
    field = np.load(tmp_path / "displacement.npy", allow_pickle=False)
    assert field.shape == (3, 12, 28, 26)
    assert field.dtype == np.float32


def test_two_eyes_are_told_to_be_no_pair(tmp_path: Path) -> None:
    for number, name in enumerate(sorted(EXAMPLES.glob("*.jpg"))[:2]):
        small = Picture.open(name)
        small.resize((small.width // 3, small.height // 3)).save(tmp_path / f"{number}.png")
    words = [str(tmp_path / "0.png"), str(tmp_path / "1.png"), "--out", str(tmp_path / "out")]
    done = runner.invoke(app, ["register", *words, "--method", "fundus"])
    assert done.exit_code == 3, done.output
    told = json.loads((tmp_path / "out" / "registration.json").read_text())
    assert told["registered"] is False
    assert told["reason"]
    assert "not registered" in done.output


def test_what_holds_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words\n")
    photo = str(sorted(EXAMPLES.glob("*.jpg"))[0])
    done = runner.invoke(app, ["register", str(tmp_path / "a.txt"), photo, "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "holds no image; images are registered" in done.output


def test_a_photograph_without_a_scale_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    photo = str(sorted(EXAMPLES.glob("*.jpg"))[0])
    done = runner.invoke(app, ["register", photo, photo, "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "states no spacing" in done.output
    assert not (tmp_path / "out").exists()
