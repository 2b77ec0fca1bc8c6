"""From a study's files back to the store that they were exported from, so that a study goes on on another machine.

What comes back is what `export` reads: a restored store exports the same bytes. Checkpoints and finished trials of
unfinished cells are not among the files, so an unfinished cell starts again.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dsresearch.design import InputError
from dsresearch.documents import read_json
from dsresearch.record.store import CellFolder, Store, write_json
from dsresearch.schema import (
    EPOCH_COLUMNS,
    PREDICTION_COLUMNS,
    read_parquet,
    run_rows,
    trial_rows,
    write_parquet,
)

_PAIR = ["arm", "control_kind", "match", "trial"]
_CURVES = {"epochs.parquet": EPOCH_COLUMNS, "predictions.parquet": PREDICTION_COLUMNS}


def restore(store: Store) -> bool:
    """Make the cells of a folder that holds a study's files alone; whether there was anything to make.

    Of several processes one makes them and the others wait. Raises InputError where one of the files is damaged or they
    do not belong together.
    """
    if not _asks(store):
        return False
    with _alone(store.root):
        if not _asks(store):
            return False
        draft = Store(store.root / "restoring")  # renamed when it is whole
        shutil.rmtree(draft.root, ignore_errors=True)  # a killed process's
        try:
            _fill(store, draft)
            (draft.root / "cells").rename(store.root / "cells")
        finally:
            shutil.rmtree(draft.root, ignore_errors=True)
    return True


@contextlib.contextmanager
def looked_into(store: Store) -> Iterator[Store]:
    """A store to read alone: itself or, where a folder holds a study's files, one made of them elsewhere for now."""
    if not _asks(store):
        yield store
        return
    with tempfile.TemporaryDirectory() as elsewhere:
        seen = Store(Path(elsewhere))
        shutil.copy(store.protocol_file, seen.protocol_file)
        _fill(store, seen, curves=False)  # a look asks what is done, and reads no curve
        yield seen


def _asks(store: Store) -> bool:
    """Whether a folder holds a study's files and no cells."""
    return store.cells_file.exists() and not (store.root / "cells").exists()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock of the kernel on a folder; where the file system has none, nothing is held."""
    at = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(at, fcntl.LOCK_EX)
        yield
    finally:
        os.close(at)


def _fill(store: Store, draft: Store, curves: bool = True) -> None:
    configurations = _configurations(store.cells_file)
    for cell_id, config in configurations.items():
        draft.cell(cell_id).path.mkdir(parents=True)
        write_json(draft.cell(cell_id).path / "cell.json", config)
    finished = _attempts(store.root / "runs.csv", draft, configurations)
    of_cell = defaultdict(list)
    for row in trial_rows(store.root / "trials.csv"):
        if _name(row, "control_kind") == _name(configurations.get(row["cell_id"], row), "control"):
            of_cell[row["cell_id"]].append(row)  # under other names too, where an arm is the same at another match
    frames = {name: read_parquet(store.root / name, columns) for name, columns in _CURVES.items() if curves}
    grouped = {name: dict(list(frame.groupby(_PAIR, sort=False))) for name, frame in frames.items()}
    for cell_id, rows in of_cell.items():
        if cell_id not in finished:
            raise InputError(f"{store.root / 'runs.csv'} has no completed run of cell {cell_id}, allowed: every cell's")
        folder, attempt = draft.cell(cell_id), finished[cell_id]
        if curves:
            _results(store, folder, attempt, rows, grouped)
        write_json(folder.path / "result.json", {"attempt": attempt, "rows": rows})


def _name(of: Mapping[str, Any], control: str) -> tuple[Any, ...]:
    return of["arm"], of.get(control), of["match"]


def _results(store: Store, folder: CellFolder, attempt: int, rows: list[dict[str, Any]], grouped: Any) -> None:
    """The curves and predictions of a cell's trials, where its run had left them."""
    for name, columns in _CURVES.items():
        try:
            own = [grouped[name][tuple(row[key] for key in _PAIR)] for row in rows]
        except KeyError as error:
            raise InputError(f"{store.root / name} has no rows of {error}, allowed: every trained model's") from None
        path = folder.attempts / str(attempt) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(path, pd.concat(own), columns)


def _configurations(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}, allowed: JSON") from None
    if not isinstance(found, dict) or not all(name.isalnum() and isinstance(of, dict) for name, of in found.items()):
        raise InputError(f"{path} is not allowed: an object of cells by id")
    return found


def _attempts(path: Path, draft: Store, known: Container[str]) -> dict[str, int]:
    """What Sacred kept of every attempt, as far as runs.csv tells it; gives each finished cell's attempt."""
    finished = {}
    for row in run_rows(path):
        if row["cell_id"] not in known:
            raise InputError(f"{path}: cell_id={row['cell_id']!r} is not allowed: one of cells.json")
        attempt = draft.cell(row["cell_id"]).attempts / str(row["attempt"])
        attempt.mkdir(parents=True)
        times = {"start_time": row["started_utc"], "stop_time": row["stopped_utc"] or None}
        host = {"hostname": row["host"]} if row["host"] else {}
        write_json(attempt / "run.json", {"status": row["status"], **times, "host": host})
        write_json(attempt / "info.json", {name: value for name, value in row.items() if value is not None})
        if row["status"] == "COMPLETED":
            finished[row["cell_id"]] = row["attempt"]
    return finished
