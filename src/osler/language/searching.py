"""The nearest of many vectors, exactly: blocks of one matrix product, and the best so far.

Vectors have length 1, so their product is the cosine of the angle between them. A first pass in
single precision keeps a few more than are asked for; these are scored again in double precision
from what is stored, so that the order does not hang on how the blocks were cut.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError

Vectors = NDArray[np.float32]

BLOCK: Final = 1024
"""Rows at a time: 2 MB of 512 numbers, which stay in a processor's cache."""

_ALONE: Final = 16_384
"""Rows at a time for one or a few queries, which are bound by memory and not by the cache."""

_SPARE: Final = 16
"""So many more candidates than asked for are scored in double precision."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest rows of each query, the nearest first; of equal ones the earlier row.

    Attributes:
        rows: ``(Q, k)``, numbers of the stored vectors; -1 where fewer than k could be given.
        scores: ``(Q, k)``, cosines, -1 to 1; NaN where there is no row.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


def nearest(
    stored: NDArray[Any],
    queries: NDArray[Any],
    k: int,
    *,
    allowed: NDArray[np.bool_] | None = None,
    groups: NDArray[np.int64] | None = None,
    own: NDArray[np.int64] | None = None,
) -> Nearest:
    """Find the k stored vectors that are nearest to each query.

    Args:
        stored: ``(N, D)`` of length 1, ``float32`` or ``float16``; may be mapped from a file.
        queries: ``(Q, D)`` of length 1.
        k: how many; fewer are given where fewer are stored or allowed.
        allowed: ``(N,)``, rows that may be given; None allows all.
        groups: ``(N,)``, whose each row is, such as a patient's number; needed with ``own``.
        own: ``(Q,)``, the group of each query, none of whose rows is given to it.

    Raises:
        InputError: the shapes do not fit, or a query is not finite.
    """
    asked = np.ascontiguousarray(queries, np.float32)
    _check(stored, asked, k, allowed, groups, own)
    count = len(stored)
    keep = min(k + _SPARE, count)
    rows = np.full((len(asked), keep), -1, np.int64)
    best = np.full((len(asked), keep), -np.inf, np.float32)
    step = BLOCK if len(asked) > 4 else _ALONE
    room = np.empty((min(step, count), stored.shape[1]), np.float32)
    for start in range(0, count, step):
        end = min(start + step, count)
        # by slices: a mapped file is read once, in order, and never as a whole
        part = stored[start:end]
        if part.dtype != np.float32:
            np.copyto(room[: end - start], part)
            part = room[: end - start]
        scores = asked @ part.T
        if allowed is not None:
            scores[:, ~allowed[start:end]] = -np.inf
        if own is not None and groups is not None:
            scores[groups[start:end][None] == own[:, None]] = -np.inf
        _merge(scores, start, rows, best)
    return _again(stored, asked, rows, min(k, count))


def _check(
    stored: NDArray[Any],
    asked: Vectors,
    k: int,
    allowed: NDArray[np.bool_] | None,
    groups: NDArray[np.int64] | None,
    own: NDArray[np.int64] | None,
) -> None:
    if stored.ndim != 2 or asked.ndim != 2 or stored.shape[1] != asked.shape[1]:
        raise InputError(
            f"the stored vectors are {stored.shape} and the queries {asked.shape}; expected "
            "(N, D) and (Q, D) with one D"
        )
    if k < 1:
        raise InputError(f"'k' is {k}; ask for one neighbour or more")
    if not np.isfinite(asked).all():
        raise InputError("a query holds NaN or infinite values")
    if allowed is not None and allowed.shape != (len(stored),):
        raise InputError(f"'allowed' is {allowed.shape}; expected {(len(stored),)}")
    if own is not None and (
        groups is None or groups.shape != (len(stored),) or own.shape != (len(asked),)
    ):
        raise InputError("'own' needs a group for each query, and 'groups' one for each row")


def _merge(scores: Vectors, start: int, rows: NDArray[np.int64], best: Vectors) -> None:
    """Take a block's best into the best so far, which they change."""
    keep = rows.shape[1]
    if scores.shape[1] > 4 * keep:
        # most blocks hold nothing better than the worst that is kept
        promising = np.flatnonzero(scores.max(axis=1) > best[:, -1])
    else:
        promising = np.arange(len(scores))
    for query in promising:
        line = scores[query]
        better = np.flatnonzero(line > best[query, -1])
        if len(better) > keep:
            better = _top(line, better, keep)
        merged = np.concatenate([best[query], line[better]])
        numbers = np.concatenate([rows[query], better + start])
        # stable, and rows come in order: of equal scores the earlier row stays
        order = np.argsort(-merged, kind="stable")[:keep]
        best[query], rows[query] = merged[order], numbers[order]


def _top(line: Vectors, candidates: NDArray[np.int64], keep: int) -> NDArray[np.int64]:
    """The ``keep`` best of the candidates, in order of their rows; of equal ones the earlier."""
    values = line[candidates]
    least = -np.partition(-values, keep - 1)[keep - 1]
    above = candidates[values > least]
    level = candidates[values == least][: keep - len(above)]
    return np.sort(np.concatenate([above, level]))


def _again(stored: NDArray[Any], asked: Vectors, rows: NDArray[np.int64], k: int) -> Nearest:
    """Score the candidates in double precision and give the k best."""
    out_rows = np.full((len(asked), k), -1, np.int64)
    out_scores = np.full((len(asked), k), np.nan)
    for query, (vector, candidates) in enumerate(zip(asked, rows, strict=True)):
        found = np.sort(candidates[candidates >= 0])
        # row by row: a product's last bits hang on how many rows it has
        exact = (stored[found].astype(np.float64) * vector.astype(np.float64)).sum(axis=1)
        order = np.lexsort((found, -exact))[:k]
        out_rows[query, : len(order)] = found[order]
        out_scores[query, : len(order)] = exact[order]
    return Nearest(out_rows, out_scores)
