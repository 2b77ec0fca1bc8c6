"""The training of a cell, epoch by epoch, and what is recorded of its models at the end."""

import hashlib
import math
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dsresearch import data
from dsresearch.checkpoint import Checkpoints
from dsresearch.design import Design
from dsresearch.networks.build import Network
from dsresearch.networks.stack import Stack
from dsresearch.schema import PREDICTION_COLUMNS, narrow
from dsresearch.studies import Cell, network_cost
from dsresearch.train import Pictures, Program, Row, State, Trial, stacked
from dsresearch.trials.result import Result, tree_sha256
from dsresearch.trials.start import enlarged, initial_weights, seeds_of

Tree = Any
_COUNTS = {"step", "train_wrong", "test_wrong"}  # of a row: whole numbers


class Epoch(NamedTuple):
    """What training says after an epoch: the block's trials, epochs done of them, their rows [trials of the block]."""

    trials: range
    done: int
    row: Row


class _Block(NamedTuple):
    """Trials in one program, between two epochs."""

    number: int
    trials: range
    done: int
    state: State
    curve: Row  # [epochs, trials of the block], zeros where it has not come yet


class Training:
    """The training of a cell as an iterator over epochs; between two of them it can be kept, to go on another day.

    Args:
        cell: what to train.
        pictures: its data set.
        folder: where finished trials and checkpoints lie while the cell is unfinished.
    """

    def __init__(self, cell: Cell, pictures: data.Pictures, folder: Path) -> None:
        self.cell, self.source, self.folder = cell, pictures, folder
        folder.mkdir(parents=True, exist_ok=True)  # here alone: a store that vanishes is not made anew
        self.checkpoints = Checkpoints(folder / "checkpoint")
        self.results: list[Result] = []
        self.resumed_from = 0  # epochs of all trials that another attempt had done
        self._block: _Block | None = None

    @cached_property
    def program(self) -> Program:
        """The one compiled program of the cell."""
        train, _ = data.split(self.source, self.cell.protocol, seeds_of(self.cell, 0).split)
        augment = self.cell.recipe.augment
        return Program(
            network=self._network,
            recipe=self.cell.recipe,
            n_train=len(train),
            augmentation=self.source.augmentation if augment == "dataset" else augment,
            trial_batch=self.cell.protocol.trial_batch,
            devices=self.cell.protocol.devices,
        )

    @property
    def _network(self) -> nn.Module:
        design = self.cell.design
        return Stack(design, len(self.source.classes)) if isinstance(design, Design) else Network(design)

    @cached_property
    def pictures(self) -> Pictures:
        """The data set on the device, or on all that share the program, as large as the network wants it."""
        design, images = self.cell.design, self.source.images
        own = images if isinstance(design, Design) else enlarged(images, design.image)
        return self.program.everywhere(Pictures(own, self.source.labels))

    @property
    def total(self) -> int:
        """Epochs of all trials together."""
        return self.cell.recipe.epochs * len(self.cell.trials)

    def __iter__(self) -> Iterator[Epoch]:
        size = self.cell.protocol.trial_batch
        for number, first in enumerate(self.cell.trials[::size]):
            trials = range(first, first + size)
            finished = self._finished(trials)
            if finished is None:
                yield from self._train(number, trials)
            else:
                self.results += finished
                self.resumed_from += self.cell.recipe.epochs * size

    def keep(self) -> None:
        """Write a checkpoint of the block in training."""
        if self._block is not None:
            state = {"state": self.program.at_home(self._block.state), "curve": self._block.curve}
            self.checkpoints.save(self._block.number, self._block.done, state)

    def _train(self, number: int, trials: range) -> Iterator[Epoch]:
        starts = [self.start(trial) for trial in trials]
        side_by_side = stacked if self.program.trial_batch > 1 else (lambda trees: trees[0])
        trial, state = self.program.placed(side_by_side(starts))
        initial = [tree_sha256(start.params) for _, start in starts]
        epochs = self.cell.recipe.epochs
        shape = (epochs,) if self.program.trial_batch == 1 else (epochs, len(trials))
        curve = Row(*(np.zeros(shape, np.int32 if name in _COUNTS else np.float32) for name in Row._fields))
        begun = self.checkpoints.newest(number, {"state": self.program.at_home(state), "curve": curve})
        done = 0
        if begun is not None:
            done, kept = begun
            state, curve = self.program.placed(kept["state"]), Row(*(np.array(values) for values in kept["curve"]))
            self.resumed_from += done * len(trials)
        for epoch, now, row in self.program.fold(state, trial, self.pictures, range(done, epochs)):
            state = now
            for values, value in zip(curve, row, strict=True):
                values[epoch] = np.asarray(value)
            self._block = _Block(number, trials, epoch + 1, state, curve)
            yield Epoch(trials, epoch + 1, Row(*(np.atleast_1d(np.asarray(value)) for value in row)))
        self.results += self._conclude(trials, trial, state, curve, initial)
        self._block = None

    def start(self, trial: int) -> tuple[Trial, State]:
        """A trial's pictures and keys, and its state before the first step."""
        seeds = seeds_of(self.cell, trial)
        train, test = data.split(self.source, self.cell.protocol, seeds.split)
        keys = jax.random.key(seeds.order), jax.random.key(seeds.augment)
        shape = self.pictures.images.shape
        weights = initial_weights(self.cell, self.program, seeds, (shape[1], shape[2], shape[3]))
        return Trial(jnp.asarray(train), jnp.asarray(test), *keys), self.program.initial(*weights)

    def _conclude(self, trials: range, trial: Trial, state: State, curve: Row, initial: list[str]) -> list[Result]:
        """What is recorded of each trial of a finished block; kept at once: the next block may be interrupted."""
        predictions = self.program.run_predict(state, trial.test, self.pictures)
        train_wrong, _ = self.program.run_score(state, trial.train, self.pictures)
        trial, state, predictions, train_wrong = self.program.at_home((trial, state, predictions, train_wrong))
        results = []
        for place, number in enumerate(trials):
            alone = self.program.trial_batch == 1

            def own(tree: Tree, place: int = place, alone: bool = alone) -> Tree:
                return tree if alone else jax.tree.map(lambda leaf: leaf[place], tree)

            own_curve = {name: values if alone else values[:, place] for name, values in curve._asdict().items()}
            model = _Model(own(trial), own(state), own(predictions), int(own(train_wrong)), initial[place])
            result = self._result(number, model, own_curve)
            if jax.process_index() == 0:  # of the processes that share a cell, one writes
                result.save(self._kept(number))
            results.append(result)
        return results

    def _result(self, number: int, model: "_Model", curve: dict[str, np.ndarray]) -> Result:
        seeds = seeds_of(self.cell, number)
        test = np.asarray(model.trial.test)
        train_loss, test_nll = curve["train_loss"][-1], curve["test_nll"][-1]
        # A loss that was not a number once makes the weights so: the outcome is recorded, never dropped.
        diverged = not (np.isfinite(curve["train_loss"]).all() and math.isfinite(test_nll))
        predicted = narrow(PREDICTION_COLUMNS["pred"], np.asarray(model.predictions.predicted))
        row = {
            "trial": number,
            "split_seed": seeds.split,
            "init_seed": seeds.init,
            "order_seed": seeds.order,
            "aug_seed": seeds.augment,
            "bit_flip": int(self.cell.control == "bit"),
            "transport": "baseline" if self.cell.control == "exact" else "none",
            "n_train": len(model.trial.train),
            "n_test": len(test),
            "steps": int(model.state.step),
            "params": sum(leaf.size for leaf in jax.tree.leaves(model.state.params)),
            "stats": sum(leaf.size for leaf in jax.tree.leaves(model.state.stats)),
            "macs_fwd": network_cost(self.cell.design, self.source).macs,
            "test_wrong": int(curve["test_wrong"][-1]),
            "test_nll": None if diverged else _number(test_nll),
            "train_wrong": model.train_wrong,
            "train_loss": None if diverged else _number(train_loss),
            "status": "diverged" if diverged else "ok",
            "split_sha256": hashlib.sha256(np.asarray(model.trial.train).tobytes() + test.tobytes()).hexdigest(),
            "init_sha256": model.initial,
            "params_sha256": tree_sha256(self.program.evaluated(model.state)),
            "predictions_sha256": hashlib.sha256(predicted.tobytes()).hexdigest(),
        }
        predictions = {
            "image_id": test,
            "label": self.source.labels[test],
            "pred": predicted,
            "p_true": np.asarray(model.predictions.p_true).astype(np.float16),
            "margin": np.asarray(model.predictions.margin).astype(np.float16),
        }
        return Result(row, curve, predictions)

    def _finished(self, trials: range) -> list[Result] | None:
        """The block's results where an earlier attempt finished all of it."""
        try:
            return [Result.load(self._kept(trial)) for trial in trials]
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            print(f"warning: {error}; the trials {trials[0]} to {trials[-1]} start again", file=sys.stderr)
            return None

    def _kept(self, trial: int) -> Path:
        return self.folder / "trials" / f"{trial}.npz"


class _Model(NamedTuple):
    """One trained model of a block, still on the device."""

    trial: Trial
    state: State
    predictions: Any
    train_wrong: int
    initial: str


def _number(value: Any) -> float | None:
    """A finite float for a record, or None: a diverged model has no loss."""
    return float(value) if math.isfinite(value) else None
