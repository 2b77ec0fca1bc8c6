"""The studies as data: which arms, which controls, which profile; and the plan of cells that follows.

A cell is one arm of a study with all its trials: one compiled program, one Sacred run, one process. A plan is made of
plain values without jax, so that `--dry-run`, `status` and the launcher can make it in an instant.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dsresearch import cost
from dsresearch.data import Pictures, split
from dsresearch.design import (
    MATCHES,
    SETUPS,
    Design,
    InputError,
    Protocol,
    Recipe,
    digest,
    nearest,
    one_of,
    replace,
    seed_of,
    setup,
)

# --- studies ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """A question: its arms by role, the baseline first, and the controls that the baseline gets.

    Attributes:
        title: the question in one line.
        arms: setup -> role; `candidate` and `rival` are the verdict's, `reading` another reading of the candidate.
        controls: kinds of control (statistics.md).
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
_DIGITS_TEST = 360  # of 1,797; digits have no test pictures of their own (interface.md)


def _profile(name: str, pictures: Pictures) -> dict[str, dict[str, Any]]:
    """Settings of a profile on a data set: design, recipe and protocol fields."""
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
    """One arm with all its trials. Its identity is what could change a bit, not what it is called.

    Attributes:
        arm: its name in tables; a point of the user's grid carries the values that make it one.
        setup: the named point that it started from.
        role: what it is in the study (schema ROLES).
        control: kind of control, '' for an ordinary arm.
        match: what is held equal to the baseline: `width`, `params` or `macs`.
        deviation: relative deviation from the baseline in what is matched.
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

    @cached_property
    def id(self) -> str:
        """The first 16 digits of the hash of design, recipe, protocol, data and kind of control."""
        parts = {name: dataclasses.asdict(getattr(self, name)) for name in ("design", "recipe", "protocol")}
        return digest({**parts, "data": self.data_sha256, "control": self.control})[:16]

    @property
    def name(self) -> str:
        """For people: the arm, its control and match where there are any."""
        control = f" [{self.control}]" if self.control else ""
        return f"{self.arm}{control}" + (f" (equal {self.match})" if self.match != "width" else "")


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

    def cost(self, cell: Cell) -> cost.Cost:
        """Parameters and multiply-adds of a cell's network on this data set."""
        return _network_cost(cell.design, self.pictures)

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
        return steps * cell.recipe.batch * cell.protocol.trials

    def document(self) -> dict[str, Any]:
        """The plan as plain values: the content of protocol.toml."""
        return {
            "schema_version": 1,
            "study": self.study,
            "study_id": self.study_id,
            "profile": self.profile,
            "baseline": self.baseline,
            "data": self.pictures.name,
            "exec_mode": self.protocol.exec_mode,
            "pictures": {
                "label": self.pictures.label,
                "sha256": self.pictures.fingerprint,
                "image": list(self.pictures.images.shape[1:]),
                "classes": len(self.pictures.classes),
            },
            "protocol": dataclasses.asdict(self.protocol),
            "recipe": dataclasses.asdict(self.recipe),
            "cells": [_entry(cell) for cell in self.cells],
        }


def _entry(cell: Cell) -> dict[str, Any]:
    entry = {
        "id": cell.id,
        "arm": cell.arm,
        "setup": cell.setup,
        "role": cell.role,
        "control_kind": cell.control,
        "match": cell.match,
        "design": dataclasses.asdict(cell.design),
    }
    return entry | ({"deviation": cell.deviation} if cell.match != "width" else {})


def _network_cost(design: Design, pictures: Pictures) -> cost.Cost:
    height, _, channels = pictures.images.shape[1:]
    return cost.stack(design, image=height, channels=channels, classes=len(pictures.classes))


# --- the user's choices -----------------------------------------------------------------------------------------

Choices = Mapping[str, Sequence[Any]]  # "design.groups" -> its values; more than one make a grid


@dataclass(frozen=True)
class Request:
    """What a user asks of a study on the command line.

    Attributes:
        setups: only these arms (named points of the design space that the study lacks are added as exploratory arms).
        match: arms at the baseline's parameters or multiply-adds instead of its width.
        choices: `design.*`, `recipe.*` and `protocol.*` keys with their values.
    """

    study: str = "hybrid"
    profile: str = "quick"
    setups: tuple[str, ...] = ()
    match: str = "width"
    choices: Choices = dataclasses.field(default_factory=dict)

    @property
    def is_grid(self) -> bool:
        """Whether the keys make arms (several values, or keys of chosen setups) instead of changing the whole study."""
        varied = [key for key in self.choices if not key.startswith("protocol.")]
        return any(len(self.choices[key]) > 1 for key in varied) or bool(self.setups and varied)


def plan(request: Request, pictures: Pictures) -> Plan:
    """The cells that a request asks for. Raises InputError for every wrong name, key, value or combination."""
    one_of("study", request.study, STUDIES)
    one_of("match", request.match, MATCHES)
    for name in request.setups:
        one_of("setup", name, SETUPS)
    _check_keys(request.choices)
    settings = _profile(request.profile, pictures)
    request = dataclasses.replace(request, choices=_changes(request.choices, settings))
    single = {key: values[0] for key, values in request.choices.items() if len(values) == 1}
    draft = Plan(
        study=request.study,
        study_id="-".join([request.study, pictures.name, *(["custom"] if request.choices else []), request.profile]),
        profile=f"custom (from {request.profile})" if request.choices else request.profile,
        pictures=pictures,
        recipe=replace("recipe", Recipe(**settings["recipe"]), _part("recipe", single)),
        protocol=replace("protocol", Protocol(**settings["protocol"]), _part("protocol", single)),
    )
    _ = draft.parts  # too few pictures for the split are found before anything is written
    if request.is_grid:
        cells = tuple(_grid(request, draft, settings["design"]))
        return dataclasses.replace(draft, cells=cells, asked=cells)
    return _study_plan(request, draft, settings["design"] | _part("design", single))


def _study_plan(request: Request, draft: Plan, base: Mapping[str, Any]) -> Plan:
    """The study's own cells, and of them or beside them those that were asked for."""
    cells = tuple(_study_cells(STUDIES[request.study], draft, base))
    asked: Iterable[Cell] = cells
    if request.match != "width":
        asked = [_matched(cell, cells[0], request.match, draft) for cell in cells[1:] if not cell.control]
    if request.setups:
        own = {cell.arm for cell in asked if not cell.control}
        beside = [name for name in request.setups if name not in own]
        asked = [cell for cell in asked if cell.arm in request.setups and not cell.control]
        asked += [_cell(draft, name, name, "exploratory", "", setup(name, **base)) for name in beside]
    return dataclasses.replace(draft, cells=cells, asked=tuple(asked))


def _study_cells(study: Study, draft: Plan, base: Mapping[str, Any]) -> Iterable[Cell]:
    baseline = study.baseline
    for name, role in study.arms.items():
        yield _cell(draft, name, name, role, "", setup(name, **base))
    for kind in study.controls:
        if kind == "split" and not draft.protocol.draws_split:
            continue  # the data set's own split cannot be drawn anew
        name = CONTROL_SETUPS.get(kind, baseline)
        yield _cell(draft, name, name, "control", kind, setup(name, **base))


def _grid(request: Request, draft: Plan, base: Mapping[str, Any]) -> Iterable[Cell]:
    """The product of the user's values, for each setup: every point is an exploratory arm named by its values."""
    keys = [key for key in request.choices if not key.startswith("protocol.")]
    for name in request.setups or _readers(request.study, keys):
        for point in itertools.product(*(request.choices[key] for key in keys)):
            chosen = dict(zip(keys, point, strict=True))
            recipe = replace("recipe", draft.recipe, _part("recipe", chosen))
            arm = ":".join([name, *(f"{key.split('.')[1]}={_plain(chosen[key])}" for key in keys)])
            design = setup(name, **{**base, **_part("design", chosen)})
            yield _cell(dataclasses.replace(draft, recipe=recipe), arm, name, "exploratory", "", design)


def _readers(study: str, keys: Iterable[str]) -> tuple[str, ...]:
    """The setups that a grid without --setup varies: every arm of the study where all of them read every key, else
    `grouped`, which reads all keys of the continuum."""
    everywhere = {"width", "depth", "kernel", "residual"}
    special = {key.removeprefix("design.") for key in keys if key.startswith("design.")} - everywhere
    return ("grouped",) if special else tuple(STUDIES[study].arms)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(draft: Plan, arm: str, name: str, role: str, control: str, design: Design) -> Cell:
    data = draft.pictures
    return Cell(arm, name, role, control, "width", design, draft.recipe, draft.protocol, data.name, data.fingerprint)


def _matched(cell: Cell, baseline: Cell, match: str, draft: Plan) -> Cell:
    """The cell at the width whose parameters or multiply-adds are nearest to the baseline's."""
    target = getattr(_network_cost(baseline.design, draft.pictures), match)

    def deviation(design: Design) -> float:
        return float(getattr(_network_cost(design, draft.pictures), match) / target - 1)

    feasible = []
    for width in range(1, 4 * baseline.design.width + 1):
        try:
            feasible.append(dataclasses.replace(cell.design, width=width))
        except InputError:
            continue  # this width cannot be divided into the setup's groups
    best = min(feasible, key=lambda design: abs(deviation(design)))
    return dataclasses.replace(cell, design=best, match=match, deviation=deviation(best))


def _changes(choices: Choices, settings: Mapping[str, Mapping[str, Any]]) -> Choices:
    """The choices that change something: what a profile says anyhow leaves it what it is."""
    said = {
        "design": settings["design"],
        "recipe": dataclasses.asdict(Recipe(**settings["recipe"])),
        "protocol": dataclasses.asdict(Protocol(**settings["protocol"])),
    }

    def same(key: str, values: Sequence[Any]) -> bool:
        part, name = key.split(".")
        return len(values) == 1 and name in said[part] and values[0] == said[part][name]

    return {key: values for key, values in choices.items() if not same(key, values)}


def _check_keys(choices: Choices) -> None:
    parts: dict[str, type] = {"design": Design, "recipe": Recipe, "protocol": Protocol}
    allowed = [f"{part}.{field.name}" for part, cls in parts.items() for field in dataclasses.fields(cls)]
    allowed.remove("design.formulation")  # that is --setup
    for key, values in choices.items():
        if key not in allowed:
            raise InputError(f"{key} is not a key, allowed: {', '.join(allowed)}{nearest(key, allowed)}")
        if not values:
            raise InputError(f"{key}= has no value, allowed: one value or several separated by commas")
        if len(set(map(str, values))) < len(values):
            raise InputError(f"{key}={','.join(map(str, values))} names a value twice, allowed: each value once")
        if key.startswith("protocol.") and len(values) > 1:
            raise InputError(f"{key}={','.join(map(str, values))} is not allowed: a study has one protocol, one value")


def _part(part: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `part.*` keys, by field name."""
    return {key.split(".", 1)[1]: value for key, value in chosen.items() if key.startswith(f"{part}.")}
