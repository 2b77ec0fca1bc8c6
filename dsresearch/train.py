"""Training as a pure fold: (state, epoch) -> (state, row of the curve), one compiled program for a whole epoch.

A trial differs from another of its program in traced values alone (its split, its keys, its weights), so one program
serves all of them, one after another or side by side on a leading axis. Keys are derived by meaning, `fold_in(key,
epoch)`, never by order of discovery: an epoch can be run again, or run first, and gives the same bits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh

from dsresearch import sharding
from dsresearch.design import Recipe
from dsresearch.loss import cross_entropy, loss
from dsresearch.modules import draw
from dsresearch.operators import shards
from dsresearch.optimiser import Schedule, optimiser_of, polyak, schedule_of

Array = jax.Array
Tree = Any

DROPOUT = 0xD07D07D0  # no epoch has this number: the branch of a trial's augmentation key that dropout draws from
EVALUATION_BATCH = 500  # pictures; a whole number of them in 10,000, 6,000 and all of the digits' 360 in one


class Pictures(NamedTuple):
    """A data set, on the device or in numpy: images uint8 [n, H, W, C] and labels int32 [n]."""

    images: Any
    labels: Any


class Trial(NamedTuple):
    """What a trial brings: indices of its pictures, int32 [n_train] and [n_test], keys for order and augmentation."""

    train: Array
    test: Array
    order_key: Array
    augment_key: Array


class State(NamedTuple):
    """What changes from step to step: float32 weights, BatchNorm statistics, optimiser state, steps done.

    Where the recipe evaluates a Polyak average, `optimiser` is the pair of the optimiser's state and the average of
    (params, stats).
    """

    params: Tree
    stats: Tree
    optimiser: Tree
    step: Array


class Row(NamedTuple):
    """One epoch of the curve, on the device or in numpy: training over the epoch's steps, test after the epoch."""

    step: Any
    rate: Any
    train_loss: Any
    train_wrong: Any
    test_wrong: Any
    test_nll: Any
    grad_norm: Any
    param_norm: Any


class Predictions(NamedTuple):
    """Class [n], probability of the true class [n], and its lead over the best other class [n]."""

    predicted: Array
    p_true: Array
    margin: Array


@dataclass(frozen=True)
class Program:
    """A network and how it is trained, with everything static: one compilation for all trials of a cell.

    Attributes:
        network: a Flax module called with (pictures, train) that gives logits.
        recipe: optimiser, schedule, batch, epochs, dtype of the activations.
        n_train: training pictures of a trial.
        augmentation: `none` or `crop_flip`.
        trial_batch: trials side by side on a leading axis of state, trial and rows; 1 means no such axis.
        devices: how many share the program: its trials, or, of one trial, every batch.
    """

    network: nn.Module
    recipe: Recipe
    n_train: int
    augmentation: str
    trial_batch: int = 1
    devices: int = 1

    @property
    def steps_an_epoch(self) -> int:
        return self.n_train // self.recipe.batch

    @cached_property
    def schedule(self) -> Schedule:
        """Learning rate against steps."""
        return schedule_of(self.recipe, self.steps_an_epoch)

    @cached_property
    def optimiser(self) -> optax.GradientTransformation:
        return optimiser_of(self.recipe, self.schedule)

    # --- the pure parts, for one trial ---

    def initial(self, params: Tree, stats: Tree) -> State:
        """The state before the first step, from weights and BatchNorm statistics."""
        optimiser = self.optimiser.init(params)
        if self.recipe.polyak:
            optimiser = optimiser, jax.tree.map(jnp.copy, (params, stats))
        return State(params, stats, optimiser, jnp.zeros((), jnp.int32))

    def logits(self, params: Tree, stats: Tree, images: Array) -> Array:
        """Evaluation: running statistics, so that no picture's answer depends on its neighbours."""
        variables = {"params": params, "stats": stats}
        return jnp.asarray(self.network.apply(variables, self._scaled(images), False))

    def evaluated(self, state: State) -> tuple[Tree, Tree]:
        """The weights and statistics that are tested: the newest, or their Polyak average."""
        return state.optimiser[1] if self.recipe.polyak else (state.params, state.stats)

    def step(self, state: State, images: Array, labels: Array, key: Array) -> tuple[State, tuple[Array, Array, Array]]:
        """One step on uint8 images [N, H, W, C]; gives also the mean loss, the wrong ones and the gradient's norm.

        Dropout and dropped paths, where the network has any, draw from `key`.
        """

        def of(logits: Array) -> Array:
            return cross_entropy(logits, labels, self.recipe.smoothing).mean()

        def loss_of(params: Tree) -> tuple[Array, tuple[Array, Tree]]:
            variables = {"params": params, "stats": state.stats}
            return loss(self.network, variables, self._scaled(images), key, of)

        (value, (logits, stats)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        value, gradient = shards.mean((value, gradient))
        before = state.optimiser[0] if self.recipe.polyak else state.optimiser
        updates, optimiser = self.optimiser.update(gradient, before, state.params)
        params = optax.apply_updates(state.params, updates)
        wrong = (logits.argmax(1).astype(jnp.int32) != labels).sum(dtype=jnp.int32)
        if self.recipe.polyak:
            optimiser = optimiser, polyak(state.optimiser[1], (params, stats), state.step + 1, self.recipe.polyak)
        return State(params, stats, optimiser, state.step + 1), (value, shards.total(wrong), optax.tree.norm(gradient))

    def batches(self, epoch: Array, trial: Trial) -> Array:
        """Indices of the pictures of an epoch's steps, [steps, batch], in this epoch's order."""
        order = jax.random.permutation(jax.random.fold_in(trial.order_key, epoch), trial.train)
        return order[: self.steps_an_epoch * self.recipe.batch].reshape(self.steps_an_epoch, self.recipe.batch)

    def augmented(self, key: Array, images: Array) -> Array:
        """A step's images as its training sees them; `key` is unused where nothing is augmented."""
        return crop_flip(key, images) if self.augmentation == "crop_flip" else images

    def taught(
        self, state: State, trial: Trial, epoch: Array, step: Array, images: Array, labels: Array
    ) -> tuple[State, tuple[Array, Array, Array]]:
        """A step of an epoch, both counted from 0, on pictures as they are stored: what is random is the trial's."""
        augment, dropout = (
            jax.random.fold_in(jax.random.fold_in(key, epoch), step)
            for key in (trial.augment_key, jax.random.fold_in(trial.augment_key, DROPOUT))
        )
        return self.step(state, self.augmented(augment, images), labels, dropout)

    def epoch(self, state: State, epoch: Array, trial: Trial, pictures: Pictures) -> tuple[State, Row]:
        """The fold: one pass over the trial's training pictures in this epoch's order, then one over its test set."""
        batches = self.batches(epoch, trial)

        def one(state: State, batch: tuple[Array, Array]) -> tuple[State, tuple[Array, Array, Array]]:
            step, indices = batch
            indices = shards.own(indices)
            return self.taught(state, trial, epoch, step, pictures.images[indices], pictures.labels[indices])

        state, (losses, wrong, norm) = jax.lax.scan(one, state, (jnp.arange(self.steps_an_epoch), batches))
        test_wrong, test_nll = self.score(state, trial.test, pictures)
        rate = jnp.asarray(self.schedule(state.step - 1), jnp.float32)
        return state, Row(
            state.step,
            rate,
            losses.mean(),
            wrong.sum(dtype=jnp.int32),
            test_wrong,
            test_nll,
            norm.mean(),
            optax.tree.norm(state.params),
        )

    def score(self, state: State, indices: Array, pictures: Pictures) -> tuple[Array, Array]:
        """Pictures wrong (a count) and mean negative log-likelihood over `indices`."""

        def one(images: Array, labels: Array) -> tuple[Array, Array]:
            logits = self.logits(*self.evaluated(state), images)
            return logits.argmax(1).astype(jnp.int32) != labels, cross_entropy(logits, labels)

        wrong, nll = self._over(indices, pictures, one)
        return wrong.sum(dtype=jnp.int32), nll.mean()

    def predict(self, state: State, indices: Array, pictures: Pictures) -> Predictions:
        """What the trained network says of each picture of `indices`."""

        def one(images: Array, labels: Array) -> Predictions:
            logits = self.logits(*self.evaluated(state), images)
            probabilities = jax.nn.softmax(logits)
            true = jax.nn.one_hot(labels, logits.shape[1], dtype=probabilities.dtype)
            p_true = (probabilities * true).sum(1)
            other = jnp.max(probabilities - true, axis=1)  # the true class falls to p - 1 <= 0
            return Predictions(logits.argmax(1).astype(jnp.int32), p_true, p_true - other)

        return self._over(indices, pictures, one)

    def _over(self, indices: Array, pictures: Pictures, one: Callable[[Array, Array], Any]) -> Any:
        """Apply `one` to batches of pictures; the last batch is filled up with picture 0 and the filling cut off."""
        n, devices = indices.shape[0], shards.shares()
        batch = min(-(-n // devices), EVALUATION_BATCH)
        filled = shards.own(jnp.pad(indices, (0, -n % (batch * devices))).reshape(-1, batch))
        out = jax.lax.map(lambda chosen: one(pictures.images[chosen], pictures.labels[chosen]), filled)
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], shards.joined(out))

    def _scaled(self, images: Array) -> Array:
        """uint8 to about [-2, 2] by one fixed map: BatchNorm behind the stem takes out what a data set's own would."""
        dtype = jnp.dtype(self.recipe.dtype)
        return ((images.astype(jnp.float32) - 127.5) / 63.75).astype(dtype)

    # --- compiled, for `trial_batch` trials ---

    @cached_property
    def run_epoch(self) -> Callable[[State, Array, Trial, Pictures], tuple[State, Row]]:
        """`epoch`, compiled, the old state's memory given to the new one."""
        return jax.jit(self._side_by_side(self.epoch, (0, None, 0, None)), donate_argnums=0)

    @cached_property
    def run_score(self) -> Callable[[State, Array, Pictures], tuple[Array, Array]]:
        return jax.jit(self._side_by_side(self.score, (0, 0, None)))

    @cached_property
    def run_predict(self) -> Callable[[State, Array, Pictures], Predictions]:
        return jax.jit(self._side_by_side(self.predict, (0, 0, None)))

    @cached_property
    def run_draw(self) -> Callable[[Array, tuple[int, int, int]], tuple[Tree, Tree]]:
        """Initial weights and statistics of one trial, from its key, for pictures of (H, W, C)."""
        return jax.jit(partial(draw, self.network), static_argnums=1)

    def _side_by_side(self, one: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
        many = one if self.trial_batch == 1 else jax.vmap(one, axes)
        return many if self.devices == 1 else sharding.sharded(many, self.mesh, axes)

    @cached_property
    def mesh(self) -> Mesh:
        """The devices that share the program."""
        return sharding.mesh_of(self.devices, sharding.axis_of(self.trial_batch))

    def placed(self, tree: Tree) -> Tree:
        """What is the trials' own (state, trial) where the program wants it."""
        return tree if self.devices == 1 else sharding.placed(tree, self.mesh, by_trial=self.trial_batch > 1)

    def everywhere(self, tree: Tree) -> Tree:
        """What every trial reads, on every device."""
        return jax.tree.map(jnp.asarray, tree) if self.devices == 1 else sharding.placed(tree, self.mesh)

    def at_home(self, tree: Tree) -> Tree:
        """Device arrays as host arrays of this process; unchanged on one device."""
        return tree if self.devices == 1 else jax.device_get(tree)

    def fold(self, state: State, trial: Trial, pictures: Pictures, epochs: range) -> Iterator[tuple[int, State, Row]]:
        """Run the epochs of a range (counted from 0) one by one; stopping and going on gives the same bits."""
        for epoch in epochs:
            state, row = self.run_epoch(state, jnp.asarray(epoch, jnp.int32), trial, pictures)
            yield epoch, state, row


def crop_flip(key: Array, images: Array, margin: int = 4) -> Array:
    """Shift each picture by up to `margin` pixels over black, and mirror half of them: the usual CIFAR augmentation."""
    n, height, width, channels = images.shape
    shift_key, flip_key = jax.random.split(key)
    batch = n * shards.shares()
    offsets = shards.own(jax.random.randint(shift_key, (batch, 2), 0, 2 * margin + 1))
    flips = shards.own(jax.random.bernoulli(flip_key, shape=(batch,)))
    padded = jnp.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)))

    def one(image: Array, offset: Array, flip: Array) -> Array:
        zero = jnp.zeros((), offset.dtype)
        crop = jax.lax.dynamic_slice(image, (offset[0], offset[1], zero), (height, width, channels))
        return jnp.where(flip, crop[:, ::-1], crop)

    return jax.vmap(one)(padded, offsets, flips)


def stacked(trees: Sequence[Tree]) -> Tree:
    """Trees of equal shape side by side on a new leading axis (for `trial_batch` > 1)."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
