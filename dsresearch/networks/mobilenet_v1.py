"""MobileNet V1 (Howard et al. 2017, Table 1), as in Keras.

Layers, Keras's names: `conv1`, `conv_dw_{i}`, `conv_pw_{i}` for i from 1 to 13, each with `..._bn`; `predictions`
(Keras: the 1x1 convolution `conv_preds`). The "Conv MobileNet" of Table 4 has `conv_{i}`, the blueprint one
`conv_pw_{i}` before `conv_dw_{i}`.

Padding: Keras pads (0, 1) in front of every strided depthwise convolution, whatever the side; on odd sides that is
not SAME. BatchNorm's epsilon is 1e-3. Keras's `depth_multiplier` is the number of filters a channel, TF-slim's the
width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dsresearch.networks.blocks import classify, conv_bn, depthwise_bn
from dsresearch.networks.vocabulary import Architecture, Map, Padding, Words

# Features and stride of the 13 blocks, Table 1.
BLOCKS = (
    (64, 1),
    *((128, 2), (128, 1)),
    *((256, 2), (256, 1)),
    *((512, 2), *((512, 1),) * 5),
    *((1024, 2), (1024, 1)),
)
SHALLOW = BLOCKS[:6] + BLOCKS[11:]  # without the five layers 14 x 14 x 512 (Table 5)


@dataclass(frozen=True, kw_only=True)
class MobileNetV1(Architecture):
    """A strided 3x3 and 13 separable convolutions, each with BatchNorm and ReLU6 behind both of its operations.

    Attributes:
        width: the paper's width multiplier alpha.
        blocks: features and stride of each separable convolution.
        kind: `separable`; `conv`, a 3x3 convolution in the place of each (Table 4); `bsconv_u`, blueprint separable
            ones: the 1x1 first and nothing between (Haase and Amthor 2020, section 3.3).
        stem_stride: of the first convolution (1 for CIFAR).
        authors_of_bsconv: as in the code of the BSConv authors: BatchNorm on the picture, ReLU for ReLU6, padding 1 on
            both sides, epsilon 1e-5.
    """

    blocks: tuple[tuple[int, int], ...] = BLOCKS
    kind: str = "separable"
    stem_stride: int = 2
    authors_of_bsconv: bool = False
    dropout: float = 1e-3

    ONE_OF: ClassVar = {"kind": ("separable", "conv", "bsconv_u")}

    def __call__(self, net: Words, x: Map) -> Map:
        if self.authors_of_bsconv:
            x = net.norm("input_bn", x, epsilon=1e-5)
        padding: Padding = 1 if self.authors_of_bsconv else "SAME"
        x = conv_bn(net, "conv1", x, self.wide(32), 3, stride=self.stem_stride, padding=padding, **self._like())
        for i, (features, stride) in enumerate(self.blocks, 1):
            x = self._block(net, i, x, self.wide(features), stride)
        return classify(net, x, self.classes, dropout=self.dropout)

    def _block(self, net: Words, i: int, x: Map, features: int, stride: int) -> Map:
        padding: Padding = 1 if stride == 1 or self.authors_of_bsconv else (0, 1)
        if self.kind == "conv":
            return conv_bn(net, f"conv_{i}", x, features, 3, stride=stride, padding=padding, **self._like())
        if self.kind == "bsconv_u":
            x = net.conv(f"conv_pw_{i}", x, features)
            return depthwise_bn(net, f"conv_dw_{i}", x, stride=stride, padding=padding, **self._like())
        x = depthwise_bn(net, f"conv_dw_{i}", x, stride=stride, padding=padding, **self._like())
        return conv_bn(net, f"conv_pw_{i}", x, features, **self._like())

    def _like(self) -> dict[str, Any]:
        return {"act": "relu", "epsilon": 1e-5} if self.authors_of_bsconv else {"act": "relu6", "epsilon": 1e-3}


WIDTHS = (0.75, 0.5, 0.25)  # beside 1.0, Table 6
SOURCE = "Howard et al. 2017"
POINTS: Mapping[str, Architecture] = {
    "mobilenet_v1": MobileNetV1(),
    **{f"mobilenet_v1_{width:g}": MobileNetV1(width=width) for width in WIDTHS},
    "mobilenet_v1_conv": MobileNetV1(kind="conv"),
    "mobilenet_v1_shallow": MobileNetV1(blocks=SHALLOW),
}
