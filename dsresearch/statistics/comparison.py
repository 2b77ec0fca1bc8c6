"""Everything that one arm's paired differences say, computed once for tables, figures and verdict."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsresearch.statistics.paired import (
    Interval,
    abs_mean,
    bca_interval,
    equivalence_margin,
    mean_abs,
    nadeau_bengio_p,
    outside,
    sd,
    sign_flip_p,
    t_interval,
    tost_p,
)


@dataclass(frozen=True)
class Comparison:
    """One arm against its baseline; percentage points.

    Attributes:
        trials: pairs.
        mean: signed mean of d_t, the estimand.
        t95: its paired t interval.
        t_tost: that of level 1 - 2 alpha (90 %), which TOST holds against the margin.
        outside: whether that of level 1 - alpha lies wholly outside the margin, as the verdict asks.
        sd: standard deviation of d_t; NaN for one trial.
        a: reading A, mean |d_t|.
        a_bca95: its BCa interval, for display.
        b: reading B, |mean d_t|.
        p_sign_flip: exact paired sign-flip test of a difference.
        p_tost: equivalence at the margin.
        equivalence_margin: the smallest margin that would pass.
        p_nadeau_bengio: the t test corrected for splits drawn from one pool.
    """

    trials: int
    mean: float
    t95: Interval
    t_tost: Interval
    outside: bool
    sd: float
    a: float
    a_bca95: Interval
    b: float
    p_sign_flip: float
    p_tost: float
    equivalence_margin: float
    p_nadeau_bengio: float

    def shown_equal(self, alpha: float) -> bool:
        """Whether TOST passes; differences without variance, of which no test can be made, show nothing."""
        return self.sd > 0 and self.p_tost < alpha


def compare(d: npt.ArrayLike, *, margin: float, alpha: float, n_test: int, n_train: int) -> Comparison:
    """All statistics of one arm's d_t. Raises ValueError without trials."""
    values = np.asarray(d, dtype=np.float64)
    if not values.size:
        raise ValueError("no trials")
    return Comparison(
        trials=len(values),
        mean=float(values.mean()),
        t95=_plain(t_interval(values, 0.95)),
        t_tost=_plain(t_interval(values, 1 - 2 * alpha)),
        outside=bool(outside(values, margin, alpha)),
        sd=float(sd(values)),
        a=float(mean_abs(values)),
        a_bca95=bca_interval(values, 0.95),
        b=float(abs_mean(values)),
        p_sign_flip=float(sign_flip_p(values)),
        p_tost=float(tost_p(values, margin)),
        equivalence_margin=float(equivalence_margin(values, alpha)),
        p_nadeau_bengio=float(nadeau_bengio_p(values, n_test, n_train)),
    )


def _plain(interval: Interval) -> Interval:
    return Interval(float(interval.lo), float(interval.hi))
