"""Formulations in the fused form: as plain convolutions one after another, whatever the layout of their kernels.

Formulations of one family store the same fused kernels in other layouts; this is where each of them keeps which.

Letters in shapes: k kernel side, C input channels, N features, M and M' middle channels in front of the spatial
convolution and behind it, R rank, G groups or paths.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from dsresearch.design import Design, bsconv_s_rank

if TYPE_CHECKING:  # what a network costs is told without numpy
    import numpy.typing as npt

    Floats = npt.NDArray[Any]


class Part(NamedTuple):
    """Where a formulation keeps a kernel: its part in the fused form, its name in the module's tree, its layout.

    Fused parts in the order in which they act, each where a formulation has it: `before` [C, M], the 1x1 in front of
    the spatial convolution, or two factors of it, `reduce` [C, R] and `before` [R, M]; `spatial` [k, k, M / G, M'] as
    in `lax.conv_general_dilated` with G groups; `after` [M', N], the 1x1 behind it. Layouts: `fused`, as above; by path
    `paths` [G, k, k, M / G, M' / G], `fan_out` [G, C, M / G] and `join` [G, M' / G, N]; `blocks` [B, M' / B, N / B],
    the blocks on the diagonal of an `after`, beside which it is zero.
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


class Convolution(NamedTuple):
    """One of the convolutions that a module is, one after another.

    Attributes:
        part: of the fused form (`Part`).
        kernel: its side in pixels.
        inputs, outputs: channels in front of it and behind it.
        groups: into which it parts them; in a 1x1 the blocks on its diagonal, beside which it is zero.
        between: whether what stands between two operations, BatchNorm and activation, follows it.
    """

    part: str
    kernel: int
    inputs: int
    outputs: int
    groups: int
    between: bool


def convolutions(design: Design, c_in: int, c_out: int) -> tuple[Convolution, ...]:
    """The convolutions of a module of c_in -> c_out channels, in the order of `parts`; none of `inception`."""
    made: list[Convolution] = []
    for part in parts(design):
        is_last = part == parts(design)[-1]
        inputs = made[-1].outputs if made else c_in
        outputs = c_out if is_last else _inner_channels(design, part, c_in, c_out)
        kernel = design.kernel if part.fused == "spatial" else 1
        # nothing stands between the factors of a 1x1, nor behind the last
        between = not is_last and part.fused != "reduce"
        made.append(Convolution(part.fused, kernel, inputs, outputs, _groups(design, part, inputs), between))
    return tuple(made)


def _inner_channels(design: Design, part: Part, c_in: int, c_out: int) -> int:
    """Channels behind a part that another one follows."""
    if part.fused == "reduce":
        return bsconv_s_rank(c_in)
    if design.formulation == "resnext":
        return c_out // 2
    if design.formulation == "hybrid_learned":
        return c_in
    return c_in * design.multiplier if part.fused == "spatial" else c_out


def _groups(design: Design, part: Part, channels: int) -> int:
    """Groups into which a part parts the channels that it reads."""
    if part.layout == "blocks":
        return design.segments(channels)
    if part.fused != "spatial" or design.formulation == "regular":
        return 1
    by_design = design.groups > 0 and design.formulation != "super_separable"  # whose groups are those of its 1x1
    return design.segments(channels) if by_design else channels


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
            import numpy as np

            blocks, rows, columns = array.shape
            dense = np.zeros((blocks, rows, blocks, columns), array.dtype)
            dense[np.arange(blocks), :, np.arange(blocks)] = array
            return dense.reshape(blocks * rows, blocks * columns)
    return array


def split(array: "Floats", layout: str, paths: int) -> "Floats":
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
            import numpy as np

            inputs, outputs = array.shape
            blocks = array.reshape(paths, inputs // paths, paths, outputs // paths)
            return blocks[np.arange(paths), :, np.arange(paths)]
    return array


def is_chain(design: Design) -> bool:
    """Whether a module is convolutions one after another with nothing between them, or ReLU (its identity aside)."""
    return design.formulation != "inception" and not design.normalise and design.activation in ("none", "relu")


class Stretch(NamedTuple):
    """Convolutions of a module up to its next inner BatchNorm, or to its end.

    Attributes:
        links: kernels [k, k, M / G, M'] as in `lax`, with their G, and whether ReLU follows each.
        norm: the name of what stands between this stretch and the next in the module's tree; none at its end.
    """

    links: list[tuple[Any, int, bool]]
    norm: str = ""


def cut(params: Mapping[str, Any], design: Design, c_in: int, c_out: int) -> list[Stretch]:
    """The convolutions of a module, cut where a BatchNorm stands; none of `inception`.

    Of NumPy's arrays or of JAX's, as `params` are.
    """
    made = [Stretch([])]
    convs = convolutions(design, c_in, c_out)
    several = sum(convolution.between for convolution in convs) > 1
    for part, convolution in zip(parts(design), convs, strict=True):
        kernel = params[part.name]
        # as a convolution in groups, where `fuse` would fill in the zeros beside the blocks
        kernel = fuse(kernel[:, None, None], "paths") if part.layout == "blocks" else fuse(kernel, part.layout)
        relu = design.activation == "relu" and convolution.between and not design.normalise
        made[-1].links.append((kernel if kernel.ndim == 4 else kernel[None, None], convolution.groups, relu))
        if convolution.between and design.normalise:
            made[-1] = made[-1]._replace(norm=f"between_{part.name}" if several else "between")
            made.append(Stretch([]))
    return made
