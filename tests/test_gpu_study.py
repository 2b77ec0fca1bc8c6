"""`benchmarks/gpu_study.sh`: what it asks for, in which order, what it leaves behind; with a stand-in for Python."""

import io
import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu_study.sh"

# Says what it was asked; leaves a finished cell and one of 20 MiB that is not; is stopped at the $ENDS_AT-th study.
PYTHON = """#!/usr/bin/env bash
[ "$1" = - ] && exit 0
[ "$1" = -c ] && echo "restore $3" >> asked.txt && exit 0
shift 2
echo "$*" >> asked.txt
[ "$1" = run ] || exit 0
folder=$(sed 's/.*--out \\([^ ]*\\).*/\\1/' <<< "$*")
mkdir -p "$folder"/cells/{done,begun}/checkpoint "$folder/logs"
echo done >> "$folder/trials.csv"
echo {} > "$folder/cells/done/result.json"
mkdir -p "$folder/cells/unwritten"
echo {} > "$folder/cells/unwritten/result.json"
cat "$folder/cells/begun/checkpoint/weights" > before.txt 2> /dev/null
head -c 20971520 /dev/zero > "$folder/cells/begun/checkpoint/weights"
for epoch in 4 5; do
    mkdir -p "$folder/cells/begun/checkpoint/000000-00000$epoch"
    echo $epoch > "$folder/cells/begun/checkpoint/000000-00000$epoch/epoch"
    touch "$folder/cells/begun/checkpoint/000000-00000$epoch.sha256"
done
if [ -n "$STOPPED_AFTER" ]; then # half a second for the epoch to end, once it is asked to stop
    trap 'sleep 0.5; echo kept > "$folder/cells/begun/checkpoint/kept"; exit $STOPPED_AFTER' TERM
    touch trains.txt
    while true; do sleep 0.1; done
fi
[ "$(grep -c '^run' asked.txt)" -lt "$ENDS_AT" ] || exit 75
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "benchmarks" / SCRIPT.name).write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    python = tmp_path / "python"
    python.write_text(PYTHON, encoding="utf-8")
    python.chmod(0o755)
    return tmp_path


def trained(checkout: Path, *words: str, ends_at: int = 99, **environment: str) -> tuple[int, list[str]]:
    """Exit status of a slice, and what it asked of Python."""
    asked = checkout / "asked.txt"
    asked.unlink(missing_ok=True)
    named = {"PYTHON": str(checkout / "python"), "ENDS_AT": str(ends_at), "STOPPED_AFTER": "", **environment}
    done = subprocess.run(
        ["bash", f"benchmarks/{SCRIPT.name}", *words], cwd=checkout, env={**os.environ, **named}, check=False
    )
    return done.returncode, asked.read_text(encoding="utf-8").splitlines() if asked.exists() else []


def test_the_papers_setups_come_first_then_the_rest_then_the_matched_arms(checkout: Path) -> None:
    status, asked = trained(checkout, "--minutes", "5")
    studies = [line.split() for line in asked]
    assert status == 0
    assert [(words[1], words[words.index("--profile") + 1]) for words in studies] == [
        *[("hybrid", "paper")] * 4, ("hybrid", "confirm"), ("continuum", "paper")
    ]  # fmt: skip
    assert [words.count("--setup") for words in studies] == [6, 0, 0, 0, 0, 9]
    assert [words[words.index("--match") + 1] for words in studies if "--match" in words] == ["params", "macs"]
    assert len({words[words.index("--out") + 1] for words in studies}) == 3
    assert all("recipe.dtype=bfloat16" in words and "protocol.trial_batch=5" in words for words in studies)


def test_a_slice_ends_with_the_study_that_was_stopped_and_the_next_goes_on_from_its_files(checkout: Path) -> None:
    (checkout / "results" / "another" / "cells").mkdir(parents=True)
    status, asked = trained(checkout, "--tiny", ends_at=2, DATA="digits")
    assert (status, len(asked)) == (75, 2)
    study, other = checkout / "results" / "hybrid-digits-smoke", checkout / "results" / "another" / "cells"
    assert other.is_dir(), "what was not sliced is not packed"
    with tarfile.open(fileobj=io.BytesIO(b"".join(part.read_bytes() for part in sorted(study.glob("unf*"))))) as tar:
        kept = {name for name in tar.getnames() if name.endswith(("weights", "result.json", "epoch"))}
    newest = "cells/begun/checkpoint/000000-000005/epoch"
    assert kept == {"cells/begun/checkpoint/weights", newest, "cells/unwritten/result.json"}, "done is in trials.csv"
    left = sorted(path.name for path in study.iterdir())
    assert [name.rsplit(".", 2)[1:] for name in left[1:]] == [["tar", "aa"], ["tar", "ab"]], "parts of 15 MiB"
    assert left[0] == "trials.csv"
    (study / "unfinished.1.tar.aa").write_bytes(b"older: what an earlier slice had left")
    (study / "unfinished.1.tar.ac").write_bytes(b"and a part more than the newest has")
    status, asked = trained(checkout, "--tiny", ends_at=1, DATA="digits")
    assert asked[0] == "restore results/hybrid-digits-smoke", "the finished cells come from the files"
    assert (checkout / "before.txt").stat().st_size == 20 * 2**20, "the unfinished one from its parts"


def test_another_folder_gets_the_files_in_a_few_parts(checkout: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, _ = trained(checkout, "--tiny", ends_at=1, DATA="digits", OUT=str(out))
    assert status == 75
    assert not list((checkout / "results").iterdir())
    parts = sorted(out.iterdir())
    assert [part.name for part in parts] == ["slice.tar.aa", "slice.tar.ab"]
    whole = tmp_path / "whole.tar"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    with tarfile.open(whole) as tar:
        names = [name.removeprefix("./") for name in tar.getnames()]
    assert names[0] == "hybrid-digits-smoke/trials.csv"
    last = names[-2:]
    assert [name.rsplit(".", 1)[1] for name in last] == ["aa", "ab"], "what is unfinished comes last"
    assert not [name for name in names if "cells" in name]


def test_a_wrong_word_and_no_time_ask_for_nothing(checkout: Path) -> None:
    assert trained(checkout, "--fast") == (2, [])
    _, asked = trained(checkout, "--tiny", ends_at=1, PICTURES="pictures.tar")
    assert asked[0] == "data import pictures.tar --name cifar10-jpeg"
    assert "--data cifar10-jpeg " in asked[1]
    assert trained(checkout, "--minutes", "0") == (75, [])


@pytest.mark.parametrize(("how", "status"), [("signal", "75"), ("signal", "0"), ("minutes", "75")])
def test_a_slice_that_is_stopped_packs_when_nothing_writes_any_more(checkout: Path, how: str, status: str) -> None:
    """Whoever lends the machine stops the script; what trains gets its time to keep a checkpoint, or to be done."""
    minutes = "0.4" if how == "minutes" else "5"  # of which 20 s go to none
    named = {"PYTHON": str(checkout / "python"), "ENDS_AT": "99", "STOPPED_AFTER": status, "DATA": "digits"}
    script = subprocess.Popen(
        ["bash", f"benchmarks/{SCRIPT.name}", "--tiny", "--minutes", minutes], cwd=checkout, env={**os.environ, **named}
    )
    deadline = time.monotonic() + 60
    while not (checkout / "trains.txt").exists():
        assert script.poll() is None, "it ended before it trained"
        assert time.monotonic() < deadline, "it does not begin to train"
        time.sleep(0.05)
    if how == "signal":
        script.terminate()
    assert script.wait(timeout=60) == 75
    study = checkout / "results" / "hybrid-digits-smoke"
    with tarfile.open(fileobj=io.BytesIO(b"".join(part.read_bytes() for part in sorted(study.glob("unf*"))))) as tar:
        assert "cells/begun/checkpoint/kept" in tar.getnames()
    assert not (study / "cells").exists()
    assert (checkout / "asked.txt").read_text().count("run ") == 1, "nothing more is begun"
