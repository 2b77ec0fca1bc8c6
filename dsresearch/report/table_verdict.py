"""T2: every arm against the baseline and against the hybrid, and the words that follow."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from dsresearch.report.cell import Cell
from dsresearch.report.evidence import Analysis, is_baseline
from dsresearch.report.tables import Field, Table
from dsresearch.statistics import farther_p, holm, sd, tost_power
from dsresearch.statistics.power import PLANNED_ERROR

FIELDS = (
    Field("setup", "setup", "name"),
    Field("match", "match", csv_only=True),
    Field("role", "role"),
    Field("class", "class"),
    Field("mean_diff_pp", "mean d", "signed"),
    Field("t_tost", "t 90 %", "signed", interval=True),
    Field("t95", "t 95 %", "signed", interval=True, full_only=True),
    Field("equivalence_bound_pp", "smallest M", "pp"),
    Field("p_tost", "p TOST", "small"),
    Field("p_signflip", "p sign-flip", "small"),
    Field("p_farther", "p farther", "small", full_only=True),
    Field("p_farther_holm", "p farther, Holm", "small"),
    Field("p_nadeau_bengio", "p N-B", "small"),
    Field("relation", "relation"),
)


def verdict_table(analysis: Analysis) -> Table:
    """T2: intervals, smallest margin, tests and relation of every arm and control; verdicts, chances as notes."""
    study, protocol = analysis.study, analysis.study.protocol
    reading = next(iter(analysis.readings()), "")
    farther = _farther(analysis, reading)
    cells = [cell for cell in study.cells if not is_baseline(cell)]
    rows = tuple(_row(analysis, cell, farther) for cell in cells)
    level = f"{100 - 200 * protocol.alpha:g} %"
    fields = tuple(Field(f.key, f"t {level}", f.style, interval=True) if f.key == "t_tost" else f for f in FIELDS)
    caption = (
        f"{study.caption()} d as in table 4. TOST at the margin; smallest M is the smallest margin that would pass; "
        "sign-flip is the exact paired test of a difference. Farther or nearer: whether a rival's distance from the "
        f"baseline differs from that of {reading or 'the hybrid'}, both contrasts tested, Holm over the rivals. N-B: "
        "the t test corrected for trials that draw their splits from one pool (Nadeau and Bengio 2003), a sensitivity "
        "that decides nothing. Controls and exploratory arms "
        "stand outside the confirmatory family."
    )
    return Table("verdict", "Equivalence and difference", caption, fields, rows, (*verdict_lines(analysis),))


def _row(analysis: Analysis, cell: Cell, farther: Mapping[Cell, tuple[float, float, str]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "setup": cell.control_kind or cell.arm,
        "match": cell.match,
        "role": "control"
        if cell.control_kind
        else f"{cell.role}, {cell.match}"
        if cell.match != "width"
        else cell.role,
        "class": (analysis.class_of(cell.arm) if not cell.control_kind else "baseline") or "not tested",
    }
    found = analysis.comparisons.get(cell)
    if found is None:
        return {**dict.fromkeys((field.key for field in FIELDS), "missing"), **row}
    p, adjusted, relation = farther.get(cell, ("not a rival", "not a rival", ""))
    same = bool(analysis.pairs[cell]["bit_identical"].all())
    equal = "equivalent" if same or found.shown_equal(analysis.study.protocol.alpha) else ""
    undecided = "outside the margin" if found.outside else "undecided"
    values: dict[str, Any] = {
        "mean_diff_pp": found.mean,
        "t_tost": found.t_tost,
        "t95": found.t95,
        "equivalence_bound_pp": found.equivalence_margin,
        "p_tost": found.p_tost,
        "p_signflip": found.p_sign_flip,
        "p_farther": p,
        "p_farther_holm": adjusted,
        "p_nadeau_bengio": found.p_nadeau_bengio if analysis.study.protocol.draws_split else "no split drawn",
        "relation": ", ".join(filter(None, [equal, relation])) or undecided,
    }
    if found.trials == 1:
        values |= dict.fromkeys(("t_tost", "t95", "equivalence_bound_pp", "p_tost", "p_nadeau_bengio"), "one trial")
    return {**row, **values}


def _farther(analysis: Analysis, reading: str) -> dict[Cell, tuple[float, float, str]]:
    """p, Holm-adjusted p and the relation of every rival to the reading of its own match; by the trials of both."""
    out: dict[Cell, tuple[float, float, str]] = {}
    for match in ("width", "params", "macs"):
        cells = [cell for cell in analysis.pairs if cell.match == match and not cell.control_kind]
        mine = next((cell for cell in cells if cell.arm == reading), None)
        rivals = [cell for cell in cells if cell.role == "rival"]
        if mine is None or any(list(analysis.pairs[c]["trial"]) != list(analysis.pairs[mine]["trial"]) for c in rivals):
            continue
        if len(analysis.d(mine)) < 2 or not rivals:
            continue
        found = [farther_p(analysis.d(rival), analysis.d(mine)) for rival in rivals]
        adjusted = holm([float(p) for p, _ in found])
        for rival, (p, sign), holm_p in zip(rivals, found, adjusted, strict=True):
            certain = holm_p < analysis.study.protocol.alpha
            said = ("farther" if sign > 0 else "nearer") if certain and sign != 0 else ""
            out[rival] = (float(p), float(holm_p), said)
    return out


@dataclass(frozen=True)
class Found:
    """One word, on all readings that have it: reasons once each, and why each qualifier stands."""

    word: str
    readings: tuple[str, ...]
    reasons: tuple[str, ...]
    qualifiers: Mapping[str, str]


def grouped(analysis: Analysis) -> list[Found]:
    """The verdicts with readings of one word and the same qualifiers together; reasons that they share stand once."""
    together: dict[tuple[Any, ...], list[str]] = {}
    for name, found in analysis.verdicts.items():
        together.setdefault((found.word, *found.qualifiers.items()), []).append(name)
    out = []
    for (word, *_), names in together.items():
        all_of = [analysis.verdicts[name] for name in names]
        reasons = dict.fromkeys(
            reason for place in zip_longest(*(v.reasons for v in all_of)) for reason in place if reason
        )
        out.append(Found(word, tuple(names), tuple(reasons), all_of[0].qualifiers))
    return out


def verdict_lines(analysis: Analysis) -> list[str]:
    """The words on every reading with their qualifiers, and what designs of this size and others could have said."""
    lines = []
    for found in grouped(analysis):
        of = f" for {', '.join(found.readings)}" if any(found.readings) else ""
        qualified = f"; qualified: {', '.join(found.qualifiers)}" if found.qualifiers else ""
        lines.append(f"Verdict: {found.word}{of}{qualified}.")
    return lines + ([chances_line(analysis)] if analysis.readings() else [])


def chances_line(analysis: Analysis) -> str:
    """Chance of SUPPORTED of a true hypothesis, planned and achieved power: printed with every verdict."""
    planned, protocol = analysis.planned, analysis.study.protocol
    mine = planned["chances_if_equal"]["SUPPORTED"]
    others = "; ".join(
        f"{100 * values['SUPPORTED']:.0f} % for {name}" for name, values in planned["chances_of_other_designs"].items()
    )
    seed = analysis.d(analysis.control("seed"))
    achieved = ""
    sigma = float(sd(seed)) if len(seed) > 1 else 0.0
    if sigma > 0:
        power = tost_power(sigma, protocol.trials, protocol.margin, protocol.alpha)
        achieved = f", achieved {power:.2f} (at the {sigma:.2f} pp that the seed control shows)"
    return (
        "Chance that a true hypothesis is found SUPPORTED (CONSISTENT, for a reading that is the baseline's function), "
        f"simulated at {PLANNED_ERROR:g} % error with rivals as far as the paper's: {100 * mine:.0f} % for this design "
        f"({protocol.trials} trials, {analysis.study.n_test} test pictures); {others}. Chance that TOST passes for "
        f"equal arms: planned {planned['tost_power']:.2f} (SD of d {planned['assumed_sd_diff_pp']:.2f} pp){achieved}."
    )
