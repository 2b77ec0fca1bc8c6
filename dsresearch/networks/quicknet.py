"""QuickNet (Ghosh 2017, arXiv:1701.02291): Darknet made separable, with PReLU, for CIFAR-10.

The paper gives 3.56 M parameters and no layer list. This reading is a hypothesis: the trunk of Darknet-19 with Keras's
defaults (a bias on every convolution, a PReLU slope for every element) has 3,564,741 numbers, running statistics
included, and no separable Darknet Reference comes near.
`quicknet_dense` is the same with regular convolutions, `quicknet_reference` the other reading, of "reference Darknet".

Layers: `stage{i}_conv{j}` (`_dw`, `_pw` where it is 3x3), `..._bn`, `..._prelu`, `head`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dsresearch.networks.blocks import separable
from dsresearch.networks.darknet import DARKNET19, REFERENCE, Stages
from dsresearch.networks.vocabulary import Architecture, Map, Words


@dataclass(frozen=True, kw_only=True)
class QuickNet(Architecture):
    """A separable Darknet with PReLU and dropout; its slopes hold one number an element, so it has one picture size.

    Attributes:
        stages: (kernel, features) of every convolution.
        separable: every 3x3 is a depthwise separable one.
        dropout: in front of the head.
    """

    classes: int = 10
    image: int = 32
    stages: Stages = DARKNET19
    separable: bool = True
    dropout: float = 0.5

    def __call__(self, net: Words, x: Map) -> Map:
        for i, stage in enumerate(self.stages, 1):
            if i > 1:
                x = net.max_pool(x, 2, 2, "VALID")
            for j, (kernel, features) in enumerate(stage, 1):
                name = f"stage{i}_conv{j}"
                if self.separable and kernel > 1:
                    x = separable(net, name, x, self.wide(features), kernel, bias=True)
                else:
                    x = net.conv(name, x, self.wide(features), kernel, bias=True)
                x = net.prelu(f"{name}_prelu", net.norm(f"{name}_bn", x, epsilon=1e-3))
        return net.mean(net.conv("head", net.dropout(x, self.dropout), self.classes, bias=True))


SOURCE = "Ghosh 2017b"
POINTS: Mapping[str, Architecture] = {
    "quicknet": QuickNet(),
    "quicknet_dense": QuickNet(separable=False),
    "quicknet_reference": QuickNet(stages=REFERENCE, image=64),
    "quicknet_reference_dense": QuickNet(stages=REFERENCE, image=64, separable=False),
}
