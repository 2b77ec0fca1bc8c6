"""Which cells are missing, and who runs them: one process a cell, a few at once, watched from here without jax.

The store, not the launcher, knows what is done: starting again runs what is missing, and two launchers share the work.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from dsresearch import runtime
from dsresearch.design import InputError
from dsresearch.record.export import compilations, export
from dsresearch.record.progress import Progress
from dsresearch.record.store import Store
from dsresearch.runtime import DONE, FAILED, HELD, STOPPED, WRONG_INPUT
from dsresearch.schema import ENVIRONMENT, WriteError
from dsresearch.studies import TWINS, Cell, Plan, is_proven

POLL_SECONDS = 0.1
HELD_SECONDS = 2.0  # between two looks at a cell that another process works on
EXPORT_SHARE = 0.05  # of the time, at most, in which the rows so far are exported while cells still run


def default_workers(threads: int) -> int:
    """As many cells at once as the machine's processors allow at so many threads a cell; one on an accelerator."""
    if runtime.accelerated():
        return 1
    return max(1, runtime.cores() // threads)


def _end(code: int) -> str:
    """How a process ended: its status, or the signal that killed it, which its own last words cannot say."""
    return f"status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


class Process(Protocol):
    """A process that was started here or elsewhere; of `subprocess.Popen` what a launcher uses."""

    @property
    def returncode(self) -> int | Any: ...  # None before the end, which `poll` and `wait` find
    def poll(self) -> int | None: ...
    def wait(self) -> int: ...
    def terminate(self) -> None: ...


def start_here(words: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """`dsresearch WORDS` as a process on this machine; what it prints goes behind what the file holds."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "dsresearch", *words],
            env={**environment, runtime.PARENT: str(os.getpid())},
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
        )


@dataclass
class Launcher:
    """Runs the cells that a plan asks for and that a store lacks, a process each.

    Attributes:
        workers: cells at once.
        out: where progress is told.
        start: starts a process, on this machine or elsewhere, from its words, environment and log.
    """

    plan: Plan
    store: Store
    workers: int
    out: TextIO = field(default_factory=lambda: sys.stderr)
    start: Callable[[Sequence[str], Mapping[str, str], Path], Process] = start_here
    _running: "dict[Process, Cell]" = field(default_factory=dict)
    _stopping: bool = False
    _log_starts: dict[str, int] = field(default_factory=dict)  # where in its log a process's own words begin
    _earlier: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # what a cell had said when it was started
    _export_after: float = 0.0

    def run(self) -> int:
        """Train what is missing and export the rows; gives the exit status."""
        self.store.prepare(self.plan)
        try:
            with self._stop_requests():
                status = self._prove()
                if status == DONE:
                    status = self._train(self.plan.once)
                if status == DONE:
                    status = self._train(self._baseline_anew())
                if status == DONE:
                    status = self._part()
        except InputError:
            with contextlib.suppress(InputError):  # whatever it is, what was trained belongs among the study's files
                self._export()
            raise
        self._export()
        if status == STOPPED:
            self._say(f"stopped: what was trained is kept in {self.store.root}, the same command goes on from there")
        if status == DONE:
            self._say("{} programs compiled, {} taken from the store".format(*compilations(self.store, self.plan.once)))
            self._say(f"done; `dsresearch report {self.store.root}` prints the tables and the verdict")
        return status

    def _prove(self) -> int:
        """Have it proven which arms are the baseline's function, once a store and arm."""
        asked = (cell for cell in self.plan.asked if is_proven(cell.role, cell.control, cell.setup))
        arms = {cell.arm for cell in asked} - {self.plan.baseline}
        return self._aside(
            "prove",
            lambda: arms <= self.store.proven().keys(),
            "proving which arms are the baseline's function",
            "the proof of exactness",
        )

    def _part(self) -> int:
        """Have it measured how the baseline's twins part from it, once a store that has them."""
        baseline = any(cell.arm == self.plan.baseline and not cell.control for cell in self.plan.asked)
        twins = {cell.control for cell in self.plan.asked} >= set(TWINS)
        return self._aside(
            "part",
            lambda: not (baseline and twins) or self.store.divergence_file.exists(),
            "measuring how the baseline's twins part from it",
            "the measurement of the twins",
        )

    def _aside(self, kind: str, there: Callable[[], bool], doing: str, what: str) -> int:
        """Run a process that trains no cell to its end, or wait for another launcher's, until its result is there."""
        if not there():
            self._say(doing)
        while not there():
            code = HELD if self.store.is_claimed(kind) else self._to_its_end(kind)
            if self._stopping:
                return STOPPED
            if code == DONE:
                break
            if code not in (HELD, STOPPED):
                self._refuse(code, kind)
                self._say(f"{what} failed ({_end(code)}): {self._last_words(kind)}")
                return FAILED
            time.sleep(POLL_SECONDS)
        return DONE

    def _to_its_end(self, kind: str) -> int:
        """Run a process that trains no cell, and pass on how far it says it is."""
        process, told = self._start(kind, str(self.store.root)), 0
        while True:
            ended = process.poll() is not None
            said = [line for line in self._words(kind) if line.startswith("progress: ")]
            for line in said[told:]:
                self._say(line.removeprefix("progress: "))
            told = len(said)
            if ended:
                return process.wait()
            if self._stopping:
                process.terminate()
            time.sleep(POLL_SECONDS)

    def _baseline_anew(self) -> list[Cell]:
        """What is trained once more where `rerun` and the stored baseline come from different machines or versions.

        The baseline, beside `rerun` where that was trained; where it was trained so on a third machine, the two here.
        """
        cells = {(cell.control, cell.first): cell for cell in self.plan.asked if cell.arm == self.plan.baseline}
        twins = []
        for rerun in (cell for cell in cells.values() if cell.control == "rerun" and ("", cell.first) in cells):
            wanted = self._environment(rerun)
            if self._environment(cells["", rerun.first]) != wanted:
                twin = dataclasses.replace(rerun, control="rerun_baseline")
                twins.append(twin)
                self.store.describe(twin, self.plan)
                if self._is_done(twin) and self._environment(twin) != wanted:
                    twins.append(rerun)
                    for cell in (twin, rerun):
                        self.store.cell(cell).forget()
        if twins:
            self._say("the stored baseline came from another machine: training it anew beside `rerun`")
        return twins

    def _environment(self, cell: Cell) -> list[Any]:
        """Where a done cell was trained, as far as that changes bits. Raises InputError where its result has gone."""
        folder = self.store.cell(cell)
        result = folder.result()
        if result is None:
            raise InputError(
                f"{folder.path / 'result.json'} is missing or damaged; `dsresearch run` trains the cell again"
            )
        return [result["rows"][0][name] for name in ENVIRONMENT]

    # --- processes ---

    def _train(self, cells: Sequence[Cell]) -> int:
        """Run the cells that are not done until all of them are, here or by another live process."""
        waiting = {cell: 0.0 for cell in cells if not self._is_done(cell)}  # cell -> not before
        progress = Progress(self.store, self.plan, cells, self.out)
        failed = told = False
        with self._no_process_left():
            while (waiting and not self._stopping) or self._running:
                if not self._stopping:
                    self._fill(waiting)
                elif not told:
                    told = True
                    self._say("stopping: cells that train end their epoch and keep a checkpoint")
                for process in [process for process in self._running if process.poll() is not None]:
                    cell, code = self._running.pop(process), process.returncode
                    failed |= self._ended(cell, code, waiting, progress)
                progress.tell(list(self._running.values()))
                time.sleep(POLL_SECONDS)
        progress.close()
        return STOPPED if self._stopping else FAILED if failed else DONE

    def _ended(self, cell: Cell, code: int, waiting: dict[Cell, float], progress: Progress) -> bool:
        """Take note of how a cell's process ended; gives whether it failed.

        One that is held elsewhere, or was stopped alone, waits again.
        """
        self._pass_on_warnings(cell)
        if code == DONE and self._is_done(cell):
            progress.finished(cell)
            self._export_at_times()
            return False
        if self._stopping:  # however it ended, the next run goes on with it
            return False
        if code in (HELD, STOPPED):
            waiting[cell] = time.monotonic() + HELD_SECONDS
            if code == STOPPED:
                self._say(f"cell {cell.name} was stopped with a checkpoint kept, it goes on from there")
            return False
        self._refuse(code, cell.id)
        self._say(f"cell {cell.name} failed ({_end(code)}): {self._why(cell)}")
        return True

    def _is_done(self, cell: Cell) -> bool:
        """Whether a cell is done; what a kill right after it left of its training goes."""
        folder = self.store.cell(cell)
        done = folder.result() is not None
        if done and not folder.held():
            folder.clear()
        return done

    def _export_at_times(self) -> None:
        """Export the rows so far, so that they can be looked at; the more there are, the more seldom.

        An export costs what all cells cost: one after every cell would be a cost by their square.
        """
        began = time.monotonic()
        if began < self._export_after:
            return
        self._export()
        ended = time.monotonic()
        self._export_after = ended + (ended - began) * (1 / EXPORT_SHARE - 1)

    def _fill(self, waiting: dict[Cell, float]) -> None:
        """Start waiting cells while there are workers for them and nobody asks for a stop."""
        now = time.monotonic()
        for cell in [cell for cell, earliest in waiting.items() if earliest <= now]:
            if self._stopping or len(self._running) >= self.workers:
                return
            if self.store.cell(cell).held():  # seen from here, without a process that would only say so
                waiting[cell] = now + HELD_SECONDS
                continue
            if any(cell.shares_program(other) and self._compiles(other) for other in self._running.values()):
                continue  # it would compile the same a second time
            del waiting[cell]
            self._begin(cell)

    def _begin(self, cell: Cell) -> None:
        self._earlier[cell.id] = self.store.cell(cell).progress()
        process = self._start("cell", str(self.store.root), cell.id)
        self._running[process] = cell
        if self._stopping:  # asked for while it was being started, and not among the running yet
            process.terminate()

    @contextlib.contextmanager
    def _no_process_left(self) -> Iterator[None]:
        """Whatever ends the launcher's work ends its cells first; they keep a checkpoint where they can."""
        try:
            yield
        finally:
            self._ask_all_to_end()
            for process in self._running:
                process.wait()
            self._running.clear()

    def _ask_all_to_end(self) -> None:
        for process in self._running:
            process.terminate()

    def _compiles(self, cell: Cell) -> bool:
        """Whether a running cell has not trained its first epochs yet; what an earlier attempt said does not count."""
        return self.store.cell(cell).progress() in ({}, self._earlier.get(cell.id))

    def _start(self, kind: str, *words: str) -> Process:
        """A process of its own, with what must be set before jax starts; what it prints goes to a file."""
        name = words[-1] if kind == "cell" else kind
        path = self.store.log(name)
        try:
            self._log_starts[name] = path.stat().st_size if path.exists() else 0
            return self.start(["worker", kind, *words], runtime.environment(self.plan.protocol.threads), path)
        except OSError as error:
            raise WriteError(path, error.strerror or str(error)) from None

    def _export(self) -> None:
        """Write the study's tables; a launcher beside this one that had seen less does not write over them."""
        with self.store.one_at_a_time():
            export(self.store)

    # --- what processes said ---

    def _refuse(self, code: int, name: str) -> None:
        """Raise InputError where a process failed for a reason that every other will meet: the store or the input."""
        self.store.check_writable()
        if code == WRONG_INPUT:
            raise InputError(self._last_words(name))

    def _pass_on_warnings(self, cell: Cell) -> None:
        for line in self._words(cell.id):
            if line.startswith("warning: "):
                self._say(f"{cell.name}: {line.removeprefix('warning: ')}")

    def _why(self, cell: Cell) -> str:
        return self.store.cell(cell).failure() or self._last_words(cell.id)

    def _last_words(self, name: str) -> str:
        lines = self._words(name)
        return lines[-1].removeprefix("error: ") if lines else "it said nothing"

    def _words(self, name: str) -> list[str]:
        """What the newest process of this name said, line by line."""
        try:
            said = self.store.log(name).read_bytes()[self._log_starts.get(name, 0) :]
        except OSError:
            return []
        return said.decode(encoding="utf-8", errors="replace").strip().splitlines()

    @contextlib.contextmanager
    def _stop_requests(self) -> Iterator[None]:
        """On SIGTERM or SIGINT start nothing more; the cells get the signal too, and keep a checkpoint each."""

        def ask(number: int, frame: object) -> None:
            self._stopping = True
            self._ask_all_to_end()

        previous = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _say(self, text: str) -> None:
        print(text, file=self.out, flush=True)
