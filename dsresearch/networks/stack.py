"""The study's network: a stem, three stages of modules with pooling between them, a head.

Nothing but the module differs between two setups: every module is followed by BatchNorm and ReLU, a stage ends in 2 x 2
maximum pooling (but the last), and channels double from stage to stage.
"""

import jax
from flax import linen as nn

from dsresearch import operators
from dsresearch.design import Design
from dsresearch.modules import BatchNorm, SeparableModule, he

Array = jax.Array


class Stack(nn.Module):
    """Logits [N, classes] in float32 or wider, of pictures [N, H, W, C] as floating-point numbers."""

    design: Design
    classes: int

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        width = self.design.width
        stem = self.param("stem", he(9 * x.shape[-1]), (3, 3, x.shape[-1], width))
        x = BatchNorm("relu", name="stem_norm")(operators.spatial_conv(x, stem), train)
        for stage, features in enumerate(self.design.widths):
            if stage:
                x = operators.max_pool(x)
            for block in range(self.design.depth):
                name = f"stage{stage}_block{block}"
                x = SeparableModule(self.design, features, name=name)(x, train)
                x = BatchNorm("relu", name=f"{name}_norm")(x, train)
        return self.head(x)

    def head(self, x: Array) -> Array:
        weights = self.param("head", he(2 * x.shape[-1]), (x.shape[-1], self.classes))
        bias = self.param("head_bias", nn.initializers.zeros, (self.classes,))
        pooled = x.astype(weights.dtype).mean((1, 2))
        return operators.pointwise(pooled, weights) + bias.reshape(1, -1)
