"""From the results of a store's cells to the study's files: trials.csv, runs.csv, epochs.parquet, predictions.parquet.

With cells.json, which says what every cell is, `restore` makes the cells of these files again.

The files are a function of the results alone: however often a study was killed, trials.csv is the same bytes. What
differs from run to run stands in runs.csv.
"""

import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dsresearch.schema import (
    EPOCH_COLUMNS,
    PREDICTION_COLUMNS,
    RUN_COLUMNS,
    TRIAL_COLUMNS,
    read_parquet,
    write_csv,
    write_parquet,
)
from dsresearch.store import CellFolder, Store, write_json


def export(store: Store) -> None:
    """Write the study's files from every done cell; nothing where none is done."""
    protocol = store.protocol()
    done = [(folder, result) for folder in store.cells() if (result := folder.result()) is not None]
    write_csv(store.root / "runs.csv", list(_runs(store, protocol)), RUN_COLUMNS)
    if not done:
        return
    write_json(store.cells_file, {folder.id: folder.config() for folder in store.cells()})
    digest = hashlib.sha256(store.protocol_file.read_bytes()).hexdigest()
    classes = store.proven()
    trials = [row for folder, result in done for row in _trials(folder, result, protocol, digest, classes)]
    write_csv(store.root / "trials.csv", trials, TRIAL_COLUMNS)
    for name, columns in (("epochs.parquet", EPOCH_COLUMNS), ("predictions.parquet", PREDICTION_COLUMNS)):
        frames = [_frame(folder, result, name, columns, protocol["study_id"]) for folder, result in done]
        write_parquet(store.root / name, pd.concat(frames, ignore_index=True), columns)


def _trials(
    folder: CellFolder, result: Mapping[str, Any], protocol: Mapping[str, Any], digest: str, classes: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """A cell's rows, completed with what only the store knows; a column that came after the cell is empty in them."""
    config = folder.config()
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
            "dataset": protocol["data"]["label"],
            "eq_class": classes.get(config["arm"], ""),
        }


def _frame(
    folder: CellFolder, result: Mapping[str, Any], name: str, columns: Mapping[str, Any], study_id: str
) -> pd.DataFrame:
    frame = read_parquet(folder.attempts / str(result["attempt"]) / name, columns)
    return frame.assign(study_id=study_id)[list(columns)]


def _runs(store: Store, protocol: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row an attempt, from what Sacred kept of it."""
    for folder in store.cells():
        config = folder.config()
        for number in folder.numbers():
            attempt = folder.attempts / str(number)
            run, info = _read(attempt / "run.json"), _read(attempt / "info.json")
            if not run.get("start_time"):
                continue  # killed before its first word
            host = run.get("host") or {}
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
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(run: Mapping[str, Any]) -> float | None:
    if not run.get("stop_time"):
        return None
    start, stop = (datetime.datetime.fromisoformat(run[name]) for name in ("start_time", "stop_time"))
    return (stop - start).total_seconds()
