"""Every statistic against scipy, statsmodels, scikit-learn or a closed form; no variance and one trial on their own."""

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from dsresearch import statistics as st
from dsresearch.statistics import paired
from dsresearch.statistics.power import difference_sd

ZERO = np.zeros(10)
D = np.array([0.31, -0.12, 0.08, 0.25, -0.3, 0.11, 0.02, 0.4, -0.05, 0.17])


def draws(shape: tuple[int, ...], seed: int = 0, mean: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.3, shape)


# --- the two readings, spread, intervals ------------------------------------------------------------------------


def test_the_two_readings_of_the_paper_differ_by_where_the_absolute_value_stands():
    d = [0.5, -0.5, 0.2, -0.2]
    assert st.mean_abs(d) == pytest.approx(0.35)
    assert st.abs_mean(d) == pytest.approx(0.0, abs=1e-15)


def test_readings_of_identical_formulations_average_what_the_normal_law_says():
    d = np.random.default_rng(1).normal(0, difference_sd(6000), (20_000, 10))
    assert st.mean_abs(d).mean() == pytest.approx(0.27, abs=0.005)
    assert st.abs_mean(d).mean() == pytest.approx(0.086, abs=0.002)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_t_interval_is_that_of_scipy(level):
    expected = stats.ttest_1samp(D, 0).confidence_interval(level)
    assert st.t_interval(D, level) == pytest.approx((expected.low, expected.high))


def test_t_interval_of_many_studies_is_that_of_each():
    many = draws((3, 4, 7))
    lo, hi = st.t_interval(many)
    assert lo.shape == (3, 4)
    assert (lo[2, 1], hi[2, 1]) == pytest.approx(tuple(st.t_interval(many[2, 1])))


def test_sd_is_that_of_numpy_and_exactly_zero_without_variance():
    assert st.sd(D) == pytest.approx(D.std(ddof=1))
    assert st.sd(np.full(10, 0.1)) == 0.0  # numpy gives 1.4e-17
    assert math.isnan(st.sd([0.3]))


@pytest.mark.parametrize("d", [D, draws((20,), 3), draws((8,), 4) ** 3])
def test_bca_interval_is_that_of_scipy(d):
    expected = stats.bootstrap((np.abs(d),), np.mean, method="BCa", n_resamples=99_999, rng=np.random.default_rng(1))
    found = st.bca_interval(d, resamples=99_999)
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.01 * np.abs(d).max())
    assert found == st.bca_interval(d, resamples=99_999), "the same rows give the same interval"


def test_without_variance_an_interval_is_a_point():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values, centre in ((ZERO, 0.0), (np.full(10, -0.1), -0.1)):
            assert tuple(st.t_interval(values)) == pytest.approx((centre, centre), abs=1e-15)
            assert tuple(st.bca_interval(values)) == pytest.approx((abs(centre),) * 2, abs=1e-15)
        assert tuple(st.bca_interval([0.1, -0.1, 0.1])) == pytest.approx((0.1, 0.1)), "|d| without variance"


def test_one_trial_bounds_nothing():
    assert tuple(st.t_interval([0.3])) == (-math.inf, math.inf)
    assert tuple(st.bca_interval([0.3])) == (-math.inf, math.inf)
    assert st.tost_p([0.3], 0.5) == 1.0
    assert st.sign_flip_p([0.3]) == 1.0
    assert st.nadeau_bengio_p([0.3], 1, 9) == 1.0
    assert st.equivalence_margin([0.3]) == math.inf


@pytest.mark.parametrize("values", [[], [0.1, math.nan], [0.1, math.inf]])
def test_a_trial_without_a_number_is_an_error_and_never_dropped(values):
    for statistic in (st.mean_abs, st.abs_mean, st.sd, st.t_interval, st.bca_interval, st.sign_flip_p):
        with pytest.raises(ValueError, match="trial"):
            statistic(values)


# --- tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "d", [D, D - 0.4, np.array([1, -2, 3, 3, -1, 2, 2.0]) / 60, draws((12,), 5), draws((5,), 6, 9)]
)
def test_sign_flip_is_the_exact_permutation_test_of_scipy(d):
    expected = stats.permutation_test((d, np.zeros_like(d)), lambda x, y, axis: (x - y).mean(axis=axis),
                                      permutation_type="samples", n_resamples=np.inf, vectorized=True)  # fmt: skip
    assert st.sign_flip_p(d) == pytest.approx(expected.pvalue, abs=1e-12)


@pytest.mark.parametrize(("trials", "smallest"), [(5, 0.0625), (8, 0.0078125), (10, 0.001953125), (20, 2 / 2**20)])
def test_smallest_sign_flip_p_is_two_patterns_of_all(trials, smallest):
    assert st.sign_flip_p(np.full(trials, 0.3)) == pytest.approx(smallest)


def test_sign_flip_of_no_difference_is_one():
    assert st.sign_flip_p(ZERO) == 1.0
    assert st.sign_flip_p(np.zeros(30)) == 1.0


def test_above_the_exact_trials_random_patterns_agree_with_all_patterns(monkeypatch):
    d = draws((22,), 8)
    drawn = float(st.sign_flip_p(d))
    monkeypatch.setattr(paired, "EXACT_TRIALS", 22)
    exact = float(st.sign_flip_p(d))
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / paired.RESAMPLES))
    assert drawn != exact
    monkeypatch.setattr(paired, "EXACT_TRIALS", 20)
    assert st.sign_flip_p(d) == drawn, "seeded"
    assert st.sign_flip_p(np.full(25, 0.3)) == 1 / (paired.RESAMPLES + 1), "the observed pattern counts"


def test_percentile_in_the_null_counts_all_sign_patterns():
    sums = np.array([np.dot(signs, D) for signs in itertools.product((-1, 1), repeat=10)])
    for value in (0.0, 0.05, st.abs_mean(D), 0.5):
        expected = 100 * np.mean(np.abs(sums) / 10 <= value + 1e-12)
        assert st.null_percentile(D, value) == pytest.approx(expected)
    assert st.null_percentile(ZERO, 0.0) == 100.0


@pytest.mark.parametrize("d", [D, draws((8,), 9), draws((20,), 10, 0.3)])
@pytest.mark.parametrize("margin", [0.1, 0.25, 0.5])
def test_tost_is_that_of_statsmodels(d, margin):
    assert st.tost_p(d, margin) == pytest.approx(ttost_paired(d, np.zeros_like(d), -margin, margin)[0])


def test_tost_without_variance_is_certain_on_either_side():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert st.tost_p(ZERO, 0.25) == 0.0
        assert st.tost_p(np.full(10, 0.3), 0.25) == 1.0
        assert st.tost_p(np.full(10, -0.25), 0.25) == 1.0, "the margin itself is not inside it"
        assert st.nadeau_bengio_p(ZERO, 1, 9) == 1.0
        assert st.nadeau_bengio_p(np.full(10, 0.1), 1, 9) == 0.0


def test_equivalence_margin_is_the_smallest_at_which_tost_passes():
    smallest = float(st.equivalence_margin(D, 0.05))
    assert st.tost_p(D, smallest * 1.0001) < 0.05 < st.tost_p(D, smallest * 0.9999)


def test_nadeau_bengio_widens_the_standard_error_by_its_factor():
    t = D.mean() / (D.std(ddof=1) / math.sqrt(10))
    for n_test, n_train, factor in ((6_000, 54_000, 1.4530), (10_000, 50_000, 1.7321)):
        expected = 2 * stats.t.sf(abs(t) / factor, 9)
        assert st.nadeau_bengio_p(D, n_test, n_train) == pytest.approx(expected, rel=1e-4)
    assert st.nadeau_bengio_p(D, 0, 1) == pytest.approx(stats.ttest_rel(D, np.zeros(10)).pvalue)


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03], [0.5, 0.001, 0.02, 0.02], [0.9], [0.4, 0.6, 0.9]])
def test_holm_is_that_of_statsmodels(p):
    assert st.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_of_many_families_is_that_of_each():
    many = np.random.default_rng(2).uniform(0, 0.1, (5, 3))
    assert st.holm(many) == pytest.approx(np.stack([multipletests(p, method="holm")[1] for p in many]))


def test_farther_takes_both_contrasts_and_the_larger_p():
    rival, candidate = D + 0.3, D[::-1]
    apart, joint = float(st.sign_flip_p(rival - candidate)), float(st.sign_flip_p(rival + candidate))
    assert apart > 2 * joint, "the two differ, so that the larger can be told"
    p, sign = st.farther_p(rival, candidate)
    assert (p, sign) == (apart, 1)
    assert st.farther_p(rival, -candidate)[0] == apart
    assert st.farther_p(-rival, candidate)[1] == 1, "farther on the other side is farther"
    assert st.farther_p(candidate, rival)[1] == -1
    for means in itertools.product((-0.7, -0.2, 0.3, 0.8), repeat=2):
        d = [np.full(8, mean) for mean in means]
        assert st.farther_p(*d)[1] == np.sign(round(abs(means[0]) - abs(means[1]), 9))


def test_compare_gathers_the_statistics_of_one_arm():
    found = st.compare(D, margin=0.25, alpha=0.1, n_test=6_000, n_train=54_000)
    assert (found.trials, found.mean, found.a) == (10, pytest.approx(D.mean()), pytest.approx(np.abs(D).mean()))
    assert (found.b, found.sd) == (pytest.approx(abs(D.mean())), pytest.approx(D.std(ddof=1)))
    test = stats.ttest_1samp(D, 0)
    assert found.t95 == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert found.t_tost == pytest.approx(tuple(test.confidence_interval(0.8)))
    assert found.equivalence_margin == pytest.approx(max(map(abs, test.confidence_interval(0.8))))
    assert found.p_tost == pytest.approx(ttost_paired(D, ZERO, -0.25, 0.25)[0])
    exact = stats.permutation_test((D,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert found.p_sign_flip == pytest.approx(exact.pvalue)
    corrected = D.mean() / (D.std(ddof=1) * np.sqrt(1 / 10 + 6_000 / 54_000))
    assert found.p_nadeau_bengio == pytest.approx(2 * stats.t(9).sf(abs(corrected)))
    assert found.a_bca95 == pytest.approx(st.bca_interval(D, 0.95))
    with pytest.raises(ValueError, match="no trials"):
        st.compare([], margin=0.25, alpha=0.05, n_test=1, n_train=1)


# --- agreement --------------------------------------------------------------------------------------------------


def test_agreement_is_that_of_scikit_learn_and_of_counting():
    rng = np.random.default_rng(3)
    label, one, two = rng.integers(0, 10, (3, 500))
    one, two = np.where(rng.random(500) < 0.8, label, one), np.where(rng.random(500) < 0.7, label, two)
    found = st.agreement(one, two, label)
    pictures = list(zip(one, two, label, strict=True))
    assert found.discordance == pytest.approx(sum((a == c) != (b == c) for a, b, c in pictures) / 500)
    assert found.disagreement == pytest.approx(sum(a != b for a, b, _ in pictures) / 500)
    assert found.kappa == pytest.approx(cohen_kappa_score(one == label, two == label))


def test_agreement_of_a_model_with_itself_and_of_two_that_are_always_right():
    label = np.arange(10)
    assert st.agreement(label[::-1], label[::-1], np.r_[label[:5], label[:5]][::-1]) == (0.0, 0.0, 1.0)
    same = st.agreement(label, label, label)
    assert same[:2] == (0.0, 0.0)
    assert math.isnan(same.kappa), "kappa is undefined where chance alone agrees always"
    with pytest.raises(ValueError, match="one test set"):
        st.agreement(label, label[:9], label)


# --- power ------------------------------------------------------------------------------------------------------


def test_run_sd_is_a_quarter_point_at_seven_percent_and_6000_pictures():
    assert st.run_sd(6_000) == pytest.approx(0.2415, abs=1e-4)
    assert st.run_sd(10_000) == pytest.approx(0.1871, abs=1e-4)


@pytest.mark.parametrize("trials", [5, 10, 30])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_minimum_detectable_effect_is_that_of_statsmodels(trials, alpha):
    expected = 0.34 * TTestPower().solve_power(nobs=trials, alpha=alpha, power=0.8)
    assert st.minimum_detectable_effect(0.34, trials, alpha) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("n_test", "trials", "margin", "expected"),
    [(6_000, 10, 0.25, 0.40), (6_000, 15, 0.25, 0.71), (6_000, 20, 0.25, 0.87), (10_000, 10, 0.25, 0.73),
     (10_000, 20, 0.25, 0.98), (6_000, 10, 0.10, 0.0), (6_000, 100, 0.10, 0.79), (6_000, 10, 0.35, 0.82)],
)  # fmt: skip
def test_tost_power_is_the_published_one(n_test, trials, margin, expected):
    assert st.tost_power(difference_sd(n_test), trials, margin) == pytest.approx(expected, abs=0.011)


def test_tost_power_is_that_of_simulation_off_the_centre():
    sigma, trials = difference_sd(6_000), 12
    d = np.random.default_rng(4).normal(0.1, sigma, (40_000, trials))
    half = stats.t.ppf(0.95, trials - 1) * d.std(axis=1, ddof=1) / math.sqrt(trials)
    share = np.mean((d.mean(axis=1) - half > -0.25) & (d.mean(axis=1) + half < 0.25))
    assert st.tost_power(sigma, trials, 0.25, true=0.1) == pytest.approx(share, abs=4 * math.sqrt(0.25 / 40_000))


def test_one_trial_has_no_power():
    assert st.tost_power(0.3, 1, 0.25) == 0.0
    assert st.minimum_detectable_effect(0.3, 1) == math.inf


def test_nineteen_of_twenty_replications_lie_in_their_interval() -> None:
    """Where the interval of the mean, for which a replication's own noise does not exist, holds three of four."""
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(2.0, 0.7, (20_000, 10)), rng.normal(2.0, 0.7, (20_000, 5)).mean(axis=1)
    drawn = zip(ours.mean(axis=1), ours.std(axis=1, ddof=1), theirs, strict=True)
    inside = [lo <= mean <= hi for m, s, mean in drawn for lo, hi in [st.replication_interval(m, s, 10, 5)]]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.005)
    assert st.replication_interval(1.0, 0.0, 8, 1) == (1.0, 1.0)
    assert st.replication_interval(1.0, math.nan, 1, 10) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("interval", "expected"), [((-3, 1), (0, 3)), ((-1, 3), (0, 3)), ((1, 3), (1, 3)), ((-3, -1), (1, 3))]
)
def test_without_its_sign_an_interval_is_folded_at_0(interval: tuple[int, int], expected: tuple[int, int]) -> None:
    assert st.folded(st.Interval(*interval)) == expected


@pytest.mark.parametrize(("alpha", "expected"), [(0.05, False), (0.2, True)])
def test_outside_the_margin_is_asked_at_the_level_of_the_study(alpha: float, expected: bool) -> None:
    d = np.array([0.2, 0.5, 0.6, 0.3, 0.4, 0.35])
    lo = stats.ttest_1samp(d, 0).confidence_interval(1 - alpha).low
    assert bool(st.outside(d, 0.26, alpha)) == (lo > 0.26) == expected
    found = st.compare(d, margin=0.26, alpha=alpha, n_test=100, n_train=1000)
    assert found.outside == expected
