"""Where a window stands over a picture: sizes, padding, and the pixels under each element of a kernel."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from dsresearch.operators.apart import apart

Array = jax.Array
Padding = Literal["SAME", "VALID"]
Pads = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Geometry:
    """The static shape of a window's walk: hashable, so that it can be a non-differentiable argument.

    Attributes:
        size: height and width of the picture.
        window: of the kernel.
        out: of the result.
        pads: zeros before and behind the picture, down and across.
    """

    size: tuple[int, ...]
    window: tuple[int, ...]
    stride: int
    dilation: int
    out: tuple[int, ...]
    pads: Pads

    @staticmethod
    def of(size: tuple[int, ...], window: tuple[int, ...], stride: int, dilation: int, padding: Padding) -> "Geometry":
        """The walk over pictures of that size."""
        spans = [(k - 1) * dilation + 1 for k in window]
        if padding == "SAME":
            out = tuple(-(-n // stride) for n in size)
            totals = [max((o - 1) * stride + s - n, 0) for o, s, n in zip(out, spans, size, strict=True)]
        else:
            out = tuple((n - s) // stride + 1 for n, s in zip(size, spans, strict=True))
            totals = [0, 0]
        pads: Pads = tuple((t // 2, t - t // 2) for t in totals)  # type: ignore[assignment]
        return Geometry(tuple(size), tuple(window), stride, dilation, out, pads)

    def pad(self, x: Array) -> Array:
        """Zero-pad [N, H, W, ...]; stored, because its readers would each pad anew (5 times slower)."""
        (top, bottom), (left, right) = self.pads
        if not any((top, bottom, left, right)):
            return x
        rest = [(0, 0, 0)] * (x.ndim - 3)
        padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (top, bottom, 0), (left, right, 0), *rest])
        return apart(padded)

    def tap(self, padded: Array, i: int, j: int) -> Array:
        """The picture under kernel element (i, j), [N, H', W', ...]."""
        start = (0, i * self.dilation, j * self.dilation) + (0,) * (padded.ndim - 3)
        stop = [
            padded.shape[0],
            *(s + (o - 1) * self.stride + 1 for s, o in zip(start[1:3], self.out, strict=True)),
            *padded.shape[3:],
        ]
        return lax.slice(padded, start, stop, (1, self.stride, self.stride) + (1,) * (padded.ndim - 3))

    def transposed(self) -> "Geometry":
        """The stride-1 convolution that carries a gradient back, over the output dilated by `stride`."""
        dilated = tuple((o - 1) * self.stride + 1 for o in self.out)
        spans = [(k - 1) * self.dilation + 1 for k in self.window]
        pads: Pads = tuple(  # type: ignore[assignment]
            (s - 1 - before, n - g + before)
            for n, g, s, (before, _) in zip(self.size, dilated, spans, self.pads, strict=True)
        )
        return Geometry(dilated, self.window, 1, self.dilation, self.size, pads)

    def dilated(self, dy: Array) -> Array:
        """The gradient with stride - 1 zeros between its pixels."""
        if self.stride == 1:
            return dy
        gaps = [(0, 0, 0), (0, 0, self.stride - 1), (0, 0, self.stride - 1), *[(0, 0, 0)] * (dy.ndim - 3)]
        return lax.pad(dy, jnp.zeros((), dy.dtype), gaps)

    def kernel_pads(self) -> Pads:
        """Padding of the picture where its kernel's gradient is a convolution with the gradient dilated by `stride`."""
        reach = [
            (k - 1) * self.dilation + (o - 1) * self.stride + 1 for k, o in zip(self.window, self.out, strict=True)
        ]
        return tuple((low, r - n - low) for r, n, (low, _) in zip(reach, self.size, self.pads, strict=True))  # type: ignore[return-value]

    @property
    def taps(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self.window[0]) for j in range(self.window[1])]


def turned(kernel: Array, groups: int) -> Array:
    """The kernel of `Geometry.transposed`: turned round, and in every group the input and output channels exchanged."""
    return exchanged(kernel[::-1, ::-1], groups)


def exchanged(kernel: Array, groups: int) -> Array:
    """A kernel [k, k, C / G, M] with the input and output channels of every group exchanged: [k, k, M / G, C]."""
    *window, inputs, outputs = kernel.shape
    by_group = kernel.reshape(*window, inputs, groups, outputs // groups)
    exchanged = jnp.transpose(by_group, (0, 1, 4, 3, 2)).reshape(*window, outputs // groups, groups * inputs)
    return apart(exchanged)  # small; fused, it would be exchanged anew for every pixel


def wide_dtype(dtype: Any) -> Any:
    """The dtype of sums: float32, or float64 for float64."""
    return jnp.float64 if dtype == jnp.float64 else jnp.float32


def over_channels(values: Array, rank: int) -> Array:
    """Shape trailing values for multiplication with an array of that rank (explicit: no rank promotion)."""
    return values.reshape((1,) * (rank - values.ndim) + values.shape)
