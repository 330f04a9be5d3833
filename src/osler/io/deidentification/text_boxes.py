"""Text in a picture: where it is, by RapidOCR's networks, which come with the package."""

import logging
import os
import re
from functools import cache
from importlib.util import find_spec
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
_MARGIN: Final = 3  # pixels around the text that go with it


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


def find(picture: NDArray[np.uint8], *, markers: bool) -> list[Box]:
    """Rectangles around text.

    Args:
        picture: ``(H, W)`` grey.
        markers: leave side and view markers ("L", "PA") out.
    """
    if min(picture.shape) < _SMALLEST:
        return []
    result = _engine()(np.repeat(picture[..., None], 3, axis=2))
    if result is None or result.boxes is None:
        return []
    found = []
    for corners, text in zip(result.boxes, result.txts, strict=True):
        word = re.sub(r"[^\w]+", "", text).upper()
        if markers and _MARKERS.fullmatch(word):
            continue
        if len(word) < 2:
            continue  # anatomy that looks like a stroke reads as nothing, or as a single sign
        found.append(_around(corners, picture.shape))
    return found


def _around(corners: Any, shape: tuple[int, ...]) -> Box:
    points = np.asarray(corners)
    left, top = np.floor(points.min(axis=0)).astype(int) - _MARGIN
    right, bottom = np.ceil(points.max(axis=0)).astype(int) + _MARGIN
    height, width = shape[:2]
    return Box(
        max(int(left), 0), max(int(top), 0), min(int(right), width), min(int(bottom), height)
    )
