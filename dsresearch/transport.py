"""Weights from one formulation to another that computes the same function with them.

Two kinds of map. An *index map* moves numbers and mixes none: formulations of one family store the same fused kernels
in other layouts, and their BatchNorm stands on the same channels in the same order, so that its parameters and
statistics are copied. A *linear map* goes through the dense kernel K[h, w, m, n] of a module without BatchNorm and
activation between its operations, and factors it again as the other formulation wants it, by singular values.

Everything is NumPy: leaves come back as arrays of the dtype that they came in.

Letters in shapes: k kernel side, C input channels, N features, M middle channels, G groups or paths.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dsresearch.design import Design, bsconv_s_rank

Tree = Mapping[str, Any]
Floats = npt.NDArray[Any]

FITS = 1e-10  # a factorisation that misses its kernel by more (relative, float64) is none


class Part(NamedTuple):
    """Where a formulation keeps a kernel: its part in the fused form, its name in the module's tree, its layout.

    Fused parts in the order in which they act: `reduce` and `before` matrices to [C, M], `spatial` [k, k, M / G, M'] as
    in `lax.conv_general_dilated` with G groups, `after` [M', N]. Layouts: `fused`, or by path as `paths`
    [G, k, k, M / G, M' / G], `fan_out` [G, C, M / G], `join` [G, M' / G, N]; `blocks` [B, M' / B, N / B] are the blocks
    on the diagonal of an `after`, beside which it is zero.
    """

    fused: str
    name: str
    layout: str = "fused"


_PARTS: Mapping[str, tuple[Part, ...]] = {
    "separable": (Part("spatial", "depthwise"), Part("after", "pointwise")),
    "separable_strict": (Part("spatial", "filters", "paths"), Part("after", "mixing")),
    "hybrid": (Part("spatial", "transform", "paths"), Part("after", "expand", "join")),
    "inception": (),  # towers of several depths: no other formulation has them
    "inception_simplified": (Part("before", "reduce", "fan_out"), Part("spatial", "spatial", "paths")),
    "inception_extreme": (Part("before", "reduce", "fan_out"), Part("spatial", "spatial", "paths")),
    "inception_reformulated": (Part("before", "mixing"), Part("spatial", "spatial")),
    "resnext": (
        Part("before", "reduce", "fan_out"), Part("spatial", "transform", "paths"), Part("after", "expand", "join")
    ),
    "super_separable": (Part("spatial", "depthwise"), Part("after", "pointwise", "blocks")),
    "bsconv_u": (Part("before", "mixing"), Part("spatial", "blueprint")),
    "bsconv_s": (Part("reduce", "reduce"), Part("before", "mixing"), Part("spatial", "blueprint")),
    "regular": (Part("spatial", "kernel"),),
}  # fmt: skip


def parts(design: Design) -> tuple[Part, ...]:
    """The kernels of a design's formulation."""
    match design.formulation:
        case "hybrid_learned":
            return _PARTS["resnext"]
        case "grouped" if design.order == "pointwise_first":
            return Part("before", "pointwise"), Part("spatial", "spatial")
        case "grouped":
            return Part("spatial", "spatial"), Part("after", "pointwise")
        case name:
            return _PARTS[name]


class Family(NamedTuple):
    """What two modules must share for an index map: the order of operations, their shapes, and what stands between.

    Attributes:
        operations: names of the fused parts, in order; with none, the formulation's own name.
        groups: group count of the spatial convolution.
        inner: inner channels: M' behind the spatial convolution, or the rank of a factored 1x1.
        blocks: of an `after` that is zero beside them.
        kernel: side of the spatial kernel.
        between: activation, BatchNorm or not, wherever two operations meet.
        identity: whether the module adds its input.
    """

    operations: tuple[str, ...]
    groups: int
    inner: int
    blocks: int
    kernel: int
    between: tuple[str, bool]
    identity: bool


def family(design: Design, c_in: int, c_out: int, stride: int = 1) -> Family:
    """The family of a design's module for c_in -> c_out channels."""
    groups, inner = _groups_and_inner(design, c_in, c_out)
    operations = tuple(part.fused for part in parts(design)) or (design.formulation,)
    blocks, between = _blocks(design, c_in), (design.activation, design.normalise)
    return Family(operations, groups, inner, blocks, design.kernel, between, has_identity(design, c_in, c_out, stride))


def _blocks(design: Design, c_in: int) -> int:
    return design.segments(c_in) if design.formulation == "super_separable" else 1


def _groups_and_inner(design: Design, c_in: int, c_out: int) -> tuple[int, int]:
    match design.formulation:
        case "separable" | "separable_strict" | "hybrid":
            return c_in, c_in * design.multiplier
        case "hybrid_learned" | "super_separable":
            return c_in, c_in
        case "resnext":
            return design.segments(c_out // 2), c_out // 2
        case "inception_simplified" | "inception_reformulated":
            return design.segments(c_out), c_out
        case "inception_extreme" | "bsconv_u":
            return c_out, c_out
        case "bsconv_s":
            return c_out, bsconv_s_rank(c_in)
        case "grouped":
            middle = c_out if design.order == "pointwise_first" else c_in
            return design.segments(middle), middle
    return 1, c_out


def has_identity(design: Design, c_in: int, c_out: int, stride: int = 1) -> bool:
    """Whether the module adds its input: the design asks for it and the shapes agree."""
    return design.residual and c_in == c_out and stride == 1


def is_linear(design: Design) -> bool:
    """Whether a module is one linear map of its input, with a dense kernel that is known in closed form."""
    return design.activation == "none" and not design.normalise and design.formulation != "inception"


# --- the fused form ---------------------------------------------------------------------------------------------


def fuse(array: Any, layout: str) -> Any:
    """A kernel in the fused form, from its layout by path: path i, channel j become channel i * width + j."""
    match layout:
        case "paths":
            paths, k, _, inputs, outputs = array.shape
            return array.transpose(1, 2, 3, 0, 4).reshape(k, k, inputs, paths * outputs)
        case "fan_out":
            paths, channels, width = array.shape
            return array.transpose(1, 0, 2).reshape(channels, paths * width)
        case "join":
            return array.reshape(-1, array.shape[2])
        case "blocks":
            blocks, rows, columns = array.shape
            dense = np.zeros((blocks, rows, blocks, columns), array.dtype)
            dense[np.arange(blocks), :, np.arange(blocks)] = array
            return dense.reshape(blocks * rows, blocks * columns)
    return array


def split(array: Floats, layout: str, paths: int) -> Floats:
    """The inverse of `fuse` for so many paths, or blocks."""
    match layout:
        case "paths":
            k, _, inputs, outputs = array.shape
            return array.reshape(k, k, inputs, paths, outputs // paths).transpose(3, 0, 1, 2, 4)
        case "fan_out":
            channels, width = array.shape
            return array.reshape(channels, paths, width // paths).transpose(1, 0, 2)
        case "join":
            return array.reshape(paths, -1, array.shape[1])
        case "blocks":
            inputs, outputs = array.shape
            blocks = array.reshape(paths, inputs // paths, paths, outputs // paths)
            return blocks[np.arange(paths), :, np.arange(paths)]
    return array


def _fused(params: Tree, design: Design) -> dict[str, Floats]:
    return {part.fused: fuse(np.asarray(params[part.name]), part.layout) for part in parts(design)}


def _split(fused: Mapping[str, Floats], design: Design, groups: int, blocks: int) -> dict[str, Floats]:
    return {
        part.name: split(fused[part.fused], part.layout, blocks if part.layout == "blocks" else groups)
        for part in parts(design)
    }


def links(params: Mapping[str, Any], design: Design, c_in: int, c_out: int) -> list[tuple[Any, int]]:
    """The convolutions that a linear module is, in order: kernels [k, k, M / G, M'], as in `lax`, with their G.

    Of NumPy's arrays or of JAX's, as `params` are.
    """
    groups, made = family(design, c_in, c_out).groups, []
    for part in parts(design):
        kernel = params[part.name]
        if part.layout == "blocks":
            made.append((fuse(kernel[:, None, None], "paths"), kernel.shape[0]))
        elif part.fused == "spatial":
            made.append((fuse(kernel, part.layout), groups))
        else:
            made.append((fuse(kernel, part.layout)[None, None], 1))
    return made


def _copied(tree: Tree) -> dict[str, Any]:
    return {name: _copied(value) if isinstance(value, Mapping) else np.asarray(value) for name, value in tree.items()}


# --- the dense kernel -------------------------------------------------------------------------------------------


def dense_kernel(params: Tree, design: Design, c_in: int, c_out: int, stride: int = 1) -> Floats:
    """The one kernel [k, k, C, N], float64, whose convolution is the module; its identity connection included.

    Raises:
        ValueError: the module is not linear.
    """
    if not is_linear(design):
        raise ValueError(f"{describe(design)} is not linear and has no dense kernel")
    fused = {name: array.astype(np.float64) for name, array in _fused(params, design).items()}
    kernel = _ungrouped(fused["spatial"], family(design, c_in, c_out).groups)
    for name in ("before", "reduce"):
        if name in fused:
            kernel = np.einsum("ci,hwin->hwcn", fused[name], kernel)
    if "after" in fused:
        kernel = kernel @ fused["after"]
    return kernel + identity_kernel(design, c_in, c_out, stride)


def _ungrouped(kernel: Floats, groups: int) -> Floats:
    """A grouped kernel [k, k, M / G, M'] as a dense one [k, k, M, M'], block-diagonal."""
    k, _, inputs, outputs = kernel.shape
    dense = np.zeros((k, k, groups, inputs, groups, outputs // groups))
    for group, block in enumerate(np.split(kernel, groups, axis=3)):
        dense[:, :, group, :, group] = block
    return dense.reshape(k, k, groups * inputs, outputs)


def identity_kernel(design: Design, c_in: int, c_out: int, stride: int = 1) -> Floats:
    """The kernel of the identity connection [k, k, C, N]: zeros where there is none."""
    k = design.kernel
    kernel = np.zeros((k, k, c_in, c_out))
    if has_identity(design, c_in, c_out, stride):
        kernel[k // 2, k // 2] = np.eye(c_in)
    return kernel


def best_fit(kernel: Floats, design: Design, c_in: int, c_out: int) -> dict[str, Floats] | None:
    """Parameters whose dense kernel, without identity, is nearest to [k, k, C, N]; None where no closed form is known.

    A formulation can express blocks of bounded rank: of a group of input channels where the spatial convolution
    comes first, of a group of output channels where it comes last. Each block's nearest one is its truncated singular
    value decomposition (Eckart and Young), and blocks do not meet, so that this is the global optimum.
    """
    groups, inner = _groups_and_inner(design, c_in, c_out)
    k, rank, mixed = kernel.shape[0], inner // groups, _blocks(design, c_in)
    # what no block connects stays zero: a channel reaches the outputs of its own block alone
    kernel = kernel * np.kron(np.eye(mixed), np.ones((c_in // mixed, c_out // mixed)))
    match tuple(part.fused for part in parts(design)):
        case ("spatial",):
            fused = {"spatial": kernel}
        case ("spatial", "after"):
            blocks = [_factors(block.reshape(-1, c_out), rank) for block in np.split(kernel, groups, axis=2)]
            filters = [left.reshape(k, k, c_in // groups, rank) for left, _ in blocks]
            fused = {"spatial": np.concatenate(filters, 3), "after": np.concatenate([right for _, right in blocks])}
        case ("before", "spatial"):
            outputs = [block.transpose(2, 0, 1, 3) for block in np.split(kernel, groups, axis=3)]
            blocks = [_factors(block.reshape(c_in, -1), rank) for block in outputs]
            filters = [right.reshape(rank, k, k, c_out // groups).transpose(1, 2, 0, 3) for _, right in blocks]
            fused = {"before": np.concatenate([left for left, _ in blocks], 1), "spatial": np.concatenate(filters, 3)}
        case _:
            return None
    return _split(fused, design, groups, mixed)


def _factors(matrix: Floats, rank: int) -> tuple[Floats, Floats]:
    """The best factors [a, rank] and [rank, b] of a matrix [a, b], equally large; zeros beyond its own rank."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(values[:rank])
    spare = rank - len(root)
    return (
        np.pad(left[:, :rank] * root, ((0, 0), (0, spare))),
        np.pad(root[:, None] * right[:rank], ((0, spare), (0, 0))),
    )


def framed(kernel: Floats, side: int) -> Floats:
    """A kernel in a window of another odd side around the same centre: zeros added, or its rim cut off."""
    margin = (side - kernel.shape[0]) // 2
    if margin < 0:
        return kernel[-margin:margin, -margin:margin]
    return np.pad(kernel, ((margin, margin), (margin, margin), (0, 0), (0, 0)))


# --- transport --------------------------------------------------------------------------------------------------


def transport(
    params: Tree, stats: Tree, source: Design, target: Design, c_in: int, c_out: int, stride: int = 1
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and BatchNorm statistics of `target`'s module with which it computes what `source`'s does.

    Args:
        params, stats: of the module that `modules.formulation` makes of `source`; `stats` is empty without BatchNorm.
        source, target: the two designs; width and depth play no part.
        c_in, c_out: channels of the module.
        stride: of the module; it decides about the identity connection.

    Raises:
        ValueError: there is no map, or `target` cannot express this very function.
    """
    ours = family(target, c_in, c_out, stride)
    if family(source, c_in, c_out, stride) == ours:
        known = {part.name for part in parts(source)}
        norms = _copied({name: value for name, value in params.items() if name not in known})
        return {**_split(_fused(params, source), target, ours.groups, ours.blocks), **norms}, _copied(stats)
    wanted = f"from {describe(source)} to {describe(target)} at {c_in} -> {c_out} channels, stride {stride}"
    if not (is_linear(source) and is_linear(target)):
        raise ValueError(f"no map {wanted}")
    kernel = dense_kernel(params, source, c_in, c_out, stride)
    body = framed(kernel, target.kernel) - identity_kernel(target, c_in, c_out, stride)
    mapped = best_fit(body, target, c_in, c_out)
    if mapped is None:
        raise ValueError(f"no map {wanted}")
    reached = dense_kernel(mapped, target, c_in, c_out, stride)
    side = max(source.kernel, target.kernel)
    miss = np.linalg.norm(framed(reached, side) - framed(kernel, side)) / np.linalg.norm(kernel)
    if not miss <= FITS:
        raise ValueError(f"no map {wanted}: the best fit misses by {miss:.1e}")
    dtype = next(iter(_fused(params, source).values())).dtype
    return {name: array.astype(dtype) for name, array in mapped.items()}, {}


def transport_network(
    params: Tree, stats: Tree, source: Design, target: Design
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same for the study's network (`networks.stack`): modules are mapped, everything else is copied.

    Raises:
        ValueError: the networks differ in width or depth, or a module has no map.
    """
    if (source.width, source.depth) != (target.width, target.depth):
        raise ValueError(f"no map from {describe(source)} to {describe(target)}: width or depth differs")
    params, stats = _copied(params), _copied(stats)
    for index, (c_in, c_out) in enumerate(source.module_shapes()):
        block = f"stage{index // source.depth}_block{index % source.depth}"
        inner = stats.pop(block, {}).get("body", {})
        body, inner = transport(params[block]["body"], inner, source, target, c_in, c_out)
        params[block] = {"body": body}
        if inner:
            stats[block] = {"body": inner}
    return params, stats


def describe(design: Design) -> str:
    """A design in words: its formulation and what differs from the defaults."""
    default = Design()
    names = ("kernel", "groups", "order", "multiplier", "residual", "activation", "normalise", "width", "depth")
    changed = [f"{name}={getattr(design, name)}" for name in names if getattr(design, name) != getattr(default, name)]
    return f"{design.formulation!r}" + (f" ({', '.join(changed)})" if changed else "")
