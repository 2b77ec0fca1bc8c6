"""What a benchmark's peer is held against: the losses of our program step after step, and the weights it began from.

Ours is what is measured: `run_epoch` as a whole. With one step an epoch over one batch its row holds that step's loss,
and the order of the pictures does not matter.
"""

import dataclasses
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from dsresearch.bench import layers
from dsresearch.bench.cases import Case, Network, every_setup
from dsresearch.bench.ours import program_of
from dsresearch.bench.pictures import pictures_of
from dsresearch.design import Recipe
from dsresearch.train import Pictures, Trial

STEPS = 4
SMALL = Network(width=8, depth=1, image=8, batch=16, steps=1)


class Fast(Case):
    """A case whose schedule reaches its peak within the steps that are compared."""

    @property
    def recipe(self) -> Recipe:
        return dataclasses.replace(super().recipe, epochs=10)


CASES = [Fast(**dataclasses.asdict(of)) for of in every_setup(SMALL)]


def label(of: Case) -> str:
    return f"{of.setup}-{of.groups}"


@lru_cache
def ours(of: Case) -> tuple[tuple[float, ...], layers.Weights]:
    """Our losses on the case's batch, without augmentation, and the weights that they begin from."""
    program = dataclasses.replace(program_of(of), augmentation="none")
    params, stats = program.run_draw(jax.random.key(1), (of.image, of.image, of.channels))
    weights = layers.weights(of.design, of.image, params)
    images, labels = pictures_of(of)
    everything = jnp.arange(len(labels), dtype=jnp.int32)
    trial = Trial(everything, everything[:1], jax.random.key(2), jax.random.key(3))
    pictures = Pictures(jnp.asarray(images), jnp.asarray(labels))
    state = program.initial(params, stats)
    rows = [row for _, _, row in program.fold(state, trial, pictures, range(STEPS))]
    return tuple(float(row.train_loss) for row in rows), weights


def assert_close(found: list[float], of: Case) -> None:
    """A peer's losses from our weights are ours."""
    wanted, _ = ours(of)
    assert np.ptp(wanted) > 0.02  # the weights did move
    np.testing.assert_allclose(found, wanted, rtol=2e-4)
