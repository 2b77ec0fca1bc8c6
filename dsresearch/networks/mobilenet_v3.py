"""MobileNet V3 Large and Small (Howard et al. 2019, Tables 1 and 2), as in Keras.

Layers: `conv`; `block_{i}_{expand,dw,project}`, each with `..._bn`, `block_{i}_se_{reduce,expand}`; `conv_1`,
`conv_1_bn`; `conv_2` with bias and without BatchNorm; `predictions`. Keras calls them `expanded_conv_{i}_...`
(block 0: `expanded_conv_...`), `..._depthwise`, `..._squeeze_excite_conv`, `..._squeeze_excite_conv_1`, `logits`.

Padding is SAME; epsilon is 1e-3. Of the two "Small" in circulation this is the paper's, not TF-slim's first (2.9 M).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dsresearch.design import one_of
from dsresearch.networks.blocks import InvertedResidual, conv_bn
from dsresearch.networks.vocabulary import ACTIVATIONS, Architecture, Map, Words, round_channels

# Expansion, channels, kernel, stride, squeeze and excitation, activation of each block.
Row = tuple[float, int, int, int, bool, str]
LARGE: tuple[Row, ...] = (
    (1, 16, 3, 1, False, "relu"),
    (4, 24, 3, 2, False, "relu"),
    (3, 24, 3, 1, False, "relu"),
    (3, 40, 5, 2, True, "relu"),
    (3, 40, 5, 1, True, "relu"),
    (3, 40, 5, 1, True, "relu"),
    (6, 80, 3, 2, False, "hard_swish"),
    (2.5, 80, 3, 1, False, "hard_swish"),
    (2.3, 80, 3, 1, False, "hard_swish"),
    (2.3, 80, 3, 1, False, "hard_swish"),
    (6, 112, 3, 1, True, "hard_swish"),
    (6, 112, 3, 1, True, "hard_swish"),
    (6, 160, 5, 2, True, "hard_swish"),
    (6, 160, 5, 1, True, "hard_swish"),
    (6, 160, 5, 1, True, "hard_swish"),
)
SMALL: tuple[Row, ...] = (
    (1, 16, 3, 2, True, "relu"),
    (72 / 16, 24, 3, 2, False, "relu"),
    (88 / 24, 24, 3, 1, False, "relu"),
    (4, 40, 5, 2, True, "hard_swish"),
    (6, 40, 5, 1, True, "hard_swish"),
    (6, 40, 5, 1, True, "hard_swish"),
    (3, 48, 5, 1, True, "hard_swish"),
    (3, 48, 5, 1, True, "hard_swish"),
    (6, 96, 5, 2, True, "hard_swish"),
    (6, 96, 5, 1, True, "hard_swish"),
    (6, 96, 5, 1, True, "hard_swish"),
)


@dataclass(frozen=True, kw_only=True)
class MobileNetV3(Architecture):
    """Inverted residuals with hard swish, some with squeeze and excitation by a hard sigmoid.

    Attributes:
        width: the width multiplier; channels are multiples of 8.
        rows: the blocks.
        last: features of `conv_2`; only widths above 1 change them.
        minimalistic: 3x3 and ReLU everywhere, no squeeze and excitation (the authors' variant for DSPs).
        stem_stride: of the first convolution (1 for pictures of 32 pixels).
    """

    rows: tuple[Row, ...] = LARGE
    last: int = 1280
    minimalistic: bool = False
    stem_stride: int = 2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        for *_, activation in self.rows:
            one_of("rows", activation, ACTIVATIONS)

    def __call__(self, net: Words, x: Map) -> Map:
        act = "relu" if self.minimalistic else "hard_swish"
        x = conv_bn(net, "conv", x, 16, 3, stride=self.stem_stride, act=act, epsilon=1e-3)  # 16 at every width
        for i, (expansion, channels, kernel, stride, squeeze, activation) in enumerate(self.rows):
            expanded = round_channels(x.shape[-1] * expansion) if i else x.shape[-1]
            unit = InvertedResidual(
                expanded=expanded,
                features=self.wide_by_8(channels),
                kernel=3 if self.minimalistic else kernel,
                stride=stride,
                act="relu" if self.minimalistic else activation,
                squeezed=round_channels(expanded / 4) if squeeze and not self.minimalistic else 0,
                gate="hard_sigmoid",
            )
            x = unit(net, f"block_{i}", x)
        x = conv_bn(net, "conv_1", x, round_channels(6 * x.shape[-1]), act=act, epsilon=1e-3)
        last = round_channels(self.last * max(self.width, 1.0))
        x = net.act(net.dense("conv_2", net.mean(x), last), act)
        return net.dense("predictions", net.dropout(x, self.dropout), self.classes)


SOURCE = "Howard et al. 2019"
POINTS: Mapping[str, Architecture] = {
    "mobilenet_v3_large": MobileNetV3(),
    "mobilenet_v3_large_0.75": MobileNetV3(width=0.75),
    "mobilenet_v3_large_minimalistic": MobileNetV3(minimalistic=True),
    "mobilenet_v3_small": MobileNetV3(rows=SMALL, last=1024),
    "mobilenet_v3_small_0.75": MobileNetV3(rows=SMALL, last=1024, width=0.75),
    "mobilenet_v3_small_minimalistic": MobileNetV3(rows=SMALL, last=1024, minimalistic=True),
}
