"""One step of a published network on a batch from outside, and its evaluation with averaged weights.

Unlike `train`, which folds over a data set on the device, a step here takes its pictures as an argument. The state is
all that changes from step to step, keys are derived from the seed and the step: a kept state goes on bit for bit.
"""

import zlib
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dsresearch.design import Recipe
from dsresearch.imagenet.settings import Settings
from dsresearch.loss import cross_entropy, loss
from dsresearch.modules import draw
from dsresearch.networks.build import Network
from dsresearch.networks.vocabulary import Architecture
from dsresearch.optimiser import Schedule, optimiser_of, polyak, schedule_of

Array = jax.Array
Tree = Any


class State(NamedTuple):
    """Weights and BatchNorm statistics, the Polyak average of both, optimiser state, steps done."""

    weights: Tree  # {"params", "stats"}
    average: Tree
    optimiser: Tree
    step: Array


class Measured(NamedTuple):
    """Of one step: learning rate, mean loss, pictures whose most likely class is none of theirs."""

    rate: Array
    loss: Array
    wrong: Array


@dataclass(frozen=True)
class Program:
    """A network and how it is trained, with everything static.

    Attributes:
        name: of the network; its weights and dropout are drawn by it.
        architecture: the network.
        settings: of the run.
        pictures: training pictures, for what happens once an epoch.
    """

    name: str
    architecture: Architecture
    settings: Settings
    pictures: int

    @cached_property
    def recipe(self) -> Recipe:
        """How the network is trained."""
        return self.settings.recipe_of(self.architecture)

    @cached_property
    def schedule(self) -> Schedule:
        """Learning rate against steps."""
        return schedule_of(self.recipe, max(self.pictures // self.recipe.batch, 1))

    @cached_property
    def optimiser(self) -> optax.GradientTransformation:
        return optimiser_of(self.recipe, self.schedule)

    @property
    def key(self) -> Array:
        """The network's own key of the run."""
        return jax.random.fold_in(jax.random.key(self.settings.seed), zlib.crc32(self.name.encode()))

    def initial(self) -> State:
        """The state before the first step."""
        side = self.settings.image
        drawn = jax.jit(partial(draw, Network(self.architecture)), static_argnums=1)
        params, stats = drawn(self.key, (side, side, self.architecture.channels))
        weights = {"params": params, "stats": stats}
        average = jax.tree.map(jnp.copy, weights)
        return State(weights, average, self.optimiser.init(params), jnp.zeros((), jnp.int32))

    def step(self, state: State, images: Array, targets: Array) -> tuple[State, Measured]:
        """One step on uint8 images [N, H, W, C] and targets, int32 [N] or flags [N, classes]."""
        key = jax.random.fold_in(self.key, state.step)
        network = Network(self.architecture)

        def loss_of(params: Tree) -> tuple[Array, tuple[Array, Tree]]:
            variables = {"params": params, "stats": state.weights["stats"]}
            return loss(network, variables, self._scaled(images), key, partial(self._loss, targets=targets))

        (value, (logits, stats)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.weights["params"])
        updates, inner = self.optimiser.update(gradient, state.optimiser, state.weights["params"])
        weights = {"params": optax.apply_updates(state.weights["params"], updates), "stats": stats}
        done = state.step + 1
        average = polyak(state.average, weights, done, self.recipe.polyak)
        measured = Measured(self.schedule(state.step), value, _wrong(logits, targets))
        return State(weights, average, inner, done), measured

    def scores(self, weights: Tree, images: Array) -> Array:
        """Logits [N, classes] by running statistics; `weights` are the state's, or their average."""
        return jnp.asarray(Network(self.architecture).apply(weights, self._scaled(images), False))

    @cached_property
    def run_step(self) -> Any:
        """`step`, compiled, the old state's memory given to the new one."""
        return jax.jit(self.step, donate_argnums=0)

    @cached_property
    def run_scores(self) -> Any:
        return jax.jit(self.scores)

    def _loss(self, logits: Array, targets: Array) -> Array:
        """Softmax cross-entropy, or for flags the logistic one summed over classes; its mean over pictures."""
        if targets.ndim == 1:
            return cross_entropy(logits, targets, self.recipe.smoothing).mean()
        return optax.sigmoid_binary_cross_entropy(logits, targets.astype(logits.dtype)).sum(1).mean()

    def _scaled(self, images: Array) -> Array:
        """uint8 to [-1, 1], as Inception and Xception were trained."""
        return ((images.astype(jnp.float32) - 127.5) / 127.5).astype(self.recipe.dtype)


def _wrong(logits: Array, targets: Array) -> Array:
    first = logits.argmax(1).astype(jnp.int32)
    if targets.ndim == 1:
        return (first != targets).sum(dtype=jnp.int32)
    return (jnp.take_along_axis(targets, first[:, None], 1) == 0).sum(dtype=jnp.int32)
