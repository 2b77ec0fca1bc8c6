"""A passage's code as calls of a compiled program: arrays in, arrays out.

The code reads as many numbers as its form says, whatever it is given, so what is given is compared with the form here.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dsresearch.operators import native
from dsresearch.operators.geometry import Geometry, turned
from dsresearch.operators.native import passage, target, winograd
from dsresearch.operators.native.kernels import Shape, lanes_of
from dsresearch.operators.native.passage import Passage, Shapes, Written
from dsresearch.operators.normalise import Moments

Array = jax.Array


def shape_of(kernel: Array, groups: int, geometry: Geometry, relu: bool = False) -> Shape:
    """The shape of a convolution with a kernel [k, k, C / groups, M]; `relu` says whether ReLU follows it."""
    rows, columns, inputs, outputs = kernel.shape
    height, width = geometry.out
    shape = Shape(height, width, geometry.pads, (rows, columns), groups, inputs, outputs // groups, relu)
    return dataclasses.replace(shape, winograd=native.in_tiles() and winograd.saves(shape))


def as_read(kernel: Array, shape: Shape) -> Array:
    """A kernel [k, k, C / G, M] in the form in which a convolution of that shape reads it."""
    return winograd.spectrum(kernel) if shape.winograd else kernel


def turned_as_read(kernel: Array, shape: Shape) -> Array:
    """The transposed convolution's, from a kernel in the form in which it is read."""
    return (winograd.turned_spectrum if shape.winograd else turned)(kernel, shape.groups)


def has_vectors(shape: Shape) -> bool:
    """Whether the processor's vectors fit such a convolution's outputs."""
    return lanes_of(shape, target.vector_lanes()) > 1


def forward(
    form: Passage, x: Array, affine: Sequence[Array], kernels: Sequence[Array], beside: Sequence[Array] = ()
) -> list[Array]:
    """The result and, where asked for, its sums; `beside` are other pictures and their map."""
    return call(passage.forward, (form,), [x, *affine, *kernels, *beside])


def backward(
    form: Passage,
    inward: bool,
    x: Array,
    affine: Sequence[Array],
    kernels: Sequence[Array],
    back: Sequence[Array],
    behind: Sequence[Array],
    beside: Sequence[Array] = (),
) -> list[Array]:
    """The gradients at x and its map, where `inward`, at the kernels, and at what is beside.

    `kernels` are `as_read`, `back` these turned, `behind` is the gradient at the result and, where it was summed, what
    `through_sums` gives.
    """
    return call(passage.backward, (form, inward), [x, *affine, *kernels, *back, *beside, *behind])


def call(write: Callable[..., Written], form: tuple[Any, ...], arguments: Sequence[Array]) -> list[Array]:
    """What the code that `write` writes for such a form makes of arrays; its last result is room to work in.

    Raises:
        ValueError: an array's shape is not what the form reads.
        TypeError: an array is not of float32.
    """
    kernel = _kernel(write, form)
    for number, (array, shape) in enumerate(zip(arguments, kernel.arguments, strict=True)):
        if array.shape != shape:
            raise ValueError(f"argument {number} of the kernel {write.__name__} must be {shape}, not {array.shape}")
        if array.dtype != jnp.float32:
            raise TypeError(f"argument {number} of the kernel {write.__name__} must be float32, not {array.dtype}")
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in kernel.results]
    made: Any = jax.ffi.ffi_call(kernel.name, results, vmap_method="broadcast_all")(*arguments)
    return list(made[:-1])


def moments(sums: Sequence[Array], y: Array) -> Moments:
    """What a kernel has summed of its result, or zeros where it was not asked to."""
    return Moments(*sums) if sums else Moments(*[jnp.zeros(y.shape[-1:], y.dtype)] * 2)


def through_sums(y: Array, slopes: Moments) -> list[Array]:
    """Of y, added and sloped is made what comes back to a result y through its sums: added + sloped * y."""
    return [y, slopes.total, 2 * slopes.squares]


class _Kernel(NamedTuple):
    """The name by which a program calls code, and the shapes of what that takes and gives, its scratch included."""

    name: str
    arguments: Shapes
    results: Shapes


@cache
def _kernel(write: Callable[..., Written], form: tuple[Any, ...]) -> _Kernel:
    """What is written for this processor."""
    written = write(*form, most=target.vector_lanes())
    results = (*written.gives, (max(written.scratch, 1),))
    sizes = ([math.prod(shape) for shape in shapes] for shapes in (written.takes, results))
    return _Kernel(target.register(write.__name__, written.text, *sizes), written.takes, results)
