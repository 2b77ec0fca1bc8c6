"""How far a study is: the time left, from what is trained now and not from what was trained before."""

import io
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dsresearch import data
from dsresearch.record import progress as progress_module
from dsresearch.record.progress import LINE_SECONDS, Progress, _cost, status_lines
from dsresearch.record.store import Store, write_json
from dsresearch.studies import Cell, Plan
from dsresearch.studies.plan import Request, plan

DIGITS = data.load("digits")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def prepared(folder: Path, *setups: str) -> tuple[Store, Plan]:
    asked = plan(Request(profile="smoke", setups=setups), DIGITS)
    store = Store(folder)
    store.prepare(asked)
    return store, asked


def say(store: Store, cell: Cell, done: int, here: int = 0, seconds: float = 0.0) -> None:
    """What a cell says of itself, of 100 epochs."""
    said = {"done": done, "total": 100, "here": here, "seconds": seconds, "images_per_s": 1.0}
    write_json(store.cell(cell).path / "progress.json", said)


def told(progress: Progress, running: list[Cell]) -> str:
    assert isinstance(progress.out, io.StringIO)
    progress.out.seek(progress.out.truncate(0))
    progress.tell(running)
    return progress.out.getvalue()


def test_what_an_earlier_launcher_trained_took_no_time_of_this_one(tmp_path: Path, clock: list[float]) -> None:
    store, asked = prepared(tmp_path, "separable", "resnext")
    cell, other = asked.once
    say(store, cell, 90, here=90, seconds=1.0)
    progress = Progress(store, asked, [cell], io.StringIO())
    clock[0] += LINE_SECONDS
    assert "90 %, compiling" in told(progress, [cell])
    clock[0] = 100.0
    say(store, cell, 95, here=5, seconds=90.0)
    assert "95 %, about 1 min 40 s left" in told(progress, [cell])
    progress = Progress(store, asked, [cell, other], io.StringIO())
    clock[0] = 200.0
    say(store, cell, 96, here=6, seconds=190.0)
    work = progress.work
    left = (0.04 * work[cell.id] + work[other.id]) / (0.01 * work[cell.id]) * 100
    assert f"about {progress_module.duration(left)} left" in told(progress, [cell])


def test_a_cell_that_starts_again_counts_from_nothing(tmp_path: Path, clock: list[float]) -> None:
    store, asked = prepared(tmp_path, "separable")
    (cell,) = asked.once
    say(store, cell, 90, here=90, seconds=1.0)
    progress = Progress(store, asked, [cell], io.StringIO())
    clock[0] = 100.0
    store.cell(cell).begin({})
    assert " 0 %, compiling" in told(progress, [cell])
    clock[0] = 200.0
    say(store, cell, 20, here=20, seconds=100.0)
    assert "20 %, about 13 min 20 s left" in told(progress, [cell])


def test_a_cell_that_was_gone_on_with_stays_so_when_it_is_done(tmp_path: Path, clock: list[float]) -> None:
    """It has cleared away what it said of itself a moment before its process ends."""
    store, asked = prepared(tmp_path, "separable", "separable_strict")
    cell, other = asked.once
    say(store, cell, 90, here=90, seconds=1.0)
    progress = Progress(store, asked, [cell, other], io.StringIO())
    clock[0] = 100.0
    write_json(store.cell(cell).path / "result.json", {"attempt": 2, "rows": [{}]})
    store.cell(cell).clear()
    told(progress, [cell])
    progress.finished(cell)
    clock[0] = 200.0
    say(store, other, 10, here=10, seconds=100.0)
    work = progress.work
    seconds = 0.9 * work[other.id] / (0.1 * work[cell.id] + 0.1 * work[other.id]) * 200
    assert f"about {progress_module.duration(seconds)} left" in told(progress, [other])


def last_line(store: Store, running: list[Cell]) -> str:
    with ExitStack() as stack:
        for cell in running:
            stack.enter_context(store.cell(cell).claim())
        return status_lines(store)[-1]


def test_status_tells_the_time_left_of_running_and_missing_cells(tmp_path: Path) -> None:
    """Two cells that run side by side, one that has not said anything yet, and one that nobody has begun."""
    store, asked = prepared(tmp_path, "separable", "resnext", "inception")
    fast, slow, missing = asked.once
    say(store, fast, 50, here=40, seconds=100.0)
    assert "left" not in last_line(store, [])
    work = {cell: float(asked.cost(cell).macs) for cell in asked.once}
    rate = 0.4 * work[fast] / 100.0
    seconds = (0.5 * work[fast] + work[slow] + work[missing]) / (2 * rate)
    said = f"2 running, 11 missing; about {progress_module.duration(seconds)} left of what was asked for"
    assert last_line(store, [fast, slow]).endswith(said)
    assert "left" not in last_line(store, [slow]), "a cell that has said nothing has no rate"


def test_the_slowest_cell_takes_its_own_time(tmp_path: Path) -> None:
    store, asked = prepared(tmp_path, "separable", "separable_strict")
    one, other = asked.once
    say(store, one, 10, here=10, seconds=100.0)
    say(store, other, 90, here=90, seconds=100.0)
    assert "; about 15 min 0 s left" in last_line(store, [one, other])


def test_a_cells_cost_is_known_without_its_pictures(tmp_path: Path) -> None:
    for study in ("hybrid", "darknet", "xception"):
        asked = plan(Request(study=study, profile="smoke"), DIGITS)
        store = Store(tmp_path / study)
        store.prepare(asked)
        pictures = store.protocol()["data"]
        for cell in asked.once:
            assert _cost(store.cell(cell), pictures) == asked.cost(cell).macs * cell.recipe.epochs


@pytest.mark.parametrize("change", [{"design": {"width": "wide"}}, {"recipe": {}}, {"setup": "nothing"}])
def test_a_damaged_cell_has_no_cost(tmp_path: Path, change: dict[str, Any]) -> None:
    store, asked = prepared(tmp_path, "separable")
    folder = store.cell(asked.once[0])
    write_json(folder.path / "cell.json", {**folder.config(), **change})
    assert _cost(folder, store.protocol()["data"]) == 0
    assert _cost(folder, {}) == 0
