"""Reads protocol.toml: what was decided before the first cell ran."""

from pathlib import Path
from typing import Any

from dsresearch.design import MATCHES, InputError, Protocol, one_of, replace
from dsresearch.documents import has, read_toml
from dsresearch.schema.columns import CONTROL_KINDS, ROLES, SCHEMA_VERSION

_KINDS = {"study": str, "study_id": str, "profile": str, "data": dict, "protocol": dict, "cells": list}
_OF_CELL = ("arm", "setup", "role", "control_kind", "match")
_MAY_HAVE = {"recipe": {}, "design": {}, "id": "", "label": "", "first_trial": 0}  # with values of their kind


def read_protocol(path: Path) -> dict[str, Any]:
    """The tables of a protocol.toml. Raises InputError naming the file and the key, FileNotFoundError without one."""
    try:
        about = read_toml(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}), allowed: TOML") from None
    for key, kind in _KINDS.items():
        if not isinstance(about.get(key), kind):
            raise InputError(f"{path}: {key}={about.get(key)!r} is not allowed: {kind.__name__}")
    if about.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise InputError(f"{path}: schema_version={about['schema_version']!r} is not allowed: {SCHEMA_VERSION}")
    if not isinstance(about["data"].get("name"), str):
        raise InputError(f"{path}: data.name={about['data'].get('name')!r} is not allowed: str")
    decided_in(about)
    for entry in about["cells"]:
        if not has(entry, dict.fromkeys(_OF_CELL, str)):
            raise InputError(f"{path}: cells={entry!r} is not allowed: a table with {', '.join(_OF_CELL)}")
        one_of("role", entry["role"], ROLES)
        one_of("control_kind", entry["control_kind"], CONTROL_KINDS)
        one_of("match", entry["match"], MATCHES)
    for table in (about, about["data"], *about["cells"]):
        for key, like in _MAY_HAVE.items():
            if key in table and not has(table, {key: type(like)}):
                raise InputError(f"{path}: {key}={table[key]!r} is not allowed: {type(like).__name__}")
    return about


def decided_in(about: dict[str, Any]) -> Protocol:
    """The protocol of a protocol.toml. Raises InputError for what is none."""
    decided = {name: value for name, value in about["protocol"].items() if name != "exec_mode"}  # that is derived
    return replace("protocol", Protocol(), decided)  # type: ignore[no-any-return]


def are_names(found: Any) -> bool:
    """Whether something is a list of further names of a cell, each an arm and a match."""
    return isinstance(found, list) and all(
        isinstance(name, list) and len(name) == 2 and isinstance(name[0], str) and name[1] in MATCHES for name in found
    )
