"""A cell whose batches two processes share: one `jax.distributed` job here, recorded by its first process."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

STUDY = ["run", "hybrid", "--profile", "smoke", "--setup", "separable", "protocol.threads=2"]
SHARED = "protocol.devices=2"


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "dsresearch", *STUDY, *words, "--out", str(folder)]


def rows(folder: Path) -> list[dict[str, Any]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def ranks_of(folder: Path) -> tuple[int, int]:
    """The process that trains the study's cell and the one that helps it, once both are at work."""
    for _ in range(3000):
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().decode(), (entry / "stat").read_text()
            except OSError:
                continue
        first = [pid for pid, (line, _) in found.items() if f"cell\0{folder}" in line]
        helper = [
            pid
            for pid, (line, stat) in found.items()
            if "dsresearch.ledger.share" in line and int(stat.rpartition(")")[2].split()[1]) in first
        ]
        if helper and list(folder.glob("cells/*/progress.json")):
            return first[0], helper[0]
        time.sleep(0.05)
    pytest.fail("the cell has no second process")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared") / "study"
    done = subprocess.run(command(folder, SHARED), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_two_processes_train_what_one_trains_within_rounding(undisturbed: Path, tmp_path: Path) -> None:
    alone = subprocess.run(command(tmp_path / "one"), capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    for shared, one in zip(rows(undisturbed), rows(tmp_path / "one"), strict=True):
        assert (shared["exec_mode"], shared["device_count"]) == ("sharded", "2")
        assert (one["exec_mode"], one["device_count"]) == ("sequential", "1")
        assert shared["init_sha256"] == one["init_sha256"]
        for column in ("train_loss", "test_nll"):
            assert float(shared[column]) == pytest.approx(float(one[column]), rel=1e-4)


@pytest.mark.slow
def test_a_stop_that_reaches_every_process_keeps_a_checkpoint(undisturbed: Path, tmp_path: Path) -> None:
    """As a terminal or a queue sends it. The study goes on to the same bytes."""
    folder = tmp_path / "study"
    process = subprocess.Popen(command(folder, SHARED), stderr=subprocess.DEVNULL, start_new_session=True)
    ranks_of(folder)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(120) == 75
    assert list(folder.glob("cells/*/checkpoint/*.sha256"))
    assert subprocess.run(command(folder, SHARED), capture_output=True).returncode == 0
    assert (folder / "trials.csv").read_bytes() == (undisturbed / "trials.csv").read_bytes()


@pytest.mark.slow
def test_a_lost_process_fails_its_cell_and_leaves_none_behind(undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    process = subprocess.Popen(command(folder, SHARED), stderr=subprocess.PIPE, text=True)
    first, helper = ranks_of(folder)
    os.kill(helper, signal.SIGKILL)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "cell separable failed" in said
    assert not Path(f"/proc/{first}").exists()
    assert subprocess.run(command(folder, SHARED), capture_output=True).returncode == 0
    assert (folder / "trials.csv").read_bytes() == (undisturbed / "trials.csv").read_bytes()


COMPANY = """
import json, os, pathlib, time
from dsresearch import ranks

def idle(thread):
    try:
        return os.sched_getscheduler(thread) == os.SCHED_IDLE
    except ProcessLookupError:  # it ended since it was listed
        return False

def found(pid):
    for _ in range(600):  # another rank may still be on its way when rank 0 is ready
        threads = [int(entry.name) for entry in pathlib.Path(f"/proc/{pid}/task").iterdir()]
        if any(map(idle, threads)):
            break
        time.sleep(0.1)
    return sorted(os.sched_getaffinity(pid)), sum(map(idle, threads)), idle(pid)

cores = len(os.sched_getaffinity(0))
with ranks.company("dsresearch.bench.share", 2, cores) as company:
    (other,) = company.others
    ranks_found = found(os.getpid()), found(other.pid)
print(json.dumps([cores, ranks_found, len(os.sched_getaffinity(0))]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="cores and scheduling classes are Linux's")
def test_ranks_have_their_own_cores_and_messages_wait_for_the_computation() -> None:
    said = subprocess.run([sys.executable, "-c", COMPANY], capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr
    cores, found, after = json.loads(said.stdout.splitlines()[-1])
    assert after == cores  # given back at the end
    for _, idle, computes in found:
        assert idle == 1  # gloo's thread
        assert not computes
    mine, others = found[0][0], found[1][0]
    if cores % 2 == 0:
        assert not set(mine) & set(others)
        assert len(mine) == len(others) == cores // 2
