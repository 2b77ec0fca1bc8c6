"""The logits that other implementations gave, committed: what CI keeps of the parity without installing them.

`make test-parity` writes logits.json; weights and pictures are drawn anew, the same on every machine.
"""

import json
from pathlib import Path
from typing import Any

import draws
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsresearch.networks import catalogue, inception_v3, mobilenet_v2, xception
from dsresearch.networks.build import Network

HERE = Path(__file__).parent
PARITY: dict[str, Any] = json.loads((HERE.parents[1] / "docs" / "parity.json").read_text(encoding="utf-8"))
LOGITS: dict[str, Any] = json.loads((HERE / "logits.json").read_text(encoding="utf-8"))
QUICK = ("mobilenet_v2_0.5", "shufflenet_v2_1.0")  # Keras's, torchvision's
OTHERS = tuple(name for name in LOGITS if name not in QUICK)


def our_logits(name: str) -> np.ndarray:
    """In float32, with the drawn weights."""
    sides = tuple(LOGITS[name]["picture"])
    network = Network(catalogue.named(name, classes=draws.CLASSES, image=min(sides)))
    x = jnp.asarray(draws.pictures(sides), jnp.float32)
    shapes = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, False), x)
    weights = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), draws.weights(shapes))
    return np.asarray(jax.jit(lambda weights, x: network.apply(weights, x, False))(weights, x))


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_logits_are_those_that_another_implementation_gave(name: str) -> None:
    wanted = np.array(LOGITS[name]["logits"])
    assert np.linalg.norm(our_logits(name) - wanted) < 1e-4 * np.linalg.norm(wanted)


@pytest.mark.parametrize("name", LOGITS)
def test_the_pictures_reach_the_logits(name: str) -> None:
    """Where maps fade, all pictures have the logits of the last biases, and any body would agree."""
    one, two = np.asarray(LOGITS[name]["logits"])
    assert np.linalg.norm(one - two) > 10 * 1e-4 * np.linalg.norm(one)  # ten times the limit


def test_every_family_was_compared_and_of_the_main_ones_every_point() -> None:
    for family in catalogue.FAMILIES:
        assert set(family.POINTS) & set(PARITY), family.__name__
    main = {"efficientnet_b0"}.union(*(family.POINTS for family in (xception, inception_v3, mobilenet_v2)))
    assert {name for name in main if not name.endswith("_aux")} <= set(PARITY)  # _aux differ in training alone


def test_every_comparison_passed_within_the_limits() -> None:
    assert set(PARITY) <= set(catalogue.POINTS)
    for name, found in PARITY.items():
        assert found["passed"], name
        assert found["logits"] < 1e-4, name
        assert max(found["gradients"], found["logits_in_float64"]) < 1e-9, name
        assert (found["logits_dtype"], found["gradients_dtype"]) == ("float32", "float64")
    assert {name for name, found in PARITY.items() if "deeplab" not in name} == set(LOGITS)
