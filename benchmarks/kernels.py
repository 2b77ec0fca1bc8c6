"""A whole training step by each choice of kernels (`protocol.kernels`), taking turns in one process on one core.

    python benchmarks/kernels.py --to results/measurements/kernels.json

The standard network at widths 16 and 32: milliseconds of a step of 128 pictures, the median over the turns, and how
many times as fast it is as by `native`, the median of the turns' ratios.
"""

import dataclasses
import os
import statistics
import time
from typing import Any

from one_core import keep_rows

from dsresearch import runtime
from dsresearch.bench.cases import FIGURE_4, NETWORKS, case
from dsresearch.design import KERNELS

TURNS, STEPS = 5, 8
WIDTHS = (16, 32)
ASKED = KERNELS[1:]  # by XLA's kernels a step takes many times as long


def measured(setup: str, width: int) -> dict[str, Any]:
    """One setup at one width: its row."""
    from dsresearch.bench.ours import Ours

    network = dataclasses.replace(NETWORKS["cpu"], width=width, steps=STEPS)
    sides = {}
    for kernels in ASKED:
        os.environ[runtime.KERNELS_VARIABLE] = kernels  # read while the program is traced
        sides[kernels] = Ours(case(network, setup, kernels=kernels))
    times: dict[str, list[float]] = {kernels: [] for kernels in sides}
    for turn in range(TURNS):
        for kernels in ASKED if turn % 2 else reversed(ASKED):
            began = time.perf_counter()
            sides[kernels].run(1)
            times[kernels].append((time.perf_counter() - began) / STEPS)
    row: dict[str, Any] = {"setup": setup, "width": width}
    for kernels, side in sides.items():
        ratios = [native / own for native, own in zip(times["native"], times[kernels], strict=True)]
        row[f"{kernels}_ms"] = round(1e3 * statistics.median(times[kernels]), 1)
        row[f"{kernels}_compile_s"] = round(side.compile_s, 1)
        row[f"{kernels}_ratio"] = round(statistics.median(ratios), 2)
        row |= {f"{kernels}_ratio_min": round(min(ratios), 2), f"{kernels}_ratio_max": round(max(ratios), 2)}
    return row


if __name__ == "__main__":
    keep_rows(__doc__, [(setup, width) for width in WIDTHS for setup in FIGURE_4], measured, turns=TURNS, steps=STEPS)
