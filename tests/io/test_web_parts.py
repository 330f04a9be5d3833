"""Large files behind a URL: only what is asked for travels."""

import gzip
from contextlib import suppress
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
from dicom_stack import as_bytes, image
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import UltrasoundMultiFrameImageStorage
from ranged import Files
from volume_files import sitk
from web_server import Asked, serving

import osler
from osler.errors import InputError, TooLargeError, UnreadableError
from osler.io.input_file import opened as input_file
from osler.io.partial_file import BLOCK, PartialFile
from osler.record import Image, Table

SHAPE = (24, 512, 512)
"""``(D, H, W)``: 12 MiB in 16 bits, of which no block is like another."""


@pytest.fixture(scope="module")
def voxels() -> NDArray[np.int16]:
    return np.random.default_rng(3).integers(0, 4000, SHAPE).astype(np.int16)


@pytest.fixture(scope="module")
def files(voxels: NDArray[np.int16], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("large")
    nifti = nibabel.Nifti1Image(voxels.T, np.diag([0.5, 0.5, 2, 1]))
    nifti.header.set_xyzt_units("mm")
    plain = nifti.to_bytes()
    whole = sitk.GetImageFromArray(voxels)
    for name in ("a.mha", "a.nrrd", "a.mhd"):
        sitk.WriteImage(whole, str(folder / name), False)
    tifffile.imwrite(folder / "a.tif", voxels, photometric="minisblack")
    tiles = np.repeat(voxels[0, :, :, None].astype(np.uint8), 3, axis=-1)
    tifffile.imwrite(
        folder / "tiles.tif", np.tile(tiles, (4, 4, 1)), tile=(256, 256), photometric="rgb"
    )
    cine = image(voxels.astype(np.uint16), UltrasoundMultiFrameImageStorage)
    made = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}
    packed = gzip.compress(plain, 1)
    return made | {"/a.nii": plain, "/a.nii.gz": packed, "/a.dcm": as_bytes(cine)}


def opened(url: str, **options: Any) -> Image:
    found = osler.load(url, **options)
    return next(item for item in found.items.values() if isinstance(item, Image))


@pytest.mark.parametrize("name", ["a.nii", "a.mha", "a.nrrd", "a.mhd", "a.tif", "a.dcm"])
def test_of_a_volume_only_the_slices_travel(
    files: dict[str, bytes], voxels: NDArray[np.int16], name: str
) -> None:
    answer = Files(files)
    with serving(answer) as server:
        volume = opened(f"{server.url}/{name}")
        assert not volume.loaded
        assert volume.shape == SHAPE
        assert answer.sent < 3 << 20, "the header, and a little more"
        before = answer.sent
        part = volume.region(slice(20, 22), slice(None), slice(None))
        assert 0 < answer.sent - before < 3 << 20
        np.testing.assert_array_equal(part[0], voxels[20:22])
        np.testing.assert_array_equal(volume.array[0], voxels)
        assert answer.sent < 13 << 20, "nothing travels twice"


def test_of_a_packed_volume_the_header_travels_alone(
    files: dict[str, bytes], voxels: NDArray[np.int16]
) -> None:
    answer = Files(files)
    with serving(answer) as server:
        volume = opened(f"{server.url}/a.nii.gz")
        assert volume.spacing == (2.0, 0.5, 0.5)
        assert answer.sent < 3 << 20
        np.testing.assert_array_equal(volume.array[0], voxels)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
@pytest.mark.parametrize("ranged", [True, False])
def test_a_packed_file_that_its_server_calls_an_encoding(
    files: dict[str, bytes], voxels: NDArray[np.int16], encoding: str, ranged: bool
) -> None:
    answer = Files(files)

    def reply(asked: Asked) -> None:
        given = asked.reply
        asked.reply = lambda body, kind, status=200, **more: given(  # type: ignore[method-assign]
            body, kind, status, **more, Content_Encoding=encoding
        )
        if not ranged:
            del asked.headers["Range"]
        answer(asked)

    with serving(reply) as server:
        volume = opened(f"{server.url}/a.nii.gz")
        np.testing.assert_array_equal(volume.array[0], voxels)


def test_a_part_that_breaks_off_is_said(files: dict[str, bytes]) -> None:
    def answer(asked: Asked) -> None:
        asked.send_response(206)
        asked.send_header("Content-Range", "bytes 0-1048575/9000000")
        asked.send_header("Content-Length", "1048576")
        asked.end_headers()
        asked.wfile.write(files["/a.nii"][:5000])
        asked.close_connection = True

    with serving(answer) as server, pytest.raises(InputError, match="breaks off"):
        osler.load(f"{server.url}/a.nii", timeout=5)


def test_a_window_of_a_large_picture_travels_alone(
    files: dict[str, bytes], voxels: NDArray[np.int16]
) -> None:
    answer = Files(files)
    with serving(answer) as server:
        photo = opened(f"{server.url}/tiles.tif", max_pixels=1_000_000)
        assert photo.shape == (2048, 2048)
        part = photo.region(slice(1500, 1600), slice(700, 750))
        assert answer.sent < len(files["/tiles.tif"]) // 3
    expected = np.tile(voxels[0].astype(np.uint8), (4, 4))[1500:1600, 700:750]
    np.testing.assert_array_equal(part, np.stack([expected] * 3))


def test_more_than_the_limit_is_opened_by_parts_and_never_fetched_whole(
    files: dict[str, bytes],
) -> None:
    with serving(Files(files)) as server:
        volume = opened(f"{server.url}/a.nii", max_bytes=4 << 20)
        volume.region(slice(5, 6), slice(None), slice(None))
        with pytest.raises(TooLargeError, match="max_bytes"):
            _ = volume.array


def test_a_file_that_changes_is_not_mixed(files: dict[str, bytes]) -> None:
    versions = iter(['"1"'] * 3 + ['"2"'] * 100)
    with serving(Files(files, version=lambda: next(versions))) as server:
        volume = opened(f"{server.url}/a.nii")
        with pytest.raises(UnreadableError, match="changed"):
            _ = volume.array


def test_a_server_without_parts_gives_all(
    files: dict[str, bytes], voxels: NDArray[np.int16]
) -> None:
    with serving(lambda asked: asked.reply(files["/a.nii"], "application/x")) as server:
        volume = opened(f"{server.url}/a.nii")
    np.testing.assert_array_equal(volume.array[0], voxels)
    assert volume.origin is not None
    assert len(volume.origin.sha256) == 64


def part(range: str, body: bytes) -> Any:
    return lambda asked: asked.reply(body, "application/x", 206, Content_Range=range)


@pytest.mark.parametrize(
    ("range", "size"),
    [
        ("bytes 0-1048575/999999999999999999", 1 << 20),
        ("bytes 5-1048580/9000000", 1 << 20),
        ("bytes 0-1048575/9000000", 100),
        ("bytes 0-10/9000000", 11),
        ("bytes */9000000", 5),
        ("", 5),
        ("bytes 0-1048575/*", 1 << 20),
        ("lines 0-1048575/9000000", 1 << 20),
    ],
)
def test_parts_that_nobody_asked_for_are_refused(
    files: dict[str, bytes], range: str, size: int
) -> None:
    with (
        serving(part(range, files["/a.nii"][:size])) as server,
        pytest.raises(InputError),
    ):
        osler.load(f"{server.url}/a.nii", timeout=5)


def test_an_empty_file_is_said() -> None:
    with (
        serving(Files({"/a.nii": b""})) as server,
        pytest.raises(UnreadableError, match="empty"),
    ):
        osler.load(f"{server.url}/a.nii")


def test_holes_are_never_read_as_zeros(files: dict[str, bytes]) -> None:
    """A server that stops giving parts: an error, and no picture of black."""

    def answer(asked: Asked) -> None:
        if len(asked.server.requests) > 1:
            asked.reply(b"", "text/plain", 500)
        else:
            Files(files)(asked)

    with serving(answer) as server:
        volume = opened(f"{server.url}/a.nii")
        with pytest.raises(InputError, match="500"):
            _ = volume.array
        with pytest.raises(InputError, match="500"):
            volume.region(slice(20, 21), slice(None), slice(None))


def test_parts_are_had_from_the_named_host_alone(files: dict[str, bytes]) -> None:
    with serving(Files(files)) as other:
        target = f"{other.url}/a.nii"

        def answer(asked: Asked) -> None:
            if len(asked.server.requests) > 1:
                asked.reply(b"", "text/plain", 302, Location=target)
            else:
                Files(files)(asked)

        with serving(answer) as server:
            volume = opened(f"{server.url}/a.nii", token="s3cret")
            with pytest.raises(InputError, match="was not named"):
                _ = volume.array
        assert other.requests == []


@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_asked_for_it_is_what_the_file_has(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any reads in any order, with a server that fails now and then."""
    truth = np.random.default_rng(7).integers(0, 256, 5 * BLOCK + 77, np.uint8).tobytes()
    asked: list[tuple[int, int]] = []

    def fetch(start: int, stop: int) -> bytes:
        if data.draw(st.integers(0, 4)) == 0:
            raise InputError("not now")
        asked.append((start, stop))
        return truth[start:stop]

    path = tmp_path_factory.getbasetemp() / "partial"
    begin = truth[: data.draw(st.sampled_from([0, 100, BLOCK, BLOCK + 5]))]
    partial = PartialFile(path, len(truth), fetch, begin)
    for _ in range(6):
        start = data.draw(st.integers(0, len(truth)))
        stop = data.draw(st.integers(start, min(len(truth), start + 2 * BLOCK)))
        with suppress(InputError), input_file(path) as file:
            file.stream.seek(start)
            assert file.stream.read(stop - start) == truth[start:stop]
    ends = sorted(asked)
    assert all(a[1] <= b[0] for a, b in pairwise(ends)), "nothing is fetched twice"
    with suppress(InputError):
        partial.need()
        assert partial.complete
        assert path.read_bytes() == truth


def annotated(path: Path) -> bytes:
    """A small matrix beside 12 MiB of layers, as AnnData lays it out."""
    text = h5py.string_dtype()
    with h5py.File(path, "w") as root:
        for axis, count in (("obs", 4), ("var", 3)):
            frame = root.create_group(axis)
            frame.attrs["_index"] = "_index"
            frame.attrs["column-order"] = np.array([], dtype=text)
            names = [f"{axis}{n}" for n in range(count)]
            frame.create_dataset("_index", data=names, dtype=text)
        chance = np.random.default_rng(4)
        root.create_dataset("layers/counts", data=chance.normal(size=(3 << 20,)).astype("f4"))
        root.create_dataset("X", data=np.arange(12, dtype=np.float32).reshape(4, 3))
    return path.read_bytes()


def test_layers_that_are_not_read_do_not_travel(tmp_path: Path) -> None:
    answer = Files({"/a.h5ad": annotated(tmp_path / "a.h5ad")})
    with serving(answer) as server:
        table = osler.load(f"{server.url}/a.h5ad")["expression"]
        assert isinstance(table, Table)
        np.testing.assert_array_equal(table.matrix, np.arange(12).reshape(4, 3))
        assert table.flags == ("layers-left-out",)
        assert answer.sent < 4 << 20
    with serving(Files(answer.files)) as server:
        answer.files["/a.h5ad"] = answer.files["/a.h5ad"][:-1000]
        with pytest.raises(InputError, match=r"a\.h5ad"):
            osler.load(f"{server.url}/a.h5ad")


def test_a_plain_picture_is_fetched_whole(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    noise = np.random.default_rng(1).integers(0, 255, (900, 900, 3)).astype(np.uint8)
    stream = BytesIO()
    Pillow.fromarray(noise).save(stream, "tiff", compression="tiff_lzw")
    data = stream.getvalue()
    assert len(data) > 2 << 20
    with serving(Files({"/a.tif": data})) as server:
        photo = opened(f"{server.url}/a.tif")
        np.testing.assert_array_equal(photo.array, noise.transpose(2, 0, 1))
