"""A table as a value, and its three spellings: CSV for programs, Markdown for people, LaTeX (booktabs) for papers.

A cell holds a number, an interval, or words. Words stand wherever a number cannot be given and say why; no cell is
blank. Names come from the user's files and are escaped in every spelling.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsresearch.design import InputError
from dsresearch.report.study import one_line
from dsresearch.statistics import Interval

NOTHING = "–"  # a cell with nothing to say


@dataclass(frozen=True)
class Field:
    """One column: its name in the CSV, its head elsewhere, how a number in it is written.

    `style`: `pp` two decimals, `signed` two decimals with sign, `count` whole, `name` a name from the user's files,
    `text` words. An interval is written with the style of its bounds and takes two columns of the CSV.
    """

    key: str
    head: str
    style: str = "text"
    interval: bool = False
    csv_only: bool = False


@dataclass(frozen=True)
class Table:
    """Columns, rows and a caption that says where the numbers come from."""

    name: str
    title: str
    caption: str
    fields: tuple[Field, ...]
    rows: tuple[Mapping[str, Any], ...]


def to_csv(table: Table) -> bytes:
    """Numbers with six decimals, LF, an interval as two columns."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for field in table.fields for name in _csv_names(field)])
    for row in table.rows:
        writer.writerow([cell for field in table.fields for cell in _csv_cells(field, row[field.key])])
    return out.getvalue().encode()


def _csv_names(field: Field) -> list[str]:
    return [f"{field.key}_lo", f"{field.key}_hi"] if field.interval else [field.key]


def _csv_cells(field: Field, value: Any) -> list[str]:
    if isinstance(value, str):
        return [one_line(value) or NOTHING] * (2 if field.interval else 1)
    if isinstance(value, Interval):
        return [_fixed(value.lo, 6), _fixed(value.hi, 6)]
    return [str(value) if field.style == "count" else _fixed(value, 6)]


def to_markdown(table: Table) -> str:
    """A pipe table under its title, caption below; readable as plain text."""
    fields = [field for field in table.fields if not field.csv_only]
    cells = [[_markdown(field, row[field.key]) for field in fields] for row in table.rows]
    heads = [field.head for field in fields]
    widths = [max(len(text) for text in column) for column in zip(heads, *cells, strict=True)]
    numeric = [field.style in ("pp", "signed", "count") for field in fields]
    widths[-1] = len(heads[-1])  # the last column holds notes of any length
    lines = [_pipes(heads, widths, numeric)]
    lines.append(
        "|" + "|".join("-" * (w + 1) + (":" if n else "-") for w, n in zip(widths, numeric, strict=True)) + "|"
    )
    lines += [_pipes(row, widths, numeric) for row in cells]
    title, caption = _escape_markdown(table.title), _escape_markdown(table.caption)
    return "\n".join([f"**{title}**", "", *lines, "", caption, ""])


def _pipes(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(cells, widths, numeric, strict=True)]
    return "| " + " | ".join(padded) + " |"


def _markdown(field: Field, value: Any) -> str:
    text = _text(field, value)
    if field.style == "name" and text != NOTHING:
        return _code(text)
    return _escape_markdown(text).replace("|", "\\|") if isinstance(value, str) else text


def _code(text: str) -> str:
    """A code span: nothing within it is markup. Its fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in "".join(c if c == "`" else " " for c in text).split()), default=0)
    fence = "`" * (longest + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{c: f"\\{c}" for c in "\\*_[]#"}}


def _escape_markdown(text: str) -> str:
    """Words outside code spans; a command in backticks stays one."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a lone backtick opens nothing
        parts = [text.replace("`", "'")]
    for at in range(0, len(parts), 2):
        parts[at] = "".join(_MARKDOWN.get(c, c) for c in parts[at])
    for at in range(1, len(parts), 2):
        parts[at] = f"`{parts[at]}`" if parts[at].strip() else "''"
    return "".join(parts)


def to_latex(table: Table) -> str:
    """A booktabs table environment, to be read with \\input under `\\usepackage{booktabs,graphicx}`."""
    fields = [field for field in table.fields if not field.csv_only]
    numeric = ["r" if field.style in ("pp", "signed", "count") else "l" for field in fields]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title)}. {escape_latex(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        r"\resizebox{\linewidth}{!}{%",
        rf"\begin{{tabular}}{{{''.join(numeric)}}}",
        r"\toprule",
        " & ".join(escape_latex(field.head) for field in fields) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        lines.append(" & ".join(_latex(field, row[field.key]) for field in fields) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""]
    return "\n".join(lines)


def _latex(field: Field, value: Any) -> str:
    text = escape_latex(_text(field, value))
    if field.style == "name" and text != escape_latex(NOTHING):
        return rf"\texttt{{{text}}}"
    return text if isinstance(value, str) else f"${text}$"


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "`": r"{`}",  # no ligature may join it to what stands before
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    NOTHING: r"\textendash{}",
}


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands; a character that pdfLaTeX cannot print is named by its code point."""
    plain = "".join(_LATEX.get(c, c if c.isascii() else f"[U+{ord(c):04X}]") for c in one_line(text))
    return plain.replace("--", "-{}-").replace("--", "-{}-")  # the hyphens of an option are no dash


def _text(field: Field, value: Any) -> str:
    """A cell as words and numbers, for Markdown and LaTeX."""
    if isinstance(value, str):
        return one_line(value) or NOTHING
    if isinstance(value, Interval):
        return f"[{_number(field, value.lo)}, {_number(field, value.hi)}]"
    return _number(field, value)


def _number(field: Field, value: float) -> str:
    if field.style == "count":
        return str(value)
    return _fixed(value, 2, sign=field.style == "signed")


def _fixed(value: float, decimals: int, sign: bool = False) -> str:
    """Fixed decimals; a value that rounds to zero has no minus."""
    rounded = round(float(value), decimals) + 0.0
    return f"{rounded:{'+' if sign else ''}.{decimals}f}"


def injected(page: Path, name: str, text: str) -> str:
    """A Markdown page with `text` between its markers of that name. Raises InputError where it has none."""
    try:
        content = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--into={page} cannot be read: {one_line(error)}, allowed: a Markdown page") from None
    pattern = rf"(<!-- {name}:[^\n]*-->\n).*?(<!-- /{name} -->)"
    changed, found = re.subn(pattern, lambda marks: f"{marks[1]}{text.strip()}\n{marks[2]}", content, flags=re.DOTALL)
    if found != 1:
        raise InputError(f"--into={page} has {found} pairs of markers of {name!r}, allowed: one")
    return changed
