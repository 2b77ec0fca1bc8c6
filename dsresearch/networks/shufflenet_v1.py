"""ShuffleNet V1 (Zhang et al. 2018, Table 1), with pytorchcv's layers.

Layers: `conv1`; `stage{s}_unit{u}_{compress,dw,expand}`, stages 2 to 4, units from 1; each with `..._bn`;
`predictions`. The shuffle stands between the first grouped 1x1 and the depthwise convolution (Figure 2b); a strided
unit adds the pooled input as channels (Figure 2c), so that its last 1x1 has so many fewer.

Padding is 1 on both sides; the average pool counts padding; epsilon is 1e-5. The first unit's first 1x1 is not grouped.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dsresearch.networks.blocks import classify, conv_bn, depthwise_bn
from dsresearch.networks.vocabulary import Architecture, Map, Words

FEATURES = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # of stage 2, which the next ones double; by groups
REPEATS = (4, 8, 4)


@dataclass(frozen=True, kw_only=True)
class ShuffleNetV1(Architecture):
    """Bottlenecks of grouped 1x1, shuffle, depthwise 3x3, grouped 1x1.

    Attributes:
        width: the paper's scale factor s.
        groups: g of the 1x1 convolutions.
        features: of stage 2, the published ones of the group count where it is 0.
        stem_stride: of the first convolution and the pool behind it (1 for pictures of 32 pixels).
    """

    groups: int = 3
    features: int = 0
    stem_stride: int = 2

    def __call__(self, net: Words, x: Map) -> Map:
        x = conv_bn(net, "conv1", x, self.wide(24), 3, stride=self.stem_stride, padding=1)
        x = net.max_pool(x, 3, self.stem_stride, 1)
        features = self.features or FEATURES.get(self.groups, 240)
        for stage, repeats in enumerate(REPEATS, 2):
            for unit in range(1, repeats + 1):
                groups = 1 if stage == 2 and unit == 1 else self.groups
                wide = self.wide(features * 2 ** (stage - 2))
                x = self._unit(net, f"stage{stage}_unit{unit}", x, wide, groups, downsample=unit == 1)
        return classify(net, x, self.classes)

    def _unit(self, net: Words, name: str, x: Map, features: int, groups: int, *, downsample: bool) -> Map:
        added = features - x.shape[-1] if downsample else features
        y = conv_bn(net, f"{name}_compress", x, features // 4, groups=groups)
        y = net.shuffle(y, self.groups)
        y = depthwise_bn(net, f"{name}_dw", y, stride=2 if downsample else 1, padding=1, act="none")
        y = conv_bn(net, f"{name}_expand", y, added, groups=self.groups, act="none")
        if downsample:
            return net.act(net.concat([y, net.avg_pool(x, 3, 2, 1, count_padding=True)]), "relu")
        return net.act(net.add(x, y), "relu")


SOURCE = "Zhang et al. 2018"
POINTS: Mapping[str, Architecture] = {
    "shufflenet_v1": ShuffleNetV1(),
    **{f"shufflenet_v1_g{groups}": ShuffleNetV1(groups=groups) for groups in FEATURES},
}
