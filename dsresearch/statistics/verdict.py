"""The rule of the verdict: one word and its reasons for one reading of the hybrid, from paired differences.

The first that applies:

1. INVALID: `rerun` differs, an execution mode is mixed within a pair, or the exactness test fails.
2. INCOMPLETE: cells of the protocol are missing, or there are fewer than 8 trials.
3. INVALID: the 95 % interval of `seed` or `exact` lies wholly outside the margin.
4. NOT SUPPORTED: the hybrid's 95 % interval lies wholly outside the margin, or a rival is significantly nearer to the
   baseline, or the hybrid and a rival both pass TOST.
5. SUPPORTED: `seed`, `exact` and the hybrid pass TOST and every rival is significantly farther than the hybrid; capped
   to CONSISTENT where the hybrid is the baseline's very function, so that its equality is no evidence.
6. UNDECIDED otherwise.

A study without a hybrid arm is NOT APPLICABLE. The 95 % stand for 1 - alpha. The rule itself (`gates`, `word`) works on
arrays, so that the simulation of its operating characteristics runs the very code that judges a study.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from dsresearch.references.hybrid import DESIGNS
from dsresearch.statistics.paired import RESAMPLES, Floats, farther_p, holm, outside, sd, t_interval, tost_p
from dsresearch.statistics.power import difference_sd, tost_power

RULE_VERSION = 1
MINIMUM_TRIALS = 8  # with 6 no sign-flip p survives Holm over three rivals, and one trial may be lost
GATED_CONTROLS = ("seed", "exact")
ENOUGH_POWER = 0.8
NON_INFERIOR = 1.05  # discordance of the candidate against that of the seed control

Bools = npt.NDArray[np.bool_] | np.bool_


@dataclass(frozen=True)
class Gates:
    """Answers that rules 3 to 6 ask for, each an array over studies (of shape () for one)."""

    control_outside: Bools
    candidate_outside: Bools
    rival_nearer: Bools
    rival_equivalent: Bools
    controls_equivalent: Bools
    candidate_equivalent: Bools
    rivals_farther: Bools


def relations(candidate: Floats, rivals: Floats, alpha: float, resamples: int = RESAMPLES) -> tuple[Any, Any, Any]:
    """p, Holm-adjusted p and relation (+1 farther than the candidate, -1 nearer, 0 neither) of every rival.

    `rivals` has one more axis in front than `candidate`.
    """
    p, sign = zip(*(farther_p(rival, candidate, resamples) for rival in rivals), strict=True)
    adjusted = np.moveaxis(holm(np.stack(p, axis=-1)), -1, 0)
    return np.stack(p), adjusted, np.where(adjusted < alpha, np.stack(sign), 0.0)


def gates(candidate: Floats, rivals: Floats, controls: Floats, relation: Floats, margin: float, alpha: float) -> Gates:
    """Rules 3 to 6 asked of differences in percentage points; `rivals` and `controls` are stacks of such arrays.

    `relation` is that of the rivals (`relations`), in which there is no margin.
    """
    return Gates(
        control_outside=np.any(outside(controls, margin, alpha), axis=0),
        candidate_outside=outside(candidate, margin, alpha),
        rival_nearer=np.any(relation < 0, axis=0),
        rival_equivalent=np.any(tost_p(rivals, margin) < alpha, axis=0),
        controls_equivalent=np.all(tost_p(controls, margin) < alpha, axis=0),
        candidate_equivalent=np.asarray(tost_p(candidate, margin) < alpha),
        rivals_farther=np.all(relation > 0, axis=0),
    )


def word(answers: Gates) -> npt.NDArray[np.str_]:
    """The verdict by rules 3 to 6, before the cap."""
    refuted = (
        answers.candidate_outside | answers.rival_nearer | (answers.candidate_equivalent & answers.rival_equivalent)
    )
    supported = answers.controls_equivalent & answers.candidate_equivalent & answers.rivals_farther
    return np.select(
        [answers.control_outside, refuted, supported], ["INVALID", "NOT SUPPORTED", "SUPPORTED"], "UNDECIDED"
    )


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a verdict is formed from.

    Attributes:
        candidate: arm of the hybrid reading; empty where the study has none.
        candidate_class: `exact`, `reparam` or `distinct` against the baseline; empty while untested.
        differences: d_t of the candidate and the rivals in percentage points, the same trials in the same order.
        rivals: the rival arms.
        controls: d_t of the controls `seed` and `exact`.
        rerun_differs, mixed_modes, exactness_fails: what speaks for INVALID, in words; empty where nothing does.
        rerun_tested, exactness_tested: whether the control was run, and the exactness test, at all.
        missing: what is missing, each with the command that makes it.
        trials: models of each arm that the protocol asks for.
        n_test: test pictures.
        margin: equivalence margin, percentage points, fixed beforehand.
        alpha: significance level.
        profile: the profile whose training it is; a custom one where more was changed than how it is computed.
        matched: verdicts of the parameter-matched (`params`) and multiply-add-matched (`macs`) arms, where run.
        unequal: which of these arms are not of the baseline's size, in words: no width comes near enough.
        discordance: share of pictures that exactly one of arm and baseline gets wrong, by arm and for `seed`, a value
            a trial; None where the predictions were not kept.
    """

    candidate: str
    candidate_class: str = ""
    differences: Mapping[str, Floats] = field(default_factory=dict)
    rivals: tuple[str, ...] = ()
    controls: Mapping[str, Floats] = field(default_factory=dict)
    rerun_differs: tuple[str, ...] = ()
    mixed_modes: tuple[str, ...] = ()
    exactness_fails: tuple[str, ...] = ()
    rerun_tested: bool = True
    exactness_tested: bool = True
    missing: tuple[str, ...] = ()
    trials: int
    n_test: int
    margin: float
    alpha: float
    profile: str
    matched: Mapping[str, str] = field(default_factory=dict)
    unequal: tuple[str, ...] = ()
    discordance: Mapping[str, Floats] | None = None


@dataclass(frozen=True)
class Verdict:
    """One word, its reasons, its qualifiers with why each stands, and every gate: true, false, or None (not asked)."""

    word: str
    reasons: tuple[str, ...]
    qualifiers: Mapping[str, str]
    gates: Mapping[str, bool | None]


def judge(evidence: Evidence) -> Verdict:
    """The verdict on one reading of the hybrid."""
    broken = (*evidence.rerun_differs, *evidence.mixed_modes, *evidence.exactness_fails)
    lacking = _lacking(evidence)
    answers = None if lacking or not evidence.candidate else _answers(evidence, [evidence.margin])[0]
    shown = {
        "rerun_identical": not evidence.rerun_differs if evidence.rerun_tested else None,
        "one_execution_mode": not evidence.mixed_modes,
        "exactness_holds": not evidence.exactness_fails if evidence.exactness_tested else None,
        "complete": not lacking,
        **{name: None if answers is None else bool(getattr(answers, name)) for name in Gates.__dataclass_fields__},
    }
    if broken:
        return Verdict("INVALID", broken, {}, shown)
    if not evidence.candidate:
        return Verdict("NOT APPLICABLE", ("the study has no hybrid arm",), {}, shown)
    if answers is None:
        return Verdict("INCOMPLETE", lacking, _qualifiers(evidence, "INCOMPLETE"), shown)
    found, reasons = str(word(answers)), _reasons(evidence, answers)
    if found == "SUPPORTED" and evidence.candidate_class == "exact":
        found = "CONSISTENT"
        reasons = (f"{evidence.candidate} is the baseline's function: equal by construction, not evidence", *reasons)
    return Verdict(found, reasons, _qualifiers(evidence, found), shown)


def _answers(evidence: Evidence, margins: Iterable[float]) -> list[Gates]:
    """The gates at each margin. Whether rivals are farther has no margin in it, takes longest, and is asked once."""
    candidate = np.asarray(evidence.differences[evidence.candidate])
    rivals = np.stack([evidence.differences[rival] for rival in evidence.rivals])
    controls = np.stack([evidence.controls[control] for control in GATED_CONTROLS])
    relation = relations(candidate, rivals, evidence.alpha)[2]
    return [gates(candidate, rivals, controls, relation, margin, evidence.alpha) for margin in margins]


def words_at(evidence: Evidence, margins: Sequence[float]) -> list[str]:
    """The words of rules 3 to 6 at other margins than the protocol's, of evidence that is complete: a sensitivity."""
    found = [str(word(answers)) for answers in _answers(evidence, margins)]
    return ["CONSISTENT" if at == "SUPPORTED" and evidence.candidate_class == "exact" else at for at in found]


def _lacking(evidence: Evidence) -> tuple[str, ...]:
    """Why rules 3 to 6 cannot be asked."""
    lacking = list(evidence.missing)
    if not evidence.candidate:
        return tuple(lacking)
    if evidence.trials < MINIMUM_TRIALS:
        lacking.append(f"{evidence.trials} trials, no verdict is formed below {MINIMUM_TRIALS}")
    if not evidence.rivals:
        lacking.append("no rival arm")
    needed = {name: evidence.differences.get(name) for name in (evidence.candidate, *evidence.rivals)}
    needed |= {f"control {kind}": evidence.controls.get(kind) for kind in GATED_CONTROLS}
    for name, d in needed.items():
        pairs = 0 if d is None else len(d)
        if pairs < evidence.trials and not evidence.missing:
            lacking.append(f"{name}: {pairs} of {evidence.trials} pairs")
    if not evidence.candidate_class and not evidence.missing:
        lacking.append(f"class of {evidence.candidate} unknown: the exactness test was not run")
    return tuple(lacking)


def _said(name: str, d: Floats, level: float) -> str:
    mean, lo, hi = (round(float(value), 2) + 0.0 for value in (np.mean(d), *t_interval(d, level)))  # no minus zero
    return f"{name}: mean difference {mean:+.2f} pp, {100 * level:g} % interval [{lo:+.2f}, {hi:+.2f}]"


def _reasons(evidence: Evidence, answers: Gates) -> tuple[str, ...]:
    """The facts on which the word rests: those of the first rule that applies."""
    margin, alpha, d = evidence.margin, evidence.alpha, evidence.differences
    wide, narrow = 1 - alpha, 1 - 2 * alpha
    hybrid, candidate = evidence.candidate, d[evidence.candidate]
    if answers.control_outside:
        out = [kind for kind in GATED_CONTROLS if outside(evidence.controls[kind], margin, alpha)]
        return tuple(
            _said(f"control {kind}", evidence.controls[kind], wide) + f", wholly outside ±{margin:g}" for kind in out
        )
    reasons: list[str] = []
    if answers.candidate_outside:
        reasons.append(_said(hybrid, candidate, wide) + f", wholly outside ±{margin:g}")
    relation = relations(candidate, np.stack([d[rival] for rival in evidence.rivals]), alpha)[2]
    nearer = [rival for rival, sign in zip(evidence.rivals, relation, strict=True) if sign < 0]
    reasons += [f"{rival} is significantly nearer to the baseline than {hybrid}" for rival in nearer]
    if answers.candidate_equivalent and answers.rival_equivalent:
        same = [rival for rival in evidence.rivals if tost_p(d[rival], margin) < alpha]
        reasons.append(
            f"{hybrid} and {', '.join(same)} are all equivalent to the baseline: equivalence sets none of them apart"
        )
    if reasons:
        return tuple(reasons)
    gated = {hybrid: candidate, **{f"control {kind}": evidence.controls[kind] for kind in GATED_CONTROLS}}
    for name, values in gated.items():
        inside = bool(tost_p(values, margin) < alpha)
        reasons.append(_said(name, values, narrow) + f", {'' if inside else 'not '}inside ±{margin:g}")
    apart = [rival for rival, sign in zip(evidence.rivals, relation, strict=True) if sign > 0]
    others = [rival for rival in evidence.rivals if rival not in apart]
    said = f"significantly farther from the baseline than {hybrid}: {', '.join(apart) or 'no rival'}"
    reasons.append(said + (f"; not shown for {', '.join(others)}" if apart and others else ""))
    return tuple(reasons)


def _qualifiers(evidence: Evidence, found: str) -> dict[str, str]:
    """What the word may not be read without."""
    out = {}
    power = tost_power(difference_sd(evidence.n_test), evidence.trials, evidence.margin, evidence.alpha)
    if power < ENOUGH_POWER:
        out["underpowered"] = (
            f"the planned chance to show equal arms equal is {100 * power:.0f} %, below {100 * ENOUGH_POWER:.0f} %"
        )
    judged = found not in ("INCOMPLETE", "INVALID")
    if not judged or not all(evidence.matched.get(match) == found for match in ("params", "macs")):
        given = ", ".join(f"{match} {evidence.matched.get(match, 'not run')}" for match in ("params", "macs"))
        out["capacity-confounded"] = f"not the same word from both matched sets of arms ({given})"
    elif evidence.unequal:
        out["capacity-confounded"] = f"matched arms that are not of equal size: {', '.join(evidence.unequal)}"
    if evidence.discordance is None:
        out["outcome-only"] = "no predictions were kept: equal error is not equal mechanism"
    elif not mechanism_alike(evidence.discordance, evidence.candidate, evidence.rivals, evidence.alpha):
        out["outcome-only"] = "the pictures that are got wrong do not set the hybrid apart from the rivals"
    if evidence.profile not in DESIGNS:
        out["profile"] = f"{evidence.profile}: not a profile of the paper's 190 epochs"
    return out


def mechanism_alike(discordance: Mapping[str, Floats], candidate: str, rivals: tuple[str, ...], alpha: float) -> bool:
    """Whether the candidate errs on the baseline's pictures as a retrained baseline does, and every rival does not.

    The candidate's discordance is non-inferior to the seed control's within 5 % of it, and each rival's is larger
    (Holm), by one-sided paired t tests. False where a value is missing.
    """
    values = [discordance.get(name) for name in ("seed", candidate, *rivals)]
    sizes = {0 if value is None else len(value) for value in values}
    if not rivals or len(sizes) > 1 or min(sizes) < 2:
        return False
    seed, mine, *theirs = (np.asarray(value, dtype=np.float64) for value in values)
    larger = holm([greater_p(rival - seed) for rival in theirs])
    return bool(greater_p(NON_INFERIOR * seed - mine) < alpha and (larger < alpha).all())


def greater_p(d: Floats) -> float:
    """One-sided p of the paired t test that the mean is above 0; without variance 0 or 1."""
    spread, mean = float(sd(d)), float(d.mean())
    if spread == 0.0:
        return 0.0 if mean > 0 else 1.0
    return float(special.stdtr(len(d) - 1, -mean / spread * np.sqrt(len(d))))
