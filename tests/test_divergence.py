"""Twins of the baseline: they start where they should, follow their cell's very training, and part as rounding does."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dsresearch import data
from dsresearch.record.store import Store
from dsresearch.studies import TWINS, Cell
from dsresearch.studies.plan import Request, plan
from dsresearch.train import State
from dsresearch.trials import Training, divergence, tree_sha256
from dsresearch.trials.divergence import MARKS, distances, steps_to_compare, trajectory

SMALL = {
    "design.width": [4],
    "recipe.epochs": [1],
    "recipe.augment": ["crop_flip"],
    "protocol.train_pictures": [160],
    "protocol.trials": [1],
}


@pytest.fixture(scope="module")
def cells() -> dict[str, Cell]:
    """The baseline, under '', and its controls: five steps of a narrow network."""
    asked = plan(Request(profile="smoke", choices=SMALL), data.load("digits")).asked
    return {cell.control: cell for cell in asked if cell.role == "baseline" or cell.control}


@pytest.fixture(scope="module")
def rows(cells: dict[str, Cell]) -> list[dict[str, Any]]:
    return list(distances(cells, data.load("digits"), 0))


def of(rows: list[dict[str, Any]], kind: str) -> dict[int, float]:
    return {row["step"]: row["relative_distance"] for row in rows if row["control_kind"] == kind}


def test_every_twin_is_compared_at_every_step_to_the_last(rows: list[dict[str, Any]]) -> None:
    assert {kind: list(of(rows, kind)) for kind in TWINS} == {kind: [0, 1, 2, 3, 4, 5] for kind in TWINS}


def test_twins_start_where_their_control_does(rows: list[dict[str, Any]], cells: dict[str, Cell]) -> None:
    assert of(rows, "exact")[0] == 0.0
    _, state = Training(cells[""], data.load("digits"), Path()).start(0)
    ulp = float(np.spacing(np.asarray(state.params["stem"])[0, 0, 0, 0]))
    norm = math.sqrt(sum(float(np.square(np.float64(leaf)).sum()) for leaf in jax.tree.leaves(state.params)))
    assert of(rows, "bit")[0] == pytest.approx(abs(ulp) / norm, rel=1e-6)
    assert of(rows, "seed")[0] > 0.1


def test_rounding_grows_and_stays_below_another_seed(rows: list[dict[str, Any]]) -> None:
    bit, exact, seed = (of(rows, kind) for kind in TWINS)
    assert bit[0] < bit[5] < seed[5]
    assert exact[5] < 1e-5 < seed[5]


def test_a_trajectory_is_the_cells_own_training_to_the_bit(cells: dict[str, Cell]) -> None:
    training = Training(cells["bit"], data.load("digits"), Path())
    *_, last = trajectory(training, 0, [0, 2, 5])
    trial, state = training.start(0)
    ((_, trained, _),) = training.program.fold(state, trial, training.pictures, range(1))
    assert int(last.step) == 5
    assert tree_sha256(last) == tree_sha256(trained)


def test_weights_that_are_no_longer_finite_have_no_row(cells: dict[str, Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    def exploding(training: Training, trial: int, marks: list[int]) -> Iterator[State]:
        for mark in marks:
            bad = mark > 2 and training.cell.control == "bit"
            yield State({"w": np.array([np.inf if bad else 1.0 + mark])}, {}, (), np.array(mark))

    monkeypatch.setattr(divergence, "trajectory", exploding)
    monkeypatch.setattr(divergence, "transport_network", lambda params, stats, *designs: (params, stats))
    found = list(distances(cells, data.load("digits"), 0))
    assert list(of(found, "bit")) == [0, 1, 2]
    assert list(of(found, "seed")) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("steps", [1, 5, 440, 1000])
def test_steps_rise_from_the_first_to_the_last(steps: int) -> None:
    marks = steps_to_compare(steps)
    assert marks[:2] == [0, 1]
    assert marks[-1] == steps
    assert marks == sorted(set(marks))
    assert len(marks) <= MARKS + 1


def test_trials_that_were_measured_before_a_kill_are_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = plan(Request(profile="smoke", choices=SMALL | {"protocol.trials": [3]}), data.load("digits"))
    store = Store(tmp_path / "study")
    store.prepare(asked)
    measured: list[int] = []

    def measure(cells: dict[str, Cell], pictures: data.Pictures, trial: int) -> Iterator[dict[str, Any]]:
        measured.append(trial)
        if measured == [0, 1]:
            raise KeyboardInterrupt
        yield {"control_kind": "bit", "trial": trial, "step": 0, "relative_distance": 0.1, "param_norm": 1.0}

    monkeypatch.setattr(divergence, "distances", measure)
    with pytest.raises(KeyboardInterrupt):
        divergence.main(store)
    assert not store.divergence_file.exists()
    assert divergence.main(store) == 0
    assert measured == [0, 1, 1, 2]
    assert [line.split(",")[1:3] for line in store.divergence_file.read_text().splitlines()[1:]] == [
        ["bit", "0"], ["bit", "1"], ["bit", "2"]
    ]  # fmt: skip
    assert not store.twins(), "they are in divergence.csv now"
