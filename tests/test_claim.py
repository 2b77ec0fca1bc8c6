"""One live process a cell: races, dead holders of this machine, silent and living holders of another one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dsresearch.design import InputError
from dsresearch.record import claim
from dsresearch.record.claim import LEASE_SECONDS, HeldError, claimed, held

ROOT = Path(__file__).parents[1]
HOLD = """
import sys, time
from pathlib import Path
from dsresearch.record.claim import claimed
with claimed(Path(sys.argv[1])) as claim:
    print(claim.number, flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """A process that holds the folder; it has said so."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdecimal()
    return process


def lease_of_another_machine(folder: Path, number: int, age: float) -> Path:
    path = folder / f"claim.{number}"
    path.write_text(json.dumps({"machine": "another", "host": "elsewhere", "process": 1}))
    (folder / "claim").touch()
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_a_killed_holder_of_this_machine_is_taken_over_at_once(tmp_path: Path) -> None:
    process = holder(tmp_path)
    with pytest.raises(HeldError), claimed(tmp_path):
        pass
    assert held(tmp_path)
    process.kill()
    process.communicate()
    assert (tmp_path / "claim.1").exists()  # what it left
    assert not held(tmp_path)
    began = time.monotonic()
    with claimed(tmp_path) as mine:
        assert mine.number == 2
        assert not (tmp_path / "claim.1").exists()
    assert time.monotonic() - began < 5
    assert not list(tmp_path.glob("claim.*"))


def test_a_claim_of_another_machine_stands_until_it_is_silent_for_the_lease(tmp_path: Path) -> None:
    lease = lease_of_another_machine(tmp_path, 3, age=LEASE_SECONDS - 20)
    assert held(tmp_path)
    with pytest.raises(HeldError), claimed(tmp_path):
        pass
    lease_of_another_machine(tmp_path, 3, age=LEASE_SECONDS + 1)
    assert not held(tmp_path)
    with claimed(tmp_path, used=[2]) as mine:
        assert mine.number == 4
        assert not lease.exists()


def test_the_clock_of_the_reader_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose clock is an hour ahead does not take a living one's cell."""
    lease_of_another_machine(tmp_path, 1, age=1)
    ahead = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: ahead)
    assert held(tmp_path)


def test_a_holder_beats_and_finds_out_that_it_was_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "BEAT_SECONDS", 0.01)
    with claimed(tmp_path) as mine:
        mine.check()
        os.utime(mine.path, (0, 0))
        end = time.monotonic() + 10
        while mine.path.stat().st_mtime == 0:
            assert time.monotonic() < end, "no beat"
            time.sleep(0.01)
        lease_of_another_machine(tmp_path, mine.number + 1, age=0)
        with pytest.raises(HeldError, match="taken over"):
            mine.check()


def test_a_vanished_folder_is_one_line_and_is_not_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "cells" / "one"
    with pytest.raises(InputError, match="cannot be written"), claimed(folder):
        pass
    folder.parent.mkdir()
    with claimed(folder) as mine:
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(InputError, match="vanished"):
            mine.check()
    assert not folder.exists()


CROWD = """
import fcntl, os, signal, sys, time
from pathlib import Path
from dsresearch.record.claim import HeldError, claimed

folder, log, locks, begin = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "locks", time.monotonic() + 0.5

def no_locks(*_):
    raise OSError(38, "Function not implemented")

def crowd():
    while time.monotonic() < begin:
        time.sleep(0.001)
    while time.monotonic() < begin + 1.5:
        try:
            with claimed(folder) as mine, open(log, "a") as file:
                print("begin", mine.number, os.getpid(), file=file, flush=True)
                time.sleep(0.002)
                if locks and mine.number % 7 == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                print("end", mine.number, os.getpid(), file=file, flush=True)
        except HeldError:
            time.sleep(0.001)

if not locks:
    fcntl.flock = no_locks
for number in range(8):
    if not os.fork():
        crowd()
        os._exit(0)
codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(8)]
sys.exit(0 if set(codes) <= {0, -9} else 1)
"""


@pytest.mark.parametrize("kind", ["locks", "lease alone"])
def test_of_eight_who_start_at_once_one_works_at_a_time(kind: str, tmp_path: Path) -> None:
    """Over and over; with locks holders are killed, and the other way as on a file system that has none."""
    log, folder = tmp_path / "log", tmp_path / "cell"
    folder.mkdir()
    command = [sys.executable, "-W", "ignore", "-c", CROWD, str(folder), str(log), kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    turns = [line.split() for line in log.read_text().splitlines()]
    assert len(turns) > 20
    working = None
    for word, number, process in turns:
        if word == "begin":
            assert working is None or int(working[0]) % 7 == 0, "two at once"
            working = (number, process)
        else:
            assert working == (number, process)
            working = None
