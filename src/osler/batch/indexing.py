"""Many files into an index: ``osler index``."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from osler.batch import interrupt, lock
from osler.batch.asking import openings
from osler.batch.collecting import Batch, make_folder
from osler.batch.job import Outcome
from osler.batch.one import failed
from osler.batch.retrieval_encoders import encoder_of, open_encoder, same
from osler.errors import InputError, OslerError, RecipeError
from osler.language.encoder import Encoder
from osler.language.index import Entry, Index
from osler.language.index_parts import LIST
from osler.record import Case, Image, Text

if TYPE_CHECKING:
    from osler.data.cohort import Cohort, Row

_TABLES = (".csv", ".parquet", ".pq")
_AT_ONCE = 8  # images that go through a network together
_PART = 4096  # entries after which the index is written, so that an interruption loses no more


@dataclass(frozen=True, slots=True)
class Ask:
    """What an index is made of.

    Attributes:
        encoder: as ``open_encoder`` takes it; None takes that of the index that is there.
        checkpoints: a network's weights.
        tokenizer: its tokenizer's folder.
        options: how it is built, where that differs from its card.
        texts: columns of tables whose cells are texts.
        labels: keep a table's labels with its entries.
        names: keep the patient's identifier and the case's name with each entry.
        dtype: of the vectors on disk; of a new index.
        approximate: also link the vectors to their near neighbours.
    """

    encoder: str | None = None
    checkpoints: tuple[Path, ...] = ()
    tokenizer: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    labels: bool = False
    names: bool = False
    dtype: Literal["float32", "float16"] = "float32"
    approximate: bool = False


@dataclass(slots=True)
class Piece:
    """One image or text that may go into an index.

    Attributes:
        entry: what the index will say of it.
        content: what is encoded.
        patient: whose it is; empty where nobody says.
    """

    entry: Entry
    content: Image | str
    patient: str = ""


@dataclass(slots=True)
class _Case:
    source: Path
    name: str
    open: Callable[[], list[Piece]]


def index(
    inputs: Sequence[str],
    out: str | Path,
    *,
    ask: Ask,
    trace: bool = False,
    started: Callable[[int], None] | None = None,
    told: Callable[[Outcome], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> tuple[Batch, Index]:
    """Put images and texts into an index, a new one or one that is there.

    What lies there already, by the digest of its file, is passed over; so the same command again
    goes on where it was interrupted.

    Args:
        inputs: files, folders, globs, and tables of cases.
        out: the index's folder.
        ask: what it is made of.
        trace: keep where unexpected errors came from.
        started: called with the number of cases before the first.
        told: called with each outcome as it comes.
        stopping: called when the user asks to stop.

    Raises:
        InputError: there is nothing to read, or the index was made with another encoder.
        RecipeError: the encoder is not known.
        OutputError: the folder cannot be written, or another run holds it.
    """
    folder = Path(out)
    there = (folder / LIST).is_file()
    made = Index.open(folder) if there else None
    encoder = _encoder(ask, made)
    cases = list(_cases(inputs, folder, ask, encoder))
    make_folder(folder)
    with lock.hold(folder), interrupt.listen(stopping) as stop:
        kept = made or Index.create(folder, encoder.said, dtype=ask.dtype, names=ask.names)
        if kept.listed.names != ask.names:
            said = "names its patients: say --names" if kept.listed.names else "names no patients"
            raise RecipeError(f"the index '{folder}' {said}; what is added must do as it does")
        batch = Batch()
        work = _Work(kept, encoder, batch, trace=trace, told=told)
        if started:
            started(len(cases))
        try:
            for one in cases:
                work.take(one)
                if stop or (batch.outcomes and batch.outcomes[-1].disk_full):
                    break
        except KeyboardInterrupt:
            pass
        stop.settle()
        work.write()
        batch.signal = stop.signal
        batch.left = len(cases) - len(batch.outcomes)
        if work.added:
            kept.learn_known()
        if ask.approximate and len(kept) and not batch.signal:
            kept.build()
    return batch, kept


def _encoder(ask: Ask, made: Index | None) -> Encoder:
    if ask.encoder is None:
        if made is None:
            raise RecipeError(
                "say what encodes the images or texts: --with minilm or words for texts, a "
                "network ('osler models list') or a bundle ('osler bundles')"
            )
        return encoder_of(made.listed.encoder, checkpoints=ask.checkpoints)
    encoder = open_encoder(
        ask.encoder, checkpoints=ask.checkpoints, tokenizer=ask.tokenizer, options=ask.options
    )
    if made is not None:
        same(encoder.said, made.listed.encoder)
    return encoder


class _Work:
    """Takes cases, encodes what is new of them, and writes now and then."""

    def __init__(
        self,
        index: Index,
        encoder: Encoder,
        batch: Batch,
        *,
        trace: bool,
        told: Callable[[Outcome], None] | None,
    ) -> None:
        self.index, self.encoder, self.batch = index, encoder, batch
        self.trace, self.told = trace, told
        self.added = 0
        self._entries: list[Entry] = []
        self._groups: list[str] = []
        self._vectors: list[NDArray[np.float32]] = []

    def take(self, case: _Case) -> None:
        start = time.perf_counter()
        try:
            pieces = [one for one in case.open() if not self.index.holds(one.entry)]
            for first in range(0, len(pieces), _AT_ONCE):
                some = pieces[first : first + _AT_ONCE]
                vectors = self._encoded([one.content for one in some])
                self._vectors.append(vectors)
                self._entries += [one.entry for one in some]
                # of a case whose patient nobody says, all belong together
                self._groups += [one.patient or f"#{len(self.batch.outcomes)}" for one in some]
            if len(self._entries) >= _PART:
                self.write()
            outcome = Outcome(
                case.source, case.name, "read" if pieces else "skipped",
                seconds=time.perf_counter() - start,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - one bad file must not end the others
            outcome = failed(case.source, case.name, error, trace=self.trace)
        self.batch.outcomes.append(outcome)
        if self.told:
            self.told(outcome)

    def write(self) -> None:
        """Bring what was encoded to the disk."""
        if self._entries:
            entries, groups = self._entries, self._groups
            vectors = np.concatenate(self._vectors)
            self._entries, self._groups, self._vectors = [], [], []
            self.added += self.index.append(vectors, entries, groups=groups)

    def _encoded(self, contents: Sequence[Image | str]) -> NDArray[np.float32]:
        out = np.empty((len(contents), self.encoder.said.dim), np.float32)
        images = [(row, one) for row, one in enumerate(contents) if isinstance(one, Image)]
        texts = [(row, one) for row, one in enumerate(contents) if isinstance(one, str)]
        if images:
            out[[row for row, _ in images]] = self.encoder.images([one for _, one in images])
        if texts:
            out[[row for row, _ in texts]] = self.encoder.texts([one for _, one in texts])
        return out


def _cases(inputs: Sequence[str], folder: Path, ask: Ask, encoder: Encoder) -> Iterator[_Case]:
    """Every case that the inputs name; tables are read at once, files when their turn comes."""
    for named in inputs:
        path = Path(named)
        if path.suffix.lower() in _TABLES and path.is_file():
            yield from _rows(path, folder, ask, encoder)
            continue
        if ask.texts or ask.labels:
            raise RecipeError(f"'{named}' is no table; --text and --labels are for tables of cases")
        for one in openings([named], prompted=False):
            if one.source.resolve().is_relative_to(folder.resolve()):
                continue

            def pieces(one: Any = one, single: bool = path.is_file()) -> list[Piece]:
                # of a whole folder, what is of another kind is passed over
                case = one.open()
                return pieces_of(case, folder, encoder, names=ask.names, strict=single)

            yield _Case(one.source, one.name, pieces)


def pieces_of(
    case: Case,
    folder: Path,
    encoder: Encoder,
    *,
    names: bool = False,
    labels: Mapping[str, str] | None = None,
    strict: bool = True,
) -> list[Piece]:
    """What of a case an encoder takes.

    Raises:
        InputError: the case holds nothing that it takes, and ``strict`` asks for something.
    """
    patient = case.patient_id or ""
    out = []
    for item in case.items.values():
        if isinstance(item, Image) and len(item.shape) == 2 and encoder.said.images:
            content: Image | str = item
        elif isinstance(item, Text) and encoder.said.texts:
            content = item.text
        else:
            continue
        entry = Entry(
            "image" if isinstance(item, Image) else "text", *_place(item, folder), item.name,
            case=case.id if names else "", patient=patient if names else "",
            labels=dict(labels or {}),
        )  # fmt: skip
        out.append(Piece(entry, content, patient))
    if not out and strict:
        kinds = [
            *(["flat images"] if encoder.said.images else []),
            *(["texts"] if encoder.said.texts else []),
        ]
        raise InputError(f"it holds no {' and no '.join(kinds)}, which '{encoder.said.name}' takes")
    return out


def _place(item: Image | Text, folder: Path) -> tuple[str, str]:
    """Where an item's file lies from the index on, and the digest of its content."""
    origin = item.origin
    if origin is None:
        raise InputError(f"the item '{item.name}' comes from no file")
    if origin.sha256:
        return _relative(origin.path, folder), origin.sha256
    try:
        with Path(origin.path).open("rb") as file:
            return _relative(origin.path, folder), hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"'{origin.path}' cannot be read: {error.strerror}") from error


def _relative(path: str | Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(Path(path).resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return Path(path).resolve().as_posix()


def _rows(path: Path, folder: Path, ask: Ask, encoder: Encoder) -> Iterator[_Case]:
    from osler.data.cohort import read_cohort

    try:
        cohort = read_cohort(path)
    except RecipeError as error:
        raise InputError(str(error)) from error
    known = {*cohort.columns("variables"), *cohort.columns("labels")}
    for column in ask.texts:
        if column not in known and f"label:{column}" not in known:
            raise RecipeError(
                f"the table '{path}' has no column '{column}' of texts; it has: "
                + ", ".join(sorted(known))
            )
    for row in cohort.rows:

        def pieces(row: "Row" = row) -> list[Piece]:
            return _pieces_of_row(row, cohort, folder, ask, encoder)

        yield _Case(path, row.case_id, pieces)


def _pieces_of_row(
    row: "Row", cohort: "Cohort", folder: Path, ask: Ask, encoder: Encoder
) -> list[Piece]:
    from osler.data.opening import open_row

    labels = {name: said for name, said in row.labels.items() if name not in ask.texts}
    kept = labels if ask.labels else {}
    out = []
    cells = {**row.labels, **row.variables}
    for column in ask.texts if encoder.said.texts else ():
        said = cells.get(column)
        if said is None or not str(said).strip():
            continue
        entry = Entry(
            "text", _relative(cohort.path, folder), text_digest(str(said)), column,
            place=row.where, case=row.case_id if ask.names else "",
            patient=row.patient_id if ask.names else "", labels=kept,
        )  # fmt: skip
        out.append(Piece(entry, str(said), row.patient_id))
    if row.items:
        try:
            case = open_row(row, cohort, labels=False)
            out += pieces_of(case, folder, encoder, names=ask.names, labels=kept)
        except OslerError:
            if not out:
                raise
    elif not out and not ask.texts:
        raise InputError("it names no file, and no column of texts (--text) has a cell")
    return out


def text_digest(text: str) -> str:
    """SHA-256 of a cell's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
