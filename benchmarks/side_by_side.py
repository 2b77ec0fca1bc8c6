"""Steps per second of two arms of a study, side by side in one process: whole epochs of training, taking turns.

    python benchmarks/side_by_side.py xception xception_imagenet inception_v3_imagenet --profile quick --rounds 5
    python benchmarks/side_by_side.py darknet darknet19 darknet19_separable --profile cpu --data cifar10-jpeg

An epoch is of `--pictures` training pictures, what a cell of the study runs but for one test picture in the place of
all, by the kernels of the profile (`protocol.kernels`). Printed as JSON: steps and pictures a second of each arm
(median over the rounds, by the wall clock and by the processor's own, which other processes disturb less), and the
first arm's steps over the second's, of each round.
"""

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

from one_core import keep, seconds, taking_turns, times_as_fast

from dsresearch import data, runtime
from dsresearch.studies import Cell
from dsresearch.studies.plan import Request, plan


class Side:
    """One arm, compiled, with the state of a trial of its own.

    Attributes:
        own: seconds of the processor of every epoch so far.
    """

    def __init__(self, cell: Cell, pictures: data.Pictures, train: int) -> None:
        from dsresearch.trials import Training

        self.arm, self.recipe, self.own = cell.arm, cell.recipe, list[float]()
        self.training = Training(cell, pictures, Path())
        trial, self.state = self.training.start(0)
        self.trial = trial._replace(train=trial.train[:train], test=trial.test[:1])
        self.program = dataclasses.replace(self.training.program, n_train=len(self.trial.train))
        self.network = cell.columns.get("network")  # none where the arm is a design of the study's stack
        self.params = sum(leaf.size for leaf in _leaves(self.state.params))

    def epoch(self) -> None:
        """Train an epoch and wait for its end."""
        import jax

        began = time.process_time()
        fold = self.program.fold(self.state, self.trial, self.training.pictures, range(1))
        self.state = jax.block_until_ready(next(fold)[1])
        self.own.append(time.process_time() - began)

    def row(self, first_epoch_s: float, steps: list[float]) -> dict[str, Any]:
        """What the file has of the arm: `steps` are seconds of a step in every turn, the last epochs' of this side."""
        step, own = statistics.median(steps), statistics.median(self.own[-len(steps) :]) / self.program.steps_an_epoch
        return {
            "arm": self.arm,
            "network": self.network,
            "params": self.params,
            "batch": self.recipe.batch,
            "steps_per_s": 1 / step,
            "images_per_s": self.recipe.batch / step,
            "steps_per_cpu_s": 1 / own,
            "first_epoch_s": first_epoch_s,
        }


def _leaves(tree: Any) -> list[Any]:
    import jax

    return jax.tree.leaves(tree)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("arms", nargs=2)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--pictures", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--to", type=Path, help="keep the JSON in this file")
    words = parser.parse_args()
    pictures = data.load(words.data)
    asked = [Request(study=words.study, profile=words.profile, setups=(arm,)) for arm in words.arms]
    cells = [plan(request, pictures).asked[0] for request in asked]
    kernels = cells[0].protocol.kernels  # of the profile, so of both
    runtime.prepare(threads=1, kernels=kernels)
    named = {name: Side(cell, pictures, words.pictures) for name, cell in zip(("one", "other"), cells, strict=True)}
    first = [seconds(side.epoch) for side in named.values()]  # compiles
    times = taking_turns({name: side.epoch for name, side in named.items()}, words.rounds)
    steps = [[epoch / side.program.steps_an_epoch for epoch in times[name]] for name, side in named.items()]
    ratio, least, most = times_as_fast(*steps)
    found = {
        "command": "python benchmarks/side_by_side.py "
        f"{words.study} {' '.join(words.arms)} --profile {words.profile} --data {words.data} "
        f"--pictures {words.pictures} --rounds {words.rounds}",
        "machine": {"cpu": runtime.processor(), "threads": 1},
        "kernels": kernels,
        "rows": [side.row(*own) for side, own in zip(named.values(), zip(first, steps, strict=True), strict=True)],
        "ratio_steps": ratio,
        "ratio_steps_min": least,
        "ratio_steps_max": most,
    }
    print(json.dumps(found, indent=1))
    if words.to:
        keep(words.to, found)


if __name__ == "__main__":
    main()
