"""What the tests of our own convolution kernels share: arrays, the library's numbers in float64, kernels called."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dsresearch import operators
from dsresearch.modules import draw
from dsresearch.networks.stack import Stack
from dsresearch.operators.native import stretch
from dsresearch.runtime import KERNELS_VARIABLE
from dsresearch.schema import trial_rows

ROOT = Path(__file__).parents[1]
Floats = np.ndarray[Any, np.dtype[Any]]
Case = dict[str, Any]
Links = list[tuple[Any, int, bool]]


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


def kernels_named(program: jax.stages.Lowered) -> list[str]:
    """Our kernels in a program, by names that tell one code from another."""
    return re.findall(r"@dsresearch_(\w+)", program.as_text())


def kernels_called(function: Callable[..., Any], *arguments: Any) -> list[str]:
    """Our kernels in a compiled program, by what they do."""
    return what_they_do(kernels_named(jax.jit(function).lower(*arguments)))


def what_they_do(names: list[str]) -> list[str]:
    """Of kernels by name."""
    return [name.rpartition("_")[0] for name in names]


def dsresearch(*words: str | Path) -> str:
    """What the command prints, in its processes."""
    command = [sys.executable, "-m", "dsresearch", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def trained_by(kernels: str, folder: Path, setup: str = "separable", changes: tuple[str, ...] = ()) -> dict[str, Any]:
    """The row of one trained model."""
    said = ("run", "hybrid", "--profile", "smoke", "--setup", setup, "--trials", "1")
    dsresearch(*said, f"protocol.kernels={kernels}", *changes, "--out", folder)
    (row,) = trial_rows(folder / "trials.csv")
    return row


def passed(
    draw: Callable[[tuple[int, ...]], Floats], channels: int, features: int, size: tuple[int, int], pool: bool = False
) -> tuple[Floats, Floats, operators.Affine, tuple[Floats, operators.Moments]]:
    """Pictures, a pointwise kernel to so many features, a map, and a gradient at the result and its sums."""
    height, width = (2 * side for side in size) if pool else size
    affine = operators.Affine(draw((channels,)), draw((channels,)))
    cotangents = draw((2, *size, features)), operators.Moments(draw((features,)), draw((features,)))
    return draw((2, height, width, channels)), draw((1, 1, channels, features)), affine, cotangents


def through_and_gradients(
    z: Any, affine: Any, links: Links, pool: bool, cotangents: Any, identity: bool = False
) -> list[Floats]:
    """The result and its sums, and the gradients at z, the map and the kernels."""
    rest = [link[1:] for link in links]

    def run(z: Any, affine: Any, kernels: Any, cotangents: Any) -> Any:
        def whole(z: Any, affine: Any, kernels: Any) -> Any:
            given = [(kernel, *more) for kernel, more in zip(kernels, rest, strict=True)]
            assert stretch.fits(z, given, pool, identity)
            return stretch.through(z, affine, given, pool, identity)

        made, pullback = jax.vjp(whole, z, affine, kernels)
        return made, pullback(cotangents)

    kernels = [kernel for kernel, *_ in links]
    return [np.asarray(a) for a in jax.tree.leaves(jax.jit(run)(z, affine, kernels, cotangents))]


def one_by_one(z: Any, affine: Any, links: Links, pool: bool, cotangents: Any, identity: bool = False) -> list[Floats]:
    """The same by the library's operations in float64."""

    def whole(z: Any, affine: Any, kernels: Any) -> Any:
        x = jax.nn.relu(z * affine.gain[None, None, None] + affine.shift[None, None, None])
        first = x = operators.max_pool(x) if pool else x
        for kernel, (_, groups, relu) in zip(kernels, links, strict=True):
            x = oracle(x, kernel, groups, "SAME")
            x = jax.nn.relu(x) if relu else x
        x = x + first if identity else x
        return x, operators.Moments(x.sum((0, 1, 2)), (x * x).sum((0, 1, 2)))

    with jax.enable_x64(True):
        arguments = z, affine, [kernel for kernel, *_ in links]
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (arguments, cotangents))
        made, pullback = jax.vjp(whole, *wide[0])
        return [np.asarray(a) for a in jax.tree.leaves((made, pullback(wide[1])))]


def few(seed: int) -> Callable[[tuple[int, ...]], Floats]:
    """Whole numbers so small that even the sums of squares are held exactly, with many equal maxima among them."""
    rng = np.random.default_rng(seed)
    return lambda shape: rng.integers(-1, 2, shape).astype(np.float32)


def read(z: Any, affine: Any) -> Any:
    """Pictures as the reader of a BatchNorm's sums reads them."""
    return jax.nn.relu(z * affine.gain[None, None, None] + affine.shift[None, None, None])


def sums_of(y: Any) -> operators.Moments:
    return operators.Moments(y.sum((0, 1, 2)), (y * y).sum((0, 1, 2)))


def made_and_gradients(function: Callable[..., Any], arguments: Any, cotangents: Any) -> list[Floats]:
    def run(arguments: Any, cotangents: Any) -> Any:
        made, pullback = jax.vjp(function, *arguments)
        return made, pullback(cotangents)

    return [np.asarray(a) for a in jax.tree.leaves(jax.jit(run)(arguments, cotangents))]


def compare(ours: Callable[..., Any], plain: Callable[..., Any], arguments: Any, cotangents: Any) -> None:
    """Results and gradients are the library's in float64, number for number."""
    found = made_and_gradients(ours, arguments, cotangents)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (arguments, cotangents))
        expected = made_and_gradients(plain, *wide)
    assert max(np.abs(a).max() for a in expected) < 2**24  # else float32 would round
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def towers(
    draw: Callable[[tuple[int, ...]], Floats], channels: int, window: int, size: tuple[int, int] = (6, 5)
) -> tuple[Any, Any]:
    """What towers of so many channels are joined from, and the gradients at the result and its sums."""
    ends, middles = (draw((2, *size, 2 * channels)) for _ in range(2))
    its_map = operators.Affine(draw((channels,)), draw((channels,)))
    slopes = operators.Moments(draw((4 * channels,)), draw((4 * channels,)))
    kernel = draw((window, window, channels, channels))
    return (ends, stretch.Mapped(middles, its_map), kernel), (draw((2, *size, 4 * channels)), slopes)


def of_joined(joined: Callable[..., Any], given: tuple[Any, Any]) -> list[Floats]:
    return made_and_gradients(joined, *given)


def joined_plainly(ends: Any, middles: stretch.Mapped, kernel: Any) -> Any:
    """The four towers by the library's operations."""
    direct, summand = jnp.split(ends, 2, -1)
    single, double = jnp.split(middles.pictures, 2, -1)
    last = oracle(read(double, middles.affine), kernel, 1, "SAME")
    y = jnp.concatenate([direct, single, last, operators.avg_pool(summand, kernel.shape[0])], -1)
    return y, sums_of(y)


def the_same_by(network: Stack, kernels: str, limit: float, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Loss, running statistics and gradients are XLA's, each within a share of its norm; gives the kernels by name."""
    images, noise = normals(23)((4, 8, 8, 3)), normals(24)
    params, stats = draw(network, jax.random.key(0), (8, 8, 3))
    # with its first scale and offset a BatchNorm in front of another one has no gradient but rounding
    params = jax.tree.map(lambda leaf: leaf + 0.1 * noise(leaf.shape) if leaf.ndim == 1 else leaf, params)

    def step(params: Any) -> Any:
        def loss(params: Any) -> Any:
            logits, new = network.apply({"params": params, "stats": stats}, images, True, mutable=["stats"])
            return jnp.asarray(logits**2).sum(), new

        return jax.value_and_grad(loss, has_aux=True)(params)

    monkeypatch.setenv(KERNELS_VARIABLE, "xla")
    expected = jax.jit(step)(params)
    monkeypatch.setenv(KERNELS_VARIABLE, kernels)
    for a, b in zip(jax.tree.leaves(jax.jit(lambda p: step(p))(params)), jax.tree.leaves(expected), strict=True):
        assert np.linalg.norm(np.asarray(a) - b) <= limit * np.linalg.norm(b)
    return kernels_named(jax.jit(lambda p: step(p)).lower(params))
