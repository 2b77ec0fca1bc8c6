"""Convolution kernels of our own for a CPU: generated as LLVM code for one shape, and called by the compiled program.

    code         a thin layer over llvmlite: loops, vectors
    kernels      the two loops of a convolution of one picture, as code
    winograd     the same two of a 3x3 with fewer products, as code
    loops        whichever of these a convolution's shape asks for
    rooms        where pictures lie meanwhile
    pixels       what stands between convolutions of one picture, as code
    passage      a batch's way through convolutions that follow one another, forward and back, as code
    towers       where Inception's towers part from a picture, and where they are laid side by side, as code
    target       machine code, as something that a compiled program may call
    calls        passages from arrays to arrays
    convolution  one convolution as a differentiable operator
    stretch      all from one BatchNorm's map to the next one's sums as another
    inception    the parting and joining of towers as two more

What they are made of, from small to large:

    link     a convolution, and whether ReLU follows it
    run      links whose results between them are cheaper to compute anew for the gradient than to keep
    passage  one call: a batch, picture by picture, through a run
    stretch  from one BatchNorm's map to the next one's sums: a run, or several

XLA:CPU has fast routines for matrix products and for a dense convolution alone; a convolution in groups, or of few
channels, is made of these with much waste. Whoever asks for these kernels (`protocol.kernels=native`) gets them for
float32 at stride 1 wherever the channels fill vectors; all else is computed as without. Whoever asks for `fused` gets
a module that is a chain of convolutions as one stretch, and a batch goes through memory half as often; whoever asks for
`throughout`, modules with BatchNorm and ReLU between their convolutions as several; whoever asks for `winograd`, all of
that and 3x3 convolutions of eight channels or more by fewer products. Their bits differ from XLA's, and do not depend
on how long the processor's vectors are. They need the extra `native`, which is imported when they are
first used.
"""

import os

import jax

from dsresearch.runtime import KERNELS_VARIABLE


def chosen() -> bool:
    """Whether this process convolves with these kernels, as its `runtime.prepare` was told."""
    return _asked("native", "fused", "throughout", "winograd")


def fused() -> bool:
    """Whether it takes a picture through a whole chain of convolutions at a time as well."""
    return _asked("fused", "throughout", "winograd")


def throughout() -> bool:
    """Whether it does so between the BatchNorms inside a module, too."""
    return _asked("throughout", "winograd")


def in_tiles() -> bool:
    """Whether it saves products of a 3x3 convolution as well."""
    return _asked("winograd")


def _asked(*kernels: str) -> bool:
    return os.environ.get(KERNELS_VARIABLE) in kernels and jax.default_backend() == "cpu"
