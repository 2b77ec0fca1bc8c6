"""The spatial convolution at any group count: which algorithm, and where in blocks."""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from dsresearch.operators import native
from dsresearch.operators.blocks import in_blocks
from dsresearch.operators.dense import in_tiles, library
from dsresearch.operators.geometry import Geometry, Padding
from dsresearch.operators.patches import patches
from dsresearch.operators.taps import taps

Array = jax.Array


def algorithm(
    backend: str, inputs: int, groups: int, ours: bool = False
) -> Literal["native", "taps", "patches", "dense", "library"]:
    """How a spatial convolution is computed, from the backend, the channels that a filter reads, and the groups.

    `ours` says that kernels of our own are asked for and fit (`operators.native`).

    | backend  | channels a filter reads      | algorithm | why (one core, [128, 32, 32, 32] and like it) |
    |----------|------------------------------|-----------|-----------------------------------------------|
    | cpu      | any, where `ours`            | native    | regular 21 to 23 ms a direction, dense 23 to 38; |
    |          |                              |           | fewer products where `native.winograd.saves`  |
    | cpu      | 1                            | taps      | both gradients 10 ms; the library's 100 and more |
    | cpu      | up to 8, in 4 groups or more | taps      | 11 ms a channel, dense products 110 ms whatever the groups |
    | cpu      | 2 or 3                       | patches   | a stem's three directions 9 ms, dense 15 |
    | cpu      | more                         | dense     | products at 85 GFLOP/s; taps grow with the channels |
    | gpu, tpu | 1                            | taps      | not measured: that XLA fuses them with their neighbours |
    | gpu, tpu | more                         | library   | not measured: that its routines serve groups |
    """
    if ours:
        return "native"
    if backend == "cpu":
        if inputs == 1 or (groups >= 4 and inputs <= 8):
            return "taps"
        return "patches" if inputs < 4 else "dense"
    return "taps" if inputs == 1 else "library"


def spatial_conv(
    x: Array, kernel: Array, *, groups: int = 1, stride: int = 1, dilation: int = 1, padding: Padding = "SAME"
) -> Array:
    """Correlate pictures [N, H, W, C] with a kernel [k, k, C / groups, M] in `groups` groups of channels.

    Output j of M reads the input channels of group j // (M / groups), as in `lax.conv_general_dilated`; strides,
    dilation and padding mean what they mean there. Returns [N, H', W', M] in the dtype of `x`; products are summed in
    float32 (float64 for float64).

    Raises:
        ValueError: the channel counts do not divide.
    """
    channels, (_, _, inputs, outputs) = x.shape[-1], kernel.shape
    if channels != inputs * groups or outputs % groups:
        raise ValueError(f"kernel {kernel.shape} does not fit {channels} channels in {groups} groups")
    geometry = Geometry.of(x.shape[1:3], kernel.shape[:2], stride, dilation, padding)
    match algorithm(jax.default_backend(), inputs, groups, ours=_has_kernel(x, kernel, groups, geometry)):
        case "native":
            from dsresearch.operators.native.convolution import correlate

            return correlate(x, kernel, groups, geometry)
        case "taps":
            size = max(math.prod(x.shape[1:]), math.prod(geometry.out) * outputs) * x.dtype.itemsize
            return in_blocks(lambda x, k: taps(x, k, groups, geometry), x, kernel, size)
        case "patches":
            return patches(x, kernel, groups, geometry)
        case "dense":
            return in_tiles(x, kernel, groups, geometry)
        case "library":
            return library(x, kernel, groups, geometry)


def _has_kernel(x: Array, kernel: Array, groups: int, geometry: Geometry) -> bool:
    """Whether a kernel of our own is asked for and fits. What makes them is imported here: it needs an extra."""
    if not native.chosen():
        return False
    from dsresearch.operators.native.convolution import fits

    return fits(x, kernel, groups, geometry)


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
