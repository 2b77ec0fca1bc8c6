"""What stays the same to the bit, tried here and now: `python -m dsresearch.determinism --to determinism.csv`.

The baseline and the candidate are trained on the digits at profile `smoke`, by two workers; then again in fresh
processes by one worker in the other order, which three rows rest on; then the baseline from a checkpoint, as one trial
alone, and without evaluation. A row passes where the weights and the predictions of every trial have the same sha256.
Trials side by side in one program are another execution mode with other bits: there the row passes where `compare`
refuses the pair.

The report prints the file as T10 where it lies in a study's folder; the hash is that of the final weights of trial 0.
"""

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dsresearch import data, runtime
from dsresearch.compare import compare, read
from dsresearch.design import InputError
from dsresearch.launch import Launcher
from dsresearch.record.store import Store
from dsresearch.schema import DETERMINISM_COLUMNS, read_runs, read_trials, write_csv
from dsresearch.studies import PROFILES, Plan
from dsresearch.studies.plan import Request, plan

ARMS = ("separable", "hybrid")
TRIALS, EPOCHS = 3, int(PROFILES["smoke"]["recipe"]["epochs"])


@dataclass(frozen=True)
class Trainer:
    """Trains small studies in folders of `scratch`, which share one proof of exactness."""

    scratch: Path

    def asked(self, setups: Sequence[str], trials: int = TRIALS, trial_batch: int = 1) -> Plan:
        choices = {"protocol.trials": [trials], "protocol.trial_batch": [trial_batch]}
        return plan(Request("hybrid", "smoke", tuple(setups), choices=choices), data.load("digits"))

    def trained(self, name: str, asked: Plan, workers: int = 1) -> pd.DataFrame:
        """The rows of a study that is trained to its end. Raises RuntimeError where a cell fails."""
        store = self.store(name, asked)
        said = io.StringIO()
        if Launcher(asked, store, workers, said).run() != runtime.DONE:
            raise RuntimeError(f"the study {name!r} was not trained to its end: {said.getvalue().splitlines()[-1]}")
        proof = self.scratch / "exactness.json"
        if store.exactness_file.exists() and not proof.exists():
            shutil.copy(store.exactness_file, proof)
        return read_trials(store.root / "trials.csv")

    def store(self, name: str, asked: Plan) -> Store:
        store = Store(self.scratch / name)
        store.prepare(asked)
        if (self.scratch / "exactness.json").exists():
            shutil.copy(self.scratch / "exactness.json", store.exactness_file)
        return store


def checks(scratch: Path) -> Iterator[dict[str, Any]]:
    """The rows of determinism.csv, each as soon as it is known."""
    trainer = Trainer(scratch)
    both, alone = trainer.asked(ARMS), trainer.asked(ARMS[:1])
    reference = trainer.trained("reference", both, workers=2)
    turned = trainer.trained("turned", replace(both, asked=both.asked[::-1]), workers=1)

    def row(invariance: str, other: pd.DataFrame) -> dict[str, Any]:
        return _row(invariance, _same(reference, other), other)

    for invariance in ("rerun in a fresh process", "order of the cells", "number of workers"):
        yield row(invariance, turned)
    yield row("resume from a checkpoint", _resumed(trainer, alone))
    yield row("one trial alone or among others", trainer.trained("one", trainer.asked(ARMS[:1], trials=1)))
    yield row("evaluation on or off", _without_evaluation(alone, reference))
    together = trainer.trained("together", trainer.asked(ARMS[:1], trial_batch=TRIALS))
    yield _row("trials in one program", _refused(scratch / "together", scratch / "reference"), together)


def _same(reference: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether every trained model of `other` has the weights and predictions of its namesake."""
    pairs = other.merge(reference, on=["arm", "trial"], suffixes=("", "_ref"), validate="one_to_one")
    hashes = [name for name in ("params_sha256", "predictions_sha256") if name in other]
    return len(pairs) == len(other) > 0 and all((pairs[name] == pairs[f"{name}_ref"]).all() for name in hashes)


def _row(invariance: str, passed: bool, rows: pd.DataFrame) -> dict[str, Any]:
    first = rows[(rows["arm"] == ARMS[0]) & (rows["trial"] == 0)].iloc[0]
    return {
        "invariance": invariance,
        "passed": passed,
        "sha256": first["params_sha256"],
        "device": first["device_kind"],
    }


def _resumed(trainer: Trainer, asked: Plan) -> pd.DataFrame:
    """A study that stopped between two epochs of its second trial, and went on in another process."""
    from dsresearch.trials import Training

    store = trainer.store("resumed", asked)
    training = Training(asked.asked[0], asked.pictures, store.cell(asked.asked[0]).path)
    for epoch in training:
        if epoch.trials.start == 1 and epoch.done == EPOCHS // 2:
            training.keep()
            break
    rows = trainer.trained("resumed", asked)
    begun = read_runs(store.root / "runs.csv")["resumed_from_epoch"].max()
    if begun != EPOCHS + EPOCHS // 2:
        raise RuntimeError(f"the study went on from epoch {begun} instead of {EPOCHS + EPOCHS // 2}")
    return rows


def _without_evaluation(asked: Plan, reference: pd.DataFrame) -> pd.DataFrame:
    """The baseline trained without a look at the test pictures: the compiler drops what nobody asks for."""
    import jax
    import jax.numpy as jnp

    from dsresearch.train import Pictures, State, Trial
    from dsresearch.trials import Training, tree_sha256

    training = Training(asked.asked[0], asked.pictures, Path())
    program, pictures = training.program, training.pictures

    def blind(state: State, epoch: jax.Array, trial: Trial, pictures: Pictures) -> State:
        return program.epoch(state, epoch, trial, pictures)[0]

    run: Callable[..., State] = jax.jit(blind)
    rows = reference[reference["arm"] == ARMS[0]].copy()
    hashes = []
    for number in rows["trial"]:
        trial, state = training.start(int(number))
        for epoch in range(EPOCHS):
            state = run(state, jnp.asarray(epoch, jnp.int32), trial, pictures)
        hashes.append(tree_sha256((state.params, state.stats)))
    return rows.assign(params_sha256=hashes)


def _refused(one: Path, other: Path) -> bool:
    """Whether a pair of two execution modes is refused for that reason."""
    rows = read(one, other)
    try:
        compare(rows, f"{one.name}/{ARMS[0]}", f"{other.name}/{ARMS[1]}")
    except InputError as error:
        return "other execution mode" in str(error)
    return False


def main(words: Sequence[str] | None = None) -> int:
    """Print the table, and write it where --to says; gives 1 where a row fails and 2 where the input is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m dsresearch.determinism", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--to", type=Path, metavar="FILE", help="where to write it as CSV")
    to = parser.parse_args(words).to
    runtime.prepare(threads=1)
    try:
        return _tried(to)
    except InputError as error:
        return runtime.complain(str(error))


def _tried(to: Path | None) -> int:
    """Try every row, print it, and write all."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for row in checks(Path(scratch)):
            rows.append(row)
            print(f"{row['invariance']:<34} {'pass' if row['passed'] else 'FAIL'}  {row['sha256'][:12]}", flush=True)
    if to is not None:
        write_csv(to, rows, DETERMINISM_COLUMNS)
    return runtime.DONE if all(row["passed"] for row in rows) else runtime.FAILED


if __name__ == "__main__":
    sys.exit(main())
