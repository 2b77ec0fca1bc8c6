"""One cell of a study as the report knows it, the command that trains it, and how names and numbers are spelled."""

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsresearch.design import Design, Protocol, Recipe
from dsresearch.studies import PROFILES, STUDIES, settings_of


@dataclass(frozen=True)
class Cell:
    """One planned cell: an arm or a control, all trials of it."""

    arm: str
    setup: str
    role: str
    control_kind: str
    match: str

    @property
    def name(self) -> str:
        """The cell in words."""
        what = f"control {self.control_kind}" if self.control_kind else self.arm
        return what if self.match == "width" else f"{what} ({self.match} matched)"

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the grid that the arm `setup:key=value:...` is a point of; none for an arm of a study."""
        return tuple(part.partition("=")[0] for part in self.arm.split(":")[1:])


def run_command(about: Mapping[str, Any], cell: Cell) -> str:
    """The command that trains what is missing of a cell, from the content of protocol.toml; DIR is the study's folder.

    A custom profile is spelled out key by key, an arm of a grid with its setup and all values of its grid: what is done
    is skipped.
    """
    profile = str(about["profile"])
    base = profile.removeprefix("custom (from ").removesuffix(")")
    words = ["dsresearch", "run", str(about["study"]), "--data", str(about["data"]["name"]), "--profile", base]
    if cell.match != "width":
        words += ["--match", cell.match]
    varied = _varied(about, cell)
    if varied:
        words += ["--setup", cell.arm.split(":")[0]]
    if base != profile:
        words += [*_changed(about, base, {name.split(".")[1] for name in varied}), *_spelled(varied)]
    return one_line(" ".join([*map(shlex.quote, words), "--out", "DIR"]))


def _varied(about: Mapping[str, Any], cell: Cell) -> dict[str, list[str]]:
    """Keys and values of the grid that an arm `setup:key=value:...` belongs to; empty for an arm of a study."""
    grid: dict[str, dict[str, None]] = {}
    for entry in about["cells"]:
        parts = [part.partition("=") for part in str(entry.get("arm")).split(":")[1:]]
        if entry.get("setup") != cell.setup or tuple(key for key, _, _ in parts) != cell.keys:
            continue
        for key, _, value in parts:
            room = "recipe" if key in _names(Recipe) else "design"
            grid.setdefault(f"{room}.{key}", {})[value] = None
    return {key: list(values) for key, values in grid.items()}


def _spelled(varied: Mapping[str, list[str]]) -> list[str]:
    return [f"{key}={','.join(values)}" for key, values in varied.items()]


def _names(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def _changed(about: Mapping[str, Any], base: str, varied: set[str]) -> list[str]:
    """Keys of a custom profile that are not the named profile's; naming one that is changes nothing."""
    study = about["study"]
    profile = settings_of(study, base) if study in STUDIES and base in PROFILES else {}
    designs = [entry["design"] for entry in about["cells"] if isinstance(entry.get("design"), dict)]
    shared = {name: designs[0].get(name) for name in ("width", "depth", "kernel") if designs}
    said = {"design": shared, "recipe": about.get("recipe", {}), "protocol": about.get("protocol", {})}
    rooms: Mapping[str, Any] = {"design": Design, "recipe": Recipe, "protocol": Protocol}
    out = []
    for room, values in said.items():
        usual = {**{f.name: f.default for f in dataclasses.fields(rooms[room])}, **profile.get(room, {})}
        for name, value in values.items():
            if name in usual and name not in varied and value != usual[name]:
                out.append(f"{room}.{name}={str(value).lower() if isinstance(value, bool) else value}")
    return out


def spans(numbers: list[int]) -> str:
    """`0-2, 5` for 0, 1, 2, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def one_line(text: Any) -> str:
    """Text of a file on one line, without control characters."""
    said = str(text)
    if not said.isprintable():
        said = "".join(c if c.isprintable() else " " for c in said)
    return " ".join(said.split())
