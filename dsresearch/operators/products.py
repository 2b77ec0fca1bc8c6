"""Products over channels: pointwise convolution, and the joining of paths by a sum.

Weights are float32 whatever the pictures are, and so are their gradients: every rule rounds the weights inside, because
a gradient that passed through that rounding would be rounded too.
"""

import jax
import jax.numpy as jnp
from jax import lax

from dsresearch.operators import native
from dsresearch.operators.apart import apart
from dsresearch.operators.geometry import wide_dtype

Array = jax.Array


@jax.custom_vjp
def _product(x: Array, weights: Array) -> Array:
    return jnp.matmul(x, weights.astype(x.dtype), preferred_element_type=wide_dtype(x.dtype)).astype(x.dtype)


def _product_forward(x: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
    return _product(x, weights), (x, weights)


def _product_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, weights = saved
    wide = wide_dtype(x.dtype)
    dx = jnp.matmul(dy, weights.astype(x.dtype).T, preferred_element_type=wide).astype(x.dtype)
    # Transposed first: the product of what lies [pixels, channels] twice is half as fast on the CPU.
    dw = jnp.matmul(apart(x.T), dy, preferred_element_type=wide)
    return dx, dw.astype(weights.dtype)


_product.defvjp(_product_forward, _product_backward)


def pointwise(x: Array, weights: Array) -> Array:
    """1x1 convolution of [..., C] with [C, N]: one 2-D product, summed in float32 (its weight gradient is one, too).

    Raises:
        ValueError: the weights are of another number of channels.
    """
    if x.shape[-1:] != weights.shape[:-1]:
        raise ValueError(f"weights {weights.shape} do not fit pictures {x.shape}")
    if x.ndim == 4 and native.chosen():
        from dsresearch.operators.native.convolution import product, product_fits

        if product_fits(x, weights):
            return product(x, weights)
    y = _product(x.reshape(-1, x.shape[-1]), weights)
    return y.reshape(*x.shape[:-1], weights.shape[1])


def join_paths(x: Array, weights: Array) -> Array:
    """Expand every path and sum over the paths: [N, H, W, P, I] with [P, I, O] to [N, H, W, O] (ResNeXt's joining).

    Raises:
        ValueError: the weights are of other paths or channels.
    """
    if x.shape[3:] != weights.shape[:2]:
        raise ValueError(f"weights {weights.shape} do not fit paths {x.shape}")
    if native.chosen():
        return pointwise(x.reshape(*x.shape[:3], -1), weights.reshape(-1, weights.shape[2]))
    return _joined(x, weights)


@jax.custom_vjp
def _joined(x: Array, weights: Array) -> Array:
    return _contract(x, weights.astype(x.dtype), (3, 4), (0, 1)).astype(x.dtype)


def _joined_forward(x: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
    return _joined(x, weights), (x, weights)


def _joined_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, weights = saved
    dx = _contract(dy, weights.astype(x.dtype), (3,), (2,))
    dw = _contract(dy, x, (0, 1, 2), (0, 1, 2))  # [O, P, I]
    return dx.astype(x.dtype), jnp.transpose(dw, (1, 2, 0)).astype(weights.dtype)


_joined.defvjp(_joined_forward, _joined_backward)


def _contract(a: Array, b: Array, over_a: tuple[int, ...], over_b: tuple[int, ...]) -> Array:
    """The sum of products over these axes, in float32 or wider."""
    return lax.dot_general(a, b, ((over_a, over_b), ((), ())), preferred_element_type=wide_dtype(a.dtype))
