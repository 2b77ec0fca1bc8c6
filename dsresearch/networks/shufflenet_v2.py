"""ShuffleNet V2 (Ma et al. 2018, Table 5): torchvision's and, `official`, the authors' code.

Layers: `conv1`; `stage{s}_unit{u}_main_{1,dw,2}` and, in a strided unit, `stage{s}_unit{u}_side_{dw,1}`; `conv5`; each
with `..._bn`; `predictions`. Padding is 1 on both sides, epsilon 1e-5.

torchvision splits a unit's input in halves and shuffles its output; both branches of a strided unit have half of the
outputs. The authors' shuffle the input and split it; the side branch of a strided unit keeps its channels, the main one
makes the rest; the last layer has no bias. Counts of the paper are the authors'.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dsresearch.networks.blocks import conv_bn, depthwise_bn
from dsresearch.networks.vocabulary import Architecture, Map, Words

REPEATS = (4, 8, 4)
FEATURES = {  # of stage 2 (the next ones double) and of conv5, by the published width
    "0.5": (48, 1024),
    "1.0": (116, 1024),
    "1.5": (176, 1024),
    "2.0": (244, 2048),
}


@dataclass(frozen=True, kw_only=True)
class ShuffleNetV2(Architecture):
    """Units that work on half of the channels and shuffle them.

    Attributes:
        features: of stage 2 at width 1, even; stages 3 and 4 have twice and four times as many.
        last: of conv5, at any width.
        official: the authors' units, else torchvision's.
        dropout: in front of the last layer (the authors' 2.0: 0.2).
        stem_stride: of the first convolution and the pool behind it (1 for pictures of 32 pixels).
    """

    features: int = 116
    last: int = 1024
    official: bool = False
    dropout: float = 0.0
    stem_stride: int = 2

    def __call__(self, net: Words, x: Map) -> Map:
        x = conv_bn(net, "conv1", x, 24, 3, stride=self.stem_stride, padding=1)  # 24 at every width
        x = net.max_pool(x, 3, self.stem_stride, 1)
        for stage, repeats in enumerate(REPEATS, 2):
            half = self.wide(self.features // 2) * 2 ** (stage - 2)
            for unit in range(1, repeats + 1):
                name = f"stage{stage}_unit{unit}"
                if unit == 1:
                    x = self._strided(net, name, x, half)
                elif self.official:
                    side, main = net.split(net.shuffle(x, half), half)  # the even channels, then the odd ones
                    x = net.concat([side, self._main(net, name, main, half, half)])
                else:
                    side, main = net.split(x, half)
                    x = net.shuffle(net.concat([side, self._main(net, name, main, half, half)]), 2)
        x = net.mean(conv_bn(net, "conv5", x, self.last))
        return net.dense("predictions", net.dropout(x, self.dropout), self.classes, bias=not self.official)

    def _strided(self, net: Words, name: str, x: Map, half: int) -> Map:
        kept = x.shape[-1] if self.official else half
        side = depthwise_bn(net, f"{name}_side_dw", x, stride=2, padding=1, act="none")
        side = conv_bn(net, f"{name}_side_1", side, kept)
        both = net.concat([side, self._main(net, name, x, half, 2 * half - kept, stride=2)])
        return both if self.official else net.shuffle(both, 2)

    def _main(self, net: Words, name: str, x: Map, inner: int, features: int, *, stride: int = 1) -> Map:
        x = conv_bn(net, f"{name}_main_1", x, inner)
        x = depthwise_bn(net, f"{name}_main_dw", x, stride=stride, padding=1, act="none")
        return conv_bn(net, f"{name}_main_2", x, features)


SOURCE = "Ma et al. 2018"
POINTS: Mapping[str, Architecture] = {
    "shufflenet_v2": ShuffleNetV2(),
    **{
        f"shufflenet_v2_{width}{suffix}": ShuffleNetV2(features=features, last=last, official=bool(suffix))
        for suffix in ("", "_official")
        for width, (features, last) in FEATURES.items()
    },
}
