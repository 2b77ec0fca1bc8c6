"""Inception V3 (Szegedy et al. 2016): Keras's of today, Keras's of August 2016 (the Xception paper's), torchvision's.

The Xception paper compares with 23,626,728 parameters. That is the trainable count of the first Keras Inception V3
(fchollet/deep-learning-models, commit 134615a), which differs from the standard one in four ways:
`pools`, `last_double`, `bias_relu_norm`, `scale`.

Layers: `conv1` to `conv5`; `mixed{i}_{branch}` for i from 0 to 10, branches `1x1`, `5x5_{j}`, `3x3_{j}`, `double_{j}`,
`7x7_{j}`, `pool` (mixed 9 and 10: `3x3_2a`, `3x3_2b`, `double_3a`, `double_3b` side by side), each with `..._bn`;
`aux_*`; `fc1`, `fc2` where there are hidden layers; `predictions`. They are used in the order of Keras's `conv2d_0` to
`conv2d_93`. A separable one is `..._dw`, `..._pw`.

Epsilon is 1e-3. Keras's average pools do not count padding, torchvision's do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dsresearch.networks.blocks import separable
from dsresearch.networks.vocabulary import Architecture, Map, Padding, Window, Words

Branch = Sequence[tuple[str, int, Window]]  # name, features, kernel of the convolutions, one after another


@dataclass(frozen=True, kw_only=True)
class InceptionV3(Architecture):
    """Eleven Inception modules without residual connections.

    Attributes:
        pools: features behind the pool of mixed 0, 1 and 2.
        last_double: features of the first 1x1 of mixed 7's double branch.
        bias_relu_norm: convolution with bias, ReLU, BatchNorm, in this order; else without bias, BatchNorm, ReLU.
        scale: BatchNorm has a trained scale.
        count_padding: the average pools count padded zeros.
        auxiliary: a classifier on mixed 7, in training (the Xception paper has none).
        separable: depthwise separable convolutions in the place of all with a window.
        hidden: units of two fully connected layers in front of the last (Xception, Table 2: 4096); 0 for none.
        dropout: in front of the last layer (Xception, section 4.3).
        small: for pictures of 32 pixels: the stem neither strides nor pools nor loses its border. Not in the paper.
    """

    image: int = 299
    pools: tuple[int, int, int] = (32, 64, 64)
    last_double: int = 192
    bias_relu_norm: bool = False
    scale: bool = False
    count_padding: bool = False
    auxiliary: bool = False
    separable: bool = False
    hidden: int = 0
    dropout: float = 0.5
    small: bool = False

    def __call__(self, net: Words, x: Map) -> Map:
        x = self._stem(net, x)
        for i, pool in enumerate(self.pools):
            x = self._module_35(net, f"mixed{i}", x, pool)
        x = self._module_35_to_17(net, "mixed3", x)
        for i, inner in ((4, 128), (5, 160), (6, 160), (7, 192)):
            x = self._module_17(net, f"mixed{i}", x, inner, self.last_double if i == 7 else inner)
        if self.auxiliary:
            net.auxiliary(lambda y: self._auxiliary(net, y), x)
        x = self._module_17_to_8(net, "mixed8", x)
        for name in ("mixed9", "mixed10"):
            x = self._module_8(net, name, x)
        x = net.mean(x)
        for name in ("fc1", "fc2") if self.hidden else ():
            x = net.act(net.dense(name, x, self.wide(self.hidden)), "relu")
        return net.dense("predictions", net.dropout(x, self.dropout), self.classes)

    def _stem(self, net: Words, x: Map) -> Map:
        padding, stride = ("SAME", 1) if self.small else ("VALID", 2)
        x = self._conv(net, "conv1", x, 32, 3, stride, padding)
        x = self._conv(net, "conv2", x, 32, 3, 1, padding)
        x = self._conv(net, "conv3", x, 64, 3)
        x = x if self.small else net.max_pool(x, 3, 2, "VALID")
        x = self._conv(net, "conv4", x, 80, 1)
        x = self._conv(net, "conv5", x, 192, 3, 1, padding)
        return x if self.small else net.max_pool(x, 3, 2, "VALID")

    def _module_35(self, net: Words, name: str, x: Map, pool: int) -> Map:
        return net.concat(
            [
                self._branch(net, name, x, [("1x1", 64, 1)]),
                self._branch(net, name, x, [("5x5_1", 48, 1), ("5x5_2", 64, 5)]),
                self._branch(net, name, x, [("double_1", 64, 1), ("double_2", 96, 3), ("double_3", 96, 3)]),
                self._branch(net, name, self._average(net, x), [("pool", pool, 1)]),
            ]
        )

    def _module_35_to_17(self, net: Words, name: str, x: Map) -> Map:
        single = self._conv(net, f"{name}_3x3", x, 384, 3, 2, "VALID")
        double = self._branch(net, name, x, [("double_1", 64, 1), ("double_2", 96, 3)])
        double = self._conv(net, f"{name}_double_3", double, 96, 3, 2, "VALID")
        return net.concat([single, double, net.max_pool(x, 3, 2, "VALID")])

    def _module_17(self, net: Words, name: str, x: Map, inner: int, first: int) -> Map:
        double: Branch = [
            ("double_1", first, 1),
            *(("double_2", inner, (7, 1)), ("double_3", inner, (1, 7))),
            *(("double_4", inner, (7, 1)), ("double_5", 192, (1, 7))),
        ]
        return net.concat(
            [
                self._branch(net, name, x, [("1x1", 192, 1)]),
                self._branch(net, name, x, [("7x7_1", inner, 1), ("7x7_2", inner, (1, 7)), ("7x7_3", 192, (7, 1))]),
                self._branch(net, name, x, double),
                self._branch(net, name, self._average(net, x), [("pool", 192, 1)]),
            ]
        )

    def _module_17_to_8(self, net: Words, name: str, x: Map) -> Map:
        single = self._branch(net, name, x, [("3x3_1", 192, 1)])
        single = self._conv(net, f"{name}_3x3_2", single, 320, 3, 2, "VALID")
        seven = self._branch(net, name, x, [("7x7_1", 192, 1), ("7x7_2", 192, (1, 7)), ("7x7_3", 192, (7, 1))])
        seven = self._conv(net, f"{name}_7x7_4", seven, 192, 3, 2, "VALID")
        return net.concat([single, seven, net.max_pool(x, 3, 2, "VALID")])

    def _module_8(self, net: Words, name: str, x: Map) -> Map:
        direct = self._branch(net, name, x, [("1x1", 320, 1)])
        single = self._branch(net, name, x, [("3x3_1", 384, 1)])
        single = [
            self._branch(net, name, single, [("3x3_2a", 384, (1, 3))]),
            self._branch(net, name, single, [("3x3_2b", 384, (3, 1))]),
        ]
        double = self._branch(net, name, x, [("double_1", 448, 1), ("double_2", 384, 3)])
        double = [
            self._branch(net, name, double, [("double_3a", 384, (1, 3))]),
            self._branch(net, name, double, [("double_3b", 384, (3, 1))]),
        ]
        pooled = self._branch(net, name, self._average(net, x), [("pool", 192, 1)])
        return net.concat([direct, *single, *double, pooled])

    def _auxiliary(self, net: Words, x: Map) -> Map:
        x = self._conv(net, "aux_conv1", net.avg_pool(x, 5, 3, "VALID"), 128, 1)
        x = self._conv(net, "aux_conv2", x, 768, 5, 1, "VALID")
        return net.dense("aux_predictions", net.mean(x), self.classes)

    def _branch(self, net: Words, module: str, x: Map, convolutions: Branch) -> Map:
        for name, features, kernel in convolutions:
            x = self._conv(net, f"{module}_{name}", x, features, kernel)
        return x

    def _average(self, net: Words, x: Map) -> Map:
        return net.avg_pool(x, 3, 1, "SAME", count_padding=self.count_padding)

    def _conv(
        self, net: Words, name: str, x: Map, features: int, kernel: Window, stride: int = 1, padding: Padding = "SAME"
    ) -> Map:
        bias, wide = self.bias_relu_norm, self.wide(features)
        if self.separable and kernel != 1:
            x = separable(net, name, x, wide, kernel, stride=stride, padding=padding, bias=bias)
        else:
            x = net.conv(name, x, wide, kernel, stride=stride, padding=padding, bias=bias)
        if self.bias_relu_norm:
            return net.norm(f"{name}_bn", net.act(x, "relu"), epsilon=1e-3, scale=self.scale)
        return net.norm(f"{name}_bn", x, epsilon=1e-3, scale=self.scale, act="relu")


SOURCE = "Szegedy et al. 2016"
POINTS: Mapping[str, Architecture] = {
    "inception_v3": InceptionV3(),
    "inception_v3_2016": InceptionV3(pools=(32, 32, 32), last_double=160, bias_relu_norm=True, scale=True),
    "inception_v3_torchvision": InceptionV3(scale=True, count_padding=True),
    "inception_v3_torchvision_aux": InceptionV3(scale=True, count_padding=True, auxiliary=True),
    "inception_v3_cifar": InceptionV3(small=True, image=32, classes=10),
    "inception_v3_cifar_separable": InceptionV3(small=True, image=32, classes=10, separable=True),
}
