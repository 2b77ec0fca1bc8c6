"""The studies that train published networks: FractalNet and DarkNet (Ghosh 2017), Xception (Chollet 2017).

Widths are scaled for small data by one factor a profile; at the paper's 190 epochs they are the published ones. There
is no `exact` control: a published network has no strict reformulation.
"""

from collections.abc import Mapping
from typing import Any

from dsresearch.studies.recipes import RECIPES
from dsresearch.studies.study import CONTROLS, Arm, Settings, Study

_CONTROLS = tuple(kind for kind in CONTROLS if kind != "exact")


def _settings(small: Mapping[str, Any], middle: Mapping[str, Any], **own: Mapping[str, Any]) -> dict[str, Settings]:
    """Settings by profile: `small` networks for `smoke` and `quick`, `middle` for `cpu` and `full`, else as published.

    `own` has further fields of one network, by its name, where it is small.
    """
    return {
        "smoke": {"network": small, **own},
        "quick": {"network": small, **own, "recipe": {"epochs": 10}, "protocol": {"trials": 5}},
        "cpu": {"network": middle, "recipe": {"rate": 0.1}, "protocol": {"trials": 3}},
        "full": {"network": middle},
    }


_GLOBAL = {"global_share": 0.5}  # the FractalNet paper's half of the steps; its authors' script has none
FRACTALNET = Study(
    title="What do separable layers change in a FractalNet? (Ghosh 2017, Figure 5)",
    arms=(
        Arm("fractalnet", role="baseline"),
        Arm("fractalnet_separable"),
        Arm("fractalnet_global", "fractalnet", design=_GLOBAL),
        Arm("fractalnet_separable_global", "fractalnet_separable", design=_GLOBAL),
        # the same trained networks, evaluated by their deepest column alone: what global drop-path is for
        Arm("fractalnet_deepest", "fractalnet", design={"deepest": True}),
        Arm("fractalnet_separable_deepest", "fractalnet_separable", design={"deepest": True}),
        Arm("fractalnet_global_deepest", "fractalnet", design=_GLOBAL | {"deepest": True}),
        Arm("fractalnet_separable_global_deepest", "fractalnet_separable", design=_GLOBAL | {"deepest": True}),
    ),
    controls=_CONTROLS,
    # with 4 to 32 channels and ten epochs there is nothing to spare for the script's dropout
    settings=_settings({"width": 1 / 16, "columns": 2, "dropouts": (0.0,) * 5}, {"width": 1 / 8}),
)

# The paper does not say which DarkNet: those of its author (github.com/pjreddie/darknet), and QuickNet's two readings
# (Darknet with PReLU, by the same author as Figure 6).
DARKNET = Study(
    title="What do separable layers change in a DarkNet? (Ghosh 2017, Figure 6)",
    arms=(
        Arm("darknet19", role="baseline"),
        Arm("darknet19_separable"),
        Arm("darknet_reference"),
        Arm("darknet_reference_separable"),
        Arm("darknet_cifar"),
        Arm("darknet_cifar_separable"),
        Arm("quicknet_dense"),
        Arm("quicknet_separable", "quicknet"),
        Arm("quicknet_reference_dense"),
        Arm("quicknet_reference_separable", "quicknet_reference"),
    ),
    controls=_CONTROLS,
    settings=_settings({"width": 1 / 8}, {"width": 1 / 4}),
)

# Figures 6 and 7: ImageNet, its recipe, dropout in front of the last layer. Figure 8 and Table 2: JFT, its recipe, no
# dropout, without and with two fully connected layers of 4,096 units (times the width factor). Weight decay: section 4.
_INCEPTION = {"decay": 4e-5}
_IMAGENET, _JFT = RECIPES["xception_imagenet"], RECIPES["xception_jft"]
_FC = {"dropout": 0.0, "hidden": 4096}
XCEPTION = Study(
    title="Is Xception better than an Inception V3 of its size? (Chollet 2017, Tables 1 to 3, Figures 6 to 8)",
    arms=(
        Arm("xception_imagenet", "xception_cifar", "baseline", recipe=_IMAGENET),
        Arm("inception_v3_imagenet", "inception_v3_cifar", recipe={**_IMAGENET, **_INCEPTION}),
        Arm("xception_jft", "xception_cifar", design={"dropout": 0.0}, recipe=_JFT),
        Arm("inception_v3_jft", "inception_v3_cifar", design={"dropout": 0.0}, recipe={**_JFT, **_INCEPTION}),
        Arm("xception_jft_fc", "xception_cifar", design=_FC, recipe=_JFT),
        Arm("inception_v3_jft_fc", "inception_v3_cifar", design=_FC, recipe={**_JFT, **_INCEPTION}),
    ),
    controls=_CONTROLS,
    # at a factor so small rounding would leave the Inception V3 9.5 % smaller; of this one it is 2.1 % larger
    settings=_settings(
        {"width": 1 / 16, "image": 16}, {"width": 1 / 8, "image": 16}, inception_v3_cifar={"width": 0.068}
    ),
)
