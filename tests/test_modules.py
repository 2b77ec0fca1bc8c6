"""The formulations: each against a literal loop over its paths, and what all of them owe to the study."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from scipy import stats as distributions

from dsresearch.design import FORMULATIONS, SETUPS, Design, bsconv_s_rank, setup
from dsresearch.modules import BN_DECAY, BN_EPSILON, BatchNorm, SeparableModule, draw, formulation

Floats = np.ndarray[Any, np.dtype[Any]]
Tree = Mapping[str, Any]
S = {"activation": "relu", "normalise": True}
PLAIN = {"activation": "none", "normalise": False}


# --- literal loops, NumPy around one library convolution a path -----------------------------------------------------


@partial(jax.jit, static_argnums=2)
def _one_convolution(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=numbers)


def conv(x: Floats, kernel: Floats, stride: int = 1) -> Floats:
    """An ungrouped convolution; a matrix is a 1x1."""
    if kernel.ndim == 2:
        kernel = kernel[None, None]
    return np.asarray(_one_convolution(jnp.asarray(x), jnp.asarray(kernel), stride))


def mean_pool(x: Floats, k: int, stride: int) -> Floats:
    """The mean of the pixels that are there."""
    ones = np.ones((k, k, 1, 1))
    total = np.concatenate([conv(x[..., [c]], ones, stride) for c in range(x.shape[3])], axis=3)
    return total / conv(np.ones((1, *x.shape[1:3], 1)), ones, stride)


class Loop:
    """What stands between two operations, by the definition, for one design and one tree of weights."""

    def __init__(self, design: Design, params: Tree) -> None:
        self.design, self.params = design, params

    def between(self, z: Floats, channels: slice = slice(None), name: str = "between") -> Floats:
        """BatchNorm with the batch's statistics and the activation, on some of the channels of the whole."""
        if self.design.normalise:
            norm = self.params[name]["norm"]
            z = (z - z.mean((0, 1, 2))) / np.sqrt(z.var((0, 1, 2)) + BN_EPSILON)
            z = z * norm["scale"][channels] + norm["offset"][channels]
        act = {
            "none": lambda z: z,
            "relu": lambda z: np.maximum(z, 0),
            "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
        }
        return act[self.design.activation](z)

    def __getitem__(self, name: str) -> Floats:
        return np.asarray(self.params[name])


def separable(w: Loop, x: Floats, stride: int) -> Floats:
    q = w.design.multiplier
    total: Any = 0
    for j in range(x.shape[3] * q):
        z = w.between(conv(x[..., [j // q]], w["depthwise"][..., [j]], stride), slice(j, j + 1))
        total = total + z * w["pointwise"][j]
    return total


def separable_strict(w: Loop, x: Floats, stride: int) -> Floats:
    slices = [conv(x[..., m : m + 1], w["filters"][m], stride) for m in range(x.shape[3])]
    return conv(w.between(np.concatenate(slices, axis=3)), w["mixing"])


def hybrid(w: Loop, x: Floats, stride: int) -> Floats:
    def path(m: int) -> Floats:
        selector = np.eye(x.shape[3])[:, [m]]  # ResNeXt's reduce, one channel of it
        z = w.between(conv(conv(x, selector), w["transform"][m], stride), slice(m, m + 1))
        return conv(z, w["expand"][m])

    return sum(path(m) for m in range(x.shape[3]))  # type: ignore[return-value]


def resnext(w: Loop, x: Floats, stride: int) -> Floats:
    paths, _, d = w["reduce"].shape

    def path(i: int) -> Floats:
        own = slice(i * d, i * d + d)
        u = w.between(conv(x, w["reduce"][i]), own, "between_reduce")
        return conv(w.between(conv(u, w["transform"][i], stride), own, "between_transform"), w["expand"][i])

    return sum(path(i) for i in range(paths))  # type: ignore[return-value]


def inception(w: Loop, x: Floats, stride: int) -> Floats:
    k = w.design.kernel
    single = w.between(conv(x, w["single_reduce"]), name="single_between")
    double = w.between(conv(x, w["double_reduce"]), name="double_between_reduce")
    double = w.between(conv(double, w["double_first"]), name="double_between_first")
    towers = [
        conv(x, w["direct"], stride),
        conv(single, w["single"], stride),
        conv(double, w["double_last"], stride),
        conv(mean_pool(x, k, stride), w["pool"]),
    ]
    return np.concatenate(towers, axis=3)


def towers(w: Loop, x: Floats, stride: int) -> Floats:
    count, _, width = w["reduce"].shape
    out = []
    for t in range(count):
        u = w.between(conv(x, w["reduce"][t]), slice(t * width, (t + 1) * width))
        out.append(conv(u, w["spatial"][t], stride))
    return np.concatenate(out, axis=3)


def segments(x: Floats, kernel: Floats, stride: int) -> Floats:
    """A grouped convolution, segment by segment."""
    width = kernel.shape[2]
    groups = x.shape[3] // width
    outputs = kernel.shape[3] // groups
    parts = [
        conv(x[..., g * width : (g + 1) * width], kernel[..., g * outputs : (g + 1) * outputs], stride)
        for g in range(groups)
    ]
    return np.concatenate(parts, axis=3)


def grouped(w: Loop, x: Floats, stride: int) -> Floats:
    if w.design.order == "pointwise_first":
        return segments(w.between(conv(x, w["pointwise"])), w["spatial"], stride)
    return conv(w.between(segments(x, w["spatial"], stride)), w["pointwise"])


def bsconv(w: Loop, x: Floats, stride: int) -> Floats:
    u = conv(x, w["reduce"]) if "reduce" in w.params else x
    return segments(w.between(conv(u, w["mixing"])), w["blueprint"], stride)


def super_separable(w: Loop, x: Floats, stride: int) -> Floats:
    """Each group by itself, channel by channel."""
    out, width = [], x.shape[3] // len(w["pointwise"])
    for group, mixing in enumerate(w["pointwise"]):
        total: Any = 0
        for j in range(width):
            m = group * width + j
            z = w.between(conv(x[..., [m]], w["depthwise"][..., [m]], stride), slice(m, m + 1))
            total = total + z * mixing[j]
        out.append(total)
    return np.concatenate(out, axis=3)


LOOPS: Mapping[str, Callable[[Loop, Floats, int], Floats]] = {
    "separable": separable,
    "separable_strict": separable_strict,
    "hybrid": hybrid,
    "inception": inception,
    "inception_simplified": towers,
    "inception_extreme": towers,
    "inception_reformulated": lambda w, x, stride: segments(w.between(conv(x, w["mixing"])), w["spatial"], stride),
    "resnext": resnext,
    "hybrid_learned": resnext,
    "grouped": grouped,
    "super_separable": super_separable,
    "bsconv_u": bsconv,
    "bsconv_s": bsconv,
    "regular": lambda w, x, stride: conv(x, w["kernel"], stride),
}

# Every formulation, with and without what may stand between its operations, and a residual connection on two of them.
DESIGNS = {
    **{name: Design(**dict(point)) for name, point in SETUPS.items()},
    "separable q=2, elu": setup("separable", multiplier=2, activation="elu"),
    "separable_strict with s": setup("separable_strict", **S),
    "hybrid with s": setup("hybrid", **S),
    "hybrid_learned with s": setup("hybrid_learned", **S),
    "inception without s": setup("inception", **PLAIN),
    "resnext without s": setup("resnext", residual=False, **PLAIN),
    "inception_simplified, BatchNorm alone": setup("inception_simplified", activation="none"),
    "grouped with s": setup("grouped", groups=2, **S),
    "grouped pointwise first": setup("grouped", groups=2, order="pointwise_first"),
    "grouped pointwise first with s": setup("grouped", groups=2, order="pointwise_first", **S),
    "super_separable G=4 with s": setup("super_separable", groups=4, **S),
    "bsconv_s with s, 5x5": setup("bsconv_s", kernel=5, **S),
}


def random_tree(shapes: Any, seed: int = 0) -> Any:
    """Weights for a tree of shapes, positive where they are a variance."""
    rng = np.random.default_rng(seed)

    def leaf(path: Any, shape: Any) -> Floats:
        values = rng.standard_normal(shape.shape) / 2
        return 1 + values**2 if "variance" in str(path[-1]) else values

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def built(network: nn.Module, channels: int) -> tuple[Any, Any]:
    """Shapes of a module's parameters and statistics."""
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 4, 4, channels)), True))
    return variables["params"], variables.get("stats", {})


def test_every_formulation_has_a_loop() -> None:
    assert set(LOOPS) == set(FORMULATIONS) == {design.formulation for design in DESIGNS.values()}


@pytest.mark.parametrize(("stride", "c_out", "size"), [(1, 8, (5, 4)), (2, 16, (6, 5))])
@pytest.mark.parametrize("name", DESIGNS)
def test_a_formulation_is_the_loop_over_its_paths(name: str, stride: int, c_out: int, size: tuple[int, int]) -> None:
    design, c_in = DESIGNS[name], 8
    module = SeparableModule(design, c_out, stride)
    params, stats = map(random_tree, built(module, c_in))
    x = np.random.default_rng(1).standard_normal((2, *size, c_in))
    with jax.enable_x64(True):
        variables = {"params": params, "stats": stats}
        run = jax.jit(lambda variables, x: module.apply(variables, x, True, mutable=["stats"])[0])
        found = run.lower(variables, x).compile({"xla_backend_optimization_level": 0})(variables, x)
        wanted = LOOPS[design.formulation](Loop(design, params["body"]), x, stride)
    if design.residual and found.shape == x.shape:
        wanted = wanted + x
    assert found.shape == (2, *(-(-n // stride) for n in size), c_out)
    assert np.abs(np.asarray(found) - wanted).max() <= 1e-12 * np.abs(wanted).max()


def test_the_residual_connection_stands_where_the_shapes_agree() -> None:
    design = setup("hybrid_residual")
    x = jnp.ones((1, 4, 4, 8))
    for features, stride, added in ((8, 1, True), (16, 1, False), (8, 2, False)):
        module = SeparableModule(design, features, stride)
        params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), built(module, 8)[0])
        assert bool(module.apply({"params": params}, x, True).any()) == added


# --- an alias is no formulation -----------------------------------------------------------------------------------


def operations(program: Any) -> list[tuple[str, list[tuple[int, ...]]]]:
    """The operations of a traced program, inner programs included, with the shapes that they give."""
    out: list[tuple[str, list[tuple[int, ...]]]] = []
    for equation in program.eqns:
        inner = [value for value in equation.params.values() if hasattr(value, "jaxpr") or hasattr(value, "eqns")]
        for value in inner:
            out += operations(getattr(value, "jaxpr", value))
        if not inner:
            out.append((equation.primitive.name, [variable.aval.shape for variable in equation.outvars]))
    return out


def test_the_programs_of_one_function_differ() -> None:
    """Not their names: the operations that are traced, and the trees that their weights are kept in."""
    programs, trees = [], []
    for name in ("separable", "separable_strict", "hybrid"):
        module = formulation(setup(name), 8, 8)
        params, _ = built(module, 8)
        program = jax.make_jaxpr(lambda params, x, module=module: module.apply({"params": params}, x, True))
        traced = program(params, jax.ShapeDtypeStruct((1, 4, 4, 8), jnp.float32)).jaxpr
        programs.append(sorted(operations(traced)))
        trees.append(str(params))
    assert all(programs[i] != programs[j] for i, j in ((0, 1), (0, 2), (1, 2)))
    assert len(set(trees)) == 3


@pytest.mark.parametrize("name", [name for name in DESIGNS if name in SETUPS])
def test_a_compiled_gradient_is_the_eager_one(name: str) -> None:
    """Operation by operation nothing is fused: a wrong fusion of the compiler shows (jax#39103, jax#40412)."""
    design = DESIGNS[name]
    module = SeparableModule(design, 4)
    params, stats = map(random_tree, built(module, 4))
    params, stats = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (params, stats))
    rng = np.random.default_rng(1)
    x, cotangent = (jnp.asarray(rng.standard_normal((2, 4, 4, 4)), jnp.float32) for _ in range(2))

    def loss(params: Any, x: jax.Array) -> jax.Array:
        y, _ = module.apply({"params": params, "stats": stats}, x, True, mutable=["stats"])
        return (y * cotangent).sum()

    gradient = jax.grad(loss, (0, 1))
    pairs = zip(*map(jax.tree.leaves, (jax.jit(gradient)(params, x), gradient(params, x))), strict=True)
    for compiled, eager in pairs:
        assert np.abs(compiled - eager).max() <= 2e-5 * max(np.abs(eager).max(), 1e-3)


# --- initial weights ----------------------------------------------------------------------------------------------


def fused_fans(design: Design, c_in: int, c_out: int) -> dict[str, int]:
    """Fan-in of each kernel in the whole sum that reaches one of its outputs, by the definition of the function."""
    taps = design.kernel**2
    group = {"resnext": c_out // 2 // 4, "hybrid_learned": 1, "grouped": c_in // 4}.get(design.formulation, c_out // 4)
    return {
        "depthwise": taps, "filters": taps, "blueprint": taps,
        "transform": taps if design.formulation == "hybrid" else taps * group,
        "pointwise": c_in // 2 if design.formulation == "super_separable" else c_in,
        "mixing": bsconv_s_rank(c_in) if design.formulation == "bsconv_s" else c_in,
        "expand": c_out // 2 if design.formulation == "resnext" else c_in,
        "reduce": c_in, "direct": c_in, "pool": c_in, "single_reduce": c_in, "double_reduce": c_in,
        "single": taps * group, "double_first": taps * group, "double_last": taps * group,
        "spatial": taps if design.formulation == "inception_extreme" else taps * group,
        "kernel": taps * c_in,
    }  # fmt: skip


def he_normal(weights: Mapping[str, Floats], fans: Mapping[str, int]) -> float:
    """p of the Kolmogorov-Smirnov test that all kernels of a module are normal with variance 2 / fan-in."""
    standard = [np.asarray(array).ravel() * (fans[name] / 2) ** 0.5 for name, array in weights.items()]
    return float(distributions.kstest(np.concatenate(standard), "norm").pvalue)


@pytest.mark.parametrize("name", [name for name in SETUPS if name != "hybrid_residual"])
def test_weights_are_drawn_for_the_fused_form(name: str) -> None:
    c_in, c_out = 64, 128
    module = formulation(setup(name), c_in, c_out)
    params, _ = jax.jit(partial(draw, module, image=(4, 4, c_in)))(jax.random.key(1))
    kernels = {name: array for name, array in params.items() if not isinstance(array, Mapping)}
    fans = fused_fans(setup(name), c_in, c_out)
    assert he_normal(kernels, fans) > 1e-3
    for kernel, array in kernels.items():  # and each by itself, so that none hides behind a large one
        assert he_normal({kernel: array}, fans) > 1e-4, kernel
    for path, array in jax.tree_util.tree_leaves_with_path(params):
        if array.ndim == 1:
            assert (np.asarray(array) == (1.0 if "scale" in str(path) else 0.0)).all()


def test_a_literal_fan_in_a_path_is_another_distribution() -> None:
    """What the test above must refuse: He's rule on a path's own kernel [1, N] or [d, N] sees too small a fan."""
    literal = nn.initializers.he_normal(batch_axis=0)
    for name, paths, kernel, shape in (("hybrid", 64, "expand", (1, 128)), ("resnext", 4, "expand", (16, 128))):
        array = literal(jax.random.key(0), (paths, *shape), jnp.float32)
        assert he_normal({kernel: np.asarray(array)}, fused_fans(setup(name), 64, 128)) < 1e-6


def test_other_keys_give_other_weights() -> None:
    module = formulation(setup("separable"), 8, 8)
    run = jax.jit(partial(draw, module, image=(4, 4, 8)))
    one, again, other = (run(jax.random.key(seed))[0] for seed in (0, 0, 1))
    assert (one["pointwise"] == again["pointwise"]).all()
    assert not (one["pointwise"] == other["pointwise"]).any()
    assert len(np.unique(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(one)]))) == 9 * 8 + 8 * 8


# --- statistics and dtypes ----------------------------------------------------------------------------------------


def test_batch_norm_learns_running_statistics_and_evaluates_by_them() -> None:
    norm = BatchNorm("relu")
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3, 3, 2)) * 3 + 1, jnp.float32)
    params = {"scale": jnp.asarray([2.0, -1.0]), "offset": jnp.asarray([0.5, 1.0])}
    stats = {"mean": jnp.asarray([1.0, 2.0]), "variance": jnp.asarray([4.0, 0.25])}
    _, updated = norm.apply({"params": params, "stats": stats}, x, True, mutable=["stats"])
    for name, batch in (("mean", np.mean(x, (0, 1, 2))), ("variance", np.var(x, (0, 1, 2)))):
        wanted = BN_DECAY * stats[name] + (1 - BN_DECAY) * batch
        np.testing.assert_allclose(updated["stats"][name], wanted, rtol=1e-5)
    y = norm.apply({"params": params, "stats": stats}, x, False)
    scale, offset, mean, variance = map(np.asarray, (*params.values(), *stats.values()))
    normal = (np.asarray(x) - mean) / np.sqrt(variance + BN_EPSILON)
    np.testing.assert_allclose(y, np.maximum(normal * scale + offset, 0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["resnext", "inception", "separable"])
def test_bfloat16_is_the_activations_dtype_alone(name: str) -> None:
    module = SeparableModule(setup(name), 8)
    params, stats = jax.jit(partial(draw, module, image=(4, 4, 8)))(jax.random.key(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 4, 8)), jnp.float32)

    def run(params: Any, x: jax.Array) -> Any:
        y, updated = module.apply({"params": params, "stats": stats}, x, True, mutable=["stats"])
        return y.astype(jnp.float32).sum(), (y, updated)

    step = jax.jit(jax.grad(run, has_aux=True))
    gradient, (low, updated) = step(params, x.astype(jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((gradient, updated))} == {jnp.dtype(jnp.float32)}
    high = step(params, x)[1][0]
    assert np.abs(low.astype(jnp.float32) - high).max() <= 0.05 * np.abs(high).max()


def test_bsconv_s_keeps_a_quarter_of_the_channels() -> None:
    assert [bsconv_s_rank(channels) for channels in (2, 4, 16, 30, 64)] == [2, 4, 4, 8, 16]
