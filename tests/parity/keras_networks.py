"""Networks of keras.applications: which, at which picture, and what their layers are called there.

The sides of pictures are odd and even, and so are the maps behind each stride, as padding differs there.
"""

import importlib
import re
from collections.abc import Callable
from typing import Any

from weights_of_others import Reference, of_keras

from dsresearch import cost
from dsresearch.networks.vocabulary import Architecture

SIDES = (65, 70)
# Name in ours: model in keras.applications, its arguments, picture.
NETWORKS: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "xception": ("Xception", {}, (79, 86)),
    "inception_v3": ("InceptionV3", {}, (79, 86)),
    "mobilenet_v2": ("MobileNetV2", {}, SIDES),
    **{f"mobilenet_v2_{a:g}": ("MobileNetV2", {"alpha": a}, SIDES) for a in (0.35, 0.5, 0.75, 1.3, 1.4)},
    **{f"efficientnet_b{i}": (f"EfficientNetB{i}", {}, SIDES) for i in range(8)},
    "mobilenet_v1": ("MobileNet", {}, SIDES),
    **{f"mobilenet_v1_{a:g}": ("MobileNet", {"alpha": a}, SIDES) for a in (0.75, 0.5, 0.25)},
    **{
        f"mobilenet_v3_{size.lower()}{suffix}": (f"MobileNetV3{size}", {"include_preprocessing": False, **kw}, SIDES)
        for size in ("Large", "Small")
        for suffix, kw in (("", {}), ("_0.75", {"alpha": 0.75}), ("_minimalistic", {"minimalistic": True}))
    },
    **{f"resnet{depth}_keras": (f"ResNet{depth}", {}, SIDES) for depth in (50, 101, 152)},
    "vgg16": ("VGG16", {}, (64, 64)),
    "vgg19": ("VGG19", {}, (64, 64)),
}


def build(name: str, architecture: Architecture) -> Reference:
    """Keras's network for one of ours."""
    import keras

    # Outside TensorFlow Keras narrows float64 to float32, in BatchNorm for one, by this table.
    importlib.import_module("keras.src.backend.common.dtypes").BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    keras.backend.clear_session()  # numbers in names begin anew
    keras.config.set_floatx("float64")
    model, given, sides = NETWORKS[name]
    shape = {"input_shape": (*sides, 3), "classes": architecture.classes}
    network = getattr(keras.applications, model)(**shape, classifier_activation=None, weights=None, **given)
    if model.startswith("EfficientNet"):  # the normalisation of the picture is no part of ours
        network = keras.Model(network.get_layer("stem_conv_pad").input, network.output)
    return of_keras(network, architecture, _names(model, architecture))


def _names(model: str, ours: Architecture) -> Callable[[str], str]:
    """Keras's name of each of our layers."""
    if model == "InceptionV3":
        return _inception_v3(ours)
    if model.startswith("ResNet"):
        return _resnet
    family = re.sub(r"B\d$|Large$|Small$", "", model)
    return _renamed(*RENAMED.get(family, ()))


def _renamed(*steps: tuple[str, str]) -> Callable[[str], str]:
    """Regular expressions and what they are replaced by, one after another."""

    def rename(name: str) -> str:
        for pattern, new in steps:
            name = re.sub(pattern, new, name)
        return name

    return rename


def _inception_v3(ours: Architecture) -> Callable[[str], str]:
    """Keras numbers them; the order is that of our use."""
    table = {"predictions": "predictions"}
    for kind, base in (("conv", "conv2d"), ("norm", "batch_normalization")):
        layers = [layer.name for layer in cost.layers(ours) if layer.kind == kind]
        table.update({layer: f"{base}_{i}" if i else base for i, layer in enumerate(layers)})
    return table.__getitem__


def _resnet(name: str) -> str:
    if name == "predictions":
        return name
    found = re.fullmatch(r"(?:conv1|stage(\d)_unit(\d+)_(\d|shortcut))(_bn)?", name)
    assert found, name
    end = found[4] or "_conv"
    if not found[1]:
        return f"conv1{end}"
    return f"conv{int(found[1]) + 1}_block{found[2]}_{found[3].replace('shortcut', '0')}{end}"


RENAMED: dict[str, tuple[tuple[str, str], ...]] = {
    "Xception": (
        (r"_(dw|pw)$", ""),
        *(
            (f"^block{i}_shortcut{end}$", f"{base}{n}")
            for i, n in ((2, ""), (3, "_1"), (4, "_2"), (13, "_3"))
            for end, base in (("", "conv2d"), ("_bn", "batch_normalization"))
        ),
    ),
    "MobileNet": (("^predictions$", "conv_preds"),),
    "MobileNetV2": (
        ("^conv1_bn$", "bn_Conv1"),
        ("^conv1$", "Conv1"),
        ("^conv_last", "Conv_1"),
        ("_dw", "_depthwise"),
        ("^(block.*)_bn$", r"\1_BN"),
        ("^block_0_", "expanded_conv_"),
    ),
    "MobileNetV3": (
        ("^predictions$", "logits"),
        ("_dw", "_depthwise"),
        ("_se_reduce$", "_squeeze_excite_conv"),
        ("_se_expand$", "_squeeze_excite_conv_1"),
        ("^block_0_", "expanded_conv_"),
        ("^block_", "expanded_conv_"),
    ),
    "EfficientNet": (
        ("^(stem|top)_conv_bn$", r"\1_bn"),
        ("_dw_bn$", "_bn"),
        ("_dw$", "_dwconv"),
        ("^(block.*(?<!_se)_(?:expand|project))$", r"\1_conv"),
    ),
}
