"""AlexNet (Krizhevsky et al. 2012): in two groups, plain, separable, and torchvision's of "one weird trick" (2014).

Sifre's separable AlexNet (thesis, section 6.2) is where depthwise separable convolution comes from; here every
convolution is separable, with its bias behind the 1x1, and the counts are this project's own.

Layers: `conv1` to `conv5` (`_dw`, `_pw`), `fc6`, `fc7`, `predictions`, all with bias. `fc6` reads [6, 6, 256]
flattened with channels fastest.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dsresearch.networks.blocks import separable
from dsresearch.networks.vocabulary import Architecture, Map, Words

PAPER = (96, 256, 384, 384, 256)
ONE_WEIRD_TRICK = (64, 192, 384, 256, 256)


@dataclass(frozen=True, kw_only=True)
class AlexNet(Architecture):
    """Five convolutions, three overlapping pools, three fully connected layers.

    Attributes:
        features: of the five convolutions.
        groups: of conv2, conv4 and conv5 (2 in the paper: two GPUs).
        separable: every convolution is a depthwise separable one.
        padding: of conv1 (0 at 227 pixels; torchvision 2 at 224).
        responses: local response normalisation behind conv1 and conv2 (section 3.3: k 2, n 5, alpha 1e-4, beta 0.75).
        dropout: behind fc6 and fc7 (section 4.2).
    """

    image: int = 227
    features: tuple[int, int, int, int, int] = PAPER
    groups: int = 1
    separable: bool = False
    padding: int = 0
    responses: bool = True
    dropout: float = 0.5

    def __call__(self, net: Words, x: Map) -> Map:
        x = self._pool(net, self._layer(net, "conv1", x, 0, kernel=11, stride=4, padding=self.padding), self.responses)
        x = self._pool(net, self._layer(net, "conv2", x, 1, kernel=5, groups=self.groups), self.responses)
        x = self._layer(net, "conv3", x, 2)
        x = self._layer(net, "conv4", x, 3, groups=self.groups)
        x = self._pool(net, self._layer(net, "conv5", x, 4, groups=self.groups), False)
        x = net.flatten(x)
        for name in ("fc6", "fc7"):
            x = net.dropout(net.act(net.dense(name, x, self.wide(4096)), "relu"), self.dropout)
        return net.dense("predictions", x, self.classes)

    def _layer(
        self,
        net: Words,
        name: str,
        x: Map,
        place: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
    ) -> Map:
        features, edge = self.wide(self.features[place]), kernel // 2 if padding is None else padding
        if self.separable:
            x = separable(net, name, x, features, kernel, stride=stride, padding=edge, bias=True)
        else:
            x = net.conv(name, x, features, kernel, stride=stride, groups=groups, padding=edge, bias=True)
        return net.act(x, "relu")

    def _pool(self, net: Words, x: Map, responses: bool) -> Map:
        if responses:
            x = net.lrn(x, size=5, alpha=5e-4, beta=0.75, k=2.0)  # the paper sums with alpha, `lrn` averages
        return net.max_pool(x, 3, 2, "VALID")


SOURCE = "Krizhevsky et al. 2012"
POINTS: Mapping[str, Architecture] = {
    "alexnet": AlexNet(groups=2),
    "alexnet_plain": AlexNet(),
    "alexnet_separable": AlexNet(separable=True),
    "alexnet_torchvision": AlexNet(image=224, features=ONE_WEIRD_TRICK, padding=2, responses=False),
}
