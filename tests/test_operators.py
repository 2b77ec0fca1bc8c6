"""The study's arithmetic against the library's own operations, and against plain formulas in NumPy."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from dsresearch import operators
from dsresearch.operators import dense
from dsresearch.operators.apart import apart
from dsresearch.operators.blocks import block_count, in_blocks
from dsresearch.operators.geometry import Geometry

Floats = np.ndarray[Any, np.dtype[Any]]


def in_float64(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's value on float64 arrays, compiled without optimisation, which takes a third of the time."""
    with jax.enable_x64(True):
        arguments = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), arguments)
        program = jax.jit(function).lower(*arguments).compile({"xla_backend_optimization_level": 0})
        return jax.tree.map(np.asarray, program(*arguments))


def with_gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    """(cotangent, arguments) -> (value, gradients of all arguments)."""

    def run(cotangent: jax.Array, *arguments: jax.Array) -> Any:
        value, pullback = jax.vjp(function, *arguments)
        return value, pullback(cotangent)

    return run


def close(found: Any, wanted: Any, tolerance: float) -> None:
    """Every array of a tree within a tolerance, relative to the largest number of the wanted one."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        assert np.abs(a - b).max(initial=0.0) <= tolerance * np.abs(b).max(initial=1e-300)


def library(groups: int, stride: int, dilation: int, padding: str) -> Callable[..., jax.Array]:
    """The library's convolution."""

    def run(x: jax.Array, kernel: jax.Array) -> jax.Array:
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            padding,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=numbers,
            feature_group_count=groups,
        )

    return run


def ours(groups: int, stride: int, dilation: int, padding: Any) -> Callable[..., jax.Array]:
    def run(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return operators.spatial_conv(x, kernel, groups=groups, stride=stride, dilation=dilation, padding=padding)

    return run


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    """Shapes from a single pixel and channel, groups from 1 to C, depth multipliers."""
    channels = draw(st.sampled_from([1, 2, 3, 4, 6]))
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    window = draw(st.sampled_from([(1, 1), (3, 3), (5, 5), (1, 3), (7, 1)]))  # Inception V3's are of one row or column
    dilation = draw(st.sampled_from([1, 2]))
    padding = draw(st.sampled_from(["SAME", "VALID"]))
    least = [(k - 1) * dilation + 1 if padding == "VALID" else 1 for k in window]
    size = tuple(draw(st.integers(n, n + 6)) for n in least)
    return {
        "batch": draw(st.sampled_from([1, 2, 3, 16])),
        "size": size,
        "channels": channels,
        "groups": groups,
        "outputs": groups * draw(st.integers(1, 3)),
        "window": window,
        "stride": draw(st.sampled_from([1, 2, 3])),
        "dilation": dilation,
        "padding": padding,
    }


def drawn(case: dict[str, Any], seed: int = 0) -> tuple[Floats, Floats]:
    """Pictures and a kernel."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((case["batch"], *case["size"], case["channels"]))
    return x, rng.standard_normal((*case["window"], case["channels"] // case["groups"], case["outputs"]))


def fixed(**changes: Any) -> dict[str, Any]:
    case = {
        "batch": 2, "size": (6, 7), "channels": 4, "groups": 4, "outputs": 4,
        "window": (3, 3), "stride": 1, "dilation": 1, "padding": "SAME",
    }  # fmt: skip
    return {**case, **changes}


@settings(max_examples=25)
@given(case=convolutions())
@example(case=fixed(size=(7, 6), stride=2))  # SAME pads an even side by (0, 1) and an odd one by (1, 1)
@example(case=fixed(stride=2, outputs=8, batch=16))  # a depth multiplier
@example(case=fixed(groups=2, stride=2, outputs=6))
@example(case=fixed(groups=1, dilation=2, size=(5, 4)))  # the window is wider than the picture
@example(case=fixed(groups=1, window=(1, 3), size=(2, 2)))
@example(case=fixed(groups=2, window=(7, 1), channels=8))
@example(case=fixed(groups=4, dilation=2, size=(9, 8), padding="VALID", stride=2))  # the last rows are read by none
def test_convolution_and_both_gradients_are_the_librarys(case: dict[str, Any]) -> None:
    arguments = (case["groups"], case["stride"], case["dilation"], case["padding"])
    x, kernel = drawn(case)
    size = jax.eval_shape(library(*arguments), x.astype(np.float32), kernel.astype(np.float32)).shape
    cotangent = np.random.default_rng(1).standard_normal(size)

    def both(*given: jax.Array) -> Any:
        return with_gradients(ours(*arguments))(*given), with_gradients(library(*arguments))(*given)

    found, wanted = in_float64(both, cotangent, x, kernel)
    close(found, wanted, 1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_float32_and_bfloat16_round_no_more_than_they_must(groups: int) -> None:
    case = fixed(groups=groups, size=(8, 8), channels=8 if groups < 4 else 4)
    x, kernel = drawn(case)
    arguments = (groups, 1, 1, "SAME")
    cotangent = np.random.default_rng(1).standard_normal((*x.shape[:3], case["outputs"]))
    wanted = in_float64(with_gradients(library(*arguments)), cotangent, x, kernel)
    run = jax.jit(with_gradients(ours(*arguments)))
    for dtype, tolerance in ((jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)):
        # Parameters stay float32 whatever the activations are.
        found = run(jnp.asarray(cotangent, dtype), jnp.asarray(x, dtype), jnp.asarray(kernel, jnp.float32))
        close(found, wanted, tolerance)
        assert [leaf.dtype for leaf in jax.tree.leaves(found)] == [dtype, dtype, jnp.float32]


@pytest.mark.parametrize("route", ["pointwise", "join_paths", "taps", "patches", "dense", "dense groups", "library"])
def test_gradients_of_weights_are_not_rounded_with_the_pictures(route: str) -> None:
    """Parameters are float32, and an arm whose gradients were rounded would be trained otherwise than another."""
    rng = np.random.default_rng(0)
    geometry = Geometry.of((8, 8), (3, 3), 1, 1, "SAME")
    run, x, weights = {
        "pointwise": (operators.pointwise, (4, 8, 8, 6), (6, 5)),
        "join_paths": (operators.join_paths, (4, 8, 8, 3, 2), (3, 2, 5)),
        "taps": (ours(6, 1, 1, "SAME"), (4, 8, 8, 6), (3, 3, 1, 6)),
        "patches": (ours(1, 1, 1, "SAME"), (4, 8, 8, 3), (3, 3, 3, 6)),
        "dense": (ours(1, 1, 1, "SAME"), (4, 8, 8, 12), (3, 3, 12, 6)),
        "dense groups": (ours(2, 1, 1, "SAME"), (4, 8, 8, 24), (3, 3, 12, 6)),
        "library": (lambda x, k: dense.library(x, k, 2, geometry), (4, 8, 8, 6), (3, 3, 3, 4)),
    }[route]
    pictures, kernel = (rng.standard_normal(shape).astype(np.float32) for shape in (x, weights))
    low = jnp.asarray(pictures, jnp.bfloat16)
    gradient = np.asarray(jax.jit(jax.grad(lambda k: run(low, k).astype(jnp.float32).sum()))(kernel))
    assert gradient.dtype == np.float32
    rounded = np.asarray(jnp.asarray(gradient, jnp.bfloat16), np.float32)
    assert np.mean(rounded == gradient) < 0.5
    exact = in_float64(jax.grad(lambda k, x: run(x, k).sum()), kernel, np.asarray(low, np.float32))
    close(gradient, exact, 1e-2)


@pytest.mark.parametrize(("groups", "stride", "dilation"), [(1, 1, 1), (4, 2, 1), (2, 1, 2), (6, 2, 1)])
def test_the_accelerators_route_has_the_librarys_gradients(groups: int, stride: int, dilation: int) -> None:
    x, kernel = drawn(fixed(groups=groups, channels=12, outputs=12, size=(7, 8)))
    geometry = Geometry.of((7, 8), (3, 3), stride, dilation, "SAME")
    cotangent = np.random.default_rng(1).standard_normal((2, *geometry.out, 12))

    def both(*given: jax.Array) -> Any:
        def route(x: jax.Array, k: jax.Array) -> jax.Array:
            return dense.library(x, k, groups, geometry)

        return with_gradients(route)(*given), with_gradients(library(groups, stride, dilation, "SAME"))(*given)

    found, wanted = in_float64(both, cotangent, x, kernel)
    close(found, wanted, 1e-12)


def test_bfloat16_sums_are_float32() -> None:
    """Of 4,096 ones and a kernel of ones a bfloat16 sum would stop at 256."""
    x = jnp.ones((1, 1, 1, 4096), jnp.bfloat16)
    kernel = jnp.ones((1, 1, 4096, 1), jnp.float32)
    assert float(jax.jit(ours(1, 1, 1, "SAME"))(x, kernel)[0, 0, 0, 0]) == 4096
    many = jnp.ones((16, 16, 16, 1), jnp.bfloat16)
    gradient = jax.jit(jax.grad(lambda k: ours(1, 1, 1, "SAME")(many, k).astype(jnp.float32).sum()))
    assert float(gradient(jnp.ones((1, 1, 1, 1), jnp.float32))[0, 0, 0, 0]) == 4096


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_trials_side_by_side_are_trials_one_after_another(groups: int) -> None:
    case, trials = fixed(groups=groups, size=(5, 4), stride=2), 3
    xs, kernels = (np.stack(arrays) for arrays in zip(*(drawn(case, seed) for seed in range(trials)), strict=True))
    cotangents = np.random.default_rng(9).standard_normal((trials, 2, 3, 2, 4))
    single = with_gradients(library(groups, 2, 1, "SAME"))
    found = in_float64(jax.vmap(with_gradients(ours(groups, 2, 1, "SAME"))), cotangents, xs, kernels)
    apart = [in_float64(single, *arguments) for arguments in zip(cotangents, xs, kernels, strict=True)]
    close(found, jax.tree.map(lambda *leaves: np.stack(leaves), *apart), 1e-12)


CANONICAL: dict[str, Any] = {
    "batch_group_count": 1,
    "feature_group_count": 1,
    "lhs_dilation": (1, 1),
    "dimension_numbers": lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)),
}


def convolution_ops(jaxpr: Any) -> list[dict[str, Any]]:
    """The parameters of every convolution op of a program and of the programs inside it."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            found.append(equation.params)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            found += convolution_ops(inner) if hasattr(inner, "eqns") else []
    return found


@pytest.mark.parametrize(
    ("groups", "channels", "cpu", "gpu"),
    [(1, 3, 0, 3), (1, 4, 3, 3), (2, 8, 3, 3), (4, 4, 0, 0), (4, 32, 0, 3), (4, 64, 6, 3), (2, 64, 6, 3)],
)
def test_the_algorithm_is_the_one_of_the_table(
    groups: int, channels: int, cpu: int, gpu: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Convolution ops of a forward pass and both gradients: none where taps are meant; on the CPU all of the one form
    that XLA runs fast inside a loop, too. Two groups of 32 channels are two products.
    """
    x, kernel = (jnp.asarray(a, jnp.float32) for a in drawn(fixed(groups=groups, channels=channels, outputs=channels)))

    def ops(backend: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        jax.clear_caches()

        def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return (ours(groups, 1, 1, "SAME")(x, kernel) ** 2).sum()

        return convolution_ops(jax.make_jaxpr(jax.grad(loss, (0, 1)))(x, kernel).jaxpr)

    found = ops("cpu")
    assert len(found) == cpu
    assert all(op[name] == value for op in found for name, value in CANONICAL.items())
    assert len(ops("gpu")) == gpu


def test_the_librarys_form_is_the_same_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU runs, run here."""
    case = fixed(groups=2, stride=2, dilation=2)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = in_float64(ours(2, 2, 2, "SAME"), *drawn(case))
    close(found, in_float64(library(2, 2, 2, "SAME"), *drawn(case)), 1e-12)


def test_channels_that_do_not_fit_are_refused() -> None:
    x, kernel = jnp.zeros((1, 4, 4, 6)), jnp.zeros((3, 3, 2, 4))
    with pytest.raises(ValueError, match=r"kernel \(3, 3, 2, 4\) does not fit 6 channels in 2 groups"):
        operators.spatial_conv(x, kernel, groups=2)
    with pytest.raises(ValueError, match="does not fit 6 channels in 3 groups"):
        operators.spatial_conv(x, kernel, groups=3)


# --- paths and products -----------------------------------------------------------------------------------------


def test_path_convolution_is_a_loop_over_paths() -> None:
    rng = np.random.default_rng(0)
    x, kernels = rng.standard_normal((2, 5, 6, 3, 2)), rng.standard_normal((3, 3, 3, 2, 4))
    found = in_float64(lambda x, k: operators.path_conv(x, k, stride=2), x, kernels)
    assert found.shape == (2, 3, 3, 3, 4)
    for path in range(3):
        close(found[..., path, :], in_float64(library(1, 2, 1, "SAME"), x[..., path, :], kernels[path]), 1e-12)


def test_products_are_plain_sums() -> None:
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((5, 6))
    close(in_float64(operators.pointwise, x, weights), np.einsum("bhwc,cn->bhwn", x, weights), 1e-13)
    paths, expand = rng.standard_normal((2, 3, 4, 5, 2)), rng.standard_normal((5, 2, 6))
    close(in_float64(operators.join_paths, paths, expand), np.einsum("bhwpi,pin->bhwn", paths, expand), 1e-13)
    low = operators.pointwise(jnp.ones((1, 4096), jnp.bfloat16), jnp.ones((4096, 1), jnp.float32))
    assert low.dtype == jnp.bfloat16
    assert float(low[0, 0]) == 4096  # summed in float32


# --- BatchNorm --------------------------------------------------------------------------------------------------


def ours_batch_norm(activation: str) -> Callable[..., jax.Array]:
    """Sums, map and activation, one after another."""

    def run(x: jax.Array, scale: jax.Array, offset: jax.Array) -> jax.Array:
        mean, variance = operators.statistics(operators.moments(x), x.size // x.shape[-1])
        return operators.apply_affine(x, operators.standardise(mean, variance, scale, offset, 1e-5), activation)

    return run


def plain_batch_norm(activation: str) -> Callable[..., jax.Array]:
    """The definition, two-pass, for autodiff."""

    def run(x: jax.Array, scale: jax.Array, offset: jax.Array) -> jax.Array:
        axes = tuple(range(x.ndim - 1))
        mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        z = (x - mean) / jnp.sqrt(variance + 1e-5) * scale.reshape(mean.shape) + offset.reshape(mean.shape)
        return {"none": lambda z: z, "relu": jax.nn.relu, "elu": jax.nn.elu}[activation](z)

    return run


@pytest.mark.parametrize("activation", ["none", "relu", "elu"])
@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (40, 3)])
def test_batch_norm_and_its_gradients_are_autodiffs(activation: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = 2 + 3 * rng.standard_normal(shape)
    scale, offset = rng.standard_normal((2, shape[-1]))
    cotangent = rng.standard_normal(shape)

    def both(*given: jax.Array) -> Any:
        return tuple(with_gradients(norm(activation))(*given) for norm in (ours_batch_norm, plain_batch_norm))

    found, wanted = in_float64(both, cotangent, x, scale, offset)
    close(found, wanted, 1e-10)


def test_statistics_are_the_batchs_and_summed_in_float32() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3, 2, 5)) * 3 + 1
    mean, variance = in_float64(lambda x: operators.statistics(operators.moments(x), 24), x)
    close((mean, variance), (x.mean((0, 1, 2)), x.var((0, 1, 2))), 1e-12)
    low = jnp.asarray(x, jnp.bfloat16)
    sums = operators.moments(low)
    assert [array.dtype for array in sums] == [jnp.float32, jnp.float32]
    affine = operators.standardise(*operators.statistics(sums, 24), jnp.ones(5), jnp.zeros(5), 1e-5)
    assert operators.apply_affine(low, affine, "relu").dtype == jnp.bfloat16


# --- blocks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "batch", "kib", "blocks"),
    [
        ("cpu", 128, 128, 16),  # 8 pictures a block
        ("cpu", 128, 4, 1),  # all of it fits
        ("cpu", 500, 128, 100),  # 5 is the largest fitting divisor
        ("cpu", 127, 128, 1),  # a prime: single pictures would be slower than none
        ("cpu", 6, 4096, 6),  # a picture is larger than a block
        ("gpu", 128, 128, 1),
    ],
)
def test_blocks_fill_the_cache_and_divide_the_batch(backend: str, batch: int, kib: int, blocks: int) -> None:
    assert block_count(backend, batch, kib * 1024) == blocks


@pytest.mark.parametrize("trials", [1, 2])
def test_a_batch_in_blocks_is_the_batch(trials: int) -> None:
    """Values, sums and all gradients, the sums' included, against the chain in one piece."""
    rng = np.random.default_rng(0)
    x, kernel, weights = (rng.standard_normal(s) for s in ((6, 5, 4, 3), (3, 3, 1, 3), (3, 2)))
    y, sums = rng.standard_normal((6, 5, 4, 2)), rng.standard_normal((2, 2))

    def chain(x: jax.Array, weights: Any) -> jax.Array:
        return operators.pointwise(operators.spatial_conv(x, weights[0], groups=3), weights[1])

    def run(size: int) -> Callable[..., Any]:
        def summed(x: jax.Array, *weights: jax.Array) -> Any:
            return operators.with_moments(chain, x, weights, size)

        def plain(x: jax.Array, *weights: jax.Array) -> jax.Array:
            return in_blocks(chain, x, weights, size)

        def both(*given: jax.Array) -> Any:
            to_sums = operators.Moments(given[1][0], given[1][1])
            return with_gradients(summed)((given[0], to_sums), *given[2:]), with_gradients(plain)(given[0], *given[2:])

        return jax.vmap(both) if trials > 1 else both

    arguments: tuple[Floats, ...] = (y, sums, x, kernel, weights)
    if trials > 1:
        arguments = tuple(np.stack([a, 2 * a]) for a in arguments)
    found, wanted = (in_float64(run(size), *arguments) for size in (1 << 19, 1))
    close(found, wanted, 1e-12)


# --- pooling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(6, 4), (7, 5)])
def test_max_pool_is_the_window_reduction(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x, cotangent = rng.standard_normal((2, *size, 3)), rng.standard_normal((2, size[0] // 2, size[1] // 2, 3))

    def windows(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def both(*given: jax.Array) -> Any:
        return with_gradients(operators.max_pool)(*given), with_gradients(windows)(*given)

    found, wanted = in_float64(both, cotangent, x)
    close(found, wanted, 0.0)


@pytest.mark.parametrize(("size", "window", "stride"), [((6, 5), 3, 1), ((6, 5), 3, 2), ((4, 7), 5, 2)])
def test_avg_pool_is_the_window_reduction_without_padded_pixels(
    size: tuple[int, int], window: int, stride: int
) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *size, 3))
    cotangent = rng.standard_normal((2, -(-size[0] // stride), -(-size[1] // stride), 3))

    def windows(x: jax.Array) -> jax.Array:
        def total(x: jax.Array) -> jax.Array:
            return lax.reduce_window(x, 0.0, lax.add, (1, window, window, 1), (1, stride, stride, 1), "SAME")

        return total(x) / total(jnp.ones_like(x))

    def both(*given: jax.Array) -> Any:
        ours = with_gradients(lambda x: operators.avg_pool(x, window, stride=stride))
        return ours(*given), with_gradients(windows)(*given)

    found, wanted = in_float64(both, cotangent, x)
    close(found, wanted, 1e-13)


@pytest.mark.parametrize(("window", "stride"), [(5, 1), (3, 2)])
def test_avg_pools_gradient_in_bfloat16_is_summed_in_float32(window: int, stride: int) -> None:
    """It is float32's, rounded once."""
    rng, size = np.random.default_rng(0), -(-9 // stride)
    x, dy = (jnp.asarray(rng.standard_normal((2, n, n, 3)), jnp.bfloat16) for n in (9, size))
    run = jax.jit(with_gradients(lambda x: operators.avg_pool(x, window, stride=stride)))
    found = run(dy, x)
    wanted = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), run(dy.astype(jnp.float32), x.astype(jnp.float32)))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


# --- the compiler -----------------------------------------------------------------------------------------------

# jax#39103: jaxlib 0.10.2 on the CPU gives wrong sums, without a word, where a product, a square and a sum over the
# product's first axis are fused. With the study's flags it still does for 3 rows of more than 32,768 columns; the sums
# of the study are over pixels, with channels for columns. These guard its forms, at sizes around that limit.

SIZES = [(1000, 3, 16), (32769, 3, 3), (40001, 16, 7), (64, 9, 999)]


@pytest.mark.parametrize("values", ["ones", "varied"])
@pytest.mark.parametrize(("pixels", "channels", "features"), SIZES)
@pytest.mark.parametrize("trials", [1, 3])
def test_sums_behind_a_product_are_right(pixels: int, channels: int, features: int, trials: int, values: str) -> None:
    rng = np.random.default_rng(pixels)
    x, weights = np.ones((trials, pixels, channels)), np.ones((trials, channels, features))
    if values == "varied":
        x, weights = rng.standard_normal(x.shape), rng.standard_normal(weights.shape)

    def statistics(x: jax.Array, weights: jax.Array) -> Any:
        product = operators.pointwise(x, weights)
        return operators.statistics(operators.moments(product), pixels), (product * product).sum()

    run = jax.jit(jax.vmap(statistics) if trials > 1 else statistics)
    found = run(*(jnp.asarray(a if trials > 1 else a[0], jnp.float32) for a in (x, weights)))
    product = x @ weights
    (mean, variance), squares = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(trials, -1), found)
    scale = np.abs(product).max()
    assert np.abs(mean - product.mean(1)).max() <= 1e-5 * scale
    assert np.abs(variance - product.var(1)).max() <= 1e-5 * scale**2
    close(squares[:, 0], (product * product).sum((1, 2)), 1e-5)


@pytest.mark.parametrize("columns", [(1000, 3), (32768, 3), (32769, 8), (40001, 16)])
def test_a_reduced_matrix_product_under_vmap_is_right(columns: tuple[int, int]) -> None:
    """The report's own form, outside of what is known to be wrong."""
    count, rows = columns
    rng = np.random.default_rng(count)
    matrix, vectors = rng.standard_normal((rows, rows)), rng.standard_normal((count, rows))

    def squares(matrix: jax.Array, vectors: jax.Array) -> jax.Array:
        return jax.vmap(lambda vector: jnp.sum((matrix @ vector) ** 2))(vectors)

    found = jax.jit(squares)(jnp.asarray(matrix, jnp.float32), jnp.asarray(vectors, jnp.float32))
    close(found, ((vectors @ matrix.T) ** 2).sum(1), 1e-5)


def test_barriers_keep_values_apart_until_after_fusion() -> None:
    """If a new XLA names its expander of barriers otherwise, the flag of `runtime` does nothing and all is slow."""

    def twice_read(x: jax.Array) -> jax.Array:
        stored = apart(jnp.maximum(2 * x + 1, jnp.zeros((), x.dtype)))
        return stored[:, :16] * 3 + stored[:, 16:]

    x = jnp.arange(256.0).reshape(8, 32)
    text = jax.jit(twice_read).lower(x).compile().as_text()
    program = text[text.index("ENTRY") :]
    assert "opt-barrier" in program
    assert program.count(" fusion(") == 2
