"""Every design lowers for NVIDIA GPUs and TPUs on this machine: no callback to the host, nothing that only a CPU has.

What is lowered is the study's own epoch, so the operators, their gradients, the augmentation and the optimiser too.
"""

import itertools
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest
from jax import export

from dsresearch.design import FORMULATIONS, GROUPED, Design, Recipe
from dsresearch.networks.stack import Stack
from dsresearch.operators import normalise
from dsresearch.train import Pictures, Program, Trial

# What JAX names a platform when it lowers, and when it runs there.
BACKENDS = {"cuda": "gpu", "tpu": "tpu"}
# Calls into a library that these platforms have: JAX's random bits as a CUDA kernel, and marks for the compiler.
ALLOWED = {"cuda": {"cu_threefry2x32", "cu_threefry2x32_ffi", "Sharding"}, "tpu": {"Sharding"}}
IMAGE, BATCH, CLASSES = 8, 4, 10

Point = tuple[Design, str, int]  # a design, a dtype, trials in a program


def points() -> list[Point]:
    """Every formulation, several group counts, both kernel sizes, dtypes, and numbers of trials in a program."""
    designs = []
    for name, kernel in itertools.product(FORMULATIONS, (3, 5)):
        for groups in (1, 2, 4, 8) if name in GROUPED else (0,):
            designs.append(Design(formulation=name, width=16, depth=1, kernel=kernel, groups=groups))
    return list(itertools.product(designs, ("float32", "bfloat16"), (1, 2)))


def few() -> list[Point]:
    """Some of the points in which each formulation stands, and each of the other values several times."""
    options = itertools.cycle([(3, "bfloat16", 2), (5, "float32", 1), (3, "float32", 2), (5, "bfloat16", 1)])
    out = []
    for name, (kernel, dtype, trials), groups in zip(FORMULATIONS, options, itertools.cycle((1, 2, 4)), strict=False):
        more = {"groups": groups} if name in GROUPED else {}
        out.append((Design(formulation=name, width=16, depth=1, kernel=kernel, **more), dtype, trials))
    return out


def label(point: Point) -> str:
    design, dtype, trials = point
    return f"{design.formulation}-G{design.groups}-k{design.kernel}-{dtype}-T{trials}"


def lowered(point: Point, platform: str) -> export.Exported:
    """The epoch of a design, lowered for a platform from shapes alone."""
    design, dtype, trials = point
    recipe = Recipe(epochs=2, batch=BATCH, dtype=dtype)
    program = Program(Stack(design, CLASSES), recipe, 2 * BATCH, "crop_flip", trials)
    key = jax.random.key(0)

    def start() -> tuple[object, Trial]:
        state = program.initial(*program.run_draw(key, (IMAGE, IMAGE, 3)))
        indices = jnp.arange(2 * BATCH, dtype=jnp.int32)
        one = state, Trial(indices, indices[:1], key, key)
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * trials), one) if trials > 1 else one

    state, trial = jax.eval_shape(start)
    shape = (2 * BATCH, IMAGE, IMAGE, 3)
    pictures = Pictures(jax.ShapeDtypeStruct(shape, jnp.uint8), jax.ShapeDtypeStruct(shape[:1], jnp.int32))
    epoch = jax.ShapeDtypeStruct((), jnp.int32)
    # Our own check follows; the library's knows fewer calls as safe.
    unchecked = [export.DisabledSafetyCheck.custom_call(name) for name in ALLOWED[platform]]
    run = export.export(program.run_epoch, platforms=[platform], disabled_checks=unchecked)  # type: ignore[arg-type]
    return run(state, epoch, trial, pictures)


def calls(text: str) -> set[str]:
    """The targets of the custom calls in a module's text."""
    return set(re.findall(r"custom_call @([\w.$]+)", text)) | set(re.findall(r'call_target_name = "([^"]+)"', text))


def check(point: Point, platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: BACKENDS[platform])
    exported = lowered(point, platform)
    assert exported.platforms == (platform,)
    text = exported.mlir_module()
    assert calls(text) <= ALLOWED[platform]
    assert "callback" not in text
    assert "stablehlo.while" in text  # the epoch is one loop


@pytest.mark.parametrize("platform", BACKENDS)
@pytest.mark.parametrize("point", few(), ids=label)
def test_every_formulation_lowers(point: Point, platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(point, platform, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("platform", BACKENDS)
@pytest.mark.parametrize("point", points(), ids=label)
def test_every_design_lowers(point: Point, platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(point, platform, monkeypatch)


def test_every_formulation_is_among_the_few() -> None:
    assert {design.formulation for design, _, _ in few()} == set(FORMULATIONS)
    assert {(design.kernel, dtype, trials) for design, dtype, trials in few()} > {(3, "bfloat16", 2), (5, "float32", 1)}


def callback(x: jax.Array) -> jax.Array:
    return jax.pure_callback(lambda value: value, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def native(x: jax.Array) -> jax.Array:
    return jax.ffi.ffi_call("a_target_of_this_cpu", jax.ShapeDtypeStruct(x.shape, x.dtype))(x)


@pytest.mark.parametrize("platform", BACKENDS)
@pytest.mark.parametrize("wrong", [callback, native])
def test_what_only_this_machine_has_would_be_found(
    wrong: Callable[[jax.Array], jax.Array], platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Within BatchNorm, whose gradient is written out: neither of the two has one.
    monkeypatch.setattr(normalise, "activate", lambda x, activation: wrong(x))
    with pytest.raises((AssertionError, ValueError), match=r"custom.call|callback|lowering platform"):
        check((Design(formulation="regular", width=16, depth=1), "float32", 1), platform, monkeypatch)
