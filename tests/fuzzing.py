"""What every fuzz test stands on: broken bytes and values from a fixed seed, and the real command line under watch.

A case passes where the command ends with 0, 1 or 2, without an exception; where 2 comes with one line and nothing
written; where nothing is written outside the folders that it may write to, no process started, nothing unpickled, no
network used; and where it gets by with BYTES more of memory.
"""

import contextlib
import io
import os
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dsresearch import cli, report

assert report  # loaded here, because matplotlib makes its own folders when it is

BYTES = 2 * 2**30  # of address space that one case may take beside what the process has
LONGEST = 4_000  # characters of an error's line: what is shown of a broken value is bounded

# Cases of every test: in `make test`, and in `make test-all`.
CASES = {
    "tar": (40, 2_500),
    "headers": (25, 1_200),
    "picture": (40, 1_500),
    "stored set": (15, 300),
    "words": (40, 1_500),
    "settings": (40, 1_200),
    "grid": (30, 1_000),
    "study files": (40, 900),
    "study values": (30, 600),
    "store files": (25, 500),
    "restore": (8, 120),
    "cell.json": (10, 200),
    "kept trial": (25, 500),
    "checkpoint": (4, 60),
}


def cases(name: str) -> Any:
    """Parametrises a test with its number of examples; the large number is slow."""
    few, many = CASES[name]
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.slow)])


def each(examples: int, *strategies: Any) -> Callable[[Callable[..., None]], None]:
    """Runs a function on so many drawn values, the same ones every time."""

    def run(check: Callable[..., None]) -> None:
        ran = 0

        def counted(values: tuple[Any, ...]) -> None:
            nonlocal ran
            ran += 1
            check(*values)

        chosen = settings(
            max_examples=examples,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        chosen(given(st.tuples(*strategies))(counted))()
        assert ran >= examples, "the strategy has fewer values than it should have"

    return run


# --- broken values ----------------------------------------------------------------------------------------------

NASTY = (
    "", " ", "0", "-1", "1.5", "nan", "inf", "-inf", "1e400", "9" * 30, "9" * 5_000, "true", "False", "None", "[]",
    "../../outside", "/etc/passwd", "a\nb", "a\rb", "\x1b[31mred", "\0", "\u202e", "ä", "😀", "$x^{2$", "`x`",
    "<b>&amp;", "a|b", '"', "'", "\\", "%s%n", "{0}", "=", ",", ";", "#", "x" * 20_000, "__class__", "design.width",
)  # fmt: skip
text = st.one_of(st.sampled_from(NASTY), st.text(max_size=20))
scalar = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.sampled_from([0, 1, -1, 2**31, 2**63, 10**30]),
    st.floats(), text,
)  # fmt: skip
value = st.recursive(
    scalar, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)), max_leaves=6
)
_EDITS = ("flip", "set", "delete", "insert", "repeat", "swap", "cut")
edits = st.lists(
    st.tuples(st.sampled_from(_EDITS), st.integers(0, 2**32), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6
)


def broken(content: bytes, changes: Sequence[tuple[str, int, bytes]]) -> bytes:
    """Bytes with some of them flipped, overwritten, removed, inserted, repeated, moved, or the rest cut off."""
    data = bytearray(content)
    for kind, place, payload in changes:
        at = place % (len(data) + 1)
        end = at + 1 + place % 61
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << place % 8
        elif kind == "set":
            data[at : at + len(payload)] = payload
        elif kind == "delete":
            del data[at:end]
        elif kind == "insert":
            data[at:at] = payload
        elif kind == "repeat":
            data[at:at] = data[at:end] * (1 + place % 4)
        elif kind == "swap":
            data[at:end] = data[at:end][::-1]
        elif kind == "cut":
            del data[at:]
    return bytes(data)


def changed(document: Any, path: Sequence[int], new: Any) -> Any:
    """A document of dictionaries and lists with the value at the end of a path replaced; the path wraps around."""
    if not path or not isinstance(document, (dict, list)) or not document:
        return new
    keys = list(document) if isinstance(document, dict) else list(range(len(document)))
    key = keys[path[0] % len(keys)]
    if isinstance(document, dict):
        return {**document, key: changed(document[key], path[1:], new)}
    return [*document[:key], changed(document[key], path[1:], new), *document[key + 1 :]]


# --- a command under watch --------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = (
    "os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "shutil.rmtree", "shutil.move", "shutil.copyfile",
)  # fmt: skip
_NEVER = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")
_watched: list[tuple[str, str]] | None = None  # what happened, while a command is watched


def _folder(descriptor: Any) -> str:
    """The open folder that a name is relative to, as in rmtree; '' for the process's own."""
    return os.readlink(f"/proc/self/fd/{descriptor}") if isinstance(descriptor, int) and descriptor >= 0 else ""


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _watched is None:
        return
    if event == "open":
        path, _, flags = args
        if isinstance(path, (str, bytes)) and isinstance(flags, int) and flags & _WRITING:
            _watched.append((event, os.path.abspath(os.fsdecode(path))))
    elif event in _CHANGING:
        within = _folder(args[-1]) if event in ("os.mkdir", "os.remove", "os.rmdir") else ""
        names = (os.fsdecode(one) for one in args if isinstance(one, (str, bytes)))
        _watched.extend((event, os.path.abspath(os.path.join(within, name))) for name in names)
    elif event in _NEVER:
        _watched.append((event, ""))


sys.addaudithook(_hook)


@contextlib.contextmanager
def watched(*writable: Path, may_start: bool = False) -> Iterator[None]:
    """Fails where something is written outside of folders, an object unpickled, a host called, a process started."""
    global _watched
    _watched = seen = []
    try:
        yield
    finally:
        _watched = None
    allowed = (os.devnull, *(str(folder) for folder in writable))
    outside = [
        (event, path)
        for event, path in seen
        if "__pycache__" not in path
        and not (may_start and event == "subprocess.Popen")
        and not any(path == one or path.startswith(one + os.sep) for one in allowed)
    ]
    assert outside == [], outside[:5]


@contextlib.contextmanager
def bounded(size: int = BYTES) -> Iterator[None]:
    """Lets the process take so many bytes more of address space and no more (Linux)."""
    if not sys.platform.startswith("linux"):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def contents(*folders: Path) -> Mapping[str, tuple[int, int]]:
    """Size and time of every file below some folders."""
    found = (path for folder in folders for path in folder.rglob("*") if not path.is_dir())
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in found}


def command(*argv: str, writable: Sequence[Path] = (), keeps: Sequence[Path] = (), may_start: bool = False) -> Outcome:
    """Runs the command line in this process, under watch; `keeps` may not change where the input was refused."""
    out, err = io.StringIO(), io.StringIO()
    before = contents(*keeps)
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        bounded(),
        watched(*writable, may_start=may_start),
    ):
        try:
            status = cli.main(list(argv))
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
    found = Outcome(status, out.getvalue(), err.getvalue())
    assert status in (0, 1, 2), found
    assert "Traceback" not in found.err
    assert "MemoryError" not in found.err
    if status == 2:
        told = [line for line in found.err.split("\n") if line.startswith("error: ")]
        assert len(told) == 1, found.err
        assert found.err.endswith(told[0] + "\n"), found.err
        assert len(told[0]) <= LONGEST
        assert told[0].isprintable(), told[0]
        assert contents(*keeps) == before
    return found
