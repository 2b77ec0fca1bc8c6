"""Cells and the plan that they make: plain values without jax, so that `--dry-run` and `status` come in an instant.

A cell is one arm of a study with its trials: one compiled program, one Sacred run, one process.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dsresearch import cost
from dsresearch.data import Pictures, split
from dsresearch.design import Design, Protocol, Recipe, digest, identity, seed_of
from dsresearch.schema import SCHEMA_VERSION
from dsresearch.studies.catalogue import STUDIES
from dsresearch.studies.designs import Varied, columns_of, network_cost
from dsresearch.studies.profiles import base_profile


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
        design: the network that it trains: the study's stack, or a published one.
        recipe: how it is trained: epochs, batch, optimiser, augmentation.
        protocol: what all cells of the study share: seed, split, trials, devices and kernels.
        data: the name of the data set.
        data_sha256: the fingerprint of its pictures, which stands for them in the identity.
        deviation: relative deviation from the baseline in what is matched.
        first: its first trial.
    """

    arm: str
    setup: str
    role: str
    control: str
    match: str
    design: Varied
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
    def compiles_anew(self) -> bool:
        """Whether it takes no compiled program from another cell: `rerun` repeats everything."""
        return self.control.startswith("rerun")

    def shares_program(self, other: "Cell") -> bool:
        """Whether both are one compiled program, so that the second one can take it from the first."""
        same = (self.design, self.recipe, self.protocol) == (other.design, other.recipe, other.protocol)
        return same and not (self.compiles_anew or other.compiles_anew)

    @property
    def stacked(self) -> bool:
        """Whether it trains the study's own stack, whose formulations transport weights into one another."""
        return isinstance(self.design, Design)

    @property
    def trials(self) -> range:
        """The trials that it trains."""
        return range(self.first, self.first + self.protocol.cell_trials)

    @property
    def name(self) -> str:
        """For people: the arm, its control, match and trials where these say something."""
        return cell_name(self.arm, self.control, self.match, self.trials, self.protocol.trials)

    @property
    def columns(self) -> dict[str, Any]:
        """What every row of it says (schema TRIAL_COLUMNS), as far as it was decided beforehand."""
        recipe, protocol = self.recipe, self.protocol
        return {
            "setup": self.setup,
            "role": self.role,
            **columns_of(self.design, self.setup),
            "split_protocol": protocol.split,
            "epochs": recipe.epochs,
            "batch_size": recipe.batch,
            "optimizer": recipe.optimiser,
            "lr": recipe.rate,
            "momentum": recipe.momentum,
            "wd": recipe.decay,
            "schedule": recipe.schedule,
            "warmup": recipe.warmup,
            "fall": recipe.fall,
            "every": recipe.every,
            "smoothing": recipe.smoothing,
            "polyak": recipe.polyak,
            "augment": recipe.augment,
            "dtype": recipe.dtype,
            "exec_mode": protocol.exec_mode,
            "trial_batch": protocol.trial_batch,
            "threads": protocol.threads,
            # as in rows from before there was a choice
            "kernels": "" if protocol.kernels == "xla" else protocol.kernels,
            "cell_id": self.id,
            "data_sha256": self.data_sha256,
        }


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
        changed: the keys that were changed for the whole study, with their values.
        cells: those of the study, or of the user's grid: what the protocol decides beforehand.
        asked: those to run now: all of them, some, or further arms, which are exploratory.
    """

    study: str
    study_id: str
    profile: str
    pictures: Pictures
    recipe: Recipe
    protocol: Protocol
    changed: Mapping[str, Any] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    asked: tuple[Cell, ...] = ()

    @cached_property
    def once(self) -> tuple[Cell, ...]:
        """What is asked for, every cell once: an arm whose matched width is its own has one cell under two names."""
        found: dict[str, Cell] = {}
        for cell in self.asked:
            found.setdefault(cell.id, cell)
        return tuple(found.values())

    @cached_property
    def decided(self) -> frozenset[Cell]:
        """`cells`, to look one up."""
        return frozenset(self.cells)

    @property
    def baseline(self) -> str:
        return STUDIES[self.study].baseline

    @property
    def base_profile(self) -> str:
        """The named profile behind a custom one."""
        return base_profile(self.profile)

    def cost(self, cell: Cell) -> cost.Cost:
        """Parameters and multiply-adds of a cell's network on this data set."""
        return network_cost(cell.design, self.pictures)

    @cached_property
    def parts(self) -> tuple[int, int]:
        """Training and test pictures of a trial. Raises InputError where the data set has too few for the split."""
        train, test = split(self.pictures, self.protocol, seed_of(self.protocol.seed, 0, "split"))
        return len(train), len(test)

    def images(self, cell: Cell) -> int:
        """Training images that a cell needs, all trials together."""
        steps = self.parts[0] // cell.recipe.batch * cell.recipe.epochs
        return steps * cell.recipe.batch * len(cell.trials)

    def document(self) -> dict[str, Any]:
        """The plan as plain values: the content of protocol.toml."""
        return {
            "schema_version": SCHEMA_VERSION,
            "study": self.study,
            "study_id": self.study_id,
            "profile": self.profile,
            **({"changed": dict(self.changed)} if self.changed else {}),
            "baseline": self.baseline,
            "data": {
                "name": self.pictures.name,
                "label": self.pictures.label,
                "sha256": self.pictures.fingerprint,
                "image": list(self.pictures.images.shape[1:]),
                "classes": len(self.pictures.classes),
            },
            "protocol": _settings(self.protocol),
            "recipe": dataclasses.asdict(self.recipe),
            "cells": [_entry(cell) for cell in self.cells],
        }


def _settings(protocol: Protocol) -> dict[str, Any]:
    """The protocol's fields; `devices`, which came later, where it is not the default: older files are this one's."""
    values = dataclasses.asdict(protocol) | {"exec_mode": protocol.exec_mode}
    return values if protocol.devices > 1 else {name: value for name, value in values.items() if name != "devices"}


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
