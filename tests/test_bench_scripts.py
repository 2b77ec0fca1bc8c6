"""The scripts of benchmarks/ that measure on one core: whose turn it is, what they keep, by which kernels they run."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dsresearch import runtime

ROOT = Path(__file__).parents[1]


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("one_core")


def test_sides_are_warmed_up_and_take_turns_forth_and_back(
    one_core: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr(one_core.time, "perf_counter", lambda: float(len(called) ** 2))
    times = one_core.taking_turns({name: lambda name=name: called.append(name) for name in "abc"}, turns=3)
    assert "".join(called) == "abc" + "abc" + "cba" + "abc"
    assert times == {"a": [7, 17, 19], "b": [9, 15, 21], "c": [11, 13, 23]}  # (n + 1)^2 - n^2


def test_how_many_times_as_fast_is_said_of_the_turns_not_of_their_medians(one_core: ModuleType) -> None:
    assert one_core.times_as_fast([1.0, 2.0, 4.0], [3.0, 2.0, 8.0]) == (2.0, 1.0, 3.0)


def test_what_is_measured_is_kept_when_a_later_case_fails(
    one_core: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(case: str) -> dict[str, Any]:
        if case == "third":
            raise MemoryError
        return {"case": case}

    file = tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", ["/anywhere/benchmarks/kernels.py", "--to", str(file)])
    monkeypatch.setattr(runtime, "prepare", lambda threads: None)  # this process is prepared
    with pytest.raises(MemoryError):
        one_core.keep_rows("", [("first",), ("second",), ("third",)], measured, turns=5)
    content = json.loads(file.read_text())
    assert content["rows"] == [{"case": "first"}, {"case": "second"}]
    assert (content["command"], content["turns"]) == ("python benchmarks/kernels.py", 5)
    assert {"machine", "versions"} <= set(content)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("profile", "kernels"), [("full", "winograd"), ("quick", "xla")])
def test_arms_side_by_side_train_by_the_kernels_of_their_profile(
    profile: str, kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Side:
        program = SimpleNamespace(steps_an_epoch=2)

        def __init__(self, cell: Any, pictures: Any, train: int) -> None:
            assert prepared == [kernels], "before anything is compiled"
            self.arm = cell.arm

        def epoch(self) -> None: ...

        def row(self, first_epoch_s: float, steps: list[float]) -> dict[str, Any]:
            return {"arm": self.arm, "turns": len(steps)}

    prepared: list[str] = []
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = importlib.import_module("side_by_side")
    monkeypatch.setattr(script, "Side", Side)
    monkeypatch.setattr(runtime, "prepare", lambda threads, kernels: prepared.append(kernels))
    file = tmp_path / "arms.json"
    words = ["hybrid", "separable", "resnext", "--profile", profile, "--rounds", "3", "--to", str(file)]
    monkeypatch.setattr(sys, "argv", ["side_by_side.py", *words])
    script.main()
    content = json.loads(file.read_text())
    assert content["kernels"] == kernels
    assert content["rows"] == [{"arm": "separable", "turns": 3}, {"arm": "resnext", "turns": 3}]
