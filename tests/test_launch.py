"""What the launcher decides without training anything."""

import argparse
import io
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dsresearch import cli, data
from dsresearch import launch as launch_module
from dsresearch.design import InputError
from dsresearch.launch import Launcher, Process, default_workers
from dsresearch.ledger import cell_of
from dsresearch.record.progress import status_lines
from dsresearch.record.store import Store, write_json
from dsresearch.runtime import DONE, FAILED, INTERRUPTED, STOPPED
from dsresearch.schema import ENVIRONMENT
from dsresearch.studies.plan import Request, plan


def launcher(folder: Path) -> Launcher:
    made = Launcher(plan(Request(profile="smoke"), data.load("digits")), Store(folder), workers=1)
    made.store.prepare(made.plan)
    return made


class Scripted:
    """A process that ends at once with a status, or without one works until it is asked to end."""

    def __init__(self, code: int | None) -> None:
        self.returncode, self.looks = code, 0

    def poll(self) -> int | None:
        self.looks += 1
        assert self.looks < 50, "it was not asked to end"
        return self.returncode

    def wait(self) -> int:
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        if self.returncode is None:
            self.returncode = STOPPED


def test_a_stop_that_comes_while_a_cell_is_being_started_ends_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is among the running cells a moment after the signal's handler has looked at them."""
    monkeypatch.setattr(launch_module, "POLL_SECONDS", 0.001)
    one = launcher(tmp_path)
    one.workers, one.out = 3, io.StringIO()
    started: list[Scripted] = []

    def start(words: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
        signal.raise_signal(signal.SIGTERM)
        started.append(Scripted(None))
        return started[-1]

    one.start = start
    with one._stop_requests():
        assert one._train(one.plan.once) == STOPPED
    assert len(started) == 1


def test_a_cell_that_was_stopped_alone_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that got the signal of its own: 75 says that a checkpoint is kept, which is no failure."""
    monkeypatch.setattr(launch_module, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(launch_module, "HELD_SECONDS", 0.0)
    one = launcher(tmp_path)
    one.out = io.StringIO()
    monkeypatch.setattr(one, "_export", lambda: None)
    cell, codes = one.plan.cells[0], [STOPPED, DONE]

    def start(words: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
        if codes[0] == DONE:
            rows = [{"test_wrong": 1, "n_test": 100}]
            write_json(one.store.cell(cell).path / "result.json", {"attempt": 2, "rows": rows})
        return Scripted(codes.pop(0))

    one.start = start
    assert one._train([cell]) == DONE
    assert codes == []
    first, second = one.out.getvalue().splitlines()
    assert first == f"cell {cell.name} was stopped with a checkpoint kept, it goes on from there"
    assert second.startswith("1 of 1 cells")


def test_a_failed_cell_is_told_and_the_others_still_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study says so by its status at the end, although the last cell succeeded."""
    monkeypatch.setattr(launch_module, "POLL_SECONDS", 0.001)
    one = launcher(tmp_path)
    one.out = io.StringIO()
    monkeypatch.setattr(one, "_export", lambda: None)
    bad, good = one.plan.cells[:2]
    started: list[str] = []

    def start(words: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
        started.append(words[-1])
        if words[-1] == bad.id:
            log.write_text("error: the last words\n", encoding="utf-8")
            trace = ["Traceback (most recent call last):\n", "  ...\n", "ValueError: Incompatible shapes\n"]
            run = {"status": "FAILED", "fail_trace": trace}
            attempt = one.store.cell(bad).attempts / "1"
            attempt.mkdir(parents=True)
            write_json(attempt / "run.json", run)
            return Scripted(1)
        rows = [{"test_wrong": 1, "n_test": 100}]
        write_json(one.store.cell(good).path / "result.json", {"attempt": 1, "rows": rows})
        return Scripted(DONE)

    one.start = start
    assert one._train([bad, good]) == FAILED
    assert started == [bad.id, good.id]
    first, second = one.out.getvalue().splitlines()
    assert first == f"cell {bad.name} failed (status 1): ValueError: Incompatible shapes"
    assert second.startswith("1 of 2 cells")
    (line,) = [line for line in status_lines(one.store) if line.startswith("failed")]
    assert line.split(maxsplit=1)[1].startswith(bad.name)
    assert line.endswith(" ValueError: Incompatible shapes")


def test_a_cell_that_compiles_is_known_by_what_it_says_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an attempt before it said of its progress lies there until it speaks."""
    one = launcher(tmp_path)
    one.workers = 2
    base, twin = (cell for cell in one.plan.cells if cell.arm == "separable" and cell.control in ("", "seed"))
    assert base.shares_program(twin)
    said = {"done": 3, "total": 4, "here": 1, "seconds": 2.0}
    write_json(one.store.cell(base).path / "progress.json", said)
    started: list[str] = []
    monkeypatch.setattr(one, "_start", lambda kind, root, cell: started.append(cell) or object())
    waiting = {base: 0.0, twin: 0.0}
    one._fill(waiting)
    one._fill(waiting)
    assert started == [base.id]
    write_json(one.store.cell(base).path / "progress.json", {**said, "done": 4})
    one._fill(waiting)
    assert started == [base.id, twin.id]


def test_a_baseline_whose_result_has_gone_is_one_line(tmp_path: Path) -> None:
    one = launcher(tmp_path)
    with pytest.raises(InputError, match=r"result\.json is missing or damaged; `dsresearch run`"):
        one._baseline_anew()


def test_a_baseline_of_another_machine_is_trained_anew_beside_its_rerun(tmp_path: Path) -> None:
    one = launcher(tmp_path)
    cells = {cell.control: cell for cell in one.plan.cells if cell.arm == "separable"}
    here = dict.fromkeys(ENVIRONMENT, "here")
    for stored, wanted in (({}, 0), ({"device_kind": "elsewhere"}, 1), ({"jaxlib": "older"}, 1)):
        write_json(one.store.cell(cells[""]).path / "result.json", {"attempt": 1, "rows": [{**here, **stored}]})
        write_json(one.store.cell(cells["rerun"]).path / "result.json", {"attempt": 1, "rows": [here]})
        assert len(one._baseline_anew()) == wanted
    twin = one._baseline_anew()[0]
    assert twin.control == "rerun_baseline"
    for where, again in (("here", []), ("a third machine", [cells["rerun"]])):
        rows = [{**here, "device_kind": where}]
        write_json(one.store.cell(twin).path / "result.json", {"attempt": 1, "rows": rows})
        assert one._baseline_anew() == [twin, *again]
        assert one._is_done(twin) == one._is_done(cells["rerun"]) == (not again)
    assert twin.design == cells[""].design
    assert twin.id not in {cell.id for cell in one.plan.cells}


def test_what_is_written_of_a_cell_is_that_cell_again(tmp_path: Path) -> None:
    """A worker trains what cell.json says: of every arm and control, and of the baseline trained anew."""
    one = launcher(tmp_path)
    for cell in one.plan.cells:
        config = one.store.cell(cell).config()
        settings = {key: config[key] for key in ("profile", "data", "arm", "setup", "role", "control", "match")}
        protocol = dict(config["protocol"])
        seeds = {"seed": protocol.pop("seed"), "trials": protocol.pop("trials")}
        parts = {"design": config["design"], "recipe": config["recipe"], "protocol": protocol}
        for control in {cell.control, "rerun_baseline"} if cell.control == "rerun" else {cell.control}:
            again = cell_of("hybrid", {**settings, **parts, **seeds, "control": control})
            assert (again.id == cell.id) == (control == cell.control)
            assert (again.arm, again.role, again.design) == (cell.arm, cell.role, cell.design)


def test_workers_leave_a_cell_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsresearch.runtime.cores", lambda: 8)
    monkeypatch.setattr("dsresearch.runtime.accelerated", lambda: False)
    assert [default_workers(threads) for threads in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.setattr("dsresearch.runtime.accelerated", lambda: True)
    assert default_workers(threads=1) == 1, "two would each take the memory of a GPU"


def test_another_launchers_proof_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process that would only find it held."""
    one = launcher(tmp_path)
    answers = iter([False, False, False, True])
    monkeypatch.setattr(one, "_start", lambda *words: pytest.fail("it was started"))
    with one.store.claim("prove"):
        assert one._aside("prove", lambda: next(answers), "proving", "the proof") == 0
    with pytest.raises(pytest.fail.Exception):
        one._aside("prove", lambda: False, "proving", "the proof")


def test_a_cell_that_another_launcher_holds_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = launcher(tmp_path)
    started: list[str] = []
    monkeypatch.setattr(one, "_start", lambda kind, root, cell: started.append(cell) or object())
    one.workers = 2
    first, second, third = one.plan.cells[:3]
    with one.store.cell(first).claim():
        waiting = {first: 0.0, second: 0.0, third: 0.0}
        one._fill(waiting)
    assert started == [second.id, third.id]
    assert waiting[first] > 0


def test_what_every_cell_would_meet_ends_the_study_in_one_line(tmp_path: Path) -> None:
    one = launcher(tmp_path)
    log = one.store.log("cell")
    log.write_text("what another said\n")
    one._log_starts["cell"] = log.stat().st_size
    log.write_text(log.read_text() + "warning: this\nerror: data='digits' are other pictures\n")
    with pytest.raises(InputError, match=r"^data='digits' are other pictures$"):
        one._refuse(2, "cell")
    one._refuse(1, "cell")  # this cell's own failure
    assert one._words("cell")[0] == "warning: this"
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    with pytest.raises(InputError, match="vanished"):
        one._refuse(1, "cell")


def test_a_killed_process_is_said_to_be_killed(tmp_path: Path) -> None:
    """Its last words are of the moment before, and would pass for the reason."""
    one = launcher(tmp_path)
    one.out = io.StringIO()

    def start(words: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
        log.write_text("modules compiled: 8 of 8\n", encoding="utf-8")
        return subprocess.Popen(["sh", "-c", "kill -SEGV $$"])

    one.start = start
    assert one._aside("prove", lambda: False, "proving", "the proof") == FAILED
    assert "the proof failed (killed by SIGSEGV): modules compiled" in one.out.getvalue()


def test_what_a_process_without_a_cell_says_of_its_progress_is_told(tmp_path: Path) -> None:
    one = launcher(tmp_path)
    one.out = io.StringIO()
    one.store.log("part").write_text("progress: of another launcher\n")

    def start(words: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
        with log.open("ab") as file:
            return subprocess.Popen(["sh", "-c", "echo progress: one; echo a warning; echo progress: two"], stdout=file)

    one.start = start
    assert one._to_its_end("part") == 0
    assert one.out.getvalue().splitlines() == ["one", "two"]


@pytest.mark.parametrize(("command", "status"), [("status", DONE), ("run", STOPPED)])
def test_a_reader_that_has_gone_is_no_end_of_a_training(
    monkeypatch: pytest.MonkeyPatch, command: str, status: int
) -> None:
    """`dsresearch run ... | head` has not done what it was asked for."""

    def told(_: argparse.Namespace) -> int:
        raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setitem(cli.COMMANDS, command, told)  # type: ignore[arg-type]
    words = {"status": ["status", "runs/study"], "run": ["run", "hybrid"]}[command]
    assert cli.main(words) == status


@pytest.mark.parametrize(("command", "status"), [("status", INTERRUPTED), ("run", STOPPED)])
def test_ctrl_c_says_that_a_checkpoint_was_kept_of_a_training_alone(
    monkeypatch: pytest.MonkeyPatch, command: str, status: int
) -> None:
    def interrupted(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, command, interrupted)  # type: ignore[arg-type]
    words = {"status": ["status", "runs/study"], "run": ["run", "hybrid"]}[command]
    assert cli.main(words) == status
    monkeypatch.setattr(cli, "_worker", interrupted)
    assert cli.main(["worker", "cell"]) == STOPPED
