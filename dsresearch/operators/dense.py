"""Spatial convolution by the compiler's own convolution, for filters that read many channels.

On the CPU each of the three convolutions of a step is written in the one form that XLA hands to its fast routine also
inside a loop: pictures NHWC, kernel HWIO, no groups. JAX's own gradients are of other forms, which XLA brings into this
one outside of loops alone; inside it runs them tens of times slower (jax#12868). Groups become blocks on the diagonal
of a dense kernel: XLA's routine takes groups one by one, and loses more by that than the products with zero cost.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dsresearch.operators.geometry import Geometry, Pads, turned, wide_dtype

Array = jax.Array


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def library(x: Array, kernel: Array, groups: int, geometry: Geometry) -> Array:
    """The library's convolution with the library's gradients (GPU, TPU), but that the kernel's is not rounded."""
    return _correlate(x, kernel, geometry.pads, geometry.stride, geometry.dilation, groups)


def _library_forward(x: Array, kernel: Array, groups: int, geometry: Geometry) -> tuple[Array, tuple[Array, Array]]:
    return library(x, kernel, groups, geometry), (x, kernel)


def _library_backward(groups: int, geometry: Geometry, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    window = geometry.pads, geometry.stride, geometry.dilation
    (dx,) = jax.linear_transpose(lambda x: _correlate(x, kernel, *window, groups), x)(dy)
    dk = lax.conv_general_dilated(
        x,
        dy,
        (geometry.dilation, geometry.dilation),
        geometry.kernel_pads(),
        rhs_dilation=(geometry.stride, geometry.stride),
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
        batch_group_count=groups,
        preferred_element_type=wide_dtype(x.dtype),
    )
    return dx, dk.astype(kernel.dtype)


library.defvjp(_library_forward, _library_backward)


def _correlate(
    x: Array, kernel: Array, pads: Pads, stride: int, dilation: int, groups: int, dtype: Any = None
) -> Array:
    """The library's convolution, in the dtype of `x` where no other is named."""
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (stride, stride),
        pads,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
        preferred_element_type=dtype,
    )


def _one_by_one(x: Array, kernel: Array, pads: Pads, stride: int, dilation: int, dtype: Any = None) -> Array:
    """Trials side by side are taken one after another: as groups of one convolution XLA:CPU is slow."""

    def one(x: Array, kernel: Array) -> Array:
        return _correlate(x, kernel, pads, stride, dilation, 1, dtype)

    return jax.custom_batching.sequential_vmap(one)(x, kernel)


def in_tiles(x: Array, kernel: Array, groups: int, geometry: Geometry) -> Array:
    """`dense` for as many groups at a time as fill a matrix product: 32 channels."""
    inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
    together = max(1, 32 // inputs)
    if groups <= together or groups % together:
        return dense(x, kernel, groups, geometry)
    read, made = together * inputs, together * outputs
    tiles = [
        dense(x[..., t * read : (t + 1) * read], kernel[..., t * made : (t + 1) * made], together, geometry)
        for t in range(groups // together)
    ]
    return jnp.concatenate(tiles, axis=-1)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def dense(x: Array, kernel: Array, groups: int, geometry: Geometry) -> Array:
    """Correlate [N, H, W, C] with [k, k, C / groups, M]: [N, H', W', M]."""
    return _one_by_one(x, _on_diagonal(kernel, groups), geometry.pads, geometry.stride, geometry.dilation)


def _forward(x: Array, kernel: Array, groups: int, geometry: Geometry) -> tuple[Array, tuple[Array, Array]]:
    return dense(x, kernel, groups, geometry), (x, kernel)


def _backward(groups: int, geometry: Geometry, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = dense(geometry.dilated(dy), turned(kernel, groups), groups, geometry.transposed())
    # The pictures stand where channels did, and the gradient is the kernel: [C, H, W, N] with [H', W', N, M].
    pads = geometry.kernel_pads()
    pictures, gradients = jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(dy, (1, 2, 0, 3))
    dk = _one_by_one(pictures, gradients, pads, geometry.dilation, geometry.stride, wide_dtype(x.dtype))
    return dx, _off_diagonal(jnp.transpose(dk, (1, 2, 0, 3)), groups).astype(kernel.dtype)


dense.defvjp(_forward, _backward)


def _on_diagonal(kernel: Array, groups: int) -> Array:
    """[k, k, C / G, M] -> [k, k, C, M], zero where an output does not read an input."""
    if groups == 1:
        return kernel
    *window, inputs, outputs = kernel.shape
    by_group = kernel.reshape(*window, 1, inputs, groups, outputs // groups)
    here = jnp.eye(groups, dtype=bool).reshape(1, 1, groups, 1, groups, 1)
    return jnp.where(here, by_group, jnp.zeros((), kernel.dtype)).reshape(*window, groups * inputs, outputs)


def _off_diagonal(kernel: Array, groups: int) -> Array:
    """What `_on_diagonal` was made of: [k, k, C, M] -> [k, k, C / G, M]."""
    if groups == 1:
        return kernel
    *window, channels, outputs = kernel.shape
    by_groups = kernel.reshape(*window, groups, channels // groups, groups, outputs // groups)
    return jnp.stack([by_groups[:, :, g, :, g] for g in range(groups)], axis=3).reshape(
        *window, channels // groups, outputs
    )
