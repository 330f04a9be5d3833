"""Text in a picture: where it is, by RapidOCR's networks, which come with the package."""

import hashlib
import logging
import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import MissingExtraError
from osler.io.deidentification.device_rules import Box

_MARKERS: Final = re.compile(
    "[LRAPHFSI]|LT|RT|LEFT|RIGHT|AP|PA|LAT|[LRHAP][LRF]|ERECT|SUPINE|PRONE|PORTABLE|"
    "[LR]?(CC|MLO|ML|LM)|O[DSU]|[左右]"
)
"""Words on the picture that tell the side or the view and nothing of anybody."""

_SHORT_SIDE: Final = 512  # pixels; smaller pictures are enlarged to it
_SMALLEST: Final = 16  # pixels; a picture this small holds no legible word
_HIGHEST: Final = 1 / 3  # of the shorter side of a picture; two or three signs are not higher
_LOOKS: Final = 3
_MARGIN: Final = 3  # pixels around the text that go with it

_TEXTLESS: Final[set[bytes]] = set()
"""Digests of pictures in which this run found no text: a copy whose pixels are as they were is
read anew from its file by the second pass, but the networks would only say again what they said."""
_NEW: Final[list[bytes]] = []  # those that nobody has taken
_MOST_TEXTLESS: Final = 500_000  # digests, of 32 bytes each


@cache
def _engine() -> Any:
    """The recogniser, loaded once a process.

    Raises:
        MissingExtraError: it is not installed.
    """
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # it tells which model files it opens
    try:
        from rapidocr import RapidOCR

        return RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.text_score": 0.0,
                "Global.use_cls": False,  # upside-down lines are found all the same
                "Det.limit_type": "min",
                "Det.limit_side_len": _SHORT_SIDE,
                "EngineConfig.onnxruntime.enable_cpu_mem_arena": True,  # a fifth faster
                "EngineConfig.onnxruntime.intra_op_num_threads": int(
                    os.environ.get("OSLER_THREADS", "-1")
                ),
            }
        )
    except ImportError:
        raise MissingExtraError(
            "rapidocr", extra="deidentify", purpose="find text in pixels"
        ) from None
    finally:
        logging.disable(before)


def require() -> None:
    """Ask for the recogniser before there is work for it.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec("rapidocr") is None:
        raise MissingExtraError("rapidocr", extra="deidentify", purpose="find text in pixels")


def find(
    picture: NDArray[np.uint8],
    *,
    markers: bool,
    whole: tuple[int, ...] | None = None,
    known: Sequence[Box] = (),
) -> list[Box]:
    """Rectangles around text.

    The detector looks first; what it finds is read only to tell text from anatomy and markers.
    Where there is text, it looks again with that text blank: a line that was taken for two may
    have left a piece between them.

    Args:
        picture: ``(H, W)`` grey or ``(H, W, 3)`` colour.
        markers: leave side and view markers ("L", "PA") out.
        whole: shape of the picture that this is a part of, so that it is looked at in its scale.
        known: rectangles found before; what lies within one is not read again, nor told.
    """
    if min(picture.shape[:2]) < _SMALLEST:
        return []
    asked = hashlib.sha256(repr((picture.shape, markers, whole, known)).encode())
    asked.update(np.ascontiguousarray(picture).data)
    if asked.digest() in _TEXTLESS:
        return []
    found: list[Box] = []
    left = picture.copy()
    for _ in range(_LOOKS):
        more = _once(left, markers=markers, whole=whole or picture.shape, known=(*known, *found))
        if not more:
            break
        found += more
        for box in more:
            left[box.top : box.bottom, box.left : box.right] = 0
    if not found and len(_TEXTLESS) < _MOST_TEXTLESS:
        _TEXTLESS.add(asked.digest())
        _NEW.append(asked.digest())
    return found


def taken() -> tuple[bytes, ...]:
    """Digests of the pictures in which this process found no text since this was last asked."""
    new = tuple(_NEW)
    _NEW.clear()
    return new


def take(digests: Iterable[bytes]) -> None:
    """Know pictures in which another process of the same run found no text."""
    _TEXTLESS.update(islice(digests, max(0, _MOST_TEXTLESS - len(_TEXTLESS))))


def _once(
    picture: NDArray[np.uint8], *, markers: bool, whole: tuple[int, ...], known: Sequence[Box]
) -> list[Box]:
    """Rectangles around text, as it shows at one look."""
    colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    colour = np.ascontiguousarray(colour)
    corners = [
        corner
        for corner in _detected(colour, _least_side(colour.shape, whole))
        if not any(_within(_around(corner, picture.shape), box) for box in known)
    ]
    if not corners:
        return []
    engine = _engine()
    words = engine.recognize_txt(engine.crop_text_regions(colour, corners)).txts
    return [
        _around(corner, picture.shape)
        for corner, text in zip(corners, words, strict=True)
        if _tells(text, markers=markers) and not _is_noise(corner, text, min(whole[:2]))
    ]


def _is_noise(corners: NDArray[np.float32], text: str, short: int) -> bool:
    """Whether what was read as two or three signs is as high as no line of text is.

    In speckle, the detector may take a whole picture for text, in which chance reads a sign or two.
    """
    height = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1).min()
    return bool(height > short * _HIGHEST and len(re.findall(r"\w", text)) <= 3)


def _within(inner: Box, outer: Box) -> bool:
    """Whether a rectangle lies in another, but for the margin around it."""
    return (
        inner.left + _MARGIN >= outer.left
        and inner.top + _MARGIN >= outer.top
        and inner.right - _MARGIN <= outer.right
        and inner.bottom - _MARGIN <= outer.bottom
    )


def _detected(colour: NDArray[np.uint8], least_side: int) -> NDArray[np.float32]:
    """Corners of what looks like lines of text, ``(N, 4, 2)`` in pixels."""
    engine = _engine()
    if engine.text_det is None:
        engine._load_det_model()
    engine.text_det.limit_side_len = least_side
    result = engine(colour, use_det=True, use_cls=False, use_rec=False)
    if result is None or result.boxes is None:
        return np.zeros((0, 4, 2), np.float32)
    return np.asarray(result.boxes, np.float32)


def _least_side(shape: tuple[int, ...], whole: tuple[int, ...]) -> int:
    """To how many pixels the shorter side is enlarged, where it is less."""
    scale = max(_SHORT_SIDE / min(whole[:2]), 1.0)
    return max(round(min(shape[:2]) * scale), 32)


def _tells(text: str, *, markers: bool) -> bool:
    """Whether a line of text is one that goes."""
    word = re.sub(r"[^\w]+", "", text).upper()
    if markers and _MARKERS.fullmatch(word):
        return False
    return len(word) >= 2  # anatomy that looks like a stroke reads as nothing or as a single sign


def _around(corners: Any, shape: tuple[int, ...]) -> Box:
    points = np.asarray(corners)
    left, top = np.floor(points.min(axis=0)).astype(int) - _MARGIN
    right, bottom = np.ceil(points.max(axis=0)).astype(int) + _MARGIN
    height, width = shape[:2]
    return Box(
        max(int(left), 0), max(int(top), 0), min(int(right), width), min(int(bottom), height)
    )
