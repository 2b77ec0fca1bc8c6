"""One cell of a study as the report knows it, the command that trains it, and how names and numbers are spelled."""

import dataclasses
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dsresearch.design import Design, Protocol, Recipe
from dsresearch.studies import PROFILES, STUDIES, base_profile, settings_of

# Keys that say how a study is computed, and not what: they change bits, as another device does.
HOW_COMPUTED = {
    *("protocol.trial_batch", "protocol.trials_per_cell", "protocol.threads", "protocol.devices", "protocol.kernels"),
    "recipe.dtype",
}


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
        """Keys of the grid that the arm is a point of."""
        return arm_keys(self.arm)


def run_command(about: Mapping[str, Any], cell: Cell, beyond: Iterable[Cell] = ()) -> str:
    """The command that trains what is missing of a cell, from the content of protocol.toml; DIR is the study's folder.

    A custom profile is spelled out key by key, an arm of a grid with its setup and all values of its grid: what is done
    is skipped. `beyond` are the cells that were asked for later than the protocol, an arm among them stands with its
    name, and with the values of those that share its keys.
    """
    profile, base = str(about["profile"]), base_profile(str(about["profile"]))
    words = ["dsresearch", "run", str(about["study"]), "--data", str(about["data"]["name"]), "--profile", base]
    if cell.match != "width":
        words += ["--match", cell.match]
    planned = [(str(entry.get("setup")), str(entry.get("arm"))) for entry in about["cells"]]
    later = (cell.setup, cell.arm) not in planned
    varied = _varied(cell, [(one.setup, one.arm) for one in (cell, *beyond)] if later else planned)
    if varied or later:
        words += ["--setup", cell.arm.split(":")[0]]
    if base != profile:
        changed = changed_keys(about).items()
        words += [f"{key}={_plain(value)}" for key, value in changed if key not in varied]
    words += [f"{key}={','.join(values)}" for key, values in varied.items()]
    return one_line(" ".join([*map(shlex.quote, words), "--out", "DIR"]))


def _varied(cell: Cell, arms: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Keys and values of the grid that an arm `setup:key=value:...` belongs to; empty for an arm of a study."""
    grid: dict[str, dict[str, None]] = {}
    for arm in (arm for setup, arm in arms if setup == cell.setup and arm_keys(arm) == cell.keys):
        for key, _, value in (part.partition("=") for part in arm.split(":")[1:]):
            room = "recipe" if key in _names(Recipe) else "design"
            grid.setdefault(f"{room}.{key}", {})[value] = None
    return {key: list(values) for key, values in grid.items()}


def arm_keys(arm: str) -> tuple[str, ...]:
    """Keys of the grid that the arm `setup:key=value:...` is a point of; none for an arm of a study."""
    return tuple(part.partition("=")[0] for part in arm.split(":")[1:])


def _names(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def changed_keys(about: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a custom profile that the user changed for the whole study, with their values.

    protocol.toml says them; in older files they are what is not the named profile's.
    """
    if "changed" in about:
        return dict(about["changed"])
    study, base = about["study"], base_profile(str(about["profile"]))
    profile = settings_of(study, base) if study in STUDIES and base in PROFILES else {}
    designs = [entry["design"] for entry in about["cells"] if isinstance(entry.get("design"), dict)]
    of_stack = [design for design in designs[:1] if "formulation" in design]
    shared = {name: of_stack[0].get(name) for name in ("width", "depth", "kernel") if of_stack}
    said = {"design": shared, "recipe": about.get("recipe", {}), "protocol": about.get("protocol", {})}
    rooms: Mapping[str, Any] = {"design": Design, "recipe": Recipe, "protocol": Protocol}
    out: dict[str, Any] = {}
    for room, values in said.items():
        usual = {**{f.name: f.default for f in dataclasses.fields(rooms[room])}, **profile.get(room, {})}
        out |= {f"{room}.{name}": value for name, value in values.items() if value != usual.get(name, value)}
    return out


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def trained_as(about: Mapping[str, Any]) -> str:
    """The profile whose training a study is: the named one where only its way of computing was changed."""
    return base_profile(str(about["profile"])) if changed_keys(about).keys() <= HOW_COMPUTED else str(about["profile"])


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
