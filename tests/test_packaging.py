"""What a stranger gets: the wheel, the lock, the reasons for each dependency, and the refusal of Python 3.14."""

import csv
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from test_rooms import imported, packages_of

import dsresearch

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# A pin in the lock: name, version, for whom, hashes; nothing else may stand there.
PIN = re.compile(r"[a-z0-9-]+==[\w.]+( ; [^@:]+?)?( --hash=sha256:[0-9a-f]{64})+")


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """A finished process with what it printed."""
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)


def lines_of_the_lock() -> list[str]:
    """The pins of the lock, one a line, without comments."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", "")
    return [" ".join(line.split()) for line in text.splitlines() if not line.startswith("#")]


def pins(python: str) -> dict[str, str]:
    """What the lock installs on Linux under a version of Python: name to version."""
    where = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    found: dict[str, str] = {}
    for line in lines_of_the_lock():
        requirement = Requirement(line.partition(" --hash")[0])
        if requirement.marker is None or requirement.marker.evaluate(where):
            assert requirement.name not in found, f"{requirement.name} is pinned twice for Python {python}"
            found[requirement.name] = str(requirement.specifier).removeprefix("==")
    return found


# --- the wheel --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, as a build leaves files in its folder and takes up what an earlier one left."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "dsresearch", source / "dsresearch", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "experiments").mkdir()
    (source / "experiments" / "hybrid.py").touch()  # must not get in
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    done = run(*pip, "--wheel-dir", folder, source)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_alone_and_all_of_it(wheel: Path) -> None:
    about = f"dsresearch-{dsresearch.__version__}.dist-info"
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "dsresearch").rglob("*.py")}
    assert {name.split("/")[0] for name in names} == {"dsresearch", about}
    assert sources | {"dsresearch/py.typed", "dsresearch/report/page.css", f"{about}/licenses/LICENSE"} <= names


def test_the_wheel_refuses_a_python_without_sacred(wheel: Path) -> None:
    name = f"dsresearch-{dsresearch.__version__}.dist-info/METADATA"
    metadata = message_from_string(zipfile.ZipFile(wheel).read(name).decode())
    allowed = SpecifierSet(metadata["Requires-Python"])
    versions = ("3.10.13", "3.11.0", "3.12.1", "3.13.9", "3.14.0")
    assert [version in allowed for version in versions] == [False, True, True, True, False]


def test_the_wheel_runs_a_study_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    installed = run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel)
    assert installed.returncode == 0, installed.stderr
    place = {"cwd": elsewhere, "env": os.environ | {"PYTHONPATH": str(site)}}
    origin = run(sys.executable, "-c", "import dsresearch; print(dsresearch.__file__)", **place).stdout
    assert origin.strip() == str(site / "dsresearch" / "__init__.py")
    arms = ("--setup", "separable", "--setup", "hybrid")
    for words in (("run", "hybrid", "--profile", "smoke", *arms, "--out", "study"), ("report", "study")):
        done = run(site / "bin" / "dsresearch", *words, **place)
        assert done.returncode == 0, done.stdout + done.stderr
    with (elsewhere / "study" / "trials.csv").open(newline="") as file:
        assert {row["arm"] for row in csv.DictReader(file)} == {"separable", "hybrid"}
    assert (ROOT / "dsresearch/report/page.css").read_text() in (elsewhere / "study" / "report.html").read_text()


# --- the lock ---------------------------------------------------------------------------------------------------


def test_the_lock_pins_everything_with_hashes_and_names_no_place() -> None:
    assert [line for line in lines_of_the_lock() if not PIN.fullmatch(line)] == []
    assert "://" not in (ROOT / "requirements.lock").read_text()


@pytest.mark.parametrize(("python", "jax"), [("3.11", "0.10."), ("3.12", "0.11."), ("3.13", "0.11.")])
def test_the_lock_serves_every_python(python: str, jax: str) -> None:
    found = pins(python)
    for text in (*PROJECT["dependencies"], *EXTRAS["dev"]):
        requirement = Requirement(text)
        assert found[canonicalize_name(requirement.name)] in requirement.specifier
    assert found["jax"].startswith(jax)
    assert found["jaxlib"] == found["jax"]
    assert not {"torch", "tensorflow", "ray"} & set(found)


# --- the project ------------------------------------------------------------------------------------------------


def test_every_dependency_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    for requirement in [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]:
        (line,) = [line for line in lines if line.strip().startswith(f'"{requirement}"')]
        assert re.search(r'",\s+# \w.{5,}', line), line


def test_every_package_that_is_imported_is_declared() -> None:
    files = (ROOT / "dsresearch").rglob("*.py")
    declared = {
        canonicalize_name(Requirement(text).name)
        for text in (*PROJECT["dependencies"], *EXTRAS["ray"], *EXTRAS["imagenet"], *EXTRAS["peers"], *EXTRAS["native"])
    }
    owners = packages_distributions()  # Pillow owns PIL
    for package in packages_of(set().union(*map(imported, files))):
        assert {canonicalize_name(owner) for owner in owners.get(package, [package])} & declared, package


def test_the_version_is_the_same_everywhere() -> None:
    assert f"\nversion: {dsresearch.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {dsresearch.__version__}" in (ROOT / "CHANGELOG.md").read_text()


# --- Python 3.14 ------------------------------------------------------------------------------------------------


@pytest.fixture
def python_314(tmp_path: Path) -> Path:
    """An interpreter that says it is 3.14 and runs the last of its arguments."""
    path = tmp_path / "python3.14"
    code = "import sys; sys.version_info = (3, 14, 0); exec(sys.argv[-1])"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -B -c "{code}" "$@"\n')
    path.chmod(0o755)
    return path


def test_importing_on_python_314_names_the_reason(python_314: Path) -> None:
    done = run(python_314, "-c", "import dsresearch", cwd=ROOT)
    assert done.returncode == 1
    assert re.search(r"^ImportError: .*3\.11, 3\.12 and 3\.13, not on 3\.14\.0: Sacred", done.stderr, re.MULTILINE)


def test_make_refuses_python_314_in_a_line_and_builds_nothing(python_314: Path, tmp_path: Path) -> None:
    done = run("make", "--no-print-directory", "test", f"PYTHON={python_314}", f"VENV={tmp_path}/venv", cwd=ROOT)
    assert done.returncode == 2
    assert "Sacred" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "venv").exists()
