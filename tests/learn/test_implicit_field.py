"""Fields of coordinates: the projector against scikit-image, and what fields fit."""

import numpy as np
import pytest
import torch
from skimage.transform import iradon, radon

from osler.learn.implicit_field import (
    Field,
    FieldSettings,
    ask,
    circle,
    fit_samples,
    grid,
    projector,
    reconstruct,
)


def blobs(size):
    place = np.arange(size) - size // 2
    h, w = np.meshgrid(place, place, indexing="ij")
    out = np.exp(-((h - 3) ** 2 + (w + 4) ** 2) / 20) + 0.6 * (abs(h + 5) + abs(w - 3) < 5)
    return out * circle(size)


@pytest.mark.parametrize("size", [20, 21])
def test_projections_are_those_of_scikit_image(size):
    image, angles = blobs(size), [0.0, 17.0, 45.0, 90.0, 133.0]
    said = (projector(size, angles) @ image.reshape(-1)).reshape(5, size).T
    np.testing.assert_allclose(said, radon(image, angles, circle=True), atol=1e-10)


def test_a_grid_has_the_centres_of_its_cells():
    assert grid((2, 4)).tolist() == [
        [h, w] for h in (-0.5, 0.5) for w in (-0.75, -0.25, 0.25, 0.75)
    ]
    assert circle(5).sum() == 13


@pytest.mark.parametrize(
    "settings",
    [FieldSettings(scales=2.0, width=32, depth=2, features=32, rate=5e-3, steps=250),
     FieldSettings(kind="siren", scales=8.0, width=32, depth=2, rate=2e-3, steps=250)],
    ids=["fourier", "siren"],
)  # fmt: skip
def test_a_field_fits_a_curve_and_goes_between_its_points(settings):
    where = np.linspace(-1, 1, 41)[:, None]
    curve = np.sin(4 * where[:, 0]) + 0.3 * np.cos(7 * where[:, 0])
    field = fit_samples(where[::2], curve[::2], settings)
    assert np.abs(ask(field, where[1::2], at_once=7) - curve[1::2]).max() < 0.15
    again = fit_samples(where[::2], curve[::2], settings)
    assert np.array_equal(ask(field, where), ask(again, where))
    other = fit_samples(where[::2], curve[::2], settings, seed=2)
    assert not np.array_equal(ask(field, where), ask(other, where))


def test_a_time_comes_back_after_its_period():
    torch.manual_seed(0)
    field = Field(3, FieldSettings(period=0.5, width=16, features=16, scales=(1, 1, 0.5, 0.5)))
    here = torch.tensor([[0.1, -0.3, 0.2]])
    later = here + torch.tensor([[0, 0, 0.5]])
    assert torch.allclose(field(here), field(later), atol=1e-5)
    assert not torch.allclose(field(here), field(here + torch.tensor([[0, 0, 0.2]])), atol=1e-3)


def test_batches_reach_what_all_values_together_reach():
    where = grid((12, 12))
    values = np.cos(2 * where[:, 0]) * where[:, 1]
    said = FieldSettings(scales=1.0, width=32, depth=2, features=32, rate=5e-3, steps=200, batch=48)
    assert np.abs(ask(fit_samples(where, values, said), where) - values).mean() < 0.05


def test_few_views_are_better_seen_by_a_field_than_by_filtered_back_projection():
    size, angles = 24, [0.0, 30.0, 60.0, 90.0, 120.0, 150.0]
    image = blobs(size)
    measured = radon(image, angles, circle=True)
    settings = FieldSettings(scales=2.0, width=48, depth=2, features=64, rate=5e-3, steps=150)
    random = torch.get_rng_state()
    field = reconstruct(measured, angles, settings)
    assert torch.equal(random, torch.get_rng_state())
    away = np.square(field - image).mean()
    assert away < 0.85 * np.square(iradon(measured, angles, circle=True) - image).mean()
    assert (field[~circle(size)] == 0).all()
    np.testing.assert_allclose(field.sum(), image.sum(), rtol=0.05)  # what every view sums to
    flat = reconstruct(
        measured, angles, FieldSettings(**{**vars(settings), "smooth": 10.0, "steps": 60})
    )
    assert np.abs(np.diff(flat[8:16, 8:16])).mean() < np.abs(np.diff(field[8:16, 8:16])).mean()
    with pytest.raises(ValueError, match="6 projections and 5 angles"):
        reconstruct(measured, angles[:5], settings)


def test_the_gradient_of_projections_is_the_adjoint():
    from osler.learn.implicit_field import _as_tensor, _Project

    matrix = projector(8, [10.0, 70.0])
    values = torch.rand(64, requires_grad=True)
    weights = torch.rand(16)
    said = _Project.apply(values, _as_tensor(matrix), _as_tensor(matrix.T.tocsr()))
    (said * weights).sum().backward()
    want = matrix.toarray().T @ weights.numpy()
    np.testing.assert_allclose(values.grad.numpy(), want, rtol=1e-5)
