"""Networks of torchvision, pytorchcv and the BSConv authors' package, as they are or with a change that is named.

The changes: a global mean in the place of an average pool of one size (equal at the picture it is made for); the stem
of CIFAR; every convolution with a window made separable; the four ways in which Keras's Inception V3 of 2016 differs.
"""

import functools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import nn
from weights_of_others import Reference, of_torch

from dsresearch.networks.vocabulary import Architecture

SIDES = (65, 70)  # odd and even, and so are the maps behind each stride
CIFAR = (32, 32)
# The order in which theirs computes the branches of a module.
INCEPTION_V1 = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool")
BN_INCEPTION = ("1x1", "3x3_reduce", "3x3", "double_reduce", "double_1", "double_2", "pool")
INCEPTION_V3 = (
    *("1x1", "5x5_1", "5x5_2", "3x3", "3x3_1", "3x3_2", "3x3_2a", "3x3_2b", "7x7_1", "7x7_2", "7x7_3", "7x7_4"),
    *("double_1", "double_2", "double_3", "double_3a", "double_3b", "double_4", "double_5", "pool"),
)
# Of a separable convolution, its two.
SEPARABLE_V3 = tuple(f"{branch}{end}" for branch in INCEPTION_V3 for end in ("_dw", "_pw", ""))
SHORTCUT_FIRST = ("shortcut", *(f"{i}{end}" for i in (1, 2, 3) for end in ("_pw", "_pw1", "_pw2", "_dw", "")))
SIDE_FIRST = ("side_dw", "side_1", "main_1", "main_dw", "main_2")


@dataclass(frozen=True)
class Network:
    """A network of a package.

    Attributes:
        package: its name when it is imported.
        make: makes it for a number of classes.
        sides: of the picture.
        note: what was changed.
        branches: `weights_of_others.of_torch`.
    """

    package: str
    make: Callable[[int], nn.Module]
    sides: tuple[int, int] = SIDES
    note: str = ""
    branches: tuple[str, ...] = ()


def build(name: str, architecture: Architecture) -> Reference:
    """Theirs for one of ours."""
    network = NETWORKS[name]
    return of_torch(network.make(architecture.classes), architecture, network.sides, network.branches)


# --- changes ------------------------------------------------------------------------------------------------------


def separable(network: nn.Module, bias: bool = False) -> nn.Module:
    """Every convolution with a window becomes a depthwise one and a 1x1, in place."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and child.kernel_size != (1, 1):
                where = {"stride": child.stride, "padding": child.padding, "groups": child.in_channels, "bias": False}
                spatial = nn.Conv2d(child.in_channels, child.in_channels, child.kernel_size, **where)
                point = nn.Conv2d(child.in_channels, child.out_channels, 1, bias=bias and child.bias is not None)
                setattr(module, name, nn.Sequential(spatial, point))
    return network


def for_cifar(network: Any) -> nn.Module:
    """A ResNet of torchvision: a first 3x3 that does not stride, and no pool behind it."""
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def flattened(network: Any, side: int) -> nn.Module:
    """A VGG of torchvision for a last map of `side` pixels, without its pooling to 7 x 7."""
    network.avgpool = nn.Identity()
    network.classifier[0] = nn.Linear(512 * side * side, 4096)
    return network


class Averages(nn.Module):
    """Calls a network with average pools that do not count padding (TensorFlow's)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pool = functools.partial(nn.functional.avg_pool2d, count_include_pad=False)
        with mock.patch.object(nn.functional, "avg_pool2d", pool):
            return self.network(x)


class BiasReluNorm(nn.Module):
    """A convolution with bias, ReLU, BatchNorm, in this order."""

    def __init__(self, inputs: int, outputs: int, **where: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, **where)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(torch.relu(self.conv(x)))


def inception_v3(classes: int, blocks: Any = None) -> Any:
    from torchvision.models import inception

    return inception.Inception3(classes, aux_logits=False, init_weights=False, inception_blocks=blocks)


def inception_v3_2016(classes: int) -> nn.Module:
    """fchollet/deep-learning-models, commit 134615a: bias, ReLU, BatchNorm; pools of 32; 160 in the last 17 x 17."""
    from torchvision.models import inception as tv

    made = (tv.InceptionA, tv.InceptionB, tv.InceptionC, tv.InceptionD, tv.InceptionE)
    a, b, c, d, e = (functools.partial(block, conv_block=BiasReluNorm) for block in made)
    network = inception_v3(classes, [BiasReluNorm, a, b, c, d, e, tv.InceptionAux])
    network.Mixed_5c, network.Mixed_5d = a(256, pool_features=32), a(256, pool_features=32)
    network.Mixed_6a, network.Mixed_6b = b(256), c(736, channels_7x7=128)
    network.Mixed_6e.branch7x7dbl_1 = BiasReluNorm(768, 160, kernel_size=1)
    network.Mixed_6e.branch7x7dbl_2 = BiasReluNorm(160, 192, kernel_size=(7, 1), padding=(3, 0))
    return Averages(network)


def inception_v3_cifar(classes: int) -> nn.Module:
    """Without strides, pools and lost borders in the stem; BatchNorm without scale, which stays 1."""
    network = inception_v3(classes)
    for name in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_4a_3x3"):
        conv = getattr(network, name).conv
        conv.stride, conv.padding = (1, 1), (1, 1)
    network.maxpool1 = network.maxpool2 = nn.Identity()
    return Averages(network)


def _torchvision(name: str, **kwargs: Any) -> Callable[[int], Any]:
    def make(classes: int) -> Any:
        import torchvision

        return getattr(torchvision.models, name)(weights=None, num_classes=classes, **kwargs)

    return make


def _pytorchcv(name: str) -> Callable[[int], Any]:
    def make(classes: int) -> Any:
        from pytorchcv.model_provider import get_model

        network = get_model(name, num_classes=classes)
        for part in (network.features, network.output):
            if hasattr(part, "final_pool"):
                part.final_pool = nn.AdaptiveAvgPool2d(1)
        return network

    return make


def _bsconv(name: str) -> Callable[[int], Any]:
    def make(classes: int) -> Any:
        from bsconv.pytorch.provider import get_model

        return get_model(name, num_classes=classes)

    return make


# --- which --------------------------------------------------------------------------------------------------------


def _theirs() -> Iterator[tuple[str, Network]]:
    tv, cv, bs = "torchvision", "pytorchcv", "bsconv"
    plain = {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}
    for name in (*sorted(plain), "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"):
        yield name, Network(tv, _torchvision(name))
    for depth in (18, 50):
        make = _torchvision(f"resnet{depth}")
        change = lambda classes, make=make: for_cifar(make(classes))  # noqa: E731
        yield f"resnet{depth}_cifar", Network(tv, change, CIFAR, "with the stem of CIFAR")
    for depth in (11, 13, 16, 19):
        make = _torchvision(f"vgg{depth}_bn")
        change = lambda classes, make=make: flattened(make(classes), 2)  # noqa: E731
        yield f"vgg{depth}_bn", Network(tv, change, (64, 64))
        split = lambda classes, change=change: separable(change(classes))  # noqa: E731
        yield f"vgg{depth}_separable", Network(tv, split, (64, 64), "made separable")
    yield "alexnet_torchvision", Network(tv, _torchvision("alexnet"), (224, 224))
    googlenet = _torchvision("googlenet", aux_logits=False, init_weights=False)
    yield "inception_v1_torchvision", Network(tv, googlenet, branches=INCEPTION_V1)
    inception = {"sides": (79, 86), "branches": INCEPTION_V3}
    yield "inception_v3_torchvision", Network(tv, inception_v3, **inception)
    changed = "with the four differences of Keras's of August 2016"
    yield "inception_v3_2016", Network(tv, inception_v3_2016, note=changed, **inception)
    stem = "with a stem that keeps 32 pixels, TensorFlow's average pools, no scale"
    yield "inception_v3_cifar", Network(tv, inception_v3_cifar, CIFAR, stem, INCEPTION_V3)
    split = lambda classes: separable(inception_v3_cifar(classes))  # noqa: E731
    yield "inception_v3_cifar_separable", Network(tv, split, CIFAR, f"{stem}, made separable", SEPARABLE_V3)
    for theirs, ours in (("x0_5", "0.5"), ("x1_0", "1.0"), ("x1_5", "1.5"), ("x2_0", "2.0")):
        yield f"shufflenet_v2_{ours}", Network(tv, _torchvision(f"shufflenet_v2_{theirs}"), branches=SIDE_FIRST)
    yield "bn_inception", Network(cv, _pytorchcv("bninception"), branches=BN_INCEPTION)
    for ours, theirs in (("darknet19", "darknet19"), ("darknet_reference", "darknet_ref")):
        make = _pytorchcv(theirs)
        yield ours, Network(cv, make)
        split = lambda classes, make=make: separable(make(classes))  # noqa: E731
        yield f"{ours}_separable", Network(cv, split, note="made separable")
    for groups in (1, 2, 3, 4, 8):
        yield f"shufflenet_v1_g{groups}", Network(cv, _pytorchcv(f"shufflenet_g{groups}_w1"))
    for name in ("resnext20_16x4d", "resnext20_32x2d", "resnext20_32x4d", "resnext29_32x4d", "resnext29_16x64d"):
        yield name, Network(cv, _pytorchcv(f"{name}_cifar10"), CIFAR, branches=SHORTCUT_FIRST)
    yield "resnext101_32x4d", Network(cv, _pytorchcv("resnext101_32x4d"), branches=SHORTCUT_FIRST)
    for kind, end in (("none", ""), ("u", "_bsconvu"), ("s", "_bsconvs_p1d4")):
        small = ("resnet20", "resnet110", "wrn16_1", "wrn16_4", "wrn16_8", "wrn28_2", "wrn28_10")
        for name in small:
            order = SHORTCUT_FIRST if name.startswith("resnet") else ()
            yield f"bsconv_{kind}_{name}", Network(bs, _bsconv(f"cifar_{name}{end}"), CIFAR, branches=order)
        yield f"bsconv_{kind}_resnet18", Network(bs, _bsconv(f"resnet18{end}"), branches=SHORTCUT_FIRST)
    for kind, end in (("none", ""), ("u", "_bsconvu")):
        yield f"bsconv_{kind}_mobilenet_v1", Network(bs, _bsconv(f"mobilenetv1_w1{end}"))
        yield f"bsconv_{kind}_mobilenet_v1_cifar", Network(bs, _bsconv(f"cifar_mobilenetv1_w1{end}"), CIFAR)
    yield "bsconv_s_mobilenet_v2", Network(bs, _bsconv("mobilenetv2_w1"))
    yield "bsconv_s_mobilenet_v2_cifar", Network(bs, _bsconv("cifar_mobilenetv2_w1_bsconvs_p1d6"), CIFAR)


NETWORKS = types.MappingProxyType(dict(_theirs()))
