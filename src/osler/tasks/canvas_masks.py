"""Segmentation: a photograph becomes a canvas, scores become masks in the photograph's grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.tasks.canvas import Canvas, draw, plan, undraw, undraw_thin
from osler.tasks.field import Field

_LOWEST = 0.15  # a threshold chosen for an image stays within these
_HIGHEST = 0.75


@dataclass(frozen=True, slots=True)
class Rule:
    """How one label's probabilities become a mask.

    Attributes:
        threshold: least probability of a pixel of the mask; None chooses it for each image
            (``expected_dice_threshold``).
        min_area: connected parts smaller than this are left out, canvas pixels.
        single: there is one such structure in an eye, of about the shape of an ellipse and where
            vessels enter: the part that is most like that stays.
        thin: the structure can be thinner than a pixel of the image; a pixel that it passes
            through belongs to it (``undraw_thin``).
    """

    threshold: float | None = None
    min_area: int = 0
    single: bool = False
    thin: bool = False


def encode(
    image: NDArray[np.uint8], field: Field, *, diameter: int
) -> tuple[NDArray[np.float32], Canvas]:
    """Draw a photograph for a network.

    Args:
        image: ``(C, H, W)``, 8 bit.
        field: its field of view.
        diameter: the field's diameter on the canvas, pixels.

    Returns:
        ``(1, 4, h, w)`` in 0 to 1 (red, green, blue, field), and where it lies.
    """
    canvas = plan(field, diameter=diameter)
    return draw(image, canvas)[None].astype(np.float32) / np.float32(255), canvas


def decode(
    probability: NDArray[np.float32],
    canvas: Canvas,
    rules: Sequence[Rule],
    *,
    exclusive: bool = False,
    picture: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], list[NDArray[np.bool_]]]:
    """Bring probabilities home and cut masks out of them.

    Args:
        probability: ``(L, h, w)`` on the canvas.
        canvas: where it lies.
        rules: one a label.
        exclusive: the labels exclude each other: a pixel whose probabilities together reach the
            first rule's threshold gets the likeliest label.
        picture: ``(4, h, w)``, what the network saw, by which parts of which one may stay are told
            apart; None judges them by their shape alone.

    Returns:
        ``(L, H, W)`` probabilities and the masks, in the photograph's grid.
    """
    home = np.concatenate(
        [
            (undraw_thin if rule.thin else undraw)(probability[label : label + 1], canvas)
            for label, rule in zip(range(len(probability)), rules, strict=True)
        ]
    )
    content = probability[:, : canvas.content[0], : canvas.content[1]]
    masks = []
    if exclusive:
        rule = rules[0]
        together, home_together = content.sum(axis=0), home.sum(axis=0)
        threshold = _threshold(rule, together)
        likeliest = home.argmax(axis=0)
        found = _cut(home_together, together, threshold, rule, canvas, picture)
        return home, [found & (likeliest == label) for label in range(len(home))]
    for native, small, rule in zip(home, content, rules, strict=True):
        masks.append(_cut(native, small, _threshold(rule, small), rule, canvas, picture))
    return home, masks


def _threshold(rule: Rule, probability: NDArray[np.float32]) -> float:
    if rule.threshold is not None:
        return rule.threshold
    return expected_dice_threshold(probability)


def expected_dice_threshold(probability: NDArray[np.float32]) -> float:
    """The threshold whose mask has the greatest expected Dice, if the probabilities are right.

    For a mask ``M`` the ratio ``2 sum_M p / (|M| + sum p)`` approximates the expected Dice, and is
    greatest for a set ``p >= t``. A camera whose photographs make the network timid or bold moves
    the threshold with it; a fixed one does not travel.

    Source: Lipton, Elkan and Naryanaswamy 2014, "Optimal thresholding of classifiers to maximize
    F1 measure", ECML PKDD.

    Args:
        probability: any shape, 0 to 1.

    Returns:
        The threshold, kept within 0.15 and 0.75.
    """
    bins = 256
    index = np.minimum((probability * bins).astype(np.int64), bins - 1)
    count = np.bincount(index.ravel(), minlength=bins)[::-1].cumsum()
    mass = np.bincount(index.ravel(), weights=probability.ravel(), minlength=bins)[::-1].cumsum()
    expected = 2 * mass / np.maximum(count + mass[-1], 1e-6)
    best = 1 - (int(expected.argmax()) + 1) / bins
    return float(min(max(best, _LOWEST), _HIGHEST))


def _cut(
    native: NDArray[np.float32],
    small: NDArray[np.float32],
    threshold: float,
    rule: Rule,
    canvas: Canvas,
    picture: NDArray[np.float32] | None,
) -> NDArray[np.bool_]:
    mask = native >= threshold
    unwanted = np.zeros(small.shape, bool)
    if rule.min_area > 1:
        unwanted |= _specks(small >= threshold, rule.min_area)
    if rule.single:
        unwanted |= _others(small >= threshold, picture)
    if unwanted.any():
        mask &= ~_enlarge(unwanted, canvas)
    return mask


def _specks(mask: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    """The connected parts (8 neighbours) smaller than ``min_area``."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    small = np.bincount(labels.ravel()) < min_area
    small[0] = False
    return np.asarray(small[labels], bool)


def _others(mask: NDArray[np.bool_], picture: NDArray[np.float32] | None) -> NDArray[np.bool_]:
    """All connected parts but the likeliest disc, of those of a third of the largest.

    A plaque of exudates can be as bright and as round as the disc. But vessels leave the eye
    through the disc and none through a plaque.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count < 2:
        return np.zeros_like(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    large = np.flatnonzero(sizes * 3 >= sizes.max())
    if len(large) < 2:
        kept = large[0]
    else:
        dark = 1.0 if picture is None else _dark_lines(picture[1, : mask.shape[0], : mask.shape[1]])
        kept = max(
            large,
            key=lambda part: _likeness_to_ellipse(labels == part) * _seen(dark, labels == part),
        )
    return np.asarray((labels > 0) & (labels != kept))


def _dark_lines(green: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much darker than what is beside it each pixel of a thin line is, 0 to 1 of that.

    The closing with a window broader than a vessel fills it with what is beside it.
    """
    from scipy import ndimage

    window = max(5, round(max(green.shape) / 46))  # a sixth of a disc
    beside = ndimage.grey_closing(green, (window, window))
    return np.asarray((beside - green) / np.maximum(beside, np.float32(0.08)), np.float32)


def _seen(dark: NDArray[np.float32] | float, part: NDArray[np.bool_]) -> float:
    """Mean of a map over a part and its near surroundings."""
    if isinstance(dark, float):
        return dark
    from scipy import ndimage

    return float(dark[ndimage.binary_dilation(part, iterations=max(dark.shape) // 85)].mean())


def _likeness_to_ellipse(part: NDArray[np.bool_]) -> float:
    """Overlap (Jaccard) of a part with the ellipse of its second moments."""
    places = np.argwhere(part).astype(np.float64)
    if len(places) < 9:
        return 0.0
    offsets = places - places.mean(axis=0)
    spread = offsets.T @ offsets / len(places) + np.eye(2) / 12
    h, w = np.indices(part.shape).reshape(2, -1).astype(np.float64)
    away = np.stack([h, w], axis=1) - places.mean(axis=0)
    inside = np.einsum("ni,ij,nj->n", away, np.linalg.inv(spread), away) <= 4.0
    ellipse = inside.reshape(part.shape)
    return float((ellipse & part).sum() / (ellipse | part).sum())


def _enlarge(mask: NDArray[np.bool_], canvas: Canvas) -> NDArray[np.bool_]:
    """A mask on the canvas's content, one pixel wider, in the photograph's grid."""
    from PIL import Image as Pillow
    from scipy import ndimage

    wide = np.asarray(ndimage.binary_dilation(mask, structure=np.ones((3, 3), bool)))
    h0, w0, h1, w1 = canvas.field.box
    drawn = Pillow.fromarray(wide.astype(np.uint8)).resize(
        (w1 - w0, h1 - h0), Pillow.Resampling.NEAREST
    )
    out = np.zeros(canvas.field.shape, bool)
    out[h0:h1, w0:w1] = np.asarray(drawn) > 0
    return out
