"""Where a trial starts: common random numbers, initial weights by the kind of control, results that survive a kill."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dsresearch import data
from dsresearch.studies import Cell
from dsresearch.studies.plan import Request, plan
from dsresearch.trials import Result, Training, seeds_of, tree_sha256

DIGITS = data.load("digits")
CELLS = {(cell.arm, cell.control): cell for cell in plan(Request(profile="smoke"), DIGITS).cells}
BASELINE = CELLS["separable", ""]


@pytest.fixture(scope="module")
def sequential(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """The baseline's trials, trained one after another."""
    return trained(BASELINE, tmp_path_factory.mktemp("sequential"))


def trained(cell: Cell, folder: Path) -> list[Result]:
    """What is recorded of a cell's trials, after an epoch said for each block of them."""
    training = Training(cell, DIGITS, folder)
    assert sum(len(epoch.trials) for epoch in training) == training.total
    return training.results


def start(cell: Cell, tmp_path: Path, trial: int = 0) -> Any:
    return Training(cell, DIGITS, tmp_path).start(trial)


def test_all_arms_share_a_trials_split_order_and_augmentation_seeds() -> None:
    for cell in CELLS.values():
        if not cell.control:
            assert seeds_of(cell, 3) == seeds_of(BASELINE, 3)
    assert len({seeds_of(BASELINE, trial) for trial in range(50)}) == 50


@pytest.mark.parametrize(
    ("control", "anew"),
    [("rerun", set()), ("bit", set()), ("seed", {"init", "order"}), ("split", {"split"})],
)
def test_a_control_draws_anew_what_it_is_named_for(control: str, anew: set[str]) -> None:
    own, base = seeds_of(CELLS["separable", control], 1), seeds_of(BASELINE, 1)
    assert {name for name in own._fields if getattr(own, name) != getattr(base, name)} == anew


def test_identical_functions_start_apart_and_rerun_starts_together(tmp_path: Path) -> None:
    starts = {name: start(CELLS[name], tmp_path)[1].params for name in CELLS if name[1] in ("", "rerun")}
    hashes = {name: tree_sha256(jax.tree.leaves(params)) for name, params in starts.items()}
    assert hashes["separable", ""] == hashes["separable", "rerun"]
    stems = {name: np.asarray(params["stem"])[0, 0, 0, 0] for name, params in starts.items() if not name[1]}
    assert len(set(stems.values())) == len(stems)  # separable, separable_strict and hybrid among them


def test_bit_moves_one_weight_by_one_ulp(tmp_path: Path) -> None:
    base = jax.tree.leaves(start(BASELINE, tmp_path)[1].params)
    moved = jax.tree.leaves(start(CELLS["separable", "bit"], tmp_path)[1].params)
    pairs = [
        (float(a), float(b))
        for x, y in zip(base, moved, strict=True)
        for a, b in zip(x.ravel(), y.ravel(), strict=True)
    ]
    different = [(a, b) for a, b in pairs if a != b]
    assert len(different) == 1
    a, b = different[0]
    assert np.nextafter(np.float32(a), np.float32(np.inf)) == np.float32(b)


def test_exact_is_the_baseline_in_other_clothes(tmp_path: Path) -> None:
    exact = CELLS["separable_strict", "exact"]
    ours, base = Training(exact, DIGITS, tmp_path), Training(BASELINE, DIGITS, tmp_path)
    (_, one), (_, other) = ours.start(0), base.start(0)
    images = ours.pictures.images[:50]
    np.testing.assert_allclose(
        ours.program.logits(one.params, one.stats, images), base.program.logits(other.params, other.stats, images),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip
    assert jax.tree.structure(one.params) != jax.tree.structure(other.params)


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    result = Result(
        {"trial": 1, "test_wrong": 3, "test_nll": None, "status": "diverged"},
        {"train_loss": np.array([1.0, np.nan], np.float32)},
        {"pred": np.array([1, 2], np.uint8)},
    )
    result.save(tmp_path / "1.npz")
    back = Result.load(tmp_path / "1.npz")
    assert back.row == result.row
    np.testing.assert_array_equal(back.curve["train_loss"], result.curve["train_loss"])
    assert back.predictions["pred"].dtype == np.uint8
    (tmp_path / "1.npz").write_bytes((tmp_path / "1.npz").read_bytes()[:-40])
    with pytest.raises(ValueError, match="damaged"):
        Result.load(tmp_path / "1.npz")


def test_a_diverged_model_is_recorded_with_its_predictions(tmp_path: Path) -> None:
    """A rate far too large: the loss is no number, the predictions count as they are."""
    recipe = dataclasses.replace(BASELINE.recipe, rate=1e3, schedule="constant", epochs=2)
    protocol = dataclasses.replace(BASELINE.protocol, trials=1)
    training = Training(dataclasses.replace(BASELINE, recipe=recipe, protocol=protocol), DIGITS, tmp_path)
    for epoch in training:
        if epoch.done == 1:  # BatchNorm keeps even this rate finite: what a real divergence leaves is put in by hand
            block = training._block
            assert block is not None
            block.curve.train_loss[0] = np.nan
    row = training.results[0].row
    assert row["status"] == "diverged"
    assert row["train_loss"] is None
    assert row["test_nll"] is None
    assert row["test_wrong"] == int(
        (training.results[0].predictions["pred"] != training.results[0].predictions["label"]).sum()
    )


def test_a_trial_in_a_cell_of_its_own_is_the_trial_among_others(sequential: list[Result], tmp_path: Path) -> None:
    short = plan(Request(profile="smoke", choices={"protocol.trials_per_cell": [1]}), DIGITS).cells
    alone = next(cell for cell in short if (cell.arm, cell.control, cell.first) == ("separable", "", 1))
    own = trained(alone, tmp_path)
    assert [result.row["trial"] for result in own] == [1]
    assert own[0].row == sequential[1].row  # its hashes of weights and predictions too


def test_each_trial_of_a_program_is_recorded_with_what_is_its_own(sequential: list[Result], tmp_path: Path) -> None:
    """One that got another's curve, weights or predictions would be a row that looks like any other."""
    protocol = dataclasses.replace(BASELINE.protocol, trial_batch=2)
    results = trained(dataclasses.replace(BASELINE, protocol=protocol), tmp_path)
    assert [result.row["trial"] for result in results] == [0, 1]
    for result, alone in zip(results, sequential, strict=True):
        predictions = result.predictions
        assert result.row["test_wrong"] == (predictions["pred"] != predictions["label"]).sum()
        assert result.row["init_sha256"] == alone.row["init_sha256"]
        assert result.row["split_sha256"] == alone.row["split_sha256"]
        assert result.row["train_wrong"] == pytest.approx(alone.row["train_wrong"], abs=3)  # other last digits
    assert len({result.row["params_sha256"] for result in results}) == 2
