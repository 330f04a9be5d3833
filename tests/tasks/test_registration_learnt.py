"""The learnt registration: its way to the network's grid and back, and what it is taught by."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from osler.errors import InputError
from osler.record import Case, Image, Mask, Source, Transform
from osler.tasks.registration_learnt import (
    LearntRegistration,
    RegistrationSettings,
    _local_correlation,
)
from osler.tasks.registration_warp import moved_points, warped

PERSON = Source("person", "cohort")


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> NDArray[np.bool_]:
    index = np.indices(shape, sparse=True)
    square: NDArray[np.float64] = sum((i - c) ** 2 for i, c in zip(index, centre, strict=True))
    return np.asarray(square <= radius**2)


def pair(*, places: bool = True) -> Case:
    """Two volumes of other sizes, steps and places, each with a ball about its middle."""
    case = Case("pair", "someone")
    for name, shape, step, origin in (
        ("fixed", (20, 24, 22), 1.0, (5.0, -40.0, 100.0)),
        ("moving", (14, 12, 13), 2.0, (300.0, 20.0, -60.0)),
    ):
        middle = tuple((n - 1) / 2 for n in shape)
        mask = ball(shape, middle, 8.0 / step)
        affine = np.diag([step, step, step, 1.0])
        affine[:3, 3] = origin
        values = ndimage.gaussian_filter(mask * 100.0, 1.0 / step)[None].astype(np.float32)
        case.items[name] = Image(
            name, values, spacing=(step,) * 3, affine=affine if places else None
        )
        case.add(Mask(id=name + "-ball", name=f"{name} ball", source=PERSON, item=name, mask=mask))
    return case


def task(**more: object) -> LearntRegistration:
    said = {"size": (16, 24, 24), "spacing": (1.0, 1.0, 1.0), "structures": ["ball"], **more}
    return LearntRegistration(RegistrationSettings.model_validate(said))


def outputs(field: NDArray[np.float32], sample_of: NDArray[np.float32]) -> dict[str, NDArray]:  # type: ignore[type-arg]
    return {"warped": sample_of, "displacement": field}


@pytest.mark.parametrize("places", [True, False])
def test_without_a_displacement_the_centres_lie_on_each_other(places: bool) -> None:
    case, one = pair(places=places), task()
    sample = one.encode(case, truth=True)
    assert list(sample.inputs) == ["moving", "fixed"]
    assert {a.shape for a in sample.inputs.values()} == {(1, 16, 24, 24)}
    still = outputs(np.zeros((3, 16, 24, 24), np.float32), sample.inputs["moving"])
    found = one.decode(still, sample, source=PERSON)[0]
    assert isinstance(found, Transform)
    fixed, moving = case.image("fixed"), case.image("moving")
    middle = (np.array(fixed.shape) - 1) / 2
    there = moved_points(middle[None], found, fixed=fixed, moving=moving)
    assert np.allclose(there, (np.array(moving.shape) - 1) / 2)
    row = one.judge(still, sample)
    assert row["dice-before/ball"] == row["dice-after/ball"] > 0.85
    assert row["folding"] == 0.0


def test_a_displacement_in_voxels_comes_home_as_millimetres() -> None:
    """Moved by two of the network's voxels of 1.5 mm: 3 mm in both native grids."""
    case, one = pair(), task(spacing=(1.5, 1.5, 1.5))
    sample = one.encode(case)
    field = np.zeros((3, 16, 24, 24), np.float32)
    field[1] = 2.0
    found = one.transform(outputs(field, sample.inputs["moving"]), sample, source=PERSON)
    assert found.displacement is not None
    assert np.allclose(found.displacement[1], 3.0)
    assert np.allclose(found.displacement[::2], 0)
    fixed, moving = case.image("fixed"), case.image("moving")
    middle = (np.array(fixed.shape) - 1) / 2
    there = moved_points(middle[None], found, fixed=fixed, moving=moving)[0]
    assert np.allclose(there, (np.array(moving.shape) - 1) / 2 + (0, 3.0 / 2.0, 0))
    # the image comes along: the ball's middle of mass moves the other way
    seen = warped(moving, found, onto=fixed).array[0]
    assert ndimage.center_of_mass(seen)[1] == pytest.approx(middle[1] - 3.0, abs=0.1)


def test_planes_are_registered_in_pixels() -> None:
    case = Case("pair", "someone")
    for name in ("fixed", "moving"):
        values = np.random.default_rng(0).random((1, 30, 26)).astype(np.float32)
        case.items[name] = Image(name, values)
    one = LearntRegistration(RegistrationSettings(size=(32, 32)))
    sample = one.encode(case)
    assert one.network()[0] == "voxelmorph-2d"
    found = one.transform(
        outputs(np.zeros((2, 32, 32), np.float32), sample.inputs["moving"]), sample, source=PERSON
    )
    assert np.allclose(found.matrix, np.eye(3))
    assert found.unit == "[pix_i]"
    row = one.judge(outputs(np.zeros((2, 32, 32), np.float32), sample.inputs["fixed"]), sample)
    assert row["correlation"] == pytest.approx(1.0)
    assert one.score([row]) == pytest.approx(1.0)


def test_what_is_missing_is_said() -> None:
    case = pair()
    del case.items["moving"]
    with pytest.raises(InputError, match="two"):
        task().encode(case)
    with pytest.raises(InputError, match="label:fixed tail"):
        task(structures=["tail"]).encode(pair(), truth=True)
    with pytest.raises(InputError, match="as many axes"):
        LearntRegistration(RegistrationSettings(size=(32, 32))).encode(pair())


def test_figures_are_means_over_pairs() -> None:
    one = task()
    rows = [
        {"dice-before/ball": b, "dice-after/ball": a, "correlation": 0.5, "folding": 0.0}
        for b, a in ((0.2, 0.6), (0.4, 0.8), (None, None))
    ]
    found = {f.name: f for f in one.figures(rows, ["a", "b", "c"], seed=0, replicates=50)}
    assert found["Dice after warp, ball"].interval.value == pytest.approx(0.7)
    assert found["Dice before, ball"].left_out == 1
    assert not found["folding"].greater_is_better
    assert one.score(rows) == pytest.approx(0.7)


def test_local_correlation_is_that_of_each_window() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 9, 8)) * 3
    fast = _local_correlation(torch.tensor(one)[None, None], torch.tensor(other)[None, None], 3)
    for h, w in ((0, 0), (4, 4), (8, 7), (2, 0)):
        cut = (slice(max(h - 1, 0), h + 2), slice(max(w - 1, 0), w + 2))
        slow = np.corrcoef(one[cut].ravel(), other[cut].ravel())[0, 1] ** 2
        assert float(fast[0, 0, h, w]) == pytest.approx(slow, abs=1e-3)


def test_the_loss_moves_a_ball_onto_another() -> None:
    """A network that is nothing but a displacement, so that only the loss is under test."""
    torch = pytest.importorskip("torch")
    from osler.models.voxelmorph import Registered, warp

    class Free(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.field = torch.nn.Parameter(torch.zeros(1, 2, 24, 24))

        def forward(self, moving: object, fixed: object) -> Registered:
            return Registered(warp(moving, self.field), self.field, self.field)

    fixed = ndimage.gaussian_filter(ball((24, 24), (12, 12), 5.0) * 4.0, 1.5)
    moving = ndimage.gaussian_filter(ball((24, 24), (12, 14), 5.0) * 4.0, 1.5)
    inputs = {
        name: torch.tensor(array, dtype=torch.float32)[None, None]
        for name, array in (("moving", moving), ("fixed", fixed))
    }
    said = RegistrationSettings(size=(24, 24), similarity="mse", smooth=0.05)
    one, net = LearntRegistration(said), Free()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.2)
    losses = []
    for step in range(60):
        optimiser.zero_grad()
        loss = one.loss(net, inputs, {}, step=step)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    # where the fixed ball's right edge is, the moving ball's lies two further right
    assert net.field[0, 1, 12, 17].item() == pytest.approx(2.0, abs=0.8)
