"""Numbers of a lesion mask: how many, how large, how near the fovea, in how many quadrants.

Sources:
    1. Wilkinson et al., "Proposed international clinical diabetic retinopathy and diabetic macular
       edema disease severity scales", Ophthalmology 110, 2003: lesions by quadrant; exudates by
       their distance from the fovea.
    2. ETDRS report 10, Ophthalmology 98, 1991: the quadrants round the disc.
"""

from dataclasses import dataclass

import numpy as np

from osler.retina.zones import QUADRANTS, Axis, BoolArray, FloatArray, box_of, quadrant_of


@dataclass(frozen=True, slots=True, eq=False)
class Lesions:
    """The lesions of one kind.

    Attributes:
        centroids: ``(L, 2)`` centre ``(h, w)`` of each, pixels.
        sizes: ``(L,)`` area of each, pixels.
        pixels: ``(P, 2)`` every pixel of them ``(h, w)``.
    """

    centroids: FloatArray
    sizes: FloatArray
    pixels: FloatArray

    def __len__(self) -> int:
        """How many there are."""
        return int(self.sizes.size)

    @property
    def area(self) -> float:
        """Pixels of all of them."""
        return float(self.sizes.sum())

    def nearest(self, point: tuple[float, ...]) -> float | None:
        """Pixels from a point ``(h, w)`` to the nearest lesion pixel; None without one."""
        if not len(self):
            return None
        return float(np.sqrt(((self.pixels - point) ** 2).sum(axis=1).min()))

    def quadrants(self, axis: Axis) -> tuple[str, ...]:
        """The quadrants round the disc that hold the centre of a lesion [1, 2]."""
        held = np.unique(quadrant_of(self.centroids, axis))
        return tuple(QUADRANTS[i] for i in held)


def lesions_of(mask: BoolArray) -> Lesions:
    """Part a lesion mask into lesions: pixels that touch by an edge or a corner are one.

    Args:
        mask: ``(H, W)``.
    """
    from scipy import ndimage

    box = box_of(mask)
    if box is None:
        return Lesions(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)))
    labels, count = ndimage.label(mask[box], structure=np.ones((3, 3)))
    h, w = np.nonzero(labels)
    of = labels[h, w] - 1
    pixels = np.stack([h + box[0].start, w + box[1].start], axis=1).astype(np.float64)
    sizes = np.bincount(of, minlength=count).astype(np.float64)
    sums = [np.bincount(of, pixels[:, i], minlength=count) for i in (0, 1)]
    return Lesions(np.stack(sums, axis=1) / sizes[:, None], sizes, pixels)
