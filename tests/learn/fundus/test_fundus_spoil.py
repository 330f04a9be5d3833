"""Photographs spoilt on purpose, and pictures that are none."""

from pathlib import Path

import numpy as np
import pytest

from osler.data.cohort import Row
from osler.learn.fundus.canvases import Drawn
from osler.learn.fundus.spoil import DEFECTS, fit, make_example, make_other, spoil

SIDE = 64


def retina(side=SIDE) -> Drawn:
    hh, ww = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    field = hh**2 + ww**2 < 0.95
    light = 150 - 40 * (hh**2 + ww**2) + 25 * np.sin(12 * ww + 3 * hh)
    image = np.stack([light, 0.6 * light, 0.3 * light, np.full_like(light, 255)]) * field
    none = np.zeros((0, side, side), np.uint8)
    return Drawn(Row("a", "a", 0, {}, {}), Path(), image.astype(np.uint8), none, none)


CASES = [retina()]


def many(count, seed=0):
    rng = np.random.default_rng(seed)
    return [make_example(CASES, rng, SIDE) for _ in range(count)]


def test_the_same_randomness_makes_the_same_examples():
    for one, other in zip(many(12), many(12), strict=True):
        assert (one.image == other.image).all()
        assert (one.fundus, one.grade) == (other.fundus, other.grade)
        assert (one.defects == other.defects).all()
    assert any((a.image != b.image).any() for a, b in zip(many(4), many(4, seed=1), strict=True))


def test_examples_are_consistent():
    examples = many(120)
    for example in examples:
        assert example.image.shape == (4, SIDE, SIDE)
        assert example.image.dtype == np.uint8
        assert example.defects.shape == (len(DEFECTS),)
        assert example.defects.dtype == np.float32
        assert not example.image[:3, example.image[3] == 0].any()
        if not example.fundus:
            assert example.grade == -1
        assert example.defects.any() == (example.grade > 0)
        assert not (example.defects[1] and example.defects[2])  # too dark and too bright
    grades = [example.grade for example in examples]
    assert {-1, 0, 1, 2} == set(grades)
    assert 10 < grades.count(-1) < 50
    assert np.stack([example.defects for example in examples]).sum(axis=0).min() > 3


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_change_the_picture_more_the_worse_they_are(defect):
    image = CASES[0].image[:3].astype(np.float32) / 255
    field = CASES[0].image[3] > 0
    before = image.copy()

    def change(level):
        changed = []
        for seed in range(6):
            out = spoil(image, field, defect, level, np.random.default_rng(seed))
            assert out.shape == image.shape
            assert out.dtype == np.float32
            assert np.isfinite(out).all()
            changed.append(np.abs(out - image)[:, field].mean())
        return np.mean(changed)

    assert 0 < change(0.3) < change(1.0)
    assert (image == before).all()


def test_defects_do_what_they_are_called():
    image = CASES[0].image[:3].astype(np.float32) / 255
    field = CASES[0].image[3] > 0

    def spoilt(defect):
        return spoil(image, field, defect, 0.8, np.random.default_rng(0))[:, field]

    light = image[:, field].mean()
    assert spoilt("underexposed").mean() < 0.6 * light
    assert spoilt("overexposed").mean() > 1.5 * light
    # out of focus: the stripes of the picture lose their height
    blurred = spoil(image, field, "blur", 1.0, np.random.default_rng(0))
    middle = np.s_[0, 24:40, 16:48]
    assert blurred[middle].std() < 0.95 * image[middle].std()


def test_other_pictures_are_pictures():
    rng = np.random.default_rng(2)
    looks = set()
    for _ in range(60):
        picture = make_other(CASES, rng, SIDE)
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[0] == 3
        assert min(picture.shape[1:]) >= 0.5 * SIDE
        looks.add(picture.tobytes())
    assert len(looks) > 55


@pytest.mark.parametrize("shape", [(40, 40), (64, 64), (90, 50), (50, 91)])
def test_fit_keeps_the_middle(shape):
    image = np.zeros((4, *shape), np.uint8)
    image[:, shape[0] // 2, shape[1] // 2] = 255
    out = fit(image, SIDE)
    assert out.shape == (4, SIDE, SIDE)
    (where,) = np.argwhere(out[0])
    assert np.abs(where - SIDE // 2).max() <= 1
