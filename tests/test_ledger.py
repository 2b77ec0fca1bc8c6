"""A cell as a Sacred run: what is told of its errors, and in which order its processes look at its folder."""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dsresearch import ledger
from dsresearch.design import InputError
from dsresearch.ledger.attempt import CellProgress, Stopped
from dsresearch.record.store import CellFolder


class Alone:
    """A company of one, which notes what it is told."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def tell(self, value: Any) -> None:
        self.seen.append("tell")


@pytest.fixture
def company(monkeypatch: pytest.MonkeyPatch) -> Alone:
    alone = Alone()
    monkeypatch.setattr(ledger.ranks, "company", lambda *_: contextlib.nullcontext(alone))
    return alone


def test_a_cell_begins_before_its_other_processes_look(
    company: Alone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept in another environment goes when a cell begins; another process must not go on from it."""

    def begin(folder: CellFolder, environment: Mapping[str, Any]) -> None:
        company.seen.append("begin")

    def stop(*_: Any) -> None:
        raise Stopped

    monkeypatch.setattr(CellFolder, "begin", begin)
    monkeypatch.setattr(ledger, "_train", stop)
    with pytest.raises(Stopped):
        ledger.experiment("hybrid", tmp_path).run(config_updates={"profile": "smoke"})
    assert company.seen == ["begin", "tell"]


@pytest.mark.parametrize("error", [ValueError("Incompatible shapes"), InputError("data='digits' are other pictures")])
def test_a_bug_in_training_keeps_its_traceback_and_an_input_error_is_one_line(
    error: ValueError, company: Alone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(ledger, "_train", fail)
    monkeypatch.setattr(sys, "argv", ["hybrid.py", "with", "profile=smoke"])
    with pytest.raises((ValueError, SystemExit)) as told:
        ledger.run_commandline(ledger.experiment("hybrid"))
    if isinstance(error, InputError):
        assert told.type is SystemExit
        assert told.value.code == 2  # type: ignore[attr-defined]
        assert capsys.readouterr().err.splitlines()[-1] == f"error: {error}"
    else:
        assert told.value is error


def test_a_wrong_option_of_sacreds_own_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hybrid.py", "print_config", "--loglevel", "nonsense"])
    with pytest.raises(SystemExit) as told:
        ledger.run_commandline(ledger.experiment("hybrid"))
    assert told.value.code == 2
    assert capsys.readouterr().err == "error: Unknown level: 'nonsense'\n"


def test_the_trials_before_these_count_whole(tmp_path: Path) -> None:
    """Of a cell whose trials begin at 2, in programs of two: 2 and 3 are done, 4 and 5 have three epochs of five."""
    folder = CellFolder(tmp_path)
    training = SimpleNamespace(cell=SimpleNamespace(first=2, recipe=SimpleNamespace(epochs=5)))
    progress = CellProgress(folder, total=20, n_train=100)
    progress.tell(SimpleNamespace(trials=range(4, 6), done=3), training)
    said = folder.progress()
    assert (said["done"], said["total"], said["here"]) == (2 * 5 + 2 * 3, 20, 2)
