"""Lesions of two photographs that lie on each other: which came, which went, which stayed.

Sources:
    1. Nunes et al., "Microaneurysm turnover is a biomarker for diabetic retinopathy progression to
       clinically significant macular edema", Ophthalmologica 223:292-297, 2009: formation and
       disappearance are counted a lesion at a time, in the field that both photographs show.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from osler.retina.zones import BoolArray

_TOUCHING = np.ones((3, 3))  # pixels that touch by an edge or a corner are one lesion


@dataclass(frozen=True, slots=True, eq=False)
class Turnover:
    """The lesions of one kind in two photographs, all in the grid of the later one.

    Attributes:
        new: ``(H, W)`` pixels of the lesions that the earlier photograph does not show.
        gone: ``(H, W)`` pixels of the earlier lesions that the later photograph does not show.
        came: how many are new.
        went: how many are gone.
        stayed: how many of the later lesions lie where an earlier one lay.
        unsure: how many are in one photograph only, where the other shows them faintly.
        outside: how many lie where only one of the two photographs looks.
        before: pixels of the earlier lesions in the common field.
        after: pixels of the later lesions in the common field.
    """

    new: BoolArray
    gone: BoolArray
    came: int
    went: int
    stayed: int
    unsure: int
    outside: int
    before: int
    after: int


def turnover(
    before: BoolArray,
    after: BoolArray,
    common: BoolArray,
    *,
    reach: float,
    faint: float = 0.0,
    chances: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
) -> Turnover:
    """Match the lesions of two masks [1].

    A lesion that has a pixel within ``reach`` of a lesion of the other mask is the same. One
    without a partner is new (or gone), unless the other photograph gave ``faint`` or more to a
    pixel within ``reach`` of it: then nothing can be said. A lesion of which the smaller part lies
    in the common field is left out.

    Args:
        before: ``(H, W)`` earlier lesions, in the grid of the later photograph.
        after: ``(H, W)`` later lesions.
        common: ``(H, W)`` what both photographs show.
        reach: pixels by which the two may miss each other.
        faint: probability, 0 to 1.
        chances: ``(H, W)`` probabilities of the earlier and of the later photograph, likewise;
            None where they are not known.
    """
    one, other = chances or (None, None)
    went = _alone(before, after, common, reach, faint, other)
    came = _alone(after, before, common, reach, faint, one)
    return Turnover(
        new=came.mask, gone=went.mask, came=came.alone, went=went.alone, stayed=came.matched,
        unsure=came.unsure + went.unsure, outside=came.outside + went.outside,
        before=int((before & common).sum()), after=int((after & common).sum()),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Alone:
    mask: BoolArray
    alone: int
    matched: int
    unsure: int
    outside: int


def _alone(
    lesions: BoolArray,
    others: BoolArray,
    common: BoolArray,
    reach: float,
    faint: float,
    chance: NDArray[np.floating] | None,
) -> _Alone:
    """Those lesions that have no partner among the others."""
    labels, count = ndimage.label(lesions, structure=_TOUCHING)
    if not count:
        return _Alone(np.zeros_like(lesions), 0, 0, 0, 0)
    at = labels > 0  # few of the pixels, so all that follows looks at these alone
    of = labels[at] - 1
    inside = np.bincount(of, common[at]) >= 0.5 * np.bincount(of)
    matched = np.zeros(count, bool)
    if others.any():
        away = ndimage.distance_transform_edt(~others)
        np.logical_or.at(matched, of, away[at] <= reach)
    seen = np.zeros(count, bool)
    if chance is not None:
        side = 2 * int(np.ceil(reach)) + 1
        near = ndimage.maximum_filter(np.asarray(chance, np.float32), size=side)
        np.logical_or.at(seen, of, near[at] >= faint)
    alone = inside & ~matched & ~seen
    mask = np.concatenate([[False], alone])[labels]
    return _Alone(
        mask, int(alone.sum()), int((inside & matched).sum()),
        int((inside & ~matched & seen).sum()), int((~inside).sum()),
    )  # fmt: skip
