"""What a design can show, computed before it is run, under assumptions that are stated and never fitted."""

import math
from collections.abc import Callable

import numpy as np
from scipy import integrate, optimize, special

PLANNED_ERROR = 7.0  # test error in percent on which planning rests; the paper gives none


def run_sd(n_test: int, error: float = PLANNED_ERROR) -> float:
    """Standard deviation of one run's test error over seeds, given the pictures, in percentage points.

    sqrt(err / 2n): pictures differ in difficulty, and for networks whose disagreement equals their error (Jiang et al.
    2021, arXiv:2106.13799) the mean of p(1 - p) over pictures is half the error.
    """
    share = error / 100
    return 100 * math.sqrt(share / (2 * n_test))


def difference_sd(n_test: int, error: float = PLANNED_ERROR) -> float:
    """Standard deviation of d_t for two independent runs on the same pictures, percentage points."""
    return math.sqrt(2) * run_sd(n_test, error)


def _over_sd(chance: Callable[[float], float], sigma: float, trials: int, highest: float = math.inf) -> float:
    """Mean of `chance` over the law of the sample SD of `trials` normal values of SD `sigma`, up to `highest`."""
    free, scale = trials - 1, sigma / math.sqrt(trials - 1)  # s / scale has the chi law of so many degrees of freedom
    lowest, top = scale * np.sqrt(2 * special.gammaincinv(free / 2, [1e-12, 1 - 1e-12]))
    if highest <= lowest:
        return 0.0
    constant = np.log(2) - free / 2 * np.log(2) - special.gammaln(free / 2)

    def weighted(s: float) -> float:
        x = s / scale
        return float(chance(s) * np.exp(constant + special.xlogy(free - 1.0, x) - x**2 / 2) / scale)

    return float(integrate.quad(weighted, lowest, min(highest, top), epsabs=1e-10, limit=200)[0])


def tost_power(sigma: float, trials: int, margin: float, alpha: float = 0.05, true: float = 0.0) -> float:
    """Chance that TOST passes at a true mean difference, for normal differences of standard deviation `sigma`.

    Given the sample SD s, the mean must fall within margin - t s / sqrt(T) of 0.
    """
    if trials < 2:
        return 0.0
    quantile, root = float(special.stdtrit(trials - 1, 1 - alpha)), math.sqrt(trials)

    def passes(s: float) -> float:
        room = margin - quantile * s / root
        return _within((-room - true) / sigma * root, (room - true) / sigma * root)

    return _over_sd(passes, sigma, trials, margin * root / quantile)


def minimum_detectable_effect(sigma: float, trials: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true mean difference that a two-sided paired t test finds with that power; inf for one trial."""
    if trials < 2:
        return math.inf
    quantile, root = float(special.stdtrit(trials - 1, 1 - alpha / 2)), math.sqrt(trials)

    def short(effect: float) -> float:
        def finds(s: float) -> float:
            bound = quantile * s / root
            return 1.0 - _within((-bound - effect) / sigma * root, (bound - effect) / sigma * root)

        return _over_sd(finds, sigma, trials) - power

    highest = sigma
    while short(highest) < 0:
        highest *= 2
    return float(optimize.brentq(short, 0.0, highest, xtol=1e-9 * sigma))


def _within(lo: float, hi: float) -> float:
    """Chance that a standard normal value lies between two bounds."""
    return float(special.ndtr(hi) - special.ndtr(lo))


def planned(trials: int, n_test: int, margin: float, alpha: float) -> dict[str, float]:
    """Planned figures of a design: SD of d_t, chance that TOST passes for equal arms, minimum detectable effect."""
    sigma = difference_sd(n_test)
    return {
        "assumed_error_pct": PLANNED_ERROR,
        "assumed_sd_diff_pp": sigma,
        "tost_power": tost_power(sigma, trials, margin, alpha),
        "mde80_pp": minimum_detectable_effect(sigma, trials, alpha),
    }
