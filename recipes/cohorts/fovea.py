"""Place the fovea by geometry and darkness, for photographs whose disc is known.

There is no drawn fovea in the data. The fovea lies about 2.5 disc diameters from the disc's
centre, slightly below it, on the temporal side, and is the darkest smooth spot there with no
vessel in it. The places found here are pseudo-labels: the network that learns them averages their
errors, and whoever reports its output says so.

Source: Sinthanayothin et al. 1999, "Automated localisation of the optic disc, fovea, and retinal
blood vessels", British Journal of Ophthalmology 83(8), for the distance and the darkness.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from osler.tasks.canvas import draw, draw_mask, plan
from osler.tasks.field import find_field

DIAMETER = 384
DISTANCE = 2.5  # disc diameters from the disc's centre to the fovea
ASIDE = 0.12  # field diameters that the disc must lie off centre for the side to be known
CLEAR = 0.05  # darkness below which no place is named
BELOW = 0.25  # disc diameters that the fovea lies below the disc's centre


def place(photo: np.ndarray, disc: np.ndarray) -> tuple[float, float, float] | None:
    """Position of the fovea, photograph pixels, and how clearly it stood out; None if it did not.

    Args:
        photo: ``(3, H, W)`` uint8.
        disc: ``(H, W)`` bool.
    """
    canvas = plan(find_field(photo), diameter=DIAMETER)
    image = draw(photo, canvas).astype(np.float32)
    inside = image[3] > 0
    mask = draw_mask(disc, canvas) > 127
    if mask.sum() < 50:
        return None
    centre = np.argwhere(mask).mean(axis=0)
    size = np.sqrt(mask.sum() * 4 / np.pi)
    green = np.where(inside, image[1] + 0.3 * image[0], 0)
    wide = _blur(green, inside, 0.9 * size)
    contrast = np.clip((green - wide) / (wide + 8), -0.35, 0.25)
    dark = _blur(contrast, inside, 0.22 * size)
    # vessels are dark and thin: what a closing fills is no smooth spot
    closed = ndimage.grey_closing(_blur(contrast, inside, 1.0), size=max(3, int(0.18 * size)))
    thin = _blur(closed - _blur(contrast, inside, 1.0), inside, 0.2 * size)
    hh, ww = np.mgrid[: inside.shape[0], : inside.shape[1]].astype(np.float32)
    edge = ndimage.distance_transform_edt(inside)
    aside = np.argwhere(inside).mean(axis=0)[1] - centre[1]
    if abs(aside) < ASIDE * DIAMETER:
        return None
    goal_h, goal_w = centre[0] + BELOW * size, centre[1] + np.sign(aside) * DISTANCE * size
    away = np.hypot((hh - goal_h) / 0.5, (ww - goal_w) / 0.6) / size
    score = -dark - 0.8 * thin - 0.03 * away**2
    score[(away > 2.0) | (edge < 0.35 * size)] = -np.inf
    h, w = np.unravel_index(int(np.argmax(score)), score.shape)
    if not score[h, w] >= CLEAR:
        return None
    found = canvas.to_photo((float(h), float(w)))
    return found[0], found[1], float(score[h, w])


def _blur(values: np.ndarray, inside: np.ndarray, sigma: float) -> np.ndarray:
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma) + 1e-4
    return ndimage.gaussian_filter(np.where(inside, values, 0), sigma) / weight


def place_file(photo: Path, disc: Path) -> tuple[float, float, float] | None:
    pixels = np.asarray(Image.open(photo).convert("RGB")).transpose(2, 0, 1)
    return place(pixels, np.asarray(Image.open(disc).convert("L")) > 0)
