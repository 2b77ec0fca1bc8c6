"""Products over channels: pointwise convolution, and the joining of paths by a sum."""

import jax
import jax.numpy as jnp
from jax import lax

from dsresearch.operators import native
from dsresearch.operators.apart import apart
from dsresearch.operators.geometry import wide_dtype

Array = jax.Array


@jax.custom_vjp
def _product(x: Array, weights: Array) -> Array:
    return jnp.matmul(x, weights, preferred_element_type=wide_dtype(x.dtype)).astype(x.dtype)


def _product_forward(x: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
    return _product(x, weights), (x, weights)


def _product_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, weights = saved
    wide = wide_dtype(x.dtype)
    dx = jnp.matmul(dy, weights.T, preferred_element_type=wide).astype(x.dtype)
    # Transposed first: the product of what lies [pixels, channels] twice is half as fast on the CPU.
    dw = jnp.matmul(apart(x.T), dy, preferred_element_type=wide)
    return dx, dw.astype(weights.dtype)


_product.defvjp(_product_forward, _product_backward)


def pointwise(x: Array, weights: Array) -> Array:
    """1x1 convolution of [..., C] with [C, N]: one 2-D product, summed in float32 (its weight gradient is one, too)."""
    if x.ndim == 4 and native.chosen():
        from dsresearch.operators.native.convolution import product, product_fits

        if product_fits(x, weights):
            return product(x, weights)
    y = _product(x.reshape(-1, x.shape[-1]), weights.astype(x.dtype))
    return y.reshape(*x.shape[:-1], weights.shape[1])


def join_paths(x: Array, weights: Array) -> Array:
    """Expand every path and sum over the paths: [N, H, W, P, I] with [P, I, O] to [N, H, W, O] (ResNeXt's joining)."""
    if native.chosen():
        return pointwise(x.reshape(*x.shape[:3], -1), weights.reshape(-1, weights.shape[2]))
    contract = (((3, 4), (0, 1)), ((), ()))
    wide = wide_dtype(x.dtype)
    return lax.dot_general(x, weights.astype(x.dtype), contract, preferred_element_type=wide).astype(x.dtype)
