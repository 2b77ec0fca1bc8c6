"""Spatial convolution and pointwise product by kernels of our own, with gradients (CPU, float32, stride 1)."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from dsresearch.operators.geometry import Geometry
from dsresearch.operators.native import kernels, target
from dsresearch.operators.native.kernels import Shape
from dsresearch.operators.taps import turned

Array = jax.Array


def fits(x: Array, kernel: Array, groups: int, geometry: Geometry) -> bool:
    """Whether the kernels are for such pictures [N, H, W, C] and such a kernel [k, k, C / G, M]."""
    plain = geometry.stride == geometry.dilation == 1 and x.dtype == kernel.dtype == jnp.float32
    return plain and kernels.lanes_of(_shape(x, kernel, groups, geometry), target.vector_lanes()) > 1


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def correlate(x: Array, kernel: Array, groups: int, geometry: Geometry) -> Array:
    """Correlate [N, H, W, C] with [k, k, C / groups, M] at stride 1: [N, H', W', M]."""
    shape = _shape(x, kernel, groups, geometry)
    return _call(_correlation(shape), (shape.pictures, shape.height, shape.width, shape.filters), shape, x, kernel)


def _forward(x: Array, kernel: Array, groups: int, geometry: Geometry) -> tuple[Array, tuple[Array, Array]]:
    return correlate(x, kernel, groups, geometry), (x, kernel)


def _backward(groups: int, geometry: Geometry, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    shape = _shape(x, kernel, groups, geometry)
    dx = correlate(dy, turned(kernel, groups), groups, geometry.transposed())
    return dx, _call(_kernel_gradient(shape), kernel.shape, shape, x, dy)


correlate.defvjp(_forward, _backward)


def product_fits(x: Array, weights: Array) -> bool:
    """Whether the kernels are for a pointwise product of such pictures with such weights [C, M]."""
    return fits(*_as_lines(x, weights))


def product(x: Array, weights: Array) -> Array:
    """1x1 convolution of pictures [N, H, W, C] with [C, M]."""
    return correlate(*_as_lines(x, weights)).reshape(*x.shape[:3], weights.shape[1])


def _as_lines(x: Array, weights: Array) -> tuple[Array, Array, int, Geometry]:
    """A product as a convolution of pictures of one row: strips of pixels then fill whole rows of small pictures."""
    batch, height, width, channels = x.shape
    geometry = Geometry((1, height * width), (1, 1), 1, 1, "VALID")
    return x.reshape(batch, 1, height * width, channels), weights[None, None], 1, geometry


def _shape(x: Array, kernel: Array, groups: int, geometry: Geometry) -> Shape:
    *window, inputs, outputs = kernel.shape
    height, width = geometry.out
    return Shape(x.shape[0], height, width, geometry.pads, (window[0], window[1]), groups, inputs, outputs // groups)


def _call(name: str, result: tuple[int, ...], shape: Shape, *arguments: Array) -> Array:
    """What a registered kernel makes of two arrays; its second result is room for a padded picture."""
    results = [jax.ShapeDtypeStruct(form, jnp.float32) for form in (result, (max(shape.scratch, 1),))]
    made: Any = jax.ffi.ffi_call(name, results, vmap_method="sequential")(*arguments)
    return made[0]


@cache
def _correlation(shape: Shape) -> str:
    lanes = max(1, kernels.lanes_of(shape, target.vector_lanes()))
    return target.register("correlation", kernels.correlation("correlation", shape, lanes))


@cache
def _kernel_gradient(shape: Shape) -> str:
    lanes = max(1, kernels.lanes_of(shape, target.vector_lanes()))
    return target.register("kernel_gradient", kernels.kernel_gradient("kernel_gradient", shape, lanes))
