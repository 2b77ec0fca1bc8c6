"""Built networks: what is drawn, trained, dropped, and refused."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsresearch import cost
from dsresearch.design import InputError
from dsresearch.modules import draw
from dsresearch.networks.build import Network, check_weights
from dsresearch.networks.catalogue import named
from dsresearch.networks.darknet import Darknet
from dsresearch.networks.fractalnet import FractalNet
from dsresearch.networks.inception_v1 import InceptionV1
from dsresearch.networks.mobilenet_v1 import SHALLOW, MobileNetV1
from dsresearch.networks.quicknet import QuickNet
from dsresearch.networks.resnet import ResNet
from dsresearch.networks.vocabulary import Architecture

SMALL = FractalNet(columns=2, features=(4, 8), dropouts=(0.0, 0.5), image=8)
STEM: dict[str, Any] = {"classes": 3, "image": 32, "width": 0.1}


def drawn(architecture: Architecture, seed: int = 0) -> dict[str, Any]:
    shape = (architecture.image, architecture.image, architecture.channels)
    params, stats = jax.jit(lambda key: draw(Network(architecture), key, shape))(jax.random.key(seed))
    return {"params": params, "stats": stats}


def pictures(architecture: Architecture, count: int = 4) -> jax.Array:
    side = architecture.image
    return jax.random.normal(jax.random.key(9), (count, side, side, architecture.channels))


def shapes(architecture: Architecture) -> Any:
    picture = jax.ShapeDtypeStruct((1, architecture.image, architecture.image, 3), jnp.float32)
    return jax.eval_shape(lambda x: Network(architecture).init(jax.random.key(0), x, True), picture)


@pytest.mark.parametrize("name", ["xception", "inception_v3_2016", "mobilenet_v3_small", "shufflenet_v1", "quicknet"])
def test_the_tree_has_one_level_of_the_listed_names(name: str) -> None:
    layers = cost.layers(named(name))
    found = shapes(named(name))
    assert set(found["params"]) == {layer.name for layer in layers}
    assert set(found["stats"]) == {layer.name for layer in layers if layer.kind == "norm"}
    held = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in found["params"].items()}
    assert held == {layer.name: layer.cost.params for layer in layers}


def test_training_moves_the_statistics_and_evaluation_reads_them() -> None:
    network, variables, x = Network(SMALL), drawn(SMALL), pictures(SMALL)

    @jax.jit
    def train(variables: Any, key: jax.Array) -> Any:
        return network.apply(variables, x, True, mutable=["stats"], rngs={"dropout": key})

    logits, moved = train(variables, jax.random.key(1))
    assert logits.shape == (4, 10)
    assert logits.dtype == jnp.float32
    other, _ = train(variables, jax.random.key(2))
    assert not np.array_equal(logits, other)  # another key drops other paths
    np.testing.assert_array_equal(logits, train(variables, jax.random.key(1))[0])
    evaluate = jax.jit(lambda variables: network.apply(variables, x, False))
    before, after = evaluate(variables), evaluate({**variables, **moved})
    assert not np.array_equal(before, after)
    permuted = jax.jit(lambda variables: network.apply(variables, x[::-1], False))(variables)
    np.testing.assert_allclose(permuted[::-1], before, rtol=1e-5, atol=1e-6)


def test_no_key_is_needed_where_nothing_is_dropped() -> None:
    network = dataclasses.replace(SMALL, dropouts=(0.0, 0.0), drop_path=0.0)
    jax.jit(lambda v, x: Network(network).apply(v, x, True, mutable=["stats"]))(drawn(network), pictures(network))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize(
    "architecture",
    [
        Darknet(stages=(((3, 40),), ((3, 40), (1, 20))), **STEM),
        QuickNet(stages=(((3, 40),), ((3, 40), (1, 20))), **STEM),
        MobileNetV1(blocks=SHALLOW, **STEM),
        ResNet(depths=(1, 1), features=80, inner=20, window=3, **STEM),
        ResNet(depths=(1, 1), features=80, inner=0, window=3, kind="bsconv_s", before=True, **STEM),
    ],
)
def test_logits_are_finite_at_any_dtype(architecture: Architecture, dtype: Any) -> None:
    x = pictures(architecture).astype(dtype)
    logits = jax.jit(lambda v, x: Network(architecture).apply(v, x, False))(drawn(architecture), x)
    assert logits.shape == (4, 3)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()
    assert np.ptp(logits) > 0


def test_an_auxiliary_classifier_speaks_in_training_alone() -> None:
    architecture = InceptionV1(auxiliary=True, torchvision=True, width=0.1, classes=5)
    network, x = Network(architecture), jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    variables = shapes(architecture)
    read = {kind: variables[kind] for kind in ("params", "stats")}

    def apply(variables: Any, x: Any, train: bool) -> Any:
        return network.apply(variables, x, train, mutable=["stats", "auxiliary"], rngs={"dropout": jax.random.key(0)})

    _, trained = jax.eval_shape(lambda v, x: apply(v, x, True), read, x)
    assert [leaf.shape for leaf in jax.tree.leaves(trained["auxiliary"])] == [(2, 5), (2, 5)]
    _, evaluated = jax.eval_shape(lambda v, x: apply(v, x, False), read, x)
    assert "auxiliary" not in evaluated


def test_weights_of_another_network_are_refused_by_the_first_layer_that_differs() -> None:
    check_weights(SMALL, shapes(SMALL))
    wider = dataclasses.replace(SMALL, width=2.0)
    with pytest.raises(
        InputError, match=r"params/block1_col1_conv1/kernel is \(3, 3, 3, 8\), FractalNet needs \(3, 3, 3, 4\)"
    ):
        check_weights(SMALL, shapes(wider))
    missing = shapes(SMALL)
    del missing["params"]["predictions"]
    with pytest.raises(InputError, match="params/predictions/bias is missing"):
        check_weights(SMALL, missing)
    with pytest.raises(InputError, match="no such layer"):
        check_weights(dataclasses.replace(SMALL, columns=1), shapes(SMALL))
