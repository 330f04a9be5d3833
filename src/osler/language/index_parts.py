"""The files of an index: parts that are written once, and a list of them that is replaced whole.

``DIR/index.json`` names the encoder and every part with the size and digest of each of its files.
A part is a folder with

- ``vectors.npy``: ``(N, D)``, ``float32`` or ``float16``, of length 1; mapped, never read whole;
- ``groups.npy``: ``(N,)``, a number for whose each entry is, which names nobody;
- ``kinds.npy``: ``(N,)``, 0 for an image and 1 for a text;
- ``digests.npy``: ``(N, 32)``, SHA-256 of what was encoded, by which nothing is taken twice;
- ``entries.jsonl`` and ``starts.npy``: a line of JSON for each, and where in the file it begins.

What an interrupted run left is in no list, so nothing sees it. No file can run code: arrays are
read without pickles, and names of parts cannot lead out of the folder.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from osler.errors import InputError, OutputError, UnreadableError

LIST: Final = "index.json"
FORMAT: Final = "osler-index"
_MOST_LIST: Final = 64 << 20
_MOST_LINE: Final = 64 << 10

VECTORS, GROUPS, KINDS, DIGESTS, ENTRIES, STARTS = (
    "vectors.npy", "groups.npy", "kinds.npy", "digests.npy", "entries.jsonl", "starts.npy",
)  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileOf(_Strict):
    """Size and SHA-256 of a file."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Part(_Strict):
    """A folder of entries.

    Attributes:
        name: of the folder.
        count: of its entries.
        files: name to size and digest.
    """

    name: str = Field(pattern=r"^(part|graph)-[0-9a-f]{12}$")
    count: int = Field(gt=0)
    files: dict[str, FileOf]


class EncoderSaid(_Strict):
    """What made the vectors.

    Attributes:
        kind: ``network``, ``bundle`` or ``text``.
        name: of it.
        version: a digest of its weights, or the bundle's version; vectors of two versions are not
            compared.
        dim: of its vectors.
        images, texts: what it takes.
        checkpoints: where a network's weights lay, as the user named them.
        tokenizer: its folder, where one was named.
        options: how a network was built, where that differs from its card.
    """

    kind: Literal["network", "bundle", "text"]
    name: str = Field(min_length=1, max_length=4096)
    version: str = Field(max_length=200)
    dim: int = Field(gt=0, le=1 << 16)
    images: bool
    texts: bool
    checkpoints: tuple[str, ...] = ()
    tokenizer: str = ""
    options: dict[str, Any] = {}


class Listed(_Strict):
    """``index.json``.

    Attributes:
        format: ``osler-index``.
        schema_version: 1.
        encoder: what made the vectors.
        dtype: of the vectors.
        names: whether entries say the patient and the case, which the user asked for.
        groups: how many groups there are.
        parts: in the order of their rows.
        graph: the approximate index, if there is one; its count is that of the rows it covers.
        known: sorted cosines of entries to the nearest entry that is not of their own group, by
            ``image-image`` and so on: what "like something here" means.
    """

    format: Literal["osler-index"] = FORMAT
    schema_version: Literal[1] = 1
    encoder: EncoderSaid
    dtype: Literal["float32", "float16"] = "float32"
    names: bool = False
    groups: int = Field(0, ge=0)
    parts: tuple[Part, ...] = ()
    graph: Part | None = None
    known: dict[str, list[float]] = {}

    @property
    def count(self) -> int:
        """Of all entries."""
        return sum(part.count for part in self.parts)


def read_list(folder: Path) -> Listed:
    """Read and check ``index.json``.

    Raises:
        InputError: there is no index.
        UnreadableError: it is damaged, or of something else.
    """
    path = folder / LIST
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_LIST + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"'{folder}' is no index: it holds no {LIST}; 'osler index INPUT --out DIR' makes one"
        ) from None
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}") from error
    try:
        said = json.loads(content) if len(content) <= _MOST_LIST else None
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"'{path}' is damaged: it is not JSON; {_MEND}") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise UnreadableError(f"'{path}' is not the list of an index of Osler; {_MEND}")
    if said.get("schema_version") != 1:
        raise UnreadableError(
            f"'{path}' is of schema {said.get('schema_version')!r:.20}; this Osler reads 1: update "
            "Osler, or index anew"
        )
    try:
        return Listed.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(one) for one in first["loc"])[:100]
        raise UnreadableError(
            f"'{path}' is damaged at '{where}': {first['msg']}; {_MEND}"
        ) from None


_MEND: Final = "restore it from a copy, or index anew into another folder"


def write_list(folder: Path, listed: Listed, *, before: Listed | None) -> None:
    """Replace ``index.json``; a reader sees the old list or the new one.

    Args:
        folder: of the index.
        listed: the new list.
        before: the list that the new one goes on from; None for a new index.

    Raises:
        OutputError: it cannot be written, or another run has replaced the list meanwhile.
    """
    path = folder / LIST
    if (read_list(folder) if path.exists() else None) != before:
        raise OutputError(
            f"another run has changed the index '{folder}' meanwhile; run the command again"
        )
    part = folder / f".{secrets.token_hex(6)}.part-{LIST}"
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(listed.model_dump_json(indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path, kind: Literal["part", "graph"]) -> Iterator[Path]:
    """A folder for a new part, which stays only where all goes well.

    Raises:
        OutputError: the disk or the permissions do not allow it.
    """
    path = folder / f"{kind}-{secrets.token_hex(6)}"
    try:
        path.mkdir(parents=True)
        yield path
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise _unwritable(folder, error) from error
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"the index '{folder}' cannot be written ({error.strerror or error}); choose another "
        "folder, or free space on its disk"
    )


def write_part(
    folder: Path,
    vectors: NDArray[Any],
    groups: NDArray[np.int64],
    kinds: NDArray[np.uint8],
    digests: NDArray[np.uint8],
    entries: Sequence[Mapping[str, Any]],
) -> Part:
    """Write a part's files and say what they are.

    Raises:
        OutputError: the disk or the permissions do not allow it.
    """
    lines = [
        json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        + b"\n"
        for one in entries
    ]
    if max(map(len, lines)) > _MOST_LINE:
        raise InputError(f"what is said of an entry is longer than {_MOST_LINE} bytes")
    starts = np.concatenate([[0], np.cumsum([len(line) for line in lines])]).astype(np.int64)
    with new_folder(folder, "part") as path:
        save(path / VECTORS, vectors)
        save(path / GROUPS, groups)
        save(path / KINDS, kinds)
        save(path / DIGESTS, digests)
        save(path / STARTS, starts)
        with (path / ENTRIES).open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        return described(path, len(entries))


def save(path: Path, array: NDArray[Any]) -> None:
    """Write an array and bring it to the disk."""
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def described(path: Path, count: int) -> Part:
    """A folder as the list names it."""
    files = {
        one.name: FileOf(bytes=one.stat().st_size, sha256=sha256(one))
        for one in sorted(path.iterdir())
    }
    return Part(name=path.name, count=count, files=files)


def sha256(path: Path) -> str:
    """Digest of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sizes(folder: Path, part: Part) -> None:
    """Look whether every file of a part is there with the size that the list says.

    Raises:
        UnreadableError: one is missing, too short or too long.
    """
    for name, said in part.files.items():
        path = folder / part.name / name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise UnreadableError(f"'{path}' of the index is missing; {_MEND}") from error
        if size != said.bytes:
            raise UnreadableError(
                f"'{path}' has {size} bytes and the index says {said.bytes}; {_MEND}"
            )


def check_content(folder: Path, part: Part) -> None:
    """Look whether every file of a part is what was written, by its digest.

    Raises:
        UnreadableError: one has changed.
    """
    check_sizes(folder, part)
    for name, said in part.files.items():
        if sha256(folder / part.name / name) != said.sha256:
            raise UnreadableError(f"'{folder / part.name / name}' has changed; {_MEND}")


def array(
    folder: Path, part: Part, name: str, dtype: str, shape: tuple[int, ...], *, mapped: bool = False
) -> NDArray[Any]:
    """An array of a part, checked against what the list says of it.

    Raises:
        UnreadableError: it is no such array.
    """
    path = folder / part.name / name
    if name not in part.files:
        raise UnreadableError(f"the index lists no '{path}'; {_MEND}")
    try:
        values = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except Exception as error:  # the parser of the header raises what its bytes make it
        raise UnreadableError(f"'{path}' is damaged or no array; {_MEND}") from error
    fits = isinstance(values, np.ndarray) and values.shape == shape and values.dtype == dtype
    if not fits or not values.flags.c_contiguous:
        raise UnreadableError(f"'{path}' is not the {dtype} {shape} that the index says; {_MEND}")
    out: NDArray[Any] = values
    return out


@dataclass(slots=True)
class Lines:
    """The entries of a part, read one by one.

    Attributes:
        path: of ``entries.jsonl``.
        starts: ``(N + 1,)``.
    """

    path: Path
    starts: NDArray[np.int64]

    def __post_init__(self) -> None:
        steps = np.diff(self.starts)
        if self.starts[0] != 0 or (steps <= 0).any() or (steps > _MOST_LINE).any():
            raise UnreadableError(f"'{self.path.parent / STARTS}' is damaged; {_MEND}")

    def __getitem__(self, row: int) -> dict[str, Any]:
        """What is said of an entry.

        Raises:
            UnreadableError: its line is damaged.
        """
        begin, end = int(self.starts[row]), int(self.starts[row + 1])
        try:
            with self.path.open("rb") as file:
                file.seek(begin)
                said = json.loads(file.read(end - begin))
        except (OSError, ValueError, RecursionError) as error:
            raise UnreadableError(f"entry {row} of '{self.path}' is damaged; {_MEND}") from error
        if not isinstance(said, dict):
            raise UnreadableError(f"entry {row} of '{self.path}' is damaged; {_MEND}")
        return said
