"""One cell of a study trained anew from its protocol, beside the rows that the study has of it.

On the same model of device, with the same versions and flags, the two are the same to the bit; elsewhere the difference
stands beside what one ulp in one weight made of the baseline (the control `bit`).
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsresearch import runtime
from dsresearch.design import InputError, one_of
from dsresearch.launch import start_here
from dsresearch.record.progress import LINE_SECONDS, state
from dsresearch.record.restore import restore
from dsresearch.record.store import CellFolder, Store
from dsresearch.runtime import DONE, FAILED, WRONG_INPUT
from dsresearch.schema import ENVIRONMENT, STUDY_FILES, trial_rows


def main(folder: Path, cell_id: str = "", seed: int | None = None) -> int:
    """Train a cell of the study in `folder` anew, in a temporary one, and print both results; 1 where they should agree
    and do not.

    `cell_id` names the cell, else one is drawn, by `seed` where it is given. Raises InputError where the folder has no
    finished cell of that name.
    """
    committed: dict[str, list[dict[str, Any]]] = {}
    for row in trial_rows(folder / "trials.csv"):
        committed.setdefault(row["cell_id"], []).append(row)
    if cell_id:
        one_of("--cell", cell_id, committed)
    chosen = cell_id or random.Random(seed).choice(sorted(committed))
    first = committed[chosen][0]
    control = f" [{first['control_kind']}]" if first["control_kind"] else ""
    trials = f"{len(committed[chosen])} trial{'s' * (len(committed[chosen]) > 1)}"
    print(f"cell {chosen}: {first['arm']}{control} of {first['study_id']}, {trials}", flush=True)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # through all that is to be cleared away
    with tempfile.TemporaryDirectory() as temporary:
        ours = _trained(folder, Path(temporary) / "study", chosen)
    if not ours:
        return FAILED
    bit = [row for rows in committed.values() for row in rows if row["control_kind"] in ("", "bit")]
    return _compare(committed[chosen], ours, _bit_floor(bit))


def _trained(folder: Path, copy: Path, cell_id: str) -> list[dict[str, Any]]:
    """The rows of the cell, trained in a copy of the study from which its results were taken out; none if it fails."""
    copy.mkdir()
    for name in STUDY_FILES:
        if not (folder / name).is_file():
            raise InputError(f"{folder / name} is missing, allowed: a study's folder with {', '.join(STUDY_FILES)}")
        shutil.copy(folder / name, copy / name)
    store = Store(copy)
    restore(store)
    cell = store.cell(cell_id)
    threads = cell.config()["protocol"]["threads"]
    shutil.rmtree(cell.attempts)
    (cell.path / "result.json").unlink()
    log = copy / "log.txt"
    code = _to_its_end(start_here(["worker", "cell", str(copy), cell_id], runtime.environment(threads), log), cell)
    result = cell.result()
    if code == DONE and result is not None:
        return list(result["rows"])
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    why = (cell.failure() or said or "it said nothing").splitlines()[-1].removeprefix("error: ")
    if code == WRONG_INPUT:
        raise InputError(why)
    print(f"error: the cell could not be trained: {why}", file=sys.stderr)
    return []


def _to_its_end(process: subprocess.Popen[bytes], cell: CellFolder) -> int:
    """Wait for the training, and say now and then how far it is; whatever ends the wait ends the training first."""
    try:
        while True:
            try:
                return process.wait(LINE_SECONDS)
            except subprocess.TimeoutExpired:
                _, share, left = state(cell)
                said = f"{share}, about {runtime.duration(left)} left" if left else "compiling"
                print(said, file=sys.stderr, flush=True)
    finally:
        process.kill()  # nothing of it is kept
        process.wait()


def _compare(stored: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]], floor: str) -> int:
    here = [name for name in ENVIRONMENT if stored[0][name] != ours[0][name]]
    same = True
    for then, now in zip(sorted(stored, key=_trial), sorted(ours, key=_trial), strict=True):
        equal = all(then[name] == now[name] for name in ("params_sha256", "predictions_sha256", "test_wrong"))
        same &= equal
        print(
            f"trial {now['trial']}: {'the same to the bit' if equal else 'differs'}; wrong {then['test_wrong']} then, "
            f"{now['test_wrong']} now; weights {then['params_sha256']} then, {now['params_sha256']} now"
        )
    if same or not here:
        return DONE if same else FAILED
    print(f"other than then: {', '.join(f'{name} ({stored[0][name]} then, {ours[0][name]} now)' for name in here)}")
    print(f"so the bits may differ; {floor}")
    return DONE


def _bit_floor(rows: Sequence[Mapping[str, Any]]) -> str:
    """What one ulp in one weight changed, in words."""
    wrong = {(row["control_kind"], row["trial"]): row["test_wrong"] for row in rows if row["role"] != "exploratory"}
    baseline = {row["trial"]: row["test_wrong"] for row in rows if row["role"] == "baseline"}
    moved = [abs(n - baseline[trial]) for (kind, trial), n in wrong.items() if kind == "bit" and trial in baseline]
    if not moved:
        return "this study has no `bit` control to compare with"
    by = f"by {min(moved)} to {max(moved)}"
    return f"one ulp in one weight changed the number of wrong pictures {by} in the study's `bit` control"


def _trial(row: Mapping[str, Any]) -> int:
    return int(row["trial"])
