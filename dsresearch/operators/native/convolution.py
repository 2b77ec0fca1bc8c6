"""Spatial convolution and pointwise product by kernels of our own, with gradients (CPU, float32, stride 1)."""

from functools import partial

import jax
import jax.numpy as jnp

from dsresearch.operators.geometry import Geometry
from dsresearch.operators.native.calls import as_read, backward, forward, has_vectors, shape_of, turned_as_read
from dsresearch.operators.native.kernels import Shape
from dsresearch.operators.native.passage import Passage

Array = jax.Array


def fits(x: Array, kernel: Array, groups: int, geometry: Geometry) -> bool:
    """Whether the kernels are for such pictures [N, H, W, C] and such a kernel [k, k, C / G, M]."""
    plain = geometry.stride == geometry.dilation == 1 and x.dtype == kernel.dtype == jnp.float32
    return plain and has_vectors(shape_of(kernel, groups, geometry))


def correlate(x: Array, kernel: Array, groups: int, geometry: Geometry) -> Array:
    """Correlate [N, H, W, C] with [k, k, C / groups, M] at stride 1: [N, H', W', M]."""
    shape = shape_of(kernel, groups, geometry)
    return _correlate(shape, x, as_read(kernel, shape))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _correlate(shape: Shape, x: Array, kernel: Array) -> Array:
    return forward(Passage(x.shape[0], (shape,)), x, [], [kernel])[0]


def _forward(shape: Shape, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _correlate(shape, x, kernel), (x, kernel)


def _backward(shape: Shape, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    """Two calls, so that the one which nobody reads is not made."""
    x, kernel = saved
    back = turned_as_read(kernel, shape)
    alone = Passage(x.shape[0], (shape,))
    return _correlate(shape.transposed(), dy, back), backward(alone, False, x, [], [kernel], [back], [dy])[0]


_correlate.defvjp(_forward, _backward)


def product_fits(x: Array, weights: Array) -> bool:
    """Whether the kernels are for a pointwise product of such pictures with such weights [C, M]."""
    return fits(*_as_convolution(x, weights))


def product(x: Array, weights: Array) -> Array:
    """1x1 convolution of pictures [N, H, W, C] with [C, M]."""
    return correlate(*_as_convolution(x, weights))


def _as_convolution(x: Array, weights: Array) -> tuple[Array, Array, int, Geometry]:
    return x, weights[None, None], 1, Geometry.of(x.shape[1:3], (1, 1), 1, 1, "SAME")
