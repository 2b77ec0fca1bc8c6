"""The operations that networks need, against PyTorch, torchvision, and literal sums in float64."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jax import lax

from dsresearch import operators
from dsresearch.networks import layers
from dsresearch.networks.vocabulary import pads


def torch() -> Any:
    """The oracle of most tests here; a test that asks for it is skipped without it, the others run everywhere."""
    return pytest.importorskip("torch", reason="PyTorch is the oracle; install the extra `peers`")


def nn() -> Any:
    return torch().nn.functional


def normal(seed: int, *shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def nchw(x: np.ndarray) -> Any:
    return torch().from_numpy(np.moveaxis(x, -1, 1).copy())


def nhwc(x: Any) -> np.ndarray:
    return np.moveaxis(x.detach().numpy(), 1, -1)


@pytest.fixture(autouse=True)
def _float64() -> Any:
    with jax.enable_x64(True):
        yield


# --- activations --------------------------------------------------------------------------------------------------


REFERENCES: dict[str, Any] = {
    "none": lambda x: x,
    "relu": lambda x: nn().relu(x),
    "relu6": lambda x: nn().relu6(x),
    "elu": lambda x: nn().elu(x),
    "leaky": lambda x: nn().leaky_relu(x, 0.1),
    "swish": lambda x: nn().silu(x),
    "sigmoid": lambda x: torch().sigmoid(x),
    "hard_sigmoid": lambda x: nn().hardsigmoid(x),
    "hard_swish": lambda x: nn().hardswish(x),
}


@pytest.mark.parametrize("name", layers.ACTIVATIONS)
def test_activations_are_pytorchs(name: str) -> None:
    x = np.concatenate([normal(1, 200) * 5, [-7.0, 7.0, 0.5, -0.5]])
    found, slope = jax.vmap(jax.value_and_grad(layers.ACTIVATIONS[name]))(jnp.asarray(x))
    given = torch().from_numpy(x).requires_grad_()
    expected = REFERENCES[name](given)
    expected.sum().backward()
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slope, given.grad, rtol=1e-7, atol=1e-12)  # PyTorch's 1/6 is a float32


def test_prelu_of_channels_is_pytorchs_and_of_elements_is_its_definition() -> None:
    x, slope = normal(2, 2, 3, 4, 5), normal(3, 5)
    expected = nhwc(nn().prelu(nchw(x), torch().from_numpy(slope)))
    np.testing.assert_allclose(layers.prelu(jnp.asarray(x), jnp.asarray(slope)), expected, rtol=1e-12)
    each = normal(4, 3, 4, 5)
    expected = np.where(x > 0, x, x * each)
    np.testing.assert_allclose(layers.prelu(jnp.asarray(x), jnp.asarray(each)), expected, rtol=1e-12)


# --- pooling ------------------------------------------------------------------------------------------------------

WINDOWS = [(3, 2, 1), (3, 2, "CEIL"), (3, 2, "VALID"), (2, 2, "CEIL"), (3, 1, 1), (5, 3, "VALID"), (2, 2, "VALID")]


@pytest.mark.parametrize(("window", "stride", "padding"), WINDOWS)
@pytest.mark.parametrize("size", [(7, 8), (9, 5)])
def test_pools_are_pytorchs(window: int, stride: int, padding: Any, size: tuple[int, int]) -> None:
    x = normal(5, 2, *size, 3) - 4  # below zero, so that zero padding would win a maximum
    ceil = {"ceil_mode": padding == "CEIL", "padding": padding if isinstance(padding, int) else 0}
    picture = nchw(x).requires_grad_()
    expected = nn().max_pool2d(picture, window, stride, **ceil)
    weights = normal(6, *nhwc(expected).shape)
    (expected * nchw(weights)).sum().backward()
    pool = functools.partial(layers.max_pool, window=window, stride=stride, padding=padding)
    np.testing.assert_allclose(jax.jit(pool)(jnp.asarray(x)), nhwc(expected), rtol=1e-12)
    gradient = jax.jit(jax.grad(lambda x: (pool(x) * weights).sum()))(jnp.asarray(x))
    np.testing.assert_allclose(gradient, nhwc(picture.grad), rtol=1e-12, atol=1e-12)
    for counted in (True, False):
        mean = nhwc(nn().avg_pool2d(nchw(x), window, stride, count_include_pad=counted, **ceil))
        if padding == "CEIL" and counted:
            continue  # PyTorch never counts what ceil_mode adds
        pool = functools.partial(layers.avg_pool, window=window, stride=stride, padding=padding, count_padding=counted)
        np.testing.assert_allclose(jax.jit(pool)(jnp.asarray(x)), mean, rtol=1e-12)


@given(size=st.integers(1, 20), window=st.integers(1, 5), stride=st.integers(1, 3), dilation=st.integers(1, 3))
@example(size=224, window=3, stride=2, dilation=1)
def test_same_padding_is_xlas(size: int, window: int, stride: int, dilation: int) -> None:
    spans = [(window - 1) * dilation + 1] * 2
    expected = lax.padtype_to_pads((size, size + 1), spans, (stride, stride), "SAME")
    found = pads((size, size + 1), (window, window), stride, dilation, "SAME")
    assert [tuple(edges) for edges in found] == [tuple(edges) for edges in expected]


def test_a_padding_that_is_no_word_is_refused() -> None:
    with pytest.raises(ValueError, match="FULL"):
        pads((4, 4), (3, 3), 1, 1, "FULL")


# --- channels -----------------------------------------------------------------------------------------------------


def test_the_shuffle_of_twelve_channels_in_three_groups() -> None:
    found = layers.channel_shuffle(jnp.arange(12.0), 3)
    assert found.tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


@pytest.mark.parametrize(("groups", "each"), [(1, 4), (4, 1), (2, 3), (3, 4)])
def test_shuffles_are_pytorchs_and_undo_one_another(groups: int, each: int) -> None:
    x = normal(7, 2, 2, 3, groups * each)
    found = layers.channel_shuffle(jnp.asarray(x), groups)
    np.testing.assert_array_equal(found, nhwc(nn().channel_shuffle(nchw(x), groups)))
    np.testing.assert_array_equal(layers.channel_shuffle(found, each), x)


@pytest.mark.parametrize("size", [5, 4, 1])
def test_response_normalisation_is_pytorchs(size: int) -> None:
    x = normal(8, 2, 3, 3, 7)
    found = layers.local_response_norm(jnp.asarray(x), size=size, alpha=0.3, beta=0.75, k=2.0)
    expected = nhwc(nn().local_response_norm(nchw(x), size, 0.3, 0.75, 2.0))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(("shape", "window"), [((2, 6, 5, 12), (3, 3)), ((2, 1, 9, 12), (1, 5))])
@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (2, 1), (3, 2), (12, 1)])
def test_super_separable_is_a_separable_convolution_on_each_group(
    shape: tuple[int, ...], window: tuple[int, int], groups: int, stride: int
) -> None:
    x, depthwise = normal(9, *shape), normal(10, *window, 1, 12)
    pointwise = normal(11, groups, 12 // groups, 24 // groups)
    found = layers.super_separable(jnp.asarray(x), jnp.asarray(depthwise), jnp.asarray(pointwise), stride=stride)
    parts = []
    for i in range(groups):
        own = slice(i * 12 // groups, (i + 1) * 12 // groups)
        z = lax.conv_general_dilated(
            jnp.asarray(x[..., own]),
            jnp.asarray(depthwise[..., own]),
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=12 // groups,
        )
        parts.append(np.asarray(z) @ pointwise[i])
    np.testing.assert_allclose(found, np.concatenate(parts, -1), rtol=1e-9, atol=1e-12)


# --- dilation, multiplier -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [2, 6])
def test_an_atrous_depthwise_convolution_is_one_with_zeros_between(rate: int) -> None:
    x, kernel = normal(12, 1, 15, 14, 4), normal(13, 3, 3, 1, 4)
    full = np.zeros((2 * rate + 1, 2 * rate + 1, 1, 4))
    full[::rate, ::rate] = kernel
    found = operators.spatial_conv(jnp.asarray(x), jnp.asarray(kernel), groups=4, dilation=rate)
    expected = nhwc(nn().conv2d(nchw(x), torch().from_numpy(full.transpose(3, 2, 0, 1).copy()), padding=rate, groups=4))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_depth_multiplier_is_pytorchs_grouped_convolution() -> None:
    x, kernel = normal(14, 2, 6, 7, 3), normal(15, 3, 3, 1, 24)
    found = operators.spatial_conv(jnp.asarray(x), jnp.asarray(kernel), groups=3)
    expected = nn().conv2d(nchw(x), torch().from_numpy(kernel.transpose(3, 2, 0, 1).copy()), padding=1, groups=3)
    np.testing.assert_allclose(found, nhwc(expected), rtol=1e-9, atol=1e-12)


# --- sampling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(9, 13), (4, 6), (3, 4), (2, 1), (7, 6)])
def test_resizing_is_pytorchs_with_corners_aligned(height: int, width: int) -> None:
    for shape in ((2, 4, 6, 3), (1, 1, 1, 2)):
        x = normal(16, *shape)
        expected = nhwc(nn().interpolate(nchw(x), (height, width), mode="bilinear", align_corners=True))
        np.testing.assert_allclose(layers.resize(jnp.asarray(x), height, width), expected, rtol=1e-9, atol=1e-12)


def deformable_sum(x: Any, kernel: Any, offsets: Any, mask: Any, groups: int, **geometry: int) -> np.ndarray:
    """Zhu et al. 2019, Eq. 1: every sample is a sum over all pixels, weighted by the two hats of bilinear sampling."""
    stride, padding, dilation = (geometry[word] for word in ("stride", "padding", "dilation"))
    _, height, width, channels = x.shape
    rows, columns, inputs, outputs = kernel.shape
    parts = offsets.shape[-1] // (2 * rows * columns)
    y = np.zeros((*offsets.shape[:3], outputs))
    for b, r, c, part, i, j in itertools.product(*map(range, (*y.shape[:3], parts, rows, columns))):
        tap = part * rows * columns + i * columns + j
        at_i = r * stride - padding + i * dilation + offsets[b, r, c, 2 * tap]
        at_j = c * stride - padding + j * dilation + offsets[b, r, c, 2 * tap + 1]
        hats = [np.maximum(0, 1 - abs(at - np.arange(n))) for at, n in ((at_i, height), (at_j, width))]
        sample = np.einsum("p,q,pqm->m", *hats, x[b]) * (1 if mask is None else mask[b, r, c, tap])
        for channel in range(part * channels // parts, (part + 1) * channels // parts):
            group, m = divmod(channel, inputs)
            own = slice(group * outputs // groups, (group + 1) * outputs // groups)
            y[b, r, c, own] += sample[channel] * kernel[i, j, m, own]
    return y


GEOMETRIES = [
    {"stride": 1, "padding": 1, "dilation": 1},
    {"stride": 2, "padding": 1, "dilation": 1},
    {"stride": 1, "padding": 2, "dilation": 2},
    {"stride": 2, "padding": 0, "dilation": 1},
]


def deformable_case(geometry: dict[str, int], parts: int, groups: int, modulated: bool) -> tuple[Any, Any, Any, Any]:
    size, reach = (5, 6), 2 * geometry["dilation"] + 1
    out = [(n + 2 * geometry["padding"] - reach) // geometry["stride"] + 1 for n in size]
    x, kernel = normal(17, 2, *size, 4), normal(18, 3, 3, 4 // groups, 4)
    offsets = 2 * normal(19, 2, *out, parts * 18)
    mask = 1 / (1 + np.exp(-normal(20, 2, *out, parts * 9))) if modulated else None
    return x, kernel, offsets, mask


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("parts", "groups", "modulated"), [(1, 1, True), (2, 1, True), (1, 2, False), (4, 4, True)])
def test_a_deformable_convolution_is_its_definition(
    geometry: dict[str, Any], parts: int, groups: int, modulated: bool
) -> None:
    case = deformable_case(geometry, parts, groups, modulated)
    convolve = jax.jit(functools.partial(layers.deformable_conv, groups=groups, **geometry))
    found = convolve(*(None if a is None else jnp.asarray(a) for a in case))
    np.testing.assert_allclose(found, deformable_sum(*case, groups, **geometry), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("parts", "groups", "modulated"), [(1, 1, True), (2, 2, True), (4, 1, False)])
def test_a_deformable_convolution_and_its_gradients_are_torchvisions(
    geometry: dict[str, Any], parts: int, groups: int, modulated: bool
) -> None:
    try:
        from torchvision.ops import deform_conv2d
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no torchvision that runs here: {error}")
    case = deformable_case(geometry, parts, groups, modulated)
    arrays = [jnp.asarray(a) for a in case if a is not None]
    picture, offsets = nchw(case[0]).requires_grad_(), nchw(case[2]).requires_grad_()
    kernel = torch().from_numpy(case[1].transpose(3, 2, 0, 1).copy()).requires_grad_()
    mask: Any = nchw(case[3]).requires_grad_() if modulated else None
    expected = deform_conv2d(picture, offsets, kernel, mask=mask, **geometry)
    weights = normal(21, *nhwc(expected).shape)
    (expected * nchw(weights)).sum().backward()

    convolve = functools.partial(layers.deformable_conv, groups=groups, **geometry)

    def loss(*arrays: Any) -> Any:
        return (convolve(*arrays) * weights).sum()

    np.testing.assert_allclose(jax.jit(convolve)(*arrays), nhwc(expected), rtol=1e-9, atol=1e-12)
    gradients = jax.jit(jax.grad(loss, argnums=tuple(range(len(arrays)))))(*arrays)
    given = [nhwc(picture.grad), kernel.grad.numpy().transpose(2, 3, 1, 0), nhwc(offsets.grad)]
    given += [nhwc(mask.grad)] if modulated else []
    for mine, theirs in zip(gradients, given, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-8, atol=1e-10)


def test_without_offsets_a_deformable_convolution_is_a_convolution() -> None:
    x, kernel, offsets, _ = deformable_case(GEOMETRIES[1], 1, 1, False)
    found = layers.deformable_conv(jnp.asarray(x), jnp.asarray(kernel), jnp.zeros_like(offsets), stride=2, padding=1)
    expected = nn().conv2d(nchw(x), torch().from_numpy(kernel.transpose(3, 2, 0, 1).copy()), stride=2, padding=1)
    np.testing.assert_allclose(found, nhwc(expected), rtol=1e-9, atol=1e-12)


# --- dropping -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "seed"), [(0.05, 1), (0.5, 2), (0.9, 3)])
def test_a_dropped_path_is_a_whole_picture_and_the_rest_is_scaled(rate: float, seed: int) -> None:
    x = normal(22, 400, 2, 2, 3)
    found = np.asarray(layers.drop_path(jnp.asarray(x), rate, jax.random.key(seed)))
    dropped = (found == 0).all((1, 2, 3))
    np.testing.assert_allclose(found[~dropped], x[~dropped] / (1 - rate), rtol=1e-12)
    assert (found[dropped] == 0).all()
    assert abs(dropped.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / 400)


def test_dropout_drops_single_elements_and_keeps_the_mean() -> None:
    found = np.asarray(layers.dropout(jnp.ones((100, 10, 10)), 0.3, jax.random.key(0)))
    assert set(np.unique(found)) == {0.0, 1 / 0.7}
    assert abs(found.mean() - 1) < 5 * np.sqrt(0.3 / 0.7 / 10_000)


@pytest.mark.parametrize("rate", [0.15, 0.5, 0.999])
def test_a_join_is_the_mean_of_what_is_left_and_something_always_is(rate: float) -> None:
    columns = [jnp.full((1, 1, 1, 1), 10.0**i) for i in range(3)]
    draw = jax.jit(jax.vmap(lambda key: layers.join_columns(columns, rate, key)))
    found = np.asarray(draw(jax.random.split(jax.random.key(1), 4000))).ravel()
    means = {np.mean(kept): kept for n in (1, 2, 3) for kept in itertools.combinations((1.0, 10.0, 100.0), n)}
    lookup = {round(mean, 9): len(kept) for mean, kept in means.items()}
    sizes = np.array([lookup[round(value, 9)] for value in found])
    everything = (1 - rate) ** 3
    assert abs((sizes == 3).mean() - everything) < 5 * np.sqrt(everything * (1 - everything) / 4000) + 1e-3
    alone = 3 * (1 - rate) * rate**2 + rate**3
    assert abs((sizes == 1).mean() - alone) < 5 * np.sqrt(alone * (1 - alone) / 4000) + 1e-3
