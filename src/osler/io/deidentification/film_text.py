"""Text in the frames of a film: every frame is searched, and no place twice for the same pixels.

Each frame is compared with what was searched last in the same places. Text that is not there shows
in the difference as thin strokes; where there are none, nothing that could be read is new, and the
detector need not look. What was found already goes in all frames, so that it is blank from then on.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.io.deidentification.device_rules import Box

Picture = NDArray[np.uint8]

_SHARP, _SMOOTH = 3, 31  # pixels: sides of the squares over which the difference is averaged
_STROKE: Final = 6  # grey values of 255, by which a stroke departs from what is around it
_TILE: Final = 16  # pixels
_FEW: Final = 6  # pixels of a tile; a sign has more
_AROUND: Final = 48  # pixels that are looked at around a place with something new
_LEAST: Final = 192  # pixels; a smaller part shows the detector too little
_MOST: Final = 0.6  # of a frame; a larger part is searched as a whole
_SUMMED: Final = 8  # films of more frames than this are also searched in their sums


class FilmText:
    """The search of one film, frame by frame.

    Args:
        markers: leave side and view markers out.
        boxes: rectangles that go anyway, in every frame.

    Attributes:
        boxes: rectangles around text, each once.
        looks: how often the detector looked at a whole frame or a part of one.
    """

    def __init__(self, *, markers: bool, boxes: Iterable[Box] = ()) -> None:
        self._markers = markers
        self._given = list(boxes)
        self.boxes: list[Box] = []
        self.looks = 0
        self._seen: Picture | None = None
        self._low: Picture | None = None
        self._high: Picture | None = None
        self._total: NDArray[np.uint32] | None = None
        self._count = 0

    def add(self, picture: Picture, *, anew: bool = False) -> None:
        """Search a frame.

        Args:
            picture: ``(H, W)`` grey or ``(H, W, 3)`` colour, of the same shape each time.
            anew: its grey values are not to be compared with those before.
        """
        picture = _blank(picture.copy(), self._given)
        self._sum(picture)
        if self._seen is None or anew:
            self._seen = picture.copy()
            places = [_whole(picture)]
        else:
            places = news(_blank(picture.copy(), self.boxes), self._seen)
            for place in places:
                self._seen[_slices(place)] = picture[_slices(place)]
        self._search(places, picture)
        _blank(self._seen, self.boxes)

    def end(self) -> None:
        """Search sums over all frames, in which what is too faint in each of them shows."""
        if self._count <= _SUMMED or self._low is None or self._high is None:
            return
        mean = np.asarray(np.round(self._total / self._count), np.uint8)  # type: ignore[operator]
        for picture in (self._low, self._high, mean):
            if picture.max() > picture.min():
                self._search([_whole(picture)], picture)

    def _search(self, places: list[Box], picture: Picture) -> None:
        """Add the text in parts of a frame.

        What was found before is not blanked here: a rectangle around a part of a word would hide
        from the detector that it is one.
        """
        from osler.io.deidentification import text_boxes

        for place in places:
            self.looks += 1
            known = [_moved(box, -place.left, -place.top) for box in self.boxes]
            part, whole = picture[_slices(place)], picture.shape
            found = text_boxes.find(part, markers=self._markers, whole=whole, known=known)
            self.boxes += [_moved(box, place.left, place.top) for box in found]

    def _sum(self, picture: Picture) -> None:
        self._count += 1
        if self._low is None or self._high is None or self._total is None:
            self._low, self._high = picture.copy(), picture.copy()
            self._total = picture.astype(np.uint32)
            return
        np.minimum(self._low, picture, out=self._low)
        np.maximum(self._high, picture, out=self._high)
        self._total += picture


def _blank(picture: Picture, boxes: Iterable[Box]) -> Picture:
    for box in boxes:
        picture[_slices(box)] = 0
    return picture


def _moved(box: Box, x: int, y: int) -> Box:
    return Box(box.left + x, box.top + y, box.right + x, box.bottom + y)


def news(picture: Picture, seen: Picture) -> list[Box]:
    """Places where a picture has strokes that another of the same shape lacks.

    The difference less its own mean over 31 pixels is zero where nothing changed, and small where
    something smooth moved. A stroke of text that is new departs in it by a fifth at least of its
    contrast: text that is 30 grey values brighter or darker than its ground is never passed over.
    """
    from scipy import ndimage

    if (picture == seen).all():
        return []
    difference = picture.astype(np.float32) - seen
    flat = (1,) * (picture.ndim - 2)
    sharp = ndimage.uniform_filter(difference, (_SHARP, _SHARP, *flat), mode="nearest")
    sharp -= ndimage.uniform_filter(difference, (_SMOOTH, _SMOOTH, *flat), mode="nearest")
    strokes = np.abs(sharp) > _STROKE
    height, width = picture.shape[:2]
    tiles = _tiles(np.atleast_3d(strokes).max(axis=2))
    if not tiles.any():
        return []
    joined = ndimage.binary_dilation(tiles, np.ones((3, 3), bool), iterations=2)
    groups, _ = ndimage.label(joined)
    places = [
        _place(part[0].start, part[1].start, part[0].stop, part[1].stop, height, width)
        for part in ndimage.find_objects(groups)
    ]
    area = sum((p.right - p.left) * (p.bottom - p.top) for p in places)
    return [_whole(picture)] if area > _MOST * height * width else places


def _tiles(strokes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which tiles, half over one another, hold more pixels of strokes than noise does."""
    height, width = strokes.shape
    half = _TILE // 2
    padded = np.pad(strokes, ((0, -height % half), (0, -width % half)))
    halves = padded.reshape(padded.shape[0] // half, half, padded.shape[1] // half, half)
    counts = np.pad(halves.sum(axis=(1, 3)), ((0, 1), (0, 1)))
    four = counts[:-1, :-1] + counts[1:, :-1] + counts[:-1, 1:] + counts[1:, 1:]
    return np.asarray(four >= _FEW)


def _place(top: int, left: int, bottom: int, right: int, height: int, width: int) -> Box:
    """The pixels of a group of half tiles, with what is around them."""
    half = _TILE // 2
    y0, y1 = _span(top * half - _AROUND, bottom * half + half + _AROUND, height)
    x0, x1 = _span(left * half - _AROUND, right * half + half + _AROUND, width)
    return Box(x0, y0, x1, y1)


def _span(start: int, stop: int, length: int) -> tuple[int, int]:
    more = max(_LEAST - (stop - start), 0)
    start, stop = start - more // 2, stop + more - more // 2
    start, stop = start - max(stop - length, 0), stop - min(start, 0)
    return max(start, 0), min(stop, length)


def _whole(picture: NDArray[Any]) -> Box:
    return Box(0, 0, picture.shape[1], picture.shape[0])


def _slices(box: Box) -> tuple[slice, slice]:
    return slice(box.top, box.bottom), slice(box.left, box.right)


def search(
    pictures: Iterator[tuple[Picture, bool]], *, markers: bool, boxes: Iterable[Box] = ()
) -> FilmText:
    """Search pictures, each with whether it is to be compared with none before it."""
    film = FilmText(markers=markers, boxes=boxes)
    for picture, anew in pictures:
        film.add(picture, anew=anew)
    film.end()
    return film
