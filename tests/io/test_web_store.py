"""Files in an S3-compatible store (moto's server) through fsspec."""

from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_stack import as_bytes, image
from PIL import Image as Pillow
from pydicom.uid import UltrasoundMultiFrameImageStorage

import osler
from orthanc_server import free_port
from osler.errors import InputError, TooLargeError
from osler.io.sorting import Cases
from osler.record import Case, Image
from s3_server import put, s3_store


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with s3_store() as url:
        yield url


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", store)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("png") / "a.png"
    Pillow.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(path)
    return path.read_bytes()


@pytest.mark.usefixtures("keys")
def test_a_key_opens_as_its_file(store: str, picture: bytes, tmp_path: Path) -> None:
    put(store, "/scans/one/a.png", picture)
    (tmp_path / "a.png").write_bytes(picture)
    here, there = osler.load(tmp_path / "a.png"), osler.load("s3://scans/one/a.png")
    assert isinstance(here, Case)
    assert isinstance(there, Case)
    a, b = here["photo"], there["photo"]
    np.testing.assert_array_equal(a.array, b.array)
    assert b.origin.path == "s3://scans/one/a.png"
    assert b.origin.sha256 == a.origin.sha256


@pytest.mark.usefixtures("keys")
def test_a_folder_opens_as_its_cases(store: str, picture: bytes) -> None:
    for name in ("p1/left.png", "p2/left.png"):
        put(store, f"/scans/many/{name}", picture)
    cases = osler.load("s3://scans/many/", pattern="{patient}/*.png")
    assert [case.patient_id for case in cases] == ["p1", "p2"]
    assert cases[0]["photo"].origin.path == "s3://scans/many/p1/left.png"


@pytest.mark.usefixtures("keys")
def test_what_is_wrong_is_said(store: str, picture: bytes) -> None:
    put(store, "/scans/large.png", picture)
    with pytest.raises(InputError, match="does not exist"):
        osler.load("s3://scans/nothing.png")
    with pytest.raises(TooLargeError, match="max_bytes"):
        osler.load("s3://scans/large.png", max_bytes=10)
    with pytest.raises(InputError, match="no files"):
        osler.load("s3://scans/nowhere/")


@pytest.mark.usefixtures("keys")
def test_of_a_large_volume_only_slices_travel(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels = np.random.default_rng(3).integers(0, 4000, (24, 512, 512)).astype(np.int16)
    put(store, "/scans/large.nii", nibabel.Nifti1Image(voxels.T, np.eye(4)).to_bytes())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    volume = osler.load("s3://scans/large.nii", max_bytes=6 << 20)["volume"]
    (folder,) = tmp_path.iterdir()
    (file,) = folder.iterdir()
    assert file.stat().st_size > 12 << 20
    assert file.stat().st_blocks * 512 < 2 << 20, "the rest is holes"
    part = volume.region(slice(20, 22), slice(None), slice(None))
    np.testing.assert_array_equal(part[0], voxels[20:22])
    assert file.stat().st_blocks * 512 < 4 << 20
    put(store, "/scans/large.nii", nibabel.Nifti1Image(voxels.T + 1, np.eye(4)).to_bytes())
    with pytest.raises(InputError, match="changed"):
        volume.region(slice(4, 5), slice(None), slice(None))


@pytest.mark.usefixtures("keys")
def test_of_the_large_files_of_a_folder_only_headers_travel(
    store: str, picture: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels = np.random.default_rng(3).integers(0, 4000, (24, 512, 512)).astype(np.int16)
    put(store, "/scans/study/p1/large.nii", nibabel.Nifti1Image(voxels.T, np.eye(4)).to_bytes())
    film = image(voxels.astype(np.uint16), UltrasoundMultiFrameImageStorage)
    put(store, "/scans/study/p2/film.dcm", as_bytes(film))
    put(store, "/scans/study/p3/a.png", picture)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    # 24 MiB lie there
    cases = osler.load("s3://scans/study/", max_bytes=8 << 20)
    assert isinstance(cases, Cases)
    assert sorted(name for case in cases for name in case.items) == ["photo", "volume", "volume"]
    held = sum(p.stat().st_blocks * 512 for p in tmp_path.rglob("*") if p.is_file())
    assert held < 5 << 20, "the rest is holes"
    for case in cases:
        for found in case.items.values():
            if isinstance(found, Image) and found.name != "photo":
                part = found.region(slice(20, 22), slice(None), slice(None))
                np.testing.assert_array_equal(part[0], voxels[20:22])


def test_an_endpoint_that_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match="cannot be had"):
        osler.load(
            "s3://scans/a.png",
            endpoint=f"http://127.0.0.1:{free_port()}",
            user="a",
            password="b",
        )
