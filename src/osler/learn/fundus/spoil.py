"""Good photographs spoilt on purpose, and pictures that are none, to learn quality from.

There are no labelled bad photographs in the data. Bad ones are made from good ones: out of focus,
under- and over-exposed, with a part of the field missing or hazed. What is no fundus photograph is
made up: noise, textures, shapes, bands, shuffled retinas. Real ones of both kinds stay for testing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from osler.learn.fundus.canvases import Drawn
from osler.tasks.canvas import draw, plan
from osler.tasks.field import find_field

DEFECTS = ("blur", "underexposed", "overexposed", "field")
GRADES = ("good", "usable", "reject")
_SHARE_OTHER = 0.25
_LEVELS = {"usable": (0.25, 0.5), "reject": (0.65, 1.0)}


@dataclass(frozen=True, slots=True)
class Example:
    """One canvas and what is true of it.

    Attributes:
        image: ``(4, side, side)`` uint8.
        fundus: whether it is a fundus photograph.
        grade: index into ``GRADES``; -1 where it is no fundus photograph.
        defects: ``(4,)`` 0 or 1; what is wrong, in the order of ``DEFECTS``.
    """

    image: NDArray[np.uint8]
    fundus: bool
    grade: int
    defects: NDArray[np.float32]


def make_example(cases: Sequence[Drawn], rng: np.random.Generator, side: int) -> Example:
    """Make one training example.

    Args:
        cases: good photographs on their canvases.
        rng: the source of randomness.
        side: of the canvas, pixels.
    """
    if rng.random() < _SHARE_OTHER:
        picture = make_other(cases, rng, side)
        canvas = draw(picture, plan(find_field(picture), diameter=side))
        return Example(fit(canvas, side), False, -1, np.zeros(len(DEFECTS), np.float32))
    case = cases[int(rng.integers(len(cases)))]
    colour = _turn(case.image, rng)
    image, field = colour[:3].astype(np.float32), colour[3] > 127
    image = _camera(image / np.float32(255), rng)
    grade = int(rng.choice(3, p=(0.4, 0.3, 0.3)))
    defects = np.zeros(len(DEFECTS), np.float32)
    if grade:
        count = 1 if rng.random() < 0.7 else 2
        for which in rng.choice(len(DEFECTS), size=count, replace=False):
            if (which == 1 and defects[2]) or (which == 2 and defects[1]):
                continue  # not too dark and too bright at once
            level = float(rng.uniform(*_LEVELS[GRADES[grade]]))
            image = spoil(image, field, DEFECTS[which], level, rng)
            defects[which] = 1
    noisy = image + rng.normal(0, rng.uniform(0, 0.02), image.shape)
    out = np.concatenate([np.clip(noisy, 0, 1) * 255 * field, field[None] * 255.0])
    return Example(fit(np.rint(out).astype(np.uint8), side), True, grade, defects)


def spoil(
    image: NDArray[np.float32],
    field: NDArray[np.bool_],
    defect: str,
    level: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Take a good photograph badly.

    Args:
        image: ``(3, H, W)``, 0 to 1.
        field: ``(H, W)``.
        defect: one of ``DEFECTS``.
        level: 0 for hardly, 1 for hopelessly.
        rng: the source of randomness.
    """
    height = image.shape[1]
    if defect == "blur":
        sigma = height / 320 * (0.8 + 4.0 * level**1.5)
        return np.asarray(ndimage.gaussian_filter(image, (0, sigma, sigma)), np.float32)
    if defect == "underexposed":
        dark = image * (0.55 - 0.5 * level) - 0.02 * level
        noisy = dark + rng.normal(0, 0.01 + 0.02 * level, image.shape)
        return np.asarray(np.rint(np.clip(noisy, 0, 1) * 48) / 48, np.float32)
    if defect == "overexposed":
        return np.asarray(np.clip(image * (1.5 + 3 * level) + 0.25 * level, 0, 1), np.float32)
    veil = _veil(field.shape, 0.15 + 0.65 * level, rng)
    shade = rng.choice([0.02, 0.9]) * np.array([1.0, rng.uniform(0.7, 1), rng.uniform(0.5, 1)])
    mixed = image * (1 - veil) + shade[:, None, None] * veil
    return np.asarray(mixed, np.float32)


def _veil(shape: tuple[int, int], share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Something before the lens: covers about ``share`` of the picture from one side, 0 to 1."""
    hh, ww = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    height = hh * np.sin(angle) + ww * np.cos(angle)
    height = height + 0.25 * _clouds(shape, rng)
    edge = np.quantile(height, 1 - share)
    return np.asarray(1 / (1 + np.exp(-(height - edge) * rng.uniform(6, 40))), np.float32)


def _clouds(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise of several scales, about -1 to 1."""
    out = np.zeros(shape, np.float32)
    for cells in (3, 6, 12):
        coarse = rng.normal(size=(cells, cells))
        zoom = (shape[0] / cells, shape[1] / cells)
        part = ndimage.zoom(coarse, zoom, order=1)[: shape[0], : shape[1]]
        out[: part.shape[0], : part.shape[1]] += part / cells * 3
    return np.asarray(out / 2, np.float32)


def _turn(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    image = np.rot90(image, int(rng.integers(4)), axes=(1, 2))
    return np.ascontiguousarray(image[:, :, ::-1] if rng.random() < 0.5 else image)


def _camera(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another camera's colours; some take red-free pictures."""
    gamma = np.exp(rng.uniform(-0.35, 0.35) + rng.uniform(-0.12, 0.12, (3, 1, 1)))
    gain = np.exp(rng.uniform(-0.3, 0.25) + rng.uniform(-0.2, 0.2, (3, 1, 1)))
    out = np.clip(image, 1e-4, 1) ** gamma * gain
    if rng.random() < 0.12:
        out = np.repeat(out[1:2] * rng.uniform(1, 1.8), 3, axis=0)
    return np.asarray(np.clip(out, 0, 1), np.float32)


def make_other(cases: Sequence[Drawn], rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """A picture that is no fundus photograph, ``(3, H, W)``."""
    h, w = (int(v) for v in rng.integers(int(side * 0.7), int(side * 1.3), 2))
    kinds = (_noise, _gradient, _texture, _shapes, _bands, _body, _page, _even)
    if rng.random() < 0.3:
        picture = _shuffled(cases, rng)
    else:
        picture = kinds[int(rng.integers(len(kinds)))]((h, w), rng)
    if rng.random() < 0.3:  # a round frame alone makes no retina
        hh, ww = np.mgrid[-1 : 1 : picture.shape[1] * 1j, -1 : 1 : picture.shape[2] * 1j]
        picture = picture * (hh**2 + ww**2 < rng.uniform(0.7, 1.0))
    return np.asarray(np.clip(picture, 0, 1) * 255, np.uint8)


def _tint(rng: np.random.Generator) -> NDArray[np.float64]:
    """Grey, any colour, or the orange of a retina."""
    kind = rng.integers(3)
    if kind == 0:
        return np.ones((3, 1, 1))
    if kind == 1:
        return rng.uniform(0.2, 1, (3, 1, 1))
    return np.array([1.0, rng.uniform(0.35, 0.6), rng.uniform(0.1, 0.3)])[:, None, None]


def _noise(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    fine = rng.normal(0.5, rng.uniform(0.05, 0.4), (3, *shape))
    return np.asarray(_soft(fine, rng) * _tint(rng))


def _soft(picture: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    sigma = rng.uniform(0, 2)
    return np.asarray(ndimage.gaussian_filter(picture, (0, sigma, sigma)), np.float64)


def _even(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    level = rng.choice([0.0, 1.0, rng.uniform()])
    return np.full((3, *shape), level) * _tint(rng) + rng.normal(0, 0.004, (3, *shape))


def _gradient(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    hh, ww = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    slope = rng.normal(size=4)
    ramp = slope[0] * hh + slope[1] * ww + slope[2] * (hh**2 + ww**2) + slope[3]
    return (0.5 + 0.3 * ramp)[None] * _tint(rng)


def _texture(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    clouds = np.stack([_clouds(shape, rng) for _ in range(3)])
    if rng.random() < 0.5:
        clouds = np.repeat(clouds[:1], 3, axis=0)
    out = 0.5 + rng.uniform(0.2, 0.8) * clouds
    if rng.random() < 0.5:  # fur, grass, cloth: direction at a fine scale
        grain = rng.normal(size=shape)
        sigma = (rng.uniform(0, 1), rng.uniform(3, 12))
        out = out + ndimage.gaussian_filter(grain, sigma if rng.random() < 0.5 else sigma[::-1])
    return out * _tint(rng)


def _shapes(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    out = np.ones((3, *shape)) * rng.uniform(0, 1, (3, 1, 1))
    hh, ww = np.mgrid[: shape[0], : shape[1]]
    for _ in range(int(rng.integers(2, 25))):
        h, w = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        a, b = rng.uniform(4, 0.35 * shape[0], 2)
        turn = rng.uniform(0, np.pi)
        dh = (hh - h) * np.cos(turn) + (ww - w) * np.sin(turn)
        dw = (ww - w) * np.cos(turn) - (hh - h) * np.sin(turn)
        inside = (
            (dh / a) ** 2 + (dw / b) ** 2 < 1
            if rng.random() < 0.5
            else (abs(dh) < a) & (abs(dw) < b)
        )
        out = np.where(inside, rng.uniform(0, 1, (3, 1, 1)), out)
    return _soft(out, rng)


def _bands(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Layers, as in optical coherence tomography or a ruled page."""
    hh = np.arange(shape[0])[:, None] + 6 * _clouds(shape, rng)
    wave = np.sin(hh / rng.uniform(2, 20)) * np.exp(-(((hh / shape[0]) - 0.5) ** 2) * 8)
    speckle = rng.gamma(3, 1 / 3, shape)
    return (np.clip(0.3 + 0.5 * wave, 0, 1) * speckle)[None] * _tint(rng)


def _body(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Grey organs with soft borders and ribs, as in X-ray, CT, MR or ultrasound."""
    out = np.full(shape, rng.uniform(0, 0.3))
    hh, ww = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    for _ in range(int(rng.integers(2, 8))):
        h, w = rng.uniform(-0.6, 0.6, 2)
        a, b = rng.uniform(0.15, 0.9, 2)
        edge = ((hh - h) / a) ** 2 + ((ww - w) / b) ** 2
        out = out + rng.uniform(-0.4, 0.6) / (
            1 + np.exp(np.minimum((edge - 1) * rng.uniform(4, 30), 60))
        )
    if rng.random() < 0.5:
        out = out + 0.12 * np.sin((hh + 0.5 * ww**2) * rng.uniform(15, 40))
    out = out + rng.uniform(0, 0.2) * _clouds(shape, rng) + rng.normal(0, 0.03, shape)
    return np.repeat(np.clip(out, 0, 1)[None], 3, axis=0)


def _page(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Dark marks in lines on a bright page."""
    marks = rng.random(shape) < 0.35
    lines = (np.arange(shape[0]) // int(rng.integers(4, 12))) % 2 == 0
    ink = ndimage.binary_opening(marks & lines[:, None], iterations=1)
    return np.repeat(np.where(ink, 0.1, 0.95)[None], 3, axis=0)


def _shuffled(cases: Sequence[Drawn], rng: np.random.Generator) -> NDArray[np.float64]:
    """A retina cut into squares and mixed: its colours without its anatomy."""
    image = cases[int(rng.integers(len(cases)))].image[:3].astype(np.float64) / 255
    cells = int(rng.integers(5, 12))
    h, w = image.shape[1] // cells, image.shape[2] // cells
    blocks = image[:, : h * cells, : w * cells].reshape(3, cells, h, cells, w)
    blocks = blocks.transpose(1, 3, 0, 2, 4).reshape(cells * cells, 3, h, w)
    blocks = blocks[rng.permutation(len(blocks))].reshape(cells, cells, 3, h, w)
    return np.asarray(blocks.transpose(2, 0, 3, 1, 4).reshape(3, h * cells, w * cells))


def fit(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The middle of a canvas, ``(4, side, side)``; zero where it does not reach."""
    out = np.zeros((image.shape[0], side, side), np.uint8)
    h, w = image.shape[1:]
    take_h, take_w = min(h, side), min(w, side)
    h0, w0 = (h - take_h) // 2, (w - take_w) // 2
    to_h, to_w = (side - take_h) // 2, (side - take_w) // 2
    out[:, to_h : to_h + take_h, to_w : to_w + take_w] = image[
        :, h0 : h0 + take_h, w0 : w0 + take_w
    ]
    return out
