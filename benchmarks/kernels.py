"""A whole training step by each choice of kernels (`protocol.kernels`), taking turns in one process on one core.

    python benchmarks/kernels.py --to results/measurements/kernels.json

The standard network at widths 16 and 32: milliseconds of a step of 128 pictures, the median over the turns, and how
many times as fast it is as by `native`, the median of the turns' ratios.
"""

import dataclasses
import os
import statistics
from functools import partial
from typing import Any

from one_core import keep_rows, taking_turns, times_as_fast

from dsresearch import runtime
from dsresearch.bench.cases import FIGURE_4, NETWORKS, case
from dsresearch.design import KERNELS

TURNS, STEPS = 5, 8
WIDTHS = (16, 32)
CASES = [(setup, width, 0) for width in WIDTHS for setup in FIGURE_4]
CASES += [("grouped", width, groups) for width in WIDTHS for groups in (1, 2, 4)]
ASKED = KERNELS[1:]  # our own; the tables of `dsresearch bench` have XLA's


def measured(setup: str, width: int, groups: int) -> dict[str, Any]:
    """One setup at one width, in so many groups or in its own: its row."""
    from dsresearch.bench.ours import Ours

    network = dataclasses.replace(NETWORKS["cpu"], width=width, steps=STEPS)
    sides = {}
    for kernels in ASKED:
        os.environ[runtime.KERNELS_VARIABLE] = kernels  # read while the program is traced
        sides[kernels] = Ours(case(network, setup, groups=groups, kernels=kernels))
    times = taking_turns({kernels: partial(side.run, 1) for kernels, side in sides.items()}, TURNS)  # epochs
    row: dict[str, Any] = {"setup": setup, "width": width, "groups": groups}
    for kernels, side in sides.items():
        row[f"{kernels}_ms"] = round(1e3 * statistics.median(times[kernels]) / STEPS, 1)
        row[f"{kernels}_compile_s"] = round(side.compile_s, 1)
        ratios = zip(("ratio", "ratio_min", "ratio_max"), times_as_fast(times[kernels], times["native"]), strict=True)
        row |= {f"{kernels}_{name}": round(value, 2) for name, value in ratios}
    return row


if __name__ == "__main__":
    keep_rows(__doc__, CASES, measured, turns=TURNS, steps=STEPS)
