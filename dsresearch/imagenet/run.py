"""The loop of an ImageNet-sized run: batches from the stream through every network, checkpoints, curve, evaluation.

A folder holds the run: `settings.json`, `checkpoint/`, `curve.csv` (a row a network and step) and, at the end,
`result.json`. A stopped run goes on bit for bit: a checkpoint has the states and the stream's position.
"""

import csv
import dataclasses
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsresearch.checkpoint import Checkpoints
from dsresearch.data.listing import Listing, listed
from dsresearch.data.stream import Stream, Workers, evaluation
from dsresearch.design import InputError
from dsresearch.imagenet.program import Program, State
from dsresearch.imagenet.settings import Settings
from dsresearch.schema import write_atomic
from dsresearch.statistics.ranking import mean_average_precision, top_k_wrong

COLUMNS = ("network", "step", "rate", "loss", "wrong", "seconds", "waited")
EVALUATION_BATCH = 32
CHANGEABLE = ("steps", "test_pictures", "top", "checkpoint_seconds")  # settings that no step depends on
Row = dict[str, Any]


class Run:
    """A run in its folder, as an iterator over the rows of its curve; between two of them it can be kept.

    Args:
        settings: of the run.
        folder: of the pictures.
        out: where the run is kept.
        workers: who decodes; never changes a bit.

    Raises:
        InputError: the folders are not as they must be, or `out` holds a run of other settings or pictures.
    """

    def __init__(self, settings: Settings, folder: Path, out: Path, workers: Workers) -> None:
        self.settings, self.out, self.workers = settings, out, workers
        self.listing: Listing = listed(folder)
        if settings.batch > len(self.listing.files["train"]):
            raise InputError(f"batch={settings.batch} is not allowed: there are fewer pictures in train/")
        self._claim()
        pictures, classes = len(self.listing.files["train"]), len(self.listing.classes)
        self.programs = [Program(n, settings.architecture(n, classes), settings, pictures) for n in settings.names]
        self.checkpoints = Checkpoints(out / "checkpoint")
        self.rows: list[Row] = []
        self.states: list[State] = []

    def __iter__(self) -> Iterator[Row]:
        done = self._begin()
        stream = Stream(
            self.listing,
            side=self.settings.image,
            batch=self.settings.batch,
            seed=self.settings.seed,
            position=done,
            workers=self.workers,
        )
        try:
            for step in range(done, self.settings.steps):
                yield from self._step(step, stream)
        finally:
            stream.close()

    def _begin(self) -> int:
        """Load the newest checkpoint, or draw initial weights; gives the number of steps done."""
        self.states = [program.initial() for program in self.programs]
        kept = self.checkpoints.newest(0, self._tree(0))
        if kept is None:
            return 0
        self.states = [State(*state) for state in kept[1]["states"]]
        done = int(kept[1]["position"])
        self.rows = [row for row in _read_curve(self.out / "curve.csv") if row["step"] <= done]
        return done

    def _step(self, step: int, stream: Stream) -> Iterator[Row]:
        asked = time.perf_counter()
        batch = next(stream)
        images, targets = jnp.asarray(batch.images), jnp.asarray(batch.targets)
        waited = time.perf_counter() - asked
        order = range(len(self.programs)) if step % 2 == 0 else reversed(range(len(self.programs)))
        for i in order:
            began = time.perf_counter()
            self.states[i], measured = self.programs[i].run_step(self.states[i], images, targets)
            rate, loss, wrong = jax.device_get(measured)
            row = {
                "network": self.programs[i].name,
                "step": step + 1,
                "rate": float(rate),
                "loss": float(loss),
                "wrong": int(wrong),
                "seconds": round(time.perf_counter() - began, 4),
                "waited": round(waited, 4),
            }
            self.rows.append(row)
            yield row

    @property
    def done(self) -> int:
        """Steps that every network has done."""
        return min((int(state.step) for state in self.states), default=0)

    def keep(self) -> None:
        """Write a checkpoint and the curve so far; only where all networks have done equally many steps."""
        if len({int(state.step) for state in self.states}) == 1:
            write_atomic(self.out / "curve.csv", _csv(self.rows))
            self.checkpoints.save(0, self.done, self._tree(self.done))

    def evaluate(self, said: Callable[[str], None]) -> list[dict[str, Any]]:
        """For every network the test pictures, scored by the averaged weights and by the last ones."""
        results = []
        for program, state in zip(self.programs, self.states, strict=True):
            said(f"evaluating {program.name}")
            scores: dict[str, list[np.ndarray]] = {"average": [], "last": []}
            targets = []
            for batch, count in evaluation(
                self.listing,
                side=self.settings.image,
                batch=EVALUATION_BATCH,
                pictures=self.settings.test_pictures,
                workers=self.workers,
            ):
                for which, weights in (("average", state.average), ("last", state.weights)):
                    logits = program.run_scores(weights, jnp.asarray(batch.images))
                    scores[which].append(np.asarray(logits)[:count])
                targets.append(batch.targets[:count])
            truth = np.concatenate(targets)
            row = {"network": program.name, "test_pictures": len(truth)}
            for which, parts in scores.items():
                row |= {f"{name}_{which}": value for name, value in self._score(np.concatenate(parts), truth).items()}
            results.append(row)
        return results

    def _score(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, float | int]:
        if truth.ndim == 1:
            return {f"top{k}_wrong": top_k_wrong(scores, truth, k) for k in (1, 5)}
        # A class weighs as much as it is common among the training pictures (the paper's scores were never published).
        weights = self.listing.targets("train").mean(0)
        return {f"map{self.settings.top}": mean_average_precision(scores, truth, self.settings.top, weights)}

    def _tree(self, position: int) -> dict[str, Any]:
        return {"states": list(self.states), "position": jnp.asarray(position, jnp.int32)}

    def _claim(self) -> None:
        """Say in the folder whose it is, or find that it is another run's."""
        own = {key: value for key, value in dataclasses.asdict(self.settings).items() if key not in CHANGEABLE}
        own["pictures"] = self.listing.fingerprint
        path = self.out / "settings.json"
        if path.exists():
            kept: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for key in sorted(own.keys() | kept.keys()):
                if own.get(key) != kept.get(key):
                    raise InputError(
                        f"out={str(self.out)!r} is not allowed: it holds a run with {key}={kept.get(key)!r}, "
                        f"not {own.get(key)!r}"
                    )
        else:
            write_atomic(path, (json.dumps(own, indent=1, sort_keys=True) + "\n").encode())


def _csv(rows: list[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: (row["network"], row["step"])))
    return text.getvalue().encode()


def _read_curve(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        kinds = {"network": str, "step": int, "wrong": int}
        return [{key: kinds.get(key, float)(value) for key, value in row.items()} for row in csv.DictReader(file)]
