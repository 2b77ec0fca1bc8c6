"""How a claim is held against the results: each kind of check gives our value, an interval where it has one, a status.

A difference or verdict on CIFAR-10 at 190 epochs is decided by no other setting: where there is only a smaller study,
its values stand beside the paper's with the name of the study, and the claim is `not run`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from dsresearch import cost
from dsresearch.paper.facts import Results
from dsresearch.references.hybrid import TESTED, TRIALS
from dsresearch.statistics import Interval, folded, replication_interval
from dsresearch.statistics.power import difference_sd, run_sd, tost_power

_SIMULATED = 20_000  # studies
PRINTED = "the printed values"  # the source of what a paper's own numbers say of its sentence
STATUSES = ("reproduced", "not", "undecided", "not run")


@dataclass(frozen=True)
class Finding:
    """Our side of a claim, as it is printed; '' where there is nothing."""

    status: str
    value: str = ""
    lo: str = ""
    hi: str = ""
    source: str = ""


NOT_RUN = Finding("not run")


def _word(holds: bool) -> str:
    return "reproduced" if holds else "not"


# --- from studies -----------------------------------------------------------------------------------------------


def difference(results: Results, arm: str, value: float, reading: str, against: float) -> Finding:
    """A row of Figure 4 under a reading of its statistic; decided by the papers' own setting alone.

    The interval is where the figure would print the row with a chance of 95 %, were its trials ours: it has the noise
    of the paper's ten trials as well as of ours. One that also holds `against`, which the figure tells the arm apart
    from, decides nothing.
    """
    chosen = results.hybrid()
    found = chosen[1].comparison(arm) if chosen else None
    if chosen is None or found is None or found["trials"] < 2:
        return NOT_RUN
    name, study = chosen
    lo, hi = _printed_again(found, reading)
    inside, other = (round(lo, 2) <= one <= round(hi, 2) for one in (value, against))
    word = "undecided" if inside and other else _word(inside)
    ours = f"{found[reading.lower()]:.2f}"
    return Finding(word if study.decides else "not run", ours, f"{lo:.2f}", f"{hi:.2f}", name)


def _printed_again(found: Mapping[str, Any], reading: str) -> Interval:
    """Where A, mean |d|, or B, |mean d|, of the paper's number of further trials lies with a chance of 95 %."""
    trials, mean, spread = found["trials"], found["mean"], found["sd"]
    if reading == "B":
        return folded(replication_interval(mean, spread, trials, TRIALS))
    squares = (trials - 1) * spread**2 + trials * (mean**2 - found["a"] ** 2)  # sum of (|d| - A)^2
    lo, hi = replication_interval(found["a"], math.sqrt(max(0.0, squares) / (trials - 1)), trials, TRIALS)
    return Interval(max(0.0, lo), hi)


def error(results: Results, arm: str, value: float) -> Finding:
    """The test error of an arm, per cent, beside the paper's one training; decided by its own setting alone.

    The interval is where one more training of ours would err with a chance of 95 %.
    """
    chosen = results.of_arm(arm)
    if chosen is None:
        return NOT_RUN
    name, study = chosen
    errors = study.rows.loc[study.rows["key"] == arm, "error_pct"].to_numpy()
    if len(errors) < 2:
        return Finding("not run", f"{errors.mean():.2f}", source=name)
    lo, hi = replication_interval(errors.mean(), float(errors.std(ddof=1)), len(errors), theirs=1)
    word = _word(round(lo, 2) <= value <= round(hi, 2)) if study.decides else "not run"
    return Finding(word, f"{errors.mean():.2f}", f"{lo:.2f}", f"{hi:.2f}", name)


def verdict(results: Results, reading: str) -> Finding:
    """The verdict on a reading of the hybrid."""
    chosen = results.hybrid()
    if chosen is None or reading not in chosen[1].verdict["readings"]:
        return NOT_RUN
    name, study = chosen
    word = study.verdict["readings"][reading]["verdict"]
    status = {"SUPPORTED": "reproduced", "NOT SUPPORTED": "not", "INVALID": "not run", "INCOMPLETE": "not run"}
    return Finding(status.get(word, "undecided") if study.decides else "not run", word, source=name)


def relation(results: Results, arm: str, expected: str, other: str = "separable") -> Finding:
    """The class of two formulations, proven by weight transport: `exact`, `reparam` or `distinct`."""
    word, source = results.proofs.get((other, arm)), "measurements/exactness.json"
    if word is None:
        return NOT_RUN
    if word == "undecided":
        return Finding("undecided", word, source=source)
    return Finding(_word(word == expected), word, source=source)


# --- from counts and closed forms -------------------------------------------------------------------------------


def count(results: Results, network: str, field: str, value: int, within: int = 0) -> Finding:
    """Parameters (`trainable`) or multiply-adds (`macs`) of a published network, as `dsresearch cost` counted them."""
    if network not in results.counts:
        return NOT_RUN
    ours = int(results.counts[network][field])
    return Finding(_word(abs(ours - value) <= within), f"{ours:,}", source="measurements/cost.jsonl")


def layer(results: Results, separable: bool, field: str, value: float, outputs: int = 512) -> Finding:
    """The encyclopedia's numerical example in closed form: a 3 x 3 layer from 512 channels on 14 x 14 pixels."""
    pixels = 14 * 14
    regular = cost.conv(3, 512, outputs, pixels)
    parts = cost.conv(3, 512, 512, pixels, groups=512) + cost.conv(1, 512, outputs, pixels)
    if field == "ratio":
        share = parts.macs / regular.macs
        return Finding(_word(round(share, 3) == value), f"{share:.3f}", source="closed form")
    ours = getattr(parts if separable else regular, field)
    return Finding(_word(ours == value), f"{ours:,}", source="closed form")


# --- from the paper's own figures -------------------------------------------------------------------------------


def printed(
    results: Results,
    values: Sequence[float],
    below: float | None = None,
    beyond: float = 0.0,
    sign: int = 0,
    percent_within: float | None = None,
    relative: float | None = None,
    gains: bool = False,
) -> Finding:
    """What the paper's printed values say of its own sentence: their change, or their ratio."""
    first, second = values[:2]
    source = PRINTED
    if gains:
        ratio = (values[0] / values[1] - 1) / (values[2] / values[3] - 1)
        return Finding(_word(ratio > 1), f"{ratio:.1f}", source=source)
    if percent_within is not None:
        percent = 100 * abs(first / second - 1)
        return Finding(_word(percent <= percent_within), f"{percent:.2f}", source=source)
    if relative is not None:
        percent = 100 * (first / second - 1)
        return Finding(_word(round(percent, 1) == relative), f"{percent:.1f}", source=source)
    change = first - second
    holds = abs(change) < below if below is not None else change * sign > 0 and abs(change) > beyond
    text = f"{change:+,.0f}" if float(change).is_integer() else f"{change:+.2f}"
    return Finding(_word(holds), text, source=source)


def noise(results: Results, value: float, chance: float = 0.05) -> Finding:
    """Whether a printed control can be a mean of |d| of two runs of one function."""
    d = np.random.default_rng(0).normal(0.0, difference_sd(TESTED), (_SIMULATED, TRIALS))
    most = value + 0.005  # what rounds to the printed value or less
    a, b = np.mean(np.abs(d).mean(axis=1) <= most), np.mean(np.abs(d.mean(axis=1)) <= most)
    return Finding(_word(a >= chance), f"chance {a:.4f} as A, {b:.2f} as B", source="simulation")


def gap(results: Results, values: Sequence[float]) -> Finding:
    """Whether two printed differences are farther apart than two runs of one function are expected to be."""
    apart = abs(values[0] - values[1])
    return Finding(
        _word(apart > expected_noise()[1]), f"{expected_noise()[1]:.3f} expected of noise", source="normal model"
    )


def winner(results: Results, value: float, arms: int = 5) -> Finding:
    """The expected least B among arms that are the baseline's own function: would noise crown a winner?"""
    rng = np.random.default_rng(0)
    errors = rng.normal(0.0, run_sd(TESTED), (_SIMULATED, arms + 1, TRIALS)).mean(axis=2)
    least = float(np.abs(errors[:, 1:] - errors[:, :1]).min(axis=1).mean())
    return Finding(_word(least > value), f"{least:.3f}", source="simulation")


def margin(results: Results, trials: int, n_test: int, value: float, power: float = 0.8) -> Finding:
    """The smallest margin at which a design shows equal arms to be equal, with the given chance."""
    sigma = difference_sd(n_test)
    least = optimize.brentq(lambda m: tost_power(sigma, trials, m) - power, 0.01, 5.0)
    return Finding(_word(least <= value), f"{least:.2f}", source="normal model")


def read(results: Results, value: str, status: str) -> Finding:
    """What the primary source says, read and not computed."""
    return Finding(status, value, source="read")


def expected_noise() -> tuple[float, float]:
    """Expected A and B of two runs of one function in the paper's design, at 7 % error, percentage points.

    E|D| of a normal difference is sd sqrt(2 / pi); the mean of T of them has 1 / sqrt(T) of its spread.
    """
    a = difference_sd(TESTED) * math.sqrt(2 / math.pi)
    return a, a / math.sqrt(TRIALS)


CHECKS: Mapping[str, Callable[..., Finding]] = {
    "difference": difference,
    "error": error,
    "verdict": verdict,
    "class": relation,
    "count": count,
    "layer": layer,
    "printed": printed,
    "noise": noise,
    "gap": gap,
    "winner": winner,
    "margin": margin,
    "read": read,
}
