"""Blueprint separable networks (Haase and Amthor 2020) and what they are compared with, as in the authors' code.

All have BatchNorm on the picture (6 parameters, 6 statistics), padding 1 on both sides, epsilon 1e-5. For CIFAR the
stem does not stride, and the MobileNets stride thrice. BSConv-U puts the pointwise convolution first; BSConv-S factors
it through a subspace, and an extra loss holds the factor orthonormal: in a ResNet that of the first pointwise
convolutions, in MobileNet V2, whose layers stay as they are, that of the projections (`Architecture.orthonormal`,
`loss.orthonormality`).

Layers: as in `mobilenet_v1`, `mobilenet_v2` and `resnet`; `input_bn`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dsresearch.networks.mobilenet_v1 import BLOCKS, MobileNetV1
from dsresearch.networks.mobilenet_v2 import ROWS, MobileNetV2
from dsresearch.networks.resnet import ResNet
from dsresearch.networks.vocabulary import Architecture

ALPHA = 0.1  # weight of the extra loss (the authors' default)


V1 = MobileNetV1(authors_of_bsconv=True)
V2 = MobileNetV2(authors_of_bsconv=True)
# Strides 1, 1, 2, 2, 2 of the five stages.
CIFAR_BLOCKS = tuple((features, 1 if features == 128 else stride) for features, stride in BLOCKS)
CIFAR_ROWS = tuple((*row[:3], 1 if row[1] == 24 else row[3]) for row in ROWS)
CIFAR: dict[str, Any] = {"classes": 10, "image": 32}
V1_CIFAR = replace(V1, blocks=CIFAR_BLOCKS, stem_stride=1, **CIFAR)
V2_CIFAR = replace(V2, rows=CIFAR_ROWS, stem_stride=1, **CIFAR)
RESNET = ResNet(features=16, inner=0, stem=16, window=3, normalise_input=True, **CIFAR)
RESNET18 = ResNet(depths=(2, 2, 2, 2), features=64, inner=0, normalise_input=True)


def wide_resnet(depth: int, factor: int) -> ResNet:
    """WRN-depth-factor (Zagoruyko and Komodakis 2016); the stem keeps its 16 channels."""
    return replace(RESNET, depths=((depth - 4) // 6,) * 3, features=16 * factor, before=True)


RESNETS = {
    "resnet20": replace(RESNET, depths=(3, 3, 3)),
    "resnet110": replace(RESNET, depths=(18, 18, 18)),
    "resnet18": RESNET18,
    **{
        f"wrn{depth}_{factor}": wide_resnet(depth, factor)
        for depth, factor in ((16, 1), (16, 4), (16, 8), (28, 2), (28, 10), (28, 12), (40, 10))
    },
}
SOURCE = "Haase and Amthor 2020"
POINTS: Mapping[str, Architecture] = {
    "bsconv_none_mobilenet_v1": V1,
    "bsconv_u_mobilenet_v1": replace(V1, kind="bsconv_u"),
    "bsconv_none_mobilenet_v1_cifar": V1_CIFAR,
    "bsconv_u_mobilenet_v1_cifar": replace(V1_CIFAR, kind="bsconv_u"),
    "bsconv_s_mobilenet_v2": V2,
    "bsconv_s_mobilenet_v2_cifar": V2_CIFAR,
    **{f"bsconv_none_{name}": net for name, net in RESNETS.items()},
    **{f"bsconv_u_{name}": replace(net, kind="bsconv_u") for name, net in RESNETS.items()},
    **{f"bsconv_s_{name}": replace(net, kind="bsconv_s") for name, net in RESNETS.items()},
}
