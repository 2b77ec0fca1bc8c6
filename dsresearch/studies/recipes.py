"""Published recipes by name, as fields of `design.Recipe`: `recipe=NAME` among the settings of `dsresearch run`."""

from collections.abc import Mapping
from typing import Any

# The Xception paper's (Chollet 2017, section 4), by the data that they were made for. Its weight decay is the model's:
# 1e-5 for Xception, 4e-5 for Inception V3. It gives neither batch, epochs nor the decay of the Polyak average: that is
# TF-slim's.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "xception_imagenet": {
        **{"optimiser": "momentum", "rate": 0.045, "momentum": 0.9, "decay": 1e-5, "polyak": 0.9999},
        **{"schedule": "staircase_epochs", "fall": 0.94, "every": 2},
    },
    "xception_jft": {
        **{"optimiser": "rmsprop", "rate": 0.001, "momentum": 0.9, "decay": 1e-5, "polyak": 0.9999},
        **{"schedule": "staircase_samples", "fall": 0.9, "every": 3_000_000},
    },
}
