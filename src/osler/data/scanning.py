"""One pass over a cohort's images: what each is, and a small picture of it to compare."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.data.cohort import Cohort, Row
from osler.data.locations import Location
from osler.data.opening import load_case
from osler.errors import OslerError
from osler.record import Image

SIDE: Final = 64
"""Pixels along each side of the small picture."""

_SAMPLE: Final = 100_000  # values from which percentiles are taken


@dataclass(slots=True)
class Scan:
    """One image of a cohort, or why it could not be opened.

    Attributes:
        row: its case.
        item: its column.
        error: why it could not be opened; the rest is empty then.
        kind: modality code.
        shape: ``([D,] H, W)`` in pixels.
        channels: how many.
        dtype: of the values.
        spacing: millimetres along the axes, None where it is not said.
        affine: index to LPS millimetres, None where it is not said.
        flags: doubts of the reader.
        values: mean, standard deviation, least, 1st, 50th and 99th percentile, most, and the share
            of the commonest value, in stored units.
        sharpness: of the small picture: standard deviation of its Laplacian, in its 256 levels.
        digest: SHA-256 of shape, type and values: equal for equal pixels in any format.
        thumb: ``(SIDE, SIDE)`` uint8, luminance; of a volume its middle slice.
    """

    row: Row
    item: str
    error: str = ""
    kind: str = ""
    shape: tuple[int, ...] = ()
    channels: int = 0
    dtype: str = ""
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    flags: tuple[str, ...] = ()
    values: dict[str, float] = field(default_factory=dict)
    sharpness: float = 0.0
    digest: str = ""
    thumb: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.uint8))

    @property
    def flat(self) -> bool:
        """Whether hardly anything is to be seen: the values span less than 2 % of their range."""
        span = self.values["p99"] - self.values["p1"]
        full = max(abs(self.values["most"]), abs(self.values["least"]), 1e-12)
        return span <= 0.02 * full


def scan(cohort: Cohort, *, threads: int = 4, told: Callable[[], None] | None = None) -> list[Scan]:
    """Look at every image once, in the table's order.

    Args:
        cohort: the cases; files that cannot be opened become scans with an error.
        threads: images read at the same time.
        told: called after each.
    """
    wanted = [(row, name, item) for row in cohort.rows for name, item in row.items.items()]
    out: list[Scan] = []
    with ThreadPoolExecutor(max(1, threads), "osler-scan") as pool:
        for found in pool.map(lambda one: list(_scan(*one)), wanted):
            out += found
            if told:
                told()
    return out


def _scan(row: Row, name: str, location: Location) -> Iterator[Scan]:
    try:
        case = load_case(location)
        images = [item for item in case.items.values() if isinstance(item, Image)]
        for number, image in enumerate(images):
            yield measure(image, row, name if number == 0 else f"{name}-{image.name}")
    except OslerError as error:
        yield Scan(row, name, str(error))


def measure(image: Image, row: Row, item: str) -> Scan:
    """What one image is."""
    array = image.array
    thumb = small(array)
    return Scan(
        row,
        item,
        kind=image.modality,
        shape=image.shape,
        channels=image.channel_count,
        dtype=str(image.dtype),
        spacing=None if image.spacing is None else tuple(float(s) for s in image.spacing),
        affine=image.affine,
        flags=image.flags,
        values=_values(array),
        sharpness=_sharpness(thumb),
        digest=pixel_digest(array),
        thumb=thumb,
    )


def pixel_digest(array: NDArray[Any]) -> str:
    """SHA-256 of shape, type and values."""
    digest = hashlib.sha256(f"{array.shape} {array.dtype.newbyteorder('<').str} ".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


def _values(array: NDArray[Any]) -> dict[str, float]:
    flat = array.ravel()
    step = max(1, flat.size // _SAMPLE)
    some = flat[::step].astype(np.float32)
    some = some[np.isfinite(some)]
    if not some.size:
        some = np.zeros(1, np.float32)
    low, half, high = np.percentile(some, (1, 50, 99))
    counts = np.unique(some, return_counts=True)[1]
    return {
        "mean": float(some.mean()),
        "std": float(some.std()),
        "least": float(some.min()),
        "p1": float(low),
        "p50": float(half),
        "p99": float(high),
        "most": float(some.max()),
        "commonest": float(counts.max() / some.size),
    }


def small(array: NDArray[Any]) -> NDArray[np.uint8]:
    """``(SIDE, SIDE)``: luminance, of a volume the middle slice, box-filtered to the square.

    8-bit values stay as they are; others are stretched from the 1st to the 99th percentile.
    """
    plane = array if array.ndim == 3 else array[:, array.shape[1] // 2]
    if array.dtype == np.uint8:
        squares = [_square(channel) for channel in (plane if len(plane) == 3 else plane[:1])]
        # ITU-R BT.601
        weights = (0.299, 0.587, 0.114) if len(squares) == 3 else (1.0,)
        grey = np.sum([w * s for w, s in zip(weights, squares, strict=True)], axis=0)
    else:
        values = plane.mean(axis=0, dtype=np.float32)
        values = np.nan_to_num(values, posinf=0, neginf=0)
        low, high = np.percentile(values, (1, 99))
        grey = _square((values - low) * (255 / max(high - low, 1e-12)))
    out: NDArray[np.uint8] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return out


def _square(plane: NDArray[Any]) -> NDArray[np.float32]:
    from PIL import Image as Pillow

    ways = Pillow.Resampling
    picture = Pillow.fromarray(np.ascontiguousarray(plane))
    # a box filter lets nothing alias; what is smaller than the square is drawn larger
    way = ways.BOX if min(plane.shape) > SIDE else ways.BILINEAR
    return np.asarray(picture.resize((SIDE, SIDE), way), np.float32)


def _sharpness(thumb: NDArray[np.uint8]) -> float:
    from scipy import ndimage

    return float(ndimage.laplace(thumb.astype(np.float32)).std())


def file_of(scan: Scan, root: Path) -> str:
    """The file of a scan, as short as it can be said."""
    items: Mapping[str, Location] = scan.row.items
    # further images of one file are named COLUMN-NAME
    column = next(name for name in (scan.item, *items) if name in items)
    location = items[column]
    if isinstance(location, Path) and location.is_relative_to(root):
        return location.relative_to(root).as_posix()
    return str(location)
