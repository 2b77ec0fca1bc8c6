"""What would change our mind: the smallest effect that a study could have seen, and the price of a firmer answer.

At the spread that the study shows itself, with the interval of that spread, because that of a few trials is uncertain.
"""

import math
from collections.abc import Mapping

import numpy as np
from scipy import stats

from dsresearch.references.hybrid import EPOCHS as PAPER_EPOCHS
from dsresearch.report.cell import one_line
from dsresearch.report.evidence import Analysis
from dsresearch.report.findings import POWER
from dsresearch.statistics import minimum_detectable_effect, sd, sd_interval, tost_power

MOST_TRIALS = 10_000

_NEXT = {
    "UNDECIDED": (
        "It would become NOT SUPPORTED with the hybrid's interval wholly outside the margin or a rival shown to be "
        "nearer to the baseline, and SUPPORTED (CONSISTENT, for a reading that is the baseline's function) with the "
        "hybrid and the controls shown to be inside and every rival shown to be farther"
    ),
    "SUPPORTED": "It would fall with a rival as near as the hybrid, or the hybrid no longer shown to be inside",
    "CONSISTENT": "It would fall with a rival as near as the hybrid, or the hybrid no longer shown to be inside",
    "NOT SUPPORTED": (
        "It would fall with the hybrid shown to be inside the margin and no rival as near to the baseline as it is"
    ),
    "INCOMPLETE": "What is missing comes first",
    "NOT APPLICABLE": "A hybrid arm comes first",
    "INVALID": "The cause comes first: until it is found no number of trials changes the word",
}


def prospects(analysis: Analysis) -> tuple[str, ...]:
    """Sentences: what the study could have seen, the trials and hours of a firmer answer, what would change the word.

    Empty for a study without a hybrid arm, or where the control `seed` has less than two pairs that differ.
    """
    d = analysis.d(analysis.control("seed"))
    if not analysis.readings() or len(d) < 2 or float(sd(d)) == 0.0:
        return ()
    needed = trials_needed(float(sd(d)), analysis.study.protocol.margin, analysis.study.protocol.alpha)
    said = (_seen(analysis, d), _needed(analysis, d, needed), *_one_pool(analysis, d))
    return (*said, *_hours(analysis, needed), _words(analysis))


def trials_needed(sigma: float, margin: float, alpha: float) -> int | None:
    """Paired trials with which equal arms pass TOST at the margin with a chance of 80 %; None above MOST_TRIALS."""
    lo, hi = 1, 2
    while tost_power(sigma, hi, margin, alpha) < POWER:
        lo, hi = hi, 2 * hi
        if lo > MOST_TRIALS:
            return None
    while hi - lo > 1:
        middle = (lo + hi) // 2
        lo, hi = (lo, middle) if tost_power(sigma, middle, margin, alpha) >= POWER else (middle, hi)
    return hi if hi <= MOST_TRIALS else None


def _seen(analysis: Analysis, d: np.ndarray) -> str:
    protocol = analysis.study.protocol
    sigma = float(sd(d))
    lo, hi = sd_interval(sigma, len(d))
    likely, even = (minimum_detectable_effect(sigma, len(d), protocol.alpha, power) for power in (POWER, 0.5))
    return (
        f"Two trainings of the baseline from different seeds differ by a standard deviation of {sigma:.2f} pp "
        f"(95 % [{lo:.2f}, {hi:.2f}], from {len(d)} pairs) on {one_line(analysis.study.dataset)}; with {len(d)} trials "
        f"and that spread a paired t test finds a true difference of {likely:.2f} pp with a chance of "
        f"{100 * POWER:.0f} %, and misses one below {even:.2f} pp more often than not."
    )


def _needed(analysis: Analysis, d: np.ndarray, needed: int | None) -> str:
    protocol = analysis.study.protocol
    few, many = (trials_needed(sigma, protocol.margin, protocol.alpha) for sigma in sd_interval(float(sd(d)), len(d)))
    return (
        f"To show one equal arm to lie within ±{protocol.margin:g} pp with that chance takes {_count(needed)} trials "
        f"({_count(few)} to {_count(many)} over the interval of the spread). SUPPORTED takes more: it asks this of the "
        "hybrid and of the controls, and every rival to be farther."
    )


def _one_pool(analysis: Analysis, d: np.ndarray) -> tuple[str, ...]:
    """What more trials cannot give where all draw their splits from one pool (Nadeau and Bengio 2003)."""
    study, protocol = analysis.study, analysis.study.protocol
    if not protocol.draws_split:
        return ()
    error = float(sd(d)) * math.sqrt(study.n_test / study.n_train)  # what is left of it with trials without end
    least = float(stats.norm.ppf(1 - protocol.alpha)) * error
    shown = "no number of trials shows" if least >= protocol.margin else "more trials than these show"
    return (
        "This takes the trials as independent. They draw their test pictures from one pool: corrected for that (Nadeau "
        f"and Bengio), the standard error stays above {error:.2f} pp, and {shown} equal arms to lie within "
        f"±{protocol.margin:g} pp for pictures beyond the pool.",
    )


def _count(trials: int | None) -> str:
    return f"more than {MOST_TRIALS:,}" if trials is None else f"{trials:,}"


def _hours(analysis: Analysis, needed: int | None) -> tuple[str, ...]:
    """The price, at the wall time that runs.csv tells; nothing where it tells none."""
    seconds = seconds_of_a_trial(analysis)
    if seconds is None or needed is None:
        return ()
    device = ", ".join(sorted({one_line(name) for name in analysis.study.rows_read["device_kind"]}))
    epochs = _epochs(analysis)
    at = "" if epochs is None else f" at {epochs} epochs"
    paper = ""
    if epochs is not None and epochs != PAPER_EPOCHS:
        paper = f"; the paper's {PAPER_EPOCHS} epochs take {PAPER_EPOCHS / epochs:.1f} times as long"
    return (
        f"One trial of every arm and control took {_time(seconds / 3600)}{at} on {device}, so that {_count(needed)} "
        f"trials take {_time(seconds * needed / 3600)}{paper}.",
    )


def _epochs(analysis: Analysis) -> int | None:
    recipe = analysis.study.about.get("recipe")
    epochs = recipe.get("epochs") if isinstance(recipe, Mapping) else None
    return epochs if isinstance(epochs, int) and epochs > 0 else None


def _time(hours: float) -> str:
    return f"{60 * hours:.0f} minutes" if hours < 1 else f"{hours:,.1f} hours"


def seconds_of_a_trial(analysis: Analysis) -> float | None:
    """Wall time of one trial of every cell that ran, compilation included: all seconds by trials that they made."""
    runs = analysis.study.runs
    if runs is None:
        return None
    spent = runs.groupby(["arm", "control_kind", "match"])["wall_s"].sum(min_count=1).dropna()
    made = {(cell.arm, cell.control_kind, cell.match): len(analysis.study.rows(cell)) for cell in analysis.study.cells}
    shares = [
        seconds / made[name] for (arm, kind, match), seconds in spent.items() if made.get(name := (arm, kind, match))
    ]
    total = math.fsum(shares)
    return total or None


def _words(analysis: Analysis) -> str:
    reading, found = next(iter(analysis.verdicts.items()))
    return f"The word on {one_line(reading)} is {found.word} now. {_NEXT[found.word]}."
