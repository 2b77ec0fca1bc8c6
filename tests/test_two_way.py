"""The two-way bootstrap against closed forms, scipy where only one way varies, and a literal loop where NaN stand."""

import numpy as np
import pytest
from scipy import stats

from dsresearch.statistics import two_way_interval

WIDTH = 2 * stats.norm.ppf(0.975)


def crossed(rng: np.random.Generator, trials: int, pictures: int, of_trials: float, of_pictures: float, own: float):
    """d of a crossed design: an effect of the trial, one of the picture, and noise of each cell; their SDs."""
    effects = rng.normal(0, of_trials, (trials, 1)) + rng.normal(0, of_pictures, (1, pictures))
    return effects + rng.normal(0, own, (trials, pictures))


def sd_of(interval) -> float:
    """The standard deviation that a normal law with such an interval has."""
    return (interval.hi - interval.lo) / WIDTH


@pytest.mark.parametrize("sds", [(1, 3, 2), (1, 0, 0.5), (0, 4, 1), (0, 0, 8)])
def test_variance_is_that_of_multinomial_weights_in_closed_form(sds):
    """var = S_trials/T + S_pictures/N + S_own/(T N), each S a mean square of the row means, column means and rest."""
    d = crossed(np.random.default_rng(1), 30, 200, *sds)
    rows, columns = d.mean(axis=1, keepdims=True), d.mean(axis=0, keepdims=True)
    variance = rows.var() / 30 + columns.var() / 200 + (d - rows - columns + d.mean()).var() / (30 * 200)
    found = two_way_interval(d, resamples=40_000)
    assert sd_of(found) == pytest.approx(np.sqrt(variance), rel=0.03)
    assert np.mean(found) == pytest.approx(d.mean(), abs=0.1 * np.sqrt(variance))


def test_over_many_studies_it_is_the_variance_of_a_crossed_mean():
    """Independent effects: var of the mean = s_t^2/T + s_p^2/N; a bootstrap has (n - 1)/n of each."""
    rng = np.random.default_rng(2)
    found = [sd_of(two_way_interval(crossed(rng, 25, 60, 1.0, 2.0, 0.0), resamples=999)) ** 2 for _ in range(150)]
    assert np.mean(found) == pytest.approx(1 / 25 * 24 / 25 + 4 / 60 * 59 / 60, rel=0.06)


@pytest.mark.parametrize("way", ["trials", "pictures"])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_where_one_way_has_no_variance_it_is_the_percentile_bootstrap_of_scipy(way, level):
    values = np.random.default_rng(3).gamma(1.0, 0.4, 12)  # skewed, so that the two sides differ
    d = np.tile(values[:, None], 7) if way == "trials" else np.tile(values, (7, 1))
    expected = stats.bootstrap(
        (values,),
        np.mean,
        method="percentile",
        confidence_level=level,
        n_resamples=40_000,
        rng=np.random.default_rng(4),
    ).confidence_interval
    assert two_way_interval(d, level, resamples=40_000) == pytest.approx(tuple(expected), abs=0.04 * values.std())


def test_a_stack_of_arms_has_the_bounds_of_each_arm_alone():
    """Differences as the report has them, whose sums are whole numbers: the same bits, whatever stands beside."""
    d = np.random.default_rng(6).choice([-100.0, 0.0, 100.0, np.nan], (3, 2, 4, 30))
    d[1, 1, :, 1:] = np.nan  # pictures that most draws miss: their means are left out
    d[1, 1, :, 0] = [0.0, 100.0, 100.0, -100.0]
    found = two_way_interval(d, resamples=99)
    assert found.lo.shape == found.hi.shape == (3, 2)
    for place in np.ndindex(3, 2):
        assert (found.lo[place], found.hi[place]) == two_way_interval(d[place], resamples=99)
        assert np.isfinite([found.lo[place], found.hi[place]]).all()
    alone = two_way_interval(np.zeros((3, 1, 5)))
    assert (alone.lo == -np.inf).all()
    assert alone.lo.shape == (3,)


def test_pictures_that_a_trial_was_not_tested_on_do_not_count():
    """Against a literal loop over drawn trials and drawn pictures."""
    rng = np.random.default_rng(5)
    d = rng.normal(1.0, 1.0, (5, 1)) + rng.normal(0, 1.0, (5, 14))
    d[rng.random(d.shape) < 0.6] = np.nan
    drawn = []
    for _ in range(6_000):
        trials, pictures = rng.integers(0, 5, 5), rng.integers(0, 14, 14)
        seen = [d[t, p] for t in trials for p in pictures if not np.isnan(d[t, p])]
        drawn += [sum(seen) / len(seen)] if seen else []
    expected = np.quantile(drawn, [0.025, 0.975])
    assert two_way_interval(d, resamples=40_000) == pytest.approx(tuple(expected), abs=0.05)


def test_a_resample_that_saw_nothing_is_left_out():
    d = np.array([[1.0, np.nan], [np.nan, 3.0]])
    assert two_way_interval(d) == (1.0, 3.0)


def test_it_is_seeded_and_in_blocks_that_do_not_matter(monkeypatch):
    d = crossed(np.random.default_rng(6), 10, 50, 1, 1, 1)
    first = two_way_interval(d, seed=7)
    assert first == two_way_interval(d, seed=7)
    assert first != two_way_interval(d, seed=8)
    monkeypatch.setattr("dsresearch.statistics.two_way._BLOCK", 5_000)
    assert two_way_interval(d, seed=7) == pytest.approx(first, abs=0.1)


def test_no_difference_is_a_point_and_one_trial_or_picture_bounds_nothing():
    assert two_way_interval(np.zeros((10, 30))) == (0.0, 0.0)
    assert two_way_interval(np.full((3, 4), -0.5)) == (-0.5, -0.5)
    assert two_way_interval([[1.0, 2.0]]) == two_way_interval([[1.0], [2.0]]) == (-np.inf, np.inf)


@pytest.mark.parametrize("d", [[], [[]], [1.0, 2.0], [[1.0, np.inf], [0.0, 0.0]], [[np.nan, np.nan], [0.0, 1.0]]])
def test_what_is_no_trial_is_an_error(d):
    with pytest.raises(ValueError, match="trial"):
        two_way_interval(d)
