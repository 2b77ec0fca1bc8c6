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

from dsresearch.design import Design
from dsresearch.fused_form import Convolution, convolutions, fuse, is_linear, parts, split

Tree = Mapping[str, Any]
Floats = npt.NDArray[Any]

FITS = 1e-10  # a factorisation that misses its kernel by more (relative, float64) is none


class Family(NamedTuple):
    """What two modules must share for an index map: the order of operations, their shapes, and what stands between.

    Attributes:
        convolutions: one after another; none of `inception`, whose family is itself.
        kernel: side of the spatial kernel.
        between: activation, BatchNorm or not, wherever two operations meet.
        identity: whether the module adds its input.
    """

    convolutions: tuple[Convolution, ...]
    kernel: int
    between: tuple[str, bool]
    identity: bool


def family(design: Design, c_in: int, c_out: int, stride: int = 1) -> Family:
    """The family of a design's module for c_in -> c_out channels."""
    between, identity = (design.activation, design.normalise), has_identity(design, c_in, c_out, stride)
    return Family(convolutions(design, c_in, c_out), design.kernel, between, identity)


def has_identity(design: Design, c_in: int, c_out: int, stride: int = 1) -> bool:
    """Whether the module adds its input: the design asks for it and the shapes agree."""
    return design.residual and c_in == c_out and stride == 1


# --- the fused form ---------------------------------------------------------------------------------------------


def _fused(params: Tree, design: Design) -> dict[str, Floats]:
    return {part.fused: fuse(np.asarray(params[part.name]), part.layout) for part in parts(design)}


def _split(fused: Mapping[str, Floats], design: Design, groups: Mapping[str, int]) -> dict[str, Floats]:
    return {
        part.name: split(fused[part.fused], part.layout, groups["after" if part.layout == "blocks" else "spatial"])
        for part in parts(design)
    }


def _groups(design: Design, c_in: int, c_out: int) -> dict[str, int]:
    """The group count of each part of the fused form."""
    return {convolution.part: convolution.groups for convolution in convolutions(design, c_in, c_out)}


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
    kernel = _ungrouped(fused["spatial"], _groups(design, c_in, c_out)["spatial"])
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
    chain, of_part = convolutions(design, c_in, c_out), _groups(design, c_in, c_out)
    if len(chain) not in (1, 2):
        return None
    groups, mixed = of_part["spatial"], of_part.get("after", 1)
    k, rank = kernel.shape[0], chain[0].outputs // groups
    # what no block connects stays zero: a channel reaches the outputs of its own block alone
    kernel = kernel * np.kron(np.eye(mixed), np.ones((c_in // mixed, c_out // mixed)))
    match tuple(of_part):
        case ("spatial",):
            fused = {"spatial": kernel}
        case ("spatial", "after"):
            blocks = [_factors(block.reshape(-1, c_out), rank) for block in np.split(kernel, groups, axis=2)]
            filters = [left.reshape(k, k, c_in // groups, rank) for left, _ in blocks]
            fused = {"spatial": np.concatenate(filters, 3), "after": np.concatenate([right for _, right in blocks])}
        case _:  # before, spatial
            outputs = [block.transpose(2, 0, 1, 3) for block in np.split(kernel, groups, axis=3)]
            blocks = [_factors(block.reshape(c_in, -1), rank) for block in outputs]
            filters = [right.reshape(rank, k, k, c_out // groups).transpose(1, 2, 0, 3) for _, right in blocks]
            fused = {"before": np.concatenate([left for left, _ in blocks], 1), "spatial": np.concatenate(filters, 3)}
    return _split(fused, design, of_part)


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
        ValueError: there is no map, or `target` cannot express this very function, or only on pictures of some sizes.
    """
    ours = family(target, c_in, c_out, stride)
    if family(source, c_in, c_out, stride) == ours:
        known = {part.name for part in parts(source)}
        norms = _copied({name: value for name, value in params.items() if name not in known})
        return {**_split(_fused(params, source), target, _groups(target, c_in, c_out)), **norms}, _copied(stats)
    wanted = f"from {describe(source)} to {describe(target)} at {c_in} -> {c_out} channels, stride {stride}"
    if not (is_linear(source) and is_linear(target)):
        raise ValueError(f"no map {wanted}")
    if source.kernel != target.kernel and min(source.kernel, target.kernel) < stride:
        raise ValueError(f"no map {wanted}: whether the two windows have one centre depends on the picture's size")
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
