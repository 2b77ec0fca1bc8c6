"""Modules and networks run side by side on the same weights, by transport: how far apart are they?

Everything about a module is measured in float64, where formulations of one function agree to about 1e-15 and a wrong
index shows in the first digit. Whole networks are compared in float32, for their bits.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from dsresearch.design import Design
from dsresearch.modules import SeparableModule
from dsresearch.networks.stack import Stack
from dsresearch.runtime import cores
from dsresearch.transport import transport, transport_network

Tree = Mapping[str, Any]
Floats = npt.NDArray[Any]

# Compiling dominates: without LLVM's optimisation a program is there in a third of the time. Not for bits in float32.
_QUICK: dict[str, Any] = {"xla_backend_optimization_level": 0}
_BATCH = 3  # pictures of a module's case: odd, no power of two


class Case(NamedTuple):
    """A module's shape: channels, pixels (height, width), stride."""

    c_in: int
    c_out: int
    size: tuple[int, int]
    stride: int

    def __str__(self) -> str:
        return f"{self.c_in} -> {self.c_out} channels, {self.size[0]} x {self.size[1]} pixels, stride {self.stride}"


def shapes(design: Design) -> list[tuple[int, int]]:
    """The distinct (input, output) channels of a network's modules, the smallest first."""
    return sorted(set(design.module_shapes()))


def cases(design: Design, seed: int) -> list[Case]:
    """The network's narrowest and widest module of each kind, C -> C and C -> 2 C, at random sizes, odd and even.

    Each kind gets both strides, one at each end.
    """
    rng = np.random.default_rng(seed)
    kinds = [[shape for shape in shapes(design) if (shape[0] == shape[1]) == same] for same in (True, False)]
    ends = [(*kind[end], stride) for kind in kinds for end, stride in ((0, 1), (-1, 2))]
    found = []
    for number, (c_in, c_out, stride) in enumerate(ends):
        height, width = (int(2 * rng.integers(2, 5)) + parity for parity in (number % 2, number // 2))
        found.append(Case(c_in, c_out, (height, width), stride))
    return found


# --- weights ----------------------------------------------------------------------------------------------------


@cache
def _leaf_shapes(design: Design, c_in: int, c_out: int) -> tuple[Any, Any]:
    """Shapes of a module's parameters and statistics, below `body`."""
    variables = jax.eval_shape(
        lambda: SeparableModule(design, c_out).init(jax.random.key(0), jnp.zeros((1, 3, 3, c_in)), True)
    )
    return variables["params"]["body"], variables.get("stats", {}).get("body", {})


def random_weights(design: Design, c_in: int, c_out: int, rng: np.random.Generator) -> tuple[Tree, Tree]:
    """Parameters and statistics, float64, none of which is at a special value as zero offsets would be."""
    params, stats = _leaf_shapes(design, c_in, c_out)
    return jax.tree.map(lambda leaf: _random_kernel(leaf.shape, rng), params), _random_stats(stats, rng)


def _random_kernel(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    if len(shape) == 1:  # BatchNorm's scale or offset
        return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))
    return np.asarray(rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:-1])))


def _random_stats(stats: Tree, rng: np.random.Generator) -> Tree:
    """Means about 0 and variances about 1, by name."""
    return {
        name: _random_stats(value, rng)
        if isinstance(value, Mapping)
        else rng.uniform(0.5, 1.5, value.shape) - (name == "mean")
        for name, value in stats.items()
    }


def leaves(tree: Any) -> list[Floats]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def relative(one: Any, two: Any) -> float:
    """Largest difference of two trees by the largest number, array by array, the worst of them.

    Raises:
        ValueError: the trees have other shapes.
    """
    worst = 0.0
    for a, b in zip(leaves(one), leaves(two), strict=True):
        if a.shape != b.shape:
            raise ValueError(f"arrays of shapes {a.shape} and {b.shape} are not comparable")
        largest = float(np.abs(a).max(initial=0.0))
        apart = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))
        worst = max(worst, apart / largest if largest else float(apart > 0) * np.inf)
    return worst


def numbered(tree: Any, start: int = 0) -> Any:
    """A tree of the same shapes that holds 0, 1, 2, ... from `start`."""
    flat, treedef = jax.tree.flatten(tree)
    ends = list(itertools.accumulate((leaf.size for leaf in flat), initial=start))
    counted = [np.arange(a, b, dtype=np.float64).reshape(leaf.shape) for leaf, a, b in zip(flat, ends, ends[1:])]  # noqa: B905
    return jax.tree.unflatten(treedef, counted)


def pulled_back(gradient: Any, indices: Any) -> Floats | None:
    """A target's gradient in the source's order, flat; None where the map is no one-to-one index map.

    `indices` is a numbered source tree after transport: it says which number of the source each of the target is.
    """
    flat = np.concatenate([leaf.ravel() for leaf in leaves(indices)])
    if not np.array_equal(np.sort(flat), np.arange(flat.size)):
        return None
    values = np.concatenate([leaf.ravel() for leaf in leaves(gradient)])
    back = np.empty_like(values)
    back[flat.astype(np.int64)] = values
    return back


def unflattened(flat: Floats, tree: Any) -> list[Floats]:
    """A flat array cut into the shapes of a tree's leaves."""
    ends = np.cumsum([leaf.size for leaf in leaves(tree)])[:-1]
    return [part.reshape(leaf.shape) for part, leaf in zip(np.split(flat, ends), leaves(tree), strict=True)]


# --- modules in float64 -----------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What a module does: output and new statistics in training, output in evaluation, gradients."""

    output: Any
    stats: Any
    evaluated: Any
    input_gradient: Any
    gradient: Any


Module = Callable[[Tree, Tree, Floats, Floats], Outcome]


def _variables(params: Tree, stats: Tree) -> dict[str, Any]:
    return {"params": {"body": params}, **({"stats": {"body": stats}} if stats else {})}


@cache
def module(design: Design, case: Case) -> Module:
    """A module with its gradients, compiled in float64 for a batch of pictures."""
    network = SeparableModule(design, case.c_out, case.stride)

    def run(params: Tree, stats: Tree, x: jax.Array, cotangent: jax.Array) -> Outcome:
        def forward(params: Tree, x: jax.Array) -> tuple[jax.Array, Any]:
            y, updated = network.apply(_variables(params, stats), x, True, mutable=["stats"])
            return y, updated.get("stats", {}).get("body", {})

        y, pullback, updated = jax.vjp(forward, params, x, has_aux=True)
        gradient, input_gradient = pullback(cotangent)
        return Outcome(y, updated, network.apply(_variables(params, stats), x, False), input_gradient, gradient)

    height, width = (-(-pixels // case.stride) for pixels in case.size)
    x, cotangent = np.zeros((_BATCH, *case.size, case.c_in)), np.zeros((_BATCH, height, width, case.c_out))
    return compiled_in_float64(run, *_leaf_shapes(design, case.c_in, case.c_out), x, cotangent)


@cache
def evaluation(design: Design, c_in: int, c_out: int, batch: int, side: int) -> Callable[[Tree, Tree, Floats], Any]:
    """A module's output in evaluation, compiled in float64 for square pictures."""
    network = SeparableModule(design, c_out)

    def run(params: Tree, stats: Tree, x: jax.Array) -> jax.Array:
        return jnp.asarray(network.apply(_variables(params, stats), x, False))

    return compiled_in_float64(run, *_leaf_shapes(design, c_in, c_out), np.zeros((batch, side, side, c_in)))


def compiled_in_float64(function: Callable[..., Any], *like: Any) -> Callable[..., Any]:
    """A function compiled ahead for float64 arrays of the shapes of these; it takes and gives NumPy's."""
    wide = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, np.float64), like)
    with jax.enable_x64(True):
        program = jax.jit(function).lower(*wide).compile(_QUICK)

    def run(*arguments: Any) -> Any:
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, program(*arguments))

    return run


def side_by_side(tasks: Iterable[Callable[[], Any]], said: Callable[[str], None], what: str) -> None:
    """Run tasks that compile and keep a program, as many as there are cores: XLA compiles without holding Python up."""
    tasks = list(tasks)
    with ThreadPoolExecutor(cores()) as pool:
        for number, _ in enumerate(pool.map(lambda task: task(), tasks), 1):
            if number % 10 == 0 or number == len(tasks):
                said(f"{what}: {number} of {len(tasks)}")


class Difference(NamedTuple):
    """Largest relative difference of outputs and of gradients; None for gradients that no index map brings back."""

    output: float
    gradient: float | None


def difference(source: Design, target: Design, case: Case, rng: np.random.Generator) -> Difference:
    """How far a target is from a source on the source's random weights, transported.

    Compared are the output in training and in evaluation with the BatchNorm statistics that training leaves, and the
    gradients with respect to the input and to every parameter, the latter brought back through the map's indices.

    Raises:
        ValueError: there is no map.
    """
    shape = (source, target, case.c_in, case.c_out, case.stride)
    params, stats = random_weights(source, case.c_in, case.c_out, rng)
    x = rng.standard_normal((_BATCH, *case.size, case.c_in))
    cotangent = rng.standard_normal((_BATCH, *(-(-n // case.stride) for n in case.size), case.c_out))
    one = module(source, case)(params, stats, x, cotangent)
    mapped, mapped_stats = transport(params, stats, *shape)
    two = module(target, case)(mapped, mapped_stats, x, cotangent)
    expected_stats = transport(params, one.stats, *shape)[1]
    output = relative((one.output, one.evaluated, expected_stats), (two.output, two.evaluated, two.stats))
    try:
        indices, _ = transport(numbered(params), stats, *shape)
        back = pulled_back(two.gradient, indices)
    except ValueError:  # numbers in a row are no kernel that every linear map carries
        back = None
    if back is None:
        return Difference(output, None)
    gradient = unflattened(back, params)
    return Difference(output, relative((one.input_gradient, leaves(one.gradient)), (two.input_gradient, gradient)))


# --- networks in float32 ----------------------------------------------------------------------------------------

_IMAGE, _CLASSES, _PICTURES = (8, 8, 1), 10, 64  # the embedded digits at the default batch


class Bits(NamedTuple):
    """What a network does in float32.

    Attributes:
        logits: in training.
        rest: loss, new statistics, and the gradient in the order of the reference's weights.
    """

    logits: Floats
    rest: list[Floats]


@cache
def network(design: Design) -> Callable[..., Any]:
    """The study's network with its gradient, compiled in float32 as for training."""
    stack = Stack(design, _CLASSES)

    def run(params: Tree, stats: Tree, images: jax.Array, labels: jax.Array) -> Any:
        def loss_of(params: Tree) -> tuple[jax.Array, Any]:
            logits, updated = stack.apply({"params": params, "stats": stats}, images, True, mutable=["stats"])
            chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels.reshape(-1, 1), axis=1)
            return -chosen.mean(), (logits, updated["stats"])

        return jax.value_and_grad(loss_of, has_aux=True)(params)

    images = jax.ShapeDtypeStruct((_PICTURES, *_IMAGE), jnp.float32)
    labels = jax.ShapeDtypeStruct((_PICTURES,), jnp.int32)
    return jax.jit(run).lower(*_network_shapes(design), images, labels).compile()


@cache
def _network_shapes(design: Design) -> tuple[Any, Any]:
    stack = Stack(design, _CLASSES)
    variables = jax.eval_shape(lambda: stack.init(jax.random.key(0), jnp.zeros((1, *_IMAGE), jnp.float32), True))
    return variables["params"], variables["stats"]


def shallow(design: Design) -> Design:
    """With one module a stage: half the compiling, and the same modules at the same places."""
    return dataclasses.replace(design, depth=1)


def step_bits(reference: Design, designs: Iterable[Design], seed: int) -> dict[Design, Bits]:
    """One step forward and back of each design's network on the reference's weights, transported.

    Raises:
        ValueError: there is no map.
    """
    rng = np.random.default_rng(seed)
    params, stats = _network_shapes(reference)
    params = jax.tree.map(lambda leaf: _random_kernel(leaf.shape, rng).astype(np.float32), params)
    stats = jax.tree.map(lambda leaf: rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32), stats)
    images = rng.standard_normal((_PICTURES, *_IMAGE)).astype(np.float32)
    labels = rng.integers(0, _CLASSES, _PICTURES).astype(np.int32)
    found = {}
    for design in designs:
        mapped = transport_network(params, stats, reference, design)
        (loss, (logits, updated)), gradient = network(design)(*mapped, images, labels)
        indices, _ = transport_network(numbered(params), stats, reference, design)
        back = pulled_back(gradient, indices)
        if back is None:
            raise ValueError("no index map")
        found[design] = Bits(np.asarray(logits), [np.asarray(loss), *leaves(updated), back])
    return found


def same_bits(one: Bits, two: Bits) -> bool:
    """Whether two networks gave the same bits everywhere."""
    pairs = zip([one.logits, *one.rest], [two.logits, *two.rest], strict=True)
    return all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)
