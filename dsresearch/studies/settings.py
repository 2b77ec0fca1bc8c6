"""What a user asks of `run` in words: settings, grid files, and the description that `--dry-run` prints."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from dsresearch.design import InputError
from dsresearch.documents import read_toml

_GRID_TABLES = ("design", "recipe", "protocol")  # of a grid file, beside `setup`


def parse_settings(settings: Sequence[str]) -> dict[str, list[Any]]:
    """`design.groups=1,2,4` to {"design.groups": [1, 2, 4]}. Raises InputError for a key given twice."""
    choices: dict[str, list[Any]] = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        if key in choices:
            raise InputError(f"{setting} is not allowed: {key} was given before, several values go behind one =")
        choices[key] = [_value(word) for word in text.split(",")] if text else []
    return choices


def _value(word: str) -> Any:
    """A number, true or false, or the word itself."""
    if word in ("true", "false"):
        return word == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def read_grid(path: Path) -> tuple[list[str], dict[str, list[Any]]]:
    """Setups and choices of a grid file. Raises InputError where it is missing or not such a file."""
    try:
        content = read_toml(path)
    except OSError as error:
        raise InputError(f"--grid={path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"--grid={path} is not TOML: {error}") from None
    setups = _as_list(content.pop("setup", []))
    if not all(isinstance(name, str) for name in setups):
        raise InputError(f"--grid={path} is not allowed: setup={setups!r}, names in quotes")
    for part, keys in content.items():
        if part not in _GRID_TABLES or not isinstance(keys, Mapping):
            raise InputError(f"--grid={path}: {part} is not allowed: `setup` and the tables {', '.join(_GRID_TABLES)}")
    choices = {f"{part}.{key}": _as_list(values) for part, keys in content.items() for key, values in keys.items()}
    if not setups and not choices:
        raise InputError(f"--grid={path} is not allowed: it is empty, at least one setup or key")
    return setups, choices


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def describe(plan: Any, folder: Path, missing: Collection[Any], workers: int) -> list[str]:
    """A plan for people: settings, cells, models and images, what is done."""
    n_train, n_test = plan.parts
    undone = {cell.id for cell in missing}
    lines = [
        f"study      {plan.study} ({plan.study_id}), profile {plan.profile}",
        f"data       {plan.pictures.label}, {n_train:,} training and {n_test:,} test pictures a trial",
        f"recipe     {_fields(plan.recipe)}",
        f"protocol   {_fields(plan.protocol)} exec_mode={plan.protocol.exec_mode}",
        f"folder     {folder}, {workers} cells at once",
        "",
        f"{'cell':<17} {'state':<8} {'arm':<36} {'role':<11} {'models':>6} {'images':>13} "
        f"{'parameters':>11} {'macs':>13}  design",
    ]
    models = images = missing_models = missing_images = 0
    for cell in plan.once:
        done = cell.id not in undone
        cost, own = plan.cost(cell), plan.images(cell)
        models, images = models + len(cell.trials), images + own
        missing_models += 0 if done else len(cell.trials)
        missing_images += 0 if done else own
        lines.append(
            f"{cell.id:<17} {'done' if done else 'missing':<8} {cell.name:<36} {cell.role:<11} "
            f"{len(cell.trials):>6} {own:>13,} "
            f"{cost.params:>11,} {cost.macs:>13,}  {_fields(cell.design)}"
        )
    total = f"{len(plan.once)} cells, {models:,} models, {images:,} training images"
    return [*lines, "", f"{total}; missing: {missing_models:,} models, {missing_images:,} training images"]


def _fields(part: Any) -> str:
    return " ".join(f"{field.name}={getattr(part, field.name)}" for field in dataclasses.fields(part))
