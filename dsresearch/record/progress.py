"""How far a study is and when it will be done, told while it runs and by `dsresearch status`."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from dsresearch.design import Protocol
from dsresearch.documents import has
from dsresearch.record.store import CellFolder, Store
from dsresearch.schema import decided_in
from dsresearch.studies import Cell, Plan, cell_name

LINE_SECONDS = 30.0  # between two lines where the output is no terminal
REDRAW_SECONDS = 0.5  # where it is one


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Progress:
    """Progress of a launcher's cells: a line redrawn on a terminal, else a line now and then.

    The time left is extrapolated from what was trained since the launcher started, in images times multiply-adds: a
    cell that has not begun costs what its arithmetic costs.
    """

    def __init__(self, store: Store, plan: Plan, cells: Sequence[Cell], out: TextIO) -> None:
        self.store, self.cells, self.out = store, cells, out
        self.work = {cell.id: float(plan.cost(cell).macs * plan.images(cell)) for cell in cells}
        self.began = self.told = time.monotonic()
        self.on_terminal = out.isatty()
        self.done: set[str] = set()  # a cell that is done stays done
        self._look()
        self.work_before = self._work_done([])

    def finished(self, cell: Cell) -> None:
        """Tell that a cell is done, with its error."""
        self.done.add(cell.id)
        rows = (self.store.cell(cell).result() or {"rows": []})["rows"]
        self._print(f"{len(self.done)} of {len(self.cells)} cells: {cell.name}, {_error(rows)}")

    def tell(self, running: Sequence[Cell]) -> None:
        """Tell how far the running cells are, if it is time to."""
        now = time.monotonic()
        if not running or now - self.told < (REDRAW_SECONDS if self.on_terminal else LINE_SECONDS):
            return
        self.told = now
        if now - self.looked > LINE_SECONDS:
            self._look()
        done, total = self._work_done(running), sum(self.work.values())
        here = done - self.work_before
        left = f"about {duration((total - done) / here * (now - self.began))} left" if here > 0 else "compiling"
        line = f"{len(self.done)} of {len(self.cells)} cells, {100 * done / total:.0f} %, {left}"
        names = ", ".join(f"{cell.name} {100 * self._share(cell):.0f} %" for cell in running)
        if self.on_terminal:
            print(f"\r\033[K{line}: {names}"[:200], end="", file=self.out, flush=True)
        else:
            self._print(f"{line}: {names}")

    def close(self) -> None:
        """Leave the terminal's line."""
        if self.on_terminal:
            print("\r\033[K", end="", file=self.out, flush=True)

    def _print(self, text: str) -> None:
        self.close()
        print(text, file=self.out, flush=True)

    def _look(self) -> None:
        """See which cells are done, other launchers' among them."""
        self.looked = time.monotonic()
        missing = (cell for cell in self.cells if cell.id not in self.done)
        self.done |= {cell.id for cell in missing if self.store.cell(cell).result() is not None}

    def _work_done(self, running: Sequence[Cell]) -> float:
        """Work of the finished cells and the finished part of the running ones."""
        shares = {cell.id: self._share(cell) for cell in running}
        return sum(work * (1.0 if cell in self.done else shares.get(cell, 0.0)) for cell, work in self.work.items())

    def _share(self, cell: Cell) -> float:
        said = self.store.cell(cell).progress()
        return said["done"] / said["total"] if said.get("total") else 0.0


def status_lines(store: Store) -> list[str]:
    """One line a cell (done, running, failed, missing) and the time left, for `dsresearch status`."""
    stored = store.protocol()
    here = {folder.id: folder for folder in store.cells()}
    if not here:
        return [f"{stored['study_id']}: no cell has been started here, or cells.json is missing"]
    protocol = decided_in(stored)
    planned: dict[str, Mapping[str, Any]] = {}
    for entry in stored["cells"]:
        if "id" in entry:
            planned.setdefault(entry["id"], entry)  # a cell of several names has its first, as `run` says it
    lines, seconds_left = [], 0.0
    counts: Counter[str] = Counter()
    for cell_id in [*planned, *sorted(here.keys() - planned.keys())]:
        name = _name(planned.get(cell_id) or here[cell_id].config(), protocol)
        word, detail, seconds = state(store.cell(cell_id))
        counts[word] += 1
        seconds_left += seconds
        lines.append(f"{word:<8} {name:<32} {detail}".rstrip())
    summary = ", ".join(f"{number} {word}" for word, number in counts.items())
    left = f"; running cells: about {duration(seconds_left)} left" if seconds_left else ""
    return [*lines, f"{stored['study_id']}: {summary}{left}"]


def _name(entry: Mapping[str, Any], protocol: Protocol) -> str:
    """What a cell is called, from its entry in protocol.toml or from its cell.json."""
    control = entry.get("control_kind", entry.get("control", ""))
    first = entry.get("first_trial", entry.get("first", 0))
    return cell_name(entry["arm"], control, entry["match"], range(first, first + protocol.cell_trials), protocol.trials)


def _error(rows: Sequence[Mapping[str, Any]]) -> str:
    """The test error over some rows."""
    counted = [row for row in rows if has(row, {"test_wrong": int, "n_test": int})]
    wrong, tested = (sum(row[name] for row in counted) for name in ("test_wrong", "n_test"))
    several = f" over {len(rows)} trials" if len(rows) > 1 else ""
    return f"{100 * wrong / tested:.2f} % test error{several}" if tested > 0 else "no test error"


def state(folder: CellFolder) -> tuple[str, str, float]:
    """What a cell is (done, running, failed, missing), what is to be said of it, and the seconds that are left."""
    result = folder.result()
    if result is not None:
        return "done", _error(result["rows"]), 0.0
    if not folder.path.is_dir():
        return "missing", "", 0.0
    said = folder.progress()
    share = f"{100 * said['done'] / said['total']:.0f} %" if said.get("total") else ""
    if folder.held():
        left = said["seconds"] / max(said["here"], 1) * (said["total"] - said["done"]) if said.get("done") else 0.0
        return "running", share, float(left)
    failure = folder.failure()
    return ("failed", failure, 0.0) if failure else ("missing", f"stopped at {share}" if share else "", 0.0)
