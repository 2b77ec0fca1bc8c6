"""Made-up stores of any size: every file that a finished study leaves, with made-up numbers and without a training.

    python tests/store_builder.py DIR CELLS     so many cells at profile `smoke`: the hybrid study's 13 and a grid

The plan, the protocol and the rows' settings are the program's own, so `run`, `status` and `report` take the folder for
what it is: a study that is done. Numbers are drawn from fixed seeds.
"""

import datetime
import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from study_builder import CLASS

from dsresearch import data
from dsresearch.record.export import export
from dsresearch.record.store import Store
from dsresearch.schema import EPOCH_COLUMNS, PREDICTION_COLUMNS, RUN_COLUMNS, TRIAL_COLUMNS, arrow_schema
from dsresearch.studies import Cell, Plan
from dsresearch.studies.plan import Request, plan
from dsresearch.studies.settings import read_grid

PROFILE, DATA = "smoke", "digits"


def grid(cells: int) -> str:
    """A grid of so many cells, a multiple of 3, as the TOML that `run --grid` reads: learning rates for three widths.

    Cells of one width share a network: what a grid costs is its trainings.
    """
    rates = ", ".join(f"{0.0001 * (at + 1):.4f}" for at in range(cells // 3))
    return f'setup = ["grouped"]\n[design]\nwidth = [8, 16, 24]\n[recipe]\nrate = [{rates}]\n'


def made_up(folder: Path, cells: int, exported: bool = True) -> Store:
    """A finished store of so many cells: the study's own and a grid, whose file lies beside the folder."""
    file = folder.with_suffix(".toml")
    folder.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(grid(cells - 13), encoding="utf-8")
    setups, choices = read_grid(file)
    pictures, store = data.load(DATA), Store(folder)
    grids = [Request(profile=PROFILE, setups=tuple(setups), choices=choices)] if cells > 13 else []
    for request in (*grids, Request(profile=PROFILE)):
        decided = plan(request, pictures)
        store.prepare(decided)
        for cell in decided.asked:
            finish(store, cell, decided)
    arms = {folder.config()["arm"] for folder in store.cells()} - {"separable"}
    pairs = [{"a": "separable", "b": arm, "class": CLASS.get(arm, "distinct"), "passed": True} for arm in sorted(arms)]
    _json(store.exactness_file, {"pairs": pairs})
    if exported:
        export(store)
    return store


def finish(store: Store, cell: Cell, decided: Plan) -> None:
    """Write what a finished cell leaves behind. The exports do not depend on the order in which cells finish."""
    folder = store.cell(cell)
    attempt = folder.attempts / "1"
    attempt.mkdir(parents=True)
    trials, (_, n_test) = len(cell.trials), decided.parts
    wrong = np.random.default_rng(int(cell.id, 16)).binomial(n_test, 0.07, trials)
    rows = [_row(cell, decided, trial, int(wrong[trial])) for trial in range(trials)]
    _json(folder.path / "result.json", {"attempt": 1, "rows": rows})
    _json(attempt / "rows.json", rows)
    _sacred(attempt, folder.config(), cell)
    name = {"study_id": "", "arm": cell.arm, "control_kind": cell.control, "match": cell.match}
    _parquet(attempt / "epochs.parquet", EPOCH_COLUMNS, name, [_curve(cell, int(count)) for count in wrong])
    tested = [_predicted(decided, trial, int(count)) for trial, count in enumerate(wrong)]
    _parquet(attempt / "predictions.parquet", PREDICTION_COLUMNS, name, tested)


def _parquet(path: Path, columns: Any, name: dict[str, str], trials: list[dict[str, Any]]) -> None:
    """Write the columns of every trial, in order: what `write_parquet` does, ten times as fast."""
    counts = [len(next(iter(trial.values()))) for trial in trials]
    values: dict[str, Any] = {key: [word] * sum(counts) for key, word in name.items()}
    values["trial"] = np.repeat(np.arange(len(trials)), counts)
    values |= {key: np.concatenate([trial[key] for trial in trials]) for key in trials[0]}
    schema = arrow_schema(columns)
    arrays = [
        pa.array(np.float16(values[f.name]) if f.type == pa.float16() else values[f.name], f.type) for f in schema
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")


# --- what is in the files ---------------------------------------------------------------------------------------

_ADDED = (
    "study_id", "arm", "control_kind", "match", "protocol_sha256", "profile", "dataset", "eq_class",
)  # fmt: skip
_RECIPE = {"batch_size": "batch", "optimizer": "optimiser", "lr": "rate", "wd": "decay"}


def _row(cell: Cell, decided: Plan, trial: int, wrong: int) -> dict[str, Any]:
    made = {"whole": 1, "number": 0.1, "flag": False, "text": "made up"}
    row: dict[str, Any] = {
        name: made.get(column.kind) or hashlib.sha256(f"{name} {cell.id} {trial}".encode()).hexdigest()
        for name, column in TRIAL_COLUMNS.items()
        if name not in _ADDED
    }
    recipe = asdict(cell.recipe)
    settings = asdict(cell.design) | recipe | {name: recipe[own] for name, own in _RECIPE.items()}
    row |= {name: value for name, value in settings.items() if name in row}
    cost, (n_train, n_test) = decided.cost(cell), decided.parts
    return row | {
        "setup": cell.setup,
        "role": cell.role,
        "trial": trial,
        "transport": "none",
        "n_train": n_train,
        "n_test": n_test,
        "params": cost.params,
        "macs_fwd": cost.macs,
        "test_wrong": wrong,
        "status": "ok",
        "error_msg": "",
        "exec_mode": "sequential",
        "kernels": "",
        "cell_id": cell.id,
        "data_sha256": cell.data_sha256,
        "split_sha256": hashlib.sha256(f"split {trial}".encode()).hexdigest(),
    }


def _curve(cell: Cell, wrong: int) -> dict[str, Any]:
    epochs = np.arange(1, cell.recipe.epochs + 1)
    constant = {"lr": cell.recipe.rate, "test_nll": 0.3, "grad_norm": 1.0, "param_norm": 2.0}
    counts = {"step": 22 * epochs, "train_wrong": 40 // epochs, "test_wrong": wrong + 40 // epochs}
    return {"epoch": epochs, "train_loss": 1 / epochs, **counts} | {
        key: np.full(len(epochs), number) for key, number in constant.items()
    }


def _predicted(decided: Plan, trial: int, wrong: int) -> dict[str, Any]:
    n_test = decided.parts[1]
    tested = np.sort((np.arange(n_test) * 4 + trial) % len(decided.pictures.labels))
    label = decided.pictures.labels[tested]
    rng = np.random.default_rng([trial, wrong])
    predicted = label.copy()
    errs = rng.choice(n_test, wrong, replace=False)
    predicted[errs] = (predicted[errs] + 1) % 10
    shares = {"p_true": rng.random(n_test), "margin": rng.random(n_test)}  # drawn: as hard to compress as real ones
    return {"image_id": tested, "label": label, "pred": predicted, **shares}


def _sacred(attempt: Path, config: dict[str, Any], cell: Cell) -> None:
    """What Sacred keeps of a run."""
    start = datetime.datetime(2026, 1, 1)
    stop = start + datetime.timedelta(seconds=100)
    about = {"name": "hybrid", "mainfile": "ledger.py", "sources": [["store.py", "x" * 60]] * 12, "dependencies": []}
    run = {
        "experiment": about,
        "host": {"hostname": "made-up", "cpu": "made up"},
        "status": "COMPLETED",
        "start_time": start.isoformat(),
        "stop_time": stop.isoformat(),
    }
    info = {name: None for name in RUN_COLUMNS if name in ("git_sha", "cpu")}
    speeds = {"train_s": 90.0, "compile_s": 10.0, "images_per_s": 3000.0, "peak_mem_mib": 700.0}
    points = [
        {"name": f"{name}/trial{trial}", "step": epoch, "value": 1.0, "timestamp": start.isoformat()}
        for epoch in range(1, cell.recipe.epochs + 1)
        for trial in cell.trials
        for name in ("test_wrong", "train_loss")
    ]
    _json(attempt / "run.json", run)
    _json(attempt / "config.json", config)
    _json(attempt / "info.json", {**info, **speeds, "git_dirty": False, "resumed_from_epoch": 0})
    _json(attempt / "metrics.json", points)
    (attempt / "metrics.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points), encoding="utf-8")
    (attempt / "cout.txt").touch()


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    made_up(Path(sys.argv[1]), int(sys.argv[2]), exported=False)
