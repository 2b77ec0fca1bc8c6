"""A module by kernels of our own, stretch by stretch: from each BatchNorm's map to the next one's sums (CPU, float32).

The same sums over the same variables as `modules.SeparableModule`, cut where a batch has to be waited for: at the
BatchNorms in front of the module, inside it and behind it. `protocol.kernels=fused` takes modules of one stretch so,
`throughout` those of several, too.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from dsresearch import fused_form, operators
from dsresearch.design import Design
from dsresearch.fused_form import Stretch, is_chain
from dsresearch.modules import BatchNorm
from dsresearch.operators import native
from dsresearch.operators.native import inception, stretch

Array = jax.Array
Made = tuple[Array, operators.Moments]  # what a module makes of pictures, and its sums where it trains


class Cut(NamedTuple):
    """How a module is taken.

    Attributes:
        stretches: one after another; of Inception, those that its towers have in common.
        pool: whether its pictures are pooled before it.
        identity: whether they are added to its result.
    """

    stretches: list[Stretch]
    pool: bool
    identity: bool


def cut(params: Mapping[str, Any], design: Design, z: Array, features: int, pool: bool) -> Cut | None:
    """A module of such weights for such pictures, as `Stretches` computes it by the kernels of this process.

    None where the module does it whole: with another activation, Inception with an identity, channels that fill no
    vector, or an identity around BatchNorms of what is pooled.
    """
    asked = native.throughout() or (native.fused() and is_chain(design))
    nothing_between = design.activation == "none" and not design.normalise
    if not asked or not (nothing_between or design.activation == "relu"):
        return None
    identity = design.residual and z.shape[-1] == features
    if design.formulation == "inception":
        if identity or not design.normalise:
            return None
        stretches = _towers(params["body"])
    else:
        stretches = fused_form.cut(params["body"], design, z.shape[-1], features)
    made = Cut(stretches, pool, identity)
    return made if _fits(made, z) else None


def _fits(taken: Cut, z: Array | jax.ShapeDtypeStruct) -> bool:
    """Whether our own kernels take such pictures through all of it."""
    alone = len(taken.stretches) == 1
    if taken.identity and taken.pool and not alone:
        return False
    for number, (links, _) in enumerate(taken.stretches):
        pool = taken.pool and number == 0
        if not stretch.fits(z, links, pool, taken.identity and alone):
            return False
        sides = (side // 2 if pool else side for side in z.shape[1:3])
        z = jax.ShapeDtypeStruct((z.shape[0], *sides, links[-1][0].shape[-1]), z.dtype)
    return True


class Stretches(nn.Module):
    """Map and ReLU of pictures, pooling where a stage begins, one module; and, where it trains, its result's sums."""

    design: Design

    @nn.compact
    def __call__(self, z: Array, affine: operators.Affine, taken: Cut, train: bool) -> Made:
        if self.design.formulation == "inception":
            return _Towers(name="body")(z, affine, taken, train)
        return _Chain(name="body")(z, affine, taken, train)


class _Chain(nn.Module):
    """Convolutions one after another, with or without BatchNorms between them."""

    @nn.compact
    def __call__(self, z: Array, affine: operators.Affine, taken: Cut, train: bool) -> Made:
        *inner, last = taken.stretches
        if not inner:
            return stretch.through(z, affine, last.links, taken.pool, taken.identity, summed=train)
        x, its_map = z, affine
        for number, (links, norm) in enumerate(inner):
            x, sums = stretch.through(x, its_map, links, taken.pool and number == 0, summed=train)
            its_map = _Inner(name=norm)(sums, math.prod(x.shape[:3]), train)
        beside = stretch.Mapped(z, affine) if taken.identity else None
        return stretch.through(x, its_map, last.links, beside=beside, summed=train)


class _Towers(nn.Module):
    """Inception: its four towers part from the pictures at once, and are laid side by side at once."""

    @nn.compact
    def __call__(self, z: Array, affine: operators.Affine, taken: Cut, train: bool) -> Made:
        body, (starts, firsts) = self.variables["params"], taken.stretches
        ends = jnp.concatenate([body["direct"], body["pool"]], -1)[None, None]
        outer, inner, sums = inception.parted(stretch.Mapped(z, affine), ends, starts.links[0][0], taken.pool, train)
        count = math.prod(inner.shape[:3])
        of_single, of_double = _halves(sums)
        single = _Inner(name="single_between")(of_single, count, train)
        double = _Inner(name="double_between_reduce")(of_double, count, train)
        both = jax.tree.map(lambda *parts: jnp.concatenate(parts), single, double)
        middles, sums = stretch.through(inner, both, firsts.links, summed=train)
        its_map = _Inner(name="double_between_first")(_halves(sums)[1], count, train)
        return inception.joined(outer, stretch.Mapped(middles, its_map), body["double_last"], train)


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
