"""The study's network as a peer builds it: plain layers, path convolutions fused into grouped ones. No jax, no torch.

A second description of the formulations beside `modules`, on purpose: what PyTorch and plain Flax build from it, with
our weights loaded by it, must give our losses (tests/peers, tests/test_bench_flax.py), so neither can be wrong alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from dsresearch.design import Design, bsconv_s_rank

Weights = dict[str, dict[str, np.ndarray]]


class Conv(NamedTuple):
    """A convolution without bias, SAME padding, stride 1; `layout` says how our weights lie (`fused`)."""

    name: str
    kernel: int
    inputs: int
    outputs: int
    groups: int = 1
    layout: str = "matrix"


class Between(NamedTuple):
    """BatchNorm over the channels, or none, and an activation."""

    name: str
    channels: int
    normalise: bool
    activation: str


class AvgPool(NamedTuple):
    """Mean over a window, stride 1; padded pixels do not count."""

    window: int


class Towers(NamedTuple):
    """Towers on one input, their outputs concatenated."""

    towers: tuple[tuple["Layer", ...], ...]


Layer = Conv | Between | AvgPool | Towers


class Block(NamedTuple):
    """A module of the network with what stands in front of it: a halving of the picture in front of a new stage."""

    name: str
    pool: bool
    residual: bool
    pixels: int
    inputs: int
    outputs: int
    layers: tuple[Layer, ...]


def blocks(design: Design, image: int) -> Iterator[Block]:
    """The network between stem and head; BatchNorm and ReLU follow each block, 2 x 2 maxima each stage but the last."""
    shapes = iter(design.module_shapes())
    for stage in range(len(design.widths)):
        side = image // 2**stage
        for block in range(design.depth):
            c_in, c_out = next(shapes)
            pool, residual = stage > 0 and block == 0, design.residual and c_in == c_out
            name = f"stage{stage}_block{block}"
            yield Block(name, pool, residual, side * side, c_in, c_out, module(design, c_in, c_out))


def module(design: Design, c_in: int, c_out: int) -> tuple[Layer, ...]:
    """The layers of one module of a design."""
    match design.formulation:
        case "regular":
            return (Conv("kernel", design.kernel, c_in, c_out, 1, "hwio"),)
        case "hybrid_learned":
            return _by_paths(design, c_in, c_in, c_out, paths=c_in)
        case "resnext":
            return _by_paths(design, c_in, c_out // 2, c_out, paths=design.segments(c_out // 2))
        case "inception":
            return (_inception(design, c_in, c_out // 4),)
        case "bsconv_s":
            rank = bsconv_s_rank(c_in)
            factors = (Conv("reduce", 1, c_in, rank), Conv("mixing", 1, rank, c_out))
            blueprint = Conv("blueprint", design.kernel, c_out, c_out, c_out, "hwio")
            return (*factors, *_between(design, c_out), blueprint)
    first, second = _pair(design, c_in, c_out)
    return (first, *_between(design, first.outputs), second)


def _pair(design: Design, c_in: int, c_out: int) -> tuple[Conv, Conv]:
    """The two convolutions, one of them spatial, that most formulations are."""
    k, segments = design.kernel, design.segments
    match design.formulation:
        case "separable":
            middle = c_in * design.multiplier
            return Conv("depthwise", k, c_in, middle, c_in, "hwio"), Conv("pointwise", 1, middle, c_out)
        case "separable_strict":
            return Conv("filters", k, c_in, c_in, c_in, "paths"), Conv("mixing", 1, c_in, c_out)
        case "hybrid":
            return Conv("transform", k, c_in, c_in, c_in, "paths"), Conv("expand", 1, c_in, c_out, 1, "join")
        case "inception_simplified" | "inception_extreme":
            towers = c_out if design.formulation == "inception_extreme" else segments(c_out)
            return Conv("reduce", 1, c_in, c_out, 1, "fan_out"), Conv("spatial", k, c_out, c_out, towers, "paths")
        case "inception_reformulated":
            return Conv("mixing", 1, c_in, c_out), Conv("spatial", k, c_out, c_out, segments(c_out), "hwio")
        case "grouped" if design.order == "pointwise_first":
            return Conv("pointwise", 1, c_in, c_out), Conv("spatial", k, c_out, c_out, segments(c_out), "hwio")
        case "grouped":
            return Conv("spatial", k, c_in, c_in, segments(c_in), "hwio"), Conv("pointwise", 1, c_in, c_out)
        case "super_separable":
            pointwise = Conv("pointwise", 1, c_in, c_out, segments(c_in), "blocks")
            return Conv("depthwise", k, c_in, c_in, c_in, "hwio"), pointwise
        case "bsconv_u":
            return Conv("mixing", 1, c_in, c_out), Conv("blueprint", k, c_out, c_out, c_out, "hwio")
    raise ValueError(f"no layers of formulation {design.formulation!r}")


def _by_paths(design: Design, c_in: int, middle: int, c_out: int, paths: int) -> tuple[Layer, ...]:
    """Learned reductions, as many paths through the spatial convolution, and an expansion that sums them."""
    return (
        Conv("reduce", 1, c_in, middle, 1, "fan_out"),
        *_between(design, middle, "between_reduce"),
        Conv("transform", design.kernel, middle, middle, paths, "paths"),
        *_between(design, middle, "between_transform"),
        Conv("expand", 1, middle, c_out, 1, "join"),
    )


def _inception(design: Design, c_in: int, width: int) -> Towers:
    """Inception's four towers, each of so many channels."""

    def reduced(name: str, between: str) -> tuple[Layer, ...]:
        return (Conv(name, 1, c_in, width), *_between(design, width, between))

    def spatial(name: str) -> Conv:
        return Conv(name, design.kernel, width, width, 1, "hwio")

    return Towers(
        (
            (Conv("direct", 1, c_in, width),),
            (*reduced("single_reduce", "single_between"), spatial("single")),
            (
                *reduced("double_reduce", "double_between_reduce"),
                spatial("double_first"),
                *_between(design, width, "double_between_first"),
                spatial("double_last"),
            ),
            (AvgPool(design.kernel), Conv("pool", 1, c_in, width)),
        )
    )


def _between(design: Design, channels: int, name: str = "between") -> tuple[Layer, ...]:
    """What stands between two convolutions of a module, if anything does."""
    nothing = not design.normalise and design.activation == "none"
    return () if nothing else (Between(name, channels, design.normalise, design.activation),)


def flat(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """The layers with those of the towers in their place."""
    for layer in layers:
        if isinstance(layer, Towers):
            for tower in layer.towers:
                yield from flat(tower)
        else:
            yield layer


def weights(design: Design, image: int, params: Mapping[str, Any]) -> Weights:
    """Our parameters as a peer takes them: {layer: {kernel HWIO} or {scale, bias}}; the head's kernel is [C, n]."""

    def norm(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {"scale": np.asarray(tree["scale"]), "bias": np.asarray(tree["offset"])}

    out: Weights = {
        "stem": {"kernel": np.asarray(params["stem"])},
        "stem_norm": norm(params["stem_norm"]),
        "head": {"kernel": np.asarray(params["head"]), "bias": np.asarray(params["head_bias"])},
    }
    for block in blocks(design, image):
        body = params[block.name]["body"]
        for layer in flat(block.layers):
            if isinstance(layer, Conv):
                out[f"{block.name}_{layer.name}"] = {"kernel": fused(np.asarray(body[layer.name]), layer)}
            elif isinstance(layer, Between) and layer.normalise:
                out[f"{block.name}_{layer.name}"] = norm(body[layer.name]["norm"])
        out[f"{block.name}_norm"] = norm(params[f"{block.name}_norm"])
    return out


def fused(kernel: np.ndarray, layer: Conv) -> np.ndarray:
    """One of our kernels as HWIO [k, k, inputs / groups, outputs] of a grouped convolution."""
    shape = (layer.kernel, layer.kernel, layer.inputs // layer.groups, layer.outputs)
    match layer.layout:
        case "paths":  # [P, k, k, i, o]
            kernel = kernel.transpose(1, 2, 3, 0, 4)
        case "fan_out" | "blocks":  # [P, C, m], [G, m, o]
            kernel = kernel.transpose(1, 0, 2)
    return np.ascontiguousarray(kernel.reshape(shape))  # `matrix` [C, N], `join` [P, d, N], `hwio`
