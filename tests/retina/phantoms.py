"""Vessels whose length, width and winding are known, drawn as masks."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from osler.record import Case, Image, Mask, Point, Source

Bool = NDArray[np.bool_]
PERSON = Source("person", "grader")
SHAPE = (560, 640)
DISC = ((280.0, 200.0), 40.0)
FOVEA = (284.0, 400.0)


def drawn(shape: tuple[int, int], curve: NDArray[np.float64], width: float) -> Bool:
    """Every pixel whose centre lies within half a width of a finely sampled curve (N, 2)."""
    grid = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1).reshape(-1, 2)
    away, _ = cKDTree(curve).query(grid, distance_upper_bound=width)
    return (away <= width / 2).reshape(shape)


def line(a: tuple[float, float], b: tuple[float, float]) -> NDArray[np.float64]:
    share = np.linspace(0, 1, 20 * int(np.hypot(b[0] - a[0], b[1] - a[1])) + 2)[:, None]
    return np.array(a) * (1 - share) + np.array(b) * share


def bar(width: float, degrees: float, *, length: float = 300.0, side: int = 400) -> Bool:
    """A straight vessel, not centred on a pixel."""
    h, w = np.mgrid[:side, :side] - side / 2 - np.array([0.3, 0.2])[:, None, None]
    turn = np.radians(degrees)
    along = h * np.sin(turn) + w * np.cos(turn)
    across = h * np.cos(turn) - w * np.sin(turn)
    return (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)


def disc_mask(
    shape: tuple[int, int] = SHAPE,
    centre: tuple[float, float] = DISC[0],
    radius: float = DISC[1],
) -> Bool:
    h, w = np.mgrid[: shape[0], : shape[1]]
    return (h - centre[0]) ** 2 + (w - centre[1]) ** 2 <= radius**2


@cache
def spokes(degrees: tuple[float, ...], widths: tuple[float, ...], *, reach: float = 250.0) -> Bool:
    """Straight vessels from the disc outwards; 0 degrees is to the right, 90 is up."""
    out = np.zeros(SHAPE, dtype=bool)
    centre = np.array(DISC[0])
    for angle, width in zip(degrees, widths, strict=True):
        way = np.array([-np.sin(np.radians(angle)), np.cos(np.radians(angle))])
        curve = line(tuple(centre + 45.0 * way), tuple(centre + reach * way))
        out |= drawn(SHAPE, curve, width)
    return out


ARTERIES = ((55.0, -55.0, 20.0, 140.0, -140.0, 170.0), (10.0, 9.0, 6.0, 8.0, 7.0, 5.0))
VEINS = ((65.0, -70.0, -20.0, 120.0, -120.0, -170.0), (14.0, 12.0, 8.0, 11.0, 9.0, 7.0))


def retina(**replaced: Bool | None) -> Case:
    """A retina of straight vessels; ``name=None`` leaves a mask out."""
    artery, vein = spokes(*ARTERIES), spokes(*VEINS)
    masks: dict[str, Bool | None] = {
        "field": disc_mask(centre=(280, 320), radius=279),
        "disc": disc_mask(),
        "cup": disc_mask(radius=20),
        "vessels": artery | vein,
        "artery": artery,
        "vein": vein,
        **replaced,
    }
    case = Case(id="phantom")
    photo = np.zeros((3, *SHAPE), np.uint8)
    case.items["photo"] = Image(name="photo", array=photo, modality="OP")
    for id, mask in masks.items():
        if mask is not None:
            case.add(Mask(id=id, name=id, source=PERSON, mask=mask))
    case.add(Point(id="fovea", name="Fovea", source=PERSON, position=FOVEA))
    return case
