"""Weights from one formulation to another: one module, and the network over sixty steps."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dsresearch import fused_form, transport
from dsresearch.design import SETUPS, Design, setup
from dsresearch.exactness import witness
from dsresearch.exactness.measure import Case, difference, random_weights
from dsresearch.modules import SeparableModule
from dsresearch.networks.stack import Stack

Floats = np.ndarray[Any, np.dtype[Any]]
S: dict[str, Any] = {"activation": "relu", "normalise": True}
PLAIN: dict[str, Any] = {"activation": "none", "normalise": False}
SMALL: dict[str, Any] = {"width": 8, "depth": 1}


def small(name: str, **changes: Any) -> Design:
    return setup(name, **{**SMALL, **changes})


def everywhere(name: str, **changes: Any) -> Design:
    """As many groups as channels in every stage."""
    return small(name, groups=32, **changes)


# What the family of each formulation should be, with what may stand between its operations.
SPATIAL_FIRST = [small("separable"), small("separable_strict"), small("hybrid"), everywhere("grouped")]
SPATIAL_FIRST_S = [dataclasses.replace(design, **S) for design in SPATIAL_FIRST]
POINTWISE_FIRST = [
    small("bsconv_u"),
    small("inception_extreme", **PLAIN),
    everywhere("grouped", order="pointwise_first"),
    everywhere("inception_simplified", **PLAIN),
    everywhere("inception_reformulated", **PLAIN),
]
TOWERS_S = [
    small("inception_simplified"),
    small("inception_reformulated"),
    small("grouped", order="pointwise_first", **S),
]
EXTREME_S = [small("inception_extreme"), small("bsconv_u", **S)]
RESIDUAL = [small("hybrid_residual"), small("separable", residual=True)]
FAMILIES = [SPATIAL_FIRST, SPATIAL_FIRST_S, POINTWISE_FIRST, TOWERS_S, EXTREME_S, RESIDUAL]
EXACT = [pair for members in FAMILIES for pair in itertools.permutations(members, 2)]

# Different parameters, one set of functions: the nearest factors are the kernel itself.
REPARAM = [
    (small("regular"), small("separable", multiplier=9)),
    (small("regular"), small("separable", multiplier=11)),
    (small("regular"), small("grouped", groups=1, order="pointwise_first")),  # no output channel fewer than inputs
    (small("regular"), small("inception_reformulated", groups=1, **PLAIN)),
    (small("regular"), small("regular", residual=True)),
    (small("separable", kernel=1), small("regular", kernel=1)),
    (small("separable"), small("separable", multiplier=1)),
]


def name_of(value: Any) -> str | None:
    return transport.describe(value).replace("'", "") if isinstance(value, Design) else None


def trees_equal(one: Any, two: Any) -> bool:
    return jax.tree.structure(one) == jax.tree.structure(two) and all(
        np.array_equal(a, b) and a.dtype == b.dtype
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    )


# --- one module ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "target"), EXACT, ids=name_of)
def test_an_index_map_there_and_back_changes_no_number(source: Design, target: Design) -> None:
    rng = np.random.default_rng(0)
    for c_in, c_out in ((8, 8), (8, 16)):
        params, stats = random_weights(source, c_in, c_out, rng)
        there = transport.transport(params, stats, source, target, c_in, c_out)
        shapes = random_weights(target, c_in, c_out, rng)
        assert jax.tree.map(np.shape, there) == jax.tree.map(np.shape, shapes)
        assert sorted(np.concatenate([np.ravel(a) for a in jax.tree.leaves(there)])) == sorted(
            np.concatenate([np.ravel(a) for a in jax.tree.leaves((params, stats))])
        )
        back = transport.transport(*there, target, source, c_in, c_out)
        assert trees_equal(back, (dict(params), dict(stats)))


@pytest.mark.parametrize(
    ("source", "target"), [pair for pair in EXACT if pair[0].formulation < pair[1].formulation], ids=name_of
)
def test_an_index_map_carries_the_function_and_its_gradients(source: Design, target: Design) -> None:
    case = Case(8, 16, (5, 6), 2) if source.normalise else Case(8, 8, (4, 5), 1)
    found = difference(source, target, case, np.random.default_rng(0))
    assert found.output <= 1e-12
    assert found.gradient is not None
    assert found.gradient <= 1e-12


@pytest.mark.parametrize("name", SETUPS)
def test_to_itself_nothing_moves(name: str) -> None:
    params, stats = random_weights(small(name), 8, 16, np.random.default_rng(0))
    found = transport.transport(params, stats, small(name), small(name), 8, 16)
    assert trees_equal(found, (dict(params), dict(stats)))


def test_the_fused_form_of_resnext_is_its_published_form_c() -> None:
    """Xie et al. 2017, Fig. 3: 1x1 to all paths, one grouped convolution, 1x1."""
    design = small("resnext", residual=False, **PLAIN)
    params, _ = random_weights(design, 8, 16, np.random.default_rng(0))
    fused = {
        part.fused: fused_form.fuse(np.asarray(params[part.name]), part.layout) for part in fused_form.parts(design)
    }
    assert [fused[name].shape for name in ("before", "spatial", "after")] == [(8, 8), (3, 3, 2, 8), (8, 16)]
    for path in range(
        4
    ):  # A_c[c, i d + j] = A_i[c, j]; S_c[h, w, j', i d + j] = S_i[h, w, j', j]; E_c[i d + j, n] = ...
        own = slice(2 * path, 2 * path + 2)
        assert np.array_equal(fused["before"][:, own], params["reduce"][path])
        assert np.array_equal(fused["spatial"][..., own], params["transform"][path])
        assert np.array_equal(fused["after"][own], params["expand"][path])


@pytest.mark.parametrize(("one", "two"), REPARAM, ids=name_of)
@pytest.mark.parametrize("shape", [(8, 8), (8, 16)])
def test_a_linear_map_carries_the_function_both_ways(one: Design, two: Design, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for source, target in ((one, two), (two, one)):
        params, stats = random_weights(source, *shape, rng)
        mapped, none = transport.transport(params, stats, source, target, *shape)
        assert none == {}
        kernels = [
            transport.framed(transport.dense_kernel(*given, *shape), 3)
            for given in ((params, source), (mapped, target))
        ]
        assert np.abs(kernels[0] - kernels[1]).max() <= 1e-12 * np.abs(kernels[0]).max()


def test_float32_weights_stay_float32() -> None:
    rng = np.random.default_rng(0)
    narrow = jax.tree.map(np.float32, random_weights(small("regular"), 8, 8, rng)[0])
    for target in (small("separable", multiplier=9), small("regular", residual=True)):
        mapped, _ = transport.transport(narrow, {}, small("regular"), target, 8, 8)
        assert {leaf.dtype for leaf in jax.tree.leaves(mapped)} == {np.dtype(np.float32)}


LINEAR = [
    *(small(name) for name, point in SETUPS.items() if point.get("activation", "none") == "none"),
    small("grouped", order="pointwise_first"),
    small("resnext", **PLAIN),
    small("resnext", **PLAIN, residual=False),
    small("separable", multiplier=3, kernel=5),
]


@pytest.mark.parametrize("design", LINEAR, ids=name_of)
@pytest.mark.parametrize("shape", [(8, 8), (8, 16)])
def test_the_dense_kernel_is_the_module(design: Design, shape: tuple[int, int]) -> None:
    """By formula from the weights, and by measurement from the module's answers to impulses."""
    seed = 0
    answers = witness.measure(design, *shape, 5, seed)
    weights, _ = random_weights(design, *shape, np.random.default_rng(seed + 1))
    measured = (answers.impulses[1:] - answers.impulses[:1])[:, ::-1, ::-1].transpose(1, 2, 0, 3)
    dense = transport.framed(transport.dense_kernel(weights, design, *shape), 5)
    assert np.abs(measured - dense).max() <= 1e-12 * np.abs(dense).max()


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        (small("separable"), small("inception"), "no map from 'separable' .* to 'inception'"),
        (small("separable"), small("separable", **S), r"no map from 'separable' .* to 'separable' \(activation=relu"),
        (small("bsconv_u"), small("separable"), "from 'bsconv_u' .* to 'separable' .*: the best fit misses by [1-9]"),
        (small("separable"), small("hybrid_residual"), "to 'hybrid' .*residual=True.*: the best fit misses"),
        (small("regular"), small("hybrid_learned"), "no map from 'regular' .* to 'hybrid_learned'"),
        (small("regular", kernel=5), small("regular"), "the best fit misses"),
        (small("inception_simplified"), small("inception_simplified", groups=2), "groups=4.*to.*groups=2"),
    ],
)
def test_a_missing_map_names_both(source: Design, target: Design, why: str) -> None:
    params, stats = random_weights(source, 8, 8, np.random.default_rng(0))
    with pytest.raises(ValueError, match=why):
        transport.transport(params, stats, source, target, 8, 8)


def test_the_identity_connection_depends_on_shape_and_stride() -> None:
    plain, residual = small("regular"), small("regular", residual=True)
    params, _ = random_weights(plain, 8, 8, np.random.default_rng(0))
    moved = transport.transport(params, {}, plain, residual, 8, 8)[0]["kernel"] - params["kernel"]
    assert np.abs(moved[1, 1] + np.eye(8)).max() < 1e-15
    assert trees_equal(transport.transport(params, {}, plain, residual, 8, 8, stride=2)[0], params)


@pytest.mark.parametrize("size", [6, 7])
def test_a_window_that_a_stride_moves_on_some_pictures_alone_is_refused(size: int) -> None:
    """SAME pads an even side by (0, 1) for 3 pixels and not at all for 1, so that their centres part."""
    small_window, window, wide = (small("regular", kernel=kernel) for kernel in (1, 3, 5))
    params, _ = random_weights(window, 8, 8, np.random.default_rng(0))
    mapped, _ = transport.transport(params, {}, window, wide, 8, 8, stride=2)
    x = np.random.default_rng(1).standard_normal((1, size, size, 8)).astype(np.float32)
    ones = [
        SeparableModule(design, 8, 2).apply({"params": {"body": weights}}, x, False)
        for design, weights in ((window, params), (wide, mapped))
    ]
    assert np.abs(np.asarray(ones[0]) - np.asarray(ones[1])).max() < 1e-5
    one_pixel, _ = random_weights(small_window, 8, 8, np.random.default_rng(0))
    transport.transport(one_pixel, {}, small_window, window, 8, 8)
    with pytest.raises(ValueError, match="whether the two windows have one centre depends on the picture's size"):
        transport.transport(one_pixel, {}, small_window, window, 8, 8, stride=2)


# --- the network, sixty steps ---------------------------------------------------------------------------------------


CLASSES, STEPS, BATCH = 4, 60, 8


@functools.cache
def training(design: Design) -> Callable[[Any, Any, Any, Any], Any]:
    """Sixty steps of SGD with momentum and weight decay, compiled in float64."""
    network = Stack(design, CLASSES)
    optimiser = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.05, momentum=0.9))

    def run(params: Any, stats: Any, images: jax.Array, labels: jax.Array) -> Any:
        def step(state: Any, batch: Any) -> Any:
            params, stats, moments = state

            def loss(params: Any) -> Any:
                variables = {"params": params, "stats": stats}
                logits, updated = network.apply(variables, batch[0], True, mutable=["stats"])
                chosen = jax.nn.log_softmax(logits) * jax.nn.one_hot(batch[1], CLASSES, dtype=logits.dtype)
                return -chosen.sum() / BATCH, updated["stats"]

            (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params)
            updates, moments = optimiser.update(gradient, moments, params)
            return (optax.apply_updates(params, updates), stats, moments), value

        (params, stats, _), losses = jax.lax.scan(step, (params, stats, optimiser.init(params)), (images, labels))
        return params, stats, losses

    def call(*arguments: Any) -> Any:
        with jax.enable_x64(True):
            program = jax.jit(run).lower(*arguments).compile({"xla_backend_optimization_level": 0})
            return jax.tree.map(np.asarray, program(*arguments))

    return call


@functools.cache
def batches() -> tuple[Floats, Floats]:
    """Pictures of four classes, each a pattern under noise, and their labels."""
    rng = np.random.default_rng(0)
    patterns, labels = rng.standard_normal((CLASSES, 8, 8, 1)), rng.integers(0, CLASSES, (STEPS, BATCH))
    return patterns[labels] + 0.3 * rng.standard_normal((STEPS, BATCH, 8, 8, 1)), labels


@functools.cache
def network_weights(design: Design) -> tuple[Any, Any]:
    """He-like weights, BatchNorm as it starts."""
    shapes = jax.eval_shape(lambda: Stack(design, CLASSES).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), True))
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: (
            rng.standard_normal(leaf.shape) * (2 / np.prod(leaf.shape[:-1])) ** 0.5
            if len(leaf.shape) > 1
            else np.ones(leaf.shape)
        ),
        shapes["params"],
    )
    return params, jax.tree.map(lambda leaf: np.ones(leaf.shape), shapes["stats"])


TINY: dict[str, Any] = {"width": 4, "depth": 1}
TWINS = [
    (setup("separable", **TINY), setup("separable_strict", **TINY)),
    (setup("separable", **TINY), setup("hybrid", **TINY)),
    (setup("inception_simplified", **TINY, groups=2), setup("inception_reformulated", **TINY, groups=2)),
]


def apart_after_training(source: Design, target: Design, spoil: Callable[[Any], Any] = lambda params: params) -> float:
    """Train both from the source's weights and bring the source's result over: the largest relative difference."""
    params, stats = network_weights(source)
    mapped, mapped_stats = transport.transport_network(params, stats, source, target)
    one, two = training(source), training(target)
    ended, ended_stats, losses = one(params, stats, *batches())
    found = two(spoil(mapped), mapped_stats, *batches())
    assert losses[0] > 1.5 * losses[-5:].mean()  # it did learn, and far from where it began
    expected = (*transport.transport_network(ended, ended_stats, source, target), losses)
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


@pytest.mark.parametrize(("source", "target"), TWINS, ids=name_of)
def test_sixty_steps_from_transported_weights_stay_together(source: Design, target: Design) -> None:
    assert apart_after_training(source, target) <= 1e-10


def test_sixty_steps_from_a_poisoned_map_do_not() -> None:
    """Two channels of one path exchanged, in one module of three."""

    def exchanged(params: Any) -> Any:
        expand = params["stage1_block0"]["body"]["expand"][[1, 0, 2, 3]]
        body = {**params["stage1_block0"]["body"], "expand": expand}
        return {**params, "stage1_block0": {"body": body}}

    assert apart_after_training(*TWINS[1], exchanged) > 1e-3


def test_a_networks_weights_come_back_and_keep_their_place() -> None:
    source, target = setup("inception_simplified", depth=2, width=8), setup("inception_reformulated", depth=2, width=8)
    params, stats = network_weights(source)
    there = transport.transport_network(params, stats, source, target)
    assert jax.tree.map(np.shape, there) == jax.tree.map(np.shape, network_weights(target))
    assert trees_equal(transport.transport_network(*there, target, source), (params, stats))
    assert trees_equal(there[0]["stem"], params["stem"]), "what is no module's is taken as it is"
    with pytest.raises(ValueError, match="width or depth differs"):
        transport.transport_network(params, stats, source, dataclasses.replace(target, depth=1))
    with pytest.raises(ValueError, match="no map from 'inception_simplified'"):
        transport.transport_network(params, stats, source, setup("inception", depth=2, width=8))
