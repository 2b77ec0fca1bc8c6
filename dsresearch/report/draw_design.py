"""Figures of what a design can say: F3 why |d| misleads, F9 chances of each word, F10 verdict against margin."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dsresearch.references.hybrid import DESIGNS, DIFFERENCES
from dsresearch.report.cell import Cell
from dsresearch.report.evidence import Analysis
from dsresearch.report.planning import chances_table
from dsresearch.report.style import (
    COLUMN,
    INK,
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
from dsresearch.report.words import WORD_COLOURS
from dsresearch.statistics import Interval
from dsresearch.statistics.power import PLANNED_ERROR

_DRAWS = 20_000  # sign flips and resamplings of the seed control behind F3


# --- F3 ---------------------------------------------------------------------------------------------------------


def null(analysis: Analysis) -> Picture:
    """F3: what readings A and B are for two identical formulations, from the seed control, and where rows lie in it."""
    title = "What |d| is when nothing differs"
    caption = (
        "Distribution of both readings of the paper's statistic for two identical formulations: A (mean of |d|) and B "
        "(|mean of d|) of the seed control, resampled over trials with random signs. Ticks with a mark: this study's "
        "arms, those of nearly one value above each other; red ticks at the top: the paper's values. A is never near "
        "0, however equal the formulations."
    )
    if why := crowded(analysis.study):
        return Picture("f3_null", title, caption, absent=why)
    seed = analysis.d(analysis.control("seed"))
    if len(seed) < 2 or not np.any(seed):
        why = (
            "no seed control" if not len(seed) else "one trial" if len(seed) < 2 else "a seed control without variance"
        )
        return Picture("f3_null", title, caption, absent=f"{why}: there is no noise to resample")
    a, b = _resampled(seed)
    arms = {
        cell: found for cell, found in analysis.comparisons.items() if not cell.control_kind and cell.match == "width"
    }
    paper = {name: DIFFERENCES[name] for name in {cell.setup for cell in arms} & set(DIFFERENCES) - {"separable"}}
    top = max([*a, *b, *(max(found.a, found.b) for found in arms.values()), *paper.values()]) * 1.05
    bins = _bins(top, 100 / analysis.study.n_test / len(seed))
    look = looks(analysis.study.cells)
    values_of = {"A": {cell: found.a for cell, found in arms.items()}, "B": {c: found.b for c, found in arms.items()}}
    with style():
        figure = Figure(figsize=(COLUMN, 3.3), layout="constrained")
        panels = figure.subplots(2, 1, sharex=True)
        rows = [
            (reading, *row)
            for axes, reading, null in zip(panels, "AB", (a, b), strict=True)
            for row in _draw_reading(axes, reading, null, bins, values_of[reading], look, paper)
        ]
        panels[-1].set_xlabel("percentage points")
        handles, names = panels[0].get_legend_handles_labels()
        legend_above(figure, handles, names, handlelength=1.2)
        drawn = pd.DataFrame(rows, columns=["reading", "what", "name", "value_pp", "density"])
        alt = f"For identical formulations A averages {np.mean(a):.2f} and B {np.mean(b):.2f} percentage points here."
        return picture(
            "f3_null", figure, drawn, title=title, caption=caption, alt=alt, source=source_of(analysis.study)
        )


def _draw_reading(
    axes: Axes,
    reading: str,
    null: np.ndarray,
    bins: np.ndarray,
    arms: Mapping[Cell, float],
    look: Mapping[Cell, Look],
    paper: Mapping[str, float],
) -> list[tuple[str, str, float, float]]:
    """One reading's distribution with ticks for arms and paper; what is drawn: what, name, value, density."""
    share, _ = np.histogram(null, bins)
    density = share / len(null) / (bins[1] - bins[0])
    axes.stairs(density, bins, fill=True, color="#b8c4cf", alpha=0.9, linewidth=0, label="identical formulations")
    high = float(density.max())
    _draw_arms(axes, arms, look, high, near=0.02 * bins[-1])
    papers = sorted(paper.items(), key=lambda item: item[1])
    for _, said in papers:
        axes.plot([said] * 2, [1.08 * high, 1.22 * high], color="#b3261e", lw=1.2)
    if paper:
        axes.plot([], [], color="#b3261e", lw=1.2, label="the paper's values")
    axes.set_ylim(0, 1.3 * high)
    axes.set_yticks([])
    axes.set_ylabel({"A": "A = mean |d|", "B": "B = |mean d|"}[reading])
    middles = (bins[:-1] + bins[1:]) / 2
    return [
        *(("identical", "none", float(at), float(value)) for at, value in zip(middles, density, strict=True)),
        *(("here", cell.name, value, np.nan) for cell, value in arms.items()),
        *(("paper", name, said, np.nan) for name, said in papers),
    ]


def _draw_arms(axes: Axes, values: Mapping[Cell, float], look: Mapping[Cell, Look], high: float, near: float) -> None:
    """A tick an arm with its mark at the upper end; the ones that would hide each other stand on each other."""
    lane = lanes(list(values.values()), near)
    tall = min(0.28, 1.0 / (1 + max(lane, default=0))) * high
    for at, (cell, value) in zip(lane, values.items(), strict=True):
        colour, marker, _ = look[cell]
        axes.plot([value] * 2, [at * tall, (at + 0.85) * tall], color=colour, lw=1.4, label=label(cell.name),
                  marker=marker, markevery=[1], ms=4, mec="#ffffff", mew=0.4)  # fmt: skip


def lanes(values: Sequence[float], near: float) -> list[int]:
    """For each value the lowest lane, counted from 0, in which no other is nearer than `near`."""
    out = [0] * len(values)
    last: list[float] = []  # the greatest value of every lane so far
    for place in sorted(range(len(values)), key=values.__getitem__):
        free = next((at for at, value in enumerate(last) if values[place] - value >= near), len(last))
        last[free : free + 1] = [values[place]]
        out[place] = free
    return out


def _bins(top: float, step: float) -> np.ndarray:
    """About fifty bins of a whole, even number of steps: both readings move in steps of one picture over all trials."""
    width = 2 * step * max(1, round(top / 50 / (2 * step)))
    return np.arange(-step / 2, top + width, width)


def _resampled(seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Readings A and B of resampled trials with random signs: identical formulations have no preferred sign."""
    rng = np.random.default_rng(0)
    drawn = seed[rng.integers(0, len(seed), (_DRAWS, len(seed)))] * rng.choice([-1.0, 1.0], (_DRAWS, len(seed)))
    return np.abs(drawn).mean(axis=1), np.abs(drawn.mean(axis=1))


# --- F9 ---------------------------------------------------------------------------------------------------------


def power(analysis: Analysis) -> Picture:
    """F9: chance of each word against the number of trials, for 6,000, 10,000 and our test pictures."""
    study, title = analysis.study, "What a design of so many trials can say"
    drawn = chances_table(study.protocol, study.n_test)
    caption = (
        "Simulated chance of each word where the hypothesis is true (the hybrid equals the baseline, the rivals lie "
        "where the paper has them), against the number of trials; every arm and both gated controls independent and "
        f"normal, before the cap to CONSISTENT, INVALID counted as undecided. A plan: every arm errs "
        f"{PLANNED_ERROR:g} %, whatever this study's do. Circle: the paper's design, 10 trials of 6,000 "
        "pictures; star: the confirmatory one, 20 of 10,000."
    )
    sizes = list(dict.fromkeys(drawn["n_test"]))
    with style():
        figure = Figure(figsize=(PAGE, 2.2), layout="constrained")
        panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for axes, n_test in zip(panels, sizes, strict=True):
            of = drawn[drawn["n_test"] == n_test]
            for word, dash in (("SUPPORTED", "-"), ("NOT SUPPORTED", ":"), ("UNDECIDED", "--")):
                axes.plot(of["trials"], of[word], dash, marker=".", color=WORD_COLOURS[word], label=word)
            for (trials, pictures), mark in zip(DESIGNS.values(), "o*", strict=True):
                at = of[(of["trials"] == trials) & (n_test == pictures)]
                style_of = {"markerfacecolor": "none", "markeredgecolor": INK, "ms": 9}
                axes.plot(at["trials"], at["SUPPORTED"], mark, **style_of)
            many = f"{n_test:,} test pictures" + (", as many as here" if n_test == study.n_test else "")
            axes.set_title(f"{many}\nplanned, at {PLANNED_ERROR:g} % error", fontsize=7)
            axes.set_xlabel("trials")
            axes.set_ylim(-0.04, 1.04)
        panels[0].set_ylabel("chance")
        handles, names = panels[0].get_legend_handles_labels()
        legend_above(figure, handles, names)
        said = [
            f"{100 * row.SUPPORTED:.0f} % for {row.trials} trials of {row.n_test}"
            for row in drawn.itertuples(index=False)
        ]
        alt = "Chance of SUPPORTED where the hypothesis is true: " + ", ".join(said) + "."
        return picture("f9_power", figure, drawn, title=title, caption=caption, alt=alt, source=source_of(study))


# --- F10 --------------------------------------------------------------------------------------------------------


def margin(analysis: Analysis) -> Picture:
    """F10: the word on every reading had another margin been fixed. The margin of the protocol decides."""
    study, title = analysis.study, "The verdict against the margin"
    caption = (
        f"The word that the rule would give at other margins; the margin of the protocol, ±{study.protocol.margin:g} "
        "pp, is the dashed line and the only one that counts. A margin chosen after the result proves nothing."
    )
    if not analysis.readings():
        return Picture("f10_margin", title, caption, absent="the study has no hybrid arm, so that there is no verdict")
    words = analysis.words_by_margin()
    if words is None:
        found = next(iter(analysis.verdicts.values())).word
        return Picture("f10_margin", title, caption, absent=f"the verdict is {found} at every margin")
    drawn = pd.DataFrame(words, columns=["reading", "margin_pp", "word"])
    if drawn["word"].nunique() == 1:
        word, most = drawn["word"].iloc[0], drawn["margin_pp"].max()
        why = f"the word is {word} on every reading at every margin up to {most:g} pp"
        return Picture("f10_margin", title, caption, absent=why)
    readings = list(dict.fromkeys(drawn["reading"]))
    with style():
        figure = Figure(figsize=(COLUMN, 0.95 + 0.3 * len(readings)), layout="constrained")
        axes = figure.add_subplot()
        for at, reading in enumerate(readings):
            _draw_words(axes, drawn[drawn["reading"] == reading], at)
        axes.axvline(study.protocol.margin, color=INK, linestyle="--", linewidth=0.9)
        axes.set_yticks(range(len(readings)), [label(reading) for reading in readings])
        axes.set_ylim(len(readings) - 0.5, -0.5)
        axes.grid(visible=False)
        axes.set_xlim(0, float(drawn["margin_pp"].max()))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("margin, percentage points")
        for word in dict.fromkeys(drawn["word"]):
            axes.fill_between([], [], [], color=WORD_COLOURS[word], label=word)
        legend_above(figure, *axes.get_legend_handles_labels())
        alt = "; ".join(f"{reading}: {_spans(drawn[drawn['reading'] == reading])}" for reading in readings) + "."
        return picture("f10_margin", figure, drawn, title=title, caption=caption, alt=alt, source=source_of(study))


def _runs(of: pd.DataFrame) -> list[tuple[str, Interval]]:
    """Neighbouring margins of one word as one stretch."""
    out: list[tuple[str, Interval]] = []
    for row in of.itertuples(index=False):
        if out and out[-1][0] == row.word:
            out[-1] = (row.word, Interval(out[-1][1].lo, row.margin_pp))
        else:
            out.append((row.word, Interval(row.margin_pp, row.margin_pp)))
    return out


def _draw_words(axes: Axes, of: pd.DataFrame, at: int) -> None:
    step = float(of["margin_pp"].diff().median())
    for word, span in _runs(of):
        axes.barh(at, span.hi - span.lo + step, left=span.lo - step / 2, height=0.55, color=WORD_COLOURS[word], lw=0)


def _spans(of: pd.DataFrame) -> str:
    return ", ".join(f"{word} from {span.lo:.2f} to {span.hi:.2f} pp" for word, span in _runs(of))
