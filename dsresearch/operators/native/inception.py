"""Inception's towers by kernels of our own, with gradients (CPU, float32): where they part, and where they join."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dsresearch.operators.geometry import Geometry
from dsresearch.operators.native.calls import as_read, call, moments, shape_of, through_sums, turned_as_read
from dsresearch.operators.native.stretch import Mapped
from dsresearch.operators.native.towers import Joining, Parting, join, join_back, part, part_back
from dsresearch.operators.normalise import Affine, Moments
from dsresearch.operators.pooling import window_counts

Array = jax.Array


def parted(source: Mapped, ends: Array, starts: Array, pool: bool, summed: bool = True) -> tuple[Array, Array, Moments]:
    """A map with ReLU, 2 x 2 maxima where asked for, and two products [1, 1, C, M] of that: [N, H, W, M] each.

    And the sums of the second, zeros where it is not to be `summed`. The gradient keeps the pictures and the second
    product.
    """
    batch, *sides, _ = source.pictures.shape
    if pool:
        sides = [side // 2 for side in sides]
    one = Geometry.of(tuple(sides), (1, 1), 1, 1, "SAME")
    return _part(Parting(batch, shape_of(ends, 1, one), pool, summed), source, ends, starts)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _part(form: Parting, source: Mapped, ends: Array, starts: Array) -> tuple[Array, Array, Moments]:
    of_ends, of_starts, *sums = call(part, (form,), [*jax.tree.leaves(source), ends, starts])
    return of_ends, of_starts, moments(sums, of_starts)


def _part_forward(form: Parting, source: Mapped, ends: Array, starts: Array) -> tuple[Any, Any]:
    made = _part(form, source, ends, starts)
    return made, (source, ends, starts, made[1])


def _part_backward(form: Parting, saved: Any, cotangents: Any) -> tuple[Mapped, Array, Array]:
    source, ends, starts, of_starts = saved
    to_ends, to_starts, slopes = cotangents
    back = [turned_as_read(kernel, form.product) for kernel in (ends, starts)]
    behind = [to_ends, to_starts, *through_sums(of_starts, slopes)]
    dz, gain, shift, *to_kernels = call(part_back, (form,), [*jax.tree.leaves(source), *back, *behind])
    return Mapped(dz, Affine(gain, shift)), to_kernels[0], to_kernels[1]


_part.defvjp(_part_forward, _part_backward)


def joined(ends: Array, middles: Mapped, kernel: Array, summed: bool = True) -> tuple[Array, Moments]:
    """Four towers of m channels side by side, [N, H, W, 4 m], and the sums of all, zeros where not to be `summed`.

    `ends` [N, H, W, 2 m] are the first and what the fourth is the mean of, over as large a window as `kernel`'s, as
    `operators.avg_pool` takes it; `middles` [N, H, W, 2 m] the second and, to be mapped [m] with ReLU and convolved
    with `kernel` [k, k, m, m], the third. The gradient keeps the middles and the result.
    """
    batch, *sides, channels = ends.shape
    window = Geometry.of(tuple(sides), kernel.shape[:2], 1, 1, "SAME")
    tower = channels // 2
    ones = jnp.ones((*kernel.shape[:2], 1, tower), jnp.float32)
    shares = jnp.broadcast_to(jnp.asarray(1 / window_counts(window)[0], jnp.float32), (*sides, tower))
    form = Joining(batch, shape_of(kernel, 1, window), shape_of(ones, tower, window), summed)
    return _join(form, ends, middles, as_read(kernel, form.last), ones, shares)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _join(
    form: Joining, ends: Array, middles: Mapped, kernel: Array, ones: Array, shares: Array
) -> tuple[Array, Moments]:
    y, *sums = call(join, (form,), [ends, *jax.tree.leaves(middles), kernel, ones, shares])
    return y, moments(sums, y)


def _join_forward(
    form: Joining, ends: Array, middles: Mapped, kernel: Array, ones: Array, shares: Array
) -> tuple[Any, Any]:
    y, sums = _join(form, ends, middles, kernel, ones, shares)
    return (y, sums), (middles, kernel, ones, shares, y)


def _join_backward(form: Joining, saved: Any, cotangents: Any) -> tuple[Array, Mapped, Array, Array, Array]:
    middles, kernel, ones, shares, y = saved
    dy, slopes = cotangents
    behind = [dy, *through_sums(y, slopes)]
    made = call(
        join_back, (form,), [*jax.tree.leaves(middles), turned_as_read(kernel, form.last), ones, shares, *behind]
    )
    to_ends, dz, gain, shift, to_kernel = made
    return to_ends, Mapped(dz, Affine(gain, shift)), to_kernel, jnp.zeros_like(ones), jnp.zeros_like(shares)


_join.defvjp(_join_forward, _join_backward)
