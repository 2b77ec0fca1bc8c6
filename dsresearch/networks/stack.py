"""The study's network: a stem, three stages of modules with pooling between them, a head.

Nothing but the module differs between two setups: every module is followed by BatchNorm and ReLU, a stage ends in 2 x 2
maximum pooling (but the last), and channels double from stage to stage.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dsresearch import operators
from dsresearch.design import Design
from dsresearch.modules import BatchNorm, SeparableModule, he
from dsresearch.operators import native

Array = jax.Array
Tree = Any

# Kernels of our own take picture by picture through a core's cache by themselves, so that nothing is gained by taking
# blocks of a batch through a whole module, and computing it anew for the gradient, while a tensor of the batch stays in
# the larger cache that the cores share: at [128, 32, 32, 16] whole is 1.14 times as fast, at twice the size 0.93.
LOADED_WHOLE = 8 * 2**20  # bytes


def cheap_to_repeat(design: Design) -> bool:
    """Whether a module treats every picture alone, and its filters read few channels."""
    one_channel = design.formulation in ("separable", "separable_strict", "hybrid", "bsconv_u", "bsconv_s")
    return not design.normalise and (one_channel or (design.formulation == "grouped" and design.groups >= 4))


class Stack(nn.Module):
    """Logits [N, classes] in float32 or wider, of pictures [N, H, W, C] as floating-point numbers.

    Its gradient at the pictures is zero where their way is by kernels of our own (from `fused` on), whose stem
    computes none.
    """

    design: Design
    classes: int

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        width = self.design.width
        kernel = self.param("stem", he(9 * x.shape[-1]), (3, 3, x.shape[-1], width))
        z, sums = self.stem(x, kernel, train)
        norm = "stem_norm"
        for stage, features in enumerate(self.design.widths):
            for block in range(self.design.depth):
                affine = BatchNorm(name=norm).affine(sums, z.size // z.shape[-1], train)
                name = f"stage{stage}_block{block}"
                z, sums = self.stretch(z, affine, train, name, features, pool=stage > 0 and block == 0)
                norm = f"{name}_norm"
        affine = BatchNorm(name=norm).affine(sums, z.size // z.shape[-1], train)
        return self.head(operators.apply_affine(z, affine, "relu"))

    def by_our_own(self) -> bool:
        """Whether pictures are taken from one BatchNorm to the next by kernels of our own, which need an extra."""
        return native.fused() and not self.is_initializing()

    def stem(self, x: Array, kernel: Array, train: bool) -> tuple[Array, operators.Moments]:
        if self.by_our_own():
            from dsresearch.operators.native import stretch

            if stretch.fits(x, alone := [(kernel, 1, False)]):
                return stretch.through(x, None, alone, summed=train)
        size = math.prod(x.shape[1:3]) * kernel.shape[-1] * x.dtype.itemsize
        return operators.with_moments(operators.spatial_conv, x, kernel, size)

    def stretch(
        self, z: Array, affine: operators.Affine, train: bool, name: str, features: int, pool: bool
    ) -> tuple[Array, operators.Moments]:
        """From one BatchNorm's map to the next one's sums: map, ReLU, pooling where a stage begins, one module.

        Every picture passes alone, so the batch can pass in blocks; but not where a BatchNorm stands inside the module,
        nor where the gradient would compute a dense convolution anew.
        """
        if self.by_our_own():
            from dsresearch.stretches import Stretches, cut

            if (made := cut(self.variables["params"][name], self.design, z, features, pool)) is not None:
                return Stretches(self.design, name=name)(z, affine, made, train)
        module = SeparableModule(self.design, features, name=name)

        def enter(z: Array, affine: operators.Affine) -> Array:
            x = operators.apply_affine(z, affine, "relu")
            return operators.max_pool(x) if pool else x

        if self.is_initializing() or not cheap_to_repeat(self.design) or (native.chosen() and z.nbytes <= LOADED_WHOLE):
            y = module(enter(z, affine), train)
            return y, operators.moments(y)
        unbound = SeparableModule(self.design, features, parent=None)

        def chain(z: Array, weights: Tree) -> Array:
            affine, params = weights
            return jnp.asarray(unbound.apply({"params": params}, enter(z, affine), train))

        bytes_a_picture = math.prod(z.shape[1:]) * z.dtype.itemsize
        return operators.with_moments(chain, z, (affine, module.variables["params"]), bytes_a_picture)

    def head(self, x: Array) -> Array:
        weights = self.param("head", he(2 * x.shape[-1]), (x.shape[-1], self.classes))
        bias = self.param("head_bias", nn.initializers.zeros, (self.classes,))
        pooled = x.astype(weights.dtype).mean((1, 2))
        return operators.pointwise(pooled, weights) + bias.reshape(1, -1)
