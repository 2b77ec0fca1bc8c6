"""What training minimises: the loss of a network on a batch, the classifiers beside it and BSConv-S's term included."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dsresearch.networks.bsconv import ALPHA
from dsresearch.networks.build import Network

Array = jax.Array
Tree = Any

AUXILIARY = 0.4  # weight of an auxiliary classifier's loss (Szegedy et al. 2016, published code)


def loss(
    network: nn.Module, variables: Mapping[str, Tree], images: Array, dropout: Array, of: Callable[[Array], Array]
) -> tuple[Array, tuple[Array, Tree]]:
    """Training's loss on a batch, a scalar, and with it the logits [N, classes] and the new BatchNorm statistics.

    Args:
        network: a Flax module called with (images, train).
        variables: `params` and `stats`.
        images: floating-point numbers [N, H, W, C].
        dropout: the key that dropout and dropped paths draw from.
        of: the loss of logits on the batch's targets, a scalar.
    """
    logits, updated = network.apply(variables, images, True, mutable=["stats", "auxiliary"], rngs={"dropout": dropout})
    beside = [AUXILIARY * of(auxiliary) for auxiliary in updated.get("auxiliary", {}).get("logits", ())]
    endings = network.architecture.orthonormal if isinstance(network, Network) else ()
    beside += [orthonormality(variables["params"], endings)] if endings else []
    return sum(beside, start=of(logits)), (logits, updated.get("stats", {}))


def orthonormality(params: Mapping[str, Any], endings: tuple[str, ...]) -> Array:
    """BSConv-S's term: 0.1 times the sum of ||W^T W - I||_F, W [C, M] the pointwise kernels whose names end so."""
    kernels = [layer["kernel"][0, 0] for name, layer in params.items() if name.endswith(endings)]
    distances = [
        jnp.linalg.norm(kernel.T @ kernel - jnp.eye(kernel.shape[1], dtype=kernel.dtype)) for kernel in kernels
    ]
    return ALPHA * sum(distances, start=jnp.zeros(()))


def cross_entropy(logits: Array, labels: Array, smoothing: float = 0.0) -> Array:
    """Softmax cross-entropy [N] of logits [N, C] and labels [N].

    `smoothing` is the share of the target that all classes get alike (Szegedy et al. 2016, section 7); 0 is off.
    """
    if not smoothing:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    log_p = jax.nn.log_softmax(logits)
    true = jnp.take_along_axis(log_p, labels[:, None], 1)[:, 0]
    return -((1 - smoothing) * true + smoothing * log_p.mean(1))
