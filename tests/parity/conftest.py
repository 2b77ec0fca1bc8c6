"""`--write-parity FILE` records the differences that the tests find."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

os.environ["KERAS_BACKEND"] = "torch"  # the oracle does not compute with JAX

LOGITS = Path(__file__).parent / "logits.json"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-parity", metavar="FILE", type=Path, help="record the differences, JSON by network")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str, dict[str, object], np.ndarray | None], None]:
    """Writes what was found for a network, at once, and the logits of others; the files keep what they had besides."""
    file: Path | None = request.config.getoption("--write-parity", default=None)

    def write(name: str, found: dict[str, object], logits: np.ndarray | None) -> None:
        if file:
            _add(file, name, json.dumps(found))
        if file and logits is not None:
            rows = [[float(f"{value:.7g}") for value in row] for row in logits]
            _add(LOGITS, name, json.dumps({"picture": found["picture"], "logits": rows}))

    return write


def _add(file: Path, name: str, line: str) -> None:
    """A line of an object, which lies sorted by name; tests may run side by side."""
    with file.open("a+", encoding="utf-8") as out:
        fcntl.flock(out, fcntl.LOCK_EX)
        out.seek(0)
        old = json.loads(out.read() or "{}")
        lines = {**{key: json.dumps(value) for key, value in old.items()}, name: line}
        out.truncate(0)
        out.write("{\n" + ",\n".join(f'"{key}": {lines[key]}' for key in sorted(lines)) + "\n}\n")
