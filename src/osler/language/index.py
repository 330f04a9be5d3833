"""An index on disk of images and texts by their embeddings, and what in it is like a query.

::

    index = Index.create("index", encoder.said)
    index.append(encoder.images(pictures), entries)
    for hit in index.search(encoder.texts(["macular hole"]), 10)[0]:
        hit.score, hit.entry.file

No patient is named in it unless ``names=True`` asks for that; a number says which entries belong to
one. No text is in it either: what a hit says is read again from its file, if the file is unchanged.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, OutputError, RecipeError, UnreadableError
from osler.language import index_parts as parts
from osler.language.index_entry import KINDS, Entry, Hit, Kind
from osler.language.index_graph import Graph, build_graph
from osler.language.index_parts import EncoderSaid, Lines, Listed, Part
from osler.language.searching import nearest
from osler.models.text_encoder import unit

__all__ = ("KINDS", "Entry", "Hit", "Index", "Kind")


class Index:
    """An index on disk; made by ``Index.create`` or ``Index.open``.

    Attributes:
        folder: where it lies.
        listed: what its list says.
    """

    def __init__(self, folder: Path, listed: Listed) -> None:
        self.folder = folder
        self.listed = listed

    @classmethod
    def create(
        cls,
        folder: str | Path,
        encoder: EncoderSaid,
        *,
        dtype: Literal["float32", "float16"] = "float32",
        names: bool = False,
    ) -> "Index":
        """A new, empty index.

        Args:
            folder: new, or empty.
            encoder: what makes its vectors.
            dtype: of the vectors on disk; ``float16`` takes half the room and more time.
            names: entries may say their patient and case.

        Raises:
            OutputError: the folder holds something, or cannot be written.
        """
        path = Path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
            there = [one.name for one in path.iterdir() if not one.name.startswith(".")]
        except OSError as error:
            raise OutputError(f"'{path}' cannot be written: {error.strerror}") from error
        if there:
            raise OutputError(f"'{path}' is not empty; an index takes a folder of its own")
        listed = Listed(encoder=encoder, dtype=dtype, names=names, groups=0)
        parts.write_list(path, listed, before=None)
        return cls(path, listed)

    @classmethod
    def open(cls, folder: str | Path) -> "Index":
        """An index that lies on disk. Its vectors stay there until they are searched.

        Raises:
            InputError: there is none.
            UnreadableError: its list is damaged, or a file is missing or has another size.
        """
        path = Path(folder)
        listed = parts.read_list(path)
        for part in (*listed.parts, *([listed.graph] if listed.graph else [])):
            parts.check_sizes(path, part)
        return cls(path, listed)

    def verify(self) -> None:
        """Compare every byte with what was written; the vectors are read whole.

        Raises:
            UnreadableError: a file has changed.
        """
        for part in (*self.listed.parts, *([self.listed.graph] if self.listed.graph else [])):
            parts.check_content(self.folder, part)

    def __len__(self) -> int:
        return self.listed.count

    def append(
        self,
        vectors: NDArray[Any],
        entries: Sequence[Entry],
        *,
        groups: Sequence[str] | None = None,
    ) -> int:
        """Add what is not there yet. Either all of it is there afterwards, or nothing.

        Args:
            vectors: ``(N, D)``, scaled to length 1 here.
            entries: what each is.
            groups: whose each is, such as a patient; None takes each for itself. Only numbers are
                kept; in an index with ``names`` the same patient keeps its number in a later call.

        Returns:
            How many were added; an entry of the same item of the same file is not taken twice.

        Raises:
            InputError: lengths do not fit, or a vector has no direction.
            OutputError: it cannot be written, or another run has changed the index meanwhile.
        """
        if len(vectors) != len(entries) or (groups is not None and len(groups) != len(entries)):
            raise InputError("vectors, entries and groups are not of one length")
        if len(entries) and vectors.shape[1:] != (self.listed.encoder.dim,):
            raise InputError(
                f"vectors are {vectors.shape}; the index holds {self.listed.encoder.dim} numbers "
                "each"
            )
        new = self._new([one.digest for one in entries])
        if not new:
            return 0
        taken = [entries[row] for row in new]
        numbers, count = self._numbers(
            taken, [f"#{row}" for row in new] if groups is None else [groups[row] for row in new]
        )
        if not self.listed.names and any(one.patient or one.case for one in taken):
            raise InputError("this index names no patients; make it with names=True")
        part = parts.write_part(
            self.folder,
            unit(vectors[new]).astype(self.listed.dtype),
            numbers,
            np.array([KINDS.index(one.kind) for one in taken], np.uint8),
            np.frombuffer(b"".join(one.digest for one in taken), np.uint8).reshape(-1, 32),
            [{key: said for key, said in asdict(one).items() if said} for one in taken],
        )
        self._replace(parts=(*self.listed.parts, part), groups=count)
        return len(taken)

    def holds(self, entry: Entry) -> bool:
        """Whether this item of this file is there already."""
        return entry.digest in self._digests

    def row_of(self, entry: Entry) -> int | None:
        """The row of the same item of the same file content, if it is there."""
        return self._digests.get(entry.digest)

    def entry(self, row: int) -> Entry:
        """What the index says of a row.

        Raises:
            UnreadableError: it is damaged.
        """
        number = int(np.searchsorted(self._ends, row, side="right"))
        start = int(self._ends[number - 1]) if number else 0
        said = self._lines[number][row - start]
        try:
            out = Entry(**{**said, "labels": dict(said.get("labels", {}))})
            strings = (out.file, out.sha256, out.item, out.place, out.case, out.patient)
            sound = out.kind in KINDS and all(isinstance(one, str) for one in strings)
        except (TypeError, ValueError):
            sound = False
        if not sound:
            raise UnreadableError(f"entry {row} of the index '{self.folder}' is damaged")
        return out

    def entries(self) -> Iterator[Entry]:
        """All entries, in the order of their rows."""
        return (self.entry(row) for row in range(len(self)))

    def search(
        self,
        queries: NDArray[Any],
        k: int = 10,
        *,
        kind: Kind | None = None,
        own: Sequence[int] | None = None,
        approximate: bool = False,
        effort: int = 64,
    ) -> list[list[Hit]]:
        """The entries nearest to each query, the nearest first.

        Args:
            queries: ``(Q, D)``, by the encoder of the index.
            k: how many.
            kind: only images or only texts.
            own: for each query the group (``groups``) that is left out, -1 for none.
            approximate: follow a graph of near neighbours; needs ``build``.
            effort: so many neighbours are followed at a time: more find more, and take longer.

        Raises:
            InputError: the index is empty, or the shapes do not fit.
            RecipeError: ``approximate``, and no graph was built.
        """
        if not len(self):
            raise InputError(f"the index '{self.folder}' is empty; add to it by 'osler index'")
        found = self._nearest(queries, k, kind, own, effort if approximate else None)
        return [[Hit(row, score, self.entry(row)) for row, score in one] for one in found]

    def build(self) -> None:
        """Make the approximate index of all rows there are; what is added later is searched whole.

        Raises:
            MissingExtraError: faiss is not installed.
            OutputError: it cannot be written.
        """
        stored = [self._vectors(part) for part in self.listed.parts]
        self._replace(graph=build_graph(self.folder, stored))

    def learn_known(self, *, most: int = 1000, seed: int = 0) -> None:
        """Learn how near entries are to the nearest of another group: see ``likeness``.

        Args:
            most: so many entries of a kind are drawn.
            seed: of the draw.
        """
        known = {}
        rng = np.random.default_rng(seed)
        for asking in KINDS:
            rows = np.flatnonzero(self._kinds == KINDS.index(asking))
            if len(rows) > most:
                rows = np.sort(rng.choice(rows, most, replace=False))
            for given in KINDS:
                if not len(rows) or not (self._kinds == KINDS.index(given)).any():
                    continue
                own = self._groups[rows]
                found = self._nearest(self.vectors(rows), 1, given, own, None)
                known[f"{asking}-{given}"] = sorted(round(one[0][1], 6) for one in found if one)
        self._replace(known=known)

    def likeness(self, score: float, *, asked: Kind, given: Kind) -> float | None:
        r"""The conformal p-value of a query whose nearest entry has this score.

        The share of entries whose own nearest entry of another group is no nearer,
        :math:`(1 + \#\{s_i \le s\}) / (n + 1)` [1]_. A query that is exchangeable with the entries
        falls to p or below with a chance of at most p; so 0.05 and below says that nothing like it
        is in the index, and is wrong of one in twenty that belong.

        References:
            .. [1] Vovk, Gammerman & Shafer, "Algorithmic learning in a random world", Springer,
               2005; Laxhammar & Falkman, "Conformal prediction for distribution-independent
               anomaly detection", 2010.

        Returns:
            The p-value; None where nothing was learnt for this pair of kinds.
        """
        learnt = self.listed.known.get(f"{asked}-{given}", [])
        if not learnt:
            return None
        below = int(np.searchsorted(np.asarray(learnt), score + 1e-6, side="right"))
        return (1 + below) / (len(learnt) + 1)

    def threshold(self, coverage: float, *, asked: Kind, given: Kind) -> float | None:
        """The score below which nothing in the index is like a query.

        Returns:
            The score; None where too few entries were learnt from for this coverage.
        """
        learnt = self.listed.known.get(f"{asked}-{given}", [])
        rank = math.floor((1 - Fraction(str(coverage))) * (len(learnt) + 1))
        return learnt[rank - 1] if 1 <= rank <= len(learnt) else None

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Stored vectors, ``(len(rows), D)``."""
        out = np.empty((len(rows), self.listed.encoder.dim), np.float32)
        numbers = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(numbers):
            start = int(self._ends[number - 1]) if number else 0
            here = np.flatnonzero(numbers == number)
            out[here] = self._vectors(self.listed.parts[number])[rows[here] - start]
        return out

    @property
    def groups(self) -> NDArray[np.int64]:
        """``(N,)``, a number for whose each entry is."""
        return self._groups

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """``(N,)``, 0 for images and 1 for texts."""
        return self._kinds

    def where(self, entry: Entry) -> Path:
        """Where an entry's file lies, as far as the index says."""
        return Path(os.path.normpath(self.folder / entry.file))

    def _nearest(
        self,
        queries: NDArray[Any],
        k: int,
        kind: Kind | None,
        own: Sequence[int] | NDArray[np.int64] | None,
        effort: int | None,
    ) -> list[list[tuple[int, float]]]:
        asked = unit(np.atleast_2d(queries))
        allowed = None if kind is None else self._kinds == KINDS.index(kind)
        left_out = None if own is None else np.asarray(own, np.int64)
        found: list[list[tuple[int, float]]] = [[] for _ in asked]
        start = 0
        if effort is not None:
            if self.listed.graph is None:
                raise RecipeError(
                    f"the index '{self.folder}' has no graph to follow; make one by "
                    "'osler index --approximate', or search exactly"
                )
            start = self.listed.graph.count
            for query, vector in enumerate(asked):
                may = None if allowed is None else allowed[:start]
                if left_out is not None and left_out[query] >= 0:
                    others = self._groups[:start] != left_out[query]
                    may = others if may is None else may & others
                rows, scores = self._graph.search(vector, k, effort, may)
                found[query] += list(zip(rows.tolist(), scores.tolist(), strict=True))
        begin = 0
        for part in self.listed.parts:
            end = begin + part.count
            if end > start:
                said = nearest(
                    self._vectors(part), asked, k,
                    allowed=None if allowed is None else allowed[begin:end],
                    groups=self._groups[begin:end], own=left_out,
                )  # fmt: skip
                for query, (rows, scores) in enumerate(zip(said.rows, said.scores, strict=True)):
                    found[query] += [
                        (int(row) + begin, float(score))
                        for row, score in zip(rows, scores, strict=True)
                        if row >= 0
                    ]
            begin = end
        return [sorted(one, key=lambda hit: (-hit[1], hit[0]))[:k] for one in found]

    def _replace(self, **changed: Any) -> None:
        listed = Listed.model_validate({**self.listed.model_dump(), **_dumped(changed)})
        parts.write_list(self.folder, listed, before=self.listed)
        self.listed = listed
        for name in ("_ends", "_groups", "_kinds", "_digests", "_lines", "_graph"):
            self.__dict__.pop(name, None)

    def _new(self, digests: Sequence[bytes]) -> list[int]:
        """Numbers of what is neither there nor earlier in the list."""
        seen: set[bytes] = set()
        out = []
        for row, digest in enumerate(digests):
            if digest not in self._digests and digest not in seen:
                out.append(row)
                seen.add(digest)
        return out

    def _numbers(
        self, entries: Sequence[Entry], said: Sequence[str]
    ) -> tuple[NDArray[np.int64], int]:
        """A number for each group, and how many there are then."""
        known: dict[str, int] = {}
        if self.listed.names:
            for row, entry in enumerate(self.entries()):
                if entry.patient:
                    known.setdefault(f"patient {entry.patient}", int(self._groups[row]))
        count = self.listed.groups
        out = []
        for entry, group in zip(entries, said, strict=True):
            key = f"patient {entry.patient}" if entry.patient else f"group {group}"
            if key not in known:
                known[key] = count
                count += 1
            out.append(known[key])
        return np.array(out, np.int64), count

    def _vectors(self, part: Part) -> NDArray[Any]:
        shape = (part.count, self.listed.encoder.dim)
        return parts.array(
            self.folder, part, parts.VECTORS, self.listed.dtype, shape, mapped=True
        )  # fmt: skip

    def _joined(self, name: str, dtype: str, *tail: int) -> NDArray[Any]:
        pieces = [
            parts.array(self.folder, part, name, dtype, (part.count, *tail))
            for part in self.listed.parts
        ]
        return np.concatenate(pieces) if pieces else np.empty((0, *tail), dtype)

    @cached_property
    def _graph(self) -> Graph:
        assert self.listed.graph is not None
        return Graph.open(self.folder, self.listed.graph, self.listed, self.vectors)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([part.count for part in self.listed.parts], dtype=np.int64)

    @cached_property
    def _groups(self) -> NDArray[np.int64]:
        return self._joined(parts.GROUPS, "int64")

    @cached_property
    def _kinds(self) -> NDArray[np.uint8]:
        return self._joined(parts.KINDS, "uint8")

    @cached_property
    def _digests(self) -> dict[bytes, int]:
        joined = self._joined(parts.DIGESTS, "uint8", 32)
        return {row.tobytes(): number for number, row in enumerate(joined)}

    @cached_property
    def _lines(self) -> list[Lines]:
        return [
            Lines(
                self.folder / part.name / parts.ENTRIES,
                parts.array(self.folder, part, parts.STARTS, "int64", (part.count + 1,)),
            )
            for part in self.listed.parts
        ]


def _dumped(changed: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in changed.items():
        if isinstance(value, tuple):
            out[key] = tuple(one.model_dump() for one in value)
        else:
            out[key] = value.model_dump() if isinstance(value, Part) else value
    return out
