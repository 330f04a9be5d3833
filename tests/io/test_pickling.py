"""Cases whose pixels are still in their files, sent to another process."""

import multiprocessing
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import oct_files
import pytest
import tifffile
from dicom_stack import as_bytes, series, whole_study
from numpy.typing import NDArray
from ranged import Files
from volume_files import itk_image, sitk, volume
from web_server import Asked, serving

import osler
from osler.record import Case, Deferred, Image

SECRET = "s3cret-pass"


def pixels_of(sent: bytes) -> dict[str, NDArray[Any]]:
    """What another process makes of a pickled case."""
    case = pickle.loads(sent)  # noqa: S301 - made here
    return {name: item.array for name, item in case.items.items() if isinstance(item, Image)}


def part_of(sent: bytes) -> NDArray[Any]:
    """A plane of the first image of a pickled case."""
    case = pickle.loads(sent)  # noqa: S301 - made here
    image = next(iter(case.items.values()))
    rest = (slice(None),) * (len(image.shape) - 1)
    found: NDArray[Any] = image.region(slice(1, 2), *rest)
    assert not image.loaded
    return found


@pytest.fixture(scope="module")
def elsewhere() -> ProcessPoolExecutor:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def nifti(folder: Path) -> Path:
    image = nibabel.Nifti1Image(volume(), np.diag([1.5, 2, 3, 1]))
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, folder / "a.nii")
    return folder / "a.nii"


def itk(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        sitk.WriteImage(itk_image(volume()), str(folder / name))
        return folder / name

    return make


def tiff(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", volume(np.uint16), photometric="minisblack")
    return folder / "a.tif"


def written(name: str, data: Callable[[], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data())
        return folder / name

    return make


def heyex_xml(folder: Path) -> Path:
    return oct_files.heyex_xml(folder, (oct_files.cube() * 200).astype(np.uint8))


def ct(folder: Path) -> Path:
    for number, one in enumerate(series()):
        (folder / f"{number}.dcm").write_bytes(as_bytes(one))
    return folder


def topcon_jpeg() -> bytes:
    data = (oct_files.cube() * 100).astype(np.uint8)
    return oct_files.topcon(
        oct_files.jpeg_chunk(data),
        oct_files.fundus_chunk(np.full((6, 8, 3), (200, 90, 40), np.uint8)),
    )


FILES: dict[str, Callable[[Path], Path]] = {
    "scaled NIfTI": nifti,
    "NRRD": itk("a.nrrd"),
    "MetaImage": itk("a.mha"),
    "TIFF stack": tiff,
    "Heidelberg .vol": written("a.vol", oct_files.vol),
    "Heidelberg XML": heyex_xml,
    "Topcon": written("a.fda", topcon_jpeg),
    "DICOM series": ct,
}


@pytest.mark.parametrize("kind", FILES)
def test_another_process_loads_the_pixels(
    tmp_path: Path, elsewhere: ProcessPoolExecutor, kind: str
) -> None:
    folder, away = tmp_path / "here", tmp_path / "away"
    folder.mkdir()
    path = FILES[kind](folder)
    sent = pickle.dumps(osler.load(path))
    folder.rename(away)
    with pytest.raises(osler.errors.InputError):  # so the pixels did not travel with the case
        elsewhere.submit(pixels_of, sent).result()
    away.rename(folder)
    there = elsewhere.submit(pixels_of, sent).result()
    case = osler.load(path)
    assert isinstance(case, Case)
    assert set(there) == set(case.items)
    for name, array in there.items():
        np.testing.assert_array_equal(array, case.image(name).array)


@pytest.mark.parametrize("kind", ["scaled NIfTI", "TIFF stack", "Heidelberg .vol", "DICOM series"])
def test_another_process_reads_a_part(
    tmp_path: Path, elsewhere: ProcessPoolExecutor, kind: str
) -> None:
    case = osler.load(FILES[kind](tmp_path))
    assert isinstance(case, Case)
    part = elsewhere.submit(part_of, pickle.dumps(case)).result()
    np.testing.assert_array_equal(part, next(iter(case.items.values())).array[:, 1:2])


def test_a_large_page_is_read_by_another_process(
    tmp_path: Path, elsewhere: ProcessPoolExecutor
) -> None:
    rows, columns = np.mgrid[0:60, 0:50]
    pixels = np.stack([rows, columns, rows * columns % 251], -1).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", tile=(16, 16))
    case = osler.load(tmp_path / "a.tif", max_pixels=1000)
    part = elsewhere.submit(part_of, pickle.dumps(case)).result()
    np.testing.assert_array_equal(part, np.moveaxis(pixels[1:2], -1, 0))


def test_pixels_go_along_where_nobody_could_call_their_loader() -> None:
    array = np.arange(12).reshape(1, 3, 4)
    image = Image("ct", Deferred(array.shape, array.dtype, lambda: array))
    again = pickle.loads(pickle.dumps(image))  # noqa: S301 - made here
    assert not image.loaded
    np.testing.assert_array_equal(again.region(slice(1, 2), slice(0, 2)), array[:, 1:2, :2])
    np.testing.assert_array_equal(again.array, array)


def test_a_file_behind_a_url_is_fetched_again(
    tmp_path: Path, elsewhere: ProcessPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = nifti(tmp_path).read_bytes()
    files = Files({"/a.nii": data})
    with serving(files) as server:
        case = osler.load(f"{server.url}/a.nii", token=SECRET)
        sent = pickle.dumps(case)
        assert SECRET.encode() not in sent
        del case
        there = elsewhere.submit(pixels_of, sent).result()
        np.testing.assert_array_equal(
            there["volume"], osler.load(tmp_path / "a.nii")["volume"].array
        )
        assert "Authorization" not in server.requests[-1][2]
        files.files["/a.nii"] = data[:-2] + b"\7\7"
        with pytest.raises(osler.errors.UnreadableError, match="has changed"):
            elsewhere.submit(pixels_of, sent).result()


def test_a_forked_process_makes_a_connection_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Asked, "protocol_version", "HTTP/1.1")  # connections stay open
    monkeypatch.setattr(Asked, "timeout", 2)  # but not for ever
    voxels = np.random.default_rng(3).integers(0, 4000, (24, 512, 512)).astype(np.int16)
    data = nibabel.Nifti1Image(voxels.T, np.eye(4)).to_bytes()
    ports: list[int] = []
    files = Files({"/a.nii": data})

    def answer(asked: Asked) -> None:
        ports.append(asked.client_address[1])
        files(asked)

    with serving(answer) as server:
        case = osler.load(f"{server.url}/a.nii")
        assert isinstance(case, Case)
        image = case.image("volume")
        ports.clear()
        image.region(slice(10, 11), slice(None), slice(None))
        assert len(set(ports)) == 1
        child = os.fork()
        if child == 0:  # no test goes on here
            part = image.region(slice(20, 21), slice(None), slice(None))
            os._exit(0 if np.array_equal(part[0], voxels[20:21]) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(set(ports)) == 2
        part = image.region(slice(16, 17), slice(None), slice(None))
        np.testing.assert_array_equal(part[0], voxels[16:17])
        assert len(set(ports)) == 2


def test_the_query_of_a_url_may_be_a_secret(tmp_path: Path, elsewhere: ProcessPoolExecutor) -> None:
    data = nifti(tmp_path).read_bytes()
    with serving(Files({"/a.nii": data})) as server:
        sent = pickle.dumps(osler.load(f"{server.url}/a.nii?signature={SECRET}"))
    assert SECRET.encode() not in sent
    there = elsewhere.submit(pixels_of, sent).result()  # nobody is asked: the pixels went along
    np.testing.assert_array_equal(there["volume"], osler.load(tmp_path / "a.nii")["volume"].array)


def test_slices_of_a_service_are_fetched_by_the_other_process(
    elsewhere: ProcessPoolExecutor,
) -> None:
    slices = series()
    with serving(whole_study(slices)) as server:
        url = f"{server.url}/dicom-web/studies/{slices[0].StudyInstanceUID}"
        case = osler.load(url, token=SECRET)
        assert isinstance(case, Case)
        sent = pickle.dumps(case)
        assert SECRET.encode() not in sent
        before = len(server.requests)
        part = elsewhere.submit(part_of, sent).result()
        assert len(server.requests) == before + 1  # one slice, and no headers
        there = elsewhere.submit(pixels_of, sent).result()
        np.testing.assert_array_equal(there["ct"], case["ct"].array)
        np.testing.assert_array_equal(part, case["ct"].array[:, 1:2])
