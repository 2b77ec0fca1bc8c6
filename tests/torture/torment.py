"""Kills a study at random moments until it is done all the same, and compares it with one that was left alone.

    PYTHONPATH=tests python -m torture.torment --log results/measurements/torture.jsonl      (that is `make torture`)

A study is started, `kill -9` comes at a random moment of a phase that is due, and the same command is given again,
until the study is done; then its files are compared byte for byte with those of a study that nobody disturbed, and the
next begins from nothing, until there were kills enough, and enough in each phase. Killed is everything at once, as by a
power cut or a job's time limit, or the launcher alone, or the worker alone. Then many start one study at once.

The phases are told by the processes themselves (sitecustomize.py beside this file). The kill comes from here, so it may
find a process in the phase after: the log has what was aimed at and what was hit. What was hit is what counts, and
where the launcher alone was killed while a worker was in a phase, nothing but the launcher was hit.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from torture.forked import Forked, import_everything

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PHASES = ("compile", "epoch", "checkpoint", "ledger", "export", "report")
VICTIMS = ("all", "launcher", "worker")
FILES = ("protocol.toml", "trials.csv", "epochs.parquet", "predictions.parquet", "verdict.json")
WITH_SECONDS = {"cost", "power"}  # the tables that have seconds or hours in them
DEADLINE = 900.0  # seconds without a word of a study: it hangs


@dataclass
class Torment:
    """A tormented study in its own folder, with the words of its processes.

    Attributes:
        command: of `dsresearch`, without --out.
        scratch: where its studies lie.
        draw: what is random.
        forked: whether `run` is forked from this process (forked.py).
        tell: what is done with a kill's line of the log.
        home: where the undisturbed study and the compiled programs lie, for several of these side by side.
        reported: whether `dsresearch report` is tormented too.
    """

    command: tuple[str, ...]
    scratch: Path
    draw: random.Random
    home: Path
    reported: bool = True
    forked: bool = False
    tell: Callable[[dict[str, Any]], None] = lambda kill: None
    kills: list[dict[str, Any]] = field(default_factory=list)
    spans: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # seconds of each phase, seen

    def __post_init__(self) -> None:
        self.scratch.mkdir(exist_ok=True)
        (self.scratch / "line").unlink(missing_ok=True)
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.line.bind(str(self.scratch / "line"))
        self.begun: dict[int, tuple[str, float]] = {}  # process -> its phase, since when

    # --- one study ---

    def straight(self) -> Path:
        """A study that is left alone, with its report."""
        folder = self.home / "straight" / "study"
        if self.reported and (folder / "verdict.json").exists():
            return folder
        for words in self._words(folder):
            code = self._ended(self._start(words, compiled=True, forked=False))
            assert code == 0, f"{words} ended with {code}"
        return folder

    def _ended(self, process: "subprocess.Popen[bytes]") -> int:
        while process.poll() is None:
            self._hear(0.2)
        return process.wait()

    def _words(self, folder: Path) -> Iterator[list[str]]:
        yield [*self.command, "--out", str(folder)]
        if self.reported:
            yield ["report", str(folder)]

    def _start(self, words: list[str], compiled: bool, forked: bool | None = None) -> Any:
        """A command in a session of its own; where nothing of compilation is tried, programs come from a cache."""
        cache = {"JAX_COMPILATION_CACHE_DIR": str(self.home / "compiled")} if compiled else {}
        fast = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
        told = {"PYTHONPATH": f"{HERE}:{ROOT}", "TORTURE_SOCKET": str(self.scratch / "line")}
        how = Forked if self.forked and words[0] == "run" and forked is not False else subprocess.Popen
        with open(self.scratch / "said.txt", "ab") as said:
            return how(
                [sys.executable, "-m", "dsresearch", *words],
                cwd=ROOT,
                env={**os.environ, **cache, **fast, **told},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def through(self, folder: Path, due: list[str]) -> None:
        """A study from nothing to its report, killed once in each phase that is due, as far as it gets there."""
        self._prepare(folder)
        for words in self._words(folder):
            phases = [phase for phase in due if (phase == "report") == (words[0] == "report")]
            while True:
                aim, killed = phases.pop(0) if phases else None, False
                process = self._start(words, compiled=aim != "compile")
                if aim is not None:
                    victims = {"report": ("all",), "export": ("all", "launcher")}.get(aim, VICTIMS)
                    killed = self._kill(process, folder, aim, self.draw.choice(victims))
                    phases[:0] = [] if killed else [aim]
                code = self._ended(process)
                self._nobody_left(folder)
                if code == 0:
                    break
                assert killed, f"{words} ended with {code} and was not killed"

    def _prepare(self, folder: Path) -> None:
        """The proof of exactness, which takes longest and is written once, is taken over from the undisturbed study."""
        folder.mkdir(parents=True)
        straight = self.home / "straight" / "study"
        if (straight / "exactness.json").exists():
            for name in ("protocol.toml", "exactness.json"):
                shutil.copy(straight / name, folder)

    def _kill(self, process: "subprocess.Popen[bytes]", folder: Path, aim: str, victim: str) -> bool:
        """Kill at a random moment of a phase; False where the command ended before there was one."""
        wait = self.draw.randrange(1 if aim in ("compile", "report") else 3)  # phases to let pass
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            said = self._hear(0.2)
            if said is None and process.poll() is not None:
                return False
            if said is None or said[:2] != ("begin", aim) or (wait := wait - 1) >= 0:
                continue
            delay = self.draw.uniform(0, statistics.median(self.spans[aim][-9:] or [0.05]))
            time.sleep(delay)
            return self._strike(process, folder, aim, victim, said[2], delay)
        raise AssertionError(f"nothing was heard of {aim}")

    def _strike(
        self, process: "subprocess.Popen[bytes]", folder: Path, aim: str, victim: str, inside: int, delay: float
    ) -> bool:
        target = {"launcher": process.pid, "worker": inside}.get(victim)
        try:
            os.killpg(process.pid, signal.SIGKILL) if target is None else os.kill(target, signal.SIGKILL)
        except ProcessLookupError:
            return False
        while self._hear(0.0) is not None:
            pass
        hit = self.begun.pop(inside, ("between", 0.0))[0]
        hit = hit if victim != "launcher" or inside == process.pid else "launcher"
        kill = {"kill": len(self.kills) + 1, "aim": aim, "hit": hit, "victim": victim, "delay_s": round(delay, 4)}
        if victim == "launcher":
            process.wait()
            kill["orphans_gone_s"] = round(self._nobody_left(folder), 2)
        self.kills.append(kill | {"study": str(folder.relative_to(self.home).parent), "left": _litter(folder)})
        self.tell(self.kills[-1])
        return True

    def _hear(self, seconds: float) -> tuple[str, str, int] | None:
        self.line.settimeout(seconds or 1e-6)
        try:
            word, phase, who = self.line.recv(100).decode().split()
        except (TimeoutError, BlockingIOError):
            return None
        process = int(who)
        if word == "begin":
            self.begun[process] = (phase, time.monotonic())
        elif process in self.begun:
            self.spans[phase].append(time.monotonic() - self.begun.pop(process)[1])
        return word, phase, process

    def _nobody_left(self, folder: Path) -> float:
        """Seconds until no process works on the study any more."""
        began = time.monotonic()
        while working(folder):
            assert time.monotonic() - began < 300, f"an orphan works on {folder}"
            time.sleep(0.05)
        return time.monotonic() - began

    # --- many at once ---

    def together(self, folder: Path, starters: int) -> dict[str, Any]:
        """Start a study many times at once; gives how often each cell was trained to its end, and the exit statuses."""
        self._prepare(folder)
        commands = [self._start([*self.command, "--out", str(folder)], compiled=True) for _ in range(starters)]
        codes = [self._ended(process) for process in commands]
        runs = [json.loads(path.read_text()) for path in folder.glob("cells/*/attempts/*/run.json")]
        cells = {path.name for path in (folder / "cells").iterdir()}
        done = Counter(path.parts[-4] for path in folder.glob("cells/*/attempts/*/rows.json"))
        if self.reported:
            self._ended(self._start(["report", str(folder)], compiled=True))
        return {
            "starters": starters,
            "exit_statuses": sorted(codes),
            "cells": len(cells),
            "trained_to_the_end": sorted(done.values()),
            "attempts": len(runs),
            "once_each": set(done) == cells and set(done.values()) == {1},
        }


def working(folder: Path) -> list[int]:
    """Processes with a file of the study open: every worker has its log, as this machine sees them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                opened = [os.readlink(path) for path in (entry / "fd").iterdir()]
                found += [int(entry.name)] if any(path.startswith(f"{folder}/") for path in opened) else []
    return found


def differing(folder: Path, straight: Path) -> list[str]:
    """The files that differ, or that only one of two studies has: rows, curves, verdict, tables without seconds."""
    tables = {path.relative_to(study) for study in (folder, straight) for path in study.glob("tables/*")}
    names = [Path(name) for name in FILES] + [path for path in sorted(tables) if path.stem not in WITH_SECONDS]
    return [str(name) for name in names if _bytes(folder / name) != _bytes(straight / name)]


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _litter(folder: Path) -> int:
    """Temporary files that a kill left."""
    return sum(path.name.startswith(".") for path in folder.rglob("*"))


def due_phases(kills: list[dict[str, Any]], wanted: int, each: int, phases: tuple[str, ...]) -> list[str]:
    """The phases to aim at in the next study, in the order in which a study meets them; none when there were enough."""
    hit = Counter(kill["hit"] for kill in kills)
    lacking = [phase for phase in phases if hit[phase] < each]
    return lacking or (list(phases) if len(kills) < wanted else [])


@dataclass(frozen=True)
class Log:
    """The events of all torments, a line of JSON each, as they come; several processes write."""

    path: Path

    def tell(self, event: dict[str, Any]) -> None:
        print(json.dumps(event), flush=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")

    def of(self, name: str) -> list[dict[str, Any]]:
        events = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return [event for event in events if name in event]


def torments(torment: Torment, log: Log, wanted: int, each: int) -> None:
    """Torment one study after another until all together have had kills enough."""
    for number in range(1, 1000):
        due = due_phases(log.of("aim"), wanted, each, PHASES)
        if not due:
            return
        folder = torment.scratch / f"killed{number}" / "study"
        torment.through(folder, due)
        tables = len(list(folder.glob("tables/*")))
        differ = differing(folder, torment.home / "straight" / "study")
        log.tell({"study": str(folder.relative_to(torment.home).parent), "tables": tables, "differing": differ})
        shutil.rmtree(folder.parent)


def _in_a_fork(torment: Torment, log: Log, wanted: int, each: int) -> NoReturn:
    """A process for each torment: to fork more from one of several threads is asking for trouble."""
    try:
        torments(torment, log, wanted, each)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--each", type=int, default=5, help="kills that must have hit each phase")
    parser.add_argument("--side-by-side", type=int, default=2, help="studies that are tormented at once")
    parser.add_argument("--starters", type=int, default=8)
    parser.add_argument("--times", type=int, default=3, help="how often they start at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forked", action="store_true", help="fork processes from one that has imported everything")
    parser.add_argument("--log", type=Path, required=True, help="where the raw log goes, a line of JSON an event")
    parser.add_argument("--scratch", type=Path, help="where the studies lie; an undisturbed one that is there is taken")
    words = parser.parse_args()
    arms = ("--setup", "separable", "--setup", "hybrid")
    command = ("run", "hybrid", "--profile", "smoke", *arms, "recipe.epochs=8", "--workers", "1")
    home, log = words.scratch or Path(tempfile.mkdtemp(prefix="torture-")), Log(words.log)
    words.log.unlink(missing_ok=True)
    asked = {name: getattr(words, name) for name in ("kills", "each", "seed", "forked")}
    log.tell({"command": " ".join(command), **asked})
    crowd = [
        Torment(
            command,
            home / str(number),
            random.Random(100 * words.seed + number),
            home,
            forked=words.forked,
            tell=log.tell,
        )
        for number in range(words.side_by_side)
    ]
    straight = crowd[0].straight()
    if words.forked:
        import_everything()
    torments_of = [os.fork() or _in_a_fork(torment, log, words.kills, words.each) for torment in crowd]
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in torments_of]
    for number in range(1, words.times + 1):
        folder = home / f"together{number}" / "study"
        found = crowd[0].together(folder, words.starters)
        log.tell({"study": folder.parent.name, **found, "differing": differing(folder, straight)})
    good = _summary(log, words.kills, words.each) and not any(codes)
    if words.scratch is None:
        shutil.rmtree(home)
    return 0 if good else 1


def _summary(log: Log, wanted: int, each: int) -> bool:
    """The last line of the log; whether all is as promised."""
    kills, together = log.of("aim"), log.of("starters")
    same = not any(event["differing"] for event in log.of("differing"))
    once = all(event["once_each"] and set(event["exit_statuses"]) == {0} for event in together)
    gone = [kill["orphans_gone_s"] for kill in log.of("orphans_gone_s")]
    enough = not due_phases(kills, wanted, each, PHASES)
    log.tell(
        {
            "kills": len(kills),
            "hit": dict(Counter(kill["hit"] for kill in kills)),
            "victims": dict(Counter(kill["victim"] for kill in kills)),
            "orphans_gone_s_max": max(gone, default=None),
            "studies": len(log.of("tables")),
            "same_to_the_byte": same,
            "each_cell_once": once,
        }
    )
    return same and once and enough


if __name__ == "__main__":
    sys.exit(main())
