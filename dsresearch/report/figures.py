"""Figures as bytes: PDF and PNG that are the same for the same rows, each with the CSV of what is drawn.

A figure holds no date and no path; intervals are computed here, never bootstrapped by the drawing library.
"""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dsresearch.report.evidence import Analysis
from dsresearch.report.study import one_line
from dsresearch.report.table4 import CONTROLS, paper_value

_METADATA: Mapping[str, Mapping[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


@contextmanager
def _style() -> Iterator[None]:
    """The project's look, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        sns.set_theme(style="whitegrid", palette="colorblind", font="DejaVu Sans")
        mpl.rcParams.update(
            {
                "grid.linewidth": 0.6,
                "axes.linewidth": 0.8,
                "pdf.compression": 6,
                "figure.dpi": 100,
                "savefig.dpi": 150,
                "axes.titlesize": "medium",
            }
        )
        yield


def _files(name: str, figure: Figure, drawn: pd.DataFrame) -> dict[str, bytes]:
    """PDF, PNG and CSV of one figure by file name."""
    out = {f"{name}.csv": drawn.to_csv(index=False, lineterminator="\n", float_format="%.6f").encode()}
    for kind, metadata in _METADATA.items():
        sink = io.BytesIO()
        figure.savefig(sink, format=kind, metadata=dict(metadata))
        out[f"{name}.{kind}"] = sink.getvalue()
    return out


def _title(text: str, width: int) -> str:
    """A caption over a figure, broken into lines of so many characters."""
    return "\n".join(_label(line) for line in textwrap.wrap(one_line(text), width))


def _label(text: str) -> str:
    """A user's name as a label: no mathematics, no character that the font lacks."""
    shown = "".join(c if ord(c) < 0x250 else "?" for c in one_line(text))
    return shown.replace("\\", "/").replace("$", r"\$")


def forest(analysis: Analysis) -> dict[str, bytes]:
    """F2: signed mean difference of every arm with its two intervals against the margin; controls on top."""
    drawn = _forest_rows(analysis)
    if not len(drawn):
        return {}  # no pair, no difference to draw
    margin = analysis.study.protocol.margin
    with _style():
        figure = Figure(figsize=(7.5, 1.6 + 0.36 * len(drawn)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvspan(-margin, margin, color="0.9", zorder=0, label=f"margin ±{margin:g} pp")
        axes.axvline(0, color="0.4", linewidth=0.8)
        _draw_intervals(axes, drawn, analysis.study.protocol.alpha)
        axes.set_yticks(range(len(drawn)), [_label(name) for name in drawn["name"]])
        axes.set_ylim(len(drawn) - 0.5, -0.5)
        axes.set_xlabel("test error less the baseline's, percentage points")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=3, fontsize=7)
        axes.set_title(_title(analysis.study.caption(), 100), fontsize=6)
        return _files("f2_forest", figure, drawn)


def _forest_rows(analysis: Analysis) -> pd.DataFrame:
    controls = [cell for kind in CONTROLS if (cell := analysis.control(kind)) is not None]
    cells = [*controls, *(cell for cell in analysis.study.cells if not cell.control_kind)]
    rows = []
    for cell in cells:
        found = analysis.comparisons.get(cell)
        if found is None:
            continue
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
    return pd.DataFrame(rows, columns=list(columns))


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else float("nan")


def _draw_intervals(axes: Axes, drawn: pd.DataFrame, alpha: float) -> None:
    colours = dict(zip(("control", "arm", "paper"), sns.color_palette("colorblind"), strict=False))
    for at, row in enumerate(drawn.itertuples(index=False)):
        colour = colours["control" if row.role == "control" else "arm"]
        axes.plot([row.t95_lo, row.t95_hi], [at, at], color=colour, linewidth=1.2, solid_capstyle="butt")
        axes.plot([row.t_tost_lo, row.t_tost_hi], [at, at], color=colour, linewidth=3.0, solid_capstyle="butt")
        axes.plot([row.mean_diff_pp], [at], "o", color=colour, markersize=5)
        for value in (-row.paper_abs_diff_pp, row.paper_abs_diff_pp):
            axes.plot([value], [at], "D", markerfacecolor="none", markeredgecolor=colours["paper"], markersize=5)
    axes.plot([], [], "o", color=colours["control"], label="control")
    axes.plot([], [], "o", color=colours["arm"], label="arm")
    axes.plot([], [], color="0.3", linewidth=3.0, label=f"{100 - 200 * alpha:g} % interval (equivalence)")
    axes.plot([], [], color="0.3", linewidth=1.2, label="95 % interval")
    axes.plot([], [], "D", markerfacecolor="none", markeredgecolor=colours["paper"], label="paper, either sign")


def profiles(analysis: Analysis) -> dict[str, bytes]:
    """F5: test error, training loss and distance from the baseline against epochs; nothing without epochs.parquet."""
    epochs = analysis.study.parquet("epochs")
    if epochs is None or not len(epochs):
        return {}
    drawn = _profile_rows(analysis, epochs)
    panels = _panels(drawn)
    with _style():
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        names = list(dict.fromkeys(drawn["name"]))
        colours = sns.color_palette("husl" if len(names) > 10 else "colorblind", len(names))
        for place, (quantity, label) in enumerate(panels.items()):
            axes = figure.add_subplot(1, len(panels), place + 1)
            for name, colour in zip(names, colours, strict=True):
                of = drawn[(drawn["name"] == name) & (drawn["quantity"] == quantity)].dropna()
                axes.plot(of["epoch"], of["median"], color=colour, linewidth=1.2, label=_label(name))
                axes.fill_between(of["epoch"], of["p10"], of["p90"], color=colour, alpha=0.15, linewidth=0)
            axes.set_xlabel("epochs")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylabel(label)
            if quantity == "train_loss":
                axes.set_yscale("log")  # losses span decades
            else:
                axes.set_ylim(bottom=0)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7)
        title = f"{analysis.study.caption()} Median over trials, band from the 10th to the 90th percentile."
        figure.suptitle(_title(title, 180), fontsize=6)
        return _files("f5_profiles", figure, drawn)


def _panels(drawn: pd.DataFrame) -> dict[str, str]:
    """The quantities that there is something to draw of, with their labels: a baseline alone has no differences."""
    labels = {"test_error_pct": "test error, %", "train_loss": "training loss", "abs_diff_pp": "|d|, pp"}
    return {quantity: label for quantity, label in labels.items() if quantity in set(drawn["quantity"])}


def _profile_rows(analysis: Analysis, epochs: pd.DataFrame) -> pd.DataFrame:
    """Long rows: arm, quantity, epoch, median and 10th and 90th percentile over trials."""
    study = analysis.study
    cells = [cell for cell in study.cells if not cell.control_kind]
    bases = [cell.arm for cell in cells if cell.role == "baseline" and cell.match == "width"]
    frame = epochs[epochs["control_kind"] == ""].copy()
    frame["test_error_pct"] = 100 * frame["test_wrong"] / study.n_test
    wide = {key: rows.set_index(["trial", "epoch"]) for key, rows in frame.groupby(["arm", "match"])}
    base = wide.get((bases[0], "width")) if bases else None
    out: list[dict[str, Any]] = []
    for cell in cells:
        rows = wide.get((cell.arm, cell.match))
        if rows is None:
            continue
        quantities = {name: rows[name] for name in ("test_error_pct", "train_loss")}
        if base is not None and cell.role != "baseline":
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
