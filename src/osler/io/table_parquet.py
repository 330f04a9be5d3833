"""Parquet tables, in and out."""

import decimal
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any, Final, cast

from osler.errors import MissingExtraError, TooLargeError, UnsupportedError
from osler.io.input_file import InputFile
from osler.io.table_frame import Frame, from_values
from osler.io.table_units import ucum

_MAX_BYTES: Final = 2_000_000_000
_UNIT: Final = b"unit"


def read_parquet(file: InputFile, *, max_cells: int, missing: Sequence[str] = ()) -> Frame:
    """Read a Parquet file with flat columns.

    Args:
        file: the opened file.
        max_cells: refuse more cells than this, before any is decoded.
        missing: codes that stand for no value.

    Raises:
        UnreadableError: it is damaged (through ``decoding``).
        UnsupportedError: a column is nested.
        TooLargeError: too many cells, or more than 2 GB of values.
        MissingExtraError: ``pyarrow`` is not installed.
    """
    try:
        from pyarrow import parquet, types  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError("pyarrow", extra="tables", purpose="read Parquet") from None
    file.stream.seek(0)
    source = parquet.ParquetFile(cast("Any", file.stream))
    schema, rows = source.schema_arrow, source.metadata.num_rows
    if rows * max(1, len(schema)) > max_cells:
        raise TooLargeError(
            f"'{file.name}' has {rows:,} rows of {len(schema)} columns, more than {max_cells:,} "
            "cells; split it, or raise max_pixels"
        )
    for one in schema:
        if types.is_nested(one.type):
            raise UnsupportedError(
                f"'{file.name}', column '{one.name}': lists and structs are not read; flatten it"
            )
    columns: list[list[Any]] = [[] for _ in schema]
    size = 0
    # few rows compress to little and decode to much: count as it goes
    for batch in source.iter_batches(batch_size=4096, use_threads=False):
        size += batch.nbytes
        if size > _MAX_BYTES:
            raise TooLargeError(f"'{file.name}' holds more than {_MAX_BYTES:,} bytes; split it")
        for column, values in zip(columns, batch.columns, strict=True):
            column.extend(_plain(value) for value in values.to_pylist())
    units = {
        one.name: unit
        for one in schema
        if one.metadata and (unit := ucum(one.metadata.get(_UNIT, b"").decode("utf-8", "replace")))
    }
    return from_values(file.name, schema.names, columns, missing=missing, units=units)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime) and type(value) is not datetime:
        return datetime.fromisoformat(value.isoformat()[:26])  # pandas' own, where it is installed
    known = isinstance(value, bool | int | float | str | date | None.__class__)
    return value if known and not isinstance(value, time) else str(value)


def parquet_bytes(frame: Frame) -> bytes:
    """A frame as the bytes of a Parquet file, units in the columns' metadata.

    Raises:
        MissingExtraError: ``pyarrow`` is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("pyarrow", extra="tables", purpose="write Parquet") from None
    kinds = {
        "bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "date": pa.date32(),
        "text": pa.string(), "empty": pa.null(),
    }  # fmt: skip
    fields, arrays = [], []
    for name, values in frame.data.items():
        kind = frame.kinds[name]
        if kind == "datetime":
            zoned = any(v is not None and v.tzinfo is not None for v in values)
            type_ = pa.timestamp("us", tz="UTC" if zoned else None)
        else:
            type_ = kinds[kind]
        metadata = {_UNIT: frame.units[name].encode()} if name in frame.units else None
        fields.append(pa.field(name, type_, metadata=metadata))
        arrays.append(pa.array(list(values), type_))
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(arrays, schema=pa.schema(fields)), sink)
    return cast("bytes", sink.getvalue().to_pybytes())
