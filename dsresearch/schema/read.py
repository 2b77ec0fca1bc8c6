"""Reads the study's files, validated cell by cell: an error names file, line and column."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dsresearch.design import InputError, nearest
from dsresearch.documents import read_bytes
from dsresearch.schema.columns import (
    DETERMINISM_COLUMNS,
    DIVERGENCE_COLUMNS,
    KEY,
    ONE_STUDY,
    RUN_COLUMNS,
    SCHEMA_VERSION,
    TRIAL_COLUMNS,
    Column,
    arrow_schema,
    fault,
)


def read_trials(path: Path) -> pd.DataFrame:
    """The rows of a trials.csv, typed, in the order of the file. Raises InputError as `trial_rows` does."""
    return _frame(trial_rows(path), TRIAL_COLUMNS)


def trial_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a trials.csv as plain values, None where a cell is empty.

    Raises InputError naming file, line and column for a wrong schema, a duplicate key, text in a number, a percentage
    where an integer belongs, mixed protocols, or no rows.
    """
    rows, lines = _read_rows(path, TRIAL_COLUMNS)
    if not rows:
        raise InputError(f"{path}: line 2: no rows, allowed: one row a trained model")
    seen: dict[tuple[Any, ...], int] = {}
    for row, line in zip(rows, lines, strict=True):
        key = tuple(row[name] for name in KEY)
        if key in seen:
            raise InputError(
                f"{path}: line {line}: columns {', '.join(KEY)}={key!r} stand in line {seen[key]} too, allowed: once"
            )
        seen[key] = line
        _check_trial(path, line, row, rows[0])
    return rows


def read_runs(path: Path) -> pd.DataFrame:
    """The rows of a runs.csv, typed. Raises InputError naming file, line and column."""
    return _frame(run_rows(path), RUN_COLUMNS)


def run_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a runs.csv as plain values. Raises InputError naming file, line and column."""
    return _read_rows(path, RUN_COLUMNS)[0]


def read_divergence(path: Path) -> pd.DataFrame:
    """The rows of a divergence.csv, typed. Raises InputError naming file, line and column, or for no rows."""
    rows, lines = _read_rows(path, DIVERGENCE_COLUMNS)
    if not rows:
        raise InputError(f"{path}: line 2: no rows, allowed: one row a twin, trial and step")
    for row, line in zip(rows, lines, strict=True):
        for name in ("relative_distance", "param_norm"):
            if row[name] < 0:
                raise InputError(f"{path}: line {line}: column {name}: {row[name]!r} is not allowed: a number from 0")
    return _frame(rows, DIVERGENCE_COLUMNS)


def determinism_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a determinism.csv as plain values. Raises InputError naming file, line and column."""
    return _read_rows(path, DETERMINISM_COLUMNS)[0]


def _check_trial(path: Path, line: int, row: Mapping[str, Any], first: Mapping[str, Any]) -> None:
    def refuse(column: str, allowed: str) -> InputError:
        return InputError(f"{path}: line {line}: column {column}: {row[column]!r} is not allowed: {allowed}")

    if row["schema_version"] != SCHEMA_VERSION:
        raise refuse("schema_version", f"{SCHEMA_VERSION}")
    for column in ONE_STUDY:
        if row[column] != first[column]:
            raise refuse(column, f"{first[column]!r} as in the first row, one file holds one protocol")
    for wrong, total in (("test_wrong", "n_test"), ("train_wrong", "n_train")):
        if row[total] == 0:
            raise refuse(total, "at least 1 picture")
        if row[wrong] is None and row["status"] != "failed":
            raise refuse(wrong, "a whole number of pictures unless the status is failed")
        if row[wrong] is not None and row[wrong] > row[total]:
            raise refuse(wrong, f"at most {total}={row[total]}")


def _read_rows(path: Path, columns: Mapping[str, Column]) -> tuple[list[dict[str, Any]], list[int]]:
    """Parsed rows and the line on which each begins."""
    try:
        text = read_bytes(path).decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), allowed: a file of rows") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start}: not UTF-8, allowed: UTF-8 text") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, lines, begin = [], [], 1
    known: dict[str, dict[str, Any]] = {name: {} for name in columns}  # a text that stands in many rows is checked once
    try:
        header = next(reader, [])
        _check_header(path, header, columns)
        begin = reader.line_num + 1
        for cells in reader:
            if len(cells) != len(header):
                raise InputError(f"{path}: line {begin}: {len(cells)} cells, allowed: {len(header)} as in the header")
            found = dict(zip(header, cells, strict=True))
            row = {}
            for name, column in columns.items():
                text, checked = found.get(name, ""), known[name]
                if text not in checked:
                    checked[text] = _parse(path, begin, name, column, text)
                row[name] = checked[text]
            rows.append(row)
            lines.append(begin)
            begin = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}: line {begin}: not CSV ({error}), allowed: comma-separated values") from None
    return rows, lines


def _check_header(path: Path, header: Sequence[str], columns: Mapping[str, Column]) -> None:
    for name in header:
        if name not in columns:
            raise InputError(f"{path}: line 1: column {name!r} is not known{nearest(name, columns)}")
    for name, column in columns.items():
        if name not in header and not column.later:
            raise InputError(f"{path}: line 1: column {name!r} is missing, allowed: {', '.join(columns)}")
    belong = [name for name, column in columns.items() if name in header or not column.later]
    for here, there in zip(header, belong, strict=False):
        if here != there:
            raise InputError(f"{path}: line 1: column {here!r} stands where {there!r} belongs")
    if len(header) != len(belong):
        raise InputError(f"{path}: line 1: {len(header)} columns, allowed: {len(belong)}")


def _parse(path: Path, line: int, name: str, column: Column, cell: str) -> Any:
    allowed = fault(column, cell)
    if allowed:
        raise InputError(f"{path}: line {line}: column {name}: {cell!r} is not allowed: {allowed}")
    if column.kind == "text" or column.kind == "sha256":
        return cell
    if not cell:
        return None
    if column.kind == "flag":
        return cell == "true"
    return int(cell) if column.kind == "whole" else float(cell)


def _frame(rows: list[dict[str, Any]], columns: Mapping[str, Column]) -> pd.DataFrame:
    dtypes = {"whole": ("int64", "Int64"), "number": ("float64",) * 2, "flag": ("bool", "boolean")}
    return pd.DataFrame(
        {
            name: pd.Series(
                [row[name] for row in rows], dtype=dtypes.get(column.kind, ("object",) * 2)[column.optional]
            )
            for name, column in columns.items()
        }
    )


def read_parquet(path: Path, columns: Mapping[str, Column], categories: bool = False) -> pd.DataFrame:
    """The rows of an epochs.parquet or predictions.parquet. Raises InputError naming the file and the column.

    `categories` keeps text as pandas categories, a tenth of the memory where millions of rows repeat few names.
    """
    return read_table(path, columns).to_pandas(strings_to_categorical=categories)


def read_table(path: Path, columns: Mapping[str, Column]) -> pa.Table:
    """The same rows as an Arrow table. Raises InputError naming the file and the column."""
    try:
        with pq.ParquetFile(path) as file:  # not `read_table`, which takes folders called key=value for columns
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a Parquet file ({str(error).splitlines()[0]}), allowed: Parquet") from None
    _check_header(path, table.schema.names, columns)
    for field in arrow_schema(columns):
        found = table.schema.field(field.name).type
        words = pa.types.is_string(field.type) and (pa.types.is_large_string(found) or pa.types.is_dictionary(found))
        if found != field.type and not words:  # a writer may spell text in another way, not a number
            raise InputError(f"{path}: column {field.name}: type {found} is not allowed: {field.type}")
    return table
