"""Networks that no package has, written in PyTorch after the layer list of their paper or authors' code.

They know nothing of this project but the names that their layers bear.
"""

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from weights_of_others import Reference, of_named

from dsresearch.networks.vocabulary import Architecture

Tensor = torch.Tensor
SIDES = (65, 70)  # odd and even, and so are the maps behind each stride


class Layers(nn.Module):
    """A network as a function, whose layers are made when it is first called."""

    def __init__(self, body: Callable[["Layers", Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.made = body, nn.ModuleDict()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)

    def layer(self, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def conv(self, name: str, x: Tensor, features: int, kernel: int = 1, *, bias: bool = False, **where: Any) -> Tensor:
        where = {"padding": kernel // 2, **where}
        if where["padding"] == "same":  # TensorFlow's: behind, where it is odd
            where["padding"], stride = 0, where.get("stride", 1)
            totals = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (x.shape[3], x.shape[2])]
            x = F.pad(x, [side for total in totals for side in (total // 2, total - total // 2)])
        return self.layer(name, lambda: nn.Conv2d(x.shape[1], features, kernel, bias=bias, **where))(x)

    def depthwise(self, name: str, x: Tensor, kernel: int = 3, multiplier: int = 1, **where: Any) -> Tensor:
        return self.conv(name, x, x.shape[1] * multiplier, kernel, groups=x.shape[1], **where)

    def separable(self, name: str, x: Tensor, features: int, kernel: int = 3, bias: bool = False, **kw: Any) -> Tensor:
        return self.conv(f"{name}_pw", self.depthwise(f"{name}_dw", x, kernel, **kw), features, bias=bias)

    def norm(self, name: str, x: Tensor, epsilon: float = 1e-5) -> Tensor:
        return self.layer(f"{name}_bn", lambda: nn.BatchNorm2d(x.shape[1], eps=epsilon))(x)

    def dense(self, name: str, x: Tensor, features: int, bias: bool = True) -> Tensor:
        return self.layer(name, lambda: nn.Linear(x.shape[1], features, bias=bias))(x)


@dataclass(frozen=True)
class Literal:
    """A network as a function of layers, picture and number of classes.

    Attributes:
        source: the layer list that it follows.
    """

    body: Callable[[Layers, Tensor, int], Tensor]
    source: str
    sides: tuple[int, int] = SIDES


def a(body: Callable[..., Tensor], source: str, sides: tuple[int, int] = SIDES, **settings: Any) -> Literal:
    """A network with settings."""
    return Literal(lambda net, x, classes: body(net, x, classes, **settings), source, sides)


def build(literal: Literal, architecture: Architecture) -> Reference:
    """The network for one of ours."""
    network = Layers(lambda net, x: literal.body(net, x, architecture.classes))
    return of_named(network, network.made, architecture, literal.sides)


# --- AlexNet, Inception V1 ----------------------------------------------------------------------------------------


def alexnet(net: Layers, x: Tensor, classes: int, groups: int = 1, split: bool = False) -> Tensor:
    def layer(name: str, x: Tensor, features: int, kernel: int, groups: int = 1, **where: int) -> Tensor:
        if split:
            return net.separable(name, x, features, kernel, bias=True, **where).relu()
        return net.conv(name, x, features, kernel, bias=True, groups=groups, **where).relu()

    def respond(x: Tensor) -> Tensor:
        return F.max_pool2d(F.local_response_norm(x, 5, alpha=5 * 1e-4, beta=0.75, k=2.0), 3, 2)

    x = respond(layer("conv1", x, 96, 11, stride=4, padding=0))
    x = respond(layer("conv2", x, 256, 5, groups))
    x = layer("conv4", layer("conv3", x, 384, 3), 384, 3, groups)
    x = F.max_pool2d(layer("conv5", x, 256, 3, groups), 3, 2)
    x = x.flatten(1)
    for name in ("fc6", "fc7"):
        x = net.dense(name, x, 4096).relu()
    return net.dense("predictions", x, classes)


GOOGLENET = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(net: Layers, x: Tensor, classes: int, split: bool = False) -> Tensor:
    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    def respond(x: Tensor) -> Tensor:
        return F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)

    def conv(name: str, x: Tensor, features: int, kernel: int = 1) -> Tensor:
        return net.conv(name, x, features, kernel, bias=True).relu()

    if split:
        x = net.depthwise("conv1_dw", x, 7, 8, stride=2)
        x = net.conv("conv1_pw", x, 64).relu()
    else:
        x = net.conv("conv1", x, 64, 7, stride=2, bias=True).relu()
    x = conv("conv2", conv("conv2_reduce", respond(pool(x)), 64), 192, 3)
    x = pool(respond(x))
    for name, (one, reduce3, three, reduce5, five, last) in GOOGLENET.items():
        x = pool(x) if name in ("4a", "5a") else x
        name = f"inception_{name}"
        branches = [
            conv(f"{name}_1x1", x, one),
            conv(f"{name}_3x3", conv(f"{name}_3x3_reduce", x, reduce3), three, 3),
            conv(f"{name}_5x5", conv(f"{name}_5x5_reduce", x, reduce5), five, 5),
            conv(f"{name}_pool", F.max_pool2d(x, 3, 1, 1), last),
        ]
        x = torch.cat(branches, 1)
    return net.dense("predictions", x.mean((2, 3)), classes)


# --- Darknet, QuickNet, FractalNet, VGG ---------------------------------------------------------------------------


def darknet_cifar(net: Layers, x: Tensor, classes: int, split: bool = False) -> Tensor:
    conv = net.separable if split else net.conv
    for i, features in enumerate((128, 256, 512), 1):
        x = F.max_pool2d(x, 2) if i > 1 else x
        for j in (1, 2, 3):
            name = f"stage{i}_conv{j}"
            x = F.leaky_relu(net.norm(name, conv(name, x, features, 3)), 0.1)
    return net.conv("head", x, classes, bias=True).mean((2, 3))


class Slopes(nn.Module):
    """PReLU with a slope for every element of a picture (Keras's default)."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0) + self.weight * x.clamp(max=0)


def quicknet(net: Layers, x: Tensor, classes: int) -> Tensor:
    """YOLO9000's Table 6, every 3x3 separable, biases, Keras's epsilon and PReLU."""
    table = ((32,), (64,), (128, 64, 128), (256, 128, 256), (512, 256, 512, 256, 512), (1024, 512, 1024, 512, 1024))
    for i, stage in enumerate(table, 1):
        x = F.max_pool2d(x, 2) if i > 1 else x
        for j, features in enumerate(stage, 1):
            name = f"stage{i}_conv{j}"
            conv = net.conv if j % 2 == 0 else net.separable
            x = net.norm(name, conv(name, x, features, 1 if j % 2 == 0 else 3, bias=True), 1e-3)
            shape = x.shape[1:]
            x = net.layer(f"{name}_prelu", lambda shape=shape: Slopes(shape))(x)  # type: ignore[misc]
    return net.conv("head", x, classes, bias=True).mean((2, 3))


def fractalnet(net: Layers, x: Tensor, classes: int, columns: int = 3, split: bool = False) -> Tensor:
    """f_1 = convolution, f_(c+1) = (f_c after f_c) joined with a convolution; a block pools before its last join."""
    conv = net.separable if split else net.conv
    for block, features in enumerate((64, 128, 256, 512, 512), 1):
        uses = dict.fromkeys(range(1, columns + 1), 0)

        def one(x: Tensor, column: int, block: int = block, features: int = features, uses: Any = uses) -> Tensor:
            uses[column] += 1
            name = f"block{block}_col{column}_conv{uses[column]}"
            return net.norm(name, conv(name, x, features, 3)).relu()

        def fractal(x: Tensor, depth: int, one: Any = one) -> list[Tensor]:
            column = columns - depth + 1
            if depth == 1:
                return [one(x, column)]
            half = torch.stack(fractal(x, depth - 1)).mean(0)
            return [one(x, column), *fractal(half, depth - 1)]

        x = torch.stack([F.max_pool2d(out, 2) for out in fractal(x, columns)]).mean(0)
    return net.dense("predictions", x.mean((2, 3)), classes)


# --- Xception, MobileNet V1 ---------------------------------------------------------------------------------------


def xception(
    net: Layers, x: Tensor, classes: int, residual: bool = True, hidden: bool = False, small: bool = False
) -> Tensor:
    """Figure 5; with Figure 8's layers, without Figure 9's connections, or with a stem that keeps 32 pixels."""

    def sep(name: str, x: Tensor, features: int) -> Tensor:
        return net.norm(name, net.separable(name, x, features), 1e-3)

    def pool(x: Tensor) -> Tensor:
        pads = [side for n in (x.shape[3], x.shape[2]) for side in ((0, 1) if n % 2 == 0 else (1, 1))]
        return F.max_pool2d(F.pad(x, pads, value=-torch.inf), 3, 2)

    def down(block: int, x: Tensor, first: int, second: int) -> Tensor:
        y = sep(f"block{block}_sepconv1", x if block == 2 else x.relu(), first)
        y = pool(sep(f"block{block}_sepconv2", y.relu(), second))
        name = f"block{block}_shortcut"
        return y + net.norm(name, net.conv(name, x, second, stride=2), 1e-3) if residual else y

    edge, stride = (1, 1) if small else (0, 2)
    x = net.norm("block1_conv1", net.conv("block1_conv1", x, 32, 3, stride=stride, padding=edge), 1e-3).relu()
    x = net.norm("block1_conv2", net.conv("block1_conv2", x, 64, 3, padding=edge), 1e-3).relu()
    for block, features in ((2, 128), (3, 256), (4, 728)):
        x = down(block, x, features, features)
    for block in range(5, 13):
        y = x
        for j in (1, 2, 3):
            y = sep(f"block{block}_sepconv{j}", y.relu(), 728)
        x = x + y if residual else y
    x = down(13, x, 728, 1024)
    x = sep("block14_sepconv2", sep("block14_sepconv1", x, 1536).relu(), 2048).relu().mean((2, 3))
    for name in ("fc1", "fc2") if hidden else ():
        x = net.dense(name, x, 4096).relu()
    return net.dense("predictions", x, classes)


def mobilenet_v1(net: Layers, x: Tensor, classes: int, dense: bool = False, shallow: bool = False) -> Tensor:
    """Table 1; Table 4's with 3x3 convolutions, Table 5's without the five layers 14 x 14 x 512. Padding is Keras's."""
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    blocks = blocks[:6] + blocks[11:] if shallow else blocks

    def finish(name: str, x: Tensor) -> Tensor:
        return F.relu6(net.norm(name, x, 1e-3))

    x = finish("conv1", net.conv("conv1", x, 32, 3, stride=2, padding="same"))
    for i, (features, stride) in enumerate(blocks, 1):
        edge = 1 if stride == 1 else 0
        x = x if stride == 1 else F.pad(x, (0, 1, 0, 1))
        if dense:
            x = finish(f"conv_{i}", net.conv(f"conv_{i}", x, features, 3, stride=stride, padding=edge))
            continue
        x = finish(f"conv_dw_{i}", net.depthwise(f"conv_dw_{i}", x, stride=stride, padding=edge))
        x = finish(f"conv_pw_{i}", net.conv(f"conv_pw_{i}", x, features))
    return net.dense("predictions", x.mean((2, 3)), classes)


# --- ShuffleNet V2, the authors' ----------------------------------------------------------------------------------


def shufflenet_v2(net: Layers, x: Tensor, classes: int, features: int = 116, last: int = 1024) -> Tensor:
    def cell(name: str, x: Tensor, features: int, act: bool = True, **where: int) -> Tensor:
        x = net.norm(name, net.depthwise(name, x, **where) if where else net.conv(name, x, features))
        return x.relu() if act else x

    def main(name: str, x: Tensor, inner: int, outputs: int, stride: int) -> Tensor:
        x = cell(f"{name}_main_1", x, inner)
        return cell(f"{name}_main_2", cell(f"{name}_main_dw", x, inner, act=False, stride=stride), outputs)

    x = F.max_pool2d(net.norm("conv1", net.conv("conv1", x, 24, 3, stride=2)).relu(), 3, 2, 1)
    for stage, repeats in ((2, 4), (3, 8), (4, 4)):
        for unit in range(1, repeats + 1):
            name, half = f"stage{stage}_unit{unit}", features // 2
            if unit == 1:
                side = cell(f"{name}_side_dw", x, x.shape[1], act=False, stride=2)
                side = cell(f"{name}_side_1", side, x.shape[1])
                x = torch.cat([side, main(name, x, half, features - x.shape[1], 2)], 1)
            else:  # even channels pass, odd ones work
                x = torch.cat([x[:, ::2], main(name, x[:, 1::2], half, half, 1)], 1)
        features *= 2
    x = net.norm("conv5", net.conv("conv5", x, last)).relu().mean((2, 3))
    return net.dense("predictions", x, classes, bias=False)


def _networks() -> dict[str, Literal]:
    krizhevsky = "layer by layer from Krizhevsky et al. 2012"
    table1 = "layer by layer from Szegedy et al. 2015, Table 1"
    fractal = "layer by layer from Larsson et al. 2017, Eq. 1"
    chollet = "layer by layer from Chollet 2017, Figure 5"
    howard = "layer by layer from Howard et al. 2017, Table 1"
    cfg = "layer by layer from cifar.cfg of github.com/pjreddie/darknet"
    megvii = "layer by layer from github.com/megvii-model/ShuffleNet-Series"
    yolo = "layer by layer from Redmon and Farhadi 2017, Table 6, separable with biases and PReLU"

    square, cifar, map35 = (67, 67), (32, 32), (71, 78)
    widths = {"0.5": (48, 1024), "1.0": (116, 1024), "1.5": (176, 1024), "2.0": (244, 2048)}
    return {
        "alexnet": a(alexnet, krizhevsky, square, groups=2),
        "alexnet_plain": a(alexnet, krizhevsky, square),
        "alexnet_separable": a(alexnet, f"{krizhevsky}, separable", square, split=True),
        "inception_v1": a(googlenet, table1),
        "inception_v1_separable_stem": a(googlenet, table1, split=True),
        "darknet_cifar": a(darknet_cifar, cfg, (28, 28)),
        "darknet_cifar_separable": a(darknet_cifar, f"{cfg}, separable", (28, 28), split=True),
        "quicknet": a(quicknet, yolo, cifar),
        "fractalnet": a(fractalnet, fractal, cifar),
        "fractalnet_separable": a(fractalnet, f"{fractal}, separable", cifar, split=True),
        "fractalnet_4": a(fractalnet, fractal, cifar, columns=4),
        "xception_plain": a(xception, f"{chollet} without the connections", map35, residual=False),
        "xception_fc": a(xception, f"{chollet} with two layers of 4096", map35, hidden=True),
        "xception_cifar": a(xception, f"{chollet} with a stem that keeps 32 pixels", cifar, small=True),
        "mobilenet_v1_conv": a(mobilenet_v1, f"{howard}, with 3x3 convolutions", dense=True),
        "mobilenet_v1_shallow": a(mobilenet_v1, f"{howard}, without five layers", shallow=True),
        **{
            f"shufflenet_v2_{width}_official": a(shufflenet_v2, megvii, features=features, last=last)
            for width, (features, last) in widths.items()
        },
    }


NETWORKS = types.MappingProxyType(_networks())
