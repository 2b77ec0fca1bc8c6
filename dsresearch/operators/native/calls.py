"""A passage's code as calls of a compiled program: arrays in, arrays out."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from dsresearch.operators.geometry import Geometry
from dsresearch.operators.native import passage, target
from dsresearch.operators.native.kernels import Convolution, lanes_of
from dsresearch.operators.native.passage import Passage, Written

Array = jax.Array
Shapes = tuple[tuple[int, ...], ...]


def shape_of(kernel: Array, groups: int, geometry: Geometry, relu: bool = False) -> Convolution:
    """The shape of a convolution with a kernel [k, k, C / groups, M]; `relu` says whether ReLU follows it."""
    rows, columns, inputs, outputs = kernel.shape
    height, width = geometry.out
    return Convolution(height, width, geometry.pads, (rows, columns), groups, inputs, outputs // groups, relu)


def has_vectors(shape: Convolution) -> bool:
    """Whether the processor's vectors fit such a convolution's outputs."""
    return lanes_of(shape, target.vector_lanes()) > 1


def forward(form: Passage, x: Array, affine: Sequence[Array], kernels: Sequence[Array]) -> list[Array]:
    """The result and, where asked for, its sums."""
    last = form.links[-1]
    results = ((form.pictures, last.height, last.width, last.filters), *[(last.filters,)] * (2 * form.summed))
    arguments = [x, *affine, *kernels]
    return _call(*_forward_kernel(form, _shapes(arguments), results), results, arguments)


def backward(
    form: Passage,
    inward: bool,
    x: Array,
    affine: Sequence[Array],
    kernels: Sequence[Array],
    back: Sequence[Array],
    outer: Sequence[Array],
) -> list[Array]:
    """The gradients at x and its map, where `inward`, and at the kernels."""
    inner = [x.shape, *(values.shape for values in affine)] if inward else []
    results = (*inner, *(kernel.shape for kernel in kernels))
    arguments = [x, *affine, *kernels, *back, *outer]
    return _call(*_backward_kernel(form, inward, _shapes(arguments), results), results, arguments)


def _call(name: str, scratch: int, results: Shapes, arguments: Sequence[Array]) -> list[Array]:
    """What a registered kernel makes of arrays; its last result is room to work in."""
    shapes = [jax.ShapeDtypeStruct(form, jnp.float32) for form in (*results, (scratch,))]
    made: Any = jax.ffi.ffi_call(name, shapes, vmap_method="broadcast_all")(*arguments)
    return list(made[:-1])


def _shapes(arrays: Sequence[Array]) -> Shapes:
    return tuple(array.shape for array in arrays)


@cache
def _forward_kernel(form: Passage, arguments: Shapes, results: Shapes) -> tuple[str, int]:
    return _registered("forward", passage.forward(form, target.vector_lanes()), arguments, results)


@cache
def _backward_kernel(form: Passage, inward: bool, arguments: Shapes, results: Shapes) -> tuple[str, int]:
    return _registered("backward", passage.backward(form, target.vector_lanes(), inward), arguments, results)


def _registered(name: str, written: Written, arguments: Shapes, results: Shapes) -> tuple[str, int]:
    """The name by which a program calls what was written, and the numbers of its scratch."""
    scratch = max(written.scratch, 1)
    sizes = [math.prod(shape) for shape in arguments], [*(math.prod(shape) for shape in results), scratch]
    return target.register(name, written.text, *sizes), scratch
