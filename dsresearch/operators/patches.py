"""Spatial convolution as patches and one matrix product, for filters that read two or three channels, as a stem's do.

XLA's own convolution fills its products badly there; written out, the patches of all pixels are the rows of one
product, in each of the three directions.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from dsresearch.operators.apart import apart
from dsresearch.operators.geometry import Geometry, turned, wide_dtype

Array = jax.Array


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def patches(x: Array, kernel: Array, groups: int, geometry: Geometry) -> Array:
    """Correlate [N, H, W, C] with [k, k, C / groups, M]: [N, H', W', M], products summed in float32 or wider."""
    products = _product(_columns(x, groups, geometry), _by_group(kernel.astype(x.dtype), groups))
    return _from_groups(products, (x.shape[0], *geometry.out, kernel.shape[3])).astype(x.dtype)


def _forward(x: Array, kernel: Array, groups: int, geometry: Geometry) -> tuple[Array, tuple[Array, Array]]:
    return patches(x, kernel, groups, geometry), (x, kernel)


def _backward(groups: int, geometry: Geometry, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = patches(geometry.dilated(dy), turned(kernel, groups), groups, geometry.transposed())
    # Transposed first, as in `products`: twice as fast.
    columns = apart(jnp.moveaxis(_columns(x, groups, geometry), 1, 2))
    dk = _from_groups(_product(columns, _by_group(dy, groups)), kernel.shape)
    return dx, dk.astype(kernel.dtype)


patches.defvjp(_forward, _backward)


def _columns(x: Array, groups: int, geometry: Geometry) -> Array:
    """What every output pixel reads, by group: [G, N * H' * W', k * k * C / G]."""
    padded = geometry.pad(x)
    by_group = padded.reshape(*padded.shape[:3], groups, x.shape[3] // groups)
    columns = jnp.concatenate([geometry.tap(by_group, i, j) for i, j in geometry.taps], axis=-1)
    return jnp.moveaxis(columns.reshape(-1, groups, columns.shape[-1]), 1, 0)


def _by_group(y: Array, groups: int) -> Array:
    """[..., M] -> [G, all else, M / G]."""
    return jnp.moveaxis(y.reshape(-1, groups, y.shape[-1] // groups), 1, 0)


def _from_groups(y: Array, shape: tuple[int, ...]) -> Array:
    """[G, pixels, M / G] -> [..., M]."""
    return jnp.moveaxis(y, 0, 1).reshape(shape)


def _product(a: Array, b: Array) -> Array:
    """Batched matrix product over the groups."""
    return lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,))), preferred_element_type=wide_dtype(a.dtype))
