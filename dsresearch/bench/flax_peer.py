"""Plain Flax: the same network in the library's own layers, one jitted step a call, as a tutorial would write it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dsresearch.bench.cases import Case
from dsresearch.bench.layers import AvgPool, Between, Conv, Layer, Weights, blocks
from dsresearch.bench.ours import program_of
from dsresearch.bench.pictures import SCORED, pictures_of
from dsresearch.modules import BN_DECAY, BN_EPSILON
from dsresearch.train import crop_flip

Array = jax.Array
ACTIVATIONS = {"none": lambda x: x, "relu": nn.relu, "elu": nn.elu}


class Plain(nn.Module):
    """Logits [N, classes] of pictures [N, H, W, C] in the case's dtype."""

    case: Case

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        case, dtype = self.case, jnp.dtype(self.case.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=BN_DECAY, epsilon=BN_EPSILON, dtype=dtype)

        def apply(layers: tuple[Layer, ...], x: Array, block: str) -> Array:
            for layer in layers:
                if isinstance(layer, Conv):
                    x = nn.Conv(
                        layer.outputs,
                        (layer.kernel, layer.kernel),
                        feature_group_count=layer.groups,
                        use_bias=False,
                        dtype=dtype,
                        name=f"{block}_{layer.name}",
                    )(x)
                elif isinstance(layer, Between):
                    x = norm(name=f"{block}_{layer.name}")(x) if layer.normalise else x
                    x = ACTIVATIONS[layer.activation](x)
                elif isinstance(layer, AvgPool):
                    window = (layer.window, layer.window)
                    x = nn.avg_pool(x, window, padding="SAME", count_include_pad=False)
                else:
                    x = jnp.concatenate([apply(tower, x, block) for tower in layer.towers], axis=-1)
            return x

        x = nn.Conv(case.width, (3, 3), use_bias=False, dtype=dtype, name="stem")(x)
        x = nn.relu(norm(name="stem_norm")(x))
        for block in blocks(case.design, case.image):
            x = nn.max_pool(x, (2, 2), (2, 2)) if block.pool else x
            y = apply(block.layers, x, block.name)
            x = nn.relu(norm(name=f"{block.name}_norm")(x + y if block.residual else y))
        return nn.Dense(case.classes, name="head")(x.astype(jnp.float32).mean((1, 2)))


class FlaxPeer:
    """A case made ready; `run` does so many steps (or scores so many batches) and waits for the end."""

    def __init__(self, case: Case) -> None:
        self.case, self.network, self.optimiser = case, Plain(case), program_of(case).optimiser
        self.images, self.labels = map(jnp.asarray, pictures_of(case))
        self.key = jax.random.key(0)
        empty = jnp.zeros((1, case.image, case.image, case.channels), jnp.dtype(case.dtype))
        variables = jax.jit(self.network.init, static_argnums=2)(self.key, empty, True)
        self.start(variables["params"], variables["batch_stats"])
        self.steps = 0
        self.run(1)

    def start(self, params: Mapping[str, Any], stats: Mapping[str, Any]) -> None:
        """Begin from these parameters and statistics."""
        self.state = (params, stats, self.optimiser.init(params))  # type: ignore[arg-type]

    def load(self, weights: Weights) -> None:
        """Begin from our parameters (`layers.weights`)."""
        self.start(jax.tree.map(jnp.asarray, weights), self.state[1])

    def run(self, times: int) -> int:
        """Do so many steps; gives the images done."""
        if self.case.mode == "inference":
            for _ in range(times):
                last = _score(self.network, self.state, self.images[:SCORED])
            jax.block_until_ready(last)
            return times * SCORED
        for _ in range(times):
            place = self.steps % self.case.steps
            if place == 0:
                order_key = jax.random.fold_in(self.key, self.steps)
                self.order = jax.random.permutation(order_key, len(self.labels)).reshape(self.case.steps, -1)
            step_key = jax.random.fold_in(self.key, self.steps)
            self.state, _ = _augmented_step(
                self.network, self.optimiser, self.state, step_key, self.order[place], self.images, self.labels
            )
            self.steps += 1
        jax.block_until_ready(self.state)
        return times * self.case.batch

    def losses(self, images: Array, labels: Array, steps: int) -> list[float]:
        """The losses of so many steps on one batch, without augmentation."""
        out = []
        for _ in range(steps):
            self.state, loss = _plain_step(self.network, self.optimiser, self.state, images, labels)
            out.append(float(loss))
        return out


def _step(network: Plain, optimiser: Any, state: Any, images: Array, labels: Array) -> tuple[Any, Array]:
    params, stats, memory = state

    def loss_of(params: Any) -> tuple[Array, Any]:
        variables = {"params": params, "batch_stats": stats}
        logits, updated = network.apply(variables, _scaled(images, network), True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updated["batch_stats"]

    (loss, stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
    updates, memory = optimiser.update(gradient, memory, params)
    return (optax.apply_updates(params, updates), stats, memory), loss


def _scaled(images: Array, network: Plain) -> Array:
    return ((images.astype(jnp.float32) - 127.5) / 63.75).astype(jnp.dtype(network.case.dtype))


_plain_step = jax.jit(_step, static_argnums=(0, 1))


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _augmented_step(
    network: Plain, optimiser: Any, state: Any, key: Array, indices: Array, images: Array, labels: Array
) -> tuple[Any, Array]:
    return _step(network, optimiser, state, crop_flip(key, images[indices]), labels[indices])


@partial(jax.jit, static_argnums=0)
def _score(network: Plain, state: Any, images: Array) -> Array:
    variables = {"params": state[0], "batch_stats": state[1]}
    return jnp.asarray(network.apply(variables, _scaled(images, network), False)).argmax(1)
