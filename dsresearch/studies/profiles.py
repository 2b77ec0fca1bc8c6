"""How large a study is: named settings from seconds to the paper's 190 epochs, and how they fit a data set."""

from collections.abc import Mapping
from typing import Any

from dsresearch.data import Pictures
from dsresearch.design import InputError, one_of
from dsresearch.references import hybrid
from dsresearch.studies.catalogue import STUDIES
from dsresearch.studies.study import Settings

PROFILES: Mapping[str, Settings] = {
    # seconds, for tests: too small to learn anything
    "smoke": {
        "design": {"width": 8, "depth": 1},
        "recipe": {"epochs": 2, "batch": 32},
        "protocol": {"trials": 2, "train_pictures": 256, "test_pictures": 100},
    },
    # minutes on a laptop
    "quick": {
        "design": {"width": 16, "depth": 2},
        "recipe": {"epochs": 20, "batch": 64},
        "protocol": {"trials": 10, "train_pictures": 4096, "test_pictures": 1000},
    },
    # all that a small data set can give, by the kernels that are several times as fast on a CPU
    "full": {
        "design": {"width": 32, "depth": 2},
        "recipe": {"epochs": 60, "batch": 64},
        "protocol": {"trials": 20, "kernels": "winograd"},
    },
    # hours on two cores: CIFAR-10 to an error under 30 %, one trial a cell so that no cell takes long, by those too
    "cpu": {
        "design": {"width": 16, "depth": 2},
        "recipe": {"epochs": 6, "batch": 128, "rate": 0.4},
        "protocol": {"trials": 8, "trials_per_cell": 1, "kernels": "winograd"},
    },
    # the paper's 190 epochs, 10 trials and 6,000 held-out pictures of the merged 60,000
    "paper": {
        "design": {"width": 64, "depth": 4},
        "recipe": {"epochs": hybrid.EPOCHS, "batch": 128},
        "protocol": {"trials": hybrid.DESIGNS["paper"][0], "split": "pool60k_hold6k"},
    },
    # the same with the power to confirm: 20 trials, the standard split
    "confirm": {
        "design": {"width": 64, "depth": 4},
        "recipe": {"epochs": hybrid.EPOCHS, "batch": 128},
        "protocol": {"trials": hybrid.DESIGNS["confirm"][0], "split": "standard"},
    },
}
_DIGITS_TEST = 360  # of 1,797; digits have no test pictures of their own


def custom_profile(name: str) -> str:
    """What a profile is called where the user changed a key of it."""
    return f"custom (from {name})"


def base_profile(name: str) -> str:
    """The named profile behind a custom one; any other name as it is."""
    return name.removeprefix("custom (from ").removesuffix(")")


def settings_of(study: str, profile: str) -> dict[str, dict[str, Any]]:
    """Settings of a profile for a study, whatever the data set: the study's own laid over the profile's."""
    one_of("profile", profile, PROFILES)
    own = STUDIES[study].settings.get(profile, {})
    parts = dict.fromkeys(("design", "network", "recipe", "protocol", *own))
    return {part: {**PROFILES[profile].get(part, {}), **own.get(part, {})} for part in parts}


def profile_settings(study: str, name: str, pictures: Pictures) -> dict[str, dict[str, Any]]:
    """Settings of a profile for a study on a data set: design, recipe and protocol fields.

    Raises InputError for an unknown profile, and for one that the data set does not fit.
    """
    settings = settings_of(study, name)
    n = len(pictures.labels)
    if name in hybrid.DESIGNS:
        found = (pictures.n_train, n - pictures.n_train, pictures.images.shape[1], len(pictures.classes))
        if found != (50_000, 10_000, 32, 10):
            raise InputError(
                f"profile={name!r} is not allowed with data={pictures.name!r} ({found[0]:,} + {found[1]:,} pictures of "
                f"{found[2]} px in {found[3]} classes): it needs 50,000 + 10,000 of 32 px in 10, as CIFAR-10 has"
            )
    elif pictures.n_train == n:  # no test pictures of its own
        tested = min(settings["protocol"].get("test_pictures", _DIGITS_TEST), round(n * _DIGITS_TEST / 1797))
        settings["protocol"] |= {"split": "stratified", "test_pictures": tested}
        if settings["protocol"].get("train_pictures", 0) >= n - tested:
            settings["protocol"]["train_pictures"] = 0
    return settings
