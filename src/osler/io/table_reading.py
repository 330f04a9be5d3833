"""The readers of tables, as ``load`` calls them."""

from collections.abc import Sequence
from typing import Any

from osler.io.content import Content
from osler.io.input_file import InputFile, decoding
from osler.io.table_grouping import content, frame_of


def read_csv(
    file: InputFile,
    format: str,
    *,
    max_pixels: int,
    rate: float | None = None,
    orientation: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    missing: Sequence[str] = (),
    case: str | None = None,
    id_column: str | None = None,
) -> Content:
    """Read delimited text: a signal where a rate is said, a matrix where its orientation is.

    Args:
        file: the opened file.
        format: ``"csv"``.
        max_pixels: refuse more cells than this.
        rate: Hz, for a signal whose file does not say it.
        orientation: ``"features-by-samples"`` or ``"samples-by-features"``, for a matrix.
        encoding: of the text; by default found.
        delimiter: between cells; by default found.
        decimal: ``"."`` or ``","``.
        missing: codes that stand for no value, such as ``("-99",)``.
        case: which case's rows.
        id_column: the column that says whose a row is.

    Raises:
        InputError: as the docstrings of ``table_csv``, ``signal_csv`` and ``table_grouping`` say.
    """
    from osler.io.signal_csv import is_signal, read_csv_signal
    from osler.io.table_csv import read_cells
    from osler.io.table_frame import from_text

    with decoding(file, format):
        cells = read_cells(file, max_cells=max_pixels, encoding=encoding, delimiter=delimiter)
        if orientation is not None:
            from osler.io.omics_matrix import read_matrix

            return Content([read_matrix(file, format, cells, orientation=orientation)])
        if rate is not None or is_signal(cells):
            return Content([read_csv_signal(file, format, cells, rate=rate)])
        frame = from_text(
            file.name, cells.headers, cells.columns, decimal=decimal, missing=missing,
            flags=cells.flags, comments=cells.comments,
        )  # fmt: skip
        return content(file, format, frame, case=case, id_column=id_column)


def read_table_file(
    file: InputFile,
    format: str,
    *,
    max_pixels: int,
    case: str | None = None,
    id_column: str | None = None,
    **options: Any,
) -> Content:
    """Read Parquet or Excel.

    Args:
        file: the opened file.
        format: ``"parquet"`` or ``"office"``.
        max_pixels: refuse more cells than this.
        case: which case's rows.
        id_column: the column that says whose a row is.
        options: ``missing``, and ``sheet`` for Excel.

    Raises:
        InputError: as the docstrings of ``table_parquet``, ``table_excel`` and ``table_grouping``.
    """
    with decoding(file, format):
        frame, format = frame_of(file, max_cells=max_pixels, **options)
        return content(file, format, frame, case=case, id_column=id_column)
