"""The overlays of the files of a series: one mask for each overlay plane, in the volume's grid."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from osler.io.dicom_image import open_image, read_header
from osler.io.dicom_overlays import overlays
from osler.io.dicom_overlays_embedded import embedded
from osler.io.input_file import decoding, opened
from osler.record import Deferred, Mask, Source

if TYPE_CHECKING:
    from osler.io.dicom_series import Slice

_KINDS = {"G": "graphics", "R": "region of interest"}

Where = tuple[tuple[int, str], ...]
"""Depth and file of the slices that have an overlay plane."""


def series_overlays(slices: "Sequence[Slice]", *, item: str, max_pixels: int) -> list[Mask]:
    """The overlays of a series as masks; their headers are read now, their bits when asked for.

    Args:
        slices: in the order of their planes.
        item: name of the image.
        max_pixels: refuse a slice of more pixels.

    Raises:
        InputError: a file cannot be read any more.
    """
    found: dict[int, list[tuple[int, str]]] = {}
    kinds: dict[int, str] = {}
    for depth, one in enumerate(slices):
        if "OverlayRows" not in one.scan:
            continue
        with opened(one.path) as file, decoding(file, "dicom"):
            dataset = read_header(file)
            for number, group in enumerate(range(0x6000, 0x6020, 2), 1):
                if (group, 0x0010) in dataset:
                    found.setdefault(number, []).append((depth, one.path))
                    kind = dataset.get((group, 0x0040))
                    kinds.setdefault(number, "" if kind is None else str(kind.value))
    if not found:
        return []
    shape = (len(slices), slices[0].layout.rows, slices[0].layout.columns)
    return [
        Mask(
            id=f"{item}.overlay-{number}",
            name=f"Overlay {number} ({_KINDS.get(kinds[number], 'drawing')})",
            source=Source("algorithm", "dicom-overlay"),
            item=item,
            mask=Deferred(
                shape, np.dtype(np.bool_), partial(_bits, number, tuple(where), shape, max_pixels)
            ),
        )
        for number, where in sorted(found.items())
    ]


def _bits(
    number: int, where: Where, shape: tuple[int, int, int], max_pixels: int
) -> NDArray[np.bool_]:
    out = np.zeros(shape, np.bool_)
    for depth, path in where:
        with opened(path) as file, decoding(file, "dicom"):
            whole = open_image(file, max_pixels=max_pixels)
            masks = overlays(whole.dataset, item="slice", shape=shape[1:])
            masks += embedded(
                file,
                whole.dataset,
                whole.layout,
                whole.frames,
                depths=(0,),
                item="slice",
                shape=shape[1:],
            )[0]
            for mask in masks:
                if mask.id == f"slice.overlay-{number}":
                    out[depth] = mask.mask
    return out
