"""BatchNorm in three parts: sums over the batch, from them an affine map, and the map with an activation behind it.

The sums are what the batch has to be waited for; the map is applied by whoever reads the pictures next. So everything
from one BatchNorm's map to the next one's sums treats each picture alone (Jung et al. 2019 call it fission), and its
gradient does, too.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dsresearch.operators import shards
from dsresearch.operators.geometry import over_channels, wide_dtype

Array = jax.Array


class Moments(NamedTuple):
    """Sum and sum of squares of each channel [C] over pictures and pixels, in float32 or wider."""

    total: Array
    squares: Array


class Affine(NamedTuple):
    """x * gain + shift, channel by channel [C]."""

    gain: Array
    shift: Array


def moments(x: Array) -> Moments:
    """The sums over all but the last axis."""
    axes, wide = tuple(range(x.ndim - 1)), x.astype(wide_dtype(x.dtype))
    return Moments(wide.sum(axes), (wide * wide).sum(axes))


def add(a: Moments, b: Moments) -> Moments:
    """The sums over both."""
    return Moments(a.total + b.total, a.squares + b.squares)


def statistics(sums: Moments, count: int) -> tuple[Array, Array]:
    """Mean and biased variance of `count` numbers a channel, over all devices where they share a batch."""
    sums, count = shards.total(sums), count * shards.shares()
    mean = sums.total / count
    variance = sums.squares / count - mean * mean
    return mean, jnp.maximum(variance, jnp.zeros((), variance.dtype))


def standardise(mean: Array, variance: Array, scale: Array, offset: Array, epsilon: float) -> Affine:
    """The map to mean `offset` and standard deviation `scale`."""
    gain = lax.rsqrt(variance + epsilon) * scale.astype(variance.dtype)
    return Affine(gain, offset.astype(gain.dtype) - mean * gain)


def activate(x: Array, activation: str) -> Array:
    """`none`, `relu` or `elu`."""
    if activation == "relu":
        return jnp.maximum(x, jnp.zeros((), x.dtype))
    if activation == "elu":
        return jax.nn.elu(x)
    return x


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def apply_affine(x: Array, affine: Affine, activation: str) -> Array:
    """The activation of x * gain + shift, in the dtype of `x`.

    The gradient rule is written out so that `x` alone is kept for it.
    """
    return activate(_mapped(x, affine), activation).astype(x.dtype)


def _mapped(x: Array, affine: Affine) -> Array:
    wide = x.astype(affine.gain.dtype)
    return wide * over_channels(affine.gain, x.ndim) + over_channels(affine.shift, x.ndim)


def _forward(x: Array, affine: Affine, activation: str) -> tuple[Array, tuple[Array, Affine]]:
    return apply_affine(x, affine, activation), (x, affine)


def _backward(activation: str, saved: tuple[Array, Affine], dy: Array) -> tuple[Array, Affine]:
    x, affine = saved
    dz = dy.astype(affine.gain.dtype)
    if activation != "none":
        z = _mapped(x, affine)
        below = jnp.zeros((), z.dtype) if activation == "relu" else jnp.exp(jnp.minimum(z, jnp.zeros((), z.dtype)))
        dz = jnp.where(z > 0, dz, dz * below)
    axes = tuple(range(x.ndim - 1))
    to_map = Affine((dz * x.astype(dz.dtype)).sum(axes), dz.sum(axes))
    return (dz * over_channels(affine.gain, x.ndim)).astype(x.dtype), to_map


apply_affine.defvjp(_forward, _backward)
