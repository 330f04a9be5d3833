"""What is written as a volume and read again is the same, for every number of axes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from volume_files import oracle

from osler.io import load
from osler.io.converting import save
from osler.io.volume_note import Note, read_note
from osler.record import Image

EXTENSIONS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def turned(seed: int) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
    """An affine of any orientation, left- or right-handed, and its spacing."""
    chance = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(chance.normal(size=(3, 3)))
    steps = chance.uniform(0.2, 5.0, 3)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * steps, chance.uniform(-300, 300, 3)
    return affine, (float(steps[0]), float(steps[1]), float(steps[2]))


@st.composite
def images(draw: st.DrawFn) -> Image:
    """An image of two or three axes, with channels, points in time, a place, or none of them."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=2, max_size=3)))
    count = draw(st.sampled_from([1, 1, 2, 3, 4, 5]))
    dtype = draw(st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]))
    timed = count > 1 and draw(st.booleans())
    named = count > 1 and not timed and draw(st.booleans())
    affine, spacing = turned(draw(st.integers(0, 10_000)))
    place = draw(st.sampled_from(["affine", "spacing", "nothing"]))
    chance = np.random.default_rng(draw(st.integers(0, 100)))
    return Image(
        name="volume",
        array=chance.integers(0, 120, (count, *shape)).astype(dtype),
        affine=affine if place == "affine" else None,
        spacing=None if place == "nothing" else spacing[3 - len(shape) :],
        times=tuple(np.arange(count) * 1.5) if timed else (),
        channels=tuple(f"b{i} = 1000; ü" for i in range(count)) if named else (),
    )


def assert_same(a: Image, b: Image, case: Any) -> None:
    np.testing.assert_array_equal(b.array, a.array, err_msg=str(case))
    assert b.dtype == a.dtype
    assert b.channels == a.channels
    np.testing.assert_allclose(b.times, a.times, atol=1e-6)
    assert (b.spacing is None) == (a.spacing is None)
    if a.spacing is not None and b.spacing is not None:
        np.testing.assert_allclose(b.spacing, a.spacing, rtol=1e-6)
    assert (b.affine is None) == (a.affine is None)
    if a.affine is not None:
        shape = a.shape if len(a.shape) == 3 else (1, *a.shape)
        # NIfTI keeps single precision: a hundredth of a micrometre in so large a matrix
        np.testing.assert_allclose(b.affine, a.affine, atol=2e-5, err_msg=str((case, shape)))


@settings(max_examples=120)
@given(image=images(), extension=st.sampled_from(EXTENSIONS))
def test_read_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, image: Image, extension: str
) -> None:
    if extension in (".mha", ".mhd") and image.times:
        return  # it has no unit of time, and is refused
    folder = tmp_path_factory.getbasetemp()
    there = load(save(image, folder / f"a{extension}")).image("volume")
    assert_same(image, there, extension)
    again = load(save(there, folder / f"b{extension}")).image("volume")
    assert_same(there, again, extension)
    for name in ("affine", "spacing"):
        first, second = getattr(there, name), getattr(again, name)
        assert (first is None) == (second is None)
        if first is not None:  # nothing drifts but the last bit of steps and directions
            np.testing.assert_allclose(second, first, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("extension", [".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("count", [1, 3])
def test_itk_finds_a_plane_where_it_lies(tmp_path: Path, extension: str, count: int) -> None:
    affine, spacing = turned(5)
    if np.linalg.det(affine[:3, [2, 1, 0]]) < 0:
        affine[:3, 0] *= -1  # ITK wants right hands
    pixels = np.arange(count * 20, dtype=np.uint8).reshape(count, 4, 5)
    plane = Image("volume", pixels, affine=affine, spacing=spacing[1:])
    path = save(plane, tmp_path / f"a{extension}")
    array, matrix = oracle(path)
    if extension == ".nii":  # for ITK an image of two axes, whose third it does not tell
        np.testing.assert_array_equal(array.reshape(4, 5, -1), np.moveaxis(pixels, 0, -1))
        return
    np.testing.assert_array_equal(array.reshape(4, 5, -1), np.moveaxis(pixels, 0, -1))
    np.testing.assert_allclose(matrix, affine, atol=1e-6)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_plane_that_becomes_a_volume_is_a_plane_no_more(tmp_path: Path, extension: str) -> None:
    affine, spacing = turned(2)
    plane = Image("volume", np.ones((2, 4, 5), np.int16), affine=affine, spacing=spacing[1:])
    plane.channels = ("a", "b")
    there = load(save(plane, tmp_path / f"a{extension}")).image("volume")
    volume = Image(
        "volume", np.ones((1, 3, 4, 5), np.int16), affine=affine, spacing=spacing,
        header=there.header,
    )  # fmt: skip
    again = load(save(volume, tmp_path / f"b{extension}")).image("volume")
    assert_same(volume, again, extension)


@pytest.mark.parametrize(
    "text",
    [None, "", "nonsense", "[1]", '{"plane": 1}', '{"channels": [1]}', "[" * 60_000, "9" * 70_000]
)  # fmt: skip
def test_a_remark_that_is_not_ours_says_nothing(text: str | None) -> None:
    assert read_note(text) == Note()
