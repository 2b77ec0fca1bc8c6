"""Steps per second of two arms of a study, side by side in one process: whole epochs of training, taking turns.

    python benchmarks/side_by_side.py xception xception_imagenet inception_v3_imagenet --profile quick --rounds 5
    python benchmarks/side_by_side.py darknet darknet19 darknet19_separable --profile cpu --data cifar10-jpeg

An epoch is of `--pictures` training pictures, what a cell of the study runs but for one test picture in the place of
all. Printed as JSON: steps and pictures a second of each arm (median over the rounds, by the wall clock and by the
processor's own, which other processes disturb less), and the first arm's steps over the second's, of each round.
"""

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

from dsresearch import data, runtime
from dsresearch.studies.plan import Request, plan


class Side:
    """One arm, compiled, with the state of a trial of its own."""

    def __init__(self, study: str, arm: str, words: argparse.Namespace, pictures: data.Pictures) -> None:
        from dsresearch.trials import Training

        cell = plan(Request(study=study, profile=words.profile, setups=(arm,)), pictures).asked[0]
        self.arm, self.recipe = arm, cell.recipe
        self.training = Training(cell, pictures, Path())
        trial, self.state = self.training.start(0)
        self.trial = trial._replace(train=trial.train[: words.pictures], test=trial.test[:1])
        self.program = dataclasses.replace(self.training.program, n_train=len(self.trial.train))
        self.cost = cell.columns["network"], sum(leaf.size for leaf in _leaves(self.state.params))

    def epoch(self) -> tuple[float, float]:
        """Seconds of an epoch, of the wall clock and of the processor."""
        import jax

        wall, own = time.perf_counter(), time.process_time()
        fold = self.program.fold(self.state, self.trial, self.training.pictures, range(1))
        self.state = jax.block_until_ready(next(fold)[1])
        return time.perf_counter() - wall, time.process_time() - own


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
    runtime.prepare(threads=1)
    pictures = data.load(words.data)
    sides = [Side(words.study, arm, words, pictures) for arm in words.arms]
    first = [side.epoch() for side in sides]  # compiles
    rounds = [[side.epoch() for side in sides] for _ in range(words.rounds)]
    rows = []
    for place, side in enumerate(sides):
        steps = side.program.steps_an_epoch
        wall, own = (statistics.median(turn[place][clock] for turn in rounds) for clock in (0, 1))
        row = {"arm": side.arm, "network": side.cost[0], "params": side.cost[1], "batch": side.recipe.batch}
        row |= {"steps_per_s": steps / wall, "images_per_s": steps * side.recipe.batch / wall}
        row |= {"steps_per_cpu_s": steps / own, "first_epoch_s": first[place][0]}
        rows.append(row)
    one, two = (side.program.steps_an_epoch for side in sides)
    ratios = sorted((one / turn[0][0]) / (two / turn[1][0]) for turn in rounds)
    found = {
        "command": "python benchmarks/side_by_side.py "
        f"{words.study} {' '.join(words.arms)} --profile {words.profile} --data {words.data} "
        f"--pictures {words.pictures} --rounds {words.rounds}",
        "machine": {"cpu": runtime.processor(), "threads": 1},
        "rows": rows,
        "ratio_steps": statistics.median(ratios),
        "ratio_steps_min": ratios[0],
        "ratio_steps_max": ratios[-1],
    }
    text = json.dumps(found, indent=1)
    print(text)
    if words.to:
        words.to.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
