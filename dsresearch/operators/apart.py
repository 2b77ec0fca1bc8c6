"""Keeping a value from fusing into its readers."""

from typing import TypeVar

import jax
from jax import lax

T = TypeVar("T")


def apart(value: T) -> T:
    """The value, on the CPU computed once and stored.

    XLA:CPU fuses what makes a value into everything that reads it, and evaluates it for every reader and every pixel
    that is read: a pooling's gradient then repeats the nine products of the convolution behind it four times. On other
    backends fusion is what makes the step fast. The compiler flags of `runtime` keep these barriers until after fusion.
    """
    return lax.optimization_barrier(value) if jax.default_backend() == "cpu" else value
