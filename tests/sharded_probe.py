"""One epoch on eight CPU devices and on one, in a process of its own: what `test_sharding` compares, as JSON.

python tests/sharded_probe.py batch SETUP | trials SETUP | dropped LAYER
"""

import json
import os
import sys

from dsresearch.runtime import environment

os.environ.update(environment(threads=8, devices=8))

import jax
import jax.numpy as jnp
import numpy as np

from dsresearch.design import Recipe, setup
from dsresearch.networks import layers
from dsresearch.networks.stack import Stack
from dsresearch.operators.shards import BATCH as BATCH_AXIS
from dsresearch.sharding import mesh_of
from dsresearch.train import Pictures, Program, Trial, stacked

TRAIN, TEST, BATCH = 64, 37, 32  # the test pictures do not divide among the devices


def program(name: str, trials: int, devices: int) -> Program:
    """A small network of a setup, its batches augmented."""
    recipe = Recipe(epochs=2, batch=BATCH)
    return Program(Stack(setup(name, width=8, depth=1), 10), recipe, TRAIN, "crop_flip", trials, devices)


def pictures() -> Pictures:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, TRAIN + TEST).astype(np.int32)
    return Pictures(rng.integers(0, 255, (len(labels), 8, 8, 3)).astype(np.uint8), labels)


def starts(one: Program, trials: int) -> list[tuple[Trial, object]]:
    """Trials with splits, keys and weights of their own."""
    made = []
    for number in range(trials):
        order = np.random.default_rng(number).permutation(TRAIN + TEST).astype(np.int32)
        keys = jax.random.key(10 + number), jax.random.key(20 + number)
        trial = Trial(jnp.asarray(order[:TRAIN]), jnp.asarray(order[TRAIN:]), *keys)
        made.append((trial, one.initial(*one.run_draw(jax.random.key(number), (8, 8, 3)))))
    return made


def run(one: Program, begun: list[tuple[Trial, object]]) -> dict[str, list[list[float]]]:
    """An epoch and what is predicted after it; numbers of each trial."""
    trial, state = one.placed(stacked(begun) if one.trial_batch > 1 else begun[0])
    shown = one.everywhere(pictures())
    state, row = one.run_epoch(state, jnp.zeros((), jnp.int32), trial, shown)
    said = one.run_predict(state, trial.test, shown)
    state, row, said = one.at_home((state, row, said))

    def flat(tree: object) -> list[list[float]]:
        leaves = [np.asarray(leaf, np.float64).reshape(one.trial_batch, -1) for leaf in jax.tree.leaves(tree)]
        return np.concatenate(leaves, axis=1).tolist()

    parts = {"weights": state.params, "statistics": state.stats, "momentum": state.optimiser}
    return {name: flat(tree) for name, tree in (parts | {"row": row, "predictions": said}).items()}


def dropped(name: str) -> dict[str, list[list[float]]]:
    """What a layer that drops leaves of a batch on eight devices, and on one."""
    layer, ones, key = getattr(layers, name), jnp.ones((BATCH, 4, 4, 3)), jax.random.key(0)
    mesh, share = mesh_of(8, BATCH_AXIS), jax.P(BATCH_AXIS)
    sharded = jax.jit(
        jax.shard_map(lambda x: layer(x, 0.5, key), mesh=mesh, in_specs=share, out_specs=share, check_vma=False)
    )
    found = {"sharded": sharded(ones), "one": jax.jit(lambda x: layer(x, 0.5, key))(ones)}
    return {where: np.asarray(left, np.float64).reshape(BATCH, -1).tolist() for where, left in found.items()}


def main(kind: str, name: str) -> None:
    """`batch`: eight devices share a batch. `trials`: eight devices have a trial each. `dropped`: of a shared batch."""
    if kind == "dropped":
        print(json.dumps({"devices": len(jax.devices())} | dropped(name)))
        return
    trials = 8 if kind == "trials" else 1
    said = {"devices": len(jax.devices())}
    found = [run(program(name, trials, devices), starts(program(name, 1, 1), trials)) for devices in (8, 1)]
    print(json.dumps(said | {"sharded": found[0], "one": found[1]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
