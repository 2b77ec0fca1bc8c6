"""Our own convolution kernels: the library's numbers, the same bits whatever the processor, and only where asked for.

Most cases are small whole numbers, whose sums float32 holds exactly in any order: every number must be the oracle's.
"""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jax import lax

from dsresearch import operators
from dsresearch.design import Design
from dsresearch.modules import draw
from dsresearch.networks.stack import Stack
from dsresearch.operators.blocks import block_count
from dsresearch.operators.convolution import algorithm
from dsresearch.operators.geometry import Geometry
from dsresearch.runtime import KERNELS
from dsresearch.schema import trial_rows

pytest.importorskip("llvmlite", reason="llvmlite is not installed (the extra `native`)")

from dsresearch.operators.native import convolution, kernels, target

ROOT = Path(__file__).parents[1]
Floats = np.ndarray[Any, np.dtype[Any]]
Case = dict[str, Any]


@pytest.fixture(autouse=True)
def _native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNELS, "native")


def oracle(x: Any, kernel: Any, groups: int, padding: str, stride: int = 1) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def value_and_gradients(function: Callable[..., jax.Array], x: Any, kernel: Any, dy: Any) -> list[Floats]:
    """y, and the gradients of x and of the kernel where that of y is `dy`."""

    def run(x: Any, kernel: Any, dy: Any) -> Any:
        y, pullback = jax.vjp(function, x, kernel)
        return y, *pullback(dy)

    return [np.asarray(a) for a in jax.jit(run)(x, kernel, dy)]


def wanted(x: Floats, kernel: Floats, dy: Floats, groups: int, padding: str) -> list[Floats]:
    with jax.enable_x64(True):
        wide = [jnp.asarray(a, jnp.float64) for a in (x, kernel, dy)]
        return value_and_gradients(lambda x, k: oracle(x, k, groups, padding), *wide)


def arrays(case: Case, draw: Callable[[tuple[int, ...]], Floats]) -> tuple[Floats, Floats, Floats]:
    (height, width), (rows, columns), groups = case["size"], case["window"], case["groups"]
    x = draw((case["batch"], height, width, groups * case["inputs"]))
    kernel = draw((rows, columns, case["inputs"], groups * case["outputs"]))
    cut = (rows - 1, columns - 1) if case["padding"] == "VALID" else (0, 0)
    return x, kernel, draw((case["batch"], height - cut[0], width - cut[1], groups * case["outputs"]))


def whole_numbers(seed: int) -> Callable[[tuple[int, ...]], Floats]:
    rng = np.random.default_rng(seed)
    return lambda shape: rng.integers(-4, 5, shape).astype(np.float32)


def normals(seed: int) -> Callable[[tuple[int, ...]], Floats]:
    rng = np.random.default_rng(seed)
    return lambda shape: rng.normal(size=shape).astype(np.float32)


def fixed(**changes: Any) -> Case:
    usual = {"batch": 2, "size": (6, 8), "window": (3, 3), "padding": "SAME", "groups": 1, "inputs": 16, "outputs": 16}
    return {**usual, **changes}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Shapes that the kernels are for: outputs of all groups fill vectors; and others, which they leave alone."""
    window = draw(st.sampled_from([(1, 1), (3, 3), (5, 5), (1, 3), (3, 1)]))
    size = tuple(draw(st.integers(max(window), max(window) + 12)) for _ in range(2))
    groups = draw(st.sampled_from([1, 2, 3, 4, 8, 16, 24]))
    inputs = draw(st.sampled_from([1, 2, 3, 4, 8, 11]))
    outputs = draw(st.sampled_from([inputs, 1, 4, 8, 20]))
    return {
        "batch": draw(st.integers(1, 3)),
        "size": size,
        "window": window,
        "padding": draw(st.sampled_from(["SAME", "VALID"])),
        "groups": groups,
        "inputs": inputs,
        "outputs": outputs,
    }


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
@example(case=fixed(groups=16, inputs=1, outputs=1))  # depthwise
@example(case=fixed(groups=4, inputs=4, outputs=4))  # four groups a vector
@example(case=fixed(groups=2, inputs=8, outputs=8))  # a vector a group, half as long
@example(case=fixed(groups=8, inputs=4, outputs=4, window=(5, 5)))  # more sums than registers
@example(case=fixed(groups=3, inputs=4, outputs=4, size=(7, 11)))  # G = 3 at width 12; strips that do not fill a row
@example(case=fixed(inputs=3, outputs=16))  # a stem, whose x has no vectors for its gradient
@example(case=fixed(inputs=37, outputs=64, size=(3, 3)))  # inputs that chunks do not divide, vectors side by side
@example(case=fixed(inputs=2, outputs=4, size=(1, 1)))
@example(case=fixed(inputs=7, outputs=14))  # the last vector repeats outputs of the one before
@example(case=fixed(groups=3, inputs=6, outputs=6))  # in every group
@example(case=fixed(groups=7, inputs=1, outputs=1))  # and where groups share vectors
@example(case=fixed(groups=6, inputs=2, outputs=2))
def test_convolution_and_both_gradients_are_the_librarys_number_for_number(case: Case) -> None:
    x, kernel, dy = arrays(case, whole_numbers(3))
    groups, padding = case["groups"], case["padding"]
    found = value_and_gradients(
        lambda x, k: operators.spatial_conv(x, k, groups=groups, padding=padding), x, kernel, dy
    )
    for a, b in zip(found, wanted(x, kernel, dy, groups, padding), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("groups", "inputs"), [(1, 32), (4, 8), (8, 2), (16, 1)])
def test_rounding_is_that_of_float32(groups: int, inputs: int) -> None:
    """Against float64: within what so many additions of float32 may lose."""
    case = fixed(batch=8, size=(16, 16), groups=groups, inputs=inputs, outputs=inputs)
    x, kernel, dy = arrays(case, normals(5))
    found = value_and_gradients(lambda x, k: operators.spatial_conv(x, k, groups=groups), x, kernel, dy)
    for a, b in zip(found, wanted(x, kernel, dy, groups, "SAME"), strict=True):
        assert np.abs(a - b).max() < 2e-6 * np.abs(b).max()


@pytest.mark.parametrize(("groups", "inputs"), [(1, 16), (2, 8), (4, 4), (16, 1)])
def test_bits_do_not_depend_on_the_processors_vectors(
    groups: int, inputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, kernel, dy = arrays(fixed(groups=groups, inputs=inputs, outputs=inputs), normals(7))
    found = []
    for most in (4, 8, 16):
        monkeypatch.setattr(target, "vector_lanes", lambda most=most: most)
        convolution._correlation.cache_clear()
        convolution._kernel_gradient.cache_clear()
        found.append(value_and_gradients(lambda x, k: operators.spatial_conv(x, k, groups=groups), x, kernel, dy))
    lanes = {kernels.lanes_of(convolution._shape(x, kernel, groups, SAME), most) for most in (4, 8, 16)}
    assert len(lanes) > 1  # else nothing was compared
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


SAME = Geometry((6, 8), (3, 3), 1, 1, "SAME")


def kernels_called(function: Callable[..., Any], *arguments: Any) -> list[str]:
    """Our kernels in a compiled program."""
    text = jax.jit(function).lower(*arguments).as_text()
    return re.findall(r"@dsresearch_(\w+)_[0-9a-f]{16}", text)


def test_the_kernels_are_taken_where_they_fit_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    x, kernel, _ = arrays(fixed(), whole_numbers(1))

    def conv(x: Any, k: Any, **options: Any) -> jax.Array:
        return operators.spatial_conv(x, k, **options)

    def both(x: Any, k: Any) -> Any:
        return jax.grad(lambda x, k: conv(x, k).sum(), argnums=(0, 1))(x, k)

    assert kernels_called(conv, x, kernel) == ["correlation"]
    assert sorted(kernels_called(both, x, kernel)) == ["correlation", "kernel_gradient"]
    assert kernels_called(operators.pointwise, x, kernel[0, 0]) == ["correlation"]
    for changed in ({"stride": 2}, {"dilation": 2}):
        assert not kernels_called(lambda x, k, changed=changed: conv(x, k, **changed), x, kernel)
    assert not kernels_called(conv, x, kernel[..., :3])  # no vector is as short
    assert not kernels_called(conv, x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert not kernels_called(operators.pointwise, x[:, 0, 0], kernel[0, 0])  # the head's
    monkeypatch.setenv(KERNELS, "xla")
    assert not kernels_called(lambda x, k: conv(x, k), x, kernel)


def test_the_table_says_native_where_it_is_asked_for() -> None:
    assert algorithm("cpu", 1, 16, native=True) == "native"
    assert algorithm("cpu", 1, 16) == "taps"


def test_trials_side_by_side_are_trials_one_after_another() -> None:
    made = [arrays(fixed(groups=4, inputs=4, outputs=4), normals(seed)) for seed in range(3)]

    def one(x: Any, kernel: Any, dy: Any) -> Any:
        y, pullback = jax.vjp(lambda x, k: operators.spatial_conv(x, k, groups=4), x, kernel)
        return y, *pullback(dy)

    together = jax.jit(jax.vmap(one))(*(np.stack(group) for group in zip(*made, strict=True)))
    for number, arguments in enumerate(made):
        for a, b in zip(together, jax.jit(one)(*arguments), strict=True):
            np.testing.assert_array_equal(a[number], b)


def test_products_over_channels_are_plain_sums() -> None:
    draw = whole_numbers(2)
    x, weights = draw((2, 5, 7, 12)), draw((12, 20))
    np.testing.assert_array_equal(jax.jit(operators.pointwise)(x, weights), x @ weights)
    paths = x.reshape(2, 5, 7, 4, 3)
    joined = jax.jit(operators.join_paths)(paths, weights.reshape(4, 3, 20))
    np.testing.assert_array_equal(joined, x @ weights)


def test_other_code_has_another_name() -> None:
    """A program in the cache on disk calls a kernel by its name: it must never find another kernel under it."""
    first = convolution._shape(np.zeros((2, 6, 8, 16)), np.zeros((3, 3, 16, 16)), 1, SAME)
    second = convolution._shape(np.zeros((3, 6, 8, 16)), np.zeros((3, 3, 16, 16)), 1, SAME)
    assert convolution._correlation(first) != convolution._correlation(second)


def test_threads_that_trace_at_once_compile_a_kernel_once_and_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that a second one replaced took its machine code with it: a process died of that, now and then."""
    compiled: list[str] = []
    at_work = threading.Semaphore(1)

    def slow(made: str, *_: str) -> int:
        assert at_work.acquire(blocking=False), "two at a time"
        time.sleep(0.05)
        compiled.append(made)
        target._engines[made] = None
        at_work.release()
        return 0

    monkeypatch.setattr(target, "_compile", slow)
    monkeypatch.setattr(target, "_engines", {})
    monkeypatch.setattr(jax.ffi, "register_ffi_target", lambda *_, **__: None)
    monkeypatch.setattr(jax.ffi, "pycapsule", lambda _: None)
    with ThreadPoolExecutor(6) as pool:
        names = list(pool.map(lambda code: target.register("kernel", code), "ababab"))
    assert sorted(compiled) == sorted(set(names))
    assert len(compiled) == 2


def test_a_study_by_these_kernels_says_so_and_learns_as_without(tmp_path: Path) -> None:
    """Through the command and its processes: the same pictures and weights, other last digits, the same curve."""
    said = ("run", "hybrid", "--profile", "smoke", "--setup", "inception_reformulated", "--trials", "1")
    for choice in ("native", "xla"):
        command = [sys.executable, "-m", "dsresearch", *said, f"protocol.kernels={choice}", "--out", tmp_path / choice]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    (ours,), (theirs,) = (trial_rows(tmp_path / choice / "trials.csv") for choice in ("native", "xla"))
    assert (ours["kernels"], theirs["kernels"]) == ("native", "")
    assert ours["init_seed"] == theirs["init_seed"]
    assert ours["params_sha256"] != theirs["params_sha256"]  # else the kernels were not taken
    assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)
    assert 'kernels = "native"' in (tmp_path / "native" / "protocol.toml").read_text()
    again = subprocess.run(
        [sys.executable, "-m", "dsresearch", "again", tmp_path / "native"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "the same to the bit" in again.stdout


@pytest.mark.parametrize("formulation", ["separable", "grouped"])
def test_the_network_is_the_same_in_blocks_and_whole(formulation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study's training takes batches whole, its evaluation and wider networks in blocks."""
    network = Stack(Design(formulation=formulation, width=8, depth=1, groups=4 * (formulation == "grouped")), 10)
    images = normals(11)((8, 16, 16, 3))
    params, stats = draw(network, jax.random.key(0), (16, 16, 3))
    blocks = []

    def counted(*arguments: Any) -> int:
        blocks.append(block_count(*arguments))
        return blocks[-1]

    def loss_and_gradient() -> Any:
        def loss(params: Any) -> jax.Array:
            logits, _ = network.apply({"params": params, "stats": stats}, images, True, mutable=["stats"])
            return jnp.asarray(logits**2).sum()

        return jax.jit(jax.value_and_grad(loss))(params)

    whole = loss_and_gradient()
    monkeypatch.setattr("dsresearch.networks.stack.LOADED_WHOLE", 0)
    monkeypatch.setattr("dsresearch.operators.blocks.BLOCK_BYTES", 1 << 14)
    monkeypatch.setattr("dsresearch.operators.blocks.block_count", counted)
    for a, b in zip(jax.tree.leaves(loss_and_gradient()), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(np.abs(b).max()))
    assert max(blocks) > 1


def test_a_product_is_added_with_one_rounding() -> None:
    """-1 + (1 + 2^-12)^2 is 2^-11 + 2^-24; a product that is rounded first loses the last term."""
    near = 1 + 2.0**-12
    x = np.tile(np.array([-1, near], np.float32), (1, 2, 4, 1))
    weights = np.tile(np.array([[1], [near]], np.float32), (1, 8))
    np.testing.assert_array_equal(jax.jit(operators.pointwise)(x, weights), np.float32(2.0**-11 + 2.0**-24))
