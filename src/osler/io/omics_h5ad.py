"""AnnData matrices in HDF5 (``.h5ad``), read with h5py alone.

Source: AnnData on-disk format (anndata 0.7 and later).
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import (
    InputError,
    MissingExtraError,
    TooLargeError,
    UnreadableError,
    UnsupportedError,
)
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding
from osler.io.omics_matrix import expression
from osler.io.partial_file import partial_of

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]

_BLOCK: Final = 4_000_000
"""Values that are decompressed at a time."""
_MAX_NAMES: Final = 50_000_000


def read_h5ad(
    file: InputFile, format: str, *, max_pixels: int, features: Sequence[str] | None = None
) -> Content:
    """Read ``X`` with the names and plain columns of ``obs`` and ``var``.

    A sparse matrix becomes a dense one in its own precision, and is refused where that is too
    large; choose features then. Layers, ``raw`` and embeddings are left out, with the flag
    ``layers-left-out`` where there are any.

    Args:
        file: the opened file.
        format: ``"h5ad"``.
        max_pixels: refuse more values than this.
        features: read only the columns of these names, in this order.

    Raises:
        UnreadableError: damaged, or contradicting itself.
        UnsupportedError: HDF5 of another kind, an older layout, or parts in other files.
        InputError: there is no such feature.
        TooLargeError: more than ``max_pixels`` values.
        MissingExtraError: ``h5py`` is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("h5py", extra="omics", purpose="read .h5ad") from None
    # of a file behind a URL only what is read here is fetched: no layers, no embeddings
    source = file.path if partial_of(file.path) is None else file.stream
    with decoding(file, format), h5py.File(source, "r") as root:
        if not {"X", "obs", "var"} <= set(root):
            raise UnsupportedError(
                f"'{file.name}' is an HDF5 file without X, obs and var; AnnData's .h5ad is read"
            )
        samples, about_samples = _axis(file, root, "obs", max_pixels)
        names, about_features = _axis(file, root, "var", max_pixels)
        chosen = _chosen(file, names, features)
        width = len(names) if chosen is None else chosen.size
        if len(samples) * width > max_pixels:
            raise TooLargeError(
                f"'{file.name}' has {len(samples):,} samples of {width:,} features, more than the "
                f"limit of {max_pixels:,} values; say features=, or raise max_pixels"
            )
        matrix = _matrix(file, root, (len(samples), len(names)), chosen)
        if chosen is not None:
            names = [names[i] for i in chosen]
            about_features = {k: tuple(v[i] for i in chosen) for k, v in about_features.items()}
        left = any(len(root[k]) for k in ("layers", "obsm", "varm", "raw") if k in root)
        header = {"samples": about_samples, "features": about_features}
        flags = ("layers-left-out",) if left else ()
        return Content([expression(file, format, matrix, samples, names, flags, header)])


def _node(file: InputFile, group: "h5py.Group", name: str) -> Any:
    """A member of a group; links to other files and data kept in them are refused."""
    import h5py

    link = group.get(name, getlink=True)
    if link is None:
        raise UnreadableError(f"'{file.name}' lacks '{name}' in '{group.name}'; write it again")
    if not isinstance(link, h5py.HardLink):
        raise UnsupportedError(f"'{file.name}' links to data elsewhere; write it as one file")
    node = group[name]
    if isinstance(node, h5py.Dataset) and (node.external or node.is_virtual):
        raise UnsupportedError(f"'{file.name}' keeps data in other files; write it as one file")
    return node


def _axis(
    file: InputFile, root: "h5py.Group", name: str, limit: int
) -> tuple[list[str], dict[str, tuple[Any, ...]]]:
    import h5py

    frame = _node(file, root, name)
    if not isinstance(frame, h5py.Group) or "_index" not in frame.attrs:
        raise UnsupportedError(
            f"'{file.name}' is in the layout of anndata before 0.7; write it again with a newer one"
        )
    index = _column(file, frame, str(frame.attrs["_index"]), limit)
    if index is None:
        raise UnreadableError(f"'{file.name}' has no readable index of {name}; write it again")
    about: dict[str, tuple[Any, ...]] = {}
    for column in frame.attrs.get("column-order", ()):
        values = _column(file, frame, str(column), limit)
        if values is not None:
            if len(values) != len(index):
                raise UnreadableError(f"'{file.name}' has columns of {name} of unequal length")
            about[str(column)] = tuple(values)
    return [str(value) for value in index], about


def _column(file: InputFile, frame: "h5py.Group", name: str, limit: int) -> list[Any] | None:
    """The values of a column, None where one is missing; None for a kind that is not read."""
    import h5py

    node = _node(file, frame, name)
    if isinstance(node, h5py.Dataset):
        return _vector(file, node, limit)
    if {"categories", "codes"} <= set(node):
        categories = _vector(file, _node(file, node, "categories"), limit)
        codes = _vector(file, _node(file, node, "codes"), limit)
        if categories is None or codes is None or max(codes, default=-1) >= len(categories):
            raise UnreadableError(f"'{file.name}' has a category that is not defined")
        return [None if code < 0 else categories[code] for code in codes]
    if {"values", "mask"} <= set(node):
        values = _vector(file, _node(file, node, "values"), limit)
        mask = _vector(file, _node(file, node, "mask"), limit)
        if values is None or mask is None or len(mask) != len(values):
            raise UnreadableError(f"'{file.name}' has a column whose mask does not fit it")
        return [None if gone else v for v, gone in zip(values, mask, strict=True)]
    return None


def _vector(file: InputFile, node: "h5py.Dataset", limit: int) -> list[Any] | None:
    if node.ndim != 1:
        return None
    if node.size > min(limit, _MAX_NAMES):
        raise TooLargeError(f"'{file.name}' has an axis of {node.size:,}; split it")
    if node.dtype.kind in "OS":
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in node[:]]
    values: list[Any] = node[:].tolist()
    if node.dtype.kind == "f":
        return [None if v != v else v for v in values]  # noqa: PLR0124 - NaN
    return values


def _chosen(
    file: InputFile, names: Sequence[str], features: Sequence[str] | None
) -> NDArray[np.intp] | None:
    if features is None:
        return None
    at = {name: i for i, name in reversed(list(enumerate(names)))}
    unknown = [name for name in features if name not in at]
    if unknown:
        raise InputError(f"'{file.name}' has no feature '{unknown[0]}'")
    return np.array([at[name] for name in features], np.intp)


def _matrix(
    file: InputFile,
    root: "h5py.Group",
    shape: tuple[int, int],
    chosen: NDArray[np.intp] | None,
) -> NDArray[Any]:
    import h5py

    node = _node(file, root, "X")
    if isinstance(node, h5py.Dataset):
        if node.shape != shape or node.dtype.kind not in "fiub":
            raise _contradiction(file)
        rows = max(1, _BLOCK // max(1, shape[1]))
        out = np.zeros((shape[0], shape[1] if chosen is None else chosen.size), _dtype(node.dtype))
        for start in range(0, shape[0], rows):
            block = node[start : start + rows]
            out[start : start + rows] = block if chosen is None else block[:, chosen]
        return out
    kind = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "")))
    if kind not in ("csr_matrix", "csc_matrix"):
        raise UnsupportedError(f"'{file.name}' stores X in a way that is not read; write it dense")
    if tuple(int(n) for n in node.attrs.get("shape", ())) != shape:
        raise _contradiction(file)
    return _dense(file, node, shape, chosen, by_row=kind == "csr_matrix")


def _dense(
    file: InputFile,
    node: "h5py.Group",
    shape: tuple[int, int],
    chosen: NDArray[np.intp] | None,
    *,
    by_row: bool,
) -> NDArray[Any]:
    data, minor, pointer = (_node(file, node, k) for k in ("data", "indices", "indptr"))
    majors, minors = shape if by_row else shape[::-1]
    if pointer.shape != (majors + 1,) or data.ndim != 1 or data.shape != minor.shape:
        raise _contradiction(file)
    if data.dtype.kind not in "fiub" or minor.dtype.kind not in "iu":
        raise _contradiction(file)
    starts = pointer[:].astype(np.int64)
    if starts[0] != 0 or np.any(np.diff(starts) < 0) or starts[-1] != data.size:
        raise _contradiction(file)
    place = np.arange(shape[1], dtype=np.intp)
    if chosen is not None:
        place = np.full(shape[1], -1, np.intp)
        place[chosen] = np.arange(chosen.size)
    width = shape[1] if chosen is None else chosen.size
    out = np.zeros((shape[0], width), _dtype(data.dtype))
    for start, stop in _blocks(data.size):
        # which row (or column) each stored value is of
        major = np.searchsorted(starts, np.arange(start, stop), side="right") - 1
        inner = minor[start:stop].astype(np.int64)
        if inner.size and (inner.min() < 0 or inner.max() >= minors):
            raise _contradiction(file)
        row, column = (major, inner) if by_row else (inner, major)
        column = place[column]
        keep = column >= 0
        # what is stored twice counts as its sum, as everywhere for sparse matrices
        np.add.at(out, (row[keep], column[keep]), data[start:stop][keep])
    if chosen is not None and np.unique(chosen).size < chosen.size:
        out = out[:, place[chosen]]
    return out


def _blocks(size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, size, _BLOCK):
        yield start, min(start + _BLOCK, size)


def _dtype(stored: np.dtype[Any]) -> np.dtype[Any]:
    """Counts as whole numbers fit single precision up to 16 million; larger types stay double."""
    if stored.kind == "f":
        return np.dtype(np.float32) if stored.itemsize <= 4 else np.dtype(np.float64)
    return np.dtype(np.float32) if stored.itemsize <= 2 else np.dtype(np.float64)


def _contradiction(file: InputFile) -> UnreadableError:
    return UnreadableError(
        f"'{file.name}' has a matrix that does not fit its obs and var; it is damaged: write it "
        "again"
    )
