"""The study's network as a peer builds it: plain layers, path convolutions fused into grouped ones. No jax, no torch.

A second description of the formulations beside `modules`, on purpose: what PyTorch and plain Flax build from it, with
our weights loaded by it, must give our losses (tests/peers), so neither can be wrong alone.
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
    k, spatially = design.kernel, design.segments

    def between(channels: int, name: str = "between") -> tuple[Layer, ...]:
        nothing = not design.normalise and design.activation == "none"
        return () if nothing else (Between(name, channels, design.normalise, design.activation),)

    def by_paths(middle: int, paths: int) -> tuple[Layer, ...]:
        reduce = Conv("reduce", 1, c_in, middle, 1, "fan_out")
        transform = Conv("transform", k, middle, middle, paths, "paths")
        expand = Conv("expand", 1, middle, c_out, 1, "join")
        first, second = between(middle, "between_reduce"), between(middle, "between_transform")
        return (reduce, *first, transform, *second, expand)

    match design.formulation:
        case "separable":
            middle = c_in * design.multiplier
            spatial = Conv("depthwise", k, c_in, middle, c_in, "hwio")
            return (spatial, *between(middle), Conv("pointwise", 1, middle, c_out))
        case "separable_strict":
            return (Conv("filters", k, c_in, c_in, c_in, "paths"), *between(c_in), Conv("mixing", 1, c_in, c_out))
        case "hybrid":
            spatial = Conv("transform", k, c_in, c_in, c_in, "paths")
            return (spatial, *between(c_in), Conv("expand", 1, c_in, c_out, 1, "join"))
        case "hybrid_learned":
            return by_paths(c_in, c_in)
        case "resnext":
            return by_paths(c_out // 2, spatially(c_out // 2))
        case "inception":
            return (_inception(design, c_in, c_out // 4),)
        case "inception_simplified" | "inception_extreme":
            towers = c_out if design.formulation == "inception_extreme" else spatially(c_out)
            reduce = Conv("reduce", 1, c_in, c_out, 1, "fan_out")
            return (reduce, *between(c_out), Conv("spatial", k, c_out, c_out, towers, "paths"))
        case "inception_reformulated":
            spatial = Conv("spatial", k, c_out, c_out, spatially(c_out), "hwio")
            return (Conv("mixing", 1, c_in, c_out), *between(c_out), spatial)
        case "grouped" if design.order == "pointwise_first":
            spatial = Conv("spatial", k, c_out, c_out, spatially(c_out), "hwio")
            return (Conv("pointwise", 1, c_in, c_out), *between(c_out), spatial)
        case "grouped":
            spatial = Conv("spatial", k, c_in, c_in, spatially(c_in), "hwio")
            return (spatial, *between(c_in), Conv("pointwise", 1, c_in, c_out))
        case "super_separable":
            spatial = Conv("depthwise", k, c_in, c_in, c_in, "hwio")
            return (spatial, *between(c_in), Conv("pointwise", 1, c_in, c_out, spatially(c_in), "blocks"))
        case "bsconv_u":
            blueprint = Conv("blueprint", k, c_out, c_out, c_out, "hwio")
            return (Conv("mixing", 1, c_in, c_out), *between(c_out), blueprint)
        case "bsconv_s":
            rank = bsconv_s_rank(c_in)
            factors = (Conv("reduce", 1, c_in, rank), Conv("mixing", 1, rank, c_out))
            return (*factors, *between(c_out), Conv("blueprint", k, c_out, c_out, c_out, "hwio"))
        case "regular":
            return (Conv("kernel", k, c_in, c_out, 1, "hwio"),)
    raise ValueError(f"no layers of formulation {design.formulation!r}")


def _inception(design: Design, c_in: int, width: int) -> Towers:
    def between(name: str) -> tuple[Layer, ...]:
        nothing = not design.normalise and design.activation == "none"
        return () if nothing else (Between(name, width, design.normalise, design.activation),)

    def spatial(name: str) -> Conv:
        return Conv(name, design.kernel, width, width, 1, "hwio")

    return Towers(
        (
            (Conv("direct", 1, c_in, width),),
            (Conv("single_reduce", 1, c_in, width), *between("single_between"), spatial("single")),
            (
                Conv("double_reduce", 1, c_in, width),
                *between("double_between_reduce"),
                spatial("double_first"),
                *between("double_between_first"),
                spatial("double_last"),
            ),
            (AvgPool(design.kernel), Conv("pool", 1, c_in, width)),
        )
    )


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
