import math

import numpy as np
import pytest

from osler.errors import InputError
from osler.metrics import folding, jacobian_determinant, target_registration_error


def test_landmarks_one_by_one() -> None:
    generator = np.random.default_rng(0)
    for axes in (2, 3):
        one, other = generator.normal(size=(2, 7, axes))
        ours = target_registration_error(one, other)
        assert ours == pytest.approx([math.dist(a, b) for a, b in zip(one, other, strict=True)])
    assert target_registration_error(np.zeros((0, 3)), np.zeros((0, 3))).size == 0


@pytest.mark.parametrize("spacing", [(1.0, 2.0), (0.5, 1.5, 3.0)])
def test_an_affine_warp_grows_space_by_its_determinant(spacing: tuple[float, ...]) -> None:
    axes = len(spacing)
    matrix = np.random.default_rng(axes).normal(size=(axes, axes)) / 3 + np.eye(axes)
    places = np.stack(np.meshgrid(*(np.arange(5) * s for s in spacing), indexing="ij"))
    displacement = np.tensordot(matrix - np.eye(axes), places, axes=1)
    found = jacobian_determinant(displacement, spacing=spacing)
    np.testing.assert_allclose(found, np.linalg.det(matrix))


def test_simpleitk_agrees_inside() -> None:
    sitk = pytest.importorskip("SimpleITK")
    field = np.random.default_rng(1).normal(size=(3, 6, 7, 8))
    spacing = (2.0, 1.5, 0.7)
    image = sitk.GetImageFromArray(np.moveaxis(field[::-1], 0, -1).copy(), isVector=True)
    image.SetSpacing(spacing[::-1])
    theirs = sitk.GetArrayFromImage(
        sitk.DisplacementFieldJacobianDeterminant(image, useImageSpacing=True)
    )
    ours = jacobian_determinant(field, spacing=spacing)
    inside = (slice(1, -1),) * 3
    np.testing.assert_allclose(ours[inside], theirs[inside], rtol=1e-4, atol=1e-5)
    share = folding(field, spacing=spacing, within=np.pad(np.ones((4, 5, 6), bool), 1))
    assert share == pytest.approx((theirs[inside] <= 0).mean())
    assert share is not None
    assert 0 < share < 1


def test_folding_of_a_mirror_and_of_nothing() -> None:
    places = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0), indexing="ij"))
    mirror = np.stack([-2 * places[0], np.zeros((4, 4))])
    assert folding(mirror, spacing=(1, 1)) == 1
    assert folding(np.zeros((2, 4, 4)), spacing=(1, 1)) == 0
    assert folding(mirror, spacing=(1, 1), within=np.zeros((4, 4))) is None


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match="'truth' has shape"):
        target_registration_error([1.0], [1.0])
    with pytest.raises(InputError, match="'displacement' has shape"):
        jacobian_determinant(np.zeros((3, 4, 4)), spacing=(1, 1))
    with pytest.raises(InputError, match="'spacing'"):
        jacobian_determinant(np.zeros((2, 4, 4)), spacing=(1, 0))
