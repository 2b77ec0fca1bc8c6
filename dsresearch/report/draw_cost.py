"""Figures beyond one error rate: F6 error against size, F7 on which pictures formulations err alike."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from dsresearch.report.cell import Cell
from dsresearch.report.evidence import Analysis
from dsresearch.report.mechanism import discordance_between
from dsresearch.report.style import (
    PAGE,
    SOFT,
    Picture,
    crowded,
    label,
    looks,
    picture,
    source_of,
    style,
)
from dsresearch.report.table4 import CONTROLS
from dsresearch.report.table_noise import excess_rows

# --- F6 ---------------------------------------------------------------------------------------------------------

_SIZES = {"params": "trainable parameters", "macs_fwd": "multiply-adds a picture"}


def cost(analysis: Analysis) -> Picture:
    """F6: mean test error against parameters and multiply-adds; the line joins what nothing smaller beats."""
    study, title = analysis.study, "Error against size"
    caption = (
        "Mean test error after the last epoch with its standard deviation over trials, against trainable parameters "
        "and multiply-adds of one forward pass of a picture. The line joins the arms that no smaller arm beats; "
        "where the bars overlap it is drawn by noise. Arms of one size stand side by side around it."
    )
    if why := crowded(study):
        return Picture("f6_cost", title, caption, absent=why)
    rows, cells = [], []
    for cell in study.cells:
        of = study.rows(cell)
        if cell.control_kind or not len(of):
            continue
        percent = 100 * of["test_wrong"] / of["n_test"]
        cells.append(cell)
        spread = float(percent.std(ddof=1)) if len(of) > 1 else np.nan
        rows.append((cell.name, int(of["params"].iloc[0]), int(of["macs_fwd"].iloc[0]), float(percent.mean()), spread))
    if not rows:
        return Picture("f6_cost", title, caption, absent="no arm has a result")
    drawn = pd.DataFrame(rows, columns=["name", "params", "macs_fwd", "test_error_mean_pct", "test_error_sd_pp"])
    look = looks(cells)
    with style():
        figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (size, words) in zip(panels, _SIZES.items(), strict=True):
            front = drawn.sort_values([size, "test_error_mean_pct"])
            front = front[front["test_error_mean_pct"] < front["test_error_mean_pct"].cummin().shift(fill_value=np.inf)]
            axes.plot(front[size], front["test_error_mean_pct"], color=SOFT, lw=0.8, drawstyle="steps-post", zorder=1)
            for cell, row, x in zip(cells, drawn.to_dict("records"), _apart(drawn[size]), strict=True):
                colour, marker = look[cell]
                y, bar = row["test_error_mean_pct"], row["test_error_sd_pp"]
                axes.errorbar(x, y, None if np.isnan(bar) else bar, color=colour, marker=marker, ms=5, lw=0.8,
                              mec="#ffffff", mew=0.5, ls="", label=label(cell.name))  # fmt: skip
            _log_sizes(axes)
            axes.set_xlabel(words)
        panels[0].set_ylabel("test error, %")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend([h[0] for h in handles], names, loc="outside upper center", ncols=5, handlelength=1)
        small, large = drawn.loc[drawn["params"].idxmin()], drawn.loc[drawn["params"].idxmax()]
        alt = (
            f"From {small['name']} with {small['params']:,} parameters to {large['name']} with {large['params']:,}; "
            f"mean errors from {drawn['test_error_mean_pct'].min():.2f} to {drawn['test_error_mean_pct'].max():.2f} %."
        )
        return picture("f6_cost", figure, drawn, title=title, caption=caption, alt=alt, source=source_of(study))


def _apart(sizes: pd.Series) -> pd.Series:
    """Where to draw each size on a logarithmic axis: equal ones side by side, so that no bar hides another."""
    step = max((sizes.max() / sizes.min()) ** 0.012, 1.002)
    among = sizes.groupby(sizes)
    return sizes * step ** (among.cumcount() - (among.transform("size") - 1) / 2)


def _log_sizes(axes: Axes) -> None:
    """A logarithmic axis with plain numbers, however narrow."""
    axes.set_xscale("log")
    lo, hi = axes.get_xlim()
    axes.set_xlim(lo / 1.05, hi * 1.05)
    at = np.geomspace(lo, hi, 4)
    digits = 10.0 ** np.floor(np.log10(at) - 1)
    axes.set_xticks(np.unique(np.round(at / digits) * digits))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()


def _short(value: float) -> str:
    for unit, word in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:.3g}{word}"
    return f"{value:.3g}"


# --- F7 ---------------------------------------------------------------------------------------------------------


def similarity(analysis: Analysis) -> Picture:
    """F7: mean discordance of every two arms, and each arm's excess over the seed control of its trials."""
    study, title = analysis.study, "On which pictures formulations err alike"
    caption = (
        "Left: share of the test pictures that exactly one of two models of a trial gets wrong, mean over trials, in "
        "per cent; a control stands beside the baseline that it repeats. Right: discordance with the baseline less "
        "that of the seed control of the same trial, one dot a trial with the mean as a bar: right of 0, more unlike "
        "the baseline than the baseline trained anew."
    )
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
            _draw_excess(panels[1], excess, cells)
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
    axes.set_yticks(places, [label(name) for name in names], fontsize=5.5, rotation=0)
    turned = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if small else {"rotation": 90}
    axes.set_xticks(places, [label(name) for name in names], fontsize=5.5 if small else 4.5, **turned)
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0)
    axes.grid(visible=False)


def _draw_excess(axes: Axes, excess: pd.DataFrame, cells: list[Cell]) -> None:
    look = looks(cells)
    shown = [cell for cell in cells if cell.name in set(excess["name"])]
    for at, cell in enumerate(shown):
        values = excess.loc[excess["name"] == cell.name, "discordance_pct"]
        axes.plot(values, [at] * len(values), ".", color=look[cell][0], ms=4, alpha=0.6, mew=0)
        axes.plot([values.mean()] * 2, [at - 0.32, at + 0.32], color=look[cell][0], lw=1.8)
    axes.axvline(0, color=SOFT, lw=0.7)
    axes.set_yticks(range(len(shown)), [label(cell.name) for cell in shown], fontsize=5.5)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("excess over seed, pp")
