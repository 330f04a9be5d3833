"""The approximate index: a graph of near neighbours, along which a query finds its own.

faiss's hierarchical navigable small world [1]_, [2]_ over vectors of 8 bits a number; what it finds
is compared again with the vectors themselves, so scores are exact. The graph lies beside them as
faiss writes it. Its digest is compared before faiss reads it; an index of somebody whom one does
not trust is better searched exactly, which reads plain arrays alone.

References:
    .. [1] Malkov & Yashunin, "Efficient and robust approximate nearest neighbor search using
       hierarchical navigable small world graphs", IEEE Transactions on Pattern Analysis and Machine
       Intelligence 42(4):824-836, 2020.
    .. [2] Douze et al., "The Faiss library", arXiv:2401.08281, 2024.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, MissingExtraError, UnreadableError
from osler.language import index_parts as parts
from osler.language.index_parts import Listed, Part

GRAPH: Final = "graph.faiss"
_LINKS: Final = 32
_BUILT_WITH: Final = 100  # neighbours that are looked at for each vector that is added
_AT_ONCE: Final = 16_384
_TAUGHT: Final = 65_536  # vectors from which the range of each number is taken
_MORE: Final = 4  # times as many are compared again as are asked for

Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]


def build_graph(folder: Path, stored: Sequence[NDArray[Any]]) -> Part:
    """Link vectors to their near neighbours.

    Args:
        folder: of the index.
        stored: the vectors of each part, ``(N, D)``.

    Raises:
        MissingExtraError: faiss is not installed.
        InputError: there are none.
        OutputError: it cannot be written.
    """
    faiss = _faiss("build an approximate index")
    count = sum(map(len, stored))
    if not count:
        raise InputError("the index is empty; there is nothing to link")
    graph = faiss.IndexHNSWSQ(
        stored[0].shape[1], faiss.ScalarQuantizer.QT_8bit, _LINKS, faiss.METRIC_INNER_PRODUCT
    )
    graph.hnsw.efConstruction = _BUILT_WITH
    step = max(1, count // _TAUGHT)
    graph.train(np.concatenate([part[::step] for part in stored]).astype(np.float32))
    for part in stored:
        for start in range(0, len(part), _AT_ONCE):
            graph.add(np.ascontiguousarray(part[start : start + _AT_ONCE], np.float32))
    with parts.new_folder(folder, "graph") as path:
        try:
            faiss.write_index(graph, str(path / GRAPH))
        except RuntimeError as error:  # faiss tells of a full disk in its own way
            raise OSError(0, "faiss could not write the graph") from error
        return parts.described(path, count)


@dataclass(slots=True)
class Graph:
    """A graph in memory, and how the vectors behind it are read."""

    index: Any
    vectors: Vectors

    @classmethod
    def open(cls, folder: Path, part: Part, listed: Listed, vectors: Vectors) -> "Graph":
        """Read the graph, once its bytes are those that were written.

        Raises:
            MissingExtraError: faiss is not installed.
            UnreadableError: it is damaged, or of another index.
        """
        faiss = _faiss("search an approximate index")
        parts.check_content(folder, part)
        path = folder / part.name / GRAPH
        try:
            index = faiss.read_index(str(path))
            fits = isinstance(index, faiss.IndexHNSWSQ) and index.d == listed.encoder.dim
        except Exception as error:  # of whatever its bytes make faiss raise
            raise UnreadableError(f"'{path}' is no graph; build it anew") from error
        if not fits or index.ntotal != part.count or part.count > listed.count:
            raise UnreadableError(f"'{path}' is of another index; build it anew")
        return cls(index, vectors)

    def search(
        self, query: NDArray[np.float32], k: int, effort: int, may: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows and their scores, the nearest first.

        Args:
            query: ``(D,)``, of length 1.
            k: how many.
            effort: so many neighbours are followed at a time.
            may: ``(N,)``, what may be found; None allows all.
        """
        if effort < 1:
            raise InputError(f"'effort' is {effort}; follow one neighbour or more")
        allowed = self.index.ntotal if may is None else int(may[: self.index.ntotal].sum())
        wanted = min(_MORE * k, allowed)
        width = max(effort, wanted)
        rows = self._found(query, wanted, width, may)
        # where little is allowed the way to it is longer
        while len(rows) < min(k, allowed) and width < self.index.ntotal:
            width *= 4
            rows = self._found(query, wanted, width, may)
        rows = np.sort(rows)
        scores = (self.vectors(rows) @ query).astype(np.float64)
        order = np.lexsort((rows, -scores))[:k]
        return rows[order], scores[order]

    def _found(
        self, query: NDArray[np.float32], wanted: int, width: int, may: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        faiss = _faiss("search an approximate index")
        if not wanted:
            return np.empty(0, np.int64)
        bits = None if may is None else np.packbits(may[: self.index.ntotal], bitorder="little")
        chosen = {} if bits is None else {"sel": faiss.IDSelectorBitmap(bits)}
        asked = faiss.SearchParametersHNSW(efSearch=width, **chosen)
        _, rows = self.index.search(query[None].astype(np.float32), wanted, params=asked)
        found: NDArray[np.int64] = rows[0][rows[0] >= 0]
        return found


def _faiss(purpose: str) -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("faiss", extra="retrieval", purpose=purpose) from error
    return faiss
