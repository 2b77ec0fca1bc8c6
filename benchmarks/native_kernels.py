"""Our own convolution kernels beside XLA's convolutions, one operator at a time, taking turns on one core.

By all products (`native`), and by minimal filtering (`winograd`) where that is taken.

    python benchmarks/native_kernels.py --to results/measurements/native-kernels.json

For the modules of a stack at widths 16 and 32: milliseconds of a batch of 128, forward and the kernel's gradient (the
gradient of x is the forward kernel's work again), medians over the turns, and GFLOP/s of ours.
"""

import os
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from one_core import keep_rows, taking_turns, times_as_fast

from dsresearch import runtime

BATCH, TURNS = 128, 49
# side, channels, groups, kernel side; 4 channels are a tower of Inception at width 16
CASES = [(32, 16, groups, 3) for groups in (1, 2, 4, 8, 16)] + [(32, 32, groups, 3) for groups in (1, 2, 4, 32)]
CASES += [(16, 64, 1, 3), (16, 64, 4, 3), (16, 64, 8, 3), (8, 128, 1, 3), (8, 128, 8, 3), (32, 4, 1, 3), (32, 8, 1, 3)]
CASES += [(32, 16, 1, 1), (32, 32, 1, 1), (8, 128, 1, 1)]


def compiled(kernels: str, arrays: Any, groups: int) -> dict[str, Callable[[], Any]]:
    """Forward and kernel gradient of a convolution of these arrays (x, kernel, dy) by some kernels."""
    import jax

    from dsresearch import operators

    x, kernel, dy = arrays

    def convolve(x: Any, kernel: Any) -> Any:
        if kernel.shape[0] == 1:
            return operators.pointwise(x, kernel[0, 0])
        return operators.spatial_conv(x, kernel, groups=groups)

    def gradient(x: Any, kernel: Any, dy: Any) -> Any:
        return jax.vjp(lambda kernel: convolve(x, kernel), kernel)[1](dy)[0]

    os.environ[runtime.KERNELS_VARIABLE] = kernels  # read while a function is traced
    programs = {
        "forward": (jax.jit(convolve).lower(x, kernel).compile(), (x, kernel)),
        "gradient": (jax.jit(gradient).lower(x, kernel, dy).compile(), (x, kernel, dy)),
    }
    return {name: partial(_waited_for, program, words) for name, (program, words) in programs.items()}


def _waited_for(program: Callable[..., Any], words: tuple[Any, ...]) -> Any:
    import jax

    return jax.block_until_ready(program(*words))


def measured(side: int, channels: int, groups: int, k: int) -> dict[str, Any]:
    """One case."""
    import jax

    from dsresearch.operators.native.winograd import CHANNELS

    shapes = (BATCH, side, side, channels), (k, k, channels // groups, channels), (BATCH, side, side, channels)
    arrays = [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]
    asked = ["native", "xla", *(["winograd"] if k == 3 and channels // groups >= CHANNELS else [])]
    sides = {kernels: compiled(kernels, arrays, groups) for kernels in asked}
    row: dict[str, Any] = {"pixels": side, "channels": channels, "groups": groups, "kernel": k}
    work = 2e-9 * BATCH * side**2 * k**2 * channels**2 / groups
    for what in ("forward", "gradient"):
        times = taking_turns({kernels: calls[what] for kernels, calls in sides.items()}, TURNS)
        row |= {f"{what}_{kernels}_ms": round(1e3 * statistics.median(found), 3) for kernels, found in times.items()}
        row |= {f"{what}_ratio": round(times_as_fast(times["native"], times["xla"])[0], 2)}
        row |= {f"{what}_gflop_per_s": round(work / statistics.median(times["native"]), 1)}
        if "winograd" in times:
            row |= {f"{what}_winograd_ratio": round(times_as_fast(times["winograd"], times["native"])[0], 2)}
    return row


if __name__ == "__main__":
    keep_rows(__doc__, CASES, measured, batch=BATCH, turns=TURNS)
