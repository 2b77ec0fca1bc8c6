"""The optimisers of the Xception paper (section 4.2) and what goes with them, as pure functions of plain numbers.

What the paper leaves open: RMSprop's decay and epsilon are Keras's (0.9 and 1e-7; the paper's rate of 0.001 is Keras's
too), the Polyak decay is TF-slim's 0.9999 with TensorFlow's slower start; weight decay is an L2 term in the gradient of
kernels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

Array = jax.Array
Tree = Any
Schedule = Callable[[Array], Array]

RMSPROP_DECAY = 0.9
RMSPROP_EPSILON = 1e-7
POLYAK_DECAY = 0.9999


def staircase(rate: float, factor: float, every: int) -> Schedule:
    """Learning rate times `factor` after every so many steps, constant between them."""

    def at(step: Array) -> Array:
        falls = (jnp.asarray(step, jnp.int32) // every).astype(jnp.float32)
        return jnp.float32(rate) * jnp.float32(factor) ** falls

    return at


def sgd(schedule: Schedule, momentum: float, decay: float) -> optax.GradientTransformation:
    """SGD with plain (not Nesterov) momentum and weight decay on kernels."""
    return optax.chain(_decayed(decay), optax.sgd(schedule, momentum=momentum))


def rmsprop(schedule: Schedule, momentum: float, decay: float) -> optax.GradientTransformation:
    """RMSprop as in Keras: epsilon under the root, mean squares from 0, the rate within the momentum.

    velocity = momentum velocity + rate g / sqrt(mean of g^2 + epsilon); weights -= velocity.
    """
    return optax.chain(
        _decayed(decay),
        optax.scale_by_rms(RMSPROP_DECAY, RMSPROP_EPSILON, initial_scale=0.0, eps_in_sqrt=True),
        optax.scale_by_learning_rate(schedule),
        optax.trace(momentum),
    )


def _decayed(decay: float) -> optax.GradientTransformation:
    """Adds decay times the weight to the gradient of kernels, which are what has more than one axis."""
    return optax.add_decayed_weights(decay, mask=partial(jax.tree.map, lambda w: w.ndim > 1))


def polyak(average: Tree, latest: Tree, step: Array, decay: float = POLYAK_DECAY) -> Tree:
    """The running average of weights after step number `step` (from 1), to be used in evaluation.

    Exponential, as TensorFlow's ExponentialMovingAverage with its step count: the decay is at most
    (1 + step) / (10 + step), so that the average forgets where training began.
    """
    done = jnp.asarray(step, jnp.float32)
    kept = jnp.minimum(jnp.float32(decay), (1 + done) / (10 + done))
    return jax.tree.map(lambda old, new: old + (1 - kept).astype(old.dtype) * (new - old), average, latest)
