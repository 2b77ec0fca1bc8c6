"""Checkpoints: whole or not there, believed by their hash alone, and what goes on from one is the same to the bit."""

import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dsresearch import data
from dsresearch.checkpoint import Checkpoints
from dsresearch.design import InputError
from dsresearch.ledger import attempt
from dsresearch.studies.plan import Request, plan
from dsresearch.trials import Training, tree_sha256

DIGITS = data.load("digits")
SMOKE = next(iter(plan(Request(profile="smoke"), DIGITS).cells))
EPOCHS = 5
CELL = dataclasses.replace(
    SMOKE,
    recipe=dataclasses.replace(SMOKE.recipe, epochs=EPOCHS),
    protocol=dataclasses.replace(SMOKE.protocol, trials=1),
)


def tree(value: float) -> dict[str, Any]:
    return {"w": np.full((3, 5), value, np.float32), "step": np.array(value, np.int32)}


def filled(folder: Path, *epochs: int) -> Checkpoints:
    folder.parent.mkdir(parents=True, exist_ok=True)
    kept = Checkpoints(folder)
    for epoch in epochs:
        kept.save(0, epoch, tree(epoch))
    return kept


def damage(folder: Path) -> None:
    """One bit of its largest file."""
    path = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(found)


def newest(kept: Checkpoints) -> int | None:
    found = kept.newest(0, tree(0))
    if found is not None:
        np.testing.assert_array_equal(found[1]["w"], tree(found[0])["w"])
    return found and found[0]


def test_the_two_newest_are_kept_with_hashes_that_sha256sum_checks(tmp_path: Path) -> None:
    kept = filled(tmp_path / "checkpoint", 1, 2, 3)
    names = ["000000-000002", "000000-000002.sha256", "000000-000003", "000000-000003.sha256"]
    assert sorted(path.name for path in kept.folder.iterdir()) == names
    checked = ["sha256sum", "--check", "--strict", "--quiet", names[1], names[3]]
    assert subprocess.run(checked, cwd=kept.folder, check=False).returncode == 0
    assert newest(kept) == 3


def test_one_wrong_bit_falls_back_and_two_start_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = filled(tmp_path / "checkpoint", 1, 2)
    damage(kept.folder / "000000-000002")
    assert newest(kept) == 1
    assert "warning: checkpoint 000000-000002 is damaged" in capsys.readouterr().err
    kept.save(0, 2, tree(2))  # going on from 1, it comes by 2 again
    assert newest(kept) == 2
    for name in ("000000-000001", "000000-000002"):
        damage(kept.folder / name)
    assert newest(kept) is None
    assert "no checkpoint of block 0 is whole, its trials start again" in capsys.readouterr().err


def test_of_the_processes_that_share_a_cell_one_removes_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = filled(tmp_path / "checkpoint", 1, 2)
    damage(kept.folder / "000000-000002")
    before = sorted(kept.folder.rglob("*"))
    with monkeypatch.context() as here:
        here.setattr("jax.process_index", lambda: 1)
        assert newest(kept) == 1
    assert sorted(kept.folder.rglob("*")) == before
    assert "damaged" not in capsys.readouterr().err
    assert newest(kept) == 1
    assert len(list(kept.folder.iterdir())) == 2


def test_what_another_process_removes_meanwhile_is_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = filled(tmp_path / "checkpoint", 1, 2)
    found = kept._kept()
    monkeypatch.setattr(kept, "_kept", lambda: found)
    found[-1].with_suffix(".sha256").unlink()
    assert newest(kept) == 1


@pytest.mark.parametrize("how", ["missing file", "further file", "list of another", "empty list"])
def test_what_the_list_does_not_say_is_damage(how: str, tmp_path: Path) -> None:
    kept = filled(tmp_path / "checkpoint", 1, 2)
    path = kept.folder / "000000-000002"
    if how == "missing file":
        next(path.rglob("manifest.ocdbt")).unlink()
    elif how == "further file":
        (path / "more").write_text("more")
    else:
        text = "" if how == "empty list" else (kept.folder / "000000-000001.sha256").read_text()
        path.with_suffix(".sha256").write_text(text)
    assert newest(kept) == 1


def test_what_goes_wrong_with_a_whole_checkpoint_does_not_cost_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little memory for it now may be enough the next time."""
    kept = filled(tmp_path / "checkpoint", 1, 2)
    with monkeypatch.context() as here:
        here.setattr("orbax.checkpoint.StandardCheckpointer.restore", _no_memory)
        with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
            newest(kept)
    assert newest(kept) == 2


def _no_memory(*_: Any, **__: Any) -> None:
    raise RuntimeError("RESOURCE_EXHAUSTED")


def test_a_block_that_is_trained_again_keeps_its_own_beside_a_later_ones(tmp_path: Path) -> None:
    """As where the finished trials of a first block were damaged when a second had begun."""
    kept = filled(tmp_path / "checkpoint", 5)
    for epoch in (1, 2):
        kept.save(1, epoch, tree(epoch))
    assert newest(kept) is None, "a later block takes the place of an earlier one's"
    for epoch in (3, 4, 5):
        kept.save(0, epoch, tree(epoch))
    assert newest(kept) == 5
    found = kept.newest(1, tree(0))
    assert found is not None
    assert found[0] == 2


def test_a_kill_in_the_middle_of_saving_leaves_the_one_before(tmp_path: Path) -> None:
    """Under Orbax's own name for what is unfinished, and under the last name, before its list was written."""
    kept = filled(tmp_path / "checkpoint", 1, 2)
    shutil.copytree(kept.folder / "000000-000002", kept.folder / "000000-000003")
    shutil.copytree(kept.folder / "000000-000002", kept.folder / "000000-000004.orbax-checkpoint-tmp")
    assert newest(kept) == 2
    kept.save(0, 3, tree(3))
    assert newest(kept) == 3
    assert len(list(kept.folder.iterdir())) == 4


def test_a_checkpoint_that_cannot_be_written_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = filled(tmp_path / "cell" / "checkpoint", 1)
    monkeypatch.setattr("dsresearch.checkpoint.write_atomic", _full_disk)
    with pytest.raises(InputError, match="No space left on device") as told:
        kept.save(0, 2, tree(2))
    assert "\n" not in str(told.value)
    assert sorted(path.name for path in kept.folder.iterdir()) == ["000000-000001", "000000-000001.sha256"]
    shutil.rmtree(tmp_path / "cell")
    with pytest.raises(InputError, match="vanished"):
        kept.save(0, 3, tree(3))
    assert not (tmp_path / "cell").exists()


def _full_disk(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_going_on_from_any_epoch_is_the_continuation_of_the_same_run(tmp_path: Path) -> None:
    """Parameters, statistics, optimiser, keys and curve, against the run that the checkpoints were taken from."""
    straight, states, curves = Training(CELL, DIGITS, tmp_path / "straight"), {}, {}
    for epoch in straight:
        straight.keep()
        block = straight._block
        assert block is not None
        states[epoch.done] = tree_sha256(block.state)
        curves[epoch.done] = tree_sha256(block.curve)
        shutil.copytree(straight.folder / "checkpoint", tmp_path / f"at{epoch.done}" / "checkpoint")
    keys = [jax.random.key_data(key) for key in straight.start(0)[0][2:]]
    for begun in range(1, EPOCHS + 1):
        resumed = Training(CELL, DIGITS, tmp_path / f"at{begun}")
        resumed.__dict__["program"] = straight.program  # compiled once; test_run goes on in a process of its own
        for epoch in resumed:
            block = resumed._block
            assert block is not None
            assert tree_sha256(block.state) == states[epoch.done]
            assert tree_sha256(block.curve) == curves[epoch.done]
        assert resumed.resumed_from == begun
        assert resumed.results[0].row == straight.results[0].row
        for name, values in resumed.results[0].curve.items():
            np.testing.assert_array_equal(values, straight.results[0].curve[name])
        again = [jax.random.key_data(key) for key in resumed.start(0)[0][2:]]
        assert all(np.array_equal(one, other) for one, other in zip(keys, again, strict=True))


def test_a_damaged_finished_trial_is_trained_again_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "0.npz").write_bytes(b"PK damaged")
    assert Training(CELL, DIGITS, tmp_path)._finished(range(1)) is None
    assert "the trials 0 to 0 start again" in capsys.readouterr().err


def test_checkpoints_take_three_per_cent_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of 10 s is written every 333 s, one of 0.1 s every 60 s."""
    for seconds, interval in ((0.1, 60.0), (10.0, 333.3)):
        clock = [0.0]

        def keep(clock: list[float] = clock, seconds: float = seconds) -> None:
            clock[0] += seconds

        monkeypatch.setattr(attempt.time, "monotonic", lambda clock=clock: clock[0])
        keeper, kept = attempt.Keeper(keep), []
        keeper.now()
        began = clock[0]
        while not kept:
            clock[0] += 0.1
            before = keeper.seconds
            keeper.if_due()
            kept += [clock[0] - seconds - began] if keeper.seconds > before else []
        assert kept[0] == pytest.approx(interval, abs=0.2)
