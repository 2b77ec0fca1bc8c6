"""Makes the Flax network of an architecture: one module for every layer that holds weights, one level of names.

`Network(architecture)(x, train)` gives logits in float32 or wider. BatchNorm's running statistics are the collection
`stats`; dropout and dropped paths draw from the rng `dropout`, in training alone; an auxiliary classifier's logits are
sown into `auxiliary`, in training alone. Kernels are declared by their standard deviation, as in `modules`, and
`modules.draw` gives initial weights.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dsresearch import operators
from dsresearch.design import ACTIVATIONS, InputError
from dsresearch.modules import BatchNorm, he
from dsresearch.networks import layers
from dsresearch.networks.vocabulary import Architecture, Padding, Window, both, pads

Array = jax.Array


class Network(nn.Module):
    """Logits [N, classes] of pictures [N, H, W, C] of floating-point numbers."""

    architecture: Architecture

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        logits = self.architecture(_Builder(self, train), x)
        return logits if logits.dtype == jnp.float64 else logits.astype(jnp.float32)


def check_weights(architecture: Architecture, variables: Mapping[str, Any]) -> None:
    """Raise InputError naming the first layer by which weights are not those of this architecture.

    Args:
        variables: `params` and, where the network has any, `stats`.
    """
    picture = jax.ShapeDtypeStruct((1, architecture.image, architecture.image, architecture.channels), jnp.float32)
    own = _shapes(jax.eval_shape(lambda x: Network(architecture).init(jax.random.key(0), x, True), picture))
    given = _shapes({kind: variables[kind] for kind in ("params", "stats") if kind in variables})
    for name in sorted(own.keys() | given.keys()):
        if own.get(name) != given.get(name):
            raise InputError(
                f"weights are not allowed: {name} is {given.get(name, 'missing')}, "
                f"{type(architecture).__name__} needs {own.get(name, 'no such layer')}"
            )


def _shapes(variables: Any) -> dict[str, tuple[int, ...]]:
    return {
        "/".join(str(step.key) for step in path): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


class Conv(nn.Module):
    """A convolution with `kernel` [k, k', C / groups, features], and `bias` [features] where asked for."""

    features: int
    window: tuple[int, int]
    stride: int
    groups: int
    dilation: int
    padding: Padding
    bias: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        inputs = x.shape[-1] // self.groups
        shape = (*self.window, inputs, self.features)
        kernel = self.param("kernel", he(math.prod(self.window) * inputs), shape)
        y = self.convolve(x, kernel)
        if not self.bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return y + bias.astype(y.dtype).reshape(1, 1, 1, -1)

    def convolve(self, x: Array, kernel: Array) -> Array:
        size, same = x.shape[1:3], "SAME"
        amounts = pads(size, self.window, self.stride, self.dilation, self.padding)
        if self.window == (1, 1) and self.groups == 1 and not any(map(any, amounts)):
            return operators.pointwise(x[:, :: self.stride, :: self.stride], kernel[0, 0])
        if amounts != pads(size, self.window, self.stride, self.dilation, same):
            x, same = layers.pad(x, amounts), "VALID"
        return operators.spatial_conv(
            x,
            kernel,
            groups=self.groups,
            stride=self.stride,
            dilation=self.dilation,
            padding=same,  # type: ignore[arg-type]
        )


class Dense(nn.Module):
    """A fully connected layer with `kernel` [C, features], and `bias` [features] where asked for."""

    features: int
    bias: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", he(2 * x.shape[-1]), (x.shape[-1], self.features))
        y = operators.pointwise(x, kernel)
        if not self.bias:
            return y
        return y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype).reshape(1, -1)


class PReLU(nn.Module):
    """ReLU with a trained `slope` [H, W, C], at first 0 (Keras's default)."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return layers.prelu(x, self.param("slope", nn.initializers.zeros, x.shape[1:]))


class _Builder:
    """Reads a network (`networks.vocabulary.Words`) as arithmetic on arrays, within a module's call."""

    def __init__(self, module: nn.Module, train: bool) -> None:
        self.module, self.train = module, train

    @property
    def drops(self) -> bool:
        return self.train and not self.module.is_initializing()

    def conv(
        self,
        name: str,
        x: Array,
        features: int,
        kernel: Window = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        padding: Padding = "SAME",
        bias: bool = False,
    ) -> Array:
        return Conv(features, both(kernel), stride, groups, dilation, padding, bias, name=name)(x)

    def dense(self, name: str, x: Array, features: int, *, bias: bool = True) -> Array:
        return Dense(features, bias, name=name)(x)

    def norm(self, name: str, x: Array, *, epsilon: float, scale: bool = True, act: str = "none") -> Array:
        fused = act if act in ACTIVATIONS else "none"
        y = BatchNorm(fused, epsilon, scale, name=name)(x, self.train)
        return y if fused == act else layers.ACTIVATIONS[act](y)

    def act(self, x: Array, activation: str) -> Array:
        return layers.ACTIVATIONS[activation](x)

    def prelu(self, name: str, x: Array) -> Array:
        return PReLU(name=name)(x)

    def max_pool(self, x: Array, window: int, stride: int, padding: Padding) -> Array:
        return layers.max_pool(x, window, stride, padding)

    def avg_pool(self, x: Array, window: int, stride: int, padding: Padding, *, count_padding: bool = False) -> Array:
        return layers.avg_pool(x, window, stride, padding, count_padding=count_padding)

    def mean(self, x: Array) -> Array:
        wide = x if x.dtype == jnp.float64 else x.astype(jnp.float32)
        return wide.mean((1, 2))

    def flatten(self, x: Array) -> Array:
        return x.reshape(x.shape[0], -1)

    def concat(self, maps: Sequence[Array]) -> Array:
        return jnp.concatenate(list(maps), axis=-1)

    def split(self, x: Array, channels: int) -> tuple[Array, Array]:
        return x[..., :channels], x[..., channels:]

    def shuffle(self, x: Array, groups: int) -> Array:
        return layers.channel_shuffle(x, groups)

    def add(self, x: Array, y: Array) -> Array:
        return x + y

    def gate(self, x: Array, weights: Array) -> Array:
        return x * weights.astype(x.dtype)[:, None, None, :]

    def pick(self, columns: int, share: float, tested: int | None) -> Array | int | None:
        if not self.train:
            return tested
        if not (self.drops and share):
            return None
        coin, which = jax.random.split(self.module.make_rng("dropout"))
        return jnp.where(jax.random.bernoulli(coin, share), jax.random.randint(which, (), 0, columns), -1)

    def join(self, columns: Sequence[Array], drop: float, numbers: Sequence[int], picked: Array | int | None) -> Array:
        if isinstance(picked, int):
            return columns[numbers.index(picked)]
        if self.drops and (drop or picked is not None):
            alone = None if picked is None else jnp.asarray(numbers) == picked
            return layers.join_columns(columns, drop, self.module.make_rng("dropout"), alone)
        return sum(columns[1:], start=columns[0]) / len(columns)

    def drop_path(self, x: Array, rate: float) -> Array:
        return layers.drop_path(x, rate, self.module.make_rng("dropout")) if self.drops and rate else x

    def dropout(self, x: Array, rate: float) -> Array:
        return layers.dropout(x, rate, self.module.make_rng("dropout")) if self.drops and rate else x

    def lrn(self, x: Array, *, size: int, alpha: float, beta: float, k: float) -> Array:
        return layers.local_response_norm(x, size=size, alpha=alpha, beta=beta, k=k)

    def broadcast(self, x: Array, like: Array) -> Array:
        return jnp.broadcast_to(x.astype(like.dtype)[:, None, None, :], (*like.shape[:3], x.shape[-1]))

    def resize(self, x: Array, like: Array) -> Array:
        return layers.resize(x, like.shape[1], like.shape[2])

    def auxiliary(self, head: Callable[[Array], Array], x: Array) -> None:
        if self.train:
            self.module.sow("auxiliary", "logits", head(x))
