"""Inception V1, GoogLeNet (Szegedy et al. 2015, Table 1): the published one and torchvision's.

Layers: `conv1`, `conv2_reduce`, `conv2`; `inception_{3a..5b}_{branch}`, branches `1x1`, `3x3_reduce`, `3x3`,
`5x5_reduce`, `5x5`, `pool`; `aux1_*`, `aux2_*`; `predictions`; with `..._bn` where there is BatchNorm.

The published one has biases, local response normalisation, and pools that count a last row (Caffe's). Row 1 of its
Table 1 (2.7 K parameters, 34 M operations) is a separable stem with depth multiplier 8, which the released model has
not: `separable_stem`. torchvision's has BatchNorm (epsilon 1e-3) and a 3x3 in the place of the 5x5; its auxiliary
classifiers pool to 4 x 4 by windows that overlap, which agree with the 5x5 pool with stride 3 at 14 x 14 in size only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dsresearch.networks.blocks import separable
from dsresearch.networks.vocabulary import Architecture, Map, Padding, Words

# #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj of Table 1; a 3x3 pool with stride 2 stands between the stages.
STAGES = (
    {"3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64)},
    {
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
    },
    {"5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128)},
)
AUXILIARY = {"4a": "aux1", "4d": "aux2"}


@dataclass(frozen=True, kw_only=True)
class InceptionV1(Architecture):
    """Nine Inception modules of four branches.

    Attributes:
        torchvision: BatchNorm without bias, no response normalisation, 3x3 for 5x5, and a 2x2 as the last pool.
        separable_stem: the 7x7 is a depthwise separable convolution with depth multiplier 8.
        auxiliary: two classifiers beside the network, in training.
    """

    torchvision: bool = False
    separable_stem: bool = False
    auxiliary: bool = False
    dropout: float = 0.4

    def __call__(self, net: Words, x: Map) -> Map:
        x = self._responses(net, net.max_pool(self._stem(net, x), 3, 2, "CEIL"))
        x = self._conv(net, "conv2", self._conv(net, "conv2_reduce", x, 64), 192, 3)
        x = net.max_pool(self._responses(net, x), 3, 2, "CEIL")
        for stage, modules in enumerate(STAGES):
            if stage:
                window = 2 if self.torchvision and stage == 2 else 3
                x = net.max_pool(x, window, 2, "CEIL")
            for name, widths in modules.items():
                x = self._module(net, f"inception_{name}", x, widths)
                if self.auxiliary and name in AUXILIARY:
                    net.auxiliary(lambda y, aux=AUXILIARY[name]: self._auxiliary(net, aux, y), x)  # type: ignore[misc]
        return net.dense("predictions", net.dropout(net.mean(x), self.dropout), self.classes)

    def _stem(self, net: Words, x: Map) -> Map:
        if not self.separable_stem:
            return self._conv(net, "conv1", x, 64, 7, 2, 3)
        return self._finish(
            net, "conv1", separable(net, "conv1", x, self.wide(64), 7, stride=2, padding=3, multiplier=8)
        )

    def _module(self, net: Words, name: str, x: Map, widths: tuple[int, ...]) -> Map:
        direct, reduce3, three, reduce5, five, pool = widths
        small = self._conv(net, f"{name}_3x3_reduce", x, reduce3)
        large = self._conv(net, f"{name}_5x5_reduce", x, reduce5)
        return net.concat(
            [
                self._conv(net, f"{name}_1x1", x, direct),
                self._conv(net, f"{name}_3x3", small, three, 3),
                self._conv(net, f"{name}_5x5", large, five, 3 if self.torchvision else 5),
                self._conv(net, f"{name}_pool", net.max_pool(x, 3, 1, 1), pool),
            ]
        )

    def _auxiliary(self, net: Words, name: str, x: Map) -> Map:
        x = self._conv(net, f"{name}_conv", net.avg_pool(x, 5, 3, "VALID"), 128)
        x = net.act(net.dense(f"{name}_fc", net.flatten(x), self.wide(1024)), "relu")
        return net.dense(f"{name}_predictions", net.dropout(x, 0.7), self.classes)

    def _responses(self, net: Words, x: Map) -> Map:
        return x if self.torchvision else net.lrn(x, size=5, alpha=1e-4, beta=0.75, k=1.0)

    def _conv(
        self, net: Words, name: str, x: Map, features: int, kernel: int = 1, stride: int = 1, padding: Padding = "SAME"
    ) -> Map:
        wide, bias = self.wide(features), not self.torchvision
        return self._finish(net, name, net.conv(name, x, wide, kernel, stride=stride, padding=padding, bias=bias))

    def _finish(self, net: Words, name: str, x: Map) -> Map:
        return net.norm(f"{name}_bn", x, epsilon=1e-3, act="relu") if self.torchvision else net.act(x, "relu")


SOURCE = "Szegedy et al. 2015"
POINTS: Mapping[str, Architecture] = {
    "inception_v1": InceptionV1(),
    "inception_v1_aux": InceptionV1(auxiliary=True),
    "inception_v1_separable_stem": InceptionV1(separable_stem=True),
    "inception_v1_torchvision": InceptionV1(torchvision=True),
    "inception_v1_torchvision_aux": InceptionV1(torchvision=True, auxiliary=True),
}
