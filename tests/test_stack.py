"""The study's network in blocks of a batch is the network in one piece."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsresearch.design import Design
from dsresearch.modules import draw
from dsresearch.networks.stack import Stack
from dsresearch.operators import blocks

DESIGNS = [
    Design(formulation="separable", width=4, depth=1),
    Design(formulation="hybrid", width=4, depth=1, residual=True),
    Design(formulation="grouped", width=8, depth=1, groups=4),
    Design(formulation="separable", width=4, depth=1, activation="relu", normalise=True),  # a BatchNorm inside
]


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: f"{design.formulation}-{design.normalise}")
def test_a_step_in_blocks_is_the_step(design: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss, running statistics and every gradient, in float64, on the CPU's path through blocks of one picture each.

    The studies' digits fit into one block, so nothing else here trains a network in several.
    """
    images = np.random.default_rng(0).standard_normal((4, 8, 8, 3))
    params, stats = draw(Stack(design, 5), jax.random.key(0), (8, 8, 3))

    def step(params: Any, stats: Any, x: jax.Array) -> Any:
        def loss(params: Any) -> Any:
            logits, updated = Stack(design, 5).apply({"params": params, "stats": stats}, x, True, mutable=["stats"])
            return (jnp.asarray(logits) ** 2).mean(), updated

        return jax.value_and_grad(loss, has_aux=True)(params)

    def run(block_bytes: int) -> tuple[Any, str]:
        monkeypatch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        jax.clear_caches()
        with jax.enable_x64(True):
            given = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (params, stats, images))
            traced = jax.jit(step).trace(*given)
            return jax.tree.map(np.asarray, traced.lower().compile()(*given)), str(traced.jaxpr)

    (whole, in_one), (blockwise, in_blocks) = run(1 << 30), run(1)
    assert "scan[" not in in_one
    # there and back: the stem and three modules, or with a BatchNorm inside their depthwise convolutions
    assert in_blocks.count("scan[") == 2 * 4
    for found, wanted in zip(jax.tree.leaves(blockwise), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11)
