"""Random weights, statistics and pictures: the same on every machine, drawn under our names and in our shapes."""

import math
import zlib
from typing import Any

import numpy as np

CLASSES, BATCH = 10, 2


def leaf(layer: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Drawn so that maps neither fade nor grow and every epsilon is felt: numbers that float32 holds, in float64."""
    rng = np.random.RandomState(zlib.crc32(f"{layer}/{name}".encode()))  # a stream that NumPy promises to keep
    if name == "kernel":
        found = rng.standard_normal(shape) * (2 / math.prod(shape[:-1])) ** 0.5
    elif name == "variance":
        found = rng.uniform(0.2, 1.0, shape)
    elif name == "scale":
        found = rng.uniform(0.5, 1.0, shape)
    else:  # bias, offset, mean, slope
        found = rng.standard_normal(shape) * 0.1
    return found.astype(np.float32).astype(np.float64)


def weights(shapes: Any) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Params and stats of a network, from arrays or shapes by kind, layer and leaf."""
    return {
        kind: {
            layer: {name: leaf(layer, name, tuple(of.shape)) for name, of in leaves.items()}
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
