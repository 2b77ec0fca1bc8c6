"""The command `cost` and the pages that it writes."""

import json
import math
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from dsresearch import cost_tables
from dsresearch.cli import main
from dsresearch.networks.catalogue import POINTS
from dsresearch.references import counts, encyclopedia, training

DOCS = Path(__file__).parents[1] / "docs"

ASK = """
import sys
from dsresearch.cli import main
status = main(sys.argv[1:])
assert not {"jax", "flax", "numpy"} & set(sys.modules), "heavy"
sys.exit(status)
"""


@pytest.mark.parametrize("words", [["xception", "--json"], ["--list"]])
def test_the_answer_takes_less_than_a_second_and_no_jax(words: list[str]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", ASK, "cost", *words], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_json_of_a_network_and_of_a_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "xception", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "xception",
        "trainable": 22_855_952,
        "stats": 54_528,
        "macs": 8_357_403_496,
    }
    assert main(["cost", "separable", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["macs"] == 52_283_392  # the encyclopedia's example
    assert main(["cost", "regular", "--channels", "64,128", "--image", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["macs"] == 9 * 64 * 128 * 49
    assert main(["cost", "mobilenet_v1", "--classes", "10", "--image", "160", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trainable"] == 4_231_976 - 990 * 1025


def test_the_list_has_every_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(POINTS)
    assert "separable" in lines[-1]
    assert main(["cost", "--list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(POINTS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "NAME is missing"),
        (["xceptoin"], "name='xceptoin' is not known; did you mean 'xception'?"),
        (["seperable"], "did you mean 'separable'?"),
        (["separable", "--classes", "3"], "--classes=3 is not allowed: 'separable' is a module"),
        (["xception", "--channels", "3"], "--channels=3 is not allowed: 'xception' is not a module"),
        (["separable", "--channels", "3,a"], "--channels=3,a is not allowed"),
        (["separable", "--image", "0"], "--image=0 is not allowed"),
        (["resnext", "--channels", "12"], "--channels=12 is not allowed: 'resnext' divides its channels"),
        (["vgg16", "--list"], "NAME='vgg16' is not allowed with --list"),
        (["--list", "--classes", "5"], "--classes=5 is not allowed with --list"),
        (["--list", "--channels", "9", "--json"], "--channels='9' is not allowed with --list"),
        (["--list", "--image", "0"], "--image=0 is not allowed with --list"),
        (["vgg16", "--classes", "0"], "classes=0 is not allowed"),
        (["vgg16", "--image", "31"], "image=31 is not allowed: too small for the strides, at least 32 pixels"),
    ],
)
def test_bad_input_is_one_line_and_two(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", *words]) == 2
    out, error = capsys.readouterr()
    assert not out
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["xception"], "NAME='xception'"),
        (["--classes", "7"], "--classes=7"),
        (["--channels", "9"], "--channels='9'"),
        (["--image", "3"], "--image=3"),
        (["--json"], "--json"),
        (["--list"], "--list"),
    ],
)
def test_what_the_pages_would_not_read_is_refused_and_nothing_is_written(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", *words, "--tables", str(tmp_path / "pages")]) == 2
    out, error = capsys.readouterr()
    assert not out
    assert error == f"error: {message} is not allowed with --tables, which writes all pages: one of the two\n"
    assert not list(tmp_path.iterdir())


def test_the_committed_pages_are_what_the_command_writes(tmp_path: Path) -> None:
    parity = DOCS / "parity.json"
    if parity.is_file():
        (tmp_path / parity.name).write_text(parity.read_text())
    for path in cost_tables.write(tmp_path):
        assert (DOCS / path.name).read_text() == path.read_text(), f"`{cost_tables.COMMAND}` writes {path.name} anew"


def test_no_count_of_another_implementation_differs() -> None:
    page = cost_tables.networks_page({})
    assert "differs:" not in page
    assert page.count("equal:") == sum(len(networks) for networks in counts.BUILT.values())


def test_a_comparison_of_outputs_stands_in_the_page() -> None:
    page = cost_tables.networks_page({"vgg16": {"against": "Keras", "logits": 3.2e-6, "gradients": 0.00001}})
    line = next(line for line in page.splitlines() if line.startswith("| `vgg16` "))
    assert line.endswith("| Keras: logits 3e-06, gradients 1e-05 |")


@pytest.mark.parametrize(
    ("found", "text", "expected"),
    [
        (4_231_976, "4.2 M", "0"),
        (4_250_001, "4.2 M", "+1.19 %"),
        (22_855_952, "22,855,952", "0"),
        (22_855_953, "22,855,952", "+0.00 %"),
        (3, "", ""),
    ],
)
def test_a_difference_knows_the_rounding_of_what_is_printed(found: int, text: str, expected: str) -> None:
    assert cost_tables.difference(found, text) == expected


def test_a_layers_ratio_is_one_over_n_plus_one_over_k_squared() -> None:
    for kernel, inputs, outputs, side in cost_tables.LAYERS:
        row = cost_tables.layer_row(kernel, inputs, outputs, side)
        assert row[5] == row[6] == f"{1 / outputs + 1 / kernel**2:.4f}"


def test_the_pages_example_and_its_errors_are_in_the_table() -> None:
    page = cost_tables.separable_page()
    assert "| 3x3, 512 to 512, 14x14 | 2,359,296 | 266,752 | 462,422,016 | 52,283,392 | 0.1131 |" in page
    for figure in ("4,231,976", "3,504,872", "15,470,264,320", "267,776", "22,855,952"):
        assert figure in page
    assert page.count("\n| ") - 2 * 2 - len(cost_tables.LAYERS) == len(encyclopedia.ERRORS)
    assert "{" not in page


def test_training_references_name_their_protocol_and_stay_in_range() -> None:
    assert {result.protocol for result in training.RESULTS} == set(training.PROTOCOLS)
    keys = [(result.protocol, result.data, result.model, result.metric) for result in training.RESULTS]
    assert len(keys) == len(set(keys))
    for result in training.RESULTS:
        assert math.isfinite(result.value)
        assert 0 < result.value < (1 if result.metric.startswith("top") else 100)
        if result.metric == training.ACCURACY and result.data == "CIFAR-10":
            assert result.value > 85
    assert "Not checked against the source" in cost_tables.training_page()
