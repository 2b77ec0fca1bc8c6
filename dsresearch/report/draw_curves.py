"""Figures along training: F5 error, loss and distance from the baseline by epoch; F8 divergence of twins by step."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from dsresearch.report.cell import Cell
from dsresearch.report.evidence import Analysis, is_baseline
from dsresearch.report.style import (
    COLUMN,
    CONTROL_COLOUR,
    PAGE,
    Look,
    Picture,
    crowded,
    label,
    legend_above,
    looks,
    picture,
    source_of,
    style,
)
from dsresearch.schema import read_divergence

BANDS = 9  # with more arms than that, bands hide each other

# --- F5 ---------------------------------------------------------------------------------------------------------

_PANELS = {"test_error_pct": "test error, %", "train_loss": "training loss, nats", "abs_diff_pp": "|d|, pp"}


def profiles(analysis: Analysis) -> Picture:
    """F5: test error, training loss and distance from the baseline against epochs, on logarithmic scales."""
    title = "Training profiles"
    caption = (
        "Median over trials, for error and loss with the band from the 10th to the 90th percentile. Logarithmic "
        "scales, so that the last per cents show; what is below half a test picture is drawn there. |d| is the "
        "absolute difference to the baseline of the same trial at the same epoch; grey: the seed control, whose "
        "distance is noise alone. Only the last epoch counts; no best epoch is picked. Arms at their own widths; the "
        "CSV has those of matched sizes too. Arms with residual connections are dashed."
    )
    if why := crowded(analysis.study):
        return Picture("f5_profiles", title, caption, absent=why)
    epochs = analysis.study.parquet("epochs")
    if epochs is None or not len(epochs):
        return Picture("f5_profiles", title, caption, absent="the study keeps no epochs.parquet")
    if epochs["epoch"].nunique() < 2:
        return Picture("f5_profiles", title, caption, absent="one epoch makes no curve; the tables have its errors")
    drawn = profile_rows(analysis, epochs)
    panels = [quantity for quantity in _PANELS if quantity in set(drawn["quantity"])]
    there = set(drawn["name"])
    cells = {cell.name: cell for cell in analysis.study.cells if cell.name in there and cell.match == "width"}
    floor = 50 / analysis.study.n_test  # half a picture, percent
    with style():
        figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
        for place, quantity in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), place + 1)
            shown = drawn[drawn["quantity"] == quantity]
            _draw_profiles(axes, shown, cells, looks(analysis.study.cells), floor if quantity != "train_loss" else 0)
            axes.set_ylabel(_PANELS[quantity])
        known = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
        legend_above(figure, known.values(), known.keys(), handlelength=2.4)
        last = drawn[(drawn["quantity"] == "test_error_pct") & (drawn["epoch"] == drawn["epoch"].max())]
        said = ", ".join(f"{row.name} {row.median:.2f} %" for row in last.itertuples(index=False, name="Row"))
        alt = f"Median test error after the last epoch: {said}."
        return picture(
            "f5_profiles", figure, drawn, title=title, caption=caption, alt=alt, source=source_of(analysis.study)
        )


def _draw_profiles(
    axes: Axes, drawn: pd.DataFrame, cells: Mapping[str, Cell], look: Mapping[Cell, Look], floor: float
) -> None:
    for at, (name, cell) in enumerate(cells.items()):
        of = drawn[drawn["name"] == name].dropna()
        if not len(of):
            continue
        colour, marker, dash = look[cell]
        of = of.assign(**{level: of[level].clip(lower=floor) for level in ("median", "p10", "p90")}) if floor else of
        few = max(1, len(of) // 6)  # a marker at every so many epochs, no two arms at the same ones
        axes.plot(of["epoch"], of["median"], dash, color=colour, lw=1.1, label=label(name), zorder=3,
                  marker="" if cell.control_kind else marker, markevery=(at % few, few), ms=3.5, mec="#ffffff",
                  mew=0.3)  # fmt: skip
        if len(cells) <= BANDS + 1 and not cell.control_kind and not (of["quantity"] == "abs_diff_pp").any():
            axes.fill_between(of["epoch"], of["p10"], of["p90"], color=colour, alpha=0.08, linewidth=0)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_yscale("log")
    lo, hi = axes.get_ylim()
    decades = math.log10(hi / lo)
    ticks = (1,) if decades > 2.5 else (1, 2, 5) if decades > 0.8 else range(1, 10)
    axes.yaxis.set_major_locator(LogLocator(subs=ticks))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if decades < 4:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def profile_rows(analysis: Analysis, epochs: pd.DataFrame) -> pd.DataFrame:
    """Long rows of F5: name, quantity, epoch, median and 10th and 90th percentile over trials.

    Quantities: test_error_pct, train_loss (nats), abs_diff_pp (|d| at that epoch); of the seed control the last only.
    """
    study = analysis.study
    seed = analysis.control("seed")
    cells = [cell for cell in study.cells if not cell.control_kind] + ([seed] if seed else [])
    frame = epochs[epochs["control_kind"].isin(["", "seed"])].copy()
    frame["test_error_pct"] = 100 * frame["test_wrong"] / study.n_test
    keys = ["arm", "control_kind", "match"]
    wide = {key: rows.set_index(["trial", "epoch"]) for key, rows in frame.groupby(keys, observed=True)}
    bases = [wide.get((c.arm, "", c.match)) for c in cells if is_baseline(c) and c.match == "width"]
    base = bases[0] if bases else None
    out: list[dict[str, Any]] = []
    for cell in cells:
        rows = wide.get((cell.arm, cell.control_kind, cell.match))
        if rows is None:
            continue
        quantities = {} if cell.control_kind else {name: rows[name] for name in ("test_error_pct", "train_loss")}
        if base is not None and not is_baseline(cell):
            quantities["abs_diff_pp"] = (rows["test_error_pct"] - base["test_error_pct"]).abs()
        for quantity, values in quantities.items():
            out += _over_trials(cell.name, quantity, values.dropna())
    return pd.DataFrame(out, columns=["name", "quantity", "epoch", "median", "p10", "p90"])


def _over_trials(name: str, quantity: str, values: pd.Series) -> Sequence[dict[str, Any]]:
    levels = values.groupby(level="epoch").quantile([0.1, 0.5, 0.9]).unstack()
    return [
        {"name": name, "quantity": quantity, "epoch": int(epoch), "median": row[0.5], "p10": row[0.1], "p90": row[0.9]}
        for epoch, row in levels.iterrows()
    ]


# --- F8 ---------------------------------------------------------------------------------------------------------

_TWINS = {"bit": "#de8f05", "exact": "#56b4e9", "seed": "#0173b2"}


def divergence(analysis: Analysis) -> Picture:
    """F8: distance of the weights of `bit`, `exact` and `seed` from the baseline's against optimiser steps."""
    title = "How twins part"
    caption = (
        "Distance of a control's weights from the baseline's of the same trial, relative to the norm of the baseline's "
        "weights, against optimiser steps; median and range over trials. `bit` starts one ulp away, `exact` on the "
        "same weights in another formulation, `seed` elsewhere. A twin that stays at 0 is bit-identical and is not "
        "drawn."
    )
    path = analysis.study.folder / "divergence.csv"
    if not path.exists():
        return Picture(
            "f8_divergence", title, caption, absent="the study has no divergence.csv; the study `twins` makes one"
        )
    drawn = _twins(read_divergence(path))
    shown = drawn[drawn["max"] > 0]
    if not len(shown):
        return Picture(
            "f8_divergence", title, caption, absent="every twin is bit-identical to the baseline at every step"
        )
    with style():
        figure = Figure(figsize=(COLUMN, 2.5), layout="constrained")
        axes = figure.add_subplot()
        for kind, of in shown.groupby("control_kind", sort=False):
            colour = _TWINS.get(str(kind), CONTROL_COLOUR)
            axes.plot(of["step"], of["median"].where(of["median"] > 0), "-", color=colour, label=label(str(kind)))
            axes.fill_between(of["step"], of["min"].clip(lower=1e-12), of["max"], color=colour, alpha=0.15, lw=0)
        axes.set_yscale("log")
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("relative distance of the weights")
        legend_above(figure, *axes.get_legend_handles_labels())
        last = drawn[drawn["step"] == drawn["step"].max()]
        said = ", ".join(f"{row.control_kind} {row.median:.2g}" for row in last.itertuples(index=False))
        return picture(
            "f8_divergence", figure, drawn, title=title, caption=caption, alt=f"Distance at the last step: {said}.",
            source=source_of(analysis.study),
        )  # fmt: skip


def _twins(rows: pd.DataFrame) -> pd.DataFrame:
    over = rows.groupby(["control_kind", "step"], sort=True)["relative_distance"]
    return over.agg(["median", "min", "max", "count"]).reset_index()
