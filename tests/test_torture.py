"""The short form of `make torture`: a study of one cell, killed once in each phase, ends with the same files.

And the table of what is the same to the bit, whose command is tried whole among the slow tests.
"""

import csv
import random
from pathlib import Path

import pandas as pd
import pytest
from torture.torment import PHASES, Torment, differing, due_phases

from dsresearch import determinism
from dsresearch.design import InputError
from dsresearch.report.table_facts import PROMISES
from dsresearch.schema import determinism_rows

SMALL = ("run", "hybrid", "--profile", "smoke", "--setup", "separable", "--trials", "3")


def test_a_study_killed_in_every_phase_ends_with_the_same_files(tmp_path: Path) -> None:
    torment = Torment(SMALL, tmp_path, random.Random(0), tmp_path, reported=False)
    folder = tmp_path / "killed" / "study"
    with torment.line:
        straight = torment.straight()
        torment.through(folder, [phase for phase in PHASES if phase != "report"])
    assert len(torment.kills) >= 4
    assert len({kill["hit"] for kill in torment.kills}) >= 3  # which ones, is for the machine's load to say
    assert differing(folder, straight) == []
    assert (folder / "trials.csv").exists()
    (folder / "trials.csv").write_text("another")
    assert differing(folder, straight) == ["trials.csv"]


def test_the_phases_that_lack_kills_come_first() -> None:
    kills = [{"hit": phase} for phase in ("compile", "epoch", "epoch", "between")]
    assert due_phases(kills, 10, 1, ("compile", "epoch", "ledger")) == ["ledger"]
    assert due_phases(kills, 10, 0, ("compile", "epoch")) == ["compile", "epoch"]
    assert due_phases(kills, 4, 1, ("compile", "epoch")) == []


def test_what_counts_as_the_same_to_the_bit() -> None:
    rows = pd.DataFrame(
        {"arm": ["separable"] * 2, "trial": [0, 1], "params_sha256": ["a", "b"], "predictions_sha256": ["c", "d"]}
    )
    assert determinism._same(rows, rows)
    assert determinism._same(rows, rows[:1])  # one trial alone
    assert not determinism._same(rows, rows.assign(predictions_sha256=["c", "e"]))
    assert not determinism._same(rows, rows.assign(arm="hybrid"))


def test_wrong_input_to_the_table_is_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_: Path) -> None:
        raise InputError("data='digits' is not there")

    monkeypatch.setattr(determinism, "checks", refused)
    assert determinism.main([]) == 2
    assert capsys.readouterr().err == "error: data='digits' is not there\n"


COMMITTED = Path(__file__).parents[1] / "results" / "measurements" / "determinism.csv"


@pytest.mark.skipif(not COMMITTED.exists(), reason="not measured on this commit yet")
def test_the_committed_table_of_determinism_has_the_names_that_the_report_knows() -> None:
    found = list(csv.DictReader(COMMITTED.read_text(encoding="utf-8").splitlines()))
    assert {row["invariance"] for row in found} == set(PROMISES) - {"exact formulation, float64"}
    assert {row["passed"] for row in found} == {"true"}
    assert len(determinism_rows(COMMITTED)) == len(found)


@pytest.mark.slow
def test_everything_that_is_promised_to_the_bit_holds_here(tmp_path: Path) -> None:
    assert determinism.main(["--to", str(tmp_path / "determinism.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "determinism.csv").read_text(encoding="utf-8").splitlines()))
    assert len({row["sha256"] for row in rows[:-1]}) == 1  # but for the trials in one program, another execution mode
