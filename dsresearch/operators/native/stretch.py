"""From one BatchNorm's map to the next one's sums by kernels of our own, with gradients (CPU, float32)."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dsresearch.operators.geometry import Geometry
from dsresearch.operators.native.calls import (
    as_read,
    backward,
    forward,
    has_vectors,
    moments,
    shape_of,
    through_sums,
    turned_as_read,
)
from dsresearch.operators.native.kernels import Shape
from dsresearch.operators.native.passage import Passage
from dsresearch.operators.normalise import Affine, Moments

Array = jax.Array
Link = tuple[Array, int, bool]  # a kernel [k, k, C / G, M], its groups, and whether ReLU follows


class Mapped(NamedTuple):
    """Pictures [N, H, W, C] and the map with which, and with ReLU, they are read."""

    pictures: Array
    affine: Affine


# Multiply-adds of a number that its gradient computes anew sooner than memory gives it back.
CHEAP = 32


def fits(z: Array | jax.ShapeDtypeStruct, links: Sequence[Link], pool: bool = False, identity: bool = False) -> bool:
    """Whether `through` takes such pictures [N, H, W, C] through such convolutions."""
    even = not pool or (z.shape[1] % 2 == z.shape[2] % 2 == 0)
    # What fills no vector is mapped, and its gradient computed, number by number. A stem, which reads as few channels
    # and is one convolution alone, has neither map nor gradient.
    wide = z.shape[-1] >= 4 or len(links) == 1
    single = z.dtype == jnp.float32 and all(kernel.dtype == jnp.float32 for kernel, *_ in links)
    if not (even and wide and single):
        return False
    runs = _runs(z, links, pool)
    return all(has_vectors(shape) for run in runs for shape in run) and not (identity and len(runs) > 1)


def through(
    z: Array,
    affine: Affine | None,
    links: Sequence[Link],
    pool: bool = False,
    identity: bool = False,
    beside: Mapped | None = None,
    summed: bool = True,
) -> tuple[Array, Moments]:
    """A map with ReLU, 2 x 2 maxima where asked for, the convolutions: [N, H, W, C] to [N, H', W', M], and its sums.

    Where nobody reads these, as in evaluation, it need not be `summed`: they are zeros then.
    `identity` adds what the first convolution reads to what the last gives, `beside` other pictures [N, H', W', M].
    Without a map the pictures are data, which have no gradient. The gradient keeps z and the result alone, and what
    would cost more to compute anew than to keep.

    Raises:
        ValueError: channels or sides do not fit one another, or an identity goes around more than can be computed anew.
        TypeError: an array is not of float32.
    """
    runs = _runs(z, links, pool)
    if identity and len(runs) > 1:
        raise ValueError(f"an identity goes around one run of convolutions, not {len(runs)}")
    shapes = itertools.chain.from_iterable(runs)
    kernels = [as_read(kernel, shape) for (kernel, *_), shape in zip(links, shapes, strict=True)]
    x, done = z, 0
    for number, run in enumerate(runs):
        at_first, at_last = number == 0, number == len(runs) - 1
        if not at_first:  # a ReLU behind the run before is taken where its result is read
            affine = _unchanged(x) if runs[number - 1][-1].relu else None
        added = beside if at_last else None
        flags = affine is not None, at_first and pool, identity, added is not None, at_last and summed
        form = Passage(z.shape[0], run, *flags)
        x, sums = _through(form, not at_first or form.mapped, x, affine, kernels[done : done + len(run)], added)
        done += len(run)
    return x, sums


def _unchanged(x: Array) -> Affine:
    return Affine(jnp.ones(x.shape[-1:], x.dtype), jnp.zeros(x.shape[-1:], x.dtype))


def _runs(z: Array | jax.ShapeDtypeStruct, links: Sequence[Link], pool: bool) -> list[tuple[Shape, ...]]:
    """The convolutions in runs: what is behind each is kept for the gradient, what is within is computed anew."""
    sides = tuple(side // 2 for side in z.shape[1:3]) if pool else z.shape[1:3]
    runs: list[tuple[Shape, ...]] = [()]
    for kernel, groups, relu in links:
        shape = shape_of(kernel, groups, Geometry.of(sides, kernel.shape[:2], 1, 1, "SAME"), relu)
        runs[-1] = (*runs[-1], shape)
        if shape.kernel[0] * shape.kernel[1] * shape.inputs > CHEAP:
            runs.append(())
    return [run for run in runs if run]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _through(
    form: Passage, inward: bool, x: Array, affine: Affine | None, kernels: list[Array], beside: Mapped | None
) -> tuple[Array, Moments]:
    """One run; zeros for sums that are not asked for."""
    y, *sums = forward(form, x, affine or [], kernels, jax.tree.leaves(beside))
    return y, moments(sums, y)


def _forward(
    form: Passage, inward: bool, x: Array, affine: Affine | None, kernels: list[Array], beside: Mapped | None
) -> tuple[tuple[Array, Moments], tuple[Any, ...]]:
    y, sums = _through(form, inward, x, affine, kernels, beside)
    return (y, sums), (x, affine, kernels, beside, y if form.summed else None)


def _backward(
    form: Passage, inward: bool, saved: tuple[Any, ...], cotangents: tuple[Array, Moments]
) -> tuple[Array, Affine | None, list[Array], Mapped | None]:
    x, affine, kernels, beside, y = saved
    dy, slopes = cotangents
    behind = [dy, *through_sums(y, slopes)] if form.summed else [dy]
    back = [turned_as_read(kernel, link) for kernel, link in zip(kernels, form.links, strict=True)]
    made = iter(backward(form, inward, x, affine or [], kernels, back, behind, jax.tree.leaves(beside)))
    to_x = next(made) if inward else jnp.zeros_like(x)
    to_map = Affine(next(made), next(made)) if form.mapped and inward else None
    to_kernels = [next(made) for _ in kernels]
    return to_x, to_map, to_kernels, Mapped(next(made), Affine(next(made), next(made))) if beside else None


_through.defvjp(_forward, _backward)
