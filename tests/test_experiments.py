"""Every experiment file works as Sacred's users expect, at toy size, through the same command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dsresearch import data
from dsresearch.studies import STUDIES
from dsresearch.studies.plan import Request, plan

ROOT = Path(__file__).parents[1]
PUBLISHED = ("darknet", "fractalnet", "xception")  # whose arms are networks, not designs of the stack
FILES = sorted(path for path in (ROOT / "experiments").glob("*.py") if path.stem != "imagenet")  # it has no arms


HYBRID = ROOT / "experiments" / "hybrid.py"


def sacred(file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(file), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def arms(file: Path) -> list[str]:
    return [arm.name for arm in STUDIES[file.stem].arms]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_cell_is_a_run_with_a_record(file: Path, tmp_path: Path) -> None:
    name = arms(file)[-1] if file.stem in PUBLISHED else "resnext"
    if file.stem == "xception":
        pytest.skip("its networks take minutes to compile; tests/test_published.py trains a published network")
    done = sacred(file, "with", f"setup={name}", "trials=2", "profile=smoke", "seed=0", "-F", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "test error over 2 trials" in done.stderr
    run = tmp_path / "1"
    config = json.loads((run / "config.json").read_text())
    assert (config["setup"], config["trials"]) == (name, 2)
    assert json.loads((run / "run.json").read_text())["status"] == "COMPLETED"
    rows = json.loads((run / "rows.json").read_text())
    assert [row["trial"] for row in rows] == [0, 1]
    assert json.loads((run / "metrics.json").read_text())["test_wrong/trial0"]["steps"] == list(
        range(1, config["recipe"]["epochs"] + 1)
    )


def test_a_run_computes_with_the_kernels_that_its_rows_name(tmp_path: Path) -> None:
    """The kernels are a matter of the process: Sacred's own command line has to tell it, too."""
    pytest.importorskip("llvmlite", reason="llvmlite is not installed (the extra `native`)")
    found = {}
    for kernels in ("xla", "fused"):
        words = ("setup=separable", "trials=1", "profile=smoke", f"protocol.kernels={kernels}")
        done = sacred(ROOT / "experiments" / "hybrid.py", "with", *words, "-F", str(tmp_path / kernels))
        assert done.returncode == 0, done.stderr
        (row,) = json.loads((tmp_path / kernels / "1" / "rows.json").read_text())
        found[row["kernels"]] = row["params_sha256"]
    assert set(found) == {"", "fused"}
    assert found[""] != found["fused"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_print_config_knows_named_configs(file: Path) -> None:
    name = arms(file)[-1]
    done = sacred(file, "print_config", "with", name, "smoke", "recipe.batch=16")
    assert done.returncode == 0, done.stderr
    assert "batch = 16" in done.stdout
    assert f"setup = '{name}'" in done.stdout
    assert "profile = 'smoke'" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("with", "setpu=resnext"), "setpu"),
        (("with", "design.widht=2"), "design.widht is not a key"),
        (("with", "setup=separabel"), "setup='separabel' is not known, allowed: "),
        (("with", "trials=0"), "trials=0 is not allowed"),
        (("with", "recipe.rate=1e-3x"), "1e-3x"),
        (("with", "nonsense"), "nonsense"),
    ],
)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_wrong_key_or_value_is_an_error(file: Path, words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = sacred(file, *words, "-F", str(tmp_path))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.isdecimal()]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("match=banana", "match='banana' is not known, allowed: width, params, macs"),
        ("role=banana", "role='banana' is not known"),
        ("study=xception", "study='xception' is not known, allowed: hybrid"),
        ("control=exact setup=resnext", "setup='resnext' is not known, allowed: separable"),
        ("design=3", "design=3 is not allowed: its fields, such as design.width=16"),
        ("recipe=xception_jtf", "did you mean 'xception_jft'"),
    ],
)
def test_what_only_a_configuration_says_is_held_to_what_it_may_say(words: str, said: str) -> None:
    done = sacred(HYBRID, "print_config", "with", *words.split())
    assert done.returncode == 2
    assert said in done.stderr


def test_a_configuration_is_matched_and_takes_a_recipe_by_name() -> None:
    done = sacred(HYBRID, "print_config", "with", "setup=inception", "match=params", "recipe=xception_jft")
    assert done.returncode == 0, done.stderr
    wanted = plan(Request(setups=("inception",), match="params"), data.load("digits")).asked[0]
    assert f"width = {wanted.design.width}" in done.stdout
    assert wanted.design.width != 16
