"""Spatial convolution as shifted multiply-adds, for filters that read few channels.

Tap (i, j) is the padded picture shifted under kernel element (i, j). Every output channel reads its group's input
channels one after another, so the inputs are first repeated: `_repeated(x)[c]` holds for every output channel its
group's c-th input. With one channel a group and one filter a channel that is the picture itself.
"""

from functools import partial

import jax
import jax.numpy as jnp

from dsresearch.operators.apart import apart
from dsresearch.operators.geometry import Geometry, over_channels, turned, wide_dtype

Array = jax.Array


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def taps(x: Array, kernel: Array, groups: int, geometry: Geometry) -> Array:
    """Correlate [N, H, W, C] with [k, k, C / groups, M]: [N, H', W', M], products summed in float32 or wider."""
    wide, outputs = wide_dtype(x.dtype), kernel.shape[3]
    total = jnp.zeros((x.shape[0], *geometry.out, outputs), wide)
    for channel, inputs in enumerate(_repeated(geometry.pad(x), groups, outputs)):
        for i, j in geometry.taps:
            weights = over_channels(kernel[i, j, channel].astype(wide), 4)
            total += geometry.tap(inputs, i, j).astype(wide) * weights
        if channel % 2:
            total = apart(total)  # a sum of more terms at once runs out of registers: of 144, 25 times slower
    return total.astype(x.dtype)


def _forward(x: Array, kernel: Array, groups: int, geometry: Geometry) -> tuple[Array, tuple[Array, Array]]:
    return taps(x, kernel, groups, geometry), (x, kernel)


def _backward(groups: int, geometry: Geometry, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = taps(geometry.dilated(dy), turned(kernel, groups), groups, geometry.transposed())
    repeated = _repeated(geometry.pad(x), groups, kernel.shape[3])
    dk = jnp.stack([_kernel_gradient(inputs, dy, geometry) for inputs in repeated], axis=1)
    return dx, dk.reshape(kernel.shape).astype(kernel.dtype)


taps.defvjp(_forward, _backward)


def _repeated(x: Array, groups: int, outputs: int) -> list[Array]:
    """For every input channel of a group, that channel of all groups at each of the groups' outputs."""
    inputs, filters = x.shape[3] // groups, outputs // groups
    if inputs == filters == 1:
        return [x]
    by_group = x.reshape(*x.shape[:3], groups, inputs)
    return [apart(jnp.repeat(by_group[..., channel], filters, axis=3)) for channel in range(inputs)]


def _kernel_gradient(inputs: Array, dy: Array, geometry: Geometry) -> Array:
    """[k * k, M]: for every tap the sum over pictures and pixels of the shifted inputs times dy.

    Pictures, and halves of pictures, are added elementwise before one sum over pixels: XLA:CPU runs a multiply fused
    into a reduction that keeps the channels 6 times slower than the two apart.
    """
    wide = wide_dtype(dy.dtype)
    rows = _parts(dy.shape[1], 2)
    pictures = _parts(dy.shape[0], 16 // rows)

    def partial_image(i: int, j: int) -> Array:
        shifted = geometry.tap(inputs, i, j)
        height, size = dy.shape[1] // rows, dy.shape[0] // pictures
        total = None
        for n in range(0, dy.shape[0], size):
            for h in range(0, dy.shape[1], height):
                here = (slice(n, n + size), slice(h, h + height))
                product = shifted[here].astype(wide) * dy[here].astype(wide)
                total = product if total is None else total + product
        assert total is not None
        return total

    return jnp.stack([partial_image(i, j) for i, j in geometry.taps]).sum((1, 2, 3))


def _parts(length: int, most: int) -> int:
    """The largest number of equal parts up to `most`."""
    return max(n for n in range(1, most + 1) if length % n == 0)
