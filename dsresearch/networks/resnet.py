"""ResNet (He et al. 2016), wide ResNet, ResNeXt (Xie et al. 2017), for ImageNet and CIFAR.

One factory: a ResNeXt is a ResNet whose middle convolution has groups, 32x4d is 32 groups of 4 channels in stage 1. A
plain name means torchvision's: no bias, the stride in the 3x3. Keras's (`_keras`) have biases and the stride in the
first 1x1.

Layers: `conv1`; `stage{s}_unit{u}_{1,2,3}` (two in a basic unit) and `stage{s}_unit{u}_shortcut`, from 1; each with
`..._bn`; `predictions`. In a pre-activation unit `..._bn` stands in front of its convolution. A blueprint separable
convolution is `..._pw`, `..._dw`, one of the subspace kind `..._pw1`, `..._pw2` (each with `..._bn`), `..._dw`.

Padding is half the window on both sides; epsilon is 1e-5 (Keras's: 1.001e-5).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dsresearch.networks.blocks import bsconv_s, bsconv_u, classify
from dsresearch.networks.vocabulary import Architecture, Map, Words

Shapes = list[tuple[int, int, int, int]]  # features, kernel, stride, groups of a unit's convolutions


@dataclass(frozen=True, kw_only=True)
class ResNet(Architecture):
    """Stages of residual units; each stage after the first halves the map and doubles the channels.

    Attributes:
        depths: units of each stage.
        features: outputs of a unit of stage 1.
        inner: channels within a bottleneck of stage 1; 0 for basic units of two 3x3.
        groups: of a bottleneck's 3x3 (the cardinality).
        stem: features of the first convolution.
        window: side of the first convolution: 7 strides and is followed by a strided pool, 3 and 1 do neither (CIFAR).
        keras: biases, the stride in the first 1x1 of a bottleneck, Keras's epsilon.
        before: BatchNorm and ReLU in front of each convolution (He et al. 2016b; wide ResNets).
        kind: of the 3x3 convolutions: `regular`, `bsconv_u`, `bsconv_s`.
        subspace: of bsconv_s, the share p of the input channels.
        normalise_input: BatchNorm on the picture (the BSConv authors' code).
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    features: int = 256
    inner: int = 64
    groups: int = 1
    stem: int = 64
    window: int = 7
    keras: bool = False
    before: bool = False
    kind: str = "regular"
    subspace: float = 0.25
    normalise_input: bool = False

    ONE_OF: ClassVar = {"kind": ("regular", "bsconv_u", "bsconv_s")}

    @property
    def orthonormal(self) -> tuple[str, ...]:
        return ("_pw1",) if self.kind == "bsconv_s" else ()

    def __call__(self, net: Words, x: Map) -> Map:
        if self.normalise_input:
            x = self._norm(net, "input", x, "none")
        x = self._conv(net, "conv1", x, self.wide(self.stem), self.window, 2 if self.window == 7 else 1)
        if not self.before:
            x = self._norm(net, "conv1", x)
        if self.window == 7:
            x = net.max_pool(x, 3, 2, 1)
        for stage, depth in enumerate(self.depths, 1):
            for unit in range(1, depth + 1):
                stride = 2 if stage > 1 and unit == 1 else 1
                x = self._unit(net, f"stage{stage}_unit{unit}", x, 2 ** (stage - 1), stride)
        if self.before:
            x = self._norm(net, "last", x)
        return classify(net, x, self.classes)

    def _unit(self, net: Words, name: str, x: Map, factor: int, stride: int) -> Map:
        features = self.wide(self.features * factor)
        if self.inner:
            inner = self.groups * self.wide(self.inner * factor // self.groups)
            first, second = (stride, 1) if self.keras else (1, stride)
            shapes = [(inner, 1, first, 1), (inner, 3, second, self.groups), (features, 1, 1, 1)]
        else:
            shapes = [(features, 3, stride, 1), (features, 3, 1, 1)]
        project = x.shape[-1] != features or stride > 1
        return (self._unit_before if self.before else self._unit_behind)(net, name, x, shapes, project)

    def _unit_behind(self, net: Words, name: str, x: Map, shapes: Shapes, project: bool) -> Map:
        y = x
        for i, (features, kernel, stride, groups) in enumerate(shapes, 1):
            y = self._conv(net, f"{name}_{i}", y, features, kernel, stride, groups)
            y = self._norm(net, f"{name}_{i}", y, "relu" if i < len(shapes) else "none")
        if project:
            x = self._conv(net, f"{name}_shortcut", x, y.shape[-1], 1, _stride(shapes))
            x = self._norm(net, f"{name}_shortcut", x, "none")
        return net.act(net.add(x, y), "relu")

    def _unit_before(self, net: Words, name: str, x: Map, shapes: Shapes, project: bool) -> Map:
        y = self._norm(net, f"{name}_1", x)
        if project:
            x = self._conv(net, f"{name}_shortcut", y, shapes[-1][0], 1, _stride(shapes))
        for i, (features, kernel, stride, groups) in enumerate(shapes, 1):
            y = y if i == 1 else self._norm(net, f"{name}_{i}", y)
            y = self._conv(net, f"{name}_{i}", y, features, kernel, stride, groups)
        return net.add(x, y)

    def _norm(self, net: Words, name: str, x: Map, act: str = "relu") -> Map:
        return net.norm(f"{name}_bn", x, epsilon=1.001e-5 if self.keras else 1e-5, act=act)

    def _conv(self, net: Words, name: str, x: Map, features: int, kernel: int, stride: int, groups: int = 1) -> Map:
        if self.kind == "bsconv_u" and kernel == 3:
            return bsconv_u(net, name, x, features, stride=stride)
        if self.kind == "bsconv_s" and kernel == 3:
            return bsconv_s(net, name, x, features, stride=stride, share=self.subspace)
        return net.conv(name, x, features, kernel, stride=stride, groups=groups, padding=kernel // 2, bias=self.keras)


def _stride(shapes: Shapes) -> int:
    return max(stride for _, _, stride, _ in shapes)


def resnext(cardinality: int, width: int, depths: tuple[int, ...] = (3, 4, 6, 3)) -> ResNet:
    """An ImageNet ResNeXt, `cardinality` x `width` d."""
    return ResNet(depths=depths, groups=cardinality, inner=cardinality * width)


def resnext_cifar(cardinality: int, width: int, depths: tuple[int, ...] = (3, 3, 3)) -> ResNet:
    """A CIFAR ResNeXt of 9 units: ResNeXt-29 (section 5.3); with (2, 2, 2), ResNeXt-20."""
    return ResNet(depths=depths, groups=cardinality, inner=cardinality * width, window=3, classes=10, image=32)


BOTTLENECKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
# Table 2 and Tables 3, 4 of the ResNeXt paper, and torchvision's 32x8d.
RESNEXT_50 = ((1, 64), (2, 40), (4, 24), (8, 14), (32, 4))
RESNEXT_101 = ((1, 64), (2, 40), (4, 24), (8, 14), (32, 4), (32, 8), (64, 4))
RESNEXT_29 = ((8, 64), (16, 64), (32, 4))
# pytorchcv's series at constant width, cardinality times path width = 64 and 128.
RESNEXT_20 = tuple((c, 64 // c) for c in (1, 2, 4, 8, 16, 32, 64)) + tuple((c, 128 // c) for c in (2, 4, 8, 16, 32, 64))

SOURCE = "He et al. 2016, Xie et al. 2017"
POINTS: Mapping[str, Architecture] = {
    "resnet18": ResNet(depths=(2, 2, 2, 2), features=64, inner=0),
    "resnet34": ResNet(depths=(3, 4, 6, 3), features=64, inner=0),
    **{f"resnet{depth}": ResNet(depths=depths) for depth, depths in BOTTLENECKS.items()},
    **{f"resnet{depth}_keras": ResNet(depths=depths, keras=True) for depth, depths in BOTTLENECKS.items()},
    **{f"resnext50_{c}x{d}d": resnext(c, d) for c, d in RESNEXT_50},
    **{f"resnext101_{c}x{d}d": resnext(c, d, BOTTLENECKS[101]) for c, d in RESNEXT_101},
    **{f"resnext29_{c}x{d}d": resnext_cifar(c, d) for c, d in RESNEXT_29},
    **{f"resnext20_{c}x{d}d": resnext_cifar(c, d, (2, 2, 2)) for c, d in RESNEXT_20},
    "resnet18_cifar": ResNet(depths=(2, 2, 2, 2), features=64, inner=0, window=3, classes=10, image=32),
    "resnet50_cifar": ResNet(window=3, classes=10, image=32),
}
