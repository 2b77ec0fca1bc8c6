"""Darknet Reference, Darknet-19 (Redmon and Farhadi 2017, YOLO9000, Table 6) and `cifar.cfg` of the same author.

Layers: `stage{i}_conv{j}` and `stage{i}_conv{j}_bn`, stages and convolutions from 1; a separable one is
`stage{i}_conv{j}_dw` and `stage{i}_conv{j}_pw`; the 1x1 head with bias is `head`. Every convolution but the head has
BatchNorm and a leaky ReLU of slope 0.1. Numbers are pytorchcv's, whose pools leave a last odd row out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dsresearch.networks.blocks import separable
from dsresearch.networks.vocabulary import ACTIVATIONS, Architecture, Map, Words

# (kernel, features) of the convolutions of each stage; a 2 x 2 maximum pool stands between stages.
Stages = tuple[tuple[tuple[int, int], ...], ...]
REFERENCE: Stages = tuple(((3, features),) for features in (16, 32, 64, 128, 256, 512, 1024))
DARKNET19: Stages = (
    ((3, 32),),
    ((3, 64),),
    ((3, 128), (1, 64), (3, 128)),
    ((3, 256), (1, 128), (3, 256)),
    ((3, 512), (1, 256), (3, 512), (1, 256), (3, 512)),
    ((3, 1024), (1, 512), (3, 1024), (1, 512), (3, 1024)),
)
CIFAR: Stages = (((3, 128),) * 3, ((3, 256),) * 3, ((3, 512),) * 3)


@dataclass(frozen=True, kw_only=True)
class Darknet(Architecture):
    """A stack of convolutions without identity connections.

    Attributes:
        stages: (kernel, features) of every convolution.
        separable: every 3x3 is a depthwise separable one, without anything between its two operations (the hybrid
            paper's Figure 6 does not say more).
        dropout: in front of every stage but the first, and of the head (`cifar.cfg`: 0.5).
        head_act: what stands behind the head (Darknet Reference: leaky).
    """

    stages: Stages = DARKNET19
    separable: bool = False
    dropout: float = 0.0
    head_act: str = "none"

    ONE_OF: ClassVar = {"head_act": ACTIVATIONS}

    def __call__(self, net: Words, x: Map) -> Map:
        for i, stage in enumerate(self.stages, 1):
            if i > 1:
                x = net.dropout(net.max_pool(x, 2, 2, "VALID"), self.dropout)
            for j, (kernel, features) in enumerate(stage, 1):
                name = f"stage{i}_conv{j}"
                if self.separable and kernel > 1:
                    x = separable(net, name, x, self.wide(features), kernel)
                else:
                    x = net.conv(name, x, self.wide(features), kernel)
                x = net.norm(f"{name}_bn", x, epsilon=1e-5, act="leaky")
        x = net.conv("head", net.dropout(x, self.dropout), self.classes, bias=True)
        return net.mean(net.act(x, self.head_act))


SOURCE = "Redmon and Farhadi 2017"
POINTS: Mapping[str, Architecture] = {
    "darknet19": Darknet(),
    "darknet19_separable": Darknet(separable=True),
    "darknet_reference": Darknet(stages=REFERENCE, head_act="leaky"),
    "darknet_reference_separable": Darknet(stages=REFERENCE, head_act="leaky", separable=True),
    "darknet_cifar": Darknet(stages=CIFAR, classes=10, image=28, dropout=0.5),
    "darknet_cifar_separable": Darknet(stages=CIFAR, classes=10, image=28, dropout=0.5, separable=True),
}
