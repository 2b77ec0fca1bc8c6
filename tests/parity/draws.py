"""Random weights, statistics and pictures: the same on every machine, drawn under our names and in our shapes."""

import math
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

CLASSES, BATCH = 10, 2


def gentle(layers: Iterable[str]) -> bool:
    """Whether a network has squeeze and excitation, by the names of its layers.

    Where maps grow with depth its gates leave the bend of their sigmoid, and what a gate multiplies is multiplied again
    by the next: float32's rounding of EfficientNet B1's logits became 3e-4 of them, of B7's nine tenths. So weights are
    drawn there with which maps keep their size. Without gates a map that grows keeps its relative rounding.
    """
    return any("_se_" in layer for layer in layers)


def leaf(layer: str, name: str, shape: tuple[int, ...], gently: bool) -> np.ndarray:
    """Numbers that float32 holds, in float64, drawn so that every epsilon is felt and maps do not fade.

    Kernels have He's variance, or 7/8 of it, and BatchNorm's scales and variances then lie near 1.
    """
    rng = np.random.RandomState(zlib.crc32(f"{layer}/{name}".encode()))  # a stream that NumPy promises to keep
    if name == "kernel":
        found = rng.standard_normal(shape) * ((1.75 if gently else 2) / math.prod(shape[:-1])) ** 0.5
    elif name == "variance":
        found = rng.uniform(*((0.8, 1.2) if gently else (0.2, 1.0)), shape)
    elif name == "scale":
        found = rng.uniform(*((0.8, 1.2) if gently else (0.5, 1.0)), shape)
    else:  # bias, offset, mean, slope
        found = rng.standard_normal(shape) * 0.1
    return found.astype(np.float32).astype(np.float64)


def weights(shapes: Any) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Params and stats of a network, from arrays or shapes by kind, layer and leaf."""
    gently = gentle(shapes["params"])
    return {
        kind: {
            layer: {name: leaf(layer, name, tuple(of.shape), gently) for name, of in leaves.items()}
            for layer, leaves in layers.items()
        }
        for kind, layers in shapes.items()
    }


def pictures(sides: tuple[int, int]) -> np.ndarray:
    """[N, H, W, 3]."""
    return np.random.RandomState(1).standard_normal((BATCH, *sides, 3)).astype(np.float32).astype(np.float64)


def labels(number: int) -> np.ndarray:
    """[number], of pictures or of pixels."""
    return np.random.RandomState(2).randint(0, CLASSES, number)
