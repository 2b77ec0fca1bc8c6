"""Training results of others, each with its source and its protocol: to be cited beside ours, never mixed with ours.

A result holds under its protocol alone: epochs, schedule, augmentation and stem differ between sources, and a
difference of some tenths of a percent between two of them says nothing. `read` is false where a number was taken from
memory and not looked up again; such a number is context and gates nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """Where results come from and how they were trained."""

    source: str
    training: str
    read: bool = True


PROTOCOLS: Mapping[str, Protocol] = {
    "bsconv": Protocol(
        "Haase and Amthor 2020, github.com/zeiss-microscopy/BSConv",
        "SGD 0.1, momentum 0.9, decay 1e-4, batch 128, 200 epochs, x0.1 at 100, 150, 180; crop-4 and flip",
    ),
    "kuangliu": Protocol(
        "github.com/kuangliu/pytorch-cifar, README",
        "350 epochs, steps by hand (rows of January 2017 and 2018); today's 200-epoch cosine was not run for them",
    ),
    "lightest": Protocol("repository «A Lightest CNN», README", "one code for all: 200 epochs, rate 0.1, decay 4e-5"),
    "blog_cosine": Protocol(
        "a 51cto blog", "one code for all: cosine from 0.01, 200 epochs; the best epoch, not the last"
    ),
    "dyfcalid": Protocol("github.com/dyfcalid/DeepLearning-CNN-Models, README", "TensorFlow 2, 100 epochs"),
    "weiaicunzai": Protocol("github.com/weiaicunzai/pytorch-cifar100, README", "200 epochs, one code for all"),
    "osmr": Protocol(
        "github.com/osmr/imgclsmob, gluon README",
        "single runs; crop, flip, colour jitter; the schedule is not recorded; under 0.3 points is noise",
    ),
    "deep_roots": Protocol("Ioannou, thesis, data of github.com/yanii/phd-thesis", "Network in Network, CIFAR-10"),
    "deep_roots_imagenet": Protocol("Ioannou, thesis, data of github.com/yanii/phd-thesis", "ImageNet, single crop"),
    "resnext": Protocol("Xie et al. 2017 and its repository's README", "ImageNet-1K, single crop, equal cost"),
    "resnext_remembered": Protocol("Xie et al. 2017", "ImageNet-1K, single crop; CIFAR, 300 epochs", read=False),
    "igcnet": Protocol("Zhang et al. 2017 (IGCNet), repository's README", "as in the paper"),
    "condensenet": Protocol("Huang et al. 2018 (CondenseNet), README", "300 epochs, cosine, crop-4 and flip"),
    "shufflenet_osmr": Protocol("github.com/osmr/imgclsmob, README", "ImageNet, single crop"),
    "xception": Protocol(
        "Chollet 2017, Table 1",
        "ImageNet, single crop, single model; SGD 0.045 with momentum 0.9, x0.94 every 2 epochs, Polyak average",
    ),
    "xception_jft": Protocol(
        "Chollet 2017, Table 2",
        "JFT, RMSprop 0.001 with momentum 0.9, x0.9 every 3,000,000 samples; a month, not converged",
    ),
    "xception_speed": Protocol("Chollet 2017, Table 3", "60 K80, synchronous"),
    "hybrid": Protocol("Ghosh 2017, Figures 5 and 6", "CIFAR-10, 190 epochs, 6,000 test pictures, one trial each"),
    "quicknet": Protocol("Ghosh 2017b (QuickNet)", "CIFAR-10, 6,000 test pictures, dropout 0.5"),
    "fractalnet": Protocol(
        "Larsson et al. 2017, as quoted by github.com/snf/keras-fractalnet",
        "400 epochs, rate 0.02, x0.1 at 200, 300, 350, 375, batch 100, dropout 0 to 40 %, local drop-path 15 %",
    ),
    "keras_fractalnet": Protocol("github.com/snf/keras-fractalnet, README", "the same in Keras"),
}


@dataclass(frozen=True)
class Result:
    """One number.

    Attributes:
        protocol: a key of PROTOCOLS.
        data: data set.
        model: as the source calls it; a network of this project where the name is one.
        metric: what the value is, with its unit.
        value: as published.
    """

    protocol: str
    data: str
    model: str
    metric: str
    value: float


def value(protocol: str, data: str, model: str) -> float:
    """What the results of a protocol say of a model on a data set, where that is one number."""
    (found,) = (r.value for r in RESULTS if (r.protocol, r.data, r.model) == (protocol, data, model))
    return found


def _column(protocol: str, data: str, metric: str, values: Mapping[str, float]) -> tuple[Result, ...]:
    return tuple(Result(protocol, data, model, metric, value) for model, value in values.items())


def _columns(protocol: str, data: tuple[str, ...], metric: str, rows: Mapping[str, tuple[float, ...]]) -> list[Result]:
    return [
        Result(protocol, name, model, metric, value)
        for model, values in rows.items()
        for name, value in zip(data, values, strict=True)
    ]


CIFAR = ("CIFAR-10", "CIFAR-100")
ACCURACY, ERROR = "accuracy %", "error %"

RESULTS: tuple[Result, ...] = (
    *_columns(
        "bsconv",
        CIFAR,
        ACCURACY,
        {
            "MobileNetV1 1.0": (93.57, 74.58),
            "MobileNetV1 1.0 BSConv-U": (94.48, 75.80),
            "MobileNetV1 0.75": (93.51, 73.48),
            "MobileNetV1 0.75 BSConv-U": (94.38, 75.27),
            "MobileNetV1 0.5": (92.44, 71.61),
            "MobileNetV1 0.5 BSConv-U": (93.45, 73.59),
            "MobileNetV1 0.25": (91.17, 68.23),
            "MobileNetV1 0.25 BSConv-U": (92.13, 70.37),
            "MobileNetV2 1.0": (93.91, 74.67),
            "MobileNetV2 1.0 BSConv-S": (94.47, 76.91),
            "MobileNetV3-Large 1.0": (94.38, 75.09),
            "MobileNetV3-Large 1.0 BSConv-S": (94.81, 78.11),
            "MobileNetV3-Small 1.0": (92.57, 72.93),
            "MobileNetV3-Small 1.0 BSConv-S": (93.06, 73.93),
        },
    ),
    *[
        Result("bsconv", "CIFAR-10", f"{model}{kind}", ACCURACY, value)
        for model, values in {
            "WRN-16-1": (91.11, 89.09, 87.34),
            "WRN-16-4": (94.29, 93.56, 93.31),
            "WRN-16-8": (95.05, 94.46, 94.93),
            "WRN-28-2": (94.29, 93.39, 93.13),
            "WRN-28-10": (95.72, 95.36, 96.02),
            "WRN-28-12": (95.54, 95.46, 96.29),
            "WRN-40-10": (95.66, 95.83, 96.00),
        }.items()
        for kind, value in zip(("", " BSConv-U", " BSConv-S p=1/4"), values, strict=True)
    ],
    *_column(
        "bsconv",
        "CIFAR-100",
        ACCURACY,
        {"ResNet-20": 68.59, "ResNet-20 BSConv-U": 64.41, "ResNet-110": 71.29, "ResNet-110 BSConv-U": 71.16},
    ),
    *_column(
        "kuangliu",
        "CIFAR-10",
        ACCURACY,
        {
            "VGG16": 92.64,
            "ResNet18": 93.02,
            "ResNet50": 93.62,
            "RegNetX_200MF": 94.24,
            "MobileNetV2": 94.43,
            "ResNeXt29_32x4d": 94.73,
            "ResNeXt29_2x64d": 94.82,
            "DenseNet121": 95.04,
            "PreActResNet18": 95.11,
            "DPN92": 95.16,
            "DLA": 95.47,
        },
    ),
    *_column(
        "lightest",
        "CIFAR-10",
        ACCURACY,
        {
            "MobileNetV1": 93.15,
            "MobileNetV2": 93.90,
            "MobileNetV3-Small": 91.64,
            "MobileNetV3-Large": 94.03,
            "ShuffleNetV2 1x": 92.25,
            "ShuffleNetV1 g2": 90.28,
        },
    ),
    *_column("blog_cosine", "CIFAR-10", ACCURACY, {"VGG16": 93.35, "GoogLeNet": 94.94}),
    *_column(
        "dyfcalid",
        "CIFAR-10",
        ACCURACY,
        {"Xception (1.36M)": 94.56, "ShuffleNetV2": 92.41, "NIN": 90.38, "FractalNet (33.76M)": 94.32},
    ),
    *_column(
        "weiaicunzai",
        "CIFAR-100",
        ERROR,
        {
            "mobilenet": 34.02,
            "mobilenetv2": 31.92,
            "shufflenet": 29.94,
            "shufflenetv2": 30.49,
            "xception": 25.07,
            "googlenet": 21.97,
            "inceptionv3": 22.81,
            "resnet18": 24.39,
            "resnext50": 22.23,
            "vgg16_bn": 27.07,
        },
    ),
    *_columns(
        "osmr",
        (*CIFAR, "SVHN"),
        ERROR,
        {
            "ResNeXt-20 1x64d": (4.33, 21.97, 2.98),
            "ResNeXt-20 2x32d": (4.53, 22.55, 2.96),
            "ResNeXt-20 4x16d": (4.70, 23.04, 3.17),
            "ResNeXt-20 8x8d": (4.66, 22.82, 3.18),
            "ResNeXt-20 16x4d": (4.04, 22.82, 3.21),
            "ResNeXt-20 32x2d": (4.61, 21.73, 3.27),
            "ResNeXt-20 64x1d": (4.93, 23.53, 3.42),
        },
    ),
    *_columns(
        "osmr",
        CIFAR,
        ERROR,
        {
            "ResNeXt-56 1x64d": (2.87, 18.25),
            "ResNeXt-56 2x32d": (3.01, 17.86),
            "ResNeXt-56 4x16d": (3.11, 18.09),
            "ResNeXt-56 8x8d": (3.07, 18.06),
            "ResNeXt-56 16x4d": (3.12, 18.24),
            "ResNeXt-56 32x2d": (3.14, 18.60),
            "ResNeXt-56 64x1d": (3.41, 18.16),
        },
    ),
    *_column(
        "osmr",
        "CIFAR-10",
        ERROR,
        {
            "ResNeXt-20 2x64d": 4.03,
            "ResNeXt-20 4x32d": 3.73,
            "ResNeXt-20 8x16d": 4.04,
            "ResNeXt-20 16x8d": 3.94,
            "ResNeXt-20 32x4d": 4.20,
            "ResNeXt-20 64x2d": 4.38,
        },
    ),
    *_column(
        "deep_roots",
        "CIFAR-10",
        ACCURACY,
        {
            "NIN": 92.11,
            **{f"NIN root-{k}": v for k, v in zip((2, 4, 8, 16), (92.09, 92.02, 92.15, 91.67), strict=True)},
            **{f"NIN tree-{k}": v for k, v in zip((2, 4, 8, 16), (91.85, 91.47, 91.71, 91.68), strict=True)},
            **{f"NIN column-{k}": v for k, v in zip((2, 4, 8, 16), (91.97, 92.00, 91.92, 91.20), strict=True)},
        },
    ),
    *_column(
        "deep_roots_imagenet",
        "ImageNet",
        ACCURACY,
        {"ResNet-50": 73.0, "AlexNet, 1 group": 58.2, "AlexNet, 2 groups": 58.2, "AlexNet, 4 groups": 56.5},
    ),
    *_column("resnext", "ImageNet", ERROR, {"ResNet-50 (1x64d)": 23.9, "ResNeXt-50 32x4d": 22.2}),
    *_column(
        "resnext_remembered",
        "ImageNet",
        ERROR,
        {"ResNeXt-50 2x40d": 23.0, "ResNeXt-50 4x24d": 22.6, "ResNeXt-50 8x14d": 22.3},
    ),
    *_columns(
        "resnext_remembered", CIFAR, ERROR, {"ResNeXt-29 8x64d": (3.65, 17.77), "ResNeXt-29 16x64d": (3.58, 17.31)}
    ),
    *_columns(
        "igcnet",
        CIFAR,
        ACCURACY,
        {"IGC-L24M2+Ident": (95.15, 76.15), "RegConv-W18+Ident": (94.95, 75.30)},
    ),
    *_column(
        "igcnet",
        "ImageNet",
        ERROR,
        {"IGC-L4M32": 30.77, "IGC-L16M16": 29.40, "IGC-L100M2": 26.95, "ResNet-18": 31.06},
    ),
    *_column(
        "condensenet",
        "CIFAR-10",
        ERROR,
        {
            "CondenseNet-50": 6.22,
            "CondenseNet-74": 5.28,
            "CondenseNet-86": 5.06,
            "CondenseNet-122": 4.48,
            "CondenseNet-182": 3.76,
        },
    ),
    *_column(
        "shufflenet_osmr",
        "ImageNet",
        ERROR,
        {f"ShuffleNetV1 g={g}": v for g, v in zip((1, 2, 3, 4, 8), (34.93, 34.25, 34.39, 34.19, 34.06), strict=True)},
    ),
    *_column(
        "xception",
        "ImageNet",
        "top-1 accuracy",
        {"VGG-16": 0.715, "ResNet-152": 0.770, "Inception V3": 0.782, "Xception": 0.790},
    ),
    *_column(
        "xception",
        "ImageNet",
        "top-5 accuracy",
        {"VGG-16": 0.901, "ResNet-152": 0.933, "Inception V3": 0.941, "Xception": 0.945},
    ),
    *_column(
        "xception_jft",
        "FastEval14k",
        "MAP@100",
        {
            "Inception V3, no FC": 6.36,
            "Xception, no FC": 6.70,
            "Inception V3, FC": 6.50,
            "Xception, FC": 6.78,
        },
    ),
    *_column("xception_speed", "ImageNet", "steps/s", {"Inception V3": 31, "Xception": 28}),
    *_column(
        "hybrid",
        "CIFAR-10",
        ERROR,
        {
            "FractalNet": 7.61,
            "FractalNet, separable": 6.15,
            "DarkNet": 11.9,
            "DarkNet, separable": 6.03,
        },
    ),
    *_column("quicknet", "CIFAR-10", ACCURACY, {"QuickNet (3.56M)": 95.7}),
    *_columns(
        "fractalnet",
        CIFAR,
        ERROR,
        {
            "FractalNet-20, no augmentation, no drop": (10.18, 35.34),
            "FractalNet-20, no augmentation, drop-path and dropout": (7.33, 28.20),
            "FractalNet-20, its deepest column": (7.27, 29.05),
        },
    ),
    *_column("keras_fractalnet", "CIFAR-10", ERROR, {"FractalNet-20, SGD": 8.76, "FractalNet-20, Adam": 8.33}),
)
