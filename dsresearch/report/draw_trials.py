"""Figures of the trials themselves: F1 test errors, F2 differences with intervals (forest), F4 paired slopes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dsresearch.report.cell import Cell
from dsresearch.report.evidence import Analysis, is_baseline
from dsresearch.report.style import (
    BAND,
    COLUMN,
    INK,
    PAGE,
    SOFT,
    WORSE,
    Look,
    Picture,
    crowded,
    label,
    legend_above,
    looks,
    matched_words,
    narrow_label,
    picture,
    source_of,
    style,
)
from dsresearch.report.table4 import paper_value
from dsresearch.statistics import t_interval
from dsresearch.studies import CONTROLS

_PAPER = "#b3261e"  # the paper's values, in no arm's colour


def ordered(analysis: Analysis, controls_first: bool = False) -> list[Cell]:
    """The cells with results, each network once: arms by the table, and controls before or behind them."""
    arms = [cell for cell in analysis.study.cells if not (cell.control_kind or analysis.study.repeats(cell))]
    controls = [cell for kind in CONTROLS if (cell := analysis.control(kind)) is not None]
    cells = [*controls, *arms] if controls_first else [*arms, *controls]
    return [cell for cell in cells if len(analysis.study.places(cell))]


def _height(rows: int, each: float = 0.2, rest: float = 0.95) -> float:
    return max(1.7, rest + each * rows)


# --- F1 ---------------------------------------------------------------------------------------------------------


def errors(analysis: Analysis) -> Picture:
    """F1: test error of every trial, mean and 95 % t interval; the baseline's interval as a band."""
    study, title = analysis.study, "Test error of every trial"
    cells = ordered(analysis)
    caption = "Dots are trials, the large mark is their mean with its 95 % t interval, the band that of the baseline."
    caption += matched_words(study.cells)
    if why := crowded(study):
        return Picture("f1_errors", title, caption, absent=why)
    rows, means = [], []
    for cell in cells:
        of = study.rows(cell)
        percent = 100 * of["test_wrong"] / of["n_test"]
        rows += [(cell.name, int(t), float(e)) for t, e in zip(of["trial"], percent, strict=True)]
        lo, hi = (float(v) if np.isfinite(v) else float("nan") for v in t_interval(percent, 0.95))
        means.append((cell, percent.to_numpy(), float(percent.mean()), lo, hi))
    if not rows:
        return Picture("f1_errors", title, caption, absent="no model has a result")
    with style():
        figure = Figure(figsize=(COLUMN, _height(len(cells))), layout="constrained")
        axes = figure.add_subplot()
        look = looks(study.cells)
        for at, (cell, values, mean, lo, hi) in enumerate(means):
            colour, marker, _ = look[cell]
            if is_baseline(cell) and cell.match == "width":
                axes.axvspan(lo, hi, color=BAND, linewidth=0, zorder=0)
            spread = np.linspace(-0.28, 0.28, len(values)) if len(values) > 1 else np.zeros(1)
            axes.plot(values, at + spread, ".", color=colour, markersize=5, alpha=0.6, markeredgewidth=0)
            axes.plot([lo, hi], [at, at], color=colour, linewidth=1.4, solid_capstyle="butt")
            axes.plot([mean], [at], marker, color=colour, markersize=5, markeredgecolor="#ffffff", markeredgewidth=0.5)
        _rows_of(axes, [cell.name for cell in cells])
        axes.set_xlabel("test error, %")
        drawn = pd.DataFrame(rows, columns=["name", "trial", "test_error_pct"])
        alt = f"{len(cells)} arms and controls; mean test error from {min(m[2] for m in means):.2f} to " + (
            f"{max(m[2] for m in means):.2f} %."
        )
        return picture("f1_errors", figure, drawn, title=title, caption=caption, alt=alt, source=source_of(study))


def _rows_of(axes: Axes, names: list[str]) -> None:
    """Rows from top to bottom, named at the left."""
    axes.set_yticks(range(len(names)), [label(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


# --- F2 ---------------------------------------------------------------------------------------------------------


def forest(analysis: Analysis) -> Picture:
    """F2: signed mean difference of every arm with its two intervals against the margin; controls on top."""
    protocol, title = analysis.study.protocol, "Difference to the baseline"
    narrow = 100 - 200 * protocol.alpha
    caption = (
        f"Mean of d (test error less the baseline's of the same trial) with its 95 % t interval (thin) and the "
        f"{narrow:g} % interval (thick) that the equivalence test holds against the margin of ±{protocol.margin:g} "
        "pp (grey band). Controls stand above the line. Hollow diamonds: the paper's absolute difference, whose sign "
        "it does not give, on either side."
    ) + matched_words(analysis.study.cells)
    caption += _elsewhere_words(analysis)
    if why := crowded(analysis.study):
        return Picture("f2_forest", title, caption, absent=why)
    drawn, cells = _forest_rows(analysis)
    if not cells:
        return Picture("f2_forest", title, caption, absent="no arm has a pair with a baseline")
    with style():
        figure = Figure(figsize=(COLUMN, _height(len(cells), rest=1.25)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvspan(-protocol.margin, protocol.margin, color=BAND, linewidth=0, zorder=0)
        axes.axvline(0, color=SOFT, linewidth=0.7)
        _draw_intervals(axes, drawn, cells, looks(analysis.study.cells))
        first = sum(bool(cell.control_kind) for cell in cells)
        if 0 < first < len(cells):
            axes.axhline(first - 0.5, color=SOFT, linewidth=0.5)
        _rows_of(axes, [cell.name for cell in cells])
        axes.set_xlabel("d, percentage points")
        _forest_legend(figure, axes, protocol.margin, narrow, bool(drawn["paper_abs_diff_pp"].notna().any()))
        return picture(
            "f2_forest", figure, drawn, title=title, caption=caption, alt=_forest_alt(analysis, cells, drawn, narrow),
            source=source_of(analysis.study),
        )  # fmt: skip


def _elsewhere_words(analysis: Analysis) -> str:
    """Which of the arms were not trained where the baseline was."""
    arms: dict[str, list[str]] = {}
    for cell in analysis.study.cells:
        if elsewhere := analysis.elsewhere(cell):
            arms.setdefault(", ".join(elsewhere), []).append(cell.name)
    return "".join(f" On another {what} than the baseline's: {', '.join(names)}." for what, names in arms.items())


def _forest_alt(analysis: Analysis, cells: list[Cell], drawn: pd.DataFrame, narrow: float) -> str:
    margin, alpha = analysis.study.protocol.margin, analysis.study.protocol.alpha
    inside = drawn[(drawn["t_tost_lo"] > -margin) & (drawn["t_tost_hi"] < margin)]["name"]
    outside = [cell.name for cell in cells if analysis.comparisons[cell].outside]
    return (
        f"Intervals of {len(drawn)} arms and controls. Wholly inside the margin of {margin:g} percentage points by the "
        f"{narrow:g} % interval: {', '.join(inside) or 'none'}. Wholly outside by the {100 - 100 * alpha:g} % "
        f"interval: {', '.join(outside) or 'none'}."
    )


def _forest_rows(analysis: Analysis) -> tuple[pd.DataFrame, list[Cell]]:
    rows, cells = [], []
    for cell in ordered(analysis, controls_first=True):
        found = analysis.comparisons.get(cell)
        if found is None:
            continue
        cells.append(cell)
        rows.append(
            {
                "name": cell.name,
                "role": "control" if cell.control_kind else cell.role,
                "n": found.trials,
                "mean_diff_pp": found.mean,
                "t_tost_lo": _finite(found.t_tost.lo),
                "t_tost_hi": _finite(found.t_tost.hi),
                "t95_lo": _finite(found.t95.lo),
                "t95_hi": _finite(found.t95.hi),
                "paper_abs_diff_pp": np.nan if (paper := paper_value(cell)) is None else paper,
            }
        )
    columns = ("name", "role", "n", "mean_diff_pp", "t_tost_lo", "t_tost_hi", "t95_lo", "t95_hi", "paper_abs_diff_pp")
    return pd.DataFrame(rows, columns=list(columns)), cells


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else float("nan")


def _draw_intervals(axes: Axes, drawn: pd.DataFrame, cells: list[Cell], look: Mapping[Cell, Look]) -> None:
    for at, (cell, row) in enumerate(zip(cells, drawn.itertuples(index=False), strict=True)):
        colour, marker, _ = look[cell]
        axes.plot([row.t95_lo, row.t95_hi], [at, at], color=colour, linewidth=0.9, solid_capstyle="butt")
        axes.plot([row.t_tost_lo, row.t_tost_hi], [at, at], color=colour, linewidth=2.6, solid_capstyle="butt")
        for value in (-row.paper_abs_diff_pp, row.paper_abs_diff_pp):
            axes.plot([value], [at], "D", markerfacecolor="none", markeredgecolor=_PAPER, markersize=3.6, mew=0.8)
        edge: dict[str, Any] = {"markeredgecolor": "#ffffff", "markeredgewidth": 0.5}
        axes.plot([row.mean_diff_pp], [at], marker, color=colour, markersize=5, zorder=3, **edge)


def _forest_legend(figure: Figure, axes: Axes, margin: float, narrow: float, paper: bool) -> None:
    axes.plot([], [], color=SOFT, linewidth=0.9, label="95 % interval")
    axes.plot([], [], color=SOFT, linewidth=2.6, label=f"{narrow:g} % (equivalence)")
    axes.fill_between([], [], [], color=BAND, label=f"margin ±{margin:g} pp")
    if paper:
        axes.plot(
            [], [], "D", markerfacecolor="none", markeredgecolor=_PAPER, markersize=3.6, label="paper, ± its value"
        )
    legend_above(figure, *axes.get_legend_handles_labels(), handlelength=1.6)


# --- F4 ---------------------------------------------------------------------------------------------------------


def slopes(analysis: Analysis) -> Picture:
    """F4: for every arm, each trial's test error of the baseline joined to the arm's."""
    study, title = analysis.study, "Pairs: baseline to arm, trial by trial"
    caption = (
        "One line a trial, from the baseline's test error (left) to the arm's or control's (right): red where that "
        "errs more, grey where it does not; the heavy line joins the means. Arms at their own widths."
    )
    if why := crowded(study):
        return Picture("f4_slopes", title, caption, absent=why)
    cells = [cell for cell in ordered(analysis) if cell.control_kind in ("", "seed", "bit") and cell in analysis.pairs]
    cells = [cell for cell in cells if len(analysis.pairs[cell]) and cell.match == "width"]
    if not cells:
        return Picture("f4_slopes", title, caption, absent="no arm has a pair with a baseline")
    rows = []
    for cell in cells:
        mine = study.rows(cell).set_index("trial")
        for trial, d in zip(analysis.pairs[cell]["trial"], analysis.pairs[cell]["d_pp"], strict=True):
            error = 100 * mine.loc[trial, "test_wrong"] / study.n_test
            rows.append((cell.name, int(trial), float(error - d), float(error)))
    drawn = pd.DataFrame(rows, columns=["name", "trial", "baseline_error_pct", "error_pct"])
    across = min(5, len(cells))
    down = -(-len(cells) // across)
    titles = {cell.name: narrow_label(cell.name, 22) for cell in cells}
    with style():
        figure = Figure(
            figsize=(PAGE, 0.55 + (1.65 if any("\n" in words for words in titles.values()) else 1.55) * down),
            layout="constrained",
        )
        panels = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
        for axes, cell in zip(panels, cells, strict=False):
            _draw_slopes(axes, drawn[drawn["name"] == cell.name])
            axes.set_title(titles[cell.name], fontsize=6.5)
        for axes in panels[len(cells) :]:
            axes.set_visible(False)
        for axes in panels[::across]:
            axes.set_ylabel("test error, %")
        lines = {"errs more than the baseline": WORSE, "errs as much or less": SOFT, "means": INK}
        legend_above(figure, [Line2D([], [], color=colour, lw=1.2) for colour in lines.values()], lines)
        alt = f"{len(cells)} panels; errors cross in both directions where an arm is neither better nor worse."
        return picture("f4_slopes", figure, drawn, title=title, caption=caption, alt=alt, source=source_of(study))


def _draw_slopes(axes: Axes, of: pd.DataFrame) -> None:
    for row in of.itertuples(index=False):
        colour = WORSE if row.error_pct > row.baseline_error_pct else SOFT
        axes.plot([0, 1], [row.baseline_error_pct, row.error_pct], color=colour, lw=0.7, alpha=0.6)
    axes.plot([0, 1], [of["baseline_error_pct"].mean(), of["error_pct"].mean()], "-o", color=INK, lw=1.8, ms=3)
    axes.set_xlim(-0.25, 1.25)
    axes.set_xticks([0, 1], ["baseline", "arm"])
    axes.grid(axis="x", visible=False)
