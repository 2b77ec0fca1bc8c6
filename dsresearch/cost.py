"""Parameters and multiply-adds in closed form, without building anything and without jax.

Convention: `params` are trainable numbers (kernels, biases, BatchNorm scale and offset), `stats` BatchNorm's running
mean and variance, `macs` the multiply-adds of convolution and dense kernels for one picture forward: the sum of
H' W' k k (C_in / G) C_out, without biases, BatchNorm, activations and pooling.
"""

from dataclasses import dataclass

from dsresearch.design import Design, bsconv_s_rank


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
    k = design.kernel

    def between(channels: int) -> Cost:
        return norm(channels) if design.normalise else Cost()

    match design.formulation:
        case "separable" | "separable_strict" | "hybrid":
            middle = c_in * design.multiplier
            return conv(k, c_in, middle, after, groups=c_in) + between(middle) + conv(1, middle, c_out, after)
        case "hybrid_learned" | "resnext":
            middle = c_in if design.formulation == "hybrid_learned" else c_out // 2
            paths = c_in if design.formulation == "hybrid_learned" else design.segments(middle)
            reduce = conv(1, c_in, middle, before) + between(middle)
            transform = conv(k, middle, middle, after, groups=paths) + between(middle)
            return reduce + transform + conv(1, middle, c_out, after)
        case "inception":
            width = c_out // 4
            point = conv(1, c_in, width, before) + between(width)
            direct, pool = conv(1, c_in, width, after), conv(1, c_in, width, after)
            single = point + conv(k, width, width, after)
            double = point + conv(k, width, width, before) + between(width) + conv(k, width, width, after)
            return direct + single + double + pool
        case "inception_simplified" | "inception_reformulated" | "inception_extreme":
            groups = c_out if design.formulation == "inception_extreme" else design.segments(c_out)
            return conv(1, c_in, c_out, before) + between(c_out) + conv(k, c_out, c_out, after, groups=groups)
        case "grouped":
            if design.order == "pointwise_first":
                spatial = conv(k, c_out, c_out, after, groups=design.segments(c_out))
                return conv(1, c_in, c_out, before) + between(c_out) + spatial
            spatial = conv(k, c_in, c_in, after, groups=design.segments(c_in))
            return spatial + between(c_in) + conv(1, c_in, c_out, after)
        case "bsconv_u" | "bsconv_s":
            rank = bsconv_s_rank(c_in)
            factored = conv(1, c_in, rank, before) + conv(1, rank, c_out, before)
            mixing = factored if design.formulation == "bsconv_s" else conv(1, c_in, c_out, before)
            return mixing + between(c_out) + conv(k, c_out, c_out, after, groups=c_out)
        case "regular":
            return conv(k, c_in, c_out, after)
    raise ValueError(f"no cost of formulation {design.formulation!r}")


def stack(design: Design, *, image: int, channels: int, classes: int) -> Cost:
    """The study's network (`networks.stack`) on pictures of `image` pixels a side."""
    total = conv(3, channels, design.width, image * image) + norm(design.width)
    size, blocks = image, iter(design.module_shapes())
    for stage, features in enumerate(design.widths):
        if stage:
            size //= 2
        for _ in range(design.depth):
            c_in, c_out = next(blocks)
            total += module(design, c_in, c_out, (size, size)) + norm(c_out)
        assert c_out == features
    return total + dense(design.widths[-1], classes)
