"""From what a user asks for to the plan of cells: a study with other settings, some of its arms, a grid of their own.

Every wrong name, key, value or combination is refused here, before anything is written.
"""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dsresearch.data import Pictures
from dsresearch.design import (
    MATCHES,
    STAGES,
    Design,
    InputError,
    Protocol,
    Recipe,
    nearest,
    one_of,
    replace,
)
from dsresearch.runtime import lacks
from dsresearch.schema import MOST_CLASSES, MOST_PICTURES
from dsresearch.studies import (
    CONTROL_SETUPS,
    STUDIES,
    Arm,
    Cell,
    Plan,
    Study,
    check_point,
    custom_profile,
    design_of,
    fields_of,
    is_published,
    network_cost,
    profile_settings,
)
from dsresearch.studies.recipes import RECIPES

MOST_POINTS = 100_000  # of a grid

Choices = Mapping[str, Sequence[Any]]  # "design.groups" -> its values; more than one make a grid
# Fields of every arm's design (the stack's, published networks', one's) and what the user says of every recipe.
Base = Mapping[str, Mapping[str, Any]]

UNASKED_CELLS = 200  # to train without being asked
MATCHED_WITHIN = 2.0  # a factor: a group count leaves few widths to choose from, but beyond that nothing is matched


@dataclass(frozen=True)
class Request:
    """What a user asks of a study on the command line.

    Attributes:
        setups: only these arms of the study; named points that it lacks are added as exploratory arms.
        match: arms at the baseline's parameters or multiply-adds instead of its width.
        choices: `design.*`, `recipe.*` and `protocol.*` keys with their values; `recipe` names one of RECIPES, whose
            fields are changed where no other key says what they are.
    """

    study: str = "hybrid"
    profile: str = "quick"
    setups: tuple[str, ...] = ()
    match: str = "width"
    choices: Choices = dataclasses.field(default_factory=dict)

    @property
    def is_grid(self) -> bool:
        """Whether the keys make arms (several values, or designs of chosen setups) instead of changing the whole study.

        One value of the recipe, as of the protocol, is the study's: arms trained by several recipes are no pairs.
        """
        designs = any(key.startswith("design.") for key in self.choices)
        return any(len(values) > 1 for values in self.choices.values()) or bool(self.setups and designs)


def plan(request: Request, pictures: Pictures, begun: Base = MappingProxyType({})) -> Plan:
    """The cells that a request asks for. Raises InputError for every wrong name, key, value or combination.

    `begun` is what the profile meant when the study that is gone on with was begun: `Store.as_begun`.
    """
    _refuse_large_data(pictures)
    request = _checked(request)
    study = STUDIES[request.study]
    usual = profile_settings(request.study, request.profile, pictures)
    usual |= {part: usual.get(part, {}) | dict(values) for part, values in begun.items()}
    own = "network" if is_published(study.reference.point) else "design"  # whose keys the user means
    request = _normalised(request, usual, own)
    single = {key: values[0] for key, values in request.choices.items() if len(values) == 1}
    draft = _draft(request, pictures, usual, single)
    settings = usual | {"recipe": _part("recipe", single)}  # the rest of it is in the draft's
    if request.is_grid:
        cells = _by_trials(_grid(request, draft, settings))
        return dataclasses.replace(draft, cells=cells, asked=cells)
    theirs = {own, *filter(is_published, settings)}
    base = {part: values | (_part("design", single) if part in theirs else {}) for part, values in settings.items()}
    return _study_plan(request, draft, base)


def _checked(request: Request) -> Request:
    """The request with the keys of a named recipe. Raises InputError for a name or a key that is none."""
    one_of("study", request.study, STUDIES)
    one_of("match", request.match, MATCHES)
    study = STUDIES[request.study]
    study.check(request.study)
    for name in request.setups:
        check_point(name, {name: arm.point for name, arm in study.named.items()})
    choices = _with_recipe(request.choices)
    _check_keys(choices, fields_of(study.named.get(name, Arm(name)).point for name in request.setups or study.named))
    return dataclasses.replace(request, choices=choices)


def _normalised(request: Request, usual: Base, own: str) -> Request:
    """The request without the keys that say what is so anyway. Raises InputError for a grid of matched arms."""
    request = dataclasses.replace(request, choices=_changes(request, usual, own))
    if request.is_grid and request.match != "width":
        raise InputError(
            f"match={request.match!r} is not allowed with a grid: its points have the widths that they say"
        )
    return request


def _draft(request: Request, pictures: Pictures, usual: Base, single: Mapping[str, Any]) -> Plan:
    """The plan without its cells: what is decided for all of them."""
    draft = Plan(
        study=request.study,
        study_id="-".join([request.study, pictures.name, *(["custom"] if request.choices else []), request.profile]),
        profile=custom_profile(request.profile) if request.choices else request.profile,
        pictures=pictures,
        recipe=replace("recipe", Recipe(**usual["recipe"]), _part("recipe", single)),
        protocol=replace("protocol", Protocol(**usual["protocol"]), _part("protocol", single)),
        changed={key: value for key, value in single.items() if not (request.is_grid and key.startswith("design."))},
    )
    if why := lacks(draft.protocol.kernels):
        raise InputError(f"protocol.kernels={draft.protocol.kernels!r} is not allowed here: {why}; `xla` always is")
    _ = draft.parts  # too few pictures for the split are found before anything is written
    return draft


def refuse_large(plan: Plan, missing: int) -> None:
    """Raise InputError where more cells are to be trained than anybody asks for by mistake."""
    if missing > UNASKED_CELLS:
        raise InputError(
            f"this is {missing:,} cells to train ({len(plan.once):,} in all), allowed: up to {UNASKED_CELLS}, more "
            "with --yes; --dry-run prints them"
        )


def _refuse_large_data(pictures: Pictures) -> None:
    """Raise InputError for a data set whose predictions could not be recorded."""
    for found, most, what in (
        (len(pictures.labels), MOST_PICTURES, "pictures"),
        (len(pictures.classes), MOST_CLASSES, "classes"),
    ):
        if found > most:
            raise InputError(f"data={pictures.name!r} is not allowed: {found:,} {what}, a study records up to {most:,}")


def _study_plan(request: Request, draft: Plan, base: Base) -> Plan:
    """The study's own cells, and of them or beside them those that were asked for."""
    study = STUDIES[request.study]
    cells = _by_trials(_study_cells(study, draft, base))
    _refuse_one_arm_twice(cells, draft)
    asked: Iterable[Cell] = cells
    if request.setups:
        asked = [cell for cell in cells if cell.arm in request.setups and not cell.control]
        beside = [name for name in request.setups if name not in {cell.arm for cell in asked}]
        asked += _by_trials(_cell(draft, _point(study, name), base) for name in beside)
    if request.match != "width":
        baseline = _cell(draft, study.reference, base)
        own = [cell for cell in asked if cell.match == "width" and not cell.control]
        rest = [cell for cell in own if cell.role != "baseline"]
        asked = [cell for cell in own if cell.role == "baseline" and request.setups]  # of its own size as it is
        asked += [_matched(cell, baseline, request.match, draft) for cell in rest]
    return dataclasses.replace(draft, cells=cells, asked=tuple(asked))


def _refuse_one_arm_twice(cells: Iterable[Cell], draft: Plan) -> None:
    """Raise InputError where what the user says of the whole study leaves two of its arms no difference."""
    seen: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        other = seen.setdefault((cell.id, cell.match), cell)
        if other.arm != cell.arm and not cell.control:
            said = " ".join(f"{key}={_plain(value)}" for key, value in draft.changed.items())
            raise InputError(
                f"{said} is not allowed for the whole study: {cell.arm!r} would be {other.arm!r}; --setup chooses arms"
            )


def _by_trials(arms: Iterable[Cell]) -> tuple[Cell, ...]:
    """Every arm's cells: where a cell has some of the trials, the first trials of all arms before the next ones."""
    whole = tuple(arms)
    firsts = range(0, whole[0].protocol.trials, whole[0].protocol.cell_trials) if whole else range(0)
    return tuple(dataclasses.replace(cell, first=first) for first in firsts for cell in whole)


def _study_cells(study: Study, draft: Plan, base: Base) -> Iterable[Cell]:
    baseline = _cell(draft, study.reference, base)
    for arm in study.arms:
        width = arm.design.get("width", base["design"]["width"])
        if arm.exists(channels=width * 2 ** (STAGES - 1)):
            cell = _cell(draft, arm, base)
            yield cell if arm.match == "width" else _matched(cell, baseline, arm.match, draft)
    for kind in study.controls:
        if kind == "split" and not draft.protocol.draws_split:
            continue  # the data set's own split cannot be drawn anew
        name = CONTROL_SETUPS.get(kind)
        twin = dataclasses.replace(study.reference, name=name, setup=name) if name else study.reference
        yield dataclasses.replace(_cell(draft, twin, base), role="control", control=kind)


def _grid(request: Request, draft: Plan, base: Base) -> Iterable[Cell]:
    """The product of the user's values, for each setup: every point is an exploratory arm named by its values."""
    keys = [key for key, values in request.choices.items() if key.startswith("design.") or len(values) > 1]
    names = request.setups or _readers(request.study, keys)
    if not names:
        raise InputError(f"{', '.join(keys)} together are not allowed: no arm of {request.study!r} reads all of them")
    points = len(names) * math.prod(len(request.choices[key]) for key in keys)
    if points > MOST_POINTS:
        raise InputError(f"a grid of {points} points is not allowed: at most {MOST_POINTS}")
    for name in names:
        of = _point(STUDIES[request.study], name)
        for values in itertools.product(*(request.choices[key] for key in keys)):
            chosen = dict(zip(keys, values, strict=True))
            arm = ":".join([name, *(f"{key.split('.')[1]}={_plain(chosen[key])}" for key in keys)])
            design = {**of.design, **_part("design", chosen)}
            recipe = {**of.recipe, **_part("recipe", chosen)}
            yield _cell(draft, Arm(arm, of.point, "exploratory", design=design, recipe=recipe), base)


def _point(study: Study, name: str) -> Arm:
    """An arm of the study outside its protocol, or a named point of the design space."""
    return dataclasses.replace(study.named.get(name, Arm(name)), role="exploratory")


def _readers(study: str, keys: Iterable[str]) -> tuple[str, ...]:
    """The setups that a grid without --setup varies: of published networks the arms that read every key; of the stack
    every arm where all of them do, else `grouped`, which reads all keys of the continuum."""
    fields = {key.removeprefix("design.") for key in keys if key.startswith("design.")}
    if is_published(STUDIES[study].reference.point):
        return tuple(name for name, arm in STUDIES[study].named.items() if fields <= set(fields_of([arm.point])))
    return ("grouped",) if fields - {"width", "depth", "kernel", "residual"} else tuple(STUDIES[study].named)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(draft: Plan, arm: Arm, base: Base) -> Cell:
    """The cell of an arm at its own width."""
    part = "network" if is_published(arm.point) else "design"
    design = design_of(arm.point, draft.pictures, {**base[part], **base.get(arm.point, {}), **arm.design})
    recipe = replace("recipe", draft.recipe, {**arm.recipe, **base["recipe"]})
    data, devices = draft.pictures, draft.protocol.devices
    if draft.protocol.trial_batch == 1 and recipe.batch % devices:
        raise InputError(f"recipe.batch={recipe.batch} is not allowed: {devices} devices share a batch equally")
    n_train, _ = draft.parts
    if recipe.batch > n_train:
        raise InputError(f"recipe.batch={recipe.batch} is not allowed: more than the {n_train} training pictures")
    return Cell(arm.name, arm.point, arm.role, "", "width", design, recipe, draft.protocol, data.name, data.fingerprint)


def _matched(cell: Cell, baseline: Cell, match: str, draft: Plan) -> Cell:
    """The cell at the width whose parameters or multiply-adds are nearest to the baseline's.

    Raises InputError where no width comes within a factor MATCHED_WITHIN: such an arm would be matched in name alone.
    """
    if not (isinstance(baseline.design, Design) and isinstance(cell.design, Design)):
        raise InputError(
            f"match={match!r} is not allowed for {cell.arm!r}: a published network, its widths are its own"
        )
    target = getattr(network_cost(baseline.design, draft.pictures), match)

    def deviation(design: Design) -> float:
        return float(getattr(network_cost(design, draft.pictures), match) / target - 1)

    feasible = []
    for width in range(1, 4 * baseline.design.width + 1):
        with contextlib.suppress(InputError):  # a width that cannot be divided into the setup's groups
            feasible.append(dataclasses.replace(cell.design, width=width))
    best = min(feasible, key=lambda design: abs(deviation(design)), default=cell.design)
    if not 1 / MATCHED_WITHIN <= 1 + deviation(best) <= MATCHED_WITHIN:
        raise InputError(
            f"match={match!r} is not allowed for {cell.arm!r} at design.width={cell.design.width}: the nearest width, "
            f"{best.width}, misses the baseline's {target:,} by {100 * deviation(best):+.0f} %, allowed: "
            f"a factor of {MATCHED_WITHIN:g}"
        )
    return dataclasses.replace(cell, design=best, match=match, deviation=deviation(best))


def _with_recipe(choices: Choices) -> Choices:
    """The choices with the fields of a named recipe in the place of its name."""
    if "recipe" not in choices:
        return choices
    if len(choices["recipe"]) != 1:
        raise InputError(
            f"recipe={','.join(map(str, choices['recipe']))} is not allowed: one name of {', '.join(RECIPES)}"
        )
    one_of("recipe", choices["recipe"][0], RECIPES)
    fields = {f"recipe.{name}": (value,) for name, value in RECIPES[choices["recipe"][0]].items()}
    return fields | {key: values for key, values in choices.items() if key != "recipe"}


def _changes(request: Request, settings: Mapping[str, Mapping[str, Any]], own: str) -> Choices:
    """The choices that differ from the profile's values; fields that an arm sets itself are always kept.

    A recipe key is said of every arm; a design key of chosen setups, while a whole study's leaves its arms their own.
    """
    arms = STUDIES[request.study].arms
    of_arms = {f"recipe.{name}" for arm in arms for name in arm.recipe}
    of_arms |= {f"design.{name}" for arm in arms if arm.name in request.setups for name in arm.design}
    said = {
        "design": settings[own],
        "recipe": dataclasses.asdict(Recipe(**settings["recipe"])),
        "protocol": dataclasses.asdict(Protocol(**settings["protocol"])),
    }

    def same(key: str, values: Sequence[Any]) -> bool:
        part, name = key.split(".")
        return key not in of_arms and len(values) == 1 and name in said[part] and values[0] == said[part][name]

    return {key: values for key, values in request.choices.items() if not same(key, values)}


def _check_keys(choices: Choices, of_design: Iterable[str]) -> None:
    parts = {"recipe": Recipe, "protocol": Protocol}
    allowed = [f"design.{name}" for name in of_design if name != "formulation"]
    allowed += [f"{part}.{field.name}" for part, cls in parts.items() for field in dataclasses.fields(cls)]
    for key, values in choices.items():
        if key == "design.formulation":
            raise InputError(f"{key} is not a key, allowed: --setup S, which names the formulation")
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
