"""The command that a missing row names makes the very study that is missing it, custom profiles and grids included."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from dsresearch import data
from dsresearch.report.cell import Cell, changed_keys, run_command, trained_as
from dsresearch.studies import Plan
from dsresearch.studies.plan import Request, plan
from dsresearch.studies.settings import parse_settings


def planned(words: list[str]) -> tuple[Plan, str]:
    """The plan of a command line, read as the command line reads it, and its --out."""
    assert words[:2] == ["dsresearch", "run"]
    options: dict[str, list[str]] = {}
    settings = [word for word in words[3:] if "=" in word]
    rest = [word for word in words[3:] if "=" not in word]
    for name, value in zip(rest[::2], rest[1::2], strict=True):
        options.setdefault(name, []).append(value)
    request = Request(
        words[2],
        options["--profile"][0],
        tuple(options.get("--setup", [])),
        options.get("--match", ["width"])[0],
        parse_settings(settings),
    )
    return plan(request, data.load(options["--data"][0])), options["--out"][0]


REQUESTS: dict[str, dict[str, Any]] = {
    "study": {},
    "custom": {
        "choices": {"design.width": [8], "recipe.epochs": [3], "protocol.trials": [4], "protocol.margin": [0.5]}
    },
    "grid": {"choices": {"design.groups": [1, 2], "design.residual": [True, False], "protocol.trials": [3]}},
    "published": {"study": "xception", "choices": {"recipe.rate": [0.1], "design.width": [0.125]}},
    "drop": {"study": "fractalnet", "choices": {"design.columns": [2], "recipe.epochs": [3]}},
    "point": {"setups": ("bsconv_u",)},
    "factor": {"choices": {"design.activation": ["relu"]}},
    "setup": {"setups": ("resnext",), "choices": {"design.groups": [2], "recipe.dtype": ["bfloat16"]}},
    "recipes": {"setups": ("hybrid", "resnext"), "choices": {"recipe.rate": [0.1, 0.05], "recipe.epochs": [2]}},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_command_of_every_cell_plans_that_cell_again(name: str) -> None:
    asked = plan(Request(**REQUESTS[name]), data.load("digits"))
    about = asked.document()
    for entry in about["cells"]:
        cell = Cell(*(entry[key] for key in ("arm", "setup", "role", "control_kind", "match")))
        again, out = planned(shlex.split(run_command(about, cell)))
        assert out == "DIR"
        assert entry["id"] in {one["id"] for one in again.document()["cells"]}
        assert (again.profile, again.study_id) == (asked.profile, asked.study_id)


@pytest.mark.parametrize("name", ["point", "grid", "recipes", "setup"])
def test_the_command_of_arms_beyond_the_protocol_plans_these_alone(name: str) -> None:
    about = plan(Request(), data.load("digits")).document()
    later = plan(Request(**REQUESTS[name]), data.load("digits")).asked
    beyond = [Cell(of.arm, of.setup, of.role, of.control, of.match) for of in later]
    for cell in beyond:
        again, _ = planned(shlex.split(run_command(about, cell, beyond)))
        assert {of.arm for of in again.asked} == {other.arm for other in beyond if other.setup == cell.setup}


@pytest.mark.parametrize("name", ["custom", "grid", "recipes"])
def test_a_file_that_does_not_say_what_was_changed_is_held_against_its_profile(name: str) -> None:
    asked = plan(Request(**REQUESTS[name]), data.load("digits"))
    about = asked.document()
    said = about.pop("changed")
    found = changed_keys(about)
    assert {key: found[key] for key in said} == said
    of_data = {"protocol.split", "protocol.test_pictures", "protocol.train_pictures"}  # naming them changes nothing
    assert found.keys() - said.keys() <= of_data


def test_a_study_of_published_networks_from_before_asks_for_no_field_of_the_stack() -> None:
    about = plan(Request("darknet", choices={"recipe.epochs": [3]}), data.load("digits")).document()
    del about["changed"]
    assert changed_keys(about)["recipe.epochs"] == 3
    assert not [key for key in changed_keys(about) if key.startswith("design.")]


@pytest.mark.parametrize(
    ("changed", "profile"),
    [
        ({}, "paper"),
        ({"protocol.trial_batch": 5, "protocol.trials_per_cell": 5, "recipe.dtype": "bfloat16"}, "paper"),
        ({"protocol.trial_batch": 5, "recipe.epochs": 19}, "custom (from paper)"),
        ({"design.width": 8}, "custom (from paper)"),
    ],
)
def test_what_changes_only_how_it_is_computed_leaves_a_study_of_its_profile(
    changed: dict[str, Any], profile: str
) -> None:
    about = {"profile": "custom (from paper)" if changed else "paper", "changed": changed}
    assert trained_as(about) == profile


def test_a_matched_arm_names_its_match_and_a_name_is_quoted() -> None:
    about = plan(Request(), data.load("digits")).document()
    command = run_command(about, Cell("resnext", "resnext", "rival", "", "macs"))
    assert command == "dsresearch run hybrid --data digits --profile quick --match macs --out DIR"
    about["data"]["name"] = "my; rm -rf pictures"
    assert "'my; rm -rf pictures'" in run_command(about, Cell("resnext", "resnext", "rival", "", "width"))
    assert str(Path.home()) not in command
