"""Pages of a TIFF file whose pixels are read later, here or in another process."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from osler.errors import TooLargeError, UnreadableError
from osler.io import tiff_tiles
from osler.io.volume_data import BYTES_A_PIXEL, Piece, unchanged
from osler.record.item import Region

MOST_PAGES: Final = 100_000
_WHITE_IS_ZERO: Final = 0


def pages_of(stream: BinaryIO) -> tuple[Any, list[Any]]:
    """What tifffile makes of a file, and its pages; the first alone of very many."""
    import tifffile

    stream.seek(0)
    tiff = tifffile.TiffFile(stream, _multifile=False)
    count = len(cast(Any, tiff.pages))
    more = range(1, count) if count <= MOST_PAGES else ()
    return tiff, [tiff.pages[0], *(tiff.pages[i] for i in more)]


def sound(page: Any, size: int) -> bool:
    """Whether the header alone lets its tiles be decoded.

    It also makes tifffile read, while the file is open, all that it needs to decode them later.
    """
    return (
        page.dtype is not None
        and page.compression in tiff_tiles.READ
        and page.imagedepth == 1
        and page.fillorder == 1
        and tiff_tiles.lies_in_file(page, size)
        and (callable(page.decode), page.jpegtables)[0]
    )


class Pages:
    """The pages of a file, as tifffile describes them; another process looks them up again."""

    def __init__(self, path: Path, size: int, name: str, format: str, pages: list[Any]) -> None:
        self.path, self.size, self.name, self.format = path, size, name, format
        self._pages: list[Any] | None = pages

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pages": None}

    def windows(self, indices: NDArray[Any], rows: slice, columns: slice) -> NDArray[Any]:
        """The same part of several pages, ``(*indices.shape, H, W, S)``.

        Raises:
            UnreadableError: the file has changed or is damaged.
        """
        with unchanged(Piece(self.path, self.size), self.format) as file:
            stream = cast(BinaryIO, file.stream)
            if self._pages is None:
                self._pages = pages_of(stream)[1]
                if not sound(self._pages[0], file.size):
                    raise UnreadableError(f"'{self.name}' is another than it was; load it again")
            first = self._pages[0]
            size = (rows.stop - rows.start, columns.stop - columns.start, first.samplesperpixel)
            out = np.empty((*indices.shape, *size), first.dtype)
            for place, index in np.ndenumerate(indices):
                page = self._pages[index]
                part = tiff_tiles.window(page, stream, rows, columns, name=self.name)
                out[place] = _white(part, first)
            return out


def _white(part: NDArray[Any], page: Any) -> NDArray[Any]:
    """Grey whose 0 is white, turned over."""
    if page.photometric != _WHITE_IS_ZERO:
        return part
    if part.dtype.kind != "u":
        raise UnreadableError("a TIFF of signed or floating values says that 0 is white")
    turned: NDArray[Any] = np.iinfo(part.dtype).max - part
    return turned


@dataclass(frozen=True, slots=True)
class LargePage:
    """A page of which only parts are decoded.

    Attributes:
        pages: its file.
        shape: ``(C, H, W)``.
        dtype: of the pixels that are given.
        deep: whether colour of 16 bits becomes 8.
        max_pixels: refuse larger parts.
    """

    pages: Pages
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    deep: bool
    max_pixels: int

    def load(self) -> NDArray[Any]:
        """Refuse: the page is beyond the limit.

        Raises:
            TooLargeError: always.
        """
        raise TooLargeError(
            f"'{self.pages.name}' has {self.shape[2]} x {self.shape[1]} pixels, more than the "
            f"limit of {self.max_pixels:,}; read a part with image.region(rows, columns), or raise "
            "max_pixels"
        )

    def region(self, slices: Region) -> NDArray[Any]:
        """A part, ``(C, H, W)``.

        Raises:
            TooLargeError: it has more than ``max_pixels`` pixels.
            UnreadableError: the file has changed or is damaged.
        """
        rows, columns = slices
        size = (rows.stop - rows.start) * (columns.stop - columns.start)
        if size > self.max_pixels:
            raise TooLargeError(
                f"a part of '{self.pages.name}' has {size:,} pixels, more than the limit of "
                f"{self.max_pixels:,}; ask for a smaller one, or raise max_pixels"
            )
        part = self.pages.windows(np.array([0]), rows, columns)[0, ..., : self.shape[0]]
        part = (part >> 8).astype(np.uint8) if self.deep else part
        return np.ascontiguousarray(np.moveaxis(part, -1, 0), self.dtype)


@dataclass(frozen=True, slots=True)
class Stack:
    """Grey pages as a volume, or one as a plane.

    Attributes:
        pages: their file.
        order: which page is where, ``(C, D)``.
        shape: ``(C, D, H, W)``, or ``(1, H, W)`` of one page.
        dtype: of the pixels that are given.
        max_pixels: what loads into more memory than so many pixels of 4 bytes is refused.
    """

    pages: Pages
    order: NDArray[np.int64]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    max_pixels: int

    def load(self) -> NDArray[Any]:
        """All of it.

        Raises:
            TooLargeError: it takes more memory than allowed.
            UnreadableError: the file has changed or is damaged.
        """
        size = math.prod(self.shape) * self.dtype.itemsize
        if size > self.max_pixels * BYTES_A_PIXEL:
            raise TooLargeError(
                f"'{self.pages.name}' takes {size:,} bytes; the limit is max_pixels="
                f"{self.max_pixels:,} of {BYTES_A_PIXEL} bytes: read a part with "
                "image.region(...), or raise max_pixels"
            )
        return self.region(tuple(slice(0, n) for n in self.shape[1:]))

    def region(self, slices: Region) -> NDArray[Any]:
        """A part, ``(C, [D,] H, W)``.

        Raises:
            UnreadableError: the file has changed or is damaged.
        """
        flat = len(slices) == 2
        depth, down, across = (slice(0, 1), *slices) if flat else slices
        whole = self.pages.windows(self.order[:, depth], down, across)
        out = whole[..., 0].astype(self.dtype, copy=False)
        return out[:, 0] if flat else out
