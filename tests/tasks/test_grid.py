"""The grid of a volume and the way between grids, with SimpleITK as the oracle in millimetres."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import GeometryError, InputError
from osler.record import Image
from osler.tasks.grid import Grid, grid_of, resampled, reshaped
from osler.tasks.native_grid import resample
from osler.tasks.sampling import Gathered, Separable, between, same_extent


def turned(angle: float, spacing: tuple[float, float, float]) -> np.ndarray:
    """An oblique affine: axes turned about two directions of the patient, then scaled."""
    c, s = np.cos(angle), np.sin(angle)
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.eye(3)[::-1] @ np.diag(spacing)
    affine[:3, 3] = (-31.0, 12.5, 80.0)
    return affine


def as_sitk(grid: Grid, array: np.ndarray | None = None) -> Any:
    """A SimpleITK image of this grid; its indices run (w, h, d)."""
    image = sitk.GetImageFromArray(np.zeros(grid.shape, np.float32) if array is None else array)
    turn = grid.affine[:3, :3] / np.array(grid.spacing)
    image.SetSpacing(grid.spacing[::-1])
    image.SetDirection(turn[:, ::-1].ravel().tolist())
    image.SetOrigin(grid.affine[:3, 3].tolist())
    return image


def centres_within(target: Grid, source: Grid) -> np.ndarray:
    """Where a centre of the target lies between centres of the source: no edge, no outside."""
    index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), -1).reshape(-1, 3)
    place = source.to_index(target.to_millimetres(index.astype(float)))
    inside = ((place >= 0) & (place <= np.array(source.shape) - 1)).all(axis=1)
    return np.asarray(inside.reshape(target.shape))


sides = st.tuples(*[st.integers(2, 9)] * 3)
spacings = st.tuples(*[st.floats(0.4, 4.0)] * 3)
angles = st.integers(-100, 100).map(lambda n: n / 100)  # denormal ones upset SimpleITK itself


@settings(max_examples=40, deadline=None)
@given(shape=sides, now=spacings, wanted=spacings, angle=angles)
def test_there_and_back_agrees_with_simpleitk_in_millimetres(
    shape: tuple[int, int, int],
    now: tuple[float, float, float],
    wanted: tuple[float, float, float],
    angle: float,
) -> None:
    native = Grid(shape, turned(angle, now))
    other = resampled(native, wanted)
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    oracle = sitk.GetArrayFromImage(
        sitk.Resample(as_sitk(native, values), as_sitk(other), sitk.Transform(), sitk.sitkLinear)
    )
    ours = resample(values[None], between(native, other))[0]
    seen = centres_within(other, native)
    np.testing.assert_allclose(ours[seen], oracle[seen], atol=1e-4)
    back = sitk.GetArrayFromImage(
        sitk.Resample(as_sitk(other, ours), as_sitk(native), sitk.Transform(), sitk.sitkLinear)
    )
    home = resample(ours[None], between(other, native))[0]
    assert home.shape == shape
    seen = centres_within(native, other)
    np.testing.assert_allclose(home[seen], back[seen], atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(shape=sides, now=spacings, wanted=spacings, angle=angles)
def test_a_field_that_is_linear_in_millimetres_stays_what_it_is(
    shape: tuple[int, int, int],
    now: tuple[float, float, float],
    wanted: tuple[float, float, float],
    angle: float,
) -> None:
    native = Grid(shape, turned(angle, now))
    other = resampled(native, wanted)

    def field(grid: Grid) -> np.ndarray:
        index = np.indices(grid.shape).reshape(3, -1).T.astype(float)
        return (grid.to_millimetres(index) @ [0.3, -0.2, 0.5]).reshape(grid.shape)

    there = resample(field(native)[None], between(native, other))[0]
    seen = centres_within(other, native)
    np.testing.assert_allclose(there[seen], field(other)[seen], atol=2e-3)


@given(shape=sides, now=spacings, wanted=spacings)
def test_the_outer_faces_stay(
    shape: tuple[int, int, int],
    now: tuple[float, float, float],
    wanted: tuple[float, float, float],
) -> None:
    native = Grid(shape, turned(0.4, now))
    other = resampled(native, wanted)
    for share in (0.0, 1.0):
        corner = [(share * np.array(grid.shape, float) - 0.5)[None] for grid in (native, other)]
        np.testing.assert_allclose(
            native.to_millimetres(corner[0]), other.to_millimetres(corner[1]), atol=1e-9
        )
    assert all(
        got == pytest.approx(n * mm / count)
        for got, n, mm, count in zip(other.spacing, shape, now, other.shape, strict=True)
    )


def test_exchanged_and_turned_axes_are_still_products() -> None:
    source = Grid((6, 7, 8), turned(0.3, (2.0, 1.0, 1.5)))
    change = np.zeros((4, 4))
    change[2, 0], change[0, 1], change[1, 2], change[3, 3] = -1, 1, -1, 1
    change[:3, 3] = (0, 6, 7)
    target = reshaped(Grid((8, 6, 7), source.affine @ change), (5, 9, 7))
    way = between(source, target)
    assert isinstance(way, Separable)
    assert way.source == source.shape
    assert way.target == target.shape
    values = np.random.default_rng(1).normal(size=source.shape).astype(np.float32)
    turned_first = values.transpose(2, 0, 1)[::-1, :, ::-1]
    expected = resample(turned_first[None], same_extent((8, 6, 7), (5, 9, 7)))
    np.testing.assert_allclose(resample(values[None], way), expected, atol=1e-5)
    general = Gathered(np.linalg.solve(source.affine, target.affine), source.shape, target.shape)
    np.testing.assert_allclose(resample(values[None], general), expected, atol=1e-5)


def test_the_grid_of_an_image() -> None:
    pixels = np.zeros((1, 4, 5, 6), np.int16)
    affine = turned(0.2, (3.0, 1.0, 1.0))
    assert grid_of(Image("ct", pixels, affine=affine)).spacing == pytest.approx((3, 1, 1))
    assert grid_of(Image("ct", pixels, spacing=(3.0, 1.0, 2.0))).spacing == (3, 1, 2)
    with pytest.raises(GeometryError, match="states no spacing"):
        grid_of(Image("ct", pixels))
    with pytest.raises(GeometryError, match=r"needs \(D, H, W\)"):
        grid_of(Image("photo", pixels[:, 0], spacing=(1.0, 1.0)))


def test_what_no_grid_can_be_is_refused() -> None:
    with pytest.raises(GeometryError, match="invertible"):
        Grid((2, 2, 2), np.zeros((4, 4)))
    with pytest.raises(InputError, match="at least 1"):
        Grid((2, 0, 2), np.eye(4))
    with pytest.raises(InputError, match="positive"):
        resampled(Grid((2, 2, 2), np.eye(4)), (1.0, 0.0, 1.0))
    with pytest.raises(InputError, match="at least 1"):
        same_extent((2, 2, 2), (2, 2, 0))
