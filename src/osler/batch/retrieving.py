"""What in an index is like a text, a picture or a case: ``osler search``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from osler.batch.asking import one_case
from osler.batch.indexing import pieces_of
from osler.batch.retrieval_encoders import encoder_of
from osler.errors import InputError, RecipeError
from osler.language.encoder import Encoder
from osler.language.index import KINDS, Entry, Hit, Index, Kind
from osler.models.text_encoder import clean
from osler.record import Case, Image

_MOST_PATH: Final = 1000  # characters; what is longer is a text
_LITTLE: Final = 0.5  # of a text's parts are known, below which a search means little


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a search.

    Attributes:
        query: the text, or the path of the file.
        asked: the kinds of what the query held.
        hits: the nearest entries, the nearest first.
        same: rows of ``hits`` that are the query itself, by their content.
        likeness: the conformal p-value of "the query is like something here"; None where too few
            entries say what that means.
        coverage: the share of queries that belong for which ``known`` is to be true.
        known: whether something here is like the query; None where that cannot be said.
        understood: the share of a text's parts that the encoder knows.
        pictures: the query's images.
    """

    query: str
    asked: tuple[Kind, ...]
    hits: list[Hit]
    same: frozenset[int]
    likeness: float | None
    coverage: float
    known: bool | None
    understood: float
    pictures: tuple[Image, ...] = ()

    @property
    def doubts(self) -> list[str]:
        """What should be said with the answer."""
        out = []
        if self.understood < _LITTLE:
            out.append(
                f"the encoder knows only {self.understood:.0%} of this text's words; it was made "
                "for another language or script, and what it finds means little"
            )
        if self.known is False:
            out.append(
                f"nothing like this is in the index (p = {self.likeness:.3f}): what follows is "
                "only the least unlike"
            )
        return out


def search(
    query: "str | Path | Case",
    folder: str | Path,
    *,
    k: int = 10,
    kind: Kind | None = None,
    how: Literal["text", "file"] | None = None,
    others: bool = False,
    coverage: float = 0.95,
    approximate: bool = False,
    checkpoints: Sequence[Path] = (),
    index: Index | None = None,
    encoder: Encoder | None = None,
) -> Found:
    """Look for what is like a query.

    Args:
        query: a text, the path of a picture, report or case, or a case. What exists as a file is
            one; a name that ends as a file does and does not exist is refused.
        folder: of the index.
        k: how many.
        kind: only images, or only texts.
        how: take the query for a ``text`` or a ``file`` whatever it looks like.
        others: leave out the query itself and whatever belongs to the same patient.
        coverage: so many of the queries that belong are known as such; see ``Index.likeness``.
        approximate: follow the graph of near neighbours only.
        checkpoints: where the network's weights lie now, if they were moved.
        index: the index, if it is open already.
        encoder: its encoder, if it is open already.

    Raises:
        InputError: the query cannot be used, or the index was made with what is not here.
        RecipeError: an option does not fit.
    """
    if not 0 < coverage < 1:
        raise RecipeError(f"coverage {coverage} is not above 0 and below 1, such as 0.95")
    if k < 1:
        raise RecipeError(f"{k} neighbours; ask for one or more")
    at = index or Index.open(folder)
    using = encoder or encoder_of(at.listed.encoder, checkpoints=checkpoints)
    case = None if isinstance(query, str) and _is_text(query, how) else one_case(query)
    understood = 1.0
    if case is None:
        said = clean(str(query))
        understood = using.understood(said)
        kinds: tuple[Kind, ...] = ("text",)
        vectors = using.texts([said])
        rows: list[int | None] = [None]
        pictures: tuple[Image, ...] = ()
    else:
        kinds, vectors, rows, pictures = _of_case(case, at, using)
    own = [-1 if row is None else int(at.groups[row]) for row in rows]
    hits = _joined(
        at.search(vectors, k, kind=kind, own=own if others else None, approximate=approximate), k
    )
    likeness = _likeness(at, vectors, kinds, own, kind)
    # fewer entries than this promise needs can refuse nothing
    enough = any(
        at.threshold(coverage, asked=asked, given=given) is not None
        for asked in kinds
        for given in ((kind,) if kind else KINDS)
    )
    here = {row for row in rows if row is not None}
    return Found(
        query=str(query) if case is None or not isinstance(query, Case) else query.id,
        asked=tuple(dict.fromkeys(kinds)),
        hits=hits,
        same=frozenset(hit.row for hit in hits if hit.row in here),
        likeness=likeness,
        coverage=coverage,
        known=None if likeness is None or not enough else likeness > 1 - coverage,
        understood=understood,
        pictures=pictures,
    )


def _is_text(query: str, how: str | None) -> bool:
    if how is not None:
        return how == "text"
    if len(query) > _MOST_PATH or "\n" in query or "\0" in query:
        return True
    path = Path(query)
    try:
        if path.exists():
            return False
    except OSError:
        return True
    if " " not in query.strip() and (path.suffix or "/" in query):
        raise InputError(f"there is no file '{query}'; if it is meant as a text, say --text")
    return True


def _of_case(
    case: Case, index: Index, encoder: Encoder
) -> tuple[tuple[Kind, ...], Any, list[int | None], tuple[Image, ...]]:
    """Kinds, vectors and rows (where it is there itself) of what a case holds, and its images."""
    if any(item.origin is None for item in case.items.values()):
        pieces = _pieces_in_memory(case, encoder)
    else:
        pieces = [
            (one.content, index.row_of(one.entry)) for one in pieces_of(case, index.folder, encoder)
        ]
    kinds: list[Kind] = []
    vectors, rows = [], []
    for content, row in pieces:
        image = isinstance(content, Image)
        kinds.append("image" if image else "text")
        vectors.append(encoder.images([content]) if image else encoder.texts([content]))
        rows.append(row)
    pictures = tuple(content for content, _ in pieces if isinstance(content, Image))
    return tuple(kinds), np.concatenate(vectors), rows, pictures


def _pieces_in_memory(case: Case, encoder: Encoder) -> list[tuple[Any, int | None]]:
    """Of a case that was made by a program and comes from no file."""
    from osler.record import Text

    out: list[tuple[Any, int | None]] = []
    for item in case.items.values():
        if isinstance(item, Image) and len(item.shape) == 2 and encoder.said.images:
            out.append((item, None))
        elif isinstance(item, Text) and encoder.said.texts:
            out.append((item.text, None))
    if not out:
        raise InputError(f"case '{case.id}' holds nothing that '{encoder.said.name}' takes")
    return out


def _joined(found: list[list[Hit]], k: int) -> list[Hit]:
    """The best of several queries' hits, each entry once."""
    best: dict[int, Hit] = {}
    for one in found:
        for hit in one:
            if hit.row not in best or hit.score > best[hit.row].score:
                best[hit.row] = hit
    return sorted(best.values(), key=lambda hit: (-hit.score, hit.row))[:k]


def _likeness(
    index: Index, vectors: Any, kinds: Sequence[Kind], own: Sequence[int], kind: Kind | None
) -> float | None:
    """The greatest p-value of the query's parts: one that is like something is enough."""
    out: list[float] = []
    for row, asked in enumerate(kinds):
        for given in (kind,) if kind else KINDS:
            if not index.listed.known.get(f"{asked}-{given}"):
                continue
            nearest = index.search(vectors[row : row + 1], 1, kind=given, own=[own[row]])[0]
            if nearest:
                p = index.likeness(nearest[0].score, asked=asked, given=given)
                if p is not None:
                    out.append(p)
    return max(out, default=None)


def shown_file(entry: Entry, index: Index) -> str:
    """Where an entry's file lies, as a person may be told."""
    from osler.io.input_file import printable

    return printable(index.where(entry))


def as_json(found: Found, index: Index) -> dict[str, Any]:
    """What was found, as ``osler search --json`` prints it."""
    return {
        "query": found.query,
        "asked": list(found.asked),
        "encoder": index.listed.encoder.name,
        "known": found.known,
        "likeness": found.likeness,
        "coverage": found.coverage,
        "doubts": found.doubts,
        "nearest": [
            {
                "rank": rank,
                "score": round(hit.score, 6),
                "kind": hit.entry.kind,
                "file": shown_file(hit.entry, index),
                "item": hit.entry.item,
                **({"place": hit.entry.place} if hit.entry.place else {}),
                **({"case": hit.entry.case} if hit.entry.case else {}),
                **({"patient": hit.entry.patient} if hit.entry.patient else {}),
                **({"labels": dict(hit.entry.labels)} if hit.entry.labels else {}),
                "same": hit.row in found.same,
            }
            for rank, hit in enumerate(found.hits, start=1)
        ],
    }
