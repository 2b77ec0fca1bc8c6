"""A row of a table: one case, measured in turns by our program and its peers. No jax."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dsresearch.bench.cases import Case, Planned
from dsresearch.bench.crew import Crew, RoleFailed, TimeIsUp, missing
from dsresearch.bench.floor import floor, macs

Row = dict[str, Any]
Say = Callable[[str], None]

# The peers' columns; `torch_compile` is the faster of the two compiled roles.
COLUMNS = ("flax", "torch", "torch_kept", "torch_compile")
COMPILED = ("torch_compile", "torch_graphs")


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: turns; in each every role is measured once, in the reverse order of the turn before.
        seconds: of one measurement.
        box: seconds that a row may take; what is not measured by then stays null.
        ends: when the whole table must end, by the monotonic clock.
    """

    rounds: int = 5
    seconds: float = 1.0
    box: float = 900.0
    ends: float = float("inf")

    def deadline(self) -> float:
        """When a row that begins now must end."""
        return min(time.monotonic() + self.box, self.ends)


@dataclass(frozen=True)
class Bench:
    """A crew on a device.

    Attributes:
        crew: the worker processes.
        gpu: whether ours compute on an accelerator, whose memory is the program's.
        keep: whether workers stay from row to row, which saves the seconds of starting them; else a process a case, so
            that its memory and compile time are its own.
        roofs: by dtype, what the device reaches: bytes/s and FLOP/s.
        say: where to tell what goes on.
    """

    crew: Crew
    gpu: bool
    keep: bool
    roofs: dict[str, dict[str, float]]
    say: Say


def blank(case: Case) -> Row:
    """A row in which nothing has been measured yet."""
    peers = {f"{name}_images_per_s": None for name in COLUMNS}
    ratios = {f"ratio_{name}{end}": None for name in COLUMNS for end in ("", "_min", "_max")}
    return {
        "setup": case.setup,
        "groups": case.design.groups,
        "trials": case.trials,
        "dtype": case.dtype,
        "images_per_s": None,
        **peers,
        **ratios,
        "fraction_of_floor": None,
        "compile_s": None,
        "peak_mib": None,
        "widths": list(case.design.widths),
        "blocks": case.depth,
        "image": case.image,
        "batch": case.batch,
        "downsampling": "max_pool",
        "macs": macs(case),
        "mode": case.mode,
        "devices": case.devices,
        "kernels": case.kernels,
        "rounds": 0,
        "torch_compile_mode": None,
        "missing": {},
    }


def rows(bench: Bench, planned: Planned, effort: Effort) -> Iterator[Row]:
    """The row of a case, given after each stage of it: our program alone, then with its peers."""
    case, deadline = planned.case, effort.deadline()
    row = blank(case)
    if not bench.keep:
        bench.crew.dismiss()
    elif bench.gpu:  # cores enough to import libraries side by side
        for role in planned.against:
            if not missing(role, bench.gpu):
                bench.crew.start(role)
    try:
        _ready(bench, row, case, deadline)
        first = [_rate(bench, "ours", effort, deadline) for _ in range(min(2, effort.rounds))]
    except RoleFailed as error:
        _fail(bench, row, "ours", error)
        yield row
        return
    _ours(bench, row, case, first)
    yield row
    present = [role for role in planned.against if _prepared(bench, row, role, case, deadline)]
    yield _with_peers(row, _turns(bench, row, ["ours", *present], effort, deadline), bench, case)


def _ready(bench: Bench, row: Row, case: Case, deadline: float) -> None:
    """Compile our program and take the roof of its dtype, while no peer is at work."""
    said = bench.crew.prepare("ours", case, deadline)
    if case.dtype not in bench.roofs:
        bench.roofs[case.dtype] = _roof(bench, case.dtype, deadline)
    row["compile_s"] = round(said["compile_s"], 2)
    row["peak_mib"] = round(said["program_mib"] if bench.gpu else said["rss_mib"])


def _roof(bench: Bench, dtype: str, deadline: float) -> dict[str, float]:
    """What the device reaches with all threads: where processes share the batches, each of them has only some."""
    request = {"do": "roof", "dtype": dtype}
    if bench.crew.devices == 1:
        return bench.crew.ask("ours", request, deadline)
    with Crew(bench.crew.threads) as whole:
        whole.gpu = bench.crew.gpu
        return whole.ask("ours", request, deadline)


def _prepared(bench: Bench, row: Row, role: str, case: Case, deadline: float) -> bool:
    why = missing(role, bench.gpu)
    if why:
        row["missing"][role] = why
        return False
    try:
        bench.crew.prepare(role, case, deadline)
    except RoleFailed as error:
        _fail(bench, row, role, error)
        return False
    return True


def _turns(bench: Bench, row: Row, roles: list[str], effort: Effort, deadline: float) -> dict[str, list[float]]:
    """Images/s of every role by turns, the last of which may lack some: when the time is up, what was measured stands.

    A role that fails has no figure, whatever it did before, and the others go on; without ours they tell nothing.
    """
    found: dict[str, list[float]] = {role: [] for role in roles}
    for turn in range(effort.rounds):
        order = [role for role in found if role not in row["missing"]]
        for role in order if turn % 2 == 0 else reversed(order):
            try:
                found[role].append(_rate(bench, role, effort, deadline))
            except TimeIsUp as error:
                for late in roles:
                    if not found[late] and late not in ("ours", *row["missing"]):  # ours has been measured alone
                        _fail(bench, row, late, error)
                return found
            except RoleFailed as error:
                _fail(bench, row, role, error)
                if role == "ours":
                    return found
    return found


def _rate(bench: Bench, role: str, effort: Effort, deadline: float) -> float:
    time.sleep(0 if bench.gpu else 0.05)  # let the threads of the last one go to sleep
    return bench.crew.rate(role, effort.seconds, deadline)


def _fail(bench: Bench, row: Row, role: str, error: RoleFailed) -> None:
    row["missing"][role] = str(error)
    bench.say(f"{role} has no figure for {row['setup']}: {error}")
    bench.crew.drop(role)


def _ours(bench: Bench, row: Row, case: Case, rates: list[float]) -> None:
    roof = bench.roofs[case.dtype]
    ceiling = floor(case).images_per_s(roof["bytes_per_s"], roof["flops_per_s"])
    row["images_per_s"] = significant(statistics.median(rates))
    row["fraction_of_floor"] = significant(row["images_per_s"] / ceiling)


def _with_peers(row: Row, found: dict[str, list[float]], bench: Bench, case: Case) -> Row:
    """Medians over the turns, and ratios pair by pair: our rate over a peer's of the same turn; none of who failed."""
    if "ours" in row["missing"]:
        row.update(images_per_s=None, fraction_of_floor=None)  # measured alone before it failed
        return row
    found = {role: rates for role, rates in found.items() if rates and role not in row["missing"]}
    ours = found.get("ours", [])
    row["rounds"] = len(ours)
    if ours:
        _ours(bench, row, case, ours)
    medians = {role: statistics.median(rates) for role, rates in found.items()}
    compiled = [role for role in COMPILED if role in medians]
    best = max(compiled, key=lambda role: medians[role], default="torch_compile")
    row["torch_compile_mode"] = best if compiled else None
    for column in COLUMNS:
        role = best if column == "torch_compile" else column
        pairs = sorted(a / b for a, b in zip(ours, found.get(role, []), strict=False))
        if pairs:
            row[f"{column}_images_per_s"] = significant(medians[role])
            row[f"ratio_{column}"] = significant(statistics.median(pairs))
            row[f"ratio_{column}_min"], row[f"ratio_{column}_max"] = significant(pairs[0]), significant(pairs[-1])
    return row


def significant(value: float) -> float:
    """Four significant digits: more are noise."""
    return float(f"{value:.4g}")
