"""BN-Inception, Inception V2 (Ioffe and Szegedy 2015, Figure 5): Caffe's and TF-slim's.

Layers: `conv1` (slim: `conv1_dw`, `conv1_pw`), `conv2_reduce`, `conv2`; `inception_{3a..5b}_{branch}`, branches `1x1`,
`3x3_reduce`, `3x3`, `double_reduce`, `double_1`, `double_2`, `pool`; each with `..._bn`; `predictions`.

Caffe's (and pytorchcv's) has biases in front of BatchNorm and pools that count a last row; its average pools count
padding. Slim's is SAME throughout, has a separable stem with depth multiplier 8, and BatchNorm without scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dsresearch.networks.blocks import separable
from dsresearch.networks.vocabulary import Architecture, Map, Words

# #1x1, #3x3 reduce, #3x3, #double reduce, #double, pool proj; a module without 1x1 and projection halves the map.
Widths = tuple[int, int, int, int, int, int]
MODULES: Mapping[str, Widths] = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (0, 128, 192, 192, 256, 0),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}
SLIM = {**MODULES, "4c": (160, 128, 160, 128, 160, 96), "4d": (96, 128, 192, 160, 192, 96)}


@dataclass(frozen=True, kw_only=True)
class BNInception(Architecture):
    """Ten Inception modules with two 3x3 in the place of a 5x5; the last pools by the maximum, the others average.

    Attributes:
        slim: TF-slim's, else Caffe's.
    """

    slim: bool = False
    dropout: float = 0.2

    def __call__(self, net: Words, x: Map) -> Map:
        if self.slim:
            x = self._finish(net, "conv1", separable(net, "conv1", x, self.wide(64), 7, stride=2, multiplier=8))
        else:
            x = self._finish(net, "conv1", net.conv("conv1", x, self.wide(64), 7, stride=2, padding=3, bias=True))
        x = self._conv(net, "conv2", self._conv(net, "conv2_reduce", self._pool(net, x), 64), 192, 3)
        x = self._pool(net, x)
        for name, widths in (SLIM if self.slim else MODULES).items():
            x = self._module(net, f"inception_{name}", x, widths, last=name == "5b")
        return net.dense("predictions", net.dropout(net.mean(x), self.dropout), self.classes)

    def _module(self, net: Words, name: str, x: Map, widths: Widths, *, last: bool) -> Map:
        direct, reduce3, three, reduce, double, projection = widths
        stride = 1 if direct else 2
        single = self._conv(net, f"{name}_3x3_reduce", x, reduce3)
        twice = self._conv(net, f"{name}_double_reduce", x, reduce)
        twice = self._conv(net, f"{name}_double_1", twice, double, 3)
        spatial = [
            self._conv(net, f"{name}_3x3", single, three, 3, stride),
            self._conv(net, f"{name}_double_2", twice, double, 3, stride),
        ]
        if not direct:
            return net.concat([*spatial, net.max_pool(x, 3, 2, "SAME")])  # CEIL on even sides, and agrees on odd ones
        pooled = net.max_pool(x, 3, 1, 1) if last else net.avg_pool(x, 3, 1, 1, count_padding=not self.slim)
        projected = self._conv(net, f"{name}_pool", pooled, projection)
        return net.concat([self._conv(net, f"{name}_1x1", x, direct), *spatial, projected])

    def _pool(self, net: Words, x: Map) -> Map:
        return net.max_pool(x, 3, 2, "SAME" if self.slim else "CEIL")

    def _conv(self, net: Words, name: str, x: Map, features: int, kernel: int = 1, stride: int = 1) -> Map:
        padding = "SAME" if self.slim else kernel // 2
        wide = self.wide(features)
        y = net.conv(name, x, wide, kernel, stride=stride, padding=padding, bias=not self.slim)
        return self._finish(net, name, y)

    def _finish(self, net: Words, name: str, x: Map) -> Map:
        return net.norm(f"{name}_bn", x, epsilon=1e-3 if self.slim else 1e-5, scale=not self.slim, act="relu")


SOURCE = "Ioffe and Szegedy 2015"
POINTS: Mapping[str, Architecture] = {
    "bn_inception": BNInception(),
    "bn_inception_slim": BNInception(slim=True),
}
