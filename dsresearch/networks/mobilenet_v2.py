"""MobileNet V2 (Sandler et al. 2018, Table 2), as in Keras.

Layers: `conv1`; `block_{i}_expand`, `block_{i}_dw`, `block_{i}_project` for i from 0 to 16 (block 0 does not expand);
`conv_last`; each with `..._bn`; `predictions`. Keras calls them `Conv1`, `block_{i}_expand`, `block_{i}_depthwise`,
`block_{i}_project` (block 0: `expanded_conv_...`), `Conv_1`, with `_BN`.

Padding is SAME (torchvision: 1 on both sides). BatchNorm's epsilon is 1e-3 (torchvision: 1e-5).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsresearch.networks.blocks import InvertedResidual, classify, conv_bn
from dsresearch.networks.vocabulary import Architecture, Map, Words, round_channels

# Expansion t, channels c, repeats n, first stride s of Table 2.
ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


@dataclass(frozen=True, kw_only=True)
class MobileNetV2(Architecture):
    """A strided 3x3, 17 inverted residuals, a 1x1; ReLU6 everywhere but behind a projection.

    Attributes:
        width: the width multiplier; channels are multiples of 8, and the last 1x1 never has fewer than 1280.
        rows: expansion, channels, repeats and first stride of every stage.
        stem_stride: of the first convolution (1 for CIFAR).
        authors_of_bsconv: BSConv-S, as in its authors' code: BatchNorm on the picture, channels rounded down and not to
            a multiple of 8, block 0 with an expansion of 1, padding 1 on both sides, epsilon 1e-5; projections are held
            orthonormal.
    """

    rows: tuple[tuple[int, int, int, int], ...] = ROWS
    stem_stride: int = 2
    authors_of_bsconv: bool = False
    dropout: float = 0.0

    @property
    def orthonormal(self) -> tuple[str, ...]:
        return ("_project",) if self.authors_of_bsconv else ()

    def __call__(self, net: Words, x: Map) -> Map:
        if self.authors_of_bsconv:
            x = net.norm("input_bn", x, epsilon=1e-5)
        epsilon, padding = (1e-5, 1) if self.authors_of_bsconv else (1e-3, "SAME")
        like: dict[str, Any] = {"act": "relu6", "epsilon": epsilon}
        x = conv_bn(net, "conv1", x, self._round(32), 3, stride=self.stem_stride, padding=padding, **like)
        block = 0
        for expansion, channels, repeats, stride in self.rows:
            for repeat in range(repeats):
                unit = InvertedResidual(
                    expanded=expansion * x.shape[-1],
                    features=self._round(channels),
                    stride=stride if repeat == 0 else 1,
                    padding=padding,
                    always_expand=self.authors_of_bsconv,
                    **like,
                )
                x = unit(net, f"block_{block}", x)
                block += 1
        last = int(1280 * max(self.width, 1.0))
        x = conv_bn(net, "conv_last", x, last if self.authors_of_bsconv else round_channels(last), **like)
        return classify(net, x, self.classes, dropout=self.dropout)

    def _round(self, channels: int) -> int:
        return self.wide(channels) if self.authors_of_bsconv else round_channels(int(channels * self.width))


WIDTHS = (0.35, 0.5, 0.75, 1.3, 1.4)  # beside 1.0
SOURCE = "Sandler et al. 2018"
POINTS: Mapping[str, Architecture] = {
    "mobilenet_v2": MobileNetV2(),
    **{f"mobilenet_v2_{width:g}": MobileNetV2(width=width) for width in WIDTHS},
}
