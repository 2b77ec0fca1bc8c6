"""What the interior of the continuum shows, in four sentences whose numbers are the study's own."""

from scipy import stats

from dsresearch.report.cell import Cell, one_line
from dsresearch.report.evidence import Analysis, is_baseline
from dsresearch.report.factors import Series, compared, contrasts, difference, errors, series
from dsresearch.report.pairs import EQUAL_SIZE
from dsresearch.statistics import Comparison, holm, sd_interval

POWER = 0.8  # with which a difference of the margin should be found


def interior(analysis: Analysis) -> tuple[str, ...]:
    """The ends, the interior, equal sizes, and the activation's interaction with G; empty without the plain series."""
    found = series(analysis)
    plain = next((one for one in found if one.at.match == "width" and is_baseline(one.end)), None)
    if plain is None:
        return ()
    return (
        _ends(analysis, plain),
        _inside(analysis, plain),
        _matched(analysis, [one for one in found if one.at.match != "width"]),
        _activation(analysis, plain),
    )


def _beginning(groups: int, more: str) -> str:
    """What the low end of a series is called, with more in brackets.

    At G = 1 the first convolution is whole, and the 1x1 still stands behind it: no single regular convolution.
    """
    return f"one group (G = 1, a whole convolution before the 1x1, {more})" if groups == 1 else f"G = {groups} ({more})"


def _ends(analysis: Analysis, plain: Series) -> str:
    study = analysis.study
    first = plain.arms[min(plain.arms)]
    times = study.rows(first)["macs_fwd"].iloc[0] / study.rows(plain.end)["macs_fwd"].iloc[0]
    beginning = _beginning(min(plain.arms), f"{times:.1f} times the multiply-adds")
    return (
        f"On {one_line(study.dataset)} at profile {one_line(study.about['profile'])} ({study.protocol.trials} trials, "
        f"{study.n_test:,} test pictures, width {plain.at.width}) the mean test error is "
        f"{errors(study, first).mean():.2f} % with {beginning} and "
        f"{errors(study, plain.end).mean():.2f} % with a separable one: a difference of "
        f"{_said(_against(analysis, first, plain.end))}."
    )


def _inside(analysis: Analysis, plain: Series) -> str:
    inner = {g: cell for g, cell in plain.arms.items() if cell != plain.end and g != min(plain.arms)}
    known = {g: one for g, cell in inner.items() if (one := _against(analysis, cell, plain.end)) is not None}
    if not known:
        return "Between the two no group count has a pair yet."
    farthest = max(known, key=lambda g: abs(known[g].mean))
    adjusted = holm([one.p_sign_flip for one in known.values()])
    differ = [g for g, p in zip(known, adjusted, strict=True) if p < analysis.study.protocol.alpha]
    counts = f"G = {min(known)} to {max(known)}"
    if differ:
        verb = "differ" if len(differ) > 1 else "differs"
        return (
            f"Between the two ({counts}) G = {', '.join(map(str, differ))} {verb} "
            f"from the separable end (sign-flip tests, Holm), the farthest being G = {farthest} with "
            f"{_said(known[farthest])}."
        )
    trials = max(one.trials for one in known.values())
    if len(known) * 2.0 ** (1 - trials) >= analysis.study.protocol.alpha:  # the least p of sign flips, after Holm
        found = f"{'one trial' if trials == 1 else f'{trials} trials'} of each cannot show a difference by sign flips"
    else:
        found = "no group count is distinguishable from the separable end (sign-flip tests, Holm)"
    price = _price(analysis, [one.sd for one in known.values() if one.trials > 1], trials)
    return f"Between the two ({counts}) {found}; the farthest is G = {farthest} with {_said(known[farthest])}{price}."


def _price(analysis: Analysis, spreads: list[float], trials: int) -> str:
    """The trials that would find a difference of the margin, at the usual spread of so many and over its interval."""
    if not spreads:
        return ""
    protocol, spread = analysis.study.protocol, float(stats.trim_mean(spreads, 0.2))
    few, some, many = (_trials(analysis, of) for of in sorted((spread, *sd_interval(spread, trials))))
    return (
        f", and to find a difference of {protocol.margin:g} pp with a chance of {100 * POWER:.0f} % at the spread seen "
        f"here (SD {spread:.2f} pp) about {some:,} trials would be needed ({few:,} to {many:,} over the interval of "
        "that spread)"
    )


def _matched(analysis: Analysis, found: list[Series]) -> str:
    """The regular end at equal size, and the lowest error of the arms that are of equal size."""
    said: dict[str, list[str]] = {}  # what was found -> at which size
    for one in found:
        said.setdefault(_at_equal_size(analysis, one), []).append(f"the {one.name}")
    text = "; ".join(f"at {' and '.join(sizes)} {what}" for what, sizes in said.items())
    text = text or "no series at equal size has been run"
    return f"{text[0].upper()}{text[1:]}."


def _at_equal_size(analysis: Analysis, matched: Series) -> str:
    study, first = analysis.study, min(matched.arms)
    off = _misses(analysis, matched)
    near = [g for g in matched.arms if abs(off[g]) <= EQUAL_SIZE]
    best = min(near, key=lambda g: float(errors(study, matched.arms[g]).mean()))
    if matched.arms[best] == matched.end:
        lowest = "the separable end"
    else:
        lowest = f"G = {best}, {_said(_against(analysis, matched.arms[best], matched.end))} from separable"
    ends = _said(_against(analysis, matched.arms[first], matched.end))
    beginning = _beginning(first, f"{off[first]:+.0f} % of the size")
    return (
        f"{beginning} is {ends} from separable, and of the group counts whose widths come within {EQUAL_SIZE} % "
        f"(G = {', '.join(map(str, near))}) the lowest mean error is that of {lowest}"
    )


def _misses(analysis: Analysis, matched: Series) -> dict[int, float]:
    """By how many per cent the arms of a matched series miss the separable end's size; widths are whole."""
    size = {"params": "params", "macs": "macs_fwd"}[matched.at.match]
    sizes = {g: float(analysis.study.rows(cell)[size].iloc[0]) for g, cell in matched.arms.items()}
    wanted = float(analysis.study.rows(matched.end)[size].iloc[0])
    return {g: 100 * (of / wanted - 1) for g, of in sizes.items()}


def _activation(analysis: Analysis, plain: Series) -> str:
    """The interaction that the Xception paper predicts (section 4.7), at the regular end, its deepest segments."""
    study = analysis.study
    asked = {"relu": "ReLU", "elu": "ELU"}
    first = min(plain.arms)
    found = [c for c in contrasts(study) if c.factor == "activation" and c.at.width == plain.at.width]
    said = []
    for value, name in asked.items():
        mine = [c for c in found if c.values == (value, "none") and c.at.family == "spectrum"]
        here = next((c for c in mine if c.at.groups == first and c.interaction is not None), None)
        end = next((c for c in mine if c.at.groups == max(plain.arms)), None)
        if here is not None and end is not None:
            between = compared(study, here.interaction) if here.interaction is not None else None
            said.append(
                f"{name} by {_said(compared(study, here.d))} at G = {first} and by {_said(compared(study, end.d))} at "
                f"the separable end, a difference of {_said(between)}, {_judged(between)}"
            )
    if not said:
        return "No activation between the operations has been run along the continuum."
    return (
        f"An activation between the two operations moves the mean error: {'; '.join(said)} that it helps deep segments "
        "and harms those of one channel (Chollet 2017, section 4.7)."
    )


def _judged(found: Comparison | None) -> str:
    if found is None or found.trials < 2 or found.t95.lo <= 0 <= found.t95.hi:
        return "which does not decide the prediction"
    return "as in the prediction" if found.mean < 0 else "against the prediction"


def _against(analysis: Analysis, one: Cell, two: Cell) -> Comparison | None:
    return compared(analysis.study, difference(analysis.study, one, two))


def _said(found: Comparison | None) -> str:
    """A mean difference with its 95 % t interval."""
    if found is None:
        return "no pair yet"
    if found.trials < 2:
        return f"{found.mean + 0.0:+.2f} pp (one trial)"
    return f"{found.mean + 0.0:+.2f} pp [{found.t95.lo + 0.0:+.2f}, {found.t95.hi + 0.0:+.2f}]"


def _trials(analysis: Analysis, spread: float) -> int:
    """Trials with which a paired test finds a difference of the margin, by the normal approximation."""
    protocol = analysis.study.protocol
    quantiles = stats.norm.ppf(1 - protocol.alpha / 2) + stats.norm.ppf(POWER)
    return max(2, int(-(-((quantiles * spread / protocol.margin) ** 2) // 1)))
