"""The approximate index: vectors laid out by cells, of which a query looks into the nearest few.

An inverted file [1]_: k-means on the sphere finds the cells, every vector lies in the cell of its
nearest centre, and a query is compared with the vectors of as many cells as it is told. faiss [2]_
finds the centres and the cells; what lies on the disk are plain arrays, which are mapped and cannot
run code, and searching them needs no further package.

References:
    .. [1] Jégou, Douze & Schmid, "Product quantization for nearest neighbor search", IEEE
       Transactions on Pattern Analysis and Machine Intelligence 33(1):117-128, 2011, section IV.
    .. [2] Douze et al., "The Faiss library", arXiv:2401.08281, 2024.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, MissingExtraError, UnreadableError
from osler.language import index_parts as parts
from osler.language.index_parts import Listed, Part
from osler.language.searching import nearest

CENTRES, BOUNDS, ROWS = "centres.npy", "bounds.npy", "rows.npy"
_TAUGHT: Final = 64  # vectors a cell from which its centre is found
_ROUNDS: Final = 10
_AT_ONCE: Final = 32_768


def build_cells(
    folder: Path, stored: Sequence[NDArray[Any]], *, cells: int | None = None, seed: int = 0
) -> Part:
    """Lay vectors out by cells.

    Args:
        folder: of the index.
        stored: the vectors of each part, ``(N, D)``.
        cells: how many; None takes the square root of the number of vectors.
        seed: of the draw from which the centres are found.

    Raises:
        MissingExtraError: faiss is not installed.
        InputError: there are fewer vectors than cells.
        OutputError: it cannot be written.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "faiss", extra="retrieval", purpose="build an approximate index"
        ) from error
    count = sum(map(len, stored))
    if not count:
        raise InputError("the index is empty; there is nothing to lay out")
    wanted = max(1, round(count**0.5)) if cells is None else cells
    if not 1 <= wanted <= count:
        raise InputError(f"{wanted} cells for {count} vectors; ask for 1 to {count}")
    drawn = np.sort(np.random.default_rng(seed).permutation(count)[: _TAUGHT * wanted])
    dim = stored[0].shape[1]
    kmeans = faiss.Kmeans(
        dim, wanted, niter=_ROUNDS, spherical=True, seed=seed, min_points_per_centroid=1
    )
    kmeans.train(_taken(stored, drawn))
    centres = np.ascontiguousarray(kmeans.centroids, np.float32)
    cell = np.concatenate(
        [
            nearest(centres, part[start : start + _AT_ONCE], 1).rows[:, 0]
            for part in stored
            for start in range(0, len(part), _AT_ONCE)
        ]
    )
    rows = np.argsort(cell, kind="stable")
    bounds = np.searchsorted(cell[rows], np.arange(wanted + 1))
    with parts.new_folder(folder, "cells") as path:
        parts.save(path / CENTRES, centres)
        parts.save(path / BOUNDS, bounds.astype(np.int64))
        parts.save(path / ROWS, rows.astype(np.int64))
        laid = np.lib.format.open_memmap(
            path / parts.VECTORS, mode="w+", dtype=stored[0].dtype, shape=(count, dim)
        )
        for start in range(0, count, _AT_ONCE):
            laid[start : start + _AT_ONCE] = _taken(stored, rows[start : start + _AT_ONCE])
        laid.flush()
        del laid
        return parts.described(path, count)


def _taken(stored: Sequence[NDArray[Any]], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows across parts, in single precision."""
    ends = np.cumsum([len(part) for part in stored])
    numbers = np.searchsorted(ends, rows, side="right")
    out = np.empty((len(rows), stored[0].shape[1]), np.float32)
    for number in np.unique(numbers):
        here = numbers == number
        out[here] = stored[number][rows[here] - (ends[number] - len(stored[number]))]
    return out


@dataclass(slots=True)
class Cells:
    """Cells on disk, mapped."""

    centres: NDArray[np.float32]
    bounds: NDArray[np.int64]
    rows: NDArray[np.int64]
    vectors: NDArray[Any]

    @classmethod
    def open(cls, folder: Path, part: Part, listed: Listed) -> "Cells":
        """Open and check them.

        Raises:
            UnreadableError: they are damaged, or of another index.
        """
        dim = listed.encoder.dim
        path = folder / part.name / CENTRES
        try:
            count = len(np.load(path, mmap_mode="r", allow_pickle=False))
        except Exception as error:  # the parser of the header raises what its bytes make it
            raise UnreadableError(f"'{path}' is damaged; build the cells anew") from error
        centres = parts.array(folder, part, CENTRES, "float32", (count, dim))
        bounds = parts.array(folder, part, BOUNDS, "int64", (count + 1,))
        rows = parts.array(folder, part, ROWS, "int64", (part.count,), mapped=True)
        vectors = parts.array(
            folder, part, parts.VECTORS, listed.dtype, (part.count, dim), mapped=True
        )
        sound = bounds[0] == 0 and bounds[-1] == part.count and (np.diff(bounds) >= 0).all()
        if not sound or part.count > listed.count:
            raise UnreadableError(f"'{folder / part.name}' is damaged; build the cells anew")
        return cls(centres, bounds, rows, vectors)

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        probes: int,
        allowed: NDArray[np.bool_] | None,
        groups: NDArray[np.int64],
        own: int | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows of the index and their scores, the nearest first.

        There are fewer than k where the cells that were looked into hold no more.
        """
        if probes < 1:
            raise InputError(f"'probes' is {probes}; look into one cell or more")
        into = nearest(self.centres, query[None], min(probes, len(self.centres))).rows[0]
        found: list[NDArray[np.int64]] = []
        scores: list[NDArray[np.float64]] = []
        for cell in np.sort(into):
            begin, end = int(self.bounds[cell]), int(self.bounds[cell + 1])
            rows = np.asarray(self.rows[begin:end])
            if ((rows < 0) | (rows >= len(groups))).any():
                raise UnreadableError("the cells of the index are damaged; build them anew")
            if begin == end:
                continue
            may = np.ones(len(rows), bool) if allowed is None else allowed[rows]
            if own is not None:
                may &= groups[rows] != own
            said = nearest(self.vectors[begin:end], query[None], k, allowed=may)
            some = said.rows[0] >= 0
            found.append(rows[said.rows[0][some]])
            scores.append(said.scores[0][some])
        if not found:
            return np.empty(0, np.int64), np.empty(0)
        every, of = np.concatenate(found), np.concatenate(scores)
        order = np.lexsort((every, -of))[:k]
        return every[order], of[order]
