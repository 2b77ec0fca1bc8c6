"""What would change our mind: the spread's interval, the trials and the hours, against a table, scipy and hand."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study_builder import good_study, write_study

from dsresearch.report import Analysis, page_texts, read_study
from dsresearch.report.prospects import prospects, seconds_of_a_trial, trials_needed
from dsresearch.statistics import sd_interval

SEED = ("separable", "seed", "width")


def test_the_interval_of_a_spread_is_the_published_one() -> None:
    """Factors of the chi-square table for n = 10: 0.6878 and 1.8256 (Hahn and Meeker, Statistical Intervals)."""
    lo, hi = sd_interval(1.0, 10)
    assert (lo, hi) == (pytest.approx(0.6878, abs=1e-4), pytest.approx(1.8256, abs=1e-4))


@pytest.mark.parametrize("sigma", [0.1, 0.25, 0.4])
def test_so_many_trials_and_no_fewer_pass_by_simulation(sigma: float) -> None:
    needed = trials_needed(sigma, 0.25, 0.05)
    assert needed is not None
    passed = {}
    for trials in (needed - 1, needed, needed + 1):
        d = np.random.default_rng(trials).normal(0, sigma, (40_000, trials))
        lower = stats.ttest_1samp(d, -0.25, axis=1, alternative="greater").pvalue
        upper = stats.ttest_1samp(d, 0.25, axis=1, alternative="less").pvalue
        passed[trials] = float(np.mean(np.maximum(lower, upper) < 0.05))
    error = 4 * np.sqrt(0.8 * 0.2 / 40_000)
    assert passed[needed + 1] > 0.8 - error
    assert passed[needed - 1] < 0.8 + error
    assert passed[needed] == pytest.approx(max(passed[needed], 0.8), abs=error)


def test_no_number_of_trials_helps_a_margin_of_a_hundredth_of_the_spread() -> None:
    assert trials_needed(10.0, 0.01, 0.05) is None


def test_more_trials_than_the_most_are_not_told() -> None:
    """Trials grow with the square of the spread: 9,600 and 10,600 of them lie on either side of the most, 10,000."""
    of_one = trials_needed(1.0, 0.1, 0.05)
    assert of_one is not None
    told = [trials_needed((trials / of_one) ** 0.5, 0.1, 0.05) for trials in (9_600, 10_600)]
    assert told == [pytest.approx(9_600, rel=0.01), None]


def test_the_price_of_a_trial_is_all_seconds_by_the_trials_they_made(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", good_study())
    runs = pd.read_csv(folder / "runs.csv", dtype=str, keep_default_na=False)
    runs["wall_s"] = "0"
    runs.loc[runs["arm"] == "inception", "wall_s"] = "1000"  # ten trials in a cell
    runs.loc[runs["control_kind"] == "seed", "wall_s"] = "500"
    again = runs[runs["control_kind"] == "seed"].assign(attempt="1", wall_s="250")  # what a killed attempt took counts
    pd.concat([runs, again]).to_csv(folder / "runs.csv", index=False)
    analysis = Analysis(read_study(folder))
    assert seconds_of_a_trial(analysis) == pytest.approx(100 + 50 + 25)
    told = " ".join(prospects(analysis))
    assert "took 3 minutes" in told
    assert "The word on hybrid is CONSISTENT now" in told
    assert f"{np.std(analysis.d(analysis.control('seed')), ddof=1):.2f} pp" in told


def test_trials_of_one_pool_say_what_more_of_them_cannot_show(tmp_path: Path) -> None:
    """Without end of trials the corrected standard error is sd * sqrt(n_test / n_train), here of 10,000 and 50,000."""
    drawn = Analysis(read_study(write_study(tmp_path / "drawn", good_study())))
    spread = float(np.std(drawn.d(drawn.control("seed")), ddof=1))
    told = " ".join(prospects(drawn))
    assert f"stays above {spread * math.sqrt(0.2):.2f} pp, and more trials than these show" in told
    noisy = Analysis(read_study(write_study(tmp_path / "noisy", good_study(spread=60))))
    assert "no number of trials shows equal arms to lie within ±0.25 pp" in " ".join(prospects(noisy))
    standard = write_study(tmp_path / "standard", good_study(spread=60), protocol={"split": "standard"})
    assert "one pool" not in " ".join(prospects(Analysis(read_study(standard))))


def test_a_study_without_noise_or_hybrid_says_nothing(tmp_path: Path) -> None:
    wrong = good_study()
    wrong[SEED] = list(wrong[("separable", "", "width")])
    assert prospects(Analysis(read_study(write_study(tmp_path / "same", wrong)))) == ()
    no_hybrid = {key: value for key, value in good_study().items() if key[0] != "hybrid"}
    assert prospects(Analysis(read_study(write_study(tmp_path / "none", no_hybrid)))) == ()


def test_readme_and_page_have_them(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", good_study())
    analysis = Analysis(read_study(folder))
    texts = page_texts(analysis, folder, tmp_path / "README.md")
    assert texts["prospects"].splitlines() == [f"- {line}" for line in prospects(analysis)]
