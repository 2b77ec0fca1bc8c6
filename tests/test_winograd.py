"""Minimal filtering by our own kernels (`protocol.kernels=winograd`): the same numbers from fewer products.

Its matrices add and halve, so that small whole numbers stay exact: every number must be the oracle's.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dsresearch import operators
from dsresearch.design import Design
from dsresearch.networks.stack import Stack
from dsresearch.operators.geometry import Geometry, turned
from dsresearch.runtime import KERNELS_VARIABLE

pytest.importorskip("llvmlite", reason="llvmlite is not installed (the extra `native`)")

from convolving import (
    Case,
    Floats,
    Links,
    arrays,
    few,
    fixed,
    joined_plainly,
    normals,
    of_joined,
    one_by_one,
    passed,
    the_same_by,
    through_and_gradients,
    towers,
    trained_by,
    value_and_gradients,
    wanted,
    what_they_do,
    whole_numbers,
)

from dsresearch.operators.native import calls, inception, target, winograd
from dsresearch.operators.native.code import Code
from dsresearch.operators.native.rooms import Scratch


@pytest.fixture(autouse=True)
def _winograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNELS_VARIABLE, "winograd")


def is_taken(case: Case) -> bool:
    """Whether a case's convolution is computed so."""
    geometry = Geometry.of(case["size"], case["window"], 1, 1, case["padding"])
    kernel = jnp.zeros((*case["window"], case["inputs"], case["groups"] * case["outputs"]))
    return calls.shape_of(kernel, case["groups"], geometry).winograd


def of_conv(case: Case, given: tuple[Floats, Floats, Floats]) -> list[Floats]:
    groups, padding = case["groups"], case["padding"]
    return value_and_gradients(lambda x, k: operators.spatial_conv(x, k, groups=groups, padding=padding), *given)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Shapes that are computed so: sides with whole tiles, and enough channels."""
    return fixed(
        batch=draw(st.integers(1, 3)),
        size=tuple(2 * draw(st.integers(2, 8)) for _ in range(2)),
        padding=draw(st.sampled_from(["SAME", "VALID"])),
        groups=draw(st.sampled_from([1, 2, 3])),
        inputs=draw(st.sampled_from([8, 11, 16])),
        outputs=draw(st.sampled_from([8, 12, 20, 32])),
    )


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
@example(case=fixed(size=(2, 2)))  # one tile
@example(case=fixed(size=(14, 8)))  # seven rows of four tiles, four of which are taken at a time
@example(case=fixed(size=(4, 44)))  # a row of more tiles than are taken at a time
@example(case=fixed(size=(4, 4), padding="VALID", inputs=32, outputs=64))  # vectors side by side
@example(case=fixed(groups=3, inputs=12, outputs=12))  # the last vector repeats outputs of the one before
@example(case=fixed(groups=4, inputs=8, outputs=8))
def test_convolution_and_both_gradients_are_the_librarys_number_for_number(case: Case) -> None:
    assert is_taken(case)
    given = arrays(case, whole_numbers(3))
    for a, b in zip(of_conv(case, given), wanted(*given, case["groups"], case["padding"]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("channels", [8, 32, 128])
def test_rounding_is_at_most_some_times_that_of_the_products(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against float64, in norm: fewer products are added, and what is added to make them costs as much."""
    case = fixed(batch=8, size=(8, 8), inputs=channels, outputs=channels)
    given = arrays(case, normals(5))
    expected = wanted(*given, 1, "SAME")
    errors = {}
    for asked in ("native", "winograd"):
        monkeypatch.setenv(KERNELS_VARIABLE, asked)
        found = of_conv(case, given)
        errors[asked] = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, expected, strict=True)]
    for few_products, all_products in zip(errors["winograd"], errors["native"], strict=True):
        assert few_products < 1.6 * all_products
        assert few_products < 1e-6


@pytest.mark.parametrize(
    "changes",
    [
        {"size": (5, 8)},
        {"size": (6, 7)},
        {"window": (5, 5)},
        {"window": (1, 3)},
        {"window": (1, 1)},
        {"inputs": 7, "outputs": 7},
        {"groups": 16, "inputs": 1, "outputs": 1},
        {"groups": 2, "inputs": 8, "outputs": 4},
    ],
    ids=str,
)
def test_what_has_no_whole_tiles_or_few_channels_is_computed_as_by_native(
    changes: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = fixed(**changes)
    assert not is_taken(case)
    given = arrays(case, normals(1))
    ours = of_conv(case, given)
    monkeypatch.setenv(KERNELS_VARIABLE, "native")
    for a, b in zip(ours, of_conv(case, given), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("asked", ["native", "fused", "throughout"])
def test_it_is_taken_where_it_is_asked_for_alone(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_taken(fixed())
    monkeypatch.setenv(KERNELS_VARIABLE, asked)
    assert not is_taken(fixed())


def test_a_kernels_spectrum_is_that_of_the_papers_matrix() -> None:
    kernel = whole_numbers(2)((3, 3, 8, 12))
    g = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    np.testing.assert_array_equal(winograd.spectrum(kernel), np.einsum("ai,bj,ijcm->abcm", g, g, kernel))


@pytest.mark.parametrize("groups", [1, 3])
def test_a_turned_kernels_spectrum_is_the_spectrum_turned(groups: int) -> None:
    kernel = whole_numbers(2)((3, 3, 8, 12))
    found = winograd.turned_spectrum(winograd.spectrum(kernel), groups)
    np.testing.assert_array_equal(found, winograd.spectrum(turned(jnp.asarray(kernel), groups)))


def test_bits_do_not_depend_on_the_processors_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    case = fixed(groups=2, inputs=16, outputs=32)
    given, joining = arrays(case, normals(7)), towers(normals(9), 16, 3, (6, 4))
    z, _, affine, cotangents = passed(normals(8), 16, 32, (6, 8), pool=True)
    links: Links = [(normals(6)((3, 3, 16, 32)), 1, False)]
    found = []
    for most in (4, 8, 16):
        monkeypatch.setattr(target, "vector_lanes", lambda most=most: most)
        calls._kernel.cache_clear()
        found.append(of_conv(case, given) + through_and_gradients(z, affine, links, True, cotangents))
        found[-1] += of_joined(inception.joined, joining)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_room_that_is_lent_briefly_holds_what_is_asked_for() -> None:
    """The same for all who ask, until one asks for more; never what somebody else keeps."""
    code = Code("room", 1)
    scratch = Scratch(code, code.arrays[0])
    (_, first), kept = scratch.briefly(40), scratch.size
    scratch.plane((2, 3), 16)
    assert scratch.briefly(30)[1] == first
    _, larger = scratch.briefly(200)
    assert first + 40 <= kept < kept + 2 * 3 * 16 <= larger
    assert larger + 200 <= scratch.size


def test_trials_side_by_side_are_trials_one_after_another() -> None:
    made = [arrays(fixed(), normals(seed)) for seed in range(3)]

    def one(x: Any, kernel: Any, dy: Any) -> Any:
        y, pullback = jax.vjp(operators.spatial_conv, x, kernel)
        return y, *pullback(dy)

    together = jax.jit(jax.vmap(one))(*(np.stack(group) for group in zip(*made, strict=True)))
    for number, arguments in enumerate(made):
        for a, b in zip(together, jax.jit(one)(*arguments), strict=True):
            np.testing.assert_array_equal(a[number], b)


CHAINS: dict[str, list[tuple[int, int, int, int]]] = {  # by window, inputs of a group, outputs, groups
    "in front of a product": [(3, 16, 16, 1), (1, 16, 8, 1)],
    "behind a product": [(1, 16, 24, 1), (3, 8, 24, 3)],
    "two": [(3, 16, 16, 1), (3, 8, 16, 2)],
    "between depthwise ones": [(3, 1, 16, 16), (3, 8, 16, 2), (3, 1, 16, 16)],
}


@pytest.mark.parametrize(("size", "pool"), [((4, 6), False), ((8, 2), True)])
@pytest.mark.parametrize("name", CHAINS)
def test_a_stretch_and_all_its_gradients_are_the_librarys_number_for_number(
    name: str, size: tuple[int, int], pool: bool
) -> None:
    draw, last = few(13), len(CHAINS[name]) - 1
    links: Links = [
        (draw((window, window, inputs, outputs)), groups, number < last)
        for number, (window, inputs, outputs, groups) in enumerate(CHAINS[name])
    ]
    z, _, affine, cotangents = passed(draw, 16, links[-1][0].shape[-1], size, pool)
    expected = one_by_one(z, affine, links, pool, cotangents)
    assert max(np.abs(a).max() for a in expected) < 2**22  # quarters of such numbers are held exactly, too
    for a, b in zip(through_and_gradients(z, affine, links, pool, cotangents), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("channels", [8, 20])
def test_an_identity_around_it_is_added(channels: int) -> None:
    draw = few(43)
    links: Links = [(draw((3, 3, channels, channels)), 1, False)]
    z, _, affine, cotangents = passed(draw, channels, channels, (4, 4))
    expected = one_by_one(z, affine, links, False, cotangents, True)
    for a, b in zip(through_and_gradients(z, affine, links, False, cotangents, True), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_towers_are_joined_as_by_the_library() -> None:
    """The mean of nine is no whole number: in norm, against float64."""
    given = towers(normals(61), 8, 3, (6, 4))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), given)
        expected = of_joined(joined_plainly, wide)
    for a, b in zip(of_joined(inception.joined, given), expected, strict=True):
        assert np.linalg.norm(a - b) <= 1e-6 * np.linalg.norm(b)


NETWORKS: dict[str, dict[str, Any]] = {
    "regular": {"formulation": "regular"},
    "grouped": {"formulation": "grouped", "groups": 2},
    "with an identity": {"formulation": "grouped", "groups": 1, "residual": True, "depth": 2},
    "inception_reformulated": {
        "formulation": "inception_reformulated", "groups": 2, "activation": "relu", "normalise": True
    },
    "resnext": {"formulation": "resnext", "groups": 1, "activation": "relu", "normalise": True},
    "inception": {"formulation": "inception", "activation": "relu", "normalise": True, "width": 32},
    # by the operator, not a stretch
    "another activation": {"formulation": "grouped", "groups": 1, "activation": "elu"},
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_the_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By kernels that do what those of `throughout` do, and are not the same."""
    network = Stack(Design(**{"width": 16, "depth": 1, **NETWORKS[name]}), 10)
    limit = 1e-2 if "activation" in NETWORKS[name] else 1e-4  # by another rounding a ReLU may open that was shut
    ours, others = (the_same_by(network, asked, limit, monkeypatch) for asked in ("winograd", "throughout"))
    assert what_they_do(ours) == what_they_do(others)
    assert ours != others


def test_a_study_by_it_says_so_and_learns_as_without(tmp_path: Path) -> None:
    changed = ("design.width=16",)
    other, ours = (
        trained_by(asked, tmp_path / asked, "inception_reformulated", changed) for asked in ("throughout", "winograd")
    )
    assert (other["kernels"], ours["kernels"]) == ("throughout", "winograd")
    assert ours["params_sha256"] != other["params_sha256"]
    assert ours["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)
