"""A passage's code as calls of a compiled program: arrays in, arrays out."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from dsresearch.operators.geometry import Geometry
from dsresearch.operators.native import passage, target
from dsresearch.operators.native.kernels import Convolution, lanes_of
from dsresearch.operators.native.passage import Passage

Array = jax.Array


def shape_of(kernel: Array, groups: int, geometry: Geometry) -> Convolution:
    """Of a convolution with a kernel [k, k, C / groups, M]."""
    rows, columns, inputs, outputs = kernel.shape
    height, width = geometry.out
    return Convolution(height, width, geometry.pads, (rows, columns), groups, inputs, outputs // groups)


def has_vectors(shape: Convolution) -> bool:
    """Whether the processor's vectors fit such a convolution's outputs."""
    return lanes_of(shape, target.vector_lanes()) > 1


def forward(form: Passage, x: Array, affine: Sequence[Array], kernels: Sequence[Array]) -> list[Array]:
    """The result and, where asked for, its sums."""
    last = form.links[-1]
    results = [(form.pictures, last.height, last.width, last.filters), *[(last.filters,)] * (2 * form.summed)]
    arguments = [x, *affine, *kernels]
    return _call(*_forward_kernel(form, len(arguments), len(results) + 1), results, arguments)


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
    results = [*inner, *(kernel.shape for kernel in kernels)]
    arguments = [x, *affine, *kernels, *back, *outer]
    return _call(*_backward_kernel(form, inward, len(arguments), len(results) + 1), results, arguments)


def _call(name: str, scratch: int, results: Sequence[tuple[int, ...]], arguments: Sequence[Array]) -> list[Array]:
    """What a registered kernel makes of arrays; its last result is room to work in."""
    shapes = [jax.ShapeDtypeStruct(form, jnp.float32) for form in (*results, (max(scratch, 1),))]
    made: Any = jax.ffi.ffi_call(name, shapes, vmap_method="sequential")(*arguments)
    return list(made[:-1])


@cache
def _forward_kernel(form: Passage, arguments: int, results: int) -> tuple[str, int]:
    written = passage.forward(form, target.vector_lanes())
    return target.register("forward", written.text, arguments, results), written.scratch


@cache
def _backward_kernel(form: Passage, inward: bool, arguments: int, results: int) -> tuple[str, int]:
    written = passage.backward(form, target.vector_lanes(), inward)
    return target.register("backward", written.text, arguments, results), written.scratch
