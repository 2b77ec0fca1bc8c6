"""The generated LaTeX of the paper: its numbers as macros, and the tables and figures of every study."""

import re
from collections.abc import Mapping
from pathlib import Path

from dsresearch.paper.facts import Results
from dsresearch.report.tables import escape_latex

# In the article itself; the appendix shows everything else.
MAIN = {("hybrid-digits-quick", "tables/table4.tex"), ("hybrid-digits-quick", "figures/f2_forest.pdf")}
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
    return HEAD + RESULT + "\n".join(lines) + "\n"


def _number(text: str) -> str:
    """A number or a word as LaTeX: signs as in mathematics."""
    if re.fullmatch(r"[\[\]+\-0-9., ]+", text):
        return re.sub(r"[+-]", lambda sign: rf"\ensuremath{{{sign[0]}}}", text)
    return escape_latex(text)


def studies_tex(folder: Path, results: Results) -> str:
    """Every table and figure of every study, but those of the article itself; `folder` is where they were drawn."""
    lines = [HEAD]
    for name in results.studies:
        lines.append(rf"\subsection*{{Study \texttt{{{escape_latex(name)}}}}}")
        for kind in ("tables/*.tex", "figures/*.pdf"):
            for path in sorted((folder / name).glob(kind)):
                part = path.relative_to(folder / name).as_posix()
                if (name, part) not in MAIN:
                    lines.append(_table(name, part) if kind == "tables/*.tex" else _figure(name, part))
        lines.append("\\clearpage\n")
    return "\n".join(lines)


def _table(name: str, part: str) -> str:
    """A table without its label, which other studies' tables have too."""
    return rf"{{\renewcommand{{\label}}[1]{{}}\input{{generated/{name}/{part}}}}}"


def _figure(name: str, part: str) -> str:
    caption = rf"Figure \texttt{{{escape_latex(Path(part).stem)}}} of study \texttt{{{escape_latex(name)}}}."
    picture = rf"\includegraphics[width=\linewidth,height=0.8\textheight,keepaspectratio]{{generated/{name}/{part}}}"
    return "\n".join([r"\begin{figure}", r"\centering", picture, rf"\caption{{{caption}}}", r"\end{figure}"])
