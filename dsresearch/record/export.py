"""From the results of a store's cells to the study's files: trials.csv, runs.csv, epochs.parquet, predictions.parquet.

With cells.json, which says what every cell is, `restore` makes the cells of these files again.

The files are a function of the results alone: however often a study was killed, trials.csv is the same bytes. What
differs from run to run stands in runs.csv.
"""

import datetime
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dsresearch.design import InputError
from dsresearch.documents import has
from dsresearch.record.store import CellFolder, Store, read_whole, write_json
from dsresearch.schema import (
    EPOCH_COLUMNS,
    PREDICTION_COLUMNS,
    RUN_COLUMNS,
    TRIAL_COLUMNS,
    arrow_schema,
    place,
    read_table,
    write_csv,
    write_table,
)
from dsresearch.studies import Cell


def export(store: Store) -> None:
    """Write the study's files from every done cell; nothing where none is done.

    Raises InputError where what a cell left behind is no record of a run.
    """
    try:
        _export(store)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}, allowed: a study's folder as `run` left it") from None
    except (ValueError, KeyError, TypeError, OverflowError, pa.ArrowException) as error:
        raise InputError(
            f"{store.root / 'cells'} holds a damaged record ({error}), allowed: what `run` wrote"
        ) from error


def _export(store: Store) -> None:
    protocol = store.protocol()
    cells = [(folder, folder.config()) for folder in store.cells()]
    cells.sort(key=lambda cell: _place(cell[1]))  # as the files are
    runs = list(_runs(cells, protocol))
    done = [(folder, config, result) for folder, config in cells if (result := folder.result()) is not None]
    digest = hashlib.sha256(store.protocol_file.read_bytes()).hexdigest()
    classes = store.proven()
    trials = [row for _, config, result in done for row in _trials(config, result, protocol, digest, classes)]
    tables = {}  # everything is read before anything is written over
    for name, columns in (("epochs.parquet", EPOCH_COLUMNS), ("predictions.parquet", PREDICTION_COLUMNS)):
        paths = [folder.attempts / str(result["attempt"]) / name for folder, _, result in done]
        tables[name] = [read_table(path, columns).cast(arrow_schema(columns)) for path in paths]
    write_csv(store.root / "runs.csv", runs, RUN_COLUMNS, parents=False)
    if not done:
        return
    write_json(store.cells_file, {folder.id: config for folder, config in cells})
    write_csv(store.root / "trials.csv", trials, TRIAL_COLUMNS, parents=False)
    for name, parts in tables.items():
        write_table(store.root / name, _of_study(pa.concat_tables(parts), protocol["study_id"]), parents=False)


def _place(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort key of a cell: where its rows stand in the study's files."""
    return (*place(config["arm"], config["control"], config["match"]), config.get("first", 0))


def compilations(store: Store, cells: Iterable[Cell]) -> tuple[int, int]:
    """How many programs the runs of some cells compiled, and how many they took from the store."""
    attempts = [newest for cell in cells if (newest := store.cell(cell).newest_attempt()) is not None]
    found = [_read(attempt / "info.json") for attempt in attempts]
    compiled, taken = (sum(info.get(name) or 0 for info in found) for name in ("programs_compiled", "programs_taken"))
    return compiled, taken


def _trials(
    config: Mapping[str, Any],
    result: Mapping[str, Any],
    protocol: Mapping[str, Any],
    digest: str,
    classes: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    """A cell's rows, completed with what only the store knows; a column that came after the cell is empty in them."""
    empty = {name: None for name, column in TRIAL_COLUMNS.items() if column.optional}
    for row in result["rows"]:
        yield {
            **empty,
            **row,
            "study_id": protocol["study_id"],
            "arm": config["arm"],
            "control_kind": config["control"],
            "match": config["match"],
            "protocol_sha256": digest,
            "profile": protocol["profile"],
            "dataset": protocol["data"].get("label", protocol["data"]["name"]),
            "eq_class": classes.get(config["arm"], ""),
        }


def _of_study(rows: pa.Table, study_id: str) -> pa.Table:
    """Rows of cells under the study's name: an arm of a grid was trained under that of its profile."""
    at = rows.schema.get_field_index("study_id")
    return rows.set_column(at, rows.schema.field(at), pa.array([study_id] * len(rows), pa.string()))


def _runs(
    cells: Sequence[tuple[CellFolder, Mapping[str, Any]]], protocol: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """One row an attempt, from what Sacred kept of it."""
    for folder, config in cells:
        for number in folder.numbers():
            attempt = folder.attempts / str(number)
            run, info = _read(attempt / "run.json"), _read(attempt / "info.json")
            if not run.get("start_time"):
                continue  # killed before its first word
            host = run["host"] if has(run, {"host": dict}) else {}
            yield {
                "study_id": protocol["study_id"],
                "arm": config["arm"],
                "control_kind": config["control"],
                "match": config["match"],
                "cell_id": folder.id,
                "attempt": number,
                "status": run.get("status", "UNKNOWN"),
                "started_utc": run["start_time"],
                "stopped_utc": run.get("stop_time"),
                "wall_s": _seconds(run),
                **{name: info.get(name) for name in _INFO},
                "host": host.get("hostname"),
                "sacred_run_id": str(number),
            }


_INFO = (
    "compile_s", "train_s", "images_per_s", "peak_mem_mib", "cpu", "git_sha", "git_dirty", "resumed_from_epoch",
)  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    found = read_whole(path)
    return found if isinstance(found, dict) else {}


def _seconds(run: Mapping[str, Any]) -> float | None:
    if not run.get("stop_time"):
        return None
    start, stop = (datetime.datetime.fromisoformat(run[name]) for name in ("start_time", "stop_time"))
    return (stop - start).total_seconds()
