"""A batch that lies on several devices, each of which holds an equal share of its pictures.

A program runs on every device (`jax.shard_map` over a mesh whose axis is named BATCH) and says with these functions
where it needs the whole batch. Outside of such a mesh there is one share, and they add no operation.
"""

from typing import TypeVar

import jax
from jax import lax

Array = jax.Array
T = TypeVar("T")

BATCH = "batch"


def shares() -> int:
    """Devices that the batch lies on, as the program that is being traced sees them."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[BATCH] if BATCH in mesh.manual_axes else 1


def total(values: T) -> T:
    """The sum over the shares, the same on every device. Its gradient is such a sum, too."""
    return lax.psum(values, BATCH) if shares() > 1 else values


def mean(values: T) -> T:
    """The mean over the shares, the same on every device."""
    return lax.pmean(values, BATCH) if shares() > 1 else values


def own(x: Array) -> Array:
    """This device's share of an array that all of them have, along its first axis."""
    if shares() == 1:
        return x
    size = x.shape[0] // shares()
    return lax.dynamic_slice_in_dim(x, lax.axis_index(BATCH) * size, size)


def joined(values: T) -> T:
    """Every device's arrays one behind the other, on all of them: what `own` took apart."""
    return lax.all_gather(values, BATCH, tiled=True) if shares() > 1 else values
