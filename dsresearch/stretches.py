"""A module by kernels of our own, stretch by stretch: from each BatchNorm's map to the next one's sums (CPU, float32).

The same sums over the same variables as `modules.SeparableModule`, cut where a batch has to be waited for: at the
BatchNorms in front of the module, inside it and behind it. `protocol.kernels=fused` takes modules of one stretch so,
`throughout` those of several, too.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dsresearch import operators
from dsresearch.design import Design
from dsresearch.fused_form import Stretch, is_chain, stretches
from dsresearch.modules import BatchNorm
from dsresearch.operators import native
from dsresearch.operators.native import inception, segment

Array = jax.Array
Made = tuple[Array, operators.Moments]  # what a module makes of pictures, and its sums


def takes(params: Mapping[str, Any], design: Design, z: Array, features: int, pool: bool) -> bool:
    """Whether `Stretches` computes a module of such weights for such pictures by the kernels of this process.

    Where not (another activation, Inception with an identity, channels that fill no vector), the module does it whole.
    """
    asked = native.throughout() or (native.fused() and is_chain(design))
    nothing_between = design.activation == "none" and not design.normalise
    if not asked or not (nothing_between or design.activation == "relu"):
        return False
    identity = design.residual and z.shape[-1] == features
    if design.formulation == "inception":
        if identity or not design.normalise:
            return False
        cut = _towers(params["body"])
    else:
        cut = stretches(params["body"], design, z.shape[-1], features)
    x: Array | jax.ShapeDtypeStruct = z
    for number, (links, _) in enumerate(cut):
        first = number == 0
        if not segment.fits(x, links, pool and first, identity and len(cut) == 1):
            return False
        sides = (side // 2 if pool and first else side for side in x.shape[1:3])
        x = jax.ShapeDtypeStruct((x.shape[0], *sides, links[-1][0].shape[-1]), x.dtype)
    return True


class Stretches(nn.Module):
    """Map and ReLU of pictures, pooling where a stage begins, one module; and the sums of its result."""

    design: Design
    features: int

    @nn.compact
    def __call__(self, z: Array, affine: operators.Affine, pool: bool, train: bool) -> Made:
        if self.design.formulation == "inception":
            return _Towers(name="body")(z, affine, pool, train)
        return _Chain(self.design, self.features, name="body")(z, affine, pool, train)


class _Chain(nn.Module):
    """Convolutions one after another, with or without BatchNorms between them."""

    design: Design
    features: int

    @nn.compact
    def __call__(self, z: Array, affine: operators.Affine, pool: bool, train: bool) -> Made:
        *inner, last = stretches(self.variables["params"], self.design, z.shape[-1], self.features)
        identity = self.design.residual and z.shape[-1] == self.features
        if not inner:
            return segment.through(z, affine, last.links, pool, identity)
        x, its_map = z, affine
        for number, (links, norm) in enumerate(inner):
            x, sums = segment.through(x, its_map, links, pool and number == 0)
            its_map = _Inner(name=norm)(sums, math.prod(x.shape[:3]), train)
        return segment.through(x, its_map, last.links, beside=segment.Mapped(z, affine) if identity else None)


class _Towers(nn.Module):
    """Inception: its four towers part from the pictures at once, and are laid side by side at once."""

    @nn.compact
    def __call__(self, z: Array, affine: operators.Affine, pool: bool, train: bool) -> Made:
        body = self.variables["params"]
        starts, firsts = _towers(body)
        ends = jnp.concatenate([body["direct"], body["pool"]], -1)[None, None]
        outer, inner, sums = inception.parted(segment.Mapped(z, affine), ends, starts.links[0][0], pool)
        count = math.prod(inner.shape[:3])
        of_single, of_double = _halves(sums)
        single = _Inner(name="single_between")(of_single, count, train)
        double = _Inner(name="double_between_reduce")(of_double, count, train)
        both = jax.tree.map(lambda *parts: jnp.concatenate(parts), single, double)
        middles, sums = segment.through(inner, both, firsts.links)
        its_map = _Inner(name="double_between_first")(_halves(sums)[1], count, train)
        return inception.joined(outer, segment.Mapped(middles, its_map), body["double_last"])


def _towers(body: Mapping[str, Any]) -> list[Stretch]:
    """How the towers single and double begin, side by side: their products, then a convolution each as two groups."""
    products = jnp.concatenate([body["single_reduce"], body["double_reduce"]], -1)[None, None]
    return [
        Stretch([(products, 1, False)]),
        Stretch([(jnp.concatenate([body["single"], body["double_first"]], -1), 2, False)]),
    ]


def _halves(sums: operators.Moments) -> list[operators.Moments]:
    """Those of the first half of the channels, and of the second."""
    return [operators.Moments(*half) for half in zip(*(jnp.split(part, 2) for part in sums), strict=True)]


class _Inner(nn.Module):
    """The BatchNorm that stands between two operations (`modules.Between`), from the sums of what it normalises."""

    @nn.compact
    def __call__(self, sums: operators.Moments, count: int, train: bool) -> operators.Affine:
        return BatchNorm(name="norm").affine(sums, count, train)
