"""Writes the study's files with fixed bytes: sorted, LF, one spelling of a number, whole or not at all."""

import contextlib
import csv
import errno
import glob
import io
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dsresearch.design import MATCHES, SETUPS, InputError
from dsresearch.schema.columns import CONTROL_KINDS, KEY, Column, arrow_schema, fault


def write_csv(
    path: Path,
    rows: pd.DataFrame | Iterable[Mapping[str, Any]],
    columns: Mapping[str, Column],
    *,
    parents: bool = True,
) -> None:
    """Write rows with fixed bytes: sorted by key, the paper's arms first, LF, shortest floats that read back equal.

    `parents` as for `write_atomic`. Raises ValueError where a row's names or values do not fit the columns: that is a
    fault of the writer.
    """
    records = _records(rows, columns)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in records:
        writer.writerow([_cell(name, column, row[name]) for name, column in columns.items()])
    write_atomic(path, out.getvalue().encode(), parents=parents)


def write_parquet(path: Path, rows: pd.DataFrame | Iterable[Mapping[str, Any]], columns: Mapping[str, Column]) -> None:
    """Write rows as Parquet with fixed bytes for one version of pyarrow, sorted by key and then by epoch or picture."""
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows), columns=list(columns))
    if list(frame.columns) != list(columns):
        raise ValueError(f"columns {list(frame.columns)} do not fit {list(columns)}")
    order = [name for name in (*KEY, "epoch", "image_id") if name in columns]
    frame = frame.sort_values(order, kind="stable", key=_rank, ignore_index=True)
    write_table(path, pa.Table.from_pandas(frame, schema=arrow_schema(columns), preserve_index=False))


def narrow(column: Column, values: np.ndarray) -> np.ndarray:
    """Whole numbers in the type that a column is stored in. Raises ValueError for one that this type cannot hold."""
    narrowed = values.astype(column.stored)
    if (narrowed != values).any():  # numpy would have made 44 of class 300
        raise ValueError(f"{values.max()} is not allowed: what {column.stored} holds, {column.meaning}")
    return narrowed


def write_table(path: Path, table: pa.Table, *, parents: bool = True) -> None:
    """Write an Arrow table that is in order already, as `write_parquet` does; `parents` as for `write_atomic`."""
    sink = io.BytesIO()
    pq.write_table(
        table.combine_chunks().replace_schema_metadata(None),
        sink,
        compression="zstd",
        compression_level=9,
        **_encodings(table.schema),
    )
    write_atomic(path, sink.getvalue(), parents=parents)


def _encodings(schema: pa.Schema) -> dict[str, Any]:
    """How each column is laid out: wide whole numbers as differences, floats byte by byte, all else by a dictionary.

    Tables are sorted, so differences all but vanish; pyarrow's own choice, a dictionary of every picture's number,
    would take a fifth of a study's predictions, and those are committed.
    """
    wide = [field.name for field in schema if pa.types.is_integer(field.type) and field.type.bit_width > 8]
    floats = [field for field in schema if pa.types.is_floating(field.type)]
    split = [field.name for field in floats if field.type.bit_width > 16]  # few readers know a half float in two bytes
    dictionary = [field.name for field in schema if field not in floats and field.name not in wide]
    encoding = dict.fromkeys(wide, "DELTA_BINARY_PACKED") | dict.fromkeys(split, "BYTE_STREAM_SPLIT")
    return {"use_dictionary": dictionary, "column_encoding": encoding}


class WriteError(InputError):
    """A file cannot be written: the disk is full, the folder read-only or gone."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: cannot be written ({why}), allowed: a writable folder")


TEMPORARY = ".tmp"  # what a kill in the middle of writing leaves is called `.NAME.xxxxxxxx.tmp`
ABANDONED_SECONDS = 3600.0


def write_atomic(path: Path, data: bytes, *, parents: bool = True) -> None:
    """Write a file so that a reader sees the old bytes or the new, also after a power failure.

    With `parents=False` its folder must be there: a store that was removed is not made anew by whoever worked in it.
    Raises WriteError, an InputError, where it cannot be written.
    """
    _write(path, data, parents=parents)


def write_new(path: Path, data: bytes) -> bool:
    """Write a file, whole as `write_atomic` does, that nobody else may have written: whether this writer was the first.

    A file system without hard links keeps the file whole, but cannot tell who was first.
    """
    return _write(path, data, parents=True, new=True)


def _write(path: Path, data: bytes, *, parents: bool, new: bool = False) -> bool:
    """Write a temporary file beside `path` and put it in its place; False where it is `new` and the name is taken."""
    temporary = None
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        if new and (linked := _linked(temporary, path)) is not None:
            return linked
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise WriteError(path, error.strerror or str(error)) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        sync_folder(path.parent)
    remove_temporary(path.parent, f".{glob.escape(path.name)}.*", ABANDONED_SECONDS)
    return True


def _linked(temporary: str, path: Path) -> bool | None:
    """Give a file its name if that is free, which a rename does not ask; None where the file system has no links."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            return None
        raise
    return True


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlast a power failure, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_temporary(folder: Path, pattern: str, age: float = 0.0) -> None:
    """Remove what killed writers left in a folder; files younger than `age` in seconds may be a live writer's."""
    for path in folder.glob(pattern + TEMPORARY):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime >= age:
                path.unlink()


def natural(name: str) -> tuple[Any, ...]:
    """Sort key of an arm's name: the paper's rows first in their order, then by name with numbers by value."""
    known = list(SETUPS)
    parts = re.split(r"([0-9]+)", name)
    numbers = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)
    return (known.index(name) if name in SETUPS else len(known), numbers, name)


def place(arm: str, control_kind: str, match: str) -> tuple[Any, ...]:
    """Sort key of an arm: where its rows stand in the study's files."""
    return (natural(arm), CONTROL_KINDS.index(control_kind), MATCHES.index(match))


_ORDERED: Mapping[str, Callable[[Any], Any]] = {
    "arm": natural,
    "control_kind": CONTROL_KINDS.index,
    "match": MATCHES.index,
}


def _rank(values: pd.Series) -> pd.Series:
    """A column as whole numbers in the order of `write_csv`, for pandas to sort by."""
    if values.name not in _ORDERED:
        return values
    names = sorted(set(values), key=_ORDERED[values.name])
    return values.map({name: rank for rank, name in enumerate(names)})


def _records(rows: pd.DataFrame | Iterable[Mapping[str, Any]], columns: Mapping[str, Column]) -> list[dict[str, Any]]:
    if isinstance(rows, pd.DataFrame):
        rows = rows.astype(object).where(rows.notna(), None).to_dict("records")
    records = [dict(row) for row in rows]
    for row in records:
        if set(row) != set(columns):
            raise ValueError(f"names {sorted(set(row) ^ set(columns))} do not fit the columns of the file")
    key = [name for name in (*KEY, "step", "attempt", "started_utc", "cell_id") if name in columns]
    return sorted(
        records, key=lambda row: [_ORDERED[name](row[name]) if name in _ORDERED else row[name] for name in key]
    )


def _cell(name: str, column: Column, value: Any) -> str:
    missing = value is None or (isinstance(value, (float, np.floating)) and math.isnan(value))
    if missing:
        text = ""
    elif column.kind == "flag":
        text = {True: "true", False: "false"}[bool(value)]
    elif column.kind == "whole":
        text = str(int(value)) if int(value) == value else repr(value)
    elif column.kind == "number":
        text = repr(float(value))
    else:
        text = str(value)
    allowed = fault(column, text)
    if allowed:
        raise ValueError(f"{name}={value!r} is not allowed: {allowed}")
    return text
