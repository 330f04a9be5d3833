"""Decoders kept quiet: they quote values of the header, and so perhaps the patient.

``warnings.catch_warnings`` swaps state that all threads share: two threads that leave it in another
order than they entered let warnings through, or silence the whole process for good. Here a filter
of warnings asks which thread warns, and levels of logs go back when the last thread has left.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

_here = threading.local()
_lock = threading.Lock()
_levels: dict[str, tuple[int, int]] = {}  # by logger: how many threads hush it, its level before


class _Hushed:
    """In the place of a pattern: matches whatever is warned of in a thread that is hushed."""

    def match(self, _text: str) -> bool:
        return getattr(_here, "depth", 0) > 0


_FILTER = ("ignore", _Hushed(), Warning, None, 0)


@contextmanager
def hushed(*logs: str) -> Iterator[None]:
    """No warning of this thread, and nothing in the logs of pydicom and of ``logs``, meanwhile.

    Threads that are started within are not hushed: have them call it themselves.
    """
    names = ("pydicom", *logs)
    with _lock:
        _filter_first()
        for name in names:
            _hush(name)
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        yield
    finally:
        _here.depth -= 1
        with _lock:
            for name in names:
                _release(name)


def _filter_first() -> None:
    """Ahead of what others have added since; it stays, and matches nothing that is not hushed."""
    filters = cast("list[Any]", warnings.filters)
    if not filters or filters[0] is not _FILTER:
        filters[:] = [_FILTER, *(one for one in filters if one is not _FILTER)]


def _hush(name: str) -> None:
    logger = logging.getLogger(name)
    count, before = _levels.get(name, (0, logger.level))
    if count == 0:
        logger.setLevel(logging.CRITICAL + 1)  # loggers below it, which a filter would not reach
    _levels[name] = count + 1, before


def _release(name: str) -> None:
    count, before = _levels.pop(name)
    if count > 1:
        _levels[name] = count - 1, before
    else:
        logging.getLogger(name).setLevel(before)
