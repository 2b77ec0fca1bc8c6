"""The formulations of a separable convolution and their relatives, as one family of Flax modules.

A module maps [N, H, W, C] to [N, H / stride, W / stride, features] without a last activation: the network puts
BatchNorm and ReLU behind every module, so that only the module differs (Ghosh 2017, Figure 4). Each formulation has its
own parameter tree and is written as its own sum; which of them are the same function is for `transport` to prove. Paths
are laid side by side before they are computed (`operators.path_conv`), so that formulations of one function may come
out the same to the bit.

Initial weights are He-normal in the *fused* form: the fans are those of the whole sum over paths, whatever the shape in
which a formulation stores its kernels. A literal per-path kernel [1, 1, 1, N] would get fan-in 1 and another
distribution. A module declares a kernel by its standard deviation; `draw` multiplies all of them with one vector of
normals, because a random generator for each kernel takes XLA ten seconds to compile, and one for all of them a fifth of
a second.

Letters in shapes: k kernel side, C input channels, N features, G groups or paths, m and o channels of one path.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dsresearch import operators
from dsresearch.design import Design, bsconv_s_rank

Array = jax.Array
Initialiser = Callable[..., Array]

BN_EPSILON = 1e-5
BN_DECAY = 0.9  # of the running statistics; the paper is silent


def he(fan_in: int) -> Initialiser:
    """The standard deviation of a kernel in front of a ReLU: variance 2 / fan_in, the fan-in of the fused form."""
    return nn.initializers.constant((2.0 / fan_in) ** 0.5)


def draw(network: nn.Module, key: Array, image: tuple[int, int, int]) -> tuple[Any, Any]:
    """Initial weights and BatchNorm statistics of a network or module for pictures of (H, W, C), from a key.

    What has more than one axis is a kernel and holds its standard deviation until it is multiplied with normals here;
    scales, offsets and biases are what they were declared.
    """
    variables = network.init(key, jnp.zeros((1, *image), jnp.float32), True)
    params = variables["params"]
    leaves = jax.tree.leaves(params)
    kernels = [leaf for leaf in leaves if leaf.ndim > 1]
    normals = jax.random.normal(key, (sum(leaf.size for leaf in kernels),), jnp.float32)
    ends = list(itertools.accumulate(leaf.size for leaf in kernels))
    drawn = (leaf * normals[end - leaf.size : end].reshape(leaf.shape) for leaf, end in zip(kernels, ends, strict=True))
    params = jax.tree.map(lambda leaf: next(drawn) if leaf.ndim > 1 else leaf, params)
    return params, variables.get("stats", {})


class BatchNorm(nn.Module):
    """BatchNorm over the last axis and an activation behind it, with running statistics for evaluation.

    Attributes:
        activation: `none`, `relu` or `elu`.
        epsilon: added to the variance.
        scaled: whether it has a trained scale; else that is 1.
    """

    activation: str = "none"
    epsilon: float = BN_EPSILON
    scaled: bool = True

    def __call__(self, x: Array, train: bool) -> Array:
        """Normalise [..., C] by its own statistics, or, in evaluation, by the running ones."""
        affine = self.affine(operators.moments(x), x.size // x.shape[-1], train)
        return operators.apply_affine(x, affine, self.activation)

    @nn.compact
    def affine(self, sums: operators.Moments, count: int, train: bool) -> operators.Affine:
        """The map that normalises pictures whose `count` numbers a channel have these sums (evaluation reads none)."""
        channels = sums.total.shape
        offset = self.param("offset", nn.initializers.zeros, channels)
        scale = self.param("scale", nn.initializers.ones, channels) if self.scaled else jnp.ones(channels, offset.dtype)
        mean = self.variable("stats", "mean", jnp.zeros, channels, offset.dtype)
        variance = self.variable("stats", "variance", jnp.ones, channels, offset.dtype)
        if not train:
            return operators.standardise(mean.value, variance.value, scale, offset, self.epsilon)
        batch_mean, batch_variance = operators.statistics(sums, count)
        if not self.is_initializing():
            mean.value = BN_DECAY * mean.value + (1 - BN_DECAY) * jax.lax.stop_gradient(batch_mean)
            variance.value = BN_DECAY * variance.value + (1 - BN_DECAY) * jax.lax.stop_gradient(batch_variance)
        return operators.standardise(batch_mean, batch_variance, scale, offset, self.epsilon)


class Between(nn.Module):
    """What stands between two operations of a module: BatchNorm or not, then an activation or none.

    Paths [N, H, W, G, m] are normalised channel by channel, like their concatenation.
    """

    activation: str
    normalise: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        if not self.normalise:
            return operators.activate(x, self.activation)
        flat = x.reshape(*x.shape[:3], -1)
        return BatchNorm(self.activation, name="norm")(flat, train).reshape(x.shape)


class Formulation(nn.Module):
    """What every formulation reads: output channels, kernel side, stride, and what stands between its operations."""

    features: int
    kernel: int = 3
    stride: int = 1
    activation: str = "none"
    normalise: bool = False

    def between(self, x: Array, train: bool, name: str = "between") -> Array:
        return Between(self.activation, self.normalise, name=name)(x, train)

    def weights(self, name: str, shape: tuple[int, ...], fan_in: int) -> Array:
        return self.param(name, he(fan_in), shape)


class Separable(Formulation):
    """The baseline: y_n = sum_m P[n, m] (D[m] * x_m), depthwise and then pointwise, with depth multiplier q."""

    multiplier: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels, k = x.shape[-1], self.kernel
        middle = channels * self.multiplier
        depthwise = self.weights("depthwise", (k, k, 1, middle), k * k)
        pointwise = self.weights("pointwise", (middle, self.features), middle)
        z = operators.spatial_conv(x, depthwise, groups=channels, stride=self.stride)
        return operators.pointwise(self.between(z, train), pointwise)


class SeparableStrict(Formulation):
    """The strict equivalent: z_m = D[m] * x[m:m+1] slice by slice, z = concat of the slices, y = P z."""

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels, k = x.shape[-1], self.kernel
        filters = self.weights("filters", (channels, k, k, 1, 1), k * k)
        mixing = self.weights("mixing", (channels, self.features), channels)
        slices = x[..., None]  # [N, H, W, C, 1]: the C slices x[m:m+1]
        z = operators.path_conv(slices, filters, stride=self.stride)
        concatenated = z.reshape(*z.shape[:3], channels)
        return operators.pointwise(self.between(concatenated, train), mixing)


class Hybrid(Formulation):
    """The hybrid hypothesis: y = sum_m T_m(x), T_m(x) = P[:, m] (D[m] * x_m).

    A ResNeXt module with cardinality = channels, width 1, a channel selector for its reduce, SUM joining, no identity.
    """

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels, k = x.shape[-1], self.kernel
        transform = self.weights("transform", (channels, k, k, 1, 1), k * k)
        expand = self.weights("expand", (channels, 1, self.features), channels)
        z = operators.path_conv(x[..., None], transform, stride=self.stride)
        return operators.join_paths(self.between(z, train), expand)


class ResNeXt(Formulation):
    """y = sum_i E_i s(S_i * s(A_i x)) over `cardinality` paths of width `path_width` (Xie et al. 2017, Fig. 3a)."""

    cardinality: int = 1
    path_width: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels, k, paths, d = x.shape[-1], self.kernel, self.cardinality, self.path_width
        reduce = self.weights("reduce", (paths, channels, d), channels)
        transform = self.weights("transform", (paths, k, k, d, d), k * k * d)
        expand = self.weights("expand", (paths, d, self.features), paths * d)
        u = self.between(_fan_out(x, reduce), train, "between_reduce")
        z = self.between(operators.path_conv(u, transform, stride=self.stride), train, "between_transform")
        return operators.join_paths(z, expand)


class Inception(Formulation):
    """y = concat of four towers of a quarter of the features: 1x1; 1x1-kxk; 1x1-kxk-kxk; average pool-1x1.

    s stands after each convolution of a tower but its last. The towers' inner width is their output's.
    """

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels, k, width = x.shape[-1], self.kernel, self.features // 4

        def point(name: str, z: Array) -> Array:
            return operators.pointwise(z, self.weights(name, (channels, width), channels))

        def spatial(name: str, z: Array, stride: int) -> Array:
            kernel = self.weights(name, (k, k, width, width), k * k * width)
            return operators.spatial_conv(z, kernel, stride=stride)

        direct = point("direct", x[:, :: self.stride, :: self.stride])
        single = self.between(point("single_reduce", x), train, "single_between")
        single = spatial("single", single, self.stride)
        double = self.between(point("double_reduce", x), train, "double_between_reduce")
        double = self.between(spatial("double_first", double, 1), train, "double_between_first")
        double = spatial("double_last", double, self.stride)
        pooled = point("pool", operators.avg_pool(x, k, stride=self.stride))
        return jnp.concatenate([direct, single, double, pooled], axis=-1)


class InceptionSimplified(Formulation):
    """Xception Fig. 2 (Fig. 4 with as many towers as features): equal towers B_t = S_t * s(A_t x), concatenated."""

    towers: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels, k, width = x.shape[-1], self.kernel, self.features // self.towers
        reduce = self.weights("reduce", (self.towers, channels, width), channels)
        spatial = self.weights("spatial", (self.towers, k, k, width, width), k * k * width)
        u = self.between(_fan_out(x, reduce), train)
        y = operators.path_conv(u, spatial, stride=self.stride)
        return y.reshape(*y.shape[:3], self.features)


class InceptionReformulated(Formulation):
    """Xception Fig. 3: one 1x1 over everything, then a convolution in `segments` groups: y = GroupConv(s(A x))."""

    segments: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels, k, width = x.shape[-1], self.kernel, self.features // self.segments
        mixing = self.weights("mixing", (channels, self.features), channels)
        spatial = self.weights("spatial", (k, k, width, self.features), k * k * width)
        u = self.between(operators.pointwise(x, mixing), train)
        return operators.spatial_conv(u, spatial, groups=self.segments, stride=self.stride)


class Grouped(Formulation):
    """The continuum: a spatial convolution in G groups and a 1x1, in either order (Xception section 1.2)."""

    groups: int = 1
    pointwise_first: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels, k = x.shape[-1], self.kernel
        middle = self.features if self.pointwise_first else channels
        a_group = middle // self.groups
        spatial = self.weights("spatial", (k, k, a_group, middle), k * k * a_group)
        pointwise = self.weights("pointwise", (channels, self.features), channels)
        if self.pointwise_first:
            u = self.between(operators.pointwise(x, pointwise), train)
            return operators.spatial_conv(u, spatial, groups=self.groups, stride=self.stride)
        z = operators.spatial_conv(x, spatial, groups=self.groups, stride=self.stride)
        return operators.pointwise(self.between(z, train), pointwise)


class SuperSeparable(Formulation):
    """A separable convolution on each of G groups of channels (Kaiser et al. 2018, section 2.2).

    G = 1 is the separable convolution. Kaiser et al. alternate coprime G; with one G in every module, as here, channels
    of different groups meet in the network's head alone.
    """

    groups: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels, k, groups = x.shape[-1], self.kernel, self.groups
        a_group = channels // groups
        depthwise = self.weights("depthwise", (k, k, 1, channels), k * k)
        pointwise = self.weights("pointwise", (groups, a_group, self.features // groups), a_group)
        z = self.between(operators.spatial_conv(x, depthwise, groups=channels, stride=self.stride), train)
        y = operators.path_conv(z.reshape(*z.shape[:3], groups, a_group), pointwise[:, None, None])
        return y.reshape(*y.shape[:3], self.features)


class Blueprint(Formulation):
    """BSConv (Haase and Amthor 2020): pointwise, then depthwise; `rank` > 0 factors the pointwise one (BSConv-S).

    The orthonormality loss of BSConv-S is not part of the module.
    """

    rank: int = 0

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels, k = x.shape[-1], self.kernel
        u = x
        if self.rank:
            u = operators.pointwise(u, self.weights("reduce", (channels, self.rank), channels))
        u = operators.pointwise(u, self.weights("mixing", (u.shape[-1], self.features), u.shape[-1]))
        blueprint = self.weights("blueprint", (k, k, 1, self.features), k * k)
        return operators.spatial_conv(self.between(u, train), blueprint, groups=self.features, stride=self.stride)


class Regular(Formulation):
    """One k x k convolution over all channels: the other end of the spectrum."""

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels, k = x.shape[-1], self.kernel
        kernel = self.weights("kernel", (k, k, channels, self.features), k * k * channels)
        return operators.spatial_conv(x, kernel, stride=self.stride)


def _fan_out(x: Array, weights: Array) -> Array:
    """The 1x1 convolutions of all paths: [N, H, W, C] with [G, C, m] to [N, H, W, G, m]."""
    paths, channels, width = weights.shape
    y = operators.pointwise(x, jnp.transpose(weights, (1, 0, 2)).reshape(channels, paths * width))
    return y.reshape(*y.shape[:3], paths, width)


def formulation(design: Design, channels: int, features: int, stride: int = 1, name: str | None = None) -> Formulation:
    """The module of a design for `channels` -> `features`, without its residual connection."""
    shared: dict[str, Any] = {
        "features": features,
        "kernel": design.kernel,
        "stride": stride,
        "activation": design.activation,
        "normalise": design.normalise,
        "name": name,
    }
    match design.formulation:
        case "separable":
            return Separable(**shared, multiplier=design.multiplier)
        case "separable_strict":
            return SeparableStrict(**shared)
        case "hybrid":
            return Hybrid(**shared)
        case "hybrid_learned":
            return ResNeXt(**shared, cardinality=channels, path_width=1)
        case "resnext":
            cardinality = design.segments(features // 2)
            return ResNeXt(**shared, cardinality=cardinality, path_width=features // 2 // cardinality)
        case "inception":
            return Inception(**shared)
        case "inception_simplified":
            return InceptionSimplified(**shared, towers=design.segments(features))
        case "inception_extreme":
            return InceptionSimplified(**shared, towers=features)
        case "inception_reformulated":
            return InceptionReformulated(**shared, segments=design.segments(features))
        case "grouped":
            first = design.order == "pointwise_first"
            return Grouped(**shared, groups=design.segments(features if first else channels), pointwise_first=first)
        case "super_separable":
            return SuperSeparable(**shared, groups=design.segments(channels))
        case "bsconv_u":
            return Blueprint(**shared)
        case "bsconv_s":
            return Blueprint(**shared, rank=bsconv_s_rank(channels))
        case "regular":
            return Regular(**shared)
    raise ValueError(f"no module for formulation {design.formulation!r}")


class SeparableModule(nn.Module):
    """A formulation and, where the design asks for it and the shapes agree, its identity connection."""

    design: Design
    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        y = formulation(self.design, x.shape[-1], self.features, self.stride, name="body")(x, train)
        return x + y if self.design.residual and x.shape == y.shape else y
