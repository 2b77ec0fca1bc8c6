"""Formulations in the fused form: as plain convolutions one after another, whatever the layout of their kernels.

Formulations of one family store the same fused kernels in other layouts; this is where each of them keeps which.

Letters in shapes: k kernel side, C input channels, N features, M middle channels, G groups or paths.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dsresearch.design import Design, bsconv_s_rank

Floats = npt.NDArray[Any]


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


def diagonal_blocks(design: Design, c_in: int) -> int:
    """Blocks on the diagonal of the last 1x1, beside which it is zero."""
    return design.segments(c_in) if design.formulation == "super_separable" else 1


def groups_and_inner(design: Design, c_in: int, c_out: int) -> tuple[int, int]:
    """Groups of the spatial convolution, and inner channels: behind it, or the rank of a factored 1x1."""
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


def is_linear(design: Design) -> bool:
    """Whether a module is one linear map of its input, with a dense kernel that is known in closed form."""
    return design.activation == "none" and not design.normalise and design.formulation != "inception"


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


def is_chain(design: Design) -> bool:
    """Whether a module is convolutions one after another with nothing between them, or ReLU (its identity aside)."""
    return design.formulation != "inception" and not design.normalise and design.activation in ("none", "relu")


def links(params: Mapping[str, Any], design: Design, c_in: int, c_out: int) -> list[tuple[Any, int, bool]]:
    """The convolutions of a chain: kernels [k, k, M / G, M'] as in `lax`, with their G, and whether ReLU follows each.

    Of NumPy's arrays or of JAX's, as `params` are.
    """
    made: list[tuple[Any, int, bool]] = []
    groups = groups_and_inner(design, c_in, c_out)[0]
    for part in parts(design):
        kernel = params[part.name]
        # nothing stands between the factors of a 1x1, nor behind the last
        relu = design.activation == "relu" and part.fused != "reduce" and part != parts(design)[-1]
        if part.layout == "blocks":
            made.append((fuse(kernel[:, None, None], "paths"), kernel.shape[0], relu))
        elif part.fused == "spatial":
            made.append((fuse(kernel, part.layout), groups, relu))
        else:
            made.append((fuse(kernel, part.layout)[None, None], 1, relu))
    return made
