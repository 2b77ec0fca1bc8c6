"""The figures of a study, F1 to F10, in the order of the page; what a study cannot give says why it is not drawn."""

import csv
import io
from collections.abc import Sequence

from dsresearch.report import draw_cost, draw_curves, draw_design, draw_factors, draw_trials
from dsresearch.report.evidence import Analysis
from dsresearch.report.style import Picture
from dsresearch.report.tables import escape_latex


def figures(analysis: Analysis) -> list[Picture]:
    """F1 to F10 of a study, each with its files or the reason why it is not drawn; F11 and F12 where they belong."""
    return [
        draw_trials.errors(analysis),
        draw_trials.forest(analysis),
        draw_design.null(analysis),
        draw_trials.slopes(analysis),
        draw_curves.profiles(analysis),
        draw_cost.cost(analysis),
        draw_cost.similarity(analysis),
        draw_curves.divergence(analysis),
        draw_design.power(analysis),
        draw_design.margin(analysis),
        *(one for one in (draw_factors.continuum(analysis), draw_factors.factor(analysis)) if one is not None),
    ]


def figure_files(pictures: Sequence[Picture], told: str) -> dict[str, bytes]:
    """PDF, PNG and CSV of every drawn figure by file name; captions.csv, and figures.tex to be read with \\input.

    `told` is the study's caption: profile, data, trials, margin, device and commit, which stands under every figure.
    """
    out = {name: data for picture in pictures for name, data in picture.files.items()}
    return {**out, "captions.csv": _captions(pictures, told), "figures.tex": _latex(pictures, told)}


def _captions(pictures: Sequence[Picture], told: str) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["figure", "title", "drawn", "caption", "alt"])
    for one in pictures:
        drawn = f"not drawn: {one.absent}" if one.absent else "yes"
        writer.writerow([one.name, one.title, drawn, f"{one.caption} {told}", one.alt or "not drawn"])
    return sink.getvalue().encode()


def _latex(pictures: Sequence[Picture], told: str) -> bytes:
    """A macro a figure, so that a paper chooses: \\studyfigure{f2_forest} prints it with its caption."""
    lines = [
        r"% \input this, then \studyfigure{f2_forest} where a figure belongs; \studyfigures is their folder.",
        r"\providecommand{\studyfigures}{figures}",
        r"\providecommand{\studyfigure}[1]{\csname studyfigure@#1\endcsname}",
    ]
    for one in pictures:
        caption = rf"\caption{{{escape_latex(one.title)}. {escape_latex(one.caption)} {escape_latex(told)}}}"
        shown = rf"\includegraphics[width=\linewidth]{{\studyfigures/{one.name}}}"
        if one.absent:
            shown = rf"\fbox{{\parbox{{0.9\linewidth}}{{not drawn: {escape_latex(one.absent)}}}}}"
        kind = "figure*" if one.wide else "figure"
        lines += [
            rf"\expandafter\def\csname studyfigure@{one.name}\endcsname{{%",
            rf"\begin{{{kind}}}\centering{shown}{caption}\label{{fig:{one.name}}}\end{{{kind}}}}}",
        ]
    return ("\n".join(lines) + "\n").encode()
