"""The arithmetic of the study: spatial convolution at any group count, pointwise products, BatchNorm, pooling.

Pictures are NHWC, spatial kernels HWIO with shape (k, k, C / groups, outputs). Output j of `outputs` reads the input
channels of group j // (outputs / groups), as in `lax.conv_general_dilated`.

On the CPU no convolution *op* is emitted: inside a loop XLA:CPU runs one tens of times slower than outside, and it
expands the weight gradient of a grouped one to a dense one. What is emitted instead are shifted multiply-adds (one
channel a group) or patches and matrix products, each with its own gradient rule.
"""

import math
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array
Padding = Literal["SAME", "VALID"]
Pads = tuple[tuple[int, int], tuple[int, int]]


def algorithm(backend: str, inputs_a_group: int) -> Literal["taps", "patches", "xla"]:
    """How a spatial convolution is computed, as a function of the backend and the channels that a filter reads.

    | backend  | one channel a group | more    | why |
    |----------|---------------------|---------|-----|
    | cpu      | taps                | patches | a convolution op in a loop is 30 to 90 times slower |
    | gpu, tpu | taps                | xla     | taps fuse with their neighbours; the library serves the rest |
    """
    if inputs_a_group == 1:
        return "taps"
    return "patches" if backend == "cpu" else "xla"


def spatial_conv(
    x: Array, kernel: Array, *, groups: int = 1, stride: int = 1, dilation: int = 1, padding: Padding = "SAME"
) -> Array:
    """Correlate pictures [N, H, W, C] with a kernel [k, k, C / groups, M] in `groups` groups of channels.

    Returns [N, H', W', M] in the dtype of `x`; products are summed in float32 (float64 for float64). Strides, dilation
    and padding mean what they mean in `lax.conv_general_dilated`.

    Raises:
        ValueError: the channel counts do not divide.
    """
    channels, (_, _, inputs, outputs) = x.shape[-1], kernel.shape
    if channels != inputs * groups or outputs % groups:
        raise ValueError(f"kernel {kernel.shape} does not fit {channels} channels in {groups} groups")
    geometry = _Geometry(x.shape[1:3], kernel.shape[:2], stride, dilation, padding)
    match algorithm(jax.default_backend(), inputs):
        case "taps":
            return _taps(x, kernel, geometry)
        case "patches":
            return _patches(x, kernel, groups, geometry)
        case "xla":
            return _xla(x, kernel, groups, geometry)


class _Geometry:
    """The static shape of a convolution: hashable, so that it can be a non-differentiable argument."""

    def __init__(self, size: tuple[int, ...], window: tuple[int, ...], stride: int, dilation: int, padding: Padding):
        spans = [(k - 1) * dilation + 1 for k in window]
        self.size, self.window, self.stride, self.dilation = tuple(size), tuple(window), stride, dilation
        if padding == "SAME":
            self.out = tuple(-(-n // stride) for n in size)
            totals = [max((o - 1) * stride + s - n, 0) for o, s, n in zip(self.out, spans, size, strict=True)]
        else:
            self.out = tuple((n - s) // stride + 1 for n, s in zip(size, spans, strict=True))
            totals = [0, 0]
        self.pads: Pads = tuple((t // 2, t - t // 2) for t in totals)  # type: ignore[assignment]

    def _key(self) -> tuple[Any, ...]:
        return (self.size, self.window, self.stride, self.dilation, self.out, self.pads)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Geometry) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def pad(self, x: Array) -> Array:
        """Zero-pad [N, H, W, ...]; kept from fusing into its readers, which would each pad anew (5 times slower)."""
        (top, bottom), (left, right) = self.pads
        if not any((top, bottom, left, right)):
            return x
        rest = [(0, 0, 0)] * (x.ndim - 3)
        padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (top, bottom, 0), (left, right, 0), *rest])
        return lax.optimization_barrier(padded)

    def tap(self, padded: Array, i: int, j: int) -> Array:
        """The picture under kernel element (i, j), [N, H', W', ...]."""
        start = (0, i * self.dilation, j * self.dilation) + (0,) * (padded.ndim - 3)
        stop = [
            padded.shape[0],
            *(s + (o - 1) * self.stride + 1 for s, o in zip(start[1:3], self.out, strict=True)),
            *padded.shape[3:],
        ]
        return lax.slice(padded, start, stop, (1, self.stride, self.stride) + (1,) * (padded.ndim - 3))

    def transposed(self) -> "_Geometry":
        """The stride-1 convolution that carries a gradient back, over the output spread by `stride`."""
        back = object.__new__(_Geometry)
        spread = [(o - 1) * self.stride + 1 for o in self.out]
        spans = [(k - 1) * self.dilation + 1 for k in self.window]
        back.size, back.window, back.stride, back.dilation = tuple(spread), self.window, 1, self.dilation
        back.out = self.size
        back.pads = tuple(  # type: ignore[assignment]
            (s - 1 - before, n - g + before)
            for n, g, s, (before, _) in zip(self.size, spread, spans, self.pads, strict=True)
        )
        return back

    def spread(self, dy: Array) -> Array:
        """The gradient with stride - 1 zeros between its pixels."""
        if self.stride == 1:
            return dy
        gaps = [(0, 0, 0), (0, 0, self.stride - 1), (0, 0, self.stride - 1), *[(0, 0, 0)] * (dy.ndim - 3)]
        return lax.pad(dy, jnp.zeros((), dy.dtype), gaps)

    @property
    def taps(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self.window[0]) for j in range(self.window[1])]


def _wide(dtype: Any) -> Any:
    """The dtype of sums: float32, or float64 for float64."""
    return jnp.float64 if dtype == jnp.float64 else jnp.float32


def _over_channels(values: Array, rank: int) -> Array:
    """Shape trailing values for multiplication with an array of that rank (explicit: no rank promotion)."""
    return values.reshape((1,) * (rank - values.ndim) + values.shape)


# --- one input channel a filter: shifted multiply-adds ----------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _taps(x: Array, kernel: Array, geometry: _Geometry) -> Array:
    multiplier = kernel.shape[3] // x.shape[3]
    wide = _wide(x.dtype)
    padded = geometry.pad(x)[..., None]
    filters = kernel.reshape(*geometry.window, x.shape[3], multiplier).astype(wide)
    total = sum(geometry.tap(padded, i, j).astype(wide) * _over_channels(filters[i, j], 5) for i, j in geometry.taps)
    return total.reshape(*total.shape[:3], kernel.shape[3]).astype(x.dtype)  # type: ignore[union-attr]


def _taps_forward(x: Array, kernel: Array, geometry: _Geometry) -> tuple[Array, tuple[Array, Array]]:
    return _taps(x, kernel, geometry), (x, kernel)


def _taps_backward(geometry: _Geometry, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    return _taps_input_gradient(dy, kernel, x.shape[3], geometry), _taps_kernel_gradient(x, dy, kernel, geometry)


def _taps_input_gradient(dy: Array, kernel: Array, channels: int, geometry: _Geometry) -> Array:
    """dx[c] = sum over taps and over the filters q of channel c of the shifted dy[c, q] times the flipped filter."""
    back, wide, multiplier = geometry.transposed(), _wide(dy.dtype), kernel.shape[3] // channels
    padded = back.pad(geometry.spread(dy))
    flipped = kernel[::-1, ::-1, 0, :].astype(wide)
    total = sum(back.tap(padded, i, j).astype(wide) * _over_channels(flipped[i, j], 4) for i, j in back.taps)
    if multiplier > 1:
        total = total.reshape(*total.shape[:3], channels, multiplier).sum(4)  # type: ignore[union-attr]
    return total.astype(dy.dtype)  # type: ignore[union-attr]


def _taps_kernel_gradient(x: Array, dy: Array, kernel: Array, geometry: _Geometry) -> Array:
    """dK[i, j, c] = sum over pictures and pixels of the shifted x[c] times dy[c].

    The batch is cut into slices that are added elementwise before one sum over pixels: XLA:CPU runs a multiply fused
    into a reduction that keeps the channels 6 times slower than the two apart (57 to 9 ms at [128, 32, 32, 32]).
    """
    wide, channels = _wide(x.dtype), x.shape[3]
    multiplier = kernel.shape[3] // channels
    padded = geometry.pad(x)
    dy = dy.reshape(*dy.shape[:3], channels, multiplier)
    slices = math.gcd(x.shape[0], 16)
    size = x.shape[0] // slices

    def partial_image(i: int, j: int) -> Array:
        shifted = geometry.tap(padded, i, j)[..., None]
        total = None
        for start in range(0, x.shape[0], size):
            here = slice(start, start + size)
            product = shifted[here].astype(wide) * dy[here].astype(wide)
            total = product if total is None else total + product
        return total  # type: ignore[return-value]

    images = jnp.stack([partial_image(i, j) for i, j in geometry.taps])
    return images.sum((1, 2, 3)).reshape(kernel.shape).astype(kernel.dtype)


_taps.defvjp(_taps_forward, _taps_backward)


# --- more input channels a filter: patches and matrix products --------------------------------------------------


def _columns(x: Array, groups: int, geometry: _Geometry) -> Array:
    """Patches of every output pixel by group: [G, N * H' * W', k * k * C / G]."""
    batch, channels = x.shape[0], x.shape[3]
    padded = geometry.pad(x)
    if groups == 1:
        taps = [geometry.tap(padded, i, j) for i, j in geometry.taps]
        return jnp.concatenate(taps, axis=-1).reshape(1, batch * math.prod(geometry.out), -1)
    padded = padded.reshape(*padded.shape[:3], groups, channels // groups)
    taps = [geometry.tap(padded, i, j) for i, j in geometry.taps]
    columns = jnp.concatenate(taps, axis=-1)
    return jnp.moveaxis(columns, 3, 0).reshape(groups, batch * math.prod(geometry.out), -1)


def _by_group(y: Array, groups: int) -> Array:
    """[N, H, W, M] -> [G, N * H * W, M / G]."""
    return jnp.moveaxis(y.reshape(-1, groups, y.shape[3] // groups), 1, 0)


def _from_groups(y: Array, shape: tuple[int, ...]) -> Array:
    """[G, N * H * W, M / G] -> [N, H, W, M]."""
    return jnp.moveaxis(y, 0, 1).reshape(shape)


def _kernel_by_group(kernel: Array, groups: int) -> Array:
    """[k, k, C / G, M] -> [G, k * k * C / G, M / G]."""
    return jnp.moveaxis(kernel.reshape(-1, groups, kernel.shape[3] // groups), 1, 0)


def _products(a: Array, b: Array) -> Array:
    """Batched matrix product over the groups, summed in float32."""
    return lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,))), preferred_element_type=_wide(a.dtype))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _patches(x: Array, kernel: Array, groups: int, geometry: _Geometry) -> Array:
    products = _products(_columns(x, groups, geometry), _kernel_by_group(kernel, groups).astype(x.dtype))
    return _from_groups(products, (x.shape[0], *geometry.out, kernel.shape[3])).astype(x.dtype)


def _patches_forward(x: Array, kernel: Array, groups: int, geometry: _Geometry) -> tuple[Array, tuple[Array, Array]]:
    return _patches(x, kernel, groups, geometry), (x, kernel)


def _patches_backward(groups: int, geometry: _Geometry, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    back = geometry.transposed()
    # Input gradient: a convolution with the kernel turned round and its input and output channels exchanged.
    turned = kernel[::-1, ::-1].reshape(*kernel.shape[:3], groups, -1)
    turned = jnp.transpose(turned, (0, 1, 4, 3, 2)).reshape(*kernel.shape[:2], -1, x.shape[3])
    dx = _patches(geometry.spread(dy), turned, groups, back)
    columns = jnp.moveaxis(_columns(x, groups, geometry), 1, 2)
    dk = _products(columns, _by_group(dy, groups).astype(x.dtype))
    dk = jnp.moveaxis(dk, 0, 1).reshape(kernel.shape)
    return dx, dk.astype(kernel.dtype)


_patches.defvjp(_patches_forward, _patches_backward)


# --- the library's convolution (GPU, TPU) -----------------------------------------------------------------------


def _xla(x: Array, kernel: Array, groups: int, geometry: _Geometry) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (geometry.stride, geometry.stride),
        geometry.pads,
        rhs_dilation=(geometry.dilation, geometry.dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


# --- convolution by paths ---------------------------------------------------------------------------------------


def path_conv(x: Array, kernels: Array, *, stride: int = 1) -> Array:
    """Convolve every path with its own kernel: [N, H, W, P, I] with [P, k, k, I, O] to [N, H', W', P, O].

    The same sums as a loop over the P paths (which would not compile in useful time): the paths lie side by side as
    groups.
    """
    paths, k, _, inputs, outputs = kernels.shape
    flat = x.reshape(*x.shape[:3], paths * inputs)
    kernel = jnp.transpose(kernels, (1, 2, 3, 0, 4)).reshape(k, k, inputs, paths * outputs)
    y = spatial_conv(flat, kernel, groups=paths, stride=stride)
    return y.reshape(*y.shape[:3], paths, outputs)


# --- pointwise, normalisation, pooling --------------------------------------------------------------------------


def pointwise(x: Array, weights: Array) -> Array:
    """1x1 convolution of [..., C] with [C, N]: one 2-D product, summed in float32 (its weight gradient is one, too)."""
    flat = x.reshape(-1, x.shape[-1])
    y = jnp.matmul(flat, weights.astype(x.dtype), preferred_element_type=_wide(x.dtype))
    return y.reshape(*x.shape[:-1], weights.shape[1]).astype(x.dtype)


def join_paths(x: Array, weights: Array) -> Array:
    """Expand every path and sum over the paths: [N, H, W, P, I] with [P, I, O] to [N, H, W, O] (ResNeXt's joining)."""
    contract = (((3, 4), (0, 1)), ((), ()))
    return lax.dot_general(x, weights.astype(x.dtype), contract, preferred_element_type=_wide(x.dtype)).astype(x.dtype)


def activate(x: Array, activation: str) -> Array:
    """`none`, `relu` or `elu`."""
    if activation == "relu":
        return jnp.maximum(x, jnp.zeros((), x.dtype))
    if activation == "elu":
        return jax.nn.elu(x)
    return x


def _slope(y: Array, activation: str) -> Array | None:
    """The derivative of the activation from its output."""
    if activation == "relu":
        return (y > 0).astype(y.dtype)
    if activation == "elu":
        return jnp.where(y > 0, jnp.ones((), y.dtype), y + jnp.ones((), y.dtype))
    return None


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def batch_norm(x: Array, scale: Array, offset: Array, epsilon: float, activation: str) -> tuple[Array, Array, Array]:
    """Normalise [..., C] by the batch's own statistics, scale, shift and activate.

    Returns the result in the dtype of `x`, and the batch's mean and (biased) variance [C] in float32, through which no
    gradient flows. The gradient rule is written out: two sums and one pass, where autodiff makes many (11 to 2 ms at
    [128, 32, 32, 32] on two cores).
    """
    return _batch_norm_forward(x, scale, offset, epsilon, activation)[0]


def _batch_norm_forward(x: Array, scale: Array, offset: Array, epsilon: float, activation: str) -> tuple[Any, Any]:
    axes = tuple(range(x.ndim - 1))
    wide = x.astype(_wide(x.dtype))
    mean = wide.mean(axes)
    variance = jnp.maximum((wide * wide).mean(axes) - mean * mean, jnp.zeros((), wide.dtype))
    inverse = lax.rsqrt(variance + epsilon)
    gain = inverse * scale.astype(wide.dtype)
    shift = offset.astype(wide.dtype) - mean * gain
    y = activate(wide * _over_channels(gain, x.ndim) + _over_channels(shift, x.ndim), activation).astype(x.dtype)
    return (y, mean, variance), (x, y, mean, inverse, scale, offset)


def _batch_norm_backward(epsilon: float, activation: str, saved: Any, cotangents: Any) -> tuple[Array, Array, Array]:
    x, y, mean, inverse, scale, offset = saved
    dy = cotangents[0]
    axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    wide = mean.dtype
    slope = _slope(y, activation)
    dz = dy.astype(wide) if slope is None else dy.astype(wide) * slope.astype(wide)
    normal = (x.astype(wide) - _over_channels(mean, x.ndim)) * _over_channels(inverse, x.ndim)
    d_offset = dz.sum(axes)
    d_scale = (dz * normal).sum(axes)
    gain = _over_channels(inverse * scale.astype(wide), x.ndim)
    centred = dz - _over_channels(d_offset / count, x.ndim) - normal * _over_channels(d_scale / count, x.ndim)
    return (gain * centred).astype(x.dtype), d_scale.astype(scale.dtype), d_offset.astype(offset.dtype)


batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def max_pool(x: Array) -> Array:
    """2 x 2 maximum, stride 2, of [N, H, W, C]; a last odd row or column is left out.

    The maximum of four slices: its gradient is 20 times faster on the CPU than a window reduction's, and deterministic
    on a GPU, where select-and-scatter is not.
    """
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    rows = jnp.maximum(x[:, 0:h:2, :w], x[:, 1:h:2, :w])
    return jnp.maximum(rows[:, :, 0::2], rows[:, :, 1::2])


def avg_pool(x: Array, window: int, *, stride: int = 1) -> Array:
    """Mean over a window of [N, H, W, C] with SAME padding; padded pixels are not counted (as in TensorFlow)."""
    geometry = _Geometry(x.shape[1:3], (window, window), stride, 1, "SAME")
    wide = _wide(x.dtype)
    padded = geometry.pad(x)
    total = sum(geometry.tap(padded, i, j).astype(wide) for i, j in geometry.taps)
    return (total * jnp.asarray(1.0 / _window_counts(geometry), wide)).astype(x.dtype)


def _window_counts(geometry: _Geometry) -> np.ndarray:
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
