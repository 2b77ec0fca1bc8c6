"""What a design can show, computed before it is run, under assumptions that are stated and never fitted."""

import math
from collections.abc import Callable

import numpy as np
from scipy import integrate, optimize, stats

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
    law = stats.chi(trials - 1, scale=sigma / math.sqrt(trials - 1))
    lowest, top = law.ppf([1e-12, 1 - 1e-12])
    if highest <= lowest:
        return 0.0
    value = integrate.quad(lambda s: chance(s) * law.pdf(s), lowest, min(highest, top), epsabs=1e-10, limit=200)[0]
    return float(value)


def tost_power(sigma: float, trials: int, margin: float, alpha: float = 0.05, true: float = 0.0) -> float:
    """Chance that TOST passes at a true mean difference, for normal differences of standard deviation `sigma`.

    Given the sample SD s, the mean must fall within margin - t s / sqrt(T) of 0.
    """
    if trials < 2:
        return 0.0
    quantile, root = stats.t.ppf(1 - alpha, trials - 1), math.sqrt(trials)

    def passes(s: float) -> float:
        room = margin - quantile * s / root
        return float(np.diff(stats.norm.cdf((np.array([-room, room]) - true) / sigma * root))[0])

    return _over_sd(passes, sigma, trials, margin * root / quantile)


def minimum_detectable_effect(sigma: float, trials: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true mean difference that a two-sided paired t test finds with that power; inf for one trial."""
    if trials < 2:
        return math.inf
    quantile, root = stats.t.ppf(1 - alpha / 2, trials - 1), math.sqrt(trials)

    def short(effect: float) -> float:
        def finds(s: float) -> float:
            bounds = np.array([-1.0, 1.0]) * quantile * s / root
            return 1.0 - float(np.diff(stats.norm.cdf((bounds - effect) / sigma * root))[0])

        return _over_sd(finds, sigma, trials) - power

    highest = sigma
    while short(highest) < 0:
        highest *= 2
    return float(optimize.brentq(short, 0.0, highest, xtol=1e-9 * sigma))


def planned(trials: int, n_test: int, margin: float, alpha: float) -> dict[str, float]:
    """Planned figures of a design: SD of d_t, chance that TOST passes for equal arms, minimum detectable effect."""
    sigma = difference_sd(n_test)
    return {
        "assumed_error_pct": PLANNED_ERROR,
        "assumed_sd_diff_pp": sigma,
        "tost_power": tost_power(sigma, trials, margin, alpha),
        "mde80_pp": minimum_detectable_effect(sigma, trials, alpha),
    }
