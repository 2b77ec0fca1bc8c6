"""Parameters and multiply-adds in closed form, without building anything and without jax.

Convention: `params` are trainable numbers (kernels, biases, BatchNorm scale and offset), `stats` BatchNorm's running
mean and variance, `macs` the multiply-adds of convolution and dense kernels for one picture forward: the sum of
H' W' k k (C_in / G) C_out, without biases, BatchNorm, activations and pooling. The 1x1 convolutions of squeeze and
excitation are counted, their multiplication of the map is not; neither is a classifier that exists in training alone.
FLOPs are twice the multiply-adds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dsresearch.design import Design, InputError
from dsresearch.fused_form import convolutions
from dsresearch.networks.vocabulary import Architecture, Padding, Window, both, pads


@dataclass(frozen=True)
class Cost:
    """Trainable parameters, BatchNorm statistics and multiply-adds a picture; costs add up."""

    params: int = 0
    stats: int = 0
    macs: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.params + other.params, self.stats + other.stats, self.macs + other.macs)


def conv(kernel: int, inputs: int, outputs: int, pixels: int, *, groups: int = 1) -> Cost:
    """A k x k convolution without bias, giving `pixels` output pixels."""
    params = kernel * kernel * (inputs // groups) * outputs
    return Cost(params=params, macs=params * pixels)


def norm(channels: int) -> Cost:
    """A BatchNorm: scale and offset, running mean and variance."""
    return Cost(params=2 * channels, stats=2 * channels)


def dense(inputs: int, outputs: int) -> Cost:
    """A fully connected layer with bias."""
    return Cost(params=inputs * outputs + outputs, macs=inputs * outputs)


def module(design: Design, c_in: int, c_out: int, size: tuple[int, int], stride: int = 1) -> Cost:
    """One module of a design on `size` input pixels (height, width), with SAME padding."""
    before = size[0] * size[1]
    after = -(-size[0] // stride) * -(-size[1] // stride)
    if design.formulation == "inception":
        return _inception(design, c_in, c_out // 4, before, after)
    total, pixels = Cost(), before
    for each in convolutions(design, c_in, c_out):
        pixels = after if each.part == "spatial" else pixels  # which is the convolution that strides
        total += conv(each.kernel, each.inputs, each.outputs, pixels, groups=each.groups)
        total += _between(design, each.outputs) if each.between else Cost()
    return total


def _between(design: Design, channels: int) -> Cost:
    return norm(channels) if design.normalise else Cost()


def _inception(design: Design, c_in: int, width: int, before: int, after: int) -> Cost:
    """Four towers that are `width` channels wide, from `before` pixels to `after`."""
    k, between = design.kernel, _between(design, width)
    point = conv(1, c_in, width, before) + between
    direct, pool = conv(1, c_in, width, after), conv(1, c_in, width, after)
    single = point + conv(k, width, width, after)
    double = point + conv(k, width, width, before) + between + conv(k, width, width, after)
    return direct + single + double + pool


def stack(design: Design, *, image: tuple[int, int], channels: int, classes: int) -> Cost:
    """The study's network (`networks.stack`) on pictures of so many pixels in height and width."""
    height, width = image
    total = conv(3, channels, design.width, height * width) + norm(design.width)
    blocks = iter(design.module_shapes())
    for stage, features in enumerate(design.widths):
        if stage:
            height, width = height // 2, width // 2
        for _ in range(design.depth):
            c_in, c_out = next(blocks)
            total += module(design, c_in, c_out, (height, width)) + norm(c_out)
        assert c_out == features
    return total + dense(design.widths[-1], classes)


# --- networks -----------------------------------------------------------------------------------------------------


def network(architecture: Architecture) -> Cost:
    """A network of `networks`, for one picture of its own size.

    Raises:
        InputError: the picture is too small for the strides, or a width leaves no channel.
    """
    return sum((layer.cost for layer in layers(architecture)), start=Cost())


@dataclass(frozen=True)
class Layer:
    """A layer that holds weights, in the order of use.

    Attributes:
        name: under which its weights are found.
        kind: `conv`, `dense`, `norm` or `prelu`.
        output: height, width and channels, or features.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    cost: Cost


def layers(architecture: Architecture) -> list[Layer]:
    """The layers of a network, for one picture of its own size. Raises InputError as `network`."""
    side = architecture.image
    counter = _Counter()
    try:
        architecture(counter, _Shape((1, side, side, architecture.channels)))
    except _TooSmallError:
        raise InputError(
            f"image={side} is not allowed: too small for the strides, at least {smallest(architecture)} pixels"
        ) from None
    return counter.layers


def smallest(architecture: Architecture) -> int:
    """The least side in pixels that every stride and window of a network still finds whole."""
    for side in range(1, 4096):
        try:
            architecture(_Counter(), _Shape((1, side, side, architecture.channels)))
        except _TooSmallError:
            continue
        return side
    raise ValueError(f"no picture is large enough for {architecture}")


class _TooSmallError(Exception):
    """A stride or window is larger than the map that it reads."""


@dataclass(frozen=True)
class _Shape:
    """A feature map that is nothing but its shape."""

    shape: tuple[int, ...]

    def channels(self, channels: int) -> "_Shape":
        return _Shape((*self.shape[:-1], channels))

    @property
    def pixels(self) -> int:
        return math.prod(self.shape[1:-1])


class _Counter:
    """Reads a network (`networks.vocabulary.Words`) as arithmetic over shapes, and lists what its layers cost."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def count(self, name: str, kind: str, output: _Shape, cost: Cost) -> _Shape:
        self.layers.append(Layer(name, kind, output.shape[1:], cost))
        return output

    def conv(
        self,
        name: str,
        x: _Shape,
        features: int,
        kernel: Window = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        padding: Padding = "SAME",
        bias: bool = False,
    ) -> _Shape:
        window, inputs = both(kernel), x.shape[-1]
        if inputs % groups or features % groups:
            raise InputError(
                f"groups={groups} is not allowed: {name} has {inputs} input and {features} output channels"
            )
        y = _slide(x, window, stride, padding, dilation).channels(features)
        weights = math.prod(window) * (inputs // groups) * features
        return self.count(name, "conv", y, Cost(weights + features * bias, 0, weights * y.pixels))

    def dense(self, name: str, x: _Shape, features: int, *, bias: bool = True) -> _Shape:
        weights = x.shape[-1] * features
        return self.count(name, "dense", x.channels(features), Cost(weights + features * bias, 0, weights))

    def norm(self, name: str, x: _Shape, *, epsilon: float, scale: bool = True, act: str = "none") -> _Shape:
        return self.count(name, "norm", x, Cost((1 + scale) * x.shape[-1], 2 * x.shape[-1]))

    def act(self, x: _Shape, activation: str) -> _Shape:
        return x

    def prelu(self, name: str, x: _Shape) -> _Shape:
        return self.count(name, "prelu", x, Cost(math.prod(x.shape[1:])))

    def max_pool(self, x: _Shape, window: int, stride: int, padding: Padding) -> _Shape:
        return _slide(x, both(window), stride, padding)

    def avg_pool(self, x: _Shape, window: int, stride: int, padding: Padding, *, count_padding: bool = False) -> _Shape:
        return _slide(x, both(window), stride, padding)

    def mean(self, x: _Shape) -> _Shape:
        return _Shape((x.shape[0], x.shape[-1]))

    def flatten(self, x: _Shape) -> _Shape:
        return _Shape((x.shape[0], math.prod(x.shape[1:])))

    def concat(self, maps: Sequence[_Shape]) -> _Shape:
        first = maps[0]
        assert all(each.shape[:-1] == first.shape[:-1] for each in maps), maps
        return first.channels(sum(each.shape[-1] for each in maps))

    def split(self, x: _Shape, channels: int) -> tuple[_Shape, _Shape]:
        return x.channels(channels), x.channels(x.shape[-1] - channels)

    def shuffle(self, x: _Shape, groups: int) -> _Shape:
        assert x.shape[-1] % groups == 0, (x, groups)
        return x

    def add(self, x: _Shape, y: _Shape) -> _Shape:
        assert x == y, (x, y)
        return x

    def gate(self, x: _Shape, weights: _Shape) -> _Shape:
        assert x.shape[-1] == weights.shape[-1], (x, weights)
        return x

    def pick(self, columns: int, share: float, tested: int | None) -> None:
        return None

    def join(self, columns: Sequence[_Shape], drop: float, numbers: Sequence[int], picked: None) -> _Shape:
        assert all(column == columns[0] for column in columns), columns
        return columns[0]

    def drop_path(self, x: _Shape, rate: float) -> _Shape:
        return x

    def dropout(self, x: _Shape, rate: float) -> _Shape:
        return x

    def lrn(self, x: _Shape, *, size: int, alpha: float, beta: float, k: float) -> _Shape:
        return x

    def broadcast(self, x: _Shape, like: _Shape) -> _Shape:
        return like.channels(x.shape[-1])

    def resize(self, x: _Shape, like: _Shape) -> _Shape:
        return like.channels(x.shape[-1])

    def auxiliary(self, head: Callable[[_Shape], _Shape], x: _Shape) -> None:
        before = len(self.layers)
        head(x)
        self.layers[before:] = [replace(each, cost=replace(each.cost, macs=0)) for each in self.layers[before:]]


def _slide(x: _Shape, window: tuple[int, int], stride: int, padding: Padding, dilation: int = 1) -> _Shape:
    """The map of a window's positions. Raises _TooSmallError where a stride finds a side smaller than itself."""
    sides = []
    for n, k, (before, after) in zip(
        x.shape[1:3], window, pads(x.shape[1:3], window, stride, dilation, padding), strict=True
    ):
        span = (k - 1) * dilation + 1
        if n < stride or n + before + after < span:
            raise _TooSmallError
        sides.append((n + before + after - span) // stride + 1)
    return _Shape((x.shape[0], *sides, x.shape[-1]))
