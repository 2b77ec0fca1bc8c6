"""A recipe's optimiser and learning rate, and the average of the weights that is evaluated: pure functions.

What the Xception paper (section 4.2) leaves open: RMSprop's decay and epsilon are Keras's (0.9 and 1e-7; the paper's
rate of 0.001 is Keras's too), and the average starts as slowly as TensorFlow's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dsresearch.design import Recipe

Array = jax.Array
Tree = Any
Schedule = Callable[[Array], Array]

RMSPROP_DECAY = 0.9
RMSPROP_EPSILON = 1e-7


def optimiser_of(recipe: Recipe, schedule: Schedule) -> optax.GradientTransformation:
    """A recipe's optimiser; weight decay is an L2 term in the gradient of the weights that have more than one axis.

    Those are the kernels and, as an exception, PReLU's slopes [H, W, C]: committed rows were trained so.

    `rmsprop` is Keras's, with epsilon under the root and the rate within the momentum:
    velocity = momentum velocity + rate g / sqrt(mean of g^2 + epsilon); weights -= velocity.
    """
    inner = {
        "sgd": partial(optax.sgd, nesterov=True),
        "momentum": optax.sgd,
        "rmsprop": partial(optax.rmsprop, decay=RMSPROP_DECAY, eps=RMSPROP_EPSILON),
    }[recipe.optimiser]
    kernels = partial(jax.tree.map, lambda w: w.ndim > 1)
    decayed = optax.add_decayed_weights(recipe.decay, mask=kernels)
    return optax.chain(decayed, inner(schedule, momentum=recipe.momentum))


def schedule_of(recipe: Recipe, steps_an_epoch: int) -> Schedule:
    """A recipe's learning rate against steps."""
    steps = steps_an_epoch * recipe.epochs
    if recipe.schedule == "constant":
        return optax.constant_schedule(recipe.rate)
    if recipe.schedule.startswith("staircase"):
        tread = recipe.every * steps_an_epoch if recipe.schedule == "staircase_epochs" else recipe.every // recipe.batch
        return staircase(recipe.rate, recipe.fall, max(1, tread))
    rise = max(1, round(recipe.warmup * steps))

    def rate(step: Array) -> Array:
        # Written out: optax's joined schedules mix integers and floats, which strict promotion refuses.
        done = jnp.asarray(step, jnp.float32)
        fallen = jnp.clip((done - rise) / max(steps - rise, 1), 0.0, 1.0)
        return recipe.rate * jnp.minimum((done + 1) / rise, 0.5 * (1 + jnp.cos(jnp.pi * fallen)))

    return rate


def staircase(rate: float, factor: float, every: int) -> Schedule:
    """Learning rate times `factor` after every so many steps, constant between them."""

    def at(step: Array) -> Array:
        falls = (jnp.asarray(step, jnp.int32) // every).astype(jnp.float32)
        return jnp.float32(rate) * jnp.float32(factor) ** falls

    return at


def polyak(average: Tree, latest: Tree, step: Array, decay: float) -> Tree:
    """The running average of weights after step number `step` (from 1), to be used in evaluation.

    Exponential, as TensorFlow's ExponentialMovingAverage with its step count: the decay is at most
    (1 + step) / (10 + step), so that the average forgets where training began.
    """
    done = jnp.asarray(step, jnp.float32)
    kept = jnp.minimum(jnp.float32(decay), (1 + done) / (10 + done))
    return jax.tree.map(lambda old, new: old + (1 - kept).astype(old.dtype) * (new - old), average, latest)
