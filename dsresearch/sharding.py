"""Devices that share one program: the trials side by side in it, or the pictures of each of its batches.

The program runs on every device over its own part (`jax.shard_map`). Trials never meet, so parting them is free of
communication. A batch meets in BatchNorm's sums and in the gradient (`operators.shards`), so that a step is the step of
the whole batch, but for the order of its sums.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dsresearch.design import InputError
from dsresearch.operators import shards

Tree = Any
TRIALS = "trials"


def mesh_of(devices: int, axis: str) -> Mesh:
    """So many devices of this cell's processes in a row. Raises InputError where there are fewer."""
    found = jax.devices()
    if len(found) < devices:
        kind = found[0].platform
        raise InputError(f"protocol.devices={devices} is not allowed: the cell has {len(found)} device(s) ({kind})")
    return jax.make_mesh((devices,), (axis,), devices=found[:devices], axis_types=(AxisType.Auto,))


def sharded(one: Callable[..., Any], mesh: Mesh, axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """`one` run by every device of a mesh on its part.

    Args:
        axes: for every argument 0 where its first axis is that of the trials, None where every trial reads it.
    """
    by_trial = mesh.axis_names == (TRIALS,)
    part, all_of_it = PartitionSpec(TRIALS), PartitionSpec()
    wanted = tuple(part if by_trial and axis == 0 else all_of_it for axis in axes)
    # What comes back is each device's trials, or, where the batch is shared, the same on all devices.
    return jax.shard_map(one, mesh=mesh, in_specs=wanted, out_specs=part if by_trial else all_of_it, check_vma=False)


def placed(tree: Tree, mesh: Mesh, by_trial: bool = False) -> Tree:
    """The tree on the devices: each its trials of the first axis, or all of it on every device.

    Every process of the cell has the whole tree; none asks another for it.
    """
    where = NamedSharding(mesh, PartitionSpec(TRIALS) if by_trial else PartitionSpec())

    def put(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        values = np.asarray(leaf)
        return jax.make_array_from_callback(values.shape, where, lambda index: values[index])

    return jax.tree.map(put, tree)


def axis_of(trial_batch: int) -> str:
    """What devices share in a program of so many trials."""
    return TRIALS if trial_batch > 1 else shards.BATCH
