"""T11 the continuum from a regular to a separable convolution, T12 one factor at a time."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dsresearch.references import training
from dsresearch.report.cell import Cell
from dsresearch.report.evidence import Analysis
from dsresearch.report.factors import Contrast, Series, compared, contrasts, difference, series
from dsresearch.report.pairs import match_deviation
from dsresearch.report.tables import Field, Table
from dsresearch.statistics import Comparison, Interval, holm, t_interval
from dsresearch.statistics.paired import Floats

# Other people's numbers: test error on CIFAR-10 in per cent of ResNeXt-20 at a constant width of 64 in so many groups,
# single runs of the imgclsmob collection (osmr), another network under another recipe than any study here.
RESNEXT20_C10 = {g: training.value("osmr", "CIFAR-10", f"ResNeXt-20 {g}x{64 // g}d") for g in (1, 2, 4, 8, 16, 32, 64)}

SPINE = (
    Field("series", "series"),
    Field("groups", "G", "count"),
    Field("width", "width", "count"),
    Field("params", "parameters", "count"),
    Field("macs_fwd", "multiply-adds", "count"),
    Field("match_deviation_pct", "deviation %", "signed"),
    Field("images_per_s", "images/s", "count"),
    Field("test_error_mean_pct", "error %", "pp"),
    Field("test_error_t95", "error 95 %", "pp", interval=True),
    Field("diff_to_end_pp", "less separable", "signed"),
    Field("diff_to_end_t95", "t 95 %", "signed", interval=True),
    Field("p_signflip", "p sign-flip", "small"),
    Field("p_holm", "Holm", "small"),
    Field("published_diff_pp", "ResNeXt-20", "signed"),
    Field("n_trials", "trials", "count", full_only=True),
)

FACTOR = (
    Field("factor", "factor"),
    Field("change", "change"),
    Field("at", "at"),
    Field("arm", "arm", "name", full_only=True),
    Field("than", "than", "name", full_only=True),
    Field("diff_pp", "change of error", "signed"),
    Field("diff_t95", "t 95 %", "signed", interval=True),
    Field("p_signflip", "p sign-flip", "small"),
    Field("p_holm", "Holm", "small"),
    Field("interaction_pp", "less at separable", "signed"),
    Field("interaction_t95", "its t 95 %", "signed", interval=True),
    Field("n_trials", "trials", "count", full_only=True),
)


def continuum(analysis: Analysis) -> Table | None:
    """T11: error, size and speed against the group count, a series after another; None where a study has no series."""
    found = series(analysis)
    if not found:
        return None
    rows = [row for one in found for row in _series_rows(analysis, one)]
    caption = (
        f"{analysis.study.caption()} G groups of the spatial convolution, min(G, channels) in a stage; the last row of "
        "a series is its separable end, a group a channel, from which the other rows' error is counted, paired by "
        "trial. Holm: over the rows of a series. Where a size is matched the nearest feasible width is taken, and the "
        "deviation is what it misses; images/s as runs.csv has them, other work on the machine included. ResNeXt-20: "
        "other people's, single runs on CIFAR-10 at width 64 (imgclsmob), less theirs at one channel a group."
    )
    return Table("continuum", "From a regular to a separable convolution", caption, SPINE, tuple(rows))


def _series_rows(analysis: Analysis, one: Series) -> list[dict[str, Any]]:
    study = analysis.study
    found = {g: compared(study, difference(study, cell, one.end)) for g, cell in one.arms.items() if cell != one.end}
    adjusted = _adjusted(found)
    plain = one.at.match == "width" and one.at.activation == "none"
    rows = []
    for groups, cell in one.arms.items():
        run, percent = study.last_run(cell), study.errors(cell)
        row: dict[str, Any] = {
            "series": one.name,
            "groups": groups,
            **{name: int(study.values(cell, name)[0]) for name in ("width", "params", "macs_fwd")},
            "match_deviation_pct": match_deviation(analysis.study, cell),
            "images_per_s": "not recorded" if run is None or pd.isna(run["images_per_s"]) else int(run["images_per_s"]),
            "test_error_mean_pct": float(percent.mean()),
            "test_error_t95": _interval(percent),
            "published_diff_pp": RESNEXT20_C10[groups] - RESNEXT20_C10[64]
            if plain and groups in RESNEXT20_C10 and cell != one.end
            else "none",
            "n_trials": len(percent),
        }
        rows.append(row | _difference(found.get(groups), adjusted.get(groups)))
    return rows


def _interval(values: Floats) -> Interval | str:
    if len(values) < 2:
        return "one trial"
    found = t_interval(values, 0.95)
    return Interval(float(found.lo), float(found.hi))


def _difference(found: Comparison | None, adjusted: float | None) -> dict[str, Any]:
    if found is None:
        return dict.fromkeys(("diff_to_end_pp", "diff_to_end_t95", "p_signflip", "p_holm"), "reference")
    return {
        "diff_to_end_pp": found.mean,
        "diff_to_end_t95": found.t95 if found.trials > 1 else "one trial",
        "p_signflip": found.p_sign_flip,
        "p_holm": adjusted,
    }


def _adjusted(found: Mapping[Any, Comparison | None]) -> dict[Any, float]:
    """Holm's p values of the sign-flip tests that there are, by the same keys."""
    known = {key: one.p_sign_flip for key, one in found.items() if one is not None}
    return dict(zip(known, map(float, holm(list(known.values()))), strict=True)) if known else {}


def factors(analysis: Analysis) -> Table | None:
    """T12: what a change of one factor does, with its interval, and how that differs from the separable end."""
    study = analysis.study
    found = [] if analysis.readings() else contrasts(study)  # a study with a hypothesis is not about single factors
    if not found:
        return None
    statistics = {at: compared(study, contrast.d) for at, contrast in enumerate(found)}
    adjusted: dict[int, float] = {}
    for factor in dict.fromkeys(contrast.factor for contrast in found):
        adjusted |= _adjusted({at: one for at, one in statistics.items() if found[at].factor == factor})
    rows = tuple(_factor_row(analysis, contrast, statistics[at], adjusted.get(at)) for at, contrast in enumerate(found))
    caption = (
        f"{study.caption()} Two arms that differ in this factor alone: error of the first less that of the second in "
        "the same trial, percentage points. Less at separable: the change here less the same change at the separable "
        "end of the continuum, the interaction of the factor with the group count. Holm: over the rows of a factor."
    )
    return Table("factors", "One factor at a time", caption, FACTOR, rows)


def _factor_row(
    analysis: Analysis, contrast: Contrast, found: Comparison | None, adjusted: float | None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "factor": contrast.factor,
        "change": " less ".join(contrast.values),
        "at": f"{contrast.at.words}, width {contrast.at.width}",
        **dict(zip(("arm", "than"), map(_name, contrast.arms), strict=True)),
        "n_trials": len(contrast.d),
    }
    words: dict[str, Any] = dict.fromkeys(("diff_pp", "diff_t95", "p_signflip", "p_holm"), "no pair")
    if found is not None:
        words = {
            "diff_pp": found.mean,
            "diff_t95": found.t95 if found.trials > 1 else "one trial",
            "p_signflip": found.p_sign_flip,
            "p_holm": adjusted,
        }
    between = None if contrast.interaction is None else compared(analysis.study, contrast.interaction)
    none = "not of the continuum" if contrast.at.family != "spectrum" else "none"
    return {
        **row,
        **words,
        "interaction_pp": none if between is None else between.mean,
        "interaction_t95": none if between is None else between.t95 if between.trials > 1 else "one trial",
    }


def _name(cell: Cell) -> str:
    return cell.name
