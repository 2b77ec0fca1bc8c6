"""A passage's code as calls of a compiled program: arrays in, arrays out."""

import math
from collections.abc import Callable, Sequence
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


def forward(
    form: Passage, x: Array, affine: Sequence[Array], kernels: Sequence[Array], beside: Sequence[Array] = ()
) -> list[Array]:
    """The result and, where asked for, its sums; `beside` are other pictures and their map."""
    last = form.links[-1]
    results = ((form.pictures, last.height, last.width, last.filters), *[(last.filters,)] * (2 * form.summed))
    return call(passage.forward, (form,), results, [x, *affine, *kernels, *beside])


def backward(
    form: Passage,
    inward: bool,
    x: Array,
    affine: Sequence[Array],
    kernels: Sequence[Array],
    back: Sequence[Array],
    outer: Sequence[Array],
    beside: Sequence[Array] = (),
) -> list[Array]:
    """The gradients at x and its map, where `inward`, at the kernels, and at what is beside."""
    of = [*([x, *affine] if inward else []), *kernels, *beside]
    return call(passage.backward, (form, inward), _shapes(of), [x, *affine, *kernels, *back, *beside, *outer])


def call(
    write: Callable[..., Written], form: tuple[Any, ...], results: Shapes, arguments: Sequence[Array]
) -> list[Array]:
    """What the code that `write` writes for such a form makes of arrays; its last result is room to work in."""
    name, scratch = _kernel(write, form, _shapes(arguments), results)
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (*results, (scratch,))]
    made: Any = jax.ffi.ffi_call(name, shapes, vmap_method="broadcast_all")(*arguments)
    return list(made[:-1])


def _shapes(arrays: Sequence[Array]) -> Shapes:
    return tuple(array.shape for array in arrays)


@cache
def _kernel(
    write: Callable[..., Written], form: tuple[Any, ...], arguments: Shapes, results: Shapes
) -> tuple[str, int]:
    """The name by which a program calls what is written for this processor, and the numbers of its scratch."""
    written = write(*form, most=target.vector_lanes())
    scratch = max(written.scratch, 1)
    sizes = [math.prod(shape) for shape in arguments], [*(math.prod(shape) for shape in results), scratch]
    return target.register(write.__name__, written.text, *sizes), scratch
