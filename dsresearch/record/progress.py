"""How far a study is and when it will be done, told while it runs and by `dsresearch status`."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from types import SimpleNamespace
from typing import Any, TextIO

from dsresearch.design import Protocol
from dsresearch.documents import has
from dsresearch.record.store import CellFolder, Store
from dsresearch.runtime import duration
from dsresearch.schema import decided_in
from dsresearch.studies import Cell, Plan, cell_name, design_of, network_cost

LINE_SECONDS = 30.0  # between two lines where the output is no terminal
REDRAW_SECONDS = 0.5  # where it is one


class Progress:
    """Progress of a launcher's cells: a line redrawn on a terminal, else a line now and then.

    The time left is extrapolated from what was trained since the launcher started, in images times multiply-adds: a
    cell that has not begun costs what its arithmetic costs, and what an earlier launcher trained took no time of ours.
    """

    def __init__(self, store: Store, plan: Plan, cells: Sequence[Cell], out: TextIO) -> None:
        self.store, self.cells, self.out = store, cells, out
        self.work = {cell.id: float(plan.cost(cell).macs * plan.images(cell)) for cell in cells}
        self.began = self.told = time.monotonic()
        self.on_terminal = out.isatty()
        self.done: set[str] = set()  # a cell that is done stays done
        self._look()
        self.shares = {cell.id: 0.0 if cell.id in self.done else self._share(cell) for cell in cells}  # as last seen
        self.earlier = self.shares | dict.fromkeys(self.done, 1.0)  # trained before this launcher

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
        for cell in running:
            self.shares[cell.id] = share = self._share(cell)
            self.earlier[cell.id] = min(self.earlier[cell.id], share)  # less where it started again
        done, total = self._work_of(self.shares | dict.fromkeys(self.done, 1.0)), sum(self.work.values())
        here = done - self._work_of(self.earlier)
        left = f"about {duration((total - done) / here * (now - self.began))} left" if here > 0 else "compiling"
        line = f"{len(self.done)} of {len(self.cells)} cells, {100 * done / total:.0f} %, {left}"
        names = ", ".join(f"{cell.name} {100 * self.shares[cell.id]:.0f} %" for cell in running)
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

    def _work_of(self, shares: Mapping[str, float]) -> float:
        return sum(work * shares[cell] for cell, work in self.work.items())

    def _share(self, cell: Cell) -> float:
        """How much of a cell is trained; one that is done has cleared away what it said of itself."""
        folder = self.store.cell(cell)
        said = folder.progress()
        return _share(said) if said or folder.result() is None else 1.0


def _share(said: Mapping[str, Any]) -> float:
    """How much of a cell is trained, of what it said of itself."""
    return float(said["done"] / said["total"]) if said else 0.0


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
    lines = []
    found: dict[str, list[CellFolder]] = defaultdict(list)
    for cell_id in [*planned, *sorted(here.keys() - planned.keys())]:
        name = _name(planned.get(cell_id) or here[cell_id].config(), protocol)
        word, detail, _ = state(store.cell(cell_id))
        found[word].append(store.cell(cell_id))
        lines.append(f"{word:<8} {name:<32} {detail}".rstrip())
    summary = ", ".join(f"{len(cells)} {word}" for word, cells in found.items())
    missing = [cell for cell in found["missing"] if cell.id in here]  # others are planned, and not asked for
    seconds = _seconds_left(found["running"], missing, stored["data"])
    of = " of what was asked for" if len(missing) < len(found["missing"]) else ""
    left = f"; about {duration(seconds)} left{of}" if seconds > 0 else ""
    return [*lines, f"{stored['study_id']}: {summary}{left}"]


def _seconds_left(running: Sequence[CellFolder], missing: Iterable[CellFolder], pictures: Mapping[str, Any]) -> float:
    """Until all are done at the rates of the running cells; 0 where none says one, or what a cell costs is not known.

    A running cell that has told of no epoch yet counts as fast as the others. At the end some workers have nothing
    left to do, so that it takes as long as the slowest cell at least.
    """
    if not running:
        return 0.0
    told = {cell: cell.progress() for cell in (*running, *missing)}
    costs = {cell: _cost(cell, pictures) for cell in told}
    left = {cell: costs[cell] * (1 - _share(said)) for cell, said in told.items()}
    rates = {
        cell: costs[cell] * told[cell]["here"] / told[cell]["total"] / told[cell]["seconds"]
        for cell in running
        if told[cell] and told[cell]["here"] > 0 and told[cell]["seconds"] > 0
    }
    if not rates or not all(costs.values()):
        return 0.0
    together = sum(left.values()) / (mean(rates.values()) * len(running))
    return max(together, *(left[cell] / rate for cell, rate in rates.items()))


def _cost(cell: CellFolder, pictures: Mapping[str, Any]) -> float:
    """Multiply-adds of a cell's training, by its trials and their pictures, which all cells of a study have alike.

    A network's cost asks a data set for the size of its pictures and its classes alone, so none are loaded. 0 for what
    is damaged, or what this version makes no network of.
    """
    config = cell.whole_config()
    if config is None:
        return 0.0
    try:
        images = SimpleNamespace(shape=(0, *pictures["image"]))
        outline: Any = SimpleNamespace(name=pictures["name"], images=images, classes=range(pictures["classes"]))
        macs = network_cost(design_of(config["setup"], outline, config["design"]), outline).macs
        return float(macs * config["recipe"]["epochs"])
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return 0.0


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
