"""Convolution kernels of our own for a CPU: generated as LLVM code for one shape, and called by the compiled program.

    code         a thin layer over llvmlite: loops, vectors
    kernels      the two loops of a convolution, as code
    target       machine code, as something that a compiled program may call
    convolution  the two as a differentiable operator

XLA:CPU has fast routines for matrix products and for a dense convolution alone; a convolution in groups, or of few
channels, is made of these with much waste. Whoever asks for these kernels (`protocol.kernels=native`) gets them for
float32 at stride 1 wherever the channels fill vectors; all else is computed as without. Their bits differ from XLA's,
and do not depend on how long the processor's vectors are. They need the extra `native`, which is imported when they are
first used.
"""

import os

import jax

from dsresearch.runtime import KERNELS


def chosen() -> bool:
    """Whether this process computes with these kernels, as its `runtime.prepare` was told."""
    return os.environ.get(KERNELS) == "native" and jax.default_backend() == "cpu"
