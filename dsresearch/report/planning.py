"""What designs can show before they are run: the chances behind F9, T9 and the line under every verdict.

Functions of the design's size alone, simulated by the rule that judges a study (`statistics.chances`); nothing
here reads a study's numbers.
"""

import functools

import pandas as pd

from dsresearch.design import Protocol
from dsresearch.references.hybrid import DESIGNS
from dsresearch.statistics import chances, minimum_detectable_effect, tost_power
from dsresearch.statistics.power import difference_sd

TRIALS = (8, 10, 15, 20, 30)
STUDIES = 1_000  # simulated for each point of the curve
PRINTED_STUDIES = 5_000  # and for a figure that is printed with a verdict

_chances = functools.cache(chances)


def chance_of_support(trials: int, n_test: int, margin: float, alpha: float) -> dict[str, float]:
    """Chance of each word where the hypothesis is true (`statistics.chances`), for a design of that size."""
    return dict(_chances(trials, n_test, margin, alpha, studies=PRINTED_STUDIES))


@functools.cache
def chances_table(protocol: Protocol, n_test: int) -> pd.DataFrame:
    """Columns n_test, trials, SUPPORTED, NOT SUPPORTED, UNDECIDED, sd_diff_pp, mde80_pp, tost_power, tost80_margin_pp.

    A row a design, with the spread of d that is planned with and the margin at which TOST has a chance of 80 %.

    For the paper's 6,000 test pictures, the standard 10,000 and `n_test`; TRIALS and the protocol's own number.
    """
    rows = []
    for pictures in dict.fromkeys([n_test, *(n for _, n in DESIGNS.values())]):
        for trials in sorted({*TRIALS, *([protocol.trials] if protocol.trials >= TRIALS[0] else [])}):
            sigma = difference_sd(pictures)
            found = _chances(trials, pictures, protocol.margin, protocol.alpha, studies=STUDIES)
            rows.append(
                {
                    "n_test": pictures,
                    "trials": trials,
                    **found,
                    "sd_diff_pp": sigma,
                    "mde80_pp": sigma * _detectable(trials, protocol.alpha),
                    "tost_power": tost_power(sigma, trials, protocol.margin, protocol.alpha),
                    "tost80_margin_pp": sigma * _smallest_margin(trials, protocol.alpha),
                }
            )
    return pd.DataFrame(rows)


@functools.cache
def _detectable(trials: int, alpha: float) -> float:
    """The smallest difference found with a chance of 80 %, in units of the SD of d, by which everything scales."""
    return minimum_detectable_effect(1.0, trials, alpha)


@functools.cache
def _smallest_margin(trials: int, alpha: float, power: float = 0.8) -> float:
    """The margin at which equal arms pass TOST with that chance, in units of the SD of d; by bisection to 0.1 %."""
    lo, hi = 0.0, 20.0
    while hi - lo > 1e-3:
        middle = (lo + hi) / 2
        lo, hi = (lo, middle) if tost_power(1.0, trials, middle, alpha) >= power else (middle, hi)
    return hi
