"""The arrows of the house: which room may know which, and what may be loaded when a room is imported.

A room is a module or package directly under `dsresearch/`. Source is parsed, so imports within functions count; and
every room is imported in a process of its own, so what others pull in counts too.
"""

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dsresearch"


class Room(NamedTuple):
    """What a room may do, as names in a string.

    Attributes:
        rooms: rooms that it may import; all of them stand above it in HOUSE.
        packages: packages that it may import beside the standard library.
        loads: packages among HEAVY that may be loaded once it is imported.
    """

    rooms: str = ""
    packages: str = ""
    loads: str = ""


HEAVY = {
    "jax",
    "flax",
    "optax",
    "orbax",
    "sacred",
    "tensorflow_datasets",
    "sklearn",
    "matplotlib",
    "seaborn",
    "ray",
} | {"torch", "llvmlite"}
HOUSE = {
    "__init__": Room(),
    "design": Room(),
    "documents": Room(),
    "runtime": Room("", "llvmlite"),
    "operators": Room("runtime", "jax numpy llvmlite", "jax llvmlite"),
    "modules": Room("design operators", "jax flax", "jax flax"),
    "fused_form": Room("design", "numpy"),
    "stretches": Room("design operators modules fused_form", "jax flax", "jax flax llvmlite"),
    "networks": Room("design operators modules stretches", "jax flax numpy", "jax flax"),
    "transport": Room("design fused_form operators modules", "jax flax numpy", "jax flax"),
    "cost": Room("design fused_form networks"),
    "references": Room(),
    "cost_tables": Room("design networks cost references"),
    "data": Room(
        "design documents references",
        "numpy sklearn PIL tensorflow_datasets array_record importlib_resources grain absl",
    ),
    "loss": Room("networks", "jax flax optax", "jax flax optax"),
    "optimiser": Room("design", "jax optax", "jax optax"),
    "sharding": Room("design operators", "jax numpy", "jax"),
    "train": Room("design operators modules loss optimiser sharding", "jax flax optax numpy", "jax flax optax"),
    "schema": Room("design documents", "numpy pandas pyarrow"),
    "studies": Room("design documents runtime networks cost references data schema"),
    "record": Room("design documents runtime schema studies", "tomli_w pyarrow pandas"),
    "exactness": Room(
        "design runtime operators modules fused_form networks transport schema studies record",
        "jax flax optax numpy scipy",
        "jax flax optax",
    ),
    "launch": Room("design runtime schema studies record", "ray"),
    "again": Room("design runtime schema record launch"),
    "checkpoint": Room("schema", "jax orbax", "jax flax optax orbax"),
    "ranks": Room("design runtime", "jax"),
    "trials": Room(
        "design data schema studies record networks transport train checkpoint",
        "jax flax numpy",
        "jax flax optax orbax",
    ),
    "ledger": Room(
        "design data runtime schema studies record ranks trials",
        "sacred pandas jax",
        "sacred",
    ),
    "statistics": Room("design references", "numpy scipy"),
    "imagenet": Room(
        "design modules networks cost references data loss optimiser studies checkpoint runtime schema record ledger "
        "statistics",
        "jax optax numpy sacred matplotlib",
        "jax flax optax orbax sacred matplotlib",
    ),
    "report": Room(
        "design documents references studies schema statistics",
        "numpy scipy pandas pyarrow matplotlib seaborn PIL",
        "matplotlib seaborn",
    ),
    "compare": Room("design schema statistics report", "numpy pandas", "matplotlib seaborn"),
    "paper": Room(
        "design cost references schema studies statistics report compare", "numpy scipy pandas", "matplotlib seaborn"
    ),
    "bench": Room(
        "__init__ design cost runtime ranks modules networks train",
        "jax flax optax numpy pandas matplotlib seaborn torch",
        "jax flax optax matplotlib seaborn torch",
    ),
    "determinism": Room(
        "design data runtime schema studies record launch compare train trials",
        "jax pandas",
        "matplotlib seaborn",
    ),
    "parser": Room("__init__ design runtime"),
    "cli": Room(
        "parser design cost_tables data runtime schema studies record launch again ledger trials exactness statistics "
        "report compare paper bench"
    ),
    "__main__": Room("cli"),
}


def files(room: str) -> list[Path]:
    """The source files of a room."""
    return sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]


def imported(path: Path) -> set[str]:
    """The dotted names that a file imports, `from a import b` as `a.b`, relative ones made absolute."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            origin = ".".join([*above, *filter(None, [node.module])])
            names |= {f"{origin}.{alias.name}" for alias in node.names}
    return names


def rooms_of(names: set[str]) -> set[str]:
    """The rooms among imported names; what else the package offers (its version) is the room `__init__`."""
    inner = {name.partition("dsresearch.")[2].split(".")[0] for name in names if name.split(".")[0] == "dsresearch"}
    return {room if room in HOUSE else "__init__" for room in inner}


def packages_of(names: set[str]) -> set[str]:
    """The packages among imported names that are neither this one nor of the standard library."""
    return {name.split(".")[0] for name in names} - {"dsresearch"} - sys.stdlib_module_names


def printed(code: str, *arguments: str) -> set[str]:
    """The words that a fresh interpreter prints."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_every_room_is_in_the_table_and_every_entry_is_a_room() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules | {path.parent.name for path in PACKAGE.glob("*/*.py")} == set(HOUSE)


def test_the_table_points_downwards() -> None:
    above: set[str] = set()
    for name, room in HOUSE.items():
        assert set(room.rooms.split()) <= above, name
        above.add(name)


@pytest.mark.parametrize("name", HOUSE)
def test_a_room_knows_only_what_it_may(name: str) -> None:
    names = set().union(*map(imported, files(name)))
    assert rooms_of(names) - {name} <= set(HOUSE[name].rooms.split())
    assert packages_of(names) <= set(HOUSE[name].packages.split())


LOAD = """
import importlib, pkgutil, sys

def load(name):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "ray", "llvmlite"):  # optional extras
            raise

room = load(sys.argv[1])
for module in pkgutil.walk_packages(getattr(room, "__path__", []), sys.argv[1] + "."):
    load(module.name)
print(*sys.modules)
"""


@pytest.mark.parametrize("name", [name for name in HOUSE if not name.startswith("__")])
def test_importing_a_room_loads_only_what_it_may(name: str) -> None:
    assert printed(LOAD, f"dsresearch.{name}") & HEAVY <= set(HOUSE[name].loads.split())


HELP = """
import runpy, sys
sys.argv = ["dsresearch", "--help"]
try:
    runpy.run_module("dsresearch", run_name="__main__")
finally:
    print(*sys.modules)
"""


def test_help_is_printed_without_heavy_packages() -> None:
    words = printed(HELP)
    assert "usage:" in words
    assert not words & HEAVY


def test_an_experiment_knows_sacred_and_the_package_alone() -> None:
    for path in ROOT.glob("experiments/*.py"):
        assert packages_of(imported(path)) <= {"sacred"}, path.name
