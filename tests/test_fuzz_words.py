"""The command line with any words, settings and grid files: refused in one line, or a plan that says what it is."""

from pathlib import Path

import pytest
import tomli_w
from fuzzing import NASTY, broken, cases, command, each, edits, scalar, text, value
from hypothesis import strategies as st

from dsresearch.design import SETUPS
from dsresearch.launch import Launcher
from dsresearch.record.store import Store

COMMANDS = ("run", "status", "report", "compare", "cost", "data", "bench", "verify", "worker", "--version", "--help")
OPTIONS = (
    "--profile", "--data", "--out", "--trials", "--setup", "--match", "--grid", "--workers", "--dry-run", "--to",
    "--beside", "--into", "--baseline", "--json", "--classes", "--image", "--channels", "--list", "--name", "--archive",
    "--against", "--mode", "--network", "--dtype", "--rounds", "--seconds", "--minutes", "--threads", "--pro", "-h",
)  # fmt: skip
WORDS = (
    "hybrid", "smoke", "quick", "full", "paper", "confirm", "digits", "cifar10", "params", "macs", "width", "xception",
    "resnet50", "mobilenet_v1_0.75", "mobilenet_v1_99", "efficientnet_b9", "import", "info", "prepare", "2", "-3",
    "1e9", "512,x", "0", *SETUPS, *(word for word in NASTY if "\0" not in word and "outside" not in word),
)  # fmt: skip
KEYS = (
    "design.width", "design.depth", "design.kernel", "design.groups", "design.order", "design.multiplier",
    "design.residual", "design.activation", "design.normalise", "design.formulation", "recipe.epochs", "recipe.batch",
    "recipe.rate", "recipe.momentum", "recipe.decay", "recipe.schedule", "recipe.warmup", "recipe.augment",
    "recipe.dtype", "recipe.optimiser", "protocol.seed", "protocol.trials", "protocol.split", "protocol.train_pictures",
    "protocol.test_pictures", "protocol.trial_batch", "protocol.threads", "protocol.margin", "protocol.alpha",
    "design.", ".width", "design", "recipe.x", "protocol.exec_mode",
)  # fmt: skip
VALUES = ("1", "2", "4", "8", "16", "3", "0.1", "0", "-1", "true", "false", "relu", "none", "cosine", "pointwise_first")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, where nothing is trained, measured or proven."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Launcher, "run", lambda launcher: 0)
    monkeypatch.setattr("dsresearch.bench.run.Crew", _Nothing)
    monkeypatch.setattr("dsresearch.exactness.main", lambda as_json: 0)
    monkeypatch.setattr("dsresearch.runtime.prepare", lambda threads: None)
    return tmp_path


class _Nothing:
    """In place of the benchmark's processes."""

    def __init__(self, threads: int, devices: int, kernels: str) -> None:
        raise SystemExit(0)


@cases("words")
def test_any_words(here: Path, examples: int) -> None:
    word = st.one_of(st.sampled_from(OPTIONS), st.sampled_from(WORDS), text.filter(lambda t: "\0" not in t))

    @each(examples, st.sampled_from(COMMANDS), st.lists(word, max_size=6))
    def check(first: str, words: list[str]) -> None:
        if first == "worker" and words[:1] in (["prove"], ["part"], ["cell"]):
            return  # the launcher's own; a broken cell.json has a test of its own
        command(first, *words, writable=[here], keeps=[here])


@cases("settings")
def test_any_settings(here: Path, examples: int) -> None:
    values = st.lists(st.one_of(st.sampled_from(VALUES), text), max_size=3).map(",".join)
    setting = st.tuples(st.one_of(st.sampled_from(KEYS), text), values).map("=".join)
    setups = st.lists(st.sampled_from([*SETUPS, "resnex"]), max_size=2)

    @each(examples, st.lists(setting, max_size=4), setups, st.sampled_from(["width", "params", "macs", "x"]))
    def check(settings: list[str], chosen: list[str], match: str) -> None:
        named = [word for name in chosen for word in ("--setup", name)]
        words = ("run", "hybrid", "--profile", "smoke", "--dry-run", "--match", match, *named, *settings)
        found = command(*words, keeps=[here])
        assert found.status in (0, 2)


GRID = b"""setup = ["grouped"]
[design]
groups = [1, 2, 4]
residual = [true, false]
[recipe]
rate = 0.1
[protocol]
seed = 3
"""


@cases("grid")
def test_any_grid_file(here: Path, examples: int) -> None:
    part = st.dictionaries(
        st.one_of(st.sampled_from([key.partition(".")[2] or "x" for key in KEYS]), text),
        st.one_of(value, st.lists(st.sampled_from([1, 2, 4, 0.1, True, "relu"]), max_size=3)),
        max_size=3,
    )
    tables = st.dictionaries(
        st.one_of(st.sampled_from(["design", "recipe", "protocol", "setup"]), text), st.one_of(part, scalar), max_size=3
    )

    @each(examples, st.booleans(), edits, tables)
    def check(as_bytes: bool, changes: list[tuple[str, int, bytes]], document: dict[str, object]) -> None:
        try:
            content = broken(GRID, changes) if as_bytes else tomli_w.dumps(_plain(document)).encode()
        except (TypeError, ValueError, UnicodeEncodeError):  # what no TOML can hold
            return
        (here / "grid.toml").write_bytes(content)
        words = ("run", "hybrid", "--profile", "smoke", "--dry-run", "--grid", "grid.toml")
        assert command(*words, keeps=[here]).status in (0, 2)


def _plain(document: object) -> object:
    """A document without None, which TOML does not have."""
    if isinstance(document, dict):
        return {key: _plain(item) for key, item in document.items() if item is not None}
    return [_plain(item) for item in document if item is not None] if isinstance(document, list) else document


def test_a_grid_that_is_nested_or_huge(here: Path) -> None:
    grids = {
        "deep": "a = " + "[" * 100_000,
        "deeper": "\n".join(f"[{'.'.join(['a'] * depth)}]" for depth in (1, 5_000)),
        "long": "setup = [" + '"grouped",' * 200_000 + '"x"]',
        "product": "[design]\n" + "\n".join(f"{key[7:]} = {list(range(1, 60))}" for key in KEYS[:4]),
        "integer": "[design]\nwidth = " + "9" * 10_000,
    }  # fmt: skip
    for name, content in grids.items():
        Path(f"{name}.toml").write_text(content)
        assert command("run", "hybrid", "--dry-run", "--grid", f"{name}.toml", keeps=[here]).status == 2, name
    Path("loop").symlink_to("loop")
    for path in ("/dev/zero", ".", "loop", "missing.toml"):
        assert command("run", "hybrid", "--dry-run", "--grid", path, keeps=[here]).status == 2, path


def test_a_study_in_a_place_that_is_none(here: Path) -> None:
    Path("file").write_text("x")
    Path("loop").symlink_to("loop")
    for path in ("file", "file/x", "loop", "/dev/null", "/proc/self/mem", "x" * 5_000, "/root\0x"):
        for words in (("status", path), ("report", path), ("compare", path, "--baseline", "separable")):
            assert command(*words, keeps=[here]).status == 2, words
        assert command("run", "hybrid", "--profile", "smoke", "--dry-run", "--out", path, keeps=[here]).status in (0, 2)
    assert not Store(Path("file")).cells()
