"""What a study is: arms, the controls of its baseline, and where it departs from a profile."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dsresearch.design import InputError

# `design` (of the stack), `network` (of published networks, or the name of one), `recipe`, `protocol` -> field -> value
Settings = Mapping[str, Mapping[str, Any]]

# What each control trains: the baseline itself, but for `exact`, the strict reformulation with the baseline's weights.
CONTROL_SETUPS = {"exact": "separable_strict"}

# The controls that start on the baseline's weights or beside them, whose way apart `divergence` follows.
TWINS = ("bit", "exact", "seed")

# Every kind, in the order of a study's cells and tables.
CONTROLS = ("rerun", "bit", "exact", "seed", "split")


@dataclass(frozen=True)
class Arm:
    """One thing that a study compares: a named point of the design space, and what is changed of it.

    Attributes:
        name: in tables and for `--setup`; in a study a name stands for one design, matched to the baseline or not.
        setup: the named point that it starts from; '' where it has the arm's own name.
        role: what it is in the study (schema ROLES); `candidate` and `rival` are the verdict's, `reading` another
            reading of the candidate, `arm` is compared with the baseline and nothing more.
        match: what it has equal to the baseline: `width` (of the profile, or its own), `params` or `macs`.
        design: fields of Design that differ from the point's and the profile's.
        recipe: fields of Recipe that differ from the profile's.
    """

    name: str
    setup: str = ""
    role: str = "arm"
    match: str = "width"
    design: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def point(self) -> str:
        """The named point that it starts from."""
        return self.setup or self.name

    def exists(self, channels: int) -> bool:
        """Whether it is an arm of its own in a network whose last stage has so many channels.

        With a group a channel everywhere, `grouped` is the separable convolution; that end of the continuum has its
        own arm, and beyond it there is nothing.
        """
        return self.point != "grouped" or self.design.get("groups", 0) < channels


@dataclass(frozen=True)
class Study:
    """A question: its arms, the controls that the baseline gets, and where it departs from a profile.

    Attributes:
        title: the question in one line.
        arms: what is compared, the baseline first.
        controls: kinds of control (schema CONTROL_KINDS).
        settings: profile -> what this study does otherwise, laid over the profile's own settings.
    """

    title: str
    arms: tuple[Arm, ...]
    controls: tuple[str, ...] = CONTROLS
    settings: Mapping[str, Settings] = field(default_factory=dict)

    def check(self, name: str) -> None:
        """Raise InputError where the arms of the study of that name are not what one can train and tell apart."""

        def refuse(arm: Arm, allowed: str) -> InputError:
            return InputError(f"arm {arm.name!r} of study {name!r} is not allowed: {allowed}")

        seen: dict[Any, Arm] = {}
        for arm in self.arms:
            if not re.fullmatch(r"[A-Za-z0-9_]+", arm.name):
                raise refuse(arm, "a name is letters, digits and '_'")
            if (arm.role == "baseline") != (arm is self.reference):
                raise refuse(arm, "the first arm, and no other, has role='baseline'")
            meaning = repr((arm.point, sorted(arm.design.items()), sorted(arm.recipe.items())))
            for key, what in ((arm.name, "name"), (meaning, "settings")):
                other = seen.setdefault((key, arm.match), arm)
                if other is not arm:
                    raise refuse(arm, f"it has the {what} of another arm, {other.name!r}")
        if "exact" in self.controls and self.reference.point != "separable":
            raise refuse(self.reference, "the control `exact` needs a separable baseline; leave it out of controls=")

    @property
    def reference(self) -> Arm:
        """The arm that all others are compared with."""
        return self.arms[0]

    @property
    def baseline(self) -> str:
        """Its name."""
        return self.reference.name

    @cached_property
    def named(self) -> Mapping[str, Arm]:
        """The arms by name, each as it stands at its own width."""
        return {arm.name: arm for arm in reversed(self.arms) if arm.match == "width"}
