"""DeepLabV3+ in PyTorch, after the layer list of github.com/bonlime/keras-deeplab-v3-plus, and slim's Inception V2."""

import types

import torch
from literal_networks import Layers, a
from torch.nn import functional as F  # noqa: N812

Tensor = torch.Tensor
PORT = "layer by layer from github.com/bonlime/keras-deeplab-v3-plus"
SLIM = "layer by layer from TF-slim's inception_v2.py"


def enlarged(x: Tensor, to: torch.Size) -> Tensor:
    """Bilinear, corners aligned, as the port asks TensorFlow for."""
    return F.interpolate(x, to[2:], mode="bilinear", align_corners=True)


def _sep(net: Layers, name: str, x: Tensor, features: int, stride: int = 1, rate: int = 1, inner: bool = False,
         epsilon: float = 1e-3) -> Tensor:  # fmt: skip
    """BatchNorm behind both; ReLU in front, or behind both."""
    x = x if inner else x.relu()
    x = net.norm(f"{name}_dw", net.depthwise(f"{name}_dw", x, stride=stride, dilation=rate, padding=rate), epsilon)
    x = x.relu() if inner else x
    x = net.norm(f"{name}_pw", net.conv(f"{name}_pw", x, features), epsilon)
    return x.relu() if inner else x


def _cell(
    net: Layers, name: str, x: Tensor, features: int, kernel: int = 1, epsilon: float = 1e-3, **kw: int
) -> Tensor:
    return net.norm(name, net.conv(name, x, features, kernel, **kw), epsilon)


def _xception65(net: Layers, x: Tensor, stride8: bool) -> tuple[Tensor, Tensor]:
    def block(name: str, x: Tensor, widths: tuple[int, ...], kind: str, stride: int = 1, rate: int = 1) -> list[Tensor]:
        maps = [x]
        for i, features in enumerate(widths, 1):
            step = stride if i == 3 else 1
            maps.append(_sep(net, f"{name}_sep{i}", maps[-1], features, step, rate, inner=kind == "none"))
        if kind == "conv":
            maps[-1] = maps[-1] + _cell(net, f"{name}_shortcut", x, widths[-1], stride=stride)
        return [*maps[:-1], maps[-1] + x if kind == "sum" else maps[-1]]

    x = _cell(net, "conv1", x, 32, 3, stride=2, padding="same").relu()
    x = _cell(net, "conv2", x, 64, 3).relu()
    x = block("entry1", x, (128,) * 3, "conv", 2)[-1]
    _, _, skip, x = block("entry2", x, (256,) * 3, "conv", 2)
    x = block("entry3", x, (728,) * 3, "conv", 1 if stride8 else 2)[-1]
    for i in range(16):
        x = block(f"middle{i + 1}", x, (728,) * 3, "sum", 1, 2 if stride8 else 1)[-1]
    x = block("exit1", x, (728, 1024, 1024), "conv", 1, 2 if stride8 else 1)[-1]
    return block("exit2", x, (1536, 1536, 2048), "none", 1, 4 if stride8 else 2)[-1], skip


def _pyramid(net: Layers, x: Tensor, rates: tuple[int, ...]) -> Tensor:
    whole = net.dense("pool", x.mean((2, 3)), 256, bias=False)[:, :, None, None]
    whole = net.norm("pool", whole, 1e-5).relu().expand(-1, -1, *x.shape[2:])
    branches = [whole, _cell(net, "aspp0", x, 256, epsilon=1e-5).relu()]
    for i, rate in enumerate(rates, 1):
        branches.append(_sep(net, f"aspp{i}", x, 256, rate=rate, inner=True, epsilon=1e-5))
    return _cell(net, "project", torch.cat(branches, 1), 256, epsilon=1e-5).relu()


def with_xception65(net: Layers, picture: Tensor, classes: int, stride8: bool = False) -> Tensor:
    x, skip = _xception65(net, picture, stride8)
    x = _pyramid(net, x, (12, 24, 36) if stride8 else (6, 12, 18))
    near = _cell(net, "decoder_skip", skip, 48, epsilon=1e-5).relu()
    x = torch.cat([enlarged(x, near.shape), near], 1)
    for name in ("decoder1", "decoder2"):
        x = _sep(net, name, x, 256, inner=True, epsilon=1e-5)
    return enlarged(net.conv("predictions", x, classes, bias=True), picture.shape)


# Features, stride and rate of the 17 blocks, as the port writes them out.
BLOCKS = (
    *((16, 1, 1), (24, 2, 1), (24, 1, 1), (32, 2, 1), (32, 1, 1), (32, 1, 1), (64, 1, 1), (64, 1, 2), (64, 1, 2)),
    *((64, 1, 2), (96, 1, 2), (96, 1, 2), (96, 1, 2), (160, 1, 2), (160, 1, 4), (160, 1, 4), (320, 1, 4)),
)


def with_mobilenet_v2(net: Layers, picture: Tensor, classes: int) -> Tensor:
    x = F.relu6(_cell(net, "conv1", picture, 32, 3, stride=2, padding="same"))
    for i, (features, stride, rate) in enumerate(BLOCKS):
        name, y = f"block_{i}", x
        y = F.relu6(_cell(net, f"{name}_expand", y, 6 * x.shape[1])) if i else y
        edges = {"padding": "same"} if stride > 1 else {"padding": rate, "dilation": rate}
        y = F.relu6(net.norm(f"{name}_dw", net.depthwise(f"{name}_dw", y, stride=stride, **edges), 1e-3))
        y = _cell(net, f"{name}_project", y, features)
        x = x + y if stride == 1 and x.shape[1] == features else y
    x = _pyramid(net, x, ())
    return enlarged(net.conv("predictions", x, classes, bias=True), picture.shape)


# 1x1, 3x3 reduce, 3x3, double reduce, double, pool; without 1x1 and pool the map is halved.
INCEPTION_V2 = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 96),
    "4d": (96, 128, 192, 160, 192, 96),
    "4e": (0, 128, 192, 192, 256, 0),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}


def inception_v2_slim(net: Layers, x: Tensor, classes: int) -> Tensor:
    def cell(name: str, x: Tensor, features: int, kernel: int = 1, stride: int = 1) -> Tensor:
        return net.norm(name, net.conv(name, x, features, kernel, stride=stride, padding="same"), 1e-3).relu()

    def pool(x: Tensor) -> Tensor:
        pads = [side for n in (x.shape[3], x.shape[2]) for side in ((0, 1) if n % 2 == 0 else (1, 1))]
        return F.max_pool2d(F.pad(x, pads, value=-torch.inf), 3, 2)

    x = net.depthwise("conv1_dw", x, 7, 8, stride=2, padding="same")
    x = net.norm("conv1", net.conv("conv1_pw", x, 64), 1e-3).relu()
    x = pool(cell("conv2", cell("conv2_reduce", pool(x), 64), 192, 3))
    for name, (one, reduce3, three, reduce, double, last) in INCEPTION_V2.items():
        stride, name = 1 if one else 2, f"inception_{name}"
        deep = cell(f"{name}_double_1", cell(f"{name}_double_reduce", x, reduce), double, 3)
        spatial = [
            cell(f"{name}_3x3", cell(f"{name}_3x3_reduce", x, reduce3), three, 3, stride),
            cell(f"{name}_double_2", deep, double, 3, stride),
        ]
        if not one:
            x = torch.cat([*spatial, pool(x)], 1)
            continue
        near = F.max_pool2d(x, 3, 1, 1) if name.endswith("5b") else F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        x = torch.cat([cell(f"{name}_1x1", x, one), *spatial, cell(f"{name}_pool", near, last)], 1)
    return net.dense("predictions", x.mean((2, 3)), classes)


NETWORKS = types.MappingProxyType(
    {
        "deeplab_v3plus_xception65": a(with_xception65, PORT),
        "deeplab_v3plus_xception65_os8": a(with_xception65, PORT, stride8=True),
        "deeplab_v3plus_mobilenet_v2": a(with_mobilenet_v2, PORT),
        "bn_inception_slim": a(inception_v2_slim, SLIM),
    }
)
