"""The product from the outside: a study from nothing to its table, killed, started twice, poisoned, fed nonsense."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dsresearch.again import _bit_floor

ROOT = Path(__file__).parents[1]


def dsresearch(*words: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dsresearch", *words],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def rows(folder: Path, name: str = "trials.csv") -> list[dict[str, str]]:
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole hybrid study at `smoke`, run once."""
    folder = tmp_path_factory.mktemp("studies") / "smoke"
    done = dsresearch("run", "hybrid", "--profile", "smoke", "--out", str(folder))
    assert done.returncode == 0, done.stderr
    assert "13 of 13 cells" in done.stderr
    return folder


def test_every_arm_and_control_has_its_rows(study: Path) -> None:
    found = {(row["arm"], row["control_kind"]) for row in rows(study)}
    assert len(rows(study)) == 26
    assert {kind for _, kind in found} == {"", "rerun", "bit", "exact", "seed", "split"}
    assert {row["exec_mode"] for row in rows(study)} == {"sequential"}
    classes = {row["arm"]: row["eq_class"] for row in rows(study)}
    assert classes["hybrid"] == classes["separable_strict"] == "exact"
    assert classes["inception"] == classes["resnext"] == classes["hybrid_learned"] == "distinct"


def test_a_study_goes_on_from_its_exported_files_alone(study: Path, tmp_path: Path) -> None:
    """As from a checkout: the files without the cells are enough to know what is done, and give the same bytes."""
    alone = tmp_path / "alone"
    shutil.copytree(study, alone, ignore=shutil.ignore_patterns("cells", "logs", "sources"))
    before = contents(alone)
    assert "13 done" in dsresearch("status", str(alone)).stdout
    again = dsresearch("run", "hybrid", "--profile", "smoke", "--out", str(alone))
    assert again.returncode == 0, again.stderr
    after = contents(alone)
    assert {name: after[name] for name in before} == before
    assert {name for name in after if not name.startswith(("cells/", "logs/", "sources/"))} == set(before)
    assert not any(name.endswith("checkpoint") or "/attempts/2/" in name for name in after)  # nothing was trained


def test_a_cell_trained_again_is_the_studys_to_the_bit(study: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(study, alone, ignore=shutil.ignore_patterns("cells", "logs", "sources"))
    cell = next(row["cell_id"] for row in rows(alone) if row["control_kind"] == "bit")  # its program was the baseline's
    before = contents(alone)
    again = dsresearch("again", str(alone), "--cell", cell)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("the same to the bit") == 2
    assert contents(alone) == before
    text = (alone / "trials.csv").read_text(encoding="utf-8")
    stored = next(row["params_sha256"] for row in rows(alone) if row["cell_id"] == cell)
    (alone / "trials.csv").write_text(text.replace(stored, "0" * 64), encoding="utf-8")
    poisoned = dsresearch("again", str(alone), "--cell", cell)
    assert poisoned.returncode == 1
    assert "differs" in poisoned.stdout


def test_a_cell_that_is_trained_again_and_stopped_leaves_nothing(study: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dsresearch", "again", str(study), "--seed", "1"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        _wait_for(lambda: list(tmp_path.glob("*/study/log.txt")))
    finally:
        process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert not _training(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("cells.json", b"{", b"[", "cells.json cannot be read"),
        ("runs.csv", b"COMPLETED", b"KILLED", "has no completed run of cell"),
        ("epochs.parquet", b"PAR1", b"PAR2", "epochs.parquet: not a Parquet file"),
    ],
)
def test_damaged_exported_files_make_no_cells(
    study: Path, tmp_path: Path, name: str, old: bytes, new: bytes, said: str
) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(study, alone, ignore=shutil.ignore_patterns("cells", "logs", "sources"))
    (alone / name).write_bytes((alone / name).read_bytes().replace(old, new))
    before = contents(alone)
    refused = dsresearch("run", "hybrid", "--profile", "smoke", "--out", str(alone))
    assert refused.returncode == 2
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert contents(alone) == before


def test_cells_of_one_program_compile_it_once_and_rerun_anew(study: Path) -> None:
    cells = {(row["arm"], row["control_kind"]): row["cell_id"] for row in rows(study)}
    told = {name: (study / f"cells/{cell}/attempts/1/info.json").read_text() for name, cell in cells.items()}
    info = {name: json.loads(text) for name, text in told.items()}
    for control in ("bit", "seed", "split"):
        assert info["separable", control]["programs_taken"] >= 20
        assert info["separable", control]["programs_compiled"] <= 2  # what moves a weight by one ulp, for `bit`
    assert info["separable", "rerun"]["programs_taken"] == 0
    assert info["separable_strict", "exact"]["programs_compiled"] < info["separable", "rerun"]["programs_compiled"]


def test_rerun_in_a_fresh_process_is_the_baseline_to_the_bit(study: Path) -> None:
    by_kind = {(row["control_kind"], row["trial"]): row for row in rows(study) if row["arm"] == "separable"}
    for trial in ("0", "1"):
        base, rerun = by_kind["", trial], by_kind["rerun", trial]
        for name in ("init_sha256", "params_sha256", "predictions_sha256", "test_wrong", "test_nll", "split_sha256"):
            assert base[name] == rerun[name]
        assert base["cell_id"] != rerun["cell_id"]
        assert by_kind["bit", trial]["params_sha256"] != base["params_sha256"]
        assert by_kind["split", trial]["split_sha256"] != base["split_sha256"]
        assert by_kind["seed", trial]["init_sha256"] != base["init_sha256"]


def test_the_twins_way_apart_is_measured(study: Path) -> None:
    found = rows(study, "divergence.csv")
    assert {(row["control_kind"], row["trial"]) for row in found} == {
        (kind, trial) for kind in ("bit", "exact", "seed") for trial in ("0", "1")
    }
    assert {row["step"] for row in found} >= {"0", "1", "16"}
    assert all(
        float(row["relative_distance"]) < 1e-6 for row in found if row["step"] == "0" and row["control_kind"] != "seed"
    )


@pytest.mark.slow
def test_a_lost_measurement_of_the_twins_is_made_again_to_the_same_bytes(study: Path) -> None:
    before = contents(study)
    (study / "divergence.csv").unlink()
    again = dsresearch("run", "hybrid", "--profile", "smoke", "--out", str(study))
    assert again.returncode == 0, again.stderr
    assert contents(study) == before


def test_running_again_changes_nothing(study: Path) -> None:
    before = contents(study)
    again = dsresearch("run", "hybrid", "--profile", "smoke", "--out", str(study))
    assert again.returncode == 0
    assert contents(study) == before


def test_the_report_needs_no_jax_and_gives_the_papers_table(study: Path, tmp_path: Path) -> None:
    (tmp_path / "jax.py").write_text("raise ImportError('the report may not import jax')")
    done = dsresearch("report", str(study), "--to", str(tmp_path / "out"), PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "out", "tables/table4.csv")
    assert [row["setup"] for row in table][:6] == [
        "separable", "inception", "resnext", "inception_reformulated", "separable_strict", "hybrid",
    ]  # fmt: skip
    assert {"rerun", "bit", "exact", "seed", "split"} <= {row["setup"] for row in table}
    assert "INCOMPLETE" in done.stdout  # two trials are no study


def test_status_tells_every_cell(study: Path) -> None:
    lines = dsresearch("status", str(study)).stdout.splitlines()
    assert len(lines) == 14
    assert all(line.startswith("done") for line in lines[:-1])
    assert lines[-1] == "hybrid-digits-smoke: 13 done"


def test_a_dry_run_tells_the_plan_and_what_is_done(study: Path, tmp_path: Path) -> None:
    told = dsresearch("run", "hybrid", "--profile", "smoke", "--out", str(study), "--dry-run").stdout
    assert "13 cells, 26 models, 13,312 training images; missing: 0 models, 0 training images" in told
    new = tmp_path / "new"
    grid = tmp_path / "grid.toml"
    grid.write_text('setup = "grouped"\n[design]\ngroups = [1, 2, 4]\nresidual = [true, false]\n')
    words = ("run", "hybrid", "--profile", "smoke", "--out", str(new), "--dry-run")
    told = dsresearch(*words, "design.groups=1,2,4", "design.residual=true,false").stdout
    assert "6 cells, 12 models, 6,144 training images; missing: 12 models" in told
    assert dsresearch(*words, "--grid", str(grid)).stdout == told
    assert not new.exists()


def test_a_grid_is_compared_with_a_baseline_that_is_run_into_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    run = ("run", "hybrid", "--profile", "smoke", "--out", str(folder))
    assert dsresearch(*run, "--setup", "grouped", "design.groups=2").returncode == 0
    assert "no baseline" in dsresearch("report", str(folder)).stdout
    wider = dsresearch(*run, "--setup", "separable", "design.width=16")
    assert wider.returncode == 0  # an arm of another name: a point of the grid too
    assert dsresearch(*run, "--setup", "separable").returncode == 0
    done = dsresearch("report", str(folder))
    assert done.returncode == 0, done.stderr
    table = {row["setup"]: row for row in rows(folder, "tables/comparisons.csv")}
    wrong = {
        arm: [int(row["test_wrong"]) for row in rows(folder) if row["arm"] == arm]
        for arm in ("separable", "grouped:groups=2")
    }
    differences = [a - b for a, b in zip(wrong["grouped:groups=2"], wrong["separable"], strict=True)]
    assert float(table["grouped:groups=2"]["mean_diff_pp"]) == pytest.approx(sum(differences) / len(differences))


POISON = """
import sys
import jax.numpy as jnp
from dsresearch.trials import training

honest = training.initial_weights
def poisoned(cell, *rest):
    params, stats = honest(cell, *rest)
    return ({**params, "stem": params["stem"].at[0, 0, 0, 0].add(1e-3)} if cell.control == "rerun" else params), stats
training.initial_weights = poisoned
from dsresearch.cli import main
sys.exit(main(["worker", "cell", *sys.argv[1:]]))
"""


def test_one_poisoned_weight_makes_the_study_invalid(study: Path, tmp_path: Path) -> None:
    poisoned = tmp_path / "poisoned"
    shutil.copytree(study, poisoned)
    cell = next(row["cell_id"] for row in rows(poisoned) if row["control_kind"] == "rerun")
    (poisoned / "cells" / cell / "result.json").unlink()
    command = [sys.executable, "-c", POISON, str(poisoned), cell]
    trained = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stderr
    again = dsresearch("run", "hybrid", "--profile", "smoke", "--out", str(poisoned))
    assert again.returncode == 0, again.stderr
    judged = dsresearch("report", str(poisoned))
    assert judged.returncode == 1
    assert "INVALID" in judged.stdout
    assert json.loads((poisoned / "verdict.json").read_text())


LONG = (
    "run",
    "hybrid",
    "--profile",
    "smoke",
    "--setup",
    "separable",
    "recipe.epochs=60",
    "protocol.train_pictures=640",
)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study long enough to be stopped, which nobody stopped."""
    folder = tmp_path_factory.mktemp("studies") / "straight"
    done = dsresearch(*LONG, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_study_goes_on_to_the_same_bytes(how: signal.Signals, straight: Path, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    command = [sys.executable, "-m", "dsresearch", *LONG, "--out", str(stopped)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: list(stopped.glob("cells/*/progress.json")) or list(stopped.glob("cells/*/trials/*")))
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    _wait_for(lambda: not _training(stopped))  # a cell ends with its parent, however that ended
    assert not list(stopped.glob("cells/*/result.json")), "it was done before it could be stopped"
    if how == signal.SIGTERM:
        assert process.returncode == 75
        assert "stopping: cells that train end their epoch" in said
        assert "goes on from there" in said
        assert list(stopped.glob("cells/*/checkpoint/*")) or list(stopped.glob("cells/*/trials/*"))
    again = dsresearch(*LONG, "--out", str(stopped))
    assert again.returncode == 0, again.stderr
    for name in ("trials.csv", "epochs.parquet", "predictions.parquet", "protocol.toml"):
        assert (stopped / name).read_bytes() == (straight / name).read_bytes(), name
    attempts = rows(stopped, "runs.csv")
    assert [row["status"] for row in attempts][-1] == "COMPLETED"
    assert len(attempts) == 2
    if how == signal.SIGTERM:
        assert int(attempts[-1]["resumed_from_epoch"]) > 0


def _wait_for(condition: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _training(folder: Path) -> bool:
    """Whether a process works on a cell of the store."""
    wanted = f"worker\0cell\0{folder}".encode()
    return any(wanted in _words(process) for process in Path("/proc").glob("[0-9]*"))


def _words(process: Path) -> bytes:
    """A process's command line; nothing of one that ended meanwhile."""
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "hybird"), "study='hybird' is not known, allowed: hybrid, "),
        (("run", "hybrid", "--profile", "ful"), "did you mean 'full'?"),
        (("run", "hybrid", "--data", "cifar"), "data='cifar' is not there, allowed: digits, cifar10"),
        (("run", "hybrid", "--setup", "resnetx"), "did you mean 'resnext'?"),
        (("run", "hybrid", "--trials", "0"), "trials=0 is not allowed: a whole number from 1"),
        (("run", "hybrid", "--trials", "-2"), "trials=-2 is not allowed"),
        (("run", "hybrid", "--trials", "two"), "argument --trials: invalid int value: 'two'"),
        (("run", "hybrid", "--workers", "0"), "--workers=0 is not allowed"),
        (("run", "hybrid", "--setup", "grouped", "design.groups=3"), "does not divide the 16 input channels"),
        (("run", "hybrid", "design.grops=3"), "did you mean 'design.groups'?"),
        (("run", "hybrid", "seed=3"), "did you mean 'protocol.seed'?"),
        (("run", "hybrid", "--seed", "3"), "settings are KEY=VALUE, such as protocol.seed=3; `dsresearch run --help`"),
        (("run", "hybrid", "design.width=8", "design.width=16"), "design.width was given before"),
        (("run", "hybrid", "design.width="), "design.width= has no value"),
        (("run", "hybrid", "protocol.test_pictures=1795"), "protocol.test_pictures=1795 is not allowed"),
        (("run", "hybrid", "--grid", "/nowhere.toml"), "--grid=/nowhere.toml cannot be read"),
        (("run", "hybrid", "--profile", "paper"), "profile='paper' is not allowed with data='digits'"),
        (("run", "hybrid", "--wrokers", "2"), "unrecognized argument"),
        (("report", "/nowhere"), "no protocol.toml"),
        (("status", "/nowhere"), "not a study's folder"),
        (("data", "prepare", "mnist"), "name='mnist' is not known, allowed: cifar10"),
        (("nonsense",), "invalid choice: 'nonsense'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_2_and_nothing_written(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = dsresearch(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_another_folder_is_not_touched(study: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("a file")
    smoke = ("run", "hybrid", "--profile", "smoke")
    for words, said in (
        ((*smoke, "--out", str(tmp_path)), "holds other files"),
        ((*smoke, "--out", str(tmp_path / "file")), "is a file"),
        ((*smoke, "--out", str(tmp_path / "file" / "below")), "file"),
        ((*smoke, "--out", "/proc/study"), "cannot be written"),
        ((*smoke, "--out", str(study), "--trials", "3"), "made under another protocol"),
        (("run", "hybrid", "--profile", "quick", "--out", str(study)), "made under another protocol (profile="),
    ):
        before = contents(study)
        done = dsresearch(*words)
        assert done.returncode == 2, (words, done.stderr)
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine.txt"]
        assert contents(study) == before


def test_what_one_ulp_changed_is_told_as_the_difference_of_two_counts() -> None:
    """Two networks that get equally many pictures wrong may get other ones wrong."""
    found = [
        {"control_kind": kind, "role": role, "trial": trial, "test_wrong": wrong[trial]}
        for kind, role, wrong in (("", "baseline", (7, 9)), ("bit", "control", (7, 6)))
        for trial in (0, 1)
    ]
    assert _bit_floor(found) == (
        "one ulp in one weight changed the number of wrong pictures by 0 to 3 in the study's `bit` control"
    )
