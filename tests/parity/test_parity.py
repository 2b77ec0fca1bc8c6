"""Networks of other implementations with the same random weights and statistics: logits, and gradients of the loss.

`make test-parity` installs those packages and writes what is found to docs/parity.json.

Theirs is computed in float64, from weights that float32 holds exactly. Our logits in float32 must be those to 1e-4, and
in float64 to 1e-9. The gradients of all weights and of the pictures are compared in float64, to 1e-9: in float32
rounding puts a few of a network's hundred thousands of activations on the other side of a kink of ReLU (ReLU6, maximum
pooling), and each moves a gradient by more than 1e-4, on either side.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` does it")
pytestmark = pytest.mark.slow

import draws  # noqa: E402
import torch  # noqa: E402
from draws import BATCH, CLASSES  # noqa: E402
from networks_of_others import CASES, Case  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from weights_of_others import Reference, randomise, variables  # noqa: E402

from dsresearch.networks import catalogue, efficientnet, inception_v3, mobilenet_v2, xception  # noqa: E402
from dsresearch.networks.build import Network, check_weights  # noqa: E402
from dsresearch.networks.catalogue import named  # noqa: E402
from dsresearch.networks.vocabulary import Architecture  # noqa: E402

SINGLE, DOUBLE = 1e-4, 1e-9  # relative; found are 1e-5 and 1e-12
FADED = (
    10 * SINGLE
)  # relative, between the two pictures: with less the limit would pass biases of the last layers alone
SOON_COMPILED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
Record = Callable[[str, dict[str, object], np.ndarray | None], None]
Arrays = dict[tuple[str, ...], np.ndarray]  # the gradients by leaf, those of the pictures under ("pictures",)
torch.set_num_threads(1)


class Float64Only(TorchDispatchMode):
    """Fails where the reference computes in less than float64 anywhere."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for value in found if isinstance(found, (tuple, list)) else [found]:
            narrow = isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype != torch.float64
            assert not narrow, f"{function} gives {value.dtype}"
        return found


def theirs(of: Reference, x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float, Arrays]:
    """Logits, what the loss divides them by (else it may be flat: they are large), and its gradients."""
    pictures = torch.from_numpy(x).requires_grad_()
    leaves = {(layer, leaf): value for (kind, layer, leaf), value in of.leaves.items() if kind == "params"}
    with Float64Only():
        logits = of.logits(pictures)
        spread = logits.std().item()
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, CLASSES) / spread, torch.from_numpy(labels))
        gradients = torch.autograd.grad(loss, [pictures, *(leaf.tensor for leaf in leaves.values())])
    found = {name: leaf.ours(g.numpy()) for (name, leaf), g in zip(leaves.items(), gradients[1:], strict=True)}
    return logits.detach().numpy(), spread, {("pictures",): gradients[0].numpy(), **found}


def our_logits(architecture: Architecture, weights: Any, x: np.ndarray) -> np.ndarray:
    """In float32."""
    narrow = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (weights, x))
    program = jax.jit(lambda weights, x: Network(architecture).apply(weights, x, False), compiler_options=SOON_COMPILED)
    return np.asarray(program(*narrow))


def ours(
    architecture: Architecture, weights: Any, x: np.ndarray, labels: np.ndarray, spread: float
) -> tuple[np.ndarray, Arrays]:
    """Logits, and the gradients of the loss, in float64."""

    def loss(params: Any, pictures: jax.Array, rest: Any, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = Network(architecture).apply({**rest, "params": params}, pictures, False)
        chances = jax.nn.log_softmax(logits / spread).reshape(-1, CLASSES)
        return -jnp.take_along_axis(chances, labels[:, None], 1).mean(), logits

    with jax.enable_x64(True):
        params, rest = jax.tree.map(jnp.asarray, (weights["params"], {"stats": weights.get("stats", {})}))
        gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True), compiler_options=SOON_COMPILED)
        (leaves, pictures), logits = gradient(params, jnp.asarray(x), rest, jnp.asarray(labels))
        found = {(layer, leaf): np.asarray(g) for layer, of in leaves.items() for leaf, g in of.items()}
        found["pictures",] = np.asarray(pictures)
    assert {value.dtype for value in (*found.values(), logits)} == {np.dtype("float64")}
    return np.asarray(logits), found


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """Euclidean, relative to what is wanted."""
    assert found.shape == wanted.shape
    assert np.linalg.norm(wanted) > 0
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of others' packages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def rounded(value: float) -> float:
    return float(f"{value:.1e}")


@pytest.mark.parametrize("name", CASES)
def test_logits_and_gradients_are_theirs(name: str, record: Record) -> None:
    case: Case = CASES[name]
    with quiet():
        pytest.importorskip(case.package, reason=f"{case.package} is not installed: `make test-parity` does it")
        architecture = named(name, classes=CLASSES, image=min(case.sides))
        other = case.build(architecture)
        randomise(other)
        x = draws.pictures(case.sides)
        labels = draws.labels(BATCH * (case.sides[0] * case.sides[1] if case.dense else 1))
        wanted, spread, their_gradients = theirs(other, x, labels)
    assert distance(wanted[:1], wanted[1:]) > FADED, "the pictures hardly reach the logits"
    weights = variables(other)
    check_weights(architecture, weights)
    single = distance(our_logits(architecture, weights, x), wanted)
    logits, our_gradients = ours(architecture, weights, x, labels, spread)
    assert our_gradients.keys() == their_gradients.keys()
    gradients = {name: distance(our_gradients[name], each) for name, each in their_gradients.items()}
    worst = max(gradients, key=gradients.__getitem__)
    double = distance(logits, wanted)
    passed = single < SINGLE and max(double, gradients[worst]) < DOUBLE
    found = {
        "against": case.against(),
        "picture": list(case.sides),
        "logits": rounded(single),
        "logits_dtype": "float32",
        "logits_in_float64": rounded(double),
        "gradients": rounded(gradients[worst]),
        "gradients_dtype": "float64",
        "gradients_of": len(gradients),
        "passed": passed,
    }
    print(f"{name}: {found}")
    jax.clear_caches()  # of a hundred networks they fill the memory
    record(name, found, None if case.dense else wanted)
    assert passed, (found, worst)


def test_every_family_is_among_them_and_of_the_main_ones_every_point() -> None:
    for family in catalogue.FAMILIES:
        compared = set(family.POINTS) & set(CASES)
        assert compared, family.__name__
        if family in (xception, inception_v3, mobilenet_v2, efficientnet):  # auxiliary classifiers: in training alone
            assert compared == {name for name in family.POINTS if not name.endswith("_aux")}
