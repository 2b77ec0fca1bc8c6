"""What training minimises is one loss in a study and in ImageNet-sized work: nothing of it is left out or put in."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsresearch import cost
from dsresearch.design import Recipe
from dsresearch.imagenet import program as imagenet
from dsresearch.imagenet.settings import Settings
from dsresearch.loss import AUXILIARY, cross_entropy, loss, orthonormality
from dsresearch.modules import draw
from dsresearch.networks.blocks import bsconv_s
from dsresearch.networks.build import Network
from dsresearch.networks.catalogue import POINTS
from dsresearch.networks.vocabulary import Architecture, Map, Words
from dsresearch.train import Program

LABELS = jnp.asarray([0, 1, 2, 0], jnp.int32)
KEY = jax.random.key(3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(Architecture):
    """A blueprint separable convolution and a classifier, with another one beside it where it is wanted."""

    classes: int = 3
    image: int = 8
    auxiliary: bool = False
    held: bool = False

    @property
    def orthonormal(self) -> tuple[str, ...]:
        return ("_pw1",) if self.held else ()

    def __call__(self, net: Words, x: Map) -> Map:
        x = net.norm("conv_bn", bsconv_s(net, "conv", x, 6), epsilon=1e-5, act="relu")
        if self.auxiliary:
            net.auxiliary(lambda y: net.dense("beside", net.mean(y), self.classes), x)
        return net.dense("predictions", net.mean(x), self.classes)


def drawn(toy: Toy) -> dict[str, Any]:
    params, stats = jax.jit(lambda key: draw(Network(toy), key, (toy.image, toy.image, 3)))(jax.random.key(0))
    return {"params": params, "stats": stats}


def images() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)), jnp.uint8)


def mean_loss(logits: jax.Array) -> jax.Array:
    return cross_entropy(logits, LABELS).mean()


def value(toy: Toy, variables: dict[str, Any]) -> float:
    scaled = images().astype(jnp.float32) / 255
    return float(jax.jit(lambda v: loss(Network(toy), v, scaled, KEY, mean_loss)[0])(variables))


def test_an_auxiliary_classifier_counts_by_its_weight_and_the_rest_is_the_logits_alone() -> None:
    toy = Toy(auxiliary=True)
    variables = drawn(toy)
    copied = {**variables["params"], "beside": variables["params"]["predictions"]}  # it says what the network says
    alone = {**variables, "params": {name: layer for name, layer in copied.items() if name != "beside"}}
    plain = value(Toy(), alone)
    assert value(toy, {**variables, "params": copied}) == pytest.approx((1 + AUXILIARY) * plain, rel=1e-5)
    held = float(orthonormality(alone["params"], ("_pw1",)))
    assert held > 0.01
    assert value(Toy(held=True), alone) == pytest.approx(plain + held, rel=1e-5)


def test_both_programs_train_what_stands_beside_the_network() -> None:
    toy = Toy(auxiliary=True)
    variables = drawn(toy)
    study = Program(Network(toy), Recipe(batch=4, epochs=2, decay=0.0), 16, "none")
    state = study.initial(variables["params"], variables["stats"])
    moved = jax.jit(study.step)(state, images(), LABELS, KEY)[0].params["beside"]["kernel"]
    assert not np.array_equal(moved, variables["params"]["beside"]["kernel"])
    sized = imagenet.Program("toy", toy, Settings(image=32, batch=4, decay=0.0), 16)
    begun = sized.initial()
    later = jax.jit(sized.step)(begun, images(), LABELS)[0]
    assert not np.array_equal(later.weights["params"]["beside"]["kernel"], begun.weights["params"]["beside"]["kernel"])


@pytest.mark.parametrize("name", POINTS)
def test_bsconv_s_alone_holds_kernels_orthonormal(name: str) -> None:
    endings = POINTS[name].orthonormal
    assert bool(endings) == name.startswith("bsconv_s_")
    if endings:
        held = [layer.name for layer in cost.layers(POINTS[name]) if layer.name.endswith(endings)]
        assert len(held) == {"mobilenet_v2": 17, "resnet18": 16}.get(name.removeprefix("bsconv_s_"), len(held)) > 0


def test_blueprint_regularisation_is_the_authors() -> None:
    torch = pytest.importorskip("torch")
    params = drawn(Toy())["params"]
    weights = torch.from_numpy(np.asarray(params["conv_pw1"]["kernel"])[0, 0].T.copy())  # [outputs, inputs] there
    expected = torch.norm(weights @ weights.T - torch.eye(len(weights)), p="fro").item()
    assert float(jax.jit(partial(orthonormality, endings=("_pw1",)))(params)) == pytest.approx(0.1 * expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_label_smoothing_is_pytorchs(smoothing: float) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; install the extra `peers`")
    draws = np.random.default_rng(1)
    logits, labels = draws.normal(size=(6, 5)).astype(np.float32), draws.integers(0, 5, 6).astype(np.int32)
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels).long(), reduction="none", label_smoothing=smoothing
    )
    ours = cross_entropy(jnp.asarray(logits), jnp.asarray(labels), smoothing)
    np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), rtol=1e-5)
