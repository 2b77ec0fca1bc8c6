"""A study's folder while it is being run: its protocol, its cells, who holds them, what is done.

    DIR/protocol.toml                 decided before the first cell ran, never changed
    DIR/exactness.json                which arms are the baseline's function, proven
    DIR/divergence.csv                how far the twins of the baseline part from it, step by step
    DIR/twins.json                    the rows of its trials that are measured, until all are
    DIR/cells/<id>/cell.json          what the cell is
    DIR/cells/<id>/claim, claim.<k>   who works on the cell: a lock of the kernel, and a lease for other machines
    DIR/cells/<id>/environment.json   where an unfinished cell was begun, as far as that changes bits
    DIR/cells/<id>/progress.json      how far it is
    DIR/cells/<id>/trials/<t>.npz     finished trials of an unfinished cell
    DIR/cells/<id>/checkpoint/        the unfinished block of trials
    DIR/cells/<id>/attempts/<k>/      Sacred runs
    DIR/cells/<id>/result.json        there when the cell is done: which attempt, its rows
    DIR/claims/                       who proves the arms' exactness, who measures the twins
    DIR/programs/                     what jax compiled, for other cells of the same program
    DIR/logs/                         what the processes printed
    DIR/cells.json                    what every cell is, exported
    DIR/trials.csv, runs.csv, epochs.parquet, predictions.parquet      all results, exported

Every write is a temporary file, fsync and a rename: a reader sees the old bytes or the new ones. Folders are made when
the study is prepared, and by no write after: who works in a store that is removed meanwhile fails, and leaves no stub.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w

from dsresearch.design import MATCHES, InputError, Protocol, Recipe, replace
from dsresearch.documents import has, read_json
from dsresearch.record.claim import Claim, claimed, held
from dsresearch.schema import (
    CONTROL_KINDS,
    EQ_CLASSES,
    TEMPORARY,
    WriteError,
    are_names,
    read_protocol,
    remove_temporary,
    write_atomic,
    write_new,
)
from dsresearch.studies import Cell, Plan

_TEXTS = ("study", "study_id", "profile", "data", "arm", "setup", "role", "control", "match")
_OF_CELL = dict.fromkeys(_TEXTS, str) | dict.fromkeys(("design", "recipe", "protocol"), dict)
_OF_PROGRESS = ("done", "total", "here", "seconds")


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON in a folder that is there, whole or not at all. Raises InputError where it cannot."""
    write_atomic(path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode(), parents=False)


def read_whole(path: Path) -> Any:
    """The content of a JSON file, or None where there is none or it is damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class CellFolder:
    """One cell's folder."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def attempts(self) -> Path:
        return self.path / "attempts"

    def claim(self) -> contextlib.AbstractContextManager[Claim]:
        """Hold the cell; raises HeldError where another live process does. Its number is the attempt's."""
        return claimed(self.path, self.numbers())

    def held(self) -> bool:
        """Whether a live process works on the cell."""
        return held(self.path)

    def begin(self, environment: Mapping[str, Any]) -> None:
        """Start or go on: what an earlier attempt kept in another environment goes, for a trial would mix its bits.

        What killed attempts left half-written goes too, and how far one was of which nothing is kept. (cell.json is the
        launchers' to write, and may be so now.)
        """
        for pattern in (".[!c]*", "*/**/.*"):
            remove_temporary(self.path, pattern)
        found = read_whole(self.path / "environment.json")
        if isinstance(found, dict):  # older files lack newer keys: read them as empty, and these two as unchanged
            asked = {**{name: environment.get(name) for name in ("device_count", "flax")}, **found}
            differ = [f"{name} {found.get(name)!r}" for name in environment if asked.get(name, "") != environment[name]]
            if differ:
                print(f"warning: begun in another environment ({', '.join(differ)}), starting again", file=sys.stderr)
                self.clear()
        if not any(next(self.path.glob(kept), None) for kept in ("checkpoint/*.sha256", "trials/*.npz")):
            (self.path / "progress.json").unlink(missing_ok=True)
        write_json(self.path / "environment.json", dict(environment))

    def clear(self) -> None:
        """Remove what only an unfinished cell needs."""
        for name in ("checkpoint", "trials"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in ("progress.json", "environment.json"):
            (self.path / name).unlink(missing_ok=True)

    def config(self) -> dict[str, Any]:
        """What the cell is: the configuration of its Sacred run. Raises InputError where it is missing or damaged."""
        found = self.whole_config()
        if found is None:
            again = "the `dsresearch run` that asked for the cell writes it again"
            raise InputError(f"{self.path / 'cell.json'} is missing or damaged; {again}")
        return found

    def whole_config(self) -> dict[str, Any] | None:
        """What the cell is, or None where that is missing or damaged."""
        found = read_whole(self.path / "cell.json")
        if not (has(found, _OF_CELL) and found["control"] in CONTROL_KINDS and found["match"] in MATCHES):
            return None
        config = {"first": 0, **found}
        return config if isinstance(config["first"], int) and are_names(config.get("names", [])) else None

    def result(self) -> dict[str, Any] | None:
        """The result of a done cell, else None."""
        found = read_whole(self.path / "result.json")
        whole = has(found, {"attempt": int, "rows": list}) and found["rows"]
        return found if whole and all(isinstance(row, dict) for row in found["rows"]) else None

    def forget(self) -> None:
        """Have a done cell be trained again; its attempts stay."""
        (self.path / "result.json").unlink(missing_ok=True)

    def progress(self) -> dict[str, Any]:
        """What the cell last said of itself: `done` and `total` epochs of all trials, `images_per_s`."""
        found = read_whole(self.path / "progress.json")
        return found if has(found, dict.fromkeys(_OF_PROGRESS, (int, float))) and found["total"] > 0 else {}

    def failure(self) -> str:
        """Why the newest attempt failed, in one line; '' where none did."""
        newest = self.newest_attempt()
        run = read_whole(newest / "run.json") if newest else None
        if not isinstance(run, dict) or run.get("status") != "FAILED":
            return ""
        lines = run.get("fail_trace")
        trace = "".join(map(str, lines if isinstance(lines, list) else [])).strip()
        return trace.splitlines()[-1] if trace else "no reason was recorded"

    def numbers(self) -> list[int]:
        """Numbers of the attempts made."""
        if not self.attempts.is_dir():
            return []
        return sorted(int(entry.name) for entry in self.attempts.iterdir() if entry.name.isdecimal())

    def newest_attempt(self) -> Path | None:
        numbers = self.numbers()
        return self.attempts / str(numbers[-1]) if numbers else None


@dataclass(frozen=True)
class Store:
    """A study's folder."""

    root: Path

    @property
    def protocol_file(self) -> Path:
        return self.root / "protocol.toml"

    @property
    def cells_file(self) -> Path:
        return self.root / "cells.json"

    @property
    def exactness_file(self) -> Path:
        return self.root / "exactness.json"

    @property
    def divergence_file(self) -> Path:
        return self.root / "divergence.csv"

    def twins(self) -> list[list[dict[str, Any]]]:
        """Rows of an unfinished divergence.csv: a list for every trial that is measured, from the first on."""
        found = read_whole(self.root / "twins.json")
        return found if isinstance(found, list) else []

    def keep_twins(self, measured: list[list[dict[str, Any]]]) -> None:
        """Keep these rows for a process that goes on with them; none of them when divergence.csv is there."""
        path = self.root / "twins.json"
        if measured:
            write_json(path, measured)
        else:
            path.unlink(missing_ok=True)

    @property
    def programs(self) -> Path:
        """Compiled programs, by model of processor."""
        return self.root / "programs"

    def log(self, name: str) -> Path:
        """What a process of this store printed."""
        return self.root / "logs" / f"{name}.txt"

    def claim(self, work: str) -> contextlib.AbstractContextManager[Claim]:
        """Hold a piece of work that is no cell; raises HeldError where another live process does it."""
        return claimed(self.root / "claims" / work)

    def is_claimed(self, work: str) -> bool:
        """Whether a live process does a piece of work that is no cell."""
        return held(self.root / "claims" / work)

    @contextlib.contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Of several launchers of this machine one writes the study's tables, the others wait: the last to write has
        seen all that was done. Raises InputError where the folder has vanished or cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(self.root / "logs" / "export", "ab"))
            except OSError as error:
                raise WriteError(self.root, error.strerror or str(error)) from None
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def check_writable(self) -> None:
        """Raise InputError where the folder has vanished, is read-only or has no room."""
        probe = self.root / "logs" / f"probe-{os.getpid()}"
        if not probe.parent.is_dir():
            raise WriteError(self.root, "it has vanished")
        write_atomic(probe, bytes(1 << 16), parents=False)
        probe.unlink(missing_ok=True)

    def proven(self) -> dict[str, str]:
        """How each arm's function relates to the baseline's (exact, reparam, distinct), as far as it was proven."""
        found = read_whole(self.exactness_file)
        pairs = found["pairs"] if has(found, {"pairs": list}) else []
        proven = {pair["b"]: pair["class"] for pair in pairs if has(pair, {"b": str, "class": str})}
        return {arm: relation if relation in EQ_CLASSES else "" for arm, relation in proven.items()}

    def cell(self, cell: Cell | str) -> CellFolder:
        return CellFolder(self.root / "cells" / (cell if isinstance(cell, str) else cell.id))

    def cells(self) -> list[CellFolder]:
        """Every cell that was ever planned here; a folder without cell.json is one that a kill left unplanned."""
        folder = self.root / "cells"
        names = sorted(os.listdir(folder)) if folder.is_dir() else []  # not paths, which take ten times as long to sort
        return [CellFolder(folder / name) for name in names if os.path.exists(f"{folder}/{name}/cell.json")]

    def protocol(self) -> dict[str, Any]:
        """The content of protocol.toml. Raises InputError where this is no study's folder."""
        try:
            return read_protocol(self.protocol_file)
        except FileNotFoundError:
            raise InputError(f"{self.root} is not a study's folder: it has no protocol.toml") from None

    def as_begun(self, study: str, profile: str, data: str) -> dict[str, dict[str, Any]]:
        """Recipe and protocol of the study that this folder holds, where it is of that profile and data; else nothing.

        What a profile means may change from one version to the next, but not within a study.
        """
        if not self.protocol_file.exists():
            return {}
        about = self.protocol()
        if (about["study"], about["profile"], about["data"]["name"]) != (study, profile, data):
            return {}
        defaults: dict[str, Recipe | Protocol] = {"recipe": Recipe(), "protocol": Protocol()}
        begun = {}
        for part, default in defaults.items():
            known = {name: value for name, value in about.get(part, {}).items() if name in asdict(default)}
            begun[part] = asdict(replace(part, default, known))
        return begun

    def check(self, plan: Plan) -> None:
        """Raise InputError unless this folder is new, empty, or a store of the same protocol."""
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"--out={self.root} is a file, allowed: a new folder or a study's")
        if not self.protocol_file.exists():
            found = list(self.root.iterdir()) if self.root.is_dir() else []
            others = [path for path in found if not path.name.endswith(TEMPORARY)]  # those a kill, or a rival, left
            if others and not self.protocol_file.exists():  # asked again: a rival may just have written it
                raise InputError(f"--out={self.root} holds other files, allowed: a new or empty folder, or a study's")
            if not others:
                return
        if (self.root / "trials.csv").exists() and not ((self.root / "cells").exists() or self.cells_file.exists()):
            raise InputError(f"--out={self.root} holds rows without cells.json, allowed: a new folder or a study's")
        mine, stored = _settled(plan.document()), _settled(self.protocol())
        if stored.get("profile") == f"custom (from {plan.profile})":  # its grid may get arms of the profile itself
            mine |= {name: stored.get(name) for name in ("profile", "study_id")}
        for key in sorted(mine.keys() | stored.keys()):
            if mine.get(key) != stored.get(key):
                raise InputError(
                    f"--out={self.root} was made under another protocol ({key}={stored.get(key)!r}, asked for "
                    f"{mine.get(key)!r}), allowed: the same settings, or another folder"
                )
        self._refuse_namesakes(plan)

    def _refuse_namesakes(self, plan: Plan) -> None:
        """One name, two cells: their rows could not be told apart, or stand beside another baseline than they say.

        What the study itself has counts too where it is not asked for: arms are made to match its baseline.
        """
        decided = [of for of in self.protocol()["cells"] if "id" in of]
        here = {(of["arm"], of["control_kind"], of["match"], of.get("first_trial", 0)): of["id"] for of in decided}
        for folder in self.cells():
            config = folder.whole_config()
            if config is not None:  # else `describe` writes it again
                for arm, match in ((config["arm"], config["match"]), *config.get("names", [])):
                    here[arm, config["control"], match, config["first"]] = folder.id
        for cell in dict.fromkeys((*plan.asked, *plan.cells)):
            other = here.get((cell.arm, cell.control, cell.match, cell.first), cell.id)
            if other != cell.id:
                raise InputError(
                    f"--out={self.root} has another {cell.name!r} (cell {other}, asked for {cell.id}), "
                    f"allowed: the same settings, or another folder"
                )

    def prepare(self, plan: Plan) -> None:
        """Write protocol.toml, once, and what every cell that was asked for is.

        Raises InputError where the folder is not this plan's or cannot be written.
        """
        there = self.protocol_file.exists()
        self.check(plan)
        if not there and not write_new(self.protocol_file, tomli_w.dumps(plan.document()).encode()):
            self.check(plan)  # another launcher was first, maybe with another plan
        for name in ("cells", "claims", "logs"):
            _make(self.root / name)
        for cell in plan.asked:
            self.describe(cell, plan)

    def describe(self, cell: Cell, plan: Plan) -> None:
        """Write what a cell is, once, and by which further names it was asked for.

        A matched arm may be the arm at its own width. Names that were decided beforehand stand in protocol.toml.
        """
        folder = self.cell(cell)
        _make(folder.path)
        config, name = folder.whole_config(), [cell.arm, cell.match]
        if config is None:
            write_json(folder.path / "cell.json", configuration(cell, plan))
        elif cell not in plan.decided and name not in [[config["arm"], config["match"]], *config.get("names", [])]:
            write_json(folder.path / "cell.json", {**config, "names": [*config.get("names", []), name]})


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise WriteError(folder, error.strerror or str(error)) from None


def _settled(document: Mapping[str, Any]) -> dict[str, Any]:
    """What may not differ between two runs in one store, flat; further arms may be added, and are exploratory.

    A field that was not there yet when the file was written had the value that is its default since.
    """
    flat: dict[str, Any] = {}
    defaults = {"recipe": asdict(Recipe()), "protocol": asdict(Protocol())}
    for key, value in document.items():
        if key in ("cells", "changed"):  # further arms may be added; what was changed stands in its place below
            continue
        if isinstance(value, Mapping):
            value = defaults.get(key, {}) | dict(value)
            flat |= {f"{key}.{name}": entry for name, entry in value.items()}
        else:
            flat[key] = value
    return flat


def configuration(cell: Cell, plan: Plan) -> dict[str, Any]:
    """A cell as plain values: the configuration of its Sacred run."""
    return {
        "study": plan.study,
        "study_id": plan.study_id,
        "profile": plan.base_profile,
        "data": cell.data,
        "data_sha256": cell.data_sha256,
        "arm": cell.arm,
        "setup": cell.setup,
        "role": cell.role,
        "control": cell.control,
        "match": cell.match,
        "first": cell.first,
        "design": asdict(cell.design),
        "recipe": asdict(cell.recipe),
        "protocol": asdict(cell.protocol),
    }
