"""Weights of other implementations, found under our names.

All of them are run by PyTorch, Keras by its PyTorch backend: neither arithmetic nor gradients come from JAX.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import draws
import numpy as np
import torch
from torch import nn

from dsresearch import cost
from dsresearch.networks.vocabulary import Architecture

Name = tuple[str, str, str]  # params or stats, layer, leaf
Turn = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Leaf:
    """A tensor of theirs, and what turns it, or its gradient, into ours."""

    tensor: torch.Tensor
    ours: Turn


@dataclass(frozen=True)
class Reference:
    """A network of another implementation, in float64.

    Attributes:
        logits: of pictures [N, H, W, C], in evaluation: [N, classes], or [N, H, W, classes].
        leaves: all of its weights and statistics.
    """

    logits: Callable[[torch.Tensor], torch.Tensor]
    leaves: dict[Name, Leaf]


def randomise(reference: Reference) -> None:
    """Set every weight and statistic to `draws.leaf`."""
    gently = draws.gentle(layer for _, layer, _ in reference.leaves)
    for (_, layer, name), leaf in reference.leaves.items():
        shape = tuple(leaf.tensor.shape)
        places = leaf.ours(np.arange(math.prod(shape)).reshape(shape))  # of ours, in theirs
        values = np.empty(shape)
        values.flat[places.ravel()] = draws.leaf(layer, name, places.shape, gently).ravel()
        assert leaf.tensor.dtype == torch.float64, layer
        with torch.no_grad():
            leaf.tensor.copy_(torch.from_numpy(values))


def variables(reference: Reference) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Its weights as ours."""
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for (kind, layer, name), leaf in reference.leaves.items():
        found.setdefault(kind, {}).setdefault(layer, {})[name] = leaf.ours(leaf.tensor.detach().numpy()).copy()
    return found


# --- PyTorch ------------------------------------------------------------------------------------------------------

KINDS = {nn.Conv2d: "conv", nn.Linear: "dense", nn.BatchNorm2d: "norm"}


def of_torch(
    model: nn.Module,
    architecture: Architecture,
    sides: tuple[int, int],
    branches: Sequence[str] = (),
) -> Reference:
    """A PyTorch network, whose layers are ours in the order of use; another kind or shape is an error.

    A wrong pair of one shape cannot hide either: the outputs would differ.

    Args:
        branches: parts of a module's layer names, in the order in which theirs computes them.
    """
    model.eval().double()
    used: list[nn.Module] = []
    hooks = [m.register_forward_pre_hook(lambda m, _: used.append(m)) for m in model.modules() if type(m) in KINDS]
    with torch.no_grad():
        model(torch.zeros(1, 3, *sides, dtype=torch.float64))
    for hook in hooks:
        hook.remove()
    layers = _in_order(cost.layers(architecture), branches)
    assert len(layers) == len(used), (len(layers), len(used))
    return _reference(model, {layer.name: module for layer, module in zip(layers, used, strict=True)}, layers)


def of_named(model: nn.Module, modules: nn.ModuleDict, architecture: Architecture, sides: tuple[int, int]) -> Reference:
    """A PyTorch network whose layers have our names, made when first called."""
    model(torch.zeros(2, 3, *sides))
    model.eval().double()
    layers = cost.layers(architecture)
    assert {layer.name for layer in layers} == set(modules)
    return _reference(model, dict(modules.items()), layers)


def _reference(model: nn.Module, modules: dict[str, nn.Module], layers: list[cost.Layer]) -> Reference:
    leaves: dict[Name, Leaf] = {}
    channels = 0
    for layer in layers:
        leaves.update(_torch_leaves(layer, modules[layer.name], channels))
        channels = layer.output[-1]
    names = {id(leaf.tensor) for leaf in leaves.values()}
    forgotten = [name for name, weight in model.named_parameters() if id(weight) not in names]
    assert all(name.endswith("weight") and bool((weight == 1).all()) for name, weight in model.named_parameters()
               if name in forgotten), forgotten  # fmt: skip

    def logits(pictures: torch.Tensor) -> torch.Tensor:
        found = model(pictures.permute(0, 3, 1, 2))
        return found.permute(0, 2, 3, 1) if found.ndim == 4 else found

    return Reference(logits, leaves)


def _in_order(layers: list[cost.Layer], branches: Sequence[str]) -> list[cost.Layer]:
    """Within a module (what stands in front of the branch in a name), by branch; modules in the order of use."""
    pattern = re.compile(rf"(.+?)_({'|'.join(map(re.escape, branches))})(?:_bn)?") if branches else None
    firsts: dict[str, int] = {}

    def place(numbered: tuple[int, cost.Layer]) -> tuple[int, int]:
        number, layer = numbered
        found = pattern.fullmatch(layer.name) if pattern else None
        if not found:
            return number, 0
        return firsts.setdefault(found[1], number), branches.index(found[2])

    places = [place(numbered) for numbered in enumerate(layers)]
    return [layers[i] for i in sorted(range(len(layers)), key=places.__getitem__)]


def _torch_leaves(layer: cost.Layer, module: Any, channels: int) -> Iterator[tuple[Name, Leaf]]:
    if layer.kind == "prelu":
        yield ("params", layer.name, "slope"), Leaf(module.weight, lambda w: w.transpose(1, 2, 0))
        return
    if isinstance(module, nn.BatchNorm2d):
        assert layer.kind == "norm", layer.name
        if layer.cost.params == 2 * layer.output[-1]:
            yield ("params", layer.name, "scale"), Leaf(module.weight, np.asarray)
        yield ("params", layer.name, "offset"), Leaf(module.bias, np.asarray)
        yield ("stats", layer.name, "mean"), Leaf(module.running_mean, np.asarray)
        yield ("stats", layer.name, "variance"), Leaf(module.running_var, np.asarray)
        return
    assert layer.kind in ("conv", "dense"), layer.name
    yield ("params", layer.name, "kernel"), Leaf(module.weight, _kernel(layer, module, channels))
    if module.bias is not None:
        yield ("params", layer.name, "bias"), Leaf(module.bias, np.asarray)


def _kernel(layer: cost.Layer, module: Any, channels: int) -> Turn:
    """PyTorch's [M, C, k, k] or [M, C H W] to ours, [k, k, C, M] or [H W C, M]: channels fastest when flattened."""
    if layer.kind == "conv":
        return lambda w: w.transpose(2, 3, 1, 0)
    inputs = module.weight.shape[1]
    side = math.isqrt(inputs // channels) if channels and inputs % channels == 0 else 1
    if side * side * channels != inputs:  # behind a concatenation, or a 1x1 convolution on one pixel
        return lambda w: w.reshape(len(w), -1).T
    return lambda w: w.reshape(len(w), channels, side, side).transpose(2, 3, 1, 0).reshape(inputs, len(w))


# --- Keras --------------------------------------------------------------------------------------------------------


def of_keras(model: Any, architecture: Architecture, named: Callable[[str], str]) -> Reference:
    """A Keras network.

    Args:
        named: Keras's name of one of our layers; a separable convolution's two have one.
    """
    leaves: dict[Name, Leaf] = {}
    for layer in cost.layers(architecture):
        theirs = model.get_layer(named(layer.name))
        for kind, leaf, variable in _keras_leaves(layer.name, theirs):
            shape = _our_shape(leaf, tuple(variable.shape), layer.kind, type(theirs).__name__)
            leaves[kind, layer.name, leaf] = Leaf(variable.value, lambda w, shape=shape: w.reshape(shape))
    weights = {variable.path for variable in model.weights if "seed" not in variable.path}
    assert len(leaves) == len(weights), (len(leaves), len(weights))
    return Reference(lambda x: model(x, training=False), leaves)


def _keras_leaves(name: str, layer: Any) -> Iterator[tuple[str, str, Any]]:
    if type(layer).__name__ == "BatchNormalization":
        yield "params", "offset", layer.beta
        yield "stats", "mean", layer.moving_mean
        yield "stats", "variance", layer.moving_variance
        if layer.scale:
            yield "params", "scale", layer.gamma
    elif type(layer).__name__ == "SeparableConv2D":
        yield "params", "kernel", layer.depthwise_kernel if name.endswith("_dw") else layer.pointwise_kernel
    else:
        yield "params", "kernel", layer.kernel
        if layer.bias is not None:
            yield "params", "bias", layer.bias


def _our_shape(leaf: str, shape: tuple[int, ...], kind: str, theirs: str) -> tuple[int, ...]:
    if leaf != "kernel":
        return shape
    if kind == "dense":  # a 1x1 convolution on a map of one pixel is a dense layer in ours
        return shape[-2:]
    depthwise = theirs == "DepthwiseConv2D" or (theirs == "SeparableConv2D" and shape[-1] == 1 and shape[0] > 1)
    return (*shape[:2], 1, shape[2]) if depthwise else shape
