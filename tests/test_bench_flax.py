"""The peer in plain Flax does our work: from our weights its losses are ours (tests/peers has PyTorch's)."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest
from peer_losses import CASES, SMALL, STEPS, assert_close, label, ours

from dsresearch.bench.cases import GROUPS, Case, case
from dsresearch.bench.flax_peer import FlaxPeer, Plain
from dsresearch.bench.pictures import SCORED, pictures_of
from dsresearch.design import SETUPS
from dsresearch.train import EVALUATION_BATCH

QUICK = ("inception-0", "inception_simplified-0")  # towers and a mean over windows; paths of several channels


@pytest.fixture
def soon_compiled() -> Iterator[None]:
    """Compiling takes most of the time here, and what is compared is not how fast it runs."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.usefixtures("soon_compiled")
@pytest.mark.parametrize(
    "of", [pytest.param(of, id=label(of), marks=[] if label(of) in QUICK else pytest.mark.slow) for of in CASES]
)
def test_plain_flax_gives_our_losses(of: Case) -> None:
    peer = FlaxPeer(of)
    peer.load(ours(of)[1])
    images, labels = map(jnp.asarray, pictures_of(of))
    assert_close(peer.losses(images, labels, STEPS), of)


def test_every_setup_and_group_count_is_among_the_cases() -> None:
    assert {of.setup for of in CASES} == set(SETUPS)
    assert [of.groups for of in CASES if of.setup == "grouped"] == list(GROUPS)
    assert set(QUICK) <= set(map(label, CASES))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_dtype_is_that_of_plain_flaxs_activations_and_not_of_its_weights(dtype: str) -> None:
    network = Plain(case(SMALL, "resnext", dtype=dtype))
    pictures = jax.ShapeDtypeStruct((2, SMALL.image, SMALL.image, SMALL.channels), dtype)

    def drawn(pictures: jax.Array) -> object:
        return network.init(jax.random.key(0), pictures, True, capture_intermediates=True)

    with jax.numpy_dtype_promotion("standard"):  # Flax's own layers mix types
        found = jax.eval_shape(drawn, pictures)
    assert {leaf.dtype for leaf in jax.tree.leaves(found["params"])} == {jnp.dtype("float32")}
    seen = {name: said["__call__"][0].dtype for name, said in found["intermediates"].items() if name != "__call__"}
    assert seen.pop("head") == jnp.dtype("float32")
    assert set(seen.values()) == {jnp.dtype(dtype)}


def test_the_peers_evaluate_in_batches_of_our_size() -> None:
    assert SCORED == EVALUATION_BATCH
