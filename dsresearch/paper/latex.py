"""The generated LaTeX of the paper: its numbers as macros, and the tables and figures of every study."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dsresearch.paper.facts import Results
from dsresearch.report.tables import escape_latex
from dsresearch.schema import natural

# The study that the article tells of, and what of it stands in the text; the appendix shows everything else.
STUDY = "hybrid-digits-full"
IN_TEXT = {(STUDY, "tables/table4.tex"), (STUDY, "figures/f2_forest.pdf")}
HEAD = "% written by `dsresearch paper`\n"
# An unknown name stops the run of TeX: no number is ever silently missing.
RESULT = r"""\makeatletter
\newcommand{\result}[1]{\ifcsname result@#1\endcsname\csname result@#1\endcsname\else
  \PackageError{dsresearch}{no number is called `#1'}{See paper/generated/numbers.tex.}\fi}
\newcommand{\setresult}[2]{\expandafter\gdef\csname result@#1\endcsname{#2}}
\makeatother
"""


def numbers_tex(numbers: Mapping[str, str]) -> str:
    r"""Every number as a definition, used as \result{NAME}; an arm whose name TeX could not read has none."""
    lines = [
        rf"\setresult{{{name}}}{{{_number(text)}}}"
        for name, text in numbers.items()
        if re.fullmatch(r"[\w:=.,@/+ -]+", name, re.ASCII)
    ]
    return HEAD + RESULT + rf"\newcommand{{\study}}{{{STUDY}}}" + "\n" + "\n".join(lines) + "\n"


def _number(text: str) -> str:
    """A number or a word as LaTeX: signs as in mathematics."""
    power = re.fullmatch(r"(\d)e-0?(\d+)", text)
    if power:
        return rf"\ensuremath{{{power[1]}\times10^{{-{power[2]}}}}}"
    if re.fullmatch(r"[\[\]+\-0-9., ]+", text):
        return re.sub(r"[+-]", lambda sign: rf"\ensuremath{{{sign[0]}}}", text)
    return escape_latex(text)


def interior_tex(told: Mapping[str, Sequence[str]]) -> str:
    """What the interior of the continuum shows, a paragraph for every study that varies the group count."""
    said = [rf"\paragraph{{Study \texttt{{{escape_latex(name)}}}.}} {escape_latex(' '.join(lines))}"
            for name, lines in told.items() if lines]  # fmt: skip
    return HEAD + "\n\n".join(said or ["No study of the continuum is among the results yet."]) + "\n"


def studies_tex(folder: Path, results: Results) -> str:
    """Every table and figure of every study, but those of the article itself; `folder` is where they were drawn."""
    lines = [HEAD]
    for name in results.studies:
        lines.append(rf"\subsection*{{Study \texttt{{{escape_latex(name)}}}}}")
        captions = _captions(folder / name / "figures" / "captions.csv")
        drawn = [*(folder / name).glob("tables/*.tex"), *(folder / name).glob("figures/*.pdf")]
        for path in sorted(drawn, key=lambda path: (path.suffix != ".tex", natural(path.stem))):
            part = path.relative_to(folder / name).as_posix()
            if (name, part) not in IN_TEXT:
                figure = path.suffix == ".pdf"
                lines.append(_figure(name, part, captions.get(path.stem, path.stem)) if figure else _table(name, part))
        lines.append("\\clearpage\n")
    return "\n".join(lines)


def _captions(path: Path) -> dict[str, str]:
    """What the report says under its figures, by name; nothing of a report that does not say it in a file."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["figure"]: f"{row['title']}. {row['caption']}" for row in csv.DictReader(file)}


def _table(name: str, part: str) -> str:
    """A table without its label, which other studies' tables have too."""
    return rf"{{\renewcommand{{\label}}[1]{{}}\input{{generated/{name}/{part}}}}}"


def _figure(name: str, part: str, caption: str) -> str:
    picture = rf"\drawing{{generated/{name}/{part}}}"
    said = rf"\caption{{{escape_latex(caption)}}}"
    return "\n".join([r"\begin{figure}", r"\centering", picture, said, r"\end{figure}"])
