"""A study's folder as one value: what was planned, what was trained, and what is missing.

Nothing here depends on when or where the report is made: every line of a caption comes from the files.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dsresearch.design import MATCHES, InputError, Protocol
from dsresearch.documents import read_json
from dsresearch.report.cell import Cell, one_line, run_command, spans
from dsresearch.schema import (
    CONTROL_KINDS,
    EPOCH_COLUMNS,
    PREDICTION_COLUMNS,
    are_names,
    decided_in,
    natural,
    read_parquet,
    read_protocol,
    read_runs,
    read_trials,
)

Name = tuple[str, str, str]  # arm, control kind, match
_NAMES = ("arm", "setup", "role", "control_kind", "match")

EXPERIMENT = ("profile", "data", "trials", "test pictures")  # facts that make two studies two experiments


@dataclass(frozen=True)
class Study:
    """The files of one study, read and checked against each other.

    Attributes:
        folder: where they lie.
        about: the plain entries of protocol.toml.
        protocol: what was decided beforehand.
        planned: the cells that the protocol asks for.
        rows_read: the rows of trials.csv.
        exactness: the content of exactness.json, or None.
        commits: commits of the runs, from runs.csv.
        runs: the rows of runs.csv (times, memory, machine), or None.
        unfinished: cells that were asked for beyond the protocol and have no rows, such as a matched arm's.
        namesakes: an arm, control kind and match that was planned or asked for -> those under which the rows of its
            cell stand.
    """

    folder: Path
    about: Mapping[str, Any]
    protocol: Protocol
    planned: tuple[Cell, ...]
    rows_read: pd.DataFrame
    exactness: Mapping[str, Any] | None
    commits: tuple[str, ...]
    runs: pd.DataFrame | None = None
    unfinished: tuple[Cell, ...] = ()
    namesakes: Mapping[Name, Name] = field(default_factory=dict)

    @property
    def study_id(self) -> str:
        """<study>-<data>-<profile>."""
        return str(self.about["study_id"])

    @property
    def dataset(self) -> str:
        """Label of the pictures."""
        return str(self.rows_read["dataset"].iloc[0])

    @property
    def n_test(self) -> int:
        """Test pictures."""
        return int(self.rows_read["n_test"].iloc[0])

    @property
    def n_train(self) -> int:
        """Training pictures."""
        return int(self.rows_read["n_train"].iloc[0])

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The rows that hold a result; a diverged model's result counts as it is, a failed one has none."""
        done = self.rows_read[self.rows_read["status"] != "failed"]
        return self._under_all_names(done.astype({"test_wrong": "int64", "train_wrong": "int64"}))

    @property
    def models(self) -> int:
        """Trained models that have a result, each once whatever its names."""
        return int((self.rows_read["status"] != "failed").sum())

    def _under_all_names(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows, once under each name of their cell: a matched arm may be the arm at its own width."""
        copies = []
        for (arm, kind, match), (of, its_kind, at) in self.namesakes.items():
            own = rows[(rows["arm"] == of) & (rows["control_kind"] == its_kind) & (rows["match"] == at)]
            copies.append(own.assign(arm=arm, control_kind=kind, match=match))
        return pd.concat([rows, *copies], ignore_index=True) if copies else rows

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The planned cells and any other that was trained, in the order of the table."""
        names = ["arm", "setup", "role", "control_kind", "match"]
        trained = {Cell(*values) for values in self.trials[names].itertuples(index=False, name=None)}
        known = {(c.arm, c.control_kind, c.match) for c in self.planned}
        trained = {cell for cell in trained if cell.control_kind != "rerun_baseline"}  # stands behind `rerun` only
        others = [c for c in trained if (c.arm, c.control_kind, c.match) not in known]
        return tuple(sorted((*self.planned, *others), key=_place))

    def repeats(self, cell: Cell) -> bool:
        """Whether the cell's network stands under another name already: that of its own width or of the other match."""
        return (cell.arm, cell.control_kind, cell.match) in self.namesakes

    @cached_property
    def asked(self) -> frozenset[Cell]:
        """The planned cells, to look one up."""
        return frozenset(self.planned)

    @cached_property
    def _commands(self) -> dict[tuple[Any, ...], str]:
        """Commands by what they depend on: all points of the protocol's grid have one."""
        cells = (*self.cells, *self.unfinished)
        beyond = [cell for cell in cells if cell not in self.asked]
        kinds = {self._kind(cell): cell for cell in cells}
        return {kind: f"`{run_command(self.about, cell, beyond)}`" for kind, cell in kinds.items()}

    def _kind(self, cell: Cell) -> tuple[Any, ...]:
        beyond = "" if cell in self.asked else cell.arm
        return (cell.match, cell.setup, cell.keys, beyond)

    def command(self, cell: Cell) -> str:
        """The command that trains what is missing of a cell; DIR stands for the study's folder."""
        return self._commands[self._kind(cell)]

    def arms(self, role: str, match: str = "width") -> list[str]:
        """Names of the arms of a role that are planned or trained, in the order of the table."""
        return [c.arm for c in self.cells if c.role == role and c.match == match and not c.control_kind]

    def absent_trials(self, cell: Cell) -> list[int]:
        """Trials of a planned cell that no row with a result stands for."""
        return sorted(set(range(self.protocol.trials)).difference(self.values(cell, "trial").tolist()))

    @cached_property
    def by_trial(self) -> pd.DataFrame:
        """The rows of `trials` in the order of the trials."""
        return self.trials.sort_values("trial", kind="stable")

    @cached_property
    def _places(self) -> dict[tuple[str, ...], npt.NDArray[np.intp]]:
        """Where in `by_trial` the rows of an arm stand, by control kind, match and arm, and those of a control or of
        all arms, by control kind and match: ten thousand arms are looked up, never searched for."""
        names = ["control_kind", "match", "arm"]
        return {**self.by_trial.groupby(names[:2]).indices, **self.by_trial.groupby(names).indices}

    @cached_property
    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        return {str(name): column.to_numpy() for name, column in self.by_trial.items()}

    def places(self, cell: Cell) -> npt.NDArray[np.intp]:
        """Where in `by_trial` the rows of one cell stand, by trial."""
        key = (cell.control_kind, cell.match) if cell.control_kind else ("", cell.match, cell.arm)
        return self._places.get(key, np.zeros(0, dtype=np.intp))

    def values(self, cell: Cell, column: str) -> npt.NDArray[Any]:
        """One column of the rows of a cell, by trial."""
        return np.asarray(self._columns[column][self.places(cell)])

    def errors(self, cell: Cell) -> npt.NDArray[np.float64]:
        """Test error of every model of a cell by trial, per cent."""
        return np.asarray(100 * self.values(cell, "test_wrong") / self.values(cell, "n_test"), dtype=np.float64)

    def rows(self, cell: Cell) -> pd.DataFrame:
        """Rows of one cell, by trial."""
        return self.by_trial.iloc[self.places(cell)]

    def select(self, control_kind: str, match: str) -> pd.DataFrame:
        """Rows of a control, or of all arms where it is empty, under one match, by trial."""
        return self.by_trial.iloc[self._places.get((control_kind, match), [])]

    @cached_property
    def baselines(self) -> dict[str, pd.DataFrame]:
        """Rows of the baseline by match, by trial. What is matched is its own size: one model under every match.

        Raises InputError where a study has several.
        """
        found = {}
        for match in MATCHES:
            rows = self.select("", match)
            rows = rows[rows["role"] == "baseline"]
            if rows["arm"].nunique() > 1:
                arms = ", ".join(sorted(set(rows["arm"])))
                raise InputError(f"{self.folder / 'trials.csv'}: column role: baselines {arms}, allowed: one")
            found[match] = rows
        return {match: rows if len(rows) else found["width"] for match, rows in found.items()}

    @cached_property
    def _last_runs(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """The last row of runs.csv of every arm, one that tells a speed before all others.

        An attempt that only recorded what earlier ones had trained has none; such rows said 0 once.
        """
        if self.runs is None:
            return {}
        speed = self.runs["images_per_s"].where(self.runs["images_per_s"].gt(0))
        runs = self.runs.assign(images_per_s=speed, told=speed.notna()).sort_values(["told", "attempt"], kind="stable")
        return {(row["arm"], row["control_kind"], row["match"]): row for row in runs.to_dict("records")}

    def last_run(self, cell: Cell) -> dict[str, Any] | None:
        """The last row of runs.csv of a cell that tells a speed, or its last row, or None."""
        return self._last_runs.get((cell.arm, cell.control_kind, cell.match))

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """What is missing of the planned cells, in words: one line a command."""
        lines: dict[str, list[str]] = {}
        for cell in self.planned:
            absent = self.absent_trials(cell)
            if absent:
                which = "" if len(absent) == self.protocol.trials else f" trials {spans(absent)}"
                lines.setdefault(self.command(cell), []).append(f"{cell.name}{which}{self._why_failed(cell)}")
        return tuple(f"missing {'; '.join(cells)}: run {command}" for command, cells in lines.items())

    def _why_failed(self, cell: Cell) -> str:
        rows = self.rows_read[self.rows_read["status"] == "failed"]
        rows = rows[(rows["control_kind"] == cell.control_kind) & (rows["match"] == cell.match)]
        rows = rows if cell.control_kind else rows[rows["arm"] == cell.arm]
        return f" (failed: {one_line(rows['error_msg'].iloc[0]) or 'no message'})" if len(rows) else ""

    def parquet(self, name: str) -> pd.DataFrame | None:
        """Rows of epochs.parquet or predictions.parquet, or None where the study keeps none."""
        columns = {"epochs": EPOCH_COLUMNS, "predictions": PREDICTION_COLUMNS}[name]
        path = self.folder / f"{name}.parquet"
        return self._under_all_names(read_parquet(path, columns, categories=True)) if path.exists() else None

    def inputs(self) -> dict[str, str | None]:
        """sha256 of the files that the verdict reads; None where a file is absent."""
        names = ("protocol.toml", "cells.json", "trials.csv", "predictions.parquet", "exactness.json")
        paths = {name: self.folder / name for name in names}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
            for name, path in paths.items()
        }

    def facts(self) -> dict[str, str]:
        """What every table and figure says of itself, by name: all of it read from the study's files."""
        rows, protocol = self.rows_read, self.protocol
        return {
            "profile": one_line(self.about["profile"]),
            "data": one_line(self.dataset),
            "trials": str(protocol.trials),
            "test pictures": str(self.n_test),
            "margin": f"±{protocol.margin:g} pp",
            "alpha": f"{protocol.alpha:g}",
            "device": one_line(", ".join(sorted(set(rows["device_kind"])))),
            "execution": f"{', '.join(sorted(set(rows['exec_mode'])))}, "
            f"{', '.join(str(n) for n in sorted(set(rows['trial_batch'])))} a program",
            "commit of the runs": ", ".join(self.commits) or "not recorded",
        }

    def caption(self) -> str:
        """The facts as a sentence."""
        facts = self.facts()
        counted = {name: name.removesuffix("s" * (facts[name] == "1")) for name in ("trials", "test pictures")}
        said = [f"{value} {counted[name]}" if name in counted else f"{name} {value}" for name, value in facts.items()]
        text = "; ".join(said)
        return f"{text[0].upper()}{text[1:]}."


def read_study(folder: Path) -> Study:
    """Read a study's folder. Raises InputError naming the file, and the line and column where it has any."""
    if not (folder / "protocol.toml").is_file():
        raise InputError(f"DIR={str(folder)!r} is not a study: no protocol.toml, allowed: a folder that `run` made")
    about = read_protocol(folder / "protocol.toml")
    if not (folder / "trials.csv").exists():
        raise InputError(
            f"DIR={str(folder)!r} has no trials.csv: nothing is trained yet, allowed: a folder in which `dsresearch "
            "run` has finished a cell"
        )
    protocol = decided_in(about)
    cells = dict.fromkeys(
        Cell(*(entry[name] for name in _NAMES)) for entry in about["cells"]
    )  # an arm may be several cells, by trials
    planned = tuple(cell for cell in cells if cell.control_kind != "rerun_baseline")  # made only where it is needed
    trials = read_trials(folder / "trials.csv")
    _check_trials(folder / "trials.csv", trials, about, protocol)
    path = folder / "runs.csv"
    runs = read_runs(path) if path.exists() else None
    commits = () if runs is None else _commits(runs)
    exactness = _read_exactness(folder / "exactness.json")
    asked = _read_asked(folder / "cells.json")
    names = [*_planned_names(about), *_asked_names(asked)]
    unfinished = _unfinished(asked, {str(of.get("id")) for of in about["cells"]} | set(trials["cell_id"]))
    return Study(
        folder, about, protocol, planned, trials, exactness, commits, runs, unfinished, _namesakes(names, trials)
    )


def _namesakes(names: Iterable[tuple[Name, str]], trials: pd.DataFrame) -> dict[Name, Name]:
    """Names of cells without rows of their own whose cell has rows under another name."""
    rows = trials[["cell_id", "arm", "control_kind", "match"]].drop_duplicates()
    stands = {cell: (arm, kind, match) for cell, arm, kind, match in rows.itertuples(index=False, name=None)}
    known = set(stands.values())
    return {name: stands[cell] for name, cell in names if name not in known and cell in stands}


def _planned_names(about: Mapping[str, Any]) -> Iterator[tuple[Name, str]]:
    """The names and cells that the protocol decided."""
    for of in about["cells"]:
        yield (of["arm"], of["control_kind"], of["match"]), str(of.get("id"))


def _read_asked(path: Path) -> dict[str, dict[str, Any]]:
    """The cells that were asked for, those of the protocol among them; empty where the file is missing."""
    cells = _read_object(path) if path.exists() else {}
    for cell, of in cells.items():
        names = of.get("names", []) if isinstance(of, dict) else None
        if names is None or not are_names(names):
            raise InputError(
                f"{path}: cell {one_line(cell)} is not allowed: an object, its names pairs of arm and match"
            )
    return cells


def _asked_names(asked: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Name, str]]:
    """The further names by which cells were asked for later: an arm that is its own at equal size, say."""
    for cell, of in asked.items():
        for arm, match in of.get("names", []):
            yield (arm, str(of.get("control", "")), match), cell


def _unfinished(asked: Mapping[str, Mapping[str, Any]], known: Set[str]) -> tuple[Cell, ...]:
    """What was asked for and is neither planned nor trained, once for all trials."""
    keys = ("arm", "setup", "role", "control", "match")
    missing = (of for cell, of in asked.items() if cell not in known)
    return tuple(dict.fromkeys(Cell(*(str(of.get(key, "")) for key in keys)) for of in missing))


def _place(cell: Cell) -> tuple[Any, ...]:
    return (MATCHES.index(cell.match), CONTROL_KINDS.index(cell.control_kind), natural(cell.arm))


def _check_trials(path: Path, trials: pd.DataFrame, about: Mapping[str, Any], protocol: Protocol) -> None:
    for column in ("study_id", "profile"):
        if trials[column].iloc[0] != about[column]:
            raise InputError(
                f"{path}: line 2: column {column}: {trials[column].iloc[0]!r} is not allowed: "
                f"{about[column]!r} as in protocol.toml"
            )
    beyond = trials[trials["trial"] >= protocol.trials]
    if len(beyond):
        raise InputError(
            f"{path}: line {beyond.index[0] + 2}: column trial: {beyond['trial'].iloc[0]} is not allowed: "
            f"less than the {protocol.trials} trials of protocol.toml"
        )
    decided = hashlib.sha256(path.with_name("protocol.toml").read_bytes()).hexdigest()
    if trials["protocol_sha256"].iloc[0] not in ("", decided):
        raise InputError(
            f"{path}: line 2: column protocol_sha256: {trials['protocol_sha256'].iloc[0]!r} is not allowed: "
            f"{decided!r}, protocol.toml is not the one under which the rows were made"
        )


def _read_exactness(path: Path) -> Mapping[str, Any] | None:
    if not path.exists():
        return None
    found = _read_object(path)
    pairs = found.get("pairs")
    if not isinstance(pairs, list) or any(not isinstance(pair, dict) for pair in pairs):
        raise InputError(f"{path}: pairs={pairs!r} is not allowed: a list of objects with a, b and class")
    return found


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {one_line(error)}, allowed: JSON") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} is not allowed: a JSON object")
    return found


def _commits(runs: pd.DataFrame) -> tuple[str, ...]:
    found = {
        one_line(sha)[:12] + (" with local changes" if dirty else "")
        for sha, dirty in zip(runs["git_sha"], runs["git_dirty"].fillna(False), strict=True)
        if sha
    }
    return tuple(sorted(found))
