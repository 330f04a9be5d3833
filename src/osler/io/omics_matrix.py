"""Matrices of samples by features, such as expression by gene: delimited text and GCT.

Source: GCT 1.2 and 1.3, GenePattern file formats (Broad Institute).
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, TooLargeError, UnreadableError
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding
from osler.io.table_csv import Cells, decoded
from osler.io.table_frame import MISSING
from osler.record import Table

ORIENTATIONS: Final = ("features-by-samples", "samples-by-features")


def read_matrix(file: InputFile, format: str, cells: Cells, *, orientation: str) -> Table:
    """A matrix from a parsed table whose first column and first row are names.

    Args:
        file: the file, for messages and origin.
        format: the format's name.
        cells: the parsed table.
        orientation: ``"features-by-samples"`` (a row a gene) or ``"samples-by-features"``. Nothing
            in a file says which, so it is never guessed.

    Returns:
        The item ``"expression"``, its matrix ``(S, F)`` in ``float64``, NaN where one is missing.

    Raises:
        InputError: another orientation.
        UnreadableError: a cell is no number, or two samples share a name.
    """
    if orientation not in ORIENTATIONS:
        raise InputError(f"orientation is '{orientation}'; give one of {', '.join(ORIENTATIONS)}")
    if len(cells.headers) < 2 or not cells.columns[0]:
        raise UnreadableError(f"'{file.name}' has no values beside its names; export it again")
    rows, columns = cells.columns[0], cells.headers[1:]
    values = np.stack(
        [numbers(file, c, f"column {i}") for i, c in enumerate(cells.columns[1:], 2)], axis=1
    )
    if orientation == "features-by-samples":
        return expression(file, format, values.T, columns, rows, cells.flags)
    return expression(file, format, values, rows, columns, cells.flags)


def expression(
    file: InputFile,
    format: str,
    matrix: NDArray[Any],
    samples: Sequence[str],
    features: Sequence[str],
    flags: tuple[str, ...] = (),
    header: dict[str, Any] | None = None,
) -> Table:
    """The item ``"expression"``; features of one name (as gene symbols may be) are said.

    Raises:
        UnreadableError: two samples share a name, or one has none.
    """
    if len(set(samples)) < len(samples) or not all(name.strip() for name in samples):
        raise UnreadableError(
            f"'{file.name}' has samples that share a name or have none; name each of them"
        )
    if len(set(features)) < len(features):
        flags = (*flags, "features-of-one-name")
    return Table(
        "expression",
        {},
        matrix=np.ascontiguousarray(matrix),
        samples=tuple(samples),
        features=tuple(features),
        origin=file.origin(format),
        flags=flags,
        header=header or {},
    )


def numbers(file: InputFile, cells: Sequence[str], where: str) -> NDArray[np.float64]:
    """``(N,)`` from text; NaN where a value is missing.

    Raises:
        UnreadableError: a cell is no number.
    """
    try:
        return np.array(cells, np.float64)
    except ValueError:
        pass
    try:
        return np.array(
            [np.nan if c.strip().casefold() in MISSING else float(c) for c in cells], np.float64
        )
    except ValueError:
        raise UnreadableError(
            f"'{file.name}', {where}: a cell is no number; a matrix holds numbers and names only"
        ) from None


def read_gct(file: InputFile, format: str, *, max_pixels: int) -> Content:
    """Read GCT 1.2 or 1.3, in which a row is a feature.

    Annotations of features and samples stand in the item's header, under ``"features"`` and
    ``"samples"``.

    Args:
        file: the opened file.
        format: ``"gct"``.
        max_pixels: refuse more values than this.

    Raises:
        UnreadableError: its lines are not those that its second line announces.
        TooLargeError: more than ``max_pixels`` values.
    """
    with decoding(file, format):
        text, flags = decoded(file)
        if not text.endswith(("\n", "\r")):
            flags = (*flags, "last-line-unended")  # its last number may have been cut
        lines = text.splitlines()
        version = lines[0].strip()
        try:
            counts = [int(n) for n in lines[1].split()]
        except (IndexError, ValueError):
            counts = []
        if len(counts) != (2 if version == "#1.2" else 4) or min(counts) < 0:
            raise _broken(file, 2, "counts that the format asks for")
        rows, columns = counts[:2]
        # 1.2 has one annotation of features, the description, and none of samples
        about_rows, about_columns = (1, 0) if version == "#1.2" else (counts[2], counts[3])
        if rows * columns > max_pixels:
            raise TooLargeError(f"'{file.name}' has {rows:,} x {columns:,} values; split it")
        body = [line.split("\t") for line in lines[2:] if line.strip()]
        width = 1 + about_rows + columns
        if len(body) != 1 + about_columns + rows:
            raise _broken(file, 2, f"{1 + about_columns + rows} lines after it")
        for number, cells in enumerate(body, 3):
            if len(cells) != width:
                raise _broken(file, number, f"{width} cells")
        first = 1 + about_rows
        values = np.stack(
            [numbers(file, line[first:], f"row of feature {i}")
             for i, line in enumerate(body[1 + about_columns :], 1)]
        ) if rows else np.zeros((0, columns))  # fmt: skip
        features = [line[0] for line in body[1 + about_columns :]]
        header = {
            "features": {
                body[0][i]: tuple(line[i] for line in body[1 + about_columns :])
                for i in range(1, first)
            },
            "samples": {line[0]: tuple(line[first:]) for line in body[1 : 1 + about_columns]},
        }
        table = expression(file, format, values.T, body[0][first:], features, flags, header)
        return Content([table])


def _broken(file: InputFile, line: int, what: str) -> UnreadableError:
    return UnreadableError(
        f"'{file.name}', line {line}: not the {what}; it is incomplete: copy or export it again"
    )
