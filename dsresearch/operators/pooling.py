"""Pooling over windows of pixels."""

import jax
import jax.numpy as jnp
import numpy as np

from dsresearch.operators.apart import apart
from dsresearch.operators.geometry import Geometry, wide_dtype

Array = jax.Array


@jax.custom_vjp
def max_pool(x: Array) -> Array:
    """2 x 2 maximum, stride 2, of [N, H, W, C]; a last odd row or column is left out.

    The maximum of four slices: its gradient is 20 times faster on the CPU than a window reduction's, and deterministic
    on a GPU, where select-and-scatter is not. The first of equal maxima gets the gradient, as there.
    """
    a, b, c, d = _quarters(x)
    return apart(jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d)))


def _quarters(x: Array) -> list[Array]:
    """The pixels of each 2 x 2 window, row by row: four of [N, H // 2, W // 2, C]."""
    batch, channels = x.shape[0], x.shape[3]
    h, w = x.shape[1] // 2, x.shape[2] // 2
    # Two rows and two pixels apart on axes of their own: slices without stride, which the CPU's loops like better.
    windows = x[:, : 2 * h, : 2 * w].reshape(batch, h, 2, w, 2 * channels)
    return [windows[:, :, i, :, j * channels : (j + 1) * channels] for i in (0, 1) for j in (0, 1)]


def _max_pool_forward(x: Array) -> tuple[Array, Array]:
    return max_pool(x), x


def _max_pool_backward(x: Array, dy: Array) -> tuple[Array]:
    batch, height, width, channels = dy.shape
    zero = jnp.zeros((), dy.dtype)
    x, dy = apart((x, dy))
    a, b, c, d = _quarters(x)
    upper = jnp.where(jnp.maximum(a, b) >= jnp.maximum(c, d), dy, zero)
    lower = dy - upper
    left = [jnp.where(a >= b, upper, zero), jnp.where(c >= d, lower, zero)]
    right = [upper - left[0], lower - left[1]]
    left, right = apart((left, right))
    rows = [jnp.concatenate(pair, 3).reshape(batch, height, -1) for pair in zip(left, right, strict=True)]
    dx = jnp.concatenate(rows, 2).reshape(batch, 2 * height, 2 * width, channels)
    if dx.shape == x.shape:
        return (apart(dx),)
    return (jnp.pad(dx, ((0, 0), (0, x.shape[1] - dx.shape[1]), (0, x.shape[2] - dx.shape[2]), (0, 0))),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def avg_pool(x: Array, window: int, *, stride: int = 1) -> Array:
    """Mean over a window of [N, H, W, C] with SAME padding; padded pixels are not counted (as in TensorFlow).

    Sums are taken in float32 or wider, those of the gradient too, because the picture is widened once for all taps.
    """
    geometry = Geometry.of(x.shape[1:3], (window, window), stride, 1, "SAME")
    wide = wide_dtype(x.dtype)
    padded = geometry.pad(x).astype(wide)
    total = sum(geometry.tap(padded, i, j) for i, j in geometry.taps)
    return (total * jnp.asarray(1.0 / window_counts(geometry), wide)).astype(x.dtype)


def window_counts(geometry: Geometry) -> np.ndarray:
    """Pixels of the picture under each window, [1, H', W', 1]."""
    inside = np.pad(np.ones(geometry.size), geometry.pads)
    counts = sum(
        inside[
            i : i + (geometry.out[0] - 1) * geometry.stride + 1 : geometry.stride,
            j : j + (geometry.out[1] - 1) * geometry.stride + 1 : geometry.stride,
        ]
        for i, j in geometry.taps
    )
    return np.asarray(counts)[None, :, :, None]
