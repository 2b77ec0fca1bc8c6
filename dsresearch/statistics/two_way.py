"""The two-way bootstrap of a difference: over trials and over test pictures, both at once.

The paired t interval knows trials only: where every trial is tested on the same pictures it speaks of these pictures.
Drawing trials and pictures anew, each with replacement, tells what another test set would have added.
"""

import functools

import numpy as np
import numpy.typing as npt

from dsresearch.statistics.paired import Floats, Interval

RESAMPLES = 999
_BLOCK = 1_000_000  # counts of pictures held at once


def two_way_interval(d: npt.ArrayLike, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Percentile interval of the mean of d over drawn trials and drawn pictures (Owen 2007, the pigeonhole bootstrap).

    `d` has shape (..., trials, pictures), arms in front: what the difference is on one picture in one trial, percentage
    points (100 where only the setup errs, -100 where only the baseline does, else 0), NaN where a trial was not tested
    on a picture; the bounds have the shape in front, and all arms stand on the same draws. The mean is that over what
    is drawn and not NaN. For display, as a sensitivity: on the side of too wide where each cell is noise of its own,
    which it counts three times, and at ten trials too narrow in the part of the trials, as every bootstrap. One trial
    or one picture: unbounded.

    Raises ValueError without trials or pictures, for an infinite value and for a trial that was tested on nothing.
    """
    array = np.asarray(d, dtype=np.float64)
    if array.ndim < 2 or not array.size:
        raise ValueError(f"d of shape {array.shape}: allowed are trials by pictures, at least one of each")
    seen = ~np.isnan(array)
    if np.isinf(array).any() or not seen.any(axis=-1).all():
        raise ValueError("a trial without a number: leave out the missing pair and name it")
    arms = array.shape[:-2]
    if 1 in array.shape[-2:]:
        return Interval(np.full(arms, -np.inf), np.full(arms, np.inf))
    means = _drawn_means(np.where(seen, array, 0.0), seen.astype(np.float64), resamples, seed)
    levels = [(1 - level) / 2, (1 + level) / 2]
    bounds = np.array([np.quantile(of[~np.isnan(of)], levels) for of in means.reshape(-1, resamples)])
    lo, hi = bounds.T.reshape(2, *arms)
    return Interval(lo, hi)


def _drawn_means(values: Floats, seen: Floats, resamples: int, seed: int) -> Floats:
    """The mean of every resample, shape (..., resamples): sums weighted by how often each trial and picture was drawn.

    A resample in which nothing was seen has no mean: NaN.
    """
    trials, pictures = values.shape[-2:]
    both = np.stack([values, seen]).reshape(-1, pictures)
    of_trials, of_pictures = _drawn(resamples, trials, pictures, seed)
    sums, block = [], max(1, _BLOCK // pictures)
    for start in range(0, resamples, block):
        weights = of_trials[start : start + block, None, :]
        by_trial = of_pictures[start : start + block].astype(np.float64) @ both.T
        sums.append((by_trial.reshape(len(weights), -1, trials) * weights).sum(axis=-1))
    total, count = np.concatenate(sums).T.reshape(2, *values.shape[:-2], resamples)
    return np.asarray(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0), dtype=np.float64)


@functools.lru_cache(maxsize=1)
def _drawn(resamples: int, trials: int, pictures: int, seed: int) -> tuple[Floats, npt.NDArray[np.uint16]]:
    """How often every resample draws each trial and each picture: the same for every arm of a study."""
    rng, block = np.random.default_rng(seed), max(1, _BLOCK // pictures)
    of_trials = _counts(rng, resamples, trials)
    sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
    return of_trials, np.concatenate([_counts(rng, size, pictures).astype(np.uint16) for size in sizes])


def _counts(rng: np.random.Generator, resamples: int, units: int) -> Floats:
    """How often each of so many units is drawn, as many drawn as there are, shape (resamples, units).

    Numpy's multinomial has the same law and takes five times as long.
    """
    drawn = rng.integers(0, units, (resamples, units), dtype=np.int32)
    places = drawn + units * np.arange(resamples, dtype=np.int32)[:, None]
    return np.bincount(places.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)
