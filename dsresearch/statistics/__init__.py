"""What the study computes from paired trials: floors, intervals, equivalence, agreement, power, verdict.

numpy and scipy only, pure functions of arrays: errors and differences are percentage points, trials lie along the last
axis.
"""

from dsresearch.statistics.agreement import Agreement, agreement
from dsresearch.statistics.comparison import Comparison, compare
from dsresearch.statistics.paired import (
    FEWEST_TO_RESAMPLE,
    Interval,
    abs_mean,
    bca_interval,
    equivalence_margin,
    farther_p,
    folded,
    holm,
    mean_abs,
    nadeau_bengio_p,
    null_percentile,
    outside,
    replication_interval,
    sd,
    sd_interval,
    sign_flip_p,
    t_interval,
    tost_p,
)
from dsresearch.statistics.power import minimum_detectable_effect, run_sd, tost_power
from dsresearch.statistics.simulate import chances
from dsresearch.statistics.two_way import two_way_interval
from dsresearch.statistics.verdict import RULE_VERSION, Evidence, Verdict, judge

__all__ = [
    "FEWEST_TO_RESAMPLE",
    "RULE_VERSION",
    "Agreement",
    "Comparison",
    "Evidence",
    "Interval",
    "Verdict",
    "abs_mean",
    "agreement",
    "bca_interval",
    "chances",
    "compare",
    "equivalence_margin",
    "farther_p",
    "folded",
    "holm",
    "judge",
    "mean_abs",
    "minimum_detectable_effect",
    "nadeau_bengio_p",
    "null_percentile",
    "outside",
    "replication_interval",
    "run_sd",
    "sd",
    "sd_interval",
    "sign_flip_p",
    "t_interval",
    "tost_p",
    "tost_power",
    "two_way_interval",
]
