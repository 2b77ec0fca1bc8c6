"""Every moment at which a store's writes can end: killed, or refused by the disk, before each call that changes a file.

As SQLite's crash and I/O error tests go through all points of an update one by one, where `make torture` draws some at
random. Checkpoints are left out: TensorStore writes them outside of Python's sight.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

POINTS = """
import dataclasses, errno, json, os, shutil, signal, sys
from pathlib import Path
from dsresearch import data
from dsresearch.design import InputError
from dsresearch.studies.plan import Request, plan
from dsresearch.schema import write_atomic
from dsresearch.record.store import Store, write_json

how, begun, root = sys.argv[1], sys.argv[2] == "begun", Path(sys.argv[3])
decided = plan(Request(profile="smoke", setups=("separable",)), data.load("digits"))
CHANGES = {"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.utime"}
left = -1  # calls until the fault, and none below zero

def fault(event, words):
    global left
    writes = event == "open" and words[2] is not None and words[2] & (os.O_WRONLY | os.O_RDWR)
    if left < 0 or not (writes or event in CHANGES) or str(root) not in str(words[0]):
        return
    left -= 1
    if left < 0:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if event != "os.remove":  # what goes needs no room
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

def work(text):
    '''What a launcher and a worker write of a cell, but for the training.'''
    store = Store(root)
    store.prepare(decided)
    cell = store.cell(decided.asked[0])
    with cell.claim() as claim:
        if cell.result() is None:
            cell.begin({"device_kind": "here"})
            write_json(cell.path / "progress.json", {})
            attempt = cell.attempts / str(claim.number)
            try:
                attempt.mkdir(parents=True)
            except OSError as error:
                raise InputError(str(error)) from None
            write_json(attempt / "rows.json", [text])
            claim.check()
            write_json(cell.path / "result.json", {"attempt": claim.number, "rows": [{"said": text}]})
            cell.clear()
    with store.one_at_a_time():
        write_atomic(root / "trials.csv", text.encode() * 1000)

sys.addaudithook(fault)
point = 0
while True:
    shutil.rmtree(root, ignore_errors=True)
    if begun:  # the cell anew, the table there before
        work("old")
        shutil.rmtree(Store(root).cell(decided.asked[0]).path)
    child = os.fork()
    if not child:
        left = point
        try:
            work("new")
        except InputError as error:
            os._exit(2 if "\\n" not in str(error) else 3)
        os._exit(0 if left >= 0 else 4)
    code = os.waitstatus_to_exitcode(os.wait()[1])
    assert code in ({0, -9} if how == "kill" else {0, 2, 4}), (point, code)
    for path in root.rglob("*.json"):
        json.loads(path.read_text())
    table = (root / "trials.csv").read_bytes() if begun or (root / "trials.csv").exists() else b""
    assert table in (b"old" * 1000 if begun else b"", b"new" * 1000), point
    if how != "kill":
        assert not list(root.rglob(".*")), (point, list(root.rglob(".*")))
    work("new")
    cell = Store(root).cell(decided.asked[0])
    assert cell.result()["rows"] == [{"said": "new"}]
    assert (root / "trials.csv").read_bytes() == b"new" * 1000
    left_over = [path for path in (root / "cells").rglob(".*") if not path.name.startswith(".cell.json.")]
    assert not left_over or cell.result()["attempt"] == 1, left_over  # the next attempt removes it, if there is one
    if code == 0:
        break
    point += 1
print(point)
"""


@pytest.mark.parametrize("state", ["begun", "new"])
@pytest.mark.parametrize("how", ["kill", "full disk"])
def test_whatever_call_is_the_last_the_files_are_whole(how: str, state: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", POINTS, how, state, str(tmp_path / "study")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 15  # points that were tried
