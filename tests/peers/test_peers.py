"""The peers do our work: from our weights their losses are ours, step after step, for every setup.

Ours is what is measured: `run_epoch` as a whole. With one step an epoch over one batch its row holds that step's loss,
and the order of the pictures does not matter.
"""

import dataclasses
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dsresearch.bench import layers
from dsresearch.bench.cases import GROUPS, Case, Network, case, every_setup
from dsresearch.bench.flax_peer import FlaxPeer
from dsresearch.bench.ours import program_of
from dsresearch.bench.pictures import SCORED, pictures_of
from dsresearch.bench.torch_peer import TorchPeer
from dsresearch.design import SETUPS, Recipe
from dsresearch.train import EVALUATION_BATCH, Pictures, Program, Trial, crop_flip

STEPS = 4
SMALL = Network(width=8, depth=1, image=8, batch=16, steps=1)


class Fast(Case):
    """A case whose schedule reaches its peak within the steps that are compared."""

    @property
    def recipe(self) -> Recipe:
        return dataclasses.replace(super().recipe, epochs=10)


CASES = [Fast(**dataclasses.asdict(of)) for of in every_setup(SMALL)]
torch.set_num_threads(1)


def plain(of: Case) -> Program:
    """Our program of a case without augmentation."""
    return dataclasses.replace(program_of(of), augmentation="none")


def start(of: Case) -> tuple[Program, Any, Any]:
    program = plain(of)
    params, stats = program.run_draw(jax.random.key(1), (of.image, of.image, of.channels))
    return program, params, stats


@lru_cache
def ours(of: Case) -> tuple[tuple[float, ...], layers.Weights]:
    """Our losses on the case's batch, and the weights that they begin from."""
    program, params, stats = start(of)
    weights = layers.weights(of.design, of.image, params)
    images, labels = pictures_of(of)
    everything = jnp.arange(len(labels), dtype=jnp.int32)
    trial = Trial(everything, everything[:1], jax.random.key(2), jax.random.key(3))
    pictures = Pictures(jnp.asarray(images), jnp.asarray(labels))
    state = program.initial(params, stats)
    rows = [row for _, _, row in program.fold(state, trial, pictures, range(STEPS))]
    return tuple(float(row.train_loss) for row in rows), weights


def assert_close(found: list[float], of: Case) -> None:
    wanted, _ = ours(of)
    assert np.ptp(wanted) > 0.02  # the weights did move
    np.testing.assert_allclose(found, wanted, rtol=2e-4)


def label(of: Case) -> str:
    return f"{of.setup}-{of.groups}"


@pytest.mark.parametrize("of", CASES, ids=label)
def test_pytorch_gives_our_losses(of: Case) -> None:
    peer = TorchPeer(of)
    peer.network.load(ours(of)[1])
    assert_close(peer.losses(*pictures_of(of), STEPS), of)


@pytest.mark.parametrize("of", CASES, ids=label)
def test_plain_flax_gives_our_losses(of: Case) -> None:
    peer = FlaxPeer(of)
    peer.load(ours(of)[1])
    images, labels = map(jnp.asarray, pictures_of(of))
    assert_close(peer.losses(images, labels, STEPS), of)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, on the way to its compiler
def test_compiled_pytorch_gives_our_losses() -> None:
    (of,) = [of for of in CASES if of.setup == "inception_reformulated"]
    peer = TorchPeer(of, "torch_compile")
    peer.network.load(ours(of)[1])
    assert_close(peer.losses(*pictures_of(of), STEPS), of)


def test_every_setup_and_group_count_is_among_the_cases() -> None:
    assert {of.setup for of in CASES} == set(SETUPS)
    assert [of.groups for of in CASES if of.setup == "grouped"] == list(GROUPS)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bfloat16_reaches_the_activations_of_every_side_and_not_the_weights(dtype: str) -> None:
    of = case(SMALL, "resnext", dtype=dtype)
    peer, seen = TorchPeer(of), list[torch.dtype]()
    peer.network.bodies[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    (loss,) = peer.losses(*pictures_of(of), 1)
    assert seen == [getattr(torch, dtype)]
    assert {p.dtype for p in peer.network.parameters()} == {torch.float32}
    with jax.numpy_dtype_promotion("standard"):  # Flax's own layers mix types
        flax = FlaxPeer(of)
    assert {leaf.dtype for leaf in jax.tree.leaves(flax.state[0])} == {jnp.dtype("float32")}
    assert np.isfinite(loss)


def test_pytorch_augments_as_we_do() -> None:
    of = case(dataclasses.replace(SMALL, batch=4), "regular")
    images, _ = pictures_of(of)
    peer = TorchPeer(of)
    found = np.asarray(crop_flip(jax.random.key(5), jnp.asarray(images)))
    grid = torch.cartesian_prod(torch.arange(9), torch.arange(9))
    for n in range(len(images)):
        one = torch.full((len(grid),), n)
        variants = [peer.augmented(one, grid, torch.full((len(grid),), flip)).numpy() for flip in (False, True)]
        assert any((found[n] == variant).all() for variant in np.concatenate(variants)), n
    unmoved = peer.augmented(torch.arange(4), torch.full((4, 2), 4), torch.zeros(4, dtype=torch.bool))
    assert (unmoved.numpy() == images).all()


def test_pytorch_follows_our_schedule() -> None:
    of = case(SMALL, "regular")
    peer, program = TorchPeer(of), program_of(of)
    steps = of.steps * of.recipe.epochs
    for done in (0, 1, steps // 10, steps // 5, steps // 2, steps - 1):
        assert peer.rate(done) == pytest.approx(float(program.schedule(jnp.asarray(done))), abs=1e-7)


def test_the_peers_evaluate_in_batches_of_our_size() -> None:
    assert SCORED == EVALUATION_BATCH
