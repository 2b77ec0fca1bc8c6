"""Xception (Chollet 2017, Figure 5), as in Keras.

Entry flow: two convolutions (block 1) and blocks 2 to 4; middle flow: blocks 5 to 12; exit flow: blocks 13 and 14.
BatchNorm, epsilon 1e-3, behind every convolution; no activation between depthwise and pointwise.

Layers, Keras's names: `block1_conv1`, `block1_conv2`, `block{i}_sepconv{j}` (`_dw`, `_pw`; Keras holds both kernels in
one layer), each with `..._bn`; `block{i}_shortcut` and `block{i}_shortcut_bn` for i = 2, 3, 4, 13 (Keras: `conv2d` to
`conv2d_3`); `fc1`, `fc2` where there are hidden layers; `predictions`.

Padding: the two convolutions of block 1 have none (VALID), all else is SAME.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dsresearch.networks.blocks import conv_bn, separable
from dsresearch.networks.vocabulary import ACTIVATIONS, Architecture, Map, Words

EPSILON = 1e-3
ENTRY = ((128, 128), (256, 256), (728, 728))  # blocks 2, 3, 4
MIDDLE = (728, 728, 728)  # blocks 5 to 12
EXIT = (728, 1024)  # block 13
LAST = (1536, 2048)  # block 14


@dataclass(frozen=True, kw_only=True)
class Xception(Architecture):
    """36 convolutions in 14 modules, with residual connections around all but the first and the last.

    Attributes:
        middle: blocks of the middle flow.
        residual: whether there are residual connections (Figure 9).
        between: activation between depthwise and pointwise (Figure 10): none, relu or elu.
        separable: false puts a regular 3x3 in the place of every separable convolution.
        hidden: units of two fully connected layers in front of the last (Figure 8 and Table 2: 4096); 0 for none.
        dropout: in front of the last layer (section 4.3: 0.5 on ImageNet, none on JFT).
        small: for pictures of 32 pixels: block 1 neither strides nor loses its border. Not in the paper.
    """

    image: int = 299
    middle: int = 8
    residual: bool = True
    between: str = "none"
    separable: bool = True
    hidden: int = 0
    dropout: float = 0.5
    small: bool = False

    ONE_OF: ClassVar = {"between": ACTIVATIONS}

    def __call__(self, net: Words, x: Map) -> Map:
        padding, stride = ("SAME", 1) if self.small else ("VALID", 2)
        x = conv_bn(net, "block1_conv1", x, self.wide(32), 3, stride=stride, padding=padding, epsilon=EPSILON)
        x = conv_bn(net, "block1_conv2", x, self.wide(64), 3, padding=padding, epsilon=EPSILON)
        for i, features in enumerate(ENTRY, 2):
            x = self._downsample(net, f"block{i}", x, features, first="none" if i == 2 else "relu")
        for i in range(5, 5 + self.middle):
            y = x
            for j, channels in enumerate(MIDDLE, 1):
                y = self._convolution(net, f"block{i}_sepconv{j}", net.act(y, "relu"), channels)
            x = net.add(y, x) if self.residual else y
        x = self._downsample(net, f"block{5 + self.middle}", x, EXIT, first="relu")
        for j, channels in enumerate(LAST, 1):
            x = net.act(self._convolution(net, f"block{6 + self.middle}_sepconv{j}", x, channels), "relu")
        x = net.mean(x)
        for name in ("fc1", "fc2") if self.hidden else ():
            x = net.act(net.dense(name, x, self.wide(self.hidden)), "relu")
        return net.dense("predictions", net.dropout(x, self.dropout), self.classes)

    def _downsample(self, net: Words, block: str, x: Map, features: tuple[int, int], first: str) -> Map:
        """Two convolutions and a strided pool, beside a strided 1x1."""
        y = self._convolution(net, f"{block}_sepconv1", net.act(x, first), features[0])
        y = self._convolution(net, f"{block}_sepconv2", net.act(y, "relu"), features[1])
        y = net.max_pool(y, 3, 2, "SAME")
        if not self.residual:
            return y
        return net.add(y, conv_bn(net, f"{block}_shortcut", x, y.shape[-1], stride=2, act="none", epsilon=EPSILON))

    def _convolution(self, net: Words, name: str, x: Map, channels: int) -> Map:
        if self.separable:
            x = separable(net, name, x, self.wide(channels), between=self.between)
        else:
            x = net.conv(name, x, self.wide(channels), 3)
        return net.norm(f"{name}_bn", x, epsilon=EPSILON)


SOURCE = "Chollet 2017"
POINTS: Mapping[str, Architecture] = {
    "xception": Xception(),
    "xception_fc": Xception(hidden=4096),
    "xception_plain": Xception(residual=False),
    "xception_cifar": Xception(small=True, image=32, classes=10),
}
