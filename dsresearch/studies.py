"""The studies as data: which arms, which controls, which profile; and what a plan of cells is.

A cell is one arm of a study with its trials: one compiled program, one Sacred run, one process. A plan is made of
plain values without jax, so that `--dry-run`, `status` and the launcher can make it in an instant.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dsresearch import cost
from dsresearch.data import Pictures, split
from dsresearch.design import Design, InputError, Protocol, Recipe, digest, identity, one_of, seed_of

# --- studies ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """A question: its arms by role, the baseline first, and the controls that the baseline gets.

    Attributes:
        title: the question in one line.
        arms: setup -> role; `candidate` and `rival` are the verdict's, `reading` another reading of the candidate.
        controls: kinds of control, CONTROL_SETUPS.
    """

    title: str
    arms: Mapping[str, str]
    controls: tuple[str, ...]

    @property
    def baseline(self) -> str:
        return next(arm for arm, role in self.arms.items() if role == "baseline")


STUDIES: Mapping[str, Study] = {
    "hybrid": Study(
        title="Is a separable convolution best understood as a hybrid of Inception and ResNeXt? (Ghosh 2017, Figure 4)",
        arms={
            "separable": "baseline",
            "inception": "rival",
            "resnext": "rival",
            "inception_reformulated": "rival",
            "separable_strict": "control",
            "hybrid": "candidate",
            "hybrid_residual": "reading",
            "hybrid_learned": "reading",
        },
        controls=("rerun", "bit", "exact", "seed", "split"),
    ),
}

# What each control trains: the baseline itself, but for `exact`, the strict reformulation with the baseline's weights.
CONTROL_SETUPS = {"exact": "separable_strict"}

# The controls that start on the baseline's weights or beside them, whose way apart `divergence` follows.
TWINS = ("bit", "exact", "seed")

# --- profiles ---------------------------------------------------------------------------------------------------

PROFILES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
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
    # all that a small data set can give
    "full": {
        "design": {"width": 32, "depth": 2},
        "recipe": {"epochs": 60, "batch": 64},
        "protocol": {"trials": 20},
    },
    # hours on two cores: CIFAR-10 to an error under 30 %, one trial a cell so that no cell takes long
    "cpu": {
        "design": {"width": 16, "depth": 2},
        "recipe": {"epochs": 6, "batch": 128, "rate": 0.4},
        "protocol": {"trials": 8, "trials_per_cell": 1},
    },
    # the paper's 190 epochs, 10 trials and 6,000 held-out pictures of the merged 60,000
    "paper": {
        "design": {"width": 64, "depth": 4},
        "recipe": {"epochs": 190, "batch": 128},
        "protocol": {"trials": 10, "split": "pool60k_hold6k"},
    },
    # the same with the power to confirm: 20 trials, the standard split
    "confirm": {
        "design": {"width": 64, "depth": 4},
        "recipe": {"epochs": 190, "batch": 128},
        "protocol": {"trials": 20, "split": "standard"},
    },
}
_DIGITS_TEST = 360  # of 1,797; digits have no test pictures of their own


def profile_settings(name: str, pictures: Pictures) -> dict[str, dict[str, Any]]:
    """Settings of a profile on a data set: design, recipe and protocol fields.

    Raises InputError for an unknown profile, and for one that the data set does not fit.
    """
    one_of("profile", name, PROFILES)
    settings = {part: dict(values) for part, values in PROFILES[name].items()}
    n = len(pictures.labels)
    if name in ("paper", "confirm"):
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


# --- cells ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One arm with all its trials, or with as many as the protocol gives a cell.

    Its identity is what could change a bit, not what it is called.

    Attributes:
        arm: its name in tables; a point of the user's grid carries the values that make it one.
        setup: the named point that it started from.
        role: what it is in the study (schema ROLES).
        control: kind of control, '' for an ordinary arm.
        match: what is held equal to the baseline: `width`, `params` or `macs`.
        deviation: relative deviation from the baseline in what is matched.
        first: its first trial.
    """

    arm: str
    setup: str
    role: str
    control: str
    match: str
    design: Design
    recipe: Recipe
    protocol: Protocol
    data: str
    data_sha256: str
    deviation: float = 0.0
    first: int = 0

    @cached_property
    def id(self) -> str:
        """The first 16 digits of the hash of design, recipe, protocol, data, kind of control and first trial."""
        parts = {name: identity(getattr(self, name)) for name in ("design", "recipe", "protocol")}
        first = {"first": self.first} if self.first else {}
        return digest({**parts, "data": self.data_sha256, "control": self.control, **first})[:16]

    @property
    def trials(self) -> range:
        """The trials that it trains."""
        return range(self.first, self.first + self.protocol.cell_trials)

    @property
    def name(self) -> str:
        """For people: the arm, its control, match and trials where these say something."""
        return cell_name(self.arm, self.control, self.match, self.trials, self.protocol.trials)


def cell_name(arm: str, control: str, match: str, trials: range, of: int) -> str:
    """What people call a cell with some of a protocol's trials, of which there are `of`."""
    which = f"{trials[0]}" if len(trials) == 1 else f"{trials[0]} to {trials[-1]}"
    parts = [f"[{control}]"] * bool(control) + [f"(equal {match})"] * (match != "width")
    return " ".join([arm, *parts, *[f"trial {which}"] * (len(trials) < of)])


@dataclass(frozen=True)
class Plan:
    """A study on a data set under a profile: what is written to protocol.toml before the first cell runs.

    Attributes:
        profile: its name, or `custom (from NAME)` where the user changed a key.
        cells: those of the study, or of the user's grid: what the protocol decides beforehand.
        asked: those to run now: all of them, some, or further arms, which are exploratory.
    """

    study: str
    study_id: str
    profile: str
    pictures: Pictures
    recipe: Recipe
    protocol: Protocol
    cells: tuple[Cell, ...] = ()
    asked: tuple[Cell, ...] = ()

    @property
    def baseline(self) -> str:
        return STUDIES[self.study].baseline

    @property
    def base_profile(self) -> str:
        """The named profile behind a custom one."""
        return self.profile.removeprefix("custom (from ").removesuffix(")")

    def cost(self, cell: Cell) -> cost.Cost:
        """Parameters and multiply-adds of a cell's network on this data set."""
        return network_cost(cell.design, self.pictures)

    @cached_property
    def parts(self) -> tuple[int, int]:
        """Training and test pictures of a trial. Raises InputError where the data set has too few."""
        train, test = split(self.pictures, self.protocol, seed_of(self.protocol.seed, 0, "split"))
        if len(train) < self.recipe.batch:
            raise InputError(
                f"recipe.batch={self.recipe.batch} is not allowed: more than the {len(train)} training pictures"
            )
        return len(train), len(test)

    def images(self, cell: Cell) -> int:
        """Training images that a cell needs, all trials together."""
        steps = self.parts[0] // cell.recipe.batch * cell.recipe.epochs
        return steps * cell.recipe.batch * len(cell.trials)

    def document(self) -> dict[str, Any]:
        """The plan as plain values: the content of protocol.toml."""
        return {
            "schema_version": 1,
            "study": self.study,
            "study_id": self.study_id,
            "profile": self.profile,
            "baseline": self.baseline,
            "data": {
                "name": self.pictures.name,
                "label": self.pictures.label,
                "sha256": self.pictures.fingerprint,
                "image": list(self.pictures.images.shape[1:]),
                "classes": len(self.pictures.classes),
            },
            "protocol": dataclasses.asdict(self.protocol) | {"exec_mode": self.protocol.exec_mode},
            "recipe": dataclasses.asdict(self.recipe),
            "cells": [_entry(cell) for cell in self.cells],
        }


def _entry(cell: Cell) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": cell.id,
        "arm": cell.arm,
        "setup": cell.setup,
        "role": cell.role,
        "control_kind": cell.control,
        "match": cell.match,
        "design": dataclasses.asdict(cell.design),
    }
    entry |= {"first_trial": cell.first} if cell.first else {}
    return entry | ({"deviation": cell.deviation} if cell.match != "width" else {})


def network_cost(design: Design, pictures: Pictures) -> cost.Cost:
    """Parameters and multiply-adds of the study's network of a design on a data set."""
    height, _, channels = pictures.images.shape[1:]
    return cost.stack(design, image=height, channels=channels, classes=len(pictures.classes))
