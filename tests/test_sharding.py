"""Devices that share a program give what one device gives: trial by trial, and batch by batch within rounding."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsresearch.data import load
from dsresearch.design import InputError, Protocol
from dsresearch.studies.plan import Request, plan

PROBE = Path(__file__).with_name("sharded_probe.py")
PARTS = ("weights", "statistics", "momentum", "row", "predictions")


def probe(kind: str, setup: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, PROBE, kind, setup], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["devices"] == 8
    return found


def distance(a: list[list[float]], b: list[list[float]]) -> float:
    """Largest difference relative to the largest number."""
    x, y = np.asarray(a), np.asarray(b)
    return float(np.abs(x - y).max() / np.abs(y).max())


# `separable` passes from one BatchNorm to the next; `inception` has BatchNorms inside its modules.
@pytest.mark.parametrize("setup", ["separable", pytest.param("inception", marks=pytest.mark.slow)])
def test_a_batch_on_eight_devices_is_the_batch_on_one(setup: str) -> None:
    """BatchNorm's statistics, the gradient, the augmentation and the evaluation are those of the whole batch."""
    found = probe("batch", setup)
    for part in PARTS:
        assert distance(found["sharded"][part], found["one"][part]) < 2e-5, part


@pytest.mark.parametrize("layer", ["dropout", "drop_path"])
def test_what_is_dropped_of_a_shared_batch_is_what_one_device_drops(layer: str) -> None:
    """A device that drew for its own pictures alone would draw what every other draws."""
    found = probe("dropped", layer)
    assert found["sharded"] == found["one"]
    assert len({tuple(picture) for picture in found["one"]}) > 1


def test_trials_on_eight_devices_are_those_on_one() -> None:
    found = probe("trials", "separable")
    for part in PARTS:
        for sharded, one in zip(found["sharded"][part], found["one"][part], strict=True):
            assert distance([sharded], [one]) < 2e-5, part
    assert distance(found["sharded"]["weights"][:1], found["one"]["weights"][1:2]) > 1e-2  # they are eight trials


def test_what_devices_cannot_share_is_refused_before_anything_is_written() -> None:
    with pytest.raises(InputError, match=r"protocol.devices=2 is not allowed: it does not divide the 1 threads"):
        Protocol(devices=2)
    with pytest.raises(InputError, match=r"does not divide the 5 trials of a program"):
        Protocol(devices=2, threads=2, trial_batch=5)
    choices = {"protocol.devices": [4], "protocol.threads": [4], "recipe.batch": [30]}
    with pytest.raises(InputError, match=r"recipe.batch=30 is not allowed: 4 devices share a batch"):
        plan(Request(profile="smoke", choices=choices), load("digits"))


def test_one_device_leaves_the_protocol_as_it_was() -> None:
    """A store that was begun before the setting existed goes on."""
    assert "devices" not in plan(Request(profile="smoke"), load("digits")).document()["protocol"]
    shared = plan(Request(profile="smoke", choices={"protocol.devices": [2], "protocol.threads": [2]}), load("digits"))
    assert shared.document()["protocol"]["devices"] == 2
    assert shared.document()["protocol"]["exec_mode"] == "sharded"
