"""What networks need beside the operators: pooling with padding, activations, shuffling, sampling, dropping paths.

Pictures are NHWC. Where a spatial convolution is among the arithmetic it is `operators.spatial_conv`. Pooling is made
of shifted slices, like `operators.max_pool`: quick on the CPU, and the gradient is deterministic on a GPU.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dsresearch import operators
from dsresearch.networks.vocabulary import Padding, pads
from dsresearch.operators import shards
from dsresearch.operators.geometry import wide_dtype

Array = jax.Array

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "relu": lambda x: operators.activate(x, "relu"),
    "elu": lambda x: operators.activate(x, "elu"),
    "relu6": lambda x: jnp.clip(x, 0, 6),
    "leaky": lambda x: jnp.where(x > 0, x, 0.1 * x),  # Darknet's slope
    "swish": lambda x: x * jax.nn.sigmoid(x),
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": lambda x: jnp.clip(x + 3, 0, 6) / 6,  # Howard et al. 2019, section 5.2
    "hard_swish": lambda x: x * (jnp.clip(x + 3, 0, 6) / 6),
}


def prelu(x: Array, slope: Array) -> Array:
    """x where positive, else slope times x; the slope is [H, W, C] (one for every element) or [C]."""
    return jnp.where(x > 0, x, x * slope.astype(x.dtype).reshape((1,) * (x.ndim - slope.ndim) + slope.shape))


# --- windows ------------------------------------------------------------------------------------------------------


def pad(x: Array, amounts: Sequence[Sequence[int]], value: float = 0.0) -> Array:
    """Pad height and width of [N, H, W, C]."""
    (top, bottom), (left, right) = amounts
    if not any((top, bottom, left, right)):
        return x
    edges = [(0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0)]
    return lax.pad(x, jnp.asarray(value, x.dtype), edges)


def _over_windows(x: Array, join: Callable[[Array, Array], Array], window: int, stride: int) -> Array:
    """Join the elements of every window of a padded map, first down the rows and then across."""
    for axis in (1, 2):
        count = (x.shape[axis] - window) // stride + 1
        parts = [lax.slice_in_dim(x, i, i + (count - 1) * stride + 1, stride, axis) for i in range(window)]
        x = parts[0]
        for part in parts[1:]:
            x = join(x, part)
    return x


def max_pool(x: Array, window: int, stride: int, padding: Padding) -> Array:
    """Maximum over windows of [N, H, W, C]; padding never wins."""
    amounts = pads(x.shape[1:3], (window, window), stride, 1, padding)
    return _over_windows(pad(x, amounts, -jnp.inf), jnp.maximum, window, stride)


def avg_pool(x: Array, window: int, stride: int, padding: Padding, *, count_padding: bool = False) -> Array:
    """Mean over windows of [N, H, W, C], in float32; padded zeros count as pixels (PyTorch) or not (TensorFlow)."""
    amounts = pads(x.shape[1:3], (window, window), stride, 1, padding)
    total = _over_windows(pad(x, amounts).astype(wide_dtype(x.dtype)), jnp.add, window, stride)
    if count_padding:
        return (total / window**2).astype(x.dtype)
    inside = [
        np.convolve(np.pad(np.ones(n), edges), np.ones(window), "valid")[::stride]
        for n, edges in zip(x.shape[1:3], amounts, strict=True)
    ]
    counts = np.outer(*inside)[None, :, :, None]
    return (total * jnp.asarray(1 / counts, total.dtype)).astype(x.dtype)


# --- channels -----------------------------------------------------------------------------------------------------


def channel_shuffle(x: Array, groups: int) -> Array:
    """Output channel j g + i is input channel i n + j, for n channels a group (Zhang et al. 2018, Fig. 1c)."""
    *front, channels = x.shape
    return jnp.swapaxes(x.reshape(*front, groups, channels // groups), -1, -2).reshape(x.shape)


def local_response_norm(x: Array, *, size: int, alpha: float, beta: float, k: float) -> Array:
    """x / (k + alpha / size * sum of x^2 over `size` neighbouring channels)^beta (Krizhevsky et al. 2012, 3.3).

    With PyTorch's and Caffe's reading of alpha; the paper's own alpha is theirs over `size`.
    """
    before = size // 2
    squares = lax.pad(x * x, jnp.zeros((), x.dtype), [(0, 0, 0)] * (x.ndim - 1) + [(before, size - 1 - before, 0)])
    total = sum(lax.slice_in_dim(squares, i, i + x.shape[-1], axis=-1) for i in range(size))
    return x / (k + alpha / size * total) ** beta


def super_separable(x: Array, depthwise: Array, pointwise: Array, *, stride: int = 1) -> Array:
    """A separable convolution on each of g groups of channels, with weights of its own (Kaiser et al. 2018, 2.2).

    Args:
        x: [N, H, W, C]; a sequence has height 1.
        depthwise: [k, k', 1, C]; a sequence's is [1, k, 1, C].
        pointwise: [g, C / g, M / g]: group i of M / g outputs is mixed from group i of C / g channels alone. g = 1 is
            the separable convolution; stacks alternate coprime g, or else the groups never meet.

    Returns:
        [N, H', W', M].
    """
    groups, inputs, outputs = pointwise.shape
    z = operators.spatial_conv(x, depthwise, groups=x.shape[-1], stride=stride)
    kernel = jnp.transpose(pointwise, (1, 0, 2)).reshape(1, 1, inputs, groups * outputs)
    return operators.spatial_conv(z, kernel, groups=groups)


# --- sampling -----------------------------------------------------------------------------------------------------


def resize(x: Array, height: int, width: int) -> Array:
    """Bilinear interpolation of [N, H, W, C] with corners aligned: the corner pixels keep their values."""
    for axis, size in ((1, height), (2, width)):
        places = np.linspace(0, x.shape[axis] - 1, size)
        low = np.minimum(np.floor(places).astype(np.int32), max(x.shape[axis] - 2, 0))
        high = np.minimum(low + 1, x.shape[axis] - 1)
        share = jnp.asarray(places - low, x.dtype).reshape((-1, 1, 1) if axis == 1 else (-1, 1))
        share = share.reshape((1,) * (4 - share.ndim) + share.shape)
        x = jnp.take(x, low, axis) * (1 - share) + jnp.take(x, high, axis) * share
    return x


def _bilinear(x: Array, rows: Array, columns: Array) -> Array:
    """Values of one map [H, W, C] at fractional places [P], zero beyond the border: [P, C]."""
    height, width, _ = x.shape
    top, left = jnp.floor(rows), jnp.floor(columns)
    total = jnp.zeros((rows.size, x.shape[-1]), x.dtype)
    for down in (0, 1):
        for right in (0, 1):
            i, j = top + down, left + right
            weight = (1 - jnp.abs(rows - i)) * (1 - jnp.abs(columns - j))
            inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
            flat = jnp.clip(i, 0, height - 1) * width + jnp.clip(j, 0, width - 1)
            values = jnp.take(x.reshape(height * width, -1), flat.astype(jnp.int32), 0)
            total = total + values * jnp.where(inside, weight, jnp.zeros_like(weight))[:, None]
    return total


def deformable_conv(
    x: Array,
    kernel: Array,
    offsets: Array,
    mask: Array | None = None,
    *,
    groups: int = 1,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """Deformable convolution, version 2 with a mask (Zhu et al. 2019, Eq. 1), version 1 without (Dai et al. 2017).

    No network here has one: it is among the techniques that the encyclopedia compares with a separable layer.

    Args:
        x: [N, H, W, C].
        kernel: [k, k', C / groups, M].
        offsets: [N, H', W', D * k * k' * 2] in pixels: for each of D groups of channels and each kernel element (row
            by row), down and right.
        mask: [N, H', W', D * k * k'], the modulation of each sample.

    Returns:
        [N, H', W', M]: the sum over kernel elements of the map at p + dilation (i, j) + offset, interpolated
        bilinearly with zeros beyond the border, times mask, times kernel.
    """
    k_rows, k_columns, _, _ = kernel.shape
    taps, (n, rows, columns) = k_rows * k_columns, offsets.shape[:3]
    parts = offsets.shape[-1] // (2 * taps)  # D
    offsets = offsets.reshape(n, rows, columns, parts, taps, 2)
    step_i, step_j = np.divmod(np.arange(taps), k_columns)
    at_i = (np.arange(rows) * stride - padding)[:, None, None, None] + dilation * step_i[None, None, None]
    at_j = (np.arange(columns) * stride - padding)[None, :, None, None] + dilation * step_j[None, None, None]
    place_i = offsets[..., 0] + jnp.asarray(at_i, offsets.dtype)[None]
    place_j = offsets[..., 1] + jnp.asarray(at_j, offsets.dtype)[None]

    by_part = jnp.moveaxis(x.reshape(*x.shape[:3], parts, -1), 3, 1)  # [N, D, H, W, C / D]
    flat_i, flat_j = (jnp.moveaxis(p, 3, 1).reshape(n, parts, -1) for p in (place_i, place_j))
    samples = jax.vmap(jax.vmap(_bilinear))(by_part, flat_i, flat_j)  # [N, D, H' W' k k', C / D]
    samples = samples.reshape(n, parts, rows, columns, taps, -1)
    if mask is not None:
        samples = samples * jnp.moveaxis(mask.reshape(n, rows, columns, parts, taps), 3, 1)[..., None]
    patches = jnp.transpose(samples, (0, 2, 3, 4, 1, 5)).reshape(n, rows, columns, taps, groups, -1)
    filters = kernel.reshape(taps, kernel.shape[2], groups, -1)
    y = jnp.einsum("nrctgi,tigm->nrcgm", patches, filters, preferred_element_type=wide_dtype(x.dtype))
    return y.reshape(n, rows, columns, -1).astype(x.dtype)


# --- dropping -----------------------------------------------------------------------------------------------------


def drop_path(x: Array, rate: float, key: Array) -> Array:
    """Stochastic depth: the map of a picture is zero with probability `rate`, else x / (1 - rate)."""
    kept = _drawn(key, 1 - rate, (x.shape[0],) + (1,) * (x.ndim - 1))
    return jnp.where(kept, x / (1 - rate), jnp.zeros_like(x))


def dropout(x: Array, rate: float, key: Array) -> Array:
    """Each element is zero with probability `rate`, else x / (1 - rate)."""
    return jnp.where(_drawn(key, 1 - rate, x.shape), x / (1 - rate), jnp.zeros_like(x))


def _drawn(key: Array, chance: float, shape: tuple[int, ...]) -> Array:
    """A coin for each of so many parts of these pictures: drawn for the whole batch, each device takes its own."""
    pictures, *rest = shape
    return shards.own(jax.random.bernoulli(key, chance, (pictures * shards.shares(), *rest)))


def join_columns(columns: Sequence[Array], rate: float, key: Array, alone: Array | None = None) -> Array:
    """The mean of the columns that are left when each is dropped with probability `rate`, one always staying.

    FractalNet's local drop-path (Larsson et al. 2017, section 3): one draw for the batch; where all would go, one that
    is drawn uniformly stays. Its global one: `alone`, bool [columns], marks the column that stays alone, if any does.
    """
    coin, last = jax.random.split(key)
    kept = jax.random.bernoulli(coin, 1 - rate, (len(columns),))
    saved = jnp.arange(len(columns)) == jax.random.randint(last, (), 0, len(columns))
    left = jnp.where(kept.any(), kept, saved)
    left = left if alone is None else jnp.where(alone.any(), alone, left)
    weights = left.astype(columns[0].dtype)
    weights = weights / weights.sum()
    return sum((x * weights[i] for i, x in enumerate(columns[1:], 1)), start=columns[0] * weights[0])
