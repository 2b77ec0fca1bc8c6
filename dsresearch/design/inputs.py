"""What a user gave, checked: one line that names the argument, its value and what is allowed."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class InputError(ValueError):
    """The user's input or data is wrong: one line naming argument, value and what is allowed (exit status 2)."""


def nearest(value: str, allowed: Iterable[str]) -> str:
    """A hint «did you mean ...?» for a misspelt name, or a key without its group; nothing where no name is near."""
    names = list(allowed)
    match = [name for name in names if name.rpartition(".")[2] == value]
    match = match or difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""


def one_of(argument: str, value: Any, allowed: Iterable[str]) -> None:
    """Raise InputError unless `value` is among `allowed`."""
    allowed = list(allowed)
    if value not in allowed:
        raise InputError(f"{argument}={value!r} is not known, allowed: {', '.join(allowed)}{nearest(value, allowed)}")


def whole(argument: str, value: Any, low: int, high: int) -> None:
    """Raise InputError unless `value` is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{argument}={value!r} is not allowed: a whole number from {low} to {high}")


def number(argument: str, value: Any, low: float, high: float) -> None:
    """Raise InputError unless `value` is a number from `low` to `high`; neither a truth value nor a NaN is one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError(f"{argument}={value!r} is not allowed: a number from {low} to {high}")


def flag(argument: str, value: Any) -> None:
    """Raise InputError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise InputError(f"{argument}={value!r} is not allowed: true or false")


def known_keys(group: str, cls: type, values: Mapping[str, Any]) -> None:
    """Raise InputError for a key of `values` that is no field of the dataclass `cls`."""
    names = [field.name for field in dataclasses.fields(cls)]
    for key in values:
        if key not in names:
            raise InputError(f"{group}.{key} is not a key, allowed: {', '.join(names)}{nearest(key, names)}")


def replace(group: str, base: Any, changes: Mapping[str, Any]) -> Any:
    """`base` with fields changed and validated; `group` names it in an error (`recipe`, `protocol`, `design`)."""
    known_keys(group, type(base), changes)
    for key, value in changes.items():
        if isinstance(getattr(base, key), float) and isinstance(value, int) and not isinstance(value, bool):
            changes = {**changes, key: float(value)}
    return dataclasses.replace(base, **changes)
