"""F11 error, interaction and cost along the continuum; F12 curves with and without a factor, and what it changes."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from dsresearch.report.cell import Cell
from dsresearch.report.draw_curves import profile_rows
from dsresearch.report.evidence import Analysis
from dsresearch.report.factors import (
    ACTIVATIONS,
    FACTORS,
    Contrast,
    Series,
    compared,
    contrasts,
    difference,
    errors,
    points,
    series,
)
from dsresearch.report.style import INK, PAGE, SOFT, Picture, label, legend_above, picture, source_of, style
from dsresearch.statistics import t_interval

_LINES = (("#0173b2", "o"), ("#de8f05", "s"), ("#029e73", "^"), ("#cc78bc", "D"), ("#ca9161", "v"), ("#56b4e9", "P"))


# --- F11 --------------------------------------------------------------------------------------------------------------


def continuum(analysis: Analysis) -> Picture | None:
    """F11: error against the group count at equal sizes and between activations, and cost; None without a series."""
    found = series(analysis)
    if not found:
        return None
    title = "From a regular to a separable convolution"
    plain = found[0]
    sizes = [one for one in found if one.at.activation == "none" and one.at.order == plain.at.order]
    activations = [
        one
        for one in found
        if dataclasses.replace(one.at, activation="none") == dataclasses.replace(plain.at, activation="none")
    ]
    activations.sort(key=lambda one: ACTIVATIONS.index(str(one.at.activation)))
    drawn = pd.concat([_error_rows(analysis, one, plain.end) for one in found], ignore_index=True)
    shown = {"sizes": sizes, "activations": activations if len(activations) > 1 else []}
    shown = {what: members for what, members in shown.items() if members}
    with style():
        figure = Figure(figsize=(PAGE, 2.7), layout="constrained")
        *panels, last = figure.subplots(1, len(shown) + 1)
        for axes, (what, members) in zip(panels, shown.items(), strict=True):
            names = [one.name if what == "sizes" else str(one.at.activation) for one in members]
            _draw_errors(axes, drawn, members, names)
        panels[0].set_ylabel("test error less the separable end's, pp")
        _draw_cost(last, analysis, plain)
        for axes in (*panels, last):
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=6, columnspacing=1.2)
        of = drawn[drawn["series"] == plain.name]
        alt = "At equal width: " + ", ".join(
            f"G = {row.groups} {row.error_pct:.2f} %" for row in of.itertuples(index=False)
        )
        return picture(
            "f11_continuum", figure, drawn, title=title, caption=_continuum_caption(len(shown) > 1), alt=f"{alt}.",
            source=source_of(analysis.study),
        )  # fmt: skip


def _continuum_caption(activations: bool) -> str:
    middle = "Middle: without an activation between the two operations, with ReLU, with ELU, with BatchNorm before it. "
    return (
        "Mean test error after the last epoch less that of the separable end at equal width without an activation, "
        "paired by trial, with its 95 % t interval, against the group count G; the last point of a line is separable. "
        "Left: at equal width, and at the widths whose parameters or multiply-adds are nearest (the table has by how "
        f"much they miss). {middle * activations}Right: multiply-adds and "
        "training speed of the equal-width line, as a share of its separable end's; the speed is that of the machine "
        "as it was, and says little where other work shared it. Points of a group count are drawn side by side."
    )


def _error_rows(analysis: Analysis, one: Series, reference: Cell) -> pd.DataFrame:
    """A row a group count: mean error, and the error less the reference's of the same trial, with its t interval."""
    rows = []
    for groups, cell in one.arms.items():
        percent, d = errors(analysis.study, cell), difference(analysis.study, cell, reference)
        lo, hi = t_interval(d.to_numpy(dtype=float), 0.95) if len(d) > 1 and cell != reference else (np.nan, np.nan)
        mean = float(d.mean()) if len(d) else np.nan
        rows.append((one.name, cell.name, groups, float(percent.mean()), mean, float(lo), float(hi)))
    columns = ["series", "arm", "groups", "error_pct", "diff_pp", "diff_t95_lo", "diff_t95_hi"]
    return pd.DataFrame(rows, columns=columns)


def _draw_errors(axes: Axes, drawn: pd.DataFrame, shown: Sequence[Series], names: Sequence[str]) -> None:
    axes.axhline(0, color=SOFT, lw=0.6)
    for at, (one, name) in enumerate(zip(shown, names, strict=True)):
        of, (colour, marker) = drawn[drawn["series"] == one.name], _LINES[at % len(_LINES)]
        aside = of["groups"] * 2 ** (0.12 * (at - (len(shown) - 1) / 2))
        bars = np.array([of["diff_pp"] - of["diff_t95_lo"], of["diff_t95_hi"] - of["diff_pp"]])
        axes.errorbar(aside, of["diff_pp"], bars, color=colour, marker=marker, ms=3.5, lw=1.0, elinewidth=0.8,
                      mec="#ffffff", mew=0.4, label=label(name))  # fmt: skip
    _group_axis(axes, sorted({g for one in shown for g in one.arms}))


def _group_axis(axes: Axes, groups: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([g for g in groups if g & (g - 1) == 0]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("groups G")


def _draw_cost(axes: Axes, analysis: Analysis, one: Series) -> None:
    study = analysis.study
    macs = {g: float(study.rows(cell)["macs_fwd"].iloc[0]) for g, cell in one.arms.items()}
    runs = {g: study.last_run(cell) for g, cell in one.arms.items()}
    speed = {g: float(run["images_per_s"]) for g, run in runs.items() if run and run["images_per_s"] > 0}
    lines = (("multiply-adds", macs, INK, "o"), ("images/s", speed, _LINES[1][0], "s"))
    for name, values, colour, marker in lines:
        end = values.get(max(one.arms))
        if end:
            axes.plot(list(values), [value / end for value in values.values()], color=colour, marker=marker, ms=3.5,
                      mec="#ffffff", mew=0.4, label=name)  # fmt: skip
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.axhline(1, color=SOFT, lw=0.6)
    axes.set_ylabel("times the separable end's")
    _group_axis(axes, list(one.arms))


# --- F12 --------------------------------------------------------------------------------------------------------------

_MOST = 4  # panels in a row


def factor(analysis: Analysis) -> Picture | None:
    """F12: training curves with bands for every value of the factor that a study is named after; else None."""
    name = str(analysis.study.about["study"])
    found = [one for one in contrasts(analysis.study) if one.factor == name] if name in FACTORS else []
    epochs = analysis.study.parquet("epochs")
    if not found or epochs is None:
        return None
    title = f"What the {name} changes"
    caption = (
        "Test error against epochs, median over trials with the band from the 10th to the 90th percentile; a panel "
        "for everything else being equal. Below: change of the error after the last epoch, paired by trial, with its "
        "95 % t interval; left of 0 is better."
    )
    groups: dict[str, list[Contrast]] = {}
    for one in found:
        groups.setdefault(one.at.words, []).append(one)
    if len(groups) > _MOST:
        caption += f" Curves: the first {_MOST} of {len(groups)} panels."
    curves = profile_rows(analysis, epochs)
    curves = curves[curves["quantity"] == "test_error_pct"]
    shown = {words: _values(analysis, members) for words, members in list(groups.items())[:_MOST]}
    values = dict.fromkeys(value for cells in shown.values() for value in cells)
    look = dict(zip(values, itertools.cycle(_LINES), strict=False))
    with style():
        rows = 0.13 * len(found) + 0.5  # inches of the changes, below the curves
        figure = Figure(figsize=(PAGE, 2.6 + rows), layout="constrained")
        halves: Any = figure.subfigures(2, 1, height_ratios=(2.6, rows))
        above, below = halves
        panels = np.ravel(above.subplots(1, len(shown), sharey=True))
        for axes, (words, cells) in zip(panels, shown.items(), strict=True):
            _draw_curves(axes, curves, cells, look)
            axes.set_title(label(words), fontsize=6.5)
        panels[0].set_ylabel("test error, %")
        handles = {name: line for axes in panels for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
        legend_above(above, handles.values(), handles.keys())
        changes = _draw_changes(below.subplots(), analysis, found)
        said = ", ".join(f"{row.at} {row.change} {row.mean_pp:+.2f} pp" for row in changes.itertuples(index=False))
        return picture(
            "f12_factor", figure, changes, title=title, caption=caption, alt=f"Change of the error: {said}.",
            source=source_of(analysis.study),
        )  # fmt: skip


def _values(analysis: Analysis, members: Sequence[Contrast]) -> dict[str, Cell]:
    """The arms of a panel by their value of the factor, the plain one first."""
    cells = {value: cell for one in members for value, cell in zip(one.values, one.arms, strict=True)}
    order = list(points(analysis.study))
    return dict(sorted(cells.items(), key=lambda pair: order.index(pair[1])))


def _draw_curves(axes: Axes, curves: pd.DataFrame, cells: dict[str, Cell], look: Mapping[str, tuple[str, str]]) -> None:
    for at, (value, cell) in enumerate(cells.items()):
        of, (colour, marker) = curves[curves["name"] == cell.name], look[value]
        few = max(1, len(of) // 6)
        axes.plot(of["epoch"], of["median"], color=colour, lw=1.0, label=label(value), marker=marker,
                  markevery=(at % few, few), ms=3.5, mec="#ffffff", mew=0.4)  # fmt: skip
        axes.fill_between(of["epoch"], of["p10"], of["p90"], color=colour, alpha=0.18, linewidth=0)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axes.set_xlabel("epoch")


def _draw_changes(axes: Axes, analysis: Analysis, found: Sequence[Contrast]) -> pd.DataFrame:
    rows = []
    for one in found:
        comparison = compared(analysis.study, one.d)
        if comparison is not None:
            lo, hi = comparison.t95
            rows.append((one.at.words, " less ".join(one.values), comparison.mean, lo, hi))
    drawn = pd.DataFrame(rows, columns=["at", "change", "mean_pp", "lo", "hi"])
    places = np.arange(len(drawn))
    bars = np.array([drawn["mean_pp"] - drawn["lo"], drawn["hi"] - drawn["mean_pp"]])
    axes.errorbar(drawn["mean_pp"], places, xerr=bars, color=INK, fmt="o", ms=3, lw=0.9)
    names = [label(f"{row.change}: {row.at}") for row in drawn.itertuples(index=False)]
    axes.set_yticks(places, names, fontsize=6)
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.axvline(0, color=SOFT, lw=0.7)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("change of test error, pp")
    return drawn
