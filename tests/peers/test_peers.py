"""The peers in PyTorch do our work: from our weights their losses are ours, step after step, for every setup."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from peer_losses import CASES, SMALL, STEPS, assert_close, label, ours

from dsresearch.bench.cases import Case, case
from dsresearch.bench.ours import program_of
from dsresearch.bench.pictures import pictures_of
from dsresearch.bench.torch_peer import TorchPeer
from dsresearch.train import crop_flip

torch.set_num_threads(1)


@pytest.mark.parametrize("of", CASES, ids=label)
def test_pytorch_gives_our_losses(of: Case) -> None:
    peer = TorchPeer(of)
    peer.network.load(ours(of)[1])
    assert_close(peer.losses(*pictures_of(of), STEPS), of)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, on the way to its compiler
def test_compiled_pytorch_gives_our_losses() -> None:
    (of,) = [of for of in CASES if of.setup == "inception_reformulated"]
    peer = TorchPeer(of, "torch_compile")
    peer.network.load(ours(of)[1])
    assert_close(peer.losses(*pictures_of(of), STEPS), of)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_dtype_is_that_of_pytorchs_activations_and_not_of_its_weights(dtype: str) -> None:
    of = case(SMALL, "resnext", dtype=dtype)
    peer, seen = TorchPeer(of), list[torch.dtype]()
    peer.network.bodies[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    (loss,) = peer.losses(*pictures_of(of), 1)
    assert seen == [getattr(torch, dtype)]
    assert {p.dtype for p in peer.network.parameters()} == {torch.float32}
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
