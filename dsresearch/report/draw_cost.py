"""Figures beyond one error rate: F6 error against size, F7 on which pictures formulations err alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from matplotlib.transforms import offset_copy

from dsresearch.report.cell import Cell
from dsresearch.report.evidence import Analysis
from dsresearch.report.mechanism import discordance_between
from dsresearch.report.study import Study
from dsresearch.report.style import (
    INK,
    PAGE,
    SOFT,
    Look,
    Picture,
    crowded,
    label,
    legend_above,
    looks,
    matched_words,
    picture,
    source_of,
    style,
)
from dsresearch.report.table_noise import excess_rows
from dsresearch.studies import CONTROLS

# --- F6 ---------------------------------------------------------------------------------------------------------

_SIZES = {"params": "trainable parameters", "macs_fwd": "multiply-adds a picture"}
_MATCH_OF = {"params": "params", "macs_fwd": "macs"}
_SPREAD = 12.0  # printer's points between the first and the last arm of one size


def cost(analysis: Analysis) -> Picture:
    """F6: mean test error against parameters and multiply-adds; the line joins what nothing smaller beats."""
    study, title = analysis.study, "Error against size"
    caption = (
        "Mean test error after the last epoch with its standard deviation over trials, against trainable parameters "
        "and multiply-adds of one forward pass of a picture. The line joins the arms that no smaller arm beats; "
        "where the bars overlap it is drawn by noise. Arms of one size stand side by side, a few points off their "
        "true place, which a tick under them marks. Hollow: the width matched to the baseline in the panel's own "
        "measure of size; an arm whose own width that is stands once."
    )
    if why := crowded(study):
        return Picture("f6_cost", title, caption, absent=why)
    drawn = _sizes(study)
    if not len(drawn):
        return Picture("f6_cost", title, caption, absent="no arm has a result")
    known = {cell.name: cell for cell in study.cells if not _stands_at_own_width(study, cell)}
    look = looks(study.cells)
    with style():
        figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (size, words) in zip(panels, _SIZES.items(), strict=True):
            here = [name for name, cell in known.items() if cell.match in ("width", _MATCH_OF[size])]
            shown = drawn[drawn["name"].isin(here)]
            _draw_front(axes, shown[size], shown["test_error_mean_pct"])
            _draw_sizes(figure, axes, shown, size, {name: (known[name], look[known[name]]) for name in shown["name"]})
            axes.set_xlabel(words)
        spread = drawn["test_error_sd_pp"].fillna(0)
        lo, hi = (drawn["test_error_mean_pct"] - spread).min(), (drawn["test_error_mean_pct"] + spread).max()
        panels[0].set_ylim(lo - 0.08 * (hi - lo or 1), hi + 0.08 * (hi - lo or 1))  # marks set aside do not count
        panels[0].set_ylabel("test error, %")
        arms = {cell.arm: look[cell] for cell in known.values() if cell.name in set(drawn["name"])}
        legend_above(figure, [Line2D([], [], **_mark(of)) for of in arms.values()], map(label, arms), handlelength=1)
        small, large = drawn.loc[drawn["params"].idxmin()], drawn.loc[drawn["params"].idxmax()]
        alt = (
            f"From {small['name']} with {small['params']:,} parameters to {large['name']} with {large['params']:,}; "
            f"mean errors from {drawn['test_error_mean_pct'].min():.2f} to {drawn['test_error_mean_pct'].max():.2f} %."
        )
        return picture("f6_cost", figure, drawn, title=title, caption=caption, alt=alt, source=source_of(study))


def _stands_at_own_width(study: Study, cell: Cell) -> bool:
    """Whether a matched arm is the very model of the arm's own width, which is drawn already."""
    of = study.namesakes.get((cell.arm, cell.control_kind, cell.match))
    return of is not None and of[2] == "width"


def _sizes(study: Study) -> pd.DataFrame:
    """A row an arm: its sizes, and mean and spread of its test error."""
    rows = []
    for cell in study.cells:
        of = study.rows(cell)
        if cell.control_kind or not len(of):
            continue
        percent = 100 * of["test_wrong"] / of["n_test"]
        spread = float(percent.std(ddof=1)) if len(of) > 1 else np.nan
        rows.append((cell.name, int(of["params"].iloc[0]), int(of["macs_fwd"].iloc[0]), float(percent.mean()), spread))
    return pd.DataFrame(rows, columns=["name", "params", "macs_fwd", "test_error_mean_pct", "test_error_sd_pp"])


def _mark(look: Look, hollow: bool = False) -> dict[str, Any]:
    """How an arm's mark is drawn, in the legend and in the panels."""
    face, edge, width = ("#ffffff", look.colour, 0.8) if hollow else (look.colour, "#ffffff", 0.4)
    return {"color": look.colour, "marker": look.marker, "ms": 5, "mfc": face, "mec": edge, "mew": width, "ls": ""}


def _draw_front(axes: Axes, sizes: pd.Series, errors: pd.Series) -> None:
    front = pd.DataFrame({"size": sizes, "error": errors}).sort_values(["size", "error"])
    front = front[front["error"] < front["error"].cummin().shift(fill_value=np.inf)]
    axes.plot(front["size"], front["error"], color=SOFT, lw=0.8, drawstyle="steps-post", zorder=1)


def _draw_sizes(
    figure: Figure, axes: Axes, shown: pd.DataFrame, size: str, known: Mapping[str, tuple[Cell, Look]]
) -> None:
    _log_sizes(axes, shown[size])
    aside = _apart(shown[size])
    for row, points in zip(shown.to_dict("records"), aside, strict=True):
        cell, look = known[row["name"]]
        bar = None if np.isnan(row["test_error_sd_pp"]) else row["test_error_sd_pp"]
        place = offset_copy(axes.transData, figure, points, units="points")
        mark = _mark(look, hollow=cell.match != "width")
        axes.errorbar(row[size], row["test_error_mean_pct"], bar, elinewidth=0.8, transform=place, **mark)
    crowds = shown.loc[aside != 0, size].unique()
    axes.plot(crowds, [0] * len(crowds), "|", color=INK, ms=8, mew=0.9, transform=axes.get_xaxis_transform())


def _apart(sizes: pd.Series) -> pd.Series:
    """How far to the side of its size to draw each arm, printer's points: those of one size side by side around it."""
    among = sizes.groupby(sizes)
    several = among.transform("size")
    step = (_SPREAD / (several - 1).clip(lower=1)).clip(upper=4.0)
    return step * (among.cumcount() - (several - 1) / 2)


def _log_sizes(axes: Axes, sizes: pd.Series) -> None:
    """A logarithmic axis with plain numbers, however narrow."""
    axes.set_xscale("log")
    lo, hi = float(sizes.min()), float(sizes.max())
    room = max((hi / lo) ** 0.08, 1.02)
    axes.set_xlim(lo / room, hi * room)
    axes.set_xticks(_size_ticks(lo, hi))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()


def _size_ticks(lo: float, hi: float) -> np.ndarray:
    """Three or four places of few digits from the least size to the greatest."""
    if hi < 2 * lo:
        ticks = np.asarray(MaxNLocator(3).tick_values(lo, hi))
        return ticks if lo < hi else np.array([lo])
    at = np.geomspace(lo, hi, 4)
    digits = 10.0 ** np.floor(np.log10(at) - 1)
    return np.unique(np.round(at / digits) * digits)


def _short(value: float) -> str:
    for unit, word in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:.4g}{word}"
    return f"{value:.4g}"


# --- F7 ---------------------------------------------------------------------------------------------------------


def similarity(analysis: Analysis) -> Picture:
    """F7: mean discordance of every two arms, and each arm's excess over the seed control of its trials."""
    study, title = analysis.study, "On which pictures formulations err alike"
    caption = (
        "Left: share of the test pictures that exactly one of two models of a trial gets wrong, mean over trials, in "
        "per cent; a control stands beside the baseline that it repeats. Right: discordance with the baseline less "
        "that of the seed control of the same trial, one dot a trial with the mean as a bar: right of 0, more unlike "
        "the baseline than the baseline trained anew."
    ) + matched_words(study.cells)
    if why := crowded(study):
        return Picture("f7_similarity", title, caption, absent=why)
    if analysis.kept is None:
        return Picture("f7_similarity", title, caption, absent="the study keeps no predictions.parquet")
    arms = [cell for cell in study.cells if not cell.control_kind and len(study.places(cell))]
    controls = [cell for kind in CONTROLS if kind != "split" and (cell := analysis.control(kind)) in analysis.pairs]
    cells = [cell for cell in [*arms, *controls] if cell is not None and len(study.places(cell))]
    grid = _grid(analysis, cells)
    excess = excess_rows(analysis)
    drawn = pd.concat([grid, excess.assign(to="excess over seed")], ignore_index=True)
    if len(cells) < 2 or grid["discordance_pct"].isna().all():
        return Picture("f7_similarity", title, caption, absent="no two models of a trial kept their predictions")
    with style():
        wide = bool(len(excess))
        figure = Figure(figsize=(PAGE, max(2.4, 1.0 + 0.2 * len(cells))), layout="constrained")
        panels = figure.subplots(1, 2 if wide else 1, squeeze=False, width_ratios=[1.35, 1] if wide else [1])[0]
        _draw_grid(panels[0], grid, [cell.name for cell in cells])
        if wide:
            _draw_excess(panels[1], excess, cells, looks(study.cells))
        off = grid[grid["name"] != grid["to"]].dropna(subset="discordance_pct")
        alt = (
            f"Discordance of two models from {off['discordance_pct'].min():.2f} to "
            f"{off['discordance_pct'].max():.2f} %."
            if len(off)
            else "One model a trial."
        )
        return picture("f7_similarity", figure, drawn, title=title, caption=caption, alt=alt, source=source_of(study))


def _grid(analysis: Analysis, cells: list[Cell]) -> pd.DataFrame:
    trials, kept = analysis.study.protocol.trials, analysis.kept or {}
    share: dict[tuple[int, int], float] = {}
    for i, one in enumerate(cells):
        for j, two in enumerate(cells[: i + 1]):
            share[i, j] = share[j, i] = 100 * discordance_between(one, two, trials, kept)
    rows = [(cells[i].name, cells[j].name, np.nan, share[i, j]) for i in range(len(cells)) for j in range(len(cells))]
    return pd.DataFrame(rows, columns=["name", "to", "trial", "discordance_pct"])


def _draw_grid(axes: Axes, grid: pd.DataFrame, names: list[str]) -> None:
    table = grid.pivot(index="name", columns="to", values="discordance_pct").loc[names, names]
    shown = table.mask(np.triu(np.ones(table.shape, bool), 1))
    small = len(names) <= 14
    sns.heatmap(shown, ax=axes, cmap="crest", annot=small, fmt=".1f", annot_kws={"fontsize": 5}, linewidths=0.4,
                linecolor="#ffffff", cbar_kws={"label": "discordance, %", "shrink": 0.7}, vmin=0,
                rasterized=not small)  # fmt: skip
    places = [at + 0.5 for at in range(len(names))]
    axes.set_yticks(places, [label(name) for name in names], fontsize=6, rotation=0)
    turned = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if small else {"rotation": 90}
    axes.set_xticks(places, [label(name) for name in names], fontsize=6 if small else 5, **turned)
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0)
    axes.grid(visible=False)


def _draw_excess(axes: Axes, excess: pd.DataFrame, cells: list[Cell], look: Mapping[Cell, Look]) -> None:
    shown = [cell for cell in cells if cell.name in set(excess["name"])]
    for at, cell in enumerate(shown):
        values = excess.loc[excess["name"] == cell.name, "discordance_pct"]
        axes.plot(values, [at] * len(values), ".", color=look[cell].colour, ms=4, alpha=0.6, mew=0)
        axes.plot([values.mean()] * 2, [at - 0.32, at + 0.32], color=look[cell].colour, lw=1.8)
    axes.axvline(0, color=SOFT, lw=0.7)
    axes.set_yticks(range(len(shown)), [label(cell.name) for cell in shown], fontsize=6)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("excess over seed, pp")
