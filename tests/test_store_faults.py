"""A disk that is full, a folder that is read-only or goes away: one line, exit status 2, nothing half-written."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dsresearch import data
from dsresearch.design import InputError
from dsresearch.ledger.observer import HardenedObserver
from dsresearch.record.export import export
from dsresearch.record.store import CellFolder, Store, write_json
from dsresearch.schema import ENVIRONMENT, WriteError, write_atomic, write_new
from dsresearch.studies import Plan
from dsresearch.studies.plan import Request, plan
from dsresearch.trials import Result, divergence

ROOT = Path(__file__).parents[1]
BASELINE = ("run", "hybrid", "--profile", "smoke", "--setup", "separable", "--trials")
SMALL, LONG = (*BASELINE, "1"), (*BASELINE, "900")


LIMITED = """
import resource, runpy, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
runpy.run_module("dsresearch", run_name="__main__")
"""


def start(*words: str, limit: int | None = None) -> "subprocess.Popen[str]":
    """The command line in a process; with a limit in bytes on the size of the files that it and its children write."""
    how = ["-m", "dsresearch"] if limit is None else ["-c", LIMITED, str(limit)]
    command = [sys.executable, *how, *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object], seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def one_line_and_exit_2(process: "subprocess.Popen[str]", *said: str) -> None:
    _, told = process.communicate(timeout=600)
    assert process.returncode == 2, told
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, told
    assert "Traceback" not in told
    assert any(text in errors[0] for text in said), told


def whole(folder: Path) -> None:
    """Every JSON file is whole and nothing temporary lies about."""
    for path in folder.rglob("*"):
        assert not path.name.startswith("."), path
        if path.suffix == ".json":
            json.loads(path.read_text())


# --- one file ---------------------------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_old_bytes_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "trials.csv"
    write_atomic(path, b"old")
    script = (
        "import resource, sys; from pathlib import Path; from dsresearch.schema import write_atomic\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); write_atomic(Path(sys.argv[1]), bytes(5000))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, capture_output=True, check=False)
    assert b"cannot be written (File too large)" in done.stderr
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["trials.csv"]


def test_what_killed_writers_left_goes_with_a_later_write(tmp_path: Path) -> None:
    left, young = tmp_path / ".a.csv.12345678.tmp", tmp_path / ".a.csv.87654321.tmp"
    for path, age in ((left, 7200), (young, 10)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age, time.time() - age))
    write_atomic(tmp_path / "a.csv", b"whole")
    assert not left.exists()
    assert young.exists()  # a live writer's, for all we know


def test_a_store_that_is_removed_is_not_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "study" / "cells" / "one"
    with pytest.raises(InputError, match="No such file or directory"):
        write_json(folder / "progress.json", {})
    store = Store(tmp_path / "study")
    with pytest.raises(InputError, match="vanished"):
        store.check_writable()
    with pytest.raises(InputError), store.one_at_a_time():
        pass
    assert not store.root.exists()


def test_tables_of_a_store_that_is_removed_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were computed while the folder went away: an hour of twins, or an export."""
    asked = plan(Request(profile="smoke", setups=("separable",)), data.load("digits"))
    store, folder = Store(tmp_path / "study"), tmp_path / "elsewhere"
    store.prepare(asked)
    row = {"control_kind": "bit", "trial": 0, "step": 0, "relative_distance": 0.5, "param_norm": 1.0}

    def vanish(*_: object) -> list[dict[str, object]]:
        store.root.rename(folder)
        return [row]

    monkeypatch.setattr("dsresearch.trials.divergence.distances", vanish)
    with pytest.raises(InputError, match="No such file or directory"):
        divergence.main(store)
    assert not store.root.exists()
    folder.rename(store.root)
    monkeypatch.setattr("dsresearch.record.export._runs", lambda *_: vanish() and [])
    with pytest.raises(InputError, match="No such file or directory"):
        export(store)
    assert not store.root.exists()


def test_of_two_plans_for_one_new_folder_one_is_the_store_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both launchers find the folder new, then both write: one protocol stands, the other launcher is told so."""
    one = plan(Request(profile="smoke", setups=("separable",)), data.load("digits"))
    plans = [dataclasses.replace(one, recipe=dataclasses.replace(one.recipe, warmup=warmup)) for warmup in (0.1, 0.3)]
    both, check = threading.Barrier(2), Store.check
    met: set[int] = set()

    def together(store: Store, asked: Plan) -> None:
        check(store, asked)
        if threading.get_ident() not in met:
            met.add(threading.get_ident())
            time.sleep(0.2 * number * both.wait(60))  # the second at once, or when the first has written

    monkeypatch.setattr(Store, "check", together)
    for number in range(3):
        store, told = Store(tmp_path / f"study{number}"), []
        met.clear()

        def start_one(asked: Plan, store: Store = store, told: list[str] = told) -> None:
            try:
                store.prepare(asked)
                told.append("")
            except InputError as error:
                told.append(str(error))

        threads = [threading.Thread(target=start_one, args=(asked,)) for asked in plans]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(bool, told)) == [False, True], told
        assert "was made under another protocol (recipe.warmup=" in max(told)
        assert not list(store.root.glob(".*"))


def test_a_file_system_without_links_keeps_files_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    assert write_new(tmp_path / "a", b"first")
    assert not write_new(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    monkeypatch.setattr(os, "link", refused)
    assert write_new(tmp_path / "b", b"whole")
    assert (tmp_path / "b").read_bytes() == b"whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_an_observer_that_cannot_write_says_so(tmp_path: Path) -> None:
    """Sacred drops it and goes on to COMPLETED; the ledger asks it between two epochs."""
    observer = HardenedObserver(tmp_path / "attempts")
    observer.dir = str(tmp_path / "gone")
    for write in (
        lambda: observer.save_json({}, "run.json"),
        lambda: observer.log_metrics({}, {}),
        lambda: observer.save_cout(),
        lambda: observer.save_file(__file__, "rows.json"),
    ):
        observer.failed = None
        with pytest.raises(InputError, match="cannot be written"):
            write()
        assert observer.failed is not None
    assert not (tmp_path / "gone").exists()


def test_what_was_begun_in_another_environment_starts_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trial that went on elsewhere would have bits that neither machine gives."""
    cell, here = CellFolder(tmp_path), dict.fromkeys(ENVIRONMENT, "here")
    cell.begin(here)
    (tmp_path / "trials").mkdir()
    cell.begin(here)
    assert (tmp_path / "trials").exists()
    cell.begin({**here, "device_kind": "elsewhere"})
    assert not (tmp_path / "trials").exists()
    assert "another environment (device_kind 'here'), starting again" in capsys.readouterr().err
    (tmp_path / "trials").mkdir()
    written = json.loads((tmp_path / "environment.json").read_text(encoding="utf-8"))
    del written["device_count"], written["flax"]  # as by a version that did not ask for them yet
    (tmp_path / "environment.json").write_text(json.dumps(written), encoding="utf-8")
    cell.begin({**here, "device_kind": "elsewhere"})
    assert (tmp_path / "trials").exists()
    del written["matmul_precision"]  # unset is known of it: set now, it differs
    (tmp_path / "environment.json").write_text(json.dumps(written), encoding="utf-8")
    cell.begin({**here, "device_kind": "elsewhere", "device_count": 2})
    assert not (tmp_path / "trials").exists()


def test_how_far_a_cell_was_goes_where_nothing_is_kept_of_it(tmp_path: Path) -> None:
    """Killed before its first checkpoint, it starts from nothing; what goes on is that far until it says more."""
    cell, said = CellFolder(tmp_path), {"done": 3, "total": 4, "here": 3, "seconds": 1.0}
    for kept in ("", "checkpoint/000000-000002.sha256", "trials/0.npz"):
        write_json(tmp_path / "progress.json", said)
        if kept:
            (tmp_path / kept).parent.mkdir()
            (tmp_path / kept).touch()
        cell.begin({"device_kind": "here"})
        assert cell.progress() == (said if kept else {})
        cell.clear()


# --- a study ----------------------------------------------------------------------------------------------------


def test_files_that_cannot_grow_end_a_study_in_one_line(tmp_path: Path) -> None:
    """A limit on the size of files, as a quota or a full disk: metadata fits, results do not."""
    folder = tmp_path / "study"
    one_line_and_exit_2(start(*SMALL, "--out", str(folder), limit=6_000), "File too large")
    whole(folder)
    assert not list(folder.glob("cells/*/result.json"))
    again = start(*SMALL, "--out", str(folder))
    again.communicate()
    assert again.returncode == 0
    assert (folder / "trials.csv").exists()


def _mounted(folder: Path, options: str) -> bool:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    return shutil.which("mount") is not None and subprocess.run(mount, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_a_full_disk_ends_a_study_in_one_line(tmp_path: Path) -> None:
    """At three sizes, so that it is full at different moments."""
    for number, size in enumerate(("200k", "400k", "700k")):
        disk = tmp_path / f"disk{number}"
        if not _mounted(disk, f"size={size}"):
            pytest.skip("no right to mount")
        try:
            one_line_and_exit_2(start(*LONG, "--out", str(disk / "study")), "No space left")
            whole(disk)
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.slow
def test_a_read_only_folder_ends_a_study_in_one_line(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    if not _mounted(disk, "size=50m"):
        pytest.skip("no right to mount")
    try:
        folder = disk / "study"
        process = start(*LONG, "--out", str(folder))
        wait_for(lambda: list(folder.glob("cells/*/progress.json")))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=False)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=600)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        one_line_and_exit_2(start(*LONG, "--out", str(folder)), "Read-only file system")
        whole(folder)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.slow
def test_a_folder_that_vanishes_ends_a_study_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    process = start(*LONG, "--out", str(folder))
    wait_for(lambda: list(folder.glob("cells/*/progress.json")))
    folder.rename(tmp_path / "elsewhere")
    one_line_and_exit_2(process, "vanished", "No such file")
    assert not folder.exists()
    shutil.rmtree(tmp_path / "elsewhere")


def test_a_finished_trial_does_not_make_a_removed_cell_anew(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="No such file"):
        Result({}, {}, {}).save(tmp_path / "gone" / "trials" / "0.npz")
    assert not (tmp_path / "gone").exists()


# --- parents and children ---------------------------------------------------------------------------------------

ORPHAN = """
import os, sys, time
os.environ["DSRESEARCH_PARENT"] = "1234567"  # a launcher that ended while this process was starting
from dsresearch.cli import main
sys.exit(main(["worker", "cell", sys.argv[1], "nothing"]))
"""


LONG_EPOCH = """
import os, sys, time
from dsresearch.ledger import attempt
attempt.ORPHAN_SECONDS = 0.5
if os.fork():
    time.sleep(1)
    os._exit(0)  # the launcher
os.environ["DSRESEARCH_PARENT"] = str(os.getppid())
with attempt.stop_requests() as asked_to_stop:
    while not asked_to_stop():
        time.sleep(0.01)
    time.sleep(float(sys.argv[1]))  # until the end of the epoch
    print("checkpoint", flush=True)
    time.sleep(60)
print("an orphan worked on", flush=True)
"""


@pytest.mark.parametrize(("epoch", "said"), [("0", "checkpoint\n"), ("50", "")])
def test_an_orphan_keeps_a_checkpoint_or_ends_without_one(epoch: str, said: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", LONG_EPOCH, epoch]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert done.stdout == said, done.stderr


def test_a_worker_whose_launcher_is_gone_before_it_looked_does_not_begin(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ORPHAN, str(tmp_path)], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 75
    assert not list(tmp_path.iterdir())
