"""Files of plain values from anybody, TOML and JSON: read for what they are or refused, whatever is in them."""

import json
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MOST = 2**28  # bytes of a file that is read whole


def read_bytes(path: Path) -> bytes:
    """The content of a plain file. Raises OSError where it is missing, no plain file (a device has no end), or huge."""
    about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):
        raise OSError(None, "not a plain file", str(path))
    if about.st_size > MOST:
        raise OSError(None, f"{about.st_size} bytes, more than {MOST}", str(path))
    return path.read_bytes()


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises OSError as `read_bytes` does and ValueError where it is not TOML."""
    return _read(path, tomllib.loads)  # type: ignore[no-any-return]


def read_json(path: Path) -> Any:
    """The values of a JSON file. Raises OSError as `read_bytes` does and ValueError where it is not JSON."""
    return _read(path, _json)


def _json(text: str) -> Any:
    value = json.loads(text)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text, and no file takes it
    return value


def _read(path: Path, parse: Any) -> Any:
    try:
        return parse(read_bytes(path).decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deep") from None


def has(value: Any, kinds: Mapping[str, type | tuple[type, ...]]) -> bool:
    """Whether a value is a table with entries of these kinds; numbers are finite and fit into 64 bits."""
    return isinstance(value, dict) and all(_is(value.get(name), kind) for name, kind in kinds.items())


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) and not (isinstance(value, (int, float)) and not abs(value) < 2**63)
