"""Our own convolution kernels: the library's numbers, the same bits whatever the processor, and only where asked for.

Most cases are small whole numbers, whose sums float32 holds exactly in any order: every number must be the oracle's.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from traced import equations

from dsresearch import operators
from dsresearch.design import Design
from dsresearch.modules import SeparableModule, draw
from dsresearch.networks.stack import Stack
from dsresearch.operators.blocks import block_count
from dsresearch.operators.convolution import algorithm
from dsresearch.operators.geometry import Geometry
from dsresearch.runtime import KERNELS_VARIABLE

pytest.importorskip("llvmlite", reason="llvmlite is not installed (the extra `native`)")

from convolving import (
    Case,
    Floats,
    arrays,
    compare,
    dsresearch,
    few,
    fixed,
    joined_plainly,
    kernels_called,
    kernels_named,
    normals,
    of_joined,
    one_by_one,
    oracle,
    passed,
    read,
    sums_of,
    the_same_by,
    through_and_gradients,
    towers,
    trained_by,
    value_and_gradients,
    wanted,
    what_they_do,
    whole_numbers,
)

from dsresearch.operators.native import calls, convolution, inception, kernels, passage, stretch, target
from dsresearch.operators.native.passage import Passage
from dsresearch.stretches import Stretches, cut


@pytest.fixture(autouse=True)
def _native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNELS_VARIABLE, "native")


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
    z, narrow, affine, cotangents = passed(normals(8), 16, 20, (6, 8), pool=True)
    found = []
    for most in (4, 8, 16):
        monkeypatch.setattr(target, "vector_lanes", lambda most=most: most)
        calls._kernel.cache_clear()
        found.append(value_and_gradients(lambda x, k: operators.spatial_conv(x, k, groups=groups), x, kernel, dy))
        found[-1] += through_and_gradients(z, affine, [(kernel, groups, True), (narrow, 1, False)], True, cotangents)
        found[-1] += of_joined(inception.joined, towers(normals(9), 16 // groups, 3))
    lanes = {kernels.lanes_of(calls.shape_of(kernel, groups, SAME), most) for most in (4, 8, 16)}
    assert len(lanes) > 1  # else nothing was compared
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


SAME = Geometry.of((6, 8), (3, 3), 1, 1, "SAME")
ONE, AROUND = (Geometry.of((4, 6), window, 1, 1, "SAME") for window in ((1, 1), (3, 3)))


def test_the_kernels_are_taken_where_they_fit_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    x, kernel, _ = arrays(fixed(), whole_numbers(1))

    def conv(x: Any, k: Any, **options: Any) -> jax.Array:
        return operators.spatial_conv(x, k, **options)

    def both(x: Any, k: Any) -> Any:
        return jax.grad(lambda x, k: conv(x, k).sum(), argnums=(0, 1))(x, k)

    assert kernels_called(conv, x, kernel) == ["forward"]
    assert sorted(kernels_called(both, x, kernel)) == ["backward", "forward"]
    assert kernels_called(lambda x, k: jax.grad(lambda k: conv(x, k).sum())(k), x, kernel) == ["backward"]
    assert kernels_called(operators.pointwise, x, kernel[0, 0]) == ["forward"]
    for changed in ({"stride": 2}, {"dilation": 2}):
        assert not kernels_called(lambda x, k, changed=changed: conv(x, k, **changed), x, kernel)
    assert not kernels_called(conv, x, kernel[..., :3])  # no vector is as short
    assert not kernels_called(conv, x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert not kernels_called(operators.pointwise, x[:, 0, 0], kernel[0, 0])  # the head's
    monkeypatch.setenv(KERNELS_VARIABLE, "xla")
    assert not kernels_called(lambda x, k: conv(x, k), x, kernel)


def test_the_table_says_native_where_it_is_asked_for() -> None:
    assert algorithm("cpu", 1, 16, ours=True) == "native"
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
    shape = calls.shape_of(jnp.zeros((3, 3, 16, 16)), 1, SAME)
    forms = [Passage(pictures, (shape,)) for pictures in (2, 3)]
    names = {calls._kernel(passage.forward, (form,)).name for form in forms}
    assert len(names) == 2


class Engine:
    """Machine code that nobody calls."""

    def get_function_address(self, _: str) -> int:
        return 0


def test_threads_that_trace_at_once_compile_a_kernel_once_and_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that a second one replaced took its machine code with it: a process died of that, now and then."""
    compiled: list[str] = []
    at_work = threading.Semaphore(1)

    def slow(code: str, _: str) -> Engine:
        assert at_work.acquire(blocking=False), "two at a time"
        time.sleep(0.05)
        compiled.append(code)
        at_work.release()
        return Engine()

    monkeypatch.setattr(target, "_compile", slow)
    monkeypatch.setattr(target, "_engines", {})
    monkeypatch.setattr(jax.ffi, "register_ffi_target", lambda *_, **__: None)
    monkeypatch.setattr(jax.ffi, "pycapsule", lambda _: None)
    with ThreadPoolExecutor(6) as pool:
        names = list(pool.map(lambda code: target.register("kernel", code, [1], [1]), "ababab"))
    assert sorted(compiled) == ["a", "b"]
    assert set(target._engines) == set(names)


def test_a_kernel_whose_registration_failed_is_registered_by_the_next_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[str] = []

    def second_time(name: str, *_: Any, **__: Any) -> None:
        registered.append(name)
        if len(registered) == 1:
            raise RuntimeError("not yet")

    monkeypatch.setattr(target, "_compile", lambda *_: Engine())
    monkeypatch.setattr(target, "_engines", {})
    monkeypatch.setattr(jax.ffi, "register_ffi_target", second_time)
    monkeypatch.setattr(jax.ffi, "pycapsule", lambda _: None)
    with pytest.raises(RuntimeError, match="not yet"):
        target.register("kernel", "a", [1], [1])
    name = target.register("kernel", "a", [1], [1])
    assert target.register("kernel", "a", [1], [1]) == name
    assert registered == [name, name]


@pytest.fixture(scope="module")
def by_xla(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The row of the model that is trained without these kernels."""
    return trained_by("xla", tmp_path_factory.mktemp("xla") / "study")


@pytest.mark.parametrize("asked", ["native", "fused"])
def test_a_study_by_these_kernels_says_so_and_learns_as_without(
    asked: str, by_xla: dict[str, Any], tmp_path: Path
) -> None:
    """Through the command and its processes: the same pictures and weights, other last digits, the same curve."""
    ours = trained_by(asked, tmp_path / asked)
    assert (ours["kernels"], by_xla["kernels"]) == (asked, "")
    assert ours["init_seed"] == by_xla["init_seed"]
    assert ours["params_sha256"] != by_xla["params_sha256"]  # else the kernels were not taken
    assert ours["train_loss"] == pytest.approx(by_xla["train_loss"], rel=1e-3)
    assert f'kernels = "{asked}"' in (tmp_path / asked / "protocol.toml").read_text()
    assert "the same to the bit" in dsresearch("again", tmp_path / asked)


def test_a_study_by_these_kernels_throughout_is_not_the_fused_one(tmp_path: Path) -> None:
    """They differ where a BatchNorm stands inside the module, and say so; the curve is the same."""
    fused, ours = (trained_by(asked, tmp_path / asked, "resnext") for asked in ("fused", "throughout"))
    assert (fused["kernels"], ours["kernels"]) == ("fused", "throughout")
    assert ours["params_sha256"] != fused["params_sha256"]
    assert ours["train_loss"] == pytest.approx(fused["train_loss"], rel=1e-3)


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


# --- stretches -------------------------------------------------------------------------------------------------------


CHAINS: dict[str, list[tuple[int, int, int, int]]] = {  # by window, inputs of a group, outputs, groups
    "separable": [(3, 1, 16, 16), (1, 16, 20, 1)],
    "pointwise first": [(1, 16, 12, 1), (3, 1, 12, 12)],
    "three": [(1, 16, 8, 1), (3, 2, 8, 4), (1, 8, 16, 1)],
    "cut behind a regular one": [(3, 16, 16, 1), (1, 16, 8, 1)],
    "one": [(3, 4, 16, 4)],
    "one product": [(1, 16, 16, 1)],
    "super-separable": [(3, 1, 16, 16), (1, 4, 16, 4)],
    "five by five": [(5, 1, 16, 16), (1, 16, 16, 1)],
}


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("size", "pool"), [((4, 4), False), ((3, 5), True)])
@pytest.mark.parametrize("name", CHAINS)
def test_a_stretch_and_all_its_gradients_are_the_librarys_number_for_number(
    name: str, size: tuple[int, int], pool: bool, relu: bool
) -> None:
    draw, last = few(13), len(CHAINS[name]) - 1
    links = [
        (draw((window, window, inputs, outputs)), groups, relu and number < last)
        for number, (window, inputs, outputs, groups) in enumerate(CHAINS[name])
    ]
    z, _, affine, cotangents = passed(draw, 16, links[-1][0].shape[-1], size, pool)
    expected = one_by_one(z, affine, links, pool, cotangents)
    assert max(np.abs(a).max() for a in expected) < 2**24  # else float32 would round
    for a, b in zip(through_and_gradients(z, affine, links, pool, cotangents), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("channels", [5, 12, 19])
def test_channels_that_fill_no_vector_are_counted_once(channels: int, identity: bool) -> None:
    draw = few(17)
    z, kernel, affine, cotangents = passed(draw, channels, channels if identity else 7, (4, 6), pool=True)
    links = [(draw((3, 3, 1, channels)), channels, True), (kernel, 1, False)]
    expected = one_by_one(z, affine, links, True, cotangents, identity)
    for a, b in zip(through_and_gradients(z, affine, links, True, cotangents, identity), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["separable", "pointwise", "one"])
def test_an_identity_around_the_convolutions_is_added(name: str) -> None:
    draw = few(43)
    kernels = {"separable": [(3, 1, 16), (1, 16, 1)], "pointwise": [(1, 16, 1)], "one": [(3, 1, 16)]}[name]
    links = [(draw((window, window, inputs, 16)), groups, False) for window, inputs, groups in kernels]
    z, _, affine, cotangents = passed(draw, 16, 16, (4, 4))
    expected = one_by_one(z, affine, links, False, cotangents, True)
    for a, b in zip(through_and_gradients(z, affine, links, False, cotangents, True), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("channels", [7, 16])
def test_other_pictures_that_are_mapped_are_added(channels: int) -> None:
    """An identity around BatchNorms: what the module reads, and not what its last convolution does."""
    draw = few(47)
    z, kernel, affine, cotangents = passed(draw, 16, channels, (4, 6))
    beside = stretch.Mapped(draw((2, 4, 6, channels)), operators.Affine(2 * draw((channels,)), draw((channels,))))

    def ours(z: Any, affine: Any, kernel: Any, beside: Any) -> Any:
        return stretch.through(z, affine, [(kernel, 1, False)], beside=beside)

    def plain(z: Any, affine: Any, kernel: Any, beside: Any) -> Any:
        x, added = (read(*pictures) for pictures in ((z, affine), beside))
        y = oracle(x, kernel, 1, "SAME") + added
        return y, sums_of(y)

    compare(ours, plain, (z, affine, kernel, beside), cotangents)


def zeros(*shape: int, dtype: Any = np.float32) -> Floats:
    return np.zeros(shape, dtype)


Z, MAP, PRODUCT = zeros(2, 4, 6, 16), operators.Affine(zeros(16), zeros(16)), zeros(1, 1, 16, 8)
MISFITS: dict[str, Callable[[], Any]] = {
    "a product's channels": lambda: operators.pointwise(Z, zeros(12, 8)),
    "paths": lambda: operators.join_paths(zeros(2, 4, 6, 2, 8), zeros(8, 2, 16)),
    "a convolution's channels": lambda: convolution.correlate(Z, zeros(3, 3, 4, 16), 2, AROUND),
    "its groups": lambda: convolution.correlate(Z, zeros(3, 3, 4, 18), 4, AROUND),
    "its sides": lambda: convolution.correlate(Z, zeros(3, 3, 16, 16), 1, SAME),
    "the gradient at a result": lambda: calls.backward(
        Passage(2, (calls.shape_of(PRODUCT, 1, ONE),)), True, Z, [], [PRODUCT], [zeros(1, 1, 8, 16)], [Z]
    ),
    "a map": lambda: stretch.through(Z, operators.Affine(zeros(8), zeros(8)), [(PRODUCT, 1, False)]),
    "a stretch's channels": lambda: stretch.through(Z, MAP, [(zeros(1, 1, 12, 8), 1, False)]),
    "what a link reads": lambda: stretch.through(Z, MAP, [(PRODUCT, 1, False), (zeros(1, 1, 16, 8), 1, False)]),
    "an odd picture's maxima": lambda: stretch.through(Z[:, :3], MAP, [(PRODUCT, 1, False)], pool=True),
    "an identity": lambda: stretch.through(Z, MAP, [(PRODUCT, 1, False)], identity=True),
    "an identity of two runs": lambda: stretch.through(Z, MAP, [(zeros(3, 3, 16, 16), 1, False)] * 2, identity=True),
    "what is beside": lambda: stretch.through(Z, MAP, [(PRODUCT, 1, False)], beside=stretch.Mapped(Z, MAP)),
    "the beginnings of towers": lambda: inception.parted(
        stretch.Mapped(Z, MAP), PRODUCT, zeros(1, 1, 16, 12), pool=False
    ),
    "their joining": lambda: inception.joined(
        Z, stretch.Mapped(Z, operators.Affine(zeros(8), zeros(8))), zeros(3, 3, 4, 8)
    ),
}


@pytest.mark.parametrize("asked", ["native", "winograd"])
@pytest.mark.parametrize("name", MISFITS)
def test_arrays_that_do_not_fit_are_refused(name: str, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code reads as many numbers as its form says: what is smaller would be read past its end, without a word."""
    by_whatever = name in ("a product's channels", "paths")
    monkeypatch.setenv(KERNELS_VARIABLE, "xla" if by_whatever else asked)
    with pytest.raises(ValueError, match=r"must be \(|do not fit|an identity goes around|are not joined") as refusal:
        jax.eval_shape(MISFITS[name])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float64, np.int32])
def test_numbers_that_are_not_float32_are_refused(dtype: Any) -> None:
    with jax.enable_x64(True), pytest.raises(TypeError, match="must be float32"):
        jax.eval_shape(lambda: stretch.through(zeros(*Z.shape, dtype=dtype), MAP, [(PRODUCT, 1, False)]))


@pytest.mark.parametrize(("size", "pool"), [((4, 4), False), ((3, 5), True)])
def test_towers_part_as_two_products_of_the_same_pictures(size: tuple[int, int], pool: bool) -> None:
    draw = few(53)
    z, ends, affine, (dy, slopes) = passed(draw, 16, 12, size, pool)
    starts = draw((1, 1, 16, 12))

    def ours(source: Any, ends: Any, starts: Any) -> Any:
        return inception.parted(source, ends, starts, pool)

    def plain(source: Any, ends: Any, starts: Any) -> Any:
        x = read(*source)
        x = operators.max_pool(x) if pool else x
        first, second = (oracle(x, kernel, 1, "SAME") for kernel in (ends, starts))
        return first, second, sums_of(second)

    compare(ours, plain, (stretch.Mapped(z, affine), ends, starts), (dy, draw(dy.shape), slopes))


@pytest.mark.parametrize("channels", [2, 4, 5, 16])
def test_towers_are_joined_number_for_number(channels: int) -> None:
    """Of a window of two by two, whose means of small whole numbers are held exactly."""
    arguments, cotangents = towers(few(59), channels, 2)
    compare(inception.joined, joined_plainly, arguments, cotangents)


@pytest.mark.parametrize("window", [3, 5])
def test_towers_are_joined_with_other_windows(window: int) -> None:
    given = towers(normals(61), 8, window)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), given)
        expected = of_joined(joined_plainly, wide)
    for a, b in zip(of_joined(inception.joined, given), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(np.abs(b).max()))


def test_results_are_the_same_where_nobody_sums_them() -> None:
    z, kernel, affine, _ = passed(normals(71), 16, 8, (4, 6))
    (ends, middles, last), _ = towers(normals(73), 8, 3)
    source, links = stretch.Mapped(z, affine), [(normals(79)((3, 3, 1, 16)), 16, False), (kernel, 1, False)]
    for function in (
        lambda **summed: stretch.through(z, affine, links, **summed),
        lambda **summed: inception.parted(source, kernel, kernel[..., ::-1], False, **summed),
        lambda **summed: inception.joined(ends, middles, last, **summed),
    ):
        (*with_sums, sums), (*without, none) = jax.jit(function)(), jax.jit(partial(function, summed=False))()
        jax.tree.map(np.testing.assert_array_equal, with_sums, without)
        assert min(np.abs(part).max() for part in sums) > 0
        assert not np.any(np.stack(none))


def test_trials_side_by_side_pass_a_stretch_as_one_after_another() -> None:
    """One call for all of them, their kernels and maps their own; and for trials of trials."""
    made = [passed(normals(seed), 16, 20, (4, 4)) for seed in range(4)]
    links = [(normals(31)((3, 3, 1, 16)), 16, False)]

    def one(z: Any, kernel: Any, affine: Any, cotangents: Any) -> Any:
        def whole(z: Any, affine: Any, kernel: Any) -> Any:
            return stretch.through(z, affine, [*links, (kernel, 1, False)])

        y, pullback = jax.vjp(whole, z, affine, kernel)
        return y, pullback(cotangents)

    stacked = jax.tree.map(lambda *parts: np.stack(parts), *made)
    assert len(kernels_called(jax.vmap(one), *stacked)) == 2
    together = jax.tree.leaves(jax.jit(jax.vmap(one))(*stacked))
    pairs = jax.tree.map(lambda a: a.reshape(2, 2, *a.shape[1:]), stacked)
    nested = jax.tree.leaves(jax.jit(jax.vmap(jax.vmap(one)))(*pairs))
    for number, arguments in enumerate(made):
        for a, b, c in zip(together, nested, jax.tree.leaves(jax.jit(one)(*arguments)), strict=True):
            np.testing.assert_array_equal(a[number], c)
            np.testing.assert_array_equal(b[number // 2, number % 2], c)


def test_a_run_ends_behind_what_is_dear_to_compute_anew() -> None:
    """16 channels by nine taps are, one channel by nine is not: what is behind the first is kept."""
    z, product, affine, _ = passed(few(37), 16, 8, (4, 4))
    for inputs, groups, calls_of_it in ((1, 16, 1), (16, 1, 2)):
        kernel = few(41)((3, 3, inputs, 16))
        links = [(kernel, groups, False), (product, 1, False)]
        assert kernels_called(lambda z, links=links: stretch.through(z, affine, links), z) == ["forward"] * calls_of_it


def test_data_come_without_a_map_and_have_no_gradient() -> None:
    """A stem: the pictures as they are, and the gradient at the kernel alone."""
    images, kernel = few(19)((2, 6, 6, 3)), few(20)((3, 3, 3, 16))

    def loss(kernel: Any) -> jax.Array:
        y, sums = stretch.through(images, None, [(kernel, 1, False)])
        return (y * y).sum() + sums.squares.sum() + sums.total.sum()

    def plain(kernel: Any) -> jax.Array:
        y = oracle(images, kernel, 1, "SAME")
        return 2 * (y * y).sum() + y.sum()

    np.testing.assert_array_equal(jax.jit(jax.grad(loss))(kernel), jax.grad(plain)(kernel))


DESIGNS = [
    {"formulation": "separable"},
    {"formulation": "separable_strict"},
    {"formulation": "hybrid"},
    {"formulation": "hybrid_learned"},
    {"formulation": "resnext", "groups": 2},
    {"formulation": "inception_simplified", "groups": 2},
    {"formulation": "inception_extreme"},
    {"formulation": "inception_reformulated", "groups": 4},
    {"formulation": "grouped", "groups": 2},
    {"formulation": "grouped", "groups": 2, "order": "pointwise_first"},
    {"formulation": "super_separable", "groups": 2},
    {"formulation": "bsconv_u"},
    {"formulation": "bsconv_s"},
    {"formulation": "regular"},
    {"formulation": "separable", "activation": "relu"},
    {"formulation": "resnext", "groups": 2, "activation": "relu"},
    {"formulation": "bsconv_s", "activation": "relu"},
    {"formulation": "separable", "residual": True, "depth": 2},
]


INNER = {"activation": "relu", "normalise": True}
STRETCHES: dict[str, tuple[dict[str, Any], list[str]]] = {  # with BatchNorms inside; the kernels a module calls
    "separable": ({"formulation": "separable", "residual": True, "depth": 2}, ["forward"] * 2),
    "resnext": ({"formulation": "resnext", "groups": 2, "residual": True, "depth": 2}, ["forward"] * 3),
    "inception": ({"formulation": "inception", "depth": 2}, ["part", "forward", "join"]),
}


def modules(name: str) -> int:
    """Of its network."""
    return 3 * STRETCHES[name][0].get("depth", 1)


MODULES = [  # and channels, features, sides, pooling, whether it trains
    ({"formulation": "inception_simplified", "groups": 2}, 16, 16, (4, 6), False, True),
    ({"formulation": "super_separable", "groups": 4}, 16, 16, (4, 6), False, True),
    ({"formulation": "hybrid_learned"}, 8, 16, (3, 5), True, True),
    ({"formulation": "bsconv_s", "residual": True}, 40, 40, (4, 6), False, False),
    ({"formulation": "inception", "kernel": 5}, 20, 40, (3, 5), True, True),
]


@pytest.mark.parametrize("case", MODULES, ids=lambda case: case[0]["formulation"])
def test_a_module_by_stretches_is_the_module_in_float64(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Result, sums, running statistics and the gradients at the pictures, their map and the weights."""
    settings, channels, features, (height, width), pool, train = case
    design, random = Design(**{**INNER, "width": channels, **settings}), normals(67)
    module, ours = SeparableModule(design, features), Stretches(design)
    z = random((3, 2 * height, 2 * width, channels) if pool else (3, height, width, channels))
    affine = operators.Affine(random((channels,)), random((channels,)))
    params, stats = draw(module, jax.random.key(1), (height, width, channels))
    params = jax.tree.map(lambda leaf: leaf + 0.1 * random(leaf.shape) if leaf.ndim == 1 else leaf, params)
    weights = random((features,))

    def by_stretches(z: Any, affine: Any, params: Any) -> Any:
        stretches = cut(params, design, z, features, pool)
        assert stretches is not None
        made, new = ours.apply({"params": params, "stats": stats}, z, affine, stretches, train, mutable=["stats"])
        return made, new

    def whole(z: Any, affine: Any, params: Any) -> Any:
        x = read(z, affine)
        x = operators.max_pool(x) if pool else x
        wide = jax.tree.map(lambda leaf: leaf.astype(x.dtype), stats)
        y, new = module.apply({"params": params, "stats": wide}, x, train, mutable=["stats"])
        return (y, sums_of(y)), new

    def step(function: Any) -> Any:
        def loss(*arguments: Any) -> Any:
            (y, sums), new = function(*arguments)
            slope = jnp.asarray(weights, y.dtype)
            of_result = (y * y * slope[None, None, None]).sum()
            if not train:  # nobody reads the sums
                return of_result, (y, new)
            return of_result + (sums.squares * slope).sum() + sums.total.sum(), (y, sums, new)

        return jax.jit(lambda *arguments: jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(*arguments))

    monkeypatch.setenv(KERNELS_VARIABLE, "throughout")
    found = jax.tree.leaves(step(by_stretches)(z, affine, params))
    monkeypatch.setenv(KERNELS_VARIABLE, "xla")
    with jax.enable_x64(True):
        arguments = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (z, affine, params))
        expected = [np.asarray(a) for a in jax.tree.leaves(step(whole)(*arguments))]
    for a, b in zip(found, expected, strict=True):
        assert np.linalg.norm(np.asarray(a) - b) <= 1e-4 * np.linalg.norm(b)


def test_an_identity_around_batchnorms_is_not_taken_where_a_stage_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added lies beside the last stretch, as large as it was before the pooling."""
    monkeypatch.setenv(KERNELS_VARIABLE, "throughout")
    design = Design(**INNER, formulation="separable", residual=True, width=16)
    params, _ = draw(SeparableModule(design, 16), jax.random.key(0), (4, 6, 16))
    assert cut(params, design, Z, 16, pool=False) is not None
    assert cut(params, design, Z, 16, pool=True) is None


@pytest.mark.parametrize("name", STRETCHES)
def test_evaluation_sums_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A BatchNorm reads its running statistics then: each call gives its pictures and scratch alone."""
    monkeypatch.setenv(KERNELS_VARIABLE, "throughout")
    network = Stack(Design(**{"width": 8, "depth": 1, **INNER, **STRETCHES[name][0]}), 10)
    variables = dict(zip(("params", "stats"), draw(network, jax.random.key(0), (8, 8, 3)), strict=True))
    images = normals(23)((4, 8, 8, 3))
    program = jax.make_jaxpr(lambda variables: network.apply(variables, images, False))(variables)
    results = [len(e.outvars) for e in equations(program.jaxpr) if e.primitive.name == "ffi_call"]
    assert sorted(results) == sorted(
        [2] + [3 if kernel == "part" else 2 for kernel in STRETCHES[name][1]] * modules(name)
    )


@pytest.mark.parametrize("name", STRETCHES)
def test_the_network_with_batchnorms_inside_its_modules_is_the_network(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, forwards = STRETCHES[name]
    network = Stack(Design(**{"width": 8, "depth": 1, **INNER, **settings}), 10)
    backwards = {"forward": "backward", "part": "part_back", "join": "join_back"}
    calls_of_it = ["forward", "backward"] + modules(name) * (forwards + [backwards[of] for of in forwards])
    called = what_they_do(the_same_by(network, "throughout", 1e-2, monkeypatch))
    assert sorted(called) == sorted(calls_of_it)


@pytest.mark.parametrize("settings", DESIGNS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_the_network_of_single_stretches_is_the_network(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every formulation that is a chain of convolutions."""
    network = Stack(Design(**{"width": 8, "depth": 1, **settings}), 10)
    # by another rounding a ReLU between two convolutions may open that was shut: a pixel's whole gradient
    limit = 1e-2 if "activation" in settings else 1e-4
    called = what_they_do(the_same_by(network, "fused", limit, monkeypatch))
    assert called.count("forward") == called.count("backward") >= 4  # the stem's and the three modules'


@pytest.mark.parametrize(
    ("asked", "settings", "taken"),
    [
        ("fused", {"activation": "elu"}, []),
        ("fused", {"normalise": True}, []),
        ("fused", {"formulation": "grouped", "groups": 1, "residual": True}, ["forward"] * 4),
        ("fused", {"formulation": "inception", **INNER}, []),
        ("throughout", {"activation": "elu"}, []),
        ("throughout", {"normalise": True}, []),
        ("throughout", {"activation": "elu", "normalise": True}, []),
        ("throughout", {"formulation": "inception", "residual": True, **INNER}, ["part", "forward", "join"] * 2),
    ],
    ids=str,
)
def test_what_is_no_chain_that_fits_is_computed_as_without(
    asked: str, settings: dict[str, Any], taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `native`'s kernels but for the stem, and for the two modules that have no identity; gives XLA's numbers."""
    network = Stack(Design(width=8, depth=2, **settings), 10)
    images = normals(23)((4, 8, 8, 3))
    params, stats = draw(network, jax.random.key(0), (8, 8, 3))
    programs = {}
    for choice in (asked, "xla", "native"):
        monkeypatch.setenv(KERNELS_VARIABLE, choice)
        apply = jax.jit(lambda p: network.apply({"params": p, "stats": stats}, images, True, mutable=["stats"])[0])
        programs[choice] = apply.lower(params)
    logits = [programs[choice].compile()(params) for choice in (asked, "xla")]
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-4)
    ours, xlas, natives = (kernels_named(program) for program in programs.values())
    assert not xlas
    assert len(natives) > 1
    assert sorted(what_they_do([name for name in ours if name not in natives])) == sorted(["forward", *taken])


def test_a_product_is_added_with_one_rounding() -> None:
    """-1 + (1 + 2^-12)^2 is 2^-11 + 2^-24; a product that is rounded first loses the last term."""
    near = 1 + 2.0**-12
    x = np.tile(np.array([-1, near], np.float32), (1, 2, 4, 1))
    weights = np.tile(np.array([[1], [near]], np.float32), (1, 8))
    np.testing.assert_array_equal(jax.jit(operators.pointwise)(x, weights), np.float32(2.0**-11 + 2.0**-24))
