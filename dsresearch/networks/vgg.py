"""VGG (Simonyan and Zisserman 2015, Table 1), with BatchNorm, and separable without identity connections.

The separable one is the "non-residual VGG-style model" of Xception, section 4.6: every convolution is a depthwise
separable one of depth multiplier 1; its BatchNorm is this project's choice, the paper does not say.

Layers, Keras's names: `block{i}_conv{j}` (`_dw`, `_pw`), `block{i}_conv{j}_bn`, `fc1`, `fc2`, `predictions`. `fc1`
reads [7, 7, 512] flattened with channels fastest (PyTorch: channels slowest).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dsresearch.networks.blocks import classify, separable
from dsresearch.networks.vocabulary import Architecture, Map, Words

FEATURES = (64, 128, 256, 512, 512)
Depths = tuple[int, int, int, int, int]
DEPTHS: Mapping[str, Depths] = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}


@dataclass(frozen=True, kw_only=True)
class VGG(Architecture):
    """Five blocks of 3x3 convolutions with pooling behind each, then the classifier.

    Attributes:
        depths: convolutions of each block.
        normalise: BatchNorm behind every convolution, which keeps its bias (torchvision's `vgg16_bn`).
        separable: every convolution is a depthwise separable one; without bias.
        hidden: units of each of the two hidden layers of the classifier; 0 for a global mean and one layer.
        dropout: behind each hidden layer.
    """

    depths: Depths = DEPTHS["vgg16"]
    normalise: bool = False
    separable: bool = False
    hidden: int = 4096
    dropout: float = 0.5

    def __call__(self, net: Words, x: Map) -> Map:
        for i, (depth, features) in enumerate(zip(self.depths, FEATURES, strict=True), 1):
            for j in range(1, depth + 1):
                x = self._layer(net, f"block{i}_conv{j}", x, self.wide(features))
            x = net.max_pool(x, 2, 2, "VALID")
        if not self.hidden:
            return classify(net, x, self.classes)
        x = net.flatten(x)
        for name in ("fc1", "fc2"):
            x = net.dropout(net.act(net.dense(name, x, self.wide(self.hidden)), "relu"), self.dropout)
        return net.dense("predictions", x, self.classes)

    def _layer(self, net: Words, name: str, x: Map, features: int) -> Map:
        x = separable(net, name, x, features) if self.separable else net.conv(name, x, features, 3, bias=True)
        return net.norm(f"{name}_bn", x, epsilon=1e-5, act="relu") if self.normalise else net.act(x, "relu")


SOURCE = "Simonyan and Zisserman 2015"
POINTS: Mapping[str, Architecture] = {
    **{name: VGG(depths=depths) for name, depths in DEPTHS.items()},
    **{f"{name}_bn": VGG(depths=depths, normalise=True) for name, depths in DEPTHS.items()},
    **{f"{name}_separable": VGG(depths=depths, normalise=True, separable=True) for name, depths in DEPTHS.items()},
    "vgg16_cifar": VGG(normalise=True, hidden=0, classes=10, image=32),
}
