"""EfficientNet B0 to B7 (Tan and Le 2019, Table 1 and its published coefficients), as in Keras.

Layers, after Keras's: `stem_conv`, `stem_conv_bn`; `block{i}{a..}_{expand,dw,project}`, each with `..._bn`, and
`block{i}{a..}_se_{reduce,expand}` (Keras: `..._expand_conv`, `..._dwconv`, `..._project_conv` with `..._bn` for the
convolution's; squeeze and excitation's are 1x1 convolutions there); `top_conv`, `top_conv_bn`; `predictions`.

Keras's normalisation of the picture (7 numbers that are not trained) is no part of the network. Padding is SAME
(torchvision: half the window on both sides). Epsilon is 1e-3. The picture's side is Keras's; torchvision's B2 has 288.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dsresearch.networks.blocks import InvertedResidual, classify, conv_bn
from dsresearch.networks.vocabulary import Architecture, Map, Words

# Expansion, channels, repeats, first stride, kernel of B0's stages.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# Width, depth, side of the picture, dropout.
COEFFICIENTS = (
    (1.0, 1.0, 224, 0.2),
    (1.0, 1.1, 240, 0.2),
    (1.1, 1.2, 260, 0.3),
    (1.2, 1.4, 300, 0.3),
    (1.4, 1.8, 380, 0.4),
    (1.6, 2.2, 456, 0.4),
    (1.8, 2.6, 528, 0.5),
    (2.0, 3.1, 600, 0.5),
)


@dataclass(frozen=True, kw_only=True)
class EfficientNet(Architecture):
    """Inverted residuals with squeeze and excitation, wider and deeper by one coefficient each.

    Attributes:
        width: channels' coefficient; channels are multiples of 8.
        depth: repeats' coefficient, rounded up.
        drop_path: rate of stochastic depth at the last block; it grows from 0 in proportion.
        stem_stride: of the first convolution (1 for pictures of 32 pixels).
    """

    depth: float = 1.0
    dropout: float = 0.2
    drop_path: float = 0.2
    stem_stride: int = 2

    def __call__(self, net: Words, x: Map) -> Map:
        x = conv_bn(net, "stem_conv", x, self.wide_by_8(32), 3, stride=self.stem_stride, act="swish", epsilon=1e-3)
        repeats = [math.ceil(self.depth * stage[2]) for stage in STAGES]
        block = 0
        for i, (expansion, channels, _, stride, kernel) in enumerate(STAGES):
            for repeat in range(repeats[i]):
                unit = InvertedResidual(
                    expanded=expansion * x.shape[-1],
                    features=self.wide_by_8(channels),
                    kernel=kernel,
                    stride=1 if repeat else stride,
                    act="swish",
                    squeezed=max(1, x.shape[-1] // 4),  # a quarter of the block's input
                    squeeze_act="swish",
                    drop=self.drop_path * block / sum(repeats),
                )
                x = unit(net, f"block{i + 1}{chr(ord('a') + repeat)}", x)
                block += 1
        x = conv_bn(net, "top_conv", x, self.wide_by_8(1280), act="swish", epsilon=1e-3)
        return classify(net, x, self.classes, dropout=self.dropout)


SOURCE = "Tan and Le 2019"
POINTS: Mapping[str, Architecture] = {
    f"efficientnet_b{i}": EfficientNet(width=width, depth=depth, image=image, dropout=dropout)
    for i, (width, depth, image, dropout) in enumerate(COEFFICIENTS)
}
