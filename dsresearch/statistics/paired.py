"""Statistics of paired trials.

d_t = error(setup, t) - error(baseline, t) in percentage points, one value a trial, trials along the last axis; the
other axes broadcast, so that one study and twenty thousand simulated ones go through the same code.

A control that is bit-identical makes every d_t zero, where scipy's paired t and BCa return NaN and statsmodels' TOST
divides by zero: no variance is a case of its own in every function here, and so is a single trial, whose intervals are
unbounded.

Distributions are those of scipy.special (`stdtr` and `stdtrit` of Student's t, `ndtr` and `ndtri` of the normal law):
what scipy.stats calls too, after checks that take longer than the rest of a study of many arms.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]

EXACT_TRIALS = 20  # up to here all 2^T sign patterns are counted
RESAMPLES = 99_999  # random sign patterns above it
FEWEST_TO_RESAMPLE = 8  # trials: a bootstrap's 95 % cover about 90 there, 73 with three trials, 50 with two
_TIE = 1e-9  # differences are multiples of one picture; sums that close are equal
_BLOCK = 4_000_000  # random signs held at once


class Interval(NamedTuple):
    """Lower and upper bound, percentage points."""

    lo: Any
    hi: Any


def _trials(d: npt.ArrayLike) -> Floats:
    """Differences as an array. Raises ValueError without trials or where one is not a number: name what is missing."""
    array = np.asarray(d, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError("no trials")
    if not np.isfinite(array).all():
        raise ValueError("a trial without a number: leave out the missing pair and name it")
    return array


def mean_abs(d: npt.ArrayLike) -> Floats:
    """Reading A of the paper's statistic: the mean over trials of |d_t|."""
    return np.asarray(np.abs(_trials(d)).mean(axis=-1))


def abs_mean(d: npt.ArrayLike) -> Floats:
    """Reading B of the paper's statistic: |the mean over trials of d_t|."""
    return np.asarray(np.abs(_trials(d).mean(axis=-1)))


def sd(d: npt.ArrayLike) -> Floats:
    """Standard deviation over trials with T - 1; exactly 0 where all are equal, NaN for one trial."""
    array = _trials(d)
    if array.shape[-1] == 1:
        return np.full(array.shape[:-1], np.nan)
    same = np.ptp(array, axis=-1) <= _TIE * np.abs(array).max(axis=-1)
    return np.where(same, 0.0, array.std(axis=-1, ddof=1))


def sd_interval(spread: float, trials: int, level: float = 0.95) -> Interval:
    """Interval of the standard deviation of normal values of which `trials` showed `spread`: of two trials or more.

    From the chi-square law of their sum of squares.
    """
    freedom = trials - 1
    quantiles = 2 * special.gammaincinv(freedom / 2, [(1 + level) / 2, (1 - level) / 2])
    lo, hi = spread * np.sqrt(freedom / quantiles)
    return Interval(float(lo), float(hi))


def t_interval(d: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Paired t interval of the mean. One trial: unbounded. No variance: the mean itself, twice."""
    array = _trials(d)
    mean, trials = array.mean(axis=-1), array.shape[-1]
    if trials == 1:
        return Interval(np.full(mean.shape, -np.inf), np.full(mean.shape, np.inf))
    half = special.stdtrit(trials - 1, (1 + level) / 2) * sd(array) / np.sqrt(trials)
    return Interval(mean - half, mean + half)


def folded(interval: Interval) -> Interval:
    """The interval of |x|, from that of x."""
    lo, hi = interval
    return Interval(0.0 if lo <= 0 <= hi else min(abs(lo), abs(hi)), max(abs(lo), abs(hi)))


def replication_interval(mean: float, spread: float, trials: int, theirs: int, level: float = 0.95) -> Interval:
    """Where the mean of `theirs` further trials of the same experiment lies with the chance `level`.

    From `trials` of them with this mean and standard deviation: mean +- t spread sqrt(1 / trials + 1 / theirs). The
    interval of the mean itself would miss one such mean in six where both have as many trials and more where they
    have fewer: it knows nothing of their noise. Unbounded from one trial.
    """
    if trials < 2:
        return Interval(-math.inf, math.inf)
    half = float(special.stdtrit(trials - 1, (1 + level) / 2)) * spread * math.sqrt(1 / trials + 1 / theirs)
    return Interval(mean - half, mean + half)


def bca_interval(d: npt.ArrayLike, level: float = 0.95, resamples: int = 9_999, seed: int = 0) -> Interval:
    """Bias-corrected and accelerated bootstrap interval of reading A, mean |d_t|, of one arm.

    For display beside A only: at ten trials it covers 89 % where 95 % is written. Efron and Tibshirani 1993, 14.3.
    """
    absolute = np.abs(_trials(d))
    trials = len(absolute)
    if trials == 1:
        return Interval(-np.inf, np.inf)
    if float(sd(absolute)) == 0.0:
        return Interval(float(absolute[0]), float(absolute[0]))
    drawn = _drawn_shares(trials, resamples, seed) @ absolute
    mean = absolute.mean()
    tie = _TIE * absolute.max()
    below = (np.mean(drawn < mean - tie) + np.mean(drawn <= mean + tie)) / 2
    bias = special.ndtri(below)
    left_out = (absolute.sum() - absolute) / (trials - 1)
    deviation = left_out.mean() - left_out
    acceleration = (deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5)
    shifted = bias + special.ndtri([(1 - level) / 2, (1 + level) / 2])
    lo, hi = np.quantile(drawn, special.ndtr(bias + shifted / (1 - acceleration * shifted)))
    return Interval(float(lo), float(hi))


@functools.lru_cache(maxsize=4)
def _drawn_shares(trials: int, resamples: int, seed: int) -> Floats:
    """The share that each trial has of every resample, shape (resamples, trials): the same for every arm of a study."""
    drawn = np.random.default_rng(seed).integers(0, trials, (resamples, trials))
    return np.asarray((drawn[:, :, None] == np.arange(trials)).mean(axis=1), dtype=np.float64)


def sign_flip_p(d: npt.ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Two-sided p of the paired sign-flip test that the mean is 0.

    Exact up to EXACT_TRIALS trials: the share of the 2^T sign patterns whose |sum| reaches the observed one. Above, the
    same over `resamples` random patterns and the observed one (Phipson and Smyth 2010), drawn from `seed`.
    """
    array = _trials(d)
    return _share_reaching(array, np.abs(array.sum(axis=-1)), resamples, seed)


def null_percentile(null: npt.ArrayLike, value: npt.ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Percentage of the sign patterns of `null` (the seed control's d) whose |mean| is below or at `value` (a B)."""
    array = _trials(null)
    above = np.asarray(value, dtype=np.float64) * array.shape[-1] + 2 * _TIE * np.abs(array).sum(axis=-1)
    share = _share_reaching(array, above, resamples, seed, observed=False)
    return 100 * (1 - np.where(np.abs(array).sum(axis=-1) > 0, share, 0.0))


def _share_reaching(array: Floats, reach: Floats, resamples: int, seed: int, observed: bool = True) -> Floats:
    """Share of sign patterns of the last axis whose |sum| is `reach` or more, ties counted."""
    rows = array.reshape(-1, array.shape[-1])
    bounds = np.broadcast_to(reach, array.shape[:-1]).reshape(-1) - _TIE * np.abs(rows).sum(axis=-1)
    if array.shape[-1] <= EXACT_TRIALS:
        share = _exact_share(rows, bounds)
    else:
        share = _random_share(rows, bounds, resamples, seed, observed)
    return share.reshape(array.shape[:-1])


def _exact_share(rows: Floats, bounds: Floats) -> Floats:
    """All patterns, met in the middle: sums of one half are looked up among the sorted sums of the other."""
    half = rows.shape[-1] // 2
    left, right = rows[:, :half] @ _signs(half).T, np.sort(rows[:, half:] @ _signs(rows.shape[-1] - half).T, axis=-1)
    share = np.ones(len(rows))  # a bound of 0 is always reached
    for at in np.flatnonzero(bounds > 0):
        below = int(np.searchsorted(right[at], bounds[at] - left[at], side="left").sum())
        share[at] = 2 * (left[at].size * right[at].size - below)  # sums come in pairs of opposite sign
    return np.asarray(np.where(bounds > 0, share / 2.0 ** rows.shape[-1], 1.0), dtype=np.float64)


def _signs(n: int) -> Floats:
    """All 2^n patterns of n signs, shape (2^n, n)."""
    return np.asarray(1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1), dtype=np.float64)


def _random_share(rows: Floats, bounds: Floats, resamples: int, seed: int, observed: bool) -> Floats:
    rng = np.random.default_rng(seed)
    count = np.full(len(rows), float(observed))
    block = max(1, _BLOCK // max(rows.shape))
    for start in range(0, resamples, block):
        signs = rng.integers(0, 2, (min(block, resamples - start), rows.shape[-1])) * 2.0 - 1.0
        count += (np.abs(signs @ rows.T) >= bounds).sum(axis=0)
    return count / (resamples + observed)


def tost_p(d: npt.ArrayLike, margin: float) -> Floats:
    """p of the two one-sided paired t tests that the mean lies outside (-margin, margin): small means equivalent.

    p < alpha exactly where the interval of level 1 - 2 alpha lies inside the margin (Schuirmann 1987).
    """
    array = _trials(d)
    mean, trials = array.mean(axis=-1), array.shape[-1]
    if trials == 1:
        return np.ones(mean.shape)
    spread = sd(array)
    error = np.where(spread > 0, spread, 1.0) / np.sqrt(trials)
    p = np.maximum(
        special.stdtr(trials - 1, -(mean + margin) / error), special.stdtr(trials - 1, (mean - margin) / error)
    )
    return np.where(spread > 0, p, np.where(np.abs(mean) < margin, 0.0, 1.0))


def outside(d: npt.ArrayLike, margin: float, alpha: float = 0.05) -> npt.NDArray[np.bool_]:
    """Whether the paired t interval of level 1 - alpha lies wholly outside (-margin, margin)."""
    lo, hi = t_interval(d, 1 - alpha)
    return np.asarray((lo > margin) | (hi < -margin))


def equivalence_margin(d: npt.ArrayLike, alpha: float = 0.05) -> Floats:
    """The smallest margin at which TOST would pass: the bound of the 1 - 2 alpha interval that is farther from 0."""
    lo, hi = t_interval(d, 1 - 2 * alpha)
    return np.asarray(np.maximum(np.abs(lo), np.abs(hi)))


def nadeau_bengio_p(d: npt.ArrayLike, n_test: int, n_train: int) -> Floats:
    """Two-sided p of the t test corrected for trials that draw their splits from one pool (Nadeau and Bengio 2003).

    The variance of the mean is s^2 (1/T + n_test/n_train). A sensitivity beside the tests that decide.
    """
    array = _trials(d)
    mean, trials = array.mean(axis=-1), array.shape[-1]
    if trials == 1:
        return np.ones(mean.shape)
    spread = sd(array)
    error = np.where(spread > 0, spread, 1.0) * np.sqrt(1 / trials + n_test / n_train)
    p = 2 * special.stdtr(trials - 1, -np.abs(mean) / error)
    return np.where(spread > 0, p, np.where(mean == 0, 1.0, 0.0))


def holm(p: npt.ArrayLike) -> Floats:
    """Holm's step-down adjusted p values of a family along the last axis."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, axis=-1, kind="stable")
    steps = np.arange(values.shape[-1], 0, -1)
    adjusted = np.minimum(1.0, np.maximum.accumulate(np.take_along_axis(values, order, axis=-1) * steps, axis=-1))
    out = np.empty_like(adjusted)
    np.put_along_axis(out, order, adjusted, axis=-1)
    return out


def farther_p(rival: npt.ArrayLike, candidate: npt.ArrayLike, resamples: int = RESAMPLES) -> tuple[Floats, Floats]:
    """Is the rival farther from the baseline than the candidate, or nearer? p, and the sign of the answer (+1 farther).

    |E d_r| > |E d_h| exactly where the means of d_r - d_h and d_r + d_h have one sign: two linear contrasts, each with
    its sign-flip test, both of which must reject, so p is the larger (intersection-union; Berger 1982).
    """
    r, h = _trials(rival), _trials(candidate)
    apart, joint = r - h, r + h
    p = np.maximum(sign_flip_p(apart, resamples), sign_flip_p(joint, resamples))
    return p, np.sign(apart.mean(axis=-1)) * np.sign(joint.mean(axis=-1))
