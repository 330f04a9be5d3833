"""Photographs of the retina under known warps: what is found is compared with what was done."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from osler.errors import InputError
from osler.io import load
from osler.metrics.registration import target_registration_error
from osler.record import Image
from osler.tasks.field import find_field
from osler.tasks.fundus_marks import Marks, marks_of
from osler.tasks.fundus_registration import Surface, _fitted, register_fundus
from osler.tasks.registration_warp import folded_share, moved_points, warped

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Way = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def photo(name: str, step: int = 2) -> Image:
    """An example at a half of its size, to be quick."""
    found = load(EXAMPLES / name).image("photo")
    array = np.stack([ndimage.zoom(c, 1 / step, order=1) for c in found.array])
    return replace(found, array=array)


def another_day(image: Image) -> tuple[Image, Way]:
    """The photograph turned, moved, curved, of other light; and where each of its pixels was."""
    field = find_field(image.array)
    centre, radius = np.array(field.centre), field.radius
    turn = np.radians(9.0)
    linear = 1.05 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    curve = np.array([[0.02, -0.015, 0.01], [-0.01, 0.02, 0.015]])

    def way(places: NDArray[np.float64]) -> NDArray[np.float64]:
        x = (places - centre) / radius
        bent = np.stack([x[:, 0] ** 2, x[:, 0] * x[:, 1], x[:, 1] ** 2], axis=1) @ curve.T
        return centre + radius * (x @ linear.T + bent + (0.12, -0.2))

    index = np.indices(image.shape).reshape(2, -1).T.astype(float)
    at = way(index).T
    seen = np.stack([ndimage.map_coordinates(c.astype(float), at, order=1) for c in image.array])
    light = np.linspace(0.7, 1.1, image.shape[1])
    seen = (seen.reshape(image.array.shape) / 255) ** 1.15 * 255 * light
    round_ = ((index - centre) ** 2).sum(axis=1).reshape(image.shape) < radius**2
    noise = np.random.default_rng(0).normal(0, 3, seen.shape)
    pixels = np.where(round_, np.clip(seen + noise, 0, 255), 0).astype(np.uint8)
    return Image("later", pixels, modality="OP"), way


@pytest.fixture(scope="module")
def eyes() -> tuple[Image, Image]:
    names = sorted(p.name for p in EXAMPLES.glob("*.jpg"))
    return photo(names[0]), photo(names[1])


@pytest.fixture(scope="module")
def marks(eyes: tuple[Image, Image]) -> tuple[Marks, Marks]:
    return marks_of(eyes[0]), marks_of(eyes[1])


def test_another_day_of_one_eye_is_found_to_a_pixel(
    eyes: tuple[Image, Image], marks: tuple[Marks, Marks]
) -> None:
    eye = eyes[0]
    later, way = another_day(eye)
    result = register_fundus(later, eye, marks=(marks_of(later), marks[0]))
    found = result.transform
    assert found is not None, result.reason
    places = np.random.default_rng(1).uniform(0, eye.shape, (2000, 2))
    field = find_field(eye.array)
    inside = np.linalg.norm(way(places) - field.centre, axis=1) < 0.9 * field.radius
    inside &= np.linalg.norm(places - field.centre, axis=1) < 0.9 * field.radius
    wrong = target_registration_error(
        way(places[inside]), moved_points(places[inside], found, fixed=later, moving=eye)
    )
    assert inside.sum() > 300
    assert wrong.mean() < 0.7
    assert wrong.max() < 2.5
    assert result.figures["vessels-on-vessels"] > 0.5 > result.figures["vessels-by-chance"]
    assert folded_share(found, fixed=later, moving=eye) == 0.0
    # the photograph seen from the later one's grid looks like the later one
    seen = warped(eye, found, onto=later).array[1].astype(float)
    both = (seen > 20) & (later.array[1] > 20)
    assert np.corrcoef(seen[both], later.array[1][both])[0, 1] > 0.8


def test_the_photograph_itself_stays(eyes: tuple[Image, Image], marks: tuple[Marks, Marks]) -> None:
    found = register_fundus(eyes[0], eyes[0], marks=(marks[0], marks[0])).transform
    assert found is not None
    assert np.abs(found.matrix - np.eye(3)).max() < 0.01
    assert found.displacement is not None
    assert np.abs(found.displacement).max() < 0.05


def test_two_eyes_are_no_pair(eyes: tuple[Image, Image], marks: tuple[Marks, Marks]) -> None:
    result = register_fundus(*eyes, marks=marks)
    assert result.transform is None
    assert result.reason
    mirrored = replace(eyes[0], array=eyes[0].array[:, :, ::-1].copy())
    result = register_fundus(eyes[0], mirrored, marks=(marks[0], marks_of(mirrored)))
    assert result.transform is None


def test_right_and_left_as_stated_are_no_pair(
    eyes: tuple[Image, Image], marks: tuple[Marks, Marks]
) -> None:
    right, left = replace(eyes[0], laterality="R"), replace(eyes[0], laterality="L")
    result = register_fundus(right, left, marks=(marks[0], marks[0]))
    assert result.transform is None
    assert "left" in result.reason
    assert register_fundus(right, eyes[0], marks=(marks[0], marks[0])).transform is not None


def test_both_eyes_of_children_are_refused(data_dir: Path) -> None:
    folder = data_dir / "chase-db1" / "images"
    pair = [load(folder / f"Image_01{eye}.jpg").image("photo") for eye in "LR"]
    assert register_fundus(*(replace(one, laterality=None) for one in pair)).transform is None


def test_what_shows_nothing_is_no_pair() -> None:
    black = Image("black", np.zeros((3, 120, 120), np.uint8))
    noise = np.random.default_rng(0).integers(0, 255, (3, 120, 120), dtype=np.uint8)
    for other in (black, Image("noise", noise)):
        result = register_fundus(black, other)
        assert result.transform is None
        assert "too few" in result.reason


def test_a_grey_image_or_a_volume_is_refused() -> None:
    for array in (np.zeros((1, 50, 50), np.uint8), np.zeros((3, 5, 50, 50), np.uint8)):
        with pytest.raises(InputError, match="three channels"):
            marks_of(Image("other", array))


def test_the_fit_gives_back_a_polynomial() -> None:
    rng = np.random.default_rng(0)
    terms = rng.normal(size=(6, 2)) * np.array([[50], [300], [300], [8], [8], [8]])
    places = rng.uniform(0, 640, (400, 2))
    truth = Surface(terms)
    slow = np.array(
        [
            sum(np.array(c) * p for c, p in zip(terms, (1, h, w, h * h, h * w, w * w), strict=True))
            for h, w in places / 320 - 1
        ]
    )
    assert np.allclose(truth(places), slow)
    found = _fitted(places, truth(places), order=2)
    assert np.abs(found(places) - truth(places)).max() < 0.05
    flat = _fitted(places, truth(places), order=1)
    assert np.abs(flat.terms[3:]).max() < 0.05
