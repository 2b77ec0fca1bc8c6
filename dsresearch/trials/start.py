"""Where a trial starts: its seeds, its pictures' size, its weights.

One trial is one split, one data order and one augmentation stream, shared by all setups (common random numbers).
Initial weights are drawn for each design apart, so that two formulations of one function start apart; the controls take
the baseline's, but for `seed`, which draws weights and order anew, as `split` does the split alone.
"""

import dataclasses
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsresearch.design import Design, digest, identity, seed_of
from dsresearch.networks.stack import Stack
from dsresearch.studies import Cell, Varied
from dsresearch.train import Program
from dsresearch.transport import transport_network

Tree = Any


class Seeds(NamedTuple):
    """The four sources of chance of a trial, each its own seed of 32 bits."""

    split: int
    init: int
    order: int
    augment: int


def seeds_of(cell: Cell, trial: int) -> Seeds:
    """A trial's seeds, by protocol seed, trial and purpose; the `seed` and `split` controls draw theirs anew."""
    anew = {"seed": ("init", "order"), "split": ("split",)}.get(cell.control, ())

    def seed(purpose: str) -> int:
        return seed_of(cell.protocol.seed, trial, f"{purpose}/{cell.control}" if purpose in anew else purpose)

    return Seeds(*(seed(purpose) for purpose in Seeds._fields))


def initial_weights(cell: Cell, program: Program, seeds: Seeds, image: tuple[int, int, int]) -> tuple[Tree, Tree]:
    """Weights and statistics that a trial of this cell starts from, as its kind of control says."""
    if cell.control != "exact":
        params, stats = program.run_draw(_weights_key(seeds, cell.design), image)
        return (_one_ulp_away(params) if cell.control == "bit" else params), stats
    assert isinstance(cell.design, Design)  # published networks have no strict reformulation, and no such control
    baseline = dataclasses.replace(cell.design, formulation="separable")
    drawn = dataclasses.replace(program, network=Stack(baseline, program.network.classes))  # type: ignore[attr-defined]
    params, stats = drawn.run_draw(_weights_key(seeds, baseline), image)
    return transport_network(params, stats, baseline, cell.design)


def _weights_key(seeds: Seeds, design: Varied) -> jax.Array:
    """The trial's init key folded with the design: identical functions start apart, identical designs together.

    Networks that differ in their evaluation alone start, and are trained, as one.
    """
    trained = design if isinstance(design, Design) else design.trained
    return jax.random.fold_in(jax.random.key(seeds.init), zlib.crc32(digest(identity(trained)).encode()))


def _one_ulp_away(params: Tree) -> Tree:
    """The weights with the first of the first kernel moved to the next larger number; the stack's is its stem."""
    leaves, structure = jax.tree.flatten(params)
    place = next(i for i, leaf in enumerate(leaves) if leaf.ndim == 4) if "stem" not in params else None
    kernel = np.array(params["stem"] if place is None else leaves[place])
    kernel[0, 0, 0, 0] = np.nextafter(kernel[0, 0, 0, 0], np.float32(np.inf))
    if place is None:
        return {**params, "stem": jnp.asarray(kernel)}
    leaves[place] = jnp.asarray(kernel)
    return jax.tree.unflatten(structure, leaves)


def enlarged(images: np.ndarray, side: int) -> np.ndarray:
    """Square pictures uint8 [n, s, s, C] with every pixel repeated, so that they have `side` pixels a side."""
    times = side // images.shape[1]
    return images if times == 1 else images.repeat(times, 1).repeat(times, 2)
